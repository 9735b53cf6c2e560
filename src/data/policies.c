/* Augmentation by policy: RandAugment (Cubuk et al., 2020), TrivialAugment (Müller and Hutter,
 * 2021) and AutoAugment (Cubuk et al., 2019), with the operations and strengths of torchvision. */
#include <math.h>

#include "data/data.h"

enum action {
    IDENTITY,
    SHEAR_X,
    SHEAR_Y,
    TRANSLATE_X,
    TRANSLATE_Y,
    ROTATE,
    BRIGHTNESS,
    COLOR,
    CONTRAST,
    SHARPNESS,
    POSTERIZE,
    SOLARIZE,
    AUTOCONTRAST,
    EQUALIZE,
    INVERT,
    ACTION_COUNT
};

/* The strongest magnitude of each action; what is signed comes both ways. */
struct strength {
    double most;
    bool is_signed;
};

/* RandAugment's and AutoAugment's. Translations are in parts of the size, posterize counts the bits
 * that go, solarize begins at 255. */
static const struct strength usual[ACTION_COUNT] = {
    [SHEAR_X] = { 0.3, true },
    [SHEAR_Y] = { 0.3, true },
    [TRANSLATE_X] = { 150.0 / 331, true },
    [TRANSLATE_Y] = { 150.0 / 331, true },
    [ROTATE] = { 30, true },
    [BRIGHTNESS] = { 0.9, true },
    [COLOR] = { 0.9, true },
    [CONTRAST] = { 0.9, true },
    [SHARPNESS] = { 0.9, true },
    [POSTERIZE] = { 4, false },
    [SOLARIZE] = { 255, false },
};

/* TrivialAugment's wide space; translations are in pixels. */
static const struct strength wide[ACTION_COUNT] = {
    [SHEAR_X] = { 0.99, true },   [SHEAR_Y] = { 0.99, true },  [TRANSLATE_X] = { 32, true },
    [TRANSLATE_Y] = { 32, true }, [ROTATE] = { 135, true },    [BRIGHTNESS] = { 0.99, true },
    [COLOR] = { 0.99, true },     [CONTRAST] = { 0.99, true }, [SHARPNESS] = { 0.99, true },
    [POSTERIZE] = { 6, false },   [SOLARIZE] = { 255, false },
};

static cr_status shear_or_translate(cr_image *image, cr_image *spare, enum action action,
                                    double magnitude)
{
    struct data_affine affine = { .scale = 1 };
    double degrees = atan(magnitude) * (180 / M_PI);
    switch (action) {
    case SHEAR_X:
        affine.shear_x = degrees;
        break;
    case SHEAR_Y:
        affine.shear_y = degrees;
        break;
    case TRANSLATE_X:
        affine.right = trunc(magnitude);
        break;
    default:
        affine.down = trunc(magnitude);
        break;
    }
    affine.about_corner = action == SHEAR_X || action == SHEAR_Y;
    return data_affine(image, spare, &affine, DATA_NEAREST, 0);
}

static cr_status act(cr_image *image, cr_image *spare, enum action action, double magnitude)
{
    switch (action) {
    case SHEAR_X:
    case SHEAR_Y:
    case TRANSLATE_X:
    case TRANSLATE_Y:
        return shear_or_translate(image, spare, action, magnitude);
    case ROTATE:
        return data_rotate(image, spare, magnitude, DATA_NEAREST, false, 0);
    case BRIGHTNESS:
        data_brightness(image, 1 + magnitude);
        break;
    case COLOR:
        data_saturation(image, 1 + magnitude);
        break;
    case CONTRAST:
        data_contrast(image, 1 + magnitude);
        break;
    case SHARPNESS:
        return data_sharpness(image, spare, 1 + magnitude);
    case POSTERIZE:
        data_posterize(image, (int)magnitude);
        break;
    case SOLARIZE:
        data_solarize(image, magnitude);
        break;
    case AUTOCONTRAST:
        data_autocontrast(image);
        break;
    case EQUALIZE:
        data_equalize(image);
        break;
    case INVERT:
        data_invert(image);
        break;
    default:
        break;
    }
    return CR_OK;
}

/* Step `level` of `levels` from start to end as torch.linspace rounds it: in float32, from the
 * nearer end. */
static float line_at(float start, float end, int level, int levels)
{
    float step = (end - start) / (float)(levels - 1);
    return level < levels / 2 ? fmaf(step, (float)level, start)
                              : fmaf(-step, (float)(levels - 1 - level), end);
}

/* The magnitude at step `level` of `levels`, where the strongest is `most`. */
static double magnitude_of(enum action action, double most, bool is_signed, int level, int levels,
                           bool is_negative)
{
    if (action == SOLARIZE)
        return line_at((float)most, 0, level, levels);
    if (action == POSTERIZE)
        return 8 - nearbyint(most * level / (levels - 1));
    bool moves = action == TRANSLATE_X || action == TRANSLATE_Y; /* by whole pixels */
    double magnitude = moves ? most * level / (levels - 1) : line_at(0, (float)most, level, levels);
    return is_signed && is_negative ? -magnitude : magnitude;
}

/* RandAugment's and AutoAugment's, whose translations are in parts of the size. */
static double usual_magnitude(enum action action, const cr_image *image, int level, int levels,
                              bool is_negative)
{
    double most = usual[action].most;
    if (action == TRANSLATE_X)
        most *= (double)image->width;
    else if (action == TRANSLATE_Y)
        most *= (double)image->height;
    return magnitude_of(action, most, usual[action].is_signed, level, levels, is_negative);
}

static bool draw_sign(cr_generator *generator)
{
    return cr_random_below(generator, 2) == 1;
}

static bool is_whole(double value, double low, double high)
{
    return value >= low && value <= high && value == floor(value);
}

/* ---- RandAugment ---- */

static const char *check_randaugment(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    const double *p = transform->parameters;
    return is_whole(p[0], 0, 100) && is_whole(p[2], 2, 1000) && is_whole(p[1], 0, p[2] - 1)
               ? NULL
               : "a number of operations, a magnitude, and more bins than the magnitude";
}

static cr_status randaugment(const cr_transform *transform, cr_image *image, cr_image *spare,
                             cr_generator *generator)
{
    const double *p = transform->parameters;
    for (int i = 0; i < (int)p[0]; i++) {
        enum action action = (enum action)cr_random_below(generator, INVERT); /* all but invert */
        bool is_negative = draw_sign(generator);
        double magnitude = usual_magnitude(action, image, (int)p[1], (int)p[2], is_negative);
        if (act(image, spare, action, magnitude) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

const cr_transform_type data_randaugment = {
    .name = "randaugment",
    .about = "OPERATIONS of 14 at random, of strength MAGNITUDE out of BINS",
    .most = 3,
    .parameters = { { "operations", 2, NULL }, { "magnitude", 9, NULL }, { "bins", 31, NULL } },
    .check = check_randaugment,
    .picture = randaugment,
};

/* ---- TrivialAugment ---- */

static const char *check_trivialaugment(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    return is_whole(transform->parameters[0], 2, 1000) ? NULL : "2 to 1000 bins";
}

static cr_status trivialaugment(const cr_transform *transform, cr_image *image, cr_image *spare,
                                cr_generator *generator)
{
    int bins = (int)transform->parameters[0];
    enum action action = (enum action)cr_random_below(generator, INVERT);
    int level = (int)cr_random_below(generator, (uint64_t)bins);
    bool is_negative = draw_sign(generator);
    const struct strength *strength = &wide[action];
    return act(image, spare, action,
               magnitude_of(action, strength->most, strength->is_signed, level, bins, is_negative));
}

const cr_transform_type data_trivialaugment = {
    .name = "trivialaugment",
    .about = "one of 14 operations of a strength at random, out of BINS",
    .most = 1,
    .parameters = { { "bins", 31, NULL } },
    .check = check_trivialaugment,
    .picture = trivialaugment,
};

/* ---- AutoAugment ---- */

/* An action, its probability in tenths, its level of 0 to 9. */
struct step {
    enum action action;
    int tenths;
    int level;
};

#define POLICIES 25
#define LEVELS   10

static const struct step policies[3][POLICIES][2] = {
    /* imagenet */
    {
        { { POSTERIZE, 4, 8 }, { ROTATE, 6, 9 } },  { { SOLARIZE, 6, 5 }, { AUTOCONTRAST, 6, 0 } },
        { { EQUALIZE, 8, 0 }, { EQUALIZE, 6, 0 } }, { { POSTERIZE, 6, 7 }, { POSTERIZE, 6, 6 } },
        { { EQUALIZE, 4, 0 }, { SOLARIZE, 2, 4 } }, { { EQUALIZE, 4, 0 }, { ROTATE, 8, 8 } },
        { { SOLARIZE, 6, 3 }, { EQUALIZE, 6, 0 } }, { { POSTERIZE, 8, 5 }, { EQUALIZE, 10, 0 } },
        { { ROTATE, 2, 3 }, { SOLARIZE, 6, 8 } },   { { EQUALIZE, 6, 0 }, { POSTERIZE, 4, 6 } },
        { { ROTATE, 8, 8 }, { COLOR, 4, 0 } },      { { ROTATE, 4, 9 }, { EQUALIZE, 6, 0 } },
        { { EQUALIZE, 0, 0 }, { EQUALIZE, 8, 0 } }, { { INVERT, 6, 0 }, { EQUALIZE, 10, 0 } },
        { { COLOR, 6, 4 }, { CONTRAST, 10, 8 } },   { { ROTATE, 8, 8 }, { COLOR, 10, 2 } },
        { { COLOR, 8, 8 }, { SOLARIZE, 8, 7 } },    { { SHARPNESS, 4, 7 }, { INVERT, 6, 0 } },
        { { SHEAR_X, 6, 5 }, { EQUALIZE, 10, 0 } }, { { COLOR, 4, 0 }, { EQUALIZE, 6, 0 } },
        { { EQUALIZE, 4, 0 }, { SOLARIZE, 2, 4 } }, { { SOLARIZE, 6, 5 }, { AUTOCONTRAST, 6, 0 } },
        { { INVERT, 6, 0 }, { EQUALIZE, 10, 0 } },  { { COLOR, 6, 4 }, { CONTRAST, 10, 8 } },
        { { EQUALIZE, 8, 0 }, { EQUALIZE, 6, 0 } },
    },
    /* cifar10 */
    {
        { { INVERT, 1, 0 }, { CONTRAST, 2, 6 } },
        { { ROTATE, 7, 2 }, { TRANSLATE_X, 3, 9 } },
        { { SHARPNESS, 8, 1 }, { SHARPNESS, 9, 3 } },
        { { SHEAR_Y, 5, 8 }, { TRANSLATE_Y, 7, 9 } },
        { { AUTOCONTRAST, 5, 0 }, { EQUALIZE, 9, 0 } },
        { { SHEAR_Y, 2, 7 }, { POSTERIZE, 3, 7 } },
        { { COLOR, 4, 3 }, { BRIGHTNESS, 6, 7 } },
        { { SHARPNESS, 3, 9 }, { BRIGHTNESS, 7, 9 } },
        { { EQUALIZE, 6, 0 }, { EQUALIZE, 5, 0 } },
        { { CONTRAST, 6, 7 }, { SHARPNESS, 6, 5 } },
        { { COLOR, 7, 7 }, { TRANSLATE_X, 5, 8 } },
        { { EQUALIZE, 3, 0 }, { AUTOCONTRAST, 4, 0 } },
        { { TRANSLATE_Y, 4, 3 }, { SHARPNESS, 2, 6 } },
        { { BRIGHTNESS, 9, 6 }, { COLOR, 2, 8 } },
        { { SOLARIZE, 5, 2 }, { INVERT, 0, 0 } },
        { { EQUALIZE, 2, 0 }, { AUTOCONTRAST, 6, 0 } },
        { { EQUALIZE, 2, 0 }, { EQUALIZE, 6, 0 } },
        { { COLOR, 9, 9 }, { EQUALIZE, 6, 0 } },
        { { AUTOCONTRAST, 8, 0 }, { SOLARIZE, 2, 8 } },
        { { BRIGHTNESS, 1, 3 }, { COLOR, 7, 0 } },
        { { SOLARIZE, 4, 5 }, { AUTOCONTRAST, 9, 0 } },
        { { TRANSLATE_Y, 9, 9 }, { TRANSLATE_Y, 7, 9 } },
        { { AUTOCONTRAST, 9, 0 }, { SOLARIZE, 8, 3 } },
        { { EQUALIZE, 8, 0 }, { INVERT, 1, 0 } },
        { { TRANSLATE_Y, 7, 9 }, { AUTOCONTRAST, 9, 0 } },
    },
    /* svhn */
    {
        { { SHEAR_X, 9, 4 }, { INVERT, 2, 0 } },
        { { SHEAR_Y, 9, 8 }, { INVERT, 7, 0 } },
        { { EQUALIZE, 6, 0 }, { SOLARIZE, 6, 6 } },
        { { INVERT, 9, 0 }, { EQUALIZE, 6, 0 } },
        { { EQUALIZE, 6, 0 }, { ROTATE, 9, 3 } },
        { { SHEAR_X, 9, 4 }, { AUTOCONTRAST, 8, 0 } },
        { { SHEAR_Y, 9, 8 }, { INVERT, 4, 0 } },
        { { SHEAR_Y, 9, 5 }, { SOLARIZE, 2, 6 } },
        { { INVERT, 9, 0 }, { AUTOCONTRAST, 8, 0 } },
        { { EQUALIZE, 6, 0 }, { ROTATE, 9, 3 } },
        { { SHEAR_X, 9, 4 }, { SOLARIZE, 3, 3 } },
        { { SHEAR_Y, 8, 8 }, { INVERT, 7, 0 } },
        { { EQUALIZE, 9, 0 }, { TRANSLATE_Y, 6, 6 } },
        { { INVERT, 9, 0 }, { EQUALIZE, 6, 0 } },
        { { CONTRAST, 3, 3 }, { ROTATE, 8, 4 } },
        { { INVERT, 8, 0 }, { TRANSLATE_Y, 0, 2 } },
        { { SHEAR_Y, 7, 6 }, { SOLARIZE, 4, 8 } },
        { { INVERT, 6, 0 }, { ROTATE, 8, 4 } },
        { { SHEAR_Y, 3, 7 }, { TRANSLATE_X, 9, 3 } },
        { { SHEAR_X, 1, 6 }, { INVERT, 6, 0 } },
        { { SOLARIZE, 7, 2 }, { TRANSLATE_Y, 6, 7 } },
        { { SHEAR_Y, 8, 4 }, { INVERT, 8, 0 } },
        { { SHEAR_X, 7, 9 }, { TRANSLATE_Y, 8, 3 } },
        { { SHEAR_Y, 8, 5 }, { AUTOCONTRAST, 7, 0 } },
        { { SHEAR_X, 7, 2 }, { INVERT, 1, 0 } },
    },
};

static const char *check_autoaugment(const cr_transform *transform, int64_t channels)
{
    (void)channels;
    return is_whole(transform->parameters[0], 0, 2) ? NULL : "imagenet, cifar10 or svhn";
}

static cr_status autoaugment(const cr_transform *transform, cr_image *image, cr_image *spare,
                             cr_generator *generator)
{
    const struct step(*policy)[2] = policies[(int)transform->parameters[0]];
    const struct step *steps = policy[cr_random_below(generator, POLICIES)];
    for (int i = 0; i < 2; i++) {
        bool happens = cr_random_uniform(generator) * 10 <= steps[i].tenths;
        bool is_negative = draw_sign(generator);
        enum action action = steps[i].action;
        double magnitude = usual_magnitude(action, image, steps[i].level, LEVELS, is_negative);
        if (happens && act(image, spare, action, magnitude) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

const cr_transform_type data_autoaugment = {
    .name = "autoaugment",
    .about = "one of the 25 pairs of operations that were found for a data set",
    .most = 1,
    .parameters = { { "policy", 0, "imagenet cifar10 svhn" } },
    .check = check_autoaugment,
    .picture = autoaugment,
};
