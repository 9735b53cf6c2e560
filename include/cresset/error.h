/* Errors: the first one sticks.
 *
 * A function that fails returns NULL (or a cr_status other than CR_OK) and records one sentence for
 * the calling thread. While a sentence stands, every operation returns NULL at once, so a caller
 * checks once a step:
 *
 *     if (cr_failed())
 *         fprintf(stderr, "%s\n", cr_error_message());
 *
 * Each thread has its own error state. The library never prints, exits or aborts on bad input. */
#ifndef CRESSET_ERROR_H
#define CRESSET_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The kinds of failure, CR_ERROR_name: X(name, words for a person). */
#define CR_STATUS_TABLE(X)                                                                         \
    X(ARGUMENT, "an argument is out of its range")                                                 \
    X(SHAPE, "shapes do not fit")                                                                  \
    X(DTYPE, "the dtype is not supported here")                                                    \
    X(STATE, "not possible in the present state")                                                  \
    X(MEMORY, "out of memory")                                                                     \
    X(IO, "a file could not be read or written")                                                   \
    X(FORMAT, "a file is not what it should be")                                                   \
    X(NUMERIC, "a number is not finite")                                                           \
    X(UNSUPPORTED, "not supported")                                                                \
    X(INTERRUPTED, "interrupted")

typedef enum cr_status {
    CR_OK,
#define CR_STATUS_ENUM(name, words) CR_ERROR_##name,
    CR_STATUS_TABLE(CR_STATUS_ENUM)
#undef CR_STATUS_ENUM
} cr_status;

#if defined(__GNUC__)
#define CR_PRINTF(format_index, first_argument)                                                    \
    __attribute__((format(printf, format_index, first_argument)))
#else
#define CR_PRINTF(format_index, first_argument)
#endif

/* True while an error of the calling thread stands. */
bool cr_failed(void);

/* The kind of the standing error; CR_OK if none. */
cr_status cr_error_status(void);

/* The sentence of the standing error, "" if none. Valid until the error is cleared. */
const char *cr_error_message(void);

/* Forgets the standing error of the calling thread. */
void cr_error_clear(void);

/* Records an error for the calling thread unless one stands already, and returns the status of the
 * one that stands. For the library, and for ops and layers written outside it. Messages longer
 * than about 1000 bytes are cut. */
cr_status cr_error_set(cr_status status, const char *format, ...) CR_PRINTF(2, 3);

/* Puts "context: " before the standing message, e.g. the name of the file being read. No effect
 * when no error stands. */
void cr_error_prefix(const char *format, ...) CR_PRINTF(1, 2);

/* The name of a status ("SHAPE") and its words. */
const char *cr_status_name(cr_status status);
const char *cr_status_words(cr_status status);

#ifdef __cplusplus
}
#endif
#endif
