/* Of EXIF (a TIFF of its own inside a picture), the one tag that changes what is seen: how the
 * camera was held. A block that is damaged asks for nothing. */
#include <string.h>

#include "images/images.h"

#define TAG_ORIENTATION 0x0112
#define TYPE_BYTE       1
#define TYPE_SHORT      3
#define TYPE_LONG       4
#define HEADER_BYTES    8
#define ENTRY_BYTES     12

struct block {
    const uint8_t *data;
    size_t size;
    bool big_endian;
};

static uint32_t get(const struct block *block, size_t at, int bytes)
{
    uint32_t value = 0;
    for (int i = 0; i < bytes; i++)
        value = value << 8 | block->data[at + (size_t)(block->big_endian ? i : bytes - 1 - i)];
    return value;
}

static int entry_value(const struct block *block, size_t at)
{
    uint32_t type = get(block, at + 2, 2);
    uint32_t value = 0;
    if (get(block, at + 4, 4) == 0)
        return 1;
    if (type == TYPE_SHORT)
        value = get(block, at + 8, 2);
    else if (type == TYPE_LONG)
        value = get(block, at + 8, 4);
    else if (type == TYPE_BYTE)
        value = block->data[at + 8];
    return value >= 1 && value <= 8 ? (int)value : 1;
}

int images_exif_orientation(const uint8_t *data, size_t size)
{
    if (size >= 6 && memcmp(data, "Exif\0", 5) == 0) {
        data += 6;
        size -= 6;
    }
    if (size < HEADER_BYTES || (memcmp(data, "II", 2) != 0 && memcmp(data, "MM", 2) != 0))
        return 1;
    struct block block = { data, size, data[0] == 'M' };
    size_t at = get(&block, 4, 4);
    if (at < HEADER_BYTES || at > size || size - at < 2)
        return 1;
    size_t count = get(&block, at, 2);
    at += 2;
    for (size_t i = 0; i < count && size - at >= ENTRY_BYTES; i++, at += ENTRY_BYTES) {
        if (get(&block, at, 2) == TAG_ORIENTATION)
            return entry_value(&block, at);
    }
    return 1;
}
