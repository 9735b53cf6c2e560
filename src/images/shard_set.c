/* Tar shards in WebDataset's layout. The files of a sample have a name in common up to the first
 * dot after the last slash, and stand next to each other; of them the picture and the class are
 * taken. Pictures are named "SHARD.tar/KEY.jpg" in messages. */
#include <stdlib.h>
#include <string.h>

#include "cresset/file.h"
#include "images/images.h"

#define LONGEST_CLASS 20 /* bytes of a .cls file */
#define MOST_CLASSES  1000000

/* A sample whose files are being found. */
struct sample {
    const char *key; /* borrowed from the archive */
    size_t key_length;
    int64_t picture; /* its entry; -1: not yet */
    int64_t label;
};

static size_t key_length(const char *name)
{
    const char *slash = strrchr(name, '/');
    const char *base = slash ? slash + 1 : name;
    return (size_t)(base - name) + strcspn(base, ".");
}

static cr_status read_class(const cr_tar *tar, const char *path, int64_t entry, int64_t *label)
{
    char text[LONGEST_CLASS + 1];
    cr_tar_entry file = cr_tar_at(tar, entry);
    long long value = -1;
    bool good = file.size > 0 && file.size <= LONGEST_CLASS;
    if (good) {
        if (cr_tar_read(tar, entry, text) != CR_OK)
            return cr_error_status();
        text[file.size] = '\0';
        text[strcspn(text, " \t\r\n")] = '\0';
        good = cr_parse_int64(text, &value);
    }
    if (!good || value < 0 || value >= MOST_CLASSES)
        return cr_error_set(CR_ERROR_FORMAT, "%s/%s does not hold the number of a class", path,
                            file.name);
    *label = value;
    return CR_OK;
}

/* Adds a sample that is complete; one without a picture is none. */
static cr_status finish_sample(struct picture_list *list, const char *path, struct sample *sample)
{
    if (sample->picture < 0)
        return CR_OK;
    int64_t count = list->count;
    int tar = list->tar_count - 1;
    if ((count & (count - 1)) == 0) { /* full at the powers of two */
        struct picture_place *places =
            cr_resize(list->places, count ? 2 * (size_t)count : 1, sizeof *places);
        if (!places)
            return cr_error_status();
        list->places = places;
    }
    list->places[count] = (struct picture_place){ sample->picture, tar };
    char *name = cr_string_format("%s/%s", path, cr_tar_at(list->tars[tar], sample->picture).name);
    return images_list_add(list, name, sample->label);
}

static cr_status add_entries(struct picture_list *list, const char *path)
{
    const cr_tar *tar = list->tars[list->tar_count - 1];
    struct sample sample = { .key = "", .picture = -1, .label = CR_NO_LABEL };
    for (int64_t i = 0; i < cr_tar_count(tar) && !cr_failed(); i++) {
        const char *name = cr_tar_at(tar, i).name;
        size_t length = key_length(name);
        if (length != sample.key_length || strncmp(name, sample.key, length) != 0) {
            finish_sample(list, path, &sample);
            sample = (struct sample){ name, length, -1, CR_NO_LABEL };
        }
        if (strcmp(name + length, ".cls") == 0)
            read_class(tar, path, i, &sample.label);
        else if (sample.picture < 0 && cr_image_path_is_picture(name))
            sample.picture = i;
    }
    return cr_failed() ? cr_error_status() : finish_sample(list, path, &sample);
}

static cr_status add_shard(struct picture_list *list, const char *path)
{
    cr_tar *tar = cr_tar_open(path);
    if (!tar)
        return cr_error_status();
    cr_tar **tars = cr_resize(list->tars, (size_t)list->tar_count + 1, sizeof(cr_tar *));
    if (!tars) {
        cr_tar_close(tar);
        return cr_error_status();
    }
    list->tars = tars;
    list->tars[list->tar_count++] = tar;
    return add_entries(list, path);
}

static cr_status add_folder(struct picture_list *list, const char *folder)
{
    struct name_list names;
    if (images_list_folder(folder, &names) != CR_OK)
        return cr_error_status();
    for (int64_t i = 0; i < names.count && !cr_failed(); i++) {
        if (!images_has_ending(names.names[i], ".tar"))
            continue;
        char *path = cr_path_join(folder, names.names[i]);
        if (path)
            add_shard(list, path);
        cr_free(path);
    }
    images_names_free(&names);
    return cr_error_status();
}

/* Names the classes by their numbers, or checks the numbers against the names that are given. */
static cr_status name_classes(struct picture_list *list, const cr_image_set_args *args)
{
    int64_t largest = -1;
    for (int64_t i = 0; i < list->count; i++)
        largest = IMAGES_MAX(largest, list->labels[i]);
    if (args->class_names && largest >= args->class_count)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s has the class %lld, where only 0 to %d are classes", args->path,
                            (long long)largest, args->class_count - 1);
    if (images_list_take_classes(list, args) != CR_OK)
        return cr_error_status();
    for (int64_t i = 0; i <= largest && !args->class_names && !cr_failed(); i++) {
        char *name = cr_string_format("%lld", (long long)i);
        if (name)
            images_list_add_class(list, name);
        cr_free(name);
    }
    return cr_error_status();
}

cr_dataset *cr_dataset_open_shards_with(cr_image_set_args args)
{
    if (cr_failed())
        return NULL;
    struct picture_list *list = cr_alloc_zeroed(1, sizeof *list);
    if (!list)
        return NULL;
    if (cr_file_is_folder(args.path))
        add_folder(list, args.path);
    else
        add_shard(list, args.path);
    if (!cr_failed())
        name_classes(list, &args);
    return images_list_open(list, &args);
}
