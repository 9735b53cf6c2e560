/* Data sets as the subcommands name them, and their samples as pictures. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/image_file.h"
#include "cresset/memory.h"

#define SYSTEM_DATA_FOLDER "/usr/share/datasets" /* where Debian's data packages put theirs */

cr_dataset *open_data(const char *name, cr_data_split split)
{
    if (cr_file_exists(name) || strchr(name, '/'))
        return cr_dataset_open_idx(name, split);
    char *installed = cr_path_join(SYSTEM_DATA_FOLDER, name);
    if (!installed)
        return NULL;
    cr_dataset *set = NULL;
    if (cr_file_is_folder(installed))
        set = cr_dataset_open_idx(installed, split);
    else
        cr_error_set(CR_ERROR_IO,
                     "there is no data set %s: neither a folder of that name here nor "
                     "one in " SYSTEM_DATA_FOLDER,
                     name);
    cr_free(installed);
    return set;
}

bool sample_picture(cr_dataset *set, int64_t index, cli_picture *picture, int64_t *label)
{
    cr_shape shape = cr_dataset_sample_shape(set);
    int64_t numel = cr_shape_numel(&shape);
    if (shape.ndim != 3 || numel <= 0 || shape.dim[1] > 4096 || shape.dim[2] > 4096) {
        cr_error_set(CR_ERROR_SHAPE, "the samples of %s are not pictures", cr_dataset_name(set));
        return false;
    }
    int64_t plane = shape.dim[1] * shape.dim[2];
    bool bytes = cr_dataset_dtype(set) == CR_U8;
    void *sample = cr_alloc_array((size_t)numel, bytes ? 1 : sizeof(float));
    uint8_t *pixels = cr_alloc((size_t)numel);
    bool good = sample && pixels && cr_dataset_get(set, index, sample, label) == CR_OK;
    for (int64_t i = 0; good && i < numel; i++) { /* (C, H, W) to (H, W, C) */
        int64_t at = i % plane * shape.dim[0] + i / plane;
        double value = bytes ? ((uint8_t *)sample)[i] : 255.0 * (double)((float *)sample)[i];
        pixels[at] = (uint8_t)fmin(fmax(value, 0), 255);
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
