/* dtypes: sizes, names, promotion, and half-precision conversion in plain C. Conversion of whole
 * tensors is kernels/copy's. */
#include "tensor/tensor.h"

struct dtype_row {
    const char *name;
    size_t bytes;
    int kind;
};

static const struct dtype_row dtype_rows[CR_DTYPE_COUNT] = {
#define CR_DTYPE_ROW(name, word, numpy, bytes, kind) { word, bytes, kind },
    CR_DTYPE_TABLE(CR_DTYPE_ROW)
#undef CR_DTYPE_ROW
};

size_t cr_dtype_size(cr_dtype dtype)
{
    return (unsigned)dtype < CR_DTYPE_COUNT ? dtype_rows[dtype].bytes : 0;
}

const char *cr_dtype_name(cr_dtype dtype)
{
    return (unsigned)dtype < CR_DTYPE_COUNT ? dtype_rows[dtype].name : "unknown dtype";
}

int dtype_kind(cr_dtype dtype)
{
    return dtype_rows[dtype].kind;
}

bool cr_dtype_is_floating(cr_dtype dtype)
{
    return (unsigned)dtype < CR_DTYPE_COUNT && dtype_rows[dtype].kind == 2;
}

static cr_dtype promote_integers(cr_dtype a, cr_dtype b)
{
    size_t size_a = dtype_rows[a].bytes;
    size_t size_b = dtype_rows[b].bytes;
    if (a == CR_U8 || b == CR_U8) {
        cr_dtype other = a == CR_U8 ? b : a;
        return other == CR_I8 ? CR_I16 : other;
    }
    return size_a >= size_b ? a : b;
}

cr_dtype cr_promote_types(cr_dtype a, cr_dtype b)
{
    if (a == b)
        return a;
    int kind_a = dtype_rows[a].kind;
    int kind_b = dtype_rows[b].kind;
    if (kind_a != kind_b)
        return kind_a > kind_b ? a : b;
    if (kind_a == 1)
        return promote_integers(a, b);
    if (dtype_rows[a].bytes == dtype_rows[b].bytes)
        return CR_F32; /* bfloat16 with float16 */
    return dtype_rows[a].bytes > dtype_rows[b].bytes ? a : b;
}

/* How much an operand weighs in promotion: numbers least, then tensors without dimensions. */
static int promotion_rank(const cr_tensor *tensor)
{
    return tensor->is_number ? 0 : tensor->shape.ndim == 0 ? 1 : 2;
}

/* The dtype a lower rank contributes: numbers count as the default dtype of their kind. */
static cr_dtype promotion_dtype(const cr_tensor *tensor)
{
    if (tensor->is_number && dtype_kind((cr_dtype)tensor->dtype) == 2)
        return CR_F32;
    return (cr_dtype)tensor->dtype;
}

cr_dtype promote_tensors(cr_tensor *const *inputs, int count)
{
    bool found[3] = { false };
    cr_dtype ranked[3] = { CR_F32 };
    for (int i = 0; i < count; i++) {
        if (!inputs[i])
            continue;
        int rank = promotion_rank(inputs[i]);
        cr_dtype own = promotion_dtype(inputs[i]);
        ranked[rank] = found[rank] ? cr_promote_types(ranked[rank], own) : own;
        found[rank] = true;
    }
    bool any = false;
    cr_dtype dtype = CR_F32;
    for (int rank = 2; rank >= 0; rank--) {
        if (!found[rank])
            continue;
        if (!any)
            dtype = ranked[rank];
        else if (dtype_kind(ranked[rank]) > dtype_kind(dtype))
            dtype = ranked[rank];
        any = true;
    }
    return dtype;
}

float f16_to_float(uint16_t bits)
{
    uint32_t sign = (uint32_t)(bits & 0x8000u) << 16;
    uint32_t exponent = (bits >> 10) & 0x1fu;
    uint32_t fraction = bits & 0x3ffu;
    union {
        uint32_t bits;
        float value;
    } wide;
    if (exponent == 0) {
        wide.value = (float)fraction * 0x1p-24f;
        wide.bits |= sign;
    } else if (exponent == 31) {
        wide.bits = sign | 0x7f800000u | fraction << 13;
    } else {
        wide.bits = sign | (exponent + 112) << 23 | fraction << 13;
    }
    return wide.value;
}

/* Rounds to nearest even, also into the subnormals. */
uint16_t f16_from_float(float value)
{
    union {
        float value;
        uint32_t bits;
    } wide = { value };
    uint32_t sign = (wide.bits >> 16) & 0x8000u;
    uint32_t magnitude = wide.bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u)
        return (uint16_t)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u)
        return (uint16_t)(sign | 0x7c00u);
    if (magnitude < 0x38800000u) {
        /* Adding 0.5 puts the last bit of the subnormal at the last bit of the float. */
        union {
            uint32_t bits;
            float value;
        } shifted = { magnitude };
        shifted.value += 0.5f;
        return (uint16_t)(sign | (shifted.bits - 0x3f000000u));
    }
    uint32_t rounded = magnitude + 0xfffu + ((magnitude >> 13) & 1u);
    return (uint16_t)(sign | ((rounded - 0x38000000u) >> 13));
}
