/* Writes state dicts as torch.save does: a zip archive of stored entries, of which data.pkl is a
 * pickle of protocol 2 that rebuilds an OrderedDict of tensors, each over a storage of its own. */
#include <stdio.h>
#include <string.h>

#include "cresset/torch_file.h"
#include "io/archive.h"

#define FOLDER    "archive/"
#define ALIGNMENT 64

/* ---- the pickle ---- */

static void put(cr_text *pickle, const char *bytes)
{
    cr_text_append(pickle, bytes);
}

static void put_byte(cr_text *pickle, unsigned value)
{
    unsigned char byte = (unsigned char)value;
    cr_text_append_bytes(pickle, &byte, 1);
}

static void put_little_endian(cr_text *pickle, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        put_byte(pickle, (unsigned)(value >> (8 * i)) & 0xff);
}

static void put_text(cr_text *pickle, const char *text)
{
    put(pickle, "X");
    put_little_endian(pickle, strlen(text), 4);
    put(pickle, text);
}

static void put_integer(cr_text *pickle, int64_t value)
{
    if (value <= INT32_MAX) {
        put(pickle, "J");
        put_little_endian(pickle, (uint64_t)value, 4);
        return;
    }
    put_byte(pickle, 0x8a);
    put_byte(pickle, 8);
    put_little_endian(pickle, (uint64_t)value, 8);
}

static void put_sizes(cr_text *pickle, const cr_shape *sizes)
{
    put(pickle, "(");
    for (int i = 0; i < sizes->ndim; i++)
        put_integer(pickle, sizes->dim[i]);
    put(pickle, "t");
}

/* _rebuild_tensor_v2(storage, 0, size, stride, False, OrderedDict()) */
static void put_tensor(cr_text *pickle, const cr_tensor *tensor, int key)
{
    cr_shape shape = cr_shape_of(tensor), stride = shape;
    char number[16];
    int64_t step = 1;
    for (int i = shape.ndim - 1; i >= 0; i--) {
        stride.dim[i] = step;
        step *= CR_MAX(shape.dim[i], 1);
    }
    snprintf(number, sizeof number, "%d", key);
    put(pickle, "ctorch._utils\n_rebuild_tensor_v2\n((");
    put_text(pickle, "storage");
    cr_text_printf(pickle, "ctorch\n%s\n", pickle_storage_of(cr_dtype_of(tensor)));
    put_text(pickle, number);
    put_text(pickle, "cpu");
    put_integer(pickle, cr_numel(tensor));
    put(pickle, "tQ");
    put_integer(pickle, 0);
    put_sizes(pickle, &shape);
    put_sizes(pickle, &stride);
    put_byte(pickle, 0x89);
    put(pickle, "ccollections\nOrderedDict\n)RtR");
}

static void put_state_dict(cr_text *pickle, const cr_safetensors_item *items, int count)
{
    put_byte(pickle, 0x80);
    put_byte(pickle, 2);
    put(pickle, "ccollections\nOrderedDict\n)R(");
    for (int i = 0; i < count; i++) {
        put_text(pickle, items[i].name);
        put_tensor(pickle, items[i].tensor, i);
    }
    put(pickle, "u.");
}

/* ---- the archive ---- */

static cr_status check_items(const cr_safetensors_item *items, int count)
{
    for (int i = 0; i < count; i++) {
        if (!items[i].name || !items[i].name[0] || !items[i].tensor)
            return cr_error_set(CR_ERROR_ARGUMENT, "item %d has no name or no tensor", i);
        if (cr_device_of(items[i].tensor) == CR_META)
            return cr_error_set(CR_ERROR_STATE,
                                "tensor \"%s\" is on the meta device and has no data to save",
                                items[i].name);
        for (int j = 0; j < i; j++) {
            if (strcmp(items[i].name, items[j].name) == 0)
                return cr_error_set(CR_ERROR_ARGUMENT, "the tensor \"%s\" is given twice",
                                    items[i].name);
        }
    }
    return CR_OK;
}

static cr_status write_storage(struct zip_writer *writer, const cr_tensor *tensor, int key)
{
    void *owned = NULL;
    char name[32];
    size_t bytes = (size_t)cr_numel(tensor) * cr_dtype_size(cr_dtype_of(tensor));
    const void *elements = npy_elements(tensor, &owned);
    snprintf(name, sizeof name, FOLDER "data/%d", key);
    if (elements)
        zip_write(writer, name, "", 0, elements, bytes);
    cr_free(owned);
    return cr_error_status();
}

static cr_status write_archive(struct zip_writer *writer, const cr_safetensors_item *items,
                               int count)
{
    cr_text pickle = { 0 };
    put_state_dict(&pickle, items, count);
    if (!cr_failed())
        zip_write(writer, FOLDER "data.pkl", "", 0, pickle.data, pickle.length);
    cr_text_free(&pickle);
    if (!cr_failed())
        zip_write(writer, FOLDER "byteorder", "", 0, "little", 6);
    for (int i = 0; i < count && !cr_failed(); i++)
        write_storage(writer, items[i].tensor, i);
    if (!cr_failed())
        zip_write(writer, FOLDER "version", "", 0, "3\n", 2);
    return cr_failed() ? cr_error_status() : zip_write_end(writer);
}

cr_status cr_torch_save(const char *path, const cr_safetensors_item *items, int count)
{
    struct zip_writer writer = { .alignment = ALIGNMENT };
    if (cr_failed())
        return cr_error_status();
    if (!path || !*path)
        return cr_error_set(CR_ERROR_ARGUMENT, "tensors cannot be saved without a path");
    if (check_items(items, count) == CR_OK)
        writer.file = cr_file_writer_open(path);
    if (writer.file) {
        write_archive(&writer, items, count);
        if (cr_failed())
            cr_file_writer_abandon(writer.file);
        else
            cr_file_writer_finish(writer.file);
        cr_text_free(&writer.contents);
    }
    if (cr_failed())
        cr_error_prefix("%s", path);
    return cr_error_status();
}
