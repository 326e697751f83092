#include "app/lines.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#define CHUNK ((size_t)64 * 1024)

struct Lines {
	char *path;
	int fd;
	bool opened;     /* the fd is ours to close */
	bool ended;      /* of the file */
	bool gzip, told; /* whether it is gzip, and whether that is known */
	bool inside;     /* in a gzip member */
	z_stream z;
	unsigned char *raw; /* CHUNK bytes from the file, for gzip */
	Buf text;           /* read and not yet taken, from `at` on */
	size_t at, scanned, limit;
	int64_t number, taken, size;
};

Lines *lines_open(const char *path, size_t limit, Err *err)
{
	bool standard = strcmp(path, "-") == 0;
	int fd = standard ? 0 : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	Lines *l;

	if (fd < 0 || fstat(fd, &st) != 0) {
		err_set(err, ERR_IO, "%s: %s", path, strerror(errno));
		return NULL;
	}
	if (S_ISDIR(st.st_mode)) {
		err_set(err, ERR_IO, "%s: is a folder (name a file)", path);
		close(fd);
		return NULL;
	}
	l = mem_calloc(1, sizeof(*l));
	l->path = mem_strdup(standard ? "stdin" : path);
	l->fd = fd;
	l->opened = !standard;
	l->limit = limit;
	l->size = S_ISREG(st.st_mode) ? st.st_size : -1;
	return l;
}

void lines_close(Lines *l)
{
	if (l == NULL)
		return;
	if (l->opened)
		close(l->fd);
	if (l->raw != NULL)
		inflateEnd(&l->z);
	free(l->raw);
	buf_free(&l->text);
	free(l->path);
	free(l);
}

int64_t lines_number(const Lines *l)
{
	return l->number;
}

int64_t lines_taken(const Lines *l)
{
	return l->taken;
}

int64_t lines_size(const Lines *l)
{
	return l->size;
}

bool lines_ready(const Lines *l)
{
	struct pollfd fd = { .fd = l->fd, .events = POLLIN };
	size_t from = l->at > l->scanned ? l->at : l->scanned;

	if (l->ended ||
		(l->text.len > from && memchr(l->text.s + from, '\n', l->text.len - from) != NULL))
		return true;
	if (l->raw != NULL && l->z.avail_in > 0)
		return true;
	return poll(&fd, 1, 0) != 0;
}

static bool read_some(Lines *l, void *to, size_t size, size_t *got, Err *err)
{
	ssize_t n = read(l->fd, to, size);

	*got = 0;
	if (n < 0 && errno == EINTR)
		return err_set(err, ERR_STOPPED, "%s: stopped", l->path);
	if (n < 0)
		return err_set(err, ERR_IO, "%s: %s", l->path, strerror(errno));
	*got = (size_t)n;
	l->ended = n == 0;
	l->taken += n;
	return true;
}

static bool gzip_broken(Lines *l, const char *what, Err *err)
{
	l->ended = true;
	err_set(err, ERR_IO, "%s: the gzip data %s after line %lld", l->path, what,
		(long long)l->number);
	return err_hint(err, "everything before was read; get the file again");
}

/* Unpacks what there is into the text; a chunk at a time. */
static bool inflate_some(Lines *l, Err *err)
{
	int rc;

	buf_reserve(&l->text, CHUNK);
	l->z.next_out = (unsigned char *)l->text.s + l->text.len;
	l->z.avail_out = CHUNK;
	rc = inflate(&l->z, Z_NO_FLUSH);
	l->text.len += CHUNK - l->z.avail_out;
	l->text.s[l->text.len] = '\0';
	if (rc == Z_STREAM_END) {
		l->inside = false;
		inflateReset(&l->z);
	} else if (rc != Z_OK && rc != Z_BUF_ERROR) {
		return gzip_broken(l, "is damaged", err);
	}
	return true;
}

static bool fill_gzip(Lines *l, Err *err)
{
	size_t got;

	if (l->z.avail_in == 0) {
		if (!read_some(l, l->raw, CHUNK, &got, err))
			return false;
		if (l->ended)
			return !l->inside || gzip_broken(l, "ends too soon", err);
		l->z.next_in = l->raw;
		l->z.avail_in = (unsigned)got;
	}
	l->inside = true;
	return inflate_some(l, err);
}

/* Behind two bytes it is known whether the file is gzip: what was read so far becomes the first
 * input. */
static bool tell(Lines *l, Err *err)
{
	static const unsigned char magic[] = { 0x1f, 0x8b };

	if (l->text.len < 2 && !l->ended)
		return true;
	l->told = true;
	l->gzip = l->number == 0 && l->text.len >= 2 && memcmp(l->text.s, magic, 2) == 0;
	if (!l->gzip)
		return true;
	l->raw = mem_alloc(CHUNK + 2);
	if (inflateInit2(&l->z, 15 + 16) != Z_OK)
		return err_set(err, ERR_NOMEM, "%s: zlib cannot start", l->path);
	memcpy(l->raw, l->text.s, l->text.len);
	l->z.next_in = l->raw;
	l->z.avail_in = (unsigned)l->text.len;
	buf_clear(&l->text);
	l->inside = true;
	return inflate_some(l, err);
}

/* Brings more text, or sets `ended`. */
static bool fill(Lines *l, Err *err)
{
	size_t got;

	if (l->at > 0 && l->at >= l->text.len / 2) {
		memmove(l->text.s, l->text.s + l->at, l->text.len - l->at);
		l->text.len -= l->at;
		l->scanned -= l->scanned > l->at ? l->at : l->scanned;
		l->at = 0;
	}
	if (l->gzip)
		return fill_gzip(l, err);
	buf_reserve(&l->text, CHUNK);
	if (!read_some(
		    l, l->text.s + l->text.len, l->told ? CHUNK : CHUNK - l->text.len, &got, err))
		return false;
	l->text.len += got;
	l->text.s[l->text.len] = '\0';
	return l->told || tell(l, err);
}

bool lines_peek(Lines *l, size_t want, Str *bytes, Err *err)
{
	while (l->text.len - l->at < want && !l->ended)
		if (!fill(l, err))
			return false;
	*bytes = (Str){ l->text.s != NULL ? l->text.s + l->at : "", l->text.len - l->at };
	return true;
}

bool lines_bytes(Lines *l, Str *bytes, Err *err)
{
	if (!lines_peek(l, 1, bytes, err))
		return false;
	l->at = l->text.len;
	return true;
}

/* Passes over the rest of a line of which the text holds only a part. */
static LineResult skip_rest(Lines *l, Str *line, Err *err)
{
	Buf kept = { 0 };
	LineResult result = LINE_TOO_LONG;

	buf_add(&kept, l->text.s + l->at, LINES_EXCERPT);
	for (;;) {
		char *end = memchr(l->text.s + l->at, '\n', l->text.len - l->at);

		l->at = end != NULL ? (size_t)(end - l->text.s) + 1 : l->text.len;
		if (end != NULL || l->ended)
			break;
		if (!fill(l, err)) {
			result = LINE_FAILED;
			break;
		}
	}
	/* The excerpt is put before what follows, so that it lives as long as a line would. */
	l->text.len -= l->at;
	buf_reserve(&l->text, kept.len);
	memmove(l->text.s + kept.len, l->text.s + l->at, l->text.len);
	memcpy(l->text.s, kept.s, kept.len);
	l->at = kept.len;
	l->text.len += kept.len;
	*line = (Str){ l->text.s, kept.len };
	buf_free(&kept);
	return result;
}

static Str trimmed(const Lines *l, const char *s, size_t len)
{
	if (len > 0 && s[len - 1] == '\r')
		len--;
	if (l->number == 1 && len >= 3 && memcmp(s, "\xef\xbb\xbf", 3) == 0)
		return (Str){ s + 3, len - 3 };
	return (Str){ s, len };
}

LineResult lines_next(Lines *l, Str *line, Err *err)
{
	const char *end = NULL;

	l->scanned = l->at;
	for (;;) {
		if (l->text.len > l->scanned)
			end = memchr(l->text.s + l->scanned, '\n', l->text.len - l->scanned);
		if (end != NULL || l->ended || l->text.len - l->at > l->limit)
			break;
		l->scanned = l->text.len;
		if (!fill(l, err))
			return LINE_FAILED;
	}
	if (end == NULL && l->ended && l->at == l->text.len)
		return LINE_END;
	l->number++;
	if ((end != NULL ? (size_t)(end - l->text.s) : l->text.len) - l->at > l->limit)
		return skip_rest(l, line, err);
	*line = trimmed(l, l->text.s + l->at,
		(end != NULL ? (size_t)(end - l->text.s) : l->text.len) - l->at);
	l->at = end != NULL ? (size_t)(end - l->text.s) + 1 : l->text.len;
	return LINE_OK;
}
