/* What memory holds at its fullest: a list of the buffers in use, told by the allocator, with what
 * made each one, what it is for, and how many nodes keep it for backward.
 *
 * The list as it stood at the peak is copied when the first buffer after it is let go, so a copy
 * is made a few hundred times in a first step and hardly ever afterwards. The allocator calls with
 * its own lock held; nothing here asks it for a buffer. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"
#include "tensor/tensor.h"

/* Of src/base/buffers.c, which tells of its buffers through it. */
extern _Atomic(void (*)(const void *buffer, size_t size, bool is_new,
                        size_t cached)) buffers_watcher;

#define BUCKETS 4096 /* of the table by address; a power of two */

struct buffer_record {
    const void *buffer; /* NULL: free */
    int64_t size;
    const char *op; /* that made it */
    const char *layer;
    int next;    /* in its bucket, or in the list of free records; -1 ends it */
    int keepers; /* nodes that keep it for backward */
    cr_memory_category category;
};

/* The list at one moment. */
struct moment {
    struct buffer_record *records;
    int count;
    int capacity;
    int64_t bytes;
    int64_t cached;
    int64_t process;
    const char *op;
    const char *layer;
    bool backward;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int buckets[BUCKETS];
static int free_records = -1;
static struct moment now; /* records may have holes */
static struct moment fullest;
static bool fullest_is_now; /* nothing was released since the peak */

static const char *const category_names[] = {
#define NAME(name, word) word,
    CR_MEMORY_CATEGORY_TABLE(NAME)
#undef NAME
};

const char *cr_memory_category_name(cr_memory_category category)
{
    return (int)category >= 0 && category < CR_MEMORY_CATEGORY_COUNT ? category_names[category]
                                                                     : "";
}

/* ---- the list ---- */

static unsigned bucket_of(const void *buffer)
{
    uint64_t key = (uint64_t)(uintptr_t)buffer >> 6;
    return (unsigned)(key * 0x9E3779B97F4A7C15u >> 52) & (BUCKETS - 1);
}

static int find_record(const void *buffer)
{
    int i = buckets[bucket_of(buffer)];
    while (i >= 0 && now.records[i].buffer != buffer)
        i = now.records[i].next;
    return i;
}

/* Room for `count` records; false without memory, which the trace survives with a gap. */
static bool reserve(struct moment *moment, int count)
{
    if (count <= moment->capacity)
        return true;
    int capacity = CR_MAX(1024, 2 * count);
    struct buffer_record *records =
        cr_resize(moment->records, (size_t)capacity, sizeof *moment->records);
    if (!records) {
        cr_error_clear();
        return false;
    }
    moment->records = records;
    moment->capacity = capacity;
    return true;
}

static int new_record(void)
{
    int i = free_records;
    if (i >= 0) {
        free_records = now.records[i].next;
        return i;
    }
    return reserve(&now, now.count + 1) ? now.count++ : -1;
}

static void add_record(const void *buffer, int64_t size)
{
    int i = new_record();
    if (i < 0)
        return;
    bool backward;
    const char *op = profile_current(&backward);
    unsigned bucket = bucket_of(buffer);
    now.records[i] = (struct buffer_record){
        .buffer = buffer,
        .size = size,
        .op = op,
        .layer = profile_layer(),
        .next = buckets[bucket],
        .category = backward ? CR_MEMORY_FLOW : CR_MEMORY_TEMPORARY,
    };
    buckets[bucket] = i;
    now.bytes += size;
    now.op = op;
    now.layer = profile_layer();
    now.backward = backward;
}

static void remove_record(const void *buffer)
{
    int *link = &buckets[bucket_of(buffer)];
    while (*link >= 0 && now.records[*link].buffer != buffer)
        link = &now.records[*link].next;
    int i = *link;
    if (i < 0)
        return;
    *link = now.records[i].next;
    now.bytes -= now.records[i].size;
    now.records[i] = (struct buffer_record){ .next = free_records };
    free_records = i;
}

static void keep_moment(void)
{
    fullest_is_now = false;
    if (!reserve(&fullest, now.count))
        return;
    struct buffer_record *records = fullest.records;
    int capacity = fullest.capacity;
    memcpy(records, now.records, (size_t)now.count * sizeof *records);
    fullest = now;
    fullest.records = records;
    fullest.capacity = capacity;
    fullest.process = cr_process_memory();
}

static void watch(const void *buffer, size_t size, bool is_new, size_t cached)
{
    pthread_mutex_lock(&lock);
    if (is_new) {
        add_record(buffer, (int64_t)size);
        now.cached = (int64_t)cached;
        if (now.bytes > fullest.bytes) {
            fullest.bytes = now.bytes;
            fullest_is_now = true;
        }
    } else {
        if (fullest_is_now)
            keep_moment();
        remove_record(buffer);
    }
    pthread_mutex_unlock(&lock);
}

void memory_trace_tag(const void *buffer, cr_memory_category category)
{
    if (!(profile_mode() & PROFILE_MEMORY))
        return;
    pthread_mutex_lock(&lock);
    int i = find_record(buffer);
    if (i >= 0)
        now.records[i].category = category;
    pthread_mutex_unlock(&lock);
}

void cr_memory_tag(const cr_tensor *tensor, cr_memory_category category)
{
    if (tensor && tensor->storage)
        memory_trace_tag(tensor->storage->data, category);
}

void memory_trace_keep(const void *buffer, int count)
{
    if (!(profile_mode() & PROFILE_MEMORY))
        return;
    pthread_mutex_lock(&lock);
    int i = find_record(buffer);
    if (count < 0 && fullest_is_now)
        keep_moment();
    if (i >= 0)
        now.records[i].keepers += count;
    pthread_mutex_unlock(&lock);
}

/* ---- from start to stop ---- */

static void forget(void)
{
    cr_free(now.records);
    cr_free(fullest.records);
    now = (struct moment){ .op = "", .layer = "" };
    fullest = now;
    fullest_is_now = false;
    free_records = -1;
    for (int i = 0; i < BUCKETS; i++)
        buckets[i] = -1;
}

cr_status cr_memory_trace_start(void)
{
    if (cr_failed())
        return cr_error_status();
    atomic_store(&buffers_watcher, NULL);
    pthread_mutex_lock(&lock);
    forget();
    pthread_mutex_unlock(&lock);
    atomic_fetch_or(&profile_modes, PROFILE_MEMORY);
    atomic_store(&buffers_watcher, watch);
    return CR_OK;
}

void cr_memory_trace_reset(void)
{
    pthread_mutex_lock(&lock);
    fullest.bytes = now.bytes;
    fullest_is_now = true;
    pthread_mutex_unlock(&lock);
}

/* ---- the report ---- */

/* What a record counts as: what is kept for backward may be a parameter or an input, too. */
static cr_memory_category category_of(const struct buffer_record *record)
{
    bool is_passing = record->category == CR_MEMORY_TEMPORARY || record->category == CR_MEMORY_FLOW;
    return is_passing && record->keepers > 0 ? CR_MEMORY_KEPT : record->category;
}

static int by_bytes(const void *a, const void *b)
{
    const cr_memory_row *x = a, *y = b;
    if (x->bytes != y->bytes)
        return x->bytes < y->bytes ? 1 : -1;
    return strcmp(x->name, y->name);
}

/* What is kept, added up by op or by layer. */
static cr_status add_up(bool by_layer, cr_memory_row **rows, int *count)
{
    *rows = cr_alloc_zeroed((size_t)CR_MAX(fullest.count, 1), sizeof **rows);
    *count = 0;
    if (!*rows)
        return CR_ERROR_MEMORY;
    for (int i = 0; i < fullest.count; i++) {
        const struct buffer_record *record = &fullest.records[i];
        if (!record->buffer || category_of(record) != CR_MEMORY_KEPT)
            continue;
        const char *name = by_layer ? record->layer : profile_op_name(record->op);
        name = name[0] ? name : by_layer ? "outside layers" : "outside operations";
        int at = 0;
        while (at < *count && strcmp((*rows)[at].name, name) != 0)
            at++;
        if (at == *count)
            (*rows)[(*count)++].name = name;
        (*rows)[at].bytes += record->size;
        (*rows)[at].count++;
    }
    if (*count)
        qsort(*rows, (size_t)*count, sizeof **rows, by_bytes);
    return CR_OK;
}

static cr_status fill(cr_memory_report *report)
{
    *report = (cr_memory_report){ .cached = fullest.cached,
                                  .process = fullest.process,
                                  .op = profile_op_name(fullest.op),
                                  .layer = fullest.layer,
                                  .backward = fullest.backward };
    for (int i = 0; i < fullest.count; i++) {
        if (!fullest.records[i].buffer)
            continue;
        report->categories[category_of(&fullest.records[i])] += fullest.records[i].size;
        report->bytes += fullest.records[i].size;
    }
    if (add_up(false, &report->ops, &report->op_count) == CR_OK)
        add_up(true, &report->layers, &report->layer_count);
    return cr_error_status();
}

cr_status cr_memory_trace_report(cr_memory_report *report)
{
    pthread_mutex_lock(&lock);
    if (fullest_is_now)
        keep_moment();
    cr_status status = fill(report);
    pthread_mutex_unlock(&lock);
    if (status != CR_OK)
        cr_memory_report_free(report);
    return status;
}

void cr_memory_trace_stop(void)
{
    atomic_store(&buffers_watcher, NULL);
    atomic_fetch_and(&profile_modes, ~PROFILE_MEMORY);
    pthread_mutex_lock(&lock);
    forget();
    pthread_mutex_unlock(&lock);
}

void cr_memory_report_free(cr_memory_report *report)
{
    cr_free(report->ops);
    cr_free(report->layers);
    *report = (cr_memory_report){ .op = "", .layer = "" };
}
