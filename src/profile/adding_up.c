/* The profile of a log: events added up by what they are, and by layer.
 *
 * The ops of a program are groups of their own; what runs for the gradient of an op is a part of
 * the group of that gradient. Groups are told apart by name and kind, parts by their group as well;
 * there are some dozens, so they are found by a plain search. */
#include <stdlib.h>
#include <string.h>

#include "profile/profile.h"

/* A gradient that is nearly all one op is shown without its parts. */
#define ALL_BUT 0.03

struct rows {
    cr_profile_row *at;
    int *groups; /* of a part: its group's row; of a group: itself */
    int count;
    int capacity;
};

static cr_status rows_grow(struct rows *rows)
{
    if (rows->count < rows->capacity)
        return CR_OK;
    int capacity = rows->capacity ? 2 * rows->capacity : 64;
    cr_profile_row *at = cr_resize(rows->at, (size_t)capacity, sizeof *at);
    if (at)
        rows->at = at;
    int *groups = cr_resize(rows->groups, (size_t)capacity, sizeof *groups);
    if (groups)
        rows->groups = groups;
    if (!at || !groups)
        return CR_ERROR_MEMORY;
    rows->capacity = capacity;
    return CR_OK;
}

static void name_row(cr_profile_row *row, const char *name)
{
    const char *end = row->kind == CR_PROFILE_BACKWARD ? " backward" : "";
    size_t room = sizeof row->name - strlen(end) - 1;
    const char *plain = row->kind == CR_PROFILE_RANGE ? name : profile_op_name(name);
    size_t length = CR_MIN(strlen(plain), room);
    memcpy(row->name, plain, length);
    memcpy(row->name + length, end, strlen(end) + 1);
}

/* The row of that kind and name (in that group, if it is a part), made if it is not there; -1 when
 * memory runs out. */
static int row_find(struct rows *rows, cr_profile_kind kind, const char *name, int group,
                    bool beside)
{
    cr_profile_row sought = { .kind = kind, .beside = beside };
    name_row(&sought, name);
    for (int i = 0; i < rows->count; i++) {
        if (rows->at[i].kind == kind && rows->at[i].beside == beside &&
            (group < 0 || rows->groups[i] == group) && strcmp(rows->at[i].name, sought.name) == 0)
            return i;
    }
    if (rows_grow(rows) != CR_OK)
        return -1;
    rows->at[rows->count] = sought;
    rows->groups[rows->count] = group < 0 ? rows->count : group;
    return rows->count++;
}

static cr_status add_to(struct rows *rows, cr_profile_kind kind, const struct profile_event *event,
                        int group, bool beside)
{
    int at = row_find(rows, kind, event->name, group, beside);
    if (at < 0)
        return CR_ERROR_MEMORY;
    cr_profile_row *row = &rows->at[at];
    row->calls++;
    row->total += event->duration;
    row->self += event->self;
    row->multiply_adds += event->multiply_adds;
    row->bytes += event->bytes;
    row->busy += event->multiply_adds > 0 || event->bytes > 0 ? event->self : 0;
    return CR_OK;
}

/* An op, range or gradient into its row; what runs for a gradient as a part of it. */
static cr_status add_event(struct rows *rows, const struct profile_event *event, bool beside)
{
    if (event->kind == PROFILE_NODE)
        return add_to(rows, CR_PROFILE_BACKWARD, event, -1, beside);
    if (event->kind == PROFILE_RANGE)
        return add_to(rows, CR_PROFILE_RANGE, event, -1, beside);
    if (event->kind != PROFILE_OP)
        return CR_OK;
    if (!event->owner)
        return add_to(rows, CR_PROFILE_OP, event, -1, beside);
    int group = row_find(rows, CR_PROFILE_BACKWARD, event->owner, -1, beside);
    return group < 0 ? CR_ERROR_MEMORY : add_to(rows, CR_PROFILE_PART, event, group, beside);
}

/* ---- groups and their order ---- */

/* The time that a group took for itself and its parts. */
static double group_seconds(const struct rows *rows, int group)
{
    double sum = 0;
    for (int i = 0; i < rows->count; i++) {
        if (rows->groups[i] == group)
            sum += rows->at[i].self;
    }
    return sum;
}

static int by_share(const void *a, const void *b)
{
    double x = ((const cr_profile_row *)a)->share, y = ((const cr_profile_row *)b)->share;
    return (x < y) - (x > y);
}

static void gather_parts(const struct rows *rows, int group, cr_profile_row *into, double all)
{
    for (int i = 0; i < rows->count; i++) {
        if (i == group || rows->groups[i] != group)
            continue;
        into->multiply_adds += rows->at[i].multiply_adds;
        into->bytes += rows->at[i].bytes;
        into->busy += rows->at[i].busy;
    }
    into->share = all > 0 ? group_seconds(rows, group) / all : 0;
}

/* The parts of a group behind it, by falling share, unless one of them is nearly all of it. */
static int place_parts(const struct rows *rows, int group, cr_profile_row *to, double all)
{
    int count = 0;
    double whole = group_seconds(rows, group), largest = 0;
    for (int i = 0; i < rows->count; i++) {
        if (i == group || rows->groups[i] != group)
            continue;
        to[count] = rows->at[i];
        to[count].share = all > 0 ? to[count].self / all : 0;
        largest = CR_MAX(largest, to[count].self);
        count++;
    }
    if (largest >= (1 - ALL_BUT) * whole)
        return 0;
    qsort(to, (size_t)count, sizeof *to, by_share);
    return count;
}

struct ranked {
    double share;
    int row;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->share != y->share)
        return x->share < y->share ? 1 : -1;
    return x->row - y->row;
}

static cr_status order_rows(const struct rows *rows, double other, cr_profile *profile)
{
    size_t room = (size_t)rows->count + 1;
    struct ranked *ranks = cr_alloc_array(room, sizeof *ranks);
    profile->rows = cr_alloc_zeroed(room, sizeof *profile->rows);
    if (!ranks || !profile->rows) {
        cr_free(ranks);
        return CR_ERROR_MEMORY;
    }
    int groups = 0;
    for (int i = 0; i < rows->count; i++) {
        if (rows->groups[i] == i)
            ranks[groups++] = (struct ranked){ group_seconds(rows, i), i };
    }
    qsort(ranks, (size_t)groups, sizeof *ranks, by_rank);
    for (int i = 0; i < groups; i++) {
        cr_profile_row *row = &profile->rows[profile->row_count++];
        *row = rows->at[ranks[i].row];
        gather_parts(rows, ranks[i].row, row, profile->seconds);
        profile->row_count += place_parts(rows, ranks[i].row, row + 1, profile->seconds);
    }
    cr_profile_row *last = &profile->rows[profile->row_count++];
    *last = (cr_profile_row){ .name = "between operations",
                              .kind = CR_PROFILE_OTHER,
                              .calls = profile->steps,
                              .total = other,
                              .self = other,
                              .share = profile->seconds > 0 ? other / profile->seconds : 0 };
    cr_free(ranks);
    return CR_OK;
}

/* ---- layers ---- */

static int by_seconds(const void *a, const void *b)
{
    const cr_profile_layer *x = a, *y = b;
    double left = x->forward + x->backward, right = y->forward + y->backward;
    return left == right ? strcmp(x->name, y->name) : left < right ? 1 : -1;
}

static cr_status add_to_layer(cr_profile *profile, int *capacity, const struct profile_event *event)
{
    int at = 0;
    char name[sizeof profile->layers->name] = { 0 };
    memcpy(name, event->layer, CR_MIN(strlen(event->layer), sizeof name - 1));
    while (at < profile->layer_count && strcmp(profile->layers[at].name, name) != 0)
        at++;
    if (at == *capacity) {
        int wider = *capacity ? 2 * *capacity : 64;
        cr_profile_layer *layers = cr_resize(profile->layers, (size_t)wider, sizeof *layers);
        if (!layers)
            return CR_ERROR_MEMORY;
        profile->layers = layers;
        *capacity = wider;
    }
    cr_profile_layer *layer = &profile->layers[at];
    if (at == profile->layer_count) {
        *layer = (cr_profile_layer){ 0 };
        memcpy(layer->name, name, sizeof name);
        profile->layer_count++;
    }
    if (event->owner || event->kind == PROFILE_NODE)
        layer->backward += event->self;
    else
        layer->forward += event->self;
    return CR_OK;
}

/* ---- all of it ---- */

static cr_status add_up(const struct profile_log *log, struct rows *rows, cr_profile *profile)
{
    int capacity = 0;
    double covered = 0;
    for (int64_t i = 0; i < log->count; i++) {
        const struct profile_event *event = &log->events[i];
        bool counts = event->kind == PROFILE_OP || event->kind == PROFILE_NODE ||
                      event->kind == PROFILE_RANGE;
        if (event->kind == PROFILE_STEP)
            profile->seconds += event->duration;
        bool beside = event->thread != log->step_thread;
        if (counts && !beside)
            covered += event->self;
        if (add_event(rows, event, beside) != CR_OK)
            return CR_ERROR_MEMORY;
        if (counts && event->layer[0] && add_to_layer(profile, &capacity, event) != CR_OK)
            return CR_ERROR_MEMORY;
    }
    if (profile->layer_count)
        qsort(profile->layers, (size_t)profile->layer_count, sizeof *profile->layers, by_seconds);
    return order_rows(rows, CR_MAX(profile->seconds - covered, 0), profile);
}

cr_status cr_profile_stop(cr_profile *profile)
{
    profile_end();
    const struct profile_log *log = profile_log_get();
    *profile = (cr_profile){
        .steps = log->steps, .events = log->count, .dropped = log->dropped, .peak = log->peak
    };
    struct rows rows = { 0 };
    cr_status status = add_up(log, &rows, profile);
    cr_free(rows.at);
    cr_free(rows.groups);
    if (status != CR_OK)
        cr_profile_free(profile);
    return status;
}

void cr_profile_free(cr_profile *profile)
{
    cr_free(profile->rows);
    cr_free(profile->layers);
    *profile = (cr_profile){ 0 };
}

double cr_profile_of_peak(const cr_profile *profile, const cr_profile_row *row, bool *by_memory)
{
    double arithmetic = 0, memory = 0;
    if (row->busy > 0 && profile->peak.flops > 0)
        arithmetic = 2 * row->multiply_adds / row->busy / profile->peak.flops;
    if (row->busy > 0 && profile->peak.bytes_per_second > 0)
        memory = row->bytes / row->busy / profile->peak.bytes_per_second;
    if (by_memory)
        *by_memory = memory > arithmetic;
    return CR_MAX(memory, arithmetic);
}
