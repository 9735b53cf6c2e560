/* Bootstrap intervals: which samples a replicate draws, the percentiles of a metric's values, and
 * the interval of a metric that the caller computes. All scores of a classifier at once are in
 * estimates.c. */
#include <math.h>
#include <stdlib.h>

#include "metrics/metrics.h"

void cr_bootstrap_draw(uint64_t seed, int64_t replicate, int64_t count, int64_t *indices)
{
    for (int64_t i = 0; i < count; i += 2) {
        uint32_t word[4];
        cr_philox(seed, (uint64_t)replicate, (uint64_t)i / 2, word);
        for (int k = 0; k < 2 && i + k < count; k++)
            indices[i + k] = metrics_draw_below(word + 2 * k, count);
    }
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a;
    double y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* NumPy's percentile: linear between the two nearest ranks. */
static double quantile(const double *sorted, int64_t count, double share)
{
    double rank = share * (double)(count - 1);
    int64_t below = (int64_t)floor(rank);
    int64_t above = CR_MIN(below + 1, count - 1);
    return sorted[below] + (rank - (double)below) * (sorted[above] - sorted[below]);
}

void metrics_interval(double *values, int64_t count, double level, cr_estimate *estimate)
{
    int64_t known = 0;
    for (int64_t i = 0; i < count; i++) {
        if (!isnan(values[i]))
            values[known++] = values[i];
    }
    estimate->low = estimate->high = NAN;
    if (known == 0)
        return;
    qsort(values, (size_t)known, sizeof *values, by_value);
    estimate->low = quantile(values, known, (1 - level) / 2);
    estimate->high = quantile(values, known, (1 + level) / 2);
}

cr_status metrics_check_bootstrap(cr_bootstrap_args *args)
{
    args->replicates = args->replicates != 0 ? args->replicates : 1000;
    args->level = args->level != 0 ? args->level : 0.95;
    if (args->replicates < 1 || args->replicates > CR_MAX_REPLICATES ||
        !(args->level > 0 && args->level < 1))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "bootstrap: %lld replicates at level %g, but there must be 1 to %d and "
                            "a level between 0 and 1",
                            (long long)args->replicates, args->level, CR_MAX_REPLICATES);
    return CR_OK;
}

cr_status cr_bootstrap(cr_metric_function metric, void *context, int64_t count,
                       cr_bootstrap_args args, cr_estimate *estimate)
{
    *estimate = (cr_estimate){ NAN, NAN, NAN };
    if (cr_failed() || metrics_check_bootstrap(&args) != CR_OK)
        return cr_error_status();
    if (count < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "bootstrap: there are no samples to draw from");
    int64_t *indices = cr_alloc_array((size_t)count, sizeof *indices);
    double *values = cr_alloc_array((size_t)args.replicates, sizeof *values);
    if (indices != NULL && values != NULL) {
        for (int64_t i = 0; i < count; i++)
            indices[i] = i;
        estimate->value = metric(indices, count, context);
        for (int64_t r = 0; r < args.replicates; r++) {
            cr_bootstrap_draw(args.seed, r, count, indices);
            values[r] = metric(indices, count, context);
        }
        metrics_interval(values, args.replicates, args.level, estimate);
    }
    cr_free(indices);
    cr_free(values);
    return cr_error_status();
}
