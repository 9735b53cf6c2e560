/* Settings files: a JSON object whose keys are the names of the options of a subcommand. The same
 * object is what a run records of its settings, so a recorded run can be given back to --config. */
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define CONFIG_SIZE_LIMIT (1 << 20)
#define NAMES_LIMIT       256 /* names that are compared with a misspelt one */

/* Keys may be written with underscores, as programs in other languages like to. */
static bool same_name(const char *key, const char *name)
{
    for (; *key && *name; key++, name++)
        if (*key != *name && !(*key == '_' && *name == '-'))
            return false;
    return *key == *name;
}

static int setting_index(const cli_command *command, const char *key)
{
    for (int i = 0; i < command->option_count; i++)
        if (same_name(key, command->options[i].name))
            return i;
    return -1;
}

static void unknown_setting(const cli_command *command, const char *path, const char *key)
{
    const char *names[NAMES_LIMIT];
    int count = 0;
    for (; count < command->option_count && count < NAMES_LIMIT; count++)
        names[count] = command->options[count].name;
    const char *meant = nearest_word(key, names, count);
    if (meant)
        cr_error_set(CR_ERROR_ARGUMENT, "%s: there is no setting \"%s\"; did you mean \"%s\"?",
                     path, key, meant);
    else
        cr_error_set(CR_ERROR_ARGUMENT, "%s: there is no setting \"%s\" in cresset %s", path, key,
                     command->name);
}

static bool apply_setting(arguments *args, const char *path, const char *key, json_t *value)
{
    int index = setting_index(args->command, key);
    if (index < 0) {
        unknown_setting(args->command, path, key);
        return false;
    }
    if (json_is_null(value)) /* the default */
        return true;
    char *label = cr_string_format("%s: \"%s\"", path, key);
    bool good =
        label && option_set_json(&args->command->options[index], args->settings, label, value);
    if (good)
        args->sources[index] = FROM_CONFIG;
    cr_free(label);
    return good;
}

bool config_read(arguments *args, const char *path, json_t **owner)
{
    size_t size;
    char *text = cr_file_read(path, CONFIG_SIZE_LIMIT, &size);
    if (!text)
        return false;
    json_error_t error;
    *owner = json_loadb(text, size, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    cr_free(text);
    if (!*owner) {
        cr_error_set(CR_ERROR_FORMAT, "%s is not valid JSON: line %d: %s", path, error.line,
                     error.text);
        return false;
    }
    if (!json_is_object(*owner)) {
        cr_error_set(CR_ERROR_FORMAT,
                     "%s must hold one JSON object of settings, { \"name\": value, … }", path);
        return false;
    }
    const char *key;
    json_t *value;
    json_object_foreach(*owner, key, value)
    {
        if (!apply_setting(args, path, key, value))
            return false;
    }
    return true;
}

static json_t *numbers_to_json(const number_list *list)
{
    json_t *array = json_array();
    for (int i = 0; i < list->count; i++)
        json_array_append_new(array, json_integer(list->values[i]));
    return array;
}

static json_t *setting_to_json(const cli_option *option, const void *settings)
{
    const void *field = (const char *)settings + option->offset;
    switch (option->kind) {
    case OPTION_FLAG:
        return json_boolean(*(const bool *)field);
    case OPTION_INTEGER:
        return json_integer(*(const int64_t *)field);
    case OPTION_REAL:
        return json_finite(*(const double *)field);
    case OPTION_NUMBERS:
        return numbers_to_json(field);
    default:
        break;
    }
    const char *text = *(const char *const *)field;
    return text ? json_string(text) : json_null();
}

json_t *arguments_to_json(const arguments *args)
{
    json_t *object = json_object();
    for (int i = 0; i < args->command->option_count; i++) {
        const cli_option *option = &args->command->options[i];
        if (!option->fallback && option->kind != OPTION_FLAG && args->sources[i] == FROM_DEFAULT)
            json_object_set_new(object, option->name, json_null());
        else
            json_object_set_new(object, option->name, setting_to_json(option, args->settings));
    }
    return object;
}
