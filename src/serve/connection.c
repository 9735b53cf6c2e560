/* Requests as libmicrohttpd hands them over: the header, then the body piece by piece, then nothing
 * more, which is when it is answered; and once again when the connection that was suspended for the
 * answer is resumed. A refusal that is known before the body has come waits for its end, because a
 * client that is still sending would not read it; unless the client asked first (Expect), or the
 * body is out of all proportion. */
#include <string.h>
#include <strings.h>

#include "cresset/memory.h"
#include "cresset/system.h"
#include "cresset/tensor.h"
#include "cresset/thread.h"
#include "serve/serve.h"

#define FIRST_ROOM    4096
#define ENDURED_TIMES 4                  /* the limit of a body that is read to its end in vain */
#define BODY_MEMORY   ((int64_t)1 << 30) /* bytes of all bodies together */

const char *exchange_header(const exchange *ex, const char *name)
{
    return http.lookup_connection_value(ex->connection, MHD_HEADER_KIND, name);
}

const char *exchange_parameter(const exchange *ex, const char *name)
{
    return http.lookup_connection_value(ex->connection, MHD_GET_ARGUMENT_KIND, name);
}

/* ---- beginning and end ---- */

static void set_stage(client *who, client_stage stage)
{
    if (!who)
        return;
    atomic_store(&who->since, cr_clock_seconds());
    atomic_store(&who->stage, (int)stage);
}

static exchange *new_exchange(cr_server *server, struct MHD_Connection *connection,
                              const char *method, const char *url)
{
    exchange *ex = cr_alloc_zeroed(1, sizeof *ex);
    if (!ex)
        return NULL;
    const union MHD_ConnectionInfo *info =
        http.get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    ex->server = server;
    ex->connection = connection;
    ex->client = info ? info->socket_context : NULL;
    ex->arrived = cr_clock_seconds();
    ex->method = cr_string_copy(method);
    ex->url = cr_string_copy(url);
    atomic_fetch_add(&server->active, 1);
    if (ex->client)
        atomic_store(&ex->client->received, 0);
    set_stage(ex->client, CLIENT_BODY);
    return ex;
}

static void drop_body(exchange *ex)
{
    atomic_fetch_sub(&ex->server->body_bytes, ex->reserved);
    ex->reserved = 0;
    cr_free(ex->body);
    ex->body = NULL;
}

static void free_exchange(exchange *ex)
{
    drop_body(ex);
    job_free(ex->work);
    serve_answer_free(&ex->answer);
    json_decref(ex->outputs);
    for (int i = 0; i < ROUTE_NAMES; i++)
        cr_free(ex->names[i]);
    cr_free(ex->id);
    cr_free(ex->method);
    cr_free(ex->url);
    cr_free(ex);
}

void connection_completed(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_RequestTerminationCode code)
{
    (void)connection;
    cr_server *server = context;
    exchange *ex = *state;
    *state = NULL;
    if (!ex)
        return;
    bool gone = code != MHD_REQUEST_TERMINATED_COMPLETED_OK;
    if (gone)
        atomic_fetch_add(&server->dropped_clients, 1);
    if (ex->answer.status)
        atomic_fetch_add(&server->statuses[serve_status_index(ex->answer.status)], 1);
    log_request(ex, gone);
    set_stage(ex->client, CLIENT_IDLE);
    free_exchange(ex);
    atomic_fetch_sub(&server->active, 1);
}

/* ---- answers ---- */

static void add_headers(const exchange *ex, struct MHD_Response *response)
{
    const serve_answer *answer = &ex->answer;
    char length[24];
    http.add_response_header(response, "Content-Type",
                             answer->type ? answer->type : "application/json");
    http.add_response_header(response, "X-Content-Type-Options", "nosniff");
    if (answer->json_length > 0) {
        snprintf(length, sizeof length, "%lld", (long long)answer->json_length);
        http.add_response_header(response, "Inference-Header-Content-Length", length);
    }
    if (answer->allow)
        http.add_response_header(response, "Allow", answer->allow);
    if (answer->status == 503)
        http.add_response_header(response, "Retry-After", "1");
    if (answer->status == 401)
        http.add_response_header(response, "WWW-Authenticate", "Bearer");
    if (answer->fixed)
        page_add_headers(response);
    if (atomic_load(&ex->server->draining))
        http.add_response_header(response, "Connection", "close");
}

/* The answer stays with the exchange, which outlives the response. */
static enum MHD_Result send_answer(exchange *ex)
{
    const serve_answer *answer = &ex->answer;
    const void *bytes = answer->fixed ? answer->fixed : answer->body.data;
    size_t size = answer->fixed ? answer->fixed_size : answer->body.length;
    set_stage(ex->client, CLIENT_SERVED);
    drop_body(ex);
    struct MHD_Response *response =
        http.create_response_from_buffer(size, (void *)bytes, MHD_RESPMEM_PERSISTENT);
    if (!response)
        return MHD_NO;
    add_headers(ex, response);
    enum MHD_Result result =
        http.queue_response(ex->connection, (unsigned)answer->status, response);
    http.destroy_response(response);
    return result;
}

/* ---- the header ---- */

static bool header_is_small(exchange *ex)
{
    const union MHD_ConnectionInfo *info =
        http.get_connection_info(ex->connection, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    return !info || info->header_size <= CR_SERVE_MAX_HEADER ||
           serve_refuse(&ex->answer, 431,
                        "the header of the request has %lld bytes; the limit is %d",
                        (long long)info->header_size, CR_SERVE_MAX_HEADER);
}

static bool is_encoded(exchange *ex)
{
    const char *encoding = exchange_header(ex, "Content-Encoding");
    if (!encoding || strcasecmp(encoding, "identity") == 0)
        return false;
    serve_refuse(&ex->answer, 415, "the body is encoded (%.40s); send it plainly", encoding);
    return true;
}

/* The length that the header promises; -1: it tells none. */
static long long promised_length(const exchange *ex)
{
    long long length;
    const char *text = exchange_header(ex, "Content-Length");
    return text && cr_parse_int64(text, &length) ? length : -1;
}

static bool refuse_large(exchange *ex)
{
    return serve_refuse(&ex->answer, 413,
                        "the body is larger than the limit of %lld bytes (--max-body)",
                        (long long)ex->server->args.max_body);
}

/* Sets aside memory for a body of this many bytes in all. */
static bool reserve(exchange *ex, int64_t bytes)
{
    int64_t more = bytes - ex->reserved;
    if (more <= 0)
        return true;
    ex->reserved += more;
    if (atomic_fetch_add(&ex->server->body_bytes, more) + more <= BODY_MEMORY)
        return true;
    return serve_refuse(&ex->answer, 503,
                        "requests of %lld bytes are being read, which is the limit of all together",
                        (long long)BODY_MEMORY);
}

/* Looks at the header. True to answer at once. */
static bool begin(exchange *ex)
{
    long long length = promised_length(ex), limit = ex->server->args.max_body;
    if (header_is_small(ex)) {
        ex->route = route_find(ex, ex->method, ex->url);
        if (access_check(ex) && !is_encoded(ex) && length > limit)
            refuse_large(ex);
    }
    if (!ex->answer.status)
        return false;
    return exchange_header(ex, "Expect") || length > ENDURED_TIMES * limit ||
           (length <= 0 && !exchange_header(ex, "Transfer-Encoding"));
}

/* ---- the body ---- */

static bool make_room(exchange *ex, size_t needed)
{
    if (needed <= ex->room)
        return true;
    long long promised = promised_length(ex);
    size_t room = ex->room ? 2 * ex->room : FIRST_ROOM;
    if (promised > 0 && room > (size_t)promised)
        room = (size_t)promised;
    room = room < needed ? needed : room;
    if (!reserve(ex, (int64_t)room))
        return false;
    char *grown = cr_resize(ex->body, room, 1);
    if (!grown)
        return serve_refuse_error(&ex->answer, 503);
    ex->body = grown;
    ex->room = room;
    return true;
}

/* Takes a piece of the body. False to break off. */
static bool receive(exchange *ex, const char *data, size_t size)
{
    int64_t limit = ex->server->args.max_body;
    if (ex->client)
        atomic_fetch_add(&ex->client->received, (int64_t)size);
    if (!ex->answer.status && (int64_t)(ex->size + size) > limit)
        refuse_large(ex);
    if (!ex->answer.status && make_room(ex, ex->size + size)) {
        memcpy(ex->body + ex->size, data, size);
        ex->size += size;
        return true;
    }
    drop_body(ex);
    ex->dropped += (int64_t)size;
    return ex->dropped <= ENDURED_TIMES * limit;
}

/* ---- the answer that comes later ---- */

void exchange_resume(exchange *ex)
{
    ex->ready = true;
    http.resume_connection(ex->connection);
}

static void on_done(job *work, void *context)
{
    (void)work;
    exchange_resume(context);
}

void exchange_submit(exchange *ex, void (*finish)(exchange *ex))
{
    ex->finish = finish;
    ex->work->done = on_done;
    ex->work->context = ex;
    drop_body(ex);
    http.suspend_connection(ex->connection);
    if (!version_submit(ex->version, ex->work, &ex->answer))
        exchange_resume(ex);
}

void exchange_defer(exchange *ex, void (*task)(exchange *ex))
{
    cr_server *server = ex->server;
    pthread_mutex_lock(&server->task_lock);
    if (atomic_load(&server->stops)) {
        serve_refuse(&ex->answer, 503, "the server is ending");
    } else {
        ex->task = task;
        http.suspend_connection(ex->connection);
        *(server->last_task ? &server->last_task->next : &server->first_task) = ex;
        server->last_task = ex;
        pthread_cond_signal(&server->task_came);
    }
    pthread_mutex_unlock(&server->task_lock);
}

/* All has come: answers, or lets something be done first. */
static enum MHD_Result answer(exchange *ex)
{
    static _Thread_local bool prepared;
    if (!prepared)
        cr_set_num_threads(1); /* pictures are read beside others, not by all processors */
    prepared = true;
    if (!ex->begun && !ex->answer.status) {
        ex->begun = true;
        set_stage(ex->client, CLIENT_SERVED);
        ex->route->handle(ex);
        if (ex->finish || ex->task) {
            /* Another thread may have resumed it already, so it is not touched any more. */
            return MHD_YES;
        }
    }
    if (ex->ready && ex->finish && !ex->answer.status)
        ex->finish(ex);
    cr_frame_end_all();
    if (cr_failed())
        serve_refuse_error(&ex->answer, 500);
    if (!ex->answer.status)
        ex->answer.status = 200;
    return send_answer(ex);
}

enum MHD_Result connection_handle(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state)
{
    (void)version;
    exchange *ex = *state;
    if (!ex) {
        *state = ex = new_exchange(context, connection, method, url);
        if (!ex) {
            cr_error_clear();
            return MHD_NO;
        }
        return begin(ex) ? send_answer(ex) : MHD_YES;
    }
    if (*size > 0) {
        bool goes_on = receive(ex, data, *size);
        *size = 0;
        return goes_on ? MHD_YES : MHD_NO;
    }
    return answer(ex);
}
