/* Starts a net on a Cortex-M4 that qemu-system-arm emulates, runs it on `sample`, and prints the
 * results by semihosting. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "net.h"

extern char stack_top[], bss_begin[], bss_end[]; /* of cortex_m.ld */
extern const float sample[NET_INPUT];

extern void initialise_monitor_handles(void); /* of newlib's librdimon */
void _init(void);
void _fini(void);

void _init(void)
{
}

void _fini(void)
{
}

static void reset(void)
{
    volatile uint32_t *coprocessors = (volatile uint32_t *)0xE000ED88u;
    static float out[NET_OUTPUT];
    char *at;
    int i;
    *coprocessors |= 0xFu << 20; /* the floating-point unit */
    for (at = bss_begin; at < bss_end; at++)
        *at = 0;
    initialise_monitor_handles();
    net_run(sample, out);
    for (i = 0; i < NET_OUTPUT; i++)
        printf("%.9g\n", (double)out[i]);
    fflush(stdout);
    exit(0);
}

/* The first words of the flash: where the stack begins, and what a reset starts. */
struct vectors {
    char *stack;
    void (*reset)(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = { stack_top,
                                                                                   reset };
