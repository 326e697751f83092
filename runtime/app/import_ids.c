#include "app/import.h"

#include "base/digest.h"
#include "model/event.h"

#include <stdlib.h>

/* How often each record was seen, by a hash of 64 bits: 12 bytes a record. Two records that share a
 * hash share a count, which is as good: the ids come from the whole digest, and the count is the
 * same at every reading. */
struct ImportIds {
	uint64_t *hashes; /* 0: empty */
	uint32_t *counts;
	size_t size, used; /* size is a power of two */
};

ImportIds *import_ids_new(void)
{
	ImportIds *ids = mem_calloc(1, sizeof(*ids));

	ids->size = 1024;
	ids->hashes = mem_calloc(ids->size, sizeof(*ids->hashes));
	ids->counts = mem_calloc(ids->size, sizeof(*ids->counts));
	return ids;
}

void import_ids_free(ImportIds *ids)
{
	if (ids == NULL)
		return;
	free(ids->hashes);
	free(ids->counts);
	free(ids);
}

static size_t slot_of(const ImportIds *ids, uint64_t hash)
{
	size_t at = hash & (ids->size - 1);

	while (ids->hashes[at] != 0 && ids->hashes[at] != hash)
		at = (at + 1) & (ids->size - 1);
	return at;
}

static void grow(ImportIds *ids)
{
	ImportIds old = *ids;

	ids->size *= 2;
	ids->hashes = mem_calloc(ids->size, sizeof(*ids->hashes));
	ids->counts = mem_calloc(ids->size, sizeof(*ids->counts));
	for (size_t i = 0; i < old.size; i++) {
		size_t at;

		if (old.hashes[i] == 0)
			continue;
		at = slot_of(ids, old.hashes[i]);
		ids->hashes[at] = old.hashes[i];
		ids->counts[at] = old.counts[i];
	}
	free(old.hashes);
	free(old.counts);
}

/* How many equal records came before this one. */
static uint32_t count_before(ImportIds *ids, uint64_t hash)
{
	size_t at;

	if (ids->used * 4 >= ids->size * 3)
		grow(ids);
	at = slot_of(ids, hash);
	if (ids->hashes[at] == 0) {
		ids->hashes[at] = hash;
		ids->used++;
	}
	return ids->counts[at]++;
}

void import_ids_next(ImportIds *ids, Str record, char uuid[37])
{
	Buf text = { 0 };
	unsigned char bytes[16];
	char hex[65], part[17];
	uint64_t hash;
	uint32_t before;

	digest_sha256_hex(record, hex);
	memcpy(part, hex, 16);
	part[16] = '\0';
	hash = strtoull(part, NULL, 16);
	before = count_before(ids, hash != 0 ? hash : 1);
	buf_addf(&text, "%s %u", hex, before);
	digest_uuid(buf_str(&text), bytes);
	event_uuid_text(bytes, uuid);
	buf_free(&text);
}
