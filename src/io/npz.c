/* npz: npy files in a zip archive, under their names with ".npy". */
#include <string.h>

#include "cresset/array_file.h"
#include "io/archive.h"

#define SUFFIX    ".npy"
#define MOST_FILE ((size_t)1 << 46)

struct cr_npz {
    struct zip zip;
    char *name;   /* of the file */
    char *owned;  /* its bytes, if they were read here */
    char **names; /* of the arrays, with "" for entries that are none */
    int count;    /* arrays */
    int *entry;   /* of each array */
};

/* ---- reading ---- */

static bool is_array(const char *name)
{
    size_t length = strlen(name), suffix = strlen(SUFFIX);
    return length > suffix && strcmp(name + length - suffix, SUFFIX) == 0;
}

static cr_status list_arrays(cr_npz *file)
{
    size_t room = (size_t)CR_MAX(file->zip.count, 1);
    file->names = cr_alloc_zeroed(room, sizeof *file->names);
    file->entry = cr_alloc_zeroed(room, sizeof *file->entry);
    if (!file->names || !file->entry)
        return CR_ERROR_MEMORY;
    for (int i = 0; i < file->zip.count; i++) {
        const char *name = file->zip.entries[i].name;
        if (!is_array(name))
            continue;
        char *copy = cr_string_copy(name);
        if (!copy)
            return CR_ERROR_MEMORY;
        copy[strlen(copy) - strlen(SUFFIX)] = '\0';
        file->names[file->count] = copy;
        file->entry[file->count++] = i;
    }
    return CR_OK;
}

/* Takes `owned` in any case. */
static cr_npz *open_bytes(const void *data, size_t size, const char *name, char *owned)
{
    cr_npz *file = cr_alloc_zeroed(1, sizeof *file);
    if (!file) {
        cr_free(owned);
        return NULL;
    }
    file->owned = owned;
    file->name = cr_string_copy(name);
    if (!file->name || zip_open(&file->zip, data, size, file->name) != CR_OK ||
        list_arrays(file) != CR_OK) {
        cr_npz_close(file);
        return NULL;
    }
    return file;
}

cr_npz *cr_npz_open_memory(const void *data, size_t size, const char *name)
{
    return cr_failed() ? NULL : open_bytes(data, size, name, NULL);
}

cr_npz *cr_npz_open(const char *path)
{
    size_t size = 0;
    if (cr_failed())
        return NULL;
    char *data = cr_file_read(path, MOST_FILE, &size);
    return data ? open_bytes(data, size, path, data) : NULL;
}

void cr_npz_close(cr_npz *file)
{
    if (!file)
        return;
    for (int i = 0; i < file->count; i++)
        cr_free(file->names[i]);
    cr_free(file->names);
    cr_free(file->entry);
    zip_close(&file->zip);
    cr_free(file->name);
    cr_free(file->owned);
    cr_free(file);
}

int cr_npz_count(const cr_npz *file)
{
    return file ? file->count : 0;
}

const char *cr_npz_name(const cr_npz *file, int index)
{
    return file && index >= 0 && index < file->count ? file->names[index] : NULL;
}

static cr_tensor *load_entry(const cr_npz *file, int index)
{
    struct zip_bytes bytes;
    cr_tensor *tensor = NULL;
    char *label = cr_string_format("%s: %s", file->name, file->names[index]);
    if (label && zip_read(&file->zip, file->entry[index], &bytes) == CR_OK) {
        tensor = cr_npy_load_memory(bytes.data, bytes.size, label);
        cr_free(bytes.owned);
    }
    cr_free(label);
    return tensor;
}

cr_tensor *cr_npz_load(cr_npz *file, const char *name)
{
    if (cr_failed())
        return NULL;
    for (int i = 0; i < cr_npz_count(file); i++) {
        if (strcmp(file->names[i], name) == 0)
            return load_entry(file, i);
    }
    cr_error_set(CR_ERROR_ARGUMENT, "%s has no array \"%s\"", file ? file->name : "npz: NULL",
                 name);
    return NULL;
}

/* ---- writing ---- */

static cr_status check_names(const cr_npz_item *items, int count)
{
    for (int i = 0; i < count; i++) {
        if (!items[i].name || !items[i].name[0] || !items[i].tensor)
            return cr_error_set(CR_ERROR_ARGUMENT, "item %d has no name or no tensor", i);
        for (int j = 0; j < i; j++) {
            if (strcmp(items[i].name, items[j].name) == 0)
                return cr_error_set(CR_ERROR_ARGUMENT, "the name \"%s\" is given twice",
                                    items[i].name);
        }
    }
    return CR_OK;
}

static cr_status write_item(struct zip_writer *writer, const cr_npz_item *item)
{
    void *owned = NULL;
    cr_text header = { 0 };
    size_t bytes = (size_t)cr_numel(item->tensor) * cr_dtype_size(cr_dtype_of(item->tensor));
    char *name = cr_string_format("%s" SUFFIX, item->name);
    const void *elements = npy_elements(item->tensor, &owned);
    npy_write_header(item->tensor, &header);
    if (name && elements && !cr_failed())
        zip_write(writer, name, header.data, header.length, elements, bytes);
    cr_text_free(&header);
    cr_free(owned);
    cr_free(name);
    return cr_error_status();
}

static cr_status write_items(struct zip_writer *writer, const cr_npz_item *items, int count)
{
    for (int i = 0; i < count; i++) {
        if (write_item(writer, &items[i]) != CR_OK)
            return cr_error_status();
    }
    return zip_write_end(writer);
}

cr_status cr_npz_save(const char *path, const cr_npz_item *items, int count)
{
    struct zip_writer writer = { 0 };
    if (cr_failed())
        return cr_error_status();
    if (check_names(items, count) == CR_OK)
        writer.file = cr_file_writer_open(path);
    if (writer.file) {
        write_items(&writer, items, count);
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
