/* Fuzzes the reader of idx arrays: whatever the bytes, they are refused with a sentence or give a
 * tensor of exactly their data, and nothing leaks. */
#include <stdbool.h>
#include <string.h>

#include "cresset/idx.h"
#include "cresset/memory.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "\x7f\xff\xff\xff", "\x01\x01\x01\x01", "\x08\x08", NULL };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_tensor *tensor = cr_idx_load_memory(data, size, "fuzz");
    accepted = tensor != NULL;
    check(accepted != cr_failed());
    check(accepted || cr_error_message()[0] != '\0');
    size_t bytes = (size_t)cr_numel(tensor) * cr_dtype_size(cr_dtype_of(tensor));
    check(!accepted || bytes == size - 4 - 4 * (size_t)cr_ndim(tensor));
    cr_error_clear();
    cr_frame_end_all();
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

/* Type, then sizes; every array has 24 bytes or none. */
static const uint8_t seeds[][6] = {
    { 0x08, 3, 2, 3, 4 }, { 0x08, 1, 24 }, { 0x0B, 2, 4, 3 },       { 0x0C, 1, 6 },
    { 0x0D, 3, 1, 2, 3 }, { 0x0E, 1, 3 },  { 0x09, 4, 5, 0, 1, 1 },
};

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    if (index >= (int)(sizeof seeds / sizeof *seeds) || room < 64)
        return 0;
    const uint8_t *seed = seeds[index];
    memset(out, 0, 64);
    out[2] = seed[0];
    out[3] = seed[1];
    for (int i = 0; i < seed[1]; i++)
        out[4 + 4 * i + 3] = seed[2 + i];
    return 4 + 4 * (size_t)seed[1] + (seed[0] == 0x09 ? 0 : 24);
}
