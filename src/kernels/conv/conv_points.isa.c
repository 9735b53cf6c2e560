/* Convolution point by point, and its gradient by the input, for one instruction set: float32, one
 * group, up to two dimensions.
 *
 * A tile of TILE_ROWS points by two vectors of output channels stays in registers while it passes
 * over channels and taps: the source is read, and broadcast, straight from a padded copy of its
 * rows, where a point is a pointer and a (channel, tap) pair an offset; so no matrix of patches is
 * made. The products are turned at the end, so that the points of a channel are contiguous. */
#include "kernels/conv/vectors.inc"

#include "kernels/conv/way_out.inc"

#if defined(__AVX512F__) || defined(CR_TARGET_NEON)
#define TILE_ROWS 10
#elif defined(__AVX2__)
#define TILE_ROWS 6
#else
#define TILE_ROWS 4
#endif

#define K_STEP 256 /* a panel of the weights for so many steps stays in the first cache */

/* ---- the tile ---- */

CR_INLINE void multiply(int rows, int64_t k_count, const float *x, const int32_t *point,
                        const int32_t *step, const float *b, bool accumulate, float *c,
                        int64_t c_stride)
{
    const float *pointers[TILE_ROWS];
    vector sum[TILE_ROWS][2];
#pragma GCC unroll 10
    for (int i = 0; i < rows; i++) {
        pointers[i] = x + point[i];
        sum[i][0] = accumulate ? load(c + i * c_stride) : (vector){ 0 };
        sum[i][1] = accumulate ? load(c + i * c_stride + LANES) : (vector){ 0 };
    }
    for (int64_t p = 0; p < k_count; p++, b += PANEL) {
        vector left = load(b), right = load(b + LANES);
        int64_t at = step[p];
#pragma GCC unroll 10
        for (int i = 0; i < rows; i++) {
            sum[i][0] += pointers[i][at] * left;
            sum[i][1] += pointers[i][at] * right;
        }
    }
#pragma GCC unroll 10
    for (int i = 0; i < rows; i++) {
        store(c + i * c_stride, sum[i][0]);
        store(c + i * c_stride + LANES, sum[i][1]);
    }
}

#define TILE(rows)                                                                                 \
    static void tile##rows(int64_t k_count, const float *x, const int32_t *point,                  \
                           const int32_t *step, const float *b, bool accumulate, float *c,         \
                           int64_t c_stride)                                                       \
    {                                                                                              \
        multiply(rows, k_count, x, point, step, b, accumulate, c, c_stride);                       \
    }
TILE(1)
TILE(2)
TILE(3)
TILE(4)
#if TILE_ROWS > 4
TILE(5)
TILE(6)
#endif
#if TILE_ROWS > 6
TILE(7)
TILE(8)
TILE(9)
TILE(10)
#endif

static void (*const tiles[])(int64_t, const float *, const int32_t *, const int32_t *,
                             const float *, bool, float *, int64_t) = {
    tile1, tile2, tile3, tile4,
#if TILE_ROWS > 4
    tile5, tile6,
#endif
#if TILE_ROWS > 6
    tile7, tile8, tile9, tile10,
#endif
};

/* ---- a chunk ---- */

/* Copies what the chunk reads of the source, with zeros around: (image, channel, row, column). */
static void copy_source(const cr_points *w, const cr_points_chunk *c, float *to)
{
    const cr_patches *p = &w->phases[0].patches;
    int64_t before = CR_MAX(-w->first_column, 0);
    int64_t columns = CR_MIN(p->size[2], w->first_column + w->columns);
    columns = CR_MAX(columns - CR_MAX(w->first_column, 0), 0);
    before = CR_MIN(before, w->columns);
    for (int64_t image = 0; image < c->images; image++)
        for (int64_t channel = 0; channel < w->channels; channel++) {
            const float *plane = (const float *)p->source +
                                 (c->first_image + image) * p->batch_stride +
                                 channel * p->channel_stride;
            for (int64_t y = c->first_row; y < c->first_row + c->rows; y++, to += w->columns) {
                if (y < 0 || y >= p->size[1]) {
                    memset(to, 0, (size_t)w->columns * sizeof(float));
                    continue;
                }
                memset(to, 0, (size_t)before * sizeof(float));
                memcpy(to + before, plane + y * p->size[2] + CR_MAX(w->first_column, 0),
                       (size_t)columns * sizeof(float));
                memset(to + before + columns, 0,
                       (size_t)(w->columns - before - columns) * sizeof(float));
            }
        }
}

/* Where the points of a phase lie in the copy. Returns how many there are. */
static int64_t place_points(const cr_points *w, const cr_points_chunk *c, const cr_patches *p,
                            int64_t first, int64_t last, int32_t *point)
{
    int64_t count = 0, image_step = w->channels * c->rows * w->columns;
    for (int64_t image = 0; image < c->images; image++)
        for (int64_t y = first; y < last; y++)
            for (int64_t x = 0; x < p->grid[2]; x++)
                point[count++] =
                    (int32_t)(image * image_step +
                              (y * p->step[1] + p->origin[1] - c->first_row) * w->columns +
                              x * p->step[2] + p->origin[2] - w->first_column);
    return count;
}

/* Where the taps of a phase lie, from the first. */
static void place_taps(const cr_points *w, const cr_points_chunk *c, const cr_patches *p,
                       int32_t *step)
{
    for (int64_t channel = 0; channel < w->channels; channel++)
        for (int64_t y = 0; y < p->taps[1]; y++)
            for (int64_t x = 0; x < p->taps[2]; x++)
                *step++ = (int32_t)((channel * c->rows + y * p->tap_step[1]) * w->columns +
                                    x * p->tap_step[2]);
}

static void multiply_phase(const cr_points *w, const cr_points_chunk *c, int phase, int64_t count,
                           const cr_points_scratch *s, float *products)
{
    const cr_points_phase *f = &w->phases[phase];
    int64_t most = CR_DIV_UP(count, CR_DIV_UP(count, TILE_ROWS));
    place_taps(w, c, &f->patches, s->steps);
    if (f->k == 0)
        memset(products, 0, (size_t)(count * w->out_padded) * sizeof(float));
    for (int64_t k = 0; k < f->k; k += K_STEP)
        for (int64_t out = c->first_out; out < c->last_out; out += PANEL) {
            const float *b = w->packed + f->packed + out * f->k + k * PANEL;
            for (int64_t i = 0, rows; i < count; i += rows) {
                rows = CR_MIN(count - i, most);
                tiles[rows - 1](CR_MIN(f->k - k, K_STEP), s->copy, s->points + i, s->steps + k, b,
                                k > 0, products + i * w->out_padded + out, w->out_padded);
            }
        }
}

/* ---- the way out ---- */

/* The products of one row of the result for LANES channels, in the order of its columns. */
static void collect_row(const cr_points *w, const cr_points_chunk *c, const cr_points_scratch *s,
                        int64_t image, int64_t y, int64_t channel, float *to)
{
    int64_t row = y / w->stride[0], columns = w->stride[1];
    for (int64_t x = 0; x < columns; x++) {
        int phase = (int)(y % w->stride[0] * columns + x);
        const cr_patches *p = &w->phases[phase].patches;
        int64_t lines = c->last_line[phase] - c->first_line[phase];
        const float *from =
            s->products[phase] +
            ((image * lines + row - c->first_line[phase]) * p->grid[2]) * w->out_padded + channel;
        for (int64_t q = 0; q < p->grid[2]; q++, from += w->out_padded)
            store(to + (q * columns + x) * LANES, load(from));
    }
}

static void write_chunk(const cr_points *w, const cr_points_chunk *c, const cr_points_scratch *s)
{
    int64_t width = w->out_size[1], plane = w->out_size[0] * width, rows = c->last - c->first;
    int64_t last = CR_MIN(c->last_out, w->out_channels);
    for (int64_t channel = c->first_out; channel < last; channel += LANES) {
        way_out way = way_out_of(&w->epilogue, channel, w->out_channels, plane);
        for (int64_t image = 0; image < c->images; image++) {
            for (int64_t y = 0; y < rows; y++)
                collect_row(w, c, s, image, c->first + y, channel, s->turned + y * width * LANES);
            turn_out(&way, s->turned, rows * width,
                     ((c->first_image + image) * w->out_channels + channel) * plane +
                         c->first * width,
                     w->output);
        }
    }
}

static void points_chunk(const cr_points *w, const cr_points_chunk *c, cr_points_scratch *s)
{
    copy_source(w, c, s->copy);
    float *products = s->products[0];
    for (int phase = 0; phase < w->phase_count; phase++) {
        s->products[phase] = products;
        int64_t count = place_points(w, c, &w->phases[phase].patches, c->first_line[phase],
                                     c->last_line[phase], s->points);
        if (count > 0)
            multiply_phase(w, c, phase, count, s, products);
        products += count * w->out_padded;
    }
    write_chunk(w, c, s);
}

const cr_points_kernels CR_ISA_NAME(cr_points_kernels) = {
    .lanes = LANES,
    .chunk = points_chunk,
};
