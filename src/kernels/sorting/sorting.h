/* Kernels that order elements. Lines run along the middle of (outer, n, inner), all contiguous.
 * NaN is greater than everything, as in PyTorch; equal elements keep their order. */
#ifndef CR_KERNELS_SORTING_SORTING_H
#define CR_KERNELS_SORTING_SORTING_H

#include "tensor/tensor.h"

struct sort_lines {
    const cr_tensor *x;
    cr_tensor *values;  /* (outer, k, inner), of x's dtype */
    cr_tensor *indices; /* the same, int64 */
    int64_t outer, n, inner;
    int64_t k; /* how many of the first to keep, at most n */
    bool descending;
    void *workspace;
};

/* The k first elements of each line in order; the workspace has sort_workspace bytes. */
size_t sort_workspace(const struct sort_lines *lines);
void sort_run(const struct sort_lines *lines);

/* The position of the greatest (or least) element of each line: out (outer, inner) int64. NaN wins
 * in both cases; of equal ones the first. */
void sort_extreme(int64_t *out, const cr_tensor *x, int64_t outer, int64_t n, int64_t inner,
                  bool least);

/* group[i] = how many of the sorted elements 1 … i differ from the one before; returns how many
 * groups there are. */
int64_t sort_groups(int64_t *group, const cr_tensor *sorted);

/* For each value the number of elements of its sorted line that are less (`right`: less or equal).
 * Both double or both int64; lines of `values_per_line` values belong to lines of n. */
void sort_search(int64_t *out, const cr_tensor *sorted, int64_t n, const cr_tensor *values,
                 int64_t values_per_line, bool right);

#endif
