/* Post-training quantization: a graph of floats to one of 8-bit integers.
 *
 *     cr_calibrator *calibrator = cr_calibrator_new(graph);
 *     ...cr_calibrator_observe(calibrator, &batch) for some hundred samples...
 *     cr_calibrator_ranges(calibrator, CR_CALIBRATE_ENTROPY, ranges);
 *     cr_graph *small = cr_graph_quantize(graph, ranges);
 *
 * Convolutions (of one group, or depthwise) and linear layers become quantized_conv2d and
 * quantized_linear: weights are symmetric by output channel, activations have a scale and a zero
 * point each, from the range that they were seen in. Batch norm is folded into the weights,
 * residuals and ReLU are done on the sums, and what lies between such layers stays in 8 bits. All
 * else stays in float32. */
#ifndef CRESSET_QUANTIZE_H
#define CRESSET_QUANTIZE_H

#include "cresset/graph.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The range of an activation: low <= 0 <= high. */
typedef struct cr_range {
    double low;
    double high;
} cr_range;

/* How a range follows from what was seen: all of it; 99.99 % of it; or the part for which bytes
 * tell most of the distribution (Migacz, "8-bit inference with TensorRT", 2017). */
typedef enum cr_calibration {
    CR_CALIBRATE_MINMAX,
    CR_CALIBRATE_PERCENTILE,
    CR_CALIBRATE_ENTROPY
} cr_calibration;

/* How many activations have a range: the length of `ranges` below. */
int cr_quantize_range_count(const cr_graph *graph);

/* Watches activations while a graph, which must outlive it, is run. NULL on failure. */
typedef struct cr_calibrator cr_calibrator;
cr_calibrator *cr_calibrator_new(const cr_graph *graph);
cr_status cr_calibrator_observe(cr_calibrator *calibrator, cr_tensor *const *inputs);
cr_status cr_calibrator_ranges(const cr_calibrator *calibrator, cr_calibration how,
                               cr_range *ranges);
void cr_calibrator_free(cr_calibrator *calibrator);

/* The quantized graph. NULL on failure. */
cr_graph *cr_graph_quantize(const cr_graph *graph, const cr_range *ranges);

#ifdef __cplusplus
}
#endif
#endif
