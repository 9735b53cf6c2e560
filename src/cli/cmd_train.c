/* `cresset train`: the steps of a run. Its options stand in train_options.c, the data in
 * training_data.c, what is shown meanwhile in training.c, the report in run_report.c. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/state_dict.h"
#include "cresset/thread.h"
#include "cresset/train.h"

/* Settings that do not change what a resumed run computes. */
static const char *const free_on_resume[] = { "resume",        "threads",      "workers",
                                              "report",        "events",       "quiet",
                                              "json",          "save-seconds", "profile",
                                              "profile-steps", "profile-trace" };

/* What a run needs, and what it leaves behind. */
typedef struct session {
    const arguments *args;
    const train_options *chosen;
    cr_train_settings settings;
    cr_transform_list transforms; /* of evaluation */
    char *rates;                  /* the text that the names of settings.rates stand in */
    training_data data;
    cr_dataset *unlabeled;
    cr_classifier *classifier;
    char *folder;
    bool goes_on;      /* from saved weights */
    fold_result *fold; /* what a fold comes to; NULL: it is none of several */
} session;

/* --- Setting up ----------------------------------------------------------------------------- */

/* What makes no sense together, found before anything is opened. */
static bool check_options(const arguments *args)
{
    const train_options *chosen = args->settings;
    if (!chosen->data && !chosen->transforms) {
        usage_error(args->command, "--data is missing: cresset train --data DATA");
        return false;
    }
    if (chosen->from && arguments_given(args, "model")) {
        usage_error(args->command, "--from brings its own model: leave --model out");
        return false;
    }
    if (chosen->from && chosen->weights) {
        usage_error(args->command, "--from and --weights exclude each other");
        return false;
    }
    if (strcmp(chosen->schedule, "multistep") == 0 && chosen->milestones.count == 0) {
        usage_error(args->command, "--schedule multistep needs --milestones N,N");
        return false;
    }
    if (chosen->folds == 1 || chosen->fold > chosen->folds) {
        usage_error(args->command, "--folds K are two or more, and --fold is one of them");
        return false;
    }
    if (chosen->show_batch && chosen->find_lr) {
        usage_error(args->command, "--show-batch and --find-lr are two works; give one of them");
        return false;
    }
    if (chosen->name && strchr(chosen->name, '/')) {
        usage_error(args->command, "--name is a name without a /; for a whole path give --out");
        return false;
    }
    return true;
}

/* Loads what fits of --weights, and says what did not. A file of another model is refused. */
static bool load_weights(const session *s)
{
    static const cr_load_options as_far_as_it_fits = { .partial = true, .ignore_mismatched = true };
    const train_options *chosen = s->chosen;
    cr_model *model = s->classifier->model;
    cr_load_report report;
    cr_text words = { 0 };
    bool good = cr_model_load(model, chosen->weights, &as_far_as_it_fits, &report) == CR_OK;
    if (good && 4 * report.matched_count < cr_model_tensor_count(model)) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "%s has only %d of the %d tensors of %s: it is of another model; see cresset "
                     "models %s --weights %s",
                     chosen->weights, report.matched_count, cr_model_tensor_count(model),
                     s->classifier->bound.architecture->name,
                     s->classifier->bound.architecture->name, chosen->weights);
        good = false;
    }
    cr_load_report_print(&report, &words);
    if (good && !chosen->quiet && !chosen->json)
        printf("weights   %s: %s", chosen->weights, words.data ? words.data : "");
    cr_text_free(&words);
    cr_load_report_free(&report);
    return good;
}

/* Freezes the parameters of each name of a list, and those below it. */
static bool freeze(session *s)
{
    cr_model *model = s->classifier->model;
    char *rest = NULL, *words = cr_string_copy(s->chosen->freeze);
    for (char *word = words ? strtok_r(words, ",", &rest) : NULL; word && !cr_failed();
         word = strtok_r(NULL, ",", &rest)) {
        char *below = cr_string_format("%s.*", word);
        int frozen = below ? cr_model_freeze(model, word, true) : 0;
        if (below && !strchr(word, '*'))
            frozen += cr_model_freeze(model, below, true);
        if (below && frozen == 0)
            cr_error_set(CR_ERROR_ARGUMENT,
                         "--freeze %s matches no parameter; see cresset models %s", word,
                         s->classifier->bound.architecture->name);
        cr_free(below);
    }
    cr_free(words);
    return !cr_failed();
}

static bool make_classifier(session *s)
{
    const train_options *chosen = s->chosen;
    char *saved = chosen->resume ? cr_path_join(s->folder, "weights/last.safetensors") : NULL;
    s->goes_on = saved && cr_file_exists(saved);
    if (s->goes_on)
        s->classifier = cr_classifier_load(saved);
    else if (chosen->from)
        s->classifier = cr_classifier_load(chosen->from);
    else
        s->classifier = cr_classifier_new(chosen->architecture, .data = s->data.train,
                                          .seed = (uint64_t)chosen->seed, .settings = chosen->model,
                                          .transforms = &s->transforms,
                                          .normalization = normalization_of(chosen->normalize));
    cr_free(saved);
    if (!s->classifier || (chosen->weights && !s->goes_on && !load_weights(s)))
        return false;
    return !chosen->freeze || freeze(s);
}

char *new_run_folder(const char *out, const char *name, bool dry_run)
{
    if (!out)
        return dry_run ? cr_string_format("runs/%s-...", name) : make_run_folder("runs", name);
    if (is_run_folder(out)) {
        cr_error_set(CR_ERROR_STATE,
                     "%s already holds a run; go on with --resume %s, or choose "
                     "another --out",
                     out, out);
        return NULL;
    }
    return dry_run || cr_folder_make(out) == CR_OK ? cr_string_copy(out) : NULL;
}

static bool make_folder(session *s)
{
    const train_options *chosen = s->chosen;
    const char *own = chosen->name ? chosen->name : s->classifier->bound.architecture->name;
    char *name = cr_string_format("%s%s", own, chosen->find_lr ? "-lr" : "");
    if (name)
        s->folder = new_run_folder(chosen->out, name, chosen->dry_run);
    cr_free(name);
    return s->folder != NULL;
}

/* The few labels, and the pictures without. */
static bool open_few_labels(session *s)
{
    const train_options *chosen = s->chosen;
    if (chosen->labels > 0 && !keep_labels(&s->data, chosen->labels, (uint64_t)chosen->seed))
        return false;
    if (chosen->unlabeled)
        s->unlabeled = open_unlabeled(chosen->unlabeled);
    s->settings.consistency.data = s->unlabeled;
    int64_t own = cr_dataset_sample_shape(s->data.train).dim[0];
    int64_t other = cr_dataset_sample_shape(s->unlabeled).dim[0];
    if (s->unlabeled && own != other)
        cr_error_set(CR_ERROR_SHAPE,
                     "the pictures of --unlabeled have %lld channels, those to train on %lld; both "
                     "must be of one kind",
                     (long long)other, (long long)own);
    return !cr_failed();
}

static bool set_up(session *s)
{
    const train_options *chosen = s->chosen;
    cr_set_num_threads((int)chosen->threads);
    data_plan plan = { .name = chosen->data,
                       .split = chosen->split,
                       .group_by = chosen->group_by,
                       .label_by = chosen->label_by,
                       .validation = chosen->validation,
                       .folds = (int)chosen->folds,
                       .fold = (int)chosen->fold,
                       .seed = (uint64_t)chosen->seed,
                       .skips_broken = strcmp(chosen->broken, "skip") == 0 };
    if (!training_data_open(&s->data, &plan, NULL) || !open_few_labels(s))
        return false;
    if (chosen->resume) {
        s->folder = cr_string_copy(chosen->resume);
        return s->folder && make_classifier(s);
    }
    return make_classifier(s) && (chosen->show_batch || make_folder(s));
}

static void tear_down(session *s)
{
    cr_classifier_free(s->classifier);
    training_data_close(&s->data);
    cr_dataset_free(s->unlabeled);
    cr_free(s->folder);
    cr_free(s->rates);
    cr_frame_end_all();
}

/* --- The run -------------------------------------------------------------------------------- */

/* The settings as args.json keeps them, without those that belong to this call alone: given back to
 * --config they start the same run anew. NULL if out of memory. */
char *run_arguments(const arguments *args)
{
    static const char *const passing[] = { "resume",        "out",           "dry-run",
                                           "quiet",         "json",          "profile",
                                           "profile-steps", "profile-trace", "show-batch",
                                           "find-lr" };
    json_t *object = arguments_to_json(args);
    for (int i = 0; i < COUNT_OF(passing); i++)
        json_object_del(object, passing[i]);
    char *text = object ? json_dumps(object, JSON_INDENT(2) | JSON_REAL_PRECISION(15)) : NULL;
    json_decref(object);
    return text;
}

static cr_status train(session *s, training_view *view, cr_train_result *result)
{
    const train_options *chosen = s->chosen;
    char *text = run_arguments(s->args);
    cr_train_run run = {
        .folder = s->folder,
        .arguments = text,
        .notes = (const char *const *)s->data.broken.sentences,
        .note_count = s->data.broken.count,
        .resume = s->goes_on,
        .save_seconds = chosen->save_seconds > 0 ? chosen->save_seconds : -1,
    };
    cr_status status = CR_ERROR_IO;
    if (training_view_connect(view, &run, chosen->events) && profiling_begin(&chosen->profile, 1))
        status =
            cr_train(s->classifier, s->data.train, s->data.validation, s->settings, run, result);
    training_view_end(view);
    free(text);
    return status;
}

/* Adds to the sentence about a sample whose picture cannot be read what can be done. */
static void advise_to_skip(const session *s)
{
    const cr_dataset *set = s->data.train;
    bool of_files = set && cr_dataset_size(set) > 0 && *cr_dataset_path(set, 0);
    if (!of_files || cr_error_status() != CR_ERROR_FORMAT ||
        strncmp(cr_error_message(), "sample ", 7) != 0)
        return;
    char *words = cr_string_copy(cr_error_message());
    if (!words)
        return;
    cr_error_clear();
    cr_error_set(CR_ERROR_FORMAT, "%s, or leave such pictures out with --broken skip", words);
    cr_free(words);
}

/* Ends a run that did not come to its end. */
static int stopped(const session *s)
{
    if (cr_error_status() != CR_ERROR_INTERRUPTED) {
        advise_to_skip(s);
        rmdir(s->folder); /* only if nothing was written to it */
        return library_failure(s->args->command);
    }
    cr_error_clear();
    failure(s->args->command, "interrupted and saved; go on with: cresset train --resume %s",
            s->fold ? s->fold->whole : s->folder);
    return STATUS_INTERRUPTED;
}

static int run_session(session *s)
{
    const train_options *chosen = s->chosen;
    training_view view;
    cr_train_result result = { 0 };
    training_view_begin(&view, s->classifier, &s->settings, &s->data, s->folder, s->goes_on,
                        chosen->quiet || chosen->json);
    if (chosen->dry_run)
        return STATUS_DONE;
    int status = STATUS_DONE;
    json_t *profile = NULL;
    if (train(s, &view, &result) != CR_OK) {
        status = stopped(s);
    } else if (!profiling_end(&chosen->profile, s->folder, stdout,
                              chosen->json ? &profile : NULL)) {
        status = library_failure(s->args->command);
    } else {
        run_outcome outcome = { .args = s->args,
                                .folder = s->folder,
                                .data = &s->data,
                                .result = &result,
                                .seed = (uint64_t)chosen->seed,
                                .precision = s->settings.autocast,
                                .report = chosen->report,
                                .quiet = chosen->quiet,
                                .json = chosen->json,
                                .fold = s->fold,
                                .profile = profile };
        status = finish_run(&outcome);
    }
    cr_train_result_free(&result);
    return status;
}

/* What is done instead of training, or the run. */
static int work(session *s)
{
    const train_options *chosen = s->chosen;
    if (chosen->show_batch) {
        if (!show_batch(s->classifier, s->data.train, &s->settings, chosen->show_batch))
            return library_failure(s->args->command);
        if (!chosen->quiet)
            printf("the first batch is drawn in %s\n", chosen->show_batch);
        return STATUS_DONE;
    }
    if (chosen->find_lr && !chosen->dry_run)
        return find_learning_rate(s->args, s->classifier, s->data.train, &s->settings, s->folder);
    return run_session(s);
}

int run_fold(const arguments *args, fold_result *result)
{
    session s = { .args = args, .chosen = args->settings, .fold = result };
    if (s.chosen->rates)
        s.rates = cr_string_copy(s.chosen->rates);
    if (!train_options_translate(s.chosen, s.rates, &s.transforms, &s.settings)) {
        library_failure(args->command);
        cr_free(s.rates);
        return STATUS_USAGE;
    }
    interrupt_watch();
    int status;
    if (set_up(&s)) {
        status = work(&s);
    } else {
        advise_to_skip(&s);
        status = library_failure(args->command);
    }
    tear_down(&s);
    return status;
}

/* A run, or a run for each fold; what is done instead of training is done with the first fold. */
static int run_with(const arguments *args)
{
    const train_options *chosen = args->settings;
    bool trains = !chosen->show_batch && !chosen->find_lr && !chosen->dry_run;
    if (!check_options(args))
        return STATUS_USAGE;
    if (chosen->folds == 0 || chosen->fold > 0)
        return run_fold(args, NULL);
    if (trains)
        return run_folds(args);
    train_options own = *chosen;
    arguments first = *args;
    own.fold = 1;
    first.settings = &own;
    return run_fold(&first, NULL);
}

/* --- Resuming ------------------------------------------------------------------------------- */

static bool is_free_on_resume(const char *name)
{
    for (int i = 0; i < COUNT_OF(free_on_resume); i++)
        if (strcmp(free_on_resume[i], name) == 0)
            return true;
    return false;
}

/* The settings of the run, with what may differ taken from the command line. */
int resume_run(const arguments *args, int (*run)(const arguments *args))
{
    const char *folder = ((const train_options *)args->settings)->resume;
    for (int i = 0; i < args->command->option_count; i++) {
        const char *name = args->command->options[i].name;
        if (args->sources[i] != FROM_DEFAULT && !is_free_on_resume(name))
            return usage_error(args->command,
                               "--resume goes on with the run's own settings: leave "
                               "--%s out",
                               name);
    }
    char *path = cr_path_join(folder, "args.json");
    if (!path)
        return library_failure(args->command);
    if (!cr_file_exists(path)) {
        cr_free(path);
        return failure(args->command, "%s is not a run directory: it has no args.json", folder);
    }
    arguments settled;
    int status = STATUS_USAGE;
    if (arguments_parse_over(&settled, args->command, args->word_count, args->words, path))
        status = run(&settled);
    arguments_free(&settled);
    cr_free(path);
    return status;
}

static int list_transforms(void)
{
    cr_text text = { 0 };
    for (int i = 0; cr_transform_type_at(i); i++) {
        const cr_transform_type *type = cr_transform_type_at(i);
        append_transform(&text, type);
        cr_text_printf(&text, "\n    %s\n", type->about);
    }
    printf("%s", text.data ? text.data : "");
    cr_text_free(&text);
    return STATUS_DONE;
}

int run_train(const arguments *args)
{
    const train_options *chosen = args->settings;
    if (chosen->transforms)
        return list_transforms();
    return chosen->resume ? resume_run(args, run_with) : run_with(args);
}
