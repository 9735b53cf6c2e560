/* One recurrent layer in one direction: the records with kernels, from which recurrent.c puts the
 * networks together.
 *
 * The forward run gives y, the last states, and, if gradients are wanted, the gates that backward
 * reads. Backward is two ops: the loop over steps gives the gradients of the gates and of the first
 * states, and large products give those of the inputs and weights. These have no gradients in turn:
 * asking for second-order ones is an error. */
#include "kernels/recurrent/recurrent.h"
#include "ops/ops.h"

enum {
    IN_X,
    IN_WEIGHT_IH,
    IN_WEIGHT_HH,
    IN_BIAS_IH,
    IN_BIAS_HH,
    IN_H0,
    IN_C0,
    IN_LENGTHS,
    IN_COUNT
};
enum { OUT_Y, OUT_H, OUT_C, OUT_RESERVE, OUT_COUNT };

static const cr_attribute layer_table[] = {
    CR_ATTRIBUTE(struct recurrent_attributes, ENUM, cell),
    CR_ATTRIBUTE(struct recurrent_attributes, BOOL, batch_first),
    CR_ATTRIBUTE(struct recurrent_attributes, BOOL, reverse),
    CR_ATTRIBUTE(struct recurrent_attributes, BOOL, half_products),
    CR_ATTRIBUTE_END,
};

static const void *data_of(const cr_tensor *tensor)
{
    return tensor ? tensor_bytes(tensor) : NULL;
}

/* The layer whose sequences have the shape of `sequence` (inputs or outputs) in the first two
 * dimensions. */
static struct recurrent_layer layer_of(const struct recurrent_attributes *attributes,
                                       const cr_tensor *sequence, int64_t input, int64_t hidden,
                                       const cr_tensor *lengths)
{
    bool batch_first = attributes->batch_first;
    return (struct recurrent_layer){
        .type = sequence->dtype == CR_F64 ? CR_GEMM_F64 : CR_GEMM_F32,
        .cell = (enum recurrent_cell)attributes->cell,
        .batch = sequence->shape.dim[batch_first ? 0 : 1],
        .steps = sequence->shape.dim[batch_first ? 1 : 0],
        .input = input,
        .hidden = hidden,
        .batch_first = batch_first,
        .reverse = attributes->reverse,
        .half_products = attributes->half_products,
        .lengths = lengths ? TENSOR_DATA(const int64_t, lengths) : NULL,
    };
}

/* ---- shapes ---- */

static cr_status expect(const cr_tensor *tensor, const char *name, cr_shape shape)
{
    if (!tensor || cr_shape_equal(&tensor->shape, &shape))
        return CR_OK;
    char is[CR_SHAPE_TEXT], wanted[CR_SHAPE_TEXT];
    return cr_error_set(CR_ERROR_SHAPE, "%s has shape %s where %s is needed", name,
                        cr_shape_format(&tensor->shape, is, sizeof is),
                        cr_shape_format(&shape, wanted, sizeof wanted));
}

static cr_status check_dtypes(cr_infer_call *call)
{
    static const char *const names[] = { "x",       "weight_ih", "weight_hh", "bias_ih",
                                         "bias_hh", "h0",        "c0" };
    if (require_computed(call->inputs[IN_X], "x") != CR_OK)
        return cr_error_status();
    for (int i = IN_X; i <= IN_C0; i++) {
        const cr_tensor *input = CALL_INPUT(call, i);
        if (input && input->dtype != call->inputs[IN_X]->dtype)
            return cr_error_set(CR_ERROR_DTYPE, "%s is %s where x is %s", names[i],
                                cr_dtype_name((cr_dtype)input->dtype),
                                cr_dtype_name((cr_dtype)call->inputs[IN_X]->dtype));
    }
    const cr_tensor *lengths = CALL_INPUT(call, IN_LENGTHS);
    if (lengths && lengths->dtype != CR_I64)
        return cr_error_set(CR_ERROR_DTYPE, "lengths must be int64, not %s",
                            cr_dtype_name((cr_dtype)lengths->dtype));
    return CR_OK;
}

static cr_status check_shapes(cr_infer_call *call, const struct recurrent_layer *layer)
{
    int64_t hidden = layer->hidden, rows = recurrent_gates(layer->cell) * hidden;
    if (expect(call->inputs[IN_WEIGHT_IH], "weight_ih", CR_SHAPE(rows, layer->input)) != CR_OK ||
        expect(call->inputs[IN_WEIGHT_HH], "weight_hh", CR_SHAPE(rows, hidden)) != CR_OK ||
        expect(CALL_INPUT(call, IN_BIAS_IH), "bias_ih", CR_SHAPE(rows)) != CR_OK ||
        expect(CALL_INPUT(call, IN_BIAS_HH), "bias_hh", CR_SHAPE(rows)) != CR_OK ||
        expect(CALL_INPUT(call, IN_H0), "h0", CR_SHAPE(layer->batch, hidden)) != CR_OK ||
        expect(CALL_INPUT(call, IN_C0), "c0", CR_SHAPE(layer->batch, hidden)) != CR_OK ||
        expect(CALL_INPUT(call, IN_LENGTHS), "lengths", CR_SHAPE(layer->batch)) != CR_OK)
        return cr_error_status();
    return CR_OK;
}

static bool wants_gradient(const cr_infer_call *call)
{
    bool wanted = false;
    for (int i = 0; i < call->input_count; i++)
        wanted = wanted || (call->inputs[i] && call->inputs[i]->requires_grad);
    return wanted && cr_grad_enabled();
}

/* What is not there has no elements. */
static cr_shape shape_if(bool present, cr_shape shape)
{
    return present ? shape : CR_SHAPE(0);
}

static cr_shape sequence_shape(const struct recurrent_layer *layer, int64_t last)
{
    return layer->batch_first ? CR_SHAPE(layer->batch, layer->steps, last)
                              : CR_SHAPE(layer->steps, layer->batch, last);
}

static cr_status layer_infer(cr_infer_call *call)
{
    const struct recurrent_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[IN_X], *weight = call->inputs[IN_WEIGHT_HH];
    if (attributes->cell < 0 || attributes->cell >= RECURRENT_CELL_COUNT)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no cell %d", attributes->cell);
    if (require_ndim(x, "x", 3, 3) != CR_OK || require_ndim(weight, "weight_hh", 2, 2) != CR_OK ||
        check_dtypes(call) != CR_OK)
        return cr_error_status();
    struct recurrent_layer layer =
        layer_of(attributes, x, x->shape.dim[2], weight->shape.dim[1], NULL);
    if (layer.steps == 0 || layer.hidden == 0)
        return cr_error_set(CR_ERROR_SHAPE, "sequences and states must not be empty");
    if (check_shapes(call, &layer) != CR_OK)
        return cr_error_status();
    int64_t reserve = wants_gradient(call) ? recurrent_reserve(layer.cell) : 0;
    cr_shape state = CR_SHAPE(layer.batch, layer.hidden);
    call->outputs[OUT_Y].shape = sequence_shape(&layer, layer.hidden);
    call->outputs[OUT_H].shape = state;
    call->outputs[OUT_C].shape = shape_if(layer.cell == RECURRENT_LSTM, state);
    call->outputs[OUT_RESERVE].shape =
        shape_if(reserve > 0, sequence_shape(&layer, reserve * layer.hidden));
    for (int i = 0; i < OUT_COUNT; i++)
        call->outputs[i].dtype = (cr_dtype)x->dtype;
    return CR_OK;
}

/* ---- forward ---- */

static struct recurrent_layer call_layer(const cr_call *call)
{
    const cr_tensor *x = call->inputs[IN_X];
    return layer_of(call->attributes, x, x->shape.dim[2], call->inputs[IN_WEIGHT_HH]->shape.dim[1],
                    CALL_INPUT(call, IN_LENGTHS));
}

static bool keeps_reserve(const cr_call *call)
{
    return tensor_numel(call->outputs[OUT_RESERVE]) > 0;
}

static size_t layer_workspace(const cr_call *call)
{
    struct recurrent_layer layer = call_layer(call);
    return recurrent_forward_workspace(&layer, keeps_reserve(call));
}

static void layer_forward(const cr_call *call)
{
    struct recurrent_layer layer = call_layer(call);
    struct recurrent_forward job = {
        .x = data_of(call->inputs[IN_X]),
        .weight_ih = data_of(call->inputs[IN_WEIGHT_IH]),
        .weight_hh = data_of(call->inputs[IN_WEIGHT_HH]),
        .bias_ih = data_of(CALL_INPUT(call, IN_BIAS_IH)),
        .bias_hh = data_of(CALL_INPUT(call, IN_BIAS_HH)),
        .h0 = data_of(CALL_INPUT(call, IN_H0)),
        .c0 = data_of(CALL_INPUT(call, IN_C0)),
        .y = tensor_bytes(call->outputs[OUT_Y]),
        .h_n = tensor_bytes(call->outputs[OUT_H]),
        .c_n = tensor_bytes(call->outputs[OUT_C]),
        .reserve = keeps_reserve(call) ? tensor_bytes(call->outputs[OUT_RESERVE]) : NULL,
    };
    recurrent_run_forward(&layer, &job, call->workspace);
}

static int64_t layer_multiply_adds(const cr_call *call)
{
    struct recurrent_layer layer = call_layer(call);
    return layer.batch * layer.steps * recurrent_gates(layer.cell) * layer.hidden *
           (layer.input + layer.hidden);
}

/* ---- backward: the loop over steps ---- */

enum {
    LOOP_WEIGHT_HH,
    LOOP_Y,
    LOOP_RESERVE,
    LOOP_H0,
    LOOP_C0,
    LOOP_LENGTHS,
    LOOP_GRAD_Y,
    LOOP_GRAD_H,
    LOOP_GRAD_C,
    LOOP_COUNT
};

static struct recurrent_layer loop_layer(const cr_call *call)
{
    const cr_tensor *y = call->inputs[LOOP_Y];
    return layer_of(call->attributes, y, 0, y->shape.dim[2], CALL_INPUT(call, LOOP_LENGTHS));
}

static cr_status loop_infer(cr_infer_call *call)
{
    const struct recurrent_attributes *attributes = call->attributes;
    const cr_tensor *y = call->inputs[LOOP_Y];
    struct recurrent_layer layer = layer_of(attributes, y, 0, y->shape.dim[2], NULL);
    cr_shape state = CR_SHAPE(layer.batch, layer.hidden);
    int64_t gates = recurrent_gate_gradients(layer.cell);
    call->outputs[0].shape = sequence_shape(&layer, gates * layer.hidden);
    call->outputs[1].shape = state;
    call->outputs[2].shape = shape_if(layer.cell == RECURRENT_LSTM, state);
    for (int i = 0; i < 3; i++)
        call->outputs[i].dtype = (cr_dtype)y->dtype;
    return CR_OK;
}

static size_t loop_workspace(const cr_call *call)
{
    struct recurrent_layer layer = loop_layer(call);
    return recurrent_backward_workspace(&layer);
}

static void loop_forward(const cr_call *call)
{
    struct recurrent_layer layer = loop_layer(call);
    struct recurrent_backward job = {
        .weight_hh = data_of(call->inputs[LOOP_WEIGHT_HH]),
        .y = data_of(call->inputs[LOOP_Y]),
        .reserve = data_of(CALL_INPUT(call, LOOP_RESERVE)),
        .h0 = data_of(CALL_INPUT(call, LOOP_H0)),
        .c0 = data_of(CALL_INPUT(call, LOOP_C0)),
        .grad_y = data_of(CALL_INPUT(call, LOOP_GRAD_Y)),
        .grad_h_n = data_of(CALL_INPUT(call, LOOP_GRAD_H)),
        .grad_c_n = data_of(CALL_INPUT(call, LOOP_GRAD_C)),
        .grad_gates = tensor_bytes(call->outputs[0]),
        .grad_h0 = tensor_bytes(call->outputs[1]),
        .grad_c0 = tensor_bytes(call->outputs[2]),
    };
    recurrent_run_backward(&layer, &job, call->workspace);
}

/* The gradient of the state before each step. */
static int64_t loop_multiply_adds(const cr_call *call)
{
    struct recurrent_layer layer = loop_layer(call);
    return layer.batch * layer.steps * recurrent_gates(layer.cell) * layer.hidden * layer.hidden;
}

static const cr_op layer_backward_op = {
    .name = "_recurrent_layer_backward",
    .summary = "the gradients of a recurrent layer's gates and first states",
    .input_names = "weight_hh y reserve h0 c0 lengths grad_y grad_h_n grad_c_n",
    .attributes = layer_table,
    .attribute_size = sizeof(struct recurrent_attributes),
    .min_inputs = LOOP_RESERVE,
    .max_inputs = LOOP_COUNT,
    .output_count = 3,
    .infer = loop_infer,
    .workspace = loop_workspace,
    .forward = { [CR_CPU] = loop_forward },
    .multiply_adds = loop_multiply_adds,
};

/* ---- backward: the products ---- */

enum {
    PRODUCT_GATES,
    PRODUCT_X,
    PRODUCT_Y,
    PRODUCT_WEIGHT_IH,
    PRODUCT_H0,
    PRODUCT_LENGTHS,
    PRODUCT_COUNT
};

struct product_attributes {
    struct recurrent_attributes layer;
    bool needs_x;
    bool needs_weight_ih;
    bool needs_weight_hh;
    bool needs_bias;
};

static const cr_attribute product_table[] = {
    CR_ATTRIBUTE(struct product_attributes, BOOL, needs_x),
    CR_ATTRIBUTE(struct product_attributes, BOOL, needs_weight_ih),
    CR_ATTRIBUTE(struct product_attributes, BOOL, needs_weight_hh),
    CR_ATTRIBUTE(struct product_attributes, BOOL, needs_bias),
    CR_ATTRIBUTE_END,
};

static cr_status product_infer(cr_infer_call *call)
{
    const struct product_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[PRODUCT_X], *y = call->inputs[PRODUCT_Y];
    int64_t hidden = y->shape.dim[2];
    enum recurrent_cell cell = (enum recurrent_cell)attributes->layer.cell;
    int64_t rows = recurrent_gates(cell) * hidden;
    call->outputs[0].shape = shape_if(attributes->needs_x, x->shape);
    call->outputs[1].shape = shape_if(attributes->needs_weight_ih, CR_SHAPE(rows, x->shape.dim[2]));
    call->outputs[2].shape = shape_if(attributes->needs_weight_hh, CR_SHAPE(rows, hidden));
    call->outputs[3].shape =
        shape_if(attributes->needs_bias, CR_SHAPE(recurrent_gate_gradients(cell) * hidden));
    for (int i = 0; i < 4; i++)
        call->outputs[i].dtype = (cr_dtype)x->dtype;
    return CR_OK;
}

static struct recurrent_layer product_layer(const cr_call *call)
{
    const struct product_attributes *attributes = call->attributes;
    const cr_tensor *x = call->inputs[PRODUCT_X];
    return layer_of(&attributes->layer, x, x->shape.dim[2], call->inputs[PRODUCT_Y]->shape.dim[2],
                    CALL_INPUT(call, PRODUCT_LENGTHS));
}

static size_t product_workspace(const cr_call *call)
{
    struct recurrent_layer layer = product_layer(call);
    return recurrent_gradients_workspace(&layer);
}

static void product_forward(const cr_call *call)
{
    const struct product_attributes *attributes = call->attributes;
    cr_tensor *const *out = call->outputs;
    struct recurrent_layer layer = product_layer(call);
    struct recurrent_gradients job = {
        .x = data_of(call->inputs[PRODUCT_X]),
        .y = data_of(call->inputs[PRODUCT_Y]),
        .h0 = data_of(CALL_INPUT(call, PRODUCT_H0)),
        .weight_ih = data_of(call->inputs[PRODUCT_WEIGHT_IH]),
        .grad_gates = data_of(call->inputs[PRODUCT_GATES]),
        .grad_x = attributes->needs_x ? tensor_bytes(out[0]) : NULL,
        .grad_weight_ih = attributes->needs_weight_ih ? tensor_bytes(out[1]) : NULL,
        .grad_weight_hh = attributes->needs_weight_hh ? tensor_bytes(out[2]) : NULL,
        .grad_bias = attributes->needs_bias ? tensor_bytes(out[3]) : NULL,
    };
    recurrent_run_gradients(&layer, &job, call->workspace);
}

static int64_t product_multiply_adds(const cr_call *call)
{
    const struct product_attributes *attributes = call->attributes;
    struct recurrent_layer layer = product_layer(call);
    int64_t each = layer.batch * layer.steps * recurrent_gates(layer.cell) * layer.hidden;
    int64_t columns = (attributes->needs_x ? layer.input : 0) +
                      (attributes->needs_weight_ih ? layer.input : 0) +
                      (attributes->needs_weight_hh ? layer.hidden : 0);
    return each * columns;
}

static const cr_op layer_products_op = {
    .name = "_recurrent_layer_products_backward",
    .summary = "the gradients of a recurrent layer's inputs and weights",
    .input_names = "grad_gates x y weight_ih h0 lengths",
    .attributes = product_table,
    .attribute_size = sizeof(struct product_attributes),
    .min_inputs = PRODUCT_H0,
    .max_inputs = PRODUCT_COUNT,
    .output_count = 4,
    .infer = product_infer,
    .workspace = product_workspace,
    .forward = { [CR_CPU] = product_forward },
    .multiply_adds = product_multiply_adds,
};

/* ---- backward ---- */

/* The gradients of both biases from the sums over gates: GRU's bias_hh has the state's part in the
 * place of the last gate. */
static void give_biases(cr_gradient_call *call, cr_tensor *sums)
{
    const struct recurrent_attributes *attributes = call->attributes;
    if (attributes->cell != RECURRENT_GRU) {
        for (int i = IN_BIAS_IH; i <= IN_BIAS_HH && i < call->input_count; i++)
            call->grad_inputs[i] = call->needs[i] ? sums : NULL;
        return;
    }
    int64_t hidden = cr_dim(sums, 0) / 4;
    if (call->input_count > IN_BIAS_IH && call->needs[IN_BIAS_IH])
        call->grad_inputs[IN_BIAS_IH] = cr_narrow(sums, 0, 0, 3 * hidden);
    if (call->input_count > IN_BIAS_HH && call->needs[IN_BIAS_HH])
        call->grad_inputs[IN_BIAS_HH] =
            cr_cat_of(0, cr_narrow(sums, 0, 0, 2 * hidden), cr_narrow(sums, 0, 3 * hidden, hidden));
}

static bool needs_input(const cr_gradient_call *call, int i)
{
    return i < call->input_count && call->needs[i];
}

static cr_status give_products(cr_gradient_call *call, cr_tensor *grad_gates)
{
    struct product_attributes attributes = {
        .layer = *(const struct recurrent_attributes *)call->attributes,
        .needs_x = call->needs[IN_X],
        .needs_weight_ih = call->needs[IN_WEIGHT_IH],
        .needs_weight_hh = call->needs[IN_WEIGHT_HH],
        .needs_bias = needs_input(call, IN_BIAS_IH) || needs_input(call, IN_BIAS_HH),
    };
    cr_tensor *grads[CR_MAX_OUTPUTS];
    cr_status status = cr_apply_all(&layer_products_op,
                                    CR_INPUTS(grad_gates, call->inputs[IN_X], call->outputs[OUT_Y],
                                              call->inputs[IN_WEIGHT_IH], CALL_INPUT(call, IN_H0),
                                              CALL_INPUT(call, IN_LENGTHS)),
                                    &attributes, grads);
    if (status != CR_OK)
        return status;
    for (int i = IN_X; i <= IN_WEIGHT_HH; i++)
        call->grad_inputs[i] = call->needs[i] ? grads[i] : NULL;
    if (attributes.needs_bias)
        give_biases(call, grads[3]);
    return CR_OK;
}

static cr_status layer_backward(cr_gradient_call *call)
{
    cr_tensor *grads[CR_MAX_OUTPUTS];
    cr_status status = cr_apply_all(
        &layer_backward_op,
        CR_INPUTS(call->inputs[IN_WEIGHT_HH], call->outputs[OUT_Y], call->outputs[OUT_RESERVE],
                  CALL_INPUT(call, IN_H0), CALL_INPUT(call, IN_C0), CALL_INPUT(call, IN_LENGTHS),
                  call->grad_outputs[OUT_Y], call->grad_outputs[OUT_H], call->grad_outputs[OUT_C]),
        call->attributes, grads);
    if (status != CR_OK)
        return status;
    if (needs_input(call, IN_H0))
        call->grad_inputs[IN_H0] = grads[1];
    if (needs_input(call, IN_C0))
        call->grad_inputs[IN_C0] = grads[2];
    return give_products(call, grads[0]);
}

/* ---- in ONNX ---- */

/* Blocks of rows in ONNX's order of gates (i o f g of LSTM, z r n of GRU), with a dimension of one
 * direction before; both tensors one after the other, for biases. */
static cr_onnx_value write_gates(cr_onnx_call *call, int first, int second, int64_t hidden)
{
    static const int orders[RECURRENT_CELL_COUNT][4] = {
        [RECURRENT_LSTM] = { 0, 3, 1, 2 }, [RECURRENT_GRU] = { 1, 0, 2 }
    };
    const struct recurrent_attributes *attributes = call->attributes;
    int gates = (int)recurrent_gates((enum recurrent_cell)attributes->cell), count = 0;
    cr_tensor *blocks[8] = { NULL };
    cr_frame frame = cr_frame_begin();
    for (int input = first; input <= second && !cr_failed(); input++) {
        cr_tensor *data = onnx_require_constant(call, input, "the weights");
        for (int g = 0; g < gates && data; g++)
            blocks[count++] = cr_narrow(data, 0, orders[attributes->cell][g] * hidden, hidden);
    }
    cr_onnx_value made =
        cr_failed() ? 0 : cr_onnx_tensor(call, cr_unsqueeze(cr_cat(blocks, count, 0), 0));
    cr_frame_end(frame);
    return made;
}

/* A first state with a dimension of one direction; 0: none given. */
static cr_onnx_value write_state(cr_onnx_call *call, int input)
{
    cr_onnx_value state = ONNX_INPUT(call, input);
    return state ? cr_onnx_unsqueeze(call, state, CR_SHAPE(0)) : 0;
}

static cr_onnx_value write_cell(cr_onnx_call *call, const struct recurrent_attributes *attributes,
                                int64_t hidden, cr_onnx_value x)
{
    static const char *const types[RECURRENT_CELL_COUNT] = { "RNN", "RNN", "LSTM", "GRU" };
    bool has_bias = ONNX_INPUT(call, IN_BIAS_IH) && ONNX_INPUT(call, IN_BIAS_HH);
    bool is_lstm = attributes->cell == RECURRENT_LSTM;
    cr_onnx_operator operation = {
        .type = types[attributes->cell],
        .inputs = { x, write_gates(call, IN_WEIGHT_IH, IN_WEIGHT_IH, hidden),
                    write_gates(call, IN_WEIGHT_HH, IN_WEIGHT_HH, hidden),
                    has_bias ? write_gates(call, IN_BIAS_IH, IN_BIAS_HH, hidden) : 0,
                    ONNX_INPUT(call, IN_LENGTHS) ? onnx_as(call, IN_LENGTHS, CR_I32) : 0,
                    write_state(call, IN_H0), is_lstm ? write_state(call, IN_C0) : 0 },
        .attributes = { CR_ONNX_INT("hidden_size", hidden),
                        CR_ONNX_TEXT("direction", attributes->reverse ? "reverse" : "forward") },
        .outputs = is_lstm ? 3 : 2,
    };
    if (attributes->cell == RECURRENT_GRU)
        operation.attributes[2] = (cr_onnx_attribute)CR_ONNX_INT("linear_before_reset", 1);
    if (attributes->cell == RECURRENT_RELU)
        operation.attributes[2] = (cr_onnx_attribute)CR_ONNX_TEXTS("activations", "Relu");
    return cr_onnx_add_with(call, operation);
}

/* ONNX's y is (steps, directions, batch, hidden). */
static cr_status layer_onnx(cr_onnx_call *call)
{
    const struct recurrent_attributes *attributes = call->attributes;
    int64_t hidden = cr_onnx_fixed_size(call, IN_WEIGHT_HH, 1);
    cr_onnx_value x = call->inputs[IN_X];
    if (attributes->batch_first)
        x = cr_onnx_permute(call, x, CR_SHAPE(1, 0, 2));
    cr_onnx_value y = write_cell(call, attributes, hidden, x);
    if (!y)
        return cr_error_status();
    for (int i = OUT_H; i <= OUT_C; i++)
        call->outputs[i] = call->wanted[i] ? cr_onnx_squeeze(call, y + i, CR_SHAPE(0)) : 0;
    if (!call->wanted[OUT_Y])
        return cr_error_status();
    y = cr_onnx_squeeze(call, y, CR_SHAPE(1));
    return onnx_result(call,
                       attributes->batch_first ? cr_onnx_permute(call, y, CR_SHAPE(1, 0, 2)) : y);
}

const cr_op recurrent_layer_op = {
    .name = "_recurrent_layer",
    .summary = "one recurrent layer in one direction",
    .input_names = "x weight_ih weight_hh bias_ih bias_hh h0 c0 lengths",
    .attributes = layer_table,
    .attribute_size = sizeof(struct recurrent_attributes),
    .min_inputs = IN_BIAS_IH,
    .max_inputs = IN_COUNT,
    .output_count = OUT_COUNT,
    .save_inputs = CR_SAVE(IN_X) | CR_SAVE(IN_WEIGHT_IH) | CR_SAVE(IN_WEIGHT_HH) | CR_SAVE(IN_H0) |
                   CR_SAVE(IN_C0) | CR_SAVE(IN_LENGTHS),
    .save_outputs = CR_SAVE(OUT_Y) | CR_SAVE(OUT_RESERVE),
    .infer = layer_infer,
    .workspace = layer_workspace,
    .forward = { [CR_CPU] = layer_forward },
    .backward = layer_backward,
    .onnx = layer_onnx,
    .multiply_adds = layer_multiply_adds,
};

OP_FAMILY(recurrent_layer_ops) = {
    &recurrent_layer_op,
    &layer_backward_op,
    &layer_products_op,
    NULL,
};
