/* `cresset data split`: parts a set of pictures into training, validation and test, with the same
 * fraction of every class in each and, if asked, groups kept together. What it writes, tables or
 * folders, is a data set for the other subcommands. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define LARGEST_PICTURE ((size_t)1 << 30)

static const char *const part_files[DATA_PARTS] = { "train", "val", "test" };

typedef struct splitting {
    const data_settings *settings;
    data_parts source;
    cr_dataset *all;
    cr_dataset *parts[DATA_PARTS]; /* NULL for those that are not asked for */
    double fractions[DATA_PARTS];
} splitting;

static bool open_source(splitting *s, const char *name)
{
    cr_dataset *sets[DATA_PARTS];
    if (!data_parts_open(&s->source, name, s->settings->label_by))
        return false;
    for (int i = 0; i < s->source.count; i++)
        sets[i] = s->source.parts[i].set;
    s->all = cr_dataset_concat(sets, s->source.count);
    for (int64_t i = 0; s->all && i < cr_dataset_size(s->all); i++) {
        const char *path = cr_dataset_path(s->all, i);
        if (*path && cr_file_exists(path))
            continue;
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "%s cannot be parted here: its samples are not pictures in files of their own",
                     name);
        return false;
    }
    return s->all != NULL;
}

static bool make_parts(splitting *s)
{
    return part_in_three(s->all, s->settings->group_by, s->fractions, (uint64_t)s->settings->seed,
                         s->parts);
}

/* ---- tables ---- */

/* A field of CSV, in quotes where it needs them. */
static void add_field(cr_text *text, const char *field)
{
    if (!strpbrk(field, ",\"\r\n") && *field != ' ' && *field != '\t') {
        cr_text_append(text, field);
        return;
    }
    cr_text_append(text, "\"");
    for (const char *c = field; *c; c++) {
        if (*c == '"')
            cr_text_append(text, "\"");
        cr_text_append_bytes(text, c, 1);
    }
    cr_text_append(text, "\"");
}

/* All classes of a sample, parted by '|'. */
static bool add_labels(cr_text *text, cr_dataset *set, int64_t index, float *targets)
{
    cr_text labels = { 0 };
    if (cr_dataset_targets(set, index, targets) != CR_OK)
        return false;
    for (int i = 0; i < cr_dataset_class_count(set); i++) {
        if (targets[i] > 0)
            cr_text_printf(&labels, "%s%s", labels.length ? "|" : "",
                           cr_dataset_class_name(set, i));
    }
    add_field(text, labels.data ? labels.data : "");
    cr_text_free(&labels);
    return true;
}

static bool write_table(cr_dataset *set, const char *path)
{
    char real[PATH_MAX];
    cr_text text = { 0 };
    float *targets = cr_alloc_array((size_t)cr_dataset_class_count(set), sizeof *targets);
    cr_text_append(&text, "path,label\n");
    for (int64_t i = 0; targets && i < cr_dataset_size(set) && !cr_failed(); i++) {
        const char *own = cr_dataset_path(set, i);
        add_field(&text, realpath(own, real) ? real : own);
        cr_text_append(&text, ",");
        add_labels(&text, set, i, targets);
        cr_text_append(&text, "\n");
    }
    if (!cr_failed())
        cr_file_replace(path, text.data, text.length);
    cr_free(targets);
    cr_text_free(&text);
    return !cr_failed();
}

/* ---- folders ---- */

/* A path in the folder that is free: the picture's own name, or that with a number. To be freed. */
static char *free_path(const char *folder, const char *name)
{
    const char *dot = strrchr(name, '.');
    int stem = dot ? (int)(dot - name) : (int)strlen(name);
    char *path = cr_path_join(folder, name);
    for (int number = 2; path && cr_file_exists(path); number++) {
        cr_free(path);
        path = cr_string_format("%s/%.*s-%d%s", folder, stem, name, number, dot ? dot : "");
    }
    return path;
}

static bool copy_file(const char *from, const char *folder)
{
    size_t size;
    const char *slash = strrchr(from, '/');
    char *to = free_path(folder, slash ? slash + 1 : from);
    char *bytes = to ? cr_file_read(from, LARGEST_PICTURE, &size) : NULL;
    FILE *file = bytes ? fopen(to, "wb") : NULL;
    bool good = file && fwrite(bytes, 1, size, file) == size;
    good = file && fclose(file) == 0 && good;
    if (bytes && !good)
        cr_error_set(CR_ERROR_IO, "cannot write %s", to);
    cr_free(bytes);
    cr_free(to);
    return good;
}

static bool copy_part(cr_dataset *set, const char *folder)
{
    for (int64_t i = 0; i < cr_dataset_size(set) && !cr_failed(); i++) {
        int64_t label = 0;
        if (cr_dataset_label(set, i, &label) != CR_OK)
            break;
        char *own = cr_path_join(folder, label >= 0 ? cr_dataset_class_name(set, (int)label)
                                                    : "unlabelled");
        if (own && cr_folder_make(own) == CR_OK)
            copy_file(cr_dataset_path(set, i), own);
        cr_free(own);
    }
    return !cr_failed();
}

/* ---- all of it ---- */

static bool write_part(const splitting *s, int which)
{
    const char *ending = s->settings->copy ? "" : ".csv";
    char *path = cr_string_format("%s/%s%s", s->settings->out, part_files[which], ending);
    if (path && cr_file_exists(path))
        cr_error_set(CR_ERROR_IO, "%s is there already; give another folder with --out", path);
    else if (path && s->settings->copy)
        copy_part(s->parts[which], path);
    else if (path)
        write_table(s->parts[which], path);
    cr_free(path);
    return !cr_failed();
}

static int64_t count_class(cr_dataset *set, int class)
{
    int64_t count = 0, label;
    for (int64_t i = 0; i < cr_dataset_size(set); i++)
        count += cr_dataset_label(set, i, &label) == CR_OK && label == class;
    return count;
}

static json_t *split_to_json(const splitting *s)
{
    json_t *parts = json_object();
    for (int i = 0; i < DATA_PARTS; i++) {
        if (!s->parts[i])
            continue;
        json_t *counts = json_object();
        for (int c = 0; c < cr_dataset_class_count(s->all); c++)
            json_object_set_new(counts, cr_dataset_class_name(s->all, c),
                                json_integer(count_class(s->parts[i], c)));
        json_object_set_new(parts, part_files[i], counts);
    }
    return json_pack("{s:s, s:o}", "folder", s->settings->out, "class_counts", parts);
}

static void print_split(const splitting *s)
{
    char number[NUMBER_SIZE];
    cli_table table;
    table_begin(&table, s->parts[1] ? "lrrr" : "lrr");
    table_cell(&table, "class");
    for (int i = 0; i < DATA_PARTS; i++)
        if (s->parts[i])
            table_cell(&table, "%s", part_files[i]);
    table_rule(&table);
    for (int c = 0; c < cr_dataset_class_count(s->all); c++) {
        table_cell(&table, "%s", cr_dataset_class_name(s->all, c));
        for (int i = 0; i < DATA_PARTS; i++)
            if (s->parts[i])
                table_cell(&table, "%s", format_count(number, count_class(s->parts[i], c)));
    }
    table_rule(&table);
    table_cell(&table, "all");
    for (int i = 0; i < DATA_PARTS; i++)
        if (s->parts[i])
            table_cell(&table, "%s", format_count(number, cr_dataset_size(s->parts[i])));
    table_print(&table, stdout);
    printf("\nwritten to %s\n", s->settings->out);
}

static bool work(splitting *s, const char *name)
{
    if (!read_fractions("fractions", s->settings->fractions, s->fractions) ||
        !open_source(s, name) || !make_parts(s))
        return false;
    bool good = cr_folder_make(s->settings->out) == CR_OK;
    for (int i = 0; i < DATA_PARTS && good; i++)
        good = !s->parts[i] || write_part(s, i);
    return good;
}

int run_data_split(const arguments *args)
{
    splitting s = { .settings = args->settings };
    int status = STATUS_DONE;
    if (!s.settings->out)
        return usage_error(args->command, "split needs --out DIR, where to write");
    if (!work(&s, args->operands[1]))
        status = library_failure(args->command);
    else if (s.settings->json)
        status = print_json(args->command, split_to_json(&s));
    else
        print_split(&s);
    for (int i = 0; i < DATA_PARTS; i++)
        cr_dataset_free(s.parts[i]);
    cr_dataset_free(s.all);
    data_parts_close(&s.source);
    return status;
}
