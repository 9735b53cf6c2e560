/* The driver of convolution point by point: which rows of which images make a chunk, the packing of
 * the weights, and the workspace. A chunk is a task; what it reads and writes fits the second
 * cache. */
#include "kernels/conv/conv.h"

#define UNIT             16         /* elements; pieces of the workspace begin at a multiple */
#define COPY_ELEMENTS    (64 << 10) /* of the source */
#define PRODUCT_ELEMENTS (64 << 10)
#define POINTS_WANTED    64 /* fewer do not pay for reading the weights */
#define COPY_LARGEST     (INT32_MAX / 4)
#define TASKS_WANTED     8
#define K_LEAST          128 /* with fewer steps, turning the products costs too much */

typedef struct plan {
    cr_points w;
    const cr_points_kernels *kernels;
    int64_t images, lines; /* of a chunk; lines are rows of the result */
    int64_t image_chunks, channel_chunks, chunks;
    int64_t chunk_channels;
    int64_t slots;
    int64_t weights, copy, products, turned, points, steps, slot; /* elements */
} plan;

/* The lowest and the highest coordinate that lines [first, last) of a phase read. */
static void reach_of(const cr_patches *p, int d, int64_t first, int64_t last, int64_t *low,
                     int64_t *high)
{
    if (first >= last || p->taps[d] == 0)
        return;
    int64_t taps = (p->taps[d] - 1) * p->tap_step[d];
    *low = CR_MIN(*low, first * p->step[d] + p->origin[d] + CR_MIN(taps, 0));
    *high = CR_MAX(*high, (last - 1) * p->step[d] + p->origin[d] + CR_MAX(taps, 0));
}

static cr_points_chunk chunk_at(const plan *p, int64_t index)
{
    const cr_points *w = &p->w;
    int64_t out = index % p->channel_chunks * p->chunk_channels;
    index /= p->channel_chunks;
    cr_points_chunk c = { .first_image = index / p->image_chunks * p->images,
                          .first = index % p->image_chunks * p->lines,
                          .first_out = out,
                          .last_out = CR_MIN(out + p->chunk_channels, w->out_padded) };
    int64_t low = INT64_MAX, high = INT64_MIN;
    c.images = CR_MIN(w->batch - c.first_image, p->images);
    c.last = CR_MIN(c.first + p->lines, w->out_size[0]);
    for (int f = 0; f < w->phase_count; f++) {
        int64_t start = f / w->stride[1];
        c.first_line[f] = CR_DIV_UP(CR_MAX(c.first - start, 0), w->stride[0]);
        c.last_line[f] = CR_DIV_UP(CR_MAX(c.last - start, 0), w->stride[0]);
        reach_of(&w->phases[f].patches, 1, c.first_line[f], c.last_line[f], &low, &high);
    }
    c.first_row = low <= high ? low : 0;
    c.rows = low <= high ? high - low + 1 : 0;
    return c;
}

/* The largest of the sizes that the chunks have; the first and the last may read less. */
static void plan_slot(plan *p)
{
    cr_points *w = &p->w;
    int64_t rows = 0, k = 0;
    for (int64_t i = 0; i < p->image_chunks; i++) {
        cr_points_chunk c = chunk_at(p, i * p->channel_chunks);
        rows = CR_MAX(rows, c.rows);
    }
    for (int f = 0; f < w->phase_count; f++)
        k = CR_MAX(k, w->phases[f].k);
    int64_t points = p->images * p->lines * w->out_size[1];
    p->copy = CR_ROUND_UP(p->images * w->channels * rows * w->columns, UNIT);
    p->products = CR_ROUND_UP(points * w->out_padded, UNIT);
    p->turned = CR_ROUND_UP(p->lines * w->out_size[1] * p->kernels->lanes, UNIT);
    p->points = CR_ROUND_UP(points, UNIT);
    p->steps = CR_ROUND_UP(k, UNIT);
    p->slot = p->copy + p->products + p->turned + p->points + p->steps;
}

static void plan_chunks(plan *p)
{
    cr_points *w = &p->w;
    const cr_patches *first = &w->phases[0].patches;
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (int f = 0; f < w->phase_count; f++)
        reach_of(&w->phases[f].patches, 2, 0, w->phases[f].patches.grid[2], &low, &high);
    w->first_column = low <= high ? low : 0;
    w->columns = low <= high ? high - low + 1 : 0;
    /* A line of the result costs about step / stride lines of the source. */
    int64_t line = CR_DIV_UP(w->channels * w->columns * first->step[1], w->stride[0]);
    int64_t lines = CR_MIN(COPY_ELEMENTS / CR_MAX(line, 1),
                           PRODUCT_ELEMENTS / (w->out_size[1] * w->out_padded));
    lines = CR_ROUND_UP(CR_MAX(lines, 1), w->stride[0]);
    p->lines = CR_MIN(lines, w->out_size[0]);
    p->image_chunks = CR_DIV_UP(w->out_size[0], p->lines);
    p->lines = CR_ROUND_UP(CR_DIV_UP(w->out_size[0], p->image_chunks), w->stride[0]);
    p->image_chunks = CR_DIV_UP(w->out_size[0], p->lines);
    p->images = 1;
    int64_t points = w->out_size[0] * w->out_size[1] / (w->stride[0] * w->stride[1]);
    if (p->image_chunks == 1 && points < POINTS_WANTED)
        p->images = CR_MIN(CR_DIV_UP(POINTS_WANTED, CR_MAX(points, 1)), w->batch);
    p->chunks = p->image_chunks * CR_DIV_UP(w->batch, p->images);
    /* Few images are shared by channels: each task copies the source for itself. */
    int64_t panel = 2 * p->kernels->lanes, panels = w->out_padded / panel;
    int64_t wanted = CR_MIN(CR_DIV_UP(TASKS_WANTED, p->chunks), panels);
    p->chunk_channels = CR_DIV_UP(panels, wanted) * panel;
    p->channel_chunks = CR_DIV_UP(w->out_padded, p->chunk_channels);
    p->chunks *= p->channel_chunks;
}

static plan make_plan(const cr_conv *c, bool backward, const cr_points_phase *phases, int count)
{
    plan p = { .w = { .phase_count = count, .batch = c->batch },
               .kernels = CR_KERNELS_IN_USE(cr_points_kernels) };
    cr_points *w = &p.w;
    w->channels = backward ? c->out_channels : c->in_channels;
    w->out_channels = backward ? c->in_channels : c->out_channels;
    w->out_padded = CR_ROUND_UP(w->out_channels, 2 * p.kernels->lanes);
    for (int d = 0; d < 2; d++) {
        w->out_size[d] = backward ? c->input[1 + d] : c->output[1 + d];
        w->stride[d] = backward ? c->stride[1 + d] : 1;
    }
    for (int f = 0; f < count; f++) {
        w->phases[f] = phases[f];
        w->phases[f].k = w->channels * phases[f].patches.taps[1] * phases[f].patches.taps[2];
        w->phases[f].packed = p.weights;
        p.weights += w->phases[f].k * w->out_padded;
    }
    p.slots = cr_slots_wanted();
    plan_chunks(&p);
    plan_slot(&p);
    return p;
}

bool cr_points_suits(const cr_conv *c, bool backward)
{
    bool plain = c->type == CR_GEMM_F32 && c->groups == 1 && c->kernel[0] == 1 &&
                 c->input[0] == 1 && c->output[0] == 1 && c->padding[0] == 0 && c->stride[0] == 1;
    int64_t phases = backward ? c->stride[1] * c->stride[2] : 1;
    int64_t k = (backward ? c->out_channels : c->in_channels) * c->kernel[1] * c->kernel[2];
    if (phases > CR_POINTS_PHASES || (phases == 1 && k < K_LEAST))
        return false;
    /* Offsets in a copy are 32 bits wide. */
    int64_t plane = (c->input[1] + 2 * c->padding[1] + c->kernel[1] * c->dilation[1]) *
                    (c->input[2] + 2 * c->padding[2] + c->kernel[2] * c->dilation[2]);
    return plain && c->batch > 0 && c->in_channels > 0 && c->out_channels > 0 &&
           plane < COPY_LARGEST / CR_MAX(c->in_channels, c->out_channels) / POINTS_WANTED;
}

size_t cr_points_workspace(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                           int count)
{
    plan p = make_plan(conv, backward, phases, count);
    return cr_slots_size(p.slots) + (size_t)(p.slots * p.slot) * sizeof(float);
}

/* ---- the weights ---- */

typedef struct preparation {
    plan plan;
    cr_gemm_packer pack;
    float *packed;
} preparation;

/* Packs panels [begin, end) of the weights, counted through the phases. */
static void pack_weights(int64_t begin, int64_t end, void *context)
{
    const preparation *p = context;
    const cr_points *w = &p->plan.w;
    int64_t panel = 2 * p->plan.kernels->lanes, panels = w->out_padded / panel;
    for (int64_t index = begin; index < end; index++) {
        const cr_points_phase *f = &w->phases[index / panels];
        int64_t out = index % panels * panel;
        p->pack(&f->weight, 0, out, CR_MIN(w->out_channels - out, panel), panel, 0, f->k,
                p->packed + f->packed + out * f->k);
    }
}

size_t cr_points_prepared_size(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                               int count)
{
    plan p = make_plan(conv, backward, phases, count);
    return (size_t)CR_ROUND_UP(p.weights, UNIT) * sizeof(float);
}

void cr_points_prepare(const cr_conv *conv, bool backward, const cr_points_phase *phases, int count,
                       void *prepared)
{
    preparation p = { .plan = make_plan(conv, backward, phases, count),
                      .pack = cr_conv_kernels_of(CR_GEMM_F32)->pack_weight,
                      .packed = prepared };
    int64_t panels = p.plan.w.out_padded / (2 * p.plan.kernels->lanes);
    cr_parallel_for(count * panels, 1, pack_weights, &p);
}

/* ---- running ---- */

typedef struct run {
    plan plan;
    cr_slots slots;
    float *memory;
} run;

static void run_chunks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    cr_points_scratch s = { .copy = r->memory + slot * p->slot };
    s.products[0] = s.copy + p->copy;
    s.turned = s.products[0] + p->products;
    s.points = (int32_t *)(void *)(s.turned + p->turned);
    s.steps = s.points + p->points;
    for (int64_t index = begin; index < end; index++) {
        cr_points_chunk c = chunk_at(p, index);
        p->kernels->chunk(&p->w, &c, &s);
    }
    cr_slot_release(&r->slots, slot);
}

void cr_points_run(const cr_conv *conv, bool backward, const cr_points_phase *phases, int count,
                   const void *prepared, const cr_epilogue *epilogue, float *output,
                   void *workspace)
{
    run r = { .plan = make_plan(conv, backward, phases, count) };
    plan *p = &r.plan;
    r.slots = cr_slots_make(workspace, p->slots);
    r.memory = (float *)((char *)workspace + cr_slots_size(p->slots));
    p->w.packed = prepared;
    if (epilogue)
        p->w.epilogue = *epilogue;
    p->w.output = output;
    cr_parallel_for(p->chunks, 1, run_chunks, &r);
}
