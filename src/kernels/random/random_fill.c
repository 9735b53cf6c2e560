/* Fills of tensors with random numbers: parts of fixed size on several threads, float32 and half
 * precision by the vector loops, the other dtypes from their words. */
#include <math.h>
#include <string.h>

#include "kernels/random/random_kernels.h"
#include "kernels/variants.h"

/* A multiple of RANDOM_GROUP, so that parts begin with a block. */
#define PART_ELEMENTS 16384
#define CHUNK         512

CR_KERNEL_VARIANTS(const struct random_loops, random_loops, );

const struct random_loops *random_loops(void)
{
    return CR_KERNELS_IN_USE(random_loops);
}

/* ---- how many words an element takes ---- */

/* Integers from a range that 32 bits would serve unevenly take 64. */
static int words_per_element(const struct random_fill *fill, cr_dtype dtype)
{
    if (fill->kind == RANDOM_INTEGER)
        return fill->range == 0 || fill->range > (1u << 24) ? 2 : 1;
    bool is_wide = fill->kind == RANDOM_UNIFORM || fill->kind == RANDOM_NORMAL;
    return is_wide && dtype == CR_F64 ? 2 : 1;
}

uint64_t random_blocks(const struct random_fill *fill, cr_dtype dtype, int64_t n)
{
    uint64_t words = (uint64_t)n * (uint64_t)words_per_element(fill, dtype);
    return CR_DIV_UP(words, 4);
}

/* ---- one element from its words, in double ---- */

#define TWO_PI 6.283185307179586476925

static uint64_t join(const uint32_t *words)
{
    return words[0] | (uint64_t)words[1] << 32;
}

/* The inverse of erf: Giles' approximation ("Approximating the erfinv function", 2011), then a step
 * of Halley's method. */
static double inverse_erf(double x)
{
    static const double centre[] = { 2.81022636e-08,  3.43273939e-07, -3.5233877e-06,
                                     -4.39150654e-06, 0.00021858087,  -0.00125372503,
                                     -0.00417768164,  0.246640727,    1.50140941 };
    static const double tail[] = { -0.000200214257, 0.000100950558, 0.00134934322,
                                   -0.00367342844,  0.00573950773,  -0.0076224613,
                                   0.00943887047,   1.00167406,     2.83297682 };
    double w = -log((1.0 - x) * (1.0 + x));
    bool is_centre = w < 5.0;
    const double *coefficients = is_centre ? centre : tail;
    double t = is_centre ? w - 2.5 : sqrt(w) - 3.0;
    double y = coefficients[0];
    for (int i = 1; i < 9; i++)
        y = y * t + coefficients[i];
    y *= x;
    double error = (erf(y) - x) / (1.1283791670955126 * exp(-y * y));
    return y - error / (1.0 + y * error);
}

/* What the elements of one fill have in common: erf at its bounds. */
struct truncation {
    double scale, least, most;
};

static struct truncation truncation_of(const struct random_fill *fill)
{
    double scale = fill->b * 1.4142135623730951;
    return (struct truncation){ .scale = scale,
                                .least = erf((fill->low - fill->a) / scale),
                                .most = erf((fill->high - fill->a) / scale) };
}

/* By inverting the distribution between the bounds, as torch.nn.init.trunc_normal_. */
static double trunc_normal(const struct random_fill *fill, const struct truncation *t,
                           uint32_t word)
{
    double u = t->least + (t->most - t->least) * (((double)word + 0.5) * 0x1p-32);
    double value = fill->a + t->scale * inverse_erf(u);
    return CR_MIN(CR_MAX(value, fill->low), fill->high);
}

static int64_t integer_from(const struct random_fill *fill, const uint32_t *words)
{
    uint64_t drawn;
    if (fill->range == 0)
        drawn = join(words);
    else if (fill->range <= 1u << 24)
        drawn = words[0] * fill->range >> 32;
    else
        drawn = (uint64_t)((unsigned __int128)join(words) * fill->range >> 64);
    return (int64_t)((uint64_t)fill->least + drawn);
}

/* A pair of uniform numbers gives a pair of normal ones: element i uses the words of its pair. */
static double normal_from(const uint32_t *pair, bool is_second)
{
    double radius = sqrt(-2.0 * log((double)((join(pair) >> 11) + 1) * 0x1p-53));
    double angle = (double)(join(pair + 2) >> 11) * 0x1p-53 * TWO_PI;
    return radius * (is_second ? sin(angle) : cos(angle));
}

static double double_from(const struct random_fill *fill, const struct truncation *truncation,
                          const uint32_t *words, int64_t i)
{
    switch (fill->kind) {
    case RANDOM_UNIFORM:
        return (double)(join(words + 2 * i) >> 11) * 0x1p-53 * (fill->b - fill->a) + fill->a;
    case RANDOM_NORMAL:
        return normal_from(words + 4 * (i / 2), i % 2) * fill->b + fill->a;
    case RANDOM_TRUNC_NORMAL:
        return trunc_normal(fill, truncation, words[i]);
    default:
        return (double)words[i] * 0x1p-32 < fill->a ? 1.0 : 0.0;
    }
}

/* ---- runs of elements ---- */

struct job {
    const struct random_fill *fill;
    const struct random_source *source;
    cr_dtype dtype;
    char *out;
    const char *p; /* of Bernoulli: the probability of each element */
    struct truncation truncation;
};

/* What dtype keeps of a uniform number. */
static int uniform_bits(cr_dtype dtype)
{
    return dtype == CR_BF16 ? 8 : dtype == CR_F16 ? 11 : 24;
}

static void floats_from_loops(const struct job *job, float *out, int64_t begin, int64_t n)
{
    const struct random_loops *loops = random_loops();
    const struct random_fill *fill = job->fill;
    uint64_t block = (uint64_t)begin / 4;
    if (fill->kind == RANDOM_UNIFORM)
        loops->uniform(out, n, job->source, block, uniform_bits(job->dtype), (float)fill->a,
                       (float)fill->b);
    else if (fill->kind == RANDOM_NORMAL)
        loops->normal(out, n, job->source, block, (float)fill->a, (float)fill->b);
    else
        loops->bernoulli(out, n, job->source, block, (uint64_t)ceil(fill->a * 0x1p32));
}

static void store_float(cr_dtype dtype, char *out, int64_t i, double value)
{
    switch (dtype) {
    case CR_F32:
        ((float *)(void *)out)[i] = (float)value;
        break;
    case CR_F64:
        ((double *)(void *)out)[i] = value;
        break;
    case CR_BF16:
        ((uint16_t *)(void *)out)[i] = bf16_from_float((float)value);
        break;
    default:
        ((uint16_t *)(void *)out)[i] = f16_from_float((float)value);
    }
}

static void store_integer(cr_dtype dtype, char *out, int64_t i, int64_t value)
{
    switch (dtype) {
    case CR_I64:
        ((int64_t *)(void *)out)[i] = value;
        break;
    case CR_I32:
        ((int32_t *)(void *)out)[i] = (int32_t)value;
        break;
    case CR_I16:
        ((int16_t *)(void *)out)[i] = (int16_t)value;
        break;
    case CR_BOOL:
        ((bool *)(void *)out)[i] = value != 0;
        break;
    default:
        ((int8_t *)(void *)out)[i] = (int8_t)value;
    }
}

static void store(cr_dtype dtype, char *out, int64_t i, double value)
{
    if (cr_dtype_is_floating(dtype))
        store_float(dtype, out, i, value);
    else
        store_integer(dtype, out, i, (int64_t)value);
}

/* n <= CHUNK elements from `begin` on, which is a multiple of 4. */
static void fill_from_words(const struct job *job, int64_t begin, int64_t n)
{
    uint32_t words[2 * CHUNK + 4];
    const struct random_fill *fill = job->fill;
    int per = words_per_element(fill, job->dtype);
    random_loops()->words(words, (n * per + 3) / 4 * 4, job->source, (uint64_t)(begin * per / 4));
    for (int64_t i = 0; i < n; i++) {
        if (fill->kind != RANDOM_INTEGER)
            store(job->dtype, job->out, begin + i, double_from(fill, &job->truncation, words, i));
        else if (cr_dtype_is_floating(job->dtype))
            store_float(job->dtype, job->out, begin + i,
                        (double)integer_from(fill, words + i * per));
        else
            store_integer(job->dtype, job->out, begin + i, integer_from(fill, words + i * per));
    }
}

static void fill_chunk(const struct job *job, int64_t begin, int64_t n)
{
    float values[CHUNK];
    enum random_kind kind = job->fill->kind;
    bool has_loop = kind == RANDOM_UNIFORM || kind == RANDOM_NORMAL || kind == RANDOM_BERNOULLI;
    if (!has_loop || job->dtype == CR_F64) {
        fill_from_words(job, begin, n);
        return;
    }
    floats_from_loops(job, values, begin, n);
    for (int64_t i = 0; i < n; i++)
        store(job->dtype, job->out, begin + i, (double)values[i]);
}

static void fill_part(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    enum random_kind kind = job->fill->kind;
    bool is_direct = kind == RANDOM_UNIFORM || kind == RANDOM_NORMAL || kind == RANDOM_BERNOULLI;
    if (is_direct && job->dtype == CR_F32) {
        floats_from_loops(job, (float *)(void *)job->out + begin, begin, end - begin);
        return;
    }
    for (int64_t at = begin; at < end; at += CHUNK)
        fill_chunk(job, at, CR_MIN(end - at, CHUNK));
}

void random_fill_tensor(cr_tensor *out, const struct random_fill *fill,
                        const struct random_source *source)
{
    struct job job = {
        .fill = fill, .source = source, .dtype = (cr_dtype)out->dtype, .out = tensor_bytes(out)
    };
    if (fill->kind == RANDOM_TRUNC_NORMAL)
        job.truncation = truncation_of(fill);
    cr_parallel_for(tensor_numel(out), PART_ELEMENTS, fill_part, &job);
}

/* ---- Bernoulli, each element with its own probability ---- */

static double load_float(cr_dtype dtype, const char *from, int64_t i)
{
    switch (dtype) {
    case CR_F32:
        return (double)((const float *)(const void *)from)[i];
    case CR_F64:
        return ((const double *)(const void *)from)[i];
    case CR_BF16:
        return (double)bf16_to_float(((const uint16_t *)(const void *)from)[i]);
    default:
        return (double)f16_to_float(((const uint16_t *)(const void *)from)[i]);
    }
}

static void bernoulli_part(int64_t begin, int64_t end, void *context)
{
    const struct job *job = context;
    uint32_t words[CHUNK];
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t n = CR_MIN(end - at, CHUNK);
        random_loops()->words(words, n, job->source, (uint64_t)at / 4);
        for (int64_t i = 0; i < n; i++) {
            double chance = load_float(job->dtype, job->p, at + i);
            store_float(job->dtype, job->out, at + i,
                        (double)words[i] * 0x1p-32 < chance ? 1.0 : 0.0);
        }
    }
}

void random_bernoulli_tensor(cr_tensor *out, const cr_tensor *p, const struct random_source *source)
{
    struct job job = { .source = source,
                       .dtype = (cr_dtype)out->dtype,
                       .out = tensor_bytes(out),
                       .p = tensor_bytes(p) };
    cr_parallel_for(tensor_numel(out), PART_ELEMENTS, bernoulli_part, &job);
}

/* ---- masks of what is kept ---- */

struct mask_job {
    const struct random_source *source;
    uint64_t threshold; /* words from here on are kept */
    uint8_t *out;
};

static void mask_part(int64_t begin, int64_t end, void *context)
{
    const struct mask_job *job = context;
    uint32_t words[CHUNK];
    for (int64_t at = begin; at < end; at += CHUNK) {
        int64_t n = CR_MIN(end - at, CHUNK);
        uint8_t *out = job->out + at;
        if (job->threshold > UINT32_MAX) {
            memset(out, 0, (size_t)n);
            continue;
        }
        uint32_t threshold = (uint32_t)job->threshold;
        random_loops()->words(words, n, job->source, (uint64_t)at / 4);
        for (int64_t i = 0; i < n; i++)
            out[i] = words[i] >= threshold;
    }
}

void random_keep_mask(cr_tensor *out, double p, const struct random_source *source)
{
    struct mask_job job = { .source = source,
                            .threshold = (uint64_t)ceil(p * 0x1p32),
                            .out = TENSOR_DATA(uint8_t, out) };
    cr_parallel_for(tensor_numel(out), PART_ELEMENTS, mask_part, &job);
}

/* ---- multinomial ---- */

/* The word at a position of the stretch that begins with `block`. */
static double chance_at(const struct random_source *source, uint64_t block, int64_t position)
{
    uint32_t words[4];
    cr_philox(source->seed, source->stream, source->first + block + (uint64_t)position / 4, words);
    return ((double)words[position % 4] + 0.5) * 0x1p-32;
}

/* Inverts the running sum of the weights. */
static void draw_with_replacement(int64_t *out, const double *weights, int64_t columns,
                                  int64_t samples, const struct random_source *source,
                                  uint64_t block, double *sums)
{
    double total = 0;
    int64_t last = 0;
    for (int64_t c = 0; c < columns; c++) {
        total += weights[c];
        sums[c] = total;
        last = weights[c] > 0 ? c : last;
    }
    for (int64_t s = 0; s < samples; s++) {
        double mark = chance_at(source, block, s) * total;
        int64_t low = 0, high = last;
        while (low < high) {
            int64_t middle = (low + high) / 2;
            if (sums[middle] > mark)
                high = middle;
            else
                low = middle + 1;
        }
        out[s] = low;
    }
}

/* The columns with the shortest waiting times, exponentially distributed by weight (Efraimidis and
 * Spirakis, "Weighted random sampling with a reservoir", 2006), shortest first. */
static void draw_without_replacement(int64_t *out, const double *weights, int64_t columns,
                                     int64_t samples, const struct random_source *source,
                                     uint64_t block, double *times)
{
    for (int64_t c = 0; c < columns; c++)
        times[c] = weights[c] > 0 ? -log(chance_at(source, block, c)) / weights[c] : INFINITY;
    for (int64_t s = 0; s < samples; s++) {
        int64_t best = 0;
        for (int64_t c = 1; c < columns; c++)
            best = times[c] < times[best] ? c : best;
        out[s] = best;
        times[best] = INFINITY;
    }
}

void random_multinomial(int64_t *out, const double *weights, int64_t rows, int64_t columns,
                        int64_t samples, bool replacement, const struct random_source *source,
                        double *workspace)
{
    int64_t words = replacement ? samples : columns;
    for (int64_t r = 0; r < rows; r++) {
        uint64_t block = (uint64_t)(r * CR_DIV_UP(words, 4));
        if (replacement)
            draw_with_replacement(out + r * samples, weights + r * columns, columns, samples,
                                  source, block, workspace);
        else
            draw_without_replacement(out + r * samples, weights + r * columns, columns, samples,
                                     source, block, workspace);
    }
}
