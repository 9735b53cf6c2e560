/* `cresset train --find-lr`: the range test of learning rates, its chart, and a rate to begin with.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

static bool stopped(void *context)
{
    (void)context;
    return interrupted();
}

static bool draw_curve(const cr_lr_curve *curve, const char *folder)
{
    const cr_plot_series series = {
        .x = curve->rate, .y = curve->smoothed, .count = curve->count, .plain = true
    };
    char label[64];
    snprintf(label, sizeof label, "suggested %.2g", curve->suggested);
    double first = curve->smoothed[0], low = first;
    for (int64_t i = 0; i < curve->count; i++)
        low = curve->smoothed[i] < low ? curve->smoothed[i] : low;
    /* The end, where the loss explodes, is cut off, so that the fall before it can be seen. */
    const cr_plot_panel panel = { .x_label = "learning rate",
                                  .y_label = "training loss, smoothed",
                                  .series = &series,
                                  .series_count = 1,
                                  .y_min = low > 0 ? 0.8 * low : 0,
                                  .y_max = first + 0.6 * (first - low) + 0.05 * first,
                                  .log_x = true,
                                  .mark_label = label,
                                  .mark_x = curve->suggested };
    char *png = cr_path_join(folder, "find_lr.png"), *svg = cr_path_join(folder, "find_lr.svg");
    bool good =
        png && svg &&
        cr_plot_lines(cr_plot_to_file(png), .panels = &panel, .style = { .scale = 2 }) == CR_OK &&
        cr_plot_lines(cr_plot_to_file(svg), .panels = &panel) == CR_OK;
    cr_free(png);
    cr_free(svg);
    return good;
}

static bool write_table(const cr_lr_curve *curve, const char *folder)
{
    cr_text text = { 0 };
    cr_text_append(&text, "learning_rate,loss,smoothed_loss\n");
    for (int64_t i = 0; i < curve->count; i++)
        cr_text_printf(&text, "%.8g,%.8g,%.8g\n", curve->rate[i], curve->loss[i],
                       curve->smoothed[i]);
    char *path = cr_path_join(folder, "find_lr.csv");
    bool good = path && !cr_failed() && cr_file_replace(path, text.data, text.length) == CR_OK;
    cr_free(path);
    cr_text_free(&text);
    return good;
}

static json_t *curve_to_json(const cr_lr_curve *curve, const char *folder)
{
    json_t *points = json_array();
    for (int64_t i = 0; i < curve->count; i++)
        json_array_append_new(points, json_pack("{s:f, s:o, s:o}", "lr", curve->rate[i], "loss",
                                                json_finite(curve->loss[i]), "smoothed",
                                                json_finite(curve->smoothed[i])));
    return json_pack("{s:s, s:f, s:f, s:o}", "folder", folder, "suggested", curve->suggested,
                     "lowest_loss_at", curve->lowest, "points", points);
}

int find_learning_rate(const arguments *args, cr_classifier *classifier, cr_dataset *train,
                       const cr_train_settings *settings, const char *folder)
{
    const train_options *chosen = args->settings;
    cr_lr_curve curve;
    if (cr_find_lr(classifier, train, *settings,
                   (cr_find_lr_args){ .steps = chosen->find_lr_steps, .should_stop = stopped },
                   &curve) != CR_OK)
        return library_failure(args->command);
    bool good = draw_curve(&curve, folder) && write_table(&curve, folder);
    int status = STATUS_DONE;
    if (!good)
        status = library_failure(args->command);
    else if (chosen->json)
        status = print_json(args->command, curve_to_json(&curve, folder));
    else if (!chosen->quiet)
        printf("%lld steps from %.2g to %.2g; the smoothed loss was lowest at %.2g\n"
               "suggested  --lr %.2g (a tenth of that)\nchart      %s/find_lr.png\n",
               (long long)curve.count, curve.rate[0], curve.rate[curve.count - 1], curve.lowest,
               curve.suggested, folder);
    cr_lr_curve_free(&curve);
    return status;
}
