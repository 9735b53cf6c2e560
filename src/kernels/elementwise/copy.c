/* Copies with conversion between all pairs of dtypes: one loop a pair, made from two lists.
 *
 * Equal dtypes are moved as raw elements. Floats become integers by truncation; what does not fit
 * is clamped to 64 bits and then cut, so that no input is undefined. */
#include <string.h>

#include "kernels/elementwise/elementwise.h"

CR_INLINE int64_t to_integer(double value)
{
    if (value >= -0x1p63 && value < 0x1p63)
        return (int64_t)value;
    return value > 0 ? INT64_MAX : value < 0 ? INT64_MIN : 0;
}

#define LOAD_F32(p)  (*(const float *)(const void *)(p))
#define LOAD_F64(p)  (*(const double *)(const void *)(p))
#define LOAD_BF16(p) bf16_to_float(*(const uint16_t *)(const void *)(p))
#define LOAD_F16(p)  f16_to_float(*(const uint16_t *)(const void *)(p))
#define LOAD_I64(p)  (*(const int64_t *)(const void *)(p))
#define LOAD_I32(p)  (*(const int32_t *)(const void *)(p))
#define LOAD_I16(p)  (*(const int16_t *)(const void *)(p))
#define LOAD_I8(p)   (*(const int8_t *)(const void *)(p))
#define LOAD_U8(p)   (*(const uint8_t *)(const void *)(p))
#define LOAD_BOOL(p) (*(const bool *)(const void *)(p))

#define SIZE_F32  4
#define SIZE_F64  8
#define SIZE_BF16 2
#define SIZE_F16  2
#define SIZE_I64  8
#define SIZE_I32  4
#define SIZE_I16  2
#define SIZE_I8   1
#define SIZE_U8   1
#define SIZE_BOOL 1

#define AS_INTEGER(v)                                                                              \
    _Generic((v), float : to_integer((double)(v)), double : to_integer((double)(v)), default : (v))

#define STORE_F32(p, v)  (*(float *)(void *)(p) = (float)(v))
#define STORE_F64(p, v)  (*(double *)(void *)(p) = (double)(v))
#define STORE_BF16(p, v) (*(uint16_t *)(void *)(p) = bf16_from_float((float)(v)))
#define STORE_F16(p, v)  (*(uint16_t *)(void *)(p) = f16_from_float((float)(v)))
#define STORE_I64(p, v)  (*(int64_t *)(void *)(p) = (int64_t)AS_INTEGER(v))
#define STORE_I32(p, v)  (*(int32_t *)(void *)(p) = (int32_t)AS_INTEGER(v))
#define STORE_I16(p, v)  (*(int16_t *)(void *)(p) = (int16_t)AS_INTEGER(v))
#define STORE_I8(p, v)   (*(int8_t *)(void *)(p) = (int8_t)AS_INTEGER(v))
#define STORE_U8(p, v)   (*(uint8_t *)(void *)(p) = (uint8_t)AS_INTEGER(v))
#define STORE_BOOL(p, v) (*(bool *)(void *)(p) = (v) != 0)

#define CONVERT_LOOP(to, from)                                                                     \
    static void convert_##from##_to_##to(int64_t n, char *const *pointers, const int64_t *strides, \
                                         const void *context)                                      \
    {                                                                                              \
        (void)context;                                                                             \
        char *out = pointers[0];                                                                   \
        const char *in = pointers[1];                                                              \
        const int64_t to_size = SIZE_##to;                                                         \
        const int64_t from_size = SIZE_##from;                                                     \
        if (strides[0] == to_size && strides[1] == from_size) {                                    \
            for (int64_t i = 0; i < n; i++)                                                        \
                STORE_##to(out + i * to_size, LOAD_##from(in + i * from_size));                    \
            return;                                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                            \
            STORE_##to(out + i * strides[0], LOAD_##from(in + i * strides[1]));                    \
    }

/* X(to, from) for every from. */
#define FOR_EACH_SOURCE(X, to)                                                                     \
    X(to, F32)                                                                                     \
    X(to, F64)                                                                                     \
    X(to, BF16) X(to, F16) X(to, I64) X(to, I32) X(to, I16) X(to, I8) X(to, U8) X(to, BOOL)

FOR_EACH_SOURCE(CONVERT_LOOP, F32)
FOR_EACH_SOURCE(CONVERT_LOOP, F64)
FOR_EACH_SOURCE(CONVERT_LOOP, BF16)
FOR_EACH_SOURCE(CONVERT_LOOP, F16)
FOR_EACH_SOURCE(CONVERT_LOOP, I64)
FOR_EACH_SOURCE(CONVERT_LOOP, I32)
FOR_EACH_SOURCE(CONVERT_LOOP, I16)
FOR_EACH_SOURCE(CONVERT_LOOP, I8)
FOR_EACH_SOURCE(CONVERT_LOOP, U8)
FOR_EACH_SOURCE(CONVERT_LOOP, BOOL)

#define CONVERT_ENTRY(to, from) [CR_##from] = convert_##from##_to_##to,

static const elementwise_loop convert_loops[CR_DTYPE_COUNT][CR_DTYPE_COUNT] = {
    [CR_F32] = { FOR_EACH_SOURCE(CONVERT_ENTRY, F32) },
    [CR_F64] = { FOR_EACH_SOURCE(CONVERT_ENTRY, F64) },
    [CR_BF16] = { FOR_EACH_SOURCE(CONVERT_ENTRY, BF16) },
    [CR_F16] = { FOR_EACH_SOURCE(CONVERT_ENTRY, F16) },
    [CR_I64] = { FOR_EACH_SOURCE(CONVERT_ENTRY, I64) },
    [CR_I32] = { FOR_EACH_SOURCE(CONVERT_ENTRY, I32) },
    [CR_I16] = { FOR_EACH_SOURCE(CONVERT_ENTRY, I16) },
    [CR_I8] = { FOR_EACH_SOURCE(CONVERT_ENTRY, I8) },
    [CR_U8] = { FOR_EACH_SOURCE(CONVERT_ENTRY, U8) },
    [CR_BOOL] = { FOR_EACH_SOURCE(CONVERT_ENTRY, BOOL) },
};

#define MOVE_LOOP(bits)                                                                            \
    static void fill_##bits(uint##bits##_t *out, uint##bits##_t value, int64_t n)                  \
    {                                                                                              \
        for (int64_t i = 0; i < n; i++)                                                            \
            out[i] = value;                                                                        \
    }                                                                                              \
    static void move_##bits(int64_t n, char *const *pointers, const int64_t *strides,              \
                            const void *context)                                                   \
    {                                                                                              \
        (void)context;                                                                             \
        char *out = pointers[0];                                                                   \
        const char *in = pointers[1];                                                              \
        if (strides[0] == bits / 8 && strides[1] == bits / 8) {                                    \
            memcpy(out, in, (size_t)n *(bits / 8));                                                \
            return;                                                                                \
        }                                                                                          \
        if (strides[0] == bits / 8 && strides[1] == 0) {                                           \
            fill_##bits((void *)out, *(const uint##bits##_t *)(const void *)in, n);                \
            return;                                                                                \
        }                                                                                          \
        for (int64_t i = 0; i < n; i++)                                                            \
            *(uint##bits##_t *)(void *)(out + i * strides[0]) =                                    \
                *(const uint##bits##_t *)(const void *)(in + i * strides[1]);                      \
    }

MOVE_LOOP(8)
MOVE_LOOP(16)
MOVE_LOOP(32)
MOVE_LOOP(64)

static elementwise_loop move_loop(cr_dtype dtype)
{
    switch (cr_dtype_size(dtype)) {
    case 1:
        return move_8;
    case 2:
        return move_16;
    case 4:
        return move_32;
    default:
        return move_64;
    }
}

/* ---- between float32 and 16-bit floats: side by side by the processor's vectors ---- */

#define HALF_LOOP(to, from, kind)                                                                  \
    static void pack_##from##_to_##to(int64_t n, char *const *pointers, const int64_t *strides,    \
                                      const void *context)                                         \
    {                                                                                              \
        bool is_packed = strides[0] == SIZE_##to && strides[1] == SIZE_##from;                     \
        if (is_packed && n > 1)                                                                    \
            half_conversion(kind)(n, pointers[0], pointers[1]);                                    \
        else                                                                                       \
            convert_##from##_to_##to(n, pointers, strides, context);                               \
    }

HALF_LOOP(F32, BF16, BF16_WIDEN)
HALF_LOOP(BF16, F32, BF16_NARROW)
HALF_LOOP(F32, F16, F16_WIDEN)
HALF_LOOP(F16, F32, F16_NARROW)

elementwise_loop convert_loop(cr_dtype to, cr_dtype from)
{
    if (to == CR_F32 && from == CR_BF16)
        return pack_BF16_to_F32;
    if (to == CR_BF16 && from == CR_F32)
        return pack_F32_to_BF16;
    if (to == CR_F32 && from == CR_F16)
        return pack_F16_to_F32;
    if (to == CR_F16 && from == CR_F32)
        return pack_F32_to_F16;
    return to == from ? move_loop(to) : convert_loops[to][from];
}

void copy_tensor(cr_tensor *to, const cr_tensor *from)
{
    struct elementwise_plan plan;
    const cr_tensor *tensors[] = { to, from };
    elementwise_plan_make(&plan, &to->shape, tensors, 2);
    if (to->dtype == from->dtype && copy_transposed(&plan, cr_dtype_size((cr_dtype)to->dtype)))
        return;
    elementwise_run(&plan, convert_loop((cr_dtype)to->dtype, (cr_dtype)from->dtype), NULL);
}
