/* libmicrohttpd, which is loaded when a server starts. Linked into the command it would bring
 * GnuTLS and what that needs along, which makes every call of every subcommand several milliseconds
 * longer; and a machine that serves nothing does without it. */
#include <dlfcn.h>

#include "serve/serve.h"

#define LIBRARY "libmicrohttpd.so.12"

http_calls http;

static const struct {
    const char *name;
    void **call;
} calls[] = {
#define HTTP_CALL_ENTRY(name) { "MHD_" #name, (void **)&http.name },
    HTTP_CALL_TABLE(HTTP_CALL_ENTRY)
};

bool http_library_load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "serving needs libmicrohttpd, which cannot be loaded (%s); Debian's "
                            "package is libmicrohttpd12",
                            dlerror()) == CR_OK;
    for (int i = 0; i < SERVE_COUNT_OF(calls); i++) {
        *calls[i].call = dlsym(library, calls[i].name);
        if (!*calls[i].call)
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "%s has no %s; a version from 0.9.75 on is "
                                "needed",
                                LIBRARY, calls[i].name) == CR_OK;
    }
    return true;
}
