/* Random numbers, the steps of optimisers, and the loops that measure the processor. */
#include <math.h>

#include "kernels/optimizer/optimizer.h"
#include "kernels/peak/peak_kernels.h"
#include "kernels/random/random_kernels.h"
#include "trials.h"

/* ---- random numbers ---- */

static struct random_source draw_source(struct trial *t)
{
    return (struct random_source){ .seed = (uint64_t)draw(t, 0, INT32_MAX),
                                   .stream = (uint64_t)draw(t, 0, 9),
                                   .first = (uint64_t)draw(t, 0, INT32_MAX) << draw(t, 0, 24) };
}

static void words(struct trial *t)
{
    struct random_source source = draw_source(t);
    int64_t n = draw(t, 1, 400);
    random_loops()->words(exact_result(t, CR_I32, n), n, &source, (uint64_t)draw(t, 0, 1000));
}

/* The generator's words are the same bits; what logarithms and products make of them is close. */
static void fills(struct trial *t)
{
    static const cr_dtype dtypes[] = { CR_F32, CR_F64, CR_BF16, CR_F16, CR_I64, CR_U8 };
    enum random_kind kind = (enum random_kind)draw(t, 0, RANDOM_INTEGER);
    bool is_integer = kind == RANDOM_INTEGER;
    cr_dtype dtype = dtypes[is_integer ? draw(t, 4, 5) : draw(t, 0, 3)];
    struct random_fill fill = {
        .kind = kind, .a = 0.25, .b = 1.5, .low = -1, .high = 2, .least = 3, .range = 90
    };
    struct random_source source = draw_source(t);
    cr_shape shape = { 1, { draw(t, 0, 5) ? draw(t, 1, 700) : draw(t, 1, 40000) } };
    bool exact = is_integer || kind == RANDOM_BERNOULLI;
    struct test_tensor out;
    void *to = exact ? exact_result(t, dtype, shape.dim[0])
                     : close_result(t, dtype, shape.dim[0], 8 * one_unit(dtype), 2e-6);
    tensor_of(&out, to, dtype, &shape);
    random_fill_tensor(&out.tensor, &fill, &source);
}

static void masks(struct trial *t)
{
    struct random_source source = draw_source(t);
    cr_shape shape = { 1, { draw(t, 1, 700) } };
    struct test_tensor keep, chance, out;
    tensor_of(&keep, exact_result(t, CR_BOOL, shape.dim[0]), CR_BOOL, &shape);
    random_keep_mask(&keep.tensor, draw_real(t, 0, 1), &source);
    cr_dtype dtype = flip(t) ? CR_F32 : CR_BF16;
    tensor_of(&chance, operand_within(t, dtype, shape.dim[0], 0, 1), dtype, &shape);
    tensor_of(&out, exact_result(t, dtype, shape.dim[0]), dtype, &shape);
    random_bernoulli_tensor(&out.tensor, &chance.tensor, &source);
}

/* ---- optimisers ---- */

static struct optimizer_numbers draw_numbers(struct trial *t)
{
    return (struct optimizer_numbers){ .lr = 0.01,
                                       .weight_decay = flip(t) ? 0.1 : 0,
                                       .grad_sign = flip(t) ? 1 : -1,
                                       .momentum = 0.9,
                                       .dampening = flip(t) ? 0.5 : 0,
                                       .nesterov = flip(t),
                                       .first = flip(t),
                                       .beta1 = 0.9,
                                       .beta2 = 0.99,
                                       .eps = 1e-3,
                                       .amsgrad = flip(t),
                                       .correction1 = 0.5,
                                       .correction2 = 0.3,
                                       .alpha = 0.99,
                                       .centered = flip(t),
                                       .rho = 0.9,
                                       .grad_factor = 0.4,
                                       .momentum_factor = 0.6,
                                       .rectified = flip(t) };
}

/* An array that is updated, from numbers between bounds on: an operand, copied. */
static void *update_within(struct trial *t, cr_dtype dtype, int64_t n, double low, double high)
{
    void *to = close_update(t, dtype, n, 64 * one_unit(dtype), 64 * one_unit(dtype));
    for (int64_t i = 0; i < n; i++)
        if (dtype == CR_F64)
            ((double *)to)[i] = draw_real(t, low, high);
        else
            ((float *)to)[i] = (float)draw_real(t, low, high);
    return to;
}

/* Squares are kept in the first or the second state, and what may be left out in the others. */
static void step(struct trial *t, cr_dtype dtype, void *state[OPTIMIZER_STATES], bool may_omit,
                 int64_t n)
{
    state[0] = update_within(t, dtype, n, 0.5, 1);
    state[1] = update_within(t, dtype, n, 0.5, 1);
    state[2] = update_within(t, dtype, n, 0, 0.1);
    if (may_omit && flip(t))
        state[0] = NULL;
}

#define STEPS(name)                                                                                \
    static void name##_of_f32(struct trial *t, bool may_omit)                                      \
    {                                                                                              \
        void *s[OPTIMIZER_STATES];                                                                 \
        int64_t n = draw(t, 1, 200);                                                               \
        struct optimizer_numbers numbers = draw_numbers(t);                                        \
        float *weight = update_within(t, CR_F32, n, -2, 2);                                        \
        const float *grad = operand(t, CR_F32, n);                                                 \
        step(t, CR_F32, s, may_omit, n);                                                           \
        float *const state[OPTIMIZER_STATES] = { s[0], s[1], s[2] };                               \
        optimizer_loops()->name##_f32(n, weight, grad, state, &numbers);                           \
    }                                                                                              \
    static void name##_of_f64(struct trial *t, bool may_omit)                                      \
    {                                                                                              \
        void *s[OPTIMIZER_STATES];                                                                 \
        int64_t n = draw(t, 1, 200);                                                               \
        struct optimizer_numbers numbers = draw_numbers(t);                                        \
        double *weight = update_within(t, CR_F64, n, -2, 2);                                       \
        const double *grad = operand(t, CR_F64, n);                                                \
        step(t, CR_F64, s, may_omit, n);                                                           \
        double *const state[OPTIMIZER_STATES] = { s[0], s[1], s[2] };                              \
        optimizer_loops()->name##_f64(n, weight, grad, state, &numbers);                           \
    }
OPTIMIZER_TABLE(STEPS)

static void optimizers(struct trial *t)
{
    static void (*const runs[][2])(struct trial *, bool) = {
#define RUNS(name) { name##_of_f32, name##_of_f64 },
        OPTIMIZER_TABLE(RUNS)
    };
    int chosen = t->number % CR_COUNT_OF(runs);
    runs[chosen][draw(t, 0, 2) == 0](t, chosen == 0); /* sgd may go without */
}

/* ---- the peak ---- */

static void peak(struct trial *t)
{
    int64_t n = draw(t, 1, 300);
    const float *from = operand(t, CR_F32, n);
    peak_loops()->copy(n, from, exact_result(t, CR_F32, n));
    bool *is_number = exact_result(t, CR_BOOL, 2);
    float sink = 0;
    is_number[0] = peak_loops()->multiply_add(draw(t, 1, 50), &sink) > 0;
    is_number[1] = isfinite(sink);
}

const struct variant_case other_cases[] = {
    { CR_FAMILY_random_loops, "words", words, 40 },
    { CR_FAMILY_random_loops, "fills", fills, 80 },
    { CR_FAMILY_random_loops, "masks", masks, 30 },
    { CR_FAMILY_optimizer_loops, "steps", optimizers, 180 },
    { CR_FAMILY_peak_loops, "loops", peak, 20 },
    { .run = NULL },
};
