/* Models by name and version, and the files that they come from. A file that has changed is read
 * whole and run once before it takes the place of what was read before; if that fails, what was
 * there stays and goes on serving. */
#include <string.h>
#include <sys/stat.h>

#include "cresset/memory.h"
#include "cresset/system.h"
#include "serve/serve.h"

/* ---- files ---- */

/* False if there is no such file. */
static bool take_stamp(const char *path, file_stamp *stamp)
{
    struct stat about;
    char *weights = model_run_weights(path);
    bool found = stat(weights ? weights : path, &about) == 0;
    cr_free(weights);
    *stamp = (file_stamp){ 0 };
    if (found)
        *stamp = (file_stamp){ about.st_size, (int64_t)about.st_ino, about.st_mtim };
    return found;
}

static bool is_same(const file_stamp *a, const file_stamp *b)
{
    return a->size == b->size && a->inode == b->inode && a->modified.tv_sec == b->modified.tv_sec &&
           a->modified.tv_nsec == b->modified.tv_nsec;
}

/* ---- versions ---- */

runner *version_runner(model_version *version)
{
    pthread_mutex_lock(&version->lock);
    runner *found = version->runner ? runner_retain(version->runner) : NULL;
    pthread_mutex_unlock(&version->lock);
    return found;
}

/* Puts a runner, or none, in the place of the one that is there. */
static void exchange_runner(model_version *version, runner *next, bool wanted)
{
    pthread_mutex_lock(&version->lock);
    runner *before = version->runner;
    version->runner = next;
    version->wanted = wanted;
    cr_free(version->reason);
    version->reason = NULL;
    version->counters.reloads += next != NULL;
    pthread_mutex_unlock(&version->lock);
    runner_release(before);
}

static void note_failure(model_version *version, const char *sentence)
{
    pthread_mutex_lock(&version->lock);
    version->wanted = true;
    cr_free(version->reason);
    version->reason = cr_string_copy(sentence);
    version->counters.failed_reloads++;
    bool serves = version->runner != NULL;
    pthread_mutex_unlock(&version->lock);
    log_event(version->server, serves ? "reload_failed" : "load_failed", version, sentence);
}

bool version_load(model_version *version)
{
    file_stamp before;
    take_stamp(version->path, &before);
    double began = cr_clock_seconds();
    runner *next = runner_load(version->path);
    version->tried = before;
    if (!next) {
        note_failure(version, cr_error_message());
        return false;
    }
    version->loaded = before;
    exchange_runner(version, next, true);
    char words[64];
    snprintf(words, sizeof words, "%.0f ms", 1e3 * (cr_clock_seconds() - began));
    log_event(version->server, "loaded", version, words);
    return true;
}

void version_unload(model_version *version)
{
    exchange_runner(version, NULL, false);
    log_event(version->server, "unloaded", version, NULL);
}

/* Reads a file again that has changed, once it stays as it is from one look to the next: who writes
 * it may be in the midst of that. */
static void look_at(model_version *version)
{
    file_stamp now;
    if (!take_stamp(version->path, &now) || is_same(&now, &version->tried))
        return;
    if (!is_same(&now, &version->seen)) {
        version->seen = now;
        return;
    }
    version_load(version);
    cr_error_clear();
}

/* ---- names ---- */

model_version *repository_next(cr_server *server, model_version *version)
{
    pthread_mutex_lock(&server->models_lock);
    model_version *next = version ? version->next : server->models;
    pthread_mutex_unlock(&server->models_lock);
    return next;
}

model_version *repository_find(cr_server *server, const char *name, const char *version)
{
    model_version *best = NULL;
    long long number = 0;
    bool best_ready = false;
    if (version && !cr_parse_int64(version, &number))
        return NULL;
    for (model_version *each = NULL; (each = repository_next(server, each));) {
        if (strcmp(each->name, name) != 0 || (version && each->version != number))
            continue;
        pthread_mutex_lock(&each->lock);
        bool ready = each->runner != NULL;
        pthread_mutex_unlock(&each->lock);
        if (!best || ready > best_ready || (ready == best_ready && each->version > best->version)) {
            best = each;
            best_ready = ready;
        }
    }
    return best;
}

model_version *repository_find_exactly(cr_server *server, const char *name, int64_t number)
{
    char version[24];
    snprintf(version, sizeof version, "%lld", (long long)number);
    return repository_find(server, name, version);
}

static void free_version(model_version *version)
{
    runner_release(version->runner);
    cr_free(version->counters.batches_of);
    cr_free(version->counters.batches_of_seconds);
    cr_free(version->name);
    cr_free(version->path);
    cr_free(version->reason);
    cr_free(version);
}

static model_version *new_version(cr_server *server, const char *name, int64_t number,
                                  const char *path)
{
    model_version *version = cr_alloc_zeroed(1, sizeof *version);
    if (!version)
        return NULL;
    version->server = server;
    version->version = number;
    version->name = cr_string_copy(name);
    version->path = cr_string_copy(path);
    if (version->name && version->path && version_start(version))
        return version;
    free_version(version);
    return NULL;
}

static bool comes_before(const model_version *a, const model_version *b)
{
    int order = strcmp(a->name, b->name);
    return order < 0 || (order == 0 && a->version < b->version);
}

bool repository_add_version(cr_server *server, const char *name, int64_t number, const char *path)
{
    if (server->model_count >= CR_SERVE_MAX_MODELS)
        return cr_error_set(CR_ERROR_ARGUMENT, "more than %d models and versions",
                            CR_SERVE_MAX_MODELS) == CR_OK;
    model_version *version = new_version(server, name, number, path);
    if (!version)
        return false;
    pthread_mutex_lock(&server->models_lock);
    model_version **at = &server->models;
    while (*at && comes_before(*at, version))
        at = &(*at)->next;
    version->next = *at;
    *at = version;
    server->model_count++;
    pthread_mutex_unlock(&server->models_lock);
    return version_load(version);
}

/* ---- while it serves ---- */

void repository_look(cr_server *server)
{
    for (model_version *each = NULL; (each = repository_next(server, each));) {
        pthread_mutex_lock(&each->lock);
        bool wanted = each->wanted;
        pthread_mutex_unlock(&each->lock);
        if (wanted)
            look_at(each);
    }
    for (int i = 0; i < server->args.model_count; i++) {
        model_folder_look(server, server->args.models[i]);
        cr_error_clear(); /* what was wrong with a new file stands in the log */
    }
}

void repository_free(cr_server *server)
{
    while (server->models) {
        model_version *first = server->models;
        server->models = first->next;
        version_end(first);
        free_version(first);
    }
}
