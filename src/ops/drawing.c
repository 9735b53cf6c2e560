/* Random tensors and random fills in place. Every draw reserves its blocks of the generator first,
 * so that a draw of the same shape always moves it as far. */
#include <math.h>

#include "cresset/creation.h"
#include "kernels/random/random_kernels.h"
#include "ops/ops.h"

static struct random_source source_reserve(cr_generator *generator, uint64_t blocks)
{
    if (!generator)
        generator = cr_default_generator();
    struct random_source source = { .seed = generator->seed, .stream = generator->stream };
    source.first = cr_generator_reserve(generator, blocks);
    return source;
}

/* Fills a contiguous tensor; on the meta device only the generator moves. */
static void draw(cr_tensor *out, const struct random_fill *fill, cr_generator *generator)
{
    uint64_t blocks = random_blocks(fill, (cr_dtype)out->dtype, tensor_numel(out));
    struct random_source source = source_reserve(generator, blocks);
    if (out->storage)
        random_fill_tensor(out, fill, &source);
}

/* ---- tensors of a shape ---- */

struct draw_attributes {
    double a; /* uniform: from; normal: mean */
    double b; /* uniform: until; normal: standard deviation */
    int64_t low;
    int64_t high;
    cr_shape size;
    int dtype;
    int device;
};

static cr_tensor *drawn_tensor(const char *name, const struct draw_attributes *attributes,
                               const struct random_fill *fill)
{
    cr_dtype dtype = (cr_dtype)attributes->dtype;
    if ((unsigned)attributes->device >= CR_DEVICE_COUNT || (unsigned)dtype >= CR_DTYPE_COUNT) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s: unknown dtype or device", name);
        return NULL;
    }
    if (fill->kind != RANDOM_INTEGER && !cr_dtype_is_floating(dtype)) {
        cr_error_set(CR_ERROR_DTYPE, "%s: the dtype must be floating, not %s", name,
                     cr_dtype_name(dtype));
        return NULL;
    }
    cr_tensor *out = tensor_new((cr_device)attributes->device, dtype, &attributes->size);
    if (!out)
        cr_error_prefix("%s", name);
    else
        draw(out, fill, NULL);
    return out;
}

static cr_tensor *with_gradient(cr_tensor *x, const cr_tensor_args *args)
{
    return args->requires_grad ? cr_set_requires_grad(x, true) : x;
}

/* ---- rand and uniform ---- */

static const cr_attribute uniform_table[] = {
    { "from", CR_ATTRIBUTE_FLOAT, offsetof(struct draw_attributes, a) },
    { "until", CR_ATTRIBUTE_FLOAT, offsetof(struct draw_attributes, b) },
    CR_ATTRIBUTE(struct draw_attributes, INTS, size),
    CR_ATTRIBUTE(struct draw_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct draw_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

static cr_status uniform_compose(cr_compose_call *call)
{
    const struct draw_attributes *attributes = call->attributes;
    struct random_fill fill = { .kind = RANDOM_UNIFORM, .a = attributes->a, .b = attributes->b };
    if (!(attributes->a <= attributes->b))
        return cr_error_set(CR_ERROR_ARGUMENT, "rand: the range from %g to %g is empty",
                            attributes->a, attributes->b);
    call->outputs[0] = drawn_tensor("rand", attributes, &fill);
    return CR_OK;
}

static const cr_op uniform_op = {
    .name = "rand",
    .summary = "uniform random numbers",
    .input_names = "",
    .attributes = uniform_table,
    .attribute_size = sizeof(struct draw_attributes),
    .flags = CR_OP_RANDOM | CR_OP_NOT_DIFFERENTIABLE,
    .compose = uniform_compose,
};

cr_tensor *cr_uniform_with(double from, double until, cr_tensor_args args)
{
    struct draw_attributes attributes = { .a = from,
                                          .b = until,
                                          .size = args.shape,
                                          .dtype = (int)args.dtype,
                                          .device = (int)args.device };
    return with_gradient(cr_apply(&uniform_op, CR_NO_INPUTS, &attributes), &args);
}

cr_tensor *cr_rand_like(cr_tensor *x)
{
    if (cr_failed())
        return NULL;
    if (!x) {
        cr_error_set(CR_ERROR_ARGUMENT, "rand_like: the tensor is NULL");
        return NULL;
    }
    cr_tensor_args args = { x->shape, (cr_dtype)x->dtype, (cr_device)x->device, false };
    return cr_uniform_with(0.0, 1.0, args);
}

/* ---- randn and normal ---- */

static const cr_attribute normal_table[] = {
    { "mean", CR_ATTRIBUTE_FLOAT, offsetof(struct draw_attributes, a) },
    { "std", CR_ATTRIBUTE_FLOAT, offsetof(struct draw_attributes, b) },
    CR_ATTRIBUTE(struct draw_attributes, INTS, size),
    CR_ATTRIBUTE(struct draw_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct draw_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

static cr_status normal_compose(cr_compose_call *call)
{
    const struct draw_attributes *attributes = call->attributes;
    struct random_fill fill = { .kind = RANDOM_NORMAL, .a = attributes->a, .b = attributes->b };
    if (!(attributes->b >= 0))
        return cr_error_set(CR_ERROR_ARGUMENT, "normal: the standard deviation %g is negative",
                            attributes->b);
    call->outputs[0] = drawn_tensor("normal", attributes, &fill);
    return CR_OK;
}

static const cr_op normal_op = {
    .name = "normal",
    .summary = "normally distributed random numbers",
    .input_names = "",
    .attributes = normal_table,
    .attribute_size = sizeof(struct draw_attributes),
    .flags = CR_OP_RANDOM | CR_OP_NOT_DIFFERENTIABLE,
    .compose = normal_compose,
};

cr_tensor *cr_normal_with(double mean, double deviation, cr_tensor_args args)
{
    struct draw_attributes attributes = { .a = mean,
                                          .b = deviation,
                                          .size = args.shape,
                                          .dtype = (int)args.dtype,
                                          .device = (int)args.device };
    return with_gradient(cr_apply(&normal_op, CR_NO_INPUTS, &attributes), &args);
}

cr_tensor *cr_randn_like(cr_tensor *x)
{
    if (cr_failed())
        return NULL;
    if (!x) {
        cr_error_set(CR_ERROR_ARGUMENT, "randn_like: the tensor is NULL");
        return NULL;
    }
    cr_tensor_args args = { x->shape, (cr_dtype)x->dtype, (cr_device)x->device, false };
    return cr_normal_with(0.0, 1.0, args);
}

/* ---- randint ---- */

static const cr_attribute randint_table[] = {
    CR_ATTRIBUTE(struct draw_attributes, INT, low),
    CR_ATTRIBUTE(struct draw_attributes, INT, high),
    CR_ATTRIBUTE(struct draw_attributes, INTS, size),
    CR_ATTRIBUTE(struct draw_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct draw_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

static cr_status randint_compose(cr_compose_call *call)
{
    const struct draw_attributes *attributes = call->attributes;
    if (attributes->low >= attributes->high)
        return cr_error_set(CR_ERROR_ARGUMENT, "randint: the range from %lld to %lld is empty",
                            (long long)attributes->low, (long long)attributes->high);
    struct random_fill fill = { .kind = RANDOM_INTEGER,
                                .least = attributes->low,
                                .range = (uint64_t)attributes->high - (uint64_t)attributes->low };
    call->outputs[0] = drawn_tensor("randint", attributes, &fill);
    return CR_OK;
}

static const cr_op randint_op = {
    .name = "randint",
    .summary = "random integers of a range",
    .input_names = "",
    .attributes = randint_table,
    .attribute_size = sizeof(struct draw_attributes),
    .flags = CR_OP_RANDOM | CR_OP_NOT_DIFFERENTIABLE,
    .compose = randint_compose,
};

cr_tensor *cr_randint_with(int64_t low, int64_t high, cr_tensor_args args)
{
    struct draw_attributes attributes = {
        .low = low,
        .high = high,
        .size = args.shape,
        .dtype = args.dtype == CR_F32 ? (int)CR_I64 : (int)args.dtype,
        .device = (int)args.device,
    };
    return cr_apply(&randint_op, CR_NO_INPUTS, &attributes);
}

/* ---- randperm ---- */

struct randperm_attributes {
    int64_t n;
};

static const cr_attribute randperm_table[] = {
    CR_ATTRIBUTE(struct randperm_attributes, INT, n),
    CR_ATTRIBUTE_END,
};

static cr_status randperm_compose(cr_compose_call *call)
{
    const struct randperm_attributes *attributes = call->attributes;
    cr_shape shape = { .ndim = 1, .dim = { attributes->n } };
    cr_tensor *out = tensor_new(CR_CPU, CR_I64, &shape);
    if (!out) {
        cr_error_prefix("randperm");
        return cr_error_status();
    }
    cr_random_permutation(cr_default_generator(), TENSOR_DATA(int64_t, out), attributes->n);
    call->outputs[0] = out;
    return CR_OK;
}

static const cr_op randperm_op = {
    .name = "randperm",
    .summary = "0 … n-1 in random order",
    .input_names = "",
    .attributes = randperm_table,
    .attribute_size = sizeof(struct randperm_attributes),
    .flags = CR_OP_RANDOM | CR_OP_NOT_DIFFERENTIABLE,
    .compose = randperm_compose,
};

cr_tensor *cr_randperm(int64_t n)
{
    return cr_apply(&randperm_op, CR_NO_INPUTS, &(struct randperm_attributes){ n });
}

/* ---- bernoulli ---- */

static cr_status bernoulli_infer(cr_infer_call *call)
{
    if (require_floating(call->inputs[0], "x") != CR_OK)
        return cr_error_status();
    return infer_same(call);
}

static void bernoulli_forward(const cr_call *call)
{
    cr_tensor *out = call->outputs[0];
    uint64_t blocks = (uint64_t)CR_DIV_UP(tensor_numel(out), 4);
    struct random_source source = source_reserve(NULL, blocks);
    random_bernoulli_tensor(out, call->inputs[0], &source);
}

/* A step function: its gradient is 0. */
static cr_status bernoulli_backward(cr_gradient_call *call)
{
    (void)call;
    return CR_OK;
}

static const cr_op bernoulli_op = {
    .name = "bernoulli",
    .summary = "1 with the probability that each element gives",
    .input_names = "x",
    .min_inputs = 1,
    .flags = CR_OP_RANDOM,
    .infer = bernoulli_infer,
    .forward = { [CR_CPU] = bernoulli_forward },
    .backward = bernoulli_backward,
};

cr_tensor *cr_bernoulli(cr_tensor *x)
{
    return cr_apply(&bernoulli_op, CR_INPUTS(x), NULL);
}

/* ---- multinomial ---- */

struct multinomial_attributes {
    int64_t num_samples;
    bool replacement;
};

static const cr_attribute multinomial_table[] = {
    CR_ATTRIBUTE(struct multinomial_attributes, INT, num_samples),
    CR_ATTRIBUTE(struct multinomial_attributes, BOOL, replacement),
    CR_ATTRIBUTE_END,
};

/* Each row must have enough columns that can be drawn, and no weight that is none. */
static cr_status check_weights(const cr_tensor *weights, const struct multinomial_attributes *a)
{
    int64_t columns = weights->shape.dim[weights->shape.ndim - 1];
    int64_t rows = weights->shape.ndim == 2 ? weights->shape.dim[0] : 1;
    for (int64_t r = 0; r < rows; r++) {
        int64_t positive = 0;
        for (int64_t c = 0; c < columns; c++) {
            double weight = TENSOR_DATA(double, weights)[r * columns + c];
            if (!(weight >= 0 && weight < (double)INFINITY))
                return cr_error_set(CR_ERROR_ARGUMENT,
                                    "multinomial: weight %lld of row %lld is %g, which is no "
                                    "weight",
                                    (long long)c, (long long)r, weight);
            positive += weight > 0;
        }
        if (positive < (a->replacement ? 1 : a->num_samples))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "multinomial: row %lld has %lld weights above 0, too few to draw "
                                "%lld",
                                (long long)r, (long long)positive, (long long)a->num_samples);
    }
    return CR_OK;
}

static cr_status multinomial_compose(cr_compose_call *call)
{
    const struct multinomial_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    if (require_ndim(x, "multinomial: weights", 1, 2) != CR_OK)
        return cr_error_status();
    if (attributes->num_samples < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "multinomial: %lld samples are not possible",
                            (long long)attributes->num_samples);
    if (!x->storage)
        return cr_error_set(CR_ERROR_STATE, "multinomial: the meta device has no weights");
    cr_tensor *weights = cr_contiguous(cr_to_dtype(cr_detach(x), CR_F64));
    if (!weights || check_weights(weights, attributes) != CR_OK)
        return cr_error_status();
    cr_shape shape = x->shape;
    int64_t columns = shape.dim[shape.ndim - 1];
    shape.dim[shape.ndim - 1] = attributes->num_samples;
    int64_t rows = shape.ndim == 2 ? shape.dim[0] : 1;
    cr_tensor *out = tensor_new(CR_CPU, CR_I64, &shape);
    double *workspace = cr_alloc_array((size_t)CR_MAX(columns, 1), sizeof *workspace);
    if (out && workspace) {
        int64_t words = attributes->replacement ? attributes->num_samples : columns;
        struct random_source source = source_reserve(NULL, (uint64_t)(rows * CR_DIV_UP(words, 4)));
        random_multinomial(TENSOR_DATA(int64_t, out), TENSOR_DATA(double, weights), rows, columns,
                           attributes->num_samples, attributes->replacement, &source, workspace);
    }
    cr_free(workspace);
    call->outputs[0] = out;
    return CR_OK;
}

static const cr_op multinomial_op = {
    .name = "multinomial",
    .summary = "columns drawn by weight",
    .input_names = "weights",
    .attributes = multinomial_table,
    .attribute_size = sizeof(struct multinomial_attributes),
    .min_inputs = 1,
    .flags = CR_OP_RANDOM | CR_OP_NOT_DIFFERENTIABLE,
    .compose = multinomial_compose,
};

cr_tensor *cr_multinomial(cr_tensor *weights, int64_t samples, bool replacement)
{
    return cr_apply(&multinomial_op, CR_INPUTS(weights),
                    &(struct multinomial_attributes){ samples, replacement });
}

OP_FAMILY(drawing_ops) = {
    &uniform_op, &normal_op, &randint_op, &randperm_op, &bernoulli_op, &multinomial_op, NULL,
};

/* ---- in place ---- */

/* Draws into the tensor itself, or beside it where its elements do not lie side by side. */
static cr_status fill_in_place(const char *name, cr_tensor *to, const struct random_fill *fill,
                               cr_generator *generator)
{
    if (cr_failed())
        return cr_error_status();
    if (!to)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: the tensor is NULL", name);
    if (cr_grad_enabled() && to->requires_grad)
        return cr_error_set(CR_ERROR_STATE,
                            "%s: edits in place are not recorded; switch recording off with "
                            "cr_set_grad_enabled(false)",
                            name);
    if (fill->kind != RANDOM_INTEGER && fill->kind != RANDOM_BERNOULLI && !tensor_is_floating(to))
        return cr_error_set(CR_ERROR_DTYPE, "%s: the tensor must be floating, not %s", name,
                            cr_dtype_name((cr_dtype)to->dtype));
    if (tensor_is_contiguous(to)) {
        draw(to, fill, generator);
        tensor_bump_version(to);
        return CR_OK;
    }
    cr_frame frame = cr_frame_begin();
    cr_tensor *beside = tensor_new((cr_device)to->device, (cr_dtype)to->dtype, &to->shape);
    if (beside)
        draw(beside, fill, generator);
    cr_status status = beside ? cr_copy_(to, beside) : cr_error_status();
    cr_frame_end(frame);
    return status;
}

cr_status cr_uniform_(cr_tensor *to, double from, double until, cr_generator *generator)
{
    struct random_fill fill = { .kind = RANDOM_UNIFORM, .a = from, .b = until };
    if (!(from <= until))
        return cr_error_set(CR_ERROR_ARGUMENT, "uniform_: the range from %g to %g is empty", from,
                            until);
    return fill_in_place("uniform_", to, &fill, generator);
}

cr_status cr_normal_(cr_tensor *to, double mean, double deviation, cr_generator *generator)
{
    struct random_fill fill = { .kind = RANDOM_NORMAL, .a = mean, .b = deviation };
    if (!(deviation >= 0))
        return cr_error_set(CR_ERROR_ARGUMENT, "normal_: the standard deviation %g is negative",
                            deviation);
    return fill_in_place("normal_", to, &fill, generator);
}

cr_status cr_trunc_normal_(cr_tensor *to, double mean, double deviation, double low, double high,
                           cr_generator *generator)
{
    struct random_fill fill = {
        .kind = RANDOM_TRUNC_NORMAL, .a = mean, .b = deviation, .low = low, .high = high
    };
    if (!(deviation > 0) || !(low < high))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "trunc_normal_: standard deviation %g between %g and %g gives nothing",
                            deviation, low, high);
    return fill_in_place("trunc_normal_", to, &fill, generator);
}

cr_status cr_bernoulli_(cr_tensor *to, double probability, cr_generator *generator)
{
    struct random_fill fill = { .kind = RANDOM_BERNOULLI, .a = probability };
    if (!(probability >= 0 && probability <= 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "bernoulli_: %g is not a probability", probability);
    return fill_in_place("bernoulli_", to, &fill, generator);
}

cr_status cr_random_(cr_tensor *to, int64_t low, int64_t high, cr_generator *generator)
{
    struct random_fill fill = { .kind = RANDOM_INTEGER,
                                .least = low,
                                .range = (uint64_t)high - (uint64_t)low };
    if (low >= high)
        return cr_error_set(CR_ERROR_ARGUMENT, "random_: the range from %lld to %lld is empty",
                            (long long)low, (long long)high);
    return fill_in_place("random_", to, &fill, generator);
}
