/* Pictures seen through an inverse map: rotate, affine, perspective and elastic, with Pillow's
 * arithmetic for the pixels between pixels and torchvision's for what is drawn. */
#include <math.h>
#include <string.h>

#include "data/data.h"

/* Pillow computes affine maps of the nearest pixel in 16-bit fixed point as long as no coordinate
 * reaches this. */
#define FIXED_LIMIT 32768.0

/* ---- reading between pixels ---- */

/* A picture that is read at (x, y), with the middle of the first pixel at (0.5, 0.5). */
typedef bool (*sampler)(const cr_image *image, double x, double y, uint8_t *out);

static const uint8_t *pixel_at(const cr_image *image, int64_t x, int64_t y)
{
    return image->pixels + (y * image->width + x) * image->channels;
}

static bool is_inside(const cr_image *image, double x, double y)
{
    return x >= 0 && x < (double)image->width && y >= 0 && y < (double)image->height;
}

static bool sample_nearest(const cr_image *image, double x, double y, uint8_t *out)
{
    if (!is_inside(image, x, y))
        return false;
    memcpy(out, pixel_at(image, (int64_t)x, (int64_t)y), (size_t)image->channels);
    return true;
}

static int64_t clip(int64_t value, int64_t size)
{
    return CR_MIN(CR_MAX(value, 0), size - 1);
}

static bool sample_bilinear(const cr_image *image, double x, double y, uint8_t *out)
{
    if (!is_inside(image, x, y))
        return false;
    double left = floor(x - 0.5), top = floor(y - 0.5);
    double right = x - 0.5 - left, down = y - 0.5 - top;
    int64_t x0 = clip((int64_t)left, image->width), x1 = clip((int64_t)left + 1, image->width);
    int64_t y0 = clip((int64_t)top, image->height), y1 = clip((int64_t)top + 1, image->height);
    const uint8_t *corners[4] = { pixel_at(image, x0, y0), pixel_at(image, x1, y0),
                                  pixel_at(image, x0, y1), pixel_at(image, x1, y1) };
    for (int c = 0; c < image->channels; c++) {
        double above = corners[0][c] + (corners[1][c] - corners[0][c]) * right;
        double below = corners[2][c] + (corners[3][c] - corners[2][c]) * right;
        out[c] = (uint8_t)(above + (below - above) * down);
    }
    return true;
}

/* The cubic with a = -1 through four values, between the second and the third. */
static double cubic(const double value[4], double at)
{
    double p1 = value[1];
    double p2 = -value[0] + value[2];
    double p3 = 2 * (value[0] - value[1]) + value[2] - value[3];
    double p4 = -value[0] + value[1] - value[2] + value[3];
    return p1 + at * (p2 + at * (p3 + at * p4));
}

static bool sample_bicubic(const cr_image *image, double x, double y, uint8_t *out)
{
    if (!is_inside(image, x, y))
        return false;
    double left = floor(x - 0.5), top = floor(y - 0.5);
    for (int c = 0; c < image->channels; c++) {
        double rows[4];
        for (int i = 0; i < 4; i++) {
            double values[4];
            int64_t row = clip((int64_t)top - 1 + i, image->height);
            for (int j = 0; j < 4; j++)
                values[j] = pixel_at(image, clip((int64_t)left - 1 + j, image->width), row)[c];
            rows[i] = cubic(values, x - 0.5 - left);
        }
        double value = cubic(rows, y - 0.5 - top);
        out[c] = (uint8_t)fmin(fmax(value, 0), 255);
    }
    return true;
}

static const sampler samplers[] = {
    [DATA_NEAREST] = sample_nearest,
    [DATA_BILINEAR] = sample_bilinear,
    [DATA_BICUBIC] = sample_bicubic,
};

/* ---- maps ---- */

/* (x, y) of the result is seen at (m0 x + m1 y + m2, m3 x + m4 y + m5) of the picture, over
 * (m6 x + m7 y + 1) if it is projective. */
struct map {
    double m[8];
    bool is_projective;
};

static cr_status warp_begin(const cr_image *image, cr_image *result, int64_t height, int64_t width,
                            uint8_t fill)
{
    if (cr_image_resize_room(result, height, width, image->channels) != CR_OK)
        return cr_error_status();
    memset(result->pixels, fill, (size_t)(height * width * image->channels));
    return CR_OK;
}

static void warp_between(const cr_image *image, cr_image *result, const struct map *map,
                         sampler sample)
{
    const double *m = map->m;
    uint8_t *out = result->pixels;
    for (int64_t row = 0; row < result->height; row++) {
        for (int64_t column = 0; column < result->width; column++, out += image->channels) {
            double x = (double)column + 0.5, y = (double)row + 0.5;
            double u = m[0] * x + m[1] * y + m[2], v = m[3] * x + m[4] * y + m[5];
            double divisor = map->is_projective ? m[6] * x + m[7] * y + 1 : 1;
            sample(image, u / divisor, v / divisor, out);
        }
    }
}

static void copy_if_inside(const cr_image *image, int64_t x, int64_t y, uint8_t *out)
{
    if (x >= 0 && x < image->width && y >= 0 && y < image->height)
        memcpy(out, pixel_at(image, x, y), (size_t)image->channels);
}

/* Without rotation or shear: columns and rows are found apart, by steps that add up. */
static void warp_scaled(const cr_image *image, cr_image *result, const double *m)
{
    uint8_t *out = result->pixels;
    double y = m[5] + m[4] * 0.5;
    for (int64_t row = 0; row < result->height; row++, y += m[4]) {
        double x = m[2] + m[0] * 0.5;
        for (int64_t column = 0; column < result->width; column++, out += image->channels) {
            copy_if_inside(image, x < 0 ? -1 : (int64_t)x, y < 0 ? -1 : (int64_t)y, out);
            x += m[0];
        }
    }
}

static int64_t fixed(double value)
{
    return (int64_t)floor(value * 65536.0 + 0.5);
}

static void warp_fixed(const cr_image *image, cr_image *result, const double *m)
{
    int64_t right[2] = { fixed(m[0]), fixed(m[3]) };
    int64_t down[2] = { fixed(m[1]), fixed(m[4]) };
    int64_t begin[2] = { fixed(m[2] + m[0] * 0.5 + m[1] * 0.5),
                         fixed(m[5] + m[3] * 0.5 + m[4] * 0.5) };
    uint8_t *out = result->pixels;
    for (int64_t row = 0; row < result->height; row++) {
        int64_t x = begin[0] + row * down[0], y = begin[1] + row * down[1];
        for (int64_t column = 0; column < result->width; column++, out += image->channels) {
            copy_if_inside(image, x >> 16, y >> 16, out);
            x += right[0];
            y += right[1];
        }
    }
}

static bool fits_fixed(const cr_image *result, const double *m)
{
    bool fits = true;
    for (int corner = 0; corner < 4; corner++) {
        double x = corner & 1 ? (double)result->width : 0;
        double y = corner & 2 ? (double)result->height : 0;
        fits &= fabs(x * m[0] + y * m[1] + m[2]) < FIXED_LIMIT &&
                fabs(x * m[3] + y * m[4] + m[5]) < FIXED_LIMIT;
    }
    return fits;
}

/* The picture through a map, in a size of its own. */
static cr_status warp(cr_image *image, cr_image *spare, const struct map *map, int64_t height,
                      int64_t width, enum data_interpolation interpolation, uint8_t fill)
{
    if (warp_begin(image, spare, height, width, fill) != CR_OK)
        return cr_error_status();
    bool nearest = interpolation == DATA_NEAREST && !map->is_projective;
    if (nearest && map->m[1] == 0 && map->m[3] == 0)
        warp_scaled(image, spare, map->m);
    else if (nearest && fits_fixed(spare, map->m))
        warp_fixed(image, spare, map->m);
    else
        warp_between(image, spare, map, samplers[interpolation]);
    data_image_swap(image, spare);
    return CR_OK;
}

/* ---- what transforms have alike ---- */

static double uniform(cr_generator *generator, double low, double high)
{
    return low + (high - low) * cr_random_uniform(generator);
}

static const char *check_warp(double interpolation, double fill)
{
    if (!(interpolation >= 0 && interpolation <= DATA_BICUBIC))
        return "an interpolation of nearest, bilinear or bicubic";
    return fill >= 0 && fill <= 255 && fill == floor(fill) ? NULL : "a fill of 0 to 255";
}

/* An angle of the range that the first two parameters give: DEGREES both ways, or DEGREES to TO. */
static double draw_angle(const cr_transform *transform, cr_generator *generator)
{
    double degrees = transform->parameters[0], to = transform->parameters[1];
    return isnan(to) ? uniform(generator, -degrees, degrees) : uniform(generator, degrees, to);
}

static bool is_angle_range(const cr_transform *transform)
{
    double degrees = transform->parameters[0], to = transform->parameters[1];
    bool in_range = fabs(degrees) <= 360 && (isnan(to) || fabs(to) <= 360);
    return in_range && (isnan(to) ? degrees >= 0 : degrees <= to);
}

/* Rounded as Python's math.radians. */
static double to_radians(double degrees)
{
    return degrees * (M_PI / 180);
}

/* ---- rotate ---- */

/* To 15 decimals, as Python's round; more bits than a double's keep the product exact enough. */
static double round_15(double value)
{
    return (double)(nearbyintl((long double)value * 1e15L) / 1e15L);
}

/* The inverse of a rotation by degrees, counter-clockwise about the middle. */
static struct map rotation(double degrees, double width, double height)
{
    double turn_by = -to_radians(degrees);
    double c = round_15(cos(turn_by)), s = round_15(sin(turn_by));
    double x = width / 2, y = height / 2;
    struct map map = { .m = { c, s, c * -x + s * -y + x, -s, c, -s * -x + c * -y + y } };
    return map;
}

/* A turn by quarters, exactly. */
static cr_status turn(cr_image *image, cr_image *spare, int quarters)
{
    bool swaps = quarters % 2 == 1;
    int64_t height = swaps ? image->width : image->height;
    int64_t width = swaps ? image->height : image->width;
    if (cr_image_resize_room(spare, height, width, image->channels) != CR_OK)
        return cr_error_status();
    uint8_t *out = spare->pixels;
    for (int64_t y = 0; y < height; y++) {
        for (int64_t x = 0; x < width; x++, out += image->channels) {
            int64_t from_x = quarters == 1   ? image->width - 1 - y
                             : quarters == 2 ? width - 1 - x
                                             : y;
            int64_t from_y = quarters == 1   ? x
                             : quarters == 2 ? height - 1 - y
                                             : image->height - 1 - x;
            memcpy(out, pixel_at(image, from_x, from_y), (size_t)image->channels);
        }
    }
    data_image_swap(image, spare);
    return CR_OK;
}

/* The size that holds the whole turned picture; the map is moved to its middle. */
static void expand(struct map *map, const cr_image *image, int64_t *height, int64_t *width)
{
    double low[2] = { INFINITY, INFINITY }, high[2] = { -INFINITY, -INFINITY };
    const double *m = map->m;
    for (int corner = 0; corner < 4; corner++) {
        double x = corner & 1 ? (double)image->width : 0;
        double y = corner & 2 ? (double)image->height : 0;
        double at[2] = { m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5] };
        for (int i = 0; i < 2; i++) {
            low[i] = fmin(low[i], at[i]);
            high[i] = fmax(high[i], at[i]);
        }
    }
    *width = (int64_t)(ceil(high[0]) - floor(low[0]));
    *height = (int64_t)(ceil(high[1]) - floor(low[1]));
    double x = -(double)(*width - image->width) / 2, y = -(double)(*height - image->height) / 2;
    double moved[2] = { m[0] * x + m[1] * y + m[2], m[3] * x + m[4] * y + m[5] };
    map->m[2] = moved[0];
    map->m[5] = moved[1];
}

cr_status data_rotate(cr_image *image, cr_image *spare, double degrees,
                      enum data_interpolation interpolation, bool expands, uint8_t fill)
{
    degrees = fmod(fmod(degrees, 360) + 360, 360);
    int64_t height = image->height, width = image->width;
    if (degrees == 0)
        return CR_OK;
    if (degrees == 180 || ((degrees == 90 || degrees == 270) && (expands || height == width)))
        return turn(image, spare, (int)degrees / 90);
    struct map map = rotation(degrees, (double)width, (double)height);
    if (expands)
        expand(&map, image, &height, &width);
    return warp(image, spare, &map, height, width, interpolation, fill);
}

static const char *check_rotate(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    if (!is_angle_range(transform))
        return "degrees of 0 to 360, or a range of -360 to 360";
    return check_warp(transform->parameters[2], transform->parameters[3]);
}

static void rotate_shape(const cr_transform *transform, cr_shape *shape)
{
    if (transform->parameters[4] != 0)
        shape->dim[1] = shape->dim[2] = -1;
}

static cr_status rotate(const cr_transform *transform, cr_image *image, cr_image *spare,
                        cr_generator *generator)
{
    const double *p = transform->parameters;
    return data_rotate(image, spare, draw_angle(transform, generator),
                       (enum data_interpolation)p[2], p[4] != 0, (uint8_t)p[3]);
}

const cr_transform_type data_rotate_type = {
    .name = "rotate",
    .about = "turned by up to DEGREES both ways, or by DEGREES to TO",
    .least = 1,
    .most = 5,
    .parameters = { { "degrees", 0, NULL },
                    { "to", NAN, NULL },
                    { "interpolation", DATA_NEAREST, DATA_INTERPOLATIONS },
                    { "fill", 0, NULL },
                    { "expand", 0, "no yes" } },
    .check = check_rotate,
    .shape = rotate_shape,
    .picture = rotate,
};

/* ---- affine ---- */

/* The inverse of C T R S H C^-1: shear, scale and rotation about (x, y), then the translation; see
 * torchvision's _get_inverse_affine_matrix. */
static struct map affine_map(const struct data_affine *affine, double x, double y)
{
    double turn_by = to_radians(affine->degrees);
    double shear_x = to_radians(affine->shear_x), shear_y = to_radians(affine->shear_y);
    double a = cos(turn_by - shear_y) / cos(shear_y);
    double b = -cos(turn_by - shear_y) * tan(shear_x) / cos(shear_y) - sin(turn_by);
    double c = sin(turn_by - shear_y) / cos(shear_y);
    double d = -sin(turn_by - shear_y) * tan(shear_x) / cos(shear_y) + cos(turn_by);
    struct map map = { .m = { d / affine->scale, -b / affine->scale, 0, -c / affine->scale,
                              a / affine->scale, 0 } };
    double *m = map.m;
    m[2] = m[0] * (-x - affine->right) + m[1] * (-y - affine->down) + x;
    m[5] = m[3] * (-x - affine->right) + m[4] * (-y - affine->down) + y;
    return map;
}

cr_status data_affine(cr_image *image, cr_image *spare, const struct data_affine *affine,
                      enum data_interpolation interpolation, uint8_t fill)
{
    double x = affine->about_corner ? 0 : (double)image->width * 0.5;
    double y = affine->about_corner ? 0 : (double)image->height * 0.5;
    struct map map = affine_map(affine, x, y);
    return warp(image, spare, &map, image->height, image->width, interpolation, fill);
}

static const char *check_affine(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    if (!is_angle_range(transform))
        return "degrees of 0 to 360, or a range of -360 to 360";
    if (!(p[2] >= 0 && p[2] <= 1))
        return "a translation of 0 to 1 of the size";
    if (!(p[3] > 0 && p[3] <= p[4] && p[4] <= 100))
        return "scales with 0 < MIN <= MAX <= 100";
    if (!(p[5] >= 0 && p[5] < 90))
        return "a shear of 0 to 90 degrees";
    return check_warp(p[6], p[7]);
}

static cr_status affine(const cr_transform *transform, cr_image *image, cr_image *spare,
                        cr_generator *generator)
{
    const double *p = transform->parameters;
    struct data_affine drawn = { .degrees = draw_angle(transform, generator) };
    double right = p[2] * (double)image->width, down = p[2] * (double)image->height;
    drawn.right = nearbyint(uniform(generator, -right, right));
    drawn.down = nearbyint(uniform(generator, -down, down));
    drawn.scale = uniform(generator, p[3], p[4]);
    drawn.shear_x = uniform(generator, -p[5], p[5]);
    return data_affine(image, spare, &drawn, (enum data_interpolation)p[6], (uint8_t)p[7]);
}

const cr_transform_type data_affine_type = {
    .name = "affine",
    .about = "turned by up to DEGREES both ways, or by DEGREES to TO, moved by up to TRANSLATE of "
             "its size, scaled by MIN_SCALE to MAX_SCALE and sheared by up to SHEAR degrees",
    .least = 1,
    .most = 8,
    .parameters = { { "degrees", 0, NULL },
                    { "to", NAN, NULL },
                    { "translate", 0, NULL },
                    { "min_scale", 1, NULL },
                    { "max_scale", 1, NULL },
                    { "shear", 0, NULL },
                    { "interpolation", DATA_NEAREST, DATA_INTERPOLATIONS },
                    { "fill", 0, NULL } },
    .check = check_affine,
    .picture = affine,
};

/* ---- perspective ---- */

struct point {
    double x, y;
};

/* Solves rows (8, 9), the last column the right side, by elimination with pivots. False if it has
 * no one solution. */
static bool solve(double rows[8][9], double *solution)
{
    for (int i = 0; i < 8; i++) {
        int pivot = i;
        for (int j = i + 1; j < 8; j++) {
            if (fabs(rows[j][i]) > fabs(rows[pivot][i]))
                pivot = j;
        }
        if (fabs(rows[pivot][i]) < 1e-12)
            return false;
        for (int k = 0; k < 9; k++) {
            double held = rows[i][k];
            rows[i][k] = rows[pivot][k];
            rows[pivot][k] = held;
        }
        for (int j = 0; j < 8; j++) {
            double factor = j == i ? 0 : rows[j][i] / rows[i][i];
            for (int k = i; k < 9; k++)
                rows[j][k] -= factor * rows[i][k];
        }
    }
    for (int i = 0; i < 8; i++)
        solution[i] = rows[i][8] / rows[i][i];
    return true;
}

/* The map that sees each corner `from` at `to`. */
static bool perspective_map(const struct point *from, const struct point *to, struct map *map)
{
    double rows[8][9];
    for (int i = 0; i < 4; i++) {
        struct point a = from[i], b = to[i];
        double first[9] = { a.x, a.y, 1, 0, 0, 0, -b.x * a.x, -b.x * a.y, b.x };
        double second[9] = { 0, 0, 0, a.x, a.y, 1, -b.y * a.x, -b.y * a.y, b.y };
        memcpy(rows[2 * i], first, sizeof first);
        memcpy(rows[2 * i + 1], second, sizeof second);
    }
    map->is_projective = true;
    return solve(rows, map->m);
}

static const char *check_perspective(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    if (!(p[0] >= 0 && p[0] <= 1) || !(p[1] >= 0 && p[1] <= 1))
        return "a distortion of 0 to 1 and a probability of 0 to 1";
    return check_warp(p[2], p[3]);
}

/* A whole number of pixels from an edge, 0 to the distortion's share of half the size. */
static double draw_inset(double distortion, int64_t size, cr_generator *generator)
{
    int64_t most = (int64_t)(distortion * (double)(size / 2));
    return (double)cr_random_below(generator, (uint64_t)most + 1);
}

static cr_status perspective(const cr_transform *transform, cr_image *image, cr_image *spare,
                             cr_generator *generator)
{
    const double *p = transform->parameters;
    double right = (double)image->width - 1, bottom = (double)image->height - 1;
    struct point corners[4] = { { 0, 0 }, { right, 0 }, { right, bottom }, { 0, bottom } };
    struct point moved[4];
    struct map map;
    if (cr_random_uniform(generator) >= p[1])
        return CR_OK;
    for (int i = 0; i < 4; i++) {
        double x = draw_inset(p[0], image->width, generator);
        double y = draw_inset(p[0], image->height, generator);
        moved[i].x = corners[i].x > 0 ? right - x : x;
        moved[i].y = corners[i].y > 0 ? bottom - y : y;
    }
    if (!perspective_map(moved, corners, &map)) /* a picture of one row, or all corners in one */
        return CR_OK;
    return warp(image, spare, &map, image->height, image->width, (enum data_interpolation)p[2],
                (uint8_t)p[3]);
}

const cr_transform_type data_perspective_type = {
    .name = "perspective",
    .about = "with probability P each corner is moved inwards by up to DISTORTION of half the size",
    .most = 4,
    .parameters = { { "distortion", 0.5, NULL },
                    { "p", 0.5, NULL },
                    { "interpolation", DATA_BILINEAR, DATA_INTERPOLATIONS },
                    { "fill", 0, NULL } },
    .check = check_perspective,
    .picture = perspective,
};

/* ---- elastic ---- */

/* A field of (height, width) displacements in pixels: noise of -1 to 1, blurred, times alpha / 2,
 * as torchvision's displacements of alpha / size are in units of half the size. */
static bool draw_field(float *field, int64_t height, int64_t width, double alpha, double sigma,
                       cr_generator *generator)
{
    int64_t count = height * width;
    for (int64_t i = 0; i < count; i++)
        field[i] = (float)(2 * cr_random_uniform(generator) - 1);
    int size = (int)(8 * sigma + 1) | 1;
    if (sigma > 0 && !data_blur_plane(field, height, width, size, sigma))
        return false;
    for (int64_t i = 0; i < count; i++)
        field[i] *= (float)(alpha / 2);
    return true;
}

static const char *check_elastic(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    if (!(p[0] >= 0 && p[0] <= 1e6) || !(p[1] >= 0 && p[1] <= 1000))
        return "an alpha of 0 to 1000000 and a sigma of 0 to 1000";
    return check_warp(p[2], p[3]);
}

static cr_status elastic(const cr_transform *transform, cr_image *image, cr_image *spare,
                         cr_generator *generator)
{
    const double *p = transform->parameters;
    int64_t height = image->height, width = image->width, count = height * width;
    float *fields = cr_alloc_array((size_t)count * 2, sizeof *fields);
    bool good = fields && warp_begin(image, spare, height, width, (uint8_t)p[3]) == CR_OK &&
                draw_field(fields, height, width, p[0], p[1], generator) &&
                draw_field(fields + count, height, width, p[0], p[1], generator);
    sampler sample = samplers[(int)p[2]];
    uint8_t *out = spare->pixels;
    for (int64_t i = 0; good && i < count; i++, out += image->channels) {
        double x = (double)(i % width) + 0.5 + fields[i];
        double y = (double)(i / width) + 0.5 + fields[count + i];
        sample(image, x, y, out);
    }
    cr_free(fields);
    if (good)
        data_image_swap(image, spare);
    return cr_error_status();
}

const cr_transform_type data_elastic_type = {
    .name = "elastic",
    .about = "pixels moved by a smooth random field of strength ALPHA and smoothness SIGMA (Simard "
             "et al., 2003)",
    .most = 4,
    .parameters = { { "alpha", 50, NULL },
                    { "sigma", 5, NULL },
                    { "interpolation", DATA_BILINEAR, DATA_INTERPOLATIONS },
                    { "fill", 0, NULL } },
    .check = check_elastic,
    .picture = elastic,
};
