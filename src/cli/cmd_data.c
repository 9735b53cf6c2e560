/* `cresset data`: what is in a data set; and the words for its actions, which check a set, part it,
 * or make one. */
#include <string.h>

#include "cli.h"
#include "cresset/data.h"
#include "cresset/memory.h"

static const cli_option options[] = {
    { "label-by", 0, "Input", TEXT(data_settings, label_by), "REGEX", NULL,
      "take what it finds in the path of a picture for its class, instead of the subfolder" },
    { "show", 's', "Output", INTEGER(data_settings, show, 0, 1000), "N", "0",
      "draw the first N training samples with characters" },
    { "json", 0, "Output", FLAG(data_settings, json), NULL, NULL, "answer in JSON" },
    { "html", 0, "Output", FILE_PATH(data_settings, html), "FILE", NULL,
      "check: write a page with pictures" },
    { "out", 'o', "Output", FOLDER_PATH(data_settings, out), "DIR", NULL,
      "split, make: the folder to write to" },
    { "fractions", 0, "Splitting", TEXT(data_settings, fractions), "A/B/C", "0.7/0.15/0.15",
      "what goes to training, validation and test; two numbers are training and test" },
    { "group-by", 0, "Splitting", TEXT(data_settings, group_by), "REGEX", NULL,
      "keep pictures together in whose paths it finds the same, such as a patient's number" },
    { "copy", 0, "Splitting", FLAG(data_settings, copy), NULL, NULL,
      "copy the pictures into folders instead of listing them in tables" },
    { "seed", 0, "Splitting", INTEGER(data_settings, seed, 0, 1LL << 53), "N", "1",
      "another seed gives another split, and other made pictures" },
    { "count", 'n', "Making", INTEGER(data_settings, count, 1, 1000000), "N", "100",
      "training pictures of each class; a quarter as many to validate, and to test" },
    { "width", 0, "Making", INTEGER(data_settings, width, 64, 4096), "N", "512",
      "pixels of a made picture" },
    { "height", 0, "Making", INTEGER(data_settings, height, 64, 4096), "N", "496",
      "pixels of a made picture" },
};

static const cli_example examples[] = {
    { "cresset data fashion-mnist", "Classes, sizes, mean and deviation of Debian's package "
                                    "dataset-fashion-mnist:" },
    { "cresset data ./mnist --show 6", "The same for a folder, and a look at six samples:" },
    { "cresset data fashion-mnist --json | jq '.splits[0].channel_means'", "For a program:" },
    { "cresset data check oct2017 --html check.html",
      "Broken pictures, and pictures that come twice:" },
    { "cresset data split scans --out parts --group-by '/([0-9]+)-'",
      "Training, validation and test, each patient in one of them:" },
    { "cresset data split IDC --out parts --label-by 'class([01])' --group-by '/([0-9]+)_'",
      "The same where classes stand in the names of the files:" },
    { "cresset data make oct --out oct --count 200", "Scans of retinas to try things on:" },
};

bool data_parts_open(data_parts *parts, const char *name, const char *label_by)
{
    *parts = (data_parts){ 0 };
    if (!open_data_parts(&(data_request){ .name = name, .label_by = label_by }, &parts->owned))
        return false;
    const data_part all[DATA_PARTS] = { { "train", parts->owned.train },
                                        { "validation", parts->owned.validation },
                                        { "test", parts->owned.test } };
    for (int i = 0; i < DATA_PARTS; i++)
        if (all[i].set)
            parts->parts[parts->count++] = all[i];
    return true;
}

void data_parts_close(data_parts *parts)
{
    cr_image_parts_free(&parts->owned);
}

/* The parts of a set, opened and measured. */
typedef struct contents {
    const char *name; /* as the user gave it */
    const char *label_by;
    data_parts parts;
    cr_dataset_statistics statistics[DATA_PARTS];
    int measured;
} contents;

static cr_dataset *set_of(const contents *c, int part)
{
    return c->parts.parts[part].set;
}

static bool open_contents(contents *c)
{
    if (!data_parts_open(&c->parts, c->name, c->label_by))
        return false;
    for (int i = 0; i < c->parts.count; i++) {
        if (cr_dataset_measure(set_of(c, i), &c->statistics[i]) != CR_OK)
            return false;
        c->measured++;
    }
    return true;
}

static void close_contents(contents *c)
{
    for (int i = 0; i < c->measured; i++)
        cr_dataset_statistics_free(&c->statistics[i]);
    data_parts_close(&c->parts);
}

/* --- JSON ----------------------------------------------------------------------------------- */

static json_t *numbers(const double *values, int count)
{
    json_t *array = json_array();
    for (int i = 0; i < count; i++)
        json_array_append_new(array, json_finite(values[i]));
    return array;
}

static json_t *split_to_json(const contents *c, int split)
{
    const cr_dataset_statistics *statistics = &c->statistics[split];
    json_t *counts = json_object();
    for (int i = 0; i < statistics->class_count; i++)
        json_object_set_new(counts, cr_dataset_class_name(set_of(c, split), i),
                            json_integer(statistics->class_counts[i]));
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "name", c->parts.parts[split].name,
                     "samples", (json_int_t)statistics->size, "unlabelled",
                     (json_int_t)statistics->unlabelled, "class_counts", counts, "channel_means",
                     numbers(statistics->channel_means, statistics->channel_count),
                     "channel_deviations",
                     numbers(statistics->channel_deviations, statistics->channel_count));
}

static json_t *contents_to_json(const contents *c)
{
    cr_shape shape = cr_dataset_sample_shape(set_of(c, 0));
    json_t *sizes = json_array(), *classes = json_array(), *splits = json_array();
    for (int i = 0; i < shape.ndim; i++)
        json_array_append_new(sizes, json_integer(shape.dim[i]));
    for (int i = 0; i < cr_dataset_class_count(set_of(c, 0)); i++)
        json_array_append_new(classes, json_string(cr_dataset_class_name(set_of(c, 0), i)));
    for (int i = 0; i < c->parts.count; i++)
        json_array_append_new(splits, split_to_json(c, i));
    return json_pack("{s:s, s:o, s:s, s:o, s:o}", "name", c->name, "sample_shape", sizes, "dtype",
                     cr_dtype_name(cr_dataset_dtype(set_of(c, 0))), "classes", classes, "splits",
                     splits);
}

/* --- Text ----------------------------------------------------------------------------------- */

static void print_heading(const contents *c)
{
    cr_shape shape = cr_dataset_sample_shape(set_of(c, 0));
    int64_t numel = cr_shape_numel(&shape), bytes = 0;
    char number[NUMBER_SIZE], sizes[CR_SHAPE_TEXT];
    const char *dtype = cr_dtype_name(cr_dataset_dtype(set_of(c, 0)));
    int classes = cr_dataset_class_count(set_of(c, 0));
    if (shape.ndim == 3 && shape.dim[1] < 0) {
        printf("%s: pictures of %lld channels that are read from their files, %d classes\n\n",
               c->name, (long long)shape.dim[0], classes);
        return;
    }
    for (int i = 0; i < c->parts.count; i++)
        bytes +=
            c->statistics[i].size * numel * (int64_t)cr_dtype_size(cr_dataset_dtype(set_of(c, i)));
    printf("%s: samples of %s %s, %d classes, %s in memory\n\n", c->name,
           format_sizes(sizes, sizeof sizes, &shape, 0), dtype, classes,
           format_bytes(number, (double)bytes));
}

static void print_row(cli_table *table, const contents *c, const char *name, int label)
{
    char number[NUMBER_SIZE];
    table_cell(table, "%s", name);
    for (int s = 0; s < c->parts.count; s++) {
        const cr_dataset_statistics *own = &c->statistics[s];
        int64_t count = label == -2                ? own->size
                        : label == -1              ? own->unlabelled
                        : label < own->class_count ? own->class_counts[label]
                                                   : 0;
        table_cell(table, "%s", format_count(number, count));
    }
}

static void print_classes(const contents *c)
{
    static const char *const alignments[] = { "lr", "lrr", "lrrr" };
    cli_table table;
    int64_t unlabelled = 0;
    table_begin(&table, alignments[c->parts.count - 1]);
    table_cell(&table, "class");
    for (int s = 0; s < c->parts.count; s++) {
        table_cell(&table, "%s", c->parts.parts[s].name);
        unlabelled += c->statistics[s].unlabelled;
    }
    table_rule(&table);
    for (int i = 0; i < c->statistics[0].class_count; i++)
        print_row(&table, c, cr_dataset_class_name(set_of(c, 0), i), i);
    if (unlabelled > 0)
        print_row(&table, c, "no label", -1);
    table_rule(&table);
    print_row(&table, c, "all", -2);
    table_print(&table, stdout);
}

static void print_channels(const contents *c)
{
    static const char *const alignments[] = { "lrr", "lrrrr", "lrrrrrr" };
    cli_table table;
    table_begin(&table, alignments[c->parts.count - 1]);
    table_cell(&table, "channel");
    for (int s = 0; s < c->parts.count; s++) {
        table_cell(&table, "%s mean", c->parts.parts[s].name);
        table_cell(&table, "deviation");
    }
    table_rule(&table);
    for (int i = 0; i < c->statistics[0].channel_count; i++) {
        table_cell(&table, "%d", i);
        for (int s = 0; s < c->parts.count; s++) {
            table_cell(&table, "%.4f", c->statistics[s].channel_means[i]);
            table_cell(&table, "%.4f", c->statistics[s].channel_deviations[i]);
        }
    }
    putchar('\n');
    table_print(&table, stdout);
}

static bool show_samples(const contents *c, int64_t count)
{
    if (count > c->statistics[0].size)
        count = c->statistics[0].size;
    cli_picture *pictures = cr_alloc_zeroed((size_t)count, sizeof *pictures);
    bool good = pictures != NULL;
    for (int64_t i = 0; good && i < count; i++) {
        int64_t label;
        good = sample_picture(set_of(c, 0), i, &pictures[i], &label);
        snprintf(pictures[i].captions[0], sizeof pictures[i].captions[0], "%lld: %s", (long long)i,
                 good && label >= 0 ? cr_dataset_class_name(set_of(c, 0), (int)label) : "no label");
    }
    if (good) {
        putchar('\n');
        show_pictures(stdout, pictures, (int)count);
    }
    free_pictures(pictures, (int)count);
    return good;
}

static int show_contents(const arguments *args)
{
    const data_settings *settings = args->settings;
    contents c = { .name = args->operands[0], .label_by = settings->label_by };
    int status = STATUS_DONE;
    if (!open_contents(&c)) {
        status = library_failure(args->command);
    } else if (settings->json) {
        status = print_json(args->command, contents_to_json(&c));
    } else {
        print_heading(&c);
        print_classes(&c);
        print_channels(&c);
        if (settings->show > 0 && !show_samples(&c, settings->show))
            status = library_failure(args->command);
    }
    close_contents(&c);
    return status;
}

/* The actions, each with the operands that it takes; a data set of such a name is ./check. */
static const struct action {
    const char *name;
    const char *operands;
    int (*run)(const arguments *args);
} actions[] = {
    { "check", "DATA", run_data_check },
    { "split", "DATA", run_data_split },
    { "make", "oct", run_data_make },
};

static int run(const arguments *args)
{
    for (int i = 0; i < COUNT_OF(actions); i++) {
        if (strcmp(args->operands[0], actions[i].name) != 0)
            continue;
        if (args->operand_count == 2)
            return actions[i].run(args);
        return usage_error(args->command, "%s takes one operand: cresset data %s %s",
                           actions[i].name, actions[i].name, actions[i].operands);
    }
    if (args->operand_count > 1)
        return usage_error(args->command, "there is no action \"%s\", only check, split and make",
                           args->operands[0]);
    return show_contents(args);
}

const cli_command data_command = {
    .name = "data",
    .summary = "Show, check, split and make data sets",
    .operands = "[check|split|make] DATA",
    .description =
        "Shows the classes of a data set and how many samples of each are in its parts, the shape "
        "of a sample, and the mean and deviation of each channel on a scale from 0 to 1.\n\nDATA "
        "is a folder with a subfolder of pictures (JPEG, PNG, WebP, TIFF, BMP, PNM) for each "
        "class, or with such folders in train, val and test; a table of paths and labels (.csv), "
        "or train.csv, val.csv and test.csv in a folder; tar files in WebDataset's layout; idx "
        "files, plain or with .gz, as MNIST and Fashion-MNIST come in; CIFAR-10, CIFAR-100 and "
        "STL-10 in their binary versions; an npz file in MedMNIST's layout; or the name of a "
        "folder in /usr/share/datasets.\n\ncheck reads every picture: it names those that are "
        "broken and those that come twice, above all in two parts, and those that look nearly the "
        "same. split writes train.csv, val.csv and test.csv, the same fraction of every class in "
        "each, or with --copy folders. make oct draws cross sections of retinas as a scanner for "
        "optical coherence tomography shows them, healthy (NORMAL), with drusen (DRUSEN), fluid "
        "(DME) and membranes (CNV).",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(data_settings),
    .operand_minimum = 1,
    .operand_maximum = 2,
    .run = run,
};
