/* Tables of pictures: CSV as RFC 4180 has it (quotes, doubled quotes, either end of line), with
 * paths in one column and labels in another. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cresset/file.h"
#include "images/images.h"

#define LARGEST_TABLE ((size_t)1 << 30)
#define LABEL_PARTING '|'

/* A table in memory, taken apart in place: fields become terminated strings. */
struct table {
    const char *name;
    char *at;
    int64_t row;
    char *path;  /* of the row that was read */
    char *label; /* "" if there is none */
    int path_column;
    int label_column;
};

/* Takes the field that begins at table->at; *ends_row if it is the last of its row. */
static char *take_field(struct table *table, bool *ends_row)
{
    char *field = table->at;
    char *to = field;
    char *from = field;
    if (*from == '"') {
        from++;
        while (*from && (*from != '"' || from[1] == '"')) {
            from += *from == '"';
            *to++ = *from++;
        }
        from += *from == '"';
    }
    while (*from && *from != ',' && *from != '\n' && *from != '\r')
        *to++ = *from++;
    *ends_row = *from != ',';
    if (*from == '\r' && from[1] == '\n')
        from++;
    table->at = from + (*from != '\0');
    *to = '\0';
    return field;
}

/* White space around a field is not a part of it. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t length = strlen(text);
    while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
        text[--length] = '\0';
    return text;
}

static int word_index(const char *word, const char *const *words)
{
    for (int i = 0; words[i]; i++) {
        if (strcasecmp(word, words[i]) == 0)
            return i;
    }
    return -1;
}

/* Reads the headings, if there are any: then one of them says where the paths are. */
static void read_headings(struct table *table)
{
    static const char *const paths[] = { "path",       "file", "filename", "filepath", "image",
                                         "image_path", "img",  "name",     NULL };
    static const char *const labels[] = { "label", "labels", "class", "target", "category", NULL };
    char *start = table->at;
    size_t length = strcspn(start, "\r\n");
    char *copy = cr_string_format("%.*s", (int)IMAGES_MIN(length, 1 << 20), start);
    if (!copy)
        return;
    struct table heading = { .at = copy };
    int path_column = -1, label_column = -1;
    bool ends = false;
    for (int column = 0; !ends && *heading.at; column++) {
        char *word = trim(take_field(&heading, &ends));
        if (path_column < 0 && word_index(word, paths) >= 0)
            path_column = column;
        if (label_column < 0 && word_index(word, labels) >= 0)
            label_column = column;
    }
    cr_free(copy);
    if (path_column < 0)
        return;
    table->path_column = path_column;
    table->label_column = label_column >= 0 ? label_column : path_column == 0 ? 1 : 0;
    table->at = start + length + strspn(start + length, "\r\n");
    table->row++;
}

/* False at the end of the table, and on failure. */
static bool read_row(struct table *table)
{
    static char nothing[1];
    while (*table->at == '\n' || *table->at == '\r')
        table->at++;
    if (!*table->at)
        return false;
    table->row++;
    table->path = nothing;
    table->label = nothing;
    bool ends = false;
    for (int column = 0; !ends; column++) {
        char *field = trim(take_field(table, &ends));
        if (column == table->path_column)
            table->path = field;
        if (column == table->label_column)
            table->label = field;
    }
    if (*table->path)
        return true;
    cr_error_set(CR_ERROR_FORMAT, "%s: row %lld names no picture", table->name,
                 (long long)table->row);
    return false;
}

/* ---- labels ---- */

/* What the rows say, until the classes are known. */
struct rows {
    char **labels; /* as they stand, borrowed from the table */
    int64_t room;
    bool has_several;
};

static int by_name(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static int by_value(const void *left, const void *right)
{
    long long a = 0, b = 0;
    cr_parse_int64(*(char *const *)left, &a);
    cr_parse_int64(*(char *const *)right, &b);
    return a < b ? -1 : a > b;
}

/* Calls `use` with each label of a cell, which is changed and restored. */
static cr_status each_label(struct picture_list *list, char *cell, int64_t index,
                            cr_status (*use)(struct picture_list *, const char *, int64_t))
{
    for (char *at = cell; *at && !cr_failed();) {
        size_t length = strcspn(at, (const char[]){ LABEL_PARTING, '\0' });
        char held = at[length];
        at[length] = '\0';
        if (length > 0)
            use(list, at, index);
        at[length] = held;
        at += length + (held != '\0');
    }
    return cr_error_status();
}

static cr_status note_class(struct picture_list *list, const char *name, int64_t index)
{
    (void)index;
    if (images_list_find_class(list, name) < 0)
        images_list_add_class(list, name);
    return cr_error_status();
}

static cr_status give_label(struct picture_list *list, const char *name, int64_t index)
{
    int class = images_list_find_class(list, name);
    if (class < 0)
        return cr_error_set(CR_ERROR_FORMAT, "%s has the label %s, which is not one of the classes",
                            list->paths[index], name);
    if (list->labels[index] == CR_NO_LABEL)
        list->labels[index] = class;
    if (list->targets)
        list->targets[index * list->class_count + class] = 1;
    return CR_OK;
}

static void sort_classes(struct picture_list *list)
{
    bool numbers = true;
    long long value;
    for (int i = 0; i < list->class_count; i++)
        numbers &= cr_parse_int64(list->class_names[i], &value);
    if (list->class_count > 0)
        qsort(list->class_names, (size_t)list->class_count, sizeof *list->class_names,
              numbers ? by_value : by_name);
}

static cr_status label_pictures(struct picture_list *list, const struct rows *rows,
                                const cr_image_set_args *args)
{
    if (images_list_take_classes(list, args) != CR_OK)
        return cr_error_status();
    for (int64_t i = 0; i < list->count && !args->class_names; i++)
        each_label(list, rows->labels[i], i, note_class);
    if (!args->class_names)
        sort_classes(list);
    if (rows->has_several && !cr_failed())
        list->targets = cr_alloc_zeroed((size_t)list->count, (size_t)list->class_count);
    for (int64_t i = 0; i < list->count && !cr_failed(); i++)
        each_label(list, rows->labels[i], i, give_label);
    return cr_error_status();
}

/* ---- opening ---- */

static char *resolve(const struct table *table, const cr_image_set_args *args)
{
    if (table->path[0] == '/')
        return cr_string_copy(table->path);
    if (args->root)
        return cr_path_join(args->root, table->path);
    const char *slash = strrchr(args->path, '/');
    if (!slash)
        return cr_string_copy(table->path);
    return cr_string_format("%.*s%s", (int)(slash - args->path + 1), args->path, table->path);
}

static cr_status add_row(struct picture_list *list, struct rows *rows, struct table *table,
                         const cr_image_set_args *args)
{
    if (list->count == rows->room) {
        int64_t room = rows->room ? 2 * rows->room : 256;
        char **labels = cr_resize(rows->labels, (size_t)room, sizeof *labels);
        if (!labels)
            return cr_error_status();
        rows->labels = labels;
        rows->room = room;
    }
    rows->labels[list->count] = table->label;
    rows->has_several |= strchr(table->label, LABEL_PARTING) != NULL;
    return images_list_add(list, resolve(table, args), CR_NO_LABEL);
}

cr_dataset *cr_dataset_open_csv_with(cr_image_set_args args)
{
    if (cr_failed())
        return NULL;
    size_t size;
    char *text = cr_file_read(args.path, LARGEST_TABLE, &size);
    if (text && strlen(text) != size)
        cr_error_set(CR_ERROR_FORMAT, "%s is not a table: there are zero bytes in it", args.path);
    struct picture_list *list = cr_failed() ? NULL : cr_alloc_zeroed(1, sizeof *list);
    struct rows rows = { 0 };
    if (list) {
        struct table table = { .name = args.path, .at = text, .label_column = 1 };
        if (strncmp(text, "\xEF\xBB\xBF", 3) == 0)
            table.at += 3;
        read_headings(&table);
        while (!cr_failed() && read_row(&table))
            add_row(list, &rows, &table, &args);
        if (!cr_failed())
            label_pictures(list, &rows, &args);
    }
    cr_free(rows.labels);
    cr_free(text);
    return images_list_open(list, &args);
}
