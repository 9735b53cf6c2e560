/* The thread that reads models: when a client asks for it, and when a file has changed. It is one
 * thread, so that no two readings meet. */
#include <string.h>

#include "cresset/tensor.h"
#include "cresset/thread.h"
#include "serve/serve.h"

static exchange *take_task(cr_server *server)
{
    exchange *task = server->first_task;
    if (task)
        server->first_task = task->next;
    if (!server->first_task)
        server->last_task = NULL;
    return task;
}

/* Waits for a task until it is time to look again. */
static void wait_for_task(cr_server *server)
{
    struct timespec time;
    double interval = server->args.reload_interval;
    if (interval < 0) {
        pthread_cond_wait(&server->task_came, &server->task_lock);
        return;
    }
    clock_gettime(CLOCK_MONOTONIC, &time);
    int64_t nanoseconds = time.tv_nsec + (int64_t)(interval * 1e9);
    time.tv_sec += nanoseconds / 1000000000;
    time.tv_nsec = nanoseconds % 1000000000;
    pthread_cond_timedwait(&server->task_came, &server->task_lock, &time);
}

static void *keep_models(void *context)
{
    cr_server *server = context;
    cr_set_num_threads(server->args.threads);
    pthread_mutex_lock(&server->task_lock);
    while (!atomic_load(&server->stops) || server->first_task) {
        exchange *task = take_task(server);
        if (!task)
            wait_for_task(server);
        bool looks = !task && !server->first_task && !atomic_load(&server->stops);
        pthread_mutex_unlock(&server->task_lock);
        if (task) {
            task->task(task);
            exchange_resume(task);
        } else if (looks && server->args.reload_interval >= 0) {
            repository_look(server);
        }
        cr_error_clear();
        cr_frame_end_all();
        pthread_mutex_lock(&server->task_lock);
    }
    pthread_mutex_unlock(&server->task_lock);
    return NULL;
}

bool librarian_start(cr_server *server)
{
    int failed = pthread_create(&server->librarian, NULL, keep_models, server);
    server->has_librarian = !failed;
    if (failed)
        cr_error_set(CR_ERROR_STATE, "no thread to read models: %s", strerror(failed));
    return !failed;
}

void librarian_end(cr_server *server)
{
    if (!server->has_librarian)
        return;
    pthread_mutex_lock(&server->task_lock);
    pthread_cond_signal(&server->task_came);
    pthread_mutex_unlock(&server->task_lock);
    pthread_join(server->librarian, NULL);
    server->has_librarian = false;
}
