/* Sums of products by Einstein's notation, written with permutations, sums and bmm.
 *
 * Labels become small numbers: letters first, then the dimensions that "..." stands for, counted
 * from the last. Each operand is reduced to distinct labels (repeated ones are diagonals, those
 * that stand nowhere else are summed), then the operands are multiplied from the left to the right:
 * labels of both that are needed later are the batch of a bmm, the other labels of both its inner
 * dimension. */
#include <ctype.h>
#include <string.h>

#include "ops/ops.h"

#define LETTERS      52
#define LABELS       (LETTERS + CR_MAX_DIMS)
#define OPERANDS_MAX 16

struct einsum_attributes {
    char equation[CR_ATTRIBUTE_TEXT_SIZE];
};

static const cr_attribute einsum_table[] = {
    CR_ATTRIBUTE(struct einsum_attributes, TEXT, equation),
    CR_ATTRIBUTE_END,
};

/* A tensor and the label of each of its dimensions. */
struct labelled {
    cr_tensor *tensor;
    int count;
    int label[CR_MAX_DIMS];
};

struct einsum {
    const char *equation;
    int operands;
    struct labelled operand[OPERANDS_MAX];
    int out_count;
    int out[CR_MAX_DIMS];
    int ellipsis; /* the most dimensions that "..." stands for */
    int64_t size[LABELS];
    int uses[LABELS]; /* in how many operands, and the result, a label stands */
};

/* ---- reading the equation ---- */

static cr_status refuse(const struct einsum *e, const char *why)
{
    return cr_error_set(CR_ERROR_ARGUMENT, "einsum: \"%s\": %s", e->equation, why);
}

static int label_of(char letter)
{
    return islower((unsigned char)letter) ? letter - 'a' : letter - 'A' + LETTERS / 2;
}

static cr_status add_label(const struct einsum *e, int *labels, int *count, int label)
{
    if (*count == CR_MAX_DIMS)
        return refuse(e, "a term has more than 8 dimensions");
    labels[(*count)++] = label;
    return CR_OK;
}

/* Reads one term up to a ',', a '-' or the end; `dots` dimensions are what "..." stands for there.
 */
static cr_status read_term(const struct einsum *e, const char **at, int dots, int *labels,
                           int *count)
{
    bool dotted = false;
    *count = 0;
    for (; **at && **at != ',' && **at != '-'; ++*at) {
        if (**at == ' ')
            continue;
        if (isalpha((unsigned char)**at)) {
            if (add_label(e, labels, count, label_of(**at)) != CR_OK)
                return cr_error_status();
            continue;
        }
        if (strncmp(*at, "...", 3) != 0 || dotted)
            return refuse(e,
                          "only letters, one \"...\" in a term, \",\" and \"->\" may stand in it");
        dotted = true;
        *at += 2;
        for (int i = dots; i > 0; i--) {
            if (add_label(e, labels, count, LETTERS + i - 1) != CR_OK)
                return cr_error_status();
        }
    }
    return CR_OK;
}

/* How many letters a term has, and whether it has "...". */
static int letters_of(const char *at, bool *dotted)
{
    int letters = 0;
    *dotted = false;
    for (; *at && *at != ',' && *at != '-'; at++) {
        letters += isalpha((unsigned char)*at) != 0;
        *dotted = *dotted || *at == '.';
    }
    return letters;
}

static cr_status read_operand(struct einsum *e, const char **at, struct labelled *operand)
{
    bool dotted;
    int ndim = operand->tensor->shape.ndim, dots = ndim - letters_of(*at, &dotted);
    if (dots < 0 || (dots > 0 && !dotted))
        return refuse(e, "a term has not as many labels as its operand has dimensions");
    if (read_term(e, at, dots, operand->label, &operand->count) != CR_OK)
        return cr_error_status();
    e->ellipsis = CR_MAX(e->ellipsis, dots);
    for (int d = 0; d < operand->count; d++) {
        int64_t *size = &e->size[operand->label[d]], here = operand->tensor->shape.dim[d];
        if (e->uses[operand->label[d]]++ == 0 || *size == 1)
            *size = here;
        else if (here != *size && here != 1)
            return cr_error_set(CR_ERROR_SHAPE, "einsum: \"%s\": a label has sizes %lld and %lld",
                                e->equation, (long long)*size, (long long)here);
    }
    return CR_OK;
}

/* Without "->": what "..." stands for, then the labels that stand once. */
static cr_status implied_output(struct einsum *e)
{
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    for (int i = e->ellipsis; i > 0; i--) {
        if (add_label(e, e->out, &e->out_count, LETTERS + i - 1) != CR_OK)
            return cr_error_status();
    }
    for (const char *letter = alphabet; *letter; letter++) {
        if (e->uses[label_of(*letter)] == 1 &&
            add_label(e, e->out, &e->out_count, label_of(*letter)) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status check_output(const struct einsum *e)
{
    bool seen[LABELS] = { false };
    for (int i = 0; i < e->out_count; i++) {
        if (seen[e->out[i]] || e->uses[e->out[i]] == 0)
            return refuse(e, "a label of the result must stand in an operand, and once in the "
                             "result");
        seen[e->out[i]] = true;
    }
    return CR_OK;
}

static cr_status read_equation(struct einsum *e)
{
    const char *at = e->equation;
    for (int i = 0; i < e->operands; i++) {
        if (i > 0 && *at++ != ',')
            return refuse(e, "it has fewer terms than there are operands");
        if (read_operand(e, &at, &e->operand[i]) != CR_OK)
            return cr_error_status();
    }
    if (!*at)
        return implied_output(e);
    if (strncmp(at, "->", 2) != 0)
        return refuse(e, "it has more terms than there are operands, or a \"-\" without \">\"");
    at += 2;
    if (read_term(e, &at, e->ellipsis, e->out, &e->out_count) != CR_OK)
        return cr_error_status();
    return *at ? refuse(e, "something follows the result") : check_output(e);
}

/* ---- one operand ---- */

static int find_label(const int *labels, int count, int label)
{
    for (int i = 0; i < count; i++) {
        if (labels[i] == label)
            return i;
    }
    return -1;
}

static void remove_label(struct labelled *x, int d)
{
    x->count--;
    memmove(x->label + d, x->label + d + 1, (size_t)(x->count - d) * sizeof x->label[0]);
}

/* Dimensions with one label become their diagonal. */
static void take_diagonals(struct labelled *x)
{
    for (int d = 0; d < x->count; d++) {
        int other = find_label(x->label, d, x->label[d]);
        if (other < 0)
            continue;
        int label = x->label[d];
        x->tensor = cr_diagonal(x->tensor, 0, other, d);
        remove_label(x, d);
        remove_label(x, other);
        x->label[x->count++] = label;
        d = -1; /* the labels have moved */
    }
}

/* Sums the dimensions whose labels are not needed. */
static void sum_unneeded(struct labelled *x, const bool *needed)
{
    cr_shape dims = { 0 };
    for (int d = 0; d < x->count; d++) {
        if (!needed[x->label[d]])
            dims.dim[dims.ndim++] = d;
    }
    if (dims.ndim == 0)
        return;
    x->tensor = cr_sum_dims(x->tensor, dims, false);
    for (int i = dims.ndim - 1; i >= 0; i--)
        remove_label(x, (int)dims.dim[i]);
}

/* ---- two operands ---- */

/* x with its dimensions in the order of `labels` and of the labels' sizes, as (B, m, n), where the
 * first `first` labels are B and the next `second` are m. */
static cr_tensor *as_matrices(const struct einsum *e, const struct labelled *x, const int *labels,
                              int count, int first, int second)
{
    cr_shape dims = { .ndim = count }, sizes = { .ndim = count };
    int64_t merged[3] = { 1, 1, 1 };
    for (int i = 0; i < count; i++) {
        dims.dim[i] = find_label(x->label, x->count, labels[i]);
        sizes.dim[i] = e->size[labels[i]];
        merged[i < first ? 0 : i < first + second ? 1 : 2] *= sizes.dim[i];
    }
    cr_tensor *ordered = cr_expand(cr_permute(x->tensor, dims), sizes);
    return cr_reshape(ordered, CR_SHAPE(merged[0], merged[1], merged[2]));
}

static void append(int *to, int *count, const int *from, int more)
{
    memcpy(to + *count, from, (size_t)more * sizeof from[0]);
    *count += more;
}

/* a = the product of a and b, summed over their common labels that are not needed. */
static cr_status multiply(const struct einsum *e, struct labelled *a, const struct labelled *b,
                          const bool *needed)
{
    int batch[CR_MAX_DIMS], inner[CR_MAX_DIMS], left[CR_MAX_DIMS], right[CR_MAX_DIMS];
    int batches = 0, inners = 0, lefts = 0, rights = 0;
    for (int d = 0; d < a->count; d++) {
        int label = a->label[d];
        if (find_label(b->label, b->count, label) < 0)
            left[lefts++] = label;
        else if (needed[label])
            batch[batches++] = label;
        else
            inner[inners++] = label;
    }
    for (int d = 0; d < b->count; d++) {
        if (find_label(a->label, a->count, b->label[d]) < 0)
            right[rights++] = b->label[d];
    }
    if (batches + lefts + rights > CR_MAX_DIMS)
        return refuse(e, "a product on the way to the result has more than 8 dimensions");
    int order[2][CR_MAX_DIMS], counts[2] = { 0, 0 }, result[CR_MAX_DIMS], results = 0;
    append(order[0], &counts[0], batch, batches);
    append(order[0], &counts[0], left, lefts);
    append(order[0], &counts[0], inner, inners);
    append(order[1], &counts[1], batch, batches);
    append(order[1], &counts[1], inner, inners);
    append(order[1], &counts[1], right, rights);
    append(result, &results, batch, batches);
    append(result, &results, left, lefts);
    append(result, &results, right, rights);
    cr_tensor *product = cr_bmm(as_matrices(e, a, order[0], counts[0], batches, lefts),
                                as_matrices(e, b, order[1], counts[1], batches, inners));
    cr_shape shape = { .ndim = results };
    for (int i = 0; i < results; i++)
        shape.dim[i] = e->size[result[i]];
    a->tensor = cr_reshape(product, shape);
    a->count = results;
    memcpy(a->label, result, sizeof result);
    return a->tensor ? CR_OK : cr_error_status();
}

/* Marks the labels of the result and of operands from `first` on. */
static void mark_needed(const struct einsum *e, int first, bool *needed)
{
    memset(needed, 0, LABELS * sizeof needed[0]);
    for (int i = 0; i < e->out_count; i++)
        needed[e->out[i]] = true;
    for (int o = first; o < e->operands; o++) {
        for (int d = 0; d < e->operand[o].count; d++)
            needed[e->operand[o].label[d]] = true;
    }
}

/* Labels that stand in one operand only and not in the result are summed before anything else. */
static void reduce_operand(struct einsum *e, int index)
{
    bool needed[LABELS];
    mark_needed(e, e->operands, needed);
    for (int o = 0; o < e->operands; o++) {
        for (int d = 0; o != index && d < e->operand[o].count; d++)
            needed[e->operand[o].label[d]] = true;
    }
    struct labelled *x = &e->operand[index];
    take_diagonals(x);
    sum_unneeded(x, needed);
}

static cr_tensor *compute(struct einsum *e)
{
    for (int o = 0; o < e->operands; o++)
        reduce_operand(e, o);
    struct labelled *all = &e->operand[0];
    for (int o = 1; o < e->operands; o++) {
        bool needed[LABELS];
        mark_needed(e, o + 1, needed);
        if (multiply(e, all, &e->operand[o], needed) != CR_OK)
            return NULL;
    }
    cr_shape dims = { .ndim = e->out_count }, sizes = { .ndim = e->out_count };
    for (int i = 0; i < e->out_count; i++) {
        dims.dim[i] = find_label(all->label, all->count, e->out[i]);
        sizes.dim[i] = e->size[e->out[i]];
    }
    return cr_expand(cr_permute(all->tensor, dims), sizes);
}

static cr_status einsum_compose(cr_compose_call *call)
{
    const struct einsum_attributes *attributes = call->attributes;
    struct einsum e = { .equation = attributes->equation, .operands = call->input_count };
    if (call->input_count < 1 || call->input_count > OPERANDS_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "einsum: takes 1 to %d operands, not %d",
                            OPERANDS_MAX, call->input_count);
    for (int i = 0; i < e.operands; i++)
        e.operand[i].tensor = call->inputs[i];
    if (read_equation(&e) != CR_OK)
        return cr_error_status();
    call->outputs[0] = compute(&e);
    return CR_OK;
}

static const cr_op einsum_op = {
    .name = "einsum",
    .summary = "sums of products by Einstein's notation",
    .input_names = "tensors*",
    .attributes = einsum_table,
    .attribute_size = sizeof(struct einsum_attributes),
    .min_inputs = 1,
    .max_inputs = -1,
    .cast = CR_CAST_LOWER,
    .compose = einsum_compose,
};

cr_tensor *cr_einsum(const char *equation, cr_tensor *const *tensors, int count)
{
    struct einsum_attributes attributes = { .equation = "" };
    size_t length = equation ? strlen(equation) : 0;
    if (length == 0 || length >= sizeof attributes.equation) {
        cr_error_set(CR_ERROR_ARGUMENT, "einsum: the equation must have 1 to %d characters",
                     CR_ATTRIBUTE_TEXT_SIZE - 1);
        return NULL;
    }
    memcpy(attributes.equation, equation, length);
    return cr_apply(&einsum_op, (cr_inputs){ count, tensors }, &attributes);
}

OP_FAMILY(einsum_ops) = { &einsum_op, NULL };
