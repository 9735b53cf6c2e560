/* Ctrl-C: the first asks the work to stop and save, the second ends the program at once. */
#include <signal.h>
#include <stddef.h>

#include "cli.h"

static volatile sig_atomic_t asked;

static void on_signal(int number)
{
    asked = number;
    signal(number, SIG_DFL); /* the next one is not held back */
}

void interrupt_watch(void)
{
    struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART };
    sigemptyset(&action.sa_mask);
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool interrupted(void)
{
    return asked != 0;
}
