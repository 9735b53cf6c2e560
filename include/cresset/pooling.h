/* Pooling in 1, 2 and 3 spatial dimensions, as in torch.nn.functional. x is floating, (N, C,
 * spatial…) or (C, spatial…), and so is the result, owned by the frame; NULL on failure. */
#ifndef CRESSET_POOLING_H
#define CRESSET_POOLING_H

#include <stdbool.h>

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The plain fields set all spatial dimensions alike; a list in *_size overrides one of them. */
typedef struct cr_pool_args {
    cr_tensor *x;
    int64_t kernel;
    int64_t stride;         /* 0: the kernel */
    int64_t padding;        /* at most half of the kernel; never a maximum, 0 in a mean */
    int64_t dilation;       /* of maxima; 0: 1 */
    bool ceil_mode;         /* windows may reach beyond the end */
    bool count_exclude_pad; /* means: divide by the elements seen; PyTorch's count_include_pad=False
                             */
    int64_t divisor_override; /* means: divide by this instead of counting; 0: count */
    cr_shape kernel_size;
    cr_shape stride_size;
    cr_shape padding_size;
    cr_shape dilation_size;
    cr_tensor *
        *indices; /* maxima: where to put their positions in the plane (int64); may be NULL */
} cr_pool_args;

/* cr_max_pool2d(x, .kernel = 3, .stride = 2, .padding = 1). NaN wins; of equals, the first. */
#define cr_max_pool1d(...) cr_max_pool_with(1, (cr_pool_args){ .x = __VA_ARGS__ })
#define cr_max_pool2d(...) cr_max_pool_with(2, (cr_pool_args){ .x = __VA_ARGS__ })
#define cr_max_pool3d(...) cr_max_pool_with(3, (cr_pool_args){ .x = __VA_ARGS__ })
cr_tensor *cr_max_pool_with(int spatial, cr_pool_args args);

#define cr_avg_pool1d(...) cr_avg_pool_with(1, (cr_pool_args){ .x = __VA_ARGS__ })
#define cr_avg_pool2d(...) cr_avg_pool_with(2, (cr_pool_args){ .x = __VA_ARGS__ })
#define cr_avg_pool3d(...) cr_avg_pool_with(3, (cr_pool_args){ .x = __VA_ARGS__ })
cr_tensor *cr_avg_pool_with(int spatial, cr_pool_args args);

/* (sum of x^norm_type)^(1 / norm_type) of each window, in 1 or 2 dimensions; kernel, stride and
 * ceil_mode count. */
#define cr_lp_pool1d(norm_type, ...)                                                               \
    cr_lp_pool_with(1, (norm_type), (cr_pool_args){ .x = __VA_ARGS__ })
#define cr_lp_pool2d(norm_type, ...)                                                               \
    cr_lp_pool_with(2, (norm_type), (cr_pool_args){ .x = __VA_ARGS__ })
cr_tensor *cr_lp_pool_with(int spatial, double norm_type, cr_pool_args args);

/* Windows chosen so that the result has output_size: a list, or one value for all dimensions alike;
 * -1 keeps the size of the input. */
cr_tensor *cr_adaptive_avg_pool1d(cr_tensor *x, cr_shape output_size);
cr_tensor *cr_adaptive_avg_pool2d(cr_tensor *x, cr_shape output_size);
cr_tensor *cr_adaptive_avg_pool3d(cr_tensor *x, cr_shape output_size);

/* The same with maxima; *indices (may be NULL) takes their positions in the plane (int64). */
cr_tensor *cr_adaptive_max_pool1d(cr_tensor *x, cr_shape output_size, cr_tensor **indices);
cr_tensor *cr_adaptive_max_pool2d(cr_tensor *x, cr_shape output_size, cr_tensor **indices);
cr_tensor *cr_adaptive_max_pool3d(cr_tensor *x, cr_shape output_size, cr_tensor **indices);

#ifdef __cplusplus
}
#endif
#endif
