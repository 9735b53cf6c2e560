/* A training run as a person sees it: what is trained on what, a line for every epoch, and a
 * progress bar below. */
#include <math.h>

#include "cli.h"
#include "cresset/memory.h"
#include "cresset/system.h"

#define SHOWN_BROKEN 5
#define EPOCH_LINE   "%*s %10s  %10s  %10s  %10s   %9s  %8s%s\n"

static void print_heading(const training_view *view, const cr_train_settings *settings,
                          const training_data *data)
{
    char train[NUMBER_SIZE], validation[NUMBER_SIZE], test[NUMBER_SIZE], parameters[NUMBER_SIZE];
    const cr_classifier *classifier = view->classifier;
    printf("model     %s, %s parameters, %d %s\n", classifier->bound.architecture->name,
           format_count(parameters, cr_model_parameter_count(classifier->model, false)),
           classifier->class_count, classifier->has_several_labels ? "labels" : "classes");
    printf("data      %s: %s to train, %s to validate, %s to test\n", data->name,
           format_count(train, cr_dataset_size(data->train)),
           format_count(validation, cr_dataset_size(data->validation)),
           format_count(test, cr_dataset_size(data->test)));
    for (int64_t i = 0; i < data->broken.count; i++) {
        if (i == SHOWN_BROKEN) {
            printf("          and %lld more, which log.txt names\n",
                   (long long)(data->broken.count - i));
            break;
        }
        printf("%s%s\n", i ? "          " : "left out  ", data->broken.sentences[i]);
    }
    printf("training  %s at %g, %s schedule, %lld epoch%s in batches of %lld, seed %llu\n",
           cr_optim_name(settings->optimizer.kind), settings->optimizer.lr,
           cr_train_schedule_name(settings->schedule), (long long)settings->epochs,
           settings->epochs == 1 ? "" : "s", (long long)settings->batch_size,
           (unsigned long long)settings->seed);
    const char *caveat = precision_caveat(settings->autocast);
    if (settings->autocast != CR_F32)
        printf("precision %s with f32 weights%s%s\n", precision_word(settings->autocast),
               caveat ? "; " : "", caveat ? caveat : "");
    if (settings->finetune_depth > 0 || settings->unfreeze_every > 0) {
        char *parts = cr_train_parts(classifier->model);
        printf("parts     %s\n", parts ? parts : "");
        cr_free(parts);
    }
    printf("run       %s%s\n\n", view->folder, view->resumes ? ", resumed" : "");
    fflush(stdout);
}

void training_view_begin(training_view *view, const cr_classifier *classifier,
                         const cr_train_settings *settings, const training_data *data,
                         const char *folder, bool resumes, bool quiet)
{
    *view = (training_view){ .classifier = classifier,
                             .folder = folder,
                             .batch_size = settings->batch_size,
                             .epochs = settings->epochs,
                             .resumes = resumes,
                             .quiet = quiet };
    if (!quiet)
        print_heading(view, settings, data);
}

static void print_headings(const training_view *view)
{
    bool several = view->classifier->has_several_labels;
    bool color = terminal_has_color(stdout);
    printf("%s", color ? "\033[1m" : "");
    printf(EPOCH_LINE, 7, "epoch", "loss", several ? "right" : "accuracy", "val loss",
           several ? "val mAP" : "val acc", "lr", "time", color ? "\033[0m" : "");
}

static const char *format_share(char buffer[NUMBER_SIZE], double share)
{
    if (isnan(share))
        snprintf(buffer, NUMBER_SIZE, "-");
    else
        snprintf(buffer, NUMBER_SIZE, "%.2f %%", share * 100);
    return buffer;
}

static const char *format_loss(char buffer[NUMBER_SIZE], double loss)
{
    snprintf(buffer, NUMBER_SIZE, isnan(loss) ? "-" : "%.4f", loss);
    return buffer;
}

/* Writes the numbers of an epoch for TensorBoard. What cannot be written is said once and then left
 * out: a run does not end for it. */
static void write_events(training_view *view, const cr_train_epoch *epoch)
{
    const struct {
        const char *tag;
        double value;
    } points[] = {
        { "loss/train", epoch->train_loss },
        { "loss/validation", epoch->validation_loss },
        { "accuracy/train", epoch->train_accuracy },
        { "accuracy/validation", epoch->validation_accuracy },
        { "average_precision/validation", epoch->validation_average_precision },
        { "learning_rate", epoch->lr },
    };
    if (view->board && view->resumes) /* epochs that are run again replace what the files hold */
        cr_tensorboard_purge(view->board, epoch->epoch);
    view->resumes = false;
    for (int i = 0; view->board && i < COUNT_OF(points); i++)
        if (!isnan(points[i].value))
            cr_tensorboard_scalar(view->board, points[i].tag, epoch->epoch, points[i].value, 0);
    if (view->board && cr_failed()) {
        progress_clear(&view->bar);
        failure(&train_command, "no more events for TensorBoard: %s", cr_error_message());
        cr_error_clear();
        cr_tensorboard_close(view->board);
        view->board = NULL;
    }
}

static void on_epoch(const cr_train_epoch *epoch, void *context)
{
    training_view *view = context;
    char number[NUMBER_SIZE], loss[NUMBER_SIZE], accuracy[NUMBER_SIZE], lr[NUMBER_SIZE];
    char validation_loss[NUMBER_SIZE], validation_accuracy[NUMBER_SIZE], clock[NUMBER_SIZE];
    view->bar_epoch = 0;
    write_events(view, epoch);
    if (view->quiet)
        return;
    progress_clear(&view->bar);
    if (!view->printed)
        print_headings(view);
    view->printed = true;
    snprintf(number, sizeof number, "%lld/%lld", (long long)epoch->epoch, (long long)view->epochs);
    snprintf(lr, sizeof lr, "%.3g", epoch->lr);
    printf(EPOCH_LINE, 7, number, format_loss(loss, epoch->train_loss),
           format_share(accuracy, epoch->train_accuracy),
           format_loss(validation_loss, epoch->validation_loss),
           view->classifier->has_several_labels
               ? format_loss(validation_accuracy, epoch->validation_average_precision)
               : format_share(validation_accuracy, epoch->validation_accuracy),
           lr, format_clock(clock, epoch->seconds), epoch->is_best ? " *" : "");
    fflush(stdout);
}

/* A bar for each epoch and for each validation. The time left is that of the whole run, counted in
 * batches of training. */
static void renew_bar(training_view *view, const cr_train_progress *now)
{
    if (view->bar_epoch == now->epoch && view->bar_validates == now->is_validation)
        return;
    view->bar_epoch = now->epoch;
    view->bar_validates = now->is_validation;
    snprintf(view->label, sizeof view->label, "%s %lld/%lld",
             now->is_validation ? "validating" : "epoch", (long long)now->epoch,
             (long long)now->epochs);
    progress_begin(&view->bar, view->label, now->batches, "samples");
}

static void on_progress(const cr_train_progress *now, void *context)
{
    training_view *view = context;
    char tail[64];
    if (view->quiet)
        return;
    renew_bar(view, now);
    if (!now->is_validation && now->samples_per_second > 0) {
        double batch_seconds = (double)view->batch_size / now->samples_per_second;
        double later = (double)((now->epochs - now->epoch) * now->batches) * batch_seconds;
        view->later_seconds = later;
        view->bar.left = later + (double)(now->batches - now->batch) * batch_seconds;
    } else {
        view->bar.left = view->later_seconds;
    }
    view->bar.rate = now->samples_per_second;
    snprintf(tail, sizeof tail, "loss %.4f  acc %.1f %%", now->loss, now->accuracy * 100);
    progress_update(&view->bar, now->batch, now->is_validation ? "" : tail);
}

static bool should_stop(void *context)
{
    (void)context;
    return interrupted();
}

/* Warnings of the library, above the bar. */
static void on_log(cr_log_level level, const char *line, void *context)
{
    training_view *view = context;
    if (level < CR_LOG_WARNING)
        return;
    progress_clear(&view->bar);
    fprintf(stderr, "cresset train: %s\n", line);
}

bool training_view_connect(training_view *view, cr_train_run *run, bool events)
{
    run->on_progress = on_progress;
    run->on_epoch = on_epoch;
    run->should_stop = should_stop;
    run->context = view;
    view->board = events ? cr_tensorboard_open(run->folder) : NULL;
    cr_log_set_sink(on_log, view);
    return view->board || !events;
}

void training_view_end(training_view *view)
{
    progress_clear(&view->bar);
    cr_tensorboard_close(view->board);
    view->board = NULL;
    cr_log_set_sink(NULL, NULL);
}
