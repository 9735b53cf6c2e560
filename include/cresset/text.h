/* Text that grows: for messages, tables, reports and files that are built piece by piece.
 *
 *     cr_text text = { 0 };
 *     cr_text_printf(&text, "%d of %d\n", done, all);
 *     …text.data is a terminated string of text.length bytes…
 *     cr_text_free(&text);
 *
 * When memory runs out the error is recorded and what is appended later is dropped, so only the
 * end needs a check (cr_failed). Numbers are written and read as in the C locale, whatever locale
 * the program has chosen. Not thread-safe: one text belongs to one thread. */
#ifndef CRESSET_TEXT_H
#define CRESSET_TEXT_H

#include <stddef.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct cr_text {
    char *data; /* NULL while nothing was appended */
    size_t length;
    size_t capacity;
} cr_text;

void cr_text_append(cr_text *text, const char *string);
void cr_text_append_bytes(cr_text *text, const void *bytes, size_t count);
void cr_text_printf(cr_text *text, const char *format, ...) CR_PRINTF(2, 3);

/* Hands the string to the caller, who frees it with cr_free; "" if nothing was appended. NULL only
 * when memory ran out. */
char *cr_text_take(cr_text *text);
void cr_text_free(cr_text *text);

/* A new string in printf's manner, to be freed with cr_free. */
char *cr_string_format(const char *format, ...) CR_PRINTF(1, 2);

/* True if name matches a pattern of literal characters, '*' (any run, dots included) and '?'. */
bool cr_pattern_match(const char *pattern, const char *name);

/* Edit distance of two names, for "did you mean": how many bytes to insert, delete or replace.
 * Names of more than 255 bytes count as different throughout. */
int cr_edit_distance(const char *a, const char *b);

/* The position of a word in a list; -1, with an error that says there is no such `what` and names
 * the nearest, if it is not there. */
int cr_word_find(const char *what, const char *word, const char *const *words, int count);

/* Whole-string numbers, decimal or hexadecimal after 0x: false, and *value untouched, when the text
 * is not one finite number (white space included) or it is out of range. */
bool cr_parse_int64(const char *text, long long *value);
bool cr_parse_double(const char *text, double *value);

#ifdef __cplusplus
}
#endif
#endif
