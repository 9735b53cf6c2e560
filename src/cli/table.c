/* Tables for people: cells are collected, then laid out in columns as wide as their widest cell. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"

#define GAP          2 /* columns of space between columns */
#define LEAST_COLUMN 12

/* The cell that stands for a line across. */
static char rule[] = "";

void table_begin(cli_table *table, const char *alignment)
{
    *table = (cli_table){ .alignment = alignment, .columns = (int)strlen(alignment) };
}

static void add(cli_table *table, char *cell)
{
    if (cell && table->count == table->capacity) {
        int capacity = table->capacity ? table->capacity * 2 : 64;
        char **cells = cr_resize(table->cells, (size_t)capacity, sizeof *cells);
        if (!cells) {
            cr_free(cell == rule ? NULL : cell);
            cell = NULL;
        } else {
            table->cells = cells;
            table->capacity = capacity;
        }
    }
    if (cell)
        table->cells[table->count++] = cell;
    else
        table->failed = true;
}

void table_cell(cli_table *table, const char *format, ...)
{
    cr_text text = { 0 };
    char buffer[256];
    va_list values;
    va_start(values, format);
    vsnprintf(buffer, sizeof buffer, format, values);
    va_end(values);
    cr_text_append(&text, buffer);
    add(table, cr_text_take(&text));
}

void table_words(cli_table *table, const char *const *words)
{
    for (; *words; words++)
        table_cell(table, "%s", *words);
}

void table_rule(cli_table *table)
{
    for (int i = 0; i < table->columns; i++)
        add(table, rule);
}

/* Column widths; where the lines would be too long the widest left-aligned column gives way. */
static int measure(const cli_table *table, int *widths, int limit)
{
    int total = GAP * (table->columns - 1), widest = -1;
    for (int i = 0; i < table->count; i++) {
        int columns = text_columns(table->cells[i]), column = i % table->columns;
        if (columns > widths[column])
            widths[column] = columns;
    }
    for (int i = 0; i < table->columns; i++) {
        total += widths[i];
        if (table->alignment[i] == 'l' && (widest < 0 || widths[i] > widths[widest]))
            widest = i;
    }
    if (total > limit && widest >= 0 && widths[widest] > LEAST_COLUMN) {
        int room = widths[widest] - (total - limit);
        int narrowed = room > LEAST_COLUMN ? room : LEAST_COLUMN;
        total -= widths[widest] - narrowed;
        widths[widest] = narrowed;
    }
    return total;
}

/* The part of a cell that fits, with an ellipsis in its last column if something is left out. */
static void append_cut(cr_text *out, const char *cell, int width)
{
    if (text_columns(cell) <= width) {
        cr_text_append(out, cell);
        return;
    }
    const char *end = cell;
    for (int columns = 0; *end; end++) {
        if (((unsigned char)*end & 0xC0) != 0x80 && columns++ == width - 1)
            break;
    }
    cr_text_append_bytes(out, cell, (size_t)(end - cell));
    cr_text_append(out, terminal_has_unicode() ? "…" : ".");
}

static void append_row(cr_text *out, const cli_table *table, int row, const int *widths)
{
    for (int i = 0; i < table->columns; i++) {
        const char *cell = table->cells[row * table->columns + i];
        int columns = text_columns(cell);
        bool right = table->alignment[i] == 'r';
        cr_text_printf(out, "%*s", i ? GAP : 0, "");
        text_pad(out, right ? columns : 0, right ? widths[i] : 0);
        append_cut(out, cell, widths[i]);
        if (i + 1 < table->columns && !right)
            text_pad(out, columns, widths[i]);
    }
    cr_text_append(out, "\n");
}

static void append_rule(cr_text *out, int total)
{
    for (int i = 0; i < total; i++)
        cr_text_append(out, terminal_has_unicode() ? "─" : "-");
    cr_text_append(out, "\n");
}

void table_print(cli_table *table, FILE *stream)
{
    bool color = terminal_has_color(stream);
    int widths[TABLE_COLUMNS] = { 0 };
    cr_text out = { 0 };
    int limit = terminal_is_live(stream) ? terminal_width(stream) : 1000;
    int total = measure(table, widths, limit);
    for (int row = 0; row < table->count / table->columns; row++) {
        cr_text_append(&out, row == 0 && color ? "\033[1m" : "");
        if (table->cells[row * table->columns] == rule)
            append_rule(&out, total);
        else
            append_row(&out, table, row, widths);
        cr_text_append(&out, row == 0 && color ? "\033[0m" : "");
    }
    if (out.data && !table->failed)
        fputs(out.data, stream);
    cr_text_free(&out);
    table_free(table);
}

void table_free(cli_table *table)
{
    for (int i = 0; i < table->count; i++)
        if (table->cells[i] != rule)
            cr_free(table->cells[i]);
    cr_free(table->cells);
    *table = (cli_table){ 0 };
}
