/* Tensors as text, laid out as NumPy prints arrays:
 *
 *     tensor([[1.    , 0.3333],
 *             [0.5   , 0.25  ]])
 *
 * The dtype is named where it is not float32, int64 or bool. */
#ifndef CRESSET_PRINT_H
#define CRESSET_PRINT_H

#include "cresset/tensor.h"
#include "cresset/text.h"

#ifdef __cplusplus
extern "C" {
#endif

/* 0 means the default, which stands behind each. */
typedef struct cr_print_options {
    int precision;      /* digits after the point, at most: 4 */
    int64_t threshold;  /* elements above which only the edges are shown: 1000 */
    int64_t edge_items; /* of each dimension, at both ends: 3 */
    int line_width;     /* columns: 80 */
} cr_print_options;

/* Appends the text. A tensor on the meta device shows its shape. */
cr_status cr_tensor_format(const cr_tensor *tensor, cr_text *text);
cr_status cr_tensor_format_with(const cr_tensor *tensor, cr_print_options options, cr_text *text);

#ifdef __cplusplus
}
#endif
#endif
