/* Operations element by element. Operands broadcast and promote as in PyTorch; results are owned by
 * the frame; every function returns NULL on failure. */
#ifndef CRESSET_POINTWISE_H
#define CRESSET_POINTWISE_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* a + b, a - b, a * b, a / b (true division: integers give float32). */
cr_tensor *cr_add(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_sub(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_mul(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_div(cr_tensor *a, cr_tensor *b);

/* The same with a number, which counts as floating: an integer tensor gives float32. */
cr_tensor *cr_add_scalar(cr_tensor *a, double b);
cr_tensor *cr_sub_scalar(cr_tensor *a, double b);
cr_tensor *cr_mul_scalar(cr_tensor *a, double b);
cr_tensor *cr_div_scalar(cr_tensor *a, double b);

/* a to the power b. Integers have no negative integer powers; a number that is whole keeps integers
 * integers. */
cr_tensor *cr_pow(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_pow_scalar(cr_tensor *a, double b);

/* The larger or smaller of both; NaN if either is. The gradient is shared where they are equal. */
cr_tensor *cr_maximum(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_minimum(cr_tensor *a, cr_tensor *b);

/* The rest of a / b: with the sign of a (fmod), with the sign of b (remainder), and the quotient
 * that belongs to remainder, which has no gradient. Integers are refused a zero divisor. */
cr_tensor *cr_fmod(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_remainder(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_floor_divide(cr_tensor *a, cr_tensor *b);

/* The angle of the point (x, y) in (-pi, pi]. */
cr_tensor *cr_atan2(cr_tensor *y, cr_tensor *x);

/* ---- three operands ---- */

/* a where the condition (bool) holds, b elsewhere. */
cr_tensor *cr_where(cr_tensor *condition, cr_tensor *a, cr_tensor *b);

/* x held between min and max; -INFINITY and INFINITY for none. Floating bounds that are not whole
 * make integers float32. */
cr_tensor *cr_clamp(cr_tensor *x, double min, double max);

/* start + weight * (end - start). */
cr_tensor *cr_lerp(cr_tensor *start, cr_tensor *end, cr_tensor *weight);

/* x + value * a * b and x + value * a / b. */
cr_tensor *cr_addcmul(cr_tensor *x, cr_tensor *a, cr_tensor *b, double value);
cr_tensor *cr_addcdiv(cr_tensor *x, cr_tensor *a, cr_tensor *b, double value);

/* ---- one operand; the dtype is kept ---- */

cr_tensor *cr_neg(cr_tensor *x);
cr_tensor *cr_abs(cr_tensor *x);
cr_tensor *cr_sign(cr_tensor *x);
cr_tensor *cr_square(cr_tensor *x);
cr_tensor *cr_floor(cr_tensor *x);
cr_tensor *cr_ceil(cr_tensor *x);
cr_tensor *cr_round(cr_tensor *x); /* halves to even */
cr_tensor *cr_trunc(cr_tensor *x);

/* ---- one operand; integers and bool become float32 ---- */

cr_tensor *cr_exp(cr_tensor *x);
cr_tensor *cr_expm1(cr_tensor *x);
cr_tensor *cr_log(cr_tensor *x);
cr_tensor *cr_log2(cr_tensor *x);
cr_tensor *cr_log10(cr_tensor *x);
cr_tensor *cr_log1p(cr_tensor *x);
cr_tensor *cr_sqrt(cr_tensor *x);
cr_tensor *cr_rsqrt(cr_tensor *x);
cr_tensor *cr_reciprocal(cr_tensor *x);
cr_tensor *cr_sin(cr_tensor *x);
cr_tensor *cr_cos(cr_tensor *x);
cr_tensor *cr_tan(cr_tensor *x);
cr_tensor *cr_asin(cr_tensor *x);
cr_tensor *cr_acos(cr_tensor *x);
cr_tensor *cr_atan(cr_tensor *x);
cr_tensor *cr_sinh(cr_tensor *x);
cr_tensor *cr_cosh(cr_tensor *x);
cr_tensor *cr_tanh(cr_tensor *x);
cr_tensor *cr_erf(cr_tensor *x);
cr_tensor *cr_sigmoid(cr_tensor *x);

/* ---- tests; the result is bool ---- */

cr_tensor *cr_isnan(cr_tensor *x);
cr_tensor *cr_isinf(cr_tensor *x);
cr_tensor *cr_isfinite(cr_tensor *x);

cr_tensor *cr_eq(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_ne(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_lt(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_le(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_gt(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_ge(cr_tensor *a, cr_tensor *b);

/* The same with a number; integers are compared exactly with a whole one. */
cr_tensor *cr_eq_scalar(cr_tensor *a, double b);
cr_tensor *cr_ne_scalar(cr_tensor *a, double b);
cr_tensor *cr_lt_scalar(cr_tensor *a, double b);
cr_tensor *cr_le_scalar(cr_tensor *a, double b);
cr_tensor *cr_gt_scalar(cr_tensor *a, double b);
cr_tensor *cr_ge_scalar(cr_tensor *a, double b);

/* Anything but zero counts as true. */
cr_tensor *cr_logical_not(cr_tensor *x);
cr_tensor *cr_logical_and(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_logical_or(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_logical_xor(cr_tensor *a, cr_tensor *b);

/* ---- bits of integers and bool ---- */

cr_tensor *cr_bitwise_not(cr_tensor *x);
cr_tensor *cr_bitwise_and(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_bitwise_or(cr_tensor *a, cr_tensor *b);
cr_tensor *cr_bitwise_xor(cr_tensor *a, cr_tensor *b);

/* ---- copies ---- */

/* The elements as another dtype; the tensor itself if it has it already. Floats become integers by
 * truncation. */
cr_tensor *cr_to_dtype(cr_tensor *a, cr_dtype dtype);

/* A contiguous copy; the tensor itself if it is contiguous already (contiguous only). */
cr_tensor *cr_clone(cr_tensor *a);
cr_tensor *cr_contiguous(cr_tensor *a);

/* ---- in place; outside recording, or on tensors that require no gradient. `from` is broadcast to
 * `to` and converted to its dtype ---- */

/* to += alpha * from, in one pass. */
cr_status cr_add_(cr_tensor *to, cr_tensor *from, double alpha);

cr_status cr_sub_(cr_tensor *to, cr_tensor *from);
cr_status cr_mul_(cr_tensor *to, cr_tensor *from);

/* to /= from; integers are refused. */
cr_status cr_div_(cr_tensor *to, cr_tensor *from);

/* to = from. */
cr_status cr_copy_(cr_tensor *to, cr_tensor *from);

/* Held between min and max, as cr_clamp. */
cr_status cr_clamp_(cr_tensor *to, double min, double max);

#ifdef __cplusplus
}
#endif
#endif
