/* What the files of the command share: how a subcommand describes itself, and the means to read its
 * arguments and to write for a person or a program.
 *
 * A subcommand is one `cli_command` record with a table of `cli_option` records. The table is the
 * only description: parsing, the settings file, --help, the man page, the shell completions and
 * docs/command.md are all made from it. */
#ifndef CLI_H
#define CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#include "cresset/error.h"
#include "cresset/graph.h"
#include "cresset/image_sets.h"
#include "cresset/models.h"
#include "cresset/onnx.h"
#include "cresset/profile.h"
#include "cresset/report.h"
#include "cresset/tensorboard.h"
#include "cresset/text.h"
#include "cresset/train.h"

/* Exit statuses. */
enum { STATUS_DONE = 0, STATUS_FAILED = 1, STATUS_USAGE = 2, STATUS_INTERRUPTED = 130 };

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* --- Options -------------------------------------------------------------------------------- */

/* What a value is, the type of the field that takes it, and how a shell completes it. */
typedef enum option_kind {
    OPTION_FLAG,    /* bool; --name and --no-name */
    OPTION_INTEGER, /* int64_t from low to high */
    OPTION_REAL,    /* double from low to high */
    OPTION_TEXT,    /* const char * */
    OPTION_FILE,    /* const char *, the path of a file */
    OPTION_FOLDER,  /* const char *, the path of a folder */
    OPTION_CHOICE,  /* const char *, one of the words of choices, or a file by its ending */
    OPTION_NUMBERS, /* number_list: whole numbers joined by commas or x, "3x224x224" */
} option_kind;

#define NUMBERS_LIMIT 16 /* numbers in one list */

typedef struct number_list {
    int count;
    int64_t values[NUMBERS_LIMIT];
} number_list;

/* Word `index` of a list of choices, NULL past its end. */
typedef const char *(*choice_list)(int index);

typedef struct cli_option {
    const char *name;  /* without dashes; "batch-size" */
    char letter;       /* the short form, 0 for none */
    const char *group; /* its heading in the help; the options of a group stand together */
    option_kind kind;  /* these six come from one of the macros below */
    size_t offset;
    double low, high;
    const char *ending; /* of a file that may be given instead of a choice; NULL: none */
    choice_list choices;
    const char *metavar;  /* what the value is called in the help */
    const char *fallback; /* the default as it would be typed, NULL for none */
    const char *help;
} cli_option;

/* The offset of a field, which must have the type given. */
#define FIELD_OF(record, field, type)                                                              \
    (offsetof(record, field) + 0 * sizeof(char[HAS_TYPE(record, field, type) ? 1 : -1]))
#define HAS_TYPE(record, field, type)                                                              \
    __builtin_types_compatible_p(__typeof__(((record *)NULL)->field), type)

#define OPTION_OF(kind_, offset_, low_, high_, choices_)                                           \
    .kind = kind_, .offset = offset_, .low = low_, .high = high_, .choices = choices_
#define FLAG(record, field) OPTION_OF(OPTION_FLAG, FIELD_OF(record, field, bool), 0, 0, NULL)
#define INTEGER(record, field, low, high)                                                          \
    OPTION_OF(OPTION_INTEGER, FIELD_OF(record, field, int64_t), low, high, NULL)
#define REAL(record, field, low, high)                                                             \
    OPTION_OF(OPTION_REAL, FIELD_OF(record, field, double), low, high, NULL)
#define TEXT(record, field)                                                                        \
    OPTION_OF(OPTION_TEXT, FIELD_OF(record, field, const char *), 0, 0, NULL)
#define FILE_PATH(record, field)                                                                   \
    OPTION_OF(OPTION_FILE, FIELD_OF(record, field, const char *), 0, 0, NULL)
#define FOLDER_PATH(record, field)                                                                 \
    OPTION_OF(OPTION_FOLDER, FIELD_OF(record, field, const char *), 0, 0, NULL)
#define CHOICE(record, field, choices)                                                             \
    OPTION_OF(OPTION_CHOICE, FIELD_OF(record, field, const char *), 0, 0, choices)
#define CHOICE_OR_FILE(record, field, choices_, ending_)                                           \
    .kind = OPTION_CHOICE, .offset = FIELD_OF(record, field, const char *), .low = 0, .high = 0,   \
    .ending = ending_, .choices = choices_
#define NUMBERS(record, field, low, high)                                                          \
    OPTION_OF(OPTION_NUMBERS, FIELD_OF(record, field, number_list), low, high, NULL)

/* The settings of a model, for a record that holds a cr_model_settings; and the number of classes
 * where no data set tells it. */
/* clang-format off */
#define MODEL_OPTIONS(record, field, group)                                                        \
    { "small-stem", 0, group, FLAG(record, field.small_stem), NULL, NULL,                          \
      "resnet: begin with a 3x3 convolution and no pooling, for small images" },                   \
    { "width", 0, group, INTEGER(record, field.width, 1, 1 << 16), "N", NULL,                      \
      "convnet: channels of the first stage [32]; mlp: hidden units [128]; bert_base: features "   \
      "[768]; bilstm: units [256]" },                                                              \
    { "dropout", 0, group, REAL(record, field.dropout, 0, 1), "P", "0",                            \
      "probability of dropout before the last layer; 0 is the model's own" },                      \
    { "no-dropout", 0, group, FLAG(record, field.no_dropout), NULL, NULL,                          \
      "no dropout and no stochastic depth at all" },                                               \
    { "zero-init-residual", 0, group, FLAG(record, field.zero_init_residual), NULL, NULL,          \
      "resnet: begin with blocks that pass their input on" }
#define CLASSES_OPTION(record, field, group)                                                       \
    { "classes", 0, group, INTEGER(record, field.classes, 1, 1 << 20), "N", NULL,                  \
      "how many classes the model tells apart [its usual number]" }

/* What is computed in, for a record that holds the word. */
#define PRECISION_OPTION(record, field, group)                                                     \
    { "precision", 'p', group, CHOICE(record, field, precision_words), "WORD", "f32",              \
      "what products and convolutions are computed in; sums, norms and losses stay in f32" }
/* clang-format on */

/* What is profiled, for a record that holds a profile_options. */
typedef struct profile_options {
    bool on;
    int64_t steps;
    const char *trace;
} profile_options;

/* clang-format off */
#define PROFILE_OPTIONS(record, field, group)                                                      \
    { "profile", 0, group, FLAG(record, field.on), NULL, NULL,                                     \
      "time each operation: print a table at the end and write a trace" },                         \
    { "profile-steps", 0, group, INTEGER(record, field.steps, 1, 1000000), "N", "10",              \
      "steps (batches) to profile, after one to warm up" },                                        \
    { "profile-trace", 0, group, FILE_PATH(record, field.trace), "FILE", NULL,                     \
      "where the trace goes, for chrome://tracing and Perfetto [trace.json]" }
/* clang-format on */

/* --- Commands ------------------------------------------------------------------------------- */

typedef struct cli_command cli_command;

/* Where a value came from, weakest first. */
typedef enum option_source { FROM_DEFAULT, FROM_CONFIG, FROM_COMMAND_LINE } option_source;

/* The arguments of one call of a subcommand. */
typedef struct arguments {
    const cli_command *command;
    void *settings;        /* the command's record, filled */
    const char **operands; /* what is not an option */
    int operand_count;
    option_source *sources; /* for each option of the table */
    json_t *config, *base;  /* own the strings that came from settings files */
    int word_count;         /* the words as they were typed, after the subcommand */
    char **words;
    bool help; /* --help was among them */
} arguments;

typedef struct cli_example {
    const char *line; /* as typed after the prompt */
    const char *what; /* what it does */
} cli_example;

struct cli_command {
    const char *name;
    const char *summary;     /* one line, for the list of commands */
    const char *operands;    /* for the usage line, "[MODEL]"; "" for none */
    const char *description; /* paragraphs parted by an empty line; what the options do not say */
    const cli_example *examples;
    int example_count;
    const cli_option *options;
    int option_count;
    size_t settings_size;
    int operand_minimum, operand_maximum;
    choice_list operand_words; /* for completion; NULL: files */
    bool takes_config;         /* has --config FILE */
    int (*run)(const arguments *args);
};

extern const cli_command bench_command;
extern const cli_command completion_command;
extern const cli_command data_command;
extern const cli_command eval_command;
extern const cli_command export_command;
extern const cli_command help_command;
extern const cli_command info_command;
extern const cli_command models_command;
extern const cli_command predict_command;
extern const cli_command serve_command;
extern const cli_command train_command;
extern const cli_command pretrain_command;

/* Command `index` in the order of the help and its name, NULL past the end; and one by its name. */
const cli_command *command_at(int index);
const cli_command *command_find(const char *name);
const char *command_words(int index);

/* Says that there is no such command; `asked` is the one that was asked for it, NULL for none. */
int unknown_command(const cli_command *asked, const char *word);

/* Option `index` of a command: those of its table, then --config (if it has it) and --help. */
const cli_option *command_option(const cli_command *command, int index);

/* The option of that name, NULL if there is none. */
const cli_option *option_named(const cli_command *command, const char *name);

/* The names of the models of the zoo, of the optimisers, and of the parts of a data set. */
const char *architecture_words(int index);

/* Whether a word names an imported model: a file that ends with .onnx. */
#define IMPORTED_ENDING ".onnx"
bool has_ending(const char *word, const char *ending);
const char *split_words(int index);
cr_data_split split_of(const char *word);
const char *optimizer_words(int index);

/* --precision: its words, a word's dtype and back, and a remark if it is no faster than f32 on this
 * processor (NULL if it is). */
const char *precision_words(int index);
cr_dtype precision_dtype(const char *word);
const char *precision_word(cr_dtype dtype);
const char *precision_caveat(cr_dtype dtype);
/* A line on what inference was computed in, if it was asked for other than f32. */
void print_inference_precision(cr_dtype dtype);

/* The shape of a batch, of samples as --input gives them or the usual ones of a model; false after
 * a usage error, if they have another number of dimensions (cmd_models.c). */
cr_shape sample_shape(const cr_architecture *architecture, const number_list *given, int64_t batch);
bool input_fits(const cli_command *command, const cr_architecture *architecture,
                const number_list *given);

/* --- Arguments (options.c, option_values.c, config.c) ---------------------------------------- */

/* Fills *args from the words after the subcommand. False after a usage error, which is reported. */
bool arguments_parse(arguments *args, const cli_command *command, int count, char **words);
void arguments_free(arguments *args);

/* The same, with a settings file that stands between the defaults and --config. */
bool arguments_parse_over(arguments *args, const cli_command *command, int count, char **words,
                          const char *base);

/* The command line, quoted for a shell, to be freed with cr_free; NULL if out of memory. */
char *arguments_typed(const arguments *args);

/* True if the option was given, in the settings file or on the command line. */
bool arguments_given(const arguments *args, const char *name);

/* Sets one option from text, or from a JSON value. False with an error of the calling thread set
 * (cr_error_message) that starts with `label`, the name of the option as the user wrote it. */
bool option_set(const cli_option *option, void *settings, const char *label, const char *value);
bool option_set_json(const cli_option *option, void *settings, const char *label, json_t *value);

/* Reads a settings file into args, whose strings *owner keeps; false with an error set. */
bool config_read(arguments *args, const char *path, json_t **owner);

/* The settings as they stand, as an object that --config can read back. NULL if out of memory. */
json_t *arguments_to_json(const arguments *args);

/* The candidate nearest to a mistyped word, NULL if none is near. */
const char *nearest_word(const char *word, const char *const *candidates, int count);

/* Appends words parted by commas, the last by "or". */
void append_alternatives(cr_text *out, choice_list words);

/* --- Reporting (report.c) ------------------------------------------------------------------- */

/* Prints "cresset NAME: sentence" on standard error and returns STATUS_USAGE or STATUS_FAILED. */
int usage_error(const cli_command *command, const char *format, ...) CR_PRINTF(2, 3);
int failure(const cli_command *command, const char *format, ...) CR_PRINTF(2, 3);

/* failure() with the library's standing error, which is cleared. */
int library_failure(const cli_command *command);

/* A number, or null where JSON has none for it. */
json_t *json_finite(double value);

/* Prints a JSON document on standard output and drops the reference. */
int print_json(const cli_command *command, json_t *document);

/* --- Terminal (terminal.c) ------------------------------------------------------------------ */

/* Columns to fill on a stream: the terminal's, or COLUMNS, or 80. */
int terminal_width(FILE *stream);

/* True if the stream is a terminal that can rewrite a line; if it may be coloured; if it shows
 * Unicode. */
bool terminal_is_live(FILE *stream);
bool terminal_has_color(FILE *stream);
bool terminal_has_unicode(void);

/* The columns that a UTF-8 string takes. */
int text_columns(const char *text);

/* Appends `text` wrapped to `width` columns, continuation lines indented by `indent`; `column` is
 * where the first line stands. Paragraphs are parted by an empty line. Ends without a newline. */
void text_wrap(cr_text *out, const char *text, int column, int indent, int width);

/* Appends spaces up to a column. */
void text_pad(cr_text *out, int from, int to);

/* Numbers for people, into `buffer`, which is returned: 1,234,567; 1.82 G; 3.1 MiB; 1:05:09. */
#define NUMBER_SIZE 40
const char *format_count(char buffer[NUMBER_SIZE], int64_t value);
const char *format_scaled(char buffer[NUMBER_SIZE], double value);
const char *format_bytes(char buffer[NUMBER_SIZE], double bytes);
const char *format_seconds(char buffer[NUMBER_SIZE], double seconds);
const char *format_clock(char buffer[NUMBER_SIZE], double seconds);

/* "64x56x56": the sizes of a shape from dimension `first` on, into `buffer`, which is returned. */
const char *format_sizes(char *buffer, size_t room, const cr_shape *shape, int first);

/* --- Tables (table.c) ----------------------------------------------------------------------- */

#define TABLE_COLUMNS 16

typedef struct cli_table {
    const char *alignment; /* for each column 'l' or 'r' */
    int columns;
    char **cells;
    int count, capacity;
    bool failed; /* memory ran out */
} cli_table;

/* Cells are given row after row, the headings first; printing empties the table. */
void table_begin(cli_table *table, const char *alignment);
#define table_row(table, ...) table_words(table, (const char *const[]){ __VA_ARGS__, NULL })
void table_words(cli_table *table, const char *const *words);
void table_cell(cli_table *table, const char *format, ...) CR_PRINTF(2, 3);
void table_rule(cli_table *table);
void table_print(cli_table *table, FILE *stream);
void table_free(cli_table *table);

/* --- Pictures (picture.c) ------------------------------------------------------------------- */

#define PICTURE_CAPTIONS 2

typedef struct cli_picture {
    const uint8_t *pixels; /* (height, width, channels): 1 channel grey, 3 or more RGB */
    int height, width, channels;
    char captions[PICTURE_CAPTIONS][48];
} cli_picture;

/* Draws pictures with characters, as many side by side as the stream is wide. */
void show_pictures(FILE *stream, const cli_picture *pictures, int count);

/* --- Samples (samples.c) -------------------------------------------------------------------- */

/* One part of a data set by the name a user gave: a folder or file, or one below
 * /usr/share/datasets. What it is, is told by what is there. Pictures in files are read with the
 * channels of the classifier and get its classes, if one is given. NULL with an error set. */
cr_dataset *open_data(const char *name, cr_data_split split, const cr_classifier *classifier);

/* A data set as it is asked for: with the channels and classes of a classifier (NULL: three, and
 * those that are found), with classes found in the paths by an expression (NULL: the subfolders'),
 * and without pictures that cannot be read, which `broken` names (NULL: reading one is an error).
 */
typedef struct data_request {
    const char *name, *label_by;
    const cr_classifier *classifier;
    cr_broken_pictures *broken;
} data_request;

/* All parts of a data set, of which some may be NULL. A set without parts is all training. False
 * with an error set. */
bool open_data_parts(const data_request *request, cr_image_parts *parts);

/* Makes a picture small enough that no side is longer; false with an error set. */
bool shrink_picture(cr_image *image, int64_t side);

/* A sample as a picture to be shown, made smaller if it is large, and its label. False with an
 * error set. */
bool sample_picture(cr_dataset *set, int64_t index, cli_picture *picture, int64_t *label);
void free_pictures(cli_picture *pictures, int count);

/* Parts a classifier's transforms: those that make any picture into one of the size of its input (a
 * last resize is added if they leave another), and those of tensors. False with an error set. */
bool split_transforms(const cr_transform_list *all, const cr_shape *input,
                      cr_transform_list *pictures, cr_transform_list *tensors);

/* A picture, from a file or a set, as a sample of the input's shape, from 0 to 1, by transforms of
 * pictures. False with an error set. */
bool read_file_sample(const char *path, const cr_transform_list *pictures, const cr_shape *input,
                      float *sample);
bool read_set_sample(cr_dataset *set, int64_t index, const cr_transform_list *pictures,
                     const cr_shape *input, float *sample, int64_t *label);

/* --- Data (cmd_data.c, data_check.c, check_page.c, data_split.c, data_oct.c) -------------------
 */

#define DATA_PARTS 3

typedef struct data_settings {
    int64_t show, seed, count, width, height;
    const char *html, *out, *fractions, *group_by, *label_by;
    bool json, copy;
} data_settings;

/* The parts of a set that are there, with their names: train, validation, test. */
typedef struct data_part {
    const char *name;
    cr_dataset *set;
} data_part;

typedef struct data_parts {
    data_part parts[DATA_PARTS];
    int count;
    cr_image_parts owned;
} data_parts;

/* label_by finds the classes in the paths of pictures; NULL: they are the subfolders. */
bool data_parts_open(data_parts *parts, const char *name, const char *label_by);
void data_parts_close(data_parts *parts);

/* "0.7/0.15/0.15" for training, validation and test, or "0.75/0.25" without validation, of an
 * option of that name (partition.c). False with an error set. */
bool read_fractions(const char *option, const char *text, double fractions[DATA_PARTS]);

/* Parts a set in two, or in three, of which those without a fraction stay NULL; samples of whose
 * paths the expression group_by (NULL: none) finds the same are kept together. False with an error
 * set. */
bool part_set(cr_dataset *set, const char *group_by, double fraction, uint64_t seed,
              cr_dataset **first, cr_dataset **second);
bool part_in_three(cr_dataset *all, const char *group_by, const double fractions[DATA_PARTS],
                   uint64_t seed, cr_dataset *parts[DATA_PARTS]);

/* The group of each sample, to be freed with cr_free; NULL with an error set. */
int64_t *groups_of(cr_dataset *set, const char *group_by);

/* What a check finds of one picture. */
typedef struct checked_picture {
    int part;
    int64_t index; /* in its part */
    int64_t label;
    int64_t width, height;
    uint64_t pixels[2]; /* a hash of size and pixels */
    uint64_t looks[4];  /* a hash that changes little where the picture does */
    uint64_t sums[3], squares[3];
    char *broken;  /* why it cannot be read; NULL if it can */
    int64_t twin;  /* an earlier picture with the same pixels, -1 for none */
    int64_t alike; /* an earlier one that looks nearly the same, and is no twin; -1 for none */
} checked_picture;

typedef struct data_check {
    const char *name;
    data_parts parts;
    checked_picture *pictures;
    int64_t count;
    int64_t broken, twins, twins_across, twins_at_odds, alike, alike_across;
    int64_t *class_counts; /* (parts, classes + 1); the last of each are those without a label */
    int classes;
    double means[3], deviations[3]; /* of the first part, on a scale from 0 to 1 */
    char findings[12][256];         /* what ought to be done, a sentence each */
    int finding_count;
} data_check;

/* The path of a picture, or "part, sample n". */
const char *checked_name(const data_check *check, int64_t which, char buffer[96]);

/* The page of a check. False with an error set. */
bool write_check_page(const data_check *check, const char *path);

/* The actions of `cresset data`. */
int run_data_check(const arguments *args);
int run_data_split(const arguments *args);
int run_data_make(const arguments *args);

/* --- Progress (progress.c) ------------------------------------------------------------------ */

typedef struct progress {
    const char *label; /* what is being done, "epoch 3/15"; owned by the caller */
    const char *unit;  /* what is counted, "images" */
    int64_t total, done, first;
    bool live, color, unicode;
    bool shown; /* a line stands on the terminal */
    double began, painted;
    double rate; /* shown instead of the rate of `done`, unless 0 */
    double left; /* seconds, shown instead of those to `total`, unless 0 */
} progress;

void progress_begin(progress *bar, const char *label, int64_t total, const char *unit);

/* Shows that `done` of the total are done, with figures of the work in `tail` ("loss 0.3412");
 * cheap enough to be called at every step. */
void progress_update(progress *bar, int64_t done, const char *tail);

/* Takes the line off the terminal, so that something else can be printed. */
void progress_clear(progress *bar);

/* --- Ctrl-C (interrupt.c) ------------------------------------------------------------------- */

/* From now on the first SIGINT or SIGTERM makes interrupted() true, and the second ends the
 * program. */
void interrupt_watch(void);
bool interrupted(void);

/* --- Evaluation (evaluation.c) -------------------------------------------------------------- */

/* cr_evaluate with a progress bar; false with an error set. */
bool evaluate_set(const cr_classifier *classifier, cr_dataset *set, int64_t batch_size,
                  int64_t workers, bool quiet, cr_evaluation *evaluation);

/* The confusion matrix (classes, classes), and the `limit` most confident mistakes with their
 * pictures as the model sees them and, where it has layers with places, what it looked at. NULL
 * with an error set. */
int64_t *confusion_of(const cr_evaluation *evaluation);
cr_report_mistake *mistakes_of(const cr_evaluation *evaluation, const cr_classifier *classifier,
                               cr_dataset *set, int64_t limit, int64_t *count);

/* Gives mistakes (by their index) pictures and, if asked for, explanations. False with an error
 * set; what was made is to be freed all the same. */
bool picture_mistakes(const cr_classifier *classifier, cr_dataset *set, bool explains,
                      cr_report_mistake *mistakes, int64_t count);

/* Grad-CAM of samples (count, C, H, W) from 0 to 1, to which the transforms of tensors are still to
 * be applied, painted over them; the pixels are to be freed with cr_free, also after a failure. */
bool explain_samples(const cr_classifier *classifier, const cr_transform_list *tensors,
                     const float *samples, int64_t count, const int64_t *classes,
                     cr_plot_picture *painted);
void free_mistakes(cr_report_mistake *mistakes, int64_t count);

/* Every score of an evaluation, with intervals from so many bootstrap replicates (0: none); false
 * with an error set (scores.c). To be freed with cr_classifier_scores_free. */
bool scores_of(const cr_evaluation *evaluation, int64_t replicates, cr_classifier_scores *scores);

/* The scores as a table, as members of a JSON object that has the classification report, and as
 * files beside a report: scores.json, scores.csv, classification_report.csv, predictions.csv (with
 * the files of the set's samples). */
void print_scores(const cr_classifier_scores *scores, char *const *class_names);
void scores_to_json(const cr_classifier_scores *scores, json_t *object);
bool write_scores(const char *folder, const cr_classifier_scores *scores,
                  const cr_evaluation *evaluation, const cr_dataset *set, const int64_t *confusion,
                  char *const *class_names, json_t *answer);

/* Appends a field of CSV in quotes. */
void append_csv_field(cr_text *text, const char *name);

/* --- Several labels (labels.c) --------------------------------------------------------------- */

/* The scores of an evaluation of samples with several labels: printed; as an object of JSON (NULL
 * with an error set); as CSV; and as files beside a report, as write_scores has them, for which
 * `answer` is taken over. False with an error set. */
bool print_labels(const cr_evaluation *evaluation, char *const *names, const float *thresholds);
json_t *labels_to_json(const cr_evaluation *evaluation, char *const *names,
                       const float *thresholds);
bool append_labels_csv(cr_text *text, const cr_evaluation *evaluation, char *const *names,
                       const float *thresholds);
bool write_labels(const char *folder, const cr_evaluation *evaluation, const cr_dataset *set,
                  char *const *names, const float *thresholds, json_t *answer);

/* --- Ensembles and views (ensemble.c) -------------------------------------------------------- */

#define ENSEMBLE_LIMIT 64

/* Models of the same classes, whose probabilities are averaged. */
typedef struct model_list {
    int count;
    cr_classifier *items[ENSEMBLE_LIMIT];
} model_list;

/* Loads the model at a path, or all folds of a run with --folds there, and those of a list parted
 * by commas (NULL: no more). False with an error set; to be freed in any case. */
bool models_load(model_list *models, const char *path, const char *more);
void models_free(model_list *models);

/* From which probability on each label is there, by the mean of the models' thresholds, or by one
 * given for all (negative: none). To be freed; NULL with an error set. */
float *thresholds_of(const model_list *models, double given);

/* The words of --tta, and one's meaning. */
const char *views_words(int index);
cr_views views_of(const char *word);

/* The options that say what stands behind a prediction, for a record with these fields. */
/* clang-format off */
#define ENSEMBLE_OPTIONS(record, group)                                                            \
    { "ensemble", 0, group, TEXT(record, ensemble), "MODEL,...", NULL,                             \
      "further models, whose probabilities are averaged; a run with --folds is several" },         \
    { "tta", 0, group, CHOICE(record, views, views_words), "WORD", "none",                         \
      "test-time augmentation, the mean over views of each picture: flip is it and its mirror "    \
      "image, flips upside down as well, five_crop the middle and the corners, ten_crop these "    \
      "and their mirror images" },                                                                 \
    { "threshold", 0, group, REAL(record, threshold, 0, 1), "P", NULL,                             \
      "of several labels: those of this probability or more are there [chosen for each label on "  \
      "the validation samples]" }
/* clang-format on */

/* What is evaluated by what. */
typedef struct evaluation_plan {
    const model_list *models;
    cr_dataset *set;
    cr_views views;
    double threshold; /* negative: the models' */
    int64_t batch_size, workers;
    bool quiet;
} evaluation_plan;

/* Evaluates every model on every view; false with an error set. */
bool evaluate_models(const evaluation_plan *plan, cr_evaluation *evaluation);

/* --- Analysis of errors (finding.c, analysis*.c, disturbance.c) ------------------------------ */

#define FINDINGS_LIMIT 24

/* Findings and what they point to. */
typedef struct finding_list {
    int count;
    cr_report_finding items[FINDINGS_LIMIT];
    void **kept;
    int kept_count, kept_room;
} finding_list;

/* Hands a block of memory to the list, which frees it; a sentence in printf's manner that the list
 * owns; a new finding. NULL with an error set. */
void *findings_keep(finding_list *list, void *block);
const char *findings_say(finding_list *list, const char *format, ...) CR_PRINTF(2, 3);
cr_report_finding *findings_add(finding_list *list, const char *question);
void findings_free(finding_list *list);
void findings_print(const finding_list *list);
json_t *findings_to_json(const finding_list *list);

/* What is analysed. */
typedef struct analysis {
    const char *path; /* of the model */
    const cr_classifier *classifier;
    cr_dataset *set;   /* that was evaluated */
    cr_dataset *train; /* NULL: not known */
    cr_dataset *fresh; /* new data to compare with the training data; NULL: none */
    const cr_evaluation *evaluation;
    const cr_classifier_scores *scores;
    int64_t samples; /* the most that are run again */
    int64_t batch_size, workers;
    number_list fractions; /* of the learning curve in percent; none: it is not made */
    int64_t epochs;        /* of each of its trainings; 0: as the run's */
    bool quiet;
    finding_list found;
} analysis;

/* Fills in what was found; false with an error set. */
bool analyse(analysis *a);
bool analyse_scores(analysis *a);   /* evenness, classes, calibration, epochs */
bool analyse_features(analysis *a); /* clusters of mistakes, shift */

/* A subset of `limit` samples by a fixed seed, all if there are fewer; which they are into *chosen
 * (NULL: not wanted), to be freed with cr_free, and how many. NULL with an error set. */
cr_dataset *some_of(cr_dataset *set, int64_t limit, int64_t **chosen, int64_t *count);

/* What pictures meet in use, in three strengths. */
enum { DISTURBANCES = 5, STRENGTHS = 3 };
typedef struct disturbance {
    const char *name, *strongest; /* in words */
    const cr_transform_type *type;
    double levels[STRENGTHS];
} disturbance;
extern const disturbance disturbances[DISTURBANCES];

/* A classifier's own transforms with a disturbance of the picture before it is normalized. */
bool disturb(const disturbance *what, int strength, const cr_transform_list *own,
             cr_transform_list *joined);

/* --- Profiles (profiling.c) ------------------------------------------------------------------ */

/* Begins to profile if it was asked for, after some steps to warm up; false with an error set. */
bool profiling_begin(const profile_options *options, int64_t warm_up);

/* Ends it: writes the trace (by default trace.json in the folder, NULL: the current one) and prints
 * the tables on a stream, or gives them as JSON where `json` is not NULL (NULL in it where nothing
 * was asked for). False with an error set. */
bool profiling_end(const profile_options *options, const char *folder, FILE *stream, json_t **json);

/* What memory held at its fullest, while `what` ran. */
void print_memory(const char *what, const cr_memory_report *report);
json_t *memory_to_json(const cr_memory_report *report);

/* --- Training: its options (train_options.c, training_settings.c) ---------------------------- */

typedef struct train_options {
    const char *data, *augment, *split, *group_by, *label_by, *broken;
    const char *unlabeled, *strong_augment;
    int64_t labels;
    double validation;
    int64_t folds, fold;
    const char *architecture, *weights, *from, *freeze, *preprocess, *crop, *normalize, *rates;
    int64_t resize;
    cr_model_settings model;
    cr_train_settings train;
    const char *optimizer, *schedule, *sampler;
    number_list milestones;
    int64_t plateau_patience, workers, threads, seed;
    const char *precision;
    const char *out, *name, *resume, *show_batch;
    int64_t find_lr_steps;
    double save_seconds;
    bool report, events, dry_run, quiet, json, transforms, find_lr;
    profile_options profile;
} train_options;

const char *normalize_words(int index);
cr_normalization normalization_of(const char *word);

/* What the options mean. `rates` is a copy of --lr-scale (NULL: not given), in which the names of
 * the settings' rates then stand; transforms are those of evaluation. False with an error set. */
bool train_options_translate(const train_options *chosen, char *rates,
                             cr_transform_list *transforms, cr_train_settings *settings);

int run_train(const arguments *args);

/* What pretrain shares with train (cmd_train.c). The run directory: the one given (NULL: the next
 * one in runs/), which must not hold a run yet; NULL with an error set. The settings as args.json
 * keeps them, to be freed; NULL if out of memory. A resumed run: `run` is called with the settings
 * that it was begun with. */
char *new_run_folder(const char *out, const char *name, bool dry_run);
char *run_arguments(const arguments *args);
int resume_run(const arguments *args, int (*run)(const arguments *args));

/* Draws the first batch of training, with its changes and labels, to a .png or .svg file
 * (show_batch.c). False with an error set. */
bool show_batch(const cr_classifier *classifier, cr_dataset *set, const cr_train_settings *settings,
                const char *path);

/* Finds a learning rate, writes the chart and its points to a folder, and says it; the exit status
 * (learning_rate.c). The classifier's weights are spent. */
int find_learning_rate(const arguments *args, cr_classifier *classifier, cr_dataset *train,
                       const cr_train_settings *settings, const char *folder);

/* --- Runs (run_folder.c, training.c, run_report.c) ------------------------------------------ */

/* Makes parent/name-001, or the next number that is free; its path, to be freed with cr_free. */
char *make_run_folder(const char *parent, const char *name);

/* FOLDER/fold-1 and so on, of a run with --folds; to be freed with cr_free. */
char *fold_folder(const char *folder, int fold);

/* True if the folder holds a run. */
bool is_run_folder(const char *folder);

/* A text setting of a run from its args.json, to be freed with cr_free; NULL if there is none. */
char *run_setting(const char *folder, const char *name);

/* Where the samples of a run come from (training_data.c). */
typedef struct data_plan {
    const char *name;
    const char *split;    /* "0.75/0.25": all samples parted anew; NULL: the parts that there are */
    const char *group_by; /* finds in a path what belongs together in one part; NULL: nothing */
    const char *label_by; /* finds the class in a path; NULL: the subfolder is the class */
    double validation;    /* share of the training samples, if there is no part to validate */
    uint64_t seed;
    int folds, fold;   /* of so many folds this one validates; fold 0 of some: all of them train */
    bool skips_broken; /* leaves out pictures that cannot be read */
} data_plan;

/* The sets of a training run. Without a held-out part validation is the test set, and without a
 * test part test is the validation set. */
typedef struct training_data {
    const char *name;
    cr_dataset *train, *validation, *test;
    cr_broken_pictures broken; /* that were left out */
} training_data;

/* Classes and channels are a classifier's, if one is given. False with an error set. */
bool training_data_open(training_data *data, const data_plan *plan,
                        const cr_classifier *classifier);

/* The plan of a run, from its args.json, whose strings *owner keeps (to be dropped in any case);
 * false if the folder holds no run. */
bool run_data_plan(const char *folder, data_plan *plan, json_t **owner);
void training_data_close(training_data *data);

/* Samples without labels (unlabeled.c). Leaves `count` samples of training, of all classes equally
 * many, as if the others had no labels; and opens the pictures of a data set (its training part),
 * or of a folder that has any at whatever depth. False, or NULL, with an error set. */
bool keep_labels(training_data *data, int64_t count, uint64_t seed);
cr_dataset *open_unlabeled(const char *name);

/* What is shown while a run goes on. */
typedef struct training_view {
    const cr_classifier *classifier;
    const char *folder;
    int64_t epochs, batch_size;
    bool quiet;
    bool printed; /* the headings */
    progress bar;
    char label[48];
    int64_t bar_epoch; /* the epoch of the bar, 0 for none, and its part */
    bool bar_validates;
    double later_seconds;  /* of training of all later epochs */
    cr_tensorboard *board; /* NULL: no events are written */
    bool resumes;          /* no epoch has come yet since a resume */
} training_view;

/* Prints what will be done; passes what happens on to the view, which writes `events` for
 * TensorBoard to the run directory (false with an error set if it cannot); takes the bar away. */
void training_view_begin(training_view *view, const cr_classifier *classifier,
                         const cr_train_settings *settings, const training_data *data,
                         const char *folder, bool resumes, bool quiet);
bool training_view_connect(training_view *view, cr_train_run *run, bool events);
void training_view_end(training_view *view);

/* What a fold of a cross-validation comes to. */
typedef struct fold_result {
    const char *whole; /* the folder of the run that it is a fold of */
    int64_t best_epoch;
    double seconds;
    cr_evaluation evaluation; /* of its own samples, by its best weights */
} fold_result;

/* Trains all folds of a run, one after the other, each in a folder of its own, and sums them up
 * (folds.c); the exit status. run_fold trains one (cmd_train.c). */
int run_folds(const arguments *args);
int run_fold(const arguments *args, fold_result *result);

/* A run that came to its end. */
typedef struct run_outcome {
    const arguments *args;
    const char *folder;
    const training_data *data;
    const cr_train_result *result;
    uint64_t seed;
    cr_dtype precision;
    bool report, quiet, json;
    fold_result *fold; /* takes the evaluation over; NULL: no fold */
    json_t *profile;   /* for the JSON result; NULL for none. Taken over by finish_run */
} run_outcome;

/* Evaluates, writes the report, says the result; the exit status. */
int finish_run(const run_outcome *outcome);

/* --- Help (cmd_help.c, manual.c) ------------------------------------------------------------ */

/* Prints the help of one command, or of all when NULL. */
void print_help(FILE *stream, const cli_command *command);

/* Appends the option as it is typed, "--lr X" or "--no-report", and what it does with its choices
 * and default. */
void describe_option(cr_text *out, const cli_option *option);
void explain_option(cr_text *out, const cli_option *option);

/* True if option `index` of a command begins a group. */
bool option_begins_group(const cli_command *command, int index);

/* The manual of the whole command: cresset.1 in troff, docs/command.md in Markdown. */
void write_man_page(cr_text *out);
void write_markdown(cr_text *out);

/* A transform with its parameters: "flip[:p=0.5]". */
void append_transform(cr_text *out, const cr_transform_type *type);

/* What stands at the end of the manual and of the help: exit statuses, environment variables. */
typedef struct fact {
    const char *name;
    const char *words;
} fact;
extern const fact exit_facts[4];
extern const fact environment_facts[5];
extern const char command_summary[];

/* --- Export (cmd_export.c, export_onnx.c, export_c.c) ---------------------------------------- */

typedef struct export_settings {
    cr_model_settings model;
    number_list input;
    const char *weights, *format, *output, *c_weights;
    int64_t threads, lanes;
    bool dynamic_size, no_fold, external_data, json;
} export_settings;

/* A model on its way into a file: a classifier, an ONNX file, or an architecture by its name. */
typedef struct export_job {
    const arguments *args;
    char *path;                  /* of the file or folder to write */
    cr_classifier *classifier;   /* NULL: none */
    cr_onnx *onnx;               /* NULL: none */
    cr_bound_architecture bound; /* without .onnx */
    cr_model *model;             /* in eval mode */
    cr_model *owned;             /* the same, if no classifier has it */
    cr_model_function function;
    const void *function_settings;
    cr_shape sample; /* without the batch */
    cr_dtype input_dtype;
    json_t *answer; /* for --json */
} export_job;

/* Write, check and report a file; false with an error set. */
bool export_onnx(export_job *job);
bool export_c(export_job *job);

/* The words of --c-weights. */
const char *c_weights_words(int index);

/* The model as a graph for samples of a shape; NULL with an error set. */
cr_graph *export_trace(const export_job *job, cr_shape sample);

/* The size of a file; 0 if it cannot be read. */
int64_t export_file_bytes(const char *path);

#endif
