/* Matrix products, by PyTorch's names and rules. Operands have one dtype; results are owned by the
 * frame; every function returns NULL on failure. */
#ifndef CRESSET_LINEAR_ALGEBRA_H
#define CRESSET_LINEAR_ALGEBRA_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* (m, k) by (k, n) to (m, n). Transposed and sliced operands are read where they lie. */
cr_tensor *cr_mm(cr_tensor *a, cr_tensor *b);

/* (B, m, k) by (B, k, n) to (B, m, n). */
cr_tensor *cr_bmm(cr_tensor *a, cr_tensor *b);

/* torch.matmul: vectors, matrices, and batches of them whose leading dimensions broadcast. */
cr_tensor *cr_matmul(cr_tensor *a, cr_tensor *b);

/* (m, k) by (k) to (m); (k) by (k) to a number; (m) and (n) to all products (m, n). */
cr_tensor *cr_mv(cr_tensor *a, cr_tensor *x);
cr_tensor *cr_dot(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_outer(cr_tensor *a, cr_tensor *b);

/* beta * input + alpha * (a @ b), where input broadcasts to the product: of matrices, and of
 * batches of them. */
cr_tensor *cr_addmm(cr_tensor *input, cr_tensor *a, cr_tensor *b, double beta, double alpha);
cr_tensor *cr_baddbmm(cr_tensor *input, cr_tensor *a, cr_tensor *b, double beta, double alpha);

/* y = x Wᵀ + b over the last dimension, torch.nn.functional.linear. x (…, in), weight (out, in),
 * bias (out) or NULL. Result (…, out). */
cr_tensor *cr_functional_linear(cr_tensor *x, cr_tensor *weight, cr_tensor *bias);

/* The same and gelu (the exact one) of it: in one pass where no gradient is wanted. */
cr_tensor *cr_functional_linear_gelu(cr_tensor *x, cr_tensor *weight, cr_tensor *bias);

/* y[…, o] = x1[…, :]ᵀ weight[o] x2[…, :] + bias[o]. x1 (…, in1), x2 (…, in2), weight
 * (out, in1, in2), bias (out) or NULL. Result (…, out). */
cr_tensor *cr_functional_bilinear(cr_tensor *x1, cr_tensor *x2, cr_tensor *weight, cr_tensor *bias);

/* torch.einsum: "bij,bjk->bik". Labels are letters; "..." stands for leading dimensions that
 * broadcast; without "->" the result has the labels that stand once, in alphabetical order. */
cr_tensor *cr_einsum(const char *equation, cr_tensor *const *tensors, int count);
#define CR_EINSUM_COUNT_(...) ((int)(sizeof((cr_tensor *[]){ __VA_ARGS__ }) / sizeof(cr_tensor *)))
#define cr_einsum_of(equation, ...)                                                                \
    cr_einsum((equation), (cr_tensor *[]){ __VA_ARGS__ }, CR_EINSUM_COUNT_(__VA_ARGS__))

#ifdef __cplusplus
}
#endif
#endif
