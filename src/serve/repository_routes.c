/* The routes of the model repository: what there is, and to load and unload it. Models come from
 * the paths that the server was started with; a client can name no other. */
#include <string.h>

#include "cresset/memory.h"
#include "serve/serve.h"

/* ---- the index ---- */

static void put_entry(cr_text *out, model_version *version)
{
    pthread_mutex_lock(&version->lock);
    bool ready = version->runner != NULL;
    const char *state = ready ? "READY" : "UNAVAILABLE";
    const char *reason = version->reason ? version->reason : version->wanted ? "" : "unloaded";
    cr_text_append(out, "{\"name\": ");
    serve_put_string(out, version->name);
    cr_text_printf(out, ", \"version\": \"%lld\", \"state\": \"%s\", \"reason\": ",
                   (long long)version->version, state);
    serve_put_string(out, reason);
    cr_text_append(out, "}");
    pthread_mutex_unlock(&version->lock);
}

/* True if the body asks for models that are ready only. */
static bool wants_ready(exchange *ex)
{
    if (ex->size == 0)
        return false;
    json_t *root = serve_parse_json(ex->body, ex->size, &ex->answer);
    bool ready = json_is_true(json_object_get(root, "ready"));
    json_decref(root);
    return ready;
}

void handle_index(exchange *ex)
{
    bool only_ready = wants_ready(ex);
    if (ex->answer.status)
        return;
    cr_text *out = &ex->answer.body;
    const char *between = "";
    cr_text_append(out, "[");
    for (model_version *each = NULL; (each = repository_next(ex->server, each));) {
        runner *r = version_runner(each);
        if (r || !only_ready) {
            cr_text_append(out, between);
            put_entry(out, each);
            between = ", ";
        }
        runner_release(r);
    }
    cr_text_append(out, "]\n");
}

/* ---- loading ---- */

static void load_all(exchange *ex)
{
    for (model_version *each = NULL; (each = repository_next(ex->server, each));) {
        if (strcmp(each->name, ex->names[0]) != 0 || version_load(each))
            continue;
        serve_refuse_error(&ex->answer, 400);
        return;
    }
}

static void unload_all(exchange *ex)
{
    for (model_version *each = NULL; (each = repository_next(ex->server, each));)
        if (strcmp(each->name, ex->names[0]) == 0)
            version_unload(each);
}

/* Refuses what a model could be smuggled in with. */
static bool has_no_files(exchange *ex)
{
    if (ex->size == 0)
        return true;
    json_t *root = serve_parse_json(ex->body, ex->size, &ex->answer);
    const json_t *parameters = json_object_get(root, "parameters");
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)parameters, key, value)
    {
        if (strcmp(key, "config") == 0 || strncmp(key, "file:", 5) == 0)
            serve_refuse(&ex->answer, 501,
                         "the parameter \"%.60s\" is not supported: models come from the paths "
                         "that the server was started with",
                         key);
    }
    json_decref(root);
    return !ex->answer.status;
}

static void change_model(exchange *ex, void (*task)(exchange *ex))
{
    if (exchange_find_version(ex) && has_no_files(ex))
        exchange_defer(ex, task);
}

void handle_load(exchange *ex)
{
    change_model(ex, load_all);
}

void handle_unload(exchange *ex)
{
    change_model(ex, unload_all);
}
