/* Batch, layer and group norm, softmax and cross-entropy, forward and backward. */
#include "kernels/norm/norm.h"
#include "trials.h"

static const cr_dtype dtypes[NORM_TYPE_COUNT] = { CR_F32, CR_F64, CR_BF16 };

/* The dtype of statistics and parameters. */
static cr_dtype parameters_of(enum norm_type type)
{
    return type == NORM_F64 ? CR_F64 : CR_F32;
}

/* How far values of about `scale` may be apart after some hundred roundings. */
static double near(enum norm_type type, double scale)
{
    return scale * 256 * one_unit(parameters_of(type));
}

static void *stored(struct trial *t, enum norm_type type, int64_t count, double scale)
{
    return close_result(t, dtypes[type], count, 2 * one_unit(dtypes[type]), near(type, scale));
}

static void *computed(struct trial *t, enum norm_type type, int64_t count, double scale)
{
    cr_dtype dtype = parameters_of(type);
    return close_result(t, dtype, count, 64 * one_unit(dtype), near(type, scale));
}

static const void *maybe(struct trial *t, cr_dtype dtype, int64_t count)
{
    return flip(t) ? operand(t, dtype, count) : NULL;
}

static enum norm_type draw_type(struct trial *t)
{
    return (enum norm_type)draw(t, 0, NORM_TYPE_COUNT - 1);
}

static void batch_norm(struct trial *t)
{
    enum norm_type type = draw_type(t);
    cr_dtype dtype = dtypes[type], parameters = parameters_of(type);
    int64_t n = draw(t, 4, 9), channels = draw(t, 1, 80), inner = flip(t) ? 1 : draw(t, 1, 70);
    int64_t all = n * channels * inner;
    struct batch_norm_job job = { .batch = n,
                                  .channels = channels,
                                  .inner = inner,
                                  .training = flip(t),
                                  .relu = flip(t),
                                  .updates = flip(t),
                                  .momentum = 0.1,
                                  .eps = 1e-5 };
    job.x = operand(t, dtype, all);
    job.weight = maybe(t, parameters, channels);
    job.bias = maybe(t, parameters, channels);
    job.residual = flip(t) ? operand(t, dtype, all) : NULL;
    job.running_mean = close_update(t, parameters, channels, 0, near(type, 1));
    job.running_var = operand_within(t, parameters, channels, 0.5, 2);
    if (job.training && job.updates)
        job.running_var = close_update(t, parameters, channels, 0, near(type, 1));
    job.y = stored(t, type, all, 4);
    job.mean = computed(t, type, channels, 1);
    job.invstd = computed(t, type, channels, 1);
    norm_batch_norm(type, &job);
    /* Where relu cut is read from exact numbers, so that no rounding decides it. */
    struct batch_norm_backward_job back = { .batch = n,
                                            .channels = channels,
                                            .inner = inner,
                                            .training = job.training,
                                            .relu = job.relu,
                                            .x = job.x,
                                            .weight = job.weight,
                                            .bias = job.bias };
    back.grad = operand(t, dtype, all);
    back.y = operand(t, dtype, all);
    back.mean = operand_within(t, parameters, channels, -0.1, 0.1);
    back.invstd = operand_within(t, parameters, channels, 0.5, 2);
    back.grad_x = flip(t) ? stored(t, type, all, 16) : NULL;
    back.grad_weight = flip(t) ? computed(t, type, channels, (double)(n * inner)) : NULL;
    back.grad_bias = flip(t) ? computed(t, type, channels, (double)(n * inner)) : NULL;
    back.grad_residual = flip(t) ? stored(t, type, all, 1) : NULL;
    norm_batch_norm_backward(type, &back);
}

static void layer_norm(struct trial *t)
{
    enum norm_type type = draw_type(t);
    cr_dtype dtype = dtypes[type], parameters = parameters_of(type);
    int64_t rows = draw(t, 1, 60), size = draw(t, 4, 150), all = rows * size;
    struct layer_norm_job job = { .rows = rows, .size = size, .rms = flip(t), .eps = 1e-5 };
    job.x = operand(t, dtype, all);
    job.weight = maybe(t, parameters, size);
    job.bias = maybe(t, parameters, size);
    job.y = stored(t, type, all, 4);
    job.mean = computed(t, type, rows, 1);
    job.rstd = computed(t, type, rows, 1);
    norm_layer_norm(type, &job);
    job.grad = operand(t, dtype, all);
    job.grad_x = stored(t, type, all, 16);
    if (flip(t)) {
        job.grad_weight = computed(t, type, size, (double)rows);
        job.grad_bias = computed(t, type, size, (double)rows);
        job.parts = norm_layer_norm_parts(rows, size);
        job.sums = workspace(t, (size_t)(2 * job.parts * size) * cr_dtype_size(parameters));
    }
    norm_layer_norm_backward(type, &job);
}

static void group_norm(struct trial *t)
{
    enum norm_type type = draw_type(t);
    cr_dtype dtype = dtypes[type], parameters = parameters_of(type);
    int64_t n = draw(t, 1, 5), groups = draw(t, 1, 4), channels = groups * draw(t, 1, 6);
    int64_t inner = draw(t, 4, 70), all = n * channels * inner;
    struct group_norm_job job = {
        .batch = n, .channels = channels, .inner = inner, .groups = groups, .eps = 1e-5
    };
    job.x = operand(t, dtype, all);
    job.weight = maybe(t, parameters, channels);
    job.bias = maybe(t, parameters, channels);
    job.y = stored(t, type, all, 4);
    job.mean = computed(t, type, n * groups, 1);
    job.rstd = computed(t, type, n * groups, 1);
    norm_group_norm(type, &job);
    job.grad = operand(t, dtype, all);
    job.grad_x = stored(t, type, all, 16);
    job.grad_weight = computed(t, type, channels, (double)(n * inner));
    job.grad_bias = computed(t, type, channels, (double)(n * inner));
    job.sums = workspace(t, (size_t)(2 * n * channels) * sizeof(double));
    norm_group_norm_backward(type, &job);
}

static void softmax(struct trial *t)
{
    enum norm_type type = flip(t) ? NORM_F32 : NORM_F64;
    int64_t outer = draw(t, 1, 9), inner = flip(t) ? 1 : draw(t, 1, 150);
    struct softmax_job job = { .size = draw(t, 1, 80), .inner = inner, .log = flip(t) };
    int64_t all = outer * job.size * inner;
    job.x = operand_within(t, dtypes[type], all, -9, 9);
    job.out = stored(t, type, all, job.log ? 16 : 1);
    norm_softmax(type, &job, outer);
    struct softmax_job back = job;
    back.x = operand_within(t, dtypes[type], all, job.log ? -9 : 0, job.log ? 0 : 1);
    back.grad = operand(t, dtypes[type], all);
    back.out = stored(t, type, all, (double)(2 * job.size));
    norm_softmax_backward(type, &back, outer);
}

static void cross_entropy(struct trial *t)
{
    enum norm_type type = draw_type(t);
    cr_dtype dtype = dtypes[type], parameters = parameters_of(type);
    int64_t outer = draw(t, 1, 9), inner = flip(t) ? 1 : draw(t, 1, 90);
    struct cross_entropy_job job = { .classes = draw(t, 1, 60),
                                     .inner = inner,
                                     .ignore_index = -100,
                                     .label_smoothing = flip(t) ? 0.1 : 0,
                                     .grad_scale = 0.5 };
    int64_t positions = outer * inner, all = positions * job.classes;
    int64_t target[9 * 90];
    for (int64_t i = 0; i < positions; i++)
        target[i] = draw(t, 0, 5) ? draw(t, 0, job.classes - 1) : -100;
    job.logits = operand_within(t, dtype, all, -9, 9);
    job.target = operand_of(t, target, (size_t)positions * sizeof(int64_t));
    job.weight = flip(t) ? operand_within(t, parameters, job.classes, 0.1, 2) : NULL;
    job.loss = computed(t, type, positions, 64);
    job.log_sum = computed(t, type, positions, 16);
    norm_cross_entropy(type, &job, outer);
    job.grad_stride = flip(t);
    job.grad = operand(t, parameters, job.grad_stride ? positions : 1);
    job.out = stored(t, type, all, 16);
    norm_cross_entropy_backward(type, &job, outer);
}

const struct variant_case norm_cases[] = {
    { CR_FAMILY_norm_kernels, "batch norm", batch_norm, 60 },
    { CR_FAMILY_norm_kernels, "layer norm", layer_norm, 60 },
    { CR_FAMILY_norm_kernels, "group norm", group_norm, 40 },
    { CR_FAMILY_norm_kernels, "softmax", softmax, 40 },
    { CR_FAMILY_norm_kernels, "cross-entropy", cross_entropy, 40 },
    { .run = NULL },
};
