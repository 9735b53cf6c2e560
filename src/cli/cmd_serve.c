/* `cresset serve`: gives trained models to programs and people over HTTP until it is stopped. */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cli.h"
#include "cresset/serve.h"
#include "cresset/thread.h"

#define MOST_MODELS   256
#define DRAIN_SECONDS 30

typedef struct serve_settings {
    const char *host, *api_key_file, *tls_cert, *tls_key, *access_log;
    int64_t port, max_batch, queue, threads, max_body, connections;
    double max_delay, client_timeout, reload_interval;
    bool no_auth;
} serve_settings;

static const cli_option serve_options[] = {
    { "host", 0, "Address", TEXT(serve_settings, host), "ADDRESS", "127.0.0.1",
      "where to listen; an address that others can reach needs --api-key-file or --no-auth" },
    { "port", 0, "Address", INTEGER(serve_settings, port, 0, 65535), "N", "8000",
      "0 for any that is free" },
    { "api-key-file", 0, "Address", FILE_PATH(serve_settings, api_key_file), "FILE", NULL,
      "keys, one a line, of which each request must bring one" },
    { "no-auth", 0, "Address", FLAG(serve_settings, no_auth), NULL, NULL,
      "let anyone in who can reach the address" },
    { "tls-cert", 0, "Address", FILE_PATH(serve_settings, tls_cert), "FILE", NULL,
      "the certificate for HTTPS, in PEM" },
    { "tls-key", 0, "Address", FILE_PATH(serve_settings, tls_key), "FILE", NULL,
      "its private key, in PEM" },
    { "max-batch", 'b', "Work", INTEGER(serve_settings, max_batch, 1, 1024), "N", "16",
      "rows of waiting requests that are run at once" },
    { "max-delay-ms", 0, "Work", REAL(serve_settings, max_delay, 0, 60000), "MS", "0",
      "how long a request waits for others while the model is free" },
    { "queue", 0, "Work", INTEGER(serve_settings, queue, 1, 1 << 20), "N", "256",
      "requests that may wait for a model; more are answered with 503" },
    { "threads", 't', "Work", INTEGER(serve_settings, threads, 0, 1024), "N", "0",
      "threads to compute with, 0 for all" },
    { "reload-seconds", 0, "Work", REAL(serve_settings, reload_interval, 0, 86400), "S", "1",
      "how often to look whether a model's file has changed; 0 for never" },
    { "max-body", 0, "Limits", INTEGER(serve_settings, max_body, 1, (int64_t)1 << 32), "BYTES",
      "67108864", "the largest body of a request" },
    { "connections", 0, "Limits", INTEGER(serve_settings, connections, 2, 1 << 16), "N", "1024",
      "connections that may be open at once" },
    { "client-timeout", 0, "Limits", REAL(serve_settings, client_timeout, 0.1, 3600), "S", "30",
      "how long a request may take to come, and a connection may be idle" },
    { "access-log", 0, "Output", FILE_PATH(serve_settings, access_log), "FILE", "-",
      "where to append a line of JSON for each request; - is standard output" },
};

static const cli_example examples[] = {
    { "cresset serve runs/oct-001", "A trained model at http://127.0.0.1:8000:" },
    { "curl -T scan.jpeg http://127.0.0.1:8000/predictions/oct-001", "Ask it:" },
    { "cresset serve models/ --max-batch 32 --max-delay-ms 2",
      "All models of a folder, in larger batches:" },
    { "cresset serve oct/1=runs/oct-001 oct/2=runs/oct-007 --host 0.0.0.0 --api-key-file keys",
      "Two versions of one, for others, who need a key:" },
};

/* The log's stream is flushed when nothing was written for a while, not line by line. */
typedef struct access_log {
    FILE *stream;
    bool opened;
} access_log;

static void write_line(const char *line, void *context)
{
    access_log *log = context;
    fprintf(log->stream, "%s\n", line);
}

static bool open_log(access_log *log, const serve_settings *settings)
{
    log->stream = stdout;
    if (strcmp(settings->access_log, "-") != 0) {
        log->stream = fopen(settings->access_log, "ae");
        log->opened = log->stream != NULL;
    }
    if (!log->stream)
        cr_error_set(CR_ERROR_IO, "%s: %s", settings->access_log, strerror(errno));
    return log->stream != NULL;
}

static int say_start(const cr_server *server)
{
    int count = cr_server_ready_count(server);
    fprintf(stderr, "Serving %d model%s at %s; Ctrl-C ends it\n", count, count == 1 ? "" : "s",
            cr_server_url(server));
    return 0;
}

/* Sleeps until a signal asks to stop, and flushes the log now and then. */
static void wait_for_end(access_log *log)
{
    const struct timespec tick = { 0, 100000000 };
    while (!interrupted()) {
        nanosleep(&tick, NULL);
        fflush(log->stream);
    }
}

static int serve(const arguments *args, const serve_settings *settings, access_log *log)
{
    signal(SIGPIPE, SIG_IGN);
    interrupt_watch();
    cr_server *server =
        cr_server_start(.models = args->operands, .model_count = args->operand_count,
                        .host = settings->host, .port = (int)settings->port,
                        .api_key_file = settings->api_key_file, .no_auth = settings->no_auth,
                        .tls_cert = settings->tls_cert, .tls_key = settings->tls_key,
                        .max_batch = settings->max_batch, .max_delay = settings->max_delay / 1000,
                        .queue = settings->queue, .max_body = settings->max_body,
                        .connections = settings->connections, .threads = (int)settings->threads,
                        .client_timeout = settings->client_timeout,
                        .reload_interval =
                            settings->reload_interval > 0 ? settings->reload_interval : -1.0,
                        .log = write_line, .context = log);
    if (!server)
        return library_failure(args->command);
    say_start(server);
    wait_for_end(log);
    fprintf(stderr, "Ending: answering what has come\n");
    int64_t left = cr_server_stop(server, DRAIN_SECONDS);
    if (left > 0)
        return failure(args->command, "%lld requests were still waiting after %d seconds",
                       (long long)left, DRAIN_SECONDS);
    return STATUS_DONE;
}

static int run(const arguments *args)
{
    const serve_settings *settings = args->settings;
    access_log log = { 0 };
    if ((settings->tls_cert != NULL) != (settings->tls_key != NULL))
        return usage_error(args->command, "--tls-cert FILE and --tls-key FILE go together");
    if (!open_log(&log, settings))
        return library_failure(args->command);
    int status = serve(args, settings, &log);
    if (log.opened && fclose(log.stream) != 0 && status == STATUS_DONE)
        status = failure(args->command, "%s: %s", settings->access_log, strerror(errno));
    return status;
}

const cli_command serve_command = {
    .name = "serve",
    .summary = "Give trained models to programs and people over HTTP",
    .operands = "MODEL...",
    .description =
        "Speaks the Open Inference Protocol v2 (with binary tensors), TorchServe's /predictions, "
        "and Prometheus' /metrics, and shows a page to try the models at its address. Requests "
        "that wait together are run together.\n\nMODEL is a run directory, a file of weights that "
        "cresset train wrote, an ONNX file, or a folder of such (NAME.safetensors, NAME.onnx, "
        "NAME/ or NAME/VERSION/), and may be given a name: NAME=PATH or NAME/VERSION=PATH. When a "
        "file changes it is read again, and takes the old one's place once it has been read and "
        "run without fault.\n\n"
        "SIGTERM and Ctrl-C end the server: it answers what has come, for at most 30 seconds.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = serve_options,
    .option_count = COUNT_OF(serve_options),
    .settings_size = sizeof(serve_settings),
    .operand_minimum = 1,
    .operand_maximum = MOST_MODELS,
    .run = run,
};
