/* Kernels that reduce dimensions of a tensor.
 *
 * A reduction is a kind (what is done with two values), and a finish (what is made of the total at
 * the end). Totals are kept in double precision or in 64-bit integers. The order of the additions
 * depends on shape and strides alone. */
#ifndef CR_KERNELS_REDUCE_REDUCE_H
#define CR_KERNELS_REDUCE_REDUCE_H

#include "tensor/tensor.h"

enum reduce_kind {
    REDUCE_SUM,
    REDUCE_PROD,
    REDUCE_MAX, /* NaN if one is NaN, as for MIN */
    REDUCE_MIN,
    REDUCE_NONZERO, /* how many are not zero; an integer */
    REDUCE_NUMBERS, /* how many are not NaN; an integer */
    REDUCE_NANSUM,  /* the sum of what is not NaN */
    REDUCE_ABSOLUTES,
    REDUCE_SQUARES,
    REDUCE_POWERS,   /* of the absolutes, to the parameter */
    REDUCE_LARGEST,  /* of the absolutes */
    REDUCE_SMALLEST, /* of the absolutes */
    REDUCE_CENTERED, /* the sum of (x - center)² */
    REDUCE_EXPS,     /* the sum of exp(x - center) */
    REDUCE_KIND_COUNT
};

enum reduce_finish {
    REDUCE_AS_IS,
    REDUCE_DIVIDE, /* by the parameter */
    REDUCE_SQRT,
    REDUCE_ROOT,     /* to the power 1 / parameter */
    REDUCE_NOT_ZERO, /* true or false */
    REDUCE_EQUALS    /* whether the total is the parameter */
};

struct reduce_job {
    cr_tensor *out;     /* contiguous */
    const cr_tensor *x; /* any strides */
    const cr_shape *dims;
    enum reduce_kind kind;
    enum reduce_finish finish;
    double parameter;
    const cr_tensor *center; /* contiguous, of out's shape and float32 or float64; for the kinds
                                that have one */
    void *workspace;
};

/* The bytes of workspace that reducing dims of x takes. */
size_t reduce_workspace(const cr_tensor *x, const cr_shape *dims);

/* Floats are computed from float32 or float64, integers and bool from int64. The kinds from NUMBERS
 * on are for floats. */
void reduce_run(const struct reduce_job *job);

/* ---- the loops of an instruction set ---- */

/* A total: of floats `real`, of integers and of counts `whole`. */
union reduce_total {
    double real;
    int64_t whole;
};

/* What loops read: rows of other dtypes are converted to one of these. */
enum reduce_type { REDUCE_F32, REDUCE_F64, REDUCE_I64, REDUCE_TYPE_COUNT };

/* The most elements that a loop is given in a row. */
#define REDUCE_PIECE 1024

/* Adds n elements side by side to one total; `parameter` is the center or the power. */
typedef void (*reduce_row)(const void *x, int64_t n, double parameter, union reduce_total *total);

/* Adds `rows` rows of n elements, `step` elements apart, to n totals; `parameters` are n centers,
 * or n times the power. */
typedef void (*reduce_columns)(const void *x, int64_t step, int64_t rows, int64_t n,
                               const double *parameters, union reduce_total *totals);

struct reduce_loops {
    reduce_row row[REDUCE_KIND_COUNT][REDUCE_TYPE_COUNT];
    reduce_columns columns[REDUCE_KIND_COUNT][REDUCE_TYPE_COUNT];
    /* Puts n elements, `stride` bytes apart, side by side in the type that the dtype is read as. */
    void (*gather[CR_DTYPE_COUNT])(const char *from, int64_t stride, int64_t n, void *to);
};

const struct reduce_loops *reduce_loops(void);

/* ---- along one dimension of x (outer, size, inner), contiguous, of float32, float64 or int64 ----
 */

enum along_kind { ALONG_SUM, ALONG_PROD, ALONG_LOGSUMEXP, ALONG_MAX, ALONG_MIN };

struct along_job {
    enum reduce_type type;
    enum along_kind kind;
    bool reverse; /* scans only: from the last to the first */
    int64_t outer;
    int64_t size;
    int64_t inner;
    const void *x;
    void *out;        /* scans: of x's shape; else (outer, inner) */
    int64_t *indices; /* of out's shape; MAX, MIN and medians only */
    void *workspace;  /* medians: along_workspace bytes */
};

/* Running totals. MAX and MIN also tell where the extreme last occurred; NaN counts as extreme. */
void along_scan(const struct along_job *job);

/* The extreme (MAX or MIN) and where it first occurs; the first NaN if there is one. */
void along_extreme(const struct along_job *job);

/* The lower of the two middle values and where one is; NaN if there is one. */
void along_median(const struct along_job *job);
size_t along_workspace(const struct along_job *job);

#endif
