/* Fuzzes the reader of safetensors: whatever the bytes, they are either refused with a sentence or
 * every tensor of a dtype of the library can be loaded (but for a BOOL that is none), and nothing
 * leaks. */
#include <stdbool.h>
#include <string.h>

#include "cresset/memory.h"
#include "cresset/safetensors.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "\"F32\"",
                                   "\"F8_E4M3\"",
                                   "\"BOOL\"",
                                   "\"__metadata__\":{\"a\":\"b\"},",
                                   "\"shape\":[",
                                   "\"data_offsets\":[0,4]",
                                   ",\"x\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}",
                                   "[[[[[[[[",
                                   "\\u0000",
                                   "\xff\xfe",
                                   NULL };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static void load_all(cr_safetensors *file)
{
    for (int i = 0; i < cr_safetensors_count(file); i++) {
        cr_safetensors_entry entry = cr_safetensors_at(file, i);
        check(cr_safetensors_find(file, entry.name) == i);
        cr_frame frame = cr_frame_begin();
        cr_tensor *tensor = cr_safetensors_load(file, entry.name);
        cr_shape shape = cr_shape_of(tensor);
        check(tensor ? entry.is_supported && cr_shape_equal(&shape, &entry.shape) : cr_failed());
        check(!tensor || (uint64_t)cr_numel(tensor) * cr_dtype_size(entry.dtype) == entry.bytes);
        cr_error_clear();
        cr_frame_end(frame);
    }
    for (int i = 0; i < cr_safetensors_metadata_count(file); i++) {
        cr_string_pair pair = cr_safetensors_metadata_at(file, i);
        check(strcmp(cr_safetensors_metadata(file, pair.key), pair.value) == 0);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_safetensors *file = cr_safetensors_open_memory(data, size, "fuzz");
    accepted = file != NULL;
    check(accepted != cr_failed());
    check(accepted || cr_error_message()[0] != '\0');
    cr_error_clear();
    load_all(file);
    cr_safetensors_close(file);
    cr_frame_end_all();
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

static const struct seed {
    const char *header;
    size_t data;
} seeds[] = {
    { "{}", 0 },
    { "{\"__metadata__\":{\"format\":\"pt\",\"note\":\"\\u00e9\"}}  ", 0 },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]}}", 24 },
    { "{\"s\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
      "\"e\":{\"dtype\":\"BF16\",\"shape\":[4,0],\"data_offsets\":[8,8]},"
      "\"b\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[8,11]}}",
      11 },
    { "{\"q\":{\"dtype\":\"F8_E4M3\",\"shape\":[1,2,2],\"data_offsets\":[2,6]},"
      "\"h\":{\"dtype\":\"F16\",\"shape\":[1],\"data_offsets\":[0,2]}}",
      6 },
};

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    if (index >= (int)(sizeof seeds / sizeof *seeds))
        return 0;
    size_t length = strlen(seeds[index].header);
    if (8 + length + seeds[index].data > room)
        return 0;
    memset(out, 0, 8);
    out[0] = (uint8_t)length;
    memcpy(out + 8, seeds[index].header, length);
    memset(out + 8 + length, 1, seeds[index].data);
    return 8 + length + seeds[index].data;
}
