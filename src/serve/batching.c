/* The queue of a model version and the thread that empties it. It takes the first job and whatever
 * fits beside it (the same runner, the same sizes but for the rows) up to the largest batch, waits
 * for more no longer than the first may be kept, and runs all of it at once. A job with more rows
 * than a batch rides in several. */
#include <string.h>

#include "cresset/memory.h"
#include "cresset/system.h"
#include "cresset/tensor.h"
#include "cresset/thread.h"
#include "serve/serve.h"

#define MAX_PIECES 1024 /* jobs of one batch */

job *job_new(runner *r)
{
    job *work = cr_alloc_zeroed(1, sizeof *work);
    if (!work)
        return NULL;
    work->runner = runner_retain(r);
    work->rows = 1;
    work->class = -1;
    work->inputs = cr_alloc_zeroed((size_t)r->input_count, sizeof *work->inputs);
    work->outputs = cr_alloc_zeroed((size_t)r->output_count, sizeof *work->outputs);
    if (work->inputs && work->outputs)
        return work;
    job_free(work);
    return NULL;
}

void job_free(job *work)
{
    if (!work)
        return;
    for (int i = 0; work->inputs && i < work->runner->input_count; i++)
        cr_free(work->inputs[i].data);
    for (int i = 0; work->outputs && i < work->runner->output_count; i++)
        cr_free(work->outputs[i].data);
    runner_release(work->runner);
    cr_free(work->inputs);
    cr_free(work->outputs);
    cr_free(work->seen);
    cr_text_free(&work->painted);
    cr_free(work->unexplained);
    cr_free(work->refusal);
    cr_free(work);
}

double job_queue_seconds(const job *work)
{
    return work->started > 0 ? work->started - work->arrived : work->ended - work->arrived;
}

/* ---- the queue ---- */

bool version_submit(model_version *version, job *work, serve_answer *answer)
{
    int64_t limit = version->server->args.queue;
    work->arrived = cr_clock_seconds();
    if (work->deadline > 0)
        work->deadline += work->arrived;
    pthread_mutex_lock(&version->lock);
    bool ends = version->ends, full = version->waiting >= limit;
    if (!ends && !full) {
        *(version->last ? &version->last->next : &version->first) = work;
        version->last = work;
        version->waiting++;
        version->waiting_rows += work->rows;
        pthread_cond_signal(&version->changed);
    } else {
        version->counters.refused++;
    }
    pthread_mutex_unlock(&version->lock);
    if (ends)
        return serve_refuse(answer, 503, "the server is ending");
    return !full || serve_refuse(answer, 503,
                                 "the queue of %s is full: %lld requests are waiting, which is the "
                                 "limit",
                                 version->name, (long long)limit);
}

/* Takes a job out of the queue, given the one before it (NULL: it is the first). */
static void unlink_job(model_version *version, job *before, job *work)
{
    *(before ? &before->next : &version->first) = work->next;
    if (version->last == work)
        version->last = before;
    version->waiting--;
    work->next = NULL;
}

static void count_job(model_version *version, const job *work)
{
    version_counters *c = &version->counters;
    double whole = work->ended - work->arrived;
    c->last_request = (double)time(NULL);
    if (work->status == 504)
        c->expired++;
    if (work->status) {
        c->failed++;
        c->failed_seconds += whole;
        return;
    }
    c->succeeded++;
    c->request_seconds += whole;
    c->queue_seconds += job_queue_seconds(work);
    histogram_add(&c->request, latency_bounds, whole);
    histogram_add(&c->queue, latency_bounds, job_queue_seconds(work));
}

/* Counts a list of jobs that are done, with the lock held, and then answers them without. Whose
 * turn has come belongs to another thread. */
static void finish_jobs(model_version *version, job *done)
{
    if (!done)
        return;
    double now = cr_clock_seconds();
    for (job *each = done; each; each = each->next) {
        each->ended = now;
        count_job(version, each);
    }
    pthread_mutex_unlock(&version->lock);
    while (done) {
        job *next = done->next;
        done->done(done, done->context);
        done = next;
    }
    pthread_mutex_lock(&version->lock);
}

static void fail_job(job *work, int status, const char *sentence)
{
    work->status = status;
    work->refusal = cr_string_copy(sentence);
}

static bool has_not_begun(const job *work)
{
    return work->taken == 0;
}

static bool is_expired(const job *work)
{
    return work->taken == 0 && work->deadline > 0 && work->deadline <= cr_clock_seconds();
}

/* Takes jobs that have not begun out of the queue; a list of them. */
static job *take_matching(model_version *version, bool (*matches)(const job *work))
{
    job *taken = NULL, *before = NULL;
    for (job *each = version->first, *next; each; each = next) {
        next = each->next;
        if (!matches(each)) {
            before = each;
            continue;
        }
        unlink_job(version, before, each);
        version->waiting_rows -= each->rows;
        each->next = taken;
        taken = each;
    }
    return taken;
}

/* Answers those whose time is up before they have begun; false if there are none. */
static bool fail_expired(model_version *version)
{
    job *expired = take_matching(version, is_expired);
    for (job *each = expired; each; each = each->next)
        fail_job(each, 504, "the request's timeout was over before the model was free");
    finish_jobs(version, expired);
    return expired != NULL;
}

int64_t version_give_up(model_version *version)
{
    int64_t count = 0;
    pthread_mutex_lock(&version->lock);
    job *given_up = take_matching(version, has_not_begun);
    for (job *each = given_up; each; each = each->next, count++)
        fail_job(each, 503, "the server ended before the model was free");
    finish_jobs(version, given_up);
    pthread_mutex_unlock(&version->lock);
    return count;
}

/* ---- batches ---- */

/* Some rows of a job. */
typedef struct piece {
    job *work;
    int64_t from, rows;
} piece;

typedef struct batch {
    runner *runner;
    piece pieces[MAX_PIECES];
    int count;
    int64_t rows;
} batch;

static bool fits_beside(const job *first, const job *other)
{
    if (other->runner != first->runner || !first->runner->batches)
        return false;
    for (int i = 0; i < first->runner->input_count; i++) {
        cr_shape a = first->inputs[i].shape, b = other->inputs[i].shape;
        a.dim[0] = b.dim[0] = 1;
        if (!cr_shape_equal(&a, &b))
            return false;
    }
    return true;
}

/* Fills a batch from the queue, in its order. */
static void take_batch(model_version *version, batch *b)
{
    int64_t most = version->server->args.max_batch;
    job *first = version->first, *before = NULL;
    *b = (batch){ .runner = runner_retain(first->runner) };
    for (job *each = first, *next; each && b->rows < most && b->count < MAX_PIECES; each = next) {
        next = each->next;
        if (each != first && !fits_beside(first, each)) {
            before = each;
            continue;
        }
        int64_t left = each->rows - each->taken, room = most - b->rows;
        int64_t rows = left < room ? left : room;
        if (each->taken == 0)
            each->started = cr_clock_seconds();
        b->pieces[b->count++] = (piece){ each, each->taken, rows };
        b->rows += rows;
        each->taken += rows;
        version->waiting_rows -= rows;
        if (each->taken == each->rows)
            unlink_job(version, before, each);
        else
            before = each;
    }
}

static size_t row_bytes(const tensor_value *value, int64_t rows)
{
    return value->bytes / (size_t)rows;
}

static cr_tensor *gather(const batch *b, int index)
{
    const job *first = b->pieces[0].work;
    cr_shape shape = first->inputs[index].shape;
    if (b->runner->batches)
        shape.dim[0] = b->rows;
    cr_tensor *tensor = cr_empty(shape, .dtype = b->runner->inputs[index].dtype);
    char *out = tensor ? cr_data(tensor) : NULL;
    for (int i = 0; out && i < b->count; i++) {
        const piece *p = &b->pieces[i];
        const tensor_value *value = &p->work->inputs[index];
        size_t bytes = row_bytes(value, p->work->rows);
        memcpy(out, (const char *)value->data + (size_t)p->from * bytes, (size_t)p->rows * bytes);
        out += (size_t)p->rows * bytes;
    }
    return tensor;
}

static bool scatter(const batch *b, int index, const cr_tensor *tensor)
{
    cr_shape shape = cr_shape_of(tensor);
    size_t bytes = (size_t)cr_numel(tensor) * cr_dtype_size(cr_dtype_of(tensor));
    const char *from = cr_data(tensor);
    for (int i = 0; i < b->count; i++) {
        const piece *p = &b->pieces[i];
        tensor_value *value = &p->work->outputs[index];
        size_t row = bytes / (size_t)b->rows;
        if (!value->data) {
            value->shape = shape;
            if (b->runner->batches)
                value->shape.dim[0] = p->work->rows;
            value->bytes = row * (size_t)p->work->rows;
            value->data = cr_alloc(value->bytes);
        }
        if (!value->data)
            return false;
        memcpy((char *)value->data + (size_t)p->from * row, from, (size_t)p->rows * row);
        from += (size_t)p->rows * row;
    }
    return true;
}

static bool run_batch(const batch *b)
{
    cr_tensor *inputs[CR_SERVE_MAX_TENSORS], *outputs[CR_SERVE_MAX_TENSORS];
    bool good = true;
    cr_frame frame = cr_frame_begin();
    for (int i = 0; good && i < b->runner->input_count; i++)
        good = (inputs[i] = gather(b, i)) != NULL;
    good = good && runner_run(b->runner, inputs, outputs);
    for (int i = 0; good && i < b->runner->output_count; i++)
        good = scatter(b, i, outputs[i]);
    cr_frame_end(frame);
    return good;
}

/* The class of the highest score of a job of one row. */
static int64_t best_class(const job *work)
{
    const float *scores = work->outputs[0].data;
    int64_t best = 0;
    for (int64_t i = 1; i < work->runner->class_count; i++)
        best = scores[i] > scores[best] ? i : best;
    return best;
}

static void explain(job *work)
{
    if (work->class < 0)
        work->class = best_class(work);
    if (runner_explain(work->runner, work->inputs[0].data, work->seen, work->class, &work->painted))
        return;
    work->unexplained = cr_string_copy(cr_error_message());
    cr_error_clear();
}

/* What went wrong with a batch: bad values in it (an index that is out of range), or else. */
static int failure_status(void)
{
    cr_status status = cr_error_status();
    bool asked_for = status == CR_ERROR_ARGUMENT || status == CR_ERROR_SHAPE;
    return asked_for ? 400 : status == CR_ERROR_MEMORY ? 503 : 500;
}

/* Runs a batch; if it fails, each of its pieces by itself, so that one bad request does not take
 * the others with it. */
static void run_pieces(batch *b)
{
    if (run_batch(b))
        return;
    for (int i = 0; i < b->count; i++) {
        batch alone = { .runner = b->runner, .count = 1, .rows = b->pieces[i].rows };
        alone.pieces[0] = b->pieces[i];
        job *work = alone.pieces[0].work;
        if (b->count > 1) {
            cr_error_clear();
            run_batch(&alone);
        }
        if (cr_failed() && !work->status)
            fail_job(work, failure_status(), cr_error_message());
    }
    cr_error_clear();
}

/* Writes down in the jobs how their batch went; the list of those that are done. */
static job *account(const batch *b, double seconds)
{
    job *done = NULL, **end = &done;
    for (int i = 0; i < b->count; i++) {
        job *work = b->pieces[i].work;
        work->computed += seconds;
        work->batch = b->rows > work->batch ? b->rows : work->batch;
        work->finished += b->pieces[i].rows;
        if (work->finished == work->rows) {
            work->next = NULL;
            *end = work;
            end = &work->next;
        }
    }
    return done;
}

static void count_batch(model_version *version, const batch *b, double seconds)
{
    version_counters *c = &version->counters;
    c->rows += (uint64_t)b->rows;
    c->batches++;
    c->compute_seconds += seconds;
    histogram_add(&c->batch, batch_bounds, (double)b->rows);
    c->batches_of[b->rows - 1]++;
    c->batches_of_seconds[b->rows - 1] += seconds;
}

static void serve_batch(model_version *version, batch *b)
{
    take_batch(version, b);
    version->running = b->rows;
    pthread_mutex_unlock(&version->lock);
    double began = cr_clock_seconds();
    run_pieces(b);
    double seconds = cr_clock_seconds() - began;
    job *done = account(b, seconds);
    for (job *each = done; each; each = each->next)
        if (each->explains && !each->status)
            explain(each);
    runner_release(b->runner);
    pthread_mutex_lock(&version->lock);
    version->running = 0;
    count_batch(version, b, seconds);
    finish_jobs(version, done);
}

/* Waits until there is enough for a batch, or its first job has waited long enough or must not any
 * longer. */
static void wait_for_more(model_version *version)
{
    const cr_server_args *args = &version->server->args;
    double until = version->first->arrived + args->max_delay;
    if (version->first->deadline > 0 && version->first->deadline < until)
        until = version->first->deadline;
    while (version->first && version->waiting_rows < args->max_batch && !version->ends &&
           !atomic_load(&version->server->draining)) {
        double left = until - cr_clock_seconds();
        if (left <= 0)
            return;
        struct timespec time;
        clock_gettime(CLOCK_MONOTONIC, &time);
        int64_t nanoseconds = time.tv_nsec + (int64_t)(left * 1e9);
        time.tv_sec += nanoseconds / 1000000000;
        time.tv_nsec = nanoseconds % 1000000000;
        pthread_cond_timedwait(&version->changed, &version->lock, &time);
    }
}

static void *work_on(void *context)
{
    model_version *version = context;
    batch b;
    cr_set_num_threads(version->server->args.threads);
    pthread_mutex_lock(&version->lock);
    while (!version->ends || version->first) {
        if (fail_expired(version))
            continue;
        if (!version->first) {
            pthread_cond_wait(&version->changed, &version->lock);
            continue;
        }
        wait_for_more(version);
        if (!fail_expired(version) && version->first)
            serve_batch(version, &b);
    }
    pthread_mutex_unlock(&version->lock);
    cr_frame_end_all();
    return NULL;
}

bool version_start(model_version *version)
{
    size_t most = (size_t)version->server->args.max_batch;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&version->lock, NULL);
    pthread_cond_init(&version->changed, &monotonic);
    pthread_condattr_destroy(&monotonic);
    version->counters.batches_of = cr_alloc_zeroed(most, sizeof(uint64_t));
    version->counters.batches_of_seconds = cr_alloc_zeroed(most, sizeof(double));
    if (!version->counters.batches_of || !version->counters.batches_of_seconds)
        return false;
    int failed = pthread_create(&version->thread, NULL, work_on, version);
    version->has_thread = !failed;
    if (failed)
        cr_error_set(CR_ERROR_STATE, "no thread for the model %s: %s", version->name,
                     strerror(failed));
    return !failed;
}

void version_hurry(model_version *version)
{
    pthread_mutex_lock(&version->lock);
    pthread_cond_signal(&version->changed);
    pthread_mutex_unlock(&version->lock);
}

void version_end(model_version *version)
{
    if (!version->has_thread)
        return;
    pthread_mutex_lock(&version->lock);
    version->ends = true;
    pthread_cond_signal(&version->changed);
    pthread_mutex_unlock(&version->lock);
    pthread_join(version->thread, NULL);
    version->has_thread = false;
}
