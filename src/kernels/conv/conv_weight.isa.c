/* The gradient of convolution weights for one instruction set: float32, one group, up to two
 * dimensions.
 *
 * dW (channel and tap, output channel) is a sum over positions of an input element times a vector
 * of output channels. A tile of TILE_ROWS (channel, tap) pairs by two vectors stays in registers
 * while it passes over all positions of a chunk: the input is read, and broadcast, straight from a
 * padded copy of its rows, where each pair is but an offset; so no matrix of patches is made. The
 * gradient of the output is turned once for each chunk, so that its channels are contiguous. */
#include "kernels/conv/vectors.inc"

#if defined(__AVX512F__) || defined(CR_TARGET_NEON)
#define TILE_ROWS 10
#elif defined(__AVX2__)
#define TILE_ROWS 6
#else
#define TILE_ROWS 4
#endif

/* ---- the tile ---- */

/* Adds one line of positions. */
CR_INLINE void add_line(int rows, int64_t positions, int64_t step, const float *const *x,
                        const float *b, vector sum[TILE_ROWS][2])
{
    for (int64_t p = 0, at = 0; p < positions; p++, at += step, b += PANEL) {
        vector left = load(b), right = load(b + LANES);
#pragma GCC unroll 10
        for (int i = 0; i < rows; i++) {
            sum[i][0] += x[i][at] * left;
            sum[i][1] += x[i][at] * right;
        }
    }
}

CR_INLINE void add_chunk(int rows, int64_t step, const cr_weight_gradient *w,
                         const cr_weight_chunk *c, const float *x, const int64_t *offset,
                         const float *b, bool accumulate, float *to)
{
    vector sum[TILE_ROWS][2];
#pragma GCC unroll 10
    for (int i = 0; i < rows; i++) {
        sum[i][0] = accumulate ? load(to + i * w->out_padded) : (vector){ 0 };
        sum[i][1] = accumulate ? load(to + i * w->out_padded + LANES) : (vector){ 0 };
    }
    for (int64_t image = 0; image < c->images; image++)
        for (int64_t line = 0; line < c->lines; line++) {
            const float *from = x + image * c->image_step + line * c->line_step;
            const float *pointers[TILE_ROWS];
#pragma GCC unroll 10
            for (int i = 0; i < rows; i++)
                pointers[i] = from + offset[i];
            add_line(rows, w->conv->output[2], step, pointers, b, sum);
            b += w->conv->output[2] * PANEL;
        }
#pragma GCC unroll 10
    for (int i = 0; i < rows; i++) {
        store(to + i * w->out_padded, sum[i][0]);
        store(to + i * w->out_padded + LANES, sum[i][1]);
    }
}

/* A function for each number of rows, and the usual stride a constant. */
#define TILE(rows)                                                                                 \
    static void tile##rows(const cr_weight_gradient *w, const cr_weight_chunk *c, const float *x,  \
                           const int64_t *offset, const float *b, bool accumulate, float *to)      \
    {                                                                                              \
        if (w->conv->stride[2] == 1)                                                               \
            add_chunk(rows, 1, w, c, x, offset, b, accumulate, to);                                \
        else                                                                                       \
            add_chunk(rows, w->conv->stride[2], w, c, x, offset, b, accumulate, to);               \
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

static void (*const tiles[])(const cr_weight_gradient *, const cr_weight_chunk *, const float *,
                             const int64_t *, const float *, bool, float *) = {
    tile1, tile2, tile3, tile4,
#if TILE_ROWS > 4
    tile5, tile6,
#endif
#if TILE_ROWS > 6
    tile7, tile8, tile9, tile10,
#endif
};

/* ---- a chunk ---- */

/* Copies the rows of one channel of one image that the chunk reads, with zeros around. */
static void copy_plane(const cr_weight_gradient *w, const cr_weight_chunk *c, const float *plane,
                       float *to)
{
    const cr_conv *conv = w->conv;
    int64_t width = w->padded_width, padding = conv->padding[2];
    int64_t first = c->first_line * conv->stride[1] - conv->padding[1];
    int64_t columns = CR_MIN(conv->input[2], width - padding);
    for (int64_t y = 0; y < c->height; y++, to += width) {
        if (first + y < 0 || first + y >= conv->input[1] || columns <= 0) {
            memset(to, 0, (size_t)width * sizeof(float));
            continue;
        }
        memset(to, 0, (size_t)CR_MIN(padding, width) * sizeof(float));
        memcpy(to + padding, plane + (first + y) * conv->input[2], (size_t)columns * sizeof(float));
        memset(to + padding + columns, 0, (size_t)(width - padding - columns) * sizeof(float));
    }
}

static void pack_chunk(const cr_weight_gradient *w, const cr_weight_chunk *c, int64_t channel,
                       int64_t channels, float *x, float *b)
{
    const cr_conv *conv = w->conv;
    int64_t in = conv->input[1] * conv->input[2], out = conv->output[1] * conv->output[2];
    for (int64_t image = 0; image < c->images; image++) {
        const float *planes =
            w->input + ((c->first_image + image) * conv->in_channels + channel) * in;
        for (int64_t i = 0; i < channels; i++)
            copy_plane(w, c, planes + i * in, x + image * c->image_step + i * c->channel_step);
    }
    const cr_gemm_kernels *kernels = cr_gemm_kernels_of(CR_GEMM_F32);
    int64_t positions = c->lines * conv->output[2];
    for (int64_t o = 0; o < conv->out_channels; o += PANEL)
        for (int64_t image = 0; image < c->images; image++, b += positions * PANEL) {
            const float *from = w->output +
                                ((c->first_image + image) * conv->out_channels + o) * out +
                                c->first_line * conv->output[2];
            kernels->pack(from, out, 1, CR_MIN(conv->out_channels - o, PANEL), PANEL, positions, b);
        }
}

/* Adds a chunk to the sums of `channels` input channels from `channel` on. */
static void weight_chunk(const cr_weight_gradient *w, const cr_weight_chunk *c, int64_t channel,
                         int64_t channels, float *x, float *b, bool accumulate, float *sums)
{
    const cr_conv *conv = w->conv;
    int64_t taps = conv->kernel[1] * conv->kernel[2], all = channels * taps;
    int64_t most = CR_DIV_UP(all, CR_DIV_UP(all, TILE_ROWS));
    int64_t positions = c->images * c->lines * conv->output[2];
    pack_chunk(w, c, channel, channels, x, b);
    for (int64_t row = 0, rows; row < all; row += rows) {
        int64_t offset[TILE_ROWS];
        rows = CR_MIN(all - row, most);
        for (int64_t i = 0; i < rows; i++) {
            int64_t tap = (row + i) % taps;
            offset[i] = (row + i) / taps * c->channel_step +
                        tap / conv->kernel[2] * conv->dilation[1] * w->padded_width +
                        tap % conv->kernel[2] * conv->dilation[2];
        }
        for (int64_t o = 0; o < w->out_padded; o += PANEL)
            tiles[rows - 1](w, c, x, offset, b + o * positions, accumulate,
                            sums + row * w->out_padded + o);
    }
}

/* weight[o, row] = the sum over splits of sums[split, row, o], for rows [begin, end). */
static void weight_finish(const cr_weight_gradient *w, const float *sums, int64_t splits,
                          int64_t split_step, int64_t begin, int64_t end, float *weight)
{
    const cr_gemm_kernels *kernels = cr_gemm_kernels_of(CR_GEMM_F32);
    int64_t rows = w->rows;
    float sum[LANES * LANES], turned[LANES * LANES];
    for (int64_t row = begin; row < end; row += LANES)
        for (int64_t o = 0; o < w->conv->out_channels; o += LANES) {
            int64_t here = CR_MIN(end - row, LANES);
            for (int64_t i = 0; i < here; i++) {
                const float *from = sums + (row + i) * w->out_padded + o;
                vector total = load(from);
                for (int64_t s = 1; s < splits; s++)
                    total += load(from + s * split_step);
                store(sum + i * LANES, total);
            }
            kernels->pack(sum, LANES, 1, here, LANES, LANES, turned);
            for (int64_t l = 0; l < CR_MIN(w->conv->out_channels - o, LANES); l++)
                memcpy(weight + (o + l) * rows + row, turned + l * LANES,
                       (size_t)here * sizeof(float));
        }
}

const cr_weight_kernels CR_ISA_NAME(cr_weight_kernels) = {
    .panel = PANEL,
    .chunk = weight_chunk,
    .finish = weight_finish,
};
