/* Kernels that read and write by index. Indices are int64, checked before, and not negative. */
#ifndef CR_KERNELS_INDEXING_INDEXING_H
#define CR_KERNELS_INDEXING_INDEXING_H

#include "tensor/tensor.h"

/* The least and greatest element of an int64 tensor of any strides; false if it has none. */
bool index_range(const cr_tensor *index, int64_t *least, int64_t *greatest);

/* True if every element of an int64 tensor of any strides lies in [-below, size). */
bool index_in_range(const cr_tensor *index, int64_t below, int64_t size);

/* What is done with an element of `table` that an index chooses and one of `values`. */
enum index_kind {
    INDEX_GATHER,  /* values = table */
    INDEX_SCATTER, /* table = values; of several the last one stays */
    INDEX_ADD,     /* table += values */
    INDEX_MULTIPLY,
    INDEX_MAXIMUM, /* NaN spreads */
    INDEX_MINIMUM,
    INDEX_KIND_COUNT
};

/* For every position p of index: the element of table at p, but index[p] along dim, with the one of
 * values at p. Tensors have as many dimensions as index, and at least its sizes but for dim. table
 * and values have one dtype; any strides. Elements of one line along dim are handled in order. */
void index_elements(enum index_kind kind, cr_tensor *table, int dim, const cr_tensor *index,
                    cr_tensor *values);

/* out (outer, count, inner) = rows of x (outer, n, inner); all contiguous. */
void index_rows(cr_tensor *out, const cr_tensor *x, int64_t outer, int64_t n, int64_t inner,
                const int64_t *index, int64_t count);

/* Rows added to rows: out (outer, n, inner) = base + alpha * rows of values (outer, count, inner)
 * that go to each, in their order; base may be NULL for zeros; rows whose index is `skip` go
 * nowhere. All contiguous, of one dtype. The workspace holds index_add_workspace(n, count). */
struct index_add {
    cr_tensor *out;
    const cr_tensor *base;
    const cr_tensor *values;
    const int64_t *index;
    int64_t outer, n, inner, count;
    int64_t skip; /* -1: none */
    double alpha;
    int64_t *workspace;
};
size_t index_add_workspace(int64_t n, int64_t count);
void index_add_rows(const struct index_add *add);

/* The number of true elements, and their row-major positions; contiguous. */
int64_t index_count_true(const bool *mask, int64_t n);
void index_true_positions(int64_t *out, const bool *mask, int64_t n);

#endif
