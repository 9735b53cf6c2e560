/* Which instruction set's kernels normalise, and how their work is split: by channel or by row, in
 * parts that depend on the shape alone. */
#include "kernels/norm/norm.h"
#include "kernels/variants.h"

/* Elements a part has at least; below this a thread costs more than it gains. */
#define PART_ELEMENTS 16384

/* Channels that a part has at least where a sample has one value of each. */
#define LEAST_COLUMNS 64

/* Parts whose sums are kept apart, at most. */
#define MOST_PARTS 32

CR_KERNEL_VARIANTS(const struct norm_kernels, norm_kernels, [NORM_TYPE_COUNT]);

const struct norm_kernels *norm_kernels(enum norm_type type)
{
    return &(*CR_KERNELS_IN_USE(norm_kernels))[type];
}

/* A range of `job` for one of the kernels, whose first parameter is a pointer to its own job. */
struct share {
    const struct norm_kernels *kernels;
    const void *job;
};

/* How many units of `elements` elements make a part. */
static int64_t part_of(int64_t elements)
{
    return CR_MAX(PART_ELEMENTS / CR_MAX(elements, 1), 1);
}

#define SHARE_BODY(name)                                                                           \
    static void share_##name(int64_t begin, int64_t end, void *context)                            \
    {                                                                                              \
        const struct share *share = context;                                                       \
        share->kernels->name(share->job, begin, end);                                              \
    }

SHARE_BODY(batch_norm)
SHARE_BODY(batch_norm_columns)
SHARE_BODY(batch_norm_planes)
SHARE_BODY(batch_norm_columns_backward)
SHARE_BODY(batch_norm_backward)
SHARE_BODY(layer_norm)
SHARE_BODY(layer_norm_join)
SHARE_BODY(group_norm)
SHARE_BODY(group_norm_backward)
SHARE_BODY(group_norm_join)
SHARE_BODY(softmax)
SHARE_BODY(softmax_backward)
SHARE_BODY(cross_entropy)
SHARE_BODY(cross_entropy_backward)

void norm_batch_norm(enum norm_type type, const struct batch_norm_job *job)
{
    struct share share = { norm_kernels(type), job };
    if (!job->training)
        share.kernels->batch_norm_fixed(job);
    if (job->inner == 1)
        cr_parallel_for(job->channels, CR_MAX(part_of(job->batch), LEAST_COLUMNS),
                        share_batch_norm_columns, &share);
    else if (job->training)
        cr_parallel_for(job->channels, part_of(job->batch * job->inner), share_batch_norm, &share);
    else
        cr_parallel_for(job->batch * job->channels, part_of(job->inner), share_batch_norm_planes,
                        &share);
}

void norm_batch_norm_backward(enum norm_type type, const struct batch_norm_backward_job *job)
{
    struct share share = { norm_kernels(type), job };
    if (job->inner == 1)
        cr_parallel_for(job->channels, CR_MAX(part_of(job->batch), LEAST_COLUMNS),
                        share_batch_norm_columns_backward, &share);
    else
        cr_parallel_for(job->channels, part_of(job->batch * job->inner), share_batch_norm_backward,
                        &share);
}

void norm_layer_norm(enum norm_type type, const struct layer_norm_job *job)
{
    struct share share = { norm_kernels(type), job };
    cr_parallel_for(job->rows, part_of(job->size), share_layer_norm, &share);
}

/* Rows of a part of layer norm's backward: enough for a thread, and not many parts, for each has
 * sums of its own. */
static int64_t layer_norm_share(int64_t rows, int64_t size)
{
    return CR_MAX(part_of(size), CR_DIV_UP(rows, (int64_t)MOST_PARTS));
}

int64_t norm_layer_norm_parts(int64_t rows, int64_t size)
{
    return CR_DIV_UP(rows, layer_norm_share(rows, size));
}

static void share_layer_norm_backward(int64_t begin, int64_t end, void *context)
{
    const struct share *share = context;
    const struct layer_norm_job *job = share->job;
    int64_t part = begin / layer_norm_share(job->rows, job->size);
    share->kernels->layer_norm_backward(job, part, begin, end);
}

void norm_layer_norm_backward(enum norm_type type, const struct layer_norm_job *job)
{
    struct share share = { norm_kernels(type), job };
    cr_parallel_for(job->rows, layer_norm_share(job->rows, job->size), share_layer_norm_backward,
                    &share);
    if (job->sums)
        cr_parallel_for(job->size, part_of(job->parts), share_layer_norm_join, &share);
}

void norm_group_norm(enum norm_type type, const struct group_norm_job *job)
{
    struct share share = { norm_kernels(type), job };
    int64_t run = job->channels / job->groups * job->inner;
    cr_parallel_for(job->batch * job->groups, part_of(run), share_group_norm, &share);
}

void norm_group_norm_backward(enum norm_type type, const struct group_norm_job *job)
{
    struct share share = { norm_kernels(type), job };
    int64_t run = job->channels / job->groups * job->inner;
    cr_parallel_for(job->batch * job->groups, part_of(run), share_group_norm_backward, &share);
    cr_parallel_for(job->channels, part_of(job->batch), share_group_norm_join, &share);
}

static int64_t softmax_blocks(const struct softmax_job *job, int64_t outer, int64_t *part)
{
    int64_t columns = CR_MIN(job->inner, (int64_t)NORM_COLUMNS);
    *part = part_of(job->size * columns);
    return job->size ? outer * CR_DIV_UP(job->inner, (int64_t)NORM_COLUMNS) : 0;
}

void norm_softmax(enum norm_type type, const struct softmax_job *job, int64_t outer)
{
    struct share share = { norm_kernels(type), job };
    int64_t part;
    int64_t blocks = softmax_blocks(job, outer, &part);
    cr_parallel_for(blocks, part, share_softmax, &share);
}

void norm_softmax_backward(enum norm_type type, const struct softmax_job *job, int64_t outer)
{
    struct share share = { norm_kernels(type), job };
    int64_t part;
    int64_t blocks = softmax_blocks(job, outer, &part);
    cr_parallel_for(blocks, part, share_softmax_backward, &share);
}

void norm_cross_entropy(enum norm_type type, const struct cross_entropy_job *job, int64_t outer)
{
    struct share share = { norm_kernels(type), job };
    cr_parallel_for(outer * job->inner, part_of(job->classes), share_cross_entropy, &share);
}

void norm_cross_entropy_backward(enum norm_type type, const struct cross_entropy_job *job,
                                 int64_t outer)
{
    struct share share = { norm_kernels(type), job };
    cr_parallel_for(outer * job->inner, part_of(job->classes), share_cross_entropy_backward,
                    &share);
}
