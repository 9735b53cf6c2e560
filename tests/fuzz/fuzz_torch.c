/* Fuzzes the reader of PyTorch's checkpoints: whatever the bytes, they are either refused with a
 * sentence or every tensor of a dtype of the library can be loaded in the shape that was told, and
 * nothing leaks. */
#include <stdbool.h>
#include <string.h>

#include "cresset/memory.h"
#include "cresset/torch_file.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "ctorch._utils\n_rebuild_tensor_v2\n",
                                   "ctorch._utils\n_rebuild_parameter\n",
                                   "ctorch\nFloatStorage\n",
                                   "ctorch\nLongStorage\n",
                                   "ccollections\nOrderedDict\n",
                                   "cos\nsystem\n",
                                   "X\x05",
                                   "\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f",
                                   "\x85R",
                                   "\x86",
                                   "\x87",
                                   "tQ",
                                   "(",
                                   "u.",
                                   "e",
                                   "\x94",
                                   "h\x01",
                                   "r\xff\xff\xff\xff",
                                   "PK\x01\x02",
                                   "\xff\xff\xff\xff",
                                   NULL };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static void load_all(cr_torch_file *file)
{
    for (int i = 0; i < cr_torch_count(file) && i < 100; i++) {
        cr_torch_entry entry = cr_torch_at(file, i);
        check(cr_torch_find(file, entry.name) == i);
        cr_frame frame = cr_frame_begin();
        cr_tensor *tensor = cr_torch_load(file, entry.name);
        cr_shape shape = cr_shape_of(tensor);
        check(tensor ? entry.is_supported && cr_shape_equal(&shape, &entry.shape) : cr_failed());
        cr_error_clear();
        cr_frame_end(frame);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_torch_file *file = cr_torch_open_memory(data, size, "fuzz", NULL);
    accepted = file != NULL;
    check(accepted != cr_failed());
    check(accepted || cr_error_message()[0] != '\0');
    cr_error_clear();
    load_all(file);
    cr_torch_close(file);
    cr_frame_end_all();
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

/* What torch.save wrote: the zip form, the older form, and that in protocol 4. */
static const uint8_t zip_form[] = {
#include "seed_torch_zip.inc"
};

static const uint8_t legacy_form[] = {
#include "seed_torch_legacy.inc"
};

static const uint8_t protocol4[] = {
#include "seed_torch_protocol4.inc"
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
        return seed_bytes(out, room, zip_form, sizeof zip_form);
    case 1:
        return seed_bytes(out, room, legacy_form, sizeof legacy_form);
    case 2:
        return seed_bytes(out, room, protocol4, sizeof protocol4);
    default:
        return 0;
    }
}
