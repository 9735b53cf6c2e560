/* The reliability diagram: how often a classifier is right among the predictions of which it was so
 * sure, and how many predictions those are. */
#include <math.h>

#include "canvas.h"

cr_status cr_plot_reliability_with(cr_plot_reliability_args args)
{
    static const double ends[2] = { 0, 1 };
    double confidence[CR_MAX_CALIBRATION_BINS], accuracy[CR_MAX_CALIBRATION_BINS];
    double middle[CR_MAX_CALIBRATION_BINS], share[CR_MAX_CALIBRATION_BINS];
    double all = 0;
    if (args.bins == NULL || args.bin_count < 1 || args.bin_count > CR_MAX_CALIBRATION_BINS)
        return cr_error_set(
            CR_ERROR_ARGUMENT, "reliability diagram: %lld bins, but there must be 1 to %d",
            args.bins != NULL ? (long long)args.bin_count : 0, CR_MAX_CALIBRATION_BINS);
    for (int64_t b = 0; b < args.bin_count; b++)
        all += (double)args.bins[b].count;
    int64_t full = 0;
    for (int64_t b = 0; b < args.bin_count; b++) {
        middle[b] = ((double)b + 0.5) / (double)args.bin_count;
        share[b] = all > 0 ? (double)args.bins[b].count / all : NAN;
        if (args.bins[b].count == 0)
            continue;
        confidence[full] = args.bins[b].mean_score;
        accuracy[full++] = args.bins[b].positive_rate;
    }
    cr_plot_series upper[2] = {
        { .name = "model", .x = confidence, .y = accuracy, .count = full },
        { .name = "perfect calibration",
          .x = ends,
          .y = ends,
          .count = 2,
          .plain = true,
          .dashed = true },
    };
    cr_plot_series lower = { .x = middle, .y = share, .count = args.bin_count, .bars = true };
    cr_plot_panel panels[2] = {
        { .y_label = "accuracy", .series = upper, .series_count = 2, .x_max = 1, .y_max = 1 },
        { .x_label = "confidence",
          .y_label = "share of predictions",
          .series = &lower,
          .series_count = 1,
          .x_max = 1,
          .percent = true },
    };
    cr_plot_style style = args.style;
    style.width = style.width != 0 ? style.width : 640;
    style.height = style.height != 0 ? style.height : 600;
    return cr_plot_lines(args.sink, .panels = panels, .panel_count = 2, .style = style);
}
