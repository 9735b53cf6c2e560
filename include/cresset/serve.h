/* A server that gives trained models to programs and people over HTTP. The component cresset_serve
 * (-lcresset_serve), which needs libmicrohttpd.
 *
 *     const char *models[] = { "runs/oct-001", "digits/2=best.safetensors" };
 *     cr_server *server = cr_server_start(.models = models, .model_count = 2, .port = 8000);
 *     …
 *     cr_server_stop(server, 30);
 *
 * Spoken are the Open Inference Protocol v2 over REST with its binary extension, TorchServe's
 * /ping, /predictions and /explanations, Prometheus' /metrics, and a page for people at "/". What
 * waits together for one model is run together. All functions are for one thread at a time. */
#ifndef CRESSET_SERVE_H
#define CRESSET_SERVE_H

#include <stdbool.h>
#include <stdint.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What one request may ask for; who asks for more is answered by a sentence that names the limit.
 */
#define CR_SERVE_MAX_HEADER   (16 << 10)          /* bytes of a request's line and header */
#define CR_SERVE_MAX_DEPTH    64                  /* nested arrays and objects of JSON */
#define CR_SERVE_MAX_VALUES   ((int64_t)4 << 20)  /* values in JSON; binary data have no such */
#define CR_SERVE_MAX_TENSORS  64                  /* inputs, and outputs, of a request */
#define CR_SERVE_MAX_ELEMENTS ((int64_t)16 << 20) /* of all inputs together */
#define CR_SERVE_MAX_PIXELS   ((int64_t)50 * 1000 * 1000) /* of a picture */
#define CR_SERVE_MAX_PARTS    64                          /* of a form */
#define CR_SERVE_MAX_MODELS   1024                        /* models and versions */

typedef struct cr_server cr_server;

/* Zero means the default in brackets. */
typedef struct cr_server_args {
    /* PATH, NAME=PATH or NAME/VERSION=PATH of a run directory, a file of weights or an ONNX
     * file, or PATH of a folder of such: NAME.safetensors, NAME.onnx, NAME/ and NAME/VERSION/. A
     * name is made of letters, digits,
     * '.', '_' and '-'; a version is a number [1]. Without a name it is that of the file or folder.
     * The words stay the caller's, and are read as long as the server lives. */
    const char *const *models;
    int model_count;
    const char *host; /* to listen at [127.0.0.1] */
    int port;         /* [any that is free] */
    /* A file with a key a line, one of which each request must bring. An address that others can
     * reach needs it, or no_auth. */
    const char *api_key_file;
    bool no_auth;
    const char *tls_cert, *tls_key; /* PEM files, for HTTPS */
    int64_t max_batch;              /* rows that run at once [16] */
    double max_delay;      /* seconds that a request waits for others while the model is free [0] */
    int64_t queue;         /* requests that wait for a model [256] */
    int64_t max_body;      /* bytes of a request's body [64 MiB] */
    int64_t connections;   /* open at once [1024] */
    int threads;           /* that compute [all processors] */
    double client_timeout; /* seconds for a request to come, and of a connection in idleness [30] */
    double reload_interval; /* seconds between two looks at the files of models [1]; negative: files
                             * are read again only when a client asks for it */
    /* Receives a line of JSON without its newline for each request, and for each model that is
     * read. Called from many threads, but never by two at once. May be NULL. */
    void (*log)(const char *line, void *context);
    void *context;
} cr_server_args;

/* Reads the models and serves from then on, on threads of its own. NULL with an error if a model
 * cannot be read or the address is not to be had. */
#define cr_server_start(...) cr_server_start_with((cr_server_args){ __VA_ARGS__ })
cr_server *cr_server_start_with(cr_server_args args);

/* "http://127.0.0.1:8000", and how many versions of models are ready. */
const char *cr_server_url(const cr_server *server);
int cr_server_ready_count(const cr_server *server);

/* Takes no new connections, answers what has come, and ends; what is still waiting after `seconds`
 * is answered with 503. Returns how many of these there were. NULL is legal. */
int64_t cr_server_stop(cr_server *server, double seconds);

#ifdef __cplusplus
}
#endif
#endif
