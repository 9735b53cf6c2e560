/* Models in ONNX files as the server runs them. Whether rows may be put together is found out by
 * trying: an exporter may have fixed the size of a batch somewhere inside, whatever the file says
 * of its inputs. */
#include "cresset/memory.h"
#include "serve/serve.h"

#define TRIED 32 /* the size of what varies besides the rows, when a model is tried out */

/* Takes over the name, dtype and shape of an input or output. */
static bool describe(tensor_spec *spec, const char *kind, cr_onnx_port port)
{
    if (!port.is_tensor || !port.has_dtype || (port.has_shape && port.shape.ndim > CR_MAX_DIMS))
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "its %s \"%s\" is of the type %s, which cannot be served", kind,
                            port.name, port.type) == CR_OK;
    spec->name = cr_string_copy(port.name);
    spec->dtype = port.dtype;
    spec->shape = port.shape;
    return spec->name != NULL;
}

static bool describe_inputs(runner *r)
{
    for (int i = 0; i < r->input_count; i++) {
        cr_onnx_port port = cr_onnx_input(r->onnx, i);
        if (!port.has_shape)
            return cr_error_set(CR_ERROR_UNSUPPORTED,
                                "its input \"%s\" has no shape, so that requests cannot be checked",
                                port.name) == CR_OK;
        if (!describe(&r->inputs[i], "input", port))
            return false;
    }
    return true;
}

static bool describe_all(runner *r)
{
    r->platform = "cresset_onnx";
    r->input_count = cr_onnx_input_count(r->onnx);
    r->output_count = cr_onnx_output_count(r->onnx);
    if (r->input_count < 1 || r->input_count > CR_SERVE_MAX_TENSORS ||
        r->output_count > CR_SERVE_MAX_TENSORS)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "it has %d inputs and %d outputs; served are "
                            "models with 1 to %d",
                            r->input_count, r->output_count, CR_SERVE_MAX_TENSORS) == CR_OK;
    r->inputs = cr_alloc_zeroed((size_t)r->input_count, sizeof(tensor_spec));
    r->outputs = cr_alloc_zeroed((size_t)r->output_count, sizeof(tensor_spec));
    bool good = r->inputs && r->outputs && describe_inputs(r);
    for (int i = 0; good && i < r->output_count; i++)
        good = describe(&r->outputs[i], "output", cr_onnx_output(r->onnx, i));
    return good;
}

/* ---- what a batch does ---- */

/* Runs zeros with this many rows, where rows vary, and TRIED of everything else that varies; the
 * shapes of what comes out. */
static bool try_rows(const runner *r, int64_t rows, cr_shape *shapes)
{
    cr_tensor *inputs[CR_SERVE_MAX_TENSORS], *outputs[CR_SERVE_MAX_TENSORS];
    cr_frame frame = cr_frame_begin();
    bool good = true;
    for (int i = 0; good && i < r->input_count; i++) {
        cr_shape shape = r->inputs[i].shape;
        for (int d = 0; d < shape.ndim; d++)
            if (shape.dim[d] < 0)
                shape.dim[d] = d == 0 ? rows : TRIED;
        inputs[i] = cr_zeros(shape, .dtype = r->inputs[i].dtype);
        good = inputs[i] != NULL;
    }
    good = good && runner_run(r, inputs, outputs);
    for (int i = 0; good && i < r->output_count; i++)
        shapes[i] = cr_shape_of(outputs[i]);
    cr_frame_end(frame);
    return good;
}

/* True if outputs of one and of three rows differ in their first size only, which is the rows. */
static bool scales(const runner *r, const cr_shape *one, const cr_shape *three)
{
    for (int i = 0; i < r->output_count; i++) {
        cr_shape expected = one[i];
        if (expected.ndim < 1 || expected.dim[0] != 1)
            return false;
        expected.dim[0] = 3;
        if (!cr_shape_equal(&expected, &three[i]))
            return false;
    }
    return true;
}

/* How many dimensions of inputs vary, and how many of these are their first. */
static void count_varying(const runner *r, int *all, int *first)
{
    *all = *first = 0;
    for (int i = 0; i < r->input_count; i++) {
        const cr_shape *shape = &r->inputs[i].shape;
        *first += shape->ndim > 0 && shape->dim[0] < 0;
        for (int d = 0; d < shape->ndim; d++)
            *all += shape->dim[d] < 0;
    }
}

/* Runs the model for the first time. Where sizes vary in ways of the model's own, a failure says
 * only that this size was not one of them. */
static bool try_out(runner *r)
{
    cr_shape one[CR_SERVE_MAX_TENSORS], three[CR_SERVE_MAX_TENSORS];
    int varying, first;
    count_varying(r, &varying, &first);
    bool runs = try_rows(r, 1, one);
    if (!runs && varying == first)
        return false;
    r->batches = runs && first == r->input_count && try_rows(r, 3, three) && scales(r, one, three);
    cr_error_clear();
    return true;
}

/* ---- classifiers that were exported ---- */

static bool fits(const cr_shape *spec, const cr_shape *wanted)
{
    bool same = spec->ndim == wanted->ndim;
    for (int d = 0; same && d < spec->ndim; d++)
        same = spec->dim[d] < 0 || spec->dim[d] == wanted->dim[d];
    return same;
}

/* An exported classifier has its description among the metadata: then it takes pictures as well,
 * and gives probabilities beside its logits. */
static bool adopt_description(runner *r)
{
    const char *description = cr_onnx_metadata(r->onnx, "cresset");
    bool plain = r->batches && r->input_count == 1 && r->output_count == 1 &&
                 r->inputs[0].dtype == CR_F32 && r->outputs[0].dtype == CR_F32;
    if (!description || !plain)
        return true;
    if (!runner_describe(r, description))
        return false;
    cr_shape input = CR_SHAPE(-1, r->sample.dim[0], r->sample.dim[1], r->sample.dim[2]);
    cr_shape scores = CR_SHAPE(-1, r->class_count);
    if (!fits(&r->inputs[0].shape, &input) || !fits(&r->outputs[0].shape, &scores))
        return cr_error_set(CR_ERROR_FORMAT, "its description is that of another model") == CR_OK;
    tensor_spec *grown = cr_resize(r->outputs, 2, sizeof *grown);
    if (!grown)
        return false;
    r->outputs = grown;
    r->outputs[1] = (tensor_spec){ cr_string_copy("probabilities"), CR_F32, scores };
    r->output_count = 2;
    return r->outputs[1].name != NULL;
}

bool runner_open_onnx(runner *r, const char *path)
{
    r->onnx = cr_onnx_open(path);
    r->model = r->onnx ? cr_model_new(.seed = 1) : NULL;
    if (!r->model)
        return false;
    cr_model_train(r->model, false);
    if (describe_all(r) && try_out(r) && adopt_description(r))
        return true;
    cr_error_prefix("%s", path);
    return false;
}
