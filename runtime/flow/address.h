#pragma once

#include <stdbool.h>
#include <sys/socket.h>

enum { ADDRESS_SIZE = 64 };

/* True for an address that anybody on the internet may have: no loopback, private, link-local,
 * shared, multicast or documentation range, and none of those inside of an IPv6 address. */
bool address_is_public(const struct sockaddr *address);

/* "10.0.0.7", "fe80::1". */
void address_format(const struct sockaddr *address, char out[ADDRESS_SIZE]);
