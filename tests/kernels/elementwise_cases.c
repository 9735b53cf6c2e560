/* Maps of every kind in every dtype that it is computed in, the same over strided tensors, and
 * conversions. */
#include <string.h>

#include "kernels/elementwise/elementwise.h"
#include "trials.h"

/* One rounding of exact operands has one answer: these give the same bits whatever the set. */
static bool is_exact(enum map_kind kind)
{
    static const enum map_kind exact[] = {
        MAP_ADD,        MAP_SUB,     MAP_MUL,     MAP_DIV,   MAP_NEG,   MAP_ABS,
        MAP_SIGN,       MAP_SQUARE,  MAP_SQRT,    MAP_FLOOR, MAP_CEIL,  MAP_ROUND,
        MAP_TRUNC,      MAP_MAXIMUM, MAP_MINIMUM, MAP_CLAMP, MAP_WHERE, MAP_CLAMP_BACKWARD,
        MAP_RECIPROCAL,
    };
    for (int i = 0; i < CR_COUNT_OF(exact); i++)
        if (exact[i] == kind)
            return true;
    return false;
}

static bool is_exact_activation(enum activation_kind kind)
{
    static const enum activation_kind exact[] = {
        ACTIVATION_RELU,
        ACTIVATION_RELU_BACKWARD,
        ACTIVATION_LEAKY_RELU,
        ACTIVATION_LEAKY_RELU_BACKWARD,
        ACTIVATION_PRELU,
        ACTIVATION_PRELU_BACKWARD,
        ACTIVATION_HARDTANH,
        ACTIVATION_HARDTANH_BACKWARD,
        ACTIVATION_THRESHOLD,
        ACTIVATION_THRESHOLD_BACKWARD,
        ACTIVATION_HARDSHRINK,
        ACTIVATION_SOFTSHRINK,
        ACTIVATION_SHRINK_BACKWARD,
    };
    for (int i = 0; i < CR_COUNT_OF(exact); i++)
        if (exact[i] == kind)
            return true;
    return false;
}

/* A loop on elements side by side. Three operands are given, of which it reads its own; `truth` is
 * the one that is bool, if any. Divisors of integers are not 0. */
static void run_loop(struct trial *t, map_loop loop, cr_dtype dtype, bool gives_bool, int truth,
                     bool exact)
{
    static const double parameters[] = { 0.75, 1.25, 0.5 };
    int64_t n = draw(t, 1, 90);
    const void *from[3];
    for (int i = 0; i < 3; i++) {
        if (i == truth)
            from[i] = operand(t, CR_BOOL, n);
        else if (dtype == CR_I64 && i > 0)
            from[i] = operand_within(t, dtype, n, 1, 6);
        else
            from[i] = operand(t, dtype, n);
    }
    cr_dtype result = gives_bool ? CR_BOOL : dtype;
    void *to = exact || gives_bool || dtype == CR_I64
                   ? exact_result(t, result, n)
                   : close_result(t, result, n, 32 * one_unit(dtype), 32 * one_unit(dtype));
    loop(n, to, from, parameters);
}

static void run_map(struct trial *t, const struct map *map, int truth, bool exact)
{
    const struct {
        map_loop loop;
        cr_dtype dtype;
    } loops[] = { { map->f32, CR_F32 }, { map->f64, CR_F64 }, { map->i64, CR_I64 } };
    for (int i = 0; i < CR_COUNT_OF(loops); i++)
        if (loops[i].loop)
            run_loop(t, loops[i].loop, loops[i].dtype, map->gives_bool, map->truths ? truth : -1,
                     exact);
}

static void pointwise(struct trial *t)
{
    enum map_kind kind = (enum map_kind)(t->number % MAP_POINTWISE_COUNT);
    run_map(t, pointwise_map(kind), 2, is_exact(kind));
}

static void activation(struct trial *t)
{
    enum activation_kind kind = (enum activation_kind)(t->number % ACTIVATION_COUNT);
    run_map(t, activation_map(kind), 1, is_exact_activation(kind));
}

static cr_dtype draw_dtype(struct trial *t)
{
    return (cr_dtype)draw(t, 0, CR_DTYPE_COUNT - 1);
}

/* Tensors of any strides, through the planner: one, two and three operands. */
static void strided(struct trial *t)
{
    static const struct {
        enum map_kind kind;
        int operands;
    } maps[] = { { MAP_NEG, 1 },     { MAP_EXP, 1 },     { MAP_ADD, 2 },
                 { MAP_MUL, 2 },     { MAP_LT, 2 },      { MAP_SUB, 2 },
                 { MAP_MAXIMUM, 2 }, { MAP_ADDCMUL, 3 }, { MAP_WHERE, 3 } };
    static const double parameters[] = { 0.5, 1, 2 };
    int chosen = (int)draw(t, 0, CR_COUNT_OF(maps) - 1);
    const struct map *map = pointwise_map(maps[chosen].kind);
    cr_dtype dtype = draw_dtype(t);
    if (!cr_dtype_is_floating(dtype) && (dtype == CR_BOOL || !map->i64))
        dtype = CR_F32;
    cr_shape shape = draw_shape(t, 4, 2000);
    struct test_tensor x[3], out;
    const cr_tensor *operands[3];
    for (int i = 0; i < maps[chosen].operands; i++) {
        bool is_truth = i >= maps[chosen].operands - map->truths;
        strided_operand(t, &x[i], is_truth ? CR_BOOL : dtype, &shape, -2, 2);
        operands[i] = &x[i].tensor;
    }
    int64_t count = 1;
    for (int d = 0; d < shape.ndim; d++)
        count *= shape.dim[d];
    cr_dtype result = map->gives_bool ? CR_BOOL : dtype;
    void *to = cr_dtype_is_floating(result)
                   ? close_result(t, result, count, 4 * one_unit(result), 1e-6)
                   : exact_result(t, result, count);
    tensor_of(&out, to, result, &shape);
    map_run(map, &out.tensor, operands, maps[chosen].operands, parameters);
}

/* Every number of 16 bits, from a random one on. */
static void widening(struct trial *t)
{
    enum half_loop_kind kind = flip(t) ? BF16_WIDEN : F16_WIDEN;
    static uint16_t bits[1 << 16];
    int64_t n = draw(t, 0, 9) ? draw(t, 1, 90) : CR_COUNT_OF(bits);
    uint16_t first = (uint16_t)draw(t, 0, (1 << 16) - 1);
    for (int64_t i = 0; i < n; i++)
        bits[i] = (uint16_t)(first + i);
    const void *from = operand_of(t, bits, (size_t)n * sizeof(uint16_t));
    half_conversion(kind)(n, exact_result(t, CR_F32, n), from);
}

/* Any float32: numbers that round up, down and to even, infinities, subnormals and NaN. */
static void narrowing(struct trial *t)
{
    enum half_loop_kind kind = flip(t) ? BF16_NARROW : F16_NARROW;
    uint32_t bits[300];
    int64_t n = draw(t, 1, CR_COUNT_OF(bits));
    for (int64_t i = 0; i < n; i++) {
        bits[i] = (uint32_t)draw(t, 0, INT32_MAX) << 1 ^ (uint32_t)draw(t, 0, 1 << 16);
        if (flip(t)) /* in the range of float16, and half-way between two of them */
            bits[i] = (bits[i] & 0x87fff000u) + 0x34000000u + (flip(t) ? 0x1000u : 0);
    }
    const void *from = operand_of(t, bits, (size_t)n * sizeof(uint32_t));
    half_conversion(kind)(n, exact_result(t, kind == BF16_NARROW ? CR_BF16 : CR_F16, n), from);
}

static void gelu_by_table(struct trial *t)
{
    enum activation_kind kind = flip(t) ? ACTIVATION_GELU : ACTIVATION_GELU_BACKWARD;
    int64_t n = draw(t, 1, 200);
    const void *from[] = { operand(t, CR_BF16, n), operand(t, CR_BF16, n) };
    void *to = close_result(t, CR_BF16, n, 2 * one_unit(CR_BF16), 1e-6);
    map_half_loop(activation_map(kind))(n, to, from, NULL);
}

static void copies(struct trial *t)
{
    cr_dtype from = draw_dtype(t), to = flip(t) ? from : draw_dtype(t);
    cr_shape shape = draw_shape(t, 4, 3000);
    struct test_tensor x, out;
    strided_operand(t, &x, from, &shape, 0, 100);
    tensor_of(&out, exact_result(t, to, tensor_numel(&x.tensor)), to, &shape);
    copy_tensor(&out.tensor, &x.tensor);
}

const struct variant_case elementwise_cases[] = {
    { CR_FAMILY_pointwise_maps, "maps side by side", pointwise, 6 * MAP_POINTWISE_COUNT },
    { CR_FAMILY_pointwise_maps, "maps of strided tensors", strided, 150 },
    { CR_FAMILY_activation_maps, "activations and their gradients", activation,
      6 * ACTIVATION_COUNT },
    { CR_FAMILY_gelu_half_loops, "GELU of bfloat16", gelu_by_table, 60 },
    { CR_FAMILY_half_loops, "widening", widening, 60 },
    { CR_FAMILY_half_loops, "narrowing", narrowing, 80 },
    { CR_FAMILY_half_loops, "copies of strided tensors", copies, 150 },
    { .run = NULL },
};
