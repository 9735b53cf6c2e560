/* The gradient of bfloat16 convolution weights, straight from images: a sum over points of input
 * channels, which are read where a copy of their rows has them, times output channels, of which the
 * gradient is turned into panels once for all taps.
 *
 * Points are counted along the rows of the copy, whose padding they run over; there the gradient of
 * the output is zero. The chunks of a batch, some lines of some images, are cut into splits, and
 * the input channels into blocks; each of both is a task with sums of its own, which are added in
 * the order of the splits at the end. */
#include "kernels/conv/conv.h"

#include <string.h>

#define UNIT          64 /* bytes; pieces of the workspace begin at a multiple */
#define CHANNELS      32 /* input channels of a tile at most */
#define STEP          32 /* points that are multiplied together */
#define SLACK         (2 * STEP)
#define PLANE_UNIT    32  /* elements; planes are an odd number of these apart */
#define POINTS_WANTED 512 /* of a chunk: those of a tile stay in the first cache */
#define TASKS_WANTED  8
#define BLOCK         64        /* input channels for which the output is turned again */
#define SUMS_MOST     (2 << 20) /* elements of all splits together */
#define SUMS_LARGE    (1 << 20) /* passing over more costs more than missing the first cache */
#define LEAST         16        /* input channels; tiles of fewer are mostly nothing */
/* For an output channel. With fewer, passing over the sums costs more than patches do, and patches
 * cost the less the more output channels share them. */
#define POINTS_EACH 8

typedef struct plan {
    const cr_gemm_kernels *kernels;
    const cr_pair_kernels *pairs;
    const cr_conv *conv;
    cr_patches patches;
    cr_pair_geometry geometry;
    cr_pair_taps taps;
    int64_t out_padded, in_padded, rows; /* channels; (channel, tap) pairs */
    int64_t images, lines, steps, image_chunks, chunks;
    int64_t plane; /* elements of a copied channel of one remainder */
    int64_t blocks, block_channels, splits, split_chunks;
    int64_t sums; /* elements of a split */
    int64_t slots;
    size_t copy, panels, turned, slot; /* bytes */
} plan;

static int64_t rows_of(const plan *p, int64_t lines)
{
    return lines + p->geometry.high[0] - p->geometry.low[0];
}

static void plan_chunks(plan *p)
{
    const cr_conv *c = p->conv;
    int64_t wanted = POINTS_WANTED;
    if (p->in_padded * p->taps.count * p->out_padded > SUMS_LARGE)
        wanted *= 2;
    p->lines = CR_MIN(CR_MAX(wanted / p->geometry.width, 1), c->output[1]);
    p->image_chunks = CR_DIV_UP(c->output[1], p->lines);
    p->lines = CR_DIV_UP(c->output[1], p->image_chunks);
    p->image_chunks = CR_DIV_UP(c->output[1], p->lines);
    p->steps = CR_DIV_UP((p->lines - 1) * p->geometry.width + c->output[2], STEP);
    p->images = 1;
    if (p->image_chunks == 1)
        p->images = CR_MIN(CR_MAX(wanted / (p->steps * STEP), 1), c->batch);
    p->chunks = p->image_chunks * CR_DIV_UP(c->batch, p->images);
    int64_t elements = p->geometry.lead + p->images * rows_of(p, p->lines) * p->geometry.width;
    p->plane = CR_ROUND_UP(elements + SLACK, 2 * PLANE_UNIT) + PLANE_UNIT;
}

static void plan_tasks(plan *p)
{
    const cr_conv *c = p->conv;
    p->sums = p->in_padded * p->taps.count * p->out_padded;
    int64_t most = CR_MAX(CR_MIN(SUMS_MOST / p->sums, p->chunks), 1);
    int64_t blocks = CR_MAX(p->in_padded / BLOCK, 1);
    p->block_channels = CR_ROUND_UP(CR_DIV_UP(p->in_padded, blocks), CHANNELS);
    p->blocks = CR_DIV_UP(c->in_channels, p->block_channels);
    p->splits = CR_MIN(most, CR_DIV_UP(TASKS_WANTED, p->blocks));
    p->split_chunks = CR_DIV_UP(p->chunks, p->splits);
    p->splits = CR_DIV_UP(p->chunks, p->split_chunks);
}

static plan make_plan(const cr_conv *c, const cr_patches *input)
{
    plan p = { .kernels = cr_gemm_kernels_of(CR_GEMM_BF16),
               .pairs = cr_pair_kernels_in_use(),
               .conv = c,
               .patches = *input,
               .geometry = cr_pair_geometry_of(c->input + 1, input),
               .out_padded = CR_ROUND_UP(c->out_channels, CR_PAIR_COLUMNS),
               .in_padded = CR_ROUND_UP(c->in_channels, CHANNELS),
               .slots = cr_slots_wanted() };
    cr_pair_place_taps(&p.geometry, input, &p.taps);
    cr_pair_set_width(&p.geometry, c->output[2]);
    p.rows = c->in_channels * p.taps.count;
    plan_chunks(&p);
    plan_tasks(&p);
    int64_t remainders = p.geometry.step[0] * p.geometry.step[1], element = sizeof(uint16_t);
    int64_t points = p.images * p.steps * STEP;
    p.copy = (size_t)CR_ROUND_UP(p.block_channels * remainders * p.plane * element, UNIT);
    p.panels = (size_t)CR_ROUND_UP(p.out_padded * points * element, UNIT);
    p.turned = (size_t)CR_ROUND_UP(CR_PAIR_COLUMNS * p.steps * STEP * element, UNIT);
    p.slot = p.copy + p.panels + p.turned;
    return p;
}

bool cr_pair_weights_suit(const cr_conv *c)
{
    int64_t points = c->batch * c->output[1] * c->output[2];
    return cr_pair_images_suit(c, false) && c->in_channels >= LEAST && c->out_channels >= LEAST &&
           c->kernel[1] * c->kernel[2] > 1 && points >= POINTS_EACH * c->out_channels;
}

size_t cr_pair_weights_workspace(const cr_conv *conv, const cr_patches *input)
{
    plan p = make_plan(conv, input);
    return cr_slots_size(p.slots) + (size_t)p.slots * p.slot +
           (size_t)(p.splits * p.sums) * sizeof(float);
}

typedef struct run {
    plan plan;
    const uint16_t *output;
    uint16_t *weight;
    cr_slots slots;
    char *memory;
    float *sums;
} run;

/* Lines [first, first + lines) of images [image, image + images). */
typedef struct chunk {
    int64_t image, images, first, lines;
} chunk;

static chunk chunk_at(const plan *p, int64_t index)
{
    chunk c = { .image = index / p->image_chunks * p->images,
                .first = index % p->image_chunks * p->lines };
    c.images = CR_MIN(p->conv->batch - c.image, p->images);
    c.lines = CR_MIN(p->conv->output[1] - c.first, p->lines);
    return c;
}

/* ---- copies ---- */

/* One remainder of the step of a row, then zeros. */
static void copy_row(const plan *p, const uint16_t *from, int64_t first, uint16_t *to)
{
    int64_t step = p->geometry.step[1], size = p->geometry.in_size[1], count = 0;
    if (from && size > first)
        count = CR_DIV_UP(size - first, step);
    if (step == 1)
        memcpy(to, from ? from + first : to, (size_t)count * sizeof(uint16_t));
    else
        for (int64_t i = 0; i < count; i++)
            to[i] = from[first + i * step];
    memset(to + count, 0, (size_t)(p->geometry.width - count) * sizeof(uint16_t));
}

static void copy_channel(const plan *p, const chunk *c, int64_t channel, int64_t y_rest,
                         int64_t x_rest, uint16_t *to)
{
    const cr_patches *source = &p->patches;
    memset(to, 0, (size_t)p->geometry.lead * sizeof(uint16_t));
    to += p->geometry.lead;
    for (int64_t image = c->image; image < c->image + c->images; image++)
        for (int64_t row = 0; row < rows_of(p, p->lines); row++, to += p->geometry.width) {
            int64_t y = (c->first + p->geometry.low[0] + row) * p->geometry.step[0] + y_rest;
            const uint16_t *from = NULL;
            if (y >= 0 && y < p->geometry.in_size[0])
                from = (const uint16_t *)source->source + image * source->batch_stride +
                       channel * source->channel_stride + y * p->geometry.in_size[1];
            copy_row(p, from, x_rest, to);
        }
    memset(to, 0, SLACK * sizeof(uint16_t));
}

/* (remainder, channel, point) of `channels` input channels from `channel` on. */
static void copy_input(const plan *p, const chunk *c, int64_t channel, int64_t channels,
                       uint16_t *to)
{
    for (int64_t y = 0; y < p->geometry.step[0]; y++)
        for (int64_t x = 0; x < p->geometry.step[1]; x++, to += p->block_channels * p->plane)
            for (int64_t i = 0; i < channels; i++)
                copy_channel(p, c, channel + i, y, x, to + i * p->plane);
}

/* The gradient of the output of one image for CR_PAIR_COLUMNS channels, between zeros. */
static void turn_image(const run *r, const chunk *c, int64_t image, int64_t out, uint16_t *rows,
                       uint16_t *panel)
{
    const plan *p = &r->plan;
    const cr_conv *conv = p->conv;
    int64_t width = conv->output[2], plane = conv->output[1] * width, points = p->steps * STEP;
    int64_t count = CR_MIN(conv->out_channels - out, CR_PAIR_COLUMNS);
    memset(rows, 0, p->turned);
    for (int64_t i = 0; i < count; i++)
        for (int64_t line = 0; line < c->lines; line++)
            memcpy(rows + i * points + line * p->geometry.width,
                   r->output + (image * conv->out_channels + out + i) * plane +
                       (c->first + line) * width,
                   (size_t)width * sizeof(uint16_t));
    p->kernels->pack(rows, points, 1, count, CR_PAIR_COLUMNS, points, panel);
}

/* Panels (block of channels, image, point). */
static void turn_output(const run *r, const chunk *c, uint16_t *rows, uint16_t *panels)
{
    const plan *p = &r->plan;
    for (int64_t out = 0; out < p->out_padded; out += CR_PAIR_COLUMNS)
        for (int64_t i = 0; i < p->images; i++, panels += CR_PAIR_COLUMNS * p->steps * STEP)
            if (i < c->images)
                turn_image(r, c, c->image + i, out, rows, panels);
}

/* ---- tasks ---- */

/* Adds a chunk to the sums of `channels` input channels, whose first `copy` begins with. */
static void sum_chunk(const plan *p, const chunk *c, int64_t channels, const uint16_t *copy,
                      const uint16_t *panels, bool accumulate, float *sums)
{
    int64_t rows = p->kernels->tile_rows, panel = CR_PAIR_COLUMNS * p->steps * STEP;
    for (int64_t channel = 0; channel < channels; channel += rows)
        for (int64_t tap = 0; tap < p->taps.count; tap++) {
            const uint16_t *left =
                copy + p->geometry.lead +
                (p->taps.remainder[tap] * p->block_channels + channel) * p->plane +
                (p->taps.row[tap] - p->geometry.low[0]) * p->geometry.width + p->taps.column[tap];
            for (int64_t out = 0; out < p->out_padded; out += CR_PAIR_COLUMNS) {
                cr_pair_sum s = { .rows = CR_MIN(channels - channel, rows),
                                  .images = c->images,
                                  .steps = p->steps,
                                  .left = left,
                                  .left_plane = p->plane,
                                  .left_image = rows_of(p, p->lines) * p->geometry.width,
                                  .right = panels + out / CR_PAIR_COLUMNS * p->images * panel,
                                  .right_image = panel,
                                  .sums =
                                      sums + (channel * p->taps.count + tap) * p->out_padded + out,
                                  .sum_stride = p->taps.count * p->out_padded,
                                  .accumulate = accumulate };
                p->pairs->sum(&s);
            }
        }
}

static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    char *at = r->memory + (size_t)slot * p->slot;
    uint16_t *copy = (uint16_t *)(void *)at, *panels = (uint16_t *)(void *)(at + p->copy);
    uint16_t *rows = (uint16_t *)(void *)(at + p->copy + p->panels);
    if (p->kernels->begin)
        p->kernels->begin();
    for (int64_t index = begin; index < end; index++) {
        int64_t split = index / p->blocks, channel = index % p->blocks * p->block_channels;
        int64_t channels = CR_MIN(p->conv->in_channels - channel, p->block_channels);
        int64_t first = split * p->split_chunks;
        float *sums = r->sums + split * p->sums + channel * p->taps.count * p->out_padded;
        for (int64_t i = first; i < CR_MIN(first + p->split_chunks, p->chunks); i++) {
            chunk c = chunk_at(p, i);
            copy_input(p, &c, channel, channels, copy);
            turn_output(r, &c, rows, panels);
            sum_chunk(p, &c, channels, copy, panels, i > first, sums);
        }
    }
    if (p->kernels->end)
        p->kernels->end();
    cr_slot_release(&r->slots, slot);
}

/* weight (out, row) = the sum over splits of sums (split, row, out), for blocks of rows. */
static void finish_rows(int64_t begin, int64_t end, void *context)
{
    enum { SIDE = 16 };
    const run *r = context;
    const plan *p = &r->plan;
    const cr_gemm_kernels *floats = cr_gemm_kernels_of(CR_GEMM_F32);
    float total[SIDE * SIDE], turned[SIDE * SIDE];
    for (int64_t row = begin * SIDE; row < CR_MIN(end * SIDE, p->rows); row += SIDE)
        for (int64_t out = 0; out < p->conv->out_channels; out += SIDE) {
            int64_t here = CR_MIN(p->rows - row, SIDE);
            for (int64_t i = 0; i < here; i++) {
                const float *from = r->sums + (row + i) * p->out_padded + out;
                memcpy(total + i * SIDE, from, SIDE * sizeof(float));
                for (int64_t s = 1; s < p->splits; s++)
                    floats->add(from + s * p->sums, SIDE, total + i * SIDE);
            }
            floats->pack(total, SIDE, 1, here, SIDE, SIDE, turned);
            cr_gemm_finish f = { .rows = CR_MIN(p->conv->out_channels - out, SIDE),
                                 .columns = here,
                                 .sum = turned,
                                 .sum_stride = SIDE,
                                 .c = r->weight + out * p->rows + row,
                                 .c_stride = p->rows,
                                 .c_column_stride = 1,
                                 .alpha = 1 };
            p->kernels->finish(&f);
        }
}

void cr_pair_weights_run(const cr_conv *conv, const cr_patches *input, const void *output,
                         void *weight, void *workspace)
{
    run r = { .plan = make_plan(conv, input), .output = output, .weight = weight };
    plan *p = &r.plan;
    r.slots = cr_slots_make(workspace, p->slots);
    r.memory = (char *)workspace + cr_slots_size(p->slots);
    r.sums = (float *)(void *)(r.memory + (size_t)p->slots * p->slot);
    cr_parallel_for(p->splits * p->blocks, 1, run_tasks, &r);
    int64_t part = CR_MAX((1 << 14) / (16 * p->out_padded * p->splits), 1);
    cr_parallel_for(CR_DIV_UP(p->rows, 16), part, finish_rows, &r);
}
