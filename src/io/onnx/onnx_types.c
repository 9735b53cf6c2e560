/* The element types of ONNX, and the numbers of those that the library has no dtype for: they are
 * held in a wider dtype, with values that the narrow one can have.
 *
 * float8: Micikevicius et al., "FP8 formats for deep learning", 2022 (E4M3FN, E5M2), and Noune et
 * al., "8-bit numerical formats for deep neural networks", 2022 (FNUZ: no negative zero, one NaN).
 * E2M1 and E8M0 are those of the OCP microscaling formats. */
#include <math.h>

#include "io/onnx/onnx.h"

static const struct onnx_type_record records[] = {
#define ONNX_TYPE_RECORD(name, number, word, bits, dtype, foreign)                                 \
    { number, word, bits, dtype, foreign },
    ONNX_TYPE_TABLE(ONNX_TYPE_RECORD)
#undef ONNX_TYPE_RECORD
};

const struct onnx_type_record *onnx_type_find(int type)
{
    for (int i = 0; i < CR_COUNT_OF(records); i++) {
        if (records[i].type == type)
            return &records[i];
    }
    return NULL;
}

int onnx_type_of_dtype(cr_dtype dtype)
{
    for (int i = 0; i < CR_COUNT_OF(records); i++) {
        if (records[i].dtype == dtype && !records[i].is_foreign)
            return records[i].type;
    }
    return 0;
}

/* A small float: bits of exponent and mantissa, and what its greatest codes mean. */
struct small_float {
    int type;
    int exponent;
    int mantissa;
    int bias;
    unsigned largest;  /* code of the greatest finite magnitude */
    unsigned infinity; /* code; 0: there is none */
    unsigned nan;      /* code; 0: there is none */
    bool is_fnuz;
};

static const struct small_float small_floats[] = {
    { ONNX_FLOAT8E4M3FN, 4, 3, 7, 0x7e, 0, 0x7f, false },
    { ONNX_FLOAT8E4M3FNUZ, 4, 3, 8, 0x7f, 0, 0x80, true },
    { ONNX_FLOAT8E5M2, 5, 2, 15, 0x7b, 0x7c, 0x7e, false },
    { ONNX_FLOAT8E5M2FNUZ, 5, 2, 16, 0x7f, 0, 0x80, true },
    { ONNX_FLOAT4E2M1, 2, 1, 1, 0x7, 0, 0, false },
};

static const struct small_float *small_float_find(int type)
{
    for (int i = 0; i < CR_COUNT_OF(small_floats); i++) {
        if (small_floats[i].type == type)
            return &small_floats[i];
    }
    return NULL;
}

/* A magnitude without its sign bit. */
static float decode(const struct small_float *f, unsigned code)
{
    int mantissa = (int)(code & ((1u << f->mantissa) - 1));
    int exponent = (int)(code >> f->mantissa);
    if (exponent == 0)
        return ldexpf((float)mantissa, 1 - f->bias - f->mantissa);
    return ldexpf((float)(mantissa + (1 << f->mantissa)), exponent - f->bias - f->mantissa);
}

float onnx_float_of_bits(int type, unsigned bits)
{
    if (type == ONNX_FLOAT8E8M0)
        return bits == 0xff ? NAN : ldexpf(1, (int)bits - 127);
    const struct small_float *f = small_float_find(type);
    unsigned sign = 1u << (f->exponent + f->mantissa);
    unsigned code = bits & (sign - 1);
    if (f->is_fnuz && bits == f->nan)
        return NAN;
    if (!f->is_fnuz && f->nan && code > f->largest)
        return f->infinity && code == f->infinity ? (bits & sign ? -INFINITY : INFINITY) : NAN;
    float magnitude = decode(f, code);
    return bits & sign ? -magnitude : magnitude;
}

/* The power of two at or above the value, as the cast to E8M0 that rounds up. */
static unsigned bits_of_power(float value)
{
    int exponent;
    if (isnan(value) || isinf(value))
        return isnan(value) ? 0xff : 0xfe;
    float fraction = frexpf(fabsf(value), &exponent);
    if (fraction == 0)
        return 0;
    int code = exponent - 1 + (fraction > 0.5f) + 127;
    return (unsigned)CR_MIN(CR_MAX(code, 0), 0xfe);
}

unsigned onnx_bits_of_float(int type, float value, bool saturate)
{
    if (type == ONNX_FLOAT8E8M0)
        return bits_of_power(value);
    const struct small_float *f = small_float_find(type);
    unsigned sign = signbit(value) ? 1u << (f->exponent + f->mantissa) : 0;
    if (isnan(value))
        return f->is_fnuz || !f->nan ? 1u << (f->exponent + f->mantissa) : sign | f->nan;
    float magnitude = fabsf(value);
    unsigned low = 0, high = f->largest;
    while (low < high) { /* the greatest code that is not above */
        unsigned middle = (low + high + 1) / 2;
        if (decode(f, middle) <= magnitude)
            low = middle;
        else
            high = middle - 1;
    }
    float below = decode(f, low), above = decode(f, low + 1);
    unsigned code = magnitude - below > above - magnitude ||
                            (magnitude - below == above - magnitude && (low & 1))
                        ? low + 1
                        : low;
    if (isinf(magnitude) || code > f->largest) {
        if (!saturate && f->nan)
            return f->infinity ? sign | f->infinity : f->is_fnuz ? f->nan : sign | f->nan;
        code = f->largest;
    }
    return f->is_fnuz && code == 0 ? 0 : sign | code;
}

static void round_floats(float *values, int64_t count, int type, bool saturate)
{
    for (int64_t i = 0; i < count; i++)
        values[i] = onnx_float_of_bits(type, onnx_bits_of_float(type, values[i], saturate));
}

/* Integers keep their low bits, as casts of integers do. */
static int64_t wrap(int64_t value, int type, int bits)
{
    uint64_t low = (uint64_t)value & ((UINT64_C(1) << bits) - 1);
    bool is_signed = type == ONNX_INT4 || type == ONNX_INT2;
    if (is_signed && low >> (bits - 1))
        return (int64_t)low - (INT64_C(1) << bits);
    return (int64_t)low;
}

cr_tensor *onnx_round_to_type(cr_tensor *tensor, int type, bool saturate)
{
    const struct onnx_type_record *record = onnx_type_find(type);
    if (!record || !record->is_foreign || !tensor || type == ONNX_UINT64)
        return tensor;
    cr_tensor *rounded = cr_to_dtype(tensor, record->dtype);
    rounded = rounded == tensor ? cr_clone(tensor) : cr_contiguous(rounded);
    void *data = cr_data(rounded);
    if (!data)
        return rounded;
    int64_t count = cr_numel(rounded);
    if (record->dtype == CR_F32) {
        round_floats(data, count, type, saturate);
        return rounded;
    }
    for (int64_t i = 0; i < count; i++) {
        if (record->dtype == CR_I64)
            ((int64_t *)data)[i] = wrap(((int64_t *)data)[i], type, record->bits);
        else if (record->dtype == CR_I32)
            ((int32_t *)data)[i] = (int32_t)wrap(((int32_t *)data)[i], type, record->bits);
        else if (record->dtype == CR_U8)
            ((uint8_t *)data)[i] = (uint8_t)wrap(((uint8_t *)data)[i], type, record->bits);
        else
            ((int8_t *)data)[i] = (int8_t)wrap(((int8_t *)data)[i], type, record->bits);
    }
    return rounded;
}
