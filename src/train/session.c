/* Models for programs that only run them: what was loaded, its compiled graphs by the shapes of
 * samples, and for each thread that calls its inputs and outputs. */
#include "cresset/session.h"

#include <pthread.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/onnx.h"
#include "cresset/pointwise.h"

/* One shape of samples; compiled NULL: the model is run op by op. */
struct variant {
    struct variant *next;
    cr_shape samples[CR_GRAPH_INPUTS];
    cr_compiled *compiled;
};

/* Of one thread. */
struct slot {
    struct slot *next;
    cr_session *session;
    cr_tensor *inputs[CR_GRAPH_INPUTS]; /* held, as the outputs */
    cr_tensor *outputs[CR_GRAPH_OUTPUTS];
};

struct cr_session {
    cr_classifier *classifier; /* or */
    cr_onnx *onnx;
    cr_model *model; /* the classifier's, or own */
    cr_graph_port inputs[CR_GRAPH_INPUTS];
    cr_graph_port outputs[CR_GRAPH_OUTPUTS];
    int input_count, output_count;
    pthread_mutex_t lock;
    struct variant *variants;
    struct slot *slots;
    pthread_key_t key;
};

/* ---- loading ---- */

static cr_status run_model(cr_scope at, cr_tensor *const *inputs, int input_count,
                           cr_tensor **outputs, int *output_count, const void *settings)
{
    const cr_session *session = settings;
    *output_count = session->output_count;
    if (session->onnx)
        return cr_onnx_run_all(at, session->onnx, inputs, input_count, outputs,
                               session->output_count);
    outputs[0] = cr_classifier_forward(session->classifier, inputs[0]);
    return cr_error_status();
}

static cr_graph_port port_of(cr_onnx_port port)
{
    cr_graph_port own = { .name = port.name, .dtype = port.dtype, .shape = port.shape };
    if (own.shape.ndim)
        own.shape.dim[0] = -1;
    return own;
}

static cr_status load_onnx(cr_session *session, const char *path)
{
    session->onnx = cr_onnx_open(path);
    session->model = session->onnx ? cr_model_new(.seed = 1) : NULL;
    if (!session->model)
        return cr_error_status();
    session->input_count = cr_onnx_input_count(session->onnx);
    session->output_count = cr_onnx_output_count(session->onnx);
    if (session->input_count > CR_GRAPH_INPUTS || session->output_count > CR_GRAPH_OUTPUTS)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "%s: %d inputs and %d outputs are too many; %d and %d are possible",
                            path, session->input_count, session->output_count, CR_GRAPH_INPUTS,
                            CR_GRAPH_OUTPUTS);
    for (int i = 0; i < session->input_count; i++)
        session->inputs[i] = port_of(cr_onnx_input(session->onnx, i));
    for (int i = 0; i < session->output_count; i++)
        session->outputs[i] = port_of(cr_onnx_output(session->onnx, i));
    return CR_OK;
}

static cr_status load_classifier(cr_session *session, const char *path)
{
    session->classifier = cr_classifier_load(path);
    if (!session->classifier)
        return cr_error_status();
    cr_shape shape = session->classifier->input;
    session->model = session->classifier->model;
    session->input_count = session->output_count = 1;
    session->inputs[0] =
        (cr_graph_port){ "input", CR_F32, CR_SHAPE(-1, shape.dim[0], shape.dim[1], shape.dim[2]) };
    session->outputs[0] =
        (cr_graph_port){ "output", CR_F32, CR_SHAPE(-1, session->classifier->class_count) };
    return CR_OK;
}

static void slot_free(struct slot *slot)
{
    for (int i = 0; i < CR_GRAPH_INPUTS; i++)
        cr_release(slot->inputs[i]);
    for (int i = 0; i < CR_GRAPH_OUTPUTS; i++)
        cr_release(slot->outputs[i]);
    cr_free(slot);
}

/* At the end of a thread. */
static void slot_end(void *context)
{
    struct slot *slot = context;
    pthread_mutex_lock(&slot->session->lock);
    struct slot **at = &slot->session->slots;
    while (*at && *at != slot)
        at = &(*at)->next;
    if (*at)
        *at = slot->next;
    pthread_mutex_unlock(&slot->session->lock);
    slot_free(slot);
}

static bool is_onnx(const char *path)
{
    size_t length = strlen(path);
    return length > 5 && strcmp(path + length - 5, ".onnx") == 0;
}

cr_session *cr_session_load(const char *path)
{
    if (cr_failed())
        return NULL;
    cr_session *session = cr_alloc_zeroed(1, sizeof *session);
    if (!session)
        return NULL;
    pthread_mutex_init(&session->lock, NULL);
    if (pthread_key_create(&session->key, slot_end) != 0) {
        cr_error_set(CR_ERROR_STATE, "%s: too many sessions are open", path);
        pthread_mutex_destroy(&session->lock);
        cr_free(session);
        return NULL;
    }
    if (is_onnx(path))
        load_onnx(session, path);
    else
        load_classifier(session, path);
    if (cr_failed()) {
        cr_session_free(session);
        return NULL;
    }
    cr_model_train(session->model, false);
    return session;
}

void cr_session_free(cr_session *session)
{
    if (!session)
        return;
    pthread_key_delete(session->key);
    while (session->slots) {
        struct slot *next = session->slots->next;
        slot_free(session->slots);
        session->slots = next;
    }
    while (session->variants) {
        struct variant *next = session->variants->next;
        cr_compiled_free(session->variants->compiled);
        cr_free(session->variants);
        session->variants = next;
    }
    if (session->classifier)
        cr_classifier_free(session->classifier);
    else
        cr_model_free(session->model);
    cr_onnx_close(session->onnx);
    pthread_mutex_destroy(&session->lock);
    cr_free(session);
}

/* ---- compiled graphs ---- */

/* The shape of one sample. */
static cr_shape sample_of(const cr_tensor *tensor)
{
    cr_shape shape = cr_shape_of(tensor), sample = { .ndim = shape.ndim ? shape.ndim - 1 : 0 };
    for (int d = 0; d < sample.ndim; d++)
        sample.dim[d] = shape.dim[d + 1];
    return sample;
}

static struct variant *make_variant(cr_session *session, const cr_shape *samples)
{
    cr_graph_input inputs[CR_GRAPH_INPUTS];
    struct variant *variant = cr_alloc_zeroed(1, sizeof *variant);
    if (!variant)
        return NULL;
    for (int i = 0; i < session->input_count; i++) {
        inputs[i] = (cr_graph_input){ session->inputs[i].name, samples[i], session->inputs[i].dtype,
                                      false };
        variant->samples[i] = samples[i];
    }
    cr_graph *graph = cr_graph_trace(session->model, .many = run_model, .settings = session,
                                     .inputs = inputs, .input_count = session->input_count);
    variant->compiled = graph ? cr_graph_compile(graph) : NULL;
    cr_graph_free(graph);
    /* Run op by op, the model says itself what is wrong with the input, if anything is. */
    cr_error_clear();
    return variant;
}

static struct variant *variant_for(cr_session *session, cr_tensor *const *inputs)
{
    cr_shape samples[CR_GRAPH_INPUTS];
    for (int i = 0; i < session->input_count; i++)
        samples[i] = sample_of(inputs[i]);
    pthread_mutex_lock(&session->lock);
    struct variant *found = session->variants;
    for (; found; found = found->next) {
        bool is_same = true;
        for (int i = 0; i < session->input_count; i++)
            is_same = is_same && cr_shape_equal(&found->samples[i], &samples[i]);
        if (is_same)
            break;
    }
    if (!found) {
        found = make_variant(session, samples);
        if (found) {
            found->next = session->variants;
            session->variants = found;
        }
    }
    pthread_mutex_unlock(&session->lock);
    return found;
}

static cr_status check_inputs(const cr_session *session, cr_tensor *const *inputs)
{
    for (int i = 0; i < session->input_count; i++) {
        const cr_graph_port *port = &session->inputs[i];
        if (!inputs[i])
            return cr_error_set(CR_ERROR_STATE, "session: the input %s has not been set",
                                port->name);
        if (cr_dtype_of(inputs[i]) != port->dtype)
            return cr_error_set(CR_ERROR_DTYPE, "session: the input %s is %s, not %s", port->name,
                                cr_dtype_name(port->dtype), cr_dtype_name(cr_dtype_of(inputs[i])));
    }
    return CR_OK;
}

cr_status cr_session_run_tensors(cr_session *session, cr_tensor *const *inputs, cr_tensor **outputs)
{
    int count;
    memset(outputs, 0, (size_t)session->output_count * sizeof *outputs);
    if (cr_failed() || check_inputs(session, inputs) != CR_OK)
        return cr_error_status();
    struct variant *variant = variant_for(session, inputs);
    if (!variant)
        return cr_error_status();
    if (variant->compiled)
        return cr_compiled_run(variant->compiled, inputs, outputs);
    bool grad_was = cr_set_grad_enabled(false);
    run_model(cr_root(session->model), inputs, session->input_count, outputs, &count, session);
    cr_set_grad_enabled(grad_was);
    return cr_error_status();
}

/* ---- the five calls ---- */

static struct slot *own_slot(cr_session *session)
{
    struct slot *slot = pthread_getspecific(session->key);
    if (slot)
        return slot;
    slot = cr_alloc_zeroed(1, sizeof *slot);
    if (!slot)
        return NULL;
    slot->session = session;
    pthread_setspecific(session->key, slot);
    pthread_mutex_lock(&session->lock);
    slot->next = session->slots;
    session->slots = slot;
    pthread_mutex_unlock(&session->lock);
    return slot;
}

cr_status cr_session_input(cr_session *session, int index, const void *data, cr_shape shape,
                           cr_dtype dtype)
{
    if (cr_failed())
        return cr_error_status();
    if (index < 0 || index >= session->input_count)
        return cr_error_set(CR_ERROR_ARGUMENT, "session: there is no input %d of %d", index,
                            session->input_count);
    struct slot *slot = own_slot(session);
    if (!slot)
        return CR_ERROR_MEMORY;
    cr_tensor **own = &slot->inputs[index];
    cr_shape before = cr_shape_of(*own);
    if (*own && cr_shape_equal(&before, &shape) && cr_dtype_of(*own) == dtype) {
        memcpy(cr_data(*own), data, (size_t)cr_shape_numel(&shape) * cr_dtype_size(dtype));
        return CR_OK;
    }
    cr_frame frame = cr_frame_begin();
    cr_tensor *tensor = cr_retain(cr_from_buffer(data, shape, dtype));
    cr_frame_end(frame);
    if (!tensor)
        return cr_error_status();
    cr_release(*own);
    *own = tensor;
    return CR_OK;
}

cr_status cr_session_run(cr_session *session)
{
    cr_tensor *outputs[CR_GRAPH_OUTPUTS] = { NULL };
    struct slot *slot = cr_failed() ? NULL : own_slot(session);
    if (!slot)
        return cr_error_status();
    for (int i = 0; i < session->output_count; i++) {
        cr_release(slot->outputs[i]);
        slot->outputs[i] = NULL;
    }
    cr_frame frame = cr_frame_begin();
    if (cr_session_run_tensors(session, slot->inputs, outputs) == CR_OK) {
        for (int i = 0; i < session->output_count; i++)
            slot->outputs[i] = cr_retain(cr_contiguous(outputs[i]));
    }
    cr_frame_end(frame);
    return cr_error_status();
}

const void *cr_session_output(cr_session *session, int index, cr_shape *shape)
{
    const struct slot *slot = cr_failed() ? NULL : own_slot(session);
    if (!slot)
        return NULL;
    if (index < 0 || index >= session->output_count || !slot->outputs[index]) {
        cr_error_set(CR_ERROR_STATE,
                     "session: there is no output %d: this thread has not run the "
                     "model, or it has no such output",
                     index);
        return NULL;
    }
    if (shape)
        *shape = cr_shape_of(slot->outputs[index]);
    return cr_data(slot->outputs[index]);
}

/* ---- what it takes and gives ---- */

int cr_session_input_count(const cr_session *session)
{
    return session->input_count;
}

int cr_session_output_count(const cr_session *session)
{
    return session->output_count;
}

cr_graph_port cr_session_input_at(const cr_session *session, int index)
{
    bool is_there = index >= 0 && index < session->input_count;
    return is_there ? session->inputs[index] : (cr_graph_port){ 0 };
}

cr_graph_port cr_session_output_at(const cr_session *session, int index)
{
    bool is_there = index >= 0 && index < session->output_count;
    return is_there ? session->outputs[index] : (cr_graph_port){ 0 };
}

const cr_classifier *cr_session_classifier(const cr_session *session)
{
    return session->classifier;
}
