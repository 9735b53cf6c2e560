/* Models as the server runs them: what goes in and comes out, one call that runs a batch, and of
 * classifiers what is done to a picture and where they looked. A model that was read is shared by
 * the requests that were checked against it, so that another can take its place at any time. */
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/explain.h"
#include "cresset/image_file.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "serve/serve.h"

runner *runner_retain(runner *r)
{
    atomic_fetch_add(&r->references, 1);
    return r;
}

static void free_specs(tensor_spec *specs, int count)
{
    for (int i = 0; specs && i < count; i++)
        cr_free(specs[i].name);
    cr_free(specs);
}

void runner_release(runner *r)
{
    if (!r || atomic_fetch_sub(&r->references, 1) > 1)
        return;
    free_specs(r->inputs, r->input_count);
    free_specs(r->outputs, r->output_count);
    cr_classifier_free(r->classifier);
    cr_model_free(r->model);
    cr_onnx_close(r->onnx);
    for (int i = 0; i < r->class_count; i++)
        cr_free(r->class_names[i]);
    cr_free(r->class_names);
    cr_free(r->architecture);
    cr_free(r);
}

static tensor_spec *new_specs(int count, int *counted)
{
    *counted = count;
    return cr_alloc_zeroed((size_t)count, sizeof(tensor_spec));
}

static void describe(tensor_spec *spec, const char *name, cr_shape shape)
{
    spec->name = cr_string_copy(name);
    spec->dtype = CR_F32;
    spec->shape = shape;
}

/* A classifier takes samples that are transformed already, and gives its scores and what they mean.
 */
static bool describe_classifier(runner *r)
{
    r->platform = "cresset_classifier";
    r->batches = true;
    r->inputs = new_specs(1, &r->input_count);
    r->outputs = new_specs(2, &r->output_count);
    if (!r->inputs || !r->outputs)
        return false;
    describe(&r->inputs[0], "input",
             CR_SHAPE(-1, r->sample.dim[0], r->sample.dim[1], r->sample.dim[2]));
    describe(&r->outputs[0], "logits", CR_SHAPE(-1, r->class_count));
    describe(&r->outputs[1], "probabilities", CR_SHAPE(-1, r->class_count));
    return !cr_failed();
}

/* ---- what a classifier's description says ---- */

static bool take_names(runner *r, const json_t *names)
{
    size_t count = json_array_size(names);
    r->class_names = count ? cr_alloc_zeroed(count, sizeof(char *)) : NULL;
    if (!r->class_names)
        return false;
    for (; (size_t)r->class_count < count; r->class_count++) {
        const char *name = json_string_value(json_array_get(names, (size_t)r->class_count));
        r->class_names[r->class_count] = name ? cr_string_copy(name) : NULL;
        if (!r->class_names[r->class_count])
            return false;
    }
    return true;
}

static bool take_sample(runner *r, const json_t *input)
{
    r->sample.ndim = 3;
    for (int d = 0; d < 3; d++)
        r->sample.dim[d] = json_integer_value(json_array_get(input, (size_t)d));
    return json_array_size(input) == 3 && cr_shape_numel(&r->sample) > 0 &&
           cr_shape_numel(&r->sample) <= CR_SERVE_MAX_ELEMENTS;
}

/* Parts the transforms, and sees to it that pictures get the size that the model takes. */
static bool take_transforms(runner *r, const char *text)
{
    cr_transform_list all = { 0 };
    if (!text || cr_transform_parse(text, &all) != CR_OK)
        return false;
    for (int i = 0; i < all.count; i++) {
        bool of_pictures = all.items[i].type->picture && r->tensors.count == 0;
        cr_transform_list *list = of_pictures ? &r->pictures : &r->tensors;
        list->items[list->count++] = all.items[i];
    }
    cr_shape made = cr_transform_shape(&r->pictures, CR_SHAPE(r->sample.dim[0], -1, -1));
    char resize[64];
    snprintf(resize, sizeof resize, "resize:%lld:%lld", (long long)r->sample.dim[1],
             (long long)r->sample.dim[2]);
    return cr_shape_equal(&made, &r->sample) || cr_transform_parse(resize, &r->pictures) == CR_OK;
}

bool runner_describe(runner *r, const char *description)
{
    json_error_t where;
    json_t *root = json_loads(description, 0, &where);
    const char *architecture = json_string_value(json_object_get(root, "architecture"));
    const char *transforms = json_string_value(json_object_get(root, "transforms"));
    r->architecture = architecture ? cr_string_copy(architecture) : NULL;
    bool good = r->architecture && take_names(r, json_object_get(root, "classes")) &&
                take_sample(r, json_object_get(root, "input")) && take_transforms(r, transforms);
    json_decref(root);
    return good || cr_error_set(CR_ERROR_FORMAT,
                                "its description is not that of a classifier by Cresset") == CR_OK;
}

/* Runs one row of zeros: a model that cannot run is found out now, and its weights get the order in
 * which they are read. */
static bool try_out(const runner *r)
{
    cr_frame frame = cr_frame_begin();
    cr_shape shape = r->inputs[0].shape;
    shape.dim[0] = 1;
    cr_tensor *input = cr_zeros(shape), *outputs[2];
    bool good = input && runner_run(r, &input, outputs);
    cr_frame_end(frame);
    return good;
}

static bool open_classifier(runner *r, const char *path)
{
    r->classifier = cr_classifier_load(path);
    if (!r->classifier)
        return false;
    cr_model_train(r->classifier->model, false);
    if (cr_classifier_compile(r->classifier) != CR_OK)
        return false;
    char *description = cr_classifier_describe(r->classifier);
    bool good = description && runner_describe(r, description) && describe_classifier(r);
    cr_free(description);
    return good && try_out(r);
}

runner *runner_load(const char *path)
{
    runner *r = cr_failed() ? NULL : cr_alloc_zeroed(1, sizeof *r);
    if (!r)
        return NULL;
    atomic_init(&r->references, 1);
    if (model_has_ending(path, ".onnx") ? runner_open_onnx(r, path) : open_classifier(r, path))
        return r;
    runner_release(r);
    return NULL;
}

static void run_classifier(const runner *r, cr_tensor *input, cr_tensor **outputs)
{
    outputs[0] = cr_contiguous(cr_classifier_forward(r->classifier, input));
    outputs[1] = cr_contiguous(cr_softmax(outputs[0], 1));
}

static void run_onnx(const runner *r, cr_tensor *const *inputs, cr_tensor **outputs)
{
    int count = cr_onnx_output_count(r->onnx);
    cr_onnx_run_all(cr_root(r->model), r->onnx, inputs, r->input_count, outputs, count);
    for (int i = 0; i < count; i++)
        outputs[i] = cr_contiguous(outputs[i]);
    if (count < r->output_count)
        outputs[count] = cr_contiguous(cr_softmax(outputs[0], 1));
}

bool runner_run(const runner *r, cr_tensor *const *inputs, cr_tensor **outputs)
{
    bool was = cr_set_grad_enabled(false);
    if (r->classifier)
        run_classifier(r, inputs[0], outputs);
    else
        run_onnx(r, inputs, outputs);
    cr_set_grad_enabled(was);
    return !cr_failed();
}

bool runner_read_picture(const runner *r, const void *bytes, size_t size, float *sample)
{
    const cr_shape *input = &r->sample;
    cr_image image = { 0 }, spare = { 0 };
    bool good =
        cr_image_decode(bytes, size, "the picture", (int)input->dim[0], &image) == CR_OK &&
        cr_transform_picture(&r->pictures, &image, &spare, 0, 0, 0, *input, sample) == CR_OK;
    cr_image_free(&image);
    cr_image_free(&spare);
    return good;
}

void runner_finish_sample(const runner *r, float *sample)
{
    const cr_shape *input = &r->sample;
    cr_sample one = { sample, input->dim[0], input->dim[1], input->dim[2] };
    cr_transform_apply(&r->tensors, &one, 0, 0, 0);
}

/* (C, H, W) of 0 … 1 as bytes (H, W, C). */
static void to_bytes(const float *seen, const cr_shape *shape, uint8_t *pixels)
{
    int64_t plane = shape->dim[1] * shape->dim[2], channels = shape->dim[0];
    for (int64_t i = 0; i < channels * plane; i++) {
        float value = seen[i] < 0 ? 0 : seen[i] > 1 ? 1 : seen[i];
        pixels[i % plane * channels + i / plane] = (uint8_t)(value * 255 + 0.5F);
    }
}

bool runner_explain(const runner *r, const float *sample, const float *seen, int64_t class,
                    cr_text *png)
{
    const cr_shape *shape = &r->sample;
    int64_t channels = shape->dim[0], height = shape->dim[1], width = shape->dim[2];
    cr_image painted = { 0 };
    if (!r->classifier)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "where it looked (Grad-CAM) can be said of Cresset's own files of "
                            "weights, but not of an ONNX file") == CR_OK;
    cr_frame frame = cr_frame_begin();
    cr_tensor *batch = cr_from_buffer(sample, CR_SHAPE(1, channels, height, width), CR_F32);
    cr_tensor *map = cr_grad_cam(r->classifier, batch, .classes = &class);
    uint8_t *pixels = map ? cr_alloc((size_t)cr_shape_numel(shape)) : NULL;
    if (pixels && cr_image_resize_room(&painted, height, width, 3) == CR_OK) {
        to_bytes(seen, shape, pixels);
        cr_heat_paint(cr_data(map), pixels, height, width, channels, painted.pixels);
        cr_image_encode_png(&painted, png);
    }
    cr_free(pixels);
    cr_image_free(&painted);
    cr_frame_end(frame);
    return !cr_failed();
}
