/* Forms with files: bodies of the type multipart/form-data (RFC 7578), of which one part is looked
 * for. The body lies in memory whole, so a part is a piece of it. */
#include <string.h>
#include <strings.h>

#include "serve/serve.h"

#define MAX_BOUNDARY 70 /* RFC 2046 */

/* The value of a parameter in a header such as `form-data; name="data"`, of at most room - 1 bytes;
 * false if there is none. */
static bool find_parameter(const char *header, size_t size, const char *name, char *value,
                           size_t room)
{
    size_t length = strlen(name);
    const char *end = header + size;
    for (const char *at = memchr(header, ';', size); at; at = memchr(at, ';', (size_t)(end - at))) {
        at++;
        while (at < end && (*at == ' ' || *at == '\t'))
            at++;
        if ((size_t)(end - at) <= length || strncasecmp(at, name, length) != 0 || at[length] != '=')
            continue;
        at += length + 1;
        bool quoted = at < end && *at == '"';
        at += quoted;
        const char *stop = at;
        while (stop < end && (quoted ? *stop != '"' : *stop != ';' && *stop != ' '))
            stop++;
        if ((size_t)(stop - at) >= room)
            return false;
        memcpy(value, at, (size_t)(stop - at));
        value[stop - at] = '\0';
        return true;
    }
    return false;
}

typedef struct piece {
    const char *start, *end;
} piece;

/* The first place of `word` in a piece, NULL if there is none. */
static const char *find(piece in, const char *word, size_t length)
{
    return memmem(in.start, (size_t)(in.end - in.start), word, length);
}

/* What a part's own header says: its name, and whether it is a file. */
typedef struct part_header {
    char name[128];
    bool is_file;
} part_header;

static part_header read_header(piece header)
{
    static const char key[] = "Content-Disposition:";
    part_header found = { 0 };
    for (const char *line = header.start; line < header.end;) {
        const char *stop = memmem(line, (size_t)(header.end - line), "\r\n", 2);
        stop = stop ? stop : header.end;
        size_t size = (size_t)(stop - line);
        char file[2];
        if (size > sizeof key && strncasecmp(line, key, sizeof key - 1) == 0) {
            find_parameter(line, size, "name", found.name, sizeof found.name);
            found.is_file = find_parameter(line, size, "filename", file, sizeof file) ||
                            memmem(line, size, "filename", 8);
        }
        line = stop + 2 < header.end ? stop + 2 : header.end;
    }
    return found;
}

/* The next part after a delimiter: its header and what it holds; moves `rest` behind the delimiter
 * that ends it. False if the body breaks off. */
static bool next_part(piece *rest, const char *delimiter, piece *header, piece *content)
{
    size_t length = strlen(delimiter);
    if (rest->end - rest->start < 2 || memcmp(rest->start, "\r\n", 2) != 0)
        return false;
    header->start = rest->start + 2;
    const char *blank = find(*rest, "\r\n\r\n", 4);
    if (!blank)
        return false;
    header->end = blank < header->start ? header->start : blank;
    content->start = blank + 4;
    const char *stop = find((piece){ blank + 2, rest->end }, delimiter, length);
    if (!stop)
        return false;
    content->end = stop < content->start ? content->start : stop;
    rest->start = stop + length;
    return true;
}

static bool find_part(piece rest, const char *delimiter, const char *name, piece *found,
                      serve_answer *answer)
{
    piece header, content;
    bool any = false;
    for (int parts = 0; rest.end - rest.start < 2 || memcmp(rest.start, "--", 2) != 0; parts++) {
        if (parts == CR_SERVE_MAX_PARTS)
            return serve_refuse(answer, 413, "the form has more parts than the limit of %d",
                                CR_SERVE_MAX_PARTS);
        if (!next_part(&rest, delimiter, &header, &content))
            return serve_refuse(answer, 400,
                                "the form breaks off: the boundary that ends a part is missing");
        part_header part = read_header(header);
        if (strcmp(part.name, name) == 0 || (part.is_file && !any)) {
            *found = content;
            any = true;
        }
        if (strcmp(part.name, name) == 0)
            return true;
    }
    return any || serve_refuse(answer, 400,
                               "the form has neither a part named \"%s\" nor a file: send one as "
                               "curl -F %s=@picture.jpg does",
                               name, name);
}

bool multipart_find(const char *type, const char *body, size_t size, const char *name,
                    const char **part, size_t *part_size, serve_answer *answer)
{
    char boundary[MAX_BOUNDARY + 1], delimiter[MAX_BOUNDARY + 5];
    piece all = { body, body + size }, found = { 0 };
    if (!find_parameter(type, strlen(type), "boundary", boundary, sizeof boundary) || !boundary[0])
        return serve_refuse(answer, 400,
                            "the form's Content-Type names no boundary of 1 to %d characters",
                            MAX_BOUNDARY);
    snprintf(delimiter, sizeof delimiter, "\r\n--%s", boundary);
    size_t length = strlen(delimiter);
    /* The first delimiter may stand at the very start, without its end of line. */
    if (size >= length - 2 && memcmp(body, delimiter + 2, length - 2) == 0) {
        all.start = body + length - 2;
    } else {
        const char *first = find(all, delimiter, length);
        if (!first)
            return serve_refuse(answer, 400,
                                "the form does not hold the boundary that its "
                                "Content-Type names");
        all.start = first + length;
    }
    if (!find_part(all, delimiter, name, &found, answer))
        return false;
    *part = found.start;
    *part_size = (size_t)(found.end - found.start);
    return true;
}
