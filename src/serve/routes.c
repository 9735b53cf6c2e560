/* Which address is answered by what. */
#include <string.h>

#include "cresset/memory.h"
#include "serve/serve.h"

#define MODEL   "v2/models/{}"
#define VERSION "v2/models/{}/versions/{}"

static const route routes[] = {
    { "GET, HEAD", "v2", handle_server, false },
    { "GET, HEAD", "v2/health/live", handle_live, true },
    { "GET, HEAD", "v2/health/ready", handle_ready, true },
    { "GET, HEAD", "v2/models/stats", handle_model_stats, false }, /* not a model's name */
    { "GET, HEAD", MODEL, handle_model, false },
    { "GET, HEAD", VERSION, handle_model, false },
    { "GET, HEAD", MODEL "/ready", handle_model_ready, false },
    { "GET, HEAD", VERSION "/ready", handle_model_ready, false },
    { "GET, HEAD", MODEL "/stats", handle_model_stats, false },
    { "GET, HEAD", VERSION "/stats", handle_model_stats, false },
    { "POST", MODEL "/infer", handle_infer, false },
    { "POST", VERSION "/infer", handle_infer, false },
    { "POST", "v2/repository/index", handle_index, false },
    { "POST", "v2/repository/models/{}/load", handle_load, false },
    { "POST", "v2/repository/models/{}/unload", handle_unload, false },
    { "GET, HEAD", "ping", handle_ping, true },
    { "POST, PUT", "predictions/{}", handle_predict, false },
    { "POST, PUT", "predictions/{}/{}", handle_predict, false },
    { "POST, PUT", "explanations/{}", handle_explain, false },
    { "POST, PUT", "explanations/{}/{}", handle_explain, false },
    { "GET, HEAD", "metrics", handle_metrics, false },
    { "GET, HEAD", "", handle_page, true },
    { "GET, HEAD", "{}", handle_page, true },
};

/* The length of the first segment of an address. */
static size_t segment(const char *url)
{
    return strcspn(url, "/");
}

/* True if the address is one of a route's; its names are kept in `starts` and `lengths`. */
static bool matches(const char *path, const char *url, const char *starts[ROUTE_NAMES],
                    size_t lengths[ROUTE_NAMES])
{
    int names = 0;
    for (;;) {
        size_t wanted = segment(path), given = segment(url);
        bool any = wanted == 2 && path[0] == '{';
        if (any ? given == 0 : wanted != given || memcmp(path, url, given) != 0)
            return false;
        if (any) {
            starts[names] = url;
            lengths[names++] = given;
        }
        path += wanted;
        url += given;
        if (!*path || !*url)
            return !*path && (!*url || !url[1]); /* one slash at the end is passed over */
        path++;
        url++;
    }
}

static bool take_names(exchange *ex, const char *const *starts, const size_t *lengths)
{
    for (int i = 0; i < ROUTE_NAMES && starts[i]; i++) {
        ex->names[i] = cr_string_format("%.*s", (int)lengths[i], starts[i]);
        if (!ex->names[i])
            return serve_refuse_error(&ex->answer, 503);
    }
    return true;
}

/* True if a method is in a list such as "GET, HEAD". */
static bool is_listed(const char *list, const char *method)
{
    size_t length = strlen(method);
    const char *at = length ? strstr(list, method) : NULL;
    return at && (at == list || at[-1] == ' ') && (at[length] == ',' || !at[length]);
}

const route *route_find(exchange *ex, const char *method, const char *url)
{
    const char *other = NULL;
    url += *url == '/';
    for (int i = 0; i < SERVE_COUNT_OF(routes); i++) {
        const char *starts[ROUTE_NAMES] = { NULL };
        size_t lengths[ROUTE_NAMES];
        if (!matches(routes[i].path, url, starts, lengths))
            continue;
        if (is_listed(routes[i].methods, method))
            return take_names(ex, starts, lengths) ? &routes[i] : NULL;
        other = other ? other : routes[i].methods;
    }
    if (other) {
        ex->answer.allow = other;
        serve_refuse(&ex->answer, 405, "/%.200s takes %s, not %.20s", url, other, method);
    } else {
        serve_refuse(&ex->answer, 404, "there is nothing at /%.200s", url);
    }
    return NULL;
}

/* ---- models in addresses ---- */

bool exchange_find_version(exchange *ex)
{
    ex->version = repository_find(ex->server, ex->names[0], ex->names[1]);
    if (ex->version)
        return true;
    bool known = repository_find(ex->server, ex->names[0], NULL) != NULL;
    return known ? serve_refuse(&ex->answer, 404, "the model %.100s has no version %.20s",
                                ex->names[0], ex->names[1])
                 : serve_refuse(&ex->answer, 404,
                                "there is no model %.100s; POST /v2/repository/index lists those "
                                "that there are",
                                ex->names[0]);
}

bool exchange_find_runner(exchange *ex, runner **found)
{
    *found = exchange_find_version(ex) ? version_runner(ex->version) : NULL;
    return *found ||
           serve_refuse(&ex->answer, 400, "version %lld of the model %s is not loaded",
                        (long long)(ex->version ? ex->version->version : 0), ex->names[0]);
}
