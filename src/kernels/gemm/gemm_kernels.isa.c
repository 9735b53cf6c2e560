/* The kernels of the matrix product for one instruction set: the template for each element type
 * with the tile that suits the registers. A tile must leave two registers for B and one for the
 * broadcast of A, and be large enough that the adders, not the loads, are the limit. */
#include <math.h>

#include "kernels/elementwise/fastmath.h"
#include "kernels/gemm/gemm.h"

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#define VECTOR_LOG   6
#define ROWS         14
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#define VECTOR_LOG   5
#define ROWS         6
#else
#define VECTOR_BYTES 16
#define VECTOR_LOG   4
#define ROWS         4
#endif

#define REAL         float
#define SIGMOID(x)   fast_sigmoid(x)
#define TANH(x)      fast_tanh(x)
#define ERF(x)       fast_erf(x)
#define LANES_LOG    (VECTOR_LOG - 2)
#define TYPE         f32
#define TILE_ROWS    ROWS
#define TILE_VECTORS 2
#include "kernels/gemm/gemm_tile.inc"

#define REAL         double
#define SIGMOID(x)   (1 / (1 + exp(-(x))))
#define TANH(x)      tanh(x)
#define ERF(x)       erf(x)
#define LANES_LOG    (VECTOR_LOG - 3)
#define TYPE         f64
#define TILE_ROWS    ROWS
#define TILE_VECTORS 2
#include "kernels/gemm/gemm_tile.inc"

#define TABLE(real, type)                                                                          \
    {                                                                                              \
        .element = sizeof(real), .tile_rows = ROWS,                                                \
        .tile_columns = 2 * VECTOR_BYTES / (int)sizeof(real),                                      \
        .lanes = VECTOR_BYTES / (int)sizeof(real), .tile = tile_##type,                            \
        .tile_blocked = tile_blocked_##type, .finish = finish_##type, .add = add_##type,           \
        .pack = pack_##type, .dot = dot_##type, .axpy = axpy_##type,                               \
    }

const cr_gemm_kernels CR_ISA_NAME(cr_gemm_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = TABLE(float, f32),
    [CR_GEMM_F64] = TABLE(double, f64),
};
