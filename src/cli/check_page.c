/* The page of `cresset data check`: what was counted and found, with the pictures that it is about,
 * in one HTML file that needs nothing else. */
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/image_file.h"
#include "cresset/memory.h"

#define SHOWN      60  /* pairs of each kind */
#define SAMPLES    8   /* pictures of each class */
#define THUMB_SIDE 128 /* pixels of the longer side */
#define QUALITY    80

static const char style[] =
    ":root{color-scheme:light dark;--bg:#fff;--card:#f6f8fa;--text:#1f2328;--muted:#59636e;"
    "--line:#d9dee3;--wrong:#b8390e}"
    "@media(prefers-color-scheme:dark){:root{--bg:#15191f;--card:#1c222a;--text:#e6eaef;"
    "--muted:#9da7b3;--line:#333c47;--wrong:#ff9a73}}"
    "body{margin:0;background:var(--bg);color:var(--text);line-height:1.5;"
    "font-family:system-ui,\"DejaVu Sans\",sans-serif}"
    "main{max-width:1080px;margin:0 auto;padding:24px 20px 40px}"
    "h1{font-size:1.7rem;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:1.2rem;margin:40px 0 "
    "12px}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:6px 12px;border-bottom:1px solid var(--line);text-align:left}"
    "td+td,th+th{text-align:right}"
    ".row{display:flex;flex-wrap:wrap;gap:12px}figure{margin:0;max-width:280px}"
    ".pair{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:10px}"
    "img{max-width:128px;max-height:128px;border:1px solid var(--line);border-radius:4px;"
    "margin-right:6px}"
    "figcaption{font-size:.8125rem;color:var(--muted);overflow-wrap:anywhere}"
    ".wrong{color:var(--wrong);font-weight:600}li{margin:4px 0;overflow-wrap:anywhere}";

static void add_escaped(cr_text *html, const char *words)
{
    for (const char *c = words; *c; c++) {
        const char *entity = *c == '&'   ? "&amp;"
                             : *c == '<' ? "&lt;"
                             : *c == '>' ? "&gt;"
                             : *c == '"' ? "&quot;"
                                         : NULL;
        if (entity)
            cr_text_append(html, entity);
        else
            cr_text_append_bytes(html, c, 1);
    }
}

static void add_base64(cr_text *html, const char *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < count; i += 3) {
        unsigned group = 0;
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (i + j < count ? (unsigned char)bytes[i + j] : 0);
        char quad[4];
        for (size_t j = 0; j < 4; j++)
            quad[j] = i + j > count ? '=' : digits[group >> (18 - 6 * j) & 63];
        cr_text_append_bytes(html, quad, sizeof quad);
    }
}

/* A picture, made small, as an image inside the page; nothing if it cannot be read. */
static void add_picture(cr_text *html, const data_check *check, int64_t which)
{
    const checked_picture *picture = &check->pictures[which];
    cr_dataset *set = check->parts.parts[picture->part].set;
    cr_image image = { 0 };
    cr_text jpeg = { 0 };
    int64_t label;
    if (!picture->broken && cr_dataset_picture(set, picture->index, &image, &label) == CR_OK &&
        shrink_picture(&image, THUMB_SIDE) &&
        cr_image_encode_jpeg(&image, QUALITY, &jpeg) == CR_OK) {
        cr_text_printf(html,
                       "<img width=\"%lld\" height=\"%lld\" alt=\"\" "
                       "src=\"data:image/jpeg;base64,",
                       (long long)image.width, (long long)image.height);
        add_base64(html, jpeg.data, jpeg.length);
        cr_text_append(html, "\">");
    }
    cr_text_free(&jpeg);
    cr_image_free(&image);
}

static const char *label_of(const data_check *check, int64_t which)
{
    const checked_picture *picture = &check->pictures[which];
    if (picture->label < 0)
        return "no label";
    return cr_dataset_class_name(check->parts.parts[picture->part].set, (int)picture->label);
}

static void add_pairs(cr_text *html, const data_check *check, bool twins)
{
    char own[96], other[96];
    int64_t count = twins ? check->twins : check->alike, shown = 0;
    if (count == 0)
        return;
    cr_text_printf(html, "<h2>%s (%lld)</h2><div class=\"row\">",
                   twins ? "The same pixels" : "Nearly the same", (long long)count);
    /* Those across parts are worth the most. */
    for (int turn = 0; turn < 2; turn++) {
        for (int64_t i = 0; i < check->count && shown < SHOWN; i++) {
            int64_t first = twins ? check->pictures[i].twin : check->pictures[i].alike;
            if (first < 0 || (check->pictures[first].part == check->pictures[i].part) != turn)
                continue;
            bool differ = check->pictures[first].label != check->pictures[i].label;
            cr_text_append(html, "<figure class=\"pair\">");
            add_picture(html, check, first);
            add_picture(html, check, i);
            cr_text_append(html, "<figcaption>");
            add_escaped(html, checked_name(check, first, other));
            cr_text_append(html, "<br>");
            add_escaped(html, checked_name(check, i, own));
            cr_text_printf(html, "<br><span class=\"%s\">", differ ? "wrong" : "");
            add_escaped(html, label_of(check, first));
            if (differ) {
                cr_text_append(html, " and ");
                add_escaped(html, label_of(check, i));
            }
            cr_text_append(html, "</span></figcaption></figure>");
            shown++;
        }
    }
    cr_text_append(html, "</div>");
    if (count > shown)
        cr_text_printf(html, "<p>and %lld more</p>", (long long)(count - shown));
}

static void add_counts(cr_text *html, const data_check *check)
{
    cr_text_append(html, "<table><thead><tr><th>class</th>");
    for (int part = 0; part < check->parts.count; part++)
        cr_text_printf(html, "<th>%s</th>", check->parts.parts[part].name);
    cr_text_append(html, "</tr></thead><tbody>");
    for (int i = 0; i < check->classes; i++) {
        cr_text_append(html, "<tr><td>");
        add_escaped(html, cr_dataset_class_name(check->parts.parts[0].set, i));
        cr_text_append(html, "</td>");
        for (int part = 0; part < check->parts.count; part++)
            cr_text_printf(html, "<td>%lld</td>",
                           (long long)check->class_counts[part * (check->classes + 1) + i]);
        cr_text_append(html, "</tr>");
    }
    cr_text_append(html, "</tbody></table>");
}

/* The first pictures of each class of the first part. */
static void add_samples(cr_text *html, const data_check *check)
{
    cr_text_append(html, "<h2>Pictures</h2>");
    for (int class = 0; class < check->classes && class < 100; class ++) {
        int shown = 0;
        cr_text_append(html, "<p>");
        add_escaped(html, cr_dataset_class_name(check->parts.parts[0].set, class));
        cr_text_append(html, "</p><div class=\"row\">");
        for (int64_t i = 0; i < check->count && shown < SAMPLES; i++) {
            const checked_picture *picture = &check->pictures[i];
            if (picture->part == 0 && picture->label == class && !picture->broken) {
                add_picture(html, check, i);
                shown++;
            }
        }
        cr_text_append(html, "</div>");
    }
}

bool write_check_page(const data_check *check, const char *path)
{
    cr_text html = { 0 };
    cr_text_append(&html, "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta "
                          "name=\"viewport\" content=\"width=device-width\"><title>");
    add_escaped(&html, check->name);
    cr_text_printf(&html, "</title><style>%s</style></head><body><main><h1>", style);
    add_escaped(&html, check->name);
    cr_text_append(&html, "</h1><ul>");
    for (int i = 0; i < check->finding_count; i++) {
        cr_text_append(&html, "<li>");
        add_escaped(&html, check->findings[i]);
        cr_text_append(&html, "</li>");
    }
    cr_text_append(&html, "</ul><h2>Classes</h2>");
    add_counts(&html, check);
    if (check->broken > 0) {
        cr_text_printf(&html, "<h2>Broken (%lld)</h2><ul>", (long long)check->broken);
        for (int64_t i = 0; i < check->count; i++) {
            if (!check->pictures[i].broken)
                continue;
            cr_text_append(&html, "<li>");
            add_escaped(&html, check->pictures[i].broken);
            cr_text_append(&html, "</li>");
        }
        cr_text_append(&html, "</ul>");
    }
    add_pairs(&html, check, true);
    add_pairs(&html, check, false);
    add_samples(&html, check);
    cr_text_append(&html, "</main></body></html>\n");
    bool good = !cr_failed() && cr_file_replace(path, html.data, html.length) == CR_OK;
    cr_text_free(&html);
    return good;
}
