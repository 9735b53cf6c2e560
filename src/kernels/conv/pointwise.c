/* The driver of 1 x 1 convolution: for each image the product of the weights and its channels,
 * which lie as a matrix already.
 *
 * The weights are packed once, for every call, into panels of a tile's rows. The positions of an
 * image are cut into blocks and, where these are few, the output channels too; a block is a task,
 * which goes through the channels step by step, packs that piece of the image into panels for its
 * second cache, and passes each panel of weights over them. */
#include "kernels/conv/conv.h"

#define UNIT         16 /* elements; pieces of the workspace begin at a multiple */
#define K_STEP       256
#define BLOCK_PANELS 8 /* of positions in a block at most */
#define TASKS_WANTED 8
#define ROW_PANELS   4 /* of weights in a task at least */
#define WASTE_NUMBER 9 /* positions, filled to whole vectors, may be 9 / 8 as many */
#define WASTE_SHARE  8

typedef struct plan {
    const cr_pointwise_kernels *kernels;
    int64_t k, channels, positions;
    int64_t panel_rows, row_panels; /* of weights; the last panel may have fewer rows */
    int64_t task_panels, row_blocks;
    int64_t columns, column_blocks; /* of a block */
    int64_t tasks;
    int64_t slots, slot; /* elements */
} plan;

static int64_t positions_of(const cr_conv *c)
{
    return c->output[0] * c->output[1] * c->output[2];
}

static plan make_plan(const cr_conv *c)
{
    plan p = { .kernels = CR_KERNELS_IN_USE(cr_pointwise_kernels),
               .k = c->in_channels,
               .channels = c->out_channels,
               .positions = positions_of(c) };
    int64_t width = 2 * p.kernels->lanes, panels = CR_DIV_UP(p.positions, width);
    p.panel_rows = CR_DIV_UP(p.channels, CR_DIV_UP(p.channels, p.kernels->rows));
    p.row_panels = CR_DIV_UP(p.channels, p.panel_rows);
    p.column_blocks = CR_DIV_UP(panels, BLOCK_PANELS);
    p.columns = CR_DIV_UP(panels, p.column_blocks) * width;
    p.column_blocks = CR_DIV_UP(p.positions, p.columns);
    int64_t blocks = CR_DIV_UP(TASKS_WANTED, c->batch * p.column_blocks);
    p.task_panels = CR_MAX(CR_DIV_UP(p.row_panels, blocks), CR_MIN(ROW_PANELS, p.row_panels));
    p.row_blocks = CR_DIV_UP(p.row_panels, p.task_panels);
    p.tasks = c->batch * p.column_blocks * p.row_blocks;
    p.slots = cr_slots_wanted();
    p.slot = p.columns * CR_MIN(p.k, K_STEP);
    return p;
}

bool cr_pointwise_suits(const cr_conv *c)
{
    bool plain = c->type == CR_GEMM_F32 && c->groups == 1 && c->batch > 0 && c->in_channels > 0 &&
                 c->out_channels > 0;
    for (int d = 0; d < CR_CONV_DIMS; d++)
        plain = plain && c->kernel[d] == 1 && c->stride[d] == 1 && c->padding[d] == 0 &&
                c->output[d] == c->input[d];
    int64_t positions = positions_of(c), lanes = (CR_KERNELS_IN_USE(cr_pointwise_kernels))->lanes;
    return plain && positions > 0 &&
           CR_ROUND_UP(positions, lanes) * WASTE_SHARE <= positions * WASTE_NUMBER;
}

/* ---- the weights ---- */

typedef struct preparation {
    plan plan;
    const float *weight;
    float *packed;
} preparation;

static void pack_weights(int64_t begin, int64_t end, void *context)
{
    const preparation *job = context;
    const plan *p = &job->plan;
    for (int64_t row = begin * p->panel_rows; row < CR_MIN(end * p->panel_rows, p->channels);
         row += p->panel_rows) {
        int64_t rows = CR_MIN(p->channels - row, p->panel_rows);
        cr_gemm_kernels_of(CR_GEMM_F32)
            ->pack(job->weight + row * p->k, p->k, 1, rows, rows, p->k, job->packed + row * p->k);
    }
}

size_t cr_pointwise_prepared_size(const cr_conv *conv)
{
    return (size_t)CR_ROUND_UP(conv->in_channels * conv->out_channels, UNIT) * sizeof(float);
}

void cr_pointwise_prepare(const cr_conv *conv, const float *weight, void *prepared)
{
    preparation job = { .plan = make_plan(conv), .weight = weight, .packed = prepared };
    cr_parallel_for(job.plan.row_panels, 4, pack_weights, &job);
}

/* ---- running ---- */

typedef struct run {
    plan plan;
    const float *input, *packed;
    float *output;
    cr_epilogue epilogue;
    cr_slots slots;
    float *memory;
} run;

size_t cr_pointwise_workspace(const cr_conv *conv)
{
    plan p = make_plan(conv);
    return cr_slots_size(p.slots) + (size_t)(p.slots * p.slot) * sizeof(float);
}

/* A panel of weights over the panels of one block of positions, for one step of k. */
static void pass_over(const run *r, cr_pointwise_tile t, const float *block, int64_t columns,
                      int64_t offset)
{
    const float *residual = r->epilogue.residual;
    int64_t width = 2 * r->plan.kernels->lanes;
    for (int64_t j = 0; j < columns; j += width) {
        t.columns = CR_MIN(columns - j, width);
        t.image = block + j * t.k_count;
        t.output = r->output + offset + j;
        t.residual = residual ? residual + offset + j : NULL;
        r->plan.kernels->tile(&t);
    }
}

/* The tile of a panel of weights, but for its positions. */
static cr_pointwise_tile tile_of(const run *r, int64_t panel, int64_t k, int64_t k_count)
{
    const plan *p = &r->plan;
    const float *bias = r->epilogue.row_bias;
    int64_t row = panel * p->panel_rows, rows = CR_MIN(p->channels - row, p->panel_rows);
    return (cr_pointwise_tile){ .k_count = k_count,
                                .weight = r->packed + row * p->k + k * rows,
                                .image_step = 2 * p->kernels->lanes,
                                .rows = rows,
                                .bias = bias ? bias + row : NULL,
                                .activation = r->epilogue.activation,
                                .slope = r->epilogue.slope,
                                .output_step = p->positions,
                                .first = k == 0,
                                .last = k + k_count == p->k };
}

static void run_task(const run *r, int64_t index, float *block)
{
    const plan *p = &r->plan;
    int64_t first_panel = index % p->row_blocks * p->task_panels;
    int64_t last_panel = CR_MIN(first_panel + p->task_panels, p->row_panels);
    index /= p->row_blocks;
    int64_t column = index % p->column_blocks * p->columns, image = index / p->column_blocks;
    int64_t columns = CR_MIN(p->positions - column, p->columns);
    for (int64_t k = 0; k < p->k; k += K_STEP) {
        int64_t k_count = CR_MIN(p->k - k, K_STEP);
        const float *from = r->input + (image * p->k + k) * p->positions + column;
        p->kernels->pack(from, p->positions, k_count, columns, block);
        for (int64_t panel = first_panel; panel < last_panel; panel++)
            pass_over(r, tile_of(r, panel, k, k_count), block, columns,
                      (image * p->channels + panel * p->panel_rows) * p->positions + column);
    }
}

static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    int64_t slot = cr_slot_take(&r->slots);
    for (int64_t index = begin; index < end; index++)
        run_task(r, index, r->memory + slot * r->plan.slot);
    cr_slot_release(&r->slots, slot);
}

void cr_pointwise_run(const cr_conv *conv, const float *input, const void *prepared,
                      const cr_epilogue *epilogue, float *output, void *workspace)
{
    run r = { .plan = make_plan(conv), .input = input, .packed = prepared, .output = output };
    if (epilogue)
        r.epilogue = *epilogue;
    r.slots = cr_slots_make(workspace, r.plan.slots);
    r.memory = (float *)((char *)workspace + cr_slots_size(r.plan.slots));
    cr_parallel_for(r.plan.tasks, 1, run_tasks, &r);
}
