/* Cutting pictures out, and padding them: torchvision's CenterCrop, RandomCrop, RandomResizedCrop
 * and Pad. */
#include <math.h>
#include <string.h>

#include "data/data.h"

/* Python's round: to the nearest, halves to the even. */
static int64_t round_half_even(double value)
{
    return (int64_t)nearbyint(value);
}

cr_status data_cut(cr_image *image, cr_image *spare, const cr_image_box *box, uint8_t fill)
{
    size_t channels = (size_t)image->channels;
    int64_t top = box->top, left = box->left, height = box->height, width = box->width;
    if (cr_image_resize_room(spare, height, width, image->channels) != CR_OK)
        return cr_error_status();
    int64_t first = CR_MIN(CR_MAX(-left, 0), width); /* of the columns that the picture has */
    int64_t last = CR_MAX(CR_MIN(image->width - left, width), first);
    size_t row = (size_t)width * channels;
    for (int64_t y = 0; y < height; y++) {
        uint8_t *out = spare->pixels + (size_t)y * row;
        int64_t from = y + top;
        if (from < 0 || from >= image->height) {
            memset(out, fill, row);
            continue;
        }
        memset(out, fill, (size_t)first * channels);
        memcpy(out + (size_t)first * channels,
               image->pixels + (size_t)(from * image->width + left + first) * channels,
               (size_t)(last - first) * channels);
        memset(out + (size_t)last * channels, fill, (size_t)(width - last) * channels);
    }
    data_image_swap(image, spare);
    return CR_OK;
}

/* SIZE, or HEIGHT:WIDTH. */
static int64_t wanted_height(const cr_transform *transform)
{
    return (int64_t)transform->parameters[0];
}

static int64_t wanted_width(const cr_transform *transform)
{
    return (int64_t)transform->parameters[transform->parameters[1] > 0];
}

static void crop_shape(const cr_transform *transform, cr_shape *shape)
{
    shape->dim[1] = wanted_height(transform);
    shape->dim[2] = wanted_width(transform);
}

/* ---- center_crop ---- */

/* Where the middle `wanted` of `size` begin; before 0 if there are fewer. */
static int64_t middle(int64_t size, int64_t wanted)
{
    if (wanted > size)
        return -((wanted - size) / 2);
    return round_half_even((double)(size - wanted) / 2);
}

static cr_image_box center_box(const cr_transform *transform, int64_t height, int64_t width)
{
    cr_image_box box = { .height = wanted_height(transform), .width = wanted_width(transform) };
    box.top = middle(height, box.height);
    box.left = middle(width, box.width);
    return box;
}

static cr_status center_crop(const cr_transform *transform, cr_image *image, cr_image *spare,
                             cr_generator *generator)
{
    (void)generator;
    cr_image_box box = center_box(transform, image->height, image->width);
    return data_cut(image, spare, &box, 0);
}

const cr_transform_type data_center_crop = {
    .name = "center_crop",
    .about = "the middle SIZE × SIZE pixels, or HEIGHT:WIDTH, cut out; zeros around smaller ones",
    .least = 1,
    .most = 2,
    .parameters = { { "size", 0, NULL }, { "width", 0, NULL } },
    .check = data_check_size,
    .shape = crop_shape,
    .picture = center_crop,
};

/* ---- corner_crop ---- */

enum corner { TOP_LEFT, TOP_RIGHT, BOTTOM_LEFT, BOTTOM_RIGHT };

/* One of the corners of torchvision's five_crop. */
static cr_status corner_crop(const cr_transform *transform, cr_image *image, cr_image *spare,
                             cr_generator *generator)
{
    (void)generator;
    enum corner corner = (enum corner)transform->parameters[2];
    cr_image_box box = { .height = wanted_height(transform), .width = wanted_width(transform) };
    if (box.height > image->height || box.width > image->width)
        return cr_error_set(CR_ERROR_SHAPE,
                            "a corner of %lld x %lld pixels cannot be cut out of a picture of %lld "
                            "x %lld",
                            (long long)box.width, (long long)box.height, (long long)image->width,
                            (long long)image->height);
    if (corner == BOTTOM_LEFT || corner == BOTTOM_RIGHT)
        box.top = image->height - box.height;
    if (corner == TOP_RIGHT || corner == BOTTOM_RIGHT)
        box.left = image->width - box.width;
    return data_cut(image, spare, &box, 0);
}

const cr_transform_type data_corner_crop = {
    .name = "corner_crop",
    .about = "the SIZE × SIZE pixels of a corner, or HEIGHT:WIDTH, cut out",
    .least = 1,
    .most = 3,
    .parameters = { { "size", 0, NULL },
                    { "width", 0, NULL },
                    { "corner", 0, "top_left top_right bottom_left bottom_right" } },
    .check = data_check_size,
    .shape = crop_shape,
    .picture = corner_crop,
};

/* ---- pad ---- */

enum pad_mode { PAD_CONSTANT, PAD_EDGE, PAD_REFLECT, PAD_SYMMETRIC };

static const char *check_pad(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    double padding = transform->parameters[0];
    double fill = transform->parameters[1];
    if (!(padding >= 0 && padding <= CR_IMAGE_MAX_SIDE) || padding != floor(padding))
        return "a padding of 0 to 65536 whole pixels";
    return fill >= 0 && fill <= 255 && fill == floor(fill) ? NULL : "a fill of 0 to 255";
}

static void pad_shape(const cr_transform *transform, cr_shape *shape)
{
    int64_t padding = (int64_t)transform->parameters[0];
    for (int i = 1; i < 3; i++)
        shape->dim[i] += shape->dim[i] < 0 ? 0 : 2 * padding;
}

/* The index inside that stands for one outside, over and over for paddings beyond the size. */
static int64_t pad_source(int64_t i, int64_t size, enum pad_mode mode)
{
    int64_t edge = mode == PAD_SYMMETRIC; /* whether the edge's own pixel comes again */
    if (mode == PAD_EDGE || size == 1)
        return CR_MIN(CR_MAX(i, 0), size - 1);
    while (i < 0 || i >= size)
        i = i < 0 ? -i - edge : 2 * size - 2 + edge - i;
    return i;
}

static cr_status pad(const cr_transform *transform, cr_image *image, cr_image *spare,
                     cr_generator *generator)
{
    (void)generator;
    int64_t padding = (int64_t)transform->parameters[0];
    enum pad_mode mode = (enum pad_mode)transform->parameters[2];
    int64_t height = image->height + 2 * padding;
    int64_t width = image->width + 2 * padding;
    size_t channels = (size_t)image->channels;
    if (mode == PAD_CONSTANT)
        return data_cut(image, spare, &(cr_image_box){ -padding, -padding, height, width },
                        (uint8_t)transform->parameters[1]);
    if (cr_image_resize_room(spare, height, width, image->channels) != CR_OK)
        return cr_error_status();
    uint8_t *out = spare->pixels;
    for (int64_t y = 0; y < height; y++) {
        int64_t row = pad_source(y - padding, image->height, mode);
        for (int64_t x = 0; x < width; x++, out += channels) {
            int64_t column = pad_source(x - padding, image->width, mode);
            memcpy(out, image->pixels + (size_t)(row * image->width + column) * channels, channels);
        }
    }
    data_image_swap(image, spare);
    return CR_OK;
}

const cr_transform_type data_pad = {
    .name = "pad",
    .about = "PADDING pixels added on every side",
    .least = 1,
    .most = 3,
    .parameters = { { "padding", 0, NULL },
                    { "fill", 0, NULL },
                    { "mode", PAD_CONSTANT, "constant edge reflect symmetric" } },
    .check = check_pad,
    .shape = pad_shape,
    .picture = pad,
};

/* ---- random_crop ---- */

/* A whole number in 0 … most. */
static int64_t draw(cr_generator *generator, int64_t most)
{
    return (int64_t)cr_random_below(generator, (uint64_t)most + 1);
}

static const char *check_random_crop(const cr_transform *transform, int64_t channels)
{
    double padding = transform->parameters[2];
    double fill = transform->parameters[3];
    if (!(padding >= 0 && padding <= CR_IMAGE_MAX_SIDE) || padding != floor(padding))
        return "a padding of 0 to 65536 whole pixels";
    if (!(fill >= 0 && fill <= 255) || fill != floor(fill))
        return "a fill of 0 to 255";
    return data_check_size(transform, channels);
}

/* False if the picture is too small. */
static bool draw_crop(const cr_transform *transform, int64_t height, int64_t width,
                      cr_generator *generator, cr_image_box *box)
{
    int64_t padding = (int64_t)transform->parameters[2];
    box->height = wanted_height(transform);
    box->width = wanted_width(transform);
    int64_t down = height + 2 * padding - box->height;
    int64_t right = width + 2 * padding - box->width;
    if (down < 0 || right < 0)
        return false;
    box->top = draw(generator, down) - padding;
    box->left = draw(generator, right) - padding;
    return true;
}

static cr_status random_crop(const cr_transform *transform, cr_image *image, cr_image *spare,
                             cr_generator *generator)
{
    cr_image_box box;
    int64_t padding = (int64_t)transform->parameters[2];
    if (!draw_crop(transform, image->height, image->width, generator, &box))
        return cr_error_set(CR_ERROR_SHAPE, "a picture of %lld × %lld is smaller than %lld × %lld",
                            (long long)(image->width + 2 * padding),
                            (long long)(image->height + 2 * padding), (long long)box.width,
                            (long long)box.height);
    return data_cut(image, spare, &box, (uint8_t)transform->parameters[3]);
}

const cr_transform_type data_random_crop = {
    .name = "random_crop",
    .about = "SIZE × SIZE pixels, or HEIGHT:WIDTH, cut out at random after PADDING on every side",
    .least = 1,
    .most = 4,
    .parameters = { { "size", 0, NULL },
                    { "width", 0, NULL },
                    { "padding", 0, NULL },
                    { "fill", 0, NULL } },
    .check = check_random_crop,
    .shape = crop_shape,
    .picture = random_crop,
};

bool data_crop_box(const cr_transform *transform, int64_t height, int64_t width,
                   cr_generator *generator, cr_image_box *box)
{
    if (transform->type == &data_random_crop)
        return draw_crop(transform, height, width, generator, box);
    if (transform->type != &data_center_crop)
        return false;
    *box = center_box(transform, height, width);
    return true;
}

/* ---- random_resized_crop ---- */

static double uniform(cr_generator *generator, double low, double high)
{
    return low + (high - low) * cr_random_uniform(generator);
}

/* The largest box in the middle whose ratio of sides is in the range. */
static cr_image_box fallback_box(int64_t height, int64_t width, const double *ratios)
{
    double ratio = (double)width / (double)height;
    cr_image_box box = { .height = height, .width = width };
    if (ratio < ratios[0])
        box.height = round_half_even((double)box.width / ratios[0]);
    else if (ratio > ratios[1])
        box.width = round_half_even((double)box.height * ratios[1]);
    box.top = (height - box.height) / 2;
    box.left = (width - box.width) / 2;
    return box;
}

/* Ten tries at a box of random area and ratio. */
static cr_image_box draw_box(const cr_transform *transform, int64_t height, int64_t width,
                             cr_generator *generator)
{
    const double *areas = transform->parameters + 2;
    const double *ratios = transform->parameters + 4;
    double area = (double)(height * width);
    for (int tries = 0; tries < 10; tries++) {
        double wanted = area * uniform(generator, areas[0], areas[1]);
        double ratio = exp(uniform(generator, log(ratios[0]), log(ratios[1])));
        cr_image_box box = { .height = round_half_even(sqrt(wanted / ratio)),
                             .width = round_half_even(sqrt(wanted * ratio)) };
        if (box.width < 1 || box.width > width || box.height < 1 || box.height > height)
            continue;
        box.top = draw(generator, height - box.height);
        box.left = draw(generator, width - box.width);
        return box;
    }
    return fallback_box(height, width, ratios);
}

static const char *check_resized_crop(const cr_transform *transform, int64_t channels)
{
    const double *p = transform->parameters;
    if (!(p[2] > 0 && p[2] <= p[3] && p[3] <= 1))
        return "areas with 0 < MIN <= MAX <= 1";
    if (!(p[4] > 0 && p[4] <= p[5] && p[5] < 1000))
        return "ratios with 0 < MIN <= MAX";
    return data_check_size(transform, channels);
}

bool data_resized_crop_box(const cr_transform *transform, int64_t height, int64_t width,
                           cr_generator *generator, cr_image_box *box)
{
    if (transform->type != &data_random_resized_crop)
        return false;
    *box = draw_box(transform, height, width, generator);
    return true;
}

static cr_status random_resized_crop(const cr_transform *transform, cr_image *image,
                                     cr_image *spare, cr_generator *generator)
{
    cr_image_box box = draw_box(transform, image->height, image->width, generator);
    int64_t height = wanted_height(transform);
    int64_t width = wanted_width(transform);
    struct data_resizing to = { height, width, { 0, 0, height, width } };
    return data_resize_part(image, spare, &box, &to, data_interpolation_of(transform));
}

const cr_transform_type data_random_resized_crop = {
    .name = "random_resized_crop",
    .about = "MIN to MAX of the area, with a ratio of sides in the range, cut out at random and "
             "resized to SIZE × SIZE or HEIGHT:WIDTH",
    .least = 1,
    .most = 7,
    .parameters = { { "size", 0, NULL },
                    { "width", 0, NULL },
                    { "min", 0.08, NULL },
                    { "max", 1, NULL },
                    { "min_ratio", 3.0 / 4, NULL },
                    { "max_ratio", 4.0 / 3, NULL },
                    { "interpolation", DATA_BILINEAR, DATA_INTERPOLATIONS } },
    .check = check_resized_crop,
    .shape = crop_shape,
    .picture = random_resized_crop,
};
