/* `cresset help`, and --help everywhere: lays out the option tables for a terminal. */
#include <string.h>

#include "cli.h"

#define HELP_WIDTH_LIMIT 100 /* wider lines are hard to read */
#define LABEL_LIMIT      30  /* longer labels get a line of their own */

const char command_summary[] =
    "Train, evaluate and use neural networks, from a folder of data to a trained model";

const fact exit_facts[4] = {
    { "0", "done" },
    { "1", "failed; one sentence on standard error says why" },
    { "2", "wrong usage: an unknown option, a value out of its range, something missing" },
    { "130", "interrupted" },
};

const fact environment_facts[5] = {
    { "CRESSET_THREADS", "the number of threads to compute with (then OMP_NUM_THREADS, then the "
                         "number of processors)" },
    { "CRESSET_ISA", "the strongest instruction set to use: portable, neon, avx2, avx512, "
                     "avx512_bf16 or amx_bf16" },
    { "OMP_WAIT_POLICY", "active lets threads that have no work spin; without it they soon sleep "
                         "and leave the processors to others" },
    { "NO_COLOR", "when set and not empty, output is not coloured" },
    { "COLUMNS", "the width to lay out help and progress for, instead of the terminal's" },
};

/* The words that turn bold and back, empty where there is no colour. */
typedef struct styles {
    const char *bold, *plain;
    int width;
} styles;

static bool is_negative(const cli_option *option)
{
    return option->kind == OPTION_FLAG && option->fallback && strcmp(option->fallback, "true") == 0;
}

void describe_option(cr_text *out, const cli_option *option)
{
    cr_text_printf(out, "--%s%s", is_negative(option) ? "no-" : "", option->name);
    if (option->kind != OPTION_FLAG)
        cr_text_printf(out, " %s", option->metavar);
}

void explain_option(cr_text *out, const cli_option *option)
{
    cr_text_append(out, option->help);
    if (option->kind == OPTION_CHOICE) {
        cr_text_append(out, ": ");
        append_alternatives(out, option->choices);
    }
    if (option->kind != OPTION_FLAG && option->fallback)
        cr_text_printf(out, " [%s]", option->fallback);
}

bool option_begins_group(const cli_command *command, int index)
{
    return index == 0 || strcmp(command_option(command, index)->group,
                                command_option(command, index - 1)->group) != 0;
}

/* "  -d, --data DIR" */
static void append_label(cr_text *out, const cli_option *option)
{
    if (option->letter)
        cr_text_printf(out, "  -%c, ", option->letter);
    else
        cr_text_append(out, "      ");
    describe_option(out, option);
}

static void append_entry(cr_text *out, const char *label, const char *words, int column, int width)
{
    cr_text_append(out, label);
    int at = text_columns(label);
    if (at + 2 > column) {
        cr_text_append(out, "\n");
        at = 0;
    }
    text_pad(out, at, column);
    text_wrap(out, words, column, column, width);
    cr_text_append(out, "\n");
}

static void append_option(cr_text *out, const cli_option *option, int column, int width)
{
    cr_text label = { 0 }, words = { 0 };
    append_label(&label, option);
    explain_option(&words, option);
    if (label.data && words.data)
        append_entry(out, label.data, words.data, column, width);
    cr_text_free(&label);
    cr_text_free(&words);
}

static int label_column(const cli_command *command)
{
    int column = 0;
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++) {
        cr_text label = { 0 };
        append_label(&label, option);
        int length = (int)label.length + 2;
        if (length > column && length <= LABEL_LIMIT)
            column = length;
        cr_text_free(&label);
    }
    return column;
}

static void append_examples(cr_text *out, const cli_command *command, styles style)
{
    if (command->example_count == 0)
        return;
    cr_text_printf(out, "\n%sExamples%s\n", style.bold, style.plain);
    for (int i = 0; i < command->example_count; i++) {
        cr_text_append(out, i ? "\n    " : "    ");
        text_wrap(out, command->examples[i].what, 4, 4, style.width);
        cr_text_printf(out, "\n      %s\n", command->examples[i].line);
    }
}

static void append_command_help(cr_text *out, const cli_command *command, styles style)
{
    cr_text_printf(out, "%sUsage%s: cresset %s%s%s [options]\n\n", style.bold, style.plain,
                   command->name, *command->operands ? " " : "", command->operands);
    text_wrap(out, command->description, 0, 0, style.width);
    cr_text_append(out, "\n");
    int column = label_column(command);
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++) {
        if (option_begins_group(command, i))
            cr_text_printf(out, "\n%s%s%s\n", style.bold, option->group, style.plain);
        append_option(out, option, column, style.width);
    }
    append_examples(out, command, style);
}

static void append_command_list(cr_text *out, styles style)
{
    const cli_command *command;
    int column = 0;
    for (int i = 0; (command = command_at(i)); i++)
        if ((int)strlen(command->name) + 4 > column)
            column = (int)strlen(command->name) + 4;
    for (int i = 0; (command = command_at(i)); i++) {
        char label[32];
        snprintf(label, sizeof label, "  %s", command->name);
        append_entry(out, label, command->summary, column, style.width);
    }
}

static void append_facts(cr_text *out, const char *title, const fact *facts, int count,
                         styles style)
{
    cr_text_printf(out, "\n%s%s%s\n", style.bold, title, style.plain);
    int column = 0;
    for (int i = 0; i < count; i++)
        if ((int)strlen(facts[i].name) + 4 > column)
            column = (int)strlen(facts[i].name) + 4;
    for (int i = 0; i < count; i++) {
        char label[32];
        snprintf(label, sizeof label, "  %s", facts[i].name);
        append_entry(out, label, facts[i].words, column, style.width);
    }
}

static void append_general_help(cr_text *out, styles style)
{
    cr_text_printf(out, "%sUsage%s: cresset COMMAND [options]\n\n", style.bold, style.plain);
    text_wrap(out, command_summary, 0, 0, style.width);
    cr_text_printf(out, ".\n\n%sCommands%s\n", style.bold, style.plain);
    append_command_list(out, style);
    cr_text_printf(out, "\n%sOptions%s\n", style.bold, style.plain);
    append_entry(out, "  -h, --help", "show this help and end", 17, style.width);
    append_entry(out, "  -V, --version", "show the version and end", 17, style.width);
    append_facts(out, "Environment", environment_facts, COUNT_OF(environment_facts), style);
    append_facts(out, "Exit status", exit_facts, COUNT_OF(exit_facts), style);
    cr_text_append(out, "\n");
    text_wrap(out, "Run cresset COMMAND --help for the options of a command, with examples.", 0, 0,
              style.width);
    cr_text_append(out, "\n");
}

void print_help(FILE *stream, const cli_command *command)
{
    bool color = terminal_has_color(stream);
    styles style = { color ? "\033[1m" : "", color ? "\033[0m" : "", terminal_width(stream) };
    if (style.width > HELP_WIDTH_LIMIT)
        style.width = HELP_WIDTH_LIMIT;
    cr_text text = { 0 };
    if (command)
        append_command_help(&text, command, style);
    else
        append_general_help(&text, style);
    if (text.data)
        fputs(text.data, stream);
    cr_text_free(&text);
}

/* --- The command ---------------------------------------------------------------------------- */

typedef struct help_settings {
    bool man;
    bool markdown;
} help_settings;

static const cli_option options[] = {
    { "man", 0, "Manual", FLAG(help_settings, man), NULL, NULL,
      "print the manual page of the whole command, cresset.1, for man and groff" },
    { "markdown", 0, "Manual", FLAG(help_settings, markdown), NULL, NULL,
      "print the reference of the whole command in Markdown" },
};

static const cli_example examples[] = {
    { "cresset help train", "The options of a command:" },
    { "cresset help --man | man -l -", "Read the manual page without installing it:" },
};

static int run(const arguments *args)
{
    const help_settings *settings = args->settings;
    if (settings->man || settings->markdown) {
        cr_text text = { 0 };
        if (settings->man)
            write_man_page(&text);
        else
            write_markdown(&text);
        if (cr_failed())
            return library_failure(args->command);
        fputs(text.data, stdout);
        cr_text_free(&text);
        return STATUS_DONE;
    }
    const char *name = args->operand_count ? args->operands[0] : NULL;
    const cli_command *command = name ? command_find(name) : NULL;
    if (name && !command)
        return unknown_command(args->command, name);
    print_help(stdout, command);
    return STATUS_DONE;
}

const cli_command help_command = {
    .name = "help",
    .summary = "Show the help of a command",
    .operands = "[COMMAND]",
    .description = "Shows the list of commands, or the help of one of them.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(help_settings),
    .operand_maximum = 1,
    .operand_words = command_words,
    .run = run,
};
