/* How attention is cut into tasks: forward by blocks of queries, backward by products of the batch,
 * and where these are few by ranges of keys, whose parts of the queries' gradient are then added in
 * order. Each task works in the room of a thread, of which it takes any that is free; which one
 * changes no result. */
#include "kernels/attention/attention.h"

#include <stdatomic.h>
#include <string.h>

#define ALIGNMENT     64
#define PART_MACS     (1 << 18) /* less is not worth waking a thread */
#define PART_ELEMENTS (1 << 15) /* the same of what is added */
#define TASKS_WANTED  32        /* backward, if there are so many blocks of keys */

CR_KERNEL_VARIANTS(const struct attention_kernels, attention_kernels, [CR_GEMM_TYPE_COUNT]);

const struct attention_kernels *attention_kernels_of(cr_gemm_type type)
{
    return &(*CR_KERNELS_IN_USE(attention_kernels))[type];
}

static int64_t offset_of(const struct attention_job *job, const int64_t *strides, int64_t batch)
{
    int64_t offset = 0;
    for (int d = job->batch_dims - 1; d >= 0; d--) {
        offset += batch % job->batch_size[d] * strides[d];
        batch /= job->batch_size[d];
    }
    return offset;
}

int64_t attention_offset(const struct attention_job *job, const struct attention_operand *operand,
                         int64_t batch)
{
    return offset_of(job, operand->batch, batch);
}

int64_t attention_place(const struct attention_job *job, const struct attention_result *result,
                        int64_t batch)
{
    return offset_of(job, result->batch, batch);
}

uint64_t attention_random_blocks(const struct attention_job *job)
{
    return (uint64_t)(job->batch * job->queries) * (uint64_t)CR_DIV_UP(job->keys, 4);
}

/* ---- rooms ---- */

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
static struct attention_room room_make(const struct attention_job *job, bool is_backward, char *at,
                                       size_t *bytes)
{
    const cr_gemm_kernels *gemm = cr_gemm_kernels_of(job->type);
    int64_t element = gemm->element, rows = ATTENTION_PANELS * gemm->tile_rows;
    int64_t deepest = CR_MAX(job->depth, job->value_depth);
    int64_t side = CR_MAX(deepest, (int64_t)ATTENTION_KEYS);
    int64_t scores = rows * ATTENTION_KEYS * element;
    struct attention_room room = { .gemm = gemm, .block_rows = rows };
    *bytes = 0;
    room.packed_q = take(at, bytes, is_backward ? 0 : rows * job->depth * element);
    room.packed_left = take(at, bytes, rows * side * element);
    room.packed_right = take(at, bytes, gemm->tile_columns * CR_MAX(side, rows) * element);
    room.scores = take(at, bytes, scores);
    room.score_grads = take(at, bytes, is_backward ? scores : 0);
    room.sums = take(at, bytes, is_backward ? 0 : rows * job->value_depth * element);
    int64_t wide = job->is_bf16 ? element : 0;
    room.wide_q = take(at, bytes, rows * job->depth * wide);
    room.wide_k = take(at, bytes, ATTENTION_KEYS * job->depth * wide);
    room.wide_v = take(at, bytes, ATTENTION_KEYS * job->value_depth * wide);
    room.wide_grad = take(at, bytes, is_backward ? rows * job->value_depth * wide : 0);
    room.most = take(at, bytes, rows * element);
    room.total = take(at, bytes, rows * element);
    return room;
}

/* Ranges of keys that backward works on at once: whole blocks each. */
static int64_t key_range(const struct attention_job *job)
{
    int64_t blocks = CR_MAX(CR_DIV_UP(job->keys, (int64_t)ATTENTION_KEYS), 1);
    int64_t splits = CR_MIN(CR_DIV_UP(TASKS_WANTED, CR_MAX(job->batch, 1)), blocks);
    return CR_DIV_UP(blocks, splits) * ATTENTION_KEYS;
}

static int64_t split_count(const struct attention_job *job)
{
    return CR_MAX(CR_DIV_UP(job->keys, key_range(job)), 1);
}

/* Of grad_q, for one range of keys. */
static size_t partial_bytes(const struct attention_job *job)
{
    return aligned(job->queries * job->depth * cr_gemm_kernels_of(job->type)->element);
}

size_t attention_workspace(const struct attention_job *job, bool is_backward)
{
    size_t bytes;
    if (attention_is_short(job))
        return attention_short_workspace(job, is_backward);
    room_make(job, is_backward, NULL, &bytes);
    bytes = (size_t)cr_num_threads() * bytes + aligned(cr_num_threads());
    int64_t splits = is_backward ? split_count(job) : 1;
    return splits > 1 ? bytes + (size_t)(job->batch * splits) * partial_bytes(job) : bytes;
}

struct share {
    const struct attention_job *job;
    const struct attention_kernels *kernels;
    bool is_backward;
    int64_t blocks; /* of queries; backward: ranges of keys */
    int64_t rooms;
    size_t room_bytes;
    char *first_room;
    atomic_flag *busy; /* by room */
    char *partials;    /* of grad_q, by product and range of keys; if there are several ranges */
};

static struct share share_make(const struct attention_job *job, bool is_backward, void *workspace)
{
    struct share share = { .job = job,
                           .kernels = attention_kernels_of(job->type),
                           .is_backward = is_backward,
                           .rooms = cr_num_threads(),
                           .busy = workspace };
    share.first_room = (char *)workspace + aligned(share.rooms);
    struct attention_room room = room_make(job, is_backward, NULL, &share.room_bytes);
    share.blocks = is_backward ? split_count(job) : CR_DIV_UP(job->queries, room.block_rows);
    share.partials = share.first_room + (size_t)share.rooms * share.room_bytes;
    for (int64_t i = 0; i < share.rooms; i++)
        atomic_flag_clear_explicit(&share.busy[i], memory_order_relaxed);
    return share;
}

static int64_t enter_room(const struct share *share)
{
    int64_t room = 0;
    while (atomic_flag_test_and_set_explicit(&share->busy[room], memory_order_acquire))
        room = room + 1 < share->rooms ? room + 1 : 0;
    return room;
}

static void run_task(const struct share *share, const struct attention_room *room, int64_t index)
{
    const struct attention_job *job = share->job;
    int64_t batch = index / share->blocks, block = index % share->blocks;
    if (!share->is_backward) {
        int64_t first = block * room->block_rows;
        share->kernels->forward(job, room, batch, first,
                                CR_MIN(first + room->block_rows, job->queries));
        return;
    }
    int64_t range = key_range(job), first = block * range;
    int64_t numbers = job->queries * job->depth * room->gemm->element;
    void *grad_q = share->blocks > 1 ? share->partials + (size_t)index * partial_bytes(job)
                                     : (char *)job->grad_q + batch * numbers;
    share->kernels->backward(job, room, batch, first, CR_MIN(first + range, job->keys), grad_q);
}

static void run_share(int64_t begin, int64_t end, void *context)
{
    const struct share *share = context;
    int64_t number = enter_room(share);
    size_t bytes;
    struct attention_room room =
        room_make(share->job, share->is_backward,
                  share->first_room + (size_t)number * share->room_bytes, &bytes);
    for (int64_t index = begin; index < end; index++)
        run_task(share, &room, index);
    atomic_flag_clear_explicit(&share->busy[number], memory_order_release);
}

/* Adds the parts of grad_q up, for products [begin, end). */
static void add_partials(int64_t begin, int64_t end, void *context)
{
    const struct share *share = context;
    const struct attention_job *job = share->job;
    const cr_gemm_kernels *gemm = cr_gemm_kernels_of(job->type);
    int64_t count = job->queries * job->depth;
    for (int64_t batch = begin; batch < end; batch++) {
        const char *part = share->partials + (size_t)(batch * share->blocks) * partial_bytes(job);
        char *to = (char *)job->grad_q + batch * count * gemm->element;
        memcpy(to, part, (size_t)(count * gemm->element));
        for (int64_t split = 1; split < share->blocks; split++)
            gemm->add(part + (size_t)split * partial_bytes(job), count, to);
    }
}

static int64_t part_of(int64_t macs)
{
    return CR_MAX(PART_MACS / CR_MAX(macs, 1), 1);
}

void attention_run_forward(const struct attention_job *job, void *workspace)
{
    if (attention_is_short(job)) {
        attention_short_run(job, false, workspace);
        return;
    }
    struct share share = share_make(job, false, workspace);
    int64_t block_rows = CR_DIV_UP(job->queries, CR_MAX(share.blocks, 1));
    cr_parallel_for(job->batch * share.blocks,
                    part_of(block_rows * job->keys * (job->depth + job->value_depth)), run_share,
                    &share);
}

void attention_run_backward(const struct attention_job *job, void *workspace)
{
    if (attention_is_short(job)) {
        attention_short_run(job, true, workspace);
        return;
    }
    struct share share = share_make(job, true, workspace);
    int64_t keys = CR_MIN(job->keys, key_range(job));
    cr_parallel_for(job->batch * share.blocks,
                    part_of(job->queries * keys * (3 * job->depth + 2 * job->value_depth)),
                    run_share, &share);
    if (share.blocks > 1)
        cr_parallel_for(job->batch, CR_MAX(PART_ELEMENTS / CR_MAX(job->queries * job->depth, 1), 1),
                        add_partials, &share);
}
