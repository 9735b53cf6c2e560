/* Maps over operands of any dtype and strides.
 *
 * The loop of a map takes elements side by side in the dtype it computes in. An operand that is so
 * already is handed over as it is; any other passes through a small block, which stays in the first
 * cache. Operands of one repeated element fill their block once a row. */
#include "kernels/elementwise/elementwise.h"

#define BLOCK_ELEMENTS 512

struct map_run {
    map_loop loop;
    const double *parameters;
    int operands; /* the result included, as operand 0 */
    /* Of each operand: whether it is stored as it is computed, how it is brought in (or out, for 0)
     * and how many bytes an element has in the computation. */
    bool as_stored[ELEMENTWISE_OPERANDS];
    elementwise_loop convert[ELEMENTWISE_OPERANDS];
    int64_t size[ELEMENTWISE_OPERANDS];
};

/* Where operand i of a row is read or written: in place or in its block. */
struct lane {
    bool is_direct;
    bool is_filled; /* the block holds a repeated element already */
    char *block;
};

static void bring_in(const struct map_run *run, int i, int64_t n, struct lane *lane, char *from,
                     int64_t stride)
{
    if (lane->is_filled)
        return;
    char *const pointers[] = { lane->block, from };
    const int64_t strides[] = { run->size[i], stride };
    run->convert[i](n, pointers, strides, NULL);
    lane->is_filled = stride == 0;
}

static void map_blocks(const struct map_run *run, int64_t n, char *const *pointers,
                       const int64_t *strides, struct lane *lanes)
{
    for (int64_t done = 0; done < n; done += BLOCK_ELEMENTS) {
        int64_t count = CR_MIN(n - done, (int64_t)BLOCK_ELEMENTS);
        const void *from[ELEMENTWISE_OPERANDS];
        for (int i = 1; i < run->operands; i++) {
            char *at = pointers[i] + done * strides[i];
            if (!lanes[i].is_direct)
                bring_in(run, i, count, &lanes[i], at, strides[i]);
            from[i - 1] = lanes[i].is_direct ? at : lanes[i].block;
        }
        char *to = pointers[0] + done * strides[0];
        run->loop(count, lanes[0].is_direct ? to : lanes[0].block, from, run->parameters);
        if (!lanes[0].is_direct)
            run->convert[0](count, (char *const[]){ to, lanes[0].block },
                            (const int64_t[]){ strides[0], run->size[0] }, NULL);
    }
}

/* One row. Blocks are aligned and of the largest element, 8 bytes. */
static void map_row(int64_t n, char *const *pointers, const int64_t *strides, const void *context)
{
    const struct map_run *run = context;
    CR_ALIGNED(64) char blocks[ELEMENTWISE_OPERANDS][BLOCK_ELEMENTS * 8];
    struct lane lanes[ELEMENTWISE_OPERANDS];
    bool all_direct = true;
    for (int i = 0; i < run->operands; i++) {
        bool is_packed = strides[i] == run->size[i] || n == 1;
        lanes[i] = (struct lane){ .is_direct = run->as_stored[i] && is_packed, .block = blocks[i] };
        all_direct = all_direct && lanes[i].is_direct;
    }
    if (!all_direct) {
        map_blocks(run, n, pointers, strides, lanes);
        return;
    }
    const void *from[ELEMENTWISE_OPERANDS];
    for (int i = 1; i < run->operands; i++)
        from[i - 1] = pointers[i];
    run->loop(n, pointers[0], from, run->parameters);
}

static cr_dtype computing_dtype(cr_dtype dtype)
{
    return dtype == CR_F64 ? CR_F64 : cr_dtype_is_floating(dtype) ? CR_F32 : CR_I64;
}

static void set_lane(struct map_run *run, int i, cr_dtype stored, cr_dtype computed)
{
    run->size[i] = (int64_t)cr_dtype_size(computed);
    run->as_stored[i] = stored == computed;
    run->convert[i] = i == 0 ? convert_loop(stored, computed) : convert_loop(computed, stored);
}

static bool all_bf16(const cr_tensor *out, const cr_tensor *const *operands, int count)
{
    bool all = out->dtype == CR_BF16;
    for (int i = 0; i < count; i++)
        all = all && operands[i]->dtype == CR_BF16;
    return all;
}

static void map_plan(const struct map *map, cr_tensor *out, const cr_tensor *const *operands,
                     int count, struct map_run *run, struct elementwise_plan *plan)
{
    cr_dtype dtype = computing_dtype((cr_dtype)operands[0]->dtype);
    const cr_tensor *tensors[ELEMENTWISE_OPERANDS] = { out };
    run->loop = dtype == CR_F64 ? map->f64 : dtype == CR_F32 ? map->f32 : map->i64;
    map_loop half = all_bf16(out, operands, count) ? map_half_loop(map) : NULL;
    if (half) {
        dtype = CR_BF16;
        run->loop = half;
    }
    run->operands = count + 1;
    set_lane(run, 0, (cr_dtype)out->dtype, map->gives_bool ? CR_BOOL : dtype);
    for (int i = 0; i < count; i++) {
        bool is_truth = i >= count - map->truths;
        tensors[i + 1] = operands[i];
        set_lane(run, i + 1, (cr_dtype)operands[i]->dtype, is_truth ? CR_BOOL : dtype);
    }
    elementwise_plan_make(plan, &out->shape, tensors, count + 1);
}

void map_run(const struct map *map, cr_tensor *out, const cr_tensor *const *operands, int count,
             const double *parameters)
{
    struct map_run run = { .parameters = parameters };
    struct elementwise_plan plan;
    map_plan(map, out, operands, count, &run, &plan);
    elementwise_run(&plan, map_row, &run);
}

void map_run_serial(const struct map *map, cr_tensor *out, const cr_tensor *const *operands,
                    int count, const double *parameters)
{
    struct map_run run = { .parameters = parameters };
    struct elementwise_plan plan;
    map_plan(map, out, operands, count, &run, &plan);
    elementwise_run_serial(&plan, map_row, &run);
}
