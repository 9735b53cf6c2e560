/* Lines of the log: one JSON object for each request, and for what happens to models. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "cresset/system.h"
#include "serve/serve.h"

/* Begins a line: {"time": "2026-01-31T12:00:00.123Z", "event": … */
static void begin(cr_text *line, const char *event)
{
    struct timespec now;
    struct tm parts;
    char text[32];
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
    cr_text_printf(line, "{\"time\": \"%s.%03dZ\", \"event\": \"%s\"", text,
                   (int)(now.tv_nsec / 1000000), event);
}

static void put_field(cr_text *line, const char *name, const char *value)
{
    if (!value)
        return;
    cr_text_printf(line, ", \"%s\": ", name);
    serve_put_string(line, value);
}

static void end(cr_server *server, cr_text *line)
{
    cr_text_append(line, "}");
    if (line->data) {
        pthread_mutex_lock(&server->log_lock);
        server->args.log(line->data, server->args.context);
        pthread_mutex_unlock(&server->log_lock);
    }
    cr_text_free(line);
}

static void put_client(cr_text *line, struct MHD_Connection *connection)
{
    const union MHD_ConnectionInfo *info =
        http.get_connection_info(connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    char text[INET6_ADDRSTRLEN] = "";
    if (!info)
        return;
    const struct sockaddr *address = info->client_addr;
    const void *bytes = address->sa_family == AF_INET6
                            ? (const void *)&((const struct sockaddr_in6 *)address)->sin6_addr
                            : (const void *)&((const struct sockaddr_in *)address)->sin_addr;
    if (inet_ntop(address->sa_family, bytes, text, sizeof text))
        put_field(line, "client", text);
}

static void put_job(cr_text *line, const job *work)
{
    cr_text_printf(line, ", \"rows\": %lld, \"batch_size\": %lld, \"queue_ms\": %.3f",
                   (long long)work->rows, (long long)work->batch, 1e3 * job_queue_seconds(work));
    if (work->computed > 0)
        cr_text_printf(line, ", \"compute_ms\": %.3f", 1e3 * work->computed);
}

void log_request(const exchange *ex, bool gone)
{
    cr_text line = { 0 };
    if (!ex->server->args.log)
        return;
    const serve_answer *answer = &ex->answer;
    begin(&line, "request");
    put_client(&line, ex->connection);
    put_field(&line, "method", ex->method);
    put_field(&line, "path", ex->url);
    cr_text_printf(&line, ", \"status\": %d, \"bytes_in\": %lld, \"bytes_out\": %lld, \"ms\": %.3f",
                   answer->status, (long long)((int64_t)ex->size + ex->dropped),
                   (long long)(answer->fixed ? answer->fixed_size : answer->body.length),
                   1e3 * (cr_clock_seconds() - ex->arrived));
    if (ex->version) {
        put_field(&line, "model", ex->version->name);
        cr_text_printf(&line, ", \"version\": %lld", (long long)ex->version->version);
    }
    if (ex->work)
        put_job(&line, ex->work);
    put_field(&line, "id", ex->id);
    put_field(&line, "error", answer->refusal);
    if (gone)
        cr_text_append(&line, ", \"client_gone\": true");
    end(ex->server, &line);
}

void log_event(cr_server *server, const char *event, const model_version *version,
               const char *words)
{
    cr_text line = { 0 };
    if (!server->args.log)
        return;
    begin(&line, event);
    if (version) {
        put_field(&line, "model", version->name);
        cr_text_printf(&line, ", \"version\": %lld", (long long)version->version);
        put_field(&line, "path", version->path);
    }
    put_field(&line, "words", words);
    end(server, &line);
}
