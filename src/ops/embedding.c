/* Tables: embedding, whose gradient adds rows in a fixed order, and one_hot. */
#include "cresset/indexing.h"
#include "kernels/indexing/indexing.h"
#include "ops/ops.h"

struct embedding_attributes {
    int64_t padding_idx;    /* -1: none */
    int64_t num_embeddings; /* of embedding_backward */
};

static const cr_attribute embedding_table[] = {
    CR_ATTRIBUTE(struct embedding_attributes, INT, padding_idx),
    CR_ATTRIBUTE_END,
};

static const cr_attribute embedding_backward_table[] = {
    CR_ATTRIBUTE(struct embedding_attributes, INT, padding_idx),
    CR_ATTRIBUTE(struct embedding_attributes, INT, num_embeddings),
    CR_ATTRIBUTE_END,
};

/* ---- gradient ---- */

static cr_status embedding_backward_infer(cr_infer_call *call)
{
    const struct embedding_attributes *attributes = call->attributes;
    const cr_tensor *grad = call->inputs[0];
    call->outputs[0].dtype = (cr_dtype)grad->dtype;
    call->outputs[0].shape =
        CR_SHAPE(attributes->num_embeddings, grad->shape.dim[grad->shape.ndim - 1]);
    return CR_OK;
}

static size_t embedding_backward_room(const cr_call *call)
{
    const struct embedding_attributes *attributes = call->attributes;
    return index_add_workspace(attributes->num_embeddings, tensor_numel(call->inputs[1]));
}

static void embedding_backward_forward(const cr_call *call)
{
    const struct embedding_attributes *attributes = call->attributes;
    const cr_tensor *indices = call->inputs[1];
    struct index_add add = { .out = call->outputs[0],
                             .values = call->inputs[0],
                             .index = TENSOR_DATA(const int64_t, indices),
                             .outer = 1,
                             .n = attributes->num_embeddings,
                             .inner = call->outputs[0]->shape.dim[1],
                             .count = tensor_numel(indices),
                             .skip = attributes->padding_idx,
                             .alpha = 1,
                             .workspace = call->workspace };
    index_add_rows(&add);
}

/* Rows of the gradient's gradient; those of the padding index were not counted. */
static cr_status embedding_backward_backward(cr_gradient_call *call)
{
    const struct embedding_attributes *attributes = call->attributes;
    cr_tensor *rows = cr_functional_embedding(call->grad_outputs[0], call->inputs[1], -1);
    if (attributes->padding_idx >= 0) {
        cr_tensor *is_padding = cr_eq_scalar(call->inputs[1], (double)attributes->padding_idx);
        rows = cr_masked_fill(rows, cr_unsqueeze(is_padding, -1), 0);
    }
    call->grad_inputs[0] = rows;
    return CR_OK;
}

static const cr_op embedding_backward_op = {
    .name = "embedding_backward",
    .summary = "the gradient of embedding for its table",
    .input_names = "grad indices",
    .attributes = embedding_backward_table,
    .attribute_size = sizeof(struct embedding_attributes),
    .min_inputs = 2,
    .save_inputs = CR_SAVE(1),
    .infer = embedding_backward_infer,
    .workspace = embedding_backward_room,
    .forward = { [CR_CPU] = embedding_backward_forward },
    .backward = embedding_backward_backward,
};

/* ---- embedding ---- */

static cr_status embedding_infer(cr_infer_call *call)
{
    const cr_tensor *weight = call->inputs[0], *indices = call->inputs[1];
    struct embedding_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    if (require_ndim(weight, "weight", 2, 2) != CR_OK ||
        require_ndim(indices, "indices", 0, CR_MAX_DIMS - 1) != CR_OK ||
        require_index(indices, 0, weight->shape.dim[0], 0) != CR_OK)
        return cr_error_status();
    if (attributes->padding_idx < -1 || attributes->padding_idx >= weight->shape.dim[0])
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "padding_idx %lld is out of range for a table of %lld rows",
                            (long long)attributes->padding_idx, (long long)weight->shape.dim[0]);
    attributes->num_embeddings = weight->shape.dim[0];
    out->dtype = (cr_dtype)weight->dtype;
    out->shape = indices->shape;
    out->shape.dim[out->shape.ndim++] = weight->shape.dim[1];
    return CR_OK;
}

static void embedding_forward(const cr_call *call)
{
    const cr_tensor *weight = call->inputs[0], *indices = call->inputs[1];
    index_rows(call->outputs[0], weight, 1, weight->shape.dim[0], weight->shape.dim[1],
               TENSOR_DATA(const int64_t, indices), tensor_numel(indices));
}

static cr_status embedding_backward(cr_gradient_call *call)
{
    call->grad_inputs[0] =
        cr_apply(&embedding_backward_op, CR_INPUTS(call->grad_outputs[0], call->inputs[1]),
                 call->attributes);
    return CR_OK;
}

static cr_status embedding_onnx(cr_onnx_call *call)
{
    return onnx_direct(call, "Gather");
}

static const cr_op embedding_op = {
    .name = "embedding",
    .summary = "rows of a table by index",
    .input_names = "weight indices",
    .attributes = embedding_table,
    .attribute_size = sizeof(struct embedding_attributes),
    .min_inputs = 2,
    .save_inputs = CR_SAVE(1),
    .infer = embedding_infer,
    .forward = { [CR_CPU] = embedding_forward },
    .backward = embedding_backward,
    .onnx = embedding_onnx,
};

cr_tensor *cr_functional_embedding(cr_tensor *weight, cr_tensor *indices, int64_t padding_idx)
{
    return cr_apply(&embedding_op, CR_INPUTS(weight, indices),
                    &(struct embedding_attributes){ .padding_idx = padding_idx });
}

/* ---- one_hot ---- */

struct one_hot_attributes {
    int64_t num_classes;
};

static const cr_attribute one_hot_table[] = {
    CR_ATTRIBUTE(struct one_hot_attributes, INT, num_classes),
    CR_ATTRIBUTE_END,
};

static cr_status one_hot_compose(cr_compose_call *call)
{
    const struct one_hot_attributes *attributes = call->attributes;
    cr_tensor *index = call->inputs[0];
    int64_t classes = attributes->num_classes, least = 0, greatest = -1;
    if (index->dtype == CR_I64 && index->storage)
        index_range(index, &least, &greatest);
    if (classes == -1 && greatest < 0)
        return cr_error_set(CR_ERROR_ARGUMENT, "one_hot: num_classes must be given here, as there "
                                               "is no index to tell it");
    classes = classes == -1 ? greatest + 1 : classes;
    if (classes < 1 || require_ndim(index, "one_hot: the index", 0, CR_MAX_DIMS - 1) != CR_OK)
        return cr_error_set(CR_ERROR_ARGUMENT, "one_hot: %lld classes", (long long)classes);
    cr_shape shape = index->shape;
    shape.dim[shape.ndim++] = classes;
    cr_tensor *zeros = cr_zeros(shape, .dtype = CR_I64, .device = (cr_device)index->device);
    call->outputs[0] = cr_scatter_value(zeros, shape.ndim - 1, cr_unsqueeze(index, -1), 1);
    if (!call->outputs[0])
        cr_error_prefix("one_hot");
    return CR_OK;
}

static const cr_op one_hot_op = {
    .name = "one_hot",
    .summary = "1 at the index, 0 elsewhere",
    .input_names = "index",
    .attributes = one_hot_table,
    .attribute_size = sizeof(struct one_hot_attributes),
    .min_inputs = 1,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .compose = one_hot_compose,
};

cr_tensor *cr_one_hot(cr_tensor *index, int64_t num_classes)
{
    return cr_apply(&one_hot_op, CR_INPUTS(index), &(struct one_hot_attributes){ num_classes });
}

OP_FAMILY(embedding_ops) = { &embedding_op, &embedding_backward_op, &one_hot_op, NULL };
