#pragma once

#include "base/mem.h"

/* SHA-256, from libcrypto. */
typedef struct Digest Digest;

Digest *digest_open(void);
void digest_add(Digest *d, Str bytes);
void digest_hex(const Digest *d, char out[65]); /* of what was added until now; more may follow */
void digest_close(Digest *d);

/* Of one run of bytes, as 64 lower-case hex digits and a NUL. */
void digest_sha256_hex(Str bytes, char out[65]);

/* A uuid that follows from the bytes alone: their SHA-256, cut, as a version 8 uuid (RFC 9562). */
void digest_uuid(Str bytes, unsigned char out[16]);
