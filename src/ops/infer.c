/* Shape and dtype rules that many ops share, and how ops written with others compute. */
#include "ops/ops.h"

cr_status infer_same(cr_infer_call *call)
{
    call->outputs[0].dtype = (cr_dtype)call->inputs[0]->dtype;
    call->outputs[0].shape = call->inputs[0]->shape;
    return CR_OK;
}

cr_status infer_broadcast(cr_infer_call *call)
{
    cr_tensor_spec *out = &call->outputs[0];
    out->shape = call->inputs[0]->shape;
    for (int i = 1; i < call->input_count; i++) {
        if (call->inputs[i] &&
            shape_broadcast(&out->shape, &call->inputs[i]->shape, &out->shape) != CR_OK)
            return cr_error_status();
    }
    out->dtype = promote_tensors(call->inputs, call->input_count);
    return CR_OK;
}

cr_status require_floating(const cr_tensor *x, const char *what)
{
    if (tensor_is_floating(x))
        return CR_OK;
    return cr_error_set(CR_ERROR_DTYPE, "%s must be floating, not %s; convert it with cr_to_dtype",
                        what, cr_dtype_name((cr_dtype)x->dtype));
}

cr_status require_computed(const cr_tensor *x, const char *what)
{
    if (x->dtype == CR_F32 || x->dtype == CR_F64)
        return CR_OK;
    return cr_error_set(CR_ERROR_DTYPE, "%s must be float32 or float64, not %s", what,
                        cr_dtype_name((cr_dtype)x->dtype));
}

cr_status require_stored(const cr_tensor *x, const char *what)
{
    return x->dtype == CR_BF16 ? CR_OK : require_computed(x, what);
}

cr_status require_ndim(const cr_tensor *x, const char *what, int least, int most)
{
    if (x->shape.ndim >= least && x->shape.ndim <= most)
        return CR_OK;
    char text[CR_SHAPE_TEXT];
    cr_shape_format(&x->shape, text, sizeof text);
    if (least == most)
        return cr_error_set(CR_ERROR_SHAPE, "%s must have %d dimensions, not shape %s", what, least,
                            text);
    return cr_error_set(CR_ERROR_SHAPE, "%s must have %d to %d dimensions, not shape %s", what,
                        least, most, text);
}

cr_status normalize_dims(cr_shape *dims, int ndim)
{
    bool chosen[CR_MAX_DIMS] = { false };
    bool all = dims->ndim == 0;
    for (int i = 0; i < dims->ndim; i++) {
        int dim = shape_wrap_dim(dims->dim[i], ndim, "dim");
        if (dim < 0)
            return cr_error_status();
        if (chosen[dim])
            return cr_error_set(CR_ERROR_ARGUMENT, "dim %d is given twice", dim);
        chosen[dim] = true;
    }
    dims->ndim = 0;
    for (int d = 0; d < ndim; d++) {
        if (all || chosen[d])
            dims->dim[dims->ndim++] = d;
    }
    return CR_OK;
}

cr_status infer_reduced(const cr_shape *shape, cr_shape *dims, bool keepdim, cr_shape *result)
{
    if (normalize_dims(dims, shape->ndim) != CR_OK)
        return cr_error_status();
    int next = 0;
    result->ndim = 0;
    for (int d = 0; d < shape->ndim; d++) {
        bool reduced = next < dims->ndim && dims->dim[next] == d;
        next += reduced;
        if (!reduced || keepdim)
            result->dim[result->ndim++] = reduced ? 1 : shape->dim[d];
    }
    return CR_OK;
}

int64_t reduced_count(const cr_shape *shape, const cr_shape *dims)
{
    int64_t count = 1;
    for (int i = 0; i < dims->ndim; i++)
        count *= shape->dim[dims->dim[i]];
    return count;
}

cr_tensor *keep_reduced(cr_tensor *reduced, const cr_shape *shape, const cr_shape *dims)
{
    cr_shape kept = *shape;
    for (int i = 0; i < dims->ndim; i++)
        kept.dim[dims->dim[i]] = 1;
    return cr_reshape(reduced, kept);
}

cr_tensor *spread_reduced(cr_tensor *grad, const cr_shape *shape, const cr_shape *dims)
{
    return cr_expand(keep_reduced(grad, shape, dims), *shape);
}

/* Inputs of an op that is computed in float32. */
#define MOST_INPUTS 8

static bool is_half(const cr_tensor *x)
{
    return x->dtype == CR_BF16 || x->dtype == CR_F16;
}

cr_status compose_computed(cr_compose_call *call, computed_body body)
{
    cr_tensor *in[MOST_INPUTS] = { NULL };
    cr_tensor *first = call->inputs[0];
    if (require_floating(first, call->op->input_names) != CR_OK) {
        cr_error_prefix("%s: the first of", call->op->name);
        return cr_error_status();
    }
    for (int i = 0; i < call->input_count && i < MOST_INPUTS; i++) {
        in[i] = call->inputs[i];
        if (in[i] && is_half(in[i]))
            in[i] = cr_to_dtype(in[i], CR_F32);
    }
    cr_tensor *loss = body(call->attributes, in);
    if (!loss) {
        cr_error_prefix("%s", call->op->name);
        return cr_error_status();
    }
    call->outputs[0] = is_half(first) ? cr_to_dtype(loss, (cr_dtype)first->dtype) : loss;
    return CR_OK;
}
