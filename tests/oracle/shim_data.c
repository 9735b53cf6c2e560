/* What Python needs of transforms: a list applied to the bytes of a picture. */
#include <string.h>

#include "cresset/transforms.h"

/* The shape (3 numbers) that a list makes of a picture; 0 or a status. */
int oracle_transform_shape(const char *text, int64_t *shape)
{
    cr_transform_list list = { 0 };
    if (cr_transform_parse(text, &list) != CR_OK)
        return (int)cr_error_status();
    cr_shape out = cr_transform_shape(&list, CR_SHAPE(shape[0], shape[1], shape[2]));
    memcpy(shape, out.dim, 3 * sizeof *shape);
    return CR_OK;
}

/* Applies a list to (height, width, channels) bytes; `out` has room for its shape. */
int oracle_transform(const char *text, const uint8_t *pixels, const int64_t *in,
                     const int64_t *shape, uint64_t seed, int64_t index, float *out)
{
    cr_transform_list list = { 0 };
    cr_image image = { 0 }, spare = { 0 };
    if (cr_transform_parse(text, &list) == CR_OK &&
        cr_image_resize_room(&image, in[1], in[2], (int)in[0]) == CR_OK) {
        memcpy(image.pixels, pixels, (size_t)(in[0] * in[1] * in[2]));
        cr_transform_picture(&list, &image, &spare, seed, 0, index,
                             CR_SHAPE(shape[0], shape[1], shape[2]), out);
    }
    cr_image_free(&image);
    cr_image_free(&spare);
    return (int)cr_error_status();
}
