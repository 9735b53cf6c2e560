/* The driver of the weight gradient without patches: which positions make a chunk, and which chunks
 * and input channels make a task. The positions of the batch are cut into a number of splits that
 * depends on the shapes alone; each has sums of its own, which are added in order at the end. */
#include "kernels/conv/conv.h"

#define CHUNK_ELEMENTS  (128 << 10) /* of the turned gradient of the output */
#define POSITIONS_LEAST 128
#define POSITIONS_MOST  1024
#define COPY_ELEMENTS   (64 << 10) /* of the copied input */
#define CHANNELS_LEAST  8
#define TASKS_WANTED    32
#define MACS_PER_TASK   (2 << 20)
#define SUMS_MOST       (4 << 20) /* elements of all splits together */

typedef struct plan {
    cr_weight_gradient w;
    const cr_weight_kernels *kernels;
    int64_t images, lines;        /* of a chunk */
    int64_t image_chunks, chunks; /* chunks along an image, and in all */
    int64_t channels, blocks;     /* input channels of a task */
    int64_t splits, split_chunks;
    int64_t slots;
    int64_t copy, turned, sums; /* elements: of a slot, of a slot, of a split */
} plan;

static int64_t copied_height(const cr_conv *c, int64_t lines)
{
    return (lines - 1) * c->stride[1] + (c->kernel[1] - 1) * c->dilation[1] + 1;
}

/* A chunk is some whole images, or some lines of one. */
static void plan_chunks(plan *p)
{
    const cr_conv *c = p->w.conv;
    int64_t most = CHUNK_ELEMENTS / p->w.out_padded;
    most = CR_MIN(CR_MAX(most, POSITIONS_LEAST), POSITIONS_MOST);
    int64_t image = c->output[1] * c->output[2];
    p->images = CR_MIN(CR_MAX(most / image, 1), c->batch);
    p->lines = CR_MIN(CR_MAX(most / c->output[2], 1), c->output[1]);
    p->image_chunks = CR_DIV_UP(c->output[1], p->lines);
    p->lines = CR_DIV_UP(c->output[1], p->image_chunks);
    p->image_chunks = CR_DIV_UP(c->output[1], p->lines);
    p->chunks = p->image_chunks * CR_DIV_UP(c->batch, p->images);
}

static void plan_tasks(plan *p)
{
    const cr_conv *c = p->w.conv;
    int64_t macs = c->batch * c->output[1] * c->output[2] * p->w.rows * c->out_channels;
    int64_t wanted = CR_MIN(CR_MAX(macs / MACS_PER_TASK, 1), TASKS_WANTED);
    int64_t plane = p->images * copied_height(c, p->lines) * p->w.padded_width;
    p->channels = CR_MIN(CR_MAX(COPY_ELEMENTS / plane, 1), c->in_channels);
    p->sums = p->w.rows * p->w.out_padded;
    int64_t most = CR_MAX(CR_MIN(SUMS_MOST / p->sums, p->chunks), 1);
    while (CR_DIV_UP(c->in_channels, p->channels) * most < wanted &&
           p->channels >= 2 * CHANNELS_LEAST)
        p->channels = CR_DIV_UP(p->channels, 2);
    p->blocks = CR_DIV_UP(c->in_channels, p->channels);
    p->splits = CR_MIN(CR_DIV_UP(wanted, p->blocks), most);
    p->split_chunks = CR_DIV_UP(p->chunks, p->splits);
    p->splits = CR_DIV_UP(p->chunks, p->split_chunks);
    p->copy = CR_ROUND_UP(p->channels * plane, 16);
    p->turned = p->images * p->lines * c->output[2] * p->w.out_padded;
}

static plan make_plan(const cr_conv *c)
{
    plan p = { .w = { .conv = c },
               .kernels = CR_KERNELS_IN_USE(cr_weight_kernels),
               .slots = cr_slots_wanted() };
    p.w.rows = c->in_channels * c->kernel[1] * c->kernel[2];
    p.w.out_padded = CR_ROUND_UP(c->out_channels, p.kernels->panel);
    p.w.padded_width = (c->output[2] - 1) * c->stride[2] + (c->kernel[2] - 1) * c->dilation[2] + 1;
    plan_chunks(&p);
    plan_tasks(&p);
    return p;
}

bool cr_weight_gradient_suits(const cr_conv *c)
{
    return c->type == CR_GEMM_F32 && c->groups == 1 && c->kernel[0] == 1 && c->input[0] == 1 &&
           c->output[0] == 1 && c->padding[0] == 0 && c->batch > 0 && c->in_channels > 0 &&
           c->out_channels >= 8;
}

size_t cr_weight_gradient_workspace(const cr_conv *conv)
{
    plan p = make_plan(conv);
    int64_t elements = p.slots * (p.copy + p.turned) + p.splits * p.sums;
    return cr_slots_size(p.slots) + (size_t)elements * sizeof(float);
}

typedef struct run {
    plan plan;
    cr_slots slots;
    float *memory, *sums, *weight;
} run;

static cr_weight_chunk chunk_at(const plan *p, int64_t index)
{
    const cr_conv *c = p->w.conv;
    cr_weight_chunk k = { .first_image = index / p->image_chunks * p->images,
                          .first_line = index % p->image_chunks * p->lines };
    k.images = CR_MIN(c->batch - k.first_image, p->images);
    k.lines = CR_MIN(c->output[1] - k.first_line, p->lines);
    k.height = copied_height(c, k.lines);
    k.channel_step = k.height * p->w.padded_width;
    k.image_step = p->channels * k.channel_step;
    k.line_step = c->stride[1] * p->w.padded_width;
    return k;
}

static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots), taps = p->w.conv->kernel[1] * p->w.conv->kernel[2];
    float *copy = r->memory + slot * (p->copy + p->turned);
    for (int64_t index = begin; index < end; index++) {
        int64_t split = index / p->blocks, channel = index % p->blocks * p->channels;
        int64_t channels = CR_MIN(p->w.conv->in_channels - channel, p->channels);
        int64_t first = split * p->split_chunks;
        int64_t last = CR_MIN(first + p->split_chunks, p->chunks);
        float *sums = r->sums + split * p->sums + channel * taps * p->w.out_padded;
        for (int64_t i = first; i < last; i++) {
            cr_weight_chunk chunk = chunk_at(p, i);
            p->kernels->chunk(&p->w, &chunk, channel, channels, copy, copy + p->copy, i > first,
                              sums);
        }
    }
    cr_slot_release(&r->slots, slot);
}

static void finish_rows(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    p->kernels->finish(&p->w, r->sums, p->splits, p->sums, begin, end, r->weight);
}

void cr_weight_gradient_run(const cr_conv *conv, const float *input, const float *output,
                            float *weight, void *workspace)
{
    run r = { .plan = make_plan(conv), .weight = weight };
    plan *p = &r.plan;
    r.slots = cr_slots_make(workspace, p->slots);
    r.memory = (float *)((char *)workspace + cr_slots_size(p->slots));
    r.sums = r.memory + p->slots * (p->copy + p->turned);
    p->w.input = input;
    p->w.output = output;
    cr_parallel_for(p->splits * p->blocks, 1, run_tasks, &r);
    int64_t rows = CR_MAX((1 << 14) / (p->w.out_padded * p->splits), 1);
    cr_parallel_for(p->w.rows, CR_ROUND_UP(rows, 16), finish_rows, &r);
}
