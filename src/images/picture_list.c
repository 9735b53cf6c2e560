/* Lists of pictures, however they were found, and the data set that reads them. A set keeps names
 * and labels; a picture is read and decoded each time that it is asked for. */
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cresset/file.h"
#include "cresset/thread.h"
#include "images/images.h"

#define FIRST_ROOM 256

/* ---- lists ---- */

void images_list_free(struct picture_list *list)
{
    if (!list)
        return;
    for (int64_t i = 0; i < list->count; i++)
        cr_free(list->paths[i]);
    for (int i = 0; i < list->class_count; i++)
        cr_free(list->class_names[i]);
    for (int i = 0; i < list->tar_count; i++)
        cr_tar_close(list->tars[i]);
    cr_free(list->paths);
    cr_free(list->labels);
    cr_free(list->class_names);
    cr_free(list->targets);
    cr_free(list->places);
    cr_free(list->tars);
    cr_free(list);
}

static bool list_grow(struct picture_list *list)
{
    if (list->count < list->room)
        return true;
    int64_t room = list->room ? 2 * list->room : FIRST_ROOM;
    char **paths = cr_resize(list->paths, (size_t)room, sizeof *paths);
    if (!paths)
        return false;
    list->paths = paths;
    int64_t *labels = cr_resize(list->labels, (size_t)room, sizeof *labels);
    if (!labels)
        return false;
    list->labels = labels;
    list->room = room;
    return true;
}

cr_status images_list_add(struct picture_list *list, char *path, int64_t label)
{
    if (!path || !list_grow(list)) {
        cr_free(path);
        return cr_error_status();
    }
    list->paths[list->count] = path;
    list->labels[list->count++] = label;
    return CR_OK;
}

int images_list_find_class(const struct picture_list *list, const char *name)
{
    for (int i = 0; i < list->class_count; i++) {
        if (strcmp(list->class_names[i], name) == 0)
            return i;
    }
    return -1;
}

int images_list_add_class(struct picture_list *list, const char *name)
{
    int count = list->class_count;
    if ((count & (count - 1)) == 0) { /* full at the powers of two */
        char **names = cr_resize(list->class_names, count ? 2 * (size_t)count : 1, sizeof *names);
        if (!names)
            return -1;
        list->class_names = names;
    }
    list->class_names[count] = cr_string_copy(name);
    if (!list->class_names[count])
        return -1;
    return list->class_count++;
}

cr_status images_list_take_classes(struct picture_list *list, const cr_image_set_args *args)
{
    for (int i = 0; args->class_names && i < args->class_count; i++) {
        if (images_list_add_class(list, args->class_names[i]) < 0)
            return cr_error_status();
    }
    return CR_OK;
}

/* ---- folders ---- */

static int by_bytes(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

void images_names_free(struct name_list *names)
{
    for (int64_t i = 0; i < names->count; i++)
        cr_free(names->names[i]);
    cr_free(names->names);
    *names = (struct name_list){ 0 };
}

static cr_status add_name(struct name_list *names, int64_t *room, const char *name)
{
    if (names->count == *room) {
        int64_t larger = *room ? 2 * *room : FIRST_ROOM;
        char **grown = cr_resize(names->names, (size_t)larger, sizeof *grown);
        if (!grown)
            return cr_error_status();
        names->names = grown;
        *room = larger;
    }
    names->names[names->count] = cr_string_copy(name);
    names->count += names->names[names->count] != NULL;
    return cr_error_status();
}

cr_status images_list_folder(const char *folder, struct name_list *names)
{
    *names = (struct name_list){ 0 };
    int64_t room = 0;
    DIR *open_folder = opendir(folder);
    if (!open_folder)
        return cr_error_set(CR_ERROR_IO, "cannot open the folder %s: %s", folder, strerror(errno));
    for (struct dirent *entry = readdir(open_folder); entry && !cr_failed();
         entry = readdir(open_folder)) {
        if (entry->d_name[0] != '.')
            add_name(names, &room, entry->d_name);
    }
    closedir(open_folder);
    if (cr_failed())
        images_names_free(names);
    else if (names->count > 0)
        qsort(names->names, (size_t)names->count, sizeof *names->names, by_bytes);
    return cr_error_status();
}

bool images_has_ending(const char *path, const char *ending)
{
    size_t length = strlen(path);
    size_t own = strlen(ending);
    return length >= own && strcasecmp(path + length - own, ending) == 0;
}

/* ---- the set ---- */

static cr_status read_entry(const struct picture_list *list, int64_t index,
                            const cr_image_wish *wish, cr_image *image, cr_image_part *part)
{
    const cr_tar *tar = list->tars[list->places[index].tar];
    int64_t entry = list->places[index].entry;
    size_t size = (size_t)cr_tar_at(tar, entry).size;
    char *bytes = cr_alloc(size);
    if (bytes && cr_tar_read(tar, entry, bytes) == CR_OK)
        cr_image_decode_part(bytes, size, list->paths[index], list->channels, wish, image, part);
    cr_free(bytes);
    return cr_error_status();
}

static cr_status read_picture_part(void *context, int64_t index, const cr_image_wish *wish,
                                   cr_image *image, cr_image_part *part, int64_t *label)
{
    const struct picture_list *list = context;
    *label = list->labels[index];
    if (list->places)
        return read_entry(list, index, wish, image, part);
    return cr_image_read_part(list->paths[index], list->channels, wish, image, part);
}

static cr_status read_picture(void *context, int64_t index, cr_image *image, int64_t *label)
{
    cr_image_part part;
    return read_picture_part(context, index, NULL, image, &part, label);
}

static cr_status read_label(void *context, int64_t index, int64_t *label)
{
    const struct picture_list *list = context;
    *label = list->labels[index];
    return CR_OK;
}

static const char *tell_path(void *context, int64_t index)
{
    const struct picture_list *list = context;
    return list->paths[index];
}

static cr_status read_targets(void *context, int64_t index, float *targets)
{
    const struct picture_list *list = context;
    const uint8_t *row = list->targets + index * list->class_count;
    for (int i = 0; i < list->class_count; i++)
        targets[i] = row[i];
    return CR_OK;
}

static void free_context(void *context)
{
    images_list_free(context);
}

/* ---- broken pictures ---- */

void cr_broken_pictures_free(cr_broken_pictures *broken)
{
    if (!broken)
        return;
    for (int64_t i = 0; i < broken->count; i++)
        cr_free(broken->sentences[i]);
    cr_free(broken->sentences);
    *broken = (cr_broken_pictures){ 0 };
}

/* Reading all pictures, on all threads. An error belongs to the thread that has it, so each is made
 * a sentence of its picture at once; NULL is a picture that can be read. */
struct trial {
    struct picture_list *list;
    char **sentences;
    bool *is_broken;
};

static void try_pictures(int64_t begin, int64_t end, void *context)
{
    struct trial *trial = context;
    cr_image image = { 0 };
    for (int64_t i = begin; i < end; i++) {
        int64_t label;
        if (read_picture(trial->list, i, &image, &label) == CR_OK)
            continue;
        trial->is_broken[i] = true;
        const char *words = cr_error_message();
        char *sentence = NULL;
        char copy[1024];
        size_t length = IMAGES_MIN(strlen(words), sizeof copy - 1);
        memcpy(copy, words, length);
        copy[length] = '\0';
        cr_error_clear();
        sentence = cr_string_copy(copy);
        cr_error_clear();
        trial->sentences[i] = sentence;
    }
    cr_image_free(&image);
}

static void move_picture(struct picture_list *list, int64_t from, int64_t to)
{
    list->paths[to] = list->paths[from];
    list->labels[to] = list->labels[from];
    if (list->places)
        list->places[to] = list->places[from];
    if (list->targets)
        memmove(list->targets + to * list->class_count, list->targets + from * list->class_count,
                (size_t)list->class_count);
}

/* Keeps the pictures that can be read; the others' sentences go to the list of broken ones. */
static cr_status keep_whole(struct trial *trial, cr_broken_pictures *broken)
{
    struct picture_list *list = trial->list;
    int64_t kept = 0;
    int64_t count = 0;
    for (int64_t i = 0; i < list->count; i++)
        count += trial->is_broken[i];
    char **sentences =
        cr_resize(broken->sentences, (size_t)(broken->count + count + 1), sizeof *sentences);
    if (!sentences)
        return cr_error_status();
    broken->sentences = sentences;
    for (int64_t i = 0; i < list->count; i++) {
        if (!trial->is_broken[i]) {
            move_picture(list, i, kept++);
            continue;
        }
        if (trial->sentences[i])
            broken->sentences[broken->count++] = trial->sentences[i];
        trial->sentences[i] = NULL;
        cr_free(list->paths[i]);
    }
    list->count = kept;
    return CR_OK;
}

static cr_status leave_out_broken(struct picture_list *list, cr_broken_pictures *broken)
{
    size_t count = (size_t)list->count;
    struct trial trial = { list, cr_alloc_zeroed(count, sizeof(char *)),
                           cr_alloc_zeroed(count, sizeof(bool)) };
    if (trial.sentences && trial.is_broken) {
        cr_parallel_for(list->count, 1, try_pictures, &trial);
        keep_whole(&trial, broken);
    }
    for (size_t i = 0; trial.sentences && i < count; i++)
        cr_free(trial.sentences[i]);
    cr_free(trial.sentences);
    cr_free(trial.is_broken);
    return cr_error_status();
}

/* ---- opening ---- */

static cr_status prepare(struct picture_list *list, const cr_image_set_args *args)
{
    list->channels = args->channels ? args->channels : 3;
    if (list->channels != 1 && list->channels != 3)
        return cr_error_set(CR_ERROR_ARGUMENT, "pictures are read with 1 or 3 channels, not %d",
                            list->channels);
    if (list->count == 0)
        return cr_error_set(CR_ERROR_FORMAT, "%s has no pictures", args->path);
    if (args->broken && leave_out_broken(list, args->broken) != CR_OK)
        return cr_error_status();
    if (list->count == 0)
        return cr_error_set(CR_ERROR_FORMAT, "of the pictures of %s none can be read", args->path);
    return CR_OK;
}

cr_dataset *images_list_open(struct picture_list *list, const cr_image_set_args *args)
{
    if (cr_failed() || !list || prepare(list, args) != CR_OK) {
        images_list_free(list);
        return NULL;
    }
    return cr_dataset_new(
        &(cr_dataset_source){ .name = args->path,
                              .size = list->count,
                              .sample_shape = CR_SHAPE(list->channels, -1, -1),
                              .dtype = CR_U8,
                              .class_count = list->class_count,
                              .class_names = (const char *const *)list->class_names,
                              .picture = read_picture,
                              .picture_part = read_picture_part,
                              .label = read_label,
                              .path = tell_path,
                              .targets = list->targets ? read_targets : NULL,
                              .free = free_context,
                              .context = list });
}
