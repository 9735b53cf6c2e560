/* /metrics in Prometheus' text format: names of our own, and for dashboards that were made for
 * Triton its names. */
#include "cresset/system.h"
#include "serve/serve.h"

/* What stands before the values of one metric. */
static void put_title(cr_text *out, const char *name, const char *kind, const char *help)
{
    cr_text_printf(out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

/* One value for each version. */
static void put_each(cr_text *out, cr_server *server, const char *name, const char *kind,
                     const char *help, double (*value)(const model_version *version))
{
    put_title(out, name, kind, help);
    for (model_version *each = NULL; (each = repository_next(server, each));) {
        pthread_mutex_lock(&each->lock);
        cr_text_printf(out, "%s{model=\"%s\",version=\"%lld\"} %.17g\n", name, each->name,
                       (long long)each->version, value(each));
        pthread_mutex_unlock(&each->lock);
    }
}

/* ---- what is counted of a version ---- */

#define COUNTER(name, expression)                                                                  \
    static double name(const model_version *version)                                               \
    {                                                                                              \
        const version_counters *c = &version->counters;                                            \
        return (double)(expression);                                                               \
    }
COUNTER(succeeded, c->succeeded)
COUNTER(failed, c->failed + c->refused)
COUNTER(failed_for_real, c->failed - c->expired)
COUNTER(refused, c->refused)
COUNTER(expired, c->expired)
COUNTER(rows, c->rows)
COUNTER(batches, c->batches)
COUNTER(request_us, 1e6 * c->request_seconds)
COUNTER(queue_us, 1e6 * c->queue_seconds)
COUNTER(compute_us, 1e6 * c->compute_seconds)
COUNTER(compute_seconds, c->compute_seconds)
COUNTER(reloads, c->reloads)
COUNTER(failed_reloads, c->failed_reloads)
COUNTER(pending, c ? version->waiting : 0)
COUNTER(ready, c && version->runner ? 1 : 0)

static const struct {
    const char *name, *kind, *help;
    double (*value)(const model_version *version);
} metrics[] = {
    { "cresset_model_ready", "gauge", "1 if the version is loaded.", ready },
    { "cresset_model_loads_total", "counter", "Times that the version's file was read.", reloads },
    { "cresset_model_load_failures_total", "counter",
      "Times that it could not be read, and what was loaded stayed.", failed_reloads },
    { "cresset_requests_succeeded_total", "counter", "Requests that the model answered.",
      succeeded },
    { "cresset_requests_failed_total", "counter", "Requests that failed while it ran.",
      failed_for_real },
    { "cresset_requests_refused_total", "counter", "Requests refused because the queue was full.",
      refused },
    { "cresset_requests_expired_total", "counter", "Requests whose timeout was over in the queue.",
      expired },
    { "cresset_requests_waiting", "gauge", "Requests in the queue.", pending },
    { "cresset_rows_total", "counter", "Rows that were run.", rows },
    { "cresset_batches_total", "counter", "Batches that were run.", batches },
    { "cresset_compute_seconds_total", "counter", "Seconds in which batches ran.",
      compute_seconds },
    { "nv_inference_request_success", "counter", "Number of successful inference requests.",
      succeeded },
    { "nv_inference_request_failure", "counter", "Number of failed inference requests.", failed },
    { "nv_inference_count", "counter", "Number of inferences performed.", rows },
    { "nv_inference_exec_count", "counter", "Number of model executions performed.", batches },
    { "nv_inference_pending_request_count", "gauge", "Number of requests awaiting execution.",
      pending },
    { "nv_inference_request_duration_us", "counter",
      "Cumulative inference request duration in microseconds.", request_us },
    { "nv_inference_queue_duration_us", "counter",
      "Cumulative inference queuing duration in microseconds.", queue_us },
    { "nv_inference_compute_infer_duration_us", "counter",
      "Cumulative compute inference duration in microseconds.", compute_us },
};

/* ---- distributions ---- */

static void put_histogram(cr_text *out, const char *name, const model_version *version,
                          const histogram *h, const double *bounds)
{
    uint64_t below = 0;
    long long number = version->version;
    for (int i = 0; i < HISTOGRAM_BOUNDS; i++) {
        below += h->counts[i];
        cr_text_printf(out, "%s_bucket{model=\"%s\",version=\"%lld\",le=\"%g\"} %llu\n", name,
                       version->name, number, bounds[i], (unsigned long long)below);
    }
    cr_text_printf(out,
                   "%s_bucket{model=\"%s\",version=\"%lld\",le=\"+Inf\"} %llu\n"
                   "%s_sum{model=\"%s\",version=\"%lld\"} %.17g\n"
                   "%s_count{model=\"%s\",version=\"%lld\"} %llu\n",
                   name, version->name, number, (unsigned long long)h->count, name, version->name,
                   number, h->sum, name, version->name, number, (unsigned long long)h->count);
}

static void put_histograms(cr_text *out, cr_server *server)
{
    static const struct {
        const char *name, *help;
        size_t offset;
        const double *bounds;
    } all[] = {
        { "cresset_request_seconds", "Seconds from the arrival of a request to its answer.",
          offsetof(version_counters, request), latency_bounds },
        { "cresset_queue_seconds", "Seconds that a request waited for the model.",
          offsetof(version_counters, queue), latency_bounds },
        { "cresset_batch_rows", "Rows that ran together.", offsetof(version_counters, batch),
          batch_bounds },
    };
    for (int i = 0; i < SERVE_COUNT_OF(all); i++) {
        put_title(out, all[i].name, "histogram", all[i].help);
        for (model_version *each = NULL; (each = repository_next(server, each));) {
            pthread_mutex_lock(&each->lock);
            put_histogram(out, all[i].name, each,
                          (const histogram *)((const char *)&each->counters + all[i].offset),
                          all[i].bounds);
            pthread_mutex_unlock(&each->lock);
        }
    }
}

/* ---- the server ---- */

static void put_value(cr_text *out, const char *name, const char *kind, const char *help,
                      double value)
{
    put_title(out, name, kind, help);
    cr_text_printf(out, "%s %.17g\n", name, value);
}

static void put_server(cr_text *out, cr_server *server)
{
    put_title(out, "cresset_http_answers_total", "counter", "Answers by their status.");
    for (int i = 0; i < SERVE_STATUSES; i++) {
        uint64_t count = atomic_load(&server->statuses[i]);
        int status = serve_status_at(i);
        if (status && count > 0)
            cr_text_printf(out, "cresset_http_answers_total{status=\"%d\"} %llu\n", status,
                           (unsigned long long)count);
        else if (count > 0)
            cr_text_printf(out, "cresset_http_answers_total{status=\"other\"} %llu\n",
                           (unsigned long long)count);
    }
    put_value(out, "cresset_clients_gone_total", "counter",
              "Requests whose client went away before the answer.",
              (double)atomic_load(&server->dropped_clients));
    put_value(out, "cresset_clients_slow_total", "counter",
              "Connections closed because a request took too long to come.",
              (double)atomic_load(&server->slow_clients));
    put_value(out, "cresset_connections", "gauge", "Open connections.",
              (double)atomic_load(&server->open));
    put_value(out, "cresset_requests_active", "gauge", "Requests that are not answered yet.",
              (double)atomic_load(&server->active));
    put_value(out, "cresset_body_bytes", "gauge", "Bytes of the bodies that are being read.",
              (double)atomic_load(&server->body_bytes));
    put_value(out, "process_resident_memory_bytes", "gauge", "Resident memory in bytes.",
              (double)cr_process_memory());
    put_value(out, "cresset_up_seconds", "counter", "Seconds since the server began.",
              cr_clock_seconds() - server->started);
}

void handle_metrics(exchange *ex)
{
    cr_text *out = &ex->answer.body;
    put_server(out, ex->server);
    for (int i = 0; i < SERVE_COUNT_OF(metrics); i++)
        put_each(out, ex->server, metrics[i].name, metrics[i].kind, metrics[i].help,
                 metrics[i].value);
    put_histograms(out, ex->server);
    ex->answer.type = "text/plain; version=0.0.4; charset=utf-8";
}
