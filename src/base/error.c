/* The error state of a thread: a status and one sentence, kept in thread-local storage so that
 * recording an error, running out of memory included, needs no allocation. What an error means and
 * when it is raised is left to those who raise it. */
#include "base/base.h"

#include <stdio.h>
#include <string.h>

#define MESSAGE_SIZE 1024

static CR_THREAD_LOCAL struct {
    cr_status status;
    char message[MESSAGE_SIZE];
} error_state;

/* A message that was cut must not end inside a UTF-8 character. */
static void drop_partial_character(char *text)
{
    size_t length = strlen(text);
    size_t start = length;
    while (start > 0 && length - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80)
        start--;
    if (start == 0)
        return;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t wanted = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    if (wanted > length - start)
        text[start - 1] = '\0';
}

bool cr_failed(void)
{
    return error_state.status != CR_OK;
}

cr_status cr_error_status(void)
{
    return error_state.status;
}

const char *cr_error_message(void)
{
    return error_state.status == CR_OK ? "" : error_state.message;
}

void cr_error_clear(void)
{
    error_state.status = CR_OK;
}

cr_status cr_error_set(cr_status status, const char *format, ...)
{
    if (error_state.status != CR_OK || status == CR_OK)
        return error_state.status;
    va_list arguments;
    va_start(arguments, format);
    int length = vsnprintf(error_state.message, MESSAGE_SIZE, format, arguments);
    va_end(arguments);
    if (length < 0)
        error_state.message[0] = '\0';
    else if (length >= MESSAGE_SIZE)
        drop_partial_character(error_state.message);
    error_state.status = status;
    return status;
}

void cr_error_prefix(const char *format, ...)
{
    if (error_state.status == CR_OK)
        return;
    char whole[MESSAGE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(whole, sizeof(whole), format, arguments);
    va_end(arguments);
    if (written < 0)
        return;
    size_t used = CR_MIN((size_t)written, sizeof(whole) - 1);
    int rest = snprintf(whole + used, sizeof(whole) - used, ": %s", error_state.message);
    if (rest < 0)
        return;
    if (used + (size_t)rest >= sizeof(whole))
        drop_partial_character(whole);
    memcpy(error_state.message, whole, sizeof(whole));
}

static const char *const status_names[] = { "OK",
#define STATUS_NAME(name, words) #name,
                                            CR_STATUS_TABLE(STATUS_NAME)
#undef STATUS_NAME
};

static const char *const status_words[] = { "no error",
#define STATUS_WORDS(name, words) words,
                                            CR_STATUS_TABLE(STATUS_WORDS)
#undef STATUS_WORDS
};

const char *cr_status_name(cr_status status)
{
    return (unsigned)status < (unsigned)CR_COUNT_OF(status_names) ? status_names[status]
                                                                  : "UNKNOWN";
}

const char *cr_status_words(cr_status status)
{
    return (unsigned)status < (unsigned)CR_COUNT_OF(status_words) ? status_words[status]
                                                                  : "an unknown error";
}
