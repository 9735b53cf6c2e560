/* What the sources of this folder share: the encoding of messages and the checksum of records. */
#ifndef CR_TRACK_H
#define CR_TRACK_H

#include <stddef.h>
#include <stdint.h>

#include "cresset/text.h"

/* Fields of a protocol-buffers message, appended to it. A number that is 0 is written too: readers
 * take it for the default that it is. */
void track_put_int(cr_text *message, int field, int64_t value);
void track_put_float(cr_text *message, int field, float value);
void track_put_double(cr_text *message, int field, double value);
/* A list of numbers, packed. */
void track_put_doubles(cr_text *message, int field, const double *values, size_t count);
void track_put_bytes(cr_text *message, int field, const void *bytes, size_t size);
void track_put_string(cr_text *message, int field, const char *string);

/* Appends `part` as a message in the field, and frees it. */
void track_put_message(cr_text *message, int field, cr_text *part);

/* The CRC-32C (Castagnoli) of the bytes. */
uint32_t track_crc32c(const void *bytes, size_t size);

#endif
