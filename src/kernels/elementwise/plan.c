/* The walk over strided operands: merging dimensions, then rows of the fastest one.
 *
 * Parts given to threads are fixed runs of elements in row-major order, so their number depends on
 * the shape alone. */
#include "kernels/elementwise/elementwise.h"

/* Elements a part has at least; below this a thread costs more than it gains. */
#define PART_ELEMENTS 16384

static void plan_drop_dim(struct elementwise_plan *plan, int dim)
{
    plan->ndim--;
    for (int d = dim; d < plan->ndim; d++) {
        plan->size[d] = plan->size[d + 1];
        for (int i = 0; i < plan->operands; i++)
            plan->stride[i][d] = plan->stride[i][d + 1];
    }
}

/* True if dimension d + 1 continues dimension d in every operand. */
static bool plan_can_merge(const struct elementwise_plan *plan, int d)
{
    for (int i = 0; i < plan->operands; i++) {
        if (plan->stride[i][d + 1] != plan->stride[i][d] * plan->size[d])
            return false;
    }
    return true;
}

static void plan_merge(struct elementwise_plan *plan)
{
    for (int d = plan->ndim - 1; d >= 0; d--) {
        if (plan->size[d] == 1 && plan->ndim > 1)
            plan_drop_dim(plan, d);
    }
    for (int d = 0; d + 1 < plan->ndim;) {
        if (plan_can_merge(plan, d)) {
            int64_t merged = plan->size[d] * plan->size[d + 1];
            plan_drop_dim(plan, d + 1);
            plan->size[d] = merged;
        } else {
            d++;
        }
    }
}

void elementwise_plan_make(struct elementwise_plan *plan, const cr_shape *shape,
                           const cr_tensor *const *tensors, int operands)
{
    plan->operands = operands;
    plan->ndim = CR_MAX(shape->ndim, 1);
    plan->size[0] = 1;
    for (int d = 0; d < shape->ndim; d++)
        plan->size[d] = shape->dim[shape->ndim - 1 - d];
    for (int i = 0; i < operands; i++) {
        const cr_tensor *tensor = tensors[i];
        int64_t bytes = (int64_t)cr_dtype_size((cr_dtype)tensor->dtype);
        plan->data[i] = tensor_bytes(tensor);
        for (int d = 0; d < plan->ndim; d++) {
            int own = tensor->shape.ndim - 1 - d;
            bool moves = own >= 0 && tensor->shape.dim[own] != 1;
            plan->stride[i][d] = moves ? tensor->stride[own] * bytes : 0;
        }
    }
    plan_merge(plan);
}

struct run {
    const struct elementwise_plan *plan;
    elementwise_loop loop;
    const void *context;
};

/* The elements [begin, end) in row-major order. */
static void run_part(int64_t begin, int64_t end, void *context)
{
    const struct run *run = context;
    const struct elementwise_plan *plan = run->plan;
    int64_t index[CR_MAX_DIMS];
    char *pointers[ELEMENTWISE_OPERANDS];
    int64_t strides[ELEMENTWISE_OPERANDS];
    int64_t rest = begin;
    for (int i = 0; i < plan->operands; i++) {
        pointers[i] = plan->data[i];
        strides[i] = plan->stride[i][0];
    }
    for (int d = 0; d < plan->ndim; d++) {
        index[d] = rest % plan->size[d];
        rest /= plan->size[d];
        for (int i = 0; i < plan->operands; i++)
            pointers[i] += index[d] * plan->stride[i][d];
    }
    while (begin < end) {
        int64_t n = CR_MIN(plan->size[0] - index[0], end - begin);
        run->loop(n, pointers, strides, run->context);
        begin += n;
        for (int i = 0; i < plan->operands; i++)
            pointers[i] -= index[0] * plan->stride[i][0];
        index[0] = 0;
        for (int d = 1; d < plan->ndim; d++) {
            for (int i = 0; i < plan->operands; i++)
                pointers[i] += plan->stride[i][d];
            if (++index[d] < plan->size[d])
                break;
            for (int i = 0; i < plan->operands; i++)
                pointers[i] -= plan->stride[i][d] * plan->size[d];
            index[d] = 0;
        }
    }
}

static int64_t plan_elements(const struct elementwise_plan *plan)
{
    int64_t count = 1;
    for (int d = 0; d < plan->ndim; d++)
        count *= plan->size[d];
    return count;
}

void elementwise_run(const struct elementwise_plan *plan, elementwise_loop loop,
                     const void *context)
{
    struct run run = { plan, loop, context };
    cr_parallel_for(plan_elements(plan), PART_ELEMENTS, run_part, &run);
}

void elementwise_run_serial(const struct elementwise_plan *plan, elementwise_loop loop,
                            const void *context)
{
    struct run run = { plan, loop, context };
    int64_t count = plan_elements(plan);
    if (count)
        run_part(0, count, &run);
}
