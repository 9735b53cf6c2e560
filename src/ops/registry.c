/* The table of all ops, by family. */
#include <string.h>

#include "ops/ops.h"

static const cr_op *const *const families[] = {
    arithmetic_ops, unary_ops,      binary_ops,        comparison_ops, copy_ops,
    sum_ops,        view_ops,       axis_ops,          slice_ops,      join_ops,
    softmax_ops,    batch_norm_ops, cross_entropy_ops, layer_norm_ops, group_norm_ops,
    reduce_ops,     creation_ops,   drawing_ops,       matrix_ops,     convolution_ops,
    einsum_ops,     rearrange_ops,  pad_ops,           dropout_ops,    activation_ops,
};

int cr_op_count(void)
{
    int count = 0;
    for (int f = 0; f < CR_COUNT_OF(families); f++) {
        for (const cr_op *const *op = families[f]; *op; op++)
            count++;
    }
    return count;
}

const cr_op *cr_op_at(int index)
{
    for (int f = 0; f < CR_COUNT_OF(families) && index >= 0; f++) {
        for (const cr_op *const *op = families[f]; *op; op++) {
            if (index-- == 0)
                return *op;
        }
    }
    return NULL;
}

const cr_op *cr_op_find(const char *name)
{
    for (int f = 0; f < CR_COUNT_OF(families); f++) {
        for (const cr_op *const *op = families[f]; *op; op++) {
            if (strcmp((*op)->name, name) == 0)
                return *op;
        }
    }
    return NULL;
}
