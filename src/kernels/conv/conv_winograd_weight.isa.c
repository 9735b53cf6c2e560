/* The gradient of 3 x 3 weights by Winograd's algorithm for one instruction set: the transposed of
 * F(4 x 4, 3 x 3). Tiles of the input are transformed as in the forward direction, tiles of the
 * output's gradient by the transposed output transform; at each of the 36 positions the transformed
 * gradient is the product, summed over tiles, of the two; and the transposed weight transform takes
 * the sums back to 3 x 3. */
#include "kernels/conv/winograd_tiles.inc"

/* ---- tiles of the output's gradient ---- */

CR_INLINE void gradient_line(const vector y[OUT], vector r[SIDE])
{
    vector even = y[0] + 0.5f * y[2], odd = POINT_A * (y[1] + 0.5f * y[3]);
    vector even2 = y[0] + 2 * y[2], odd2 = POINT_B * (y[1] + 2 * y[3]);
    r[0] = y[0];
    r[1] = even + odd;
    r[2] = even - odd;
    r[3] = even2 + odd2;
    r[4] = even2 - odd2;
    r[5] = y[3];
}

static void transform_gradient(const float *tile, int64_t row_stride, int64_t position_stride,
                               float *to)
{
    vector lines[SIDE][OUT];
    for (int x = 0; x < OUT; x++) {
        vector y[OUT], r[SIDE];
        for (int i = 0; i < OUT; i++)
            y[i] = load(tile + i * row_stride + x * LANES);
        gradient_line(y, r);
        for (int i = 0; i < SIDE; i++)
            lines[i][x] = r[i];
    }
    for (int y = 0; y < SIDE; y++) {
        vector r[SIDE];
        gradient_line(lines[y], r);
        for (int x = 0; x < SIDE; x++)
            store(to + (y * SIDE + x) * position_stride, r[x]);
    }
}

/* Transforms the tiles of rows [first, last) for LANES channels from `channel` on; tile i goes to
 * `to` + i * padded + channel, the next position is position_stride further. */
static void weight_tiles(const cr_winograd *w, const cr_winograd_scratch *s, bool gradient,
                         int64_t first, int64_t last, int64_t channel, int64_t padded,
                         int64_t position_stride, float *to)
{
    int64_t row_stride = (w->tiles_x * OUT + 2) * LANES;
    strip at;
    for (int64_t row = first; next_strip(w, &row, first, last, &at);) {
        read_strip(w, s, at.image, at.tile_row, at.tile_rows, channel);
        for (int64_t i = 0; i < at.tile_rows * w->tiles_x; i++) {
            const float *from =
                s->strip + i / w->tiles_x * OUT * row_stride + i % w->tiles_x * OUT * LANES;
            float *here = to + (at.first_tile + i) * padded + channel;
            if (gradient)
                transform_gradient(from, row_stride, position_stride, here);
            else
                transform_input(from, row_stride, position_stride, here);
        }
    }
}

/* ---- sums over tiles ---- */

/* At one position, for input channels [first, last): sums (input channel, output channel). */
static void weight_multiply(const cr_winograd_weight *w, const cr_winograd_scratch *s,
                            int64_t position, int64_t first, int64_t last, bool accumulate,
                            float *sums)
{
    const cr_gemm_kernels *kernels = cr_gemm_kernels_of(CR_GEMM_F32);
    int64_t most = CR_DIV_UP(last - first, CR_DIV_UP(last - first, (int64_t)kernels->tile_rows));
    const float *inputs = s->inputs + position * s->input_stride;
    const float *gradients = s->products + position * s->product_stride;
    sums += position * w->sum_step;
    for (int64_t in = first, rows; in < last; in += rows) {
        rows = CR_MIN(last - in, most);
        for (int64_t out = 0; out < w->out_padded; out += PANEL)
            kernels->tile(s->tiles, inputs + in, w->in_padded, gradients + out, w->out_padded,
                          (int)rows, PANEL, sums + in * w->out_padded + out, w->out_padded,
                          accumulate);
    }
}

/* ---- back to 3 x 3 ---- */

#define PREFETCH_ROWS 4

CR_INLINE void weight_line_back(const vector u[SIDE], vector g[3])
{
    vector sum = (u[1] + u[2]) * (-2.0f / 3), difference = (u[1] - u[2]) * (-2.0f / 3 * POINT_A);
    vector sum2 = (u[3] + u[4]) * (1.0f / 6), difference2 = (u[3] - u[4]) * (1.0f / 6 * POINT_B);
    g[0] = u[0] + sum + sum2;
    g[1] = difference + difference2;
    g[2] = 0.5f * sum + 2 * sum2 + u[5];
}

/* The 9 weights of one input channel for LANES output channels, from the sums of all splits. */
static void transform_back(const cr_winograd_weight *w, const float *sums, int64_t splits,
                           float *to)
{
    vector lines[3][SIDE];
    for (int x = 0; x < SIDE; x++) {
        vector u[SIDE], g[3];
        for (int y = 0; y < SIDE; y++) {
            const float *from = sums + (y * SIDE + x) * w->sum_step;
            /* The positions are too far apart for the processor to foresee the next channels. */
            CR_PREFETCH(from + PREFETCH_ROWS * w->out_padded);
            u[y] = load(from);
            for (int64_t split = 1; split < splits; split++)
                u[y] += load(from + split * POSITIONS * w->sum_step);
        }
        weight_line_back(u, g);
        for (int y = 0; y < 3; y++)
            lines[y][x] = g[y];
    }
    for (int y = 0; y < 3; y++) {
        vector g[3];
        weight_line_back(lines[y], g);
        for (int x = 0; x < 3; x++)
            store(to + (y * 3 + x) * LANES, g[x]);
    }
}

/* The weights of input channels [begin, end), at most LANES of them. */
static void weight_finish(const cr_winograd_weight *w, const float *sums, int64_t splits,
                          int64_t begin, int64_t end, float *weight)
{
    float turned[LANES * 9 * LANES], rows[LANES * 9 * LANES];
    int64_t in_channels = w->input.in_channels, out_channels = w->output.in_channels;
    int64_t count = (end - begin) * 9;
    for (int64_t out = 0; out < out_channels; out += LANES) {
        for (int64_t in = begin; in < end; in++)
            transform_back(w, sums + in * w->out_padded + out, splits,
                           turned + (in - begin) * 9 * LANES);
        int64_t channels = CR_MIN(out_channels - out, LANES);
        for (int64_t i = 0; i < count; i += LANES) {
            float square[LANES * LANES];
            int64_t here = CR_MIN(count - i, LANES);
            cr_gemm_kernels_of(CR_GEMM_F32)
                ->pack(turned + i * LANES, LANES, 1, here, LANES, LANES, square);
            for (int64_t l = 0; l < channels; l++)
                memcpy(rows + l * count + i, square + l * LANES, (size_t)here * sizeof(float));
        }
        for (int64_t l = 0; l < channels; l++)
            memcpy(weight + ((out + l) * in_channels + begin) * 9, rows + l * count,
                   (size_t)count * sizeof(float));
    }
}

const cr_winograd_weight_kernels CR_ISA_NAME(cr_winograd_weight_kernels) = {
    .lanes = LANES,
    .tiles = weight_tiles,
    .multiply = weight_multiply,
    .finish = weight_finish,
};
