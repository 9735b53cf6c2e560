/* `cresset completion`: scripts that teach a shell to complete the command, its options and their
 * values, made from the option tables. */
#include <string.h>

#include "cli.h"

static const char *const shells[] = { "bash", "zsh", "fish" };

static const char *shell_words(int index)
{
    return index < COUNT_OF(shells) ? shells[index] : NULL;
}

static const char *no_words(int index)
{
    (void)index;
    return NULL;
}

static choice_list operand_words(const cli_command *command)
{
    return command->operand_words ? command->operand_words : no_words;
}

/* Words parted by spaces. */
static void append_words(cr_text *out, choice_list words)
{
    const char *word;
    for (int i = 0; (word = words(i)); i++)
        cr_text_printf(out, "%s%s", i ? " " : "", word);
}

/* Text inside single quotes of a shell; `quote` is how that shell writes a quote there. */
static void append_quoted(cr_text *out, const char *text, const char *quote, const char *escaped)
{
    for (; *text; text++) {
        if (*text == '\'')
            cr_text_append(out, quote);
        else if (strchr(escaped, *text))
            cr_text_printf(out, "\\%c", *text);
        else
            cr_text_append_bytes(out, text, 1);
    }
}

/* --- bash ----------------------------------------------------------------------------------- */

static void append_bash_flags(cr_text *out, const cli_command *command)
{
    const cli_option *option;
    for (int i = 0; (option = command_option(command, i)); i++) {
        cr_text_printf(out, "%s--%s", i ? " " : "", option->name);
        if (option->kind == OPTION_FLAG && strcmp(option->name, "help") != 0)
            cr_text_printf(out, " --no-%s", option->name);
    }
}

static void append_bash_value(cr_text *out, const cli_command *command, const cli_option *option)
{
    if (option->kind == OPTION_FLAG)
        return;
    cr_text_printf(out, "        '%s --%s'", command->name, option->name);
    if (option->letter)
        cr_text_printf(out, "|'%s -%c'", command->name, option->letter);
    cr_text_append(out, ") ");
    if (option->kind == OPTION_CHOICE) {
        cr_text_append(out, "words='");
        append_words(out, option->choices);
        cr_text_append(out, "' ;;\n");
    } else if (option->kind == OPTION_FILE) {
        cr_text_append(out, "kind=file ;;\n");
    } else if (option->kind == OPTION_FOLDER) {
        cr_text_append(out, "kind=folder ;;\n");
    } else {
        cr_text_append(out, "kind=none ;;\n");
    }
}

static void append_bash_command(cr_text *out, const cli_command *command)
{
    cr_text_printf(out, "        %s)\n            options='", command->name);
    append_bash_flags(out, command);
    cr_text_append(out, "'\n            operands='");
    append_words(out, operand_words(command));
    cr_text_append(out, "' ;;\n");
}

static void write_bash(cr_text *out)
{
    const cli_command *command;
    const cli_option *option;
    cr_text_append(out,
                   "# bash completion of cresset, made by: cresset completion bash\n"
                   "_cresset()\n{\n"
                   "    local word=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}\n"
                   "    local command=${COMP_WORDS[1]} kind= words= options= operands=\n"
                   "    COMPREPLY=()\n"
                   "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n"
                   "        mapfile -t COMPREPLY < <(compgen -W '");
    append_words(out, command_words);
    cr_text_append(out, " --help --version' -- \"$word\")\n"
                        "        return\n    fi\n"
                        "    if [ \"$before\" = = ]; then # --name=value\n"
                        "        before=${COMP_WORDS[COMP_CWORD-2]}\n"
                        "    elif [ \"$word\" = = ]; then\n"
                        "        word=\n    fi\n"
                        "    case \"$command $before\" in\n");
    for (int i = 0; (command = command_at(i)); i++)
        for (int j = 0; (option = command_option(command, j)); j++)
            append_bash_value(out, command, option);
    cr_text_append(out, "    esac\n    case $command in\n");
    for (int i = 0; (command = command_at(i)); i++)
        append_bash_command(out, command);
    cr_text_append(
        out,
        "    esac\n"
        "    if [ -z \"$kind$words\" ]; then\n"
        "        case $word in\n"
        "            -*) words=$options ;;\n"
        "            *) words=$operands; [ -n \"$words\" ] || kind=file ;;\n"
        "        esac\n    fi\n"
        "    case $kind in\n"
        "        file) mapfile -t COMPREPLY < <(compgen -f -- \"$word\"); compopt -o filenames ;;\n"
        "        folder) mapfile -t COMPREPLY < <(compgen -d -- \"$word\"); compopt -o filenames "
        ";;\n"
        "        none) ;;\n"
        "        *) mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$word\") ;;\n"
        "    esac\n}\n"
        "complete -F _cresset cresset\n");
}

/* --- zsh ------------------------------------------------------------------------------------ */

static void append_zsh_action(cr_text *out, const cli_option *option)
{
    if (option->kind == OPTION_FLAG)
        return;
    cr_text_printf(out, ":%s:", option->metavar);
    if (option->kind == OPTION_CHOICE) {
        cr_text_append(out, "(");
        append_words(out, option->choices);
        cr_text_append(out, ")");
    } else if (option->kind == OPTION_FILE) {
        cr_text_append(out, "_files");
    } else if (option->kind == OPTION_FOLDER) {
        cr_text_append(out, "_files -/");
    } else {
        cr_text_append(out, " ");
    }
}

static void append_zsh_option(cr_text *out, const cli_option *option)
{
    cr_text_append(out, "                ");
    if (option->letter)
        cr_text_printf(out, "'(-%c --%s)'{-%c,--%s%s}'", option->letter, option->name,
                       option->letter, option->name, option->kind == OPTION_FLAG ? "" : "=");
    else
        cr_text_printf(out, "'--%s%s%s",
                       option->kind == OPTION_FLAG && option->fallback ? "no-" : "", option->name,
                       option->kind == OPTION_FLAG ? "" : "=");
    cr_text_append(out, "[");
    append_quoted(out, option->help, "'\\''", "[]:\\");
    cr_text_append(out, "]");
    append_zsh_action(out, option);
    cr_text_append(out, "' \\\n");
}

static void append_zsh_command(cr_text *out, const cli_command *command)
{
    const cli_option *option;
    cr_text_printf(out, "        %s)\n            _arguments -s \\\n", command->name);
    for (int i = 0; (option = command_option(command, i)); i++)
        append_zsh_option(out, option);
    if (command->operand_words) {
        cr_text_append(out, "                '*:word:(");
        append_words(out, command->operand_words);
        cr_text_append(out, ")' ;;\n");
    } else {
        cr_text_append(out, "                '*:file:_files' ;;\n");
    }
}

static void write_zsh(cr_text *out)
{
    const cli_command *command;
    cr_text_append(out, "#compdef cresset\n# zsh completion of cresset, made by: cresset "
                        "completion zsh\n_cresset()\n{\n"
                        "    local -a commands=(\n");
    for (int i = 0; (command = command_at(i)); i++) {
        cr_text_printf(out, "        '%s:", command->name);
        append_quoted(out, command->summary, "'\\''", ":\\");
        cr_text_append(out, "'\n");
    }
    cr_text_append(out, "    )\n"
                        "    if (( CURRENT == 2 )); then\n"
                        "        _describe command commands\n"
                        "        return\n    fi\n"
                        "    local name=$words[2]\n"
                        "    shift words\n    (( CURRENT-- ))\n"
                        "    case $name in\n");
    for (int i = 0; (command = command_at(i)); i++)
        append_zsh_command(out, command);
    cr_text_append(out, "    esac\n}\n"
                        "if [ \"$funcstack[1]\" = _cresset ]; then\n"
                        "    _cresset \"$@\"\nelse\n    compdef _cresset cresset\nfi\n");
}

/* --- fish ----------------------------------------------------------------------------------- */

static void append_fish_option(cr_text *out, const cli_command *command, const cli_option *option)
{
    cr_text_printf(out, "complete -c cresset -n '__fish_seen_subcommand_from %s' -l %s%s",
                   command->name, option->kind == OPTION_FLAG && option->fallback ? "no-" : "",
                   option->name);
    if (option->letter)
        cr_text_printf(out, " -s %c", option->letter);
    if (option->kind == OPTION_CHOICE) {
        cr_text_append(out, " -x -a '");
        append_words(out, option->choices);
        cr_text_append(out, "'");
    } else if (option->kind == OPTION_FILE) {
        cr_text_append(out, " -r -F");
    } else if (option->kind == OPTION_FOLDER) {
        cr_text_append(out, " -x -a '(__fish_complete_directories)'");
    } else if (option->kind != OPTION_FLAG) {
        cr_text_append(out, " -x");
    }
    cr_text_append(out, " -d '");
    append_quoted(out, option->help, "\\'", "\\");
    cr_text_append(out, "'\n");
}

static void write_fish(cr_text *out)
{
    const cli_command *command;
    const cli_option *option;
    cr_text_append(out, "# fish completion of cresset, made by: cresset completion fish\n");
    for (int i = 0; (command = command_at(i)); i++) {
        cr_text_printf(out, "complete -c cresset -f -n __fish_use_subcommand -a %s -d '",
                       command->name);
        append_quoted(out, command->summary, "\\'", "\\");
        cr_text_append(out, "'\n");
        if (command->operand_words) {
            cr_text_printf(out, "complete -c cresset -f -n '__fish_seen_subcommand_from %s' -a '",
                           command->name);
            append_words(out, command->operand_words);
            cr_text_append(out, "'\n");
        }
        for (int j = 0; (option = command_option(command, j)); j++)
            append_fish_option(out, command, option);
    }
}

/* --- The command ---------------------------------------------------------------------------- */

static const cli_example examples[] = {
    { "source <(cresset completion bash)", "For this bash session:" },
    { "cresset completion bash > ~/.local/share/bash-completion/completions/cresset",
      "For every bash session of this user:" },
    { "cresset completion zsh > ~/.zfunc/_cresset", "For zsh, in a folder that stands in fpath:" },
    { "cresset completion fish > ~/.config/fish/completions/cresset.fish", "For fish:" },
};

static int run(const arguments *args)
{
    static void (*const writers[])(cr_text *) = { write_bash, write_zsh, write_fish };
    const char *shell = args->operands[0];
    for (int i = 0; i < COUNT_OF(shells); i++) {
        if (strcmp(shell, shells[i]) != 0)
            continue;
        cr_text text = { 0 };
        writers[i](&text);
        if (cr_failed())
            return library_failure(args->command);
        fputs(text.data, stdout);
        cr_text_free(&text);
        return STATUS_DONE;
    }
    return usage_error(args->command,
                       "there is no completion for \"%s\", only for bash, zsh and "
                       "fish",
                       shell);
}

const cli_command completion_command = {
    .name = "completion",
    .summary = "Print a script that completes the command in a shell",
    .operands = "bash|zsh|fish",
    .description = "Prints a script for the shell named, which completes commands, options, the "
                   "names of models and other words, files and folders.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .operand_minimum = 1,
    .operand_maximum = 1,
    .operand_words = shell_words,
    .run = run,
};
