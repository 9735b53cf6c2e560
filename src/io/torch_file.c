/* PyTorch's checkpoints. Both forms hold a pickle that describes tensors over numbered storages,
 * and the bytes of the storages: the zip form as entries beside data.pkl, the older form one after
 * the other behind a list of their keys. The pickle is read once (pickle.c); its tensors, with the
 * keys that lead to them as names, are checked against the storages, and a tensor is copied element
 * by element, by its strides, when it is asked for. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/torch_file.h"
#include "io/archive.h"

#define MOST_FILE     ((size_t)1 << 46)
#define MOST_TENSORS  1000000
#define MOST_VISITS   16000000 /* of values on the way to tensors */
#define MOST_DEPTH    16
#define MOST_NAME     512
#define MOST_EXPANDED ((int64_t)1 << 24) /* elements that one stored element may stand for */
#define SHOWN         128

/* What the older form begins with: a pickle of this number. */
static const unsigned char legacy_magic[] = { 0x6c, 0xfc, 0x9c, 0x46, 0xf9,
                                              0x20, 0x6a, 0xa8, 0x50, 0x19 };
static const unsigned char zip_magic[] = { 'P', 'K', 3, 4 };

/* Where a model's state dict stands, if it is not the whole. */
static const char *const sections[] = { "state_dict", "model_state_dict", "model_state", "model",
                                        "net" };

struct entry {
    char *name;
    const struct pickle_tensor *tensor;
};

/* The bytes of a storage. */
struct blob {
    const struct pickle_storage *storage;
    uint64_t bytes;
    const unsigned char *data; /* NULL: not yet looked for in the archive */
    int zip_entry;
};

struct cr_torch_file {
    char *path;
    char *owned; /* its bytes, if they were read here */
    const unsigned char *data;
    size_t size;
    struct zip zip; /* of no entries in the older form */
    struct zip_bytes program;
    struct pickle pickle;
    char *section;
    struct entry *entries;
    struct entry *by_name; /* the same, sorted */
    int count;
    int room;
    int64_t visits;
    struct blob *blobs; /* by key */
    int blob_count;
};

static cr_status damaged(const cr_torch_file *file, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT, "%s is damaged: %s", file->path, what);
}

static const char *show(const char *name, size_t size, char text[SHOWN])
{
    size_t length = CR_MIN(size, (size_t)SHOWN - 1);
    for (size_t i = 0; i < length; i++)
        text[i] = (unsigned char)name[i] < 0x20 || name[i] == 0x7f ? '?' : name[i];
    text[length] = '\0';
    return text;
}

/* ---- storages ---- */

static int compare_keys(const struct pickle_text *a, const struct pickle_text *b)
{
    size_t common = CR_MIN(a->size, b->size);
    int order = common ? memcmp(a->data, b->data, common) : 0;
    return order ? order : (a->size > b->size) - (a->size < b->size);
}

static int compare_blobs(const void *left, const void *right)
{
    return compare_keys(&((const struct blob *)left)->storage->key,
                        &((const struct blob *)right)->storage->key);
}

static struct blob *find_blob(const cr_torch_file *file, const struct pickle_storage *storage)
{
    struct blob wanted = { .storage = storage };
    return file->blob_count ? bsearch(&wanted, file->blobs, (size_t)file->blob_count, sizeof wanted,
                                      compare_blobs)
                            : NULL;
}

/* One for each key, whatever number of tensors lie in it. */
static cr_status list_blobs(cr_torch_file *file)
{
    size_t count = 0;
    const struct pickle_value *value;
    for (value = file->pickle.storages; value; value = value->storage.next)
        count++;
    file->blobs = cr_alloc_array(CR_MAX(count, 1), sizeof *file->blobs);
    if (!file->blobs)
        return CR_ERROR_MEMORY;
    count = 0;
    for (value = file->pickle.storages; value; value = value->storage.next)
        file->blobs[count++] = (struct blob){ .storage = &value->storage, .zip_entry = -1 };
    qsort(file->blobs, count, sizeof *file->blobs, compare_blobs);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const struct pickle_storage *own = file->blobs[i].storage;
        if (kept == 0 || compare_blobs(&file->blobs[kept - 1], &file->blobs[i]) != 0)
            file->blobs[kept++] = file->blobs[i];
        else if (own->dtype != file->blobs[kept - 1].storage->dtype ||
                 own->count != file->blobs[kept - 1].storage->count)
            return damaged(file, "one storage is described in two ways");
    }
    file->blob_count = (int)kept;
    for (size_t i = 0; i < kept; i++) {
        const struct pickle_storage *own = file->blobs[i].storage;
        if (__builtin_mul_overflow((uint64_t)own->count, own->dtype->size, &file->blobs[i].bytes))
            return damaged(file, "a storage has more elements than can be addressed");
    }
    return CR_OK;
}

static cr_status short_storage(const cr_torch_file *file, const struct blob *blob, uint64_t got)
{
    char shown[SHOWN];
    const struct pickle_text *key = &blob->storage->key;
    return cr_error_set(CR_ERROR_FORMAT,
                        "%s is damaged or was cut off: its storage %s should have %llu bytes, and "
                        "there are %llu",
                        file->path, show(key->data, key->size, shown),
                        (unsigned long long)blob->bytes, (unsigned long long)got);
}

/* ---- the zip form ---- */

struct named_entry {
    const char *name;
    int index;
};

static int compare_names(const void *left, const void *right)
{
    return strcmp(((const struct named_entry *)left)->name,
                  ((const struct named_entry *)right)->name);
}

static int find_entry(const struct named_entry *sorted, int count, const char *folder,
                      size_t length, const char *name, size_t size)
{
    char whole[2 * MOST_NAME];
    if (length + size >= sizeof whole)
        return -1;
    memcpy(whole, folder, length);
    memcpy(whole + length, name, size);
    whole[length + size] = '\0';
    const struct named_entry wanted = { whole, 0 };
    const struct named_entry *found =
        bsearch(&wanted, sorted, (size_t)count, sizeof wanted, compare_names);
    return found ? found->index : -1;
}

/* The folder in the archive that all is in, with its slash: its length, or 0 if it is none. */
static size_t find_folder(const struct zip *zip, const char **folder)
{
    for (int i = 0; i < zip->count; i++) {
        const char *name = zip->entries[i].name;
        const char *slash = strchr(name, '/');
        if (slash && strcmp(slash, "/data.pkl") == 0) {
            *folder = name;
            return (size_t)(slash - name) + 1;
        }
    }
    return 0;
}

/* What is stored plainly, so that no few bytes can stand for many. */
static cr_status read_stored(const cr_torch_file *file, int index, struct zip_bytes *bytes)
{
    const struct zip_entry *entry = &file->zip.entries[index];
    char shown[SHOWN];
    if (entry->method != 0)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is refused: its entry %s is compressed, which PyTorch never does",
                            file->path, show(entry->name, strlen(entry->name), shown));
    return zip_read(&file->zip, index, bytes);
}

static cr_status check_byte_order(const cr_torch_file *file, int index)
{
    struct zip_bytes bytes;
    if (index < 0)
        return CR_OK;
    if (read_stored(file, index, &bytes) != CR_OK)
        return cr_error_status();
    if (bytes.size >= 6 && memcmp(bytes.data, "little", 6) == 0)
        return CR_OK;
    return cr_error_set(CR_ERROR_UNSUPPORTED,
                        "%s was written by a big-endian machine, which is not supported",
                        file->path);
}

static cr_status place_zip_storages(cr_torch_file *file, const struct named_entry *sorted,
                                    const char *folder, size_t length)
{
    char name[MOST_NAME], shown[SHOWN];
    for (int i = 0; i < file->blob_count; i++) {
        struct blob *blob = &file->blobs[i];
        const struct pickle_text *key = &blob->storage->key;
        if (key->size > sizeof name - 6)
            return damaged(file, "the key of a storage is too long");
        memcpy(name, "data/", 5);
        memcpy(name + 5, key->data, key->size);
        blob->zip_entry = find_entry(sorted, file->zip.count, folder, length, name, key->size + 5);
        if (blob->zip_entry < 0)
            return cr_error_set(CR_ERROR_FORMAT, "%s is damaged: it has no storage %s", file->path,
                                show(key->data, key->size, shown));
        if (file->zip.entries[blob->zip_entry].size < blob->bytes)
            return short_storage(file, blob, file->zip.entries[blob->zip_entry].size);
    }
    return CR_OK;
}

static cr_status read_zip_entries(cr_torch_file *file, const struct named_entry *sorted,
                                  struct pickle_value **root)
{
    const char *folder = NULL;
    size_t length = find_folder(&file->zip, &folder);
    int count = file->zip.count;
    if (length == 0)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is a zip archive, but no checkpoint of PyTorch's: it has no "
                            "data.pkl in a folder",
                            file->path);
    if (find_entry(sorted, count, folder, length, "constants.pkl", 13) >= 0)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is a TorchScript program, not a checkpoint; save its state_dict() "
                            "with torch.save",
                            file->path);
    int program = find_entry(sorted, count, folder, length, "data.pkl", 8);
    if (check_byte_order(file, find_entry(sorted, count, folder, length, "byteorder", 9)) !=
            CR_OK ||
        read_stored(file, program, &file->program) != CR_OK)
        return cr_error_status();
    const unsigned char *at = file->program.data;
    *root = pickle_read(&file->pickle, &at, at + file->program.size);
    if (!*root || list_blobs(file) != CR_OK)
        return cr_error_status();
    return place_zip_storages(file, sorted, folder, length);
}

static cr_status read_zip(cr_torch_file *file, struct pickle_value **root)
{
    if (zip_open(&file->zip, file->data, file->size, file->path) != CR_OK)
        return cr_error_status();
    int count = file->zip.count;
    struct named_entry *sorted = cr_alloc_array((size_t)CR_MAX(count, 1), sizeof *sorted);
    if (!sorted)
        return CR_ERROR_MEMORY;
    for (int i = 0; i < count; i++)
        sorted[i] = (struct named_entry){ file->zip.entries[i].name, i };
    qsort(sorted, (size_t)count, sizeof *sorted, compare_names);
    cr_status status = read_zip_entries(file, sorted, root);
    cr_free(sorted);
    return status;
}

/* ---- the older form ---- */

static cr_status place_legacy_storages(cr_torch_file *file, const struct pickle_value *keys,
                                       const unsigned char *at)
{
    const unsigned char *end = file->data + file->size;
    if (keys->kind != PICKLE_LIST)
        return damaged(file, "it has no list of storages");
    for (size_t i = 0; i < keys->list.count; i++) {
        const struct pickle_value *key = keys->list.items[i];
        if (key->kind != PICKLE_TEXT)
            return damaged(file, "the key of a storage is no text");
        const struct pickle_storage wanted = { .key = key->text };
        struct blob *blob = find_blob(file, &wanted);
        if (!blob)
            return damaged(file, "it has a storage that no tensor lies in");
        uint64_t left = (uint64_t)(end - at);
        if (left < 8)
            return short_storage(file, blob, 0);
        uint64_t count = 0;
        for (int b = 7; b >= 0; b--)
            count = count << 8 | at[b];
        if (count != (uint64_t)blob->storage->count)
            return damaged(file, "a storage has another size than its tensors say");
        if (left - 8 < blob->bytes)
            return short_storage(file, blob, left - 8);
        blob->data = at + 8;
        at += 8 + blob->bytes;
    }
    for (int i = 0; i < file->blob_count; i++) {
        if (!file->blobs[i].data)
            return damaged(file, "a storage is not in its list");
    }
    return CR_OK;
}

/* Magic number, version, what the machine is like, the object, the keys, the storages. */
static cr_status read_legacy(cr_torch_file *file, struct pickle_value **root)
{
    const unsigned char *at = file->data, *end = file->data + file->size;
    struct pickle *pickle = &file->pickle;
    const struct pickle_value *magic = pickle_read(pickle, &at, end);
    if (magic && (magic->kind != PICKLE_LONG || magic->text.size != sizeof legacy_magic ||
                  memcmp(magic->text.data, legacy_magic, sizeof legacy_magic) != 0))
        return cr_error_set(
            CR_ERROR_FORMAT,
            "%s is a pickle, but no checkpoint of PyTorch's: it does not begin with "
            "its number",
            file->path);
    const struct pickle_value *version = magic ? pickle_read(pickle, &at, end) : NULL;
    if (version && (version->kind != PICKLE_INT || version->integer != 1001))
        return damaged(file, "it is of a version other than 1001");
    const struct pickle_value *system = version ? pickle_read(pickle, &at, end) : NULL;
    const struct pickle_value *order = pickle_get(system, "little_endian");
    if (order && order->kind == PICKLE_BOOL && !order->truth)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s was written by a big-endian machine, which is not supported",
                            file->path);
    *root = system ? pickle_read(pickle, &at, end) : NULL;
    const struct pickle_value *keys = *root ? pickle_read(pickle, &at, end) : NULL;
    if (!keys || list_blobs(file) != CR_OK)
        return cr_error_status();
    return place_legacy_storages(file, keys, at);
}

static cr_status read_bytes(cr_torch_file *file, struct pickle_value **root)
{
    if (file->size >= sizeof zip_magic && memcmp(file->data, zip_magic, sizeof zip_magic) == 0)
        return read_zip(file, root);
    if (file->size >= 2 && file->data[0] == 0x80 && file->data[1] >= 2 && file->data[1] <= 5)
        return read_legacy(file, root);
    if (file->size > 262 && memcmp(file->data + 257, "ustar", 5) == 0)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s is in the tar form of PyTorch before 0.1.10, which is not read; "
                            "load and save it with a later PyTorch",
                            file->path);
    return cr_error_set(CR_ERROR_FORMAT,
                        "%s is no checkpoint of PyTorch's: it begins neither as a zip archive nor "
                        "as the older form",
                        file->path);
}

/* ---- names ---- */

static cr_status wrong_tensor(const cr_torch_file *file, const char *name, const char *what)
{
    char shown[SHOWN];
    return cr_error_set(CR_ERROR_FORMAT, "%s: tensor \"%s\" %s", file->path,
                        show(name, strlen(name), shown), what);
}

/* That all elements lie in the storage, and that few stored ones do not stand for very many. */
static cr_status check_extent(const cr_torch_file *file, const char *name,
                              const struct pickle_tensor *tensor)
{
    const struct pickle_storage *storage = tensor->storage;
    int64_t stored = storage->view_count, numel = 1, last = tensor->offset, step;
    if (tensor->dtype != storage->dtype) {
        if (storage->dtype->dtype != CR_U8)
            return wrong_tensor(file, name, "has another dtype than its storage");
        stored /= (int64_t)tensor->dtype->size;
    }
    for (int i = 0; i < tensor->size.ndim; i++) {
        if (__builtin_mul_overflow(numel, tensor->size.dim[i], &numel))
            return wrong_tensor(file, name, "has more elements than can be addressed");
    }
    for (int i = 0; i < tensor->size.ndim && numel > 0; i++) {
        if (__builtin_mul_overflow(tensor->size.dim[i] - 1, tensor->stride.dim[i], &step) ||
            __builtin_add_overflow(last, step, &last))
            return wrong_tensor(file, name, "reaches past the end of its storage");
    }
    if (numel > 0 && last >= stored)
        return wrong_tensor(file, name, "reaches past the end of its storage");
    if (numel > stored && numel > MOST_EXPANDED)
        return wrong_tensor(file, name, "stands for far more elements than its storage has");
    return CR_OK;
}

static cr_status add_tensor(cr_torch_file *file, const char *name,
                            const struct pickle_tensor *tensor)
{
    if (file->count == MOST_TENSORS)
        return damaged(file, "it has more than a million tensors");
    if (file->count == file->room) {
        int room = file->room ? 2 * file->room : 256;
        struct entry *entries = cr_resize(file->entries, (size_t)room, sizeof *entries);
        if (!entries)
            return CR_ERROR_MEMORY;
        file->entries = entries;
        file->room = room;
    }
    if (check_extent(file, name, tensor) != CR_OK)
        return cr_error_status();
    char *copy = cr_string_copy(name);
    if (!copy)
        return CR_ERROR_MEMORY;
    file->entries[file->count++] = (struct entry){ copy, tensor };
    return CR_OK;
}

/* Puts ".key" behind a name; its new length, or -1 if it is not to be had. */
static int extend_name(char *name, int length, const struct pickle_value *key, size_t index)
{
    char number[24];
    struct pickle_text text = { number, 0 };
    if (key && key->kind == PICKLE_TEXT)
        text = key->text;
    else if (key && key->kind == PICKLE_INT)
        text.size = (size_t)snprintf(number, sizeof number, "%lld", (long long)key->integer);
    else if (!key)
        text.size = (size_t)snprintf(number, sizeof number, "%zu", index);
    else
        return -1;
    int dot = length > 0;
    if (text.size + (size_t)length + 2 > MOST_NAME || memchr(text.data, '\0', text.size))
        return -1;
    if (dot)
        name[length] = '.';
    memcpy(name + length + dot, text.data, text.size);
    length += dot + (int)text.size;
    name[length] = '\0';
    return length;
}

/* Adds the tensors below a value. name has MOST_NAME bytes, the first `length` of them in use. */
static cr_status collect(cr_torch_file *file, const struct pickle_value *value, char *name,
                         int length, int depth)
{
    if (++file->visits > MOST_VISITS)
        return damaged(file, "its values refer to each other without end");
    if (value->kind == PICKLE_TENSOR)
        return add_tensor(file, length ? name : "tensor", value->tensor);
    bool is_dict = value->kind == PICKLE_DICT;
    if (!is_dict && value->kind != PICKLE_LIST && value->kind != PICKLE_TUPLE)
        return CR_OK;
    if (depth == MOST_DEPTH)
        return damaged(file, "its values are nested more than 16 deep");
    size_t step = is_dict ? 2 : 1;
    for (size_t i = 0; i + step <= value->list.count; i += step) {
        const struct pickle_value *key = is_dict ? value->list.items[i] : NULL;
        int longer = extend_name(name, length, key, i);
        /* Keys of other kinds have no tensors below them that anybody could ask for. */
        if (longer >= 0 &&
            collect(file, value->list.items[i + step - 1], name, longer, depth + 1) != CR_OK)
            return cr_error_status();
        name[length] = '\0';
    }
    return CR_OK;
}

static int compare_entries(const void *left, const void *right)
{
    return strcmp(((const struct entry *)left)->name, ((const struct entry *)right)->name);
}

static cr_status sort_entries(cr_torch_file *file)
{
    size_t count = (size_t)file->count;
    file->by_name = cr_alloc_array(CR_MAX(count, 1), sizeof *file->by_name);
    if (!file->by_name)
        return CR_ERROR_MEMORY;
    for (size_t i = 0; i < count; i++)
        file->by_name[i] = (struct entry){ file->entries[i].name, file->entries[i].tensor };
    qsort(file->by_name, count, sizeof *file->by_name, compare_entries);
    for (size_t i = 1; i < count; i++) {
        if (compare_entries(&file->by_name[i - 1], &file->by_name[i]) == 0)
            return wrong_tensor(file, file->by_name[i].name, "is there twice");
    }
    return CR_OK;
}

/* ---- sections ---- */

/* The state dict of a model below a value: itself, or a section of it. */
static const struct pickle_value *find_state(const struct pickle_value *value, cr_text *path)
{
    const struct pickle_value *inner = value;
    for (int depth = 0; depth < 4 && inner; depth++) {
        value = inner;
        inner = NULL;
        for (int i = 0; i < CR_COUNT_OF(sections) && !inner; i++) {
            inner = pickle_get(value, sections[i]);
            if (inner && inner->kind != PICKLE_DICT)
                inner = NULL;
            if (inner)
                cr_text_printf(path, "%s%s", path->length ? "." : "", sections[i]);
        }
    }
    return value;
}

static const struct pickle_value *follow(const cr_torch_file *file,
                                         const struct pickle_value *value, const char *section)
{
    char key[MOST_NAME];
    for (const char *at = section; *at && value;) {
        size_t length = strcspn(at, ".");
        if (length >= sizeof key)
            break;
        memcpy(key, at, length);
        key[length] = '\0';
        value = pickle_get(value, key);
        at += length + (at[length] == '.');
    }
    if (!value)
        cr_error_set(CR_ERROR_ARGUMENT, "%s has no section \"%s\"", file->path, section);
    return value;
}

static cr_status read_file(cr_torch_file *file, const char *section)
{
    struct pickle_value *root = NULL;
    char name[MOST_NAME] = "";
    cr_text path = { 0 };
    if (read_bytes(file, &root) != CR_OK)
        return cr_error_status();
    const struct pickle_value *value =
        section ? follow(file, root, section) : find_state(root, &path);
    if (section)
        cr_text_append(&path, section);
    file->section = cr_text_take(&path);
    if (!value || !file->section || collect(file, value, name, 0, 0) != CR_OK)
        return cr_error_status();
    return sort_entries(file);
}

/* ---- the interface of the reader ---- */

/* Takes `owned` in any case. */
static cr_torch_file *open_bytes(const void *data, size_t size, const char *name, char *owned,
                                 const char *section)
{
    cr_torch_file *file = cr_alloc_zeroed(1, sizeof *file);
    if (!file) {
        cr_free(owned);
        return NULL;
    }
    file->data = data;
    file->size = size;
    file->owned = owned;
    file->path = cr_string_copy(name);
    file->pickle.name = file->path;
    if (!file->path || read_file(file, section) != CR_OK) {
        cr_torch_close(file);
        return NULL;
    }
    return file;
}

cr_torch_file *cr_torch_open(const char *path, const char *section)
{
    size_t size = 0;
    if (cr_failed())
        return NULL;
    if (!path || !*path) {
        cr_error_set(CR_ERROR_ARGUMENT, "a checkpoint was asked for without a path");
        return NULL;
    }
    char *data = cr_file_read(path, MOST_FILE, &size);
    return data ? open_bytes(data, size, path, data, section) : NULL;
}

cr_torch_file *cr_torch_open_memory(const void *data, size_t size, const char *name,
                                    const char *section)
{
    return cr_failed() ? NULL : open_bytes(data, size, name, NULL, section);
}

void cr_torch_close(cr_torch_file *file)
{
    if (!file)
        return;
    for (int i = 0; i < file->count; i++)
        cr_free(file->entries[i].name);
    cr_free(file->entries);
    cr_free(file->by_name);
    cr_free(file->blobs);
    cr_free(file->section);
    pickle_close(&file->pickle);
    zip_close(&file->zip);
    cr_free(file->path);
    cr_free(file->owned);
    cr_free(file);
}

const char *cr_torch_path(const cr_torch_file *file)
{
    return file ? file->path : "";
}

const char *cr_torch_section(const cr_torch_file *file)
{
    return file ? file->section : "";
}

int cr_torch_count(const cr_torch_file *file)
{
    return file ? file->count : 0;
}

cr_torch_entry cr_torch_at(const cr_torch_file *file, int index)
{
    if (index < 0 || index >= cr_torch_count(file))
        return (cr_torch_entry){ 0 };
    const struct entry *entry = &file->entries[index];
    const struct torch_dtype *dtype = entry->tensor->dtype;
    return (cr_torch_entry){ .name = entry->name,
                             .dtype_name = dtype->name,
                             .is_supported = dtype->dtype >= 0,
                             .dtype = (cr_dtype)CR_MAX(dtype->dtype, 0),
                             .shape = entry->tensor->size };
}

static const struct pickle_tensor *find_tensor(const cr_torch_file *file, const char *name)
{
    const struct entry wanted = { .name = (char *)(uintptr_t)name };
    const struct entry *found =
        cr_torch_count(file)
            ? bsearch(&wanted, file->by_name, (size_t)file->count, sizeof wanted, compare_entries)
            : NULL;
    return found ? found->tensor : NULL;
}

int cr_torch_find(const cr_torch_file *file, const char *name)
{
    const struct pickle_tensor *tensor = name ? find_tensor(file, name) : NULL;
    for (int i = 0; tensor && i < file->count; i++) {
        if (file->entries[i].tensor == tensor && strcmp(file->entries[i].name, name) == 0)
            return i;
    }
    return -1;
}

/* ---- elements ---- */

static const unsigned char *bytes_of(const cr_torch_file *file, struct blob *blob)
{
    struct zip_bytes bytes;
    if (blob->data)
        return blob->data;
    if (read_stored(file, blob->zip_entry, &bytes) != CR_OK)
        return NULL;
    blob->data = bytes.data;
    return blob->data;
}

/* Copies elements of `size` bytes in row-major order: of strides, in elements. */
static void copy_strided(const unsigned char *from, size_t size, const cr_shape *shape,
                         const cr_shape *stride, unsigned char *to)
{
    int64_t index[CR_MAX_DIMS] = { 0 };
    int last = shape->ndim - 1;
    int64_t inner = last >= 0 ? shape->dim[last] : 1;
    int64_t step = last >= 0 ? stride->dim[last] * (int64_t)size : 0;
    for (;;) {
        if (step == (int64_t)size) {
            memcpy(to, from, (size_t)inner * size);
        } else {
            for (int64_t i = 0; i < inner; i++)
                memcpy(to + (size_t)i * size, from + i * step, size);
        }
        to += (size_t)inner * size;
        int d = last - 1;
        for (; d >= 0; d--) {
            from += stride->dim[d] * (int64_t)size;
            if (++index[d] < shape->dim[d])
                break;
            from -= stride->dim[d] * shape->dim[d] * (int64_t)size;
            index[d] = 0;
        }
        if (d < 0)
            return;
    }
}

/* C has no bool but 0 and 1. */
static void settle_truth(unsigned char *data, int64_t count)
{
    for (int64_t i = 0; i < count; i++)
        data[i] = data[i] != 0;
}

static cr_tensor *load(const cr_torch_file *file, const struct pickle_tensor *from)
{
    cr_tensor *tensor = cr_empty(from->size, .dtype = (cr_dtype)from->dtype->dtype);
    struct blob *blob = find_blob(file, from->storage);
    if (!tensor || cr_numel(tensor) == 0 || !blob)
        return tensor;
    const unsigned char *data = bytes_of(file, blob);
    if (!data)
        return NULL;
    data += (size_t)from->storage->view_offset * from->storage->dtype->size +
            (size_t)from->offset * from->dtype->size;
    copy_strided(data, from->dtype->size, &from->size, &from->stride, cr_data(tensor));
    if (from->dtype->dtype == CR_BOOL)
        settle_truth(cr_data(tensor), cr_numel(tensor));
    return tensor;
}

cr_tensor *cr_torch_load(cr_torch_file *file, const char *name)
{
    char shown[SHOWN];
    if (!file || cr_failed())
        return NULL;
    const struct pickle_tensor *from = name ? find_tensor(file, name) : NULL;
    if (!from) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s has no tensor \"%s\"", file->path,
                     show(name ? name : "", name ? strlen(name) : 0, shown));
        return NULL;
    }
    if (from->dtype->dtype < 0) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s: tensor \"%s\" is %s, which is not a dtype here",
                     file->path, show(name, strlen(name), shown), from->dtype->name);
        return NULL;
    }
    cr_frame frame = cr_frame_begin();
    return cr_frame_end_with(frame, load(file, from));
}
