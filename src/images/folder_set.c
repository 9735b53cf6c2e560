/* Folders of pictures: one subfolder a class, and the parts of a set beside each other. */
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/file.h"
#include "images/images.h"

#define DEEPEST 16 /* folders inside each other, which links could make endless */

/* Adds the pictures of a folder, then those of its subfolders, as os.walk goes through them. */
static cr_status add_pictures(struct picture_list *list, const char *folder, int label, int depth)
{
    struct name_list names;
    if (depth > DEEPEST)
        return cr_error_set(CR_ERROR_FORMAT, "%s is more than %d folders deep", folder, DEEPEST);
    if (images_list_folder(folder, &names) != CR_OK)
        return cr_error_status();
    for (int turn = 0; turn < 2; turn++) {
        for (int64_t i = 0; i < names.count && !cr_failed(); i++) {
            if (turn == 0 && !cr_image_path_is_picture(names.names[i]))
                continue;
            char *path = cr_path_join(folder, names.names[i]);
            bool is_folder = cr_file_is_folder(path);
            if (path && turn == 0 && !is_folder) {
                images_list_add(list, path, label);
                continue;
            }
            if (path && turn == 1 && is_folder)
                add_pictures(list, path, label, depth + 1);
            cr_free(path);
        }
    }
    images_names_free(&names);
    return cr_error_status();
}

char **cr_image_folder_paths(const char *folder, int64_t *count)
{
    char **paths = NULL;
    *count = 0;
    struct picture_list *list = cr_failed() ? NULL : cr_alloc_zeroed(1, sizeof *list);
    if (list && add_pictures(list, folder, CR_NO_LABEL, 0) == CR_OK && list->count == 0)
        cr_error_set(CR_ERROR_FORMAT, "%s has no pictures, neither itself nor below", folder);
    if (list && !cr_failed()) {
        paths = list->paths;
        *count = list->count;
        list->paths = NULL;
        list->count = 0;
    }
    images_list_free(list);
    return paths;
}

static cr_status add_class(struct picture_list *list, const cr_image_set_args *args,
                           const char *folder, const char *name)
{
    int label = images_list_find_class(list, name);
    int64_t before = list->count;
    if (label < 0 && args->class_names)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s is no class of the model or of the other parts of the set", folder);
    if (label < 0)
        label = images_list_add_class(list, name);
    if (label < 0 || add_pictures(list, folder, label, 0) != CR_OK)
        return cr_error_status();
    if (list->count == before && !args->class_names)
        return cr_error_set(CR_ERROR_FORMAT,
                            "the class %s has no pictures: fill the folder or remove it", folder);
    return CR_OK;
}

/* ---- classes by an expression ---- */

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

/* The class that the expression finds in a path, to be freed. */
static char *find_class(const regex_t *regex, const char *expression, const char *path)
{
    regmatch_t found[2];
    if (regexec(regex, path, 2, found, 0) != 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "the expression %s finds no class in %s", expression, path);
        return NULL;
    }
    regmatch_t match = found[regex->re_nsub > 0 && found[1].rm_so >= 0];
    return cr_string_format("%.*s", (int)(match.rm_eo - match.rm_so), path + match.rm_so);
}

/* First all classes are found, unless they are given, and sorted; then they get their pictures. */
static cr_status label_by_paths(struct picture_list *list, const cr_image_set_args *args,
                                const regex_t *regex)
{
    for (int turn = args->class_names ? 1 : 0; turn < 2; turn++) {
        for (int64_t i = 0; i < list->count && !cr_failed(); i++) {
            char *name = find_class(regex, args->label_by, list->paths[i]);
            if (!name)
                break;
            int class = images_list_find_class(list, name);
            if (class < 0 && turn == 0)
                images_list_add_class(list, name);
            else if (class < 0)
                cr_error_set(CR_ERROR_FORMAT,
                             "%s is of the class %s, which the model or the other parts do not "
                             "have",
                             list->paths[i], name);
            list->labels[i] = class;
            cr_free(name);
        }
        if (turn == 0 && list->class_count > 0)
            qsort(list->class_names, (size_t)list->class_count, sizeof *list->class_names, by_name);
    }
    return cr_error_status();
}

static cr_dataset *open_by_expression(const cr_image_set_args *args)
{
    regex_t regex;
    int code = regcomp(&regex, args->label_by, REG_EXTENDED);
    if (code != 0) {
        char words[200];
        regerror(code, &regex, words, sizeof words);
        cr_error_set(CR_ERROR_ARGUMENT, "%s is not a regular expression: %s", args->label_by,
                     words);
        return NULL;
    }
    struct picture_list *list = cr_alloc_zeroed(1, sizeof *list);
    if (list && images_list_take_classes(list, args) == CR_OK &&
        add_pictures(list, args->path, CR_NO_LABEL, 0) == CR_OK)
        label_by_paths(list, args, &regex);
    regfree(&regex);
    return images_list_open(list, args);
}

cr_dataset *cr_dataset_open_folder_with(cr_image_set_args args)
{
    struct name_list names;
    if (args.label_by)
        return cr_failed() ? NULL : open_by_expression(&args);
    if (cr_failed() || images_list_folder(args.path, &names) != CR_OK)
        return NULL;
    struct picture_list *list = cr_alloc_zeroed(1, sizeof *list);
    if (list)
        images_list_take_classes(list, &args);
    for (int64_t i = 0; i < names.count && !cr_failed(); i++) {
        char *folder = cr_path_join(args.path, names.names[i]);
        if (folder && cr_file_is_folder(folder))
            add_class(list, &args, folder, names.names[i]);
        cr_free(folder);
    }
    images_names_free(&names);
    if (!cr_failed() && list->class_count == 0)
        cr_error_set(CR_ERROR_FORMAT, "%s has no subfolders, and each class needs one", args.path);
    return images_list_open(list, &args);
}

/* ---- parts ---- */

#define PART_COUNT 3

static const char *const part_names[PART_COUNT][4] = {
    { "train", "training", "Train", "TRAIN" },
    { "val", "valid", "validation", "Val" },
    { "test", "testing", "Test", "TEST" },
};

/* Where a part of a set stands: a table, beside which its pictures may lie in a folder of that
 * name, or a folder. NULL if it is not there; to be freed. */
static char *find_part(const char *folder, int part)
{
    for (int i = 0; i < 4 && !cr_failed(); i++) {
        for (int table = 1; table >= 0; table--) {
            char *path =
                cr_string_format("%s/%s%s", folder, part_names[part][i], table ? ".csv" : "");
            if (path && (table ? cr_file_exists(path) && !cr_file_is_folder(path)
                               : cr_file_is_folder(path)))
                return path;
            cr_free(path);
        }
    }
    return NULL;
}

/* True if a folder has something with such an ending in it. */
static bool has_file(const char *folder, bool (*fits)(const char *name))
{
    struct name_list names;
    if (images_list_folder(folder, &names) != CR_OK) {
        cr_error_clear();
        return false;
    }
    bool found = false;
    for (int64_t i = 0; i < names.count && !found; i++)
        found = fits(names.names[i]);
    images_names_free(&names);
    return found;
}

static bool is_tar(const char *name)
{
    return images_has_ending(name, ".tar");
}

static bool is_table(const char *name)
{
    return images_has_ending(name, ".csv");
}

/* True if one of the subfolders has a picture, at whatever depth. */
static bool has_pictures_below(const char *folder, int depth)
{
    struct name_list names;
    if (depth > DEEPEST || images_list_folder(folder, &names) != CR_OK) {
        cr_error_clear();
        return false;
    }
    bool found = false;
    for (int64_t i = 0; i < names.count && !found; i++) {
        char *path = cr_path_join(folder, names.names[i]);
        if (path && cr_file_is_folder(path))
            found = has_pictures_below(path, depth + 1);
        else
            found = path && depth > 0 && cr_image_path_is_picture(path);
        cr_free(path);
    }
    images_names_free(&names);
    return found;
}

static cr_dataset *open_one(cr_image_set_args args)
{
    if (is_table(args.path))
        return cr_dataset_open_csv_with(args);
    if (is_tar(args.path) || (cr_file_is_folder(args.path) && has_file(args.path, is_tar)))
        return cr_dataset_open_shards_with(args);
    return cr_dataset_open_folder_with(args);
}

/* The names of the classes of a set, for the next part; borrowed names in an array to be freed. */
static const char **borrow_classes(const cr_dataset *set)
{
    int count = cr_dataset_class_count(set);
    const char **names = cr_alloc_array((size_t)count, sizeof *names);
    for (int i = 0; names && i < count; i++)
        names[i] = cr_dataset_class_name(set, i);
    return names;
}

static cr_status open_parts(const cr_image_set_args *args, cr_dataset *sets[PART_COUNT])
{
    const char **names = NULL;
    cr_image_set_args own = *args;
    for (int part = 0; part < PART_COUNT && !cr_failed(); part++) {
        char *path = find_part(args->path, part);
        own.path = path;
        sets[part] = path ? open_one(own) : NULL;
        if (sets[part] && !own.class_names) {
            names = borrow_classes(sets[part]);
            own.class_names = names;
            own.class_count = cr_dataset_class_count(sets[part]);
        }
        cr_free(path);
    }
    cr_free(names);
    return cr_error_status();
}

cr_status cr_image_parts_open_with(cr_image_set_args args)
{
    *args.parts = (cr_image_parts){ 0 };
    cr_dataset *sets[PART_COUNT] = { NULL };
    if (cr_failed() || open_parts(&args, sets) != CR_OK) {
        for (int i = 0; i < PART_COUNT; i++)
            cr_dataset_free(sets[i]);
        return cr_error_status();
    }
    if (!sets[0] && !sets[1] && !sets[2])
        sets[0] = open_one(args);
    *args.parts = (cr_image_parts){ sets[0], sets[1], sets[2] };
    return cr_error_status();
}

void cr_image_parts_free(cr_image_parts *parts)
{
    if (!parts)
        return;
    cr_dataset_free(parts->train);
    cr_dataset_free(parts->validation);
    cr_dataset_free(parts->test);
    *parts = (cr_image_parts){ 0 };
}

bool cr_image_parts_at(const char *path)
{
    if (!path || !cr_file_exists(path))
        return false;
    if (!cr_file_is_folder(path))
        return is_table(path) || is_tar(path);
    for (int part = 0; part < PART_COUNT; part++) {
        char *found = find_part(path, part);
        cr_free(found);
        if (found)
            return true;
    }
    return has_file(path, is_tar) || has_pictures_below(path, 0);
}
