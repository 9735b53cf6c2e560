/* Connectionist temporal classification: the record of the kernel, and the checks of what users
 * give it. The gradient is that of PyTorch: by the inputs of the log softmax that made log_probs.
 */
#include "cresset/loss.h"
#include "kernels/loss/loss.h"
#include "ops/ops.h"

struct ctc_attributes {
    int64_t blank;
    int64_t longest; /* native only: the most labels of a sample */
    bool zero_infinity;
    int reduction;
};

static const cr_attribute ctc_table[] = {
    CR_ATTRIBUTE(struct ctc_attributes, INT, blank),
    CR_ATTRIBUTE(struct ctc_attributes, BOOL, zero_infinity),
    CR_ATTRIBUTE(struct ctc_attributes, ENUM, reduction),
    CR_ATTRIBUTE_END,
};

static const cr_attribute native_table[] = {
    CR_ATTRIBUTE(struct ctc_attributes, INT, blank),
    CR_ATTRIBUTE(struct ctc_attributes, INT, longest),
    CR_ATTRIBUTE(struct ctc_attributes, BOOL, zero_infinity),
    CR_ATTRIBUTE_END,
};

/* Of both records: log_probs, and of each sample where its labels begin and how long it is. */
enum { IN_LOG_PROBS, IN_TARGETS, IN_STARTS, IN_INPUT_LENGTHS, IN_TARGET_LENGTHS, IN_COUNT };
enum { GRAD_IN = IN_COUNT, GRAD_LOSS, GRAD_ALPHA, GRAD_COUNT };

static enum loss_type type_of(const cr_tensor *x)
{
    return x->dtype == CR_F64 ? LOSS_F64 : LOSS_F32;
}

static void job_of(const cr_call *call, struct ctc_job *job)
{
    const struct ctc_attributes *attributes = call->attributes;
    const cr_tensor *log_probs = call->inputs[IN_LOG_PROBS];
    job->time = log_probs->shape.dim[0];
    job->batch = log_probs->shape.dim[1];
    job->classes = log_probs->shape.dim[2];
    job->blank = attributes->blank;
    job->longest = attributes->longest;
    job->zero_infinity = attributes->zero_infinity;
    job->log_probs = tensor_bytes(log_probs);
    job->target = TENSOR_DATA(int64_t, call->inputs[IN_TARGETS]);
    job->target_start = TENSOR_DATA(int64_t, call->inputs[IN_STARTS]);
    job->input_lengths = TENSOR_DATA(int64_t, call->inputs[IN_INPUT_LENGTHS]);
    job->target_lengths = TENSOR_DATA(int64_t, call->inputs[IN_TARGET_LENGTHS]);
}

static size_t backward_workspace(const cr_call *call)
{
    struct ctc_job job = { 0 };
    job_of(call, &job);
    return ctc_workspace(type_of(call->inputs[IN_LOG_PROBS]), &job);
}

static void backward_forward(const cr_call *call)
{
    struct ctc_job job = { 0 };
    job_of(call, &job);
    job.grad = tensor_bytes(call->inputs[GRAD_IN]);
    job.loss = tensor_bytes(call->inputs[GRAD_LOSS]);
    job.alpha = tensor_bytes(call->inputs[GRAD_ALPHA]);
    job.grad_x = tensor_bytes(call->outputs[0]);
    job.workspace = call->workspace;
    ctc_backward(type_of(call->inputs[IN_LOG_PROBS]), &job);
}

static const cr_op native_ctc_loss_backward_op = {
    .name = "native_ctc_loss_backward",
    .summary = "the gradient of native_ctc_loss",
    .input_names = "log_probs targets starts input_lengths target_lengths grad loss alpha",
    .attributes = native_table,
    .attribute_size = sizeof(struct ctc_attributes),
    .min_inputs = GRAD_COUNT,
    .flags = CR_OP_NOT_DIFFERENTIABLE,
    .infer = infer_same,
    .workspace = backward_workspace,
    .forward = { [CR_CPU] = backward_forward },
};

/* Outputs: the loss of each sample, and the forward variables (N, T, 2 longest + 1). */
static cr_status native_infer(cr_infer_call *call)
{
    const struct ctc_attributes *attributes = call->attributes;
    const cr_tensor *log_probs = call->inputs[IN_LOG_PROBS];
    if (require_computed(log_probs, "log_probs") != CR_OK ||
        require_ndim(log_probs, "log_probs", 3, 3) != CR_OK)
        return cr_error_status();
    for (int i = IN_TARGETS; i < IN_COUNT; i++) {
        if (call->inputs[i]->dtype != CR_I64)
            return cr_error_set(CR_ERROR_DTYPE, "targets and lengths must be int64");
    }
    for (int i = 0; i < 2; i++)
        call->outputs[i].dtype = (cr_dtype)log_probs->dtype;
    call->outputs[0].shape = CR_SHAPE(log_probs->shape.dim[1]);
    call->outputs[1].shape =
        CR_SHAPE(log_probs->shape.dim[1], log_probs->shape.dim[0], 2 * attributes->longest + 1);
    return CR_OK;
}

static void native_forward(const cr_call *call)
{
    struct ctc_job job = { 0 };
    job_of(call, &job);
    job.loss = tensor_bytes(call->outputs[0]);
    job.alpha = tensor_bytes(call->outputs[1]);
    ctc_forward(type_of(call->inputs[IN_LOG_PROBS]), &job);
}

static cr_status native_backward(cr_gradient_call *call)
{
    if (call->grad_outputs[0] && call->needs[0])
        call->grad_inputs[0] = cr_apply(
            &native_ctc_loss_backward_op,
            CR_INPUTS(call->inputs[IN_LOG_PROBS], call->inputs[IN_TARGETS], call->inputs[IN_STARTS],
                      call->inputs[IN_INPUT_LENGTHS], call->inputs[IN_TARGET_LENGTHS],
                      call->grad_outputs[0], call->outputs[0], call->outputs[1]),
            call->attributes);
    return CR_OK;
}

static const cr_op native_ctc_loss_op = {
    .name = "native_ctc_loss",
    .summary = "the loss of each sample, with the forward variables",
    .input_names = "log_probs targets starts input_lengths target_lengths",
    .attributes = native_table,
    .attribute_size = sizeof(struct ctc_attributes),
    .min_inputs = IN_COUNT,
    .output_count = 2,
    .save_inputs = CR_SAVE(IN_LOG_PROBS) | CR_SAVE(IN_TARGETS) | CR_SAVE(IN_STARTS) |
                   CR_SAVE(IN_INPUT_LENGTHS) | CR_SAVE(IN_TARGET_LENGTHS),
    .save_outputs = CR_SAVE(0) | CR_SAVE(1),
    .infer = native_infer,
    .forward = { [CR_CPU] = native_forward },
    .backward = native_backward,
};

/* ---- ctc_loss ---- */

/* The lengths as int64 (N), each within [0, most]; NULL else. */
static cr_tensor *check_lengths(cr_tensor *lengths, int64_t batch, int64_t most, const char *name)
{
    lengths = cr_contiguous(cr_to_dtype(cr_reshape(lengths, CR_SHAPE(-1)), CR_I64));
    if (!lengths)
        return NULL;
    if (lengths->shape.dim[0] != batch) {
        cr_error_set(CR_ERROR_SHAPE, "%s has %lld elements for %lld samples", name,
                     (long long)lengths->shape.dim[0], (long long)batch);
        return NULL;
    }
    for (int64_t n = 0; n < batch && lengths->storage; n++) {
        int64_t length = TENSOR_DATA(int64_t, lengths)[n];
        if (length < 0 || length > most) {
            cr_error_set(CR_ERROR_ARGUMENT, "%s of sample %lld is %lld; it must be 0 to %lld", name,
                         (long long)n, (long long)length, (long long)most);
            return NULL;
        }
    }
    return lengths;
}

/* Where each sample's labels begin: in rows of a padded table, or one after another. */
static cr_tensor *starts_of(const cr_tensor *targets, const cr_tensor *lengths, int64_t *longest)
{
    int64_t batch = lengths->shape.dim[0];
    bool is_padded = targets->shape.ndim == 2;
    cr_tensor *starts = cr_empty(CR_SHAPE(batch), .dtype = CR_I64);
    if (!starts)
        return NULL;
    int64_t used = 0;
    for (int64_t n = 0; n < batch; n++) {
        int64_t length = TENSOR_DATA(int64_t, lengths)[n];
        TENSOR_DATA(int64_t, starts)[n] = is_padded ? n * targets->shape.dim[1] : used;
        used += length;
        *longest = CR_MAX(*longest, length);
    }
    if (!is_padded && used > targets->shape.dim[0]) {
        cr_error_set(CR_ERROR_SHAPE, "the target lengths add up to %lld, but there are %lld labels",
                     (long long)used, (long long)targets->shape.dim[0]);
        return NULL;
    }
    return starts;
}

static cr_status check_labels(const cr_tensor *targets, const cr_tensor *starts,
                              const cr_tensor *lengths, int64_t classes)
{
    for (int64_t n = 0; n < starts->shape.dim[0]; n++) {
        const int64_t *own = TENSOR_DATA(int64_t, targets) + TENSOR_DATA(int64_t, starts)[n];
        for (int64_t i = 0; i < TENSOR_DATA(int64_t, lengths)[n]; i++) {
            if (own[i] < 0 || own[i] >= classes)
                return cr_error_set(CR_ERROR_ARGUMENT,
                                    "label %lld (sample %lld, position %lld) is out of range for "
                                    "%lld classes",
                                    (long long)own[i], (long long)n, (long long)i,
                                    (long long)classes);
        }
    }
    return CR_OK;
}

/* The losses of the samples (N) of log_probs (T, N, C). */
static cr_tensor *losses_of(const struct ctc_attributes *options, cr_tensor *log_probs,
                            cr_tensor *const *in, cr_tensor **lengths)
{
    int64_t batch = log_probs->shape.dim[1];
    cr_tensor *targets = cr_contiguous(cr_to_dtype(in[1], CR_I64));
    if (!targets || require_ndim(targets, "targets", 1, 2) != CR_OK)
        return NULL;
    if (targets->shape.ndim == 2 && targets->shape.dim[0] != batch) {
        cr_error_set(CR_ERROR_SHAPE, "padded targets have %lld rows for %lld samples",
                     (long long)targets->shape.dim[0], (long long)batch);
        return NULL;
    }
    int64_t room = targets->shape.dim[targets->shape.ndim - 1];
    cr_tensor *inputs = check_lengths(in[2], batch, log_probs->shape.dim[0], "input_lengths");
    *lengths = check_lengths(in[3], batch, room, "target_lengths");
    if (!inputs || !*lengths)
        return NULL;
    struct ctc_attributes native = *options;
    cr_tensor *starts = starts_of(targets, *lengths, &native.longest);
    if (!starts || check_labels(targets, starts, *lengths, log_probs->shape.dim[2]) != CR_OK)
        return NULL;
    return cr_apply(&native_ctc_loss_op, CR_INPUTS(log_probs, targets, starts, inputs, *lengths),
                    &native);
}

static cr_tensor *ctc_of(const void *attributes, cr_tensor *const *in)
{
    const struct ctc_attributes *options = attributes;
    cr_tensor *log_probs = in[0];
    if (require_ndim(log_probs, "log_probs", 2, 3) != CR_OK)
        return NULL;
    if (!log_probs->storage) {
        cr_error_set(CR_ERROR_UNSUPPORTED, "needs the labels, which the meta device has not");
        return NULL;
    }
    bool single = log_probs->shape.ndim == 2;
    if (single)
        log_probs = cr_unsqueeze(log_probs, 1);
    if (!log_probs)
        return NULL;
    int64_t classes = log_probs->shape.dim[2];
    if (options->blank < 0 || options->blank >= classes) {
        cr_error_set(CR_ERROR_ARGUMENT, "blank %lld is out of range for %lld classes",
                     (long long)options->blank, (long long)classes);
        return NULL;
    }
    cr_tensor *lengths;
    cr_tensor *loss = losses_of(options, log_probs, in, &lengths);
    if (loss && options->zero_infinity)
        loss = cr_where(cr_isinf(cr_detach(loss)), cr_scalar(0), loss);
    if (loss && loss_reduction(options->reduction) == CR_REDUCTION_MEAN) {
        cr_tensor *divisor = cr_to_dtype(lengths, (cr_dtype)loss->dtype);
        return cr_mean(cr_div(loss, cr_clamp(divisor, 1, (double)INT64_MAX)));
    }
    if (loss && single)
        loss = cr_reshape(loss, cr_shape_scalar());
    return reduce_loss(loss, options->reduction);
}

COMPUTED_OP(ctc, "ctc_loss", "minus the log probability of labels over all alignments",
            "log_probs targets input_lengths target_lengths", ctc_table, ctc_attributes, 4, 4,
            CR_CAST_F32)

cr_tensor *cr_ctc_loss_with(cr_ctc_loss_args args)
{
    struct ctc_attributes attributes = { .blank = args.blank,
                                         .zero_infinity = args.zero_infinity,
                                         .reduction = (int)args.reduction };
    return cr_apply(
        &ctc_op, CR_INPUTS(args.log_probs, args.targets, args.input_lengths, args.target_lengths),
        &attributes);
}

OP_FAMILY(ctc_ops) = { &ctc_op, &native_ctc_loss_op, &native_ctc_loss_backward_op, NULL };
