/* Views: other shapes over the same storage. */
#ifndef CRESSET_SHAPING_H
#define CRESSET_SHAPING_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The same elements in row-major order under another shape, of which one size may be -1. view
 * refuses what would need a copy; reshape copies then. */
cr_tensor *cr_view(cr_tensor *x, cr_shape shape);
cr_tensor *cr_reshape(cr_tensor *x, cr_shape shape);

/* Sizes of 1 repeated, and new dimensions in front; -1 keeps a size. */
cr_tensor *cr_expand(cr_tensor *x, cr_shape shape);

#ifdef __cplusplus
}
#endif
#endif
