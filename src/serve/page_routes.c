/* The page for people, whose files are part of the program. It loads nothing from elsewhere, and
 * the browser is told to see to that. */
#include <string.h>

#include "serve/serve.h"

void page_add_headers(struct MHD_Response *response)
{
    http.add_response_header(response, "Content-Security-Policy",
                             "default-src 'none'; script-src 'self'; style-src 'self'; "
                             "img-src 'self' data: blob:; connect-src 'self'; base-uri 'none'; "
                             "form-action 'none'; frame-ancestors 'none'");
    http.add_response_header(response, "Referrer-Policy", "no-referrer");
    http.add_response_header(response, "Cache-Control", "no-cache");
}

void handle_page(exchange *ex)
{
    const char *name = ex->names[0] ? ex->names[0] : "index.html";
    for (const page_file *file = page_files; file->name; file++) {
        if (strcmp(file->name, name) != 0)
            continue;
        ex->answer.fixed = file->bytes;
        ex->answer.fixed_size = file->size;
        ex->answer.type = file->type;
        return;
    }
    serve_refuse(&ex->answer, 404, "there is nothing at /%.200s", name);
}
