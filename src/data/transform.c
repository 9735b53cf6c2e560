/* Lists of transforms: their text form, and how they are applied to a sample with numbers of its
 * own. What each kind does stands in augment.c. */
#include <stdio.h>
#include <string.h>

#include "data/data.h"

#define LONGEST_NUMBER 64
#define LONGEST_NAME   32

static const cr_transform_type *find_type(const char *name)
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

cr_status cr_transform_add(cr_transform_list *list, const cr_transform_type *type,
                           const double *parameters, int count)
{
    if (cr_failed())
        return cr_error_status();
    if (list->count >= CR_TRANSFORM_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "there are more than %d transforms",
                            CR_TRANSFORM_MAX);
    if (count < type->least || count > type->most)
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s has %d parameters; it takes %d to %d",
                            type->name, count, type->least, type->most);
    cr_transform transform = { .type = type, .count = CR_MAX(count, type->least) };
    for (int i = 0; i < CR_TRANSFORM_PARAMETERS; i++)
        transform.parameters[i] = i < count ? parameters[i] : type->defaults[i];
    const char *wanted = type->check ? type->check(&transform, 0) : NULL;
    if (wanted)
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s needs %s", type->name, wanted);
    list->items[list->count++] = transform;
    return CR_OK;
}

cr_status cr_transform_add_normalize(cr_transform_list *list, const double *means,
                                     const double *deviations, int channels)
{
    double parameters[CR_TRANSFORM_PARAMETERS];
    if (channels < 1 || channels > CR_TRANSFORM_PARAMETERS / 2)
        return cr_error_set(CR_ERROR_ARGUMENT, "normalize: %d channels; it takes 1 to %d", channels,
                            CR_TRANSFORM_PARAMETERS / 2);
    for (int c = 0; c < channels; c++) {
        parameters[c] = means[c];
        parameters[channels + c] = deviations[c];
    }
    return cr_transform_add(list, find_type("normalize"), parameters, 2 * channels);
}

/* ---- text ---- */

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

static cr_status parse_one(const char **text, cr_transform_list *list)
{
    char name[LONGEST_NAME];
    const cr_transform_type *type = NULL;
    if (take_word(text, ":,", name, sizeof name))
        type = find_type(name);
    else
        snprintf(name, sizeof name, "%.*s…", LONGEST_NAME - 8, *text);
    if (!type) {
        unknown_type(name);
        return cr_error_status();
    }
    double parameters[CR_TRANSFORM_PARAMETERS];
    int count = 0;
    while (**text == ':') {
        char number[LONGEST_NUMBER];
        ++*text;
        if (count == CR_TRANSFORM_PARAMETERS)
            return cr_error_set(CR_ERROR_ARGUMENT, "transform %s has too many parameters", name);
        if (!take_word(text, ":,", number, sizeof number) ||
            !cr_parse_double(number, &parameters[count]))
            return cr_error_set(CR_ERROR_ARGUMENT, "transform %s: parameter %d is not a number",
                                name, count + 1);
        count++;
    }
    return cr_transform_add(list, type, parameters, count);
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

void cr_transform_print(const cr_transform_list *list, cr_text *text)
{
    for (int i = 0; i < list->count; i++) {
        const cr_transform *transform = &list->items[i];
        cr_text_printf(text, "%s%s", i > 0 ? "," : "", transform->type->name);
        for (int p = 0; p < transform->count; p++) {
            cr_text_append(text, ":");
            print_number(transform->parameters[p], text);
        }
    }
}

/* ---- applying ---- */

cr_status data_transforms_fit(const cr_transform_list *list, int64_t channels)
{
    for (int i = 0; i < list->count; i++) {
        const cr_transform *transform = &list->items[i];
        const cr_transform_type *type = transform->type;
        const char *wanted = type->check ? type->check(transform, channels) : NULL;
        if (wanted)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "transform %s on samples of %lld channels needs %s", type->name,
                                (long long)channels, wanted);
    }
    return CR_OK;
}

void cr_transform_apply(const cr_transform_list *list, cr_sample *sample, uint64_t seed,
                        uint64_t epoch, int64_t index)
{
    if (!list || list->count == 0)
        return;
    cr_generator generator = data_generator(seed, DATA_TRANSFORM, epoch, (uint64_t)index);
    for (int i = 0; i < list->count; i++)
        list->items[i].type->apply(&list->items[i], sample, &generator);
}
