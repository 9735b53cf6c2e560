/* Data sets as the subcommands name them, and their samples as pictures. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/image_file.h"
#include "cresset/memory.h"

#define LONGEST_SHOWN      256                   /* pixels of a side */
#define SYSTEM_DATA_FOLDER "/usr/share/datasets" /* where Debian's data packages put theirs */

/* Where a data set is that the user named: a path, or the name of one that the system has. To be
 * freed; NULL with an error set. */
static char *find_data(const char *name)
{
    if (cr_file_exists(name) || strchr(name, '/'))
        return cr_string_copy(name);
    char *installed = cr_path_join(SYSTEM_DATA_FOLDER, name);
    if (!installed || cr_file_is_folder(installed))
        return installed;
    cr_error_set(CR_ERROR_IO,
                 "there is no data set %s: neither a folder of that name here nor "
                 "one in " SYSTEM_DATA_FOLDER,
                 name);
    cr_free(installed);
    return NULL;
}

/* The parts of a set of a kind that has a training and a test part, and with npz one to validate.
 */
static void open_known_parts(const char *path, cr_image_parts *parts)
{
    parts->train = cr_dataset_open(path, CR_SPLIT_TRAIN);
    parts->test = cr_dataset_open(path, CR_SPLIT_TEST);
    if (cr_data_kind_at(path) == CR_DATA_NPZ)
        parts->validation = cr_dataset_open(path, CR_SPLIT_VALIDATION);
}

static void refuse_unknown(const char *path)
{
    if (!cr_file_exists(path))
        cr_error_set(CR_ERROR_IO, "there is no data set %s", path);
    else
        cr_error_set(CR_ERROR_IO,
                     "%s holds no data set that is known: neither a subfolder of pictures for each "
                     "class, nor a table (.csv), tar files, idx, CIFAR, STL-10 or npz files",
                     path);
}

/* Pictures in files, with the channels and classes of the model that is to see them. */
static void open_pictures(const char *path, const data_request *request, cr_image_parts *parts)
{
    const cr_classifier *classifier = request->classifier;
    int64_t channels = classifier ? classifier->input.dim[0] : 0;
    cr_image_parts_open(path, .channels = channels == 1 ? 1 : 3,
                        .class_names =
                            classifier ? (const char *const *)classifier->class_names : NULL,
                        .class_count = classifier ? classifier->class_count : 0, .parts = parts,
                        .label_by = request->label_by, .broken = request->broken);
}

bool open_data_parts(const data_request *request, cr_image_parts *parts)
{
    *parts = (cr_image_parts){ 0 };
    char *path = find_data(request->name);
    if (!path)
        return false;
    if (cr_data_kind_at(path) != CR_DATA_UNKNOWN && !request->label_by)
        open_known_parts(path, parts);
    else if (cr_image_parts_at(path) || request->label_by)
        open_pictures(path, request, parts);
    else
        refuse_unknown(path);
    cr_free(path);
    if (!cr_failed())
        return true;
    cr_image_parts_free(parts);
    return false;
}

/* Gives up all parts but the one that is wanted. Where there is none to test, the one to validate
 * serves, and where there are no parts at all, the whole set does. */
static cr_dataset *choose_part(cr_image_parts *parts, const char *name, cr_data_split split)
{
    cr_dataset *for_test = parts->test         ? parts->test
                           : parts->validation ? parts->validation
                                               : parts->train;
    cr_dataset *chosen = split == CR_SPLIT_TRAIN        ? parts->train
                         : split == CR_SPLIT_VALIDATION ? parts->validation
                                                        : for_test;
    if (!chosen)
        cr_error_set(CR_ERROR_IO, "%s has no %s part; cresset data split parts it into several",
                     name, split == CR_SPLIT_TRAIN ? "training" : "validation");
    cr_dataset_retain(chosen);
    cr_image_parts_free(parts);
    return chosen;
}

cr_dataset *open_data(const char *name, cr_data_split split, const cr_classifier *classifier)
{
    char *path = find_data(name);
    cr_image_parts parts;
    cr_dataset *set = NULL;
    if (path && cr_data_kind_at(path) != CR_DATA_UNKNOWN)
        set = cr_dataset_open(path, split);
    else if (path &&
             open_data_parts(&(data_request){ .name = name, .classifier = classifier }, &parts))
        set = choose_part(&parts, name, split);
    cr_free(path);
    return set;
}

/* A sample of float32 as a picture. */
static bool float_picture(cr_dataset *set, int64_t index, cli_picture *picture, int64_t *label)
{
    cr_shape shape = cr_dataset_sample_shape(set);
    int64_t numel = cr_shape_numel(&shape);
    if (shape.ndim != 3 || numel <= 0 || shape.dim[1] > 4096 || shape.dim[2] > 4096) {
        cr_error_set(CR_ERROR_SHAPE, "the samples of %s are not pictures", cr_dataset_name(set));
        return false;
    }
    int64_t plane = shape.dim[1] * shape.dim[2];
    float *sample = cr_alloc_array((size_t)numel, sizeof *sample);
    uint8_t *pixels = cr_alloc((size_t)numel);
    bool good = sample && pixels && cr_dataset_get(set, index, sample, label) == CR_OK;
    for (int64_t i = 0; good && i < numel; i++) { /* (C, H, W) to (H, W, C) */
        int64_t at = i % plane * shape.dim[0] + i / plane;
        pixels[at] = (uint8_t)fmin(fmax(255.0 * (double)sample[i], 0), 255);
    }
    *picture =
        (cli_picture){ pixels, (int)shape.dim[1], (int)shape.dim[2], (int)shape.dim[0], { "" } };
    cr_free(sample);
    if (!good) {
        cr_free(pixels);
        picture->pixels = NULL;
    }
    return good;
}

bool shrink_picture(cr_image *image, int64_t side)
{
    int64_t longer = image->height > image->width ? image->height : image->width;
    if (longer <= side)
        return true;
    int64_t height = image->height * side / longer, width = image->width * side / longer;
    char words[64];
    snprintf(words, sizeof words, "resize:%lld:%lld", (long long)(height ? height : 1),
             (long long)(width ? width : 1));
    cr_transform_list list = { 0 };
    cr_image spare = { 0 };
    bool good = cr_transform_parse(words, &list) == CR_OK &&
                list.items[0].type->picture(&list.items[0], image, &spare, NULL) == CR_OK;
    cr_image_free(&spare);
    return good;
}

bool sample_picture(cr_dataset *set, int64_t index, cli_picture *picture, int64_t *label)
{
    *picture = (cli_picture){ 0 };
    if (!cr_dataset_has_pictures(set))
        return float_picture(set, index, picture, label);
    cr_image image = { 0 };
    if (cr_dataset_picture(set, index, &image, label) != CR_OK ||
        !shrink_picture(&image, LONGEST_SHOWN)) {
        cr_image_free(&image);
        return false;
    }
    *picture =
        (cli_picture){ image.pixels, (int)image.height, (int)image.width, image.channels, { "" } };
    return true;
}

bool split_transforms(const cr_transform_list *all, const cr_shape *input,
                      cr_transform_list *pictures, cr_transform_list *tensors)
{
    *pictures = (cr_transform_list){ 0 };
    *tensors = (cr_transform_list){ 0 };
    for (int i = 0; i < all->count; i++) {
        bool of_pictures = all->items[i].type->picture && tensors->count == 0;
        cr_transform_list *list = of_pictures ? pictures : tensors;
        list->items[list->count++] = all->items[i];
    }
    cr_shape made = cr_transform_shape(pictures, CR_SHAPE(input->dim[0], -1, -1));
    char resize[64];
    snprintf(resize, sizeof resize, "resize:%lld:%lld", (long long)input->dim[1],
             (long long)input->dim[2]);
    return cr_shape_equal(&made, input) || cr_transform_parse(resize, pictures) == CR_OK;
}

static bool check_input(const cr_shape *input)
{
    if (input->ndim == 3 && (input->dim[0] == 1 || input->dim[0] == 3 || input->dim[0] == 4))
        return true;
    char text[CR_SHAPE_TEXT];
    cr_error_set(CR_ERROR_SHAPE, "the model takes %s, which are no pictures",
                 cr_shape_format(input, text, sizeof text));
    return false;
}

bool read_file_sample(const char *path, const cr_transform_list *pictures, const cr_shape *input,
                      float *sample)
{
    cr_image image = { 0 }, spare = { 0 };
    bool good = check_input(input) && cr_image_read(path, (int)input->dim[0], &image) == CR_OK &&
                cr_transform_picture(pictures, &image, &spare, 0, 0, 0, *input, sample) == CR_OK;
    cr_image_free(&image);
    cr_image_free(&spare);
    return good;
}

bool read_set_sample(cr_dataset *set, int64_t index, const cr_transform_list *pictures,
                     const cr_shape *input, float *sample, int64_t *label)
{
    if (!cr_dataset_has_pictures(set) && cr_dataset_dtype(set) == CR_F32)
        return cr_dataset_get(set, index, sample, label) == CR_OK;
    cr_image image = { 0 }, spare = { 0 };
    bool good =
        check_input(input) && cr_dataset_picture(set, index, &image, label) == CR_OK &&
        cr_image_convert(&image, (int)input->dim[0]) == CR_OK &&
        cr_transform_picture(pictures, &image, &spare, 0, 0, index, *input, sample) == CR_OK;
    cr_image_free(&image);
    cr_image_free(&spare);
    return good;
}

void free_pictures(cli_picture *pictures, int count)
{
    for (int i = 0; pictures && i < count; i++)
        cr_free((void *)pictures[i].pixels);
    cr_free(pictures);
}
