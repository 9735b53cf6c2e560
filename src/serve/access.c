/* Who may ask: keys, and requests that a browser was talked into sending. A server without keys is
 * for this machine only; there a page of another site could still reach it through the browser of
 * who sits here, so requests must come from the server's own page and call it by an address. */
#include <string.h>
#include <strings.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "serve/serve.h"

#define MIN_KEY      16 /* characters */
#define MAX_KEY      512
#define MAX_KEYS     1000
#define MAX_KEY_FILE ((size_t)1 << 20)

/* ---- keys ---- */

void keys_free(key_list *list)
{
    for (int i = 0; i < list->count; i++)
        cr_free(list->keys[i]);
    cr_free(list->keys);
    *list = (key_list){ 0 };
}

static bool add_key(key_list *list, const char *path, int line, const char *key, size_t length)
{
    if (length < MIN_KEY || length > MAX_KEY)
        cr_error_set(CR_ERROR_FORMAT, "%s:%d: a key has %d to %d characters, this one has %lld",
                     path, line, MIN_KEY, MAX_KEY, (long long)length);
    else if (list->count == MAX_KEYS)
        cr_error_set(CR_ERROR_FORMAT, "%s: more than %d keys", path, MAX_KEYS);
    else
        list->keys[list->count] = cr_string_format("%.*s", (int)length, key);
    if (cr_failed())
        return false;
    list->count++;
    return true;
}

bool keys_read(key_list *list, const char *path)
{
    char *text = cr_file_read(path, MAX_KEY_FILE, NULL);
    list->keys = text ? cr_alloc_zeroed(MAX_KEYS, sizeof(char *)) : NULL;
    int number = 1;
    for (char *line = text; list->keys && *line && !cr_failed(); number++) {
        size_t length = strcspn(line, "\n");
        char *key = line + strspn(line, " \t\r");
        line += length + (line[length] != '\0');
        length = strcspn(key, " \t\r\n");
        if (length > 0 && *key != '#')
            add_key(list, path, number, key, length);
    }
    cr_free(text);
    if (!cr_failed() && list->count == 0)
        cr_error_set(CR_ERROR_FORMAT,
                     "%s holds no key; put one on a line, such as the output of "
                     "openssl rand -hex 24",
                     path);
    return !cr_failed();
}

bool keys_admit(const key_list *list, const char *key)
{
    size_t given = strlen(key);
    unsigned admitted = 0;
    for (int i = 0; i < list->count; i++) {
        const char *own = list->keys[i];
        size_t length = strlen(own);
        volatile unsigned different = given != length;
        for (size_t k = 0; k < length; k++)
            different |= (unsigned)(own[k] ^ key[k < given ? k : 0]);
        admitted |= different == 0;
    }
    return admitted != 0;
}

static const char *key_of(const exchange *ex)
{
    const char *header = exchange_header(ex, "Authorization");
    if (header && strncasecmp(header, "Bearer ", 7) == 0)
        return header + 7 + strspn(header + 7, " ");
    return exchange_header(ex, "X-API-Key");
}

/* ---- browsers ---- */

/* True for "localhost" and addresses in numbers, with or without a port: no name that another could
 * point at this machine. */
static bool is_own_name(const char *host)
{
    if (host[0] == '[')
        return true;
    size_t length = strcspn(host, ":");
    bool numeric = strspn(host, "0123456789.") == length;
    return numeric || (length == 9 && strncasecmp(host, "localhost", 9) == 0);
}

/* True if a page of the server itself asks, or no page. */
static bool is_own_page(const char *origin, const char *host)
{
    const char *authority = strstr(origin, "://");
    return authority && host && strcasecmp(authority + 3, host) == 0;
}

bool access_check(exchange *ex)
{
    const cr_server *server = ex->server;
    const char *host = exchange_header(ex, "Host"), *origin = exchange_header(ex, "Origin");
    if (origin && strcmp(ex->method, "GET") != 0 && !is_own_page(origin, host))
        return serve_refuse(&ex->answer, 403,
                            "a page of %.100s asked for this; only the server's own page may",
                            origin);
    if (server->loopback && server->keys.count == 0 && host && !is_own_name(host))
        return serve_refuse(&ex->answer, 421,
                            "this server answers to localhost and to addresses in numbers, not to "
                            "\"%.100s\"; a proxy has to pass Host: localhost on",
                            host);
    if (server->keys.count == 0 || (ex->route && ex->route->open))
        return true;
    const char *key = key_of(ex);
    if (!key)
        return serve_refuse(&ex->answer, 401,
                            "this server wants a key: send it as \"Authorization: Bearer KEY\" or "
                            "\"X-API-Key: KEY\"");
    return keys_admit(&server->keys, key) ||
           serve_refuse(&ex->answer, 401, "the key is not one of this server's");
}
