/* What a fuzz target offers to the driver of this folder; libFuzzer uses its first function only.
 */
#ifndef CR_FUZZ_H
#define CR_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/* One input; returns 0. A fault is a crash: a sanitizer's, or __builtin_trap. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Valid inputs to start from: fills `out` and returns the length; 0 when there are no more. */
size_t fuzz_seed(int index, uint8_t *out, size_t room);

/* Pieces of the format that mutations put in, ended by NULL. */
extern const char *const fuzz_words[];

/* Returns 1 for the last input if the parser accepted it. The driver fails if a seed is not. */
int fuzz_accepted(void);

#endif
