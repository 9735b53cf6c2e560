/* The driver of the weight gradient by Winograd's algorithm.
 *
 * Tile rows are cut into blocks that are transformed and multiplied one after the other. With few
 * channels the sums are small: the blocks are dealt to a number of splits with sums of their own,
 * which are tasks that run from one end to the other. With many channels there is one split, and
 * each block is transformed in parallel by channels, and multiplied in parallel by positions and
 * channels. Which of the two depends on the shapes alone. */
#include "kernels/conv/conv.h"

#define OUT             4
#define POSITIONS       36
#define CHANNELS_LEAST  16
#define SUMS_MOST       (5 << 20)   /* elements of all splits together */
#define SUMS_LARGEST    (10 << 20)  /* of a single split */
#define BLOCK_ELEMENTS  (256 << 10) /* of the transformed tiles of a task */
#define SHARED_ELEMENTS (1 << 20)   /* of those of a block that is computed in parallel, */
#define SHARED_LARGEST  (5 << 20)   /* and where the sums exceed */
#define SUMS_CACHED     (4 << 20)   /* so that they are passed over less often */
#define TILES_LEAST     28
#define SPLITS_WANTED   16
#define SPLITS_LEAST    8
#define CHANNELS_PART   64 /* input channels of a multiplication in parallel */

/* Elements between positions that keep the same place of all of them out of one set of the cache.
 */
#define CACHE_LINE 16

typedef struct plan {
    cr_winograd_weight w;
    const cr_winograd_weight_kernels *kernels;
    cr_winograd_scratch scratch; /* sizes only */
    bool is_shared;              /* one split, blocks computed in parallel */
    int64_t rows, block_rows, blocks;
    int64_t splits, split_blocks;
    int64_t slots;
    int64_t sums, inputs, gradients, strip, turned; /* elements */
} plan;

static void plan_blocks(plan *p)
{
    int64_t channels = p->w.in_padded + p->w.out_padded, tiles_x = p->w.output.tiles_x;
    p->w.sum_step = p->w.in_padded * p->w.out_padded + CACHE_LINE;
    p->sums = POSITIONS * p->w.sum_step;
    p->rows = p->w.output.batch * p->w.output.tiles_y;
    int64_t splits = CR_MIN(SPLITS_WANTED, SUMS_MOST / p->sums);
    p->is_shared = splits < SPLITS_LEAST;
    int64_t elements = !p->is_shared            ? BLOCK_ELEMENTS
                       : p->sums <= SUMS_CACHED ? SHARED_ELEMENTS
                                                : SHARED_LARGEST;
    int64_t tiles = CR_MAX(elements / (POSITIONS * channels), TILES_LEAST);
    p->block_rows = CR_MIN(CR_MAX(tiles / tiles_x, 1), p->rows);
    p->blocks = CR_DIV_UP(p->rows, p->block_rows);
    p->block_rows = CR_DIV_UP(p->rows, p->blocks);
    p->blocks = CR_DIV_UP(p->rows, p->block_rows);
    p->splits = p->is_shared ? 1 : CR_MIN(splits, p->blocks);
    p->split_blocks = CR_DIV_UP(p->blocks, p->splits);
    p->splits = CR_DIV_UP(p->blocks, p->split_blocks);
}

static plan make_plan(const cr_conv *c)
{
    plan p = { .kernels = CR_KERNELS_IN_USE(cr_winograd_weight_kernels),
               .slots = cr_slots_wanted() };
    int64_t lanes = p.kernels->lanes;
    p.w.input = cr_winograd_describe(c, false);
    p.w.output = p.w.input;
    p.w.output.in_channels = c->out_channels;
    for (int d = 0; d < 2; d++) {
        p.w.output.in_size[d] = p.w.input.out_size[d];
        p.w.output.padding[d] = 0;
    }
    p.w.in_padded = CR_ROUND_UP(c->in_channels, lanes);
    p.w.out_padded = CR_ROUND_UP(c->out_channels, 2 * lanes);
    plan_blocks(&p);
    const cr_winograd *w = &p.w.input;
    int64_t tiles = p.block_rows * w->tiles_x;
    int64_t strip_rows = CR_MIN(p.block_rows, w->tiles_y) * OUT + 2;
    int64_t width = w->tiles_x * OUT + 2;
    int64_t widest = CR_MAX(width, CR_MAX(w->in_size[1], w->out_size[1]));
    p.scratch.input_stride = tiles * p.w.in_padded + CACHE_LINE;
    p.scratch.product_stride = tiles * p.w.out_padded + CACHE_LINE;
    p.inputs = POSITIONS * p.scratch.input_stride;
    p.gradients = POSITIONS * p.scratch.product_stride;
    p.strip = CR_ROUND_UP(strip_rows * width * lanes, CACHE_LINE);
    p.turned = CR_ROUND_UP(strip_rows * widest * lanes, CACHE_LINE);
    return p;
}

bool cr_winograd_weight_suits(const cr_conv *c)
{
    if (c->in_channels < CHANNELS_LEAST || !cr_winograd_suits(c, false))
        return false;
    return POSITIONS * c->in_channels * c->out_channels <= SUMS_LARGEST;
}

static int64_t tile_sets(const plan *p)
{
    return p->is_shared ? 1 : p->slots;
}

size_t cr_winograd_weight_workspace(const cr_conv *conv)
{
    plan p = make_plan(conv);
    int64_t elements = p.splits * p.sums + tile_sets(&p) * (p.inputs + p.gradients) +
                       p.slots * (p.strip + p.turned);
    return cr_slots_size(p.slots) + (size_t)elements * sizeof(float);
}

/* ---- running ---- */

typedef struct run {
    plan plan;
    cr_slots slots;
    float *sums, *tiles, *strips, *weight;
    /* The block that is computed in parallel. */
    cr_winograd_scratch shared;
    int64_t first, last;
} run;

/* The scratch for a block of so many tile rows, with the tiles of set `set`, and the strips of a
 * slot. */
static cr_winograd_scratch scratch_of(const run *r, int64_t set, int64_t slot, int64_t rows)
{
    const plan *p = &r->plan;
    cr_winograd_scratch s = p->scratch;
    s.tiles = rows * p->w.input.tiles_x;
    s.inputs = r->tiles + set * (p->inputs + p->gradients);
    s.products = s.inputs + p->inputs;
    s.strip = r->strips + slot * (p->strip + p->turned);
    s.turned = s.strip + p->strip;
    return s;
}

/* Transforms one vector of channels of a block: first those of the input, then of the gradient. */
static void transform(const plan *p, const cr_winograd_scratch *s, int64_t first, int64_t last,
                      int64_t index)
{
    int64_t lanes = p->kernels->lanes, inputs = p->w.in_padded / lanes;
    if (index < inputs)
        p->kernels->tiles(&p->w.input, s, false, first, last, index * lanes, p->w.in_padded,
                          s->input_stride, s->inputs);
    else
        p->kernels->tiles(&p->w.output, s, true, first, last, (index - inputs) * lanes,
                          p->w.out_padded, s->product_stride, s->products);
}

static int64_t channel_vectors(const plan *p)
{
    return (p->w.in_padded + p->w.out_padded) / p->kernels->lanes;
}

/* A split as a task. */
static void run_splits(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    for (int64_t split = begin; split < end; split++) {
        int64_t last_block = CR_MIN((split + 1) * p->split_blocks, p->blocks);
        for (int64_t block = split * p->split_blocks; block < last_block; block++) {
            int64_t first = block * p->block_rows, last = CR_MIN(first + p->block_rows, p->rows);
            cr_winograd_scratch s = scratch_of(r, slot, slot, last - first);
            for (int64_t i = 0; i < channel_vectors(p); i++)
                transform(p, &s, first, last, i);
            for (int64_t position = 0; position < POSITIONS; position++)
                p->kernels->multiply(&p->w, &s, position, 0, p->w.in_padded,
                                     block > split * p->split_blocks, r->sums + split * p->sums);
        }
    }
    cr_slot_release(&r->slots, slot);
}

static void transform_shared(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots);
    cr_winograd_scratch s = scratch_of(r, 0, slot, r->last - r->first);
    for (int64_t i = begin; i < end; i++)
        transform(&r->plan, &s, r->first, r->last, i);
    cr_slot_release(&r->slots, slot);
}

static void multiply_shared(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t parts = CR_DIV_UP(p->w.in_padded, CHANNELS_PART);
    cr_winograd_scratch s = scratch_of(r, 0, 0, r->last - r->first);
    for (int64_t i = begin; i < end; i++) {
        int64_t first = i % parts * CHANNELS_PART;
        p->kernels->multiply(&p->w, &s, i / parts, first,
                             CR_MIN(first + CHANNELS_PART, p->w.in_padded), r->first > 0, r->sums);
    }
}

static void run_shared(run *r)
{
    const plan *p = &r->plan;
    for (r->first = 0; r->first < p->rows; r->first = r->last) {
        r->last = CR_MIN(r->first + p->block_rows, p->rows);
        cr_parallel_for(channel_vectors(p), 1, transform_shared, r);
        cr_parallel_for(POSITIONS * CR_DIV_UP(p->w.in_padded, CHANNELS_PART), 1, multiply_shared,
                        r);
    }
}

static void finish_channels(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    p->kernels->finish(&p->w, r->sums, p->splits, begin, end, r->weight);
}

void cr_winograd_weight_run(const cr_conv *conv, const float *input, const float *output,
                            float *weight, void *workspace)
{
    run r = { .plan = make_plan(conv), .weight = weight };
    plan *p = &r.plan;
    r.slots = cr_slots_make(workspace, p->slots);
    r.sums = (float *)((char *)workspace + cr_slots_size(p->slots));
    r.tiles = r.sums + p->splits * p->sums;
    r.strips = r.tiles + tile_sets(p) * (p->inputs + p->gradients);
    p->w.input.input = input;
    p->w.output.input = output;
    if (p->is_shared)
        run_shared(&r);
    else
        cr_parallel_for(p->splits, 1, run_splits, &r);
    cr_parallel_for(conv->in_channels, CR_MIN(p->kernels->lanes, 8), finish_channels, &r);
}
