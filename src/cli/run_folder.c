/* Run directories: where a new one goes, and what stands in one. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

#define MOST_RUNS 999999

char *make_run_folder(const char *parent, const char *name)
{
    if (cr_folder_make(parent) != CR_OK)
        return NULL;
    for (int number = 1; number <= MOST_RUNS; number++) {
        char *folder = cr_string_format("%s/%s-%03d", parent, name, number);
        if (!folder || mkdir(folder, 0777) == 0)
            return folder;
        int reason = errno;
        if (reason != EEXIST) {
            cr_error_set(CR_ERROR_IO, "%s could not be made: %s", folder, strerror(reason));
            cr_free(folder);
            return NULL;
        }
        cr_free(folder);
    }
    cr_error_set(CR_ERROR_IO, "%s holds too many runs named %s", parent, name);
    return NULL;
}

char *fold_folder(const char *folder, int fold)
{
    return cr_string_format("%s/fold-%d", folder, fold);
}

bool is_run_folder(const char *folder)
{
    char *path = cr_path_join(folder, "args.json");
    bool used = path && cr_file_exists(path);
    cr_free(path);
    return used;
}

/* A setting of a run from its args.json, a copy; NULL if there is none (no error is set). */
char *run_setting(const char *folder, const char *name)
{
    char *path = cr_path_join(folder, "args.json");
    json_t *settings = path && cr_file_exists(path) ? json_load_file(path, 0, NULL) : NULL;
    const char *value = json_string_value(json_object_get(settings, name));
    char *copy = value ? cr_string_copy(value) : NULL;
    json_decref(settings);
    cr_free(path);
    return copy;
}
