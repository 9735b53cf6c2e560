/* The end of a training run: the best weights are evaluated on the test samples, the report is
 * written, and the result is said. */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/system.h"
#include "cresset/thread.h"

#define SHOWN_MISTAKES 48
#define SHOWN_BROKEN   12
#define BOOTSTRAP      1000 /* replicates for the intervals of scores */

/* The columns of the report by epoch, one block of memory. */
typedef struct curves {
    double *train_loss, *validation_loss, *train_accuracy, *validation_accuracy, *lr;
} curves;

/* What is computed for the report, to be freed. */
typedef struct findings {
    cr_classifier *classifier;
    cr_evaluation evaluation;
    float *thresholds; /* of several labels */
    int64_t *confusion;
    cr_classifier_scores scores;
    cr_report_mistake *mistakes;
    int64_t mistake_count;
    curves curves;
    cr_report_entry *facts; /* further lines of the summary */
    int64_t fact_count;
    char average[128];
    char more[NUMBER_SIZE + 32];
    cr_report_entry *settings; /* the values are to be freed */
    int64_t setting_count;
} findings;

static bool collect_curves(curves *c, const cr_train_result *result)
{
    size_t count = (size_t)result->count;
    double *block = cr_alloc_zeroed(count * 5, sizeof *block);
    if (!block)
        return false;
    *c = (curves){ block, block + count, block + 2 * count, block + 3 * count, block + 4 * count };
    for (size_t i = 0; i < count; i++) {
        const cr_train_epoch *epoch = &result->epochs[i];
        c->train_loss[i] = epoch->train_loss;
        c->validation_loss[i] = epoch->validation_loss;
        c->train_accuracy[i] = epoch->train_accuracy;
        c->validation_accuracy[i] = epoch->validation_accuracy;
        c->lr[i] = epoch->lr;
    }
    return true;
}

/* The settings that are set, as they would be typed. */
static bool collect_settings(findings *f, const arguments *args)
{
    json_t *object = arguments_to_json(args), *value;
    const char *name;
    f->settings = cr_alloc_zeroed((size_t)args->command->option_count, sizeof *f->settings);
    bool good = f->settings && object;
    if (good) {
        json_object_foreach(object, name, value)
        {
            if (json_is_null(value) || json_is_false(value))
                continue;
            char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
            const char *shown = json_is_string(value) ? json_string_value(value) : text;
            char *copy = shown ? cr_string_copy(shown) : NULL;
            free(text);
            good = good && copy;
            /* The name stands in the option table, which outlives the object. */
            const cli_option *option = option_named(args->command, name);
            f->settings[f->setting_count++] = (cr_report_entry){ option->name, copy };
        }
    }
    json_decref(object);
    return good;
}

/* Further lines of the summary: the average of weights, and the pictures that were left out because
 * they cannot be read. */
static bool collect_facts(findings *f, const cr_train_result *result,
                          const cr_broken_pictures *broken)
{
    f->facts = cr_alloc_zeroed(SHOWN_BROKEN + 2, sizeof *f->facts);
    if (!f->facts)
        return false;
    if (result->averaged) {
        snprintf(f->average, sizeof f->average,
                 "validation accuracy %.2f %% of the weights averaged over epochs (SWA), %s",
                 100 * result->average_accuracy,
                 result->average_is_best ? "kept as the best" : "while the best epoch is kept");
        f->facts[f->fact_count++] = (cr_report_entry){ "Average", f->average };
    }
    for (int64_t i = 0; i < broken->count && i < SHOWN_BROKEN; i++)
        f->facts[f->fact_count++] = (cr_report_entry){ i ? "" : "Left out", broken->sentences[i] };
    if (broken->count > SHOWN_BROKEN) {
        snprintf(f->more, sizeof f->more, "and %lld more, which log.txt names",
                 (long long)(broken->count - SHOWN_BROKEN));
        f->facts[f->fact_count++] = (cr_report_entry){ "", f->more };
    }
    return true;
}

/* What there is to say where each sample is of one class. */
static bool look_at_classes(findings *f, cr_dataset *test)
{
    f->confusion = confusion_of(&f->evaluation);
    f->mistakes =
        mistakes_of(&f->evaluation, f->classifier, test, SHOWN_MISTAKES, &f->mistake_count);
    return f->confusion && f->mistakes && scores_of(&f->evaluation, BOOTSTRAP, &f->scores);
}

static bool find_out(findings *f, const run_outcome *outcome)
{
    const training_data *data = outcome->data;
    f->classifier = cr_classifier_load(outcome->folder);
    cr_dtype was = cr_set_autocast(cr_autocast_for_inference(outcome->precision));
    bool good = f->classifier && evaluate_set(f->classifier, data->test, 0, 2,
                                              outcome->quiet || outcome->json, &f->evaluation);
    cr_set_autocast(was);
    if (!good)
        return false;
    model_list models = { .count = 1, .items = { f->classifier } };
    f->thresholds = thresholds_of(&models, -1);
    if (!outcome->report || !f->thresholds)
        return f->thresholds != NULL;
    if (!f->evaluation.marks && !look_at_classes(f, data->test))
        return false;
    return collect_curves(&f->curves, outcome->result) && collect_settings(f, outcome->args) &&
           collect_facts(f, outcome->result, &data->broken);
}

static void forget(findings *f)
{
    cr_classifier_free(f->classifier);
    cr_evaluation_free(&f->evaluation);
    free_mistakes(f->mistakes, f->mistake_count);
    cr_free(f->confusion);
    cr_classifier_scores_free(&f->scores);
    cr_free(f->curves.train_loss);
    cr_free(f->facts);
    cr_free(f->thresholds);
    for (int64_t i = 0; i < f->setting_count; i++)
        cr_free((void *)f->settings[i].value);
    cr_free(f->settings);
}

static bool write_report(const findings *f, const run_outcome *outcome)
{
    const cr_train_result *result = outcome->result;
    const cr_train_epoch *best =
        result->best_epoch ? &result->epochs[result->best_epoch - 1] : NULL;
    char samples[NUMBER_SIZE], evaluated[NUMBER_SIZE + 16], machine[256];
    snprintf(evaluated, sizeof evaluated, "%s test images",
             format_count(samples, f->evaluation.count));
    snprintf(machine, sizeof machine, "%s, %d thread%s, %s, computed in %s", cr_cpu_name(),
             cr_num_threads(), cr_num_threads() == 1 ? "" : "s", cr_isa_name(cr_cpu_isa()),
             precision_word(outcome->precision));
    char *command = arguments_typed(outcome->args);
    bool several = f->evaluation.marks != NULL;
    cr_report report = {
        .title = outcome->folder,
        .model = f->classifier->bound.architecture->name,
        .data = outcome->data->name,
        .command = command,
        .version = cr_version(),
        .machine = machine,
        .status = result->stopped_early ? "stopped early" : NULL,
        .parameters = cr_model_parameter_count(f->classifier->model, false),
        .peak_memory = cr_process_memory_peak(),
        .seconds = result->seconds,
        .seed = outcome->seed,
        .best_epoch = result->best_epoch,
        .best_accuracy = best && !several ? best->validation_accuracy : 0,
        .test_accuracy = f->evaluation.accuracy,
        .facts = f->facts,
        .fact_count = f->fact_count,
        .epochs = result->count,
        .train_loss = f->curves.train_loss,
        .validation_loss = f->curves.validation_loss,
        .train_accuracy = f->curves.train_accuracy,
        .validation_accuracy = f->curves.validation_accuracy,
        .learning_rate = f->curves.lr,
        .confusion = f->confusion,
        .classes = f->evaluation.classes,
        .class_names = (const char *const *)f->classifier->class_names,
        .evaluated_on = evaluated,
        .scores = f->scores.count ? &f->scores : NULL,
        .truth = several ? NULL : f->evaluation.truth,
        .marks = f->evaluation.marks,
        .predicted_marks = f->evaluation.predicted_marks,
        .thresholds = several ? f->thresholds : NULL,
        .test_average_precision = several ? f->evaluation.average_precision : 0,
        .probabilities = f->evaluation.probabilities,
        .samples = f->evaluation.count,
        .mistakes = f->mistakes,
        .mistake_count = f->mistake_count,
        .settings = f->settings,
        .setting_count = f->setting_count,
    };
    bool good = command && cr_report_write(&report, outcome->folder) == CR_OK;
    cr_free(command);
    return good;
}

static void print_outcome(const findings *f, const run_outcome *outcome)
{
    const cr_train_result *result = outcome->result;
    char clock[NUMBER_SIZE], memory[NUMBER_SIZE], samples[NUMBER_SIZE];
    printf("\n");
    const cr_train_epoch *best =
        result->best_epoch ? &result->epochs[result->best_epoch - 1] : NULL;
    const char *early = result->stopped_early ? " (stopped early)" : "";
    if (best && f->evaluation.marks)
        printf("best epoch       %lld%s, validation mean average precision %.4f\n",
               (long long)result->best_epoch, early, best->validation_average_precision);
    else if (best)
        printf("best epoch       %lld%s, validation accuracy %.2f %%\n",
               (long long)result->best_epoch, early, best->validation_accuracy * 100);
    if (result->averaged)
        printf("average (SWA)    validation accuracy %.2f %%%s\n", 100 * result->average_accuracy,
               result->average_is_best ? ", kept as the best" : "; the best epoch is kept");
    format_count(samples, f->evaluation.count);
    if (f->evaluation.marks)
        printf(
            "test             mean average precision %.4f, labels right %.2f %%, loss %.4f, on %s "
            "samples\n",
            f->evaluation.average_precision, f->evaluation.accuracy * 100, f->evaluation.loss,
            samples);
    else
        printf("test accuracy    %.2f %%, loss %.4f, on %s samples\n", f->evaluation.accuracy * 100,
               f->evaluation.loss, samples);
    printf("time and memory  %s, %s at the highest\n", format_clock(clock, result->seconds),
           format_bytes(memory, (double)cr_process_memory_peak()));
    printf("weights          %s/weights/best.safetensors\n", outcome->folder);
    if (outcome->report)
        printf("report           %s/report.html\n", outcome->folder);
}

static json_t *epochs_to_json(const cr_train_result *result)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < result->count; i++) {
        const cr_train_epoch *epoch = &result->epochs[i];
        json_array_append_new(
            list, json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:f, s:f}", "epoch",
                            (json_int_t)epoch->epoch, "train_loss", json_finite(epoch->train_loss),
                            "train_accuracy", json_finite(epoch->train_accuracy), "validation_loss",
                            json_finite(epoch->validation_loss), "validation_accuracy",
                            json_finite(epoch->validation_accuracy), "validation_average_precision",
                            json_finite(epoch->validation_average_precision), "lr", epoch->lr,
                            "seconds", epoch->seconds));
    }
    return list;
}

static int print_outcome_json(const findings *f, const run_outcome *outcome)
{
    const cr_train_result *result = outcome->result;
    json_t *answer = json_pack(
        "{s:s, s:s, s:s, s:I, s:I, s:b, s:f, s:I, s:o, s:o, s:I, s:o}", "run", outcome->folder,
        "model", f->classifier->bound.architecture->name, "precision",
        precision_word(outcome->precision), "best_epoch", (json_int_t)result->best_epoch, "steps",
        (json_int_t)result->steps, "stopped_early", result->stopped_early, "seconds",
        result->seconds, "peak_memory_bytes", (json_int_t)cr_process_memory_peak(), "test_accuracy",
        json_finite(f->evaluation.accuracy), "test_loss", json_finite(f->evaluation.loss),
        "test_samples", (json_int_t)f->evaluation.count, "epochs", epochs_to_json(result));
    if (f->evaluation.marks)
        json_object_set_new(
            answer, "labels",
            labels_to_json(&f->evaluation, f->classifier->class_names, f->thresholds));
    if (result->averaged)
        json_object_set_new(answer, "average",
                            json_pack("{s:o, s:o, s:b}", "validation_accuracy",
                                      json_finite(result->average_accuracy), "validation_loss",
                                      json_finite(result->average_loss), "best",
                                      (int)result->average_is_best));
    json_t *left_out = json_array();
    for (int64_t i = 0; i < outcome->data->broken.count; i++)
        json_array_append_new(left_out, json_string(outcome->data->broken.sentences[i]));
    json_object_set_new(answer, "left_out", left_out);
    if (outcome->profile)
        json_object_set(answer, "profile", outcome->profile);
    return print_json(outcome->args->command, answer);
}

int finish_run(const run_outcome *outcome)
{
    findings f = { 0 };
    int status = STATUS_DONE;
    if (!find_out(&f, outcome) || (outcome->report && !write_report(&f, outcome)))
        status = library_failure(outcome->args->command);
    else if (outcome->json)
        status = print_outcome_json(&f, outcome);
    else if (!outcome->quiet)
        print_outcome(&f, outcome);
    if (status == STATUS_DONE && outcome->fold) {
        *outcome->fold = (fold_result){ .whole = outcome->fold->whole,
                                        .best_epoch = outcome->result->best_epoch,
                                        .seconds = outcome->result->seconds,
                                        .evaluation = f.evaluation };
        f.evaluation = (cr_evaluation){ 0 };
    }
    forget(&f);
    json_decref(outcome->profile);
    return status;
}
