/* Slow clients. libmicrohttpd closes a connection on which nothing moves; one that sends a byte now
 * and then would stay for ever. So each connection is written down with what it is waiting for, and
 * a thread closes those whose header takes longer than the timeout, or whose body falls behind a
 * least rate. */
#include <string.h>
#include <sys/socket.h>

#include "cresset/memory.h"
#include "cresset/system.h"
#include "serve/serve.h"

#define LEAST_RATE (16 * 1024.0) /* bytes a second of a body, after the timeout */
#define INTERVAL   100000000     /* nanoseconds between two looks */

static void add_client(cr_server *server, struct MHD_Connection *connection, void **context)
{
    const union MHD_ConnectionInfo *info =
        http.get_connection_info(connection, MHD_CONNECTION_INFO_CONNECTION_FD);
    client *who = info ? cr_alloc_zeroed(1, sizeof *who) : NULL;
    cr_error_clear();
    *context = who;
    atomic_fetch_add(&server->open, 1);
    if (!who)
        return;
    who->socket = info->connect_fd;
    atomic_init(&who->since, cr_clock_seconds());
    pthread_mutex_lock(&server->client_lock);
    who->next = server->clients;
    who->link = &server->clients;
    if (who->next)
        who->next->link = &who->next;
    server->clients = who;
    pthread_mutex_unlock(&server->client_lock);
}

static void remove_client(cr_server *server, client *who)
{
    atomic_fetch_sub(&server->open, 1);
    if (!who)
        return;
    pthread_mutex_lock(&server->client_lock);
    *who->link = who->next;
    if (who->next)
        who->next->link = who->link;
    pthread_mutex_unlock(&server->client_lock);
    cr_free(who);
}

void client_notify(void *context, struct MHD_Connection *connection, void **socket_context,
                   enum MHD_ConnectionNotificationCode code)
{
    if (code == MHD_CONNECTION_NOTIFY_STARTED) {
        add_client(context, connection, socket_context);
    } else {
        remove_client(context, *socket_context);
        *socket_context = NULL;
    }
}

void *client_see_request(void *context, const char *uri, struct MHD_Connection *connection)
{
    (void)context;
    (void)uri;
    const union MHD_ConnectionInfo *info =
        http.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    client *who = info ? info->socket_context : NULL;
    if (who)
        atomic_store(&who->stage, CLIENT_HEADER);
    return NULL;
}

static bool is_too_slow(const cr_server *server, client *who, int stage)
{
    double time = cr_clock_seconds() - atomic_load(&who->since);
    if (stage == CLIENT_SERVED)
        return false;
    if (stage == CLIENT_BODY)
        time -= (double)atomic_load(&who->received) / LEAST_RATE;
    return time > server->args.client_timeout;
}

/* Says why, where that can be said in the midst of a request, and closes. */
static void close_client(cr_server *server, client *who, int stage)
{
    char text[512], body[256];
    snprintf(body, sizeof body,
             "{\"error\": \"the %s took longer than the limit of %g seconds%s\"}\n",
             stage == CLIENT_BODY ? "body of the request" : "header of the request",
             server->args.client_timeout,
             stage == CLIENT_BODY ? " and fell behind 16384 bytes a second" : "");
    snprintf(text, sizeof text,
             "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/json\r\n"
             "Content-Length: %lld\r\nConnection: close\r\n\r\n%s",
             (long long)strlen(body), body);
    if (stage != CLIENT_IDLE && !server->tls)
        send(who->socket, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
    shutdown(who->socket, SHUT_RDWR);
    if (stage != CLIENT_IDLE) {
        atomic_fetch_add(&server->slow_clients, 1);
        atomic_fetch_add(&server->statuses[serve_status_index(408)], 1);
    }
    atomic_store(&who->stage, CLIENT_SERVED); /* it is not closed twice */
}

static void *watch(void *context)
{
    cr_server *server = context;
    const struct timespec interval = { 0, INTERVAL };
    while (!atomic_load(&server->stops)) {
        nanosleep(&interval, NULL);
        pthread_mutex_lock(&server->client_lock);
        for (client *each = server->clients; each; each = each->next) {
            int stage = atomic_load(&each->stage);
            if (is_too_slow(server, each, stage))
                close_client(server, each, stage);
        }
        pthread_mutex_unlock(&server->client_lock);
    }
    return NULL;
}

bool watchman_start(cr_server *server)
{
    int failed = pthread_create(&server->watchman, NULL, watch, server);
    server->has_watchman = !failed;
    if (failed)
        cr_error_set(CR_ERROR_STATE, "no thread to watch connections: %s", strerror(failed));
    return !failed;
}

void watchman_end(cr_server *server)
{
    if (server->has_watchman)
        pthread_join(server->watchman, NULL);
    server->has_watchman = false;
}
