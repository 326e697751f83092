#include "base/digest.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { SHA256_BYTES = 32 };

struct Digest {
	EVP_MD_CTX *ctx;
};

/* libcrypto fails here only without memory, or when the machine forbids SHA-256: nothing that a
 * caller could handle. */
static void must(bool ok)
{
	if (!ok) {
		fputs("moonwake: libcrypto refuses SHA-256\n", stderr);
		abort();
	}
}

Digest *digest_open(void)
{
	Digest *d = mem_alloc(sizeof(*d));

	d->ctx = EVP_MD_CTX_new();
	must(d->ctx != NULL && EVP_DigestInit_ex(d->ctx, EVP_sha256(), NULL) == 1);
	return d;
}

void digest_add(Digest *d, Str bytes)
{
	must(EVP_DigestUpdate(d->ctx, bytes.s, bytes.len) == 1);
}

static void hex(const unsigned char *bytes, char out[65])
{
	static const char digits[] = "0123456789abcdef";

	for (int i = 0; i < SHA256_BYTES; i++) {
		*out++ = digits[bytes[i] >> 4];
		*out++ = digits[bytes[i] & 15];
	}
	*out = '\0';
}

void digest_hex(const Digest *d, char out[65])
{
	EVP_MD_CTX *copy = EVP_MD_CTX_new();
	unsigned char sum[EVP_MAX_MD_SIZE];

	must(copy != NULL && EVP_MD_CTX_copy_ex(copy, d->ctx) == 1 &&
		EVP_DigestFinal_ex(copy, sum, NULL) == 1);
	EVP_MD_CTX_free(copy);
	hex(sum, out);
}

void digest_close(Digest *d)
{
	if (d == NULL)
		return;
	EVP_MD_CTX_free(d->ctx);
	free(d);
}

static void sha256(Str bytes, unsigned char out[EVP_MAX_MD_SIZE])
{
	must(EVP_Digest(bytes.s, bytes.len, out, NULL, EVP_sha256(), NULL) == 1);
}

void digest_sha256_hex(Str bytes, char out[65])
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	sha256(bytes, sum);
	hex(sum, out);
}

void digest_uuid(Str bytes, unsigned char out[16])
{
	unsigned char sum[EVP_MAX_MD_SIZE];

	sha256(bytes, sum);
	memcpy(out, sum, 16);
	out[6] = (unsigned char)((out[6] & 0x0f) | 0x80);
	out[8] = (unsigned char)((out[8] & 0x3f) | 0x80);
}
