/* Convolutions and transposed convolutions over one to three dimensions.
 *
 * Three kernels make a closed family: the convolution, its gradient by the input (which is the
 * transposed convolution) and its gradient by the weight. The gradients of each are written with
 * the others, so they have gradients of any order. Checks and shapes are in conv_infer.c. */
#include "cresset/convolution.h"
#include "kernels/conv/conv.h"
#include "ops/ops.h"

static const cr_attribute convolution_table[] = {
    CR_ATTRIBUTE(struct convolution_attributes, INTS, stride),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, padding),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, dilation),
    CR_ATTRIBUTE(struct convolution_attributes, INT, groups),
    CR_ATTRIBUTE_END,
};

static const cr_attribute transpose_table[] = {
    CR_ATTRIBUTE(struct convolution_attributes, INTS, stride),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, padding),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, output_padding),
    CR_ATTRIBUTE(struct convolution_attributes, INT, groups),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, dilation),
    CR_ATTRIBUTE_END,
};

static const cr_attribute weight_table[] = {
    CR_ATTRIBUTE(struct convolution_attributes, INTS, stride),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, padding),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, dilation),
    CR_ATTRIBUTE(struct convolution_attributes, INT, groups),
    CR_ATTRIBUTE(struct convolution_attributes, INTS, kernel),
    CR_ATTRIBUTE_END,
};

/* ---- which convolution an op computes ---- */

/* The number of spatial dimensions of an op: the records of a kind stand in order. */
static const cr_op convolution_records[3], transpose_records[3], weight_records[3];

static int spatial_of(const cr_op *op, const cr_op records[3])
{
    return (int)(op - records) + 1;
}

static cr_epilogue bias_epilogue(const cr_call *call)
{
    const cr_tensor *bias = CALL_INPUT(call, 2);
    return (cr_epilogue){ .row_bias = bias ? tensor_bytes(bias) : NULL };
}

/* ---- conv1d, conv2d, conv3d ---- */

static cr_status convolution_infer(cr_infer_call *call)
{
    return infer_convolution(call, call->attributes, spatial_of(call->op, convolution_records));
}

static cr_conv convolution_of(const cr_call *call)
{
    int spatial = spatial_of(call->op, convolution_records);
    return conv_of(call->attributes, spatial, call->inputs[0], call->outputs[0],
                   call->inputs[1]->shape.dim + 2);
}

static size_t convolution_workspace(const cr_call *call)
{
    cr_conv c = convolution_of(call);
    return cr_conv_forward_workspace(&c);
}

static void convolution_forward(const cr_call *call)
{
    cr_conv c = convolution_of(call);
    if (cr_grad_enabled())
        prepared_forget(call->inputs[1]->storage);
    cr_epilogue epilogue = bias_epilogue(call);
    cr_conv_forward(&c, tensor_bytes(call->inputs[0]), tensor_bytes(call->inputs[1]), NULL,
                    &epilogue, tensor_bytes(call->outputs[0]), call->workspace);
}

static int64_t convolution_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[1]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->outputs[0]) * each;
}

/* ---- conv_transpose1d, 2d, 3d ---- */

static cr_status transpose_infer(cr_infer_call *call)
{
    return infer_transposed_convolution(call, call->attributes,
                                        spatial_of(call->op, transpose_records));
}

static cr_conv transpose_of(const cr_call *call)
{
    int spatial = spatial_of(call->op, transpose_records);
    return conv_of(call->attributes, spatial, call->outputs[0], call->inputs[0],
                   call->inputs[1]->shape.dim + 2);
}

static size_t transpose_workspace(const cr_call *call)
{
    cr_conv c = transpose_of(call);
    return cr_conv_backward_data_workspace(&c);
}

static void transpose_forward(const cr_call *call)
{
    cr_conv c = transpose_of(call);
    cr_epilogue epilogue = bias_epilogue(call);
    cr_conv_backward_data(&c, tensor_bytes(call->inputs[0]), tensor_bytes(call->inputs[1]),
                          &epilogue, tensor_bytes(call->outputs[0]), call->workspace);
}

static int64_t transpose_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->inputs[1]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->inputs[0]) * each;
}

/* ---- gradients by the weight ---- */

static cr_status weight_infer(cr_infer_call *call)
{
    return infer_convolution_weight(call, call->attributes, spatial_of(call->op, weight_records));
}

static cr_conv weight_of(const cr_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, weight_records);
    return conv_of(a, spatial, call->inputs[0], call->inputs[1], a->kernel.dim);
}

static size_t weight_workspace(const cr_call *call)
{
    cr_conv c = weight_of(call);
    return cr_conv_backward_weight_workspace(&c);
}

static void weight_forward(const cr_call *call)
{
    cr_conv c = weight_of(call);
    cr_conv_backward_weight(&c, tensor_bytes(call->inputs[0]), tensor_bytes(call->inputs[1]),
                            tensor_bytes(call->outputs[0]), call->workspace);
}

static int64_t weight_multiply_adds(const cr_call *call)
{
    const cr_shape *weight = &call->outputs[0]->shape;
    int64_t each = weight->dim[0] ? cr_shape_numel(weight) / weight->dim[0] : 0;
    return tensor_numel(call->inputs[1]) * each;
}

/* ---- the family by each other ---- */

static cr_tensor *convolve(const struct convolution_attributes *a, int spatial, cr_tensor *x,
                           cr_tensor *weight)
{
    struct convolution_attributes settings = *a;
    settings.output_padding = cr_shape_scalar();
    return cr_apply(&convolution_records[spatial - 1], CR_INPUTS(x, weight), &settings);
}

/* The transposed convolution whose result has the spatial sizes of `shape`. */
static cr_tensor *convolve_back(const struct convolution_attributes *a, int spatial, cr_tensor *x,
                                cr_tensor *weight, const int64_t *kernel, const cr_shape *shape)
{
    if (!x || !weight)
        return NULL;
    struct convolution_attributes settings = *a;
    settings.output_padding.ndim = spatial;
    int first = shape->ndim - spatial;
    for (int d = 0; d < spatial; d++)
        settings.output_padding.dim[d] = shape->dim[first + d] -
                                         (x->shape.dim[first + d] - 1) * a->stride.dim[d] +
                                         2 * a->padding.dim[d] - convolution_span(a, kernel[d], d);
    return cr_apply(&transpose_records[spatial - 1], CR_INPUTS(x, weight), &settings);
}

static cr_tensor *weight_gradient(const struct convolution_attributes *a, int spatial, cr_tensor *x,
                                  cr_tensor *grad, const int64_t *kernel)
{
    struct convolution_attributes settings = *a;
    settings.kernel = cr_shape_make(spatial, kernel);
    return cr_apply(&weight_records[spatial - 1], CR_INPUTS(x, grad), &settings);
}

/* Sizes beyond those of `shape` cut off: a convolution may read a step further than it was asked.
 */
static cr_tensor *cut_to(cr_tensor *x, const cr_shape *shape)
{
    for (int d = 0; x && d < shape->ndim; d++) {
        if (x->shape.dim[d] > shape->dim[d])
            x = cr_narrow(x, d, 0, shape->dim[d]);
    }
    return x;
}

/* The sum over everything but the channels. */
static cr_tensor *bias_gradient(cr_tensor *grad, int spatial)
{
    cr_shape dims = { 0 };
    for (int d = 0; grad && d < grad->shape.ndim; d++) {
        if (d != grad->shape.ndim - spatial - 1)
            dims.dim[dims.ndim++] = d;
    }
    return cr_sum_dims(grad, dims, false);
}

static cr_status convolution_backward(cr_gradient_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, convolution_records);
    cr_tensor *grad = call->grad_outputs[0];
    const int64_t *kernel = call->input_specs[1].shape.dim + 2;
    if (call->needs[0])
        call->grad_inputs[0] =
            convolve_back(a, spatial, grad, call->inputs[1], kernel, &call->input_specs[0].shape);
    if (call->needs[1])
        call->grad_inputs[1] = weight_gradient(a, spatial, call->inputs[0], grad, kernel);
    if (call->input_count > 2 && call->needs[2])
        call->grad_inputs[2] = bias_gradient(grad, spatial);
    return CR_OK;
}

static cr_status transpose_backward(cr_gradient_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, transpose_records);
    cr_tensor *grad = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] =
            cut_to(convolve(a, spatial, grad, call->inputs[1]), &call->input_specs[0].shape);
    if (call->needs[1])
        call->grad_inputs[1] =
            weight_gradient(a, spatial, grad, call->inputs[0], call->input_specs[1].shape.dim + 2);
    if (call->input_count > 2 && call->needs[2])
        call->grad_inputs[2] = bias_gradient(grad, spatial);
    return CR_OK;
}

/* The gradient by the weight is linear in both x and grad; its own gradient has a weight's shape.
 */
static cr_status weight_backward(cr_gradient_call *call)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = spatial_of(call->op, weight_records);
    cr_tensor *weight = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = convolve_back(a, spatial, call->inputs[1], weight, a->kernel.dim,
                                             &call->input_specs[0].shape);
    if (call->needs[1])
        call->grad_inputs[1] =
            cut_to(convolve(a, spatial, call->inputs[0], weight), &call->input_specs[1].shape);
    return CR_OK;
}

/* ---- in ONNX ---- */

/* Without a batch it is one of 1; pads come before all dimensions, then after them. */
static cr_status write_convolution(cr_onnx_call *call, bool is_transposed)
{
    const struct convolution_attributes *a = call->attributes;
    int spatial = call->input_specs[1].ndim - 2;
    bool is_single = call->input_specs[0].ndim == spatial + 1;
    cr_shape kernel = { .ndim = spatial }, pads = { .ndim = 2 * spatial };
    for (int d = 0; d < spatial; d++) {
        kernel.dim[d] = cr_onnx_fixed_size(call, 1, d + 2);
        pads.dim[d] = pads.dim[spatial + d] = a->padding.dim[d];
    }
    cr_onnx_operator operation = {
        .type = is_transposed ? "ConvTranspose" : "Conv",
        .inputs = { call->inputs[0], call->inputs[1], ONNX_INPUT(call, 2) },
        .attributes = { CR_ONNX_INTS("kernel_shape", kernel), CR_ONNX_INTS("strides", a->stride),
                        CR_ONNX_INTS("pads", pads), CR_ONNX_INTS("dilations", a->dilation),
                        CR_ONNX_INT("group", a->groups),
                        CR_ONNX_INTS("output_padding", a->output_padding) },
    };
    if (!is_transposed)
        operation.attributes[5].kind = CR_ONNX_END;
    if (is_single)
        operation.inputs[0] = cr_onnx_unsqueeze(call, call->inputs[0], CR_SHAPE(0));
    cr_onnx_value y = cr_onnx_add_with(call, operation);
    return onnx_result(call, is_single ? cr_onnx_squeeze(call, y, CR_SHAPE(0)) : y);
}

static cr_status convolution_onnx(cr_onnx_call *call)
{
    return write_convolution(call, false);
}

static cr_status transpose_onnx(cr_onnx_call *call)
{
    return write_convolution(call, true);
}

/* ---- the records ---- */

#define CONVOLUTION(op_name)                                                                       \
    {                                                                                              \
        .name = op_name,                                                                           \
        .summary = "the convolution of x with a kernel for each pair of channels",                 \
        .input_names = "x weight bias", .attributes = convolution_table,                           \
        .attribute_size = sizeof(struct convolution_attributes), .min_inputs = 2, .max_inputs = 3, \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1), .cast = CR_CAST_LOWER, .infer = convolution_infer, \
        .workspace = convolution_workspace, .forward = { [CR_CPU] = convolution_forward },         \
        .backward = convolution_backward, .onnx = convolution_onnx,                                \
        .multiply_adds = convolution_multiply_adds,                                                \
    }

static const cr_op convolution_records[3] = {
    CONVOLUTION("conv1d"),
    CONVOLUTION("conv2d"),
    CONVOLUTION("conv3d"),
};

#define TRANSPOSE(op_name)                                                                         \
    {                                                                                              \
        .name = op_name, .summary = "the transposed convolution of x, as a gradient of one",       \
        .input_names = "x weight bias", .attributes = transpose_table,                             \
        .attribute_size = sizeof(struct convolution_attributes), .min_inputs = 2, .max_inputs = 3, \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1), .cast = CR_CAST_LOWER, .infer = transpose_infer,   \
        .workspace = transpose_workspace, .forward = { [CR_CPU] = transpose_forward },             \
        .backward = transpose_backward, .onnx = transpose_onnx,                                    \
        .multiply_adds = transpose_multiply_adds,                                                  \
    }

static const cr_op transpose_records[3] = {
    TRANSPOSE("conv_transpose1d"),
    TRANSPOSE("conv_transpose2d"),
    TRANSPOSE("conv_transpose3d"),
};

#define WEIGHT_GRADIENT(op_name)                                                                   \
    {                                                                                              \
        .name = op_name, .summary = "the gradient of a convolution by its weight",                 \
        .input_names = "x grad", .attributes = weight_table,                                       \
        .attribute_size = sizeof(struct convolution_attributes), .min_inputs = 2,                  \
        .save_inputs = CR_SAVE(0) | CR_SAVE(1), .cast = CR_CAST_LOWER, .infer = weight_infer,      \
        .workspace = weight_workspace, .forward = { [CR_CPU] = weight_forward },                   \
        .backward = weight_backward, .multiply_adds = weight_multiply_adds,                        \
    }

static const cr_op weight_records[3] = {
    WEIGHT_GRADIENT("conv1d_backward"),
    WEIGHT_GRADIENT("conv2d_backward"),
    WEIGHT_GRADIENT("conv3d_backward"),
};

OP_FAMILY(convolution_ops) = {
    &convolution_records[0], &convolution_records[1],
    &convolution_records[2], &transpose_records[0],
    &transpose_records[1],   &transpose_records[2],
    &weight_records[0],      &weight_records[1],
    &weight_records[2],      NULL,
};

/* ---- as functions ---- */

static cr_tensor *apply_by_weight(const cr_op records[3], cr_tensor *x, cr_tensor *weight,
                                  cr_tensor *bias, const cr_functional_conv_args *args)
{
    if (!x || !weight)
        return NULL;
    int spatial = weight->shape.ndim - 2;
    if (spatial < 1 || spatial > 3) {
        require_ndim(weight, "convolution: weight", 3, 5);
        return NULL;
    }
    struct convolution_attributes attributes = { .stride = args->stride,
                                                 .padding = args->padding,
                                                 .dilation = args->dilation,
                                                 .groups = args->groups,
                                                 .output_padding = args->output_padding };
    return cr_apply(&records[spatial - 1],
                    (cr_inputs){ bias ? 3 : 2, (cr_tensor *[]){ x, weight, bias } }, &attributes);
}

cr_tensor *cr_functional_conv(cr_tensor *x, cr_tensor *weight, cr_tensor *bias,
                              cr_functional_conv_args args)
{
    return apply_by_weight(convolution_records, x, weight, bias, &args);
}

cr_tensor *cr_functional_conv_transpose(cr_tensor *x, cr_tensor *weight, cr_tensor *bias,
                                        cr_functional_conv_args args)
{
    return apply_by_weight(transpose_records, x, weight, bias, &args);
}
