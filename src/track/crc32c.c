/* CRC-32C, the checksum with Castagnoli's polynomial (reflected: 0x82F63B78), four bits at a time
 * from a table of sixteen. Event records are short; nothing here is worth a processor's own
 * instruction. */
#include "track.h"

/* The remainders of the sixteen values of four bits. */
static const uint32_t remainders[16] = {
    0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
    0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
};

uint32_t track_crc32c(const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;
    uint32_t crc = 0xFFFFFFFF;
    for (size_t i = 0; i < size; i++) {
        crc ^= byte[i];
        crc = crc >> 4 ^ remainders[crc & 15];
        crc = crc >> 4 ^ remainders[crc & 15];
    }
    return ~crc;
}
