/* The server as a whole: its address, its threads, and its end. */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/system.h"
#include "serve/serve.h"

#define CONNECTION_MEMORY                                                                          \
    (48 << 10) /* bytes for the header of a request and what comes with it                         \
                */
#define MAX_PEM          ((size_t)1 << 20)
#define MAX_HTTP_THREADS 8
#define CHANGEOVER       0.15    /* seconds to learn of the end and leave */
#define TICK             5000000 /* nanoseconds */

static const int status_codes[] = {
#define STATUS_ENTRY(code) code,
    SERVE_STATUS_TABLE(STATUS_ENTRY)
};
_Static_assert(SERVE_COUNT_OF(status_codes) + 1 == SERVE_STATUSES, "and one for all others");

int serve_status_at(int index)
{
    return index < SERVE_COUNT_OF(status_codes) ? status_codes[index] : 0;
}

int serve_status_index(int status)
{
    int i = 0;
    while (i < SERVE_COUNT_OF(status_codes) && status_codes[i] != status)
        i++;
    return i;
}

/* ---- settings ---- */

static void take_defaults(cr_server_args *args)
{
    args->host = args->host ? args->host : "127.0.0.1";
    args->max_batch = args->max_batch ? args->max_batch : 16;
    args->queue = args->queue ? args->queue : 256;
    args->max_body = args->max_body ? args->max_body : (int64_t)64 << 20;
    args->connections = args->connections ? args->connections : 1024;
    args->client_timeout = args->client_timeout > 0 ? args->client_timeout : 30;
    args->reload_interval = args->reload_interval != 0 ? args->reload_interval : 1;
}

static bool check(const cr_server_args *args)
{
    if (args->model_count < 1)
        cr_error_set(CR_ERROR_ARGUMENT, "a server needs a model");
    else if (args->max_batch < 1 || args->max_batch > 1024)
        cr_error_set(CR_ERROR_ARGUMENT, "the largest batch is a number from 1 to 1024");
    else if (args->queue < 1 || args->max_body < 1 || args->connections < 1 || args->port < 0 ||
             args->port > 65535 || !(args->max_delay >= 0 && args->max_delay <= 60))
        cr_error_set(CR_ERROR_ARGUMENT, "a setting of the server is out of its range");
    else if ((args->tls_cert != NULL) != (args->tls_key != NULL))
        cr_error_set(CR_ERROR_ARGUMENT, "a certificate and its key go together");
    return !cr_failed();
}

static bool read_tls(cr_server *server)
{
    if (!server->args.tls_cert)
        return true;
    if (http.is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "HTTPS is not possible here: this libmicrohttpd was built without TLS; "
                            "put a proxy before the server") == CR_OK;
    server->certificate = cr_file_read(server->args.tls_cert, MAX_PEM, NULL);
    server->certificate_key = cr_file_read(server->args.tls_key, MAX_PEM, NULL);
    server->tls = true;
    return server->certificate && server->certificate_key;
}

/* ---- the address ---- */

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        uint32_t bits = ntohl(((const struct sockaddr_in *)address)->sin_addr.s_addr);
        return bits >> 24 == 127;
    }
    return IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)address)->sin6_addr);
}

static bool check_exposure(cr_server *server, const struct sockaddr *address)
{
    server->loopback = is_loopback(address);
    return server->loopback || server->keys.count > 0 || server->args.no_auth ||
           cr_error_set(CR_ERROR_ARGUMENT,
                        "others can reach %s: give --api-key-file FILE with the keys to let in, or "
                        "--no-auth to let anyone in",
                        server->args.host) == CR_OK;
}

static int try_address(const struct addrinfo *info)
{
    int on = 1, made = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC, info->ai_protocol);
    if (made < 0)
        return -1;
    setsockopt(made, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(made, info->ai_addr, info->ai_addrlen) == 0 && listen(made, SOMAXCONN) == 0)
        return made;
    int why = errno;
    close(made);
    errno = why;
    return -1;
}

static bool write_url(cr_server *server, int made)
{
    struct sockaddr_storage own;
    socklen_t size = sizeof own;
    char host[NI_MAXHOST], port[NI_MAXSERV];
    if (getsockname(made, (struct sockaddr *)&own, &size) != 0 ||
        getnameinfo((struct sockaddr *)&own, size, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return false;
    bool six = own.ss_family == AF_INET6;
    server->url = cr_string_format("http%s://%s%s%s:%s", server->tls ? "s" : "", six ? "[" : "",
                                   host, six ? "]" : "", port);
    return server->url != NULL;
}

/* A socket that listens at the address; -1 with an error set. */
static int open_address(cr_server *server)
{
    const cr_server_args *args = &server->args;
    const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE };
    struct addrinfo *found = NULL;
    char port[16];
    snprintf(port, sizeof port, "%d", args->port);
    int failed = getaddrinfo(args->host, port, &hints, &found), made = -1;
    if (failed)
        cr_error_set(CR_ERROR_IO, "the address %s: %s", args->host, gai_strerror(failed));
    else if (check_exposure(server, found->ai_addr) && (made = try_address(found)) < 0)
        cr_error_set(CR_ERROR_IO, "the server cannot listen at %s port %s: %s", args->host, port,
                     strerror(errno));
    if (found)
        freeaddrinfo(found);
    if (made >= 0 && !write_url(server, made)) {
        close(made);
        made = -1;
    }
    return made;
}

/* ---- the daemon ---- */

static unsigned http_threads(const cr_server *server)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    long threads = processors < 2                  ? 2
                   : processors > MAX_HTTP_THREADS ? MAX_HTTP_THREADS
                                                   : processors;
    return (unsigned)(threads < server->args.connections ? threads : server->args.connections);
}

static bool start_daemon(cr_server *server, int listening)
{
    const cr_server_args *args = &server->args;
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ITC |
                     (server->tls ? MHD_USE_TLS : 0);
    struct MHD_OptionItem options[] = {
        { MHD_OPTION_LISTEN_SOCKET, listening, NULL },
        { MHD_OPTION_THREAD_POOL_SIZE, http_threads(server), NULL },
        { MHD_OPTION_CONNECTION_LIMIT, (intptr_t)args->connections, NULL },
        { MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_MEMORY, NULL },
        { MHD_OPTION_CONNECTION_TIMEOUT, (intptr_t)(args->client_timeout + 0.999), NULL },
        { MHD_OPTION_NOTIFY_COMPLETED, (intptr_t)connection_completed, server },
        { MHD_OPTION_NOTIFY_CONNECTION, (intptr_t)client_notify, server },
        { MHD_OPTION_URI_LOG_CALLBACK, (intptr_t)client_see_request, server },
        { server->tls ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, server->certificate },
        { server->tls ? MHD_OPTION_HTTPS_MEM_KEY : MHD_OPTION_END, 0, server->certificate_key },
        { MHD_OPTION_END, 0, NULL },
    };
    server->daemon = http.start_daemon(flags, 0, NULL, NULL, connection_handle, server,
                                       MHD_OPTION_ARRAY, options, MHD_OPTION_END);
    if (!server->daemon)
        cr_error_set(CR_ERROR_STATE, "the server's threads could not be started%s",
                     server->tls ? ", or the certificate and its key are not PEM files that belong "
                                   "together"
                                 : "");
    return server->daemon != NULL;
}

static void init_locks(cr_server *server)
{
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&server->task_came, &monotonic);
    pthread_condattr_destroy(&monotonic);
    pthread_mutex_init(&server->log_lock, NULL);
    pthread_mutex_init(&server->models_lock, NULL);
    pthread_mutex_init(&server->task_lock, NULL);
    pthread_mutex_init(&server->client_lock, NULL);
}

static bool read_models(cr_server *server)
{
    bool good = true;
    for (int i = 0; good && i < server->args.model_count; i++)
        good = repository_add(server, server->args.models[i]);
    return good;
}

static void free_server(cr_server *server)
{
    repository_free(server);
    keys_free(&server->keys);
    cr_free(server->certificate);
    cr_free(server->certificate_key);
    cr_free(server->url);
    cr_free(server);
}

cr_server *cr_server_start_with(cr_server_args args)
{
    take_defaults(&args);
    cr_server *server = !cr_failed() && check(&args) ? cr_alloc_zeroed(1, sizeof *server) : NULL;
    if (!server)
        return NULL;
    server->args = args;
    server->started = cr_clock_seconds();
    init_locks(server);
    int listening = -1;
    bool good = http_library_load() &&
                (!args.api_key_file || keys_read(&server->keys, args.api_key_file)) &&
                read_tls(server) && (listening = open_address(server)) >= 0 &&
                read_models(server) && librarian_start(server) && watchman_start(server) &&
                start_daemon(server, listening);
    if (good)
        return server;
    if (listening >= 0)
        close(listening);
    atomic_store(&server->stops, true);
    librarian_end(server);
    watchman_end(server);
    free_server(server);
    return NULL;
}

const char *cr_server_url(const cr_server *server)
{
    return server->url;
}

int cr_server_ready_count(const cr_server *server)
{
    int count = 0;
    for (model_version *each = NULL; (each = repository_next((cr_server *)server, each));) {
        runner *r = version_runner(each);
        count += r != NULL;
        runner_release(r);
    }
    return count;
}

/* ---- the end ---- */

static void wait_a_tick(void)
{
    const struct timespec tick = { 0, TICK };
    nanosleep(&tick, NULL);
}

/* Waits until nothing is to be answered any more, and for a moment longer: a client whose
 * connection is kept open may just be sending. */
static bool wait_for_silence(cr_server *server, double until)
{
    double silent_since = 0;
    for (;;) {
        double now = cr_clock_seconds();
        bool silent = atomic_load(&server->active) == 0;
        if (!silent)
            silent_since = 0;
        else if (silent_since == 0)
            silent_since = now;
        if (silent && (atomic_load(&server->open) == 0 || now - silent_since > CHANGEOVER))
            return true;
        if (now > until)
            return false;
        wait_a_tick();
    }
}

int64_t cr_server_stop(cr_server *server, double seconds)
{
    if (!server)
        return 0;
    double until = cr_clock_seconds() + seconds;
    int64_t given_up = 0;
    log_event(server, "draining", NULL, NULL);
    atomic_store(&server->draining, true); /* answers say now that the connection ends with them */
    for (model_version *each = NULL; (each = repository_next(server, each));)
        version_hurry(each);
    for (double begun = cr_clock_seconds(); cr_clock_seconds() - begun < CHANGEOVER;)
        wait_a_tick(); /* those that have knocked are let in */
    int listening = http.quiesce_daemon(server->daemon);
    if (listening >= 0)
        close(listening);
    if (!wait_for_silence(server, until)) {
        for (model_version *each = NULL; (each = repository_next(server, each));)
            given_up += version_give_up(each);
        wait_for_silence(server, cr_clock_seconds() + seconds);
    }
    atomic_store(&server->stops, true);
    librarian_end(server);
    for (model_version *each = NULL; (each = repository_next(server, each));)
        version_end(each);
    http.stop_daemon(server->daemon);
    watchman_end(server);
    log_event(server, "ended", NULL, NULL);
    free_server(server);
    return given_up;
}
