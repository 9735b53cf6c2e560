/* Fuzzes the reader of tar archives: whatever the bytes, they are refused with a sentence or give
 * files that lie inside the archive and can be read, and nothing leaks. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/memory.h"
#include "cresset/tar_file.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "ustar",
                                   "ustar  ",
                                   "././@LongLink",
                                   "31 path=a/long/name/in/pax.jpg\n",
                                   "14 size=100000\n",
                                   "77777777777",
                                   "\x80\x01\x02\x03",
                                   NULL };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_tar *tar = cr_tar_open_memory(data, size, "fuzz");
    accepted = tar != NULL;
    check(accepted != cr_failed());
    check(accepted || cr_error_message()[0] != '\0');
    cr_error_clear();
    for (int64_t i = 0; i < cr_tar_count(tar); i++) {
        cr_tar_entry entry = cr_tar_at(tar, i);
        check(entry.offset >= 0 && entry.size >= 0);
        check((uint64_t)entry.offset + (uint64_t)entry.size <= size);
        char *bytes = cr_alloc((size_t)entry.size);
        check(bytes && cr_tar_read(tar, i, bytes) == CR_OK);
        cr_free(bytes);
    }
    cr_tar_close(tar);
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

/* ---- seeds, with the sums that their headers need ---- */

#define BLOCK 512

static size_t put_entry(uint8_t *out, const char *name, char type, const char *bytes)
{
    size_t size = strlen(bytes);
    uint8_t *header = out;
    unsigned sum = 0;
    memset(out, 0, BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK);
    memcpy(header, name, strlen(name));
    memcpy(header + 100, "0000644", 7);
    for (int i = 0; i < 11; i++)
        header[124 + i] = (uint8_t)('0' + (size >> (3 * (10 - i)) & 7));
    header[156] = (uint8_t)type;
    memcpy(header + 257,
           "ustar\0"
           "00",
           8);
    memset(header + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += header[i];
    for (int i = 0; i < 6; i++)
        header[148 + i] = (uint8_t)('0' + (sum >> (3 * (5 - i)) & 7));
    header[154] = 0;
    memcpy(out + BLOCK, bytes, size);
    return BLOCK + (size + BLOCK - 1) / BLOCK * BLOCK;
}

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    if (index > 3 || room < 16 * BLOCK)
        return 0;
    size_t size = 0;
    if (index == 1)
        size += put_entry(out, "././@LongLink", 'L', "a/very/long/name.jpg");
    if (index == 2)
        size += put_entry(out, "pax", 'x', "31 path=a/long/name/in/pax.jpg\n9 size=3\n");
    size += put_entry(out + size, "000.jpg", '0', "abc");
    if (index == 3)
        size += put_entry(out + size, "folder/", '5', "");
    size += put_entry(out + size, "000.cls", '0', "7");
    memset(out + size, 0, 2 * BLOCK);
    return size + 2 * BLOCK;
}
