/* Tensors from ranges, identity matrices and triangle indices, and tensors like others. Random ones
 * are drawing.c's. */
#include <math.h>

#include "cresset/creation.h"
#include "ops/ops.h"

static cr_status check_creation(int dtype, int device)
{
    if ((unsigned)dtype >= CR_DTYPE_COUNT)
        return cr_error_set(CR_ERROR_DTYPE, "%d is not a dtype", dtype);
    if ((unsigned)device >= CR_DEVICE_COUNT)
        return cr_error_set(CR_ERROR_ARGUMENT, "%d is not a device", device);
    return CR_OK;
}

/* ---- ranges: each number is computed in double (or int64) and then converted ---- */

struct range_attributes {
    double start;
    double end;
    double step;
    double base;
    int64_t steps;
    int dtype;
    int device;
};

/* A vector of `count` elements to fill: int64 for integers and bool, else double. */
static cr_tensor *wide_vector(int64_t count, int dtype, int device)
{
    cr_dtype wide = cr_dtype_is_floating((cr_dtype)dtype) ? CR_F64 : CR_I64;
    cr_shape shape = { .ndim = 1, .dim = { count } };
    if (check_creation(dtype, device) != CR_OK)
        return NULL;
    return tensor_new(tensor_is_traced ? CR_CPU : (cr_device)device, wide, &shape);
}

static void fill_steps(cr_tensor *out, double start, double step)
{
    int64_t count = out->storage ? tensor_numel(out) : 0;
    if (out->dtype == CR_I64) {
        for (int64_t i = 0; i < count; i++)
            TENSOR_DATA(int64_t, out)[i] = (int64_t)start + i * (int64_t)step;
        return;
    }
    for (int64_t i = 0; i < count; i++)
        TENSOR_DATA(double, out)[i] = start + (double)i * step;
}

static const cr_attribute arange_table[] = {
    CR_ATTRIBUTE(struct range_attributes, FLOAT, start),
    CR_ATTRIBUTE(struct range_attributes, FLOAT, end),
    CR_ATTRIBUTE(struct range_attributes, FLOAT, step),
    CR_ATTRIBUTE(struct range_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct range_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

static cr_status arange_compose(cr_compose_call *call)
{
    const struct range_attributes *range = call->attributes;
    double count = ceil((range->end - range->start) / range->step);
    if (!isfinite(range->start) || !isfinite(range->end) || !isfinite(count) || count < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "arange: no steps of %g lead from %g to %g",
                            range->step, range->start, range->end);
    if (fabs(range->start) > 0x1p62 || fabs(range->end) > 0x1p62)
        return cr_error_set(CR_ERROR_ARGUMENT, "arange: %g to %g is too wide a range", range->start,
                            range->end);
    if (count >= 0x1p60)
        return cr_error_set(CR_ERROR_ARGUMENT, "arange: %g numbers are too many", count);
    cr_tensor *out = wide_vector((int64_t)count, range->dtype, range->device);
    if (!out)
        return cr_error_status();
    fill_steps(out, range->start, range->step);
    call->outputs[0] = cr_to_dtype(out, (cr_dtype)range->dtype);
    return CR_OK;
}

static const cr_op arange_op = {
    .name = "arange",
    .summary = "start, start + step, … before end",
    .input_names = "",
    .attributes = arange_table,
    .attribute_size = sizeof(struct range_attributes),
    .compose = arange_compose,
};

cr_tensor *cr_arange_with(cr_arange_args args)
{
    struct range_attributes range = { .start = args.start,
                                      .end = args.end,
                                      .step = args.step == 0 ? 1 : args.step,
                                      .dtype = (int)args.dtype,
                                      .device = (int)args.device };
    return cr_apply(&arange_op, CR_NO_INPUTS, &range);
}

static const cr_attribute linspace_table[] = {
    CR_ATTRIBUTE(struct range_attributes, FLOAT, start),
    CR_ATTRIBUTE(struct range_attributes, FLOAT, end),
    CR_ATTRIBUTE(struct range_attributes, INT, steps),
    CR_ATTRIBUTE(struct range_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct range_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

/* The second half is counted from the end, which is met exactly. */
static double linspace_at(const struct range_attributes *range, int64_t i)
{
    if (range->steps == 1)
        return range->start;
    double step = (range->end - range->start) / (double)(range->steps - 1);
    if (i < range->steps / 2)
        return range->start + step * (double)i;
    return range->end - step * (double)(range->steps - 1 - i);
}

/* linspace, or base to the power of it. */
static cr_status space_compose(cr_compose_call *call, bool is_power)
{
    const struct range_attributes *range = call->attributes;
    if (range->steps < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: %lld steps are not possible", call->op->name,
                            (long long)range->steps);
    cr_tensor *out = wide_vector(range->steps, range->dtype, range->device);
    if (!out)
        return cr_error_status();
    for (int64_t i = 0; out->storage && i < range->steps; i++) {
        double value = linspace_at(range, i);
        value = is_power ? pow(range->base, value) : value;
        element_write((cr_dtype)out->dtype, value,
                      tensor_bytes(out) + i * (int64_t)cr_dtype_size((cr_dtype)out->dtype));
    }
    call->outputs[0] = cr_to_dtype(out, (cr_dtype)range->dtype);
    return CR_OK;
}

static cr_status linspace_compose(cr_compose_call *call)
{
    return space_compose(call, false);
}

static const cr_op linspace_op = {
    .name = "linspace",
    .summary = "evenly spaced numbers from start to end",
    .input_names = "",
    .attributes = linspace_table,
    .attribute_size = sizeof(struct range_attributes),
    .compose = linspace_compose,
};

static cr_tensor *space(const cr_op *op, const cr_linspace_args *args)
{
    struct range_attributes range = { .start = args->start,
                                      .end = args->end,
                                      .base = args->base == 0 ? 10 : args->base,
                                      .steps = args->steps,
                                      .dtype = (int)args->dtype,
                                      .device = (int)args->device };
    return cr_apply(op, CR_NO_INPUTS, &range);
}

cr_tensor *cr_linspace_with(cr_linspace_args args)
{
    return space(&linspace_op, &args);
}

static const cr_attribute logspace_table[] = {
    CR_ATTRIBUTE(struct range_attributes, FLOAT, start),
    CR_ATTRIBUTE(struct range_attributes, FLOAT, end),
    CR_ATTRIBUTE(struct range_attributes, INT, steps),
    CR_ATTRIBUTE(struct range_attributes, FLOAT, base),
    CR_ATTRIBUTE(struct range_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct range_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

static cr_status logspace_compose(cr_compose_call *call)
{
    return space_compose(call, true);
}

static const cr_op logspace_op = {
    .name = "logspace",
    .summary = "base to the power of evenly spaced numbers",
    .input_names = "",
    .attributes = logspace_table,
    .attribute_size = sizeof(struct range_attributes),
    .compose = logspace_compose,
};

cr_tensor *cr_logspace_with(cr_linspace_args args)
{
    return space(&logspace_op, &args);
}

/* ---- eye ---- */

struct eye_attributes {
    int64_t n;
    int64_t m;
    int dtype;
    int device;
};

static const cr_attribute eye_table[] = {
    CR_ATTRIBUTE(struct eye_attributes, INT, n),
    CR_ATTRIBUTE(struct eye_attributes, INT, m),
    CR_ATTRIBUTE(struct eye_attributes, ENUM, dtype),
    CR_ATTRIBUTE(struct eye_attributes, ENUM, device),
    CR_ATTRIBUTE_END,
};

static cr_status eye_compose(cr_compose_call *call)
{
    const struct eye_attributes *eye = call->attributes;
    if (check_creation(eye->dtype, eye->device) != CR_OK)
        return cr_error_status();
    cr_tensor_args args = { .shape = CR_SHAPE(eye->n, eye->m),
                            .dtype = (cr_dtype)eye->dtype,
                            .device = (cr_device)eye->device };
    cr_tensor *out = cr_zeros_with(args);
    args.shape = CR_SHAPE(CR_MIN(eye->n, eye->m));
    cr_tensor *ones = out ? cr_ones_with(args) : NULL;
    if (!ones || cr_copy_(cr_diagonal(out, 0, 0, 1), ones) != CR_OK)
        return cr_error_status();
    call->outputs[0] = out;
    return CR_OK;
}

static const cr_op eye_op = {
    .name = "eye",
    .summary = "ones on the diagonal of a matrix",
    .input_names = "",
    .attributes = eye_table,
    .attribute_size = sizeof(struct eye_attributes),
    .compose = eye_compose,
};

cr_tensor *cr_eye_with(cr_eye_args args)
{
    struct eye_attributes eye = { args.n, args.m == 0 ? args.n : args.m, (int)args.dtype,
                                  (int)args.device };
    return cr_apply(&eye_op, CR_NO_INPUTS, &eye);
}

/* ---- tril_indices, triu_indices ---- */

struct triangle_attributes {
    int64_t row;
    int64_t col;
    int64_t offset;
};

static const cr_attribute triangle_table[] = {
    CR_ATTRIBUTE(struct triangle_attributes, INT, row),
    CR_ATTRIBUTE(struct triangle_attributes, INT, col),
    CR_ATTRIBUTE(struct triangle_attributes, INT, offset),
    CR_ATTRIBUTE_END,
};

/* The columns of a row that lie in the triangle: [*begin, *end). */
static void triangle_row(const struct triangle_attributes *t, bool is_upper, int64_t row,
                         int64_t *begin, int64_t *end)
{
    int64_t first = row + t->offset;
    *begin = is_upper ? CR_MIN(CR_MAX(first, 0), t->col) : 0;
    *end = is_upper ? t->col : CR_MIN(CR_MAX(first + 1, 0), t->col);
}

static cr_status triangle_compose(cr_compose_call *call, bool is_upper)
{
    const struct triangle_attributes *t = call->attributes;
    int64_t count = 0, begin, end;
    if (t->offset < -INT32_MAX || t->offset > INT32_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: an offset of %lld", call->op->name,
                            (long long)t->offset);
    if (t->row < 0 || t->col < 0 || t->row > INT32_MAX || t->col > INT32_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: a matrix of %lld rows and %lld columns",
                            call->op->name, (long long)t->row, (long long)t->col);
    for (int64_t r = 0; r < t->row; r++) {
        triangle_row(t, is_upper, r, &begin, &end);
        count += end - begin;
    }
    cr_shape shape = CR_SHAPE(2, count);
    cr_tensor *out = tensor_new(CR_CPU, CR_I64, &shape);
    if (!out)
        return cr_error_status();
    int64_t *rows = TENSOR_DATA(int64_t, out);
    int64_t *columns = rows + count;
    for (int64_t r = 0; r < t->row; r++) {
        triangle_row(t, is_upper, r, &begin, &end);
        for (int64_t c = begin; c < end; c++) {
            *rows++ = r;
            *columns++ = c;
        }
    }
    call->outputs[0] = out;
    return CR_OK;
}

static cr_status tril_indices_compose(cr_compose_call *call)
{
    return triangle_compose(call, false);
}

static cr_status triu_indices_compose(cr_compose_call *call)
{
    return triangle_compose(call, true);
}

static const cr_op tril_indices_op = {
    .name = "tril_indices",
    .summary = "rows and columns of the lower triangle",
    .input_names = "",
    .attributes = triangle_table,
    .attribute_size = sizeof(struct triangle_attributes),
    .compose = tril_indices_compose,
};

static const cr_op triu_indices_op = {
    .name = "triu_indices",
    .summary = "rows and columns of the upper triangle",
    .input_names = "",
    .attributes = triangle_table,
    .attribute_size = sizeof(struct triangle_attributes),
    .compose = triu_indices_compose,
};

cr_tensor *cr_tril_indices(int64_t row, int64_t column, int64_t offset)
{
    return cr_apply(&tril_indices_op, CR_NO_INPUTS,
                    &(struct triangle_attributes){ row, column, offset });
}

cr_tensor *cr_triu_indices(int64_t row, int64_t column, int64_t offset)
{
    return cr_apply(&triu_indices_op, CR_NO_INPUTS,
                    &(struct triangle_attributes){ row, column, offset });
}

/* ---- like another tensor ---- */

static cr_tensor_args args_like(const cr_tensor *x)
{
    return (cr_tensor_args){ .shape = x->shape,
                             .dtype = (cr_dtype)x->dtype,
                             .device = (cr_device)x->device };
}

static cr_status empty_like_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_empty_with(args_like(call->inputs[0]));
    return CR_OK;
}

static const cr_op empty_like_op = {
    .name = "empty_like",
    .summary = "a tensor of the same shape, not initialised",
    .input_names = "x",
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = empty_like_compose,
};

cr_tensor *cr_empty_like(cr_tensor *x)
{
    return cr_apply(&empty_like_op, CR_INPUTS(x), NULL);
}

struct full_like_attributes {
    double fill_value;
};

static const cr_attribute full_like_table[] = {
    CR_ATTRIBUTE(struct full_like_attributes, FLOAT, fill_value),
    CR_ATTRIBUTE_END,
};

static cr_status full_like_compose(cr_compose_call *call)
{
    const struct full_like_attributes *attributes = call->attributes;
    call->outputs[0] = cr_full_with(args_like(call->inputs[0]), attributes->fill_value);
    return CR_OK;
}

static const cr_op full_like_op = {
    .name = "full_like",
    .summary = "a tensor of the same shape, every element a number",
    .input_names = "x",
    .attributes = full_like_table,
    .attribute_size = sizeof(struct full_like_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = full_like_compose,
};

cr_tensor *cr_full_like(cr_tensor *x, double value)
{
    return cr_apply(&full_like_op, CR_INPUTS(x), &(struct full_like_attributes){ value });
}

static cr_status zeros_like_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_zeros_with(args_like(call->inputs[0]));
    return CR_OK;
}

static const cr_op zeros_like_op = {
    .name = "zeros_like",
    .summary = "a tensor of the same shape, every element 0",
    .input_names = "x",
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = zeros_like_compose,
};

cr_tensor *cr_zeros_like(cr_tensor *x)
{
    return cr_apply(&zeros_like_op, CR_INPUTS(x), NULL);
}

static cr_status ones_like_compose(cr_compose_call *call)
{
    call->outputs[0] = cr_ones_with(args_like(call->inputs[0]));
    return CR_OK;
}

static const cr_op ones_like_op = {
    .name = "ones_like",
    .summary = "a tensor of the same shape, every element 1",
    .input_names = "x",
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = ones_like_compose,
};

cr_tensor *cr_ones_like(cr_tensor *x)
{
    return cr_apply(&ones_like_op, CR_INPUTS(x), NULL);
}

OP_FAMILY(creation_ops) = {
    &arange_op,       &linspace_op,     &logspace_op,   &eye_op,
    &tril_indices_op, &triu_indices_op, &empty_like_op, &full_like_op,
    &zeros_like_op,   &ones_like_op,    NULL,
};

/* ---- in place ---- */

cr_status cr_fill_(cr_tensor *to, double value)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *number = NULL;
    if (to)
        number = cr_full_with(
            (cr_tensor_args){ .dtype = (cr_dtype)to->dtype, .device = (cr_device)to->device },
            value);
    cr_status status = cr_copy_(to, number);
    if (!to)
        cr_error_prefix("fill_");
    cr_frame_end(frame);
    return status;
}

cr_status cr_zero_(cr_tensor *to)
{
    return cr_fill_(to, 0);
}
