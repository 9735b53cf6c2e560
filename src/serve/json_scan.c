/* JSON of strangers. Before it is parsed into a tree, which takes many times its length, one pass
 * over its bytes counts how deep it is nested and how many values it has. The pass need not be
 * exact for what is no JSON, which the parser refuses. */
#include <string.h>

#include "serve/serve.h"

typedef struct scan {
    int64_t depth, deepest, values;
} scan;

/* The end of the string whose first quote was passed. */
static const char *skip_string(const char *at, const char *end)
{
    while (at < end && *at != '"')
        at += *at == '\\' && at + 1 < end ? 2 : 1;
    return at < end ? at + 1 : end;
}

static scan scan_text(const char *at, const char *end)
{
    scan s = { 0, 0, 1 };
    while (at < end) {
        char c = *at++;
        if (c == '"') {
            at = skip_string(at, end);
        } else if (c == '[' || c == '{') {
            s.depth++;
            s.deepest = s.depth > s.deepest ? s.depth : s.deepest;
            s.values++;
        } else if (c == ']' || c == '}') {
            s.depth--;
        } else if (c == ',') {
            s.values++;
        }
    }
    return s;
}

json_t *serve_parse_json(const char *text, size_t size, serve_answer *answer)
{
    scan found = scan_text(text, text + size);
    json_error_t where;
    if (found.deepest > CR_SERVE_MAX_DEPTH) {
        serve_refuse(answer, 400, "the JSON is nested %lld deep; the limit is %d",
                     (long long)found.deepest, CR_SERVE_MAX_DEPTH);
        return NULL;
    }
    if (found.values > CR_SERVE_MAX_VALUES) {
        serve_refuse(answer, 413,
                     "the JSON holds %lld values; the limit is %lld: send large tensors with the "
                     "binary extension",
                     (long long)found.values, (long long)CR_SERVE_MAX_VALUES);
        return NULL;
    }
    json_t *root = json_loadb(text, size, JSON_REJECT_DUPLICATES, &where);
    if (!root)
        serve_refuse(answer, 400, "the JSON cannot be read at line %d, column %d: %s", where.line,
                     where.column, where.text);
    return root;
}
