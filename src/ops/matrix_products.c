/* Products of matrices: mm, bmm and linear have kernels; the rest is written with them. */
#include "kernels/gemm/gemm.h"
#include "ops/ops.h"

/* ---- what they share ---- */

static cr_status refuse_shapes(const cr_tensor *a, const cr_tensor *b, const char *why)
{
    char text[2][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "%s and %s cannot be multiplied: %s",
                        cr_shape_format(&a->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(&b->shape, text[1], CR_SHAPE_TEXT), why);
}

/* Products take numbers of one dtype; bool has none. */
static cr_status require_same_dtype(const cr_infer_call *call)
{
    const cr_tensor *a = call->inputs[0];
    for (int i = 1; i < call->input_count; i++) {
        const cr_tensor *b = call->inputs[i];
        if (b && b->dtype != a->dtype)
            return cr_error_set(CR_ERROR_DTYPE,
                                "operands must have one dtype, not %s and %s; convert one with "
                                "cr_to_dtype",
                                cr_dtype_name((cr_dtype)a->dtype),
                                cr_dtype_name((cr_dtype)b->dtype));
    }
    if (a->dtype == CR_BOOL)
        return cr_error_set(CR_ERROR_DTYPE, "bool tensors have no product; convert them with "
                                            "cr_to_dtype");
    return CR_OK;
}

/* ---- mm, bmm ---- */

/* The product of two matrices or batches of them. */
static cr_gemm product_of(const cr_call *call)
{
    const cr_tensor *a = call->inputs[0], *b = call->inputs[1], *c = call->outputs[0];
    int last = c->shape.ndim - 1;
    cr_gemm g = { .type = cr_gemm_type_of((cr_dtype)c->dtype),
                  .m = c->shape.dim[last - 1],
                  .n = c->shape.dim[last],
                  .k = a->shape.dim[last],
                  .batch = last == 2 ? c->shape.dim[0] : 1,
                  .alpha = 1,
                  .a = { .data = tensor_bytes(a),
                         .stride = a->stride[last - 1],
                         .k_stride = a->stride[last],
                         .batch_stride = last == 2 ? a->stride[0] : 0 },
                  .b = { .data = tensor_bytes(b),
                         .stride = b->stride[last],
                         .k_stride = b->stride[last - 1],
                         .batch_stride = last == 2 ? b->stride[0] : 0 },
                  .c = tensor_bytes(c) };
    g.c_stride = g.n;
    g.c_batch_stride = g.m * g.n;
    return g;
}

static size_t product_workspace(const cr_call *call)
{
    if (!tensor_is_floating(call->outputs[0]) || tensor_numel(call->outputs[0]) == 0)
        return 0;
    cr_gemm g = product_of(call);
    return cr_gemm_workspace(&g);
}

/* One matrix of a batch of integers after the other. */
static void integer_product(const cr_gemm *g, cr_dtype dtype)
{
    static void (*const kernels[CR_DTYPE_COUNT])(const cr_gemm_integer *) = {
        [CR_I64] = cr_gemm_i64, [CR_I32] = cr_gemm_i32, [CR_I16] = cr_gemm_i16,
        [CR_I8] = cr_gemm_i8,   [CR_U8] = cr_gemm_u8,
    };
    int64_t size = (int64_t)cr_dtype_size(dtype);
    for (int64_t i = 0; i < g->batch; i++) {
        cr_gemm_integer one = { .m = g->m,
                                .n = g->n,
                                .k = g->k,
                                .a = (const char *)g->a.data + i * g->a.batch_stride * size,
                                .a_stride = g->a.stride,
                                .a_k_stride = g->a.k_stride,
                                .b = (const char *)g->b.data + i * g->b.batch_stride * size,
                                .b_stride = g->b.stride,
                                .b_k_stride = g->b.k_stride,
                                .c = (char *)g->c + i * g->c_batch_stride * size,
                                .c_stride = g->c_stride };
        kernels[dtype](&one);
    }
}

static void product_forward(const cr_call *call)
{
    if (tensor_numel(call->outputs[0]) == 0)
        return;
    cr_gemm g = product_of(call);
    if (tensor_is_floating(call->outputs[0]))
        cr_gemm_run(&g, call->workspace);
    else
        integer_product(&g, (cr_dtype)call->outputs[0]->dtype);
}

static cr_status product_infer(cr_infer_call *call, int ndim)
{
    const cr_tensor *a = call->inputs[0], *b = call->inputs[1];
    cr_tensor_spec *out = &call->outputs[0];
    if (require_ndim(a, "a", ndim, ndim) != CR_OK || require_ndim(b, "b", ndim, ndim) != CR_OK ||
        require_same_dtype(call) != CR_OK)
        return cr_error_status();
    if (ndim == 3 && a->shape.dim[0] != b->shape.dim[0])
        return refuse_shapes(a, b, "the batches differ");
    if (a->shape.dim[ndim - 1] != b->shape.dim[ndim - 2])
        return refuse_shapes(a, b, "columns of the first are not as many as rows of the second");
    out->dtype = (cr_dtype)a->dtype;
    out->shape = a->shape;
    out->shape.dim[ndim - 1] = b->shape.dim[ndim - 1];
    return CR_OK;
}

static cr_status mm_infer(cr_infer_call *call)
{
    return product_infer(call, 2);
}

static cr_status bmm_infer(cr_infer_call *call)
{
    return product_infer(call, 3);
}

static cr_status mm_backward(cr_gradient_call *call)
{
    cr_tensor *grad = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = cr_mm(grad, cr_transpose(call->inputs[1], 0, 1));
    if (call->needs[1])
        call->grad_inputs[1] = cr_mm(cr_transpose(call->inputs[0], 0, 1), grad);
    return CR_OK;
}

static cr_status bmm_backward(cr_gradient_call *call)
{
    cr_tensor *grad = call->grad_outputs[0];
    if (call->needs[0])
        call->grad_inputs[0] = cr_bmm(grad, cr_transpose(call->inputs[1], 1, 2));
    if (call->needs[1])
        call->grad_inputs[1] = cr_bmm(cr_transpose(call->inputs[0], 1, 2), grad);
    return CR_OK;
}

/* Each element of the result is a sum over the last dimension of input 0. */
static int64_t product_multiply_adds(const cr_call *call)
{
    const cr_shape *a = &call->inputs[0]->shape;
    return tensor_numel(call->outputs[0]) * a->dim[a->ndim - 1];
}

ONNX_DIRECT(product, "MatMul")

static const cr_op mm_op = {
    .name = "mm",
    .summary = "the product of two matrices",
    .input_names = "a b",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .cast = CR_CAST_LOWER,
    .infer = mm_infer,
    .workspace = product_workspace,
    .forward = { [CR_CPU] = product_forward },
    .backward = mm_backward,
    .onnx = product_onnx,
    .multiply_adds = product_multiply_adds,
};

cr_tensor *cr_mm(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&mm_op, CR_INPUTS(a, b), NULL);
}

static const cr_op bmm_op = {
    .name = "bmm",
    .summary = "the products of two batches of matrices",
    .input_names = "a b",
    .min_inputs = 2,
    .flags = CR_OP_STRIDED,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .cast = CR_CAST_LOWER,
    .infer = bmm_infer,
    .workspace = product_workspace,
    .forward = { [CR_CPU] = product_forward },
    .backward = bmm_backward,
    .onnx = product_onnx,
    .multiply_adds = product_multiply_adds,
};

cr_tensor *cr_bmm(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&bmm_op, CR_INPUTS(a, b), NULL);
}

/* ---- linear ---- */

static cr_status linear_infer(cr_infer_call *call)
{
    const cr_tensor *x = call->inputs[0], *weight = call->inputs[1];
    const cr_tensor *bias = CALL_INPUT(call, 2);
    cr_tensor_spec *out = &call->outputs[0];
    if (require_ndim(x, "x", 1, CR_MAX_DIMS) != CR_OK ||
        require_ndim(weight, "weight", 2, 2) != CR_OK || require_same_dtype(call) != CR_OK ||
        require_floating(x, "x") != CR_OK)
        return cr_error_status();
    int last = x->shape.ndim - 1;
    if (x->shape.dim[last] != weight->shape.dim[1])
        return refuse_shapes(x, weight, "the last sizes (the features) differ");
    if (bias && (bias->shape.ndim != 1 || bias->shape.dim[0] != weight->shape.dim[0]))
        return cr_error_set(CR_ERROR_SHAPE,
                            "bias must have one dimension of %lld, one for each "
                            "row of weight",
                            (long long)weight->shape.dim[0]);
    out->dtype = (cr_dtype)x->dtype;
    out->shape = x->shape;
    out->shape.dim[last] = weight->shape.dim[0];
    return CR_OK;
}

static cr_gemm linear_product(const cr_call *call)
{
    const cr_tensor *x = call->inputs[0], *weight = call->inputs[1];
    const cr_tensor *bias = CALL_INPUT(call, 2);
    int64_t in = weight->shape.dim[1], out = weight->shape.dim[0];
    cr_gemm g = { .type = cr_gemm_type_of((cr_dtype)x->dtype),
                  .m = out ? tensor_numel(call->outputs[0]) / out : 0,
                  .n = out,
                  .k = in,
                  .alpha = 1,
                  .a = { .data = tensor_bytes(x), .stride = in, .k_stride = 1 },
                  .b = { .data = tensor_bytes(weight), .stride = in, .k_stride = 1 },
                  .c = tensor_bytes(call->outputs[0]),
                  .c_stride = out };
    g.epilogue.column_bias = bias ? tensor_bytes(bias) : NULL;
    return g;
}

static size_t linear_workspace(const cr_call *call)
{
    cr_gemm g = linear_product(call);
    return cr_gemm_workspace(&g);
}

static void linear_forward(const cr_call *call)
{
    cr_gemm g = linear_product(call);
    cr_gemm_run(&g, call->workspace);
}

/* The same elements as rows of the last dimension. */
static cr_tensor *as_rows(cr_tensor *x, const cr_shape *shape)
{
    int64_t last = shape->dim[shape->ndim - 1];
    int64_t rows = 1;
    for (int d = 0; d + 1 < shape->ndim; d++)
        rows *= shape->dim[d];
    return cr_reshape(x, CR_SHAPE(rows, last));
}

static cr_status linear_backward(cr_gradient_call *call)
{
    const cr_shape *shape = &call->input_specs[0].shape;
    cr_tensor *grad = as_rows(call->grad_outputs[0], &call->output_specs[0].shape);
    if (call->needs[0])
        call->grad_inputs[0] = cr_reshape(cr_mm(grad, call->inputs[1]), *shape);
    if (call->needs[1])
        call->grad_inputs[1] = cr_mm(cr_transpose(grad, 0, 1), as_rows(call->inputs[0], shape));
    if (call->input_count > 2 && call->needs[2])
        call->grad_inputs[2] = cr_sum_dims(grad, CR_SHAPE(0), false);
    return CR_OK;
}

static cr_status linear_onnx(cr_onnx_call *call)
{
    return onnx_result(call, onnx_linear(call));
}

static const cr_op linear_op = {
    .name = "linear",
    .summary = "x times the transposed weight, plus a bias",
    .input_names = "x weight bias",
    .min_inputs = 2,
    .max_inputs = 3,
    .save_inputs = CR_SAVE(0) | CR_SAVE(1),
    .cast = CR_CAST_LOWER,
    .infer = linear_infer,
    .workspace = linear_workspace,
    .forward = { [CR_CPU] = linear_forward },
    .backward = linear_backward,
    .onnx = linear_onnx,
    .multiply_adds = product_multiply_adds,
};

cr_tensor *cr_functional_linear(cr_tensor *x, cr_tensor *weight, cr_tensor *bias)
{
    return cr_apply(&linear_op, (cr_inputs){ bias ? 3 : 2, (cr_tensor *[]){ x, weight, bias } },
                    NULL);
}

/* ---- linear_gelu ---- */

static size_t linear_gelu_workspace(const cr_call *call)
{
    cr_gemm g = linear_product(call);
    g.epilogue.activation = CR_ACTIVATION_GELU;
    return cr_gemm_workspace(&g);
}

static void linear_gelu_forward(const cr_call *call)
{
    cr_gemm g = linear_product(call);
    g.epilogue.activation = CR_ACTIVATION_GELU;
    cr_gemm_run(&g, call->workspace);
}

static cr_status linear_gelu_onnx(cr_onnx_call *call)
{
    return onnx_result(call, onnx_gelu(call, onnx_linear(call), call->output_specs[0].dtype));
}

static const cr_op native_linear_gelu_op = {
    .name = "native_linear_gelu",
    .summary = "gelu of x times the transposed weight, plus a bias; without gradients",
    .input_names = "x weight bias",
    .min_inputs = 2,
    .max_inputs = 3,
    .cast = CR_CAST_LOWER,
    .infer = linear_infer,
    .workspace = linear_gelu_workspace,
    .forward = { [CR_CPU] = linear_gelu_forward },
    .onnx = linear_gelu_onnx,
    .multiply_adds = product_multiply_adds,
};

/* Backward needs what gelu is given, which the product with gelu at its end does not keep. */
static cr_status linear_gelu_compose(cr_compose_call *call)
{
    bool recorded = false;
    for (int i = 0; i < call->input_count; i++)
        recorded = recorded || (call->inputs[i] && call->inputs[i]->requires_grad);
    if ((recorded && cr_grad_enabled()) || tensor_is_traced)
        call->outputs[0] =
            cr_gelu(cr_functional_linear(call->inputs[0], call->inputs[1], CALL_INPUT(call, 2)),
                    CR_GELU_NONE);
    else
        call->outputs[0] =
            cr_apply(&native_linear_gelu_op, (cr_inputs){ call->input_count, call->inputs }, NULL);
    return cr_error_status();
}

static const cr_op linear_gelu_op = {
    .name = "linear_gelu",
    .summary = "gelu of x times the transposed weight, plus a bias",
    .input_names = "x weight bias",
    .min_inputs = 2,
    .max_inputs = 3,
    .compose = linear_gelu_compose,
};

cr_tensor *cr_functional_linear_gelu(cr_tensor *x, cr_tensor *weight, cr_tensor *bias)
{
    return cr_apply(&linear_gelu_op,
                    (cr_inputs){ bias ? 3 : 2, (cr_tensor *[]){ x, weight, bias } }, NULL);
}

/* ---- matmul ---- */

/* x with its batch dimensions expanded to `batch` and then made one: (B, rows, columns). */
static cr_tensor *as_batch(cr_tensor *x, const cr_shape *batch)
{
    int ndim = x->shape.ndim;
    int64_t rows = x->shape.dim[ndim - 2], columns = x->shape.dim[ndim - 1];
    cr_shape full = *batch;
    full.dim[full.ndim++] = rows;
    full.dim[full.ndim++] = columns;
    return cr_reshape(cr_expand(x, full), CR_SHAPE(cr_shape_numel(batch), rows, columns));
}

static cr_tensor *batched_product(cr_tensor *a, cr_tensor *b)
{
    cr_shape lead_a = a->shape, lead_b = b->shape, batch;
    lead_a.ndim -= 2;
    lead_b.ndim -= 2;
    if (shape_broadcast(&lead_a, &lead_b, &batch) != CR_OK) {
        cr_error_prefix("matmul");
        return NULL;
    }
    cr_shape shape = batch;
    shape.dim[shape.ndim++] = a->shape.dim[lead_a.ndim];
    shape.dim[shape.ndim++] = b->shape.dim[lead_b.ndim + 1];
    return cr_reshape(cr_bmm(as_batch(a, &batch), as_batch(b, &batch)), shape);
}

/* Both have two dimensions at least. A single matrix on the right multiplies all rows at once. */
static cr_tensor *matrix_product(cr_tensor *a, cr_tensor *b)
{
    if (b->shape.ndim > 2)
        return batched_product(a, b);
    if (a->shape.ndim == 2)
        return cr_mm(a, b);
    cr_shape shape = a->shape;
    shape.dim[shape.ndim - 1] = b->shape.dim[1];
    return cr_reshape(cr_mm(as_rows(a, &a->shape), b), shape);
}

static cr_status matmul_compose(cr_compose_call *call)
{
    cr_tensor *a = call->inputs[0], *b = call->inputs[1];
    if (a->shape.ndim == 0 || b->shape.ndim == 0)
        return cr_error_set(CR_ERROR_SHAPE, "matmul: operands must have one dimension at least");
    int64_t inner = b->shape.dim[b->shape.ndim == 1 ? 0 : b->shape.ndim - 2];
    if (a->shape.dim[a->shape.ndim - 1] != inner) {
        refuse_shapes(a, b, "the sizes summed over differ");
        cr_error_prefix("matmul");
        return cr_error_status();
    }
    bool row = a->shape.ndim == 1, column = b->shape.ndim == 1;
    cr_tensor *left = row ? cr_unsqueeze(a, 0) : a;
    cr_tensor *right = column ? cr_unsqueeze(b, 1) : b;
    if (!left || !right)
        return cr_error_status();
    cr_tensor *c = matrix_product(left, right);
    if (c && column)
        c = cr_select(c, -1, 0);
    if (c && row)
        c = cr_select(c, column ? -1 : -2, 0);
    call->outputs[0] = c;
    return CR_OK;
}

static const cr_op matmul_op = {
    .name = "matmul",
    .summary = "the product of vectors, matrices, or batches of them that broadcast",
    .input_names = "a b",
    .min_inputs = 2,
    .cast = CR_CAST_LOWER,
    .compose = matmul_compose,
};

cr_tensor *cr_matmul(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&matmul_op, CR_INPUTS(a, b), NULL);
}

/* ---- mv, dot, outer ---- */

static cr_status mv_compose(cr_compose_call *call)
{
    if (require_ndim(call->inputs[0], "mv: a", 2, 2) != CR_OK ||
        require_ndim(call->inputs[1], "mv: x", 1, 1) != CR_OK)
        return cr_error_status();
    call->outputs[0] = cr_matmul(call->inputs[0], call->inputs[1]);
    return CR_OK;
}

static const cr_op mv_op = {
    .name = "mv",
    .summary = "the product of a matrix and a vector",
    .input_names = "a x",
    .min_inputs = 2,
    .cast = CR_CAST_LOWER,
    .compose = mv_compose,
};

cr_tensor *cr_mv(cr_tensor *a, cr_tensor *x)
{
    return cr_apply(&mv_op, CR_INPUTS(a, x), NULL);
}

static cr_status dot_compose(cr_compose_call *call)
{
    if (require_ndim(call->inputs[0], "dot: a", 1, 1) != CR_OK ||
        require_ndim(call->inputs[1], "dot: b", 1, 1) != CR_OK)
        return cr_error_status();
    call->outputs[0] = cr_matmul(call->inputs[0], call->inputs[1]);
    return CR_OK;
}

static const cr_op dot_op = {
    .name = "dot",
    .summary = "the sum of the products of two vectors",
    .input_names = "a b",
    .min_inputs = 2,
    .cast = CR_CAST_PROMOTE,
    .compose = dot_compose,
};

cr_tensor *cr_dot(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&dot_op, CR_INPUTS(a, b), NULL);
}

static cr_status outer_compose(cr_compose_call *call)
{
    if (require_ndim(call->inputs[0], "outer: a", 1, 1) != CR_OK ||
        require_ndim(call->inputs[1], "outer: b", 1, 1) != CR_OK)
        return cr_error_status();
    call->outputs[0] = cr_mul(cr_unsqueeze(call->inputs[0], 1), call->inputs[1]);
    return CR_OK;
}

static const cr_op outer_op = {
    .name = "outer",
    .summary = "all products of the elements of two vectors",
    .input_names = "a b",
    .min_inputs = 2,
    .cast = CR_CAST_PROMOTE,
    .compose = outer_compose,
};

cr_tensor *cr_outer(cr_tensor *a, cr_tensor *b)
{
    return cr_apply(&outer_op, CR_INPUTS(a, b), NULL);
}

/* ---- addmm, baddbmm ---- */

struct addmm_attributes {
    double beta;
    double alpha;
};

static const cr_attribute addmm_table[] = {
    CR_ATTRIBUTE(struct addmm_attributes, FLOAT, beta),
    CR_ATTRIBUTE(struct addmm_attributes, FLOAT, alpha),
    CR_ATTRIBUTE_END,
};

static cr_tensor *scaled(cr_tensor *x, double factor)
{
    return factor == 1 ? x : cr_mul_scalar(x, factor);
}

static cr_status addmm_compose(cr_compose_call *call)
{
    const struct addmm_attributes *attributes = call->attributes;
    cr_tensor *a = call->inputs[1], *b = call->inputs[2];
    cr_tensor *product = scaled(a->shape.ndim == 3 ? cr_bmm(a, b) : cr_mm(a, b), attributes->alpha);
    if (!product)
        return cr_error_status();
    cr_tensor *input = cr_expand(call->inputs[0], product->shape);
    /* As in PyTorch, beta = 0 leaves input out, so that its NaN do not count. */
    call->outputs[0] =
        attributes->beta == 0 ? product : cr_add(product, scaled(input, attributes->beta));
    return CR_OK;
}

static const cr_op addmm_op = {
    .name = "addmm",
    .summary = "beta * input + alpha * (a @ b)",
    .input_names = "input a b",
    .attributes = addmm_table,
    .attribute_size = sizeof(struct addmm_attributes),
    .min_inputs = 3,
    .cast = CR_CAST_LOWER,
    .compose = addmm_compose,
};

cr_tensor *cr_addmm(cr_tensor *input, cr_tensor *a, cr_tensor *b, double beta, double alpha)
{
    return cr_apply(&addmm_op, CR_INPUTS(input, a, b), &(struct addmm_attributes){ beta, alpha });
}

static const cr_op baddbmm_op = {
    .name = "baddbmm",
    .summary = "beta * input + alpha * (a @ b), of batches of matrices",
    .input_names = "input a b",
    .attributes = addmm_table,
    .attribute_size = sizeof(struct addmm_attributes),
    .min_inputs = 3,
    .cast = CR_CAST_LOWER,
    .compose = addmm_compose,
};

cr_tensor *cr_baddbmm(cr_tensor *input, cr_tensor *a, cr_tensor *b, double beta, double alpha)
{
    return cr_apply(&baddbmm_op, CR_INPUTS(input, a, b), &(struct addmm_attributes){ beta, alpha });
}

/* ---- bilinear ---- */

static cr_status bilinear_check(const cr_tensor *x1, const cr_tensor *x2, const cr_tensor *weight)
{
    int last = x1->shape.ndim - 1;
    if (require_ndim(weight, "bilinear: weight", 3, 3) != CR_OK ||
        require_ndim(x1, "bilinear: x1", 1, CR_MAX_DIMS) != CR_OK ||
        require_ndim(x2, "bilinear: x2", last + 1, last + 1) != CR_OK)
        return cr_error_status();
    bool fits =
        x1->shape.dim[last] == weight->shape.dim[1] && x2->shape.dim[last] == weight->shape.dim[2];
    for (int d = 0; d < last; d++)
        fits = fits && x1->shape.dim[d] == x2->shape.dim[d];
    if (fits)
        return CR_OK;
    char text[3][CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE,
                        "bilinear: x1 %s, x2 %s and weight %s do not fit: they must be (…, in1), "
                        "(…, in2) and (out, in1, in2)",
                        cr_shape_format(&x1->shape, text[0], CR_SHAPE_TEXT),
                        cr_shape_format(&x2->shape, text[1], CR_SHAPE_TEXT),
                        cr_shape_format(&weight->shape, text[2], CR_SHAPE_TEXT));
}

/* (x1 W) for all outputs at once is a matrix for each row of x2, which multiplies it. */
static cr_status bilinear_compose(cr_compose_call *call)
{
    cr_tensor *x1 = call->inputs[0], *x2 = call->inputs[1], *weight = call->inputs[2];
    cr_tensor *bias = CALL_INPUT(call, 3);
    if (bilinear_check(x1, x2, weight) != CR_OK)
        return cr_error_status();
    int64_t out = weight->shape.dim[0], in1 = weight->shape.dim[1], in2 = weight->shape.dim[2];
    cr_tensor *rows = as_rows(x1, &x1->shape), *others = as_rows(x2, &x2->shape);
    if (!rows || !others)
        return cr_error_status();
    int64_t count = rows->shape.dim[0];
    cr_tensor *matrix = cr_reshape(cr_permute(weight, CR_SHAPE(1, 0, 2)), CR_SHAPE(in1, out * in2));
    cr_tensor *products = cr_reshape(cr_mm(rows, matrix), CR_SHAPE(count, out, in2));
    cr_shape shape = x1->shape;
    shape.dim[shape.ndim - 1] = out;
    cr_tensor *y = cr_reshape(cr_bmm(products, cr_unsqueeze(others, 2)), shape);
    call->outputs[0] = bias ? cr_add(y, bias) : y;
    return CR_OK;
}

static const cr_op bilinear_op = {
    .name = "bilinear",
    .summary = "x1 times a weight for each output times x2, plus a bias",
    .input_names = "x1 x2 weight bias",
    .min_inputs = 3,
    .max_inputs = 4,
    .cast = CR_CAST_PROMOTE,
    .compose = bilinear_compose,
};

cr_tensor *cr_functional_bilinear(cr_tensor *x1, cr_tensor *x2, cr_tensor *weight, cr_tensor *bias)
{
    return cr_apply(&bilinear_op,
                    (cr_inputs){ bias ? 4 : 3, (cr_tensor *[]){ x1, x2, weight, bias } }, NULL);
}

OP_FAMILY(matrix_ops) = {
    &mm_op,  &bmm_op,   &linear_op, &linear_gelu_op, &native_linear_gelu_op, &matmul_op, &mv_op,
    &dot_op, &outer_op, &addmm_op,  &baddbmm_op,     &bilinear_op,           NULL,
};
