/* What the files of the server share.
 *
 * A request is an `exchange` (connection.c). It is read by one of the threads of libmicrohttpd, and
 * its route (routes.c) answers it at once, or makes a `job` that waits in the queue of a model
 * version, or a task for the librarian, the thread that reads models; meanwhile the connection is
 * suspended. A version has a thread of its own (batching.c) that takes what waits, runs it together
 * on the version's `runner` (runner.c), and resumes the connections. */
#ifndef SERVE_H
#define SERVE_H

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <time.h>

#include <jansson.h>
#include <microhttpd.h>

#include "cresset/classifier.h"
#include "cresset/onnx.h"
#include "cresset/serve.h"
#include "cresset/text.h"

#define SERVE_COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

/* --- libmicrohttpd (http_library.c) ---------------------------------------------------------- */

/* The calls that are made of it, MHD_name; X(name). */
#define HTTP_CALL_TABLE(X)                                                                         \
    X(add_response_header)                                                                         \
    X(create_response_from_buffer)                                                                 \
    X(destroy_response)                                                                            \
    X(get_connection_info)                                                                         \
    X(is_feature_supported)                                                                        \
    X(lookup_connection_value)                                                                     \
    X(queue_response)                                                                              \
    X(quiesce_daemon)                                                                              \
    X(resume_connection)                                                                           \
    X(start_daemon)                                                                                \
    X(stop_daemon)                                                                                 \
    X(suspend_connection)

typedef struct http_calls {
#define HTTP_CALL_MEMBER(name) __typeof__(&MHD_##name) name;
    HTTP_CALL_TABLE(HTTP_CALL_MEMBER)
#undef HTTP_CALL_MEMBER
} http_calls;
extern http_calls http;

/* Fills it in; false with an error if the library is not there. */
bool http_library_load(void);

/* --- Answers (answer.c) --------------------------------------------------------------------- */

typedef struct serve_answer {
    int status; /* of HTTP; 0 while there is no answer */
    cr_text body;
    const void *fixed; /* a body that lives as long as the program, instead */
    size_t fixed_size;
    const char *type;    /* of the content; NULL: JSON */
    int64_t json_length; /* bytes of JSON before binary data; 0: no binary data */
    const char *allow;   /* the methods, of a 405 */
    char *refusal;       /* the sentence, for the log; NULL if it is none */
} serve_answer;

/* Makes the answer {"error": sentence}, unless it is a refusal already. Returns false. */
bool serve_refuse(serve_answer *answer, int status, const char *format, ...) CR_PRINTF(3, 4);

/* The same with the library's standing error, which is cleared: 503 if memory ran out, else
 * `status`. */
bool serve_refuse_error(serve_answer *answer, int status);
void serve_answer_free(serve_answer *answer);

/* Appends a quoted string of JSON, whatever its bytes, and a number, null if it is not finite. */
void serve_put_string(cr_text *out, const char *string);
void serve_put_number(cr_text *out, double value, int digits);

/* Bytes in base64. */
void serve_put_base64(cr_text *out, const void *bytes, size_t size);

/* --- Models that run (runner.c) -------------------------------------------------------------- */

typedef struct tensor_spec {
    char *name;
    cr_dtype dtype;
    cr_shape shape; /* -1: of any size; the first is the batch if the runner batches */
} tensor_spec;

/* A model as it was read from its file. Shared and never changed. */
typedef struct runner {
    atomic_int references;
    const char *platform;
    int input_count, output_count;
    tensor_spec *inputs, *outputs;
    bool batches;  /* any number of rows run together */
    cr_onnx *onnx; /* a model from an ONNX file, and its weights; or */
    cr_model *model;
    cr_classifier *classifier; /* a classifier of ours */
    /* Of what classifies pictures: else there are no classes. Outputs 0 and 1 are logits and
     * probabilities. */
    int class_count;
    char **class_names;
    char *architecture;
    cr_shape sample;                     /* (C, H, W) */
    cr_transform_list pictures, tensors; /* what is done to a picture, then to it as a tensor */
} runner;

/* Reads a model and runs it once. NULL with an error set. */
runner *runner_load(const char *path);
bool runner_open_onnx(runner *r, const char *path); /* its part for ONNX files (runner_onnx.c) */
runner *runner_retain(runner *r);
void runner_release(runner *r);

/* Takes over what a classifier's description says, which is JSON (cr_classifier_describe); false
 * with an error set. */
bool runner_describe(runner *r, const char *description);

/* Runs tensors of the specs' dtypes and shapes; the outputs belong to the frame. */
bool runner_run(const runner *r, cr_tensor *const *inputs, cr_tensor **outputs);

/* The sample (C, H, W) that a classifier makes of a picture, before what is done to tensors, and
 * that. */
bool runner_read_picture(const runner *r, const void *bytes, size_t size, float *sample);
void runner_finish_sample(const runner *r, float *sample);

/* Where a classifier looked for a class in a sample: a PNG that is painted over `seen`, the sample
 * as the first of these gave it. */
bool runner_explain(const runner *r, const float *sample, const float *seen, int64_t class,
                    cr_text *png);

/* --- Work that waits (batching.c) ----------------------------------------------------------- */

typedef struct tensor_value {
    cr_shape shape;
    void *data; /* contiguous, of the spec's dtype */
    size_t bytes;
} tensor_value;

typedef struct job {
    struct job *next;
    runner *runner;
    tensor_value *inputs, *outputs; /* as many as the runner has; outputs are made when they come */
    int64_t rows;                   /* 1 if the runner does not batch */
    int64_t taken, finished;        /* of the rows */
    bool explains;                  /* paint where it looked, */
    int64_t class;                  /* for this class; -1: for the most probable */
    float *seen;                    /* the picture to paint over */
    cr_text painted;
    char *unexplained;                        /* why it was not painted */
    double arrived, started, ended, deadline; /* of cr_clock_seconds; no deadline: 0 */
    double computed;                          /* seconds in which batches with it ran */
    int64_t batch;                            /* rows of the largest of these */
    int status;                               /* of HTTP, if it failed */
    char *refusal;
    void (*done)(struct job *job, void *context); /* called by the version's thread, once */
    void *context;
} job;

job *job_new(runner *r);
void job_free(job *work);
double job_queue_seconds(const job *work);

/* --- What is counted (counters.c) ------------------------------------------------------------ */

/* Counts of values up to bounds that the table in counters.c names. */
#define HISTOGRAM_BOUNDS 16
typedef struct histogram {
    uint64_t counts[HISTOGRAM_BOUNDS + 1];
    double sum;
    uint64_t count;
} histogram;

typedef struct version_counters {
    uint64_t succeeded, failed, refused, expired; /* requests; refused: the queue was full */
    uint64_t rows, batches;
    double request_seconds, queue_seconds, compute_seconds, failed_seconds;
    histogram request, queue, batch;
    uint64_t *batches_of;       /* how many batches had 1 … max_batch rows */
    double *batches_of_seconds; /* and how long they ran */
    uint64_t reloads, failed_reloads;
    double last_request; /* seconds since 1970 */
} version_counters;

extern const double latency_bounds[HISTOGRAM_BOUNDS], batch_bounds[HISTOGRAM_BOUNDS];
void histogram_add(histogram *h, const double *bounds, double value);

/* --- Models by name (repository.c) ----------------------------------------------------------- */

/* What tells that a file is another one. */
typedef struct file_stamp {
    int64_t size, inode;
    struct timespec modified;
} file_stamp;

typedef struct model_version {
    struct model_version *next;
    char *name, *path;
    int64_t version;
    cr_server *server;
    pthread_t thread;
    bool has_thread;
    pthread_mutex_t lock; /* of all below */
    pthread_cond_t changed;
    runner *runner; /* NULL: not loaded */
    bool wanted;    /* false after an unload */
    char *reason;   /* why the last reading failed; NULL if it did not */
    bool ends;
    job *first, *last; /* that wait */
    int64_t waiting, waiting_rows, running;
    version_counters counters;
    file_stamp loaded, tried, seen; /* touched by the librarian only */
} model_version;

/* Adds what one of the server's words names: PATH, NAME=PATH, NAME/VERSION=PATH; what is new in it,
 * if it is a folder of models (model_words.c). */
bool repository_add(cr_server *server, const char *word);
void model_folder_look(cr_server *server, const char *word);

/* The file of weights in a run directory, NULL if it is none; to be freed. */
char *model_run_weights(const char *folder);

/* True if a path ends so, and is longer. */
bool model_has_ending(const char *path, const char *ending);

/* Adds a version and reads it. */
bool repository_add_version(cr_server *server, const char *name, int64_t number, const char *path);

/* A version by its names, the highest if `version` is NULL. NULL if there is none. */
model_version *repository_find(cr_server *server, const char *name, const char *version);
model_version *repository_find_exactly(cr_server *server, const char *name, int64_t number);

/* The version after another in the order of names, the first after NULL; NULL at the end. */
model_version *repository_next(cr_server *server, model_version *version);

/* The runner of a version, retained; NULL if it is not loaded. */
runner *version_runner(model_version *version);

/* Reads the version's file; false with an error set, and what was loaded stays. */
bool version_load(model_version *version);
void version_unload(model_version *version);

/* Looks whether files have changed. */
void repository_look(cr_server *server);
void repository_free(cr_server *server);

/* Starts and ends the thread of a version; what waits is run first. When the server is draining
 * nobody need wait for company any more. */
bool version_start(model_version *version);
void version_hurry(model_version *version);
void version_end(model_version *version);

/* Puts a job into the queue; false with a refusal, if that is full. */
bool version_submit(model_version *version, job *work, serve_answer *answer);

/* Answers all that waits with 503; how many there were. */
int64_t version_give_up(model_version *version);

/* --- Requests (connection.c) ----------------------------------------------------------------- */

typedef struct exchange exchange;

typedef struct route {
    const char *methods, *path; /* "GET, HEAD"; "v2/models/{}/infer", braces are any segment */
    void (*handle)(exchange *ex);
    bool open; /* needs no key */
} route;

#define ROUTE_NAMES 2

struct exchange {
    cr_server *server;
    struct MHD_Connection *connection;
    struct client *client;
    const route *route;
    char *method, *url;
    char *names[ROUTE_NAMES]; /* what stands for the braces */
    char *body;
    size_t size, room;
    int64_t reserved;  /* of the server's memory for bodies */
    int64_t dropped;   /* bytes of a body that is not wanted */
    bool begun, ready; /* the route has begun; what it waited for has come */
    double arrived;
    serve_answer answer;
    /* What is waited for: a job, or a task of the librarian. */
    model_version *version;
    job *work;
    void (*task)(exchange *ex);
    exchange *next;
    void (*finish)(exchange *ex); /* makes the answer when it has come */
    json_t *outputs;              /* of an infer request: which are wanted, and how */
    char *id;
    bool binary; /* outputs are binary where nothing else is said */
    int64_t top; /* classes in the answer */
};

/* One open connection, for the watch over slow clients. */
typedef struct client {
    struct client *next, **link;
    int socket;
    atomic_int stage;              /* client_stage */
    _Atomic double since;          /* when that began */
    atomic_int_least64_t received; /* bytes of the body */
} client;

typedef enum client_stage { CLIENT_IDLE, CLIENT_HEADER, CLIENT_BODY, CLIENT_SERVED } client_stage;

/* A header, a parameter of the address; NULL if there is none. */
const char *exchange_header(const exchange *ex, const char *name);
const char *exchange_parameter(const exchange *ex, const char *name);

/* Hands the exchange's job to its version; suspends the connection until it is done. */
void exchange_submit(exchange *ex, void (*finish)(exchange *ex));

/* Lets the librarian run a task, and suspends the connection until it is done. */
void exchange_defer(exchange *ex, void (*task)(exchange *ex));
void exchange_resume(exchange *ex);

/* What libmicrohttpd calls for a request: piece by piece, and when it is done. */
enum MHD_Result connection_handle(void *context, struct MHD_Connection *connection, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *size, void **state);
void connection_completed(void *context, struct MHD_Connection *connection, void **state,
                          enum MHD_RequestTerminationCode code);

/* The same for connections that come and go, and when a request's first line has come; and the
 * thread that closes those that are too slow (watchman.c). */
void client_notify(void *context, struct MHD_Connection *connection, void **socket_context,
                   enum MHD_ConnectionNotificationCode code);
void *client_see_request(void *context, const char *uri, struct MHD_Connection *connection);
bool watchman_start(cr_server *server);
void watchman_end(cr_server *server);

/* The thread that reads models (librarian.c). */
bool librarian_start(cr_server *server);
void librarian_end(cr_server *server);

/* --- Parsing (json_scan.c, multipart.c, infer_request.c) ------------------------------------ */

/* JSON whose depth and number of values were checked first. NULL after a refusal. */
json_t *serve_parse_json(const char *text, size_t size, serve_answer *answer);

/* The part `name` of a body of multipart/form-data, else its first file. False after a refusal. */
bool multipart_find(const char *type, const char *body, size_t size, const char *name,
                    const char **part, size_t *part_size, serve_answer *answer);

/* What a request to infer says, apart from its tensors. */
typedef struct infer_request {
    job *work;
    char *id;        /* NULL: none */
    json_t *outputs; /* NULL: all */
    bool binary;
} infer_request;

/* Parses the body of a request to infer; `json_length` is that of the header of the binary
 * extension, -1 if it has none. False after a refusal. */
bool infer_parse(runner *r, const char *body, size_t size, int64_t json_length,
                 infer_request *request, serve_answer *answer);

/* The answer to one (infer_answer.c); the part of it that says what batch a job rode in; and the
 * class that follows `above` in the order of falling scores, the first after -1, -1 at the end. */
void infer_write(exchange *ex);
void infer_put_journey(cr_text *out, const job *work);
int64_t infer_next_rank(const float *scores, int64_t count, int64_t above);

/* The names of dtypes in the protocol: "FP32"; NULL where it has none. */
const char *infer_dtype_name(cr_dtype dtype);

/* --- Who may ask (access.c) ------------------------------------------------------------------ */

typedef struct key_list {
    char **keys;
    int count;
} key_list;

bool keys_read(key_list *list, const char *path);
void keys_free(key_list *list);

/* Compares in a time that does not tell how much of a key is right. */
bool keys_admit(const key_list *list, const char *key);

/* False after a refusal: no key, a page of another site, a name that is not this machine's. */
bool access_check(exchange *ex);

/* --- Lines of the log (access_log.c) --------------------------------------------------------- */

void log_request(const exchange *ex, bool gone);
void log_event(cr_server *server, const char *event, const model_version *version,
               const char *words);

/* --- Routes ---------------------------------------------------------------------------------- */

/* The route of a method and an address; NULL after a refusal. */
const route *route_find(exchange *ex, const char *method, const char *url);

/* protocol.c */
void handle_server(exchange *ex);
void handle_live(exchange *ex);
void handle_ready(exchange *ex);
void handle_model(exchange *ex);
void handle_model_ready(exchange *ex);
void handle_model_stats(exchange *ex);
void handle_infer(exchange *ex);
/* repository_routes.c */
void handle_index(exchange *ex);
void handle_load(exchange *ex);
void handle_unload(exchange *ex);
/* picture_routes.c */
void handle_ping(exchange *ex);
void handle_predict(exchange *ex);
void handle_explain(exchange *ex);
/* metrics_route.c, page_routes.c */
void handle_metrics(exchange *ex);
void handle_page(exchange *ex);

/* The version that the address names, and its runner, retained; false after a refusal. */
bool exchange_find_version(exchange *ex);
bool exchange_find_runner(exchange *ex, runner **found);

/* The files of the page, which the build puts into page_files.c. */
typedef struct page_file {
    const char *name, *type;
    const unsigned char *bytes;
    size_t size;
} page_file;
extern const page_file page_files[];
void page_add_headers(struct MHD_Response *response);

/* --- The server (server.c) ------------------------------------------------------------------- */

/* Statuses that are counted each for itself; X(code, reason). */
#define SERVE_STATUS_TABLE(X)                                                                      \
    X(200)                                                                                         \
    X(304)                                                                                         \
    X(400)                                                                                         \
    X(401)                                                                                         \
    X(403)                                                                                         \
    X(404)                                                                                         \
    X(405)                                                                                         \
    X(408)                                                                                         \
    X(413)                                                                                         \
    X(415)                                                                                         \
    X(421)                                                                                         \
    X(431)                                                                                         \
    X(500)                                                                                         \
    X(501)                                                                                         \
    X(503)                                                                                         \
    X(504)
#define SERVE_STATUSES 17 /* these, and all others */

struct cr_server {
    cr_server_args args;
    char *url;
    bool loopback, tls;
    char *certificate, *certificate_key;
    key_list keys;
    struct MHD_Daemon *daemon;
    double started;
    atomic_bool draining, stops;
    atomic_int_least64_t active;     /* requests that are not answered yet */
    atomic_int_least64_t open;       /* connections */
    atomic_int_least64_t body_bytes; /* that are held */
    atomic_uint_least64_t statuses[SERVE_STATUSES], dropped_clients, slow_clients;
    pthread_mutex_t log_lock;
    pthread_mutex_t models_lock; /* of the list, which only grows */
    model_version *models;
    int model_count;
    pthread_mutex_t task_lock;
    pthread_cond_t task_came;
    exchange *first_task, *last_task;
    pthread_t librarian, watchman;
    bool has_librarian, has_watchman;
    pthread_mutex_t client_lock;
    client *clients;
};

/* The index of a status in the table above. */
int serve_status_index(int status);
int serve_status_at(int index);

#endif
