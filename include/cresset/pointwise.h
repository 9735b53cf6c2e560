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

/* The same with a number. */
cr_tensor *cr_add_scalar(cr_tensor *a, double b);
cr_tensor *cr_mul_scalar(cr_tensor *a, double b);

cr_tensor *cr_neg(cr_tensor *a);

/* The elements as another dtype; the tensor itself if it has it already. Floats become integers by
 * truncation. */
cr_tensor *cr_to_dtype(cr_tensor *a, cr_dtype dtype);

/* A contiguous copy; the tensor itself if it is contiguous already (contiguous only). */
cr_tensor *cr_clone(cr_tensor *a);
cr_tensor *cr_contiguous(cr_tensor *a);

/* ---- in place; outside recording, or on tensors that require no gradient ---- */

/* to += alpha * from, with from broadcast to it. */
cr_status cr_add_(cr_tensor *to, cr_tensor *from, double alpha);

/* to = from, broadcast and converted. */
cr_status cr_copy_(cr_tensor *to, cr_tensor *from);

#ifdef __cplusplus
}
#endif
#endif
