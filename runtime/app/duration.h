#pragma once

#include <stdint.h>

/* A span of time for people, in its two largest units: "12m 30s", "3d 4h", "1.5s", "250ms", "0s".
 * Returns out. */
const char *duration_text(int64_t us, char out[32]);
