/* The range test of learning rates: training whose rate grows by the same factor from step to step,
 * and where the loss was lowest. */
#include <math.h>

#include "cresset/memory.h"
#include "train/train_run.h"

#define SMOOTHING  0.9 /* how much of a smoothed loss the next one keeps */
#define DIVERGENCE 4   /* times the lowest loss */

/* The test while it runs. */
struct range_test {
    const cr_find_lr_args *args;
    cr_lr_curve *curve;
    int64_t room;
    double mean; /* exponential, towards 0 at first */
    double best;
    bool is_over, is_stopped;
};

static void take_step(const cr_train_progress *progress, void *context)
{
    struct range_test *test = context;
    cr_lr_curve *curve = test->curve;
    if (curve->count == test->room || test->is_over)
        return;
    int64_t i = curve->count++;
    test->mean = SMOOTHING * test->mean + (1 - SMOOTHING) * progress->step_loss;
    curve->rate[i] = progress->lr;
    curve->loss[i] = progress->step_loss;
    curve->smoothed[i] = test->mean / (1 - pow(SMOOTHING, (double)(i + 1)));
    if (i == 0 || curve->smoothed[i] < test->best) {
        test->best = curve->smoothed[i];
        curve->lowest = curve->rate[i];
    }
    test->is_over = curve->count == test->room || curve->smoothed[i] > DIVERGENCE * test->best;
}

static bool is_over(void *context)
{
    struct range_test *test = context;
    test->is_stopped = test->args->should_stop && test->args->should_stop(test->args->context);
    return test->is_over || test->is_stopped;
}

void cr_lr_curve_free(cr_lr_curve *curve)
{
    cr_free(curve->rate);
    cr_free(curve->loss);
    cr_free(curve->smoothed);
    *curve = (cr_lr_curve){ 0 };
}

/* Steps of an epoch. */
static double steps_of(const cr_train_settings *settings, cr_dataset *train)
{
    double samples = (double)(settings->samples_per_epoch > 0 ? settings->samples_per_epoch
                                                              : cr_dataset_size(train));
    double group = settings->accumulate > 0 ? (double)settings->accumulate : 1;
    return ceil(ceil(samples / (double)settings->batch_size) / group);
}

/* The settings of the test: the rate begins at the lowest and grows by `factor` each step. */
static cr_train_settings range_settings(cr_train_settings settings, double per_epoch, double lowest,
                                        double factor, int64_t steps)
{
    settings.optimizer.lr = lowest;
    settings.schedule = CR_TRAIN_EXPONENTIAL;
    settings.gamma = pow(factor, per_epoch);
    settings.epochs = (int64_t)ceil((double)steps / per_epoch);
    settings.warmup_epochs = 0;
    settings.ema_decay = 0;
    settings.swa_start = 0;
    settings.early_stopping = 0;
    return settings;
}

/* The end of the training: it is stopped, or the loss is no number any more. */
static cr_status end_test(const struct range_test *test, cr_status status)
{
    cr_lr_curve *curve = test->curve;
    bool ended = status == CR_OK || (status == CR_ERROR_INTERRUPTED && !test->is_stopped) ||
                 (status == CR_ERROR_NUMERIC && curve->count > 0);
    curve->suggested = curve->lowest / 10;
    if (!ended) {
        cr_lr_curve_free(curve);
        return status;
    }
    cr_error_clear();
    return CR_OK;
}

cr_status cr_find_lr(cr_classifier *classifier, cr_dataset *train, cr_train_settings settings,
                     cr_find_lr_args args, cr_lr_curve *curve)
{
    *curve = (cr_lr_curve){ 0 };
    if (cr_failed())
        return cr_error_status();
    double lowest = args.lowest > 0 ? args.lowest : 1e-6;
    double highest = args.highest > 0 ? args.highest : 1;
    int64_t steps = args.steps > 0 ? args.steps : 100;
    if (steps < 2 || highest <= lowest || settings.batch_size < 1)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "a range test needs two steps or more and rates that rise, not %lld "
                            "from %g to %g",
                            (long long)steps, lowest, highest);
    curve->rate = cr_alloc_array((size_t)steps, sizeof *curve->rate);
    curve->loss = cr_alloc_array((size_t)steps, sizeof *curve->loss);
    curve->smoothed = cr_alloc_array((size_t)steps, sizeof *curve->smoothed);
    cr_status status = cr_error_status();
    struct range_test test = { .args = &args, .curve = curve, .room = steps };
    cr_train_result result = { 0 };
    if (status == CR_OK) {
        double factor = pow(highest / lowest, 1 / (double)(steps - 1));
        status = cr_train(
            classifier, train, NULL,
            range_settings(settings, steps_of(&settings, train), lowest, factor, steps),
            (cr_train_run){ .on_progress = take_step, .should_stop = is_over, .context = &test },
            &result);
    }
    cr_train_result_free(&result);
    return end_test(&test, status);
}
