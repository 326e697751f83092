#include "flow/address.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct {
	uint32_t net;
	int bits;
} Range4;

typedef struct {
	uint8_t net[16];
	int bits;
} Range6;

/* The registries of special-purpose addresses (RFC 6890) and multicast. */
static const Range4 special4[] = {
	{ 0x00000000, 8 },
	{ 0x0a000000, 8 },
	{ 0x64400000, 10 },
	{ 0x7f000000, 8 },
	{ 0xa9fe0000, 16 },
	{ 0xac100000, 12 },
	{ 0xc0000000, 24 },
	{ 0xc0000200, 24 },
	{ 0xc0a80000, 16 },
	{ 0xc6120000, 15 },
	{ 0xc6336400, 24 },
	{ 0xcb007100, 24 },
	{ 0xe0000000, 3 },
};

static const Range6 special6[] = {
	{ { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 }, 48 },
	{ { 0x20, 0x01 }, 23 },
	{ { 0x20, 0x01, 0x0d, 0xb8 }, 32 },
	{ { 0x3f, 0xff }, 20 },
};

/* What is given out; all beside it is reserved, or for a site alone. */
static const Range6 global6 = { { 0x20 }, 3 };

/* Prefixes that hold an IPv4 address, and where: ::a.b.c.d, ::ffff:a.b.c.d, 64:ff9b::a.b.c.d,
 * 2002:….
 */
static const struct {
	Range6 range;
	int at;
} holds4[] = {
	{ { { 0 }, 96 }, 12 },
	{ { { [10] = 0xff, [11] = 0xff }, 96 }, 12 },
	{ { { 0x00, 0x64, 0xff, 0x9b }, 96 }, 12 },
	{ { { 0x20, 0x02 }, 16 }, 2 },
};

static bool is_public4(uint32_t ip)
{
	for (size_t i = 0; i < sizeof(special4) / sizeof(special4[0]); i++)
		if ((ip ^ special4[i].net) >> (32 - special4[i].bits) == 0)
			return false;
	return true;
}

static bool is_in6(const uint8_t ip[16], const Range6 *r)
{
	int whole = r->bits / 8, rest = r->bits % 8;

	return memcmp(ip, r->net, (size_t)whole) == 0 &&
	       (rest == 0 || (ip[whole] ^ r->net[whole]) >> (8 - rest) == 0);
}

static bool is_public6(const uint8_t ip[16])
{
	for (size_t i = 0; i < sizeof(special6) / sizeof(special6[0]); i++)
		if (is_in6(ip, &special6[i]))
			return false;
	for (size_t i = 0; i < sizeof(holds4) / sizeof(holds4[0]); i++) {
		uint32_t inner;

		memcpy(&inner, ip + holds4[i].at, sizeof(inner));
		if (is_in6(ip, &holds4[i].range))
			return is_public4(ntohl(inner));
	}
	return is_in6(ip, &global6);
}

bool address_is_public(const struct sockaddr *address)
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	if (address->sa_family == AF_INET) {
		memcpy(&in4, address, sizeof(in4));
		return is_public4(ntohl(in4.sin_addr.s_addr));
	}
	if (address->sa_family == AF_INET6) {
		memcpy(&in6, address, sizeof(in6));
		return is_public6(in6.sin6_addr.s6_addr);
	}
	return false;
}

void address_format(const struct sockaddr *address, char out[ADDRESS_SIZE])
{
	struct sockaddr_in in4;
	struct sockaddr_in6 in6;

	snprintf(out, ADDRESS_SIZE, "an address of another kind");
	if (address->sa_family == AF_INET) {
		memcpy(&in4, address, sizeof(in4));
		inet_ntop(AF_INET, &in4.sin_addr, out, ADDRESS_SIZE);
	} else if (address->sa_family == AF_INET6) {
		memcpy(&in6, address, sizeof(in6));
		inet_ntop(AF_INET6, &in6.sin6_addr, out, ADDRESS_SIZE);
	}
}
