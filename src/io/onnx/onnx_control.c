/* Operators of ONNX that run graphs: If, Loop and Scan. Conditions and counts must be known when
 * they are reached, which they always are outside of runs for shapes. */
#include <limits.h>

#include "io/onnx/onnx.h"

static const struct onnx_graph *graph_of(const struct onnx_call *call, const char *name)
{
    const struct onnx_attribute *attribute = onnx_attribute(call, name);
    if (attribute && attribute->g)
        return attribute->g;
    cr_error_set(CR_ERROR_FORMAT, "its attribute %s is missing", name);
    return NULL;
}

static void set_input(struct onnx_run *run, const struct onnx_graph *graph, int i,
                      struct onnx_value value)
{
    onnx_value_set(&run->values[graph->inputs[i]], value);
}

/* Output i of the graph as one of this node, which outlives the graph. */
static struct onnx_value take(struct onnx_run *run, const struct onnx_graph *graph, int i)
{
    struct onnx_value value = onnx_value_get(run, graph->outputs[i]);
    if (value.tensor)
        cr_frame_add(cr_retain(value.tensor));
    if (value.list)
        value.list->references++;
    return value;
}

static void run_if(struct onnx_call *call)
{
    int64_t holds;
    if (!onnx_read_int(call, onnx_need(call, 0), &holds))
        return;
    const struct onnx_graph *graph = graph_of(call, holds ? "then_branch" : "else_branch");
    if (!graph || onnx_run_graph(call->run, graph) != CR_OK)
        return;
    for (int i = 0; i < call->output_count && i < graph->output_count; i++)
        call->outputs[i] = take(call->run, graph, i);
    onnx_clear_graph(call->run, graph);
}

/* ---- what turns of a loop leave behind ---- */

struct pile {
    cr_tensor **tensors; /* references */
    int count;
    int capacity;
};

static void pile_add(struct pile *pile, cr_tensor *tensor)
{
    if (pile->count == pile->capacity) {
        int capacity = pile->capacity ? 2 * pile->capacity : 16;
        cr_tensor **tensors = cr_resize(pile->tensors, (size_t)capacity, sizeof(cr_tensor *));
        if (!tensors)
            return;
        pile->tensors = tensors;
        pile->capacity = capacity;
    }
    if (tensor)
        pile->tensors[pile->count++] = cr_retain(tensor);
}

static void pile_free(struct pile *piles, int count)
{
    for (int p = 0; piles && p < count; p++) {
        for (int i = 0; i < piles[p].count; i++)
            cr_release(piles[p].tensors[i]);
        cr_free(piles[p].tensors);
    }
    cr_free(piles);
}

/* ---- Loop ---- */

struct loop {
    struct onnx_call *call;
    const struct onnx_graph *graph;
    struct onnx_value *states; /* carried from turn to turn; references */
    int state_count;
    struct pile *piles;
    int pile_count;
};

static bool begin_loop(struct loop *loop, struct onnx_call *call, int states, int piles)
{
    *loop = (struct loop){ .call = call, .graph = graph_of(call, "body") };
    loop->states = cr_alloc_zeroed((size_t)states + 1, sizeof *loop->states);
    loop->piles = cr_alloc_zeroed((size_t)piles + 1, sizeof *loop->piles);
    loop->state_count = states;
    loop->pile_count = piles;
    return loop->graph && loop->states && loop->piles;
}

static void end_loop(struct loop *loop)
{
    for (int i = 0; i < loop->state_count && loop->states; i++)
        onnx_value_clear(&loop->states[i]);
    cr_free(loop->states);
    pile_free(loop->piles, loop->pile_count);
}

/* Takes the states of a turn from the outputs of the body from `first` on. */
static void keep_states(struct loop *loop, int first)
{
    struct onnx_run *run = loop->call->run;
    for (int i = 0; i < loop->state_count; i++)
        onnx_value_set(&loop->states[i], onnx_value_get(run, loop->graph->outputs[first + i]));
    for (int i = 0; i < loop->pile_count; i++) {
        int output = loop->graph->outputs[first + loop->state_count + i];
        pile_add(&loop->piles[i], onnx_value_get(run, output).tensor);
    }
}

static void give_states(struct loop *loop)
{
    struct onnx_call *call = loop->call;
    for (int i = 0; i < loop->state_count && i < call->output_count; i++) {
        call->outputs[i] = loop->states[i];
        if (loop->states[i].tensor)
            cr_frame_add(cr_retain(loop->states[i].tensor));
        if (loop->states[i].list)
            loop->states[i].list->references++;
    }
}

static bool turn(struct loop *loop, int64_t number, bool *goes_on)
{
    struct onnx_run *run = loop->call->run;
    cr_frame frame = cr_frame_begin();
    cr_tensor *at = cr_from_buffer(&number, cr_shape_scalar(), CR_I64);
    cr_tensor *condition = cr_full(1, cr_shape_scalar(), .dtype = CR_BOOL);
    set_input(run, loop->graph, 0, (struct onnx_value){ .tensor = at });
    set_input(run, loop->graph, 1, (struct onnx_value){ .tensor = condition });
    for (int i = 0; i < loop->state_count; i++)
        set_input(run, loop->graph, 2 + i, loop->states[i]);
    bool done = onnx_run_graph(run, loop->graph) == CR_OK;
    int64_t holds = 0;
    if (done)
        done =
            onnx_read_int(loop->call, onnx_value_get(run, loop->graph->outputs[0]).tensor, &holds);
    if (done)
        keep_states(loop, 1);
    onnx_clear_graph(run, loop->graph);
    cr_frame_end(frame);
    *goes_on = holds != 0;
    return done && !cr_failed();
}

static void run_loop(struct onnx_call *call)
{
    struct loop loop;
    int states = CR_MAX(call->input_count - 2, 0), piles = call->output_count - states;
    int64_t limit = INT64_MAX, start = 1;
    if ((onnx_input(call, 0) && !onnx_read_int(call, onnx_input(call, 0), &limit)) ||
        (onnx_input(call, 1) && !onnx_read_int(call, onnx_input(call, 1), &start)))
        return;
    if (piles < 0) {
        onnx_refuse(call, "it has fewer outputs than values that it carries");
        return;
    }
    bool goes_on = start != 0;
    if (begin_loop(&loop, call, states, piles)) {
        if (loop.graph->input_count != 2 + states || loop.graph->output_count != 1 + states + piles)
            cr_error_set(CR_ERROR_FORMAT, "its body has another number of inputs or outputs");
        for (int i = 0; i < states; i++)
            onnx_value_set(&loop.states[i], call->inputs[2 + i]);
        for (int64_t i = 0; i < limit && goes_on && !cr_failed(); i++) {
            turn(&loop, i, &goes_on);
            if (i == ONNX_MAX_TURNS)
                onnx_refuse(call, "it goes on after %d turns", ONNX_MAX_TURNS);
        }
        give_states(&loop);
        for (int p = 0; p < piles && !cr_failed(); p++) {
            struct pile *pile = &loop.piles[p];
            onnx_give(call, states + p,
                      pile->count ? cr_stack(pile->tensors, pile->count, 0)
                                  : cr_zeros(CR_SHAPE(0)));
        }
    }
    end_loop(&loop);
}

/* ---- Scan ---- */

static int64_t listed(const struct onnx_call *call, const char *name, int i)
{
    int64_t list[64];
    int count = onnx_long_list(call, name, list, CR_COUNT_OF(list));
    return i < count ? list[i] : 0;
}

/* One turn over element `at` of each scanned input. */
static bool scan_turn(struct loop *loop, int first, int scans, int64_t at, int64_t length)
{
    struct onnx_run *run = loop->call->run;
    cr_frame frame = cr_frame_begin();
    for (int i = 0; i < loop->state_count; i++)
        set_input(run, loop->graph, i, loop->states[i]);
    for (int i = 0; i < scans; i++) {
        bool back = listed(loop->call, "scan_input_directions", i) != 0;
        cr_tensor *x = onnx_need(loop->call, first + loop->state_count + i);
        int axis = (int)listed(loop->call, "scan_input_axes", i);
        x = cr_select(x, axis, back ? length - 1 - at : at);
        set_input(run, loop->graph, loop->state_count + i, (struct onnx_value){ .tensor = x });
    }
    bool done = !cr_failed() && onnx_run_graph(run, loop->graph) == CR_OK;
    if (done)
        keep_states(loop, 0);
    onnx_clear_graph(run, loop->graph);
    cr_frame_end(frame);
    return done && !cr_failed();
}

static cr_tensor *scan_output(struct loop *loop, int p)
{
    struct pile *pile = &loop->piles[p];
    bool back = listed(loop->call, "scan_output_directions", p) != 0;
    for (int i = 0; back && i < pile->count / 2; i++) {
        cr_tensor *held = pile->tensors[i];
        pile->tensors[i] = pile->tensors[pile->count - 1 - i];
        pile->tensors[pile->count - 1 - i] = held;
    }
    int axis = (int)listed(loop->call, "scan_output_axes", p);
    return pile->count ? cr_stack(pile->tensors, pile->count, axis) : cr_zeros(CR_SHAPE(0));
}

static void run_scan(struct onnx_call *call)
{
    struct loop loop;
    int scans = (int)onnx_int(call, "num_scan_inputs", 1);
    int states = call->input_count - scans, piles = call->output_count - states;
    if (call->version < 9 || scans < 1 || states < 0 || piles < 0) {
        onnx_refuse(call, "its inputs are not those of a Scan of opset 9");
        return;
    }
    cr_tensor *x = onnx_need(call, states);
    int axis;
    if (!x || !onnx_axis(call, listed(call, "scan_input_axes", 0), cr_ndim(x), &axis))
        return;
    int64_t length = cr_dim(x, axis);
    if (begin_loop(&loop, call, states, piles)) {
        if (loop.graph->input_count != call->input_count ||
            loop.graph->output_count != call->output_count)
            cr_error_set(CR_ERROR_FORMAT, "its body has another number of inputs or outputs");
        for (int i = 0; i < states; i++)
            onnx_value_set(&loop.states[i], call->inputs[i]);
        for (int64_t i = 0; i < length && !cr_failed(); i++)
            scan_turn(&loop, 0, scans, i, length);
        give_states(&loop);
        for (int p = 0; p < piles && !cr_failed(); p++)
            onnx_give(call, states + p, scan_output(&loop, p));
    }
    end_loop(&loop);
}

const struct onnx_operator onnx_control_operators[] = { ONNX_OPERATOR("If", run_if),
                                                        ONNX_OPERATOR("Loop", run_loop),
                                                        ONNX_OPERATOR("Scan", run_scan),
                                                        ONNX_OPERATORS_END };
