/* Masks: masked_fill, masked_select and nonzero. The shapes of the last two depend on the data, so
 * they count first and then make the result. */
#include "cresset/indexing.h"
#include "kernels/indexing/indexing.h"
#include "ops/ops.h"

/* ---- masked_fill ---- */

struct masked_fill_attributes {
    double value;
};

static const cr_attribute masked_fill_table[] = {
    CR_ATTRIBUTE(struct masked_fill_attributes, FLOAT, value),
    CR_ATTRIBUTE_END,
};

static cr_status require_mask(const char *name, const cr_tensor *mask)
{
    if (mask->dtype == CR_BOOL)
        return CR_OK;
    return cr_error_set(CR_ERROR_DTYPE, "%s: the mask must be bool, not %s", name,
                        cr_dtype_name((cr_dtype)mask->dtype));
}

static cr_status masked_fill_compose(cr_compose_call *call)
{
    const struct masked_fill_attributes *attributes = call->attributes;
    cr_tensor *x = call->inputs[0];
    cr_tensor_args args = { .dtype = (cr_dtype)x->dtype, .device = (cr_device)x->device };
    if (require_mask("masked_fill", call->inputs[1]) != CR_OK)
        return cr_error_status();
    call->outputs[0] = cr_where(call->inputs[1], cr_full_with(args, attributes->value), x);
    return CR_OK;
}

static const cr_op masked_fill_op = {
    .name = "masked_fill",
    .summary = "a number where the mask is true",
    .input_names = "x mask",
    .attributes = masked_fill_table,
    .attribute_size = sizeof(struct masked_fill_attributes),
    .min_inputs = 2,
    .compose = masked_fill_compose,
};

cr_tensor *cr_masked_fill(cr_tensor *x, cr_tensor *mask, double value)
{
    return cr_apply(&masked_fill_op, CR_INPUTS(x, mask), &(struct masked_fill_attributes){ value });
}

/* ---- row-major positions of what is true ---- */

/* A vector of the positions of a contiguous bool tensor; NULL on failure. */
static cr_tensor *true_positions(const char *name, cr_tensor *mask)
{
    if (!mask)
        return NULL;
    if (!mask->storage) {
        cr_error_set(CR_ERROR_STATE,
                     "%s: the shape of the result depends on the data, which the "
                     "meta device has not",
                     name);
        return NULL;
    }
    const bool *data = TENSOR_DATA(const bool, mask);
    cr_shape shape = { .ndim = 1, .dim = { index_count_true(data, tensor_numel(mask)) } };
    cr_tensor *positions = tensor_new(CR_CPU, CR_I64, &shape);
    if (positions)
        index_true_positions(TENSOR_DATA(int64_t, positions), data, tensor_numel(mask));
    return positions;
}

/* ---- masked_select ---- */

static cr_status masked_select_compose(cr_compose_call *call)
{
    cr_tensor *x = call->inputs[0], *mask = call->inputs[1];
    cr_shape shape;
    if (require_mask("masked_select", mask) != CR_OK)
        return cr_error_status();
    if (shape_broadcast(&x->shape, &mask->shape, &shape) != CR_OK) {
        cr_error_prefix("masked_select");
        return cr_error_status();
    }
    cr_tensor *positions = true_positions("masked_select", cr_contiguous(cr_expand(mask, shape)));
    if (positions)
        call->outputs[0] =
            cr_index_select(cr_reshape(cr_expand(x, shape), CR_SHAPE(-1)), 0, positions);
    return cr_error_status();
}

static const cr_op masked_select_op = {
    .name = "masked_select",
    .summary = "the elements where the mask is true",
    .input_names = "x mask",
    .min_inputs = 2,
    .compose = masked_select_compose,
};

cr_tensor *cr_masked_select(cr_tensor *x, cr_tensor *mask)
{
    return cr_apply(&masked_select_op, CR_INPUTS(x, mask), NULL);
}

/* ---- nonzero ---- */

static cr_status nonzero_compose(cr_compose_call *call)
{
    const cr_tensor *x = call->inputs[0];
    cr_tensor *mask = cr_contiguous(cr_to_dtype(cr_detach(call->inputs[0]), CR_BOOL));
    cr_tensor *positions = true_positions("nonzero", mask);
    if (!positions)
        return cr_error_status();
    cr_shape shape = CR_SHAPE(tensor_numel(positions), x->shape.ndim);
    cr_tensor *out = tensor_new(CR_CPU, CR_I64, &shape);
    if (!out)
        return cr_error_status();
    const int64_t *from = TENSOR_DATA(const int64_t, positions);
    int64_t *to = TENSOR_DATA(int64_t, out);
    for (int64_t i = 0; i < shape.dim[0]; i++, to += x->shape.ndim) {
        int64_t rest = from[i];
        for (int d = x->shape.ndim - 1; d >= 0; d--) {
            to[d] = rest % x->shape.dim[d];
            rest /= x->shape.dim[d];
        }
    }
    call->outputs[0] = out;
    return CR_OK;
}

static const cr_op nonzero_op = {
    .name = "nonzero",
    .summary = "where a tensor is not 0",
    .input_names = "x",
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = nonzero_compose,
};

cr_tensor *cr_nonzero(cr_tensor *x)
{
    return cr_apply(&nonzero_op, CR_INPUTS(x), NULL);
}

OP_FAMILY(mask_ops) = { &masked_fill_op, &masked_select_op, &nonzero_op, NULL };
