/* Models of the zoo as ONNX files, with the results that they should give: write_zoo FOLDER
 * [MODEL[@SIZE][:raw]…]. Without names, a selection that is small enough for every run of the tests
 * (see also test_runtime.py --all). SIZE is the height and width, or the length, of the input; raw:
 * without folding.
 *
 * Weights are random. The statistics of norms come from a few batches in training mode, so that no
 * layer runs away, and what begins as a constant (biases, layer scales, heads) is disturbed, so
 * that it counts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/models.h"
#include "cresset/ops.h"
#include "written.h"

#define BATCH       3
#define SETTLING    3
#define DISTURBANCE 0.05
#define SMALL_BERT  128 /* features */

static const char *const selection[] = {
    "lenet5",
    "convnet@28",
    "resnet18@64",
    "resnet18@64:raw",
    "googlenet@64",
    "inception_v3@75",
    "squeezenet1_1@64",
    "mobilenet_v2@64",
    "mnasnet0_5@64",
    "mobilenet_v3_small@64",
    "shufflenet_v2_x0_5@64",
    "regnet_y_400mf@64",
    "efficientnet_b0@64",
    "swin_v2_t@64",
    "bert_base@16",
    "bert_base@16:raw",
    "bilstm@20",
};

static cr_tensor *random_batch(const cr_architecture *architecture, cr_shape sample)
{
    cr_shape shape = { .ndim = sample.ndim + 1, .dim = { BATCH } };
    memcpy(shape.dim + 1, sample.dim, (size_t)sample.ndim * sizeof *sample.dim);
    if (architecture->kind == CR_INPUT_TOKENS)
        return cr_randint(0, architecture->vocabulary, shape);
    return cr_randn(shape);
}

/* Adds noise to parameters whose elements are all the same. */
static void disturb(cr_model *model)
{
    for (int i = 0; i < cr_model_tensor_count(model) && !cr_failed(); i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        cr_frame frame = cr_frame_begin();
        float *data = cr_data(named.tensor);
        int64_t count = cr_numel(named.tensor), same = 0;
        while (!named.is_buffer && same < count && data[same] == data[0])
            same++;
        if (!named.is_buffer && same == count) {
            const float *noise = cr_data(cr_randn(CR_SHAPE(count)));
            for (int64_t k = 0; noise && k < count; k++)
                data[k] += (float)DISTURBANCE * noise[k];
            cr_mark_written(named.tensor);
        }
        cr_frame_end(frame);
    }
}

static void settle(cr_model *model, const cr_bound_architecture *bound, cr_shape sample)
{
    bool has_norms = false;
    for (int i = 0; i < cr_model_tensor_count(model); i++)
        has_norms = has_norms || strstr(cr_model_tensor_at(model, i).name, "running_var");
    cr_model_train(model, true);
    for (int i = 0; i < SETTLING && has_norms && !cr_failed(); i++) {
        cr_frame frame = cr_frame_begin();
        cr_run_architecture(cr_root(model), random_batch(bound->architecture, sample), bound);
        cr_frame_end(frame);
    }
    cr_model_train(model, false);
}

static bool write_model(const char *folder, const char *name, const cr_architecture *architecture,
                        cr_shape sample, bool is_raw)
{
    cr_bound_architecture bound = { .architecture = architecture,
                                    .settings = { .no_dropout = true } };
    bool is_large = architecture->kind == CR_INPUT_TOKENS && sample.dim[0] < 64;
    bound.settings.width = is_large ? SMALL_BERT : 0;
    cr_model *model = cr_model_new(.seed = 1);
    cr_shape batch = cr_shape_of(random_batch(architecture, sample));
    cr_graph *graph = NULL;
    if (model && cr_model_build(model, cr_run_architecture, &bound, batch,
                                cr_architecture_dtype(architecture), NULL) == CR_OK) {
        disturb(model);
        settle(model, &bound, sample);
        graph = cr_graph_trace(model, .function = cr_run_architecture, .settings = &bound,
                               .sample = sample, .dtype = cr_architecture_dtype(architecture),
                               .output_names = (const char *const[]){ "logits" });
    }
    cr_tensor *x = graph ? random_batch(architecture, sample) : NULL;
    bool good = x && write_case(folder, name, graph, &x, true, (cr_onnx_args){ .no_fold = is_raw });
    if (!good && cr_failed())
        write_failure(name);
    cr_graph_free(graph);
    cr_model_free(model);
    cr_frame_end_all();
    return good;
}

/* "resnet18@64:raw" */
static bool write_named(const char *folder, const char *word)
{
    char name[128];
    snprintf(name, sizeof name, "%s", word);
    char *raw = strstr(name, ":raw"), *at = strchr(name, '@');
    if (raw)
        *raw = '\0';
    if (at)
        *at = '\0';
    const cr_architecture *architecture = cr_architecture_find(name);
    if (!architecture)
        return write_failure(word);
    cr_shape sample = architecture->input;
    bool is_image = architecture->kind == CR_INPUT_IMAGE;
    for (int d = is_image ? 1 : 0; at && d < (is_image ? 3 : 1); d++)
        sample.dim[d] = atoi(at + 1);
    snprintf(name, sizeof name, "%s%s", architecture->name, raw ? "_raw" : "");
    return write_model(folder, name, architecture, sample, raw != NULL);
}

int main(int argc, char **argv)
{
    bool good = true;
    if (argc < 2) {
        fprintf(stderr, "write_zoo FOLDER [MODEL[@SIZE][:raw]...]\n");
        return 2;
    }
    cr_set_grad_enabled(false);
    cr_manual_seed(7);
    int count = argc > 2 ? argc - 2 : (int)(sizeof selection / sizeof *selection);
    for (int i = 0; i < count; i++)
        good = write_named(argv[1], argc > 2 ? argv[2 + i] : selection[i]) && good;
    return good ? 0 : 1;
}
