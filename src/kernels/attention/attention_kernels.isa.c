/* Blocks of attention for one instruction set: the template for each element type. */
#include <math.h>
#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/elementwise/fastmath.h"

#define JOIN_(name, type) name##_##type
#define JOIN(name, type)  JOIN_(name, type)
#define NAME(name)        JOIN(name, TYPE)

#if defined(__AVX512F__)
#define VECTOR_BYTES 64
#elif defined(__AVX2__)
#define VECTOR_BYTES 32
#else
#define VECTOR_BYTES 16
#endif

#define REAL   float
#define TYPE   f32
#define EXP(x) fast_exp_normal(x)
#define LOG(x) fast_log(x)
#include "kernels/attention/attention_blocks.inc"
#include "kernels/attention/attention_short.inc"

#define REAL   double
#define TYPE   f64
#define EXP(x) exp(x)
#define LOG(x) log(x)
#include "kernels/attention/attention_blocks.inc"
#include "kernels/attention/attention_short.inc"

extern const struct attention_kernels CR_ISA_NAME(attention_kernels)[CR_GEMM_TYPE_COUNT];
const struct attention_kernels CR_ISA_NAME(attention_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = { attend_f32, attend_backward_f32, attend_short_f32,
                      attend_short_backward_f32 },
    [CR_GEMM_F64] = { attend_f64, attend_backward_f64, attend_short_f64,
                      attend_short_backward_f64 },
};
