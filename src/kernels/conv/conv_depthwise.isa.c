/* Depthwise convolution in two dimensions for one instruction set: float32.
 *
 * Some rows of one plane are copied with their padding, parted by the phases of the stride, so that
 * each tap of the kernel reads a stretch that is as dense as the result. Then the results of all
 * those rows, laid out with the copy's pitch, are one long line, computed by vectors whatever the
 * width of the image; what falls between the rows is not used. */
#include "kernels/conv/vectors.inc"

#include "kernels/conv/epilogue.inc"

#define COPY_MOST 12288 /* elements of a copy; with the line about what the first cache holds */
#define LINE_MOST 6144
#define SLACK     (8 * LANES) /* that vectors may reach beyond the end */
#define TAPS_MOST 49
#define BLOCK     4 /* vectors that are summed together */

/* One convolution of planes: from input to output, or the same way back with stride 1. */
typedef struct walk {
    int64_t in[2], out[2], kernel[2], stride, padding[2];
    bool flip;
    int64_t pitch; /* of a phase's rows, and of the line */
    int64_t rows;  /* of the result, in a band */
} walk;

/* A band: rows [first, last) of the result; `offset` is where each tap reads. */
typedef struct band {
    int64_t first, last, count;
    int64_t phase_rows;
    int64_t offset[TAPS_MOST];
} band;

static int64_t copy_rows(const walk *w, int64_t rows)
{
    return CR_DIV_UP((rows - 1) * w->stride + w->kernel[0], w->stride);
}

static walk walk_of(const cr_conv *c, bool back)
{
    walk w = { .stride = c->stride[2], .flip = back };
    for (int d = 0; d < 2; d++) {
        w.in[d] = back ? c->output[1 + d] : c->input[1 + d];
        w.out[d] = back ? c->input[1 + d] : c->output[1 + d];
        w.kernel[d] = c->kernel[1 + d];
        w.padding[d] = back ? c->kernel[1 + d] - 1 - c->padding[1 + d] : c->padding[1 + d];
    }
    w.pitch = CR_DIV_UP((w.out[1] - 1) * w.stride + w.kernel[1], w.stride);
    int64_t phases = w.stride * w.stride;
    w.rows = CR_MIN(w.out[0], LINE_MOST / w.pitch);
    while (w.rows > 0 && phases * copy_rows(&w, w.rows) * w.pitch > COPY_MOST)
        w.rows--;
    return w;
}

static bool suits(const cr_conv *c, bool back)
{
    bool plain = c->type == CR_GEMM_F32 && c->kernel[0] == 1 && c->input[0] == 1 &&
                 c->output[0] == 1 && c->padding[0] == 0 && c->stride[0] == 1 &&
                 c->dilation[1] == 1 && c->dilation[2] == 1 && c->stride[1] == c->stride[2] &&
                 c->stride[1] <= (back ? 1 : 2) && c->kernel[1] * c->kernel[2] <= TAPS_MOST &&
                 c->output[1] > 0 && c->output[2] > 0;
    for (int d = 1; d < CR_CONV_DIMS; d++)
        plain = plain && c->padding[d] < c->kernel[d];
    return plain && walk_of(c, back).rows > 0;
}

static band band_at(const walk *w, int64_t first)
{
    band b = { .first = first, .last = CR_MIN(first + w->rows, w->out[0]) };
    b.phase_rows = copy_rows(w, b.last - b.first);
    b.count = (b.last - b.first - 1) * w->pitch + w->out[1];
    for (int64_t y = 0; y < w->kernel[0]; y++)
        for (int64_t x = 0; x < w->kernel[1]; x++) {
            int64_t phase = y % w->stride * w->stride + x % w->stride;
            b.offset[y * w->kernel[1] + x] =
                (phase * b.phase_rows + y / w->stride) * w->pitch + x / w->stride;
        }
    return b;
}

CR_INLINE vector every_other(const float *from)
{
    __typeof__((vector){ 0 } > 0) even;
    for (int l = 0; l < LANES; l++)
        even[l] = 2 * l;
    return __builtin_shuffle(load(from), load(from + LANES), even);
}

/* One row of the copy: columns phase, phase + stride, … of the padded row. `rest` elements may be
 * read from the row's beginning. What is written beyond the pitch is written again. */
CR_INLINE void copy_row(const walk *w, const float *row, int64_t rest, int64_t phase, float *to)
{
    int64_t stride = w->stride, shift = phase - w->padding[1];
    int64_t begin = shift < 0 ? CR_DIV_UP(-shift, stride) : 0;
    int64_t end = w->in[1] > shift ? CR_DIV_UP(w->in[1] - shift, stride) : 0;
    begin = CR_MIN(begin, w->pitch);
    end = CR_MAX(CR_MIN(end, w->pitch), begin);
    for (int64_t x = 0; x < begin; x += LANES)
        store(to + x, (vector){ 0 });
    int64_t x = begin;
    if (stride == 1)
        for (; x < end && x + shift + LANES <= rest; x += LANES)
            store(to + x, load(row + x + shift));
    else
        for (; x < end && 2 * x + shift + 2 * LANES <= rest; x += LANES)
            store(to + x, every_other(row + 2 * x + shift));
    for (; x < end; x++)
        to[x] = row[x * stride + shift];
    for (x = end; x < w->pitch; x += LANES)
        store(to + x, (vector){ 0 });
}

static void copy_band(const walk *w, const band *b, const float *plane, float *to)
{
    for (int64_t y = 0; y < w->stride; y++)
        for (int64_t x = 0; x < w->stride; x++)
            for (int64_t r = 0; r < b->phase_rows; r++, to += w->pitch) {
                int64_t row = (b->first + r) * w->stride + y - w->padding[0];
                if (row < 0 || row >= w->in[0])
                    memset(to, 0, (size_t)w->pitch * sizeof(float));
                else
                    copy_row(w, plane + row * w->in[1], (w->in[0] - row) * w->in[1], x, to);
            }
    memset(to, 0, SLACK * sizeof(float));
}

/* `taps` is a constant at the calls that matter. */
CR_INLINE void sum_taps(int64_t taps, const band *b, const float *copy, const float *weight,
                        float *line)
{
    for (int64_t i = 0; i < b->count; i += BLOCK * LANES) {
        vector sum[BLOCK] = { 0 };
#pragma GCC unroll 9
        for (int64_t t = 0; t < taps; t++) {
            const float *from = copy + b->offset[t] + i;
#pragma GCC unroll 4
            for (int j = 0; j < BLOCK; j++)
                sum[j] += weight[t] * load(from + j * LANES);
        }
#pragma GCC unroll 4
        for (int j = 0; j < BLOCK; j++)
            store(line + i + j * LANES, sum[j]);
    }
}

static void sum_line(const walk *w, const band *b, const float *copy, const float *weight,
                     float *line)
{
    int64_t taps = w->kernel[0] * w->kernel[1];
    float turned[TAPS_MOST];
    for (int64_t t = 0; t < taps; t++)
        turned[t] = weight[w->flip ? taps - 1 - t : t];
    if (taps == 9)
        sum_taps(9, b, copy, turned, line);
    else
        sum_taps(taps, b, copy, turned, line);
}

/* The epilogue of a plane, its pointers moved to it. */
static cr_epilogue epilogue_of(const cr_epilogue *all, int64_t channel, int64_t offset)
{
    cr_epilogue e = all ? *all : (cr_epilogue){ 0 };
    e.row_bias = e.row_bias ? (const float *)e.row_bias + channel : NULL;
    e.residual = e.residual ? (const float *)e.residual + offset : NULL;
    return e;
}

/* `rest` elements of the plane may be written from the offset on; what is beyond the row is written
 * again. */
static void finish_row(const cr_epilogue *e, const float *line, int64_t count, int64_t offset,
                       int64_t rest, float *plane)
{
    const float *residual = e->residual ? (const float *)e->residual + offset : NULL;
    float bias = e->row_bias ? *(const float *)e->row_bias : 0;
    if (!is_simple(e->activation)) {
        cr_gemm_finish finish = { .rows = 1,
                                  .columns = count,
                                  .sum = line,
                                  .c = plane + offset,
                                  .c_column_stride = 1,
                                  .alpha = 1,
                                  .epilogue = *e };
        finish.epilogue.residual = residual;
        cr_gemm_kernels_of(CR_GEMM_F32)->finish(&finish);
        return;
    }
    for (int64_t x = 0; x < count; x += LANES) {
        vector value = load(line + x) + bias;
        if (residual)
            value += load_some(residual + x, rest - x);
        store_some(plane + offset + x, activate(value, e->activation), rest - x);
    }
}

static void run_plane(const walk *w, const float *from, const float *weight, const cr_epilogue *e,
                      float *to)
{
    CR_ALIGNED(64) float copy[COPY_MOST + SLACK], line[LINE_MOST + SLACK];
    for (int64_t first = 0; first < w->out[0]; first += w->rows) {
        band b = band_at(w, first);
        copy_band(w, &b, from, copy);
        sum_line(w, &b, copy, weight, line);
        for (int64_t y = b.first; y < b.last; y++)
            finish_row(e, line + (y - b.first) * w->pitch, w->out[1], y * w->out[1],
                       (w->out[0] - y) * w->out[1], to);
    }
}

static void run_planes(const cr_depthwise *call, bool back, const float *from, int64_t begin,
                       int64_t end)
{
    const cr_conv *c = call->conv;
    walk w = walk_of(c, back);
    int64_t multiple = c->out_channels / c->groups,
            channels = back ? c->in_channels : c->out_channels;
    int64_t in = w.in[0] * w.in[1], out = w.out[0] * w.out[1], taps = w.kernel[0] * w.kernel[1];
    for (int64_t plane = begin; plane < end; plane++) {
        int64_t image = plane / channels, channel = plane % channels;
        int64_t source = back ? plane : image * c->in_channels + channel / multiple;
        cr_epilogue e = epilogue_of(call->epilogue, channel, plane * out);
        run_plane(&w, from + source * in, (const float *)call->weight + channel * taps, &e,
                  (float *)call->result + plane * out);
    }
}

static void forward(const cr_depthwise *call, int64_t begin, int64_t end)
{
    run_planes(call, false, call->input, begin, end);
}

static void data(const cr_depthwise *call, int64_t begin, int64_t end)
{
    run_planes(call, true, call->output, begin, end);
}

/* ---- the gradient of the weights ---- */

/* Adds the products of a line of output gradients with what each tap reads. */
CR_INLINE void add_products(int64_t taps, const band *b, const float *copy, const float *line,
                            vector *sums)
{
    for (int64_t i = 0; i < b->count; i += LANES) {
        vector gradient = load(line + i);
#pragma GCC unroll 9
        for (int64_t t = 0; t < taps; t++)
            sums[t] += gradient * load(copy + b->offset[t] + i);
    }
}

/* Output gradients with the copy's pitch; zero between the rows and beyond the end. */
static void spread_rows(const walk *w, const band *b, const float *plane, float *line)
{
    memset(line, 0, (size_t)(b->count + SLACK) * sizeof(float));
    for (int64_t y = b->first; y < b->last; y++)
        memcpy(line + (y - b->first) * w->pitch, plane + y * w->out[1],
               (size_t)w->out[1] * sizeof(float));
}

static void add_plane(const walk *w, const float *input, const float *output, vector *sums)
{
    CR_ALIGNED(64) float copy[COPY_MOST + SLACK], line[LINE_MOST + SLACK];
    int64_t taps = w->kernel[0] * w->kernel[1];
    for (int64_t first = 0; first < w->out[0]; first += w->rows) {
        band b = band_at(w, first);
        copy_band(w, &b, input, copy);
        spread_rows(w, &b, output, line);
        if (taps == 9)
            add_products(9, &b, copy, line, sums);
        else
            add_products(taps, &b, copy, line, sums);
    }
}

/* Here begin and end count output channels. */
static void weight(const cr_depthwise *call, int64_t begin, int64_t end)
{
    const cr_conv *c = call->conv;
    walk w = walk_of(c, false);
    int64_t multiple = c->out_channels / c->groups, taps = w.kernel[0] * w.kernel[1];
    int64_t in = w.in[0] * w.in[1], out = w.out[0] * w.out[1];
    for (int64_t channel = begin; channel < end; channel++) {
        vector sums[TAPS_MOST] = { 0 };
        for (int64_t image = 0; image < c->batch; image++)
            add_plane(
                &w, (const float *)call->input + (image * c->in_channels + channel / multiple) * in,
                (const float *)call->output + (image * c->out_channels + channel) * out, sums);
        float *to = (float *)call->result + channel * taps;
        for (int64_t t = 0; t < taps; t++) {
            to[t] = 0;
            for (int l = 0; l < LANES; l++)
                to[t] += sums[t][l];
        }
    }
}

const cr_depthwise_kernels CR_ISA_NAME(cr_depthwise_kernels) = {
    .suits = suits,
    .forward = forward,
    .data = data,
    .weight = weight,
};
