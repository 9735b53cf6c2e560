/* The steps of recurrent layers for one instruction set: the template for each element type. */
#include <math.h>
#include <string.h>

#include "kernels/elementwise/fastmath.h"
#include "kernels/recurrent/recurrent.h"

#define JOIN_(name, type) name##_##type
#define JOIN(name, type)  JOIN_(name, type)
#define NAME(name)        JOIN(name, TYPE)

#define REAL       float
#define TYPE       f32
#define SIGMOID(x) fast_sigmoid(x)
#define TANH(x)    fast_tanh(x)
#include "kernels/recurrent/recurrent_steps.inc"

#define REAL       double
#define TYPE       f64
#define SIGMOID(x) (1 / (1 + exp(-(x))))
#define TANH(x)    tanh(x)
#include "kernels/recurrent/recurrent_steps.inc"

#define TABLE(type)                                                                                \
    {                                                                                              \
        .forward = step_forward_##type, .backward = step_backward_##type,                          \
        .backward_end = step_end_##type, .add_rows = add_rows_##type,                              \
    }

extern const struct recurrent_kernels CR_ISA_NAME(recurrent_kernels)[CR_GEMM_TYPE_COUNT];
const struct recurrent_kernels CR_ISA_NAME(recurrent_kernels)[CR_GEMM_TYPE_COUNT] = {
    [CR_GEMM_F32] = TABLE(f32),
    [CR_GEMM_F64] = TABLE(f64),
};
