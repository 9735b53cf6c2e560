/* A list of findings: what an analysis of errors says, with the memory that its sentences, charts
 * and pictures need. */
#include <stdarg.h>
#include <stdio.h>

#include "cli.h"
#include "cresset/memory.h"

void *findings_keep(finding_list *list, void *block)
{
    if (!block)
        return NULL;
    if (list->kept_count == list->kept_room) {
        int room = list->kept_room ? 2 * list->kept_room : 32;
        void **grown = cr_resize(list->kept, (size_t)room, sizeof *grown);
        if (!grown) {
            cr_free(block);
            return NULL;
        }
        list->kept = grown;
        list->kept_room = room;
    }
    list->kept[list->kept_count++] = block;
    return block;
}

const char *findings_say(finding_list *list, const char *format, ...)
{
    char sentence[512];
    va_list values;
    va_start(values, format);
    vsnprintf(sentence, sizeof sentence, format, values);
    va_end(values);
    return findings_keep(list, cr_string_copy(sentence));
}

cr_report_finding *findings_add(finding_list *list, const char *question)
{
    if (list->count == FINDINGS_LIMIT) {
        cr_error_set(CR_ERROR_STATE, "analysis: more than %d findings", FINDINGS_LIMIT);
        return NULL;
    }
    list->items[list->count] = (cr_report_finding){ .question = question };
    return &list->items[list->count++];
}

void findings_free(finding_list *list)
{
    for (int i = 0; i < list->count; i++)
        free_mistakes((cr_report_mistake *)list->items[i].pictures, list->items[i].picture_count);
    for (int i = 0; i < list->kept_count; i++)
        cr_free(list->kept[i]);
    cr_free(list->kept);
    *list = (finding_list){ 0 };
}

static const char *const verdict_words[] = { "good", "watch", "bad" };

void findings_print(const finding_list *list)
{
    cr_text text = { 0 };
    int width = terminal_width(stdout);
    for (int i = 0; i < list->count; i++) {
        const cr_report_finding *f = &list->items[i];
        cr_text_printf(&text, "\n%s [%s]\n  ", f->question, verdict_words[f->verdict]);
        text_wrap(&text, f->answer, 2, 2, width);
        if (f->advice) {
            cr_text_append(&text, "\n  ");
            text_wrap(&text, f->advice, 2, 2, width);
        }
        cr_text_append(&text, "\n");
    }
    if (text.data)
        fputs(text.data, stdout);
    cr_text_free(&text);
}

json_t *findings_to_json(const finding_list *list)
{
    json_t *array = json_array();
    for (int i = 0; i < list->count; i++) {
        const cr_report_finding *f = &list->items[i];
        json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s?}", "question", f->question,
                                               "verdict", verdict_words[f->verdict], "answer",
                                               f->answer, "advice", f->advice));
    }
    return array;
}
