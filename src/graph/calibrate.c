/* Calibration: histograms of activations, and the ranges that follow from them. A histogram grows
 * with what it sees: its bins are over [-reach, reach], and pairs of them are put together when the
 * reach is doubled. */
#include <math.h>
#include <string.h>

#include "cresset/pointwise.h"
#include "cresset/quantize.h"
#include "graph/graph.h"

#define BINS       4096
#define LEVELS     128    /* of one sign that bytes tell apart */
#define PERCENTILE 0.9999 /* of what was seen stays inside */

struct histogram {
    double reach, low, high;
    double bins[BINS];
};

struct cr_calibrator {
    const cr_graph *graph;
    struct quantize_plan plan;
    struct histogram *histograms; /* by range */
};

cr_calibrator *cr_calibrator_new(const cr_graph *graph)
{
    cr_calibrator *calibrator = cr_alloc_zeroed(1, sizeof *calibrator);
    if (!calibrator)
        return NULL;
    calibrator->graph = graph;
    if (quantize_plan_make(graph, &calibrator->plan) == CR_OK)
        calibrator->histograms = cr_alloc_zeroed((size_t)calibrator->plan.range_count + 1,
                                                 sizeof *calibrator->histograms);
    if (!calibrator->histograms) {
        cr_calibrator_free(calibrator);
        return NULL;
    }
    return calibrator;
}

void cr_calibrator_free(cr_calibrator *calibrator)
{
    if (!calibrator)
        return;
    quantize_plan_free(&calibrator->plan);
    cr_free(calibrator->histograms);
    cr_free(calibrator);
}

/* ---- watching ---- */

static void double_reach(struct histogram *h)
{
    double joined[BINS] = { 0 };
    for (int i = 0; i < BINS; i++)
        joined[BINS / 4 + i / 2] += h->bins[i];
    memcpy(h->bins, joined, sizeof joined);
    h->reach *= 2;
}

static void take_values(struct histogram *h, const float *values, int64_t count)
{
    double low = h->low, high = h->high;
    for (int64_t i = 0; i < count; i++) {
        low = (double)values[i] < low ? (double)values[i] : low;
        high = (double)values[i] > high ? (double)values[i] : high;
    }
    h->low = low;
    h->high = high;
    double most = fmax(-low, high);
    if (!(most > 0) || !isfinite(most))
        return;
    h->reach = h->reach > 0 ? h->reach : most;
    while (h->reach < most)
        double_reach(h);
    double factor = BINS / (2 * h->reach);
    for (int64_t i = 0; i < count; i++) {
        double at = ((double)values[i] + h->reach) * factor;
        if (at >= 0)
            h->bins[at < BINS ? (int)at : BINS - 1]++;
    }
}

static void watch(int value, cr_tensor *tensor, void *context)
{
    cr_calibrator *calibrator = context;
    int range = calibrator->plan.range[value];
    cr_tensor *dense = range >= 0 ? cr_contiguous(tensor) : NULL;
    if (dense)
        take_values(&calibrator->histograms[range], TENSOR_DATA(const float, dense),
                    tensor_numel(dense));
}

cr_status cr_calibrator_observe(cr_calibrator *calibrator, cr_tensor *const *inputs)
{
    cr_tensor *outputs[CR_GRAPH_OUTPUTS];
    cr_frame frame = cr_frame_begin();
    graph_run_watched(calibrator->graph, inputs, outputs, watch, calibrator);
    cr_frame_end(frame);
    return cr_error_status();
}

/* ---- ranges ---- */

static cr_range whole_range(const struct histogram *h)
{
    return (cr_range){ h->low, h->high };
}

static cr_range percentile_range(const struct histogram *h)
{
    double all = 0, outside = 0, step = 2 * h->reach / BINS;
    for (int i = 0; i < BINS; i++)
        all += h->bins[i];
    double allowed = all * (1 - PERCENTILE) / 2;
    int first = 0, last = BINS - 1;
    for (; first < BINS / 2 && outside + h->bins[first] <= allowed; first++)
        outside += h->bins[first];
    outside = 0;
    for (; last >= BINS / 2 && outside + h->bins[last] <= allowed; last--)
        outside += h->bins[last];
    return (cr_range){ fmax(h->low, first * step - h->reach),
                       fmin(h->high, (last + 1) * step - h->reach) };
}

/* The divergence of a distribution of magnitudes, cut after `count` bins with the rest in the last
 * of them, from what LEVELS steps of it tell. */
static double divergence(const double *bins, int all, int count)
{
    double tail = 0, total = 0, told = 0, sum = 0;
    for (int i = count; i < all; i++)
        tail += bins[i];
    for (int i = 0; i < count; i++)
        told += bins[i];
    total = told + tail;
    if (told == 0)
        return INFINITY;
    for (int level = 0; level < LEVELS; level++) {
        int begin = (int)((int64_t)level * count / LEVELS);
        int end = (int)((int64_t)(level + 1) * count / LEVELS), used = 0;
        double mass = 0;
        for (int i = begin; i < end; i++) {
            mass += bins[i];
            used += bins[i] > 0;
        }
        for (int i = begin; i < end; i++) {
            double p = (bins[i] + (i == count - 1 ? tail : 0)) / total;
            double q = bins[i] > 0 ? mass / used / told : 1e-12;
            if (p > 0)
                sum += p * log(p / q);
        }
    }
    return sum;
}

static cr_range entropy_range(const struct histogram *h)
{
    double magnitudes[BINS / 2], least = INFINITY;
    int best = BINS / 2;
    for (int i = 0; i < BINS / 2; i++)
        magnitudes[i] = h->bins[BINS / 2 + i] + h->bins[BINS / 2 - 1 - i];
    for (int count = LEVELS; count <= BINS / 2; count += LEVELS / 8) {
        double found = divergence(magnitudes, BINS / 2, count);
        if (found < least) {
            least = found;
            best = count;
        }
    }
    double most = best * 2 * h->reach / BINS;
    return (cr_range){ fmax(h->low, -most), fmin(h->high, most) };
}

cr_status cr_calibrator_ranges(const cr_calibrator *calibrator, cr_calibration how,
                               cr_range *ranges)
{
    for (int i = 0; i < calibrator->plan.range_count; i++) {
        const struct histogram *h = &calibrator->histograms[i];
        if (!isfinite(h->low) || !isfinite(h->high))
            return cr_error_set(CR_ERROR_NUMERIC, "an activation is not finite: the model cannot "
                                                  "be quantized");
        ranges[i] = h->reach == 0                    ? (cr_range){ 0, 0 }
                    : how == CR_CALIBRATE_PERCENTILE ? percentile_range(h)
                    : how == CR_CALIBRATE_ENTROPY    ? entropy_range(h)
                                                     : whole_range(h);
    }
    return CR_OK;
}
