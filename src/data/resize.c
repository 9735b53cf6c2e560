/* Resizing of pictures with Pillow's arithmetic: a filter that widens as the picture shrinks, in
 * fixed point, columns before rows; and the nearest pixel.
 *
 * The shorter side is given, or both; sizes follow torchvision.transforms.functional.resize. */
#include <math.h>
#include <string.h>

#include "data/data.h"
#include "kernels/picture/picture_kernels.h"

/* ---- filters ---- */

static double box(double x)
{
    return x > -0.5 && x <= 0.5 ? 1 : 0;
}

static double triangle(double x)
{
    return fmax(1 - fabs(x), 0);
}

static double sinc(double x)
{
    return x == 0 ? 1 : sin(x * M_PI) / (x * M_PI);
}

static double hamming(double x)
{
    x = fabs(x);
    if (x == 0)
        return 1;
    return x >= 1 ? 0 : sinc(x) * (0.54 + 0.46 * cos(x * M_PI));
}

/* Keys' cubic convolution with a = -0.5. */
static double cubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1)
        return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

static double lanczos(double x)
{
    return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
}

static const struct filter {
    double (*value)(double x);
    double support;
} filters[] = {
    [DATA_BOX] = { box, 0.5 },       [DATA_BILINEAR] = { triangle, 1 },
    [DATA_HAMMING] = { hamming, 1 }, [DATA_BICUBIC] = { cubic, 2 },
    [DATA_LANCZOS] = { lanczos, 3 },
};

static void axis_free(struct resample_axis *axis)
{
    cr_free(axis->first);
    cr_free(axis->taps);
    cr_free(axis->weights);
}

/* The inputs of output o: from *first to before *last. */
static double tap_range(const struct filter *filter, double scale, int64_t in, int64_t o,
                        int *first, int *last)
{
    double support = filter->support * fmax(scale, 1);
    double center = ((double)o + 0.5) * scale;
    *first = CR_MAX((int)(center - support + 0.5), 0);
    *last = (int)CR_MIN((int64_t)(center + support + 0.5), in);
    return center;
}

/* The taps of output o, number `from` + o of the whole, their weights of sum 1. */
static void find_taps(struct resample_axis *axis, const struct filter *filter, double scale,
                      int64_t from, int64_t o, double *weights)
{
    double widening = fmax(scale, 1);
    int first;
    int last;
    double center = tap_range(filter, scale, axis->in, from + o, &first, &last);
    double sum = 0;
    axis->first[o] = first;
    axis->taps[o] = last - first;
    for (int t = 0; t < last - first; t++) {
        weights[t] = filter->value((t + first - center + 0.5) * (1 / widening));
        sum += weights[t];
    }
    for (int t = 0; t < last - first && sum != 0; t++)
        weights[t] /= sum;
}

/* Leaves no room for taps that no output has. */
static void axis_tighten(struct resample_axis *axis)
{
    int most = 1;
    for (int64_t o = 0; o < axis->out; o++)
        most = CR_MAX(most, axis->taps[o]);
    for (int64_t o = 0; o < axis->out; o++)
        memmove(axis->weights + o * most, axis->weights + o * axis->most,
                (size_t)axis->taps[o] * sizeof *axis->weights);
    axis->most = most;
}

/* Outputs `from` … `from` + `out` - 1 of `whole`. */
static cr_status axis_make(struct resample_axis *axis, const struct filter *filter, int64_t in,
                           int64_t whole, int64_t from, int64_t out)
{
    double scale = (double)in / (double)whole;
    axis->in = in;
    axis->out = out;
    axis->most = (int)ceil(filter->support * fmax(scale, 1)) * 2 + 1;
    axis->first = cr_alloc_array((size_t)out, sizeof *axis->first);
    axis->taps = cr_alloc_array((size_t)out, sizeof *axis->taps);
    axis->weights = cr_alloc_array((size_t)out * (size_t)axis->most, sizeof *axis->weights);
    double *weights = cr_alloc_array((size_t)axis->most, sizeof *weights);
    bool good = axis->first && axis->taps && axis->weights && weights;
    for (int64_t o = 0; good && o < out; o++) {
        find_taps(axis, filter, scale, from, o, weights);
        for (int t = 0; t < axis->taps[o]; t++) {
            double fixed = weights[t] * (1 << RESAMPLE_BITS);
            axis->weights[o * axis->most + t] = (int32_t)(fixed + (fixed < 0 ? -0.5 : 0.5));
        }
    }
    cr_free(weights);
    if (!good)
        return cr_error_status();
    axis_tighten(axis);
    return CR_OK;
}

/* Keeps only the inputs that have a tap, and returns how many were before them. */
static int64_t axis_trim(struct resample_axis *axis)
{
    int begin = axis->first[0];
    int end = 0;
    for (int64_t o = 0; o < axis->out; o++) {
        begin = CR_MIN(begin, axis->first[o]);
        end = CR_MAX(end, axis->first[o] + axis->taps[o]);
    }
    for (int64_t o = 0; o < axis->out; o++)
        axis->first[o] -= begin;
    axis->in = end - begin;
    return begin;
}

/* ---- pictures ---- */

void data_image_swap(cr_image *a, cr_image *b)
{
    cr_image held = *a;
    *a = *b;
    *b = held;
}

/* Columns of a box of a picture, which becomes its resampled part. */
static cr_status resample_width(cr_image *image, cr_image *spare, const struct filter *filter,
                                const cr_image_box *box, const struct data_resizing *to)
{
    struct resample_axis axis = { 0 };
    uint8_t *room = NULL;
    int64_t before = 0;
    if (axis_make(&axis, filter, box->width, to->width, to->window.left, to->window.width) ==
            CR_OK &&
        cr_image_resize_room(spare, box->height, to->window.width, image->channels) == CR_OK) {
        before = axis_trim(&axis);
        room = cr_alloc(resample_room(&axis, image->channels));
    }
    if (room) {
        size_t stride = (size_t)image->width * (size_t)image->channels;
        const uint8_t *from = image->pixels + (size_t)box->top * stride +
                              (size_t)((box->left + before) * image->channels);
        resample_columns(&axis, from, stride, spare->pixels, box->height, image->channels, room);
        data_image_swap(image, spare);
    }
    cr_free(room);
    axis_free(&axis);
    return cr_error_status();
}

/* The rows of a box, all of whose columns are wanted, by an axis that is freed. */
static cr_status resample_height(cr_image *image, cr_image *spare, struct resample_axis *axis,
                                 const cr_image_box *box)
{
    size_t channels = (size_t)image->channels;
    size_t stride = (size_t)image->width * channels;
    if (cr_image_resize_room(spare, axis->out, box->width, image->channels) == CR_OK) {
        resample_rows(axis,
                      image->pixels + (size_t)box->top * stride + (size_t)box->left * channels,
                      stride, spare->pixels, box->width, image->channels);
        data_image_swap(image, spare);
    }
    return cr_error_status();
}

static cr_status take_nearest(cr_image *image, cr_image *spare, const cr_image_box *box,
                              const struct data_resizing *to)
{
    int channels = image->channels;
    if (cr_image_resize_room(spare, to->window.height, to->window.width, channels) != CR_OK)
        return cr_error_status();
    double down = (double)box->height / (double)to->height;
    double right = (double)box->width / (double)to->width;
    uint8_t *out = spare->pixels;
    double y = down * 0.5;
    for (int64_t row = 0; row < to->window.top; row++)
        y += down;
    for (int64_t row = 0; row < to->window.height; row++, y += down) {
        const uint8_t *line =
            image->pixels + ((box->top + (int64_t)y) * image->width + box->left) * channels;
        double x = right * 0.5;
        for (int64_t column = 0; column < to->window.left; column++)
            x += right;
        for (int64_t column = 0; column < to->window.width; column++, x += right, out += channels)
            memcpy(out, line + (int64_t)x * channels, (size_t)channels);
    }
    data_image_swap(image, spare);
    return CR_OK;
}

/* First the columns, of the rows that are wanted then; a side that keeps its size is only cut. */
static cr_status resample(cr_image *image, cr_image *spare, const struct filter *filter,
                          cr_image_box box, const struct data_resizing *to)
{
    struct resample_axis rows = { 0 };
    bool changes_height = box.height != to->height;
    if (changes_height) {
        if (axis_make(&rows, filter, box.height, to->height, to->window.top, to->window.height) ==
            CR_OK) {
            box.top += axis_trim(&rows);
            box.height = rows.in;
        }
    } else {
        box.top += to->window.top;
        box.height = to->window.height;
    }
    if (!cr_failed() && box.width != to->width) {
        resample_width(image, spare, filter, &box, to);
        box = (cr_image_box){ 0, 0, box.height, to->window.width };
    } else {
        box.left += to->window.left;
        box.width = to->window.width;
    }
    if (!cr_failed() && changes_height)
        resample_height(image, spare, &rows, &box);
    else if (!cr_failed())
        data_cut(image, spare, &box, 0);
    axis_free(&rows);
    return cr_error_status();
}

/* What outputs `from` … `from` + `count` - 1 of `whole` read of `in`. */
static void side_needs(const struct filter *filter, int64_t in, int64_t whole, int64_t *from,
                       int64_t *count)
{
    if (in == whole)
        return;
    double scale = (double)in / (double)whole;
    int begin;
    int end;
    int other;
    tap_range(filter, scale, in, *from, &begin, &other);
    tap_range(filter, scale, in, *from + *count - 1, &other, &end);
    *from = begin;
    *count = end - begin;
}

cr_image_box data_resize_needs(const cr_image_box *box, const struct data_resizing *to,
                               enum data_interpolation interpolation)
{
    bool keeps_size = box->height == to->height && box->width == to->width;
    if (interpolation == DATA_NEAREST && !keeps_size)
        return *box;
    cr_image_box needs = to->window;
    const struct filter *filter = &filters[interpolation];
    side_needs(filter, box->height, to->height, &needs.top, &needs.height);
    side_needs(filter, box->width, to->width, &needs.left, &needs.width);
    needs.top += box->top;
    needs.left += box->left;
    return needs;
}

cr_status data_resize_part(cr_image *image, cr_image *spare, const cr_image_box *box,
                           const struct data_resizing *to, enum data_interpolation interpolation)
{
    cr_image_box whole = { 0, 0, image->height, image->width };
    if (memcmp(box, &whole, sizeof whole) == 0 && to->height == image->height &&
        to->width == image->width && memcmp(&to->window, &whole, sizeof whole) == 0)
        return CR_OK;
    if (interpolation == DATA_NEAREST && (box->height != to->height || box->width != to->width))
        return take_nearest(image, spare, box, to);
    return resample(image, spare, &filters[interpolation], *box, to);
}

cr_status data_resize(cr_image *image, cr_image *spare, int64_t height, int64_t width,
                      enum data_interpolation interpolation)
{
    cr_image_box box = { 0, 0, image->height, image->width };
    struct data_resizing to = { height, width, { 0, 0, height, width } };
    return data_resize_part(image, spare, &box, &to, interpolation);
}

/* ---- the transform ---- */

const char *data_check_size(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    for (int i = 0; i < 2; i++) { /* 0 as the second: there is only one */
        double side = transform->parameters[i];
        if (!(side >= (i == 0 ? 1 : 0) && side <= CR_IMAGE_MAX_SIDE) || side != floor(side))
            return "a whole number of pixels, 1 to 65536, or two, HEIGHT:WIDTH";
    }
    return NULL;
}

/* The shorter side of a shape becomes `size`, the longer in proportion, rounded down. */
static void shorter_side(int64_t size, int64_t *height, int64_t *width)
{
    if (*height < 0 || *width < 0)
        return;
    int64_t *shorter = *width <= *height ? width : height;
    int64_t *longer = shorter == width ? height : width;
    *longer = (int64_t)((double)(size * *longer) / (double)*shorter);
    *shorter = size;
}

static void resize_shape(const cr_transform *transform, cr_shape *shape)
{
    if (transform->parameters[1] > 0) {
        shape->dim[1] = (int64_t)transform->parameters[0];
        shape->dim[2] = (int64_t)transform->parameters[1];
    } else {
        shorter_side((int64_t)transform->parameters[0], &shape->dim[1], &shape->dim[2]);
    }
}

enum data_interpolation data_interpolation_of(const cr_transform *transform)
{
    return (enum data_interpolation)
        transform->parameters[transform->type == &data_resize_type ? 2 : 6];
}

static cr_status resize(const cr_transform *transform, cr_image *image, cr_image *spare,
                        cr_generator *generator)
{
    (void)generator;
    cr_shape shape = CR_SHAPE(image->channels, image->height, image->width);
    resize_shape(transform, &shape);
    return data_resize(image, spare, shape.dim[1], shape.dim[2], data_interpolation_of(transform));
}

const cr_transform_type data_resize_type = {
    .name = "resize",
    .about = "the shorter side becomes SIZE pixels, or the picture HEIGHT:WIDTH",
    .least = 1,
    .most = 3,
    .parameters = { { "size", 0, NULL },
                    { "width", 0, NULL },
                    { "interpolation", DATA_BILINEAR, DATA_INTERPOLATIONS } },
    .check = data_check_size,
    .shape = resize_shape,
    .picture = resize,
};
