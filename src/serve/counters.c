/* What is counted of the requests to a version, for /metrics and the statistics. */
#include "serve/serve.h"

/* Seconds, and rows. */
const double latency_bounds[HISTOGRAM_BOUNDS] = { 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005,
                                                  0.01,   0.025,   0.05,   0.1,   0.25,   0.5,
                                                  1,      2.5,     5,      10 };
const double batch_bounds[HISTOGRAM_BOUNDS] = { 1,  2,  3,  4,  6,   8,   12,  16,
                                                24, 32, 48, 64, 128, 256, 512, 1024 };

void histogram_add(histogram *h, const double *bounds, double value)
{
    int i = 0;
    while (i < HISTOGRAM_BOUNDS && value > bounds[i])
        i++;
    h->counts[i]++;
    h->count++;
    h->sum += value;
}
