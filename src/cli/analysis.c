/* The analysis of errors that needs no further run of the model: are the classes even, is each good
 * enough, are probabilities what they say, was it trained too long. Each finding is one sentence
 * with its number, and what to do about it. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define DRAWN_CLASSES 40 /* bars of more would not be read */
#define LONGEST_TABLE (1 << 24)

static const char *name_of(const analysis *a, int64_t class)
{
    return a->classifier->class_names[class];
}

static void draw_bars(analysis *a, cr_report_finding *finding, const double *values, bool fractions)
{
    if (a->classifier->class_count > DRAWN_CLASSES)
        return;
    finding->bar_names = (const char *const *)a->classifier->class_names;
    finding->bars = values;
    finding->bar_count = a->classifier->class_count;
    finding->bars_are_fractions = fractions;
}

/* --- Are the classes even? ------------------------------------------------------------------ */

static double *count_classes(analysis *a, cr_dataset *set)
{
    int64_t classes = a->classifier->class_count;
    double *counts = findings_keep(&a->found, cr_alloc_zeroed((size_t)classes, sizeof *counts));
    for (int64_t i = 0; counts && i < cr_dataset_size(set); i++) {
        int64_t label;
        if (cr_dataset_label(set, i, &label) != CR_OK)
            return NULL;
        if (label >= 0 && label < classes)
            counts[label]++;
    }
    return counts;
}

static bool find_evenness(analysis *a)
{
    cr_dataset *set = a->train ? a->train : a->set;
    const char *part = a->train ? "training" : "evaluated";
    double *counts = count_classes(a, set);
    cr_report_finding *f = counts ? findings_add(&a->found, "Are the classes even?") : NULL;
    if (!f)
        return false;
    int64_t most = 0, least = 0;
    for (int64_t c = 1; c < a->classifier->class_count; c++) {
        most = counts[c] > counts[most] ? c : most;
        least = counts[c] < counts[least] ? c : least;
    }
    double ratio = counts[most] / counts[least];
    draw_bars(a, f, counts, false);
    if (counts[least] == 0) {
        f->verdict = CR_REPORT_BAD;
        f->answer =
            findings_say(&a->found, "There is no %s sample of %s at all.", part, name_of(a, least));
        f->advice = "Find samples of it, or leave the class out.";
        return f->answer != NULL;
    }
    if (counts[most] == counts[least]) {
        f->answer =
            findings_say(&a->found, "Every class has %.0f %s samples.", counts[least], part);
        return f->answer != NULL;
    }
    f->verdict = ratio < 2 ? CR_REPORT_GOOD : ratio < 10 ? CR_REPORT_WATCH : CR_REPORT_BAD;
    f->answer =
        findings_say(&a->found,
                     "The largest class, %s, has %.1f times as many %s samples (%.0f) as "
                     "the smallest, %s (%.0f).",
                     name_of(a, most), ratio, part, counts[most], name_of(a, least), counts[least]);
    if (f->verdict != CR_REPORT_GOOD)
        f->advice = findings_say(
            &a->found,
            "Draw samples so that classes come equally often or weigh the loss, and judge by "
            "balanced accuracy (%.3f) rather than accuracy (%.3f).",
            a->scores->metric[CR_METRIC_BALANCED_ACCURACY].value,
            a->scores->metric[CR_METRIC_ACCURACY].value);
    return !cr_failed();
}

/* --- Is each class good enough? ------------------------------------------------------------- */

/* The class that samples of `class` are most often taken for, and how many are. */
static int64_t most_taken_for(const analysis *a, int64_t class, int64_t *count)
{
    const cr_evaluation *e = a->evaluation;
    int64_t best = -1;
    *count = 0;
    for (int64_t other = 0; other < e->classes; other++) {
        int64_t taken = 0;
        for (int64_t i = 0; other != class && i < e->count; i++)
            taken += e->truth[i] == class && e->predicted[i] == other;
        if (taken > *count) {
            *count = taken;
            best = other;
        }
    }
    return best;
}

static int64_t weakest_class(const analysis *a)
{
    const cr_classifier_scores *s = a->scores;
    int64_t weakest = -1;
    for (int64_t c = 0; c < s->classes; c++) {
        bool occurs = s->per_class[c].support > 0;
        if (occurs && (weakest < 0 || s->per_class[c].f1.value < s->per_class[weakest].f1.value))
            weakest = c;
    }
    return weakest;
}

static bool find_weakest(analysis *a)
{
    int64_t weakest = weakest_class(a), count;
    double *f1 = findings_keep(&a->found, cr_alloc_array((size_t)a->scores->classes, sizeof *f1));
    cr_report_finding *f =
        f1 && weakest >= 0 ? findings_add(&a->found, "Is each class good enough?") : NULL;
    if (!f)
        return !cr_failed();
    for (int64_t c = 0; c < a->scores->classes; c++)
        f1[c] = a->scores->per_class[c].f1.value;
    draw_bars(a, f, f1, true);
    const cr_class_estimates *own = &a->scores->per_class[weakest];
    double mean = a->scores->metric[CR_METRIC_F1_MACRO].value;
    double share = mean > 0 ? own->f1.value / mean : 0;
    f->verdict = own->f1.value >= 0.9 && share >= 0.95 ? CR_REPORT_GOOD
                 : share >= 0.85                       ? CR_REPORT_WATCH
                                                       : CR_REPORT_BAD;
    char interval[64] = "";
    if (isfinite(own->f1.low))
        snprintf(interval, sizeof interval, " (interval %.3f to %.3f)", own->f1.low, own->f1.high);
    f->answer = findings_say(&a->found,
                             "The weakest class is %s with F1 %.3f%s, precision %.3f and recall "
                             "%.3f; the mean of the classes is %.3f.",
                             name_of(a, weakest), own->f1.value, interval, own->precision.value,
                             own->recall.value, mean);
    int64_t other = most_taken_for(a, weakest, &count);
    if (f->verdict != CR_REPORT_GOOD && other >= 0)
        f->advice = findings_say(
            &a->found,
            "%lld of its %lld samples are taken for %s: look at these below, check their labels, "
            "and add training samples that tell the two apart.",
            (long long)count, (long long)own->support, name_of(a, other));
    return !cr_failed();
}

/* --- Are the probabilities right? ----------------------------------------------------------- */

static bool find_calibration(analysis *a)
{
    const cr_classifier_scores *s = a->scores;
    double error = s->metric[CR_METRIC_CALIBRATION_ERROR].value, confidence = 0;
    if (!isfinite(error))
        return true;
    cr_report_finding *f = findings_add(&a->found, "Is it as sure as it is right?");
    if (!f)
        return false;
    for (int64_t b = 0; b < s->bin_count; b++)
        if (s->bins[b].count > 0)
            confidence += s->bins[b].mean_score * (double)s->bins[b].count / (double)s->count;
    double accuracy = s->metric[CR_METRIC_ACCURACY].value;
    f->verdict = error < 0.03 ? CR_REPORT_GOOD : error < 0.1 ? CR_REPORT_WATCH : CR_REPORT_BAD;
    f->answer = findings_say(&a->found,
                             "It is %.1f %% sure on average and %.1f %% right; confidence and "
                             "accuracy differ by %.1f %% (ECE).",
                             100 * confidence, 100 * accuracy, 100 * error);
    if (f->verdict != CR_REPORT_GOOD)
        f->advice = confidence > accuracy
                        ? "Do not take its probabilities at their word: train for fewer epochs, "
                          "with label smoothing or mixup, or divide the scores by a temperature "
                          "chosen on the validation set."
                        : "It doubts more than it need: less label smoothing or mixup, or a "
                          "temperature below 1 chosen on the validation set, would help.";
    return !cr_failed();
}

/* --- Does it overfit? ----------------------------------------------------------------------- */

enum { EPOCH, TRAIN_LOSS, TRAIN_ACCURACY, VALIDATION_LOSS, VALIDATION_ACCURACY, EPOCH_COLUMNS };

/* The first columns of a run's metrics.csv, one after the other; NULL if there are none. */
static double *read_epochs(analysis *a, int64_t *count)
{
    char *path = cr_path_join(a->path, "metrics.csv");
    FILE *file = path ? fopen(path, "re") : NULL;
    char line[512];
    int64_t room = 0, rows = 0;
    double *table = NULL;
    cr_free(path);
    bool heading = true;
    while (file && fgets(line, sizeof line, file) && rows < LONGEST_TABLE) {
        if (heading && strncmp(line, "epoch,train_loss,train_accuracy,validation_loss,", 48) != 0)
            break;
        if (heading) {
            heading = false;
            continue;
        }
        if (rows == room) {
            room = room ? 2 * room : 64;
            double *grown = cr_resize(table, (size_t)room, EPOCH_COLUMNS * sizeof *table);
            if (!grown)
                break;
            table = grown;
        }
        char *at = line;
        for (int k = 0; k < EPOCH_COLUMNS; k++) {
            char *end;
            double value = strtod(at, &end);
            table[rows * EPOCH_COLUMNS + k] = end == at ? NAN : value;
            at = strchr(end, ',');
            at = at ? at + 1 : end + strlen(end);
        }
        rows++;
    }
    if (file)
        fclose(file);
    *count = rows;
    return findings_keep(&a->found, table);
}

/* A series of one column of the table. */
static cr_plot_series column_of(analysis *a, const double *table, int64_t count, int column,
                                const char *name)
{
    double *block = findings_keep(&a->found, cr_alloc_array((size_t)count, 2 * sizeof *block));
    for (int64_t i = 0; block && i < count; i++) {
        block[i] = table[i * EPOCH_COLUMNS + EPOCH];
        block[count + i] = table[i * EPOCH_COLUMNS + column];
    }
    return (cr_plot_series){
        .name = name, .x = block, .y = block ? block + count : NULL, .count = block ? count : 0
    };
}

static void draw_epochs(analysis *a, cr_report_finding *f, const double *table, int64_t count)
{
    cr_plot_panel *panel = findings_keep(&a->found, cr_alloc_zeroed(1, sizeof *panel));
    cr_plot_series *series = findings_keep(&a->found, cr_alloc_zeroed(2, sizeof *series));
    if (!panel || !series)
        return;
    series[0] = column_of(a, table, count, TRAIN_ACCURACY, "train");
    series[1] = column_of(a, table, count, VALIDATION_ACCURACY, "validation");
    *panel = (cr_plot_panel){ .x_label = "epoch",
                              .y_label = "accuracy",
                              .series = series,
                              .series_count = 2,
                              .percent = true };
    f->panel = panel;
}

static bool find_overfitting(analysis *a)
{
    int64_t count, best = -1, lowest = -1;
    double *table = read_epochs(a, &count);
    for (int64_t i = 0; i < count; i++) {
        const double *row = table + i * EPOCH_COLUMNS;
        if (isnan(row[VALIDATION_ACCURACY]))
            continue;
        if (best < 0 ||
            row[VALIDATION_ACCURACY] > table[best * EPOCH_COLUMNS + VALIDATION_ACCURACY])
            best = i;
        if (lowest < 0 || row[VALIDATION_LOSS] < table[lowest * EPOCH_COLUMNS + VALIDATION_LOSS])
            lowest = i;
    }
    if (best < 0 || cr_failed())
        return !cr_failed();
    cr_report_finding *f = findings_add(&a->found, "Does it overfit?");
    if (!f)
        return false;
    const double *own = table + best * EPOCH_COLUMNS, *last = table + (count - 1) * EPOCH_COLUMNS;
    double gap = own[TRAIN_ACCURACY] - own[VALIDATION_ACCURACY];
    double rise = last[VALIDATION_LOSS] / table[lowest * EPOCH_COLUMNS + VALIDATION_LOSS] - 1;
    f->verdict = gap > 0.1 || rise > 0.5    ? CR_REPORT_BAD
                 : gap > 0.03 || rise > 0.1 ? CR_REPORT_WATCH
                                            : CR_REPORT_GOOD;
    f->answer = findings_say(
        &a->found,
        "At the best epoch, %.0f of %.0f, accuracy on the training data is %.1f %% and on the "
        "validation data %.1f %%; validation loss ends %.0f %% above its lowest, of epoch %.0f.",
        own[EPOCH], last[EPOCH], 100 * own[TRAIN_ACCURACY], 100 * own[VALIDATION_ACCURACY],
        100 * rise, table[lowest * EPOCH_COLUMNS + EPOCH]);
    if (f->verdict != CR_REPORT_GOOD)
        f->advice = "Add augmentation, weight decay or dropout, freeze more of a pretrained model, "
                    "or get more data; further epochs will not help.";
    else if (best + 1 == count && count > 1)
        f->advice = "The best epoch is the last: training longer may still help.";
    draw_epochs(a, f, table, count);
    return !cr_failed();
}

bool analyse_scores(analysis *a)
{
    return find_evenness(a) && find_weakest(a) && find_calibration(a) && find_overfitting(a);
}
