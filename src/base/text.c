/* Text that grows, and the small string helpers of the library: patterns, edit distance, and the
 * parsing of numbers. What is formatted or parsed here looks the same in every locale: a program
 * that embeds the library may have chosen a decimal comma, our files may not. */
#include "base/base.h"

#include <errno.h>
#include <limits.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64

/* A text whose memory ran out has no data and this capacity: appending to it does nothing. */
#define BROKEN SIZE_MAX

/* Longer names than this are never near misses of each other. */
#define LONGEST_NAME 255

static locale_t c_locale;

static void make_c_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

/* The C locale, or 0 if the system could not make one. */
static locale_t get_c_locale(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, make_c_locale);
    return c_locale;
}

CR_PRINTF(3, 0)
static int format_in_c_locale(char *out, size_t size, const char *format, va_list arguments)
{
    locale_t wanted = get_c_locale();
    locale_t before = wanted ? uselocale(wanted) : (locale_t)0;
    int length = vsnprintf(out, size, format, arguments);
    if (before)
        uselocale(before);
    return length;
}

/* Makes room for count more bytes and the terminator. */
static bool reserve(cr_text *text, size_t count)
{
    if (text->capacity == BROKEN)
        return false;
    size_t needed;
    bool fits = cr_add_checked(text->length, count, &needed) && cr_add_checked(needed, 1, &needed);
    if (fits && needed <= text->capacity)
        return true;
    size_t doubled = text->capacity > SIZE_MAX / 4 ? needed : 2 * text->capacity;
    size_t capacity = CR_MAX(CR_MAX(needed, doubled), (size_t)FIRST_CAPACITY);
    char *data = cr_resize(text->data, fits ? capacity : SIZE_MAX, 1);
    if (!data) {
        cr_text_free(text);
        text->capacity = BROKEN;
        return false;
    }
    text->data = data;
    text->capacity = capacity;
    return true;
}

void cr_text_append_bytes(cr_text *text, const void *bytes, size_t count)
{
    if (!reserve(text, count))
        return;
    if (count > 0)
        memcpy(text->data + text->length, bytes, count);
    text->length += count;
    text->data[text->length] = '\0';
}

void cr_text_append(cr_text *text, const char *string)
{
    cr_text_append_bytes(text, string, strlen(string));
}

CR_PRINTF(2, 0)
static void append_formatted(cr_text *text, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = format_in_c_locale(NULL, 0, format, arguments);
    if (length >= 0 && reserve(text, (size_t)length)) {
        format_in_c_locale(text->data + text->length, (size_t)length + 1, format, again);
        text->length += (size_t)length;
    }
    va_end(again);
}

void cr_text_printf(cr_text *text, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    append_formatted(text, format, arguments);
    va_end(arguments);
}

char *cr_text_take(cr_text *text)
{
    if (reserve(text, 0))
        text->data[text->length] = '\0';
    else
        cr_error_set(CR_ERROR_MEMORY, "out of memory: a text could not be put together");
    char *data = text->data;
    *text = (cr_text){ 0 };
    return data;
}

void cr_text_free(cr_text *text)
{
    cr_free(text->data);
    *text = (cr_text){ 0 };
}

char *cr_string_format(const char *format, ...)
{
    cr_text text = { 0 };
    va_list arguments;
    va_start(arguments, format);
    append_formatted(&text, format, arguments);
    va_end(arguments);
    return cr_text_take(&text);
}

/* Greedy with one way back: when a literal part fails, the latest star swallows one more character.
 * An earlier star never has to be tried again, so the time is at most the product of the lengths.
 */
bool cr_pattern_match(const char *pattern, const char *name)
{
    const char *star = NULL;
    const char *resume = NULL;
    while (*name) {
        if (*pattern == '*') {
            star = ++pattern;
            resume = name;
        } else if (*pattern && (*pattern == '?' || *pattern == *name)) {
            pattern++;
            name++;
        } else if (star) {
            pattern = star;
            name = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

int cr_edit_distance(const char *a, const char *b)
{
    size_t a_length = strlen(a);
    size_t b_length = strlen(b);
    if (a_length > LONGEST_NAME || b_length > LONGEST_NAME)
        return (int)CR_MIN(CR_MAX(a_length, b_length), (size_t)INT32_MAX);
    int row[LONGEST_NAME + 1]; /* distances of a[0..i) to every start of b */
    for (size_t j = 0; j <= b_length; j++)
        row[j] = (int)j;
    for (size_t i = 1; i <= a_length; i++) {
        int diagonal = row[0];
        row[0] = (int)i;
        for (size_t j = 1; j <= b_length; j++) {
            int replaced = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            row[j] = CR_MIN(replaced, CR_MIN(row[j], row[j - 1]) + 1);
        }
    }
    return row[b_length];
}

int cr_word_find(const char *what, const char *word, const char *const *words, int count)
{
    int nearest = 0;
    int least = INT_MAX;
    for (int i = 0; i < count; i++) {
        int distance = cr_edit_distance(words[i], word);
        if (distance == 0)
            return i;
        if (distance < least) {
            least = distance;
            nearest = i;
        }
    }
    cr_error_set(CR_ERROR_ARGUMENT, "there is no %s \"%s\"; did you mean \"%s\"?", what, word,
                 words[nearest]);
    return -1;
}

/* The C library skips white space before a number; here it is rubbish like any other. */
static bool starts_like_number(const char *text)
{
    return *text && !strchr(" \t\n\v\f\r", *text);
}

bool cr_parse_int64(const char *text, long long *value)
{
    if (!starts_like_number(text))
        return false;
    const char *digits = text + (*text == '-' || *text == '+');
    bool hexadecimal = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X');
    int before = errno;
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, hexadecimal ? 16 : 10);
    bool good = errno == 0 && end != text && *end == '\0';
    errno = before;
    if (good)
        *value = parsed;
    return good;
}

bool cr_parse_double(const char *text, double *value)
{
    locale_t wanted = get_c_locale();
    if (!starts_like_number(text) || !wanted)
        return false;
    int before = errno;
    char *end;
    /* A number too small to be told from 0 also sets errno, and is fine. */
    double parsed = strtod_l(text, &end, wanted);
    errno = before;
    if (end == text || *end != '\0' || !isfinite(parsed))
        return false;
    *value = parsed;
    return true;
}
