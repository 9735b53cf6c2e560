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

/* Packers of 16-bit elements collect them as they are; then the product's own packing makes of
 * them what its panels hold. */
#define REAL         uint16_t
#define TYPE         half
#define REAL_IS_HALF 1
#include "kernels/conv/conv_patches.inc"
#undef REAL
#undef TYPE
#undef REAL_IS_HALF

static void pack_half(cr_gemm_packer packer, const cr_gemm_kernels *kernels, const void *context,
                      int64_t batch, int64_t first, int64_t count, int64_t width, int64_t k_first,
                      int64_t k_count, void *panel)
{
    CR_ALIGNED(64) uint16_t collected[POSITIONS_ROWS * CR_GEMM_K_MAX + GROUP];
    packer(context, batch, first, count, width, k_first, k_count, collected);
    kernels->pack(collected, 1, width, count, width, k_count, panel);
}

/* True if columns [first, first + count) are elements that follow each other in one image, at each
 * step of k, which is a channel: a kernel of one tap that reads what its points stand on. */
static bool are_plain(const cr_patches *p, int64_t first, int64_t count)
{
    int64_t plane = p->grid[0] * p->grid[1] * p->grid[2];
    if (first / plane != (first + count - 1) / plane)
        return false;
    for (int d = 0; d < CR_CONV_DIMS; d++)
        if (p->taps[d] != 1 || p->step[d] != 1 || p->origin[d] != 0 || p->grid[d] != p->size[d])
            return false;
    return true;
}

static void pack_patches_16(const void *context, int64_t batch, int64_t first, int64_t count,
                            int64_t width, int64_t k_first, int64_t k_count, void *panel)
{
    const cr_patches *p = context;
    if (are_plain(p, first, count)) {
        int64_t plane = p->grid[0] * p->grid[1] * p->grid[2];
        const uint16_t *from = (const uint16_t *)p->source + batch * p->group_stride +
                               first / plane * p->batch_stride + k_first * p->channel_stride +
                               first % plane;
        p->kernels->pack(from, 1, p->channel_stride, count, width, k_count, panel);
        return;
    }
    pack_half(pack_patches_half, p->kernels, context, batch, first, count, width, k_first, k_count,
              panel);
}

static void pack_weight_16(const void *context, int64_t batch, int64_t first, int64_t count,
                           int64_t width, int64_t k_first, int64_t k_count, void *panel)
{
    const cr_weight_taps *w = context;
    pack_half(pack_weight_half, w->kernels, context, batch, first, count, width, k_first, k_count,
              panel);
}

#define TABLE(type)                                                                                \
    {                                                                                              \
        .pack_patches = pack_patches_##type, .pack_positions = pack_positions_##type,              \
        .pack_weight = pack_weight_##type, .depthwise_forward = depthwise_forward_##type,          \
        .depthwise_data = depthwise_data_##type, .depthwise_weight = depthwise_weight_##type,      \
    }

#define HALF_TABLE                                                                                 \
    {                                                                                              \
        .pack_patches = pack_patches_16, .pack_positions = pack_positions_half,                    \
        .pack_weight = pack_weight_16,                                                             \
    }

const cr_conv_kernels CR_ISA_NAME(cr_conv_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = TABLE(f32),
    [CR_GEMM_F64] = TABLE(f64),
    [CR_GEMM_BF16] = HALF_TABLE,
    [CR_GEMM_F16] = HALF_TABLE,
};
