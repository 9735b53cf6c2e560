/* The driver of Winograd's algorithm: when it is used, how the image is cut into blocks, and the
 * workspace. A block is a number of tile rows and a part of the output channels, one task each. */
#include "kernels/conv/conv.h"

#define OUT            4
#define POSITIONS      36
#define CHANNELS_LEAST 16         /* below, the transforms cost more than they save */
#define WEIGHTS_MOST   (10 << 20) /* transformed elements; beyond, reading them is the limit */
#define BLOCK_ELEMENTS (200 << 10)
#define TILES_LEAST    28
#define TILES_MOST     56
#define TASKS_WANTED   16
#define PART_LEAST     64 /* output channels of a task */

/* Elements between positions that keep the same place of all of them out of one set of the cache.
 */
#define CACHE_LINE 16

/* ---- the plan ---- */

typedef struct plan {
    cr_winograd w;
    const cr_winograd_kernels *kernels;
    cr_winograd_scratch scratch; /* sizes only */
    int64_t rows, block_rows, blocks;
    int64_t part, parts; /* output channels of a task */
    int64_t slots;
    /* elements */
    int64_t transformed, inputs, products, strip, turned, slot;
} plan;

cr_winograd cr_winograd_describe(const cr_conv *c, bool backward)
{
    cr_winograd w = { .batch = c->batch };
    const int64_t *from = backward ? c->output : c->input, *to = backward ? c->input : c->output;
    w.in_channels = backward ? c->out_channels : c->in_channels;
    w.out_channels = backward ? c->in_channels : c->out_channels;
    for (int d = 0; d < 2; d++) {
        w.in_size[d] = from[1 + d];
        w.out_size[d] = to[1 + d];
        w.padding[d] = backward ? 2 - c->padding[1 + d] : c->padding[1 + d];
    }
    w.weight_in_stride = backward ? c->in_channels * 9 : 9;
    w.weight_out_stride = backward ? 9 : c->in_channels * 9;
    w.flip = backward;
    w.tiles_y = CR_DIV_UP(w.out_size[0], OUT);
    w.tiles_x = CR_DIV_UP(w.out_size[1], OUT);
    return w;
}

/* Tile rows and output channels of a task: what it works on should fit the second cache, and there
 * should be enough tasks. */
static void plan_tasks(plan *p, int64_t panel)
{
    const cr_winograd *w = &p->w;
    p->rows = w->batch * w->tiles_y;
    p->part = w->out_padded;
    int64_t tiles = BLOCK_ELEMENTS / (POSITIONS * (w->in_padded + p->part));
    tiles = CR_MIN(CR_MAX(tiles, TILES_LEAST), TILES_MOST);
    int64_t rows = CR_MAX(tiles / w->tiles_x, 1);
    p->blocks = CR_DIV_UP(p->rows, rows);
    p->block_rows = CR_DIV_UP(p->rows, p->blocks);
    p->blocks = CR_DIV_UP(p->rows, p->block_rows);
    while (p->blocks * CR_DIV_UP(w->out_padded, p->part) < TASKS_WANTED &&
           p->part >= 2 * PART_LEAST)
        p->part = CR_ROUND_UP(p->part / 2, panel);
    p->parts = CR_DIV_UP(w->out_padded, p->part);
}

static plan make_plan(const cr_conv *c, bool backward)
{
    plan p = { .w = cr_winograd_describe(c, backward),
               .kernels = CR_KERNELS_IN_USE(cr_winograd_kernels) };
    int64_t lanes = p.kernels->lanes, panel = 2 * lanes;
    p.w.in_padded = CR_ROUND_UP(p.w.in_channels, lanes);
    p.w.out_padded = CR_ROUND_UP(p.w.out_channels, panel);
    plan_tasks(&p, panel);
    int64_t tiles = p.block_rows * p.w.tiles_x;
    int64_t strip_rows = CR_MIN(p.block_rows, p.w.tiles_y) * OUT + 2;
    int64_t widest = CR_MAX(p.w.tiles_x * OUT + 2, p.w.in_size[1]);
    p.scratch.input_stride = tiles * p.w.in_padded + CACHE_LINE;
    p.scratch.product_stride = tiles * p.part + CACHE_LINE;
    p.w.weight_step = p.w.out_padded * p.w.in_padded + CACHE_LINE;
    p.transformed = POSITIONS * p.w.weight_step;
    p.inputs = POSITIONS * p.scratch.input_stride;
    p.products = POSITIONS * p.scratch.product_stride;
    p.strip = strip_rows * (p.w.tiles_x * OUT + 2) * lanes;
    p.turned = strip_rows * widest * lanes;
    p.strip = CR_ROUND_UP(p.strip, CACHE_LINE);
    p.turned = CR_ROUND_UP(p.turned, CACHE_LINE);
    p.slot = p.inputs + p.products + p.strip + p.turned;
    p.slots = cr_slots_wanted();
    return p;
}

bool cr_winograd_suits(const cr_conv *c, bool backward, const cr_epilogue *epilogue)
{
    bool plain = c->type == CR_GEMM_F32 && c->batch > 0 && c->groups == 1 && c->kernel[0] == 1 &&
                 c->input[0] == 1 && c->output[0] == 1 && c->padding[0] == 0 && c->stride[0] == 1;
    for (int d = 1; d < CR_CONV_DIMS; d++)
        plain = plain && c->kernel[d] == 3 && c->stride[d] == 1 && c->dilation[d] == 1 &&
                c->padding[d] <= 2 && c->output[d] >= OUT && c->input[d] >= OUT;
    if (epilogue)
        plain = plain && !epilogue->residual && !epilogue->column_bias &&
                epilogue->activation <= CR_ACTIVATION_RELU;
    if (!plain || c->in_channels < CHANNELS_LEAST || c->out_channels < CHANNELS_LEAST)
        return false;
    cr_winograd w = cr_winograd_describe(c, backward);
    return POSITIONS * w.in_channels * w.out_channels <= WEIGHTS_MOST;
}

size_t cr_winograd_workspace(const cr_conv *conv, bool backward)
{
    plan p = make_plan(conv, backward);
    int64_t elements = p.transformed + p.slots * p.slot;
    return cr_slots_size(p.slots) + (size_t)elements * sizeof(float);
}

/* ---- running ---- */

typedef struct run {
    plan plan;
    cr_slots slots;
    float *memory;
} run;

static void run_weights(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    r->plan.kernels->weights(&r->plan.w, begin, end);
}

static void run_blocks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    cr_winograd_scratch s = p->scratch;
    s.inputs = r->memory + slot * p->slot;
    s.products = s.inputs + p->inputs;
    s.strip = s.products + p->products;
    s.turned = s.strip + p->strip;
    int64_t most = cr_gemm_kernels_of(CR_GEMM_F32)->tile_rows;
    for (int64_t index = begin; index < end; index++) {
        int64_t first = index / p->parts * p->block_rows, channel = index % p->parts * p->part;
        int64_t last = CR_MIN(first + p->block_rows, p->rows);
        s.tiles = (last - first) * p->w.tiles_x;
        s.panel_rows = CR_DIV_UP(s.tiles, CR_DIV_UP(s.tiles, most));
        s.part_padded = CR_MIN(p->part, p->w.out_padded - channel);
        p->kernels->block(&p->w, &s, first, last, channel);
    }
    cr_slot_release(&r->slots, slot);
}

void cr_winograd_run(const cr_conv *conv, bool backward, const float *from, const float *weight,
                     const cr_epilogue *epilogue, float *to, void *workspace)
{
    run r = { .plan = make_plan(conv, backward) };
    plan *p = &r.plan;
    r.slots = cr_slots_make(workspace, p->slots);
    p->w.transformed = (float *)((char *)workspace + cr_slots_size(p->slots));
    r.memory = p->w.transformed + p->transformed;
    p->w.input = from;
    p->w.weight = weight;
    p->w.output = to;
    p->w.bias = epilogue ? epilogue->row_bias : NULL;
    p->w.relu = epilogue && epilogue->activation == CR_ACTIVATION_RELU;
    cr_parallel_for(p->w.out_padded / p->kernels->lanes, 1, run_weights, &r);
    cr_parallel_for(p->blocks * p->parts, 1, run_blocks, &r);
}
