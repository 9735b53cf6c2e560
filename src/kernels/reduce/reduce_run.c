/* Reductions: how the walk over a strided tensor is planned, split and finished.
 *
 * Kept and reduced dimensions are ordered by stride and merged where they continue each other. If
 * the fastest of all is reduced, an output is the total of rows; else a block of neighbouring
 * outputs is made of columns. Where outputs are few and long, their rows are split into parts,
 * whose totals meet in the workspace and are joined in order. */
#include <math.h>

#include "kernels/reduce/reduce.h"
#include "kernels/variants.h"

/* Columns that are walked side by side. */
#define COLUMNS 256
/* Rows of columns in a piece of work. */
#define ROWS 64
/* Elements that a thread is given at least, and into how many parts a reduction is split at most.
 */
#define PART_ELEMENTS 32768
#define MOST_PARTS    64
/* A reduced dimension shorter than this is not worth a row when there are columns instead. */
#define SHORT_ROW 32

CR_KERNEL_VARIANTS(const struct reduce_loops, reduce_loops, );

const struct reduce_loops *reduce_loops(void)
{
    return CR_KERNELS_IN_USE(reduce_loops);
}

/* ---- the plan ---- */

struct axis {
    int64_t size;
    int64_t stride; /* bytes of x */
    int64_t out;    /* elements of the result; 0 where reduced */
};

/* Axes from slow to fast, at least one. */
struct axes {
    int count;
    struct axis at[CR_MAX_DIMS];
};

struct plan {
    struct axes kept;
    struct axes reduced;
    bool by_rows;
    int64_t outputs;
    int64_t units;         /* outputs, or blocks of columns */
    int64_t pieces;        /* of each unit: parts of rows, or groups of rows of columns */
    int64_t parts;         /* that pieces are dealt to */
    int64_t unit_elements; /* read for a unit */
};

/* Keeps the axes ordered from large to small strides. */
static void axes_add(struct axes *axes, struct axis axis)
{
    int at = axes->count++;
    for (; at > 0 && axes->at[at - 1].stride < axis.stride; at--)
        axes->at[at] = axes->at[at - 1];
    axes->at[at] = axis;
}

static void axes_merge(struct axes *axes)
{
    int last = 0;
    for (int i = 1; i < axes->count; i++) {
        struct axis *slow = &axes->at[last];
        const struct axis *fast = &axes->at[i];
        if (slow->stride == fast->stride * fast->size && slow->out == fast->out * fast->size)
            *slow = (struct axis){ slow->size * fast->size, fast->stride, fast->out };
        else
            axes->at[++last] = *fast;
    }
    axes->count = last + 1;
}

static int64_t axes_count(const struct axes *axes)
{
    int64_t count = 1;
    for (int i = 0; i < axes->count; i++)
        count *= axes->at[i].size;
    return count;
}

static struct axis axes_last(const struct axes *axes)
{
    return axes->at[axes->count - 1];
}

static bool prefers_rows(const struct plan *plan)
{
    struct axis kept = axes_last(&plan->kept);
    struct axis reduced = axes_last(&plan->reduced);
    if (kept.size == 1 || reduced.size == 1)
        return kept.size == 1;
    if (reduced.size < SHORT_ROW && kept.size > 2 * SHORT_ROW)
        return false;
    return reduced.stride <= kept.stride;
}

static void plan_split(struct plan *plan)
{
    int64_t fast = axes_last(&plan->reduced).size;
    int64_t reduced = axes_count(&plan->reduced);
    int64_t columns = axes_last(&plan->kept).size;
    plan->outputs = axes_count(&plan->kept);
    plan->by_rows = prefers_rows(plan);
    plan->pieces = fast ? reduced / fast * CR_DIV_UP(fast, plan->by_rows ? REDUCE_PIECE : ROWS) : 0;
    plan->units = plan->outputs;
    plan->unit_elements = reduced;
    if (!plan->by_rows) {
        plan->units = columns ? plan->outputs / columns * CR_DIV_UP(columns, COLUMNS) : 0;
        plan->unit_elements = reduced * CR_MIN(columns, (int64_t)COLUMNS);
    }
    int64_t wanted = CR_MIN(plan->outputs * reduced / PART_ELEMENTS, (int64_t)MOST_PARTS);
    plan->parts = plan->units ? CR_MIN(wanted / plan->units, plan->pieces) : 1;
    plan->parts = CR_MAX(plan->parts, 1);
}

static void plan_make(struct plan *plan, const cr_tensor *x, const cr_shape *dims)
{
    bool is_reduced[CR_MAX_DIMS] = { false };
    int64_t bytes = (int64_t)cr_dtype_size((cr_dtype)x->dtype);
    int64_t out = 1;
    plan->kept.count = plan->reduced.count = 0;
    for (int i = 0; i < dims->ndim; i++)
        is_reduced[dims->dim[i]] = true;
    for (int d = x->shape.ndim - 1; d >= 0; d--) {
        int64_t size = x->shape.dim[d];
        struct axis axis = { size, x->stride[d] * bytes, is_reduced[d] ? 0 : out };
        if (size != 1)
            axes_add(is_reduced[d] ? &plan->reduced : &plan->kept, axis);
        if (!is_reduced[d])
            out *= size;
    }
    if (!plan->kept.count)
        plan->kept.at[plan->kept.count++] = (struct axis){ 1, 0, 0 };
    if (!plan->reduced.count)
        plan->reduced.at[plan->reduced.count++] = (struct axis){ 1, 0, 0 };
    axes_merge(&plan->kept);
    axes_merge(&plan->reduced);
    plan_split(plan);
}

/* Where position number `position` of the first `count` axes lies in x and in the result. */
static int64_t axes_offset(const struct axes *axes, int count, int64_t position, int64_t *out)
{
    int64_t offset = 0;
    for (int i = count - 1; i >= 0; i--) {
        int64_t index = position % axes->at[i].size;
        position /= axes->at[i].size;
        offset += index * axes->at[i].stride;
        if (out)
            *out += index * axes->at[i].out;
    }
    return offset;
}

/* ---- one part of one unit ---- */

struct reduction {
    const struct reduce_job *job;
    const struct reduce_loops *loops;
    struct plan plan;
    enum reduce_type type;
    bool is_native; /* the loops read x's dtype as it is */
    bool is_whole;  /* totals are integers */
};

static enum reduce_type type_of(cr_dtype dtype)
{
    if (dtype == CR_F64)
        return REDUCE_F64;
    return cr_dtype_is_floating(dtype) ? REDUCE_F32 : REDUCE_I64;
}

static union reduce_total start_of(const struct reduction *r)
{
    bool of_integers = r->type == REDUCE_I64;
    union reduce_total total = { .whole = 0 };
    switch (r->job->kind) {
    case REDUCE_PROD:
        return of_integers ? (union reduce_total){ .whole = 1 } : (union reduce_total){ .real = 1 };
    case REDUCE_MAX:
        return of_integers ? (union reduce_total){ .whole = INT64_MIN }
                           : (union reduce_total){ .real = -INFINITY };
    case REDUCE_MIN:
        return of_integers ? (union reduce_total){ .whole = INT64_MAX }
                           : (union reduce_total){ .real = INFINITY };
    case REDUCE_SMALLEST:
        return (union reduce_total){ .real = INFINITY };
    default: /* all bits zero is 0.0, too */
        return total;
    }
}

static double center_of(const struct reduction *r, int64_t output)
{
    const cr_tensor *center = r->job->center;
    if (!center)
        return r->job->parameter;
    return center->dtype == CR_F64 ? TENSOR_DATA(double, center)[output]
                                   : (double)TENSOR_DATA(float, center)[output];
}

/* Elements `stride` bytes apart, as the loops want them: in place, or gathered into `room`. */
static const void *ready(const struct reduction *r, const char *from, int64_t stride, int64_t n,
                         void *room)
{
    static const int64_t sizes[] = { sizeof(float), sizeof(double), sizeof(int64_t) };
    if (r->is_native && (stride == sizes[r->type] || n == 1))
        return from;
    r->loops->gather[r->job->x->dtype](from, stride, n, room);
    return room;
}

static void reduce_rows(const struct reduction *r, const char *from, int64_t begin, int64_t end,
                        double parameter, union reduce_total *total)
{
    double room[REDUCE_PIECE];
    const struct axes *reduced = &r->plan.reduced;
    struct axis fast = axes_last(reduced);
    int64_t in_row = CR_DIV_UP(fast.size, (int64_t)REDUCE_PIECE);
    reduce_row loop = r->loops->row[r->job->kind][r->type];
    for (int64_t piece = begin; piece < end; piece++) {
        int64_t first = piece % in_row * REDUCE_PIECE;
        int64_t n = CR_MIN(fast.size - first, (int64_t)REDUCE_PIECE);
        const char *at = from + first * fast.stride +
                         axes_offset(reduced, reduced->count - 1, piece / in_row, NULL);
        loop(ready(r, at, fast.stride, n, room), n, parameter, total);
    }
}

static void reduce_column_block(const struct reduction *r, const char *from, int64_t columns,
                                int64_t begin, int64_t end, const double *parameters,
                                union reduce_total *totals)
{
    double room[COLUMNS];
    const struct axes *reduced = &r->plan.reduced;
    struct axis fast = axes_last(reduced);
    int64_t stride = axes_last(&r->plan.kept).stride;
    int64_t groups = CR_DIV_UP(fast.size, (int64_t)ROWS);
    int64_t bytes = (int64_t)cr_dtype_size((cr_dtype)r->job->x->dtype);
    reduce_columns loop = r->loops->columns[r->job->kind][r->type];
    for (int64_t piece = begin; piece < end; piece++) {
        int64_t first = piece % groups * ROWS;
        int64_t rows = CR_MIN(fast.size - first, (int64_t)ROWS);
        const char *at = from + first * fast.stride +
                         axes_offset(reduced, reduced->count - 1, piece / groups, NULL);
        if (r->is_native && stride == bytes && fast.stride % bytes == 0) {
            loop(at, fast.stride / bytes, rows, columns, parameters, totals);
            continue;
        }
        for (int64_t i = 0; i < rows; i++)
            loop(ready(r, at + i * fast.stride, stride, columns, room), 0, 1, columns, parameters,
                 totals);
    }
}

/* ---- finishing ---- */

static double finish_real(const struct reduce_job *job, double total)
{
    switch (job->finish) {
    case REDUCE_DIVIDE:
        return total / job->parameter;
    case REDUCE_SQRT:
        return sqrt(total);
    case REDUCE_ROOT:
        return pow(total, 1 / job->parameter);
    case REDUCE_NOT_ZERO:
        return total != 0;
    case REDUCE_EQUALS:
        return total == job->parameter;
    default:
        return total;
    }
}

static void store_whole(cr_tensor *out, int64_t at, int64_t value)
{
    switch ((cr_dtype)out->dtype) {
    case CR_I64:
        TENSOR_DATA(int64_t, out)[at] = value;
        break;
    case CR_I32:
        TENSOR_DATA(int32_t, out)[at] = (int32_t)value;
        break;
    case CR_I16:
        TENSOR_DATA(int16_t, out)[at] = (int16_t)value;
        break;
    case CR_I8:
        TENSOR_DATA(int8_t, out)[at] = (int8_t)value;
        break;
    case CR_U8:
        TENSOR_DATA(uint8_t, out)[at] = (uint8_t)value;
        break;
    default:
        TENSOR_DATA(bool, out)[at] = value != 0;
    }
}

static void store_real(cr_tensor *out, int64_t at, double value)
{
    switch ((cr_dtype)out->dtype) {
    case CR_F32:
        TENSOR_DATA(float, out)[at] = (float)value;
        break;
    case CR_F64:
        TENSOR_DATA(double, out)[at] = value;
        break;
    case CR_BF16:
        TENSOR_DATA(uint16_t, out)[at] = bf16_from_float((float)value);
        break;
    case CR_F16:
        TENSOR_DATA(uint16_t, out)[at] = f16_from_float((float)value);
        break;
    default:
        store_whole(out, at, (int64_t)value);
    }
}

static void store(const struct reduction *r, int64_t output, union reduce_total total)
{
    bool is_whole = r->is_whole && r->job->finish == REDUCE_AS_IS;
    if (is_whole && !tensor_is_floating(r->job->out))
        store_whole(r->job->out, output, total.whole);
    else
        store_real(r->job->out, output,
                   finish_real(r->job, r->is_whole ? (double)total.whole : total.real));
}

/* Where the totals of a part wait for the others. */
static union reduce_total *waiting(const struct reduction *r, int64_t part, int64_t output)
{
    return (union reduce_total *)r->job->workspace + part * r->plan.outputs + output;
}

static void settle(const struct reduction *r, int64_t part, int64_t output,
                   union reduce_total total)
{
    if (r->plan.parts == 1)
        store(r, output, total);
    else
        *waiting(r, part, output) = total;
}

/* Joins the totals of the parts of an output: they are values of a reduction themselves. */
static void join_parts(const struct reduction *r)
{
    enum reduce_kind kind = r->job->kind;
    if (kind == REDUCE_LARGEST)
        kind = REDUCE_MAX;
    else if (kind == REDUCE_SMALLEST)
        kind = REDUCE_MIN;
    else if (kind != REDUCE_PROD && kind != REDUCE_MAX && kind != REDUCE_MIN)
        kind = REDUCE_SUM;
    reduce_columns loop = r->loops->columns[kind][r->is_whole ? REDUCE_I64 : REDUCE_F64];
    double unused = 0;
    for (int64_t output = 0; output < r->plan.outputs; output++) {
        union reduce_total total = start_of(r);
        loop(waiting(r, 0, output), r->plan.outputs, r->plan.parts, 1, &unused, &total);
        store(r, output, total);
    }
}

/* ---- running ---- */

static void run_rows(const struct reduction *r, int64_t unit, int64_t part, int64_t begin,
                     int64_t end)
{
    int64_t output = 0;
    int64_t offset = axes_offset(&r->plan.kept, r->plan.kept.count, unit, &output);
    union reduce_total total = start_of(r);
    reduce_rows(r, tensor_bytes(r->job->x) + offset, begin, end, center_of(r, output), &total);
    settle(r, part, output, total);
}

static void run_columns(const struct reduction *r, int64_t unit, int64_t part, int64_t begin,
                        int64_t end)
{
    union reduce_total totals[COLUMNS];
    double parameters[COLUMNS];
    const struct axes *kept = &r->plan.kept;
    struct axis fast = axes_last(kept);
    int64_t blocks = CR_DIV_UP(fast.size, (int64_t)COLUMNS);
    int64_t first = unit % blocks * COLUMNS;
    int64_t columns = CR_MIN(fast.size - first, (int64_t)COLUMNS);
    int64_t output = first * fast.out;
    int64_t offset =
        first * fast.stride + axes_offset(kept, kept->count - 1, unit / blocks, &output);
    for (int64_t j = 0; j < columns; j++) {
        totals[j] = start_of(r);
        parameters[j] = center_of(r, output + j * fast.out);
    }
    reduce_column_block(r, tensor_bytes(r->job->x) + offset, columns, begin, end, parameters,
                        totals);
    for (int64_t j = 0; j < columns; j++)
        settle(r, part, output + j * fast.out, totals[j]);
}

static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const struct reduction *r = context;
    const struct plan *plan = &r->plan;
    int64_t share = CR_DIV_UP(plan->pieces, plan->parts);
    for (int64_t task = begin; task < end; task++) {
        int64_t unit = task / plan->parts;
        int64_t part = task % plan->parts;
        int64_t first = CR_MIN(part * share, plan->pieces);
        int64_t last = CR_MIN(first + share, plan->pieces);
        if (plan->by_rows)
            run_rows(r, unit, part, first, last);
        else
            run_columns(r, unit, part, first, last);
    }
}

size_t reduce_workspace(const cr_tensor *x, const cr_shape *dims)
{
    struct plan plan;
    plan_make(&plan, x, dims);
    return plan.parts == 1 ? 0 : (size_t)(plan.parts * plan.outputs) * sizeof(union reduce_total);
}

void reduce_run(const struct reduce_job *job)
{
    cr_dtype dtype = (cr_dtype)job->x->dtype;
    struct reduction r = { .job = job, .loops = reduce_loops(), .type = type_of(dtype) };
    r.is_native = dtype == CR_F32 || dtype == CR_F64 || dtype == CR_I64;
    r.is_whole = r.type == REDUCE_I64 || job->kind == REDUCE_NONZERO || job->kind == REDUCE_NUMBERS;
    plan_make(&r.plan, job->x, job->dims);
    int64_t elements = CR_MAX(r.plan.unit_elements / r.plan.parts, 1);
    cr_parallel_for(r.plan.units * r.plan.parts, CR_MAX(PART_ELEMENTS / elements, 1), run_tasks,
                    &r);
    if (r.plan.parts > 1)
        join_parts(&r);
}
