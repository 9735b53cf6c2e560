/* Kernels that work element by element, over operands of any strides.
 *
 * An elementwise_plan holds the operands' common shape, with dimensions merged where all of them
 * allow it; elementwise_run hands rows of it to an inner loop. A plan has operand 0 as what is
 * written, the rest as what is read. */
#ifndef CR_KERNELS_ELEMENTWISE_ELEMENTWISE_H
#define CR_KERNELS_ELEMENTWISE_ELEMENTWISE_H

#include "tensor/tensor.h"

#define ELEMENTWISE_OPERANDS 6

/* n elements; pointers[i] steps by strides[i] bytes. `context` is what was given to the run. */
typedef void (*elementwise_loop)(int64_t n, char *const *pointers, const int64_t *strides,
                                 const void *context);

struct elementwise_plan {
    int operands;
    int ndim;
    int64_t size[CR_MAX_DIMS];                         /* fastest dimension first */
    int64_t stride[ELEMENTWISE_OPERANDS][CR_MAX_DIMS]; /* bytes */
    char *data[ELEMENTWISE_OPERANDS];
};

/* Plans a walk over `shape`, to which every operand must broadcast. */
void elementwise_plan_make(struct elementwise_plan *plan, const cr_shape *shape,
                           const cr_tensor *const *tensors, int operands);

/* Runs the loop over the plan, on several threads where it is long enough. */
void elementwise_run(const struct elementwise_plan *plan, elementwise_loop loop,
                     const void *context);

/* The same on the calling thread alone, in row-major order. */
void elementwise_run_serial(const struct elementwise_plan *plan, elementwise_loop loop,
                            const void *context);

/* ---- maps ---- */

/* n results from operands that lie side by side: to[i] from from[0][i], from[1][i], … */
typedef void (*map_loop)(int64_t n, void *to, const void *const *from, const double *parameters);

/* One operation in the dtypes it is computed in; NULL where it does not exist. float16 and bfloat16
 * are computed in float32, integers and bool in int64. */
struct map {
    map_loop f32;
    map_loop f64;
    map_loop i64;
    bool gives_bool; /* the result is bool, else of the operands' dtype */
    int truths;      /* the last operands that are bool whatever the others are */
};

/* The loop of a map on bfloat16 as it is stored (gelu_half.isa.c); NULL: it has none. */
enum gelu_half_kind { GELU_HALF, GELU_HALF_BACKWARD, GELU_HALF_COUNT };
map_loop map_half_loop(const struct map *map);

/* X(KIND, name) by what it is computed in: floats, integers, both, both with a bool result, both
 * with a bool operand. */
#define MAP_POINTWISE_LIST(REAL, INTEGER, ANY, TEST, SELECT)                                       \
    ANY(ADD, add)                                                                                  \
    ANY(ADD_SCALED, add_scaled)                                                                    \
    ANY(SUB, sub)                                                                                  \
    ANY(MUL, mul)                                                                                  \
    REAL(DIV, div)                                                                                 \
    ANY(NEG, neg)                                                                                  \
    ANY(ABS, abs)                                                                                  \
    ANY(SIGN, sign)                                                                                \
    ANY(SQUARE, square)                                                                            \
    ANY(CUBE, cube)                                                                                \
    REAL(SQRT, sqrt)                                                                               \
    REAL(RSQRT, rsqrt)                                                                             \
    REAL(RECIPROCAL, reciprocal)                                                                   \
    REAL(FLOOR, floor)                                                                             \
    REAL(CEIL, ceil)                                                                               \
    REAL(ROUND, round)                                                                             \
    REAL(TRUNC, trunc)                                                                             \
    ANY(MAXIMUM, maximum)                                                                          \
    ANY(MINIMUM, minimum)                                                                          \
    ANY(FMOD, fmod)                                                                                \
    ANY(REMAINDER, remainder)                                                                      \
    ANY(FLOOR_DIVIDE, floor_divide)                                                                \
    ANY(POW, pow)                                                                                  \
    REAL(ATAN2, atan2)                                                                             \
    ANY(CLAMP, clamp)                                                                              \
    REAL(CLAMP_BACKWARD, clamp_backward)                                                           \
    REAL(LERP, lerp)                                                                               \
    ANY(ADDCMUL, addcmul)                                                                          \
    REAL(ADDCDIV, addcdiv)                                                                         \
    SELECT(WHERE, where)                                                                           \
    REAL(EXP, exp)                                                                                 \
    REAL(EXPM1, expm1)                                                                             \
    REAL(LOG, log)                                                                                 \
    REAL(LOG2, log2)                                                                               \
    REAL(LOG10, log10)                                                                             \
    REAL(LOG1P, log1p)                                                                             \
    REAL(SIN, sin)                                                                                 \
    REAL(COS, cos)                                                                                 \
    REAL(TAN, tan)                                                                                 \
    REAL(ASIN, asin)                                                                               \
    REAL(ACOS, acos)                                                                               \
    REAL(ATAN, atan)                                                                               \
    REAL(SINH, sinh)                                                                               \
    REAL(COSH, cosh)                                                                               \
    REAL(TANH, tanh)                                                                               \
    REAL(TANH_BACKWARD, tanh_backward)                                                             \
    REAL(ERF, erf)                                                                                 \
    REAL(SIGMOID, sigmoid)                                                                         \
    REAL(SIGMOID_BACKWARD, sigmoid_backward)                                                       \
    INTEGER(BITWISE_NOT, bitwise_not)                                                              \
    INTEGER(BITWISE_AND, bitwise_and)                                                              \
    INTEGER(BITWISE_OR, bitwise_or)                                                                \
    INTEGER(BITWISE_XOR, bitwise_xor)                                                              \
    TEST(EQ, eq)                                                                                   \
    TEST(NE, ne)                                                                                   \
    TEST(LT, lt)                                                                                   \
    TEST(LE, le)                                                                                   \
    TEST(GT, gt)                                                                                   \
    TEST(GE, ge)                                                                                   \
    TEST(ISNAN, isnan)                                                                             \
    TEST(ISINF, isinf)                                                                             \
    TEST(ISFINITE, isfinite)                                                                       \
    TEST(LOGICAL_NOT, logical_not)                                                                 \
    TEST(LOGICAL_AND, logical_and)                                                                 \
    TEST(LOGICAL_OR, logical_or)                                                                   \
    TEST(LOGICAL_XOR, logical_xor)

#define MAP_KIND_ENUM(kind, name) MAP_##kind,
enum map_kind {
    MAP_POINTWISE_LIST(MAP_KIND_ENUM, MAP_KIND_ENUM, MAP_KIND_ENUM, MAP_KIND_ENUM, MAP_KIND_ENUM)
        MAP_POINTWISE_COUNT
};

/* Activations, X(KIND, name); a gradient takes (gradient, what was saved). */
#define ACTIVATION_LIST(REAL, SELECT)                                                              \
    REAL(RELU, relu)                                                                               \
    REAL(RELU_BACKWARD, relu_backward)                                                             \
    REAL(LEAKY_RELU, leaky_relu)                                                                   \
    REAL(LEAKY_RELU_BACKWARD, leaky_relu_backward)                                                 \
    REAL(PRELU, prelu)                                                                             \
    REAL(PRELU_BACKWARD, prelu_backward)                                                           \
    REAL(PRELU_WEIGHT_BACKWARD, prelu_weight_backward)                                             \
    REAL(HARDTANH, hardtanh)                                                                       \
    REAL(HARDTANH_BACKWARD, hardtanh_backward)                                                     \
    REAL(HARDSIGMOID, hardsigmoid)                                                                 \
    REAL(HARDSIGMOID_BACKWARD, hardsigmoid_backward)                                               \
    REAL(THRESHOLD, threshold)                                                                     \
    REAL(THRESHOLD_BACKWARD, threshold_backward)                                                   \
    REAL(HARDSHRINK, hardshrink)                                                                   \
    REAL(SOFTSHRINK, softshrink)                                                                   \
    REAL(SHRINK_BACKWARD, shrink_backward)                                                         \
    REAL(ELU, elu)                                                                                 \
    REAL(ELU_BACKWARD, elu_backward)                                                               \
    REAL(GELU, gelu)                                                                               \
    REAL(GELU_BACKWARD, gelu_backward)                                                             \
    REAL(GELU_TANH, gelu_tanh)                                                                     \
    REAL(GELU_TANH_BACKWARD, gelu_tanh_backward)                                                   \
    REAL(SILU, silu)                                                                               \
    REAL(SILU_BACKWARD, silu_backward)                                                             \
    REAL(MISH, mish)                                                                               \
    REAL(MISH_BACKWARD, mish_backward)                                                             \
    REAL(SOFTPLUS, softplus)                                                                       \
    REAL(SOFTPLUS_BACKWARD, softplus_backward)                                                     \
    REAL(LOGSIGMOID, logsigmoid)                                                                   \
    REAL(LOGSIGMOID_BACKWARD, logsigmoid_backward)                                                 \
    REAL(SOFTSIGN, softsign)                                                                       \
    REAL(SOFTSIGN_BACKWARD, softsign_backward)                                                     \
    REAL(TANHSHRINK, tanhshrink)                                                                   \
    REAL(TANHSHRINK_BACKWARD, tanhshrink_backward)                                                 \
    REAL(HARDSWISH, hardswish)                                                                     \
    REAL(HARDSWISH_BACKWARD, hardswish_backward)                                                   \
    REAL(GLU, glu)                                                                                 \
    REAL(GLU_VALUE_BACKWARD, glu_value_backward)                                                   \
    REAL(GLU_GATE_BACKWARD, glu_gate_backward)                                                     \
    SELECT(DROPOUT, dropout)

#define ACTIVATION_KIND_ENUM(kind, name) ACTIVATION_##kind,
enum activation_kind {
    ACTIVATION_LIST(ACTIVATION_KIND_ENUM, ACTIVATION_KIND_ENUM) ACTIVATION_COUNT
};

/* The maps for the instruction set in use. */
const struct map *pointwise_map(enum map_kind kind);
const struct map *activation_map(enum activation_kind kind);

/* Runs a map: out[…] from the operands, which broadcast to it and have one dtype (but for truths),
 * which is out's unless the map gives bool. Any strides; `out` may be an operand, too. */
void map_run(const struct map *map, cr_tensor *out, const cr_tensor *const *operands, int count,
             const double *parameters);

/* The same on the calling thread alone, row after row in row-major order: rows of `out` may
 * overlap. */
void map_run_serial(const struct map *map, cr_tensor *out, const cr_tensor *const *operands,
                    int count, const double *parameters);

/* Conversions between float32 and 16-bit floats of n elements side by side, for the instruction set
 * in use. */
typedef void (*half_loop)(int64_t n, void *to, const void *from);
enum half_loop_kind { BF16_WIDEN, BF16_NARROW, F16_WIDEN, F16_NARROW, HALF_LOOP_COUNT };
half_loop half_conversion(enum half_loop_kind kind);

/* The loop that converts elements of one dtype to another. */
elementwise_loop convert_loop(cr_dtype to, cr_dtype from);

/* Copies a plan of two operands of one dtype whose fastest dimensions differ, square by square;
 * false, and nothing done, if the plan is not such a one. */
bool copy_transposed(const struct elementwise_plan *plan, size_t size);

/* Copies `from` to `to`, broadcasting and converting; any strides and dtypes. */
void copy_tensor(cr_tensor *to, const cr_tensor *from);

#endif
