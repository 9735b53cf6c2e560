/* Every variant of every kernel against the portable one, on random shapes, strides and dtypes.
 *
 * The families are those of CR_KERNEL_FAMILIES; one that no case names fails the test. For each
 * trial of each case, the case is run under the portable set and then under every other that the
 * processor has: what the runs write is compared as the case says, and guards and operands are
 * looked at after each. A trial that touches memory outside its buffers ends the program, which
 * says where.
 *
 * test_variants [family…] tries only these. Exit status 1: there was a fault. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guarded.h"
#include "trials.h"

#define FAULTS_SHOWN 20

static const char *const family_names[CR_FAMILY_COUNT] = {
#define FAMILY_NAME(name) #name,
    CR_KERNEL_FAMILIES(FAMILY_NAME)
};

static const struct variant_case *const lists[] = {
    gemm_cases,   conv_cases,  norm_cases,  sequence_cases, elementwise_cases,
    reduce_cases, image_cases, other_cases, quantized_cases
};

static const struct variant_case *running;
static struct trial running_trial;
static int faults;

void guarded_fault(const char *format, ...)
{
    if (++faults > FAULTS_SHOWN)
        return;
    char words[256];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(words, sizeof words, format, arguments);
    va_end(arguments);
    printf("FAULT %s, %s, %s, trial %d: %s\n", cr_isa_name(cr_isa_in_use()),
           family_names[running->family], running->name, running_trial.number, words);
}

/* The program cannot go on; it may still print. */
static void on_signal(int number, siginfo_t *info, void *context)
{
    (void)context;
    guarded_fault("signal %d at %s", number, guarded_describe(info->si_addr));
    printf("stopped after %d faults\n", faults);
    fflush(stdout);
    _exit(1);
}

static void catch_signals(void)
{
    static const int numbers[] = { SIGSEGV, SIGBUS, SIGILL, SIGFPE };
    struct sigaction action = { .sa_sigaction = on_signal, .sa_flags = SA_SIGINFO };
    for (int i = 0; i < CR_COUNT_OF(numbers); i++)
        sigaction(numbers[i], &action, NULL);
}

/* One run of a trial under the set in use. */
static void run_once(const struct variant_case *c, int number, bool is_first)
{
    uint64_t seed = (uint64_t)number * 0x9e3779b97f4a7c15u + (uint64_t)c->family;
    running_trial = (struct trial){ .state = seed, .number = number };
    draw(&running_trial, 0, 1);
    cr_set_num_threads(number % 3 == 2 ? 2 : 1);
    guarded_begin();
    c->run(&running_trial);
    guarded_check(is_first);
}

static void run_case(const struct variant_case *c)
{
    running = c;
    for (int number = 0; number < c->trials; number++) {
        for (int isa = 0; isa < CR_ISA_COUNT; isa++)
            if (cr_cpu_has_isa((cr_isa)isa)) {
                cr_use_isa((cr_isa)isa);
                run_once(c, number, isa == CR_ISA_PORTABLE);
            }
        guarded_end();
    }
    cr_use_isa(CR_ISA_COUNT);
}

static bool is_wanted(enum cr_kernel_family family, int count, char *const *names)
{
    bool wanted = count == 0;
    for (int i = 0; i < count; i++)
        wanted = wanted || strcmp(names[i], family_names[family]) == 0;
    return wanted;
}

/* Every case of a family; returns how many. */
static int run_family(enum cr_kernel_family family)
{
    int cases = 0, trials = 0, before = faults;
    double start = cr_clock_seconds();
    for (int l = 0; l < CR_COUNT_OF(lists); l++)
        for (const struct variant_case *c = lists[l]; c->run; c++)
            if (c->family == family) {
                run_case(c);
                cases++;
                trials += c->trials;
            }
    if (cases == 0) {
        printf("FAULT %s: no case tries this family\n", family_names[family]);
        faults++;
    }
    printf("%-28s %2d cases, %4d trials, %d faults, %.1f s\n", family_names[family], cases, trials,
           faults - before, cr_clock_seconds() - start);
    fflush(stdout);
    return cases;
}

/* A set is named in the description of the build. */
static bool is_built(cr_isa isa)
{
    char word[32], all[320];
    snprintf(word, sizeof word, " %s ", cr_isa_name(isa));
    snprintf(all, sizeof all, "%s ", cr_build_description());
    return strstr(all, word) != NULL;
}

static void print_sets(void)
{
    printf("%s\ntried:", cr_build_description());
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        if (cr_cpu_has_isa((cr_isa)isa))
            printf(" %s", cr_isa_name((cr_isa)isa));
    printf("\n");
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        if (!cr_cpu_has_isa((cr_isa)isa))
            printf("skipped: %s, which %s\n", cr_isa_name((cr_isa)isa),
                   is_built((cr_isa)isa) ? "this processor lacks"
                                         : "this build has no kernels for");
}

int main(int count, char **arguments)
{
    catch_signals();
    if (!guarded_open()) {
        printf("no memory for the buffers\n");
        return 1;
    }
    print_sets();
    int families = 0;
    for (int family = 0; family < CR_FAMILY_COUNT; family++)
        if (is_wanted((enum cr_kernel_family)family, count - 1, arguments + 1))
            families += run_family((enum cr_kernel_family)family) > 0;
    printf("%d of %d families, %d faults\n", families, CR_FAMILY_COUNT, faults);
    return faults > 0;
}
