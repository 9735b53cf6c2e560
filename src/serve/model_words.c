/* What the server's words name: PATH, NAME=PATH, NAME/VERSION=PATH, where a path is a run
 * directory, a file of weights, or a folder of such. */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "serve/serve.h"

#define NAME_CHARACTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"
#define MAX_NAME        128

bool model_has_ending(const char *path, const char *ending)
{
    size_t length = strlen(path), tail = strlen(ending);
    return length > tail && strcmp(path + length - tail, ending) == 0;
}

static bool is_model_file(const char *path)
{
    return model_has_ending(path, ".safetensors") || model_has_ending(path, ".onnx");
}

char *model_run_weights(const char *folder)
{
    static const char *const names[] = { "weights/best.safetensors", "weights/last.safetensors" };
    for (int i = 0; i < SERVE_COUNT_OF(names); i++) {
        char *path = cr_path_join(folder, names[i]);
        if (!path || cr_file_exists(path))
            return path;
        cr_free(path);
    }
    return NULL;
}

/* The name in a path: "runs/oct-001/" is "oct-001", "nets/net 1.safetensors" is "net-1". */
static void name_of_path(const char *path, char name[MAX_NAME])
{
    char whole[PATH_MAX];
    const char *from = realpath(path, whole) ? whole : path;
    const char *slash = strrchr(from, '/');
    snprintf(name, MAX_NAME, "%.*s", MAX_NAME - 1, slash ? slash + 1 : from);
    char *dot = strrchr(name, '.');
    if (dot && dot > name && is_model_file(name))
        *dot = '\0';
    for (char *at = name; *at; at++)
        if (!strchr(NAME_CHARACTERS, *at))
            *at = '-';
    if (!name[0])
        snprintf(name, MAX_NAME, "model");
}

typedef bool (*entry_body)(cr_server *server, const char *path, void *context);

/* Calls body for what is in a folder, until it says false; hidden files are passed over. */
static bool for_each_in(const char *folder, entry_body body, cr_server *server, void *context)
{
    DIR *open_folder = opendir(folder);
    bool good = open_folder != NULL;
    if (!good)
        cr_error_set(CR_ERROR_IO, "%s: %s", folder, strerror(errno));
    for (struct dirent *each; good && (each = readdir(open_folder));) {
        if (each->d_name[0] == '.')
            continue;
        char *path = cr_path_join(folder, each->d_name);
        good = path && body(server, path, context);
        cr_free(path);
    }
    if (open_folder)
        closedir(open_folder);
    return good;
}

/* Keeps the first path, by its bytes, of a file of weights. */
static bool keep_file(cr_server *server, const char *path, void *context)
{
    (void)server;
    char **kept = context;
    if (!is_model_file(path) || (*kept && strcmp(*kept, path) <= 0))
        return true;
    cr_free(*kept);
    *kept = cr_string_copy(path);
    return *kept != NULL;
}

/* What a version's folder NAME/VERSION holds: a run, or a file of weights; to be freed. NULL if
 * neither. */
static char *file_in(const char *folder)
{
    char *found = model_run_weights(folder);
    if (found) {
        cr_free(found);
        return cr_string_copy(folder);
    }
    for_each_in(folder, keep_file, NULL, &found);
    return found;
}

/* NAME/VERSION in a folder of models. */
static bool add_numbered(cr_server *server, const char *path, void *context)
{
    const char *name = context;
    long long number;
    if (!cr_file_is_folder(path) || !cr_parse_int64(strrchr(path, '/') + 1, &number) ||
        number < 1 || repository_find_exactly(server, name, number))
        return true;
    char *file = file_in(path);
    bool good = !file || repository_add_version(server, name, number, file);
    cr_free(file);
    return good && !cr_failed();
}

/* What stands in a folder of models. */
static bool add_entry(cr_server *server, const char *path, void *context)
{
    (void)context;
    char name[MAX_NAME];
    bool folder = cr_file_is_folder(path);
    char *weights = folder ? model_run_weights(path) : NULL;
    bool one = weights || (!folder && is_model_file(path));
    cr_free(weights);
    name_of_path(path, name);
    if (!one)
        return !folder || for_each_in(path, add_numbered, server, name);
    return repository_find_exactly(server, name, 1) ||
           repository_add_version(server, name, 1, path);
}

static bool is_folder_of_models(const char *path)
{
    char *weights = cr_file_is_folder(path) ? model_run_weights(path) : NULL;
    bool run = weights != NULL;
    cr_free(weights);
    return cr_file_is_folder(path) && !run;
}

static bool add_path(cr_server *server, const char *path)
{
    char name[MAX_NAME];
    int before = server->model_count;
    if (!is_folder_of_models(path)) {
        name_of_path(path, name);
        return repository_find_exactly(server, name, 1)
                   ? cr_error_set(CR_ERROR_ARGUMENT,
                                  "two models are named %s; give one another name, as in NAME=%s",
                                  name, path) == CR_OK
                   : repository_add_version(server, name, 1, path);
    }
    if (!for_each_in(path, add_entry, server, NULL))
        return false;
    if (server->model_count == before)
        cr_error_set(
            CR_ERROR_IO,
            "%s holds no model: neither a run, nor a file NAME.safetensors or NAME.onnx, nor "
            "a folder "
            "NAME/VERSION with one",
            path);
    return !cr_failed();
}

/* NAME=PATH or NAME/VERSION=PATH, whose '=' is at `equals`. */
static bool add_named(cr_server *server, const char *word, const char *equals)
{
    char name[MAX_NAME];
    size_t length = (size_t)(equals - word), plain = strspn(word, NAME_CHARACTERS);
    long long number = 1;
    snprintf(name, sizeof name, "%.*s", (int)length, word);
    if (name[plain < sizeof name ? plain : 0] == '/') {
        if (!cr_parse_int64(name + plain + 1, &number) || number < 1)
            return cr_error_set(CR_ERROR_ARGUMENT, "the version in \"%s\" is no number from 1",
                                word) == CR_OK;
        name[plain] = '\0';
        length = plain;
    }
    if (length == 0 || length >= sizeof name || plain != length)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "the name of a model in \"%s\" is not made of letters, digits, '.', "
                            "'_' and '-'",
                            word) == CR_OK;
    if (repository_find_exactly(server, name, number))
        return cr_error_set(CR_ERROR_ARGUMENT, "version %lld of the model %s is given twice",
                            number, name) == CR_OK;
    return repository_add_version(server, name, number, equals + 1);
}

bool repository_add(cr_server *server, const char *word)
{
    const char *equals = strchr(word, '=');
    if (!cr_file_exists(word) && equals)
        return add_named(server, word, equals);
    return add_path(server, word);
}

void model_folder_look(cr_server *server, const char *word)
{
    if (is_folder_of_models(word))
        for_each_in(word, add_entry, server, NULL);
}
