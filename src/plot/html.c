/* Pieces of HTML that can be trusted: text escaped and made valid UTF-8, SVG made fit to stand in a
 * page beside others, bytes as base64. */
#include <string.h>

#include "canvas.h"

void cr_html_text(cr_text *html, const char *string)
{
    char clean[256];
    while (*string != '\0') {
        string = cr_utf8_clean(clean, sizeof(clean), string);
        for (const char *c = clean; *c != '\0'; c++) {
            const char *entity = *c == '&'    ? "&amp;"
                                 : *c == '<'  ? "&lt;"
                                 : *c == '>'  ? "&gt;"
                                 : *c == '"'  ? "&quot;"
                                 : *c == '\'' ? "&#39;"
                                              : NULL;
            if (entity != NULL)
                cr_text_append(html, entity);
            else
                cr_text_append_bytes(html, c, 1);
        }
    }
}

void cr_html_base64(cr_text *html, const void *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *b = bytes;
    for (size_t i = 0; i < count; i += 3) {
        size_t left = count - i;
        unsigned group = (unsigned)b[i] << 16 | (left > 1 ? (unsigned)b[i + 1] << 8 : 0) |
                         (left > 2 ? b[i + 2] : 0);
        char quad[4] = { digits[group >> 18], digits[group >> 12 & 63],
                         left > 1 ? digits[group >> 6 & 63] : '=',
                         left > 2 ? digits[group & 63] : '=' };
        cr_text_append_bytes(html, quad, sizeof(quad));
    }
}

/* True where `at` ends with a string that began no earlier than `start`. */
static bool preceded_by(const char *start, const char *at, const char *string)
{
    size_t length = strlen(string);
    return (size_t)(at - start) >= length && memcmp(at - length, string, length) == 0;
}

/* cairo gives the same names to the glyphs of every picture; in one page they must differ. */
static void append_with_prefix(cr_text *html, const char *svg, const char *prefix)
{
    const char *start = svg;
    for (const char *at = strpbrk(svg, "\"#"); at != NULL; at = strpbrk(at + 1, "\"#")) {
        bool named = *at == '"' && preceded_by(svg, at, " id=");
        bool used = *at == '#' && (preceded_by(svg, at, "href=\"") || preceded_by(svg, at, "url("));
        if (!named && !used)
            continue;
        cr_text_append_bytes(html, start, (size_t)(at + 1 - start));
        cr_text_append(html, prefix);
        start = at + 1;
    }
    cr_text_append(html, start);
}

void cr_html_svg(cr_text *html, const char *svg, const char *prefix, const char *class_name,
                 const char *description)
{
    /* The XML declaration and the fixed size go; the viewBox and the style sheet give the size. */
    const char *start = strstr(svg, "<svg");
    const char *box = start != NULL ? strstr(start, "viewBox=") : NULL;
    const char *body = box != NULL ? strchr(box, '>') : NULL;
    if (body == NULL) {
        cr_error_set(CR_ERROR_FORMAT, "report: cairo wrote an SVG without a viewBox");
        return;
    }
    const char *box_end = strchr(box + strlen("viewBox=\""), '"');
    cr_text_printf(html, "<svg class=\"%s\" role=\"img\" aria-label=\"", class_name);
    cr_html_text(html, description);
    cr_text_printf(html,
                   "\" xmlns=\"http://www.w3.org/2000/svg\" "
                   "xmlns:xlink=\"http://www.w3.org/1999/xlink\" %.*s\"",
                   (int)(box_end - box), box);
    append_with_prefix(html, body, prefix);
}
