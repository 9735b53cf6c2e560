/* What the command says when something went wrong, and its answers for programs. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "cli.h"

static void report(const cli_command *command, const char *format, va_list values)
{
    fflush(stdout);
    fprintf(stderr, "cresset%s%s: ", command ? " " : "", command ? command->name : "");
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
}

int usage_error(const cli_command *command, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    report(command, format, values);
    va_end(values);
    return STATUS_USAGE;
}

int failure(const cli_command *command, const char *format, ...)
{
    va_list values;
    va_start(values, format);
    report(command, format, values);
    va_end(values);
    return STATUS_FAILED;
}

int library_failure(const cli_command *command)
{
    bool interrupted = cr_error_status() == CR_ERROR_INTERRUPTED;
    failure(command, "%s", cr_failed() ? cr_error_message() : "the operation failed");
    cr_error_clear();
    return interrupted ? STATUS_INTERRUPTED : STATUS_FAILED;
}

json_t *json_finite(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

int print_json(const cli_command *command, json_t *document)
{
    char *text = document ? json_dumps(document, JSON_INDENT(2) | JSON_REAL_PRECISION(10)) : NULL;
    json_decref(document);
    if (!text)
        return failure(command, "the answer could not be written as JSON: out of memory");
    puts(text);
    free(text);
    return STATUS_DONE;
}
