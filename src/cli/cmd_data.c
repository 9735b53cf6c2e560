/* `cresset data`: what is in a data set. */
#include <string.h>

#include "cli.h"
#include "cresset/data.h"
#include "cresset/memory.h"

#define SPLITS 2

typedef struct data_settings {
    int64_t show;
    bool json;
} data_settings;

static const cli_option options[] = {
    { "show", 's', "Output", INTEGER(data_settings, show, 0, 1000), "N", "0",
      "draw the first N training samples with characters" },
    { "json", 0, "Output", FLAG(data_settings, json), NULL, NULL, "answer in JSON" },
};

static const cli_example examples[] = {
    { "cresset data fashion-mnist", "Classes, sizes, mean and deviation of Debian's package "
                                    "dataset-fashion-mnist:" },
    { "cresset data ./mnist --show 6", "The same for a folder, and a look at six samples:" },
    { "cresset data fashion-mnist --json | jq '.splits[0].channel_means'", "For a program:" },
};

/* Both splits of a set, opened and measured. */
typedef struct contents {
    const char *name; /* as the user gave it */
    cr_dataset *sets[SPLITS];
    cr_dataset_statistics statistics[SPLITS];
    int measured;
} contents;

static const char *const split_names[SPLITS] = { "train", "test" };

static bool open_contents(contents *c)
{
    static const cr_data_split splits[SPLITS] = { CR_SPLIT_TRAIN, CR_SPLIT_TEST };
    for (int i = 0; i < SPLITS; i++) {
        c->sets[i] = open_data(c->name, splits[i]);
        if (!c->sets[i] || cr_dataset_measure(c->sets[i], &c->statistics[i]) != CR_OK)
            return false;
        c->measured++;
    }
    return true;
}

static void close_contents(contents *c)
{
    for (int i = 0; i < c->measured; i++)
        cr_dataset_statistics_free(&c->statistics[i]);
    for (int i = 0; i < SPLITS; i++)
        cr_dataset_free(c->sets[i]);
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
        json_object_set_new(counts, cr_dataset_class_name(c->sets[split], i),
                            json_integer(statistics->class_counts[i]));
    return json_pack("{s:s, s:I, s:I, s:o, s:o, s:o}", "name", split_names[split], "samples",
                     (json_int_t)statistics->size, "unlabelled", (json_int_t)statistics->unlabelled,
                     "class_counts", counts, "channel_means",
                     numbers(statistics->channel_means, statistics->channel_count),
                     "channel_deviations",
                     numbers(statistics->channel_deviations, statistics->channel_count));
}

static json_t *contents_to_json(const contents *c)
{
    cr_shape shape = cr_dataset_sample_shape(c->sets[0]);
    json_t *sizes = json_array(), *classes = json_array(), *splits = json_array();
    for (int i = 0; i < shape.ndim; i++)
        json_array_append_new(sizes, json_integer(shape.dim[i]));
    for (int i = 0; i < cr_dataset_class_count(c->sets[0]); i++)
        json_array_append_new(classes, json_string(cr_dataset_class_name(c->sets[0], i)));
    for (int i = 0; i < SPLITS; i++)
        json_array_append_new(splits, split_to_json(c, i));
    return json_pack("{s:s, s:o, s:s, s:o, s:o}", "name", c->name, "sample_shape", sizes, "dtype",
                     cr_dtype_name(cr_dataset_dtype(c->sets[0])), "classes", classes, "splits",
                     splits);
}

/* --- Text ----------------------------------------------------------------------------------- */

static void print_heading(const contents *c)
{
    cr_shape shape = cr_dataset_sample_shape(c->sets[0]);
    int64_t numel = cr_shape_numel(&shape);
    char number[NUMBER_SIZE], sizes[CR_SHAPE_TEXT];
    int64_t bytes = 0;
    for (int i = 0; i < SPLITS; i++)
        bytes +=
            c->statistics[i].size * numel * (int64_t)cr_dtype_size(cr_dataset_dtype(c->sets[i]));
    printf("%s: samples of %s %s, %d classes, %s in memory\n\n", c->name,
           format_sizes(sizes, sizeof sizes, &shape, 0),
           cr_dtype_name(cr_dataset_dtype(c->sets[0])), cr_dataset_class_count(c->sets[0]),
           format_bytes(number, (double)bytes));
}

static void print_classes(const contents *c)
{
    char number[NUMBER_SIZE];
    cli_table table;
    table_begin(&table, "lrr");
    table_row(&table, "class", split_names[0], split_names[1]);
    table_rule(&table);
    for (int i = 0; i < c->statistics[0].class_count; i++) {
        table_cell(&table, "%s", cr_dataset_class_name(c->sets[0], i));
        for (int s = 0; s < SPLITS; s++) {
            bool known = i < c->statistics[s].class_count;
            table_cell(&table, "%s",
                       format_count(number, known ? c->statistics[s].class_counts[i] : 0));
        }
    }
    if (c->statistics[0].unlabelled || c->statistics[1].unlabelled) {
        table_cell(&table, "no label");
        for (int s = 0; s < SPLITS; s++)
            table_cell(&table, "%s", format_count(number, c->statistics[s].unlabelled));
    }
    table_rule(&table);
    table_cell(&table, "all");
    for (int s = 0; s < SPLITS; s++)
        table_cell(&table, "%s", format_count(number, c->statistics[s].size));
    table_print(&table, stdout);
}

static void print_channels(const contents *c)
{
    cli_table table;
    table_begin(&table, "lrrrr");
    table_row(&table, "channel", "train mean", "deviation", "test mean", "deviation");
    table_rule(&table);
    for (int i = 0; i < c->statistics[0].channel_count; i++) {
        table_cell(&table, "%d", i);
        for (int s = 0; s < SPLITS; s++) {
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
        good = sample_picture(c->sets[0], i, &pictures[i], &label);
        snprintf(pictures[i].captions[0], sizeof pictures[i].captions[0], "%lld: %s", (long long)i,
                 good && label >= 0 ? cr_dataset_class_name(c->sets[0], (int)label) : "no label");
    }
    if (good) {
        putchar('\n');
        show_pictures(stdout, pictures, (int)count);
    }
    free_pictures(pictures, (int)count);
    return good;
}

static int run(const arguments *args)
{
    const data_settings *settings = args->settings;
    contents c = { .name = args->operands[0] };
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

const cli_command data_command = {
    .name = "data",
    .summary = "Show what is in a data set",
    .operands = "DATA",
    .description =
        "Shows the classes of a data set and how many samples of each are in its training and test "
        "parts, the shape of a sample, and the mean and deviation of each channel on a scale from "
        "0 to 1.\n\nDATA is a folder of idx files, plain or with .gz, as MNIST and Fashion-MNIST "
        "come in, or the name of one in /usr/share/datasets.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(data_settings),
    .operand_minimum = 1,
    .operand_maximum = 1,
    .run = run,
};
