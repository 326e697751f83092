#pragma once

#include "base/err.h"
#include "base/mem.h"

/* Applies a JSON Patch (RFC 6902: an array of operations, all or none) and appends the document
 * that comes out. Both texts must be valid JSON. The error is an ERR_DATA that names the operation.
 */
bool json_patch(Str document, Str patch, Buf *out, Err *err);

/* Applies a JSON Merge Patch (RFC 7396) and appends the document that comes out. */
void json_merge_patch(Str document, Str patch, Buf *out);

/* True where `patch` is one of either kind that could be applied to some event or document: valid
 * JSON, an object, or an array of complete operations. */
bool json_patch_check(Str patch, Err *err);
