/* Fuzzes the readers of npy and npz: whatever the bytes, they are refused with a sentence or give
 * tensors of the shape that they tell, and nothing leaks. An npy file is one that begins as such;
 * everything else goes to the reader of npz. */
#include <stdbool.h>
#include <string.h>

#include "cresset/array_file.h"
#include "cresset/memory.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "'descr': '<f4', ",
                                   "'descr': '|O', ",
                                   "'fortran_order': True, ",
                                   "'shape': (2, 3), ",
                                   "'shape': (), ",
                                   "(99999999999999999999,",
                                   "'>i8'",
                                   "PK\x01\x02",
                                   "PK\x03\x04",
                                   "PK\x05\x06",
                                   "PK\x06\x06",
                                   "\xff\xff\xff\xff",
                                   ".npy",
                                   NULL };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

/* A failure has a sentence, a success none. */
static bool settle(const void *result)
{
    check((result != NULL) != cr_failed());
    check(result || cr_error_message()[0] != '\0');
    cr_error_clear();
    return result != NULL;
}

static double use(const cr_tensor *tensor)
{
    double sum = 0;
    for (int64_t i = 0; i < cr_numel(tensor); i++)
        sum += cr_element(tensor, i);
    return sum;
}

static void read_npz(const uint8_t *data, size_t size)
{
    cr_npz *file = cr_npz_open_memory(data, size, "fuzz");
    accepted = settle(file);
    for (int i = 0; i < cr_npz_count(file); i++) {
        cr_tensor *tensor = cr_npz_load(file, cr_npz_name(file, i));
        if (settle(tensor))
            use(tensor);
        else
            accepted = false;
    }
    cr_npz_close(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_frame frame = cr_frame_begin();
    if (size > 0 && data[0] == 0x93) {
        cr_tensor *tensor = cr_npy_load_memory(data, size, "fuzz");
        accepted = settle(tensor);
        use(tensor);
    } else {
        read_npz(data, size);
    }
    cr_frame_end(frame);
    cr_frame_end_all();
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

/* ---- seeds: npy by hand, npz from NumPy ---- */

static size_t seed_npy(uint8_t *out, size_t room, int version, const char *header, size_t data)
{
    size_t head = version == 1 ? 10 : 12, length = strlen(header);
    if (head + length + data > room)
        return 0;
    memset(out, 0, head);
    memcpy(out, "\x93NUMPY", 6);
    out[6] = (uint8_t)version;
    out[8] = (uint8_t)length;
    memcpy(out + head, header, length);
    memset(out + head + length, 1, data);
    return head + length + data;
}

/* What numpy.savez_compressed and numpy.savez wrote of small arrays. */
static const uint8_t deflated[] = {
#include "seed_deflated.inc"
};

static const uint8_t stored[] = {
#include "seed_stored.inc"
};

static size_t seed_bytes(uint8_t *out, size_t room, const uint8_t *bytes, size_t size)
{
    if (size > room)
        return 0;
    memcpy(out, bytes, size);
    return size;
}

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    switch (index) {
    case 0:
        return seed_npy(out, room, 1,
                        "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }  \n", 24);
    case 1:
        return seed_npy(out, room, 2,
                        "{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3, 2), }\n", 24);
    case 2:
        return seed_npy(out, room, 1, "{'shape': (), 'fortran_order': False, 'descr': '|b1'}\n", 1);
    case 3:
        return seed_npy(out, room, 3, "{'descr': '<V2', 'fortran_order': False, 'shape': (0,)}\n",
                        0);
    case 4:
        return seed_bytes(out, room, deflated, sizeof deflated);
    case 5:
        return seed_bytes(out, room, stored, sizeof stored);
    default:
        return 0;
    }
}
