/* The values of options: from text as it was typed, and from a settings file. Each is checked
 * against the kind and range of its option before it reaches the record, and what is wrong is said
 * in one sentence that begins with the name as the user wrote it. */
#include <math.h>
#include <string.h>

#include "cli.h"

#define CHOICES_LIMIT 256 /* words that are compared with a misspelt one */
#define CHOICES_TOLD  24  /* of more words than these only the first few are told */
#define CHOICES_FIRST 5

static bool set_integer(const cli_option *option, void *field, const char *label, long long value)
{
    if ((double)value < option->low || (double)value > option->high) {
        if (isinf(option->high) || option->high > 1e15)
            cr_error_set(CR_ERROR_ARGUMENT, "%s must be at least %.0f, not %lld", label,
                         option->low, value);
        else
            cr_error_set(CR_ERROR_ARGUMENT, "%s must be from %.0f to %.0f, not %lld", label,
                         option->low, option->high, value);
        return false;
    }
    *(int64_t *)field = value;
    return true;
}

static bool set_real(const cli_option *option, void *field, const char *label, double value)
{
    if (!(value >= option->low && value <= option->high)) {
        if (isinf(option->high))
            cr_error_set(CR_ERROR_ARGUMENT, "%s must be at least %.10g, not %g", label, option->low,
                         value);
        else
            cr_error_set(CR_ERROR_ARGUMENT, "%s must be from %.10g to %.10g, not %g", label,
                         option->low, option->high, value);
        return false;
    }
    *(double *)field = value;
    return true;
}

bool has_ending(const char *word, const char *ending)
{
    size_t length = strlen(word), end = strlen(ending);
    return length > end && strcmp(word + length - end, ending) == 0;
}

void append_alternatives(cr_text *out, choice_list words)
{
    const char *word;
    int count = 0;
    while (words(count))
        count++;
    int told = count > CHOICES_TOLD ? CHOICES_FIRST : count;
    for (int i = 0; i < told && (word = words(i)); i++) {
        const char *between = words(i + 1) ? ", " : " or ";
        cr_text_printf(out, "%s%s", i == 0 ? "" : between, word);
    }
    if (told < count)
        cr_text_printf(out, " or one of %d more", count - told);
}

static void refuse_choice(const cli_option *option, const char *label, const char *value)
{
    const char *words[CHOICES_LIMIT];
    int count = 0;
    while (count < CHOICES_LIMIT && (words[count] = option->choices(count)))
        count++;
    const char *meant = nearest_word(value, words, count);
    cr_text list = { 0 };
    append_alternatives(&list, option->choices);
    if (meant)
        cr_error_set(CR_ERROR_ARGUMENT, "%s cannot be \"%s\"; did you mean %s?", label, value,
                     meant);
    else
        cr_error_set(CR_ERROR_ARGUMENT, "%s must be %s, not \"%s\"", label,
                     list.data ? list.data : "one of its words", value);
    cr_text_free(&list);
}

static bool set_choice(const cli_option *option, void *field, const char *label, const char *value)
{
    const char *word;
    for (int i = 0; (word = option->choices(i)); i++) {
        if (strcmp(word, value) == 0) {
            *(const char **)field = word;
            return true;
        }
    }
    if (option->ending && has_ending(value, option->ending)) {
        *(const char **)field = value;
        return true;
    }
    refuse_choice(option, label, value);
    return false;
}

static bool add_number(const cli_option *option, number_list *list, const char *label,
                       long long value)
{
    if (list->count == NUMBERS_LIMIT) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s takes at most %d numbers", label, NUMBERS_LIMIT);
        return false;
    }
    int64_t number;
    if (!set_integer(option, &number, label, value))
        return false;
    list->values[list->count++] = number;
    return true;
}

static bool set_numbers(const cli_option *option, void *field, const char *label, const char *value)
{
    number_list list = { 0 };
    for (const char *at = value;; at++) {
        char piece[24];
        size_t length = strcspn(at, ",x");
        long long number;
        snprintf(piece, sizeof piece, "%.*s", (int)length, at);
        if (length >= sizeof piece || !cr_parse_int64(piece, &number)) {
            cr_error_set(CR_ERROR_ARGUMENT, "%s must be whole numbers such as %s, not \"%s\"",
                         label, option->metavar, value);
            return false;
        }
        if (!add_number(option, &list, label, number))
            return false;
        at += length;
        if (!*at)
            break;
    }
    *(number_list *)field = list;
    return true;
}

static bool set_text(void *field, const char *label, const char *value)
{
    if (!*value) {
        cr_error_set(CR_ERROR_ARGUMENT, "%s must not be empty", label);
        return false;
    }
    *(const char **)field = value;
    return true;
}

bool option_set(const cli_option *option, void *settings, const char *label, const char *value)
{
    void *field = (char *)settings + option->offset;
    long long integer;
    double real;
    switch (option->kind) {
    case OPTION_FLAG:
        *(bool *)field = strcmp(value, "true") == 0;
        return true;
    case OPTION_INTEGER:
        if (cr_parse_int64(value, &integer))
            return set_integer(option, field, label, integer);
        cr_error_set(CR_ERROR_ARGUMENT, "%s must be a whole number, not \"%s\"", label, value);
        return false;
    case OPTION_REAL:
        if (cr_parse_double(value, &real))
            return set_real(option, field, label, real);
        cr_error_set(CR_ERROR_ARGUMENT, "%s must be a number, not \"%s\"", label, value);
        return false;
    case OPTION_CHOICE:
        return set_choice(option, field, label, value);
    case OPTION_NUMBERS:
        return set_numbers(option, field, label, value);
    case OPTION_TEXT:
    case OPTION_FILE:
    case OPTION_FOLDER:
        break;
    }
    return set_text(field, label, value);
}

static bool set_numbers_json(const cli_option *option, void *field, const char *label,
                             json_t *array)
{
    number_list list = { 0 };
    size_t index;
    json_t *item;
    json_array_foreach(array, index, item)
    {
        if (!json_is_integer(item)) {
            cr_error_set(CR_ERROR_ARGUMENT, "%s must hold whole numbers only", label);
            return false;
        }
        if (!add_number(option, &list, label, json_integer_value(item)))
            return false;
    }
    *(number_list *)field = list;
    return true;
}

static const char *kind_words(option_kind kind)
{
    switch (kind) {
    case OPTION_FLAG:
        return "true or false";
    case OPTION_INTEGER:
        return "a whole number";
    case OPTION_REAL:
        return "a number";
    case OPTION_NUMBERS:
        return "a list of whole numbers";
    default:
        return "a string";
    }
}

bool option_set_json(const cli_option *option, void *settings, const char *label, json_t *value)
{
    void *field = (char *)settings + option->offset;
    if (option->kind == OPTION_FLAG && json_is_boolean(value)) {
        *(bool *)field = json_is_true(value);
        return true;
    }
    if (option->kind == OPTION_INTEGER && json_is_integer(value))
        return set_integer(option, field, label, json_integer_value(value));
    if (option->kind == OPTION_REAL && json_is_number(value))
        return set_real(option, field, label, json_number_value(value));
    if (option->kind == OPTION_NUMBERS && json_is_array(value))
        return set_numbers_json(option, field, label, value);
    bool is_number = option->kind == OPTION_INTEGER || option->kind == OPTION_REAL;
    if (json_is_string(value) && option->kind != OPTION_FLAG && !is_number)
        return option_set(option, settings, label, json_string_value(value));
    cr_error_set(CR_ERROR_ARGUMENT, "%s must be %s", label, kind_words(option->kind));
    return false;
}
