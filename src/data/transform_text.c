/* The text form of lists of transforms: "resize:256,rotate:10:fill=128". */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "data/data.h"

#define LONGEST_WORD 64

const cr_transform_type *data_transform_find(const char *name)
{
    const cr_transform_type *type;
    for (int i = 0; (type = cr_transform_type_at(i)) != NULL; i++) {
        if (strcmp(type->name, name) == 0)
            return type;
    }
    return NULL;
}

/* "flip, crop, …" */
static void unknown_type(const char *name)
{
    cr_text known = { 0 };
    const cr_transform_type *type;
    for (int i = 0; (type = cr_transform_type_at(i)) != NULL; i++)
        cr_text_printf(&known, "%s%s", i > 0 ? ", " : "", type->name);
    cr_error_set(CR_ERROR_ARGUMENT, "\"%s\" is not a transform; there are %s", name,
                 known.data ? known.data : "");
    cr_text_free(&known);
}

/* Copies what stands before any of the `ends` and moves *text to it; false if it is too long. */
static bool take_word(const char **text, const char *ends, char *word, size_t room)
{
    size_t length = strcspn(*text, ends);
    if (length >= room)
        return false;
    memcpy(word, *text, length);
    word[length] = '\0';
    *text += length;
    return true;
}

/* The index of a word in a list of them with spaces between; -1 if it is not there. */
static int word_index(const char *words, const char *word)
{
    size_t length = strlen(word);
    int index = 0;
    while (*words) {
        size_t own = strcspn(words, " ");
        if (own == length && memcmp(words, word, own) == 0)
            return index;
        words += own + strspn(words + own, " ");
        index++;
    }
    return -1;
}

static cr_status bad_value(const cr_transform_type *type, int at)
{
    const cr_transform_parameter *parameter = &type->parameters[at];
    if (parameter->words)
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s: %s is one of %s", type->name,
                            parameter->name, parameter->words);
    if (parameter->name)
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s: parameter %s is not a number",
                            type->name, parameter->name);
    return cr_error_set(CR_ERROR_ARGUMENT, "transform %s: parameter %d is not a number", type->name,
                        at + 1);
}

/* The position of a parameter by its name, an error if there is none. */
static int find_parameter(const cr_transform_type *type, const char *name)
{
    cr_text known = { 0 };
    for (int i = 0; i < type->most; i++) {
        const char *own = type->parameters[i].name;
        if (own && strcmp(own, name) == 0) {
            cr_text_free(&known);
            return i;
        }
        cr_text_printf(&known, "%s%s", own && known.length ? ", " : "", own ? own : "");
    }
    cr_error_set(CR_ERROR_ARGUMENT, "transform %s has no parameter %s; it has %s", type->name, name,
                 known.length ? known.data : "none with a name");
    cr_text_free(&known);
    return -1;
}

/* Parameters as they are read. */
struct reading {
    const cr_transform_type *type;
    double values[CR_TRANSFORM_PARAMETERS];
    int count;
    bool is_named; /* one came by name */
};

static cr_status read_parameter(struct reading *reading, char *word)
{
    const cr_transform_type *type = reading->type;
    char *value = strchr(word, '=');
    int at = reading->count;
    if (value) {
        *value++ = '\0';
        at = find_parameter(type, word);
        if (at < 0)
            return cr_error_status();
        reading->is_named = true;
    } else if (reading->is_named) {
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "transform %s: what has no name must come before what has one",
                            type->name);
    } else if (at == type->most) {
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s has too many parameters", type->name);
    } else {
        value = word;
    }
    const char *words = type->parameters[at].words;
    if (words)
        reading->values[at] = word_index(words, value);
    if (words ? reading->values[at] < 0 : !cr_parse_double(value, &reading->values[at]))
        return bad_value(type, at);
    reading->count = CR_MAX(reading->count, at + 1);
    return CR_OK;
}

static cr_status parse_one(const char **text, cr_transform_list *list)
{
    char word[LONGEST_WORD];
    struct reading reading = { 0 };
    if (take_word(text, ":,", word, sizeof word))
        reading.type = data_transform_find(word);
    else
        snprintf(word, sizeof word, "%.*s…", LONGEST_WORD - 8, *text);
    if (!reading.type) {
        unknown_type(word);
        return cr_error_status();
    }
    for (int i = 0; i < CR_TRANSFORM_PARAMETERS; i++)
        reading.values[i] = reading.type->parameters[i].fallback;
    while (**text == ':') {
        ++*text;
        if (!take_word(text, ":,", word, sizeof word))
            return cr_error_set(CR_ERROR_ARGUMENT, "transform %s: a parameter is too long",
                                reading.type->name);
        if (read_parameter(&reading, word) != CR_OK)
            return cr_error_status();
    }
    return cr_transform_add(list, reading.type, reading.values, reading.count);
}

cr_status cr_transform_parse(const char *text, cr_transform_list *list)
{
    if (cr_failed())
        return cr_error_status();
    cr_transform_list parsed = *list;
    while (*text) {
        if (parse_one(&text, &parsed) != CR_OK)
            return cr_error_status();
        if (*text == ',' && text[1] == '\0')
            return cr_error_set(CR_ERROR_ARGUMENT, "the list of transforms ends with a comma");
        text += *text == ',';
    }
    *list = parsed;
    return CR_OK;
}

/* The shortest number of digits that reads back to the same value. */
static void print_number(double value, cr_text *text)
{
    char *number = NULL;
    for (int digits = 1; digits <= 17; digits++) {
        double back;
        cr_free(number);
        number = cr_string_format("%.*g", digits, value);
        if (!number || (cr_parse_double(number, &back) && back == value))
            break;
    }
    cr_text_append(text, number ? number : "");
    cr_free(number);
}

static void print_word(const char *words, int index, cr_text *text)
{
    for (; index > 0; index--) {
        words += strcspn(words, " ");
        words += strspn(words, " ");
    }
    cr_text_append_bytes(text, words, strcspn(words, " "));
}

void cr_transform_print(const cr_transform_list *list, cr_text *text)
{
    for (int i = 0; i < list->count; i++) {
        const cr_transform *transform = &list->items[i];
        cr_text_printf(text, "%s%s", i > 0 ? "," : "", transform->type->name);
        bool by_name = false; /* after one that was left out */
        for (int p = 0; p < transform->count; p++) {
            const char *words = transform->type->parameters[p].words;
            by_name |= isnan(transform->parameters[p]);
            if (isnan(transform->parameters[p]))
                continue;
            cr_text_append(text, ":");
            if (by_name)
                cr_text_printf(text, "%s=", transform->type->parameters[p].name);
            if (words)
                print_word(words, (int)transform->parameters[p], text);
            else
                print_number(transform->parameters[p], text);
        }
    }
}
