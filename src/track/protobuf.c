/* Protocol-buffers messages, written field by field into a growing text
 * (protobuf.dev/programming-guides/encoding). An event file needs a dozen fields of six messages
 * and reads none, which is less than the rules to generate code from copies of TensorFlow's schemas
 * and a run-time library would be. What the fields mean is left to the caller. */
#include <string.h>

#include "track.h"

/* How the value of a field is laid out. */
enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };

/* Seven bits a byte, lowest first; the high bit says that more follow. */
static void put_varint(cr_text *message, uint64_t value)
{
    uint8_t bytes[10];
    size_t count = 0;
    for (; value >= 0x80; value >>= 7)
        bytes[count++] = (uint8_t)(value | 0x80);
    bytes[count++] = (uint8_t)value;
    cr_text_append_bytes(message, bytes, count);
}

static void put_key(cr_text *message, int field, int layout)
{
    put_varint(message, (uint64_t)field << 3 | (uint64_t)layout);
}

static void put_little_endian(cr_text *message, uint64_t value, size_t count)
{
    uint8_t bytes[8];
    for (size_t i = 0; i < count; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
    cr_text_append_bytes(message, bytes, count);
}

void track_put_int(cr_text *message, int field, int64_t value)
{
    put_key(message, field, VARINT);
    put_varint(message, (uint64_t)value);
}

void track_put_float(cr_text *message, int field, float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_key(message, field, FIXED32);
    put_little_endian(message, bits, sizeof(bits));
}

static void put_double(cr_text *message, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof(bits));
    put_little_endian(message, bits, sizeof(bits));
}

void track_put_double(cr_text *message, int field, double value)
{
    put_key(message, field, FIXED64);
    put_double(message, value);
}

void track_put_doubles(cr_text *message, int field, const double *values, size_t count)
{
    put_key(message, field, LENGTH);
    put_varint(message, count * sizeof(*values));
    for (size_t i = 0; i < count; i++)
        put_double(message, values[i]);
}

void track_put_bytes(cr_text *message, int field, const void *bytes, size_t size)
{
    put_key(message, field, LENGTH);
    put_varint(message, size);
    cr_text_append_bytes(message, bytes, size);
}

void track_put_string(cr_text *message, int field, const char *string)
{
    track_put_bytes(message, field, string, strlen(string));
}

void track_put_message(cr_text *message, int field, cr_text *part)
{
    track_put_bytes(message, field, part->data, part->length);
    cr_text_free(part);
}
