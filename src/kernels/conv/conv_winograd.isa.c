/* Winograd's convolution F(4 x 4, 3 x 3) for one instruction set (Lavin and Gray, "Fast algorithms
 * for convolutional neural networks", 2016): float32, stride 1.
 *
 * The image is cut into tiles of 4 x 4 outputs, each of which reads 6 x 6 inputs. Input tiles,
 * weights and outputs are transformed so that the convolution becomes 36 matrix products, one for
 * each of the 6 x 6 positions, with a quarter of the multiplications.
 *
 * Everything is computed on vectors of LANES channels: a strip of the image is turned into that
 * order on the way in, and back on the way out. What a block of tiles needs stays in the second
 * cache from one end to the other. */
#include "kernels/conv/winograd_tiles.inc"

#include "kernels/conv/epilogue.inc"
#include "kernels/conv/way_out.inc"

/* ---- the transforms of one line ---- */

CR_INLINE void output_line(const vector m[SIDE], vector o[OUT])
{
    vector sum = m[1] + m[2], difference = POINT_A * (m[1] - m[2]);
    vector sum2 = m[3] + m[4], difference2 = POINT_B * (m[3] - m[4]);
    o[0] = m[0] + sum + sum2;
    o[1] = difference + difference2;
    o[2] = 0.5f * sum + 2 * sum2;
    o[3] = 0.5f * difference + 2 * difference2 + m[5];
}

CR_INLINE void weight_line(const vector g[3], vector u[SIDE])
{
    vector outer = g[0] + 0.5f * g[2], middle = POINT_A * g[1];
    vector outer2 = g[0] + 2 * g[2], middle2 = POINT_B * g[1];
    u[0] = g[0];
    u[1] = (outer + middle) * (-2.0f / 3);
    u[2] = (outer - middle) * (-2.0f / 3);
    u[3] = (outer2 + middle2) * (1.0f / 6);
    u[4] = (outer2 - middle2) * (1.0f / 6);
    u[5] = g[2];
}

/* ---- weights ---- */

/* The weights of LANES input channels from `in` on for LANES output channels from `out` on, as
 * vectors of output channels: (input channel, tap); 0 beyond the last of either. */
static void gather_weights(const cr_winograd *w, int64_t out, int64_t in, float *values)
{
    int64_t outs = CR_MIN(w->out_channels - out, LANES), ins = CR_MIN(w->in_channels - in, LANES);
    const float *from = w->weight + in * w->weight_in_stride + out * w->weight_out_stride;
    if (outs < LANES || ins < LANES)
        memset(values, 0, 9 * LANES * LANES * sizeof(float));
    if (outs == LANES && w->weight_in_stride == 9) {
        cr_gemm_kernels_of(CR_GEMM_F32)
            ->pack(from, w->weight_out_stride, 1, LANES, LANES, 9 * ins, values);
        return;
    }
    for (int64_t i = 0; i < ins; i++)
        for (int64_t l = 0; l < outs; l++)
            for (int t = 0; t < 9; t++)
                values[(i * 9 + t) * LANES + l] =
                    from[i * w->weight_in_stride + l * w->weight_out_stride + t];
}

static void scale_weights(const cr_winograd *w, int64_t out, float *values)
{
    vector scale = load_some(w->scale + out, w->out_channels - out);
    for (int64_t i = 0; i < 9 * LANES; i++)
        store(values + i * LANES, load(values + i * LANES) * scale);
}

static void transform_weight(const float *values, bool flip, int64_t position_stride, float *to)
{
    vector lines[3][SIDE];
    for (int x = 0; x < 3; x++) {
        vector column[3];
        for (int y = 0; y < 3; y++)
            column[y] = load(values + (flip ? 8 - 3 * y - x : 3 * y + x) * LANES);
        weight_line(column, lines[x]);
    }
    for (int y = 0; y < SIDE; y++) {
        vector row[3] = { lines[0][y], lines[1][y], lines[2][y] }, u[SIDE];
        weight_line(row, u);
        for (int x = 0; x < SIDE; x++)
            store(to + (y * SIDE + x) * position_stride, u[x]);
    }
}

/* U: by position, then panel of `panel` output channels, then input channel. */
static void winograd_weights(const cr_winograd *w, float *transformed, int64_t begin, int64_t end)
{
    for (int64_t group = begin; group < end; group++) {
        int64_t out = group * LANES;
        float *to = transformed + out / PANEL * PANEL * w->in_padded + out % PANEL;
        for (int64_t in = 0; in < w->in_padded; in += LANES) {
            float values[9 * LANES * LANES];
            gather_weights(w, out, in, values);
            if (w->scale)
                scale_weights(w, out, values);
            for (int64_t i = 0; i < LANES; i++)
                transform_weight(values + i * 9 * LANES, w->flip, w->weight_step,
                                 to + (in + i) * PANEL);
        }
    }
}

/* ---- input ---- */

/* Transforms the tiles of rows [first, last) for LANES channels. V: by position, then panel of
 * tiles, then LANES channels, then tile of the panel. */
static void winograd_input(const cr_winograd *w, const cr_winograd_scratch *s, int64_t first,
                           int64_t last, int64_t channel)
{
    int64_t row_stride = (w->tiles_x * OUT + 2) * LANES, panel_rows = s->panel_rows;
    strip at;
    for (int64_t row = first; next_strip(w, &row, first, last, &at);) {
        read_strip(w, s, at.image, at.tile_row, at.tile_rows, channel);
        for (int64_t i = 0; i < at.tile_rows * w->tiles_x; i++) {
            int64_t tile = s->first_tile + at.first_tile + i, panel = tile / panel_rows;
            int64_t rows = CR_MIN(s->tiles - panel * panel_rows, panel_rows);
            float *to = s->inputs + panel * panel_rows * w->in_padded + channel * rows +
                        tile % panel_rows * LANES;
            transform_input(s->strip + i / w->tiles_x * OUT * row_stride +
                                i % w->tiles_x * OUT * LANES,
                            row_stride, s->input_stride, to);
        }
    }
}

/* ---- output ---- */

CR_INLINE void transform_output(const float *from, int64_t position_stride, vector out[OUT][OUT])
{
    vector lines[OUT][SIDE];
    for (int x = 0; x < SIDE; x++) {
        vector m[SIDE], o[OUT];
        for (int y = 0; y < SIDE; y++)
            m[y] = load(from + (y * SIDE + x) * position_stride);
        output_line(m, o);
        for (int y = 0; y < OUT; y++)
            lines[y][x] = o[y];
    }
    for (int y = 0; y < OUT; y++)
        output_line(lines[y], out[y]);
}

/* The outputs of a strip of one image for LANES channels. */
static void output_strip(const cr_winograd *w, const cr_winograd_scratch *s, const strip *at,
                         int64_t channel)
{
    vector out[OUT][OUT];
    int64_t first = at->tile_row * OUT;
    int64_t height = CR_MIN(at->tile_rows * OUT, w->out_size[0] - first);
    int64_t width = w->out_size[1], plane = w->out_size[0] * width;
    for (int64_t i = 0; i < at->tile_rows * w->tiles_x; i++) {
        transform_output(s->products + (s->first_tile + at->first_tile + i) * w->out_padded +
                             channel,
                         s->product_stride, out);
        int64_t top = i / w->tiles_x * OUT, left = i % w->tiles_x * OUT;
        for (int64_t y = 0; y < CR_MIN(height - top, OUT); y++)
            for (int64_t x = 0; x < CR_MIN(width - left, OUT); x++)
                store(s->turned + ((top + y) * width + left + x) * LANES, out[y][x]);
    }
    way_out way = way_out_of(&w->epilogue, channel, w->out_channels, plane);
    turn_out(&way, s->turned, height * width,
             (at->image * w->out_channels + channel) * plane + first * width, w->output);
}

/* What is left of the epilogue of one point where the activation is not simple. */
static void finish_point(const cr_winograd *w, float *at, int64_t channels)
{
    cr_gemm_finish finish = { .rows = 1,
                              .columns = channels,
                              .sum = at,
                              .sum_stride = channels,
                              .c = at,
                              .c_stride = channels,
                              .c_column_stride = 1,
                              .alpha = 1,
                              .epilogue = { .activation = w->epilogue.activation,
                                            .slope = w->epilogue.slope } };
    cr_gemm_kernels_of(CR_GEMM_F32)->finish(&finish);
}

/* The same of a channels-last result, which is written from the registers. */
static void output_strip_last(const cr_winograd *w, const cr_winograd_scratch *s, const strip *at,
                              int64_t channel)
{
    vector out[OUT][OUT];
    int64_t count = CR_MIN(w->out_channels - channel, LANES), width = w->out_size[1];
    const float *bias = w->epilogue.row_bias, *residual = w->epilogue.residual;
    vector add = bias ? load_some(bias + channel, count) : (vector){ 0 };
    bool simple = is_simple(w->epilogue.activation);
    for (int64_t i = 0; i < at->tile_rows * w->tiles_x; i++) {
        transform_output(s->products + (s->first_tile + at->first_tile + i) * w->out_padded +
                             channel,
                         s->product_stride, out);
        int64_t top = (at->tile_row + i / w->tiles_x) * OUT, left = i % w->tiles_x * OUT;
        for (int64_t y = 0; y < CR_MIN(w->out_size[0] - top, OUT); y++) {
            int64_t offset =
                ((at->image * w->out_size[0] + top + y) * width + left) * w->out_channels + channel;
            for (int64_t x = 0; x < CR_MIN(width - left, OUT); x++, offset += w->out_channels) {
                vector value = out[y][x] + add;
                if (residual)
                    value += load_some(residual + offset, count);
                store_some(w->output + offset, activate(value, w->epilogue.activation), count);
                if (!simple)
                    finish_point(w, w->output + offset, count);
            }
        }
    }
}

static void winograd_output(const cr_winograd *w, const cr_winograd_scratch *s, int64_t first,
                            int64_t last, int64_t channel)
{
    strip at;
    for (int64_t row = first; next_strip(w, &row, first, last, &at);)
        if (w->channels_last)
            output_strip_last(w, s, &at, channel);
        else
            output_strip(w, s, &at, channel);
}

/* ---- the products ---- */

/* At one position, for output channels [begin, end). */
static void winograd_multiply(const cr_winograd *w, const cr_winograd_scratch *s, int64_t position,
                              int64_t begin, int64_t end)
{
    const cr_gemm_kernels *kernels = cr_gemm_kernels_of(CR_GEMM_F32);
    const float *weights = w->transformed + position * w->weight_step;
    const float *inputs = s->inputs + position * s->input_stride;
    float *products = s->products + position * s->product_stride;
    for (int64_t tile = 0; tile < s->tiles; tile += s->panel_rows) {
        int64_t rows = CR_MIN(s->tiles - tile, s->panel_rows);
        for (int64_t out = begin; out < end; out += PANEL)
            kernels->tile_blocked(w->in_padded, inputs + tile * w->in_padded,
                                  weights + out * w->in_padded, (int)rows,
                                  products + tile * w->out_padded + out, w->out_padded);
    }
}

const cr_winograd_kernels CR_ISA_NAME(cr_winograd_kernels) = {
    .lanes = LANES,
    .weights = winograd_weights,
    .input = winograd_input,
    .multiply = winograd_multiply,
    .output = winograd_output,
};
