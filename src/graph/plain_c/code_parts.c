/* The functions that the written code is put together from. They stand in the *.c.in files of this
 * folder, which the build makes one text of: a function begins after a line "//@ NAME NEEDED…" that
 * names it and those that it calls. */
#include <string.h>

#include "graph/plain_c/plain_c.h"

#define PART_MARK "//@ "

extern const char plain_c_parts[];

static int count_parts(void)
{
    int count = 0;
    for (const char *at = strstr(plain_c_parts, PART_MARK); at; at = strstr(at + 1, "\n" PART_MARK))
        count++;
    return count;
}

cr_status parts_open(struct part_list *list)
{
    list->at = cr_alloc_array((size_t)count_parts(), sizeof *list->at);
    const char *at = strstr(plain_c_parts, PART_MARK);
    while (list->at && at) {
        struct part *part = &list->at[list->count++];
        part->names = at + strlen(PART_MARK);
        part->text = strchr(at, '\n') + 1;
        const char *next = strstr(part->text, "\n" PART_MARK);
        part->size = next ? (size_t)(next - part->text) + 1 : strlen(part->text);
        at = next ? next + 1 : NULL;
    }
    return cr_error_status();
}

static int find_word(const struct part_list *list, const char *word, size_t size)
{
    for (int i = 0; i < list->count; i++) {
        const char *names = list->at[i].names;
        if (strncmp(names, word, size) == 0 && strchr(" \n", names[size]))
            return i;
    }
    return -1;
}

static void want(const struct part_list *list, int part, bool *wanted)
{
    if (part < 0 || wanted[part])
        return;
    wanted[part] = true;
    const char *word = list->at[part].names + strcspn(list->at[part].names, " \n");
    while (*word == ' ') {
        word++;
        size_t size = strcspn(word, " \n");
        want(list, find_word(list, word, size), wanted);
        word += size;
    }
}

void parts_want(const struct part_list *list, const char *name, bool *wanted)
{
    int part = find_word(list, name, strlen(name));
    if (part < 0)
        cr_error_set(CR_ERROR_STATE, "there is no part %s of the code", name);
    want(list, part, wanted);
}

bool parts_has(const struct part_list *list, const char *name, const bool *wanted)
{
    int part = find_word(list, name, strlen(name));
    return part >= 0 && wanted[part];
}

void parts_print(const struct part_list *list, const bool *wanted, cr_text *text)
{
    for (int i = 0; i < list->count; i++) {
        if (!wanted[i])
            continue;
        const struct part *part = &list->at[i];
        size_t size = part->size;
        while (size > 0 && part->text[size - 1] == '\n')
            size--;
        cr_text_append(text, "\n");
        cr_text_append_bytes(text, part->text, size);
        cr_text_append(text, "\n");
    }
}
