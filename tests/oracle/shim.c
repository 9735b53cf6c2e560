/* What the Python side of the comparisons with PyTorch calls: the public interface, by pointers
 * only, so that ctypes need not know how structs are passed. Nothing here computes. */
#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/op.h"
#include "cresset/ops.h"

/* ---- tensors ---- */

cr_tensor *oracle_from_buffer(const void *data, int ndim, const int64_t *sizes, int dtype)
{
    return cr_from_buffer(data, cr_shape_make(ndim, sizes), (cr_dtype)dtype);
}

cr_tensor *oracle_meta(int ndim, const int64_t *sizes, int dtype)
{
    return cr_empty_with((cr_tensor_args){
        .shape = cr_shape_make(ndim, sizes), .dtype = (cr_dtype)dtype, .device = CR_META });
}

/* Fills sizes and strides (8 places each); returns the number of dimensions. */
int oracle_geometry(const cr_tensor *tensor, int64_t *sizes, int64_t *strides)
{
    int ndim = cr_ndim(tensor);
    for (int i = 0; i < ndim; i++) {
        sizes[i] = cr_dim(tensor, i);
        strides[i] = cr_stride(tensor, i);
    }
    return ndim;
}

/* A view with any strides: an op of our own, made with the record that programs use too. */
struct as_strided_attributes {
    cr_shape shape;
    cr_shape stride;
    int64_t offset;
};

static cr_status as_strided_infer(cr_infer_call *call)
{
    const struct as_strided_attributes *attributes = call->attributes;
    cr_tensor_spec *out = &call->outputs[0];
    out->dtype = cr_dtype_of(call->inputs[0]);
    out->shape = attributes->shape;
    out->stride = attributes->stride;
    out->offset = attributes->offset;
    return CR_OK;
}

static const cr_op as_strided_op = {
    .name = "oracle_as_strided",
    .input_names = "x",
    .attribute_size = sizeof(struct as_strided_attributes),
    .min_inputs = 1,
    .flags = CR_OP_VIEW | CR_OP_NOT_DIFFERENTIABLE,
    .infer = as_strided_infer,
};

cr_tensor *oracle_as_strided(cr_tensor *base, int ndim, const int64_t *sizes,
                             const int64_t *strides, int64_t offset)
{
    struct as_strided_attributes attributes = { cr_shape_make(ndim, sizes),
                                                cr_shape_make(ndim, strides), offset };
    return cr_apply(&as_strided_op, CR_INPUTS(base), &attributes);
}

/* ---- frames, by pointer ---- */

void oracle_frame_begin(cr_frame *frame)
{
    *frame = cr_frame_begin();
}

void oracle_frame_end(const cr_frame *frame)
{
    cr_frame_end(*frame);
}

/* ---- the table of ops ---- */

const char *oracle_op_name(const cr_op *op)
{
    return op->name;
}

const char *oracle_op_inputs(const cr_op *op)
{
    return op->input_names;
}

unsigned oracle_op_flags(const cr_op *op)
{
    return op->flags;
}

/* 1: has a backward; 2: is composed of other ops; 4: has a kernel for the CPU. */
int oracle_op_parts(const cr_op *op)
{
    return (op->backward != NULL) | (op->compose != NULL) << 1 | (op->forward[CR_CPU] != NULL) << 2;
}

/* Fills {min_inputs, max_inputs, output_count, attribute_size}. */
void oracle_op_counts(const cr_op *op, int64_t counts[4])
{
    counts[0] = op->min_inputs;
    counts[1] = op->max_inputs ? op->max_inputs : op->min_inputs;
    counts[2] = op->output_count ? op->output_count : 1;
    counts[3] = (int64_t)op->attribute_size;
}

/* The name of attribute i, NULL behind the last; fills its kind and offset. */
const char *oracle_op_attribute(const cr_op *op, int i, int *kind, int64_t *offset)
{
    if (!op->attributes || !op->attributes[i].name)
        return NULL;
    *kind = (int)op->attributes[i].kind;
    *offset = (int64_t)op->attributes[i].offset;
    return op->attributes[i].name;
}

int oracle_apply(const cr_op *op, int count, cr_tensor *const *inputs, const void *attributes,
                 cr_tensor **outputs)
{
    return (int)cr_apply_all(op, (cr_inputs){ count, inputs }, attributes, outputs);
}

/* ---- which ops ran ---- */

#define MOST_OPS 4096

static const cr_op *seen[MOST_OPS];
static int seen_count;

static void notice(const cr_call *call, void *context)
{
    (void)context;
    for (int i = 0; i < seen_count; i++) {
        if (seen[i] == call->op)
            return;
    }
    if (seen_count < MOST_OPS)
        seen[seen_count++] = call->op;
}

/* Begins a new list of the ops that run in the calling thread. */
void oracle_observe(void)
{
    seen_count = 0;
    cr_observe((cr_observation){ notice, NULL });
}

/* The name of the i-th op that ran since oracle_observe; NULL behind the last. */
const char *oracle_seen(int i)
{
    return i < seen_count ? seen[i]->name : NULL;
}

/* ---- autograd ---- */

int oracle_backward(cr_tensor *output, cr_tensor *gradient, bool retain_graph, bool create_graph)
{
    return (int)cr_backward_with(
        (cr_backward_args){ output, gradient, retain_graph, create_graph });
}

int oracle_grad(cr_tensor *output, cr_tensor *gradient, bool retain_graph, bool create_graph,
                cr_tensor *const *inputs, int count, cr_tensor **grads)
{
    return (int)cr_grad((cr_backward_args){ output, gradient, retain_graph, create_graph }, inputs,
                        count, grads);
}

/* ---- memory ---- */

/* Fills {bytes of buffers in use, small blocks in use}. */
void oracle_memory(uint64_t use[2])
{
    cr_memory_stats stats = cr_memory_get_stats();
    use[0] = stats.in_use;
    use[1] = stats.small;
}
