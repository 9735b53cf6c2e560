/* Between guarded.c, which has the buffers, and test_variants.c, which runs the trials. */
#ifndef CR_TEST_GUARDED_H
#define CR_TEST_GUARDED_H

#include "trials.h"

/* Reserves the memory of all buffers; false if that fails. */
bool guarded_open(void);

/* Around a run, and after all runs of a trial. */
void guarded_begin(void);
void guarded_end(void);

/* A new buffer, and what the last one is: an operand as it is now, or a result that is compared. */
void *guarded_new(struct trial *t, cr_dtype dtype, size_t bytes, int alignment, bool is_workspace);
void guarded_is_operand(void);
void guarded_compare(bool exact, double relative, double absolute);

/* After a run: guards, operands, and results, which the first run of a trial only records. */
void guarded_check(bool is_first);

/* What lies at an address, in words. */
const char *guarded_describe(const void *address);

/* Counts and prints a fault of the trial that runs. */
void guarded_fault(const char *format, ...) CR_PRINTF(1, 2);

#endif
