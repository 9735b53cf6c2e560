/* Operators of ONNX on sequences of tensors and on optionals, which are a value or nothing. A
 * sequence is never changed: what adds to it makes a new list of the same tensors. */
#include <string.h>

#include "io/onnx/onnx.h"

#define MAX_SEQUENCE 1000000

/* A list with room, that the call owns. */
static struct onnx_list *list_new(struct onnx_call *call, int64_t count)
{
    if (count < 0 || count > MAX_SEQUENCE) {
        onnx_refuse(call, "its sequence would be too long");
        return NULL;
    }
    struct onnx_list *list = cr_alloc_zeroed(1, sizeof *list + (size_t)count * sizeof *list->items);
    if (list) {
        list->references = 1;
        call->outputs[0].list = list;
    }
    return list;
}

static void list_add(struct onnx_list *list, struct onnx_value value)
{
    onnx_value_set(&list->items[list->count++], value);
}

static const struct onnx_list *need_list(const struct onnx_call *call, int i)
{
    if (i < call->input_count && call->inputs[i].list)
        return call->inputs[i].list;
    cr_error_set(CR_ERROR_FORMAT, "its input %d is no sequence", i);
    return NULL;
}

/* A position in a list of this length, `otherwise` where none is given. */
static bool position(const struct onnx_call *call, int input, int64_t count, int64_t otherwise,
                     int64_t *at)
{
    *at = otherwise;
    if (onnx_input(call, input) && !onnx_read_int(call, onnx_input(call, input), at))
        return false;
    *at = *at < 0 ? *at + count : *at;
    if (*at >= 0 && *at <= count)
        return true;
    cr_error_set(CR_ERROR_ARGUMENT, "its position is outside of the sequence");
    return false;
}

static void run_empty(struct onnx_call *call)
{
    list_new(call, 0);
}

static void run_construct(struct onnx_call *call)
{
    struct onnx_list *list = list_new(call, call->input_count);
    for (int i = 0; list && i < call->input_count; i++)
        list_add(list, call->inputs[i]);
}

static void run_length(struct onnx_call *call)
{
    const struct onnx_list *list = need_list(call, 0);
    int64_t count = list ? list->count : 0;
    onnx_give(call, 0, cr_from_buffer(&count, cr_shape_scalar(), CR_I64));
}

static void run_at(struct onnx_call *call)
{
    const struct onnx_list *list = need_list(call, 0);
    int64_t at;
    if (!list || !position(call, 1, list->count, 0, &at))
        return;
    if (at == list->count)
        cr_error_set(CR_ERROR_ARGUMENT, "its position is outside of the sequence");
    else
        call->outputs[0] = list->items[at];
}

static void run_insert(struct onnx_call *call)
{
    const struct onnx_list *list = need_list(call, 0);
    int64_t at;
    if (!list || !onnx_need(call, 1) || !position(call, 2, list->count, list->count, &at))
        return;
    struct onnx_list *longer = list_new(call, (int64_t)list->count + 1);
    for (int i = 0; longer && i <= list->count; i++) {
        if (i == at)
            list_add(longer, call->inputs[1]);
        if (i < list->count)
            list_add(longer, list->items[i]);
    }
}

static void run_erase(struct onnx_call *call)
{
    const struct onnx_list *list = need_list(call, 0);
    int64_t at;
    if (!list || !position(call, 1, list->count, (int64_t)list->count - 1, &at))
        return;
    struct onnx_list *shorter = list_new(call, list->count);
    for (int i = 0; shorter && i < list->count; i++) {
        if (i != at)
            list_add(shorter, list->items[i]);
    }
}

static void run_concat_from(struct onnx_call *call)
{
    const struct onnx_list *list = need_list(call, 0);
    int axis = (int)onnx_int(call, "axis", 0);
    cr_tensor **tensors = list ? cr_alloc_array((size_t)list->count + 1, sizeof *tensors) : NULL;
    for (int i = 0; tensors && i < list->count; i++)
        tensors[i] = list->items[i].tensor;
    if (tensors)
        onnx_give(call, 0,
                  onnx_int(call, "new_axis", 0) ? cr_stack(tensors, list->count, axis)
                                                : cr_cat(tensors, list->count, axis));
    cr_free(tensors);
}

/* Parts of given sizes, of one size, or single elements. */
static void run_split_to(struct onnx_call *call)
{
    cr_tensor *x = onnx_need(call, 0), *split = onnx_input(call, 1);
    bool keeps = split || onnx_int(call, "keepdims", 1);
    int axis;
    if (!x || !onnx_axis(call, onnx_int(call, "axis", 0), cr_ndim(x), &axis))
        return;
    int64_t size = cr_dim(x, axis), part = 1;
    bool listed = split && cr_ndim(split) == 1;
    if (split && !listed && (!onnx_read_int(call, split, &part) || part < 1)) {
        onnx_refuse(call, "its parts have no size");
        return;
    }
    if (listed && cr_device_of(split) == CR_META) {
        onnx_refuse(call, "its parts depend on the input, in a run that has only shapes");
        return;
    }
    int64_t count = listed ? cr_numel(split) : CR_DIV_UP(size, part);
    struct onnx_list *list = list_new(call, count);
    for (int64_t i = 0, start = 0; list && i < count && !cr_failed(); i++) {
        int64_t length = listed ? cr_element_int64(split, i) : CR_MIN(part, size - start);
        cr_tensor *piece = keeps ? cr_narrow(x, axis, start, length) : cr_select(x, axis, start);
        if (piece)
            list_add(list, (struct onnx_value){ .tensor = piece, .type = call->inputs[0].type });
        start += length;
    }
}

/* Runs a graph on each element: of all sequences at once, the other inputs as they are. */
static void run_map(struct onnx_call *call)
{
    const struct onnx_list *first = need_list(call, 0);
    const struct onnx_attribute *body = onnx_attribute(call, "body");
    const struct onnx_graph *graph = body ? body->g : NULL;
    if (!first || !graph || graph->input_count != call->input_count ||
        graph->output_count != call->output_count) {
        cr_error_set(CR_ERROR_FORMAT, "its body has another number of inputs or outputs");
        return;
    }
    for (int o = 0; o < call->output_count; o++) {
        struct onnx_list *list =
            cr_alloc_zeroed(1, sizeof *list + (size_t)first->count * sizeof *list->items);
        if (!list)
            return;
        list->references = 1;
        call->outputs[o].list = list;
    }
    for (int i = 0; i < first->count && !cr_failed(); i++) {
        cr_frame frame = cr_frame_begin();
        for (int k = 0; k < call->input_count; k++) {
            const struct onnx_value *value = &call->inputs[k];
            if (value->list && i < value->list->count)
                value = &value->list->items[i];
            onnx_value_set(&call->run->values[graph->inputs[k]], *value);
        }
        if (onnx_run_graph(call->run, graph) == CR_OK) {
            for (int o = 0; o < call->output_count; o++)
                list_add(call->outputs[o].list, onnx_value_get(call->run, graph->outputs[o]));
        }
        onnx_clear_graph(call->run, graph);
        cr_frame_end(frame);
    }
}

/* ---- optionals ---- */

static void pass(struct onnx_call *call)
{
    call->outputs[0] = call->inputs[0];
    if (call->inputs[0].list)
        call->inputs[0].list->references++;
}

static void run_get_element(struct onnx_call *call)
{
    if (call->input_count && (call->inputs[0].tensor || call->inputs[0].list))
        pass(call);
    else
        cr_error_set(CR_ERROR_ARGUMENT, "its optional is empty");
}

static void run_optional(struct onnx_call *call)
{
    if (call->input_count && (call->inputs[0].tensor || call->inputs[0].list))
        pass(call);
    else
        onnx_refuse(call, "it makes an empty optional");
}

static void run_has_element(struct onnx_call *call)
{
    bool has = call->input_count && (call->inputs[0].tensor || call->inputs[0].list);
    onnx_give(call, 0, cr_full(has, cr_shape_scalar(), .dtype = CR_BOOL));
}

const struct onnx_operator onnx_sequence_operators[] = {
    ONNX_OPERATOR("SequenceEmpty", run_empty),
    ONNX_OPERATOR("SequenceConstruct", run_construct),
    ONNX_OPERATOR("SequenceLength", run_length),
    ONNX_OPERATOR("SequenceAt", run_at),
    ONNX_OPERATOR("SequenceInsert", run_insert),
    ONNX_OPERATOR("SequenceErase", run_erase),
    ONNX_OPERATOR("ConcatFromSequence", run_concat_from, .flags = ONNX_KEEPS),
    ONNX_OPERATOR("SplitToSequence", run_split_to),
    ONNX_OPERATOR("SequenceMap", run_map),
    ONNX_OPERATOR("Optional", run_optional),
    ONNX_OPERATOR("OptionalGetElement", run_get_element),
    ONNX_OPERATOR("OptionalHasElement", run_has_element),
    ONNX_OPERATORS_END
};
