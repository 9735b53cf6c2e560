/* Mixup (Zhang et al., 2018) and CutMix (Yun et al., 2019): each sample of a batch is mixed with
 * the one before it, and so are their targets, as torchvision's reference recipes do. */
#include <math.h>
#include <string.h>

#include "cresset/ops.h"
#include "train/train_run.h"

/* Gamma of shape a and scale 1 by Marsaglia and Tsang, 2000; for a < 1 by way of a + 1. */
static double draw_gamma(cr_generator *generator, double a)
{
    if (a < 1)
        return draw_gamma(generator, a + 1) * pow(1 - cr_random_uniform(generator), 1 / a);
    double d = a - 1.0 / 3, c = 1 / sqrt(9 * d);
    for (;;) {
        double x = cr_random_normal(generator);
        double v = pow(1 + c * x, 3);
        if (v > 0 && log(1 - cr_random_uniform(generator)) < 0.5 * x * x + d - d * v + d * log(v))
            return d * v;
    }
}

double train_draw_beta(cr_generator *generator, double a)
{
    double x = draw_gamma(generator, a), y = draw_gamma(generator, a);
    return x + y > 0 ? x / (x + y) : 0.5;
}

/* The batch turned by one sample: the last comes first. */
static cr_tensor *turned(cr_tensor *x)
{
    int64_t size = cr_dim(x, 0);
    cr_tensor *parts[] = { cr_narrow(x, 0, size - 1, 1), cr_narrow(x, 0, 0, size - 1) };
    return size > 1 ? cr_cat(parts, 2, 0) : x;
}

/* `own` of the values and the rest of the other. */
static cr_tensor *mix(cr_tensor *x, double own)
{
    return cr_add(cr_mul_scalar(x, own), cr_mul_scalar(turned(x), 1 - own));
}

/* A box of a share 1 - own of the area, about any point, from the other sample, in place; returns
 * the share that is left of the own one. */
static double paste_box(cr_tensor *samples, const cr_tensor *other, double own,
                        cr_generator *generator)
{
    int64_t height = cr_dim(samples, 2), width = cr_dim(samples, 3);
    int64_t planes = cr_dim(samples, 0) * cr_dim(samples, 1);
    double half = 0.5 * sqrt(1 - own);
    int64_t y = (int64_t)cr_random_below(generator, (uint64_t)height);
    int64_t x = (int64_t)cr_random_below(generator, (uint64_t)width);
    int64_t reach_y = (int64_t)(half * (double)height), reach_x = (int64_t)(half * (double)width);
    int64_t top = y > reach_y ? y - reach_y : 0, left = x > reach_x ? x - reach_x : 0;
    int64_t bottom = y + reach_y < height ? y + reach_y : height;
    int64_t right = x + reach_x < width ? x + reach_x : width;
    float *to = cr_data(samples);
    const float *from = cr_data(other);
    for (int64_t plane = 0; plane < planes; plane++) {
        for (int64_t row = top; row < bottom && right > left; row++) {
            int64_t at = (plane * height + row) * width + left;
            memcpy(to + at, from + at, (size_t)(right - left) * sizeof *to);
        }
    }
    return 1 - (double)((right - left) * (bottom - top)) / (double)(height * width);
}

cr_status train_mix(const cr_train_settings *settings, int64_t classes, cr_generator *generator,
                    cr_tensor **samples, cr_tensor **targets)
{
    bool has_both = settings->mixup > 0 && settings->cutmix > 0;
    bool cuts = has_both ? cr_random_below(generator, 2) == 1 : settings->cutmix > 0;
    double own = train_draw_beta(generator, cuts ? settings->cutmix : settings->mixup);
    bool are_classes = cr_shape_of(*targets).ndim == 1;
    cr_tensor *soft = are_classes ? cr_one_hot(*targets, classes) : *targets;
    soft = cr_to_dtype(soft, CR_F32);
    if (cuts) {
        cr_tensor *other = cr_contiguous(turned(*samples));
        cr_tensor *copy = cr_clone(*samples);
        if (!other || !copy)
            return cr_error_status();
        own = paste_box(copy, other, own, generator);
        *samples = copy;
    } else {
        *samples = mix(*samples, own);
    }
    *targets = mix(soft, own);
    return cr_error_status();
}
