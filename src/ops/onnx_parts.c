/* Pieces of ONNX graphs that several ops are written with. */
#include <math.h>
#include <string.h>

#include "cresset/shaping.h"
#include "ops/ops.h"

cr_onnx_value onnx_clip(cr_onnx_call *call, cr_onnx_value x, cr_dtype dtype, double min, double max)
{
    return cr_onnx_add(call, "Clip",
                       .inputs = { x, isinf(min) ? 0 : cr_onnx_number(call, dtype, min),
                                   isinf(max) ? 0 : cr_onnx_number(call, dtype, max) });
}

/* x/2 (1 + erf(x / sqrt 2)), in the order of operators that runtimes know as one. */
cr_onnx_value onnx_gelu(cr_onnx_call *call, cr_onnx_value x, cr_dtype dtype)
{
    cr_onnx_value y = cr_onnx_with_number(call, "Div", x, dtype, 1.41421356237309504880);
    y = cr_onnx_with_number(call, "Add", cr_onnx_unary(call, "Erf", y), dtype, 1);
    return cr_onnx_with_number(call, "Mul", cr_onnx_binary(call, "Mul", x, y), dtype, 0.5);
}

/* ReduceSum takes its axes as an input, the others as an attribute. */
cr_onnx_value onnx_reduce(cr_onnx_call *call, const char *type, cr_onnx_value x,
                          const cr_shape *dims, bool keepdim)
{
    if (dims->ndim == 0)
        return x;
    if (strcmp(type, "ReduceSum") == 0)
        return cr_onnx_add(call, type, .inputs = { x, cr_onnx_integers(call, *dims) },
                           .attributes = { CR_ONNX_INT("keepdims", keepdim) });
    return cr_onnx_add(
        call, type, .inputs = { x },
        .attributes = { CR_ONNX_INTS("axes", *dims), CR_ONNX_INT("keepdims", keepdim) });
}

cr_onnx_value onnx_as(cr_onnx_call *call, int input, cr_dtype dtype)
{
    cr_onnx_value x = call->inputs[input];
    return call->input_specs[input].dtype == dtype ? x : cr_onnx_cast(call, x, dtype);
}

/* Gemm reads the weight as it is; of more or fewer dimensions MatMul takes it transposed. */
cr_onnx_value onnx_linear(cr_onnx_call *call)
{
    cr_onnx_value bias = ONNX_INPUT(call, 2);
    if (call->input_specs[0].ndim == 2)
        return cr_onnx_add(call, "Gemm", .inputs = { call->inputs[0], call->inputs[1], bias },
                           .attributes = { CR_ONNX_INT("transB", 1) });
    cr_onnx_value y = cr_onnx_binary(call, "MatMul", call->inputs[0],
                                     cr_onnx_permute(call, call->inputs[1], CR_SHAPE(1, 0)));
    return bias ? cr_onnx_binary(call, "Add", y, bias) : y;
}

/* What is added to scores: -inf where a bool mask is false. */
static cr_onnx_value additive_mask(cr_onnx_call *call, cr_onnx_value mask, bool is_bool,
                                   cr_dtype dtype)
{
    if (!mask || !is_bool)
        return mask;
    return cr_onnx_add(
        call, "Where",
        .inputs = { mask, cr_onnx_number(call, dtype, 0), cr_onnx_number(call, dtype, -INFINITY) });
}

cr_onnx_value onnx_attend(cr_onnx_call *call, const struct onnx_attention *attention)
{
    cr_dtype dtype = attention->dtype;
    cr_onnx_value query = attention->query;
    if (attention->scale != 1)
        query = cr_onnx_with_number(call, "Mul", query, dtype, attention->scale);
    cr_onnx_value scores = cr_onnx_binary(call, "MatMul", query, attention->transposed_key);
    cr_onnx_value masks[2] = { additive_mask(call, attention->mask, attention->is_bool, dtype),
                               attention->bias };
    for (int i = 0; i < 2; i++) {
        if (masks[i])
            scores = cr_onnx_binary(call, "Add", scores, masks[i]);
    }
    cr_onnx_value weights = cr_onnx_add(call, "Softmax", .inputs = { scores },
                                        .attributes = { CR_ONNX_INT("axis", -1) });
    return cr_onnx_binary(call, "MatMul", weights, attention->value);
}

/* The order that exchanges the last two of `ndim` dimensions. */
cr_shape onnx_last_exchanged(int ndim)
{
    cr_shape order = { .ndim = ndim };
    for (int d = 0; d < ndim; d++)
        order.dim[d] = d < ndim - 2 ? d : 2 * ndim - 3 - d;
    return order;
}

/* One value `count` times, as the weight of a norm that has none. */
cr_onnx_value onnx_filled(cr_onnx_call *call, double value, cr_shape shape, cr_dtype dtype)
{
    if (cr_failed())
        return 0;
    cr_frame frame = cr_frame_begin();
    cr_onnx_value made = cr_onnx_tensor(call, cr_full(value, shape, .dtype = dtype));
    cr_frame_end(frame);
    return made;
}

/* Without data for what an export needs to know beforehand. */
cr_tensor *onnx_require_constant(cr_onnx_call *call, int input, const char *what)
{
    cr_tensor *data = cr_onnx_constant(call, ONNX_INPUT(call, input));
    if (!data)
        cr_error_set(CR_ERROR_UNSUPPORTED, "%s must be known when the graph is written", what);
    return data;
}

/* An index vector (count) in the shape of `source`, along dim: ScatterElements takes one a value.
 */
static cr_onnx_value spread_index(cr_onnx_call *call, cr_onnx_value index,
                                  const cr_onnx_spec *source, int64_t dim)
{
    cr_onnx_size sizes[CR_MAX_DIMS];
    for (int d = 0; d < source->ndim; d++)
        sizes[d] = d == dim ? source->dim[d] : (cr_onnx_size){ .base = 1 };
    cr_onnx_value column = cr_onnx_reshape(call, index, NULL, sizes, source->ndim);
    return cr_onnx_binary(call, "Expand", column, cr_onnx_sizes(call, source->dim, source->ndim));
}

cr_onnx_value onnx_scatter(cr_onnx_call *call, int64_t dim, const char *reduction, bool is_vector,
                           cr_onnx_value source)
{
    const cr_onnx_spec *spec = &call->input_specs[2];
    cr_onnx_value index = call->inputs[1];
    if (is_vector)
        index = spread_index(call, index, spec, dim);
    return cr_onnx_add(
        call, "ScatterElements", .inputs = { call->inputs[0], index, source },
        .attributes = { CR_ONNX_INT("axis", dim), CR_ONNX_TEXT("reduction", reduction) });
}
