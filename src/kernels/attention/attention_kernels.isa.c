/* Blocks of attention for one instruction set: the template for each element type. */
#include <math.h>
#include <string.h>

#include "kernels/attention/attention.h"
#include "kernels/elementwise/fastmath.h"

#define JOIN_(name, type) name##_##type
#define JOIN(name, type)  JOIN_(name, type)
#define NAME(name)        JOIN(name, TYPE)

#define REAL   float
#define TYPE   f32
#define EXP(x) fast_exp(x)
#include "kernels/attention/attention_blocks.inc"

#define REAL   double
#define TYPE   f64
#define EXP(x) exp(x)
#include "kernels/attention/attention_blocks.inc"

extern const struct attention_kernels CR_ISA_NAME(attention_kernels)[CR_GEMM_TYPE_COUNT];
const struct attention_kernels CR_ISA_NAME(attention_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = { attend_f32, attend_backward_f32 },
    [CR_GEMM_F64] = { attend_f64, attend_backward_f64 },
};
