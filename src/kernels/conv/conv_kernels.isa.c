/* The kernels of convolution for one instruction set: packers of patches and depthwise loops, from
 * the templates for each element type. */
#include "kernels/conv/conv.h"

#include <string.h>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#define GROUP           16  /* lanes that are copied together */
#define POSITIONS_LANES 128 /* points that are handled together at most */
#define POSITIONS_ROWS  32  /* columns of a panel at most */

#define JOIN_(a, b) a##_##b
#define JOIN(a, b)  JOIN_(a, b)
#define NAME(name)  JOIN(name, TYPE)

#define REAL          float
#define TYPE          f32
#define REAL_IS_FLOAT 1
#include "kernels/conv/conv_direct.inc"
#include "kernels/conv/conv_patches.inc"
#undef REAL
#undef TYPE
#undef REAL_IS_FLOAT

#define REAL double
#define TYPE f64
#include "kernels/conv/conv_direct.inc"
#include "kernels/conv/conv_patches.inc"
#undef REAL
#undef TYPE

#define TABLE(type)                                                                                \
    {                                                                                              \
        .pack_patches = pack_patches_##type, .pack_positions = pack_positions_##type,              \
        .pack_weight = pack_weight_##type, .depthwise_forward = depthwise_forward_##type,          \
        .depthwise_data = depthwise_data_##type, .depthwise_weight = depthwise_weight_##type,      \
    }

const cr_conv_kernels CR_ISA_NAME(cr_conv_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = TABLE(f32),
    [CR_GEMM_F64] = TABLE(f64),
};
