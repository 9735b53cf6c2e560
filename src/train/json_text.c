/* JSON as text in our own memory. */
#include "cresset/memory.h"
#include "train/train_run.h"

static int append(const char *piece, size_t size, void *text)
{
    cr_text_append_bytes(text, piece, size);
    return 0;
}

char *json_text(json_t *value, size_t flags, const char *what)
{
    cr_text text = { 0 };
    if (!value || json_dump_callback(value, append, &text, flags) != 0)
        cr_error_set(CR_ERROR_MEMORY, "out of memory for %s", what);
    json_decref(value);
    if (cr_failed()) {
        cr_text_free(&text);
        return NULL;
    }
    return cr_text_take(&text);
}
