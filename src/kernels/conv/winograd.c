/* The driver of Winograd's algorithm: when it is used, how the image is cut into blocks, and the
 * workspace.
 *
 * A block is a number of tile rows. With few channels its transformed tiles fit the second cache:
 * a block is then a task that runs from the input to the output. With many channels, where reading
 * the weights for each small block would be the limit, blocks are larger and computed one after the
 * other, each in parallel by channels, by positions and by channels again. Which of the two depends
 * on the shapes alone. */
#include "kernels/conv/conv.h"

#define OUT             4
#define POSITIONS       36
#define CHANNELS_LEAST  16          /* below, the transforms cost more than they save */
#define WEIGHTS_MOST    (10 << 20)  /* transformed elements; beyond, reading them is the limit */
#define BLOCK_ELEMENTS  (200 << 10) /* of the transformed tiles and products of a task */
#define SHARED_ELEMENTS (3 << 20)   /* of those of a block that is computed in parallel */
#define SHARED_WEIGHTS  (4 << 20)   /* transformed elements from which blocks are so */
#define SUITS_TILES     20          /* with fewer, the transformed weights are the limit */
#define TILES_LEAST     28
#define TILES_MOST      56
#define TASKS_LEAST     8
#define CHANNELS_PART   128 /* output channels of a multiplication in parallel */

/* Elements between positions that keep the same place of all of them out of one set of the cache.
 */
#define CACHE_LINE 16

/* ---- the plan ---- */

typedef struct plan {
    cr_winograd w;
    const cr_winograd_kernels *kernels;
    cr_winograd_scratch scratch; /* sizes only */
    bool is_shared;              /* blocks are computed in parallel, one after the other */
    int64_t rows, block_rows, blocks;
    int64_t slots;
    int64_t transformed, inputs, products, strip, turned; /* elements */
} plan;

cr_winograd cr_winograd_describe(const cr_conv *c, bool backward)
{
    cr_winograd w = { .batch = c->batch, .channels_last = c->channels_last };
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

/* Cuts the tile rows into even blocks of about `tiles` tiles. */
static void cut_blocks(plan *p, int64_t tiles)
{
    p->rows = p->w.batch * p->w.tiles_y;
    p->block_rows = CR_MAX(tiles / p->w.tiles_x, 1);
    p->blocks = CR_DIV_UP(p->rows, p->block_rows);
    p->block_rows = CR_DIV_UP(p->rows, p->blocks);
    p->blocks = CR_DIV_UP(p->rows, p->block_rows);
}

static void plan_blocks(plan *p)
{
    int64_t each = POSITIONS * (p->w.in_padded + p->w.out_padded);
    cut_blocks(p, CR_MIN(CR_MAX(BLOCK_ELEMENTS / each, TILES_LEAST), TILES_MOST));
    p->is_shared =
        p->blocks < TASKS_LEAST || POSITIONS * p->w.in_padded * p->w.out_padded >= SHARED_WEIGHTS;
    if (p->is_shared)
        cut_blocks(p, CR_MAX(SHARED_ELEMENTS / each, TILES_MOST));
}

static plan make_plan(const cr_conv *c, bool backward)
{
    plan p = { .w = cr_winograd_describe(c, backward),
               .kernels = CR_KERNELS_IN_USE(cr_winograd_kernels) };
    int64_t lanes = p.kernels->lanes, panel = 2 * lanes;
    p.w.in_padded = CR_ROUND_UP(p.w.in_channels, lanes);
    p.w.out_padded = CR_ROUND_UP(p.w.out_channels, panel);
    plan_blocks(&p);
    int64_t tiles = p.block_rows * p.w.tiles_x;
    int64_t strip_rows = CR_MIN(p.block_rows, p.w.tiles_y) * OUT + 2;
    int64_t widest = CR_MAX(p.w.tiles_x * OUT + 2, p.w.in_size[1]);
    p.scratch.input_stride = tiles * p.w.in_padded + CACHE_LINE;
    p.scratch.product_stride = tiles * p.w.out_padded + CACHE_LINE;
    p.w.weight_step = p.w.out_padded * p.w.in_padded + CACHE_LINE;
    p.transformed = POSITIONS * p.w.weight_step;
    p.inputs = POSITIONS * p.scratch.input_stride;
    p.products = POSITIONS * p.scratch.product_stride;
    p.strip = strip_rows * (p.w.tiles_x * OUT + 2) * lanes;
    p.turned = strip_rows * widest * lanes;
    p.strip = CR_ROUND_UP(p.strip, CACHE_LINE);
    p.turned = CR_ROUND_UP(p.turned, CACHE_LINE);
    p.slots = cr_slots_wanted();
    return p;
}

bool cr_winograd_suits(const cr_conv *c, bool backward)
{
    bool plain = c->type == CR_GEMM_F32 && c->batch > 0 && c->groups == 1 && c->kernel[0] == 1 &&
                 c->input[0] == 1 && c->output[0] == 1 && c->padding[0] == 0 && c->stride[0] == 1;
    for (int d = 1; d < CR_CONV_DIMS; d++)
        plain = plain && c->kernel[d] == 3 && c->stride[d] == 1 && c->dilation[d] == 1 &&
                c->padding[d] <= 2 && c->output[d] >= OUT && c->input[d] >= OUT;
    if (!plain || c->in_channels < CHANNELS_LEAST || c->out_channels < CHANNELS_LEAST)
        return false;
    cr_winograd w = cr_winograd_describe(c, backward);
    return POSITIONS * w.in_channels * w.out_channels <= WEIGHTS_MOST &&
           w.batch * w.tiles_y * w.tiles_x >= SUITS_TILES;
}

static int64_t tile_sets(const plan *p)
{
    return p->is_shared ? 1 : p->slots;
}

size_t cr_winograd_workspace(const cr_conv *conv, bool backward)
{
    plan p = make_plan(conv, backward);
    int64_t elements = tile_sets(&p) * (p.inputs + p.products) + p.slots * (p.strip + p.turned);
    return cr_slots_size(p.slots) + (size_t)elements * sizeof(float);
}

/* ---- the weights ---- */

typedef struct preparation {
    plan plan;
    float *transformed;
} preparation;

static void transform_weights(int64_t begin, int64_t end, void *context)
{
    const preparation *p = context;
    p->plan.kernels->weights(&p->plan.w, p->transformed, begin, end);
}

size_t cr_winograd_prepared_size(const cr_conv *conv, bool backward)
{
    plan p = make_plan(conv, backward);
    return (size_t)CR_ROUND_UP(p.transformed, CACHE_LINE) * sizeof(float);
}

void cr_winograd_prepare(const cr_conv *conv, bool backward, const float *weight,
                         const float *scale, void *prepared)
{
    preparation p = { .plan = make_plan(conv, backward), .transformed = prepared };
    p.plan.w.weight = weight;
    p.plan.w.scale = scale;
    cr_parallel_for(p.plan.w.out_padded / p.plan.kernels->lanes, 1, transform_weights, &p);
}

/* ---- running ---- */

typedef struct run {
    plan plan;
    cr_slots slots;
    float *tiles, *strips;
    int64_t first, last; /* tile rows of the block that is computed in parallel */
} run;

/* The scratch for a block of so many tile rows, with the tiles of set `set`, and the strips of a
 * slot. */
static cr_winograd_scratch scratch_of(const run *r, int64_t set, int64_t slot, int64_t rows)
{
    const plan *p = &r->plan;
    int64_t most = cr_gemm_kernels_of(CR_GEMM_F32)->tile_rows;
    cr_winograd_scratch s = p->scratch;
    s.tiles = rows * p->w.tiles_x;
    s.panel_rows = CR_DIV_UP(s.tiles, CR_DIV_UP(s.tiles, most));
    s.inputs = r->tiles + set * (p->inputs + p->products);
    s.products = s.inputs + p->inputs;
    s.strip = r->strips + slot * (p->strip + p->turned);
    s.turned = s.strip + p->strip;
    return s;
}

/* A block as a task. */
static void run_blocks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots), lanes = p->kernels->lanes;
    for (int64_t index = begin; index < end; index++) {
        int64_t first = index * p->block_rows, last = CR_MIN(first + p->block_rows, p->rows);
        cr_winograd_scratch s = scratch_of(r, slot, slot, last - first);
        for (int64_t channel = 0; channel < p->w.in_padded; channel += lanes)
            p->kernels->input(&p->w, &s, first, last, channel);
        for (int64_t position = 0; position < POSITIONS; position++)
            p->kernels->multiply(&p->w, &s, position, 0, p->w.out_padded);
        for (int64_t channel = 0; channel < p->w.out_channels; channel += lanes)
            p->kernels->output(&p->w, &s, first, last, channel);
    }
    cr_slot_release(&r->slots, slot);
}

static void input_shared(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots);
    cr_winograd_scratch s = scratch_of(r, 0, slot, r->last - r->first);
    for (int64_t i = begin; i < end; i++)
        r->plan.kernels->input(&r->plan.w, &s, r->first, r->last, i * r->plan.kernels->lanes);
    cr_slot_release(&r->slots, slot);
}

static void multiply_shared(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const cr_winograd *w = &r->plan.w;
    int64_t parts = CR_DIV_UP(w->out_padded, CHANNELS_PART);
    cr_winograd_scratch s = scratch_of(r, 0, 0, r->last - r->first);
    for (int64_t i = begin; i < end; i++) {
        int64_t first = i % parts * CHANNELS_PART;
        r->plan.kernels->multiply(w, &s, i / parts, first,
                                  CR_MIN(first + CHANNELS_PART, w->out_padded));
    }
}

static void output_shared(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots);
    cr_winograd_scratch s = scratch_of(r, 0, slot, r->last - r->first);
    for (int64_t i = begin; i < end; i++)
        r->plan.kernels->output(&r->plan.w, &s, r->first, r->last, i * r->plan.kernels->lanes);
    cr_slot_release(&r->slots, slot);
}

/* Where channels are last, the tasks are tile rows: the channels of a point lie together. */
static void rows_shared(const run *r, int64_t begin, int64_t end, bool is_input)
{
    const plan *p = &r->plan;
    int64_t channels = is_input ? p->w.in_padded : p->w.out_channels;
    int64_t slot = cr_slot_take(&r->slots);
    cr_winograd_scratch s = scratch_of(r, 0, slot, r->last - r->first);
    for (int64_t row = begin, last; row < end; row = last) {
        int64_t tile_row = (r->first + row) % p->w.tiles_y;
        last = CR_MIN(row + p->w.tiles_y - tile_row, end);
        s.first_tile = row * p->w.tiles_x;
        for (int64_t channel = 0; channel < channels; channel += p->kernels->lanes)
            (is_input ? p->kernels->input : p->kernels->output)(&p->w, &s, r->first + row,
                                                                r->first + last, channel);
    }
    cr_slot_release(&r->slots, slot);
}

static void input_rows_shared(int64_t begin, int64_t end, void *context)
{
    rows_shared(context, begin, end, true);
}

static void output_rows_shared(int64_t begin, int64_t end, void *context)
{
    rows_shared(context, begin, end, false);
}

static void run_shared(run *r)
{
    const plan *p = &r->plan;
    int64_t lanes = p->kernels->lanes, part = p->w.batch < TASKS_LEAST ? 1 : p->w.tiles_y;
    for (r->first = 0; r->first < p->rows; r->first = r->last) {
        r->last = CR_MIN(r->first + p->block_rows, p->rows);
        if (p->w.channels_last)
            cr_parallel_for(r->last - r->first, part, input_rows_shared, r);
        else
            cr_parallel_for(p->w.in_padded / lanes, 1, input_shared, r);
        cr_parallel_for(POSITIONS * CR_DIV_UP(p->w.out_padded, CHANNELS_PART), 1, multiply_shared,
                        r);
        if (p->w.channels_last)
            cr_parallel_for(r->last - r->first, part, output_rows_shared, r);
        else
            cr_parallel_for(CR_DIV_UP(p->w.out_channels, lanes), 1, output_shared, r);
    }
}

void cr_winograd_run(const cr_conv *conv, bool backward, const float *from, const void *prepared,
                     const cr_epilogue *epilogue, float *to, void *workspace)
{
    run r = { .plan = make_plan(conv, backward) };
    plan *p = &r.plan;
    r.slots = cr_slots_make(workspace, p->slots);
    r.tiles = (float *)((char *)workspace + cr_slots_size(p->slots));
    r.strips = r.tiles + tile_sets(p) * (p->inputs + p->products);
    p->w.transformed = prepared;
    p->w.input = from;
    p->w.output = to;
    if (epilogue)
        p->w.epilogue = *epilogue;
    if (p->is_shared)
        run_shared(&r);
    else
        cr_parallel_for(p->blocks, 1, run_blocks, &r);
}
