/* Pictures in memory: their room, and the conversions between kinds of colour. */
#include <string.h>

#include "cresset/creation.h"
#include "cresset/pointwise.h"
#include "data/data.h"

cr_status cr_image_resize_room(cr_image *image, int64_t height, int64_t width, int channels)
{
    if (height < 1 || width < 1 || height > CR_IMAGE_MAX_SIDE || width > CR_IMAGE_MAX_SIDE)
        return cr_error_set(CR_ERROR_SHAPE,
                            "a picture cannot be %lld × %lld; its sides must lie in 1 to %d",
                            (long long)width, (long long)height, CR_IMAGE_MAX_SIDE);
    if (channels != 1 && channels != 3 && channels != 4)
        return cr_error_set(CR_ERROR_SHAPE, "a picture has 1, 3 or 4 channels, not %d", channels);
    size_t size = (size_t)height * (size_t)width * (size_t)channels;
    if (size > image->room) {
        cr_image_free(image);
        image->pixels = cr_alloc(size);
        if (!image->pixels)
            return cr_error_status();
        image->room = size;
    }
    image->height = height;
    image->width = width;
    image->channels = channels;
    return CR_OK;
}

void cr_image_free(cr_image *image)
{
    if (!image)
        return;
    cr_free(image->pixels);
    *image = (cr_image){ 0 };
}

static size_t pixel_count(const cr_image *image)
{
    return (size_t)image->height * (size_t)image->width;
}

cr_status cr_image_copy(const cr_image *from, cr_image *to)
{
    if (cr_image_resize_room(to, from->height, from->width, from->channels) != CR_OK)
        return cr_error_status();
    memcpy(to->pixels, from->pixels, pixel_count(from) * (size_t)from->channels);
    return CR_OK;
}

/* ITU-R 601-2 luma in 16-bit fixed point, as Pillow rounds it. */
uint8_t data_grey(const uint8_t *rgb)
{
    return (uint8_t)((19595U * rgb[0] + 38470U * rgb[1] + 7471U * rgb[2] + 0x8000U) >> 16);
}

/* To fewer channels, in place: what is written never overtakes what is read. */
static void narrow(cr_image *image, int channels)
{
    size_t count = pixel_count(image);
    const uint8_t *from = image->pixels;
    uint8_t *to = image->pixels;
    for (size_t i = 0; i < count; i++, from += image->channels, to += channels) {
        if (channels == 1)
            *to = data_grey(from);
        else
            memmove(to, from, 3);
    }
    image->channels = channels;
}

/* To more channels, from the last pixel on: in place, what is written never overtakes what is
 * read. */
static void spread(const uint8_t *pixels, int from_channels, uint8_t *to, int channels,
                   size_t count)
{
    for (size_t i = count; i-- > 0;) {
        const uint8_t *from = pixels + i * (size_t)from_channels;
        uint8_t rgb[3] = { from[0], from[from_channels == 1 ? 0 : 1],
                           from[from_channels == 1 ? 0 : 2] };
        memcpy(to + i * (size_t)channels, rgb, 3);
        if (channels == 4)
            to[i * 4 + 3] = 255;
    }
}

/* In its own room if there is enough: then a picture that is used again asks for no memory. */
static cr_status widen(cr_image *image, int channels)
{
    size_t count = pixel_count(image);
    if (count * (size_t)channels <= image->room) {
        spread(image->pixels, image->channels, image->pixels, channels, count);
        image->channels = channels;
        return CR_OK;
    }
    cr_image wide = { 0 };
    if (cr_image_resize_room(&wide, image->height, image->width, channels) != CR_OK)
        return cr_error_status();
    spread(image->pixels, image->channels, wide.pixels, channels, count);
    cr_image_free(image);
    *image = wide;
    return CR_OK;
}

cr_status cr_image_convert(cr_image *image, int channels)
{
    if (channels != 1 && channels != 3 && channels != 4)
        return cr_error_set(CR_ERROR_SHAPE, "a picture has 1, 3 or 4 channels, not %d", channels);
    if (channels > image->channels)
        return widen(image, channels);
    if (channels < image->channels)
        narrow(image, channels);
    return CR_OK;
}

void data_planes_to_pixels(const uint8_t *planes, cr_image *image)
{
    size_t count = pixel_count(image);
    size_t channels = (size_t)image->channels;
    for (size_t c = 0; c < channels; c++) {
        for (size_t i = 0; i < count; i++)
            image->pixels[i * channels + c] = planes[c * count + i];
    }
}

cr_tensor *cr_image_to_tensor(const cr_image *image)
{
    int64_t channels = image->channels;
    cr_tensor *tensor = cr_empty(CR_SHAPE(channels, image->height, image->width), .dtype = CR_U8);
    if (!tensor)
        return NULL;
    size_t count = pixel_count(image);
    uint8_t *to = cr_data(tensor);
    for (size_t c = 0; c < (size_t)channels; c++) {
        for (size_t i = 0; i < count; i++)
            *to++ = image->pixels[i * (size_t)channels + c];
    }
    return tensor;
}

cr_status cr_image_from_tensor(cr_tensor *tensor, cr_image *image)
{
    if (cr_failed() || !tensor)
        return cr_error_status();
    char shape[CR_SHAPE_TEXT];
    cr_shape own = cr_shape_of(tensor);
    if (own.ndim != 3 || cr_dtype_of(tensor) != CR_U8)
        return cr_error_set(CR_ERROR_SHAPE, "a picture is made of uint8 (C, H, W), not of %s %s",
                            cr_dtype_name(cr_dtype_of(tensor)),
                            cr_shape_format(&own, shape, sizeof shape));
    if (cr_image_resize_room(image, own.dim[1], own.dim[2], (int)own.dim[0]) != CR_OK)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    cr_tensor *planes = cr_contiguous(tensor);
    if (planes)
        data_planes_to_pixels(cr_data(planes), image);
    cr_frame_end(frame);
    return cr_error_status();
}
