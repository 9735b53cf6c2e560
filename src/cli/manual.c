/* The manual of the whole command, made from the option tables: a manual page in troff's man macros
 * and a reference in Markdown. */
#include <ctype.h>
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/system.h"

/* --- The manual page ------------------------------------------------------------------------ */

/* Text with what troff would take for itself escaped: backslashes, hyphens that are to be copied,
 * and a dot or quote that begins a line. */
static void append_troff(cr_text *out, const char *text)
{
    bool line_begins = true;
    for (; *text; text++) {
        if (line_begins && (*text == '.' || *text == '\''))
            cr_text_append(out, "\\&");
        line_begins = *text == '\n';
        if (*text == '\\')
            cr_text_append(out, "\\e");
        else if (*text == '-')
            cr_text_append(out, "\\-");
        else if (text[0] == '\n' && text[1] == '\n')
            cr_text_append(out, "\n.PP");
        else
            cr_text_append_bytes(out, text, 1);
    }
}

/* Upper-case words are placeholders, which man pages set in italics. */
static void append_synopsis(cr_text *out, const char *operands)
{
    for (const char *at = operands; *at;) {
        size_t length = strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-");
        if (length > 1 && isupper((unsigned char)*at)) {
            cr_text_printf(out, "\\fI%.*s\\fR", (int)length, at);
            at += length;
        } else {
            char one[2] = { *at++, 0 };
            append_troff(out, one);
        }
    }
}

static void append_man_option(cr_text *out, const cli_option *option)
{
    cr_text name = { 0 }, words = { 0 };
    describe_option(&name, option);
    explain_option(&words, option);
    cr_text_append(out, ".TP\n");
    if (option->letter)
        cr_text_printf(out, "\\fB\\-%c\\fR, ", option->letter);
    char *space = name.data ? strchr(name.data, ' ') : NULL;
    if (space)
        *space = '\0';
    cr_text_append(out, "\\fB");
    append_troff(out, name.data ? name.data : "");
    cr_text_append(out, "\\fR");
    if (space)
        cr_text_printf(out, " \\fI%s\\fR", space + 1);
    cr_text_append(out, "\n");
    append_troff(out, words.data ? words.data : "");
    cr_text_append(out, "\n");
    cr_text_free(&name);
    cr_text_free(&words);
}

static void append_man_command(cr_text *out, const cli_command *command)
{
    cr_text_printf(out, ".SS cresset %s", command->name);
    cr_text_append(out, "\n.B cresset ");
    cr_text_append(out, command->name);
    cr_text_append(out, "\n");
    if (*command->operands) {
        append_synopsis(out, command->operands);
        cr_text_append(out, "\n");
    }
    cr_text_append(out, "[\\fIoptions\\fR]\n.PP\n");
    append_troff(out, command->description);
    cr_text_append(out, "\n");
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++) {
        if (option_begins_group(command, i))
            cr_text_printf(out, ".PP\n.I %s\n", option->group);
        append_man_option(out, option);
    }
    if (command->example_count)
        cr_text_append(out, ".PP\n.I Examples\n");
    for (int i = 0; i < command->example_count; i++) {
        cr_text_append(out, ".PP\n");
        append_troff(out, command->examples[i].what);
        cr_text_append(out, "\n.RS 4\n.nf\n");
        append_troff(out, command->examples[i].line);
        cr_text_append(out, "\n.fi\n.RE\n");
    }
}

static void append_man_facts(cr_text *out, const char *title, const fact *facts, int count)
{
    cr_text_printf(out, ".SH %s\n", title);
    for (int i = 0; i < count; i++) {
        cr_text_printf(out, ".TP\n.B %s\n", facts[i].name);
        append_troff(out, facts[i].words);
        cr_text_append(out, "\n");
    }
}

void write_man_page(cr_text *out)
{
    const cli_command *command;
    cr_text_printf(out, ".TH CRESSET 1 \"\" \"Cresset %s\" \"User Commands\"\n", cr_version());
    cr_text_append(out,
                   ".ad l\n.nh\n.SH NAME\ncresset \\- train, evaluate and use neural networks\n"
                   ".SH SYNOPSIS\n.B cresset\n.I COMMAND\n[\\fIoptions\\fR]\n"
                   ".SH DESCRIPTION\n");
    append_troff(out, command_summary);
    cr_text_append(out, ".\n.SH COMMANDS\n");
    for (int i = 0; (command = command_at(i)); i++)
        append_man_command(out, command);
    append_man_facts(out, "ENVIRONMENT", environment_facts, COUNT_OF(environment_facts));
    append_man_facts(out, "EXIT STATUS", exit_facts, COUNT_OF(exit_facts));
}

/* --- The reference in Markdown -------------------------------------------------------------- */

/* A cell of a table: bars and angle brackets are escaped. */
static void append_cell(cr_text *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '|' || *text == '<')
            cr_text_append(out, "\\");
        cr_text_append_bytes(out, text, 1);
    }
}

static void append_markdown_option(cr_text *out, const cli_option *option)
{
    cr_text words = { 0 };
    explain_option(&words, option);
    cr_text_append(out, "| `");
    if (option->letter)
        cr_text_printf(out, "-%c`, `", option->letter);
    describe_option(out, option);
    cr_text_append(out, "` | ");
    append_cell(out, words.data ? words.data : "");
    cr_text_append(out, " |\n");
    cr_text_free(&words);
}

static void append_markdown_command(cr_text *out, const cli_command *command)
{
    cr_text_printf(out, "\n## cresset %s\n\n    cresset %s%s%s [options]\n\n", command->name,
                   command->name, *command->operands ? " " : "", command->operands);
    text_wrap(out, command->description, 0, 0, 100);
    cr_text_append(out, "\n");
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++) {
        if (option_begins_group(command, i))
            cr_text_printf(out, "\n| %s | |\n| --- | --- |\n", option->group);
        append_markdown_option(out, option);
    }
    for (int i = 0; i < command->example_count; i++) {
        const cli_example *example = &command->examples[i];
        cr_text_append(out, "\n");
        text_wrap(out, example->what, 0, 0, 100);
        cr_text_printf(out, "\n\n    %s\n", example->line);
    }
}

void append_transform(cr_text *out, const cr_transform_type *type)
{
    cr_text_append(out, type->name);
    for (int p = 0; p < type->most && type->parameters[p].name; p++) {
        const cr_transform_parameter *parameter = &type->parameters[p];
        const char *name = parameter->words ? parameter->words : parameter->name;
        cr_text_printf(out, "%s%s", p < type->least ? ":" : "[:", parameter->name);
        if (parameter->words) {
            cr_text_append(out, "=");
            for (; *name; name++)
                cr_text_append_bytes(out, *name == ' ' ? "|" : name, 1);
        } else if (p >= type->least && !isnan(parameter->fallback)) {
            cr_text_printf(out, "=%.4g", parameter->fallback);
        }
        cr_text_append(out, p < type->least ? "" : "]");
    }
}

/* What --augment and --preprocess take. */
static void append_markdown_transforms(cr_text *out)
{
    cr_text_append(out, "\n## Transforms\n\nWhat `--augment` and `--preprocess` take, joined by "
                        "commas; parameters by position or by name, with their\ndefaults or the "
                        "words that there are.\n\n| | |\n| --- | --- |\n");
    for (int i = 0; cr_transform_type_at(i); i++) {
        const cr_transform_type *type = cr_transform_type_at(i);
        cr_text text = { 0 };
        append_transform(&text, type);
        cr_text_append(out, "| `");
        append_cell(out, text.data ? text.data : "");
        cr_text_printf(out, "` | %s |\n", type->about);
        cr_text_free(&text);
    }
}

static void append_markdown_facts(cr_text *out, const char *title, const fact *facts, int count)
{
    cr_text_printf(out, "\n## %s\n\n| | |\n| --- | --- |\n", title);
    for (int i = 0; i < count; i++)
        cr_text_printf(out, "| `%s` | %s |\n", facts[i].name, facts[i].words);
}

void write_markdown(cr_text *out)
{
    const cli_command *command;
    cr_text_printf(out, "# The command\n\n%s.\n\n    cresset COMMAND [options]\n\n| Command | |\n",
                   command_summary);
    cr_text_append(out, "| --- | --- |\n");
    for (int i = 0; (command = command_at(i)); i++)
        cr_text_printf(out, "| [%s](#cresset-%s) | %s |\n", command->name, command->name,
                       command->summary);
    cr_text_append(out,
                   "\nThe default of an option stands in brackets. This page is made by "
                   "`cresset help --markdown` from\nthe tables that the command itself reads.\n");
    for (int i = 0; (command = command_at(i)); i++)
        append_markdown_command(out, command);
    append_markdown_transforms(out);
    append_markdown_facts(out, "Environment", environment_facts, COUNT_OF(environment_facts));
    append_markdown_facts(out, "Exit status", exit_facts, COUNT_OF(exit_facts));
}
