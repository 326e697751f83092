#include "flow/tape_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

enum { TEXTS = 11, NO_TEXT = -1 };

#define CHUNK_FIRST ((size_t)1 << 20)
#define CHUNK_MOST  ((size_t)64 << 20)

struct TapeRecord {
	int64_t id, version, occurred_us, timestamp_us;
	int32_t schema_version, occurrences;
	unsigned char event_id[16], causation_id[16];
	int32_t lengths[TEXTS];
	bool has_causation;
	char texts[];
};

typedef struct {
	char *at;
	size_t size, used;
} Chunk;

/* The file is mapped piece by piece, so that no piece ever moves. */
struct TapeFile {
	int fd;
	off_t size;
	Chunk *chunks;
	size_t count, cap;
};

static bool unnamed_file(const char *folder, int *fd)
{
	Buf path = { 0 };

	*fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (*fd >= 0)
		return true;
	buf_addf(&path, "%s/moonwake-tape-XXXXXX", folder); /* not every file system can that */
	*fd = mkostemp(path.s, O_CLOEXEC);
	if (*fd >= 0)
		unlink(path.s);
	buf_free(&path);
	return *fd >= 0;
}

TapeFile *tape_file_open(Err *err)
{
	const char *folder = getenv("TMPDIR");
	TapeFile *f = mem_calloc(1, sizeof(*f));

	if (folder == NULL || *folder == '\0')
		folder = "/tmp";
	if (unnamed_file(folder, &f->fd))
		return f;
	err_set(err, ERR_IO, "%s: no temporary file can be made there: %s", folder,
		strerror(errno));
	err_hint(err, "name another folder with TMPDIR");
	free(f);
	return NULL;
}

void tape_file_close(TapeFile *f)
{
	if (f == NULL)
		return;
	for (size_t i = 0; i < f->count; i++)
		munmap(f->chunks[i].at, f->chunks[i].size);
	close(f->fd);
	free(f->chunks);
	free(f);
}

static bool disk_full(Err *err, int problem)
{
	err_set(err, ERR_IO, "temporary file: %s", strerror(problem));
	return err_hint(err, "a replay keeps its events there: make room, or name another folder "
			     "with TMPDIR");
}

static Chunk *last_chunk(const TapeFile *f)
{
	return f->chunks != NULL ? &f->chunks[f->count - 1] : NULL;
}

/* The room is allocated before it is mapped: a full disk would otherwise end the process. */
static bool add_chunk(TapeFile *f, size_t least, Err *err)
{
	const Chunk *last = last_chunk(f);
	size_t size = last != NULL ? last->size * 2 : CHUNK_FIRST;
	long page = sysconf(_SC_PAGESIZE);
	int problem;
	char *at;

	size = size > CHUNK_MOST ? CHUNK_MOST : size;
	size = size > least ? size : (least + (size_t)page - 1) & ~((size_t)page - 1);
	problem = posix_fallocate(f->fd, f->size, (off_t)size);
	if (problem != 0)
		return disk_full(err, problem);
	at = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, f->size);
	if (at == MAP_FAILED)
		return disk_full(err, errno);
	if (f->count == f->cap) {
		f->cap = f->cap ? f->cap * 2 : 16;
		f->chunks = mem_realloc(f->chunks, f->cap * sizeof(*f->chunks));
	}
	f->chunks[f->count++] = (Chunk){ at, size, 0 };
	f->size += (off_t)size;
	return true;
}

static void *room_for(TapeFile *f, size_t size, Err *err)
{
	Chunk *c = last_chunk(f);
	void *at;

	size = (size + 7) & ~(size_t)7;
	if (c == NULL || c->size - c->used < size) {
		if (!add_chunk(f, size, err))
			return NULL;
		c = last_chunk(f);
	}
	at = c->at + c->used;
	c->used += size;
	return at;
}

/* The texts of an event in the order in which a record has them. */
static void texts_of(const Event *e, Str out[TEXTS])
{
	const Str all[TEXTS] = { e->type, e->aggregate_type, e->aggregate_id, e->data, e->metadata,
		e->source, e->correlation_id, e->actor_type, e->actor_id, e->severity, e->impact };

	memcpy(out, all, sizeof(all));
}

const TapeRecord *tape_file_add(TapeFile *f, const Event *e, Err *err)
{
	Str texts[TEXTS];
	size_t size = sizeof(TapeRecord);
	TapeRecord *r;
	char *to;

	texts_of(e, texts);
	for (size_t i = 0; i < TEXTS; i++)
		size += texts[i].len;
	r = room_for(f, size, err);
	if (r == NULL)
		return NULL;
	*r = (TapeRecord){ .id = e->id,
		.version = e->version,
		.occurred_us = e->occurred_us,
		.timestamp_us = e->timestamp_us,
		.schema_version = e->schema_version,
		.occurrences = e->occurrences,
		.has_causation = e->has_causation };
	memcpy(r->event_id, e->event_id, sizeof(r->event_id));
	memcpy(r->causation_id, e->causation_id, sizeof(r->causation_id));
	to = r->texts;
	for (size_t i = 0; i < TEXTS; i++) {
		r->lengths[i] = texts[i].s != NULL ? (int32_t)texts[i].len : NO_TEXT;
		if (texts[i].len > 0)
			memcpy(to, texts[i].s, texts[i].len);
		to += texts[i].len;
	}
	return r;
}

void tape_record_event(const TapeRecord *r, Event *out)
{
	Str texts[TEXTS];
	const char *at = r->texts;

	for (size_t i = 0; i < TEXTS; i++) {
		bool any = r->lengths[i] != NO_TEXT;

		texts[i] = (Str){ any ? at : NULL, any ? (size_t)r->lengths[i] : 0 };
		at += texts[i].len;
	}
	*out = (Event){ .id = r->id,
		.version = r->version,
		.occurred_us = r->occurred_us,
		.timestamp_us = r->timestamp_us,
		.schema_version = r->schema_version,
		.occurrences = r->occurrences,
		.has_causation = r->has_causation,
		.type = texts[0],
		.aggregate_type = texts[1],
		.aggregate_id = texts[2],
		.data = texts[3],
		.metadata = texts[4],
		.source = texts[5],
		.correlation_id = texts[6],
		.actor_type = texts[7],
		.actor_id = texts[8],
		.severity = texts[9],
		.impact = texts[10] };
	memcpy(out->event_id, r->event_id, sizeof(r->event_id));
	memcpy(out->causation_id, r->causation_id, sizeof(r->causation_id));
}
