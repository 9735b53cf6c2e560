/* Reads the arguments of a subcommand by its option table.
 *
 * Three sources fill the settings record, each over the one before: the defaults of the table, the
 * settings file of --config, the command line. The command line is first taken apart into
 * assignments, so that a mistake in it is found before any file is opened. Everything that the user
 * can get wrong is answered with one sentence that names the option and, where a word is misspelt,
 * the one that was probably meant. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"

#define CHOICES_LIMIT 256 /* names that are compared with a misspelt one */

static const cli_option common_options[] = {
    { "config", 0, "General", .kind = OPTION_FILE, .metavar = "FILE",
      .help = "read settings from a JSON file of option names and values, such as "
              "{\"epochs\": 20}; options given on the command line win" },
    { "help", 'h', "General", .kind = OPTION_FLAG, .help = "show this help and end" },
};

/* One option as it was written on the command line. */
typedef struct assignment {
    int index;         /* of the option */
    const char *value; /* "true" or "false" for a flag */
} assignment;

typedef struct scanner {
    arguments *args;
    assignment *assignments;
    int count;
    int at; /* the next word */
    int word_count;
    char **words;
    const char *config; /* the value of --config */
} scanner;

const cli_option *command_option(const cli_command *command, int index)
{
    if (index < command->option_count)
        return &command->options[index];
    index -= command->option_count;
    if (!command->takes_config)
        index++;
    return index < COUNT_OF(common_options) ? &common_options[index] : NULL;
}

const char *nearest_word(const char *word, const char *const *candidates, int count)
{
    const char *best = NULL;
    int best_distance = (int)strlen(word) / 3 + 2;
    for (int i = 0; i < count; i++) {
        int distance = cr_edit_distance(word, candidates[i]);
        if (strncmp(word, candidates[i], strlen(word)) == 0 && strlen(word) > 2)
            distance = 1; /* the beginning of a word is as good as a slip */
        if (distance < best_distance) {
            best = candidates[i];
            best_distance = distance;
        }
    }
    return best;
}

static int option_index(const cli_command *command, const char *name, size_t length)
{
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++)
        if (strlen(option->name) == length && strncmp(option->name, name, length) == 0)
            return i;
    return -1;
}

const cli_option *option_named(const cli_command *command, const char *name)
{
    int index = option_index(command, name, strlen(name));
    return index < 0 ? NULL : command_option(command, index);
}

static int letter_index(const cli_command *command, char letter)
{
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++)
        if (option->letter == letter)
            return i;
    return -1;
}

static void unknown_option(const cli_command *command, const char *name, size_t length)
{
    const char *names[CHOICES_LIMIT];
    const cli_option *option;
    int count = 0;
    for (int i = 0; (option = command_option(command, i)) && count < CHOICES_LIMIT; i++)
        names[count++] = option->name;
    char *word = cr_string_format("%.*s", (int)length, name);
    const char *meant = word ? nearest_word(word, names, count) : NULL;
    if (meant)
        usage_error(command, "there is no option --%s; did you mean --%s?", word, meant);
    else
        usage_error(command, "there is no option --%.*s; see cresset %s --help", (int)length, name,
                    command->name);
    cr_free(word);
}

/* --- The command line ----------------------------------------------------------------------- */

static void assign(scanner *scan, int index, const char *value)
{
    const cli_option *option = command_option(scan->args->command, index);
    if (option == &common_options[0])
        scan->config = value;
    else
        scan->assignments[scan->count++] = (assignment){ index, value };
}

/* The value of an option from the next word, NULL after a report that there is none. A word that
 * is itself an option is a forgotten value; one that should start so is written --name=value. */
static const char *next_value(scanner *scan, const cli_option *option)
{
    const cli_command *command = scan->args->command;
    if (scan->at >= scan->word_count) {
        usage_error(command, "option --%s needs a value: --%s %s", option->name, option->name,
                    option->metavar);
        return NULL;
    }
    const char *word = scan->words[scan->at];
    if (strncmp(word, "--", 2) == 0) {
        usage_error(command, "option --%s needs a value (%s) before %s", option->name,
                    option->metavar, word);
        return NULL;
    }
    scan->at++;
    return word;
}

/* One word that starts with two dashes: --name, --name=value, --name value or --no-name. */
static bool scan_long(scanner *scan, const char *name)
{
    const cli_command *command = scan->args->command;
    size_t length = strcspn(name, "=");
    const char *value = name[length] ? name + length + 1 : NULL;
    const char *flag_value = "true";
    int index = option_index(command, name, length);
    if (index < 0 && strncmp(name, "no-", 3) == 0) {
        index = option_index(command, name + 3, length - 3);
        if (index >= 0 && command_option(command, index)->kind != OPTION_FLAG)
            index = -1;
        flag_value = "false";
    }
    if (index < 0) {
        unknown_option(command, name, length);
        return false;
    }
    const cli_option *option = command_option(command, index);
    if (option->kind == OPTION_FLAG && value) {
        usage_error(command, "option --%.*s takes no value", (int)length, name);
        return false;
    }
    if (option->kind == OPTION_FLAG)
        value = flag_value;
    else if (!value)
        value = next_value(scan, option);
    if (value)
        assign(scan, index, value);
    return value != NULL;
}

/* One word that starts with one dash: letters of flags, the last of which may take a value. */
static bool scan_letters(scanner *scan, const char *letters)
{
    const cli_command *command = scan->args->command;
    while (*letters) {
        int index = letter_index(command, *letters);
        if (index < 0) {
            usage_error(command, "there is no option -%c; see cresset %s --help", *letters,
                        command->name);
            return false;
        }
        const cli_option *option = command_option(command, index);
        letters++;
        if (option->kind == OPTION_FLAG) {
            assign(scan, index, "true");
            continue;
        }
        const char *value = *letters ? letters + (*letters == '=') : next_value(scan, option);
        if (value)
            assign(scan, index, value);
        return value != NULL;
    }
    return true;
}

static bool scan_words(scanner *scan)
{
    bool options_end = false;
    while (scan->at < scan->word_count) {
        const char *word = scan->words[scan->at++];
        bool good = true;
        if (options_end || word[0] != '-' || !word[1])
            scan->args->operands[scan->args->operand_count++] = word;
        else if (strcmp(word, "--") == 0)
            options_end = true;
        else if (word[1] == '-')
            good = scan_long(scan, word + 2);
        else
            good = scan_letters(scan, word + 1);
        if (!good)
            return false;
    }
    return true;
}

static bool set_defaults(arguments *args)
{
    const cli_command *command = args->command;
    for (int i = 0; i < command->option_count; i++) {
        const cli_option *option = &command->options[i];
        if (!option->fallback && option->kind == OPTION_REAL)
            *(double *)((char *)args->settings + option->offset) = NAN;
        if (option->fallback && !option_set(option, args->settings, option->name, option->fallback))
            return false;
    }
    return true;
}

static bool apply_assignments(const scanner *scan)
{
    arguments *args = scan->args;
    for (int i = 0; i < scan->count; i++) {
        int index = scan->assignments[i].index;
        if (index >= args->command->option_count) /* --help */
            continue;
        const cli_option *option = &args->command->options[index];
        char label[64];
        snprintf(label, sizeof label, "--%s", option->name);
        if (!option_set(option, args->settings, label, scan->assignments[i].value))
            return false;
        args->sources[index] = FROM_COMMAND_LINE;
    }
    return true;
}

static bool check_operands(const arguments *args)
{
    const cli_command *command = args->command;
    if (args->operand_count > command->operand_maximum) {
        usage_error(command, "\"%s\" is one word too many; see cresset %s --help",
                    args->operands[command->operand_maximum], command->name);
        return false;
    }
    if (args->operand_count < command->operand_minimum) {
        const char *missing = command->operands; /* its words name the operands in order */
        for (int i = 0; i < args->operand_count; i++)
            missing += strcspn(missing, " ") + 1;
        usage_error(command, "%.*s is missing: cresset %s %s", (int)strcspn(missing, " "), missing,
                    command->name, command->operands);
        return false;
    }
    return true;
}

static bool allocate(arguments *args, scanner *scan)
{
    size_t words = (size_t)scan->word_count + 1;
    args->settings = cr_alloc_zeroed(1, args->command->settings_size + 1);
    args->operands = cr_alloc_zeroed(words, sizeof *args->operands);
    args->sources = cr_alloc_zeroed((size_t)args->command->option_count + 1, sizeof *args->sources);
    /* One word can hold many letters: each letter is an assignment. */
    for (int i = 0; i < scan->word_count; i++)
        words += strlen(scan->words[i]);
    scan->assignments = cr_alloc_zeroed(words, sizeof *scan->assignments);
    return args->settings && args->operands && args->sources && scan->assignments;
}

static bool asks_for_help(int count, char **words)
{
    for (int i = 0; i < count && strcmp(words[i], "--") != 0; i++)
        if (strcmp(words[i], "--help") == 0 || strcmp(words[i], "-h") == 0)
            return true;
    return false;
}

static bool read_settings(const scanner *scan, const char *base)
{
    arguments *args = scan->args;
    return (!base || config_read(args, base, &args->base)) &&
           (!scan->config || config_read(args, scan->config, &args->config)) &&
           apply_assignments(scan);
}

bool arguments_parse_over(arguments *args, const cli_command *command, int count, char **words,
                          const char *base)
{
    *args = (arguments){
        .command = command, .help = asks_for_help(count, words), .word_count = count, .words = words
    };
    if (args->help)
        return true;
    scanner scan = { .args = args, .words = words, .word_count = count };
    bool good = false;
    if (!allocate(args, &scan) || !set_defaults(args)) {
        library_failure(command);
        goto done;
    }
    if (!scan_words(&scan) || !check_operands(args))
        goto done;
    if (!read_settings(&scan, base)) {
        usage_error(command, "%s", cr_error_message());
        cr_error_clear();
        goto done;
    }
    good = true;
done:
    cr_free(scan.assignments);
    return good;
}

bool arguments_parse(arguments *args, const cli_command *command, int count, char **words)
{
    return arguments_parse_over(args, command, count, words, NULL);
}

void arguments_free(arguments *args)
{
    cr_free(args->settings);
    cr_free(args->operands);
    cr_free(args->sources);
    json_decref(args->config);
    json_decref(args->base);
    *args = (arguments){ 0 };
}

bool arguments_given(const arguments *args, const char *name)
{
    int index = option_index(args->command, name, strlen(name));
    return index >= 0 && index < args->command->option_count &&
           args->sources[index] != FROM_DEFAULT;
}

char *arguments_typed(const arguments *args)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-_=+./:,@%";
    cr_text text = { 0 };
    cr_text_printf(&text, "cresset %s", args->command->name);
    for (int i = 0; i < args->word_count; i++) {
        const char *word = args->words[i];
        bool quoted = !*word || word[strspn(word, plain)];
        cr_text_append(&text, quoted ? " '" : " ");
        for (; *word; word++) {
            if (*word == '\'')
                cr_text_append(&text, "'\\''");
            else
                cr_text_append_bytes(&text, word, 1);
        }
        cr_text_append(&text, quoted ? "'" : "");
    }
    return cr_text_take(&text);
}
