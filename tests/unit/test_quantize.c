/* Quantized graphs: how near they are to the floats for every calibration, what is quantized, and
 * that the result is the same for any number of threads. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/cresset.h"

#define BATCH 6

/* Residuals, a depthwise convolution, ReLU6, an op between that stays, and a linear layer. */
static cr_tensor *net(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    x = cr_conv2d(at, "conv1", x, .out = 24, .kernel = 3, .stride = 2, .padding = 1);
    x = cr_relu6(cr_batch_norm(at, "bn1", x));
    cr_tensor *y =
        cr_conv2d(at, "depthwise", x, .out = 24, .kernel = 3, .padding = 1, .groups = 24);
    y = cr_relu(cr_batch_norm(at, "bn2", y));
    y = cr_conv2d(at, "conv2", y, .out = 24, .kernel = 1, .no_bias = true);
    x = cr_relu(cr_add(y, x));
    y = cr_batch_norm(at, "bn3", cr_conv2d(at, "conv3", x, .out = 24, .kernel = 3, .padding = 1));
    x = cr_relu(cr_add(x, y));
    x = cr_max_pool2d(x, .kernel = 2);
    x = cr_conv2d(at, "grouped", x, .out = 24, .kernel = 3, .groups = 4);
    return cr_linear(at, "fc", cr_flatten(cr_silu(x), 1, -1), .out = 7);
}

struct fixture {
    cr_model *model;
    cr_graph *graph;
    cr_tensor *x;
    cr_frame frame;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    f->frame = cr_frame_begin();
    cr_manual_seed(3);
    f->model = cr_model_new(.seed = 1);
    cr_model_train(f->model, false);
    f->graph = cr_graph_trace(f->model, .function = net, .sample = CR_SHAPE(3, 14, 12));
    f->x = cr_randn(CR_SHAPE(BATCH, 3, 14, 12));
    *state = f;
    return f->graph && f->x ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    cr_graph_free(f->graph);
    cr_model_free(f->model);
    cr_frame_end(f->frame);
    free(f);
    return cr_failed() ? -1 : 0;
}

static cr_graph *quantized(const struct fixture *f, cr_calibration how)
{
    cr_range ranges[64];
    assert_in_range(cr_quantize_range_count(f->graph), 1, 64);
    cr_calibrator *calibrator = cr_calibrator_new(f->graph);
    assert_int_equal(cr_calibrator_observe(calibrator, &f->x), CR_OK);
    assert_int_equal(cr_calibrator_ranges(calibrator, how, ranges), CR_OK);
    cr_calibrator_free(calibrator);
    cr_graph *graph = cr_graph_quantize(f->graph, ranges);
    assert_non_null(graph);
    return graph;
}

static double signal_to_noise(cr_tensor *y, cr_tensor *other)
{
    const float *a = cr_data(cr_contiguous(y)), *b = cr_data(cr_contiguous(other));
    double signal = 0, noise = 0;
    for (int64_t i = 0; i < cr_numel(y); i++) {
        signal += (double)a[i] * (double)a[i];
        noise += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    return 10 * log10(signal / noise);
}

static void test_is_near(void **state)
{
    const struct fixture *f = *state;
    static const double least[] = { 25, 20, 10 }; /* dB; entropy cuts much of few samples */
    cr_tensor *y = NULL, *z = NULL;
    assert_int_equal(cr_graph_run(f->graph, &f->x, &y), CR_OK);
    for (int how = 0; how < 3; how++) {
        cr_graph *graph = quantized(f, (cr_calibration)how);
        assert_int_equal(cr_graph_run(graph, &f->x, &z), CR_OK);
        double found = signal_to_noise(y, z);
        if (found < least[how])
            print_error("calibration %d: %g dB\n", how, found);
        assert_true(found >= least[how]);
        cr_graph_free(graph);
    }
}

static int count_in(const char *text, const char *word)
{
    int count = 0;
    for (const char *at = strstr(text, word); at; at = strstr(at + 1, word))
        count++;
    return count;
}

/* The grouped convolution stays, and nothing between the first layers is a float. */
static void test_what_is_quantized(void **state)
{
    const struct fixture *f = *state;
    cr_graph *graph = quantized(f, CR_CALIBRATE_MINMAX);
    cr_text text = { 0 };
    cr_graph_print(graph, &text);
    assert_int_equal(count_in(text.data, "quantized_conv2d"), 4);
    assert_int_equal(count_in(text.data, "quantized_linear"), 1);
    assert_int_equal(count_in(text.data, "quantize_per_tensor"), 2);
    assert_int_equal(count_in(text.data, "batch_norm"), 0);
    cr_text_free(&text);
    cr_graph_free(graph);
}

static void test_same_bits(void **state)
{
    const struct fixture *f = *state;
    cr_graph *graph = quantized(f, CR_CALIBRATE_MINMAX);
    cr_tensor *one = NULL, *two = NULL;
    cr_set_num_threads(1);
    assert_int_equal(cr_graph_run(graph, &f->x, &one), CR_OK);
    cr_set_num_threads(2);
    assert_int_equal(cr_graph_run(graph, &f->x, &two), CR_OK);
    cr_set_num_threads(0);
    assert_memory_equal(cr_data(one), cr_data(two), (size_t)cr_numel(one) * sizeof(float));
    cr_graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_is_near, begin, end),
        cmocka_unit_test_setup_teardown(test_what_is_quantized, begin, end),
        cmocka_unit_test_setup_teardown(test_same_bits, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
