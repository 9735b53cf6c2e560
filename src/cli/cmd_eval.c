/* `cresset eval`: how good a trained model is on a data set. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/thread.h"

#define SHOWN_CLASSES   20 /* a confusion matrix of more is not printed */
#define SHOWN_MISTAKES  48
#define SHOWN_CONFUSION 5

typedef struct eval_settings {
    const char *data, *split, *report, *precision, *ensemble, *views;
    double threshold;
    int64_t batch_size, workers, threads, bootstrap;
    bool json, csv, analyze;
    const char *new_data;
    number_list learning_curve;
    int64_t analysis_samples, learning_epochs;
    profile_options profile;
} eval_settings;

static const char *const split_names[] = { "test", "train", "validation" };

const char *split_words(int index)
{
    return index < COUNT_OF(split_names) ? split_names[index] : NULL;
}

cr_data_split split_of(const char *word)
{
    static const cr_data_split splits[] = { CR_SPLIT_TEST, CR_SPLIT_TRAIN, CR_SPLIT_VALIDATION };
    int index = 0;
    while (strcmp(split_names[index], word) != 0)
        index++;
    return splits[index];
}

static const cli_option eval_options[] = {
    { "data", 'd', "Data", FOLDER_PATH(eval_settings, data), "DATA", NULL,
      "the data set: a folder of idx files, or the name of one in /usr/share/datasets [what the "
      "run was trained on]" },
    { "split", 0, "Data", CHOICE(eval_settings, split, split_words), "WORD", "test",
      "which part of it; of a run's own data parted as the run had it" },
    { "batch-size", 'b', "Work", INTEGER(eval_settings, batch_size, 1, 1 << 20), "N", "256",
      "samples in a batch" },
    { "workers", 'j', "Work", INTEGER(eval_settings, workers, 0, 256), "N", "2",
      "threads that prepare batches" },
    { "threads", 't', "Work", INTEGER(eval_settings, threads, 0, 1024), "N", "0",
      "threads to compute with, 0 for all" },
    PRECISION_OPTION(eval_settings, precision, "Work"),
    ENSEMBLE_OPTIONS(eval_settings, "Work"),
    { "bootstrap", 0, "Work", INTEGER(eval_settings, bootstrap, 0, CR_MAX_REPLICATES), "N", "1000",
      "resamples that the intervals of scores are found from, 0 for no intervals" },
    { "analyze", 'a', "Analysis", FLAG(eval_settings, analyze), NULL, NULL,
      "look into the errors: are classes even and each good enough, which mistakes look alike, "
      "does "
      "it overfit, does it hold on worse pictures; a sentence each, and charts in the report" },
    { "new-data", 0, "Analysis", FOLDER_PATH(eval_settings, new_data), "DATA", NULL,
      "with --analyze: say whether this data is like what the model was trained on" },
    { "learning-curve", 0, "Analysis", NUMBERS(eval_settings, learning_curve, 1, 100), "P,P...",
      NULL,
      "with --analyze: train anew on these percentages of the training data, 25,50,100, and say "
      "whether more data would help; takes as long as that" },
    { "learning-epochs", 0, "Analysis", INTEGER(eval_settings, learning_epochs, 1, 1000000), "N",
      NULL, "epochs of each of these trainings [those of the run]" },
    { "analysis-samples", 0, "Analysis", INTEGER(eval_settings, analysis_samples, 20, 1 << 30), "N",
      "500", "the most samples that the analysis runs through the model again" },
    { "report", 'r', "Output", FOLDER_PATH(eval_settings, report), "DIR", NULL,
      "also write report.html, charts, scores and predictions to this folder" },
    PROFILE_OPTIONS(eval_settings, profile, "Output"),
    { "json", 0, "Output", FLAG(eval_settings, json), NULL, NULL, "answer in JSON" },
    { "csv", 0, "Output", FLAG(eval_settings, csv), NULL, NULL,
      "answer with the classification report as comma-separated values" },
};

static const cli_example examples[] = {
    { "cresset eval runs/convnet-001", "The best weights of a run, on the test samples:" },
    { "cresset eval best.safetensors --data fashion-mnist --report evaluation",
      "A file of weights, with a page to look at:" },
    { "cresset eval runs/convnet-001 --analyze --report evaluation",
      "What to know before the model is used, with charts:" },
    { "cresset eval runs/convnet-001 --json | jq .accuracy", "For a program:" },
    { "cresset eval runs/convnet-001 --csv >scores.csv", "For a spreadsheet:" },
};

/* What is evaluated, and how it came out. */
typedef struct subject {
    const arguments *args;
    const char *path; /* of the model */
    char *data;       /* the name of the data set */
    model_list models;
    cr_classifier *classifier; /* the first of them */
    float *thresholds;         /* of several labels */
    cr_dataset *set, *train; /* what is evaluated; what the model was trained on, NULL: not known */
    cr_evaluation evaluation;
    int64_t *confusion;
    cr_classifier_scores scores;
    analysis analysis;
    json_t *profile; /* with --json; NULL for none */
} subject;

/* --- Text ----------------------------------------------------------------------------------- */

static void print_matrix(const subject *s)
{
    int64_t classes = s->evaluation.classes;
    char alignment[SHOWN_CLASSES + 2];
    cli_table table;
    memset(alignment, 'r', sizeof alignment);
    alignment[0] = 'l';
    alignment[classes + 1] = '\0';
    table_begin(&table, alignment);
    table_cell(&table, "truth, predicted as");
    for (int64_t i = 0; i < classes; i++)
        table_cell(&table, "%lld", (long long)i);
    table_rule(&table);
    for (int64_t row = 0; row < classes; row++) {
        table_cell(&table, "%lld %s", (long long)row, s->classifier->class_names[row]);
        for (int64_t column = 0; column < classes; column++) {
            int64_t count = s->confusion[row * classes + column];
            if (count)
                table_cell(&table, "%lld", (long long)count);
            else
                table_cell(&table, "%s", terminal_has_unicode() ? "·" : ".");
        }
    }
    printf("\n");
    table_print(&table, stdout);
}

/* The pairs of classes that are confused most often. */
static void print_confusions(const subject *s)
{
    int64_t classes = s->evaluation.classes, below = INT64_MAX, below_at = -1;
    for (int shown = 0; shown < SHOWN_CONFUSION; shown++) {
        int64_t most = 0, most_at = -1;
        for (int64_t at = 0; at < classes * classes; at++) {
            int64_t count = s->confusion[at];
            bool later = count < below || (count == below && at > below_at);
            if (at / classes != at % classes && later && count > most) {
                most = count;
                most_at = at;
            }
        }
        if (most_at < 0)
            return;
        printf("%s%lld %s taken for %s\n", shown ? "               " : "\nmost mistaken  ",
               (long long)most, s->classifier->class_names[most_at / classes],
               s->classifier->class_names[most_at % classes]);
        below = most;
        below_at = most_at;
    }
}

/* What was evaluated on what, in how long. */
static void print_subject(const subject *s)
{
    const eval_settings *settings = s->args->settings;
    char count[NUMBER_SIZE], seconds[NUMBER_SIZE];
    printf("%s (%s) on %s, %s %s samples\n", s->path, s->classifier->bound.architecture->name,
           s->data, format_count(count, s->evaluation.count), settings->split);
    printf("%s %.2f %%, loss %.4f, in %s\n", s->evaluation.marks ? "labels right" : "accuracy",
           s->evaluation.accuracy * 100, s->evaluation.loss,
           format_seconds(seconds, s->evaluation.seconds));
    if (s->models.count > 1)
        printf("mean of %d models\n", s->models.count);
    if (views_of(settings->views) != CR_VIEWS_ONE)
        printf("mean over views: %s\n", cr_views_about(views_of(settings->views)));
    print_inference_precision(precision_dtype(settings->precision));
    printf("\n");
}

static int print_text(const subject *s)
{
    const eval_settings *settings = s->args->settings;
    print_subject(s);
    if (s->evaluation.marks) {
        if (!print_labels(&s->evaluation, s->classifier->class_names, s->thresholds))
            return library_failure(s->args->command);
        if (settings->report)
            printf("report         %s/report.html\n", settings->report);
        return STATUS_DONE;
    }
    char *table = cr_classification_report(s->confusion, s->evaluation.classes,
                                           (const char *const *)s->classifier->class_names, NULL);
    if (!table)
        return library_failure(s->args->command);
    fputs(table, stdout);
    cr_free(table);
    print_scores(&s->scores, s->classifier->class_names);
    if (s->evaluation.classes <= SHOWN_CLASSES)
        print_matrix(s);
    print_confusions(s);
    findings_print(&s->analysis.found);
    if (settings->report)
        printf("report         %s/report.html\n", settings->report);
    return STATUS_DONE;
}

/* --- JSON and the page ---------------------------------------------------------------------- */

/* NULL with an error set. */
static json_t *scores_of_subject(const subject *s)
{
    if (s->evaluation.marks)
        return labels_to_json(&s->evaluation, s->classifier->class_names, s->thresholds);
    char *text = cr_classification_report_json(
        s->confusion, s->evaluation.classes, (const char *const *)s->classifier->class_names, NULL);
    json_t *scores = text ? json_loads(text, 0, NULL) : NULL;
    cr_free(text);
    return scores;
}

static json_t *answer_of(const subject *s)
{
    const eval_settings *settings = s->args->settings;
    json_t *scores = scores_of_subject(s);
    if (!scores)
        return NULL;
    json_t *answer = json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:I, s:o, s:f}", "model",
                               s->path, "models", s->models.count, "views", settings->views,
                               "architecture", s->classifier->bound.architecture->name, "data",
                               s->data, "split", settings->split, "precision", settings->precision,
                               "samples", (json_int_t)s->evaluation.count, "loss",
                               json_finite(s->evaluation.loss), "seconds", s->evaluation.seconds);
    json_object_update(answer, scores);
    if (!s->evaluation.marks)
        scores_to_json(&s->scores, answer);
    if (settings->analyze)
        json_object_set_new(answer, "analysis", findings_to_json(&s->analysis.found));
    json_decref(scores);
    return answer;
}

static int print_as_json(const subject *s)
{
    json_t *answer = answer_of(s);
    if (!answer)
        return library_failure(s->args->command);
    if (s->profile)
        json_object_set(answer, "profile", s->profile);
    return print_json(s->args->command, answer);
}

static int print_as_csv(const subject *s)
{
    cr_text labels = { 0 };
    if (s->evaluation.marks) {
        if (!append_labels_csv(&labels, &s->evaluation, s->classifier->class_names, s->thresholds))
            return library_failure(s->args->command);
        fputs(labels.data, stdout);
        cr_text_free(&labels);
        return STATUS_DONE;
    }
    char *text = cr_classification_report_csv(
        s->confusion, s->evaluation.classes, (const char *const *)s->classifier->class_names, NULL);
    if (!text)
        return library_failure(s->args->command);
    fputs(text, stdout);
    cr_free(text);
    return STATUS_DONE;
}

/* Lines of the summary on ensembles and views. */
static int64_t facts_of(const subject *s, cr_report_entry facts[2], char words[64])
{
    const eval_settings *settings = s->args->settings;
    int64_t count = 0;
    snprintf(words, 64, "mean of the probabilities of %d models", s->models.count);
    if (s->models.count > 1)
        facts[count++] = (cr_report_entry){ "Ensemble", words };
    if (views_of(settings->views) != CR_VIEWS_ONE)
        facts[count++] =
            (cr_report_entry){ "Views averaged", cr_views_about(views_of(settings->views)) };
    return count;
}

static bool write_page(const subject *s, const char *folder)
{
    int64_t mistake_count = 0;
    char models[64], count[NUMBER_SIZE], evaluated[NUMBER_SIZE + 32];
    const eval_settings *settings = s->args->settings;
    const cr_evaluation *evaluation = &s->evaluation;
    bool several = evaluation->marks != NULL;
    cr_report_mistake *mistakes =
        several ? NULL
                : mistakes_of(evaluation, s->classifier, s->set, SHOWN_MISTAKES, &mistake_count);
    cr_report_entry facts[2];
    int64_t fact_count = facts_of(s, facts, models);
    char *command = arguments_typed(s->args);
    snprintf(evaluated, sizeof evaluated, "%s %s images", format_count(count, s->evaluation.count),
             settings->split);
    cr_report report = {
        .title = s->path,
        .model = s->classifier->bound.architecture->name,
        .data = s->data,
        .command = command,
        .no_seed = true,
        .parameters = cr_model_parameter_count(s->classifier->model, false),
        .test_accuracy = s->evaluation.accuracy,
        .confusion = s->confusion,
        .classes = s->evaluation.classes,
        .class_names = (const char *const *)s->classifier->class_names,
        .evaluated_on = evaluated,
        .scores = s->scores.count ? &s->scores : NULL,
        .truth = several ? NULL : evaluation->truth,
        .marks = evaluation->marks,
        .predicted_marks = evaluation->predicted_marks,
        .thresholds = several ? s->thresholds : NULL,
        .test_average_precision = several ? evaluation->average_precision : 0,
        .facts = facts,
        .fact_count = fact_count,
        .probabilities = s->evaluation.probabilities,
        .samples = s->evaluation.count,
        .findings = s->analysis.found.items,
        .finding_count = s->analysis.found.count,
        .mistakes = mistakes,
        .mistake_count = mistakes ? mistake_count : 0,
    };
    bool good = !cr_failed() && command && cr_report_write(&report, folder) == CR_OK;
    char *const *names = s->classifier->class_names;
    if (good && several)
        good = write_labels(folder, evaluation, s->set, names, s->thresholds, answer_of(s));
    else if (good)
        good =
            write_scores(folder, &s->scores, evaluation, s->set, s->confusion, names, answer_of(s));
    free_mistakes(mistakes, mistake_count);
    cr_free(command);
    return good;
}

/* --- The command ---------------------------------------------------------------------------- */

/* The test part of a data set, or all of one without parts. */
static cr_dataset *open_any_part(const char *name, const cr_classifier *classifier)
{
    cr_dataset *set = open_data(name, CR_SPLIT_TEST, classifier);
    if (set || cr_error_status() == CR_ERROR_MEMORY)
        return set;
    cr_error_clear();
    return open_data(name, CR_SPLIT_TRAIN, classifier);
}

/* The data that the analysis reads besides what was evaluated. Where the training data cannot be
 * opened, the analysis says less. */
static bool look_into_errors(subject *s)
{
    const eval_settings *settings = s->args->settings;
    s->analysis = (analysis){ .path = s->path,
                              .classifier = s->classifier,
                              .set = s->set,
                              .train = s->train,
                              .evaluation = &s->evaluation,
                              .scores = s->scores.count ? &s->scores : NULL,
                              .samples = settings->analysis_samples,
                              .batch_size = settings->batch_size,
                              .workers = settings->workers,
                              .fractions = settings->learning_curve,
                              .epochs = settings->learning_epochs,
                              .quiet = settings->json || settings->csv };
    if (settings->new_data)
        s->analysis.fresh = open_any_part(settings->new_data, s->classifier);
    bool good = !cr_failed() && analyse(&s->analysis);
    cr_dataset_free(s->analysis.fresh);
    return good;
}

/* The part of a run's own data, parted as the run had it, and its training samples. */
static bool open_own_data(subject *s, const data_plan *plan, cr_data_split split)
{
    training_data data;
    bool good = training_data_open(&data, plan, s->classifier);
    cr_dataset *const sets[] = { [CR_SPLIT_TRAIN] = data.train,
                                 [CR_SPLIT_TEST] = data.test,
                                 [CR_SPLIT_VALIDATION] = data.validation };
    if (good) {
        s->set = cr_dataset_retain(sets[split]);
        s->train = cr_dataset_retain(data.train);
    }
    training_data_close(&data);
    return good;
}

/* The training samples for an analysis of other data: the run's own, or the training part of that
 * data. Where they cannot be opened, the analysis says less. */
static void open_training_samples(subject *s, const data_plan *plan)
{
    training_data own = { 0 };
    if (plan->name && training_data_open(&own, plan, s->classifier))
        s->train = cr_dataset_retain(own.train);
    else if (!plan->name)
        s->train = open_data(s->data, CR_SPLIT_TRAIN, s->classifier);
    training_data_close(&own);
    if (cr_failed() && cr_error_status() != CR_ERROR_MEMORY)
        cr_error_clear();
}

/* The data that was asked for, or that of the run. */
static bool open_subject(subject *s, const data_plan *plan)
{
    const eval_settings *settings = s->args->settings;
    cr_data_split split = split_of(settings->split);
    const char *name = settings->data ? settings->data : plan->name;
    if (!name)
        cr_error_set(CR_ERROR_ARGUMENT, "%s does not say what it was trained on: give --data DATA",
                     s->path);
    s->data = name ? cr_string_copy(name) : NULL;
    if (s->data && !settings->data)
        return open_own_data(s, plan, split);
    if (s->data)
        s->set = open_data(settings->data, split, s->classifier);
    if (s->set && settings->analyze)
        open_training_samples(s, plan);
    return s->set && !cr_failed();
}

static bool open_model_and_data(subject *s)
{
    data_plan plan;
    json_t *owner;
    const eval_settings *settings = s->args->settings;
    bool good = models_load(&s->models, s->path, settings->ensemble);
    s->classifier = s->models.items[0];
    run_data_plan(s->path, &plan, &owner);
    good = good && open_subject(s, &plan);
    json_decref(owner);
    return good;
}

static bool evaluate(subject *s)
{
    const eval_settings *settings = s->args->settings;
    if (!open_model_and_data(s))
        return false;
    evaluation_plan plan = { .models = &s->models,
                             .set = s->set,
                             .views = views_of(settings->views),
                             .threshold = isnan(settings->threshold) ? -1 : settings->threshold,
                             .batch_size = settings->batch_size,
                             .workers = settings->workers,
                             .quiet = settings->json || settings->csv };
    if (s->classifier->has_several_labels && settings->analyze) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "--analyze looks into classifiers of one class a picture; %s is of several "
                     "labels",
                     s->path);
        return false;
    }
    int64_t warm_up = cr_dataset_size(s->set) > settings->batch_size;
    if (!profiling_begin(&settings->profile, warm_up) || !evaluate_models(&plan, &s->evaluation))
        return false;
    cr_profile_pause(true);
    s->thresholds = thresholds_of(&s->models, plan.threshold);
    if (s->evaluation.marks)
        return s->thresholds && (!settings->report || write_page(s, settings->report));
    s->confusion = confusion_of(&s->evaluation);
    return s->confusion && scores_of(&s->evaluation, settings->bootstrap, &s->scores) &&
           (!settings->analyze || look_into_errors(s)) &&
           (!settings->report || write_page(s, settings->report));
}

static int run(const arguments *args)
{
    const eval_settings *settings = args->settings;
    subject s = { .args = args, .path = args->operands[0] };
    int status;
    if (settings->json && settings->csv)
        return usage_error(args->command, "--json and --csv are two answers; give one of them");
    if (!settings->analyze && (settings->new_data || settings->learning_curve.count))
        return usage_error(args->command, "--new-data and --learning-curve go with --analyze");
    cr_set_num_threads((int)settings->threads);
    cr_set_autocast(cr_autocast_for_inference(precision_dtype(settings->precision)));
    interrupt_watch();
    bool good = evaluate(&s) &&
                (!settings->json || profiling_end(&settings->profile, NULL, stdout, &s.profile));
    if (!good)
        status = library_failure(args->command);
    else
        status = settings->json  ? print_as_json(&s)
                 : settings->csv ? print_as_csv(&s)
                                 : print_text(&s);
    if (good && !settings->json && !profiling_end(&settings->profile, NULL, stdout, NULL))
        status = library_failure(args->command);
    json_decref(s.profile);
    cr_free(s.confusion);
    cr_classifier_scores_free(&s.scores);
    findings_free(&s.analysis.found);
    cr_evaluation_free(&s.evaluation);
    cr_dataset_free(s.set);
    cr_dataset_free(s.train);
    models_free(&s.models);
    cr_free(s.thresholds);
    cr_free(s.data);
    cr_frame_end_all();
    return status;
}

const cli_command eval_command = {
    .name = "eval",
    .summary = "Measure a trained model on a data set",
    .operands = "MODEL",
    .description =
        "Shows the accuracy and loss of a trained model on the test samples of a data "
        "set, precision, recall and F1 of each class, the other scores that scikit-learn "
        "has with their 95 % intervals, and the confusion matrix.\n\n"
        "MODEL is a run directory, of which the best weights are taken, or a file of "
        "weights that cresset train wrote.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = eval_options,
    .option_count = COUNT_OF(eval_options),
    .settings_size = sizeof(eval_settings),
    .operand_minimum = 1,
    .operand_maximum = 1,
    .takes_config = true,
    .run = run,
};
