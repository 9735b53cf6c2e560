/* The driver of bfloat16 convolution, and of its gradient by the input, straight from images.
 *
 * A chunk, some lines of the result of some images, is a task. It copies the rows that it reads
 * with zeros around them and two channels side by side, which is how the processor multiplies
 * pairs; where the source is read in steps, each remainder of the step has a plane of its own. So
 * what a tap reads for points that follow each other follows each other as well, and a tap is an
 * offset: nothing is copied twice, however many taps there are. Rows of a plane follow each other
 * with zeros between them, which are the padding of both, and the points on them are computed and
 * dropped. */
#include "kernels/conv/conv.h"

#include <string.h>

#define UNIT           64 /* bytes; pieces of the workspace begin at a multiple */
#define K_LEAST        16 /* channels; blocks of fewer are mostly zeros */
#define SLACK          (2 * CR_PAIR_COLUMNS) /* elements that are read beyond the last row */
#define PLANE_UNIT     16                    /* elements; planes are an odd number of these apart */
#define TASKS_WANTED   8
#define POINTS_LEAST   64  /* of a chunk, while there are others */
#define CHANNELS_LEAST 128 /* of a task: fewer do not pay for a copy of the source */

typedef struct plan {
    const cr_gemm_kernels *kernels;
    const cr_pair_kernels *pairs;
    int phase_count;
    cr_points_phase phases[CR_POINTS_PHASES];
    cr_pair_taps taps[CR_POINTS_PHASES];
    cr_pair_geometry geometry;
    int64_t batch, channels, out_channels, blocks;
    int64_t out_size[2], stride[2], lines_all;
    int64_t images, lines, image_chunks, group_images, channel_chunks, chunk_panels, chunks;
    int64_t panel_rows, panels;
    int64_t weights; /* elements */
    int64_t slots;
    size_t slot; /* bytes */
} plan;

const cr_pair_kernels *cr_pair_kernels_in_use(void)
{
#ifdef CR_HAVE_AMX_BF16
    if (cr_gemm_kernels_of(CR_GEMM_BF16) == &cr_gemm_tiles_amx_bf16)
        return &cr_pair_kernels_amx_bf16;
#endif
#ifdef CR_HAVE_AVX512_BF16
    if (cr_gemm_kernels_of(CR_GEMM_BF16) == &cr_gemm_pairs_avx512_bf16)
        return &cr_pair_kernels_avx512_bf16;
#endif
    return NULL;
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((b - 1 - a) / b);
}

static int64_t taps_of(const cr_points_phase *f)
{
    return f->patches.taps[1] * f->patches.taps[2];
}

cr_pair_geometry cr_pair_geometry_of(const int64_t in_size[2], const cr_patches *patches)
{
    return (cr_pair_geometry){ .in_size = { in_size[0], in_size[1] },
                               .step = { patches->step[1], patches->step[2] },
                               .low = { INT64_MAX, INT64_MAX },
                               .high = { INT64_MIN, INT64_MIN } };
}

void cr_pair_place_taps(cr_pair_geometry *g, const cr_patches *patches, cr_pair_taps *taps)
{
    taps->count = 0;
    for (int64_t y = 0; y < patches->taps[1]; y++)
        for (int64_t x = 0; x < patches->taps[2]; x++) {
            int64_t at[2] = { patches->origin[1] + y * patches->tap_step[1],
                              patches->origin[2] + x * patches->tap_step[2] };
            int64_t off[2], rest[2];
            for (int d = 0; d < 2; d++) {
                off[d] = floor_div(at[d], g->step[d]);
                rest[d] = at[d] - off[d] * g->step[d];
                g->low[d] = CR_MIN(g->low[d], off[d]);
                g->high[d] = CR_MAX(g->high[d], off[d]);
            }
            taps->remainder[taps->count] = rest[0] * g->step[1] + rest[1];
            taps->row[taps->count] = off[0];
            taps->column[taps->count++] = off[1];
        }
}

void cr_pair_set_width(cr_pair_geometry *g, int64_t grid)
{
    int64_t elements = CR_DIV_UP(g->in_size[1], g->step[1]);
    g->lead = CR_MAX(-g->low[1], 0);
    int64_t after = CR_MAX(grid - 1 + g->high[1] - (elements - 1), 0);
    g->width = CR_MAX(elements + CR_MAX(g->lead, after), grid);
}

/* Rows of a plane that lines [first, last) of the result read. */
static int64_t rows_of(const plan *p, int64_t lines)
{
    return lines + p->geometry.high[0] - p->geometry.low[0];
}

/* From one pair of channels to the next, for so many images of so many lines. */
static int64_t plane_of(const plan *p, int64_t images, int64_t lines)
{
    int64_t elements = p->geometry.lead + images * rows_of(p, lines) * p->geometry.width + SLACK;
    return CR_ROUND_UP(elements, 2 * PLANE_UNIT) + PLANE_UNIT;
}

static int64_t planes_of(const plan *p)
{
    return p->geometry.step[0] * p->geometry.step[1] * p->blocks * (CR_PAIR_BLOCK / 2);
}

static int64_t copy_bytes(const plan *p, int64_t images, int64_t lines)
{
    return planes_of(p) * plane_of(p, images, lines) * (int64_t)sizeof(uint32_t);
}

static void plan_chunks(plan *p)
{
    int64_t l2 = cr_cpu_cache(2) > 0 ? cr_cpu_cache(2) : 1 << 20, most = l2 * 3 / 8;
    p->lines = p->lines_all;
    while (p->lines > 1 && copy_bytes(p, 1, p->lines) > most)
        p->lines = CR_DIV_UP(p->lines, 2);
    while (p->batch * CR_DIV_UP(p->lines_all, p->lines) < TASKS_WANTED &&
           p->lines * p->geometry.width >= 2 * POINTS_LEAST)
        p->lines = CR_DIV_UP(p->lines, 2);
    p->image_chunks = CR_DIV_UP(p->lines_all, p->lines);
    p->lines = CR_DIV_UP(p->lines_all, p->image_chunks);
    p->image_chunks = CR_DIV_UP(p->lines_all, p->lines);
    p->images = 1;
    while (p->image_chunks == 1 && 2 * p->images <= p->batch &&
           copy_bytes(p, 2 * p->images, p->lines) <= most)
        p->images *= 2;
    p->group_images = CR_DIV_UP(p->batch, p->images);
    p->chunks = p->image_chunks * p->group_images;
    /* Few chunks are shared by channels: each task copies the source for itself. */
    int64_t wanted = CR_DIV_UP(TASKS_WANTED, p->chunks);
    wanted = CR_MIN(wanted, CR_MAX(p->panels * p->panel_rows / CHANNELS_LEAST, 1));
    p->chunk_panels = CR_DIV_UP(p->panels, wanted);
    p->channel_chunks = CR_DIV_UP(p->panels, p->chunk_panels);
    p->chunks *= p->channel_chunks;
}

static plan make_plan(const cr_conv *c, bool backward, const cr_points_phase *phases, int count)
{
    plan p = { .kernels = cr_gemm_kernels_of(CR_GEMM_BF16),
               .pairs = cr_pair_kernels_in_use(),
               .phase_count = count,
               .batch = c->batch,
               .channels = backward ? c->out_channels : c->in_channels,
               .out_channels = backward ? c->in_channels : c->out_channels };
    p.blocks = CR_DIV_UP(p.channels, CR_PAIR_BLOCK);
    for (int d = 0; d < 2; d++) {
        p.out_size[d] = backward ? c->input[1 + d] : c->output[1 + d];
        p.stride[d] = backward ? c->stride[1 + d] : 1;
    }
    p.geometry = cr_pair_geometry_of(backward ? c->output + 1 : c->input + 1, &phases[0].patches);
    int64_t grid = 0;
    p.lines_all = CR_DIV_UP(p.out_size[0], p.stride[0]);
    p.panel_rows =
        CR_DIV_UP(p.out_channels, CR_DIV_UP(p.out_channels, (int64_t)p.kernels->tile_rows));
    p.panel_rows = CR_ROUND_UP(p.panel_rows, p.kernels->row_unit);
    p.panels = CR_DIV_UP(p.out_channels, p.panel_rows);
    for (int f = 0; f < count; f++) {
        p.phases[f] = phases[f];
        p.phases[f].k = taps_of(&phases[f]) * p.blocks * CR_PAIR_BLOCK;
        p.phases[f].packed = p.weights;
        p.weights += p.phases[f].k * p.panels * p.panel_rows;
        cr_pair_place_taps(&p.geometry, &phases[f].patches, &p.taps[f]);
        grid = CR_MAX(grid, phases[f].patches.grid[2]);
    }
    cr_pair_set_width(&p.geometry, grid);
    plan_chunks(&p);
    p.slots = cr_slots_wanted();
    p.slot = (size_t)CR_ROUND_UP(copy_bytes(&p, p.images, p.lines), UNIT);
    return p;
}

bool cr_pair_images_suit(const cr_conv *c, bool backward)
{
    bool plain = c->type == CR_GEMM_BF16 && c->groups == 1 && c->kernel[0] == 1 &&
                 c->input[0] == 1 && c->output[0] == 1 && c->padding[0] == 0 && c->stride[0] == 1;
    int64_t phases = backward ? c->stride[1] * c->stride[2] : 1;
    int64_t channels = backward ? c->out_channels : c->in_channels,
            apart = c->stride[1] * c->stride[2];
    int64_t reach = CR_MAX(c->padding[1], c->padding[2]) +
                    CR_MAX(c->kernel[1] * c->dilation[1], c->kernel[2] * c->dilation[2]);
    return plain && cr_pair_kernels_in_use() && phases <= CR_POINTS_PHASES &&
           apart <= CR_POINTS_PHASES && channels >= K_LEAST &&
           c->kernel[1] * c->kernel[2] <= CR_PAIR_TAPS && reach <= CR_PAIR_COLUMNS &&
           c->batch > 0 && c->in_channels > 0 && c->out_channels > 0 && c->output[1] > 0 &&
           c->output[2] > 0 && c->input[1] > 0 && c->input[2] > 0;
}

/* ---- the weights ---- */

typedef struct preparation {
    plan plan;
    uint16_t *packed;
} preparation;

/* One block of channels of one tap: the rows of a panel of A. */
static void pack_block(const cr_weight_taps *w, const cr_gemm_kernels *kernels, int64_t row,
                       int64_t rows, int64_t width, int64_t channel, int64_t channels, int64_t tap,
                       uint16_t *to)
{
    CR_ALIGNED(UNIT) uint16_t block[CR_PAIR_BLOCK * CR_PAIR_BLOCK];
    int64_t y = tap / w->taps[2], x = tap % w->taps[2];
    const uint16_t *from = (const uint16_t *)w->weight + row * w->row_stride +
                           channel * w->channel_stride +
                           (w->first[1] + y * w->step[1]) * w->tap_stride[1] +
                           (w->first[2] + x * w->step[2]) * w->tap_stride[2];
    int64_t used = CR_ROUND_UP(channels, 2), stride = w->row_stride, k_stride = w->channel_stride;
    if (stride != 1 && k_stride != 1) {
        for (int64_t k = 0; k < channels; k++)
            for (int64_t i = 0; i < rows; i++)
                block[k * CR_PAIR_BLOCK + i] = from[i * stride + k * k_stride];
        from = block;
        stride = 1;
        k_stride = CR_PAIR_BLOCK;
    }
    (kernels->pack_rows ? kernels->pack_rows : kernels->pack)(from, stride, k_stride, rows, width,
                                                              channels, to);
    if (!kernels->pack_rows)
        memset(to + used * width, 0, (size_t)((CR_PAIR_BLOCK - used) * width) * sizeof(uint16_t));
}

/* Packs panels [begin, end), counted through the phases. */
static void pack_panels(int64_t begin, int64_t end, void *context)
{
    const preparation *job = context;
    const plan *p = &job->plan;
    for (int64_t index = begin; index < end; index++) {
        const cr_points_phase *f = &p->phases[index / p->panels];
        int64_t row = index % p->panels * p->panel_rows;
        int64_t rows = CR_MIN(p->out_channels - row, p->panel_rows);
        int64_t width = CR_ROUND_UP(rows, p->kernels->row_unit);
        uint16_t *to = job->packed + f->packed + row * f->k;
        for (int64_t channel = 0; channel < p->channels; channel += CR_PAIR_BLOCK)
            for (int64_t tap = 0; tap < taps_of(f); tap++, to += width * CR_PAIR_BLOCK)
                pack_block(&f->weight, p->kernels, row, rows, width, channel,
                           CR_MIN(p->channels - channel, CR_PAIR_BLOCK), tap, to);
    }
}

size_t cr_pair_images_prepared_size(const cr_conv *conv, bool backward,
                                    const cr_points_phase *phases, int count)
{
    plan p = make_plan(conv, backward, phases, count);
    return (size_t)CR_ROUND_UP(p.weights * (int64_t)sizeof(uint16_t), UNIT);
}

void cr_pair_images_prepare(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                            int count, void *prepared)
{
    preparation job = { .plan = make_plan(conv, backward, phases, count), .packed = prepared };
    cr_parallel_for(count * job.plan.panels, 1, pack_panels, &job);
}

/* ---- running ---- */

typedef struct run {
    plan plan;
    const uint16_t *packed;
    uint16_t *output;
    cr_epilogue epilogue;
    bool bias_float;
    cr_slots slots;
    char *memory;
} run;

/* Lines [first, last) of images [image, image + images), and which panels of channels. */
typedef struct chunk {
    int64_t image, images, first, last, panel, last_panel;
    int64_t rows, plane; /* rows of an image, elements of a plane */
    uint32_t *copy;
} chunk;

static chunk chunk_at(const plan *p, int64_t index, uint32_t *copy)
{
    chunk c = { .panel = index % p->channel_chunks * p->chunk_panels, .copy = copy };
    c.last_panel = CR_MIN(c.panel + p->chunk_panels, p->panels);
    index /= p->channel_chunks;
    c.first = index % p->image_chunks * p->lines;
    c.last = CR_MIN(c.first + p->lines, p->lines_all);
    c.image = index / p->image_chunks * p->images;
    c.images = CR_MIN(p->batch - c.image, p->images);
    c.rows = rows_of(p, c.last - c.first);
    c.plane = plane_of(p, c.images, c.last - c.first);
    return c;
}

/* One plane of two channels, of all images of the chunk. */
static void copy_plane(const plan *p, const chunk *c, int64_t channel, int64_t y_rest,
                       int64_t x_rest, uint32_t *to)
{
    const cr_patches *source = &p->phases[0].patches;
    memset(to, 0, (size_t)p->geometry.lead * sizeof(uint32_t));
    to += p->geometry.lead;
    for (int64_t image = c->image; image < c->image + c->images; image++)
        for (int64_t row = 0; row < c->rows; row++, to += p->geometry.width) {
            int64_t y = (c->first + p->geometry.low[0] + row) * p->geometry.step[0] + y_rest;
            const uint16_t *even = NULL, *odd = NULL;
            if (y >= 0 && y < p->geometry.in_size[0] && channel < p->channels)
                even = (const uint16_t *)source->source + image * source->batch_stride +
                       channel * source->channel_stride + y * p->geometry.in_size[1];
            if (even && channel + 1 < p->channels)
                odd = even + source->channel_stride;
            p->pairs->row(even, odd, p->geometry.in_size[1], p->geometry.step[1], x_rest,
                          p->geometry.width, to);
        }
}

static void copy_source(const plan *p, const chunk *c)
{
    uint32_t *to = c->copy;
    for (int64_t y = 0; y < p->geometry.step[0]; y++)
        for (int64_t x = 0; x < p->geometry.step[1]; x++)
            for (int64_t pair = 0; pair < p->blocks * (CR_PAIR_BLOCK / 2); pair++, to += c->plane)
                copy_plane(p, c, 2 * pair, y, x, to);
}

/* What a tile of points and a panel of channels have in common for all of their kind. */
typedef struct pass {
    const run *run;
    const chunk *chunk;
    int phase;
    int64_t start[2], grid_width, last; /* of the phase; its last line in the chunk */
    int64_t tap[CR_PAIR_TAPS];
} pass;

static const void *moved(const void *from, int64_t elements)
{
    return from ? (const uint16_t *)from + elements : NULL;
}

/* Sums of points [point, point + columns) of an image leave, but for those between the rows. */
static void finish_tile(const pass *s, int64_t image, int64_t panel, int64_t point, int64_t columns,
                        const float *sums)
{
    const run *r = s->run;
    const plan *p = &r->plan;
    int64_t row = panel * p->panel_rows, plane = p->out_size[0] * p->out_size[1];
    bool whole = p->geometry.width == p->out_size[1] && p->stride[0] * p->stride[1] == 1;
    for (int64_t done = 0, count; done < columns; done += count) {
        int64_t line = (point + done) / p->geometry.width, x = (point + done) % p->geometry.width;
        count = whole ? columns : CR_MIN(columns - done, p->geometry.width - x);
        if (x >= s->grid_width)
            continue;
        int64_t y = (s->chunk->first + line) * p->stride[0] + s->start[0];
        int64_t offset = ((s->chunk->image + image) * p->out_channels + row) * plane +
                         y * p->out_size[1] + x * p->stride[1] + s->start[1];
        cr_gemm_finish f = { .rows = CR_MIN(p->out_channels - row, p->panel_rows),
                             .columns = whole ? count : CR_MIN(count, s->grid_width - x),
                             .sum = sums + done,
                             .sum_stride = CR_PAIR_COLUMNS,
                             .c = r->output + offset,
                             .c_stride = plane,
                             .c_column_stride = p->stride[1],
                             .bias_float = r->bias_float,
                             .alpha = 1,
                             .epilogue = r->epilogue };
        f.epilogue.row_bias = moved(r->epilogue.row_bias, r->bias_float ? 2 * row : row);
        f.epilogue.residual = moved(r->epilogue.residual, offset);
        p->kernels->finish(&f);
    }
}

static void run_tile(const pass *s, int64_t image, int64_t panel, int64_t point)
{
    const plan *p = &s->run->plan;
    const chunk *c = s->chunk;
    const cr_points_phase *f = &p->phases[s->phase];
    CR_ALIGNED(UNIT) float sums[CR_PAIR_COLUMNS * CR_PAIR_COLUMNS];
    int64_t row = panel * p->panel_rows, rows = CR_MIN(p->out_channels - row, p->panel_rows);
    int64_t points = (s->last - c->first - 1) * p->geometry.width + s->grid_width;
    cr_pair_tile t = { .rows = rows,
                       .columns = CR_MIN(points - point, CR_PAIR_COLUMNS),
                       .blocks = p->blocks,
                       .taps = p->taps[s->phase].count,
                       .weight = s->run->packed + f->packed + row * f->k,
                       .image =
                           c->copy + p->geometry.lead + image * c->rows * p->geometry.width + point,
                       .plane = c->plane,
                       .tap = s->tap,
                       .sums = sums };
    p->pairs->tile(&t);
    finish_tile(s, image, panel, point, t.columns, sums);
}

static void run_phase(const run *r, const chunk *c, int phase)
{
    const plan *p = &r->plan;
    const cr_pair_taps *all = &p->taps[phase];
    const cr_patches *patches = &p->phases[phase].patches;
    pass s = { .run = r,
               .chunk = c,
               .phase = phase,
               .start = { phase / p->stride[1], phase % p->stride[1] },
               .grid_width = patches->grid[2],
               .last = CR_MIN(c->last, patches->grid[1]) };
    if (s.last <= c->first || s.grid_width <= 0)
        return;
    int64_t planes = p->blocks * (CR_PAIR_BLOCK / 2) * c->plane;
    for (int64_t i = 0; i < all->count; i++)
        s.tap[i] = all->remainder[i] * planes +
                   (all->row[i] - p->geometry.low[0]) * p->geometry.width + all->column[i];
    int64_t points = (s.last - c->first - 1) * p->geometry.width + s.grid_width;
    /* So the weights stay in the first cache, and few rows of the result are written at a time. */
    for (int64_t panel = c->panel; panel < c->last_panel; panel++)
        for (int64_t image = 0; image < c->images; image++)
            for (int64_t point = 0; point < points; point += CR_PAIR_COLUMNS)
                run_tile(&s, image, panel, point);
}

static void run_chunks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    if (p->kernels->begin)
        p->kernels->begin();
    for (int64_t index = begin; index < end; index++) {
        chunk c = chunk_at(p, index, (uint32_t *)(void *)(r->memory + (size_t)slot * p->slot));
        copy_source(p, &c);
        for (int phase = 0; phase < p->phase_count; phase++)
            run_phase(r, &c, phase);
    }
    if (p->kernels->end)
        p->kernels->end();
    cr_slot_release(&r->slots, slot);
}

size_t cr_pair_images_workspace(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                                int count)
{
    plan p = make_plan(conv, backward, phases, count);
    return cr_slots_size(p.slots) + (size_t)p.slots * p.slot;
}

void cr_pair_images_run(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                        int count, const void *prepared, const cr_epilogue *epilogue, void *output,
                        void *workspace)
{
    run r = { .plan = make_plan(conv, backward, phases, count),
              .packed = prepared,
              .bias_float = conv->bias_float,
              .output = output };
    if (epilogue)
        r.epilogue = *epilogue;
    r.slots = cr_slots_make(workspace, r.plan.slots);
    r.memory = (char *)workspace + cr_slots_size(r.plan.slots);
    cr_parallel_for(r.plan.chunks, 1, run_chunks, &r);
}
