/* Tests of safetensors: files written by hand are read, what is written is what other tools write,
 * every dtype and layout comes back, and hostile headers are refused with a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cresset/file.h"
#include "cresset/safetensors.h"
#include "tensor/tensor.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strncpy(folder, "/tmp/cresset-test-XXXXXX", sizeof(folder));
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

static int clear_state(void **state)
{
    (void)state;
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

/* A file as the format describes it: length, header, and data. Returns the size. */
static size_t make_file(uint8_t *out, const char *header, const void *data, size_t bytes)
{
    uint64_t length = strlen(header);
    memcpy(out, &length, 8);
    memcpy(out + 8, header, length);
    if (bytes > 0)
        memcpy(out + 8 + length, data, bytes);
    return 8 + length + bytes;
}

static const char *const two_tensors =
    "{\"__metadata__\":{\"format\":\"pt\",\"epoch\":\"3\"},"
    "\"b\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[12,20]},"
    "\"a.weight\":{\"dtype\":\"F32\",\"shape\":[3,1],\"data_offsets\":[0,12]},"
    "\"empty\":{\"dtype\":\"U8\",\"shape\":[0,5],\"data_offsets\":[12,12]}}  ";

static void check_two_tensors(cr_safetensors *file)
{
    assert_non_null(file);
    assert_int_equal(cr_safetensors_count(file), 3);
    const char *const order[] = { "a.weight", "empty", "b" };
    for (int i = 0; i < 3; i++) {
        assert_string_equal(cr_safetensors_at(file, i).name, order[i]);
        assert_int_equal(cr_safetensors_find(file, order[i]), i);
    }
    assert_int_equal(cr_safetensors_find(file, "c"), -1);
    assert_int_equal(cr_safetensors_find(file, "__metadata__"), -1);
    assert_null(cr_safetensors_at(file, 3).name);
    cr_tensor *a = cr_safetensors_load(file, "a.weight");
    assert_int_equal(cr_dtype_of(a), CR_F32);
    assert_int_equal(cr_ndim(a), 2);
    assert_int_equal(cr_dim(a, 0), 3);
    assert_true(cr_element(a, 1) == -2.5);
    assert_int_equal(cr_item_int64(cr_safetensors_load(file, "b")), -7);
    cr_tensor *empty = cr_safetensors_load(file, "empty");
    assert_int_equal(cr_numel(empty), 0);
    assert_int_equal(cr_dim(empty, 1), 5);
    assert_int_equal(cr_safetensors_metadata_count(file), 2);
    assert_string_equal(cr_safetensors_metadata_at(file, 1).key, "epoch");
    assert_string_equal(cr_safetensors_metadata(file, "epoch"), "3");
    assert_null(cr_safetensors_metadata(file, "none"));
    assert_null(cr_safetensors_metadata_at(file, 2).key);
    assert_null(cr_safetensors_load(file, "c"));
    assert_non_null(strstr(cr_error_message(), "has no tensor \"c\""));
    cr_safetensors_close(file);
}

static void a_file_made_by_hand_is_read(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    const float a[] = { 1, -2.5f, 3 };
    const int64_t b = -7;
    uint8_t data[20];
    memcpy(data, a, 12);
    memcpy(data + 12, &b, 8);
    size_t size = make_file(bytes, two_tensors, data, sizeof data);
    check_two_tensors(cr_safetensors_open_memory(bytes, size, "memory"));
    cr_error_clear();
    assert_int_equal(cr_file_replace(in_folder("hand.safetensors"), bytes, size), CR_OK);
    check_two_tensors(cr_safetensors_open(in_folder("hand.safetensors")));
}

/* The header that the format's own writer gives: falling alignment, then name; metadata first. */
static void the_written_bytes_are_the_formats(void **state)
{
    (void)state;
    const float numbers[] = { 1, 2, 3, 4, 5, 6 };
    const uint8_t small[] = { 7, 8, 9 };
    cr_tensor *matrix = cr_from_buffer(numbers, CR_SHAPE(2, 3), CR_F32);
    const cr_shape turned_shape = CR_SHAPE(3, 2);
    const int64_t stride[] = { 1, 3 };
    cr_tensor *turned = tensor_view(matrix, CR_F32, &turned_shape, stride, 0);
    const cr_safetensors_item items[] = {
        { "small", cr_from_buffer(small, CR_SHAPE(3), CR_U8) },
        { "z", cr_scalar_int(5) },
        { "turned", turned },
        { "matrix", matrix },
    };
    const cr_string_pair metadata[] = { { "z", "1\n" }, { "a", "\xc3\xa9" } };
    const char *path = in_folder("written.safetensors");
    assert_int_equal(cr_safetensors_save(path, items, 4, metadata, 2), CR_OK);
    const char *header = "{\"__metadata__\":{\"a\":\"\xc3\xa9\",\"z\":\"1\\n\"},"
                         "\"z\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},"
                         "\"matrix\":{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[8,32]},"
                         "\"turned\":{\"dtype\":\"F32\",\"shape\":[3,2],\"data_offsets\":[32,56]},"
                         "\"small\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[56,59]}}";
    const float transposed[] = { 1, 4, 2, 5, 3, 6 };
    size_t size;
    char *bytes = cr_file_read(path, 0, &size);
    size_t padded = CR_DIV_UP(strlen(header), 8) * 8;
    uint64_t length;
    memcpy(&length, bytes, 8);
    assert_int_equal(length, padded);
    assert_int_equal(size, 8 + padded + 59);
    assert_memory_equal(bytes + 8, header, strlen(header));
    for (size_t i = strlen(header); i < padded; i++)
        assert_int_equal(bytes[8 + i], ' ');
    assert_int_equal(bytes[8 + padded], 5);
    assert_memory_equal(bytes + 8 + padded + 8, numbers, 24);
    assert_memory_equal(bytes + 8 + padded + 32, transposed, 24);
    assert_memory_equal(bytes + 8 + padded + 56, small, 3);
    cr_free(bytes);
}

static void every_dtype_comes_back(void **state)
{
    (void)state;
    static const char *const names[] = { "F32", "F64", "BF16", "F16", "I64",
                                         "I32", "I16", "I8",   "U8",  "BOOL" };
    cr_safetensors_item items[CR_DTYPE_COUNT];
    for (int d = 0; d < CR_DTYPE_COUNT; d++) {
        cr_tensor *ones = cr_ones(CR_SHAPE(2, 2), .dtype = (cr_dtype)d);
        items[d] = (cr_safetensors_item){ names[d], ones };
    }
    const char *path = in_folder("dtypes.safetensors");
    assert_int_equal(cr_safetensors_save(path, items, CR_DTYPE_COUNT, NULL, 0), CR_OK);
    cr_safetensors *file = cr_safetensors_open(path);
    assert_int_equal(cr_safetensors_count(file), CR_DTYPE_COUNT);
    for (int d = 0; d < CR_DTYPE_COUNT; d++) {
        cr_safetensors_entry entry = cr_safetensors_at(file, cr_safetensors_find(file, names[d]));
        assert_true(entry.is_supported);
        assert_string_equal(entry.dtype_name, names[d]);
        assert_int_equal(entry.dtype, d);
        cr_tensor *loaded = cr_safetensors_load(file, names[d]);
        assert_int_equal(cr_dtype_of(loaded), d);
        assert_true(cr_element(loaded, 3) == 1);
        assert_memory_equal(cr_data(loaded), cr_data(items[d].tensor), entry.bytes);
    }
    cr_safetensors_close(file);
}

static void the_order_given_does_not_matter(void **state)
{
    (void)state;
    cr_safetensors_item items[] = { { "a", cr_ones(CR_SHAPE(2)) }, { "b", cr_zeros(CR_SHAPE(3)) } };
    cr_safetensors_item turned[] = { items[1], items[0] };
    assert_int_equal(cr_safetensors_save(in_folder("one"), items, 2, NULL, 0), CR_OK);
    assert_int_equal(cr_safetensors_save(in_folder("two"), turned, 2, NULL, 0), CR_OK);
    size_t first_size, second_size;
    char *first = cr_file_read(in_folder("one"), 0, &first_size);
    char *second = cr_file_read(in_folder("two"), 0, &second_size);
    assert_int_equal(first_size, second_size);
    assert_memory_equal(first, second, first_size);
    cr_free(first);
    cr_free(second);
    assert_int_equal(cr_safetensors_save(in_folder("none"), NULL, 0, NULL, 0), CR_OK);
    cr_safetensors *file = cr_safetensors_open(in_folder("none"));
    assert_non_null(file);
    assert_int_equal(cr_safetensors_count(file), 0);
    cr_safetensors_close(file);
}

/* Entries of a header, with 8 bytes of data behind it, and what the message must say. */
static const char *const hostile[][2] = {
    { "[]", "does not begin with '{'" },
    { "", "does not begin with '{'" },
    { " {}", "does not begin with '{'" },
    { "{", "not valid JSON" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
      "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}",
      "duplicate object key near '\"a\"'" },
    { "{\"a\":1}", "\"a\" is not described by an object" },
    { "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}", "\"a\" has no dtype" },
    { "{\"a\":{\"dtype\":\"F33\",\"shape\":[2],\"data_offsets\":[0,8]}}", "unknown dtype" },
    { "{\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,8]}}", "\"a\" has no shape" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}", "natural number" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.0],\"data_offsets\":[0,8]}}", "natural number" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}}",
      "more elements" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2,1,1,1,1,1,1,1,1],\"data_offsets\":[0,8]}}",
      "more than 8 dimensions" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}", "\"a\" has no data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0]}}", "no data_offsets" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}", "ends before it begins" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[-8,0]}}",
      "ends before it begins" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,12]}}", "truncated" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", "another size" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
      "\"a\" begins after a gap" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}",
      "4 bytes after its last" },
    { "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
      "\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]}}",
      "\"b\" overlaps" },
    { "{\"__metadata__\":{\"k\":1}}", "metadata \"k\" is not a string" },
    { "{\"__metadata__\":[]}", "not a map of strings" },
    { "{\"\\u0000\":{}}", "not valid JSON" },
    { "{\"a\\nb\\u001b\":1}", "tensor \"a?b?\" is" },
};

static void hostile_headers_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    const uint64_t data = 0;
    for (int i = 0; i < CR_COUNT_OF(hostile); i++) {
        size_t size = make_file(bytes, hostile[i][0], &data, sizeof data);
        uint64_t live = cr_memory_get_stats().small;
        assert_null(cr_safetensors_open_memory(bytes, size, "h.safetensors"));
        assert_int_equal(cr_error_status(), CR_ERROR_FORMAT);
        assert_non_null(strstr(cr_error_message(), "h.safetensors"));
        if (!strstr(cr_error_message(), hostile[i][1]))
            fail_msg("header %d: %s", i, cr_error_message());
        assert_int_equal(cr_memory_get_stats().small, live);
        cr_error_clear();
    }
}

static void wrong_lengths_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[64];
    const struct {
        uint64_t length;
        size_t size;
        const char *words;
    } cases[] = {
        { 0, 0, "has 0 bytes" },
        { 2, 7, "has 7 bytes" },
        { 57, 64, "header of 57 bytes is announced" },
        { CR_SAFETENSORS_MAX_HEADER + 1, 64, "over the limit" },
        { UINT64_MAX, 64, "over the limit" },
        { 0, 8, "does not begin" },
    };
    for (int i = 0; i < CR_COUNT_OF(cases); i++) {
        memset(bytes, ' ', sizeof bytes);
        memcpy(bytes, &cases[i].length, 8);
        assert_null(cr_safetensors_open_memory(bytes, cases[i].size, "l.safetensors"));
        assert_int_equal(cr_error_status(), CR_ERROR_FORMAT);
        assert_non_null(strstr(cr_error_message(), cases[i].words));
        cr_error_clear();
    }
    assert_null(cr_safetensors_open(in_folder("absent")));
    assert_int_equal(cr_error_status(), CR_ERROR_IO);
    cr_error_clear();
    assert_null(cr_safetensors_open(folder));
    assert_int_equal(cr_error_status(), CR_ERROR_IO);
}

/* A tensor of a dtype that the library has not does not spoil the others. */
static void what_cannot_be_loaded_is_said_so(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    const uint8_t data[] = { 1, 2, 3, 4 };
    size_t size = make_file(bytes,
                            "{\"u\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[0,2]},"
                            "\"t\":{\"dtype\":\"BOOL\",\"shape\":[1],\"data_offsets\":[2,3]},"
                            "\"v\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[3,4]}}",
                            data, sizeof data);
    cr_safetensors *file = cr_safetensors_open_memory(bytes, size, "m");
    assert_int_equal(cr_item_int64(cr_safetensors_load(file, "v")), 4);
    assert_false(cr_safetensors_at(file, 0).is_supported);
    assert_null(cr_safetensors_load(file, "u"));
    assert_int_equal(cr_error_status(), CR_ERROR_UNSUPPORTED);
    assert_non_null(strstr(cr_error_message(), "\"u\" is U16"));
    cr_error_clear();
    assert_null(cr_safetensors_load(file, "t"));
    assert_int_equal(cr_error_status(), CR_ERROR_FORMAT);
    cr_safetensors_close(file);
}

static void assert_not_saved(const cr_safetensors_item *items, int count,
                             const cr_string_pair *metadata, int pairs, const char *words)
{
    const char *path = in_folder("never.safetensors");
    assert_int_not_equal(cr_safetensors_save(path, items, count, metadata, pairs), CR_OK);
    assert_non_null(strstr(cr_error_message(), words));
    assert_non_null(strstr(cr_error_message(), "never.safetensors"));
    assert_false(cr_file_exists(path));
    cr_error_clear();
}

static void what_cannot_be_saved_is_refused(void **state)
{
    (void)state;
    cr_tensor *one = cr_ones(CR_SHAPE(1));
    cr_tensor *meta = cr_empty(CR_SHAPE(1), .device = CR_META);
    const cr_safetensors_item twice[] = { { "a", one }, { "a", one } };
    const cr_safetensors_item wrong[] = {
        { "", one },   { "__metadata__", one }, { "n", NULL },
        { "m", meta }, { "\xff", one },         { NULL, one },
    };
    const char *const words[] = {
        "\"\" cannot be the name", "\"__metadata__\" cannot", "NULL", "meta device", "not UTF-8",
        "cannot be the name"
    };
    assert_not_saved(twice, 2, NULL, 0, "\"a\" is given twice");
    for (int i = 0; i < CR_COUNT_OF(wrong); i++)
        assert_not_saved(&wrong[i], 1, NULL, 0, words[i]);
    const cr_string_pair pairs[] = { { "k", "v" }, { "k", "w" }, { "u", "\xff" }, { "x", NULL } };
    assert_not_saved(twice, 1, pairs, 2, "\"k\" is given twice");
    assert_not_saved(twice, 1, &pairs[2], 1, "UTF-8");
    assert_not_saved(twice, 1, &pairs[3], 1, "no value");
}

/* Every allocation failed in turn: an error each time, and no leak. */
static void want_of_memory_is_survived(void **state)
{
    (void)state;
    const cr_shape shape = CR_SHAPE(2, 2);
    const int64_t stride[] = { 1, 2 };
    cr_tensor *view = tensor_view(cr_ones(CR_SHAPE(4)), CR_F32, &shape, stride, 0);
    const cr_safetensors_item item = { "a", view };
    const char *path = in_folder("scarce.safetensors");
    uint64_t live = cr_memory_get_stats().small;
    bool done = false;
    for (int failures = 0; !done; failures++) {
        cr_memory_fail_after(failures);
        cr_frame frame = cr_frame_begin();
        cr_status status = cr_safetensors_save(path, &item, 1, NULL, 0);
        cr_safetensors *file = status == CR_OK ? cr_safetensors_open(path) : NULL;
        cr_tensor *loaded = cr_safetensors_load(file, "a");
        cr_memory_fail_after(-1);
        done = loaded != NULL;
        assert_true(done || cr_error_status() == CR_ERROR_MEMORY);
        cr_safetensors_close(file);
        cr_frame_end(frame);
        cr_error_clear();
        assert_true(cr_memory_get_stats().small <= live + 2); /* the frame stack may have grown */
        assert_true(failures < 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_file_made_by_hand_is_read, clear_state),
        cmocka_unit_test_setup(the_written_bytes_are_the_formats, clear_state),
        cmocka_unit_test_setup(every_dtype_comes_back, clear_state),
        cmocka_unit_test_setup(the_order_given_does_not_matter, clear_state),
        cmocka_unit_test_setup(hostile_headers_are_refused, clear_state),
        cmocka_unit_test_setup(wrong_lengths_are_refused, clear_state),
        cmocka_unit_test_setup(what_cannot_be_loaded_is_said_so, clear_state),
        cmocka_unit_test_setup(what_cannot_be_saved_is_refused, clear_state),
        cmocka_unit_test_setup(want_of_memory_is_survived, clear_state),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
