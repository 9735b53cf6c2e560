/* What is told of layers, and what is explained by it: Grad-CAM of a residual net is that of its
 * formula, features are what the last layer reads, and nothing of the model is changed. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/cresset.h"

#define SIDE    16
#define SAMPLES 3
#define CLASSES 4

static void assert_error(const char *part)
{
    assert_true(cr_failed());
    if (strstr(cr_error_message(), part) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", cr_error_message(), part);
    cr_error_clear();
}

static cr_classifier *make_net(const char *architecture, int64_t side)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *samples = cr_zeros(CR_SHAPE(2, 3, side, side));
    cr_dataset *data = cr_dataset_from_tensors(
        samples, .labels = cr_zeros(CR_SHAPE(2), .dtype = CR_I64), .class_count = CLASSES);
    cr_classifier *net =
        cr_classifier_new(architecture, .data = data, .seed = 1,
                          .settings = { .small_stem = strncmp(architecture, "resnet", 6) == 0 },
                          .normalization = CR_NORMALIZE_NONE);
    cr_dataset_free(data);
    cr_frame_end(frame);
    if (!net)
        fail_msg("%s", cr_error_message());
    return net;
}

static cr_tensor *make_samples(int64_t count, int64_t side)
{
    cr_tensor *samples = cr_zeros(CR_SHAPE(count, 3, side, side));
    cr_generator generator = cr_generator_make(9, 0);
    float *values = cr_data(samples);
    for (int64_t i = 0; i < count * 3 * side * side; i++)
        values[i] = (float)cr_random_normal(&generator);
    return samples;
}

/* ---- watching ---- */

typedef struct heard {
    int count;
    char last[64];
    cr_tensor *output;
} heard;

static void hear(const char *name, const char *kind, cr_tensor *input, cr_tensor *output,
                 void *context)
{
    heard *h = context;
    assert_non_null(input);
    h->count++;
    snprintf(h->last, sizeof h->last, "%s %s", kind, name);
    cr_release(h->output);
    h->output = cr_retain(output);
}

static void layers_and_blocks_are_told_by_name(void **state)
{
    (void)state;
    cr_classifier *net = make_net("resnet18", SIDE);
    cr_frame frame = cr_frame_begin();
    heard all = { 0 }, blocks = { 0 };
    cr_model_train(net->model, false);
    cr_layer_watch none = cr_watch_layers((cr_layer_watch){ NULL, hear, &all });
    assert_null(none.function);
    cr_tensor *logits = cr_classifier_forward(net, make_samples(SAMPLES, SIDE));
    cr_layer_watch was = cr_watch_layers((cr_layer_watch){ "layer4.?", hear, &blocks });
    assert_ptr_equal(was.context, &all);
    cr_classifier_forward(net, make_samples(SAMPLES, SIDE));
    cr_watch_layers(none);
    cr_classifier_forward(net, make_samples(SAMPLES, SIDE));
    assert_true(all.count > 40);
    assert_string_equal(all.last, "Linear fc");
    assert_ptr_equal(all.output, logits);
    assert_int_equal(blocks.count, 2);
    assert_string_equal(blocks.last, "Block layer4.1");
    assert_int_equal(cr_dim(blocks.output, 1), 512);
    cr_release(all.output);
    cr_release(blocks.output);
    cr_frame_end(frame);
    cr_classifier_free(net);
}

/* ---- Grad-CAM ---- */

/* The map of a net whose scores are linear in the means of the last maps: the gradient of a score
 * is the same everywhere, the weight of the channel. */
static void expect_map(const cr_classifier *net, cr_tensor *last, int64_t sample, int64_t class,
                       double *map)
{
    const float *weights = cr_data(cr_contiguous(cr_model_find(net->model, "fc.weight")));
    const float *values = cr_data(cr_contiguous(last));
    int64_t channels = cr_dim(last, 1), places = cr_dim(last, 2) * cr_dim(last, 3);
    double highest = 0;
    for (int64_t i = 0; i < places; i++) {
        map[i] = 0;
        for (int64_t c = 0; c < channels; c++)
            map[i] += (double)weights[class * channels + c] *
                      (double)values[(sample * channels + c) * places + i];
        map[i] = fmax(map[i], 0);
        highest = fmax(highest, map[i]);
    }
    for (int64_t i = 0; i < places && highest > 0; i++)
        map[i] /= highest;
}

/* Bilinear, corners not aligned, as PyTorch's interpolate. */
static double sample_map(const double *map, int side, double y, double x)
{
    double scale = (double)side / SIDE;
    double at_y = fmax((y + 0.5) * scale - 0.5, 0), at_x = fmax((x + 0.5) * scale - 0.5, 0);
    int y0 = (int)at_y, x0 = (int)at_x;
    int y1 = y0 + 1 < side ? y0 + 1 : y0, x1 = x0 + 1 < side ? x0 + 1 : x0;
    double dy = at_y - y0, dx = at_x - x0;
    return (map[y0 * side + x0] * (1 - dx) + map[y0 * side + x1] * dx) * (1 - dy) +
           (map[y1 * side + x0] * (1 - dx) + map[y1 * side + x1] * dx) * dy;
}

static void grad_cam_of_a_residual_net_is_its_formula(void **state)
{
    (void)state;
    static const int64_t classes[SAMPLES] = { 2, 0, 3 };
    cr_classifier *net = make_net("resnet18", SIDE);
    cr_frame frame = cr_frame_begin();
    heard blocks = { 0 };
    cr_tensor *samples = make_samples(SAMPLES, SIDE);
    cr_model_freeze(net->model, "*", true);
    cr_model_train(net->model, false);
    cr_layer_watch was = cr_watch_layers((cr_layer_watch){ "layer4.1", hear, &blocks });
    cr_classifier_forward(net, samples);
    cr_watch_layers(was);
    cr_model_train(net->model, true);
    cr_tensor *maps = cr_grad_cam(net, samples, .classes = classes);
    if (!maps)
        fail_msg("%s", cr_error_message());
    assert_true(cr_model_is_training(net->model));
    assert_false(cr_requires_grad(samples));
    assert_int_equal(cr_dim(maps, 0), SAMPLES);
    int side = (int)cr_dim(blocks.output, 2);
    assert_true(side > 1 && cr_dim(maps, 1) == SIDE && cr_dim(maps, 2) == SIDE);
    const float *values = cr_data(maps);
    for (int n = 0; n < SAMPLES; n++) {
        double map[SIDE * SIDE];
        expect_map(net, blocks.output, n, classes[n], map);
        for (int i = 0; i < SIDE * SIDE; i++) {
            double expected = sample_map(map, side, i / SIDE, i % SIDE);
            if (!(fabs((double)values[n * SIDE * SIDE + i] - expected) < 1e-3))
                fail_msg("place %d of sample %d is %g, not %g", i, n,
                         (double)values[n * SIDE * SIDE + i], expected);
        }
    }
    cr_release(blocks.output);
    cr_frame_end(frame);
    cr_classifier_free(net);
}

static void grad_cam_of_other_architectures(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        int64_t side;
    } nets[] = { { "convnet", 28 }, { "mobilenet_v2", 64 }, { "swin_t", 64 } };
    for (size_t k = 0; k < sizeof nets / sizeof *nets; k++) {
        cr_classifier *net = make_net(nets[k].name, nets[k].side);
        cr_frame frame = cr_frame_begin();
        cr_tensor *maps = cr_grad_cam(net, make_samples(2, nets[k].side));
        if (!maps)
            fail_msg("%s: %s", nets[k].name, cr_error_message());
        const float *values = cr_data(maps);
        for (int64_t i = 0; i < cr_numel(maps); i++)
            assert_true(values[i] >= 0 && values[i] <= 1);
        cr_frame_end(frame);
        cr_classifier_free(net);
    }
}

static void what_cannot_be_explained_is_said(void **state)
{
    (void)state;
    static const int64_t outside[1] = { CLASSES };
    cr_classifier *net = make_net("mlp", 8);
    cr_frame frame = cr_frame_begin();
    assert_null(cr_grad_cam(net, make_samples(1, 8)));
    assert_int_equal(cr_error_status(), CR_ERROR_UNSUPPORTED);
    assert_error("mlp has no layer with places");
    assert_null(cr_grad_cam(net, cr_zeros(CR_SHAPE(2, 3))));
    assert_error("2 dimensions");
    assert_null(cr_grad_cam(net, make_samples(1, 8), .classes = outside));
    assert_error("class 4 of sample 0");
    cr_frame_end(frame);
    cr_classifier_free(net);
}

/* ---- features, painting ---- */

static void features_are_what_the_last_layer_reads(void **state)
{
    (void)state;
    cr_classifier *net = make_net("resnet18", SIDE);
    cr_frame frame = cr_frame_begin();
    cr_tensor *samples = make_samples(SAMPLES, SIDE);
    cr_tensor *features = cr_classifier_features(net, samples);
    assert_non_null(features);
    assert_int_equal(cr_dim(features, 1), 512);
    cr_model_train(net->model, false);
    cr_tensor *logits = cr_classifier_forward(net, samples);
    cr_tensor *again =
        cr_add(cr_matmul(features, cr_transpose(cr_model_find(net->model, "fc.weight"), 0, 1)),
               cr_model_find(net->model, "fc.bias"));
    for (int64_t i = 0; i < SAMPLES * CLASSES; i++)
        assert_true(fabs(cr_element(logits, i) - cr_element(again, i)) < 1e-4);
    cr_frame_end(frame);
    cr_classifier_free(net);
}

static void heat_is_painted_over_grey(void **state)
{
    (void)state;
    static const float map[3] = { 0, 1, -1 };
    static const uint8_t pixels[9] = { 255, 0, 0, 10, 10, 10, 200, 200, 200 };
    uint8_t painted[9];
    cr_heat_paint(map, pixels, 1, 3, 3, painted);
    assert_int_equal(painted[0], painted[2]); /* no heat: grey */
    assert_int_equal(painted[0], 76);
    assert_true(painted[3] > 150 && painted[4] < 40); /* all heat: red */
    assert_int_equal(painted[6], 200);
    cr_heat_paint(map, pixels, 1, 3, 1, painted);
    assert_int_equal(painted[1], 255);
}

static void every_failed_allocation_is_reported_and_leaks_nothing(void **state)
{
    (void)state;
    cr_classifier *net = make_net("lenet5", 28);
    cr_frame frame = cr_frame_begin();
    cr_tensor *samples = make_samples(1, 28);
    bool done = false;
    for (int64_t successes = 0; !done; successes += 1 + successes / 8) {
        cr_frame inner = cr_frame_begin();
        cr_memory_fail_after(successes);
        done = cr_grad_cam(net, samples) != NULL && cr_classifier_features(net, samples) != NULL;
        cr_memory_fail_after(-1);
        assert_int_equal(cr_failed(), !done);
        cr_error_clear();
        cr_frame_end(inner);
        assert_true(cr_model_is_training(net->model));
        assert_true(cr_grad_enabled());
        assert_true(successes < 100000);
    }
    cr_frame_end(frame);
    cr_classifier_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_and_blocks_are_told_by_name),
        cmocka_unit_test(grad_cam_of_a_residual_net_is_its_formula),
        cmocka_unit_test(grad_cam_of_other_architectures),
        cmocka_unit_test(what_cannot_be_explained_is_said),
        cmocka_unit_test(features_are_what_the_last_layer_reads),
        cmocka_unit_test(heat_is_painted_over_grey),
        cmocka_unit_test(every_failed_allocation_is_reported_and_leaks_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
