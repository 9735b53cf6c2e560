/* Loops over elements, one an operation and dtype, compiled for each instruction set. The compiler
 * vectorises the case of elements that lie side by side. */
#include "kernels/elementwise/elementwise.h"

/* ---- how each dtype is read, computed and written: T_name is the stored, C_name the computing
 * type ---- */

#define T_F32  float
#define T_F64  double
#define T_BF16 uint16_t
#define T_F16  uint16_t
#define T_I64  int64_t
#define T_I32  int32_t
#define T_I16  int16_t
#define T_I8   int8_t
#define T_U8   uint8_t
#define T_BOOL bool

#define C_F32  float
#define C_F64  double
#define C_BF16 float
#define C_F16  float
#define C_I64  uint64_t /* wraps around, as PyTorch's integers do */
#define C_I32  uint32_t
#define C_I16  uint32_t
#define C_I8   uint32_t
#define C_U8   uint32_t
#define C_BOOL int

#define GET_F32(v)  (v)
#define GET_F64(v)  (v)
#define GET_BF16(v) bf16_to_float(v)
#define GET_F16(v)  f16_to_float(v)
#define GET_I64(v)  ((uint64_t)(v))
#define GET_I32(v)  ((uint32_t)(v))
#define GET_I16(v)  ((uint32_t)(v))
#define GET_I8(v)   ((uint32_t)(v))
#define GET_U8(v)   ((uint32_t)(v))
#define GET_BOOL(v) ((int)(v))

#define PUT_F32(v)  (v)
#define PUT_F64(v)  (v)
#define PUT_BF16(v) bf16_from_float(v)
#define PUT_F16(v)  f16_from_float(v)
#define PUT_I64(v)  ((int64_t)(v))
#define PUT_I32(v)  ((int32_t)(v))
#define PUT_I16(v)  ((int16_t)(v))
#define PUT_I8(v)   ((int8_t)(v))
#define PUT_U8(v)   ((uint8_t)(v))
#define PUT_BOOL(v) ((v) != 0)

/* ---- binary ---- */

#define BINARY_LOOP(dtype, name, expression)                                                       \
    static void binary_##name##_##dtype(int64_t n, char *const *pointers, const int64_t *strides,  \
                                        const void *context)                                       \
    {                                                                                              \
        (void)context;                                                                             \
        const int64_t size = (int64_t)sizeof(T_##dtype);                                           \
        if (strides[0] == size && strides[1] == size && strides[2] == size) {                      \
            T_##dtype *out = (void *)pointers[0];                                                  \
            const T_##dtype *a = (const void *)pointers[1];                                        \
            const T_##dtype *b = (const void *)pointers[2];                                        \
            for (int64_t i = 0; i < n; i++) {                                                      \
                C_##dtype x = GET_##dtype(a[i]);                                                   \
                C_##dtype y = GET_##dtype(b[i]);                                                   \
                out[i] = (T_##dtype)PUT_##dtype(expression);                                       \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        if (strides[0] == size && strides[1] == size && strides[2] == 0) {                         \
            T_##dtype *out = (void *)pointers[0];                                                  \
            const T_##dtype *a = (const void *)pointers[1];                                        \
            C_##dtype y = GET_##dtype(*(const T_##dtype *)(const void *)pointers[2]);              \
            for (int64_t i = 0; i < n; i++) {                                                      \
                C_##dtype x = GET_##dtype(a[i]);                                                   \
                out[i] = (T_##dtype)PUT_##dtype(expression);                                       \
            }                                                                                      \
            return;                                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < n; i++) {                                                          \
            C_##dtype x =                                                                          \
                GET_##dtype(*(const T_##dtype *)(const void *)(pointers[1] + i * strides[1]));     \
            C_##dtype y =                                                                          \
                GET_##dtype(*(const T_##dtype *)(const void *)(pointers[2] + i * strides[2]));     \
            *(T_##dtype *)(void *)(pointers[0] + i * strides[0]) =                                 \
                (T_##dtype)PUT_##dtype(expression);                                                \
        }                                                                                          \
    }

#define BINARY_LOOPS_FLOATING(name, expression)                                                    \
    BINARY_LOOP(F32, name, expression)                                                             \
    BINARY_LOOP(F64, name, expression)                                                             \
    BINARY_LOOP(BF16, name, expression)                                                            \
    BINARY_LOOP(F16, name, expression)

#define BINARY_LOOPS_INTEGER(name, expression)                                                     \
    BINARY_LOOP(I64, name, expression)                                                             \
    BINARY_LOOP(I32, name, expression)                                                             \
    BINARY_LOOP(I16, name, expression)                                                             \
    BINARY_LOOP(I8, name, expression)                                                              \
    BINARY_LOOP(U8, name, expression)                                                              \
    BINARY_LOOP(BOOL, name, expression)

BINARY_LOOPS_FLOATING(ADD, x + y)
BINARY_LOOPS_INTEGER(ADD, x + y)
BINARY_LOOPS_FLOATING(SUB, x - y)
BINARY_LOOPS_INTEGER(SUB, x - y)
BINARY_LOOPS_FLOATING(MUL, x *y)
BINARY_LOOPS_INTEGER(MUL, x *y)
BINARY_LOOPS_FLOATING(DIV, x / y)

#define BINARY_ROW_FLOATING(name)                                                                  \
    [CR_F32] = binary_##name##_F32, [CR_F64] = binary_##name##_F64,                                \
    [CR_BF16] = binary_##name##_BF16, [CR_F16] = binary_##name##_F16

#define BINARY_ROW(name)                                                                           \
    BINARY_ROW_FLOATING(name), [CR_I64] = binary_##name##_I64, [CR_I32] = binary_##name##_I32,     \
                               [CR_I16] = binary_##name##_I16, [CR_I8] = binary_##name##_I8,       \
                               [CR_U8] = binary_##name##_U8, [CR_BOOL] = binary_##name##_BOOL

extern const struct pointwise_loops CR_ISA_NAME(pointwise_loops);
const struct pointwise_loops CR_ISA_NAME(pointwise_loops) = {
    .binary = {
        [BINARY_ADD] = { BINARY_ROW(ADD) },
        [BINARY_SUB] = { BINARY_ROW(SUB) },
        [BINARY_MUL] = { BINARY_ROW(MUL) },
        [BINARY_DIV] = { BINARY_ROW_FLOATING(DIV) },
    },
};
