/* The `cresset` command: finds the subcommand, has its arguments read, and runs it. */
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/system.h"

/* In the order of the help. */
static const cli_command *const commands[] = {
    &train_command, &pretrain_command, &eval_command,   &predict_command,
    &serve_command, &export_command,   &models_command, &data_command,
    &bench_command, &info_command,     &help_command,   &completion_command,
};

const cli_command *command_at(int index)
{
    return index < COUNT_OF(commands) ? commands[index] : NULL;
}

const cli_command *command_find(const char *name)
{
    for (int i = 0; i < COUNT_OF(commands); i++)
        if (strcmp(commands[i]->name, name) == 0)
            return commands[i];
    return NULL;
}

const char *command_words(int index)
{
    const cli_command *command = command_at(index);
    return command ? command->name : NULL;
}

int unknown_command(const cli_command *asked, const char *word)
{
    const char *names[COUNT_OF(commands)];
    for (int i = 0; i < COUNT_OF(commands); i++)
        names[i] = commands[i]->name;
    const char *meant = word[0] == '-' ? NULL : nearest_word(word, names, COUNT_OF(names));
    if (meant)
        return usage_error(asked, "there is no command \"%s\"; did you mean \"%s\"?", word, meant);
    return usage_error(asked, "there is no %s \"%s\"; see cresset --help",
                       word[0] == '-' ? "option" : "command", word);
}

static int run_command(const cli_command *command, int count, char **words)
{
    arguments args;
    int status = STATUS_USAGE;
    if (arguments_parse(&args, command, count, words)) {
        status = STATUS_DONE;
        if (args.help)
            print_help(stdout, command);
        else
            status = command->run(&args);
    }
    arguments_free(&args);
    return status;
}

static int run(int count, char **words)
{
    if (count == 0) {
        print_help(stderr, NULL);
        return STATUS_USAGE;
    }
    if (strcmp(words[0], "--help") == 0 || strcmp(words[0], "-h") == 0) {
        print_help(stdout, NULL);
        return STATUS_DONE;
    }
    if (strcmp(words[0], "--version") == 0 || strcmp(words[0], "-V") == 0) {
        printf("cresset %s\n", cr_version());
        return STATUS_DONE;
    }
    const cli_command *command = command_find(words[0]);
    return command ? run_command(command, count - 1, words + 1) : unknown_command(NULL, words[0]);
}

/* A thread that waits for work sleeps after a short while instead of spinning for milliseconds:
 * the loader's threads and other programs need the processors too, and on a busy machine spinning
 * makes a step many times slower. The OpenMP runtime reads this when it is initialised, before
 * main, hence the early constructor; what the user has set stands. */
__attribute__((constructor(101))) static void limit_spinning(void)
{
    if (!getenv("OMP_WAIT_POLICY"))
        setenv("GOMP_SPINCOUNT", "1000", 0);
}

int main(int count, char **words)
{
    setlocale(LC_CTYPE, ""); /* to know whether the terminal shows Unicode; numbers stay as in C */
    int status = run(count - 1, words + 1);
    if (fflush(stdout) != 0 || ferror(stdout)) /* a full disk must not look like success */
        return status ? status : failure(NULL, "standard output: %s", strerror(errno));
    return status;
}
