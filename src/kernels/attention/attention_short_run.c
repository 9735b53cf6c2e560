/* How attention over few keys is cut into tasks: forward by blocks of queries, backward by products
 * of the batch. Where the gradient of a bias is summed over products, a task has a range of them
 * with one head, for which it keeps sums that are added in order in the end. */
#include "kernels/attention/attention.h"

#include <string.h>

#define ALIGNMENT    64
#define FEWEST       5         /* queries; fewer are read in place by the other form */
#define TASK_QUERIES 128       /* of forward, at most */
#define PART_MACS    (1 << 18) /* less is not worth waking a thread */
#define BIAS_RANGES  32        /* of products, where a bias has a gradient */

/* What only this form can do is asked of it for sizes that it can. */
static bool is_asked_for(const struct attention_job *job)
{
    return job->positions.data || job->bias.data || job->to_out.data || job->to_q.data;
}

bool attention_is_short(const struct attention_job *job)
{
    if (is_asked_for(job))
        return true;
    return !job->is_bf16 && job->keys <= ATTENTION_SHORT && job->depth <= ATTENTION_SHORT &&
           job->value_depth <= ATTENTION_SHORT && job->queries >= FEWEST &&
           job->queries <= ATTENTION_SHORT_QUERIES && job->keys > 0 && job->depth > 0 &&
           job->value_depth > 0;
}

static size_t aligned(int64_t bytes)
{
    return (size_t)(CR_DIV_UP(bytes, ALIGNMENT) * ALIGNMENT);
}

static void *take(char *at, size_t *used, int64_t bytes)
{
    void *part = at ? at + *used : NULL;
    *used += aligned(bytes);
    return part;
}

/* Lays a room out from `at` on; its size goes to *bytes. */
static struct attention_short_room room_make(const struct attention_job *job, bool is_backward,
                                             char *at, size_t *bytes)
{
    const cr_gemm_kernels *gemm = cr_gemm_kernels_of(job->type);
    int64_t element = gemm->element, unit = gemm->tile_columns, tile = gemm->tile_rows;
    int64_t keys = CR_ROUND_UP(job->keys, unit), depth = CR_ROUND_UP(job->depth, unit);
    int64_t value_depth = CR_ROUND_UP(job->value_depth, unit), deepest = CR_MAX(depth, value_depth);
    int64_t queries = is_backward ? ATTENTION_SHORT_TILES * tile : tile;
    int64_t step = ATTENTION_SHORT_STEP * element, back = is_backward ? 1 : 0;
    struct attention_short_room room = { .gemm = gemm };
    *bytes = 0;
    room.k_rows = take(at, bytes, keys * deepest * element);
    room.k_turned = take(at, bytes, keys * depth * element);
    room.v_rows = take(at, bytes, (1 - back) * keys * value_depth * element);
    room.v_turned = take(at, bytes, back * keys * value_depth * element);
    room.q_rows = take(at, bytes, queries * depth * element);
    room.grad_rows = take(at, bytes, back * queries * value_depth * element);
    room.left = take(at, bytes, tile * deepest * element);
    room.left_scores = take(at, bytes, tile * keys * element);
    room.scores = take(at, bytes, queries * step);
    room.score_grads = take(at, bytes, back * queries * step);
    room.tile = take(at, bytes, tile * step);
    room.kept = take(at, bytes, job->dropout > 0 ? back * tile * step : 0);
    room.grad_k = take(at, bytes, back * keys * step);
    room.grad_v = take(at, bytes, back * keys * step);
    return room;
}

/* ---- tasks ---- */

struct share {
    struct attention_job job;
    const struct attention_kernels *kernels;
    bool is_backward;
    int64_t blocks;        /* of queries of a product; forward */
    int64_t heads, ranges; /* of products; backward with a gradient of the bias, else 0 */
    cr_slots slots;
    size_t room_bytes;
    char *first_room;
    char *partials; /* of grad_bias, by range and head */
};

static int64_t heads_of(const struct attention_job *job)
{
    return job->batch_dims > 0 ? job->batch_size[job->batch_dims - 1] : 1;
}

/* Ranges of the products of a head that sum the gradient of the bias; 0: it is not wanted. */
static int64_t bias_ranges(const struct attention_job *job, bool is_backward)
{
    if (!is_backward || !job->grad_bias)
        return 0;
    return CR_MIN(job->batch / CR_MAX(heads_of(job), 1), (int64_t)BIAS_RANGES);
}

/* Of grad_bias, for one head. */
static size_t bias_bytes(const struct attention_job *job)
{
    return (size_t)(job->queries * job->keys * cr_gemm_kernels_of(job->type)->element);
}

size_t attention_short_workspace(const struct attention_job *job, bool is_backward)
{
    size_t bytes;
    int64_t rooms = cr_slots_wanted();
    room_make(job, is_backward, NULL, &bytes);
    return cr_slots_size(rooms) + (size_t)rooms * bytes +
           (size_t)(bias_ranges(job, is_backward) * heads_of(job)) * bias_bytes(job);
}

/* A result that goes where the contiguous one of the job is. */
static void complete(const struct attention_job *job, struct attention_result *result, void *data,
                     int64_t rows, int64_t columns)
{
    if (result->data)
        return;
    *result = (struct attention_result){ .data = data, .row = columns };
    int64_t stride = rows * columns;
    for (int d = job->batch_dims - 1; d >= 0; d--) {
        result->batch[d] = stride;
        stride *= job->batch_size[d];
    }
}

static struct share share_make(const struct attention_job *job, bool is_backward, void *workspace)
{
    struct share share = { .job = *job,
                           .kernels = attention_kernels_of(job->type),
                           .is_backward = is_backward,
                           .blocks = CR_DIV_UP(job->queries, (int64_t)TASK_QUERIES),
                           .heads = heads_of(job),
                           .ranges = bias_ranges(job, is_backward) };
    complete(job, &share.job.to_out, job->out, job->queries, job->value_depth);
    complete(job, &share.job.to_q, job->grad_q, job->queries, job->depth);
    complete(job, &share.job.to_k, job->grad_k, job->keys, job->depth);
    complete(job, &share.job.to_v, job->grad_v, job->keys, job->value_depth);
    int64_t rooms = cr_slots_wanted();
    share.slots = cr_slots_make(workspace, rooms);
    share.first_room = (char *)workspace + cr_slots_size(rooms);
    room_make(job, is_backward, NULL, &share.room_bytes);
    share.partials = share.first_room + (size_t)rooms * share.room_bytes;
    return share;
}

/* The products of one range and head, which are that head's of successive others. */
static void run_range(const struct share *share, const struct attention_short_room *room,
                      int64_t index)
{
    const struct attention_job *job = &share->job;
    int64_t others = job->batch / share->heads;
    int64_t range = index / share->heads, head = index % share->heads;
    char *sums = share->partials + (size_t)index * bias_bytes(job);
    memset(sums, 0, bias_bytes(job));
    for (int64_t i = range * others / share->ranges; i < (range + 1) * others / share->ranges; i++)
        share->kernels->short_backward(job, room, i * share->heads + head, sums);
}

static void run_task(const struct share *share, const struct attention_short_room *room,
                     int64_t index)
{
    const struct attention_job *job = &share->job;
    if (share->ranges) {
        run_range(share, room, index);
    } else if (share->is_backward) {
        share->kernels->short_backward(job, room, index, NULL);
    } else {
        int64_t first = index % share->blocks * TASK_QUERIES;
        share->kernels->short_forward(job, room, index / share->blocks, first,
                                      CR_MIN(first + TASK_QUERIES, job->queries));
    }
}

static void run_share(int64_t begin, int64_t end, void *context)
{
    const struct share *share = context;
    int64_t slot = cr_slot_take(&share->slots);
    size_t bytes;
    struct attention_short_room room =
        room_make(&share->job, share->is_backward,
                  share->first_room + (size_t)slot * share->room_bytes, &bytes);
    for (int64_t index = begin; index < end; index++)
        run_task(share, &room, index);
    cr_slot_release(&share->slots, slot);
}

/* Adds the ranges' parts of the bias's gradient up, for heads [begin, end). */
static void add_partials(int64_t begin, int64_t end, void *context)
{
    const struct share *share = context;
    const struct attention_job *job = &share->job;
    size_t bytes = bias_bytes(job);
    for (int64_t head = begin; head < end; head++) {
        char *to = (char *)job->grad_bias + (size_t)head * bytes;
        memset(to, 0, bytes);
        for (int64_t range = 0; range < share->ranges; range++)
            cr_gemm_kernels_of(job->type)->add(share->partials +
                                                   (size_t)(range * share->heads + head) * bytes,
                                               job->queries * job->keys, to);
    }
}

void attention_short_run(const struct attention_job *job, bool is_backward, void *workspace)
{
    struct share share = share_make(job, is_backward, workspace);
    int64_t depth = job->depth + job->value_depth;
    int64_t queries = is_backward ? job->queries : CR_MIN(job->queries, (int64_t)TASK_QUERIES);
    int64_t macs = CR_MAX(queries * job->keys * depth, 1) * (is_backward ? 3 : 1);
    int64_t tasks = is_backward ? job->batch : job->batch * share.blocks;
    if (share.ranges) {
        tasks = share.ranges * share.heads;
        macs *= CR_MAX(job->batch / tasks, 1);
    }
    cr_parallel_for(tasks, CR_MAX(PART_MACS / macs, 1), run_share, &share);
    if (job->grad_bias && is_backward)
        cr_parallel_for(share.heads, 1, add_partials, &share);
}
