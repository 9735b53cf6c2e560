/* Files of weights of any format behind one interface: the format is told by the first bytes, an
 * index in JSON opens the files that it names, and the names of all tensors are sorted, so that
 * each is found by halving. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cresset/file.h"
#include "cresset/pointwise.h"
#include "cresset/weights.h"

#define HEAD_BYTES  8
#define MOST_INDEX  ((size_t)1 << 28) /* bytes of an index */
#define MOST_SHARDS 4096

/* One file: of the two formats, the one that is not NULL. */
struct shard {
    char *name; /* as the index calls it; NULL without an index */
    cr_safetensors *safetensors;
    cr_torch_file *torch;
    bool is_borrowed;
};

struct place {
    cr_weights_entry entry;
    int shard;
};

struct cr_weights {
    char *path;
    bool is_index;
    struct shard *shards;
    int shard_count;
    struct place *places;
    int *by_name; /* numbers of places in the order of their names */
    int count;
};

/* ---- one file ---- */

enum format { SAFETENSORS, TORCH, INDEX };

/* JSON begins with a brace and text; a safetensors file with the 64 bits of a length, of which the
 * last byte is 0. */
static cr_status tell_format(const char *path, enum format *format)
{
    unsigned char head[HEAD_BYTES] = { 0 };
    FILE *file = fopen(path, "rb");
    if (!file)
        return cr_error_set(CR_ERROR_IO, "cannot open %s: %s", path, strerror(errno));
    size_t got = fread(head, 1, sizeof head, file);
    fclose(file);
    *format = SAFETENSORS;
    if ((head[0] == 'P' && head[1] == 'K') || (head[0] == 0x80 && head[1] >= 2 && head[1] <= 5))
        *format = TORCH;
    else if (head[0] == '{' && (got < sizeof head || head[sizeof head - 1] != 0))
        *format = INDEX;
    return CR_OK;
}

static cr_status open_shard(struct shard *shard, const char *path, enum format format)
{
    if (format == TORCH)
        shard->torch = cr_torch_open(path, NULL);
    else
        shard->safetensors = cr_safetensors_open(path);
    return cr_error_status();
}

static int shard_size(const struct shard *shard)
{
    return shard->torch ? cr_torch_count(shard->torch) : cr_safetensors_count(shard->safetensors);
}

static cr_weights_entry shard_entry(const struct shard *shard, int index)
{
    if (shard->torch)
        return cr_torch_at(shard->torch, index);
    cr_safetensors_entry entry = cr_safetensors_at(shard->safetensors, index);
    return (cr_weights_entry){ .name = entry.name,
                               .dtype_name = entry.dtype_name,
                               .is_supported = entry.is_supported,
                               .dtype = entry.dtype,
                               .shape = entry.shape };
}

/* ---- the index of several ---- */

static cr_status wrong_index(const cr_weights *weights, const char *what)
{
    return cr_error_set(CR_ERROR_FORMAT, "%s is no index of files of weights: %s", weights->path,
                        what);
}

/* A file beside the index, opened once. */
static cr_status open_named(cr_weights *weights, const char *name)
{
    for (int i = 0; i < weights->shard_count; i++) {
        if (strcmp(weights->shards[i].name, name) == 0)
            return CR_OK;
    }
    if (!*name || strchr(name, '/') || strcmp(name, "..") == 0)
        return wrong_index(weights, "it names a file that is not beside it");
    if (weights->shard_count == MOST_SHARDS)
        return wrong_index(weights, "it names more than 4096 files");
    struct shard *shard = &weights->shards[weights->shard_count++];
    const char *slash = strrchr(weights->path, '/');
    int folder = slash ? (int)(slash - weights->path) + 1 : 0;
    char *path = cr_string_format("%.*s%s", folder, weights->path, name);
    enum format format = INDEX;
    shard->name = cr_string_copy(name);
    if (path && shard->name && tell_format(path, &format) == CR_OK) {
        if (format == INDEX)
            cr_error_set(CR_ERROR_FORMAT, "%s names %s, which is an index itself", weights->path,
                         name);
        else
            open_shard(shard, path, format);
    }
    cr_free(path);
    return cr_error_status();
}

static cr_status open_listed(cr_weights *weights, const json_t *map)
{
    const char *name;
    json_t *file;
    if (!json_is_object(map) || json_object_size(map) == 0)
        return wrong_index(weights, "it has no \"weight_map\"");
    size_t room = CR_MIN(json_object_size(map), (size_t)MOST_SHARDS);
    weights->shards = cr_alloc_zeroed(room, sizeof *weights->shards);
    if (!weights->shards)
        return CR_ERROR_MEMORY;
    json_object_foreach((json_t *)(uintptr_t)map, name, file)
    {
        if (!json_is_string(file))
            return wrong_index(weights, "a tensor has no file");
        if (open_named(weights, json_string_value(file)) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

/* Only the tensors that the index maps to a file count, and each must be in it. */
static cr_status check_listed(const cr_weights *weights, const json_t *map)
{
    const char *name;
    json_t *file;
    json_object_foreach((json_t *)(uintptr_t)map, name, file)
    {
        int index = cr_weights_find(weights, name);
        const char *own = index < 0 ? "" : weights->shards[weights->places[index].shard].name;
        if (strcmp(own, json_string_value(file)) != 0)
            return cr_error_set(CR_ERROR_FORMAT, "%s says that %.100s is in %.100s, and it is not",
                                weights->path, name, json_string_value(file));
    }
    return CR_OK;
}

/* ---- the names of all ---- */

/* qsort has no context: the places whose names are being sorted on this thread. */
static CR_THREAD_LOCAL const struct place *sorted_places;

static int compare_places(const void *left, const void *right)
{
    return strcmp(sorted_places[*(const int *)left].entry.name,
                  sorted_places[*(const int *)right].entry.name);
}

static cr_status list_names(cr_weights *weights)
{
    size_t count = 0;
    for (int s = 0; s < weights->shard_count; s++)
        count += (size_t)shard_size(&weights->shards[s]);
    weights->places = cr_alloc_array(CR_MAX(count, 1), sizeof *weights->places);
    weights->by_name = cr_alloc_array(CR_MAX(count, 1), sizeof *weights->by_name);
    if (!weights->places || !weights->by_name)
        return CR_ERROR_MEMORY;
    for (int s = 0; s < weights->shard_count; s++) {
        for (int i = 0; i < shard_size(&weights->shards[s]); i++) {
            weights->by_name[weights->count] = weights->count;
            weights->places[weights->count++] =
                (struct place){ shard_entry(&weights->shards[s], i), s };
        }
    }
    sorted_places = weights->places;
    qsort(weights->by_name, count, sizeof *weights->by_name, compare_places);
    for (size_t i = 1; i < count; i++) {
        if (compare_places(&weights->by_name[i - 1], &weights->by_name[i]) == 0)
            return cr_error_set(CR_ERROR_FORMAT, "%s: the tensor %.100s is in two files",
                                weights->path, weights->places[weights->by_name[i]].entry.name);
    }
    return CR_OK;
}

static cr_status open_index(cr_weights *weights)
{
    size_t size = 0;
    json_error_t error;
    char *text = cr_file_read(weights->path, MOST_INDEX, &size);
    json_t *index = text ? json_loadb(text, size, JSON_REJECT_DUPLICATES, &error) : NULL;
    cr_free(text);
    if (!index)
        return cr_failed() ? cr_error_status() : wrong_index(weights, "it is not valid JSON");
    const json_t *map = json_object_get(index, "weight_map");
    weights->is_index = true;
    if (open_listed(weights, map) == CR_OK && list_names(weights) == CR_OK)
        check_listed(weights, map);
    json_decref(index);
    return cr_error_status();
}

static cr_status open_one(cr_weights *weights, enum format format)
{
    weights->shards = cr_alloc_zeroed(1, sizeof *weights->shards);
    if (!weights->shards)
        return CR_ERROR_MEMORY;
    weights->shard_count = 1;
    if (open_shard(&weights->shards[0], weights->path, format) != CR_OK)
        return cr_error_status();
    return list_names(weights);
}

/* ---- the interface ---- */

static cr_weights *weights_new(const char *path)
{
    cr_weights *weights = cr_failed() ? NULL : cr_alloc_zeroed(1, sizeof *weights);
    if (weights)
        weights->path = cr_string_copy(path);
    if (weights && !weights->path) {
        cr_free(weights);
        weights = NULL;
    }
    return weights;
}

static cr_weights *close_if_failed(cr_weights *weights)
{
    if (!cr_failed())
        return weights;
    cr_weights_close(weights);
    return NULL;
}

cr_weights *cr_weights_open(const char *path)
{
    enum format format;
    if (cr_failed())
        return NULL;
    if (!path || !*path) {
        cr_error_set(CR_ERROR_ARGUMENT, "a file of weights was asked for without a path");
        return NULL;
    }
    cr_weights *weights = weights_new(path);
    if (weights && tell_format(path, &format) == CR_OK) {
        if (format == INDEX)
            open_index(weights);
        else
            open_one(weights, format);
    }
    return close_if_failed(weights);
}

cr_weights *cr_weights_from_safetensors(cr_safetensors *file)
{
    cr_weights *weights = weights_new(cr_safetensors_path(file));
    if (!weights)
        return NULL;
    weights->shards = cr_alloc_zeroed(1, sizeof *weights->shards);
    if (weights->shards) {
        weights->shard_count = 1;
        weights->shards[0] = (struct shard){ .safetensors = file, .is_borrowed = true };
        list_names(weights);
    }
    return close_if_failed(weights);
}

void cr_weights_close(cr_weights *weights)
{
    if (!weights)
        return;
    for (int i = 0; i < weights->shard_count; i++) {
        struct shard *shard = &weights->shards[i];
        if (!shard->is_borrowed)
            cr_safetensors_close(shard->safetensors);
        cr_torch_close(shard->torch);
        cr_free(shard->name);
    }
    cr_free(weights->shards);
    cr_free(weights->places);
    cr_free(weights->by_name);
    cr_free(weights->path);
    cr_free(weights);
}

const char *cr_weights_path(const cr_weights *weights)
{
    return weights ? weights->path : "";
}

const char *cr_weights_format(const cr_weights *weights)
{
    bool is_torch = weights && weights->shard_count > 0 && weights->shards[0].torch;
    if (weights && weights->is_index)
        return is_torch ? "PyTorch checkpoints with an index" : "safetensors with an index";
    return is_torch ? "PyTorch checkpoint" : "safetensors";
}

int cr_weights_count(const cr_weights *weights)
{
    return weights ? weights->count : 0;
}

cr_weights_entry cr_weights_at(const cr_weights *weights, int index)
{
    return index >= 0 && index < cr_weights_count(weights) ? weights->places[index].entry
                                                           : (cr_weights_entry){ 0 };
}

int cr_weights_find(const cr_weights *weights, const char *name)
{
    int from = 0, end = name ? cr_weights_count(weights) : 0;
    while (from < end) {
        int middle = from + (end - from) / 2;
        int order = strcmp(weights->places[weights->by_name[middle]].entry.name, name);
        if (order == 0)
            return weights->by_name[middle];
        if (order < 0)
            from = middle + 1;
        else
            end = middle;
    }
    return -1;
}

cr_tensor *cr_weights_load(cr_weights *weights, int index)
{
    if (cr_failed())
        return NULL;
    if (index < 0 || index >= cr_weights_count(weights)) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s has no tensor of number %d", cr_weights_path(weights),
                     index);
        return NULL;
    }
    const struct place *place = &weights->places[index];
    const struct shard *shard = &weights->shards[place->shard];
    return shard->torch ? cr_torch_load(shard->torch, place->entry.name)
                        : cr_safetensors_load(shard->safetensors, place->entry.name);
}

cr_status cr_weights_load_into(cr_weights *weights, int index, cr_tensor *to)
{
    const struct place *place =
        index >= 0 && index < cr_weights_count(weights) ? &weights->places[index] : NULL;
    if (!cr_failed() && place && weights->shards[place->shard].safetensors)
        return cr_safetensors_load_into(weights->shards[place->shard].safetensors,
                                        place->entry.name, to);
    cr_frame frame = cr_frame_begin();
    cr_tensor *loaded = cr_weights_load(weights, index);
    if (loaded)
        cr_copy_(to, loaded);
    cr_frame_end(frame);
    return cr_error_status();
}
