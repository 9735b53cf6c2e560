/* Data sets as the subcommands name them, and their samples as pictures. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
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

void free_pictures(cli_picture *pictures, int count)
{
    for (int i = 0; pictures && i < count; i++)
        cr_free((void *)pictures[i].pixels);
    cr_free(pictures);
}
