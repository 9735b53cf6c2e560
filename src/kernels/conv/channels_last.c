/* The driver of convolution over channels-last images, (N, H, W, C) in memory.
 *
 * There a point of the image is a contiguous vector of channels, so a convolution is a product of a
 * matrix whose rows are patches (of a 1 x 1 kernel: the image itself) by the packed weights, and
 * its result is written as it will be read. A task takes some rows and some panels of weights:
 * step by step of k, it copies the rows to where they lie at a fixed distance, with zeros for what
 * is outside the image, and passes each panel over them. Depthwise convolution is computed along
 * rows of points. */
#include "kernels/conv/conv.h"

#define UNIT          16  /* elements; pieces of the workspace begin at a multiple */
#define K_STEP        256 /* at most CR_ROWS_STEP */
#define BLOCK_TILES   8   /* tiles of rows in a task at most */
#define TASKS_WANTED  8
#define TASK_PANELS   4                                   /* of weights in a task at least */
#define LARGE_WEIGHTS (256 << 10)                         /* elements that are better read once */
#define ROWS_PART(c)  CR_MAX((1 << 14) / CR_MAX(c, 1), 1) /* rows of a loop in a part */
#define PACKED        256 /* steps of k of a panel that are packed at a time */

static int64_t points_of(const cr_conv *c)
{
    return c->batch * c->output[1] * c->output[2];
}

static bool is_depthwise(const cr_conv *c)
{
    return c->groups > 1;
}

bool cr_channels_last_suits(const cr_conv *c)
{
    bool plain = c->type == CR_GEMM_F32 && c->kernel[0] == 1 && c->input[0] == 1 &&
                 c->output[0] == 1 && c->padding[0] == 0 && c->stride[0] == 1;
    bool groups = c->groups == 1 || (c->groups == c->in_channels && c->groups == c->out_channels);
    return plain && groups && c->batch > 0 && c->in_channels > 0 && c->out_channels > 0;
}

/* ---- the weights ---- */

typedef struct preparation {
    const cr_conv *conv;
    const cr_rows_kernels *kernels;
    int64_t k, panel, panels;
    const float *weight, *scale;
    float *packed;
} preparation;

static preparation preparation_of(const cr_conv *c)
{
    preparation p = { .conv = c,
                      .kernels = CR_KERNELS_IN_USE(cr_rows_kernels),
                      .k = c->in_channels * c->kernel[1] * c->kernel[2] };
    p.panel = 2 * p.kernels->lanes;
    p.panels = CR_DIV_UP(c->out_channels, p.panel);
    return p;
}

/* A row of a panel, multiplied by the scales of its output channels. */
static void place_row(const preparation *p, int64_t out, int64_t count, const float *from,
                      float *to)
{
    const float *scale = p->scale ? p->scale + out : NULL;
    for (int64_t j = 0; j < count; j++)
        to[j] = scale ? from[j] * scale[j] : from[j];
    for (int64_t j = count; j < p->panel; j++)
        to[j] = 0;
}

/* Where step k of a panel lies. The panels of one step of the product follow each other, as they
 * are read: (step, panel, k, output channel). */
static int64_t place_of(int64_t all, int64_t panel, int64_t panels, int64_t width, int64_t k)
{
    int64_t step = k / K_STEP * K_STEP, k_count = CR_MIN(all - step, K_STEP);
    return (step * panels + panel * k_count + k - step) * width;
}

/* Panels [begin, end), where k is (tap, input channel). */
static void pack_panels(int64_t begin, int64_t end, void *context)
{
    const preparation *p = context;
    const cr_gemm_kernels *gemm = cr_gemm_kernels_of(CR_GEMM_F32);
    int64_t channels = p->conv->in_channels, taps = p->k / channels;
    CR_ALIGNED(64) float some[PACKED * 32];
    int64_t at_once = CR_MAX(PACKED / taps, 1);
    for (int64_t panel = begin; panel < end; panel++) {
        int64_t out = panel * p->panel, count = CR_MIN(p->conv->out_channels - out, p->panel);
        for (int64_t k = 0, steps; k < p->k; k += steps) {
            /* Whole channels where their taps fit, else some taps of one. */
            int64_t rest = taps <= PACKED ? at_once * taps : taps - k % taps;
            steps = CR_MIN(CR_MIN(rest, PACKED), p->k - k);
            gemm->pack(p->weight + out * p->k + k, p->k, 1, count, p->panel, steps, some);
            for (int64_t i = 0; i < steps; i++) {
                int64_t row = (k + i) % taps * channels + (k + i) / taps;
                place_row(p, out, count, some + i * p->panel,
                          p->packed + place_of(p->k, panel, p->panels, p->panel, row));
            }
        }
    }
}

/* Taps of a depthwise kernel: (tap, channel). */
static void pack_depthwise(const preparation *p)
{
    int64_t taps = p->conv->kernel[1] * p->conv->kernel[2], channels = p->conv->out_channels;
    int64_t padded = CR_ROUND_UP(channels, p->kernels->lanes);
    for (int64_t t = 0; t < taps; t++)
        for (int64_t c = 0; c < padded; c++)
            p->packed[t * padded + c] = c >= channels ? 0
                                        : p->scale    ? p->weight[c * taps + t] * p->scale[c]
                                                      : p->weight[c * taps + t];
}

size_t cr_channels_last_prepared_size(const cr_conv *c)
{
    preparation p = preparation_of(c);
    int64_t elements = p.panels * p.panel * p.k;
    if (is_depthwise(c))
        elements = CR_ROUND_UP(c->out_channels, p.kernels->lanes) * c->kernel[1] * c->kernel[2];
    return (size_t)CR_ROUND_UP(elements, UNIT) * sizeof(float);
}

void cr_channels_last_prepare(const cr_conv *c, const float *weight, const float *scale,
                              void *prepared)
{
    preparation p = preparation_of(c);
    p.weight = weight;
    p.scale = scale;
    p.packed = prepared;
    if (is_depthwise(c))
        pack_depthwise(&p);
    else
        cr_parallel_for(p.panels, 1, pack_panels, &p);
}

/* ---- products by rows ---- */

typedef struct plan {
    const cr_rows_kernels *kernels;
    int64_t k, channels, panel, panels, points;
    int64_t tiles, tile_rows;           /* of the result */
    int64_t block_tiles, blocks;        /* tiles in a task */
    int64_t group_panels, panel_groups; /* panels in a task */
    int64_t slots, slot;                /* elements */
} plan;

static plan make_plan(const cr_conv *c)
{
    plan p = { .kernels = CR_KERNELS_IN_USE(cr_rows_kernels),
               .k = c->in_channels * c->kernel[1] * c->kernel[2],
               .channels = c->out_channels,
               .points = points_of(c) };
    p.panel = 2 * p.kernels->lanes;
    p.panels = CR_DIV_UP(p.channels, p.panel);
    p.tiles = CR_DIV_UP(p.points, p.kernels->rows);
    int64_t most = BLOCK_TILES * (p.k * p.channels >= LARGE_WEIGHTS ? 2 : 1);
    p.blocks = CR_DIV_UP(p.tiles, most);
    /* Few blocks are shared by panels: each task copies the rows for itself. */
    int64_t groups = CR_DIV_UP(TASKS_WANTED, p.blocks);
    p.group_panels = CR_MAX(CR_DIV_UP(p.panels, groups), CR_MIN(TASK_PANELS, p.panels));
    p.panel_groups = CR_DIV_UP(p.panels, p.group_panels);
    int64_t blocks = CR_MIN(CR_DIV_UP(TASKS_WANTED, p.panel_groups), p.tiles);
    p.blocks = CR_MAX(p.blocks, p.k * p.channels >= LARGE_WEIGHTS ? 1 : blocks);
    p.block_tiles = CR_DIV_UP(p.tiles, p.blocks);
    p.blocks = CR_DIV_UP(p.tiles, p.block_tiles);
    p.tile_rows = CR_DIV_UP(p.points, p.tiles);
    p.slots = cr_slots_wanted();
    p.slot = p.block_tiles * p.tile_rows * CR_ROWS_STEP;
    return p;
}

typedef struct run {
    plan plan;
    const cr_conv *conv;
    const float *input, *packed;
    float *output;
    cr_epilogue epilogue;
    cr_slots slots;
    float *memory;
} run;

/* One panel of weights over the rows [first, last) of the result, for a step of k. */
static void pass_over(const run *r, int64_t panel, int64_t first, int64_t last, int64_t k,
                      int64_t k_count, const float *patches)
{
    const plan *p = &r->plan;
    int64_t channel = panel * p->panel;
    const float *bias = r->epilogue.row_bias, *residual = r->epilogue.residual;
    cr_rows_tile t = { .k_count = k_count,
                       .weight = r->packed + place_of(p->k, panel, p->panels, p->panel, k),
                       .channels = CR_MIN(p->channels - channel, p->panel),
                       .bias = bias ? bias + channel : NULL,
                       .activation = r->epilogue.activation,
                       .slope = r->epilogue.slope,
                       .output_step = p->channels,
                       .first = k == 0,
                       .last = k + k_count == p->k };
    for (int64_t row = first; row < last; row += p->tile_rows) {
        int64_t offset = row * p->channels + channel;
        t.rows = CR_MIN(last - row, p->tile_rows);
        t.patches = patches + (row - first) * CR_ROWS_STEP;
        t.output = r->output + offset;
        t.residual = residual ? residual + offset : NULL;
        p->kernels->tile(&t);
    }
}

static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    float *patches = r->memory + slot * p->slot;
    for (int64_t index = begin; index < end; index++) {
        int64_t panel = index % p->panel_groups * p->group_panels;
        int64_t last_panel = CR_MIN(panel + p->group_panels, p->panels);
        int64_t first = index / p->panel_groups * p->block_tiles * p->tile_rows;
        int64_t last = CR_MIN(first + p->block_tiles * p->tile_rows, p->points);
        for (int64_t k = 0; k < p->k && first < last; k += K_STEP) {
            int64_t k_count = CR_MIN(p->k - k, K_STEP);
            p->kernels->patches(r->conv, r->input, first, last - first, k, k_count, patches);
            for (int64_t i = panel; i < last_panel; i++)
                pass_over(r, i, first, last, k, k_count, patches);
        }
    }
    cr_slot_release(&r->slots, slot);
}

size_t cr_channels_last_workspace(const cr_conv *c)
{
    if (is_depthwise(c))
        return 0;
    plan p = make_plan(c);
    return cr_slots_size(p.slots) + (size_t)(p.slots * p.slot) * sizeof(float);
}

static void run_rows(const cr_conv *c, const float *input, const float *prepared,
                     const cr_epilogue *epilogue, float *output, void *workspace)
{
    run r = { .plan = make_plan(c),
              .conv = c,
              .input = input,
              .packed = prepared,
              .output = output,
              .epilogue = *epilogue };
    r.slots = cr_slots_make(workspace, r.plan.slots);
    r.memory = (float *)((char *)workspace + cr_slots_size(r.plan.slots));
    cr_parallel_for(r.plan.blocks * r.plan.panel_groups, 1, run_tasks, &r);
}

/* ---- depthwise ---- */

static void run_depthwise_rows(int64_t begin, int64_t end, void *context)
{
    CR_KERNELS_IN_USE(cr_depthwise_last_kernels)->rows(context, begin, end);
}

static void run_depthwise(const cr_conv *c, const float *input, const float *prepared,
                          const cr_epilogue *epilogue, float *output)
{
    int64_t lanes = CR_KERNELS_IN_USE(cr_depthwise_last_kernels)->lanes;
    cr_depthwise_last call = { .conv = c,
                               .input = input,
                               .weight = prepared,
                               .channels_padded = CR_ROUND_UP(c->out_channels, lanes),
                               .epilogue = *epilogue,
                               .output = output };
    cr_parallel_for(c->batch * c->output[1], ROWS_PART(c->output[2] * c->out_channels),
                    run_depthwise_rows, &call);
}

void cr_channels_last_run(const cr_conv *c, const float *input, const void *prepared,
                          const cr_epilogue *epilogue, float *output, void *workspace)
{
    if (is_depthwise(c))
        run_depthwise(c, input, prepared, epilogue, output);
    else
        run_rows(c, input, prepared, epilogue, output, workspace);
}

/* ---- from the usual order ---- */

typedef struct turning {
    const float *from;
    int64_t channels, plane, pieces;
    float *to;
} turning;

#define TURN_POINTS 512 /* of an image in a part; a multiple of all lanes */

static void turn_pieces(int64_t begin, int64_t end, void *context)
{
    const turning *t = context;
    for (int64_t index = begin; index < end; index++) {
        int64_t image = index / t->pieces * t->channels * t->plane;
        int64_t first = index % t->pieces * TURN_POINTS;
        CR_KERNELS_IN_USE(cr_rows_kernels)
            ->turn(t->from + image, t->channels, t->plane, first,
                   CR_MIN(first + TURN_POINTS, t->plane), t->to + image);
    }
}

void cr_channels_last_turn(const float *from, int64_t batch, int64_t channels, int64_t plane,
                           float *to)
{
    turning t = { .from = from,
                  .channels = channels,
                  .plane = plane,
                  .pieces = CR_DIV_UP(plane, TURN_POINTS),
                  .to = to };
    cr_parallel_for(batch * t.pieces, CR_MAX(32 / channels, 1), turn_pieces, &t);
}
