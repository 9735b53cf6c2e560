/* Answers, and the pieces of JSON that they are made of. Text that others gave (names of classes,
 * addresses) may hold any bytes; what is written is always valid UTF-8. */
#include <math.h>
#include <string.h>

#include "cresset/memory.h"
#include "serve/serve.h"

bool serve_refuse(serve_answer *answer, int status, const char *format, ...)
{
    if (answer->status)
        return false;
    char sentence[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(sentence, sizeof sentence, format, list);
    va_end(list);
    answer->status = status;
    answer->refusal = cr_string_copy(sentence);
    answer->body.length = 0;
    cr_text_append(&answer->body, "{\"error\": ");
    serve_put_string(&answer->body, sentence);
    cr_text_append(&answer->body, "}\n");
    return false;
}

bool serve_refuse_error(serve_answer *answer, int status)
{
    bool memory = cr_error_status() == CR_ERROR_MEMORY;
    char sentence[1024];
    snprintf(sentence, sizeof sentence, "%s",
             cr_failed() ? cr_error_message() : "the server failed without saying why");
    cr_error_clear();
    return serve_refuse(answer, memory ? 503 : status, "%s", sentence);
}

void serve_answer_free(serve_answer *answer)
{
    cr_text_free(&answer->body);
    cr_free(answer->refusal);
    *answer = (serve_answer){ 0 };
}

/* The length of the valid UTF-8 character at the start of `s`, 0 if there is none. */
static int character_length(const unsigned char *s)
{
    static const struct {
        unsigned char mask, lead, low, high; /* low to high: the second byte */
    } forms[] = {
        { 0xFE, 0xC2, 0x80, 0xBF }, { 0xFC, 0xC4, 0x80, 0xBF }, { 0xF8, 0xC8, 0x80, 0xBF },
        { 0xF0, 0xD0, 0x80, 0xBF }, { 0xFF, 0xE0, 0xA0, 0xBF }, { 0xFF, 0xED, 0x80, 0x9F },
        { 0xF0, 0xE0, 0x80, 0xBF }, { 0xFF, 0xF0, 0x90, 0xBF }, { 0xFF, 0xF4, 0x80, 0x8F },
        { 0xFC, 0xF0, 0x80, 0xBF },
    };
    for (int i = 0; i < SERVE_COUNT_OF(forms); i++) {
        if ((s[0] & forms[i].mask) != forms[i].lead)
            continue;
        int length = i < 4 ? 2 : i < 7 ? 3 : 4;
        bool good = s[1] >= forms[i].low && s[1] <= forms[i].high;
        for (int k = 2; good && k < length; k++)
            good = (s[k] & 0xC0) == 0x80;
        return good ? length : 0;
    }
    return 0;
}

void serve_put_string(cr_text *out, const char *string)
{
    const unsigned char *s = (const unsigned char *)string;
    cr_text_append(out, "\"");
    while (*s) {
        size_t plain = 0;
        while (s[plain] >= 0x20 && s[plain] < 0x7F && s[plain] != '"' && s[plain] != '\\')
            plain++;
        cr_text_append_bytes(out, s, plain);
        s += plain;
        if (!*s)
            break;
        int length = *s < 0x80 ? 0 : character_length(s);
        if (length)
            cr_text_append_bytes(out, s, (size_t)length);
        else if (*s == '"' || *s == '\\')
            cr_text_printf(out, "\\%c", *s);
        else
            cr_text_printf(out, "\\u%04x", *s < 0x80 ? *s : 0xFFFD);
        s += length ? length : 1;
    }
    cr_text_append(out, "\"");
}

void serve_put_number(cr_text *out, double value, int digits)
{
    if (isfinite(value))
        cr_text_printf(out, "%.*g", digits, value);
    else
        cr_text_append(out, "null");
}

void serve_put_base64(cr_text *out, const void *bytes, size_t size)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *in = bytes;
    for (size_t i = 0; i < size; i += 3) {
        size_t left = size - i;
        unsigned group = (unsigned)in[i] << 16 | (left > 1 ? (unsigned)in[i + 1] << 8 : 0) |
                         (left > 2 ? in[i + 2] : 0);
        char four[4] = { alphabet[group >> 18], alphabet[group >> 12 & 63],
                         left > 1 ? alphabet[group >> 6 & 63] : '=',
                         left > 2 ? alphabet[group & 63] : '=' };
        cr_text_append_bytes(out, four, sizeof four);
    }
}
