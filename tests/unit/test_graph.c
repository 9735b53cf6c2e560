/* Graphs: every model of the zoo becomes one, and run node by node it gives what the model gives.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/cresset.h"
#include "graph/graph.h"

#define CHECK_OK() assert_string_equal(cr_error_message(), "")

/* The size of samples in tests: small where the architecture allows. */
static cr_shape small_sample(const cr_architecture *architecture)
{
    const char *name = architecture->name;
    cr_shape shape = architecture->input;
    if (architecture->kind == CR_INPUT_TOKENS)
        return CR_SHAPE(16);
    if (architecture->kind == CR_INPUT_SEQUENCE)
        return CR_SHAPE(12, shape.dim[1]);
    if (strncmp(name, "vit", 3) == 0 || shape.dim[1] < 96)
        return shape;
    int64_t size = strncmp(name, "inception", 9) == 0 ? 75 : 64;
    return CR_SHAPE(shape.dim[0], size, size);
}

static cr_graph *graph_of(cr_model *model, const cr_bound_architecture *bound)
{
    return cr_graph_trace(model, .function = cr_run_architecture, .settings = bound,
                          .sample = small_sample(bound->architecture),
                          .dtype = cr_architecture_dtype(bound->architecture));
}

static void every_architecture_is_traced(void **state)
{
    (void)state;
    for (int i = 0; i < cr_architecture_count(); i++) {
        cr_bound_architecture bound = { .architecture = cr_architecture_at(i) };
        cr_frame frame = cr_frame_begin();
        cr_model *model = cr_model_new(.meta = true);
        cr_graph *graph = graph_of(model, &bound);
        if (!graph)
            print_error("%s: %s\n", bound.architecture->name, cr_error_message());
        assert_non_null(graph);
        assert_true(graph->node_count > 3);
        assert_int_equal(cr_graph_input_at(graph, 0).shape.dim[0], -1);
        assert_int_equal(cr_graph_output_at(graph, 0).shape.dim[0], -1);
        cr_graph_free(graph);
        cr_model_free(model);
        cr_frame_end(frame);
    }
}

static cr_tensor *samples(const cr_architecture *architecture, int64_t n)
{
    cr_shape sample = small_sample(architecture), shape = { .ndim = sample.ndim + 1, .dim = { n } };
    memcpy(&shape.dim[1], sample.dim, (size_t)sample.ndim * sizeof sample.dim[0]);
    if (architecture->kind == CR_INPUT_TOKENS)
        return cr_randint(0, architecture->vocabulary, shape);
    return cr_randn(shape);
}

static void assert_close(const cr_tensor *a, const cr_tensor *b, double tolerance)
{
    CHECK_OK();
    cr_shape shape = cr_shape_of(b);
    cr_shape own = cr_shape_of(a);
    assert_true(cr_shape_equal(&own, &shape));
    for (int64_t i = 0; i < cr_numel(a); i++) {
        double x = cr_element(a, i), y = cr_element(b, i);
        if (!(fabs(x - y) <= tolerance * fmax(1, fabs(y))))
            fail_msg("element %lld: %.8g and %.8g", (long long)i, x, y);
    }
}

static void a_graph_gives_what_the_model_gives(void **state)
{
    static const char *const names[] = { "resnet18",  "efficientnet_b0", "swin_v2_t",
                                         "googlenet", "bilstm",          "shufflenet_v2_x0_5" };
    (void)state;
    cr_set_grad_enabled(false);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        cr_bound_architecture bound = { .architecture = cr_architecture_find(names[i]),
                                        .settings = { .classes = 10 } };
        cr_frame frame = cr_frame_begin();
        cr_model *model = cr_model_new(.seed = 1);
        cr_graph *graph = graph_of(model, &bound);
        CHECK_OK();
        cr_model_train(model, false);
        for (int64_t n = 1; n <= 4; n += 3) {
            cr_tensor *x = samples(bound.architecture, n), *y = NULL;
            cr_graph_run(graph, &x, &y);
            assert_close(y, cr_run_architecture(cr_root(model), x, &bound), 1e-4);
        }
        cr_graph_free(graph);
        cr_model_free(model);
        cr_frame_end(frame);
    }
    cr_set_grad_enabled(true);
}

/* ---- compiled ---- */

static void compiled_is_as_eager(const char *name)
{
    cr_bound_architecture bound = { .architecture = cr_architecture_find(name),
                                    .settings = { .classes = 10 } };
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 1);
    cr_graph *graph = graph_of(model, &bound);
    cr_compiled *compiled = cr_graph_compile(graph);
    CHECK_OK();
    cr_graph_free(graph);
    cr_model_train(model, false);
    static const int64_t sizes[] = { 2, 1, 5, 1 };
    for (int i = 0; i < 4; i++) {
        cr_tensor *x = samples(bound.architecture, sizes[i]), *y = NULL;
        cr_compiled_run(compiled, &x, &y);
        if (cr_failed())
            fail_msg("%s: %s", name, cr_error_message());
        assert_close(y, cr_run_architecture(cr_root(model), x, &bound), 2e-5);
    }
    cr_compiled_free(compiled);
    cr_model_free(model);
    cr_frame_end(frame);
}

/* All of the zoo where CRESSET_SLOW asks for it. */
static void compiled_gives_what_the_model_gives(void **state)
{
    static const char *const names[] = { "resnet18",    "mobilenet_v2",  "efficientnet_b0",
                                         "swin_t",      "swin_v2_t",     "squeezenet1_1",
                                         "densenet121", "convnext_tiny", "shufflenet_v2_x0_5",
                                         "bilstm",      "googlenet",     "regnet_y_400mf",
                                         "lenet5",      "mlp",           "mobilenet_v3_small" };
    (void)state;
    cr_set_grad_enabled(false);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        compiled_is_as_eager(names[i]);
    for (int i = 0; getenv("CRESSET_SLOW") && i < cr_architecture_count(); i++) {
        print_message("%s\n", cr_architecture_at(i)->name);
        compiled_is_as_eager(cr_architecture_at(i)->name);
    }
    cr_set_grad_enabled(true);
}

static void compiled_runs_allocate_nothing(void **state)
{
    (void)state;
    cr_bound_architecture bound = { .architecture = cr_architecture_find("mobilenet_v2") };
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 1);
    cr_graph *graph = graph_of(model, &bound);
    cr_compiled *compiled = cr_graph_compile(graph);
    cr_tensor *x = samples(bound.architecture, 2), *y = cr_zeros(CR_SHAPE(2, 1000)), *given;
    cr_compiled_run(compiled, &x, &given);
    CHECK_OK();
    cr_memory_stats before = cr_memory_get_stats();
    for (int i = 0; i < 3; i++)
        cr_compiled_run_into(compiled, &x, &y);
    cr_memory_stats after = cr_memory_get_stats();
    assert_int_equal(before.requests, after.requests);
    assert_int_equal(before.small, after.small);
    assert_close(y, given, 0);
    cr_compiled_memory memory = cr_compiled_memory_for(compiled, 2);
    assert_true(memory.arena_bytes > 0 && memory.arena_bytes * 3 < memory.apart_bytes);
    assert_int_equal(memory.steps, 54); /* 52 convolutions, pooling, the last layer */
    cr_tensor *wrong = cr_zeros(CR_SHAPE(3, 1000));
    assert_int_not_equal(cr_compiled_run_into(compiled, &x, &wrong), CR_OK);
    assert_string_equal(cr_error_message(),
                        "output output must be a float32 tensor of shape (2, 1000)");
    cr_error_clear();
    cr_compiled_free(compiled);
    cr_graph_free(graph);
    cr_frame_end(frame);
    cr_model_free(model);
}

/* Indices are looked at in every run. */
static void compiled_refuses_indices_out_of_range(void **state)
{
    (void)state;
    cr_bound_architecture bound = { .architecture = cr_architecture_find("bert_base"),
                                    .settings = { .width = 64 } };
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 1);
    cr_graph *graph = graph_of(model, &bound);
    cr_compiled *compiled = cr_graph_compile(graph);
    cr_tensor *ids = cr_full(30522, CR_SHAPE(1, 16), .dtype = CR_I64), *y;
    CHECK_OK();
    assert_int_not_equal(cr_compiled_run(compiled, &ids, &y), CR_OK);
    assert_non_null(strstr(cr_error_message(), "embedding"));
    cr_error_clear();
    ids = cr_full(30521, CR_SHAPE(1, 16), .dtype = CR_I64);
    cr_compiled_run(compiled, &ids, &y);
    CHECK_OK();
    cr_compiled_free(compiled);
    cr_graph_free(graph);
    cr_frame_end(frame);
    cr_model_free(model);
}

struct caller {
    cr_compiled *compiled;
    const cr_tensor *x[3], *y[3];
    double difference;
};

static void *call_again_and_again(void *context)
{
    struct caller *own = context;
    for (int i = 0; i < 12; i++) {
        cr_frame frame = cr_frame_begin();
        cr_tensor *x = cr_detach((cr_tensor *)(uintptr_t)own->x[i % 3]), *y = NULL;
        cr_compiled_run(own->compiled, &x, &y);
        for (int64_t j = 0; j < cr_numel(y); j++)
            own->difference =
                fmax(own->difference, fabs(cr_element(y, j) - cr_element(own->y[i % 3], j)));
        if (!y)
            own->difference = INFINITY;
        cr_frame_end(frame);
    }
    cr_frame_end_all();
    return NULL;
}

static void compiled_runs_in_many_threads(void **state)
{
    (void)state;
    cr_bound_architecture bound = { .architecture = cr_architecture_find("mobilenet_v3_small") };
    cr_frame frame = cr_frame_begin();
    cr_model *model = cr_model_new(.seed = 1);
    cr_graph *graph = graph_of(model, &bound);
    cr_compiled *compiled = cr_graph_compile(graph);
    struct caller callers[4];
    pthread_t threads[4];
    CHECK_OK();
    for (int t = 0; t < 4; t++) {
        callers[t] = (struct caller){ .compiled = compiled };
        for (int i = 0; i < 3; i++) {
            cr_tensor *x = samples(bound.architecture, 1 + i), *y;
            cr_graph_run(graph, &x, &y);
            callers[t].x[i] = x;
            callers[t].y[i] = y;
        }
        pthread_create(&threads[t], NULL, call_again_and_again, &callers[t]);
    }
    for (int t = 0; t < 4; t++) {
        pthread_join(threads[t], NULL);
        assert_true(callers[t].difference < 1e-4);
    }
    CHECK_OK();
    cr_compiled_free(compiled);
    cr_graph_free(graph);
    cr_frame_end(frame);
    cr_model_free(model);
}

/* ---- what depends on the batch size ---- */

/* Sizes that are tensors, as in an imported graph, a first state made for the batch, and a mask
 * that is made for the length. */
static cr_status several(cr_scope at, cr_tensor *const *inputs, int input_count,
                         cr_tensor **outputs, int *output_count, const void *settings)
{
    (void)settings;
    assert_int_equal(input_count, 2);
    cr_tensor *x = cr_linear(at, "fc", inputs[0], .out = 6);
    int64_t sizes[2] = { cr_dim(x, 0), cr_dim(x, 1) };
    cr_tensor *shape = cr_mul_scalar(cr_from_buffer(sizes, CR_SHAPE(2), CR_I64), 2);
    int64_t rows = cr_element_int64(shape, 0);
    cr_tensor *state = cr_zeros(CR_SHAPE(cr_dim(x, 0), 6), .device = cr_device_of(x));
    cr_tensor *y = cr_add(cr_reshape(x, CR_SHAPE(rows, 3)), cr_arange(0, 3));
    outputs[0] = cr_add(cr_add_scalar(state, 1), inputs[1]);
    outputs[1] = y;
    outputs[2] = cr_detach(x);
    outputs[3] = inputs[1];
    *output_count = 4;
    return cr_error_status();
}

static void sizes_follow_the_batch(void **state)
{
    (void)state;
    cr_model *model = cr_model_new(.seed = 2);
    static const cr_graph_input inputs[] = {
        { .name = "samples", .sample = { .ndim = 1, .dim = { 4 } } },
        { .name = "shift", .sample = { .ndim = 1, .dim = { 6 } }, .no_batch = true },
    };
    static const char *const names[] = { "state", "rows", "features", "same" };
    cr_frame frame = cr_frame_begin();
    cr_graph *graph = cr_graph_trace(model, .many = several, .inputs = inputs, .input_count = 2,
                                     .output_names = names);
    CHECK_OK();
    assert_true(cr_model_is_training(model));
    assert_string_equal(cr_graph_input_at(graph, 1).name, "shift");
    assert_int_equal(cr_graph_output_count(graph), 4);
    assert_string_equal(cr_graph_output_at(graph, 1).name, "rows");
    cr_graph *copy = cr_graph_copy(graph);
    cr_graph_free(graph);
    cr_tensor *in[2] = { cr_randn(CR_SHAPE(7, 4)), cr_randn(CR_SHAPE(6)) }, *out[4], *given[4];
    int count;
    cr_graph_run(copy, in, out);
    several(cr_root(model), in, 2, given, &count, NULL);
    for (int i = 0; i < count; i++)
        assert_close(out[i], given[i], 1e-6);
    cr_compiled *compiled = cr_graph_compile(copy);
    cr_compiled_run(compiled, in, out);
    for (int i = 0; i < count; i++)
        assert_close(out[i], given[i], 1e-6);
    cr_compiled_free(compiled);
    cr_tensor *wrong[2] = { cr_randn(CR_SHAPE(7, 5)), in[1] };
    assert_int_not_equal(cr_graph_run(copy, wrong, out), CR_OK);
    assert_non_null(strstr(cr_error_message(), "the input samples has shape (7, 5)"));
    cr_error_clear();
    cr_graph_free(copy);
    cr_frame_end(frame);
    cr_model_free(model);
}

static cr_tensor *counts_samples(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)at;
    (void)settings;
    return cr_add(x, cr_arange(0, (double)cr_dim(x, 0)));
}

static cr_tensor *divides_by_batch(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)at;
    (void)settings;
    return cr_pad(x, CR_SHAPE(12 / cr_dim(x, 0), 0), CR_PAD_CONSTANT, 0);
}

static void expect_refusal(cr_model_function function, const char *words)
{
    cr_model *model = cr_model_new(.seed = 2);
    assert_null(cr_graph_trace(model, .function = function, .sample = CR_SHAPE(1)));
    if (!strstr(cr_error_message(), words))
        fail_msg("%s", cr_error_message());
    cr_error_clear();
    cr_model_free(model);
}

static void what_no_graph_says_is_an_error(void **state)
{
    (void)state;
    expect_refusal(counts_samples, "add reads a constant that depends on the batch size");
    expect_refusal(divides_by_batch, "depends on the batch size, and not as base + factor * N");
}

static void a_graph_prints_a_line_a_node(void **state)
{
    (void)state;
    cr_bound_architecture bound = { .architecture = cr_architecture_find("mlp") };
    cr_model *model = cr_model_new(.seed = 2);
    cr_graph *graph = graph_of(model, &bound);
    cr_text text = { 0 };
    CHECK_OK();
    cr_graph_print(graph, &text);
    assert_non_null(strstr(text.data, "inputs input: float32(N, 1, 28, 28)"));
    assert_non_null(strstr(text.data, "float32(N, 784) = "));
    assert_non_null(strstr(text.data, "fc1.weight"));
    assert_non_null(strstr(text.data, "outputs output"));
    cr_text_free(&text);
    cr_graph_free(graph);
    cr_model_free(model);
}

/* An allocation that fails anywhere leaves an error and nothing behind. */
static void memory_may_run_out(void **state)
{
    (void)state;
    cr_bound_architecture bound = { .architecture = cr_architecture_find("lenet5") };
    cr_model *model = cr_model_new(.seed = 2);
    cr_graph_free(graph_of(model, &bound));
    CHECK_OK();
    uint64_t live = cr_memory_get_stats().small;
    for (int64_t successes = 0;; successes++) {
        cr_memory_fail_after(successes);
        cr_graph *graph = graph_of(model, &bound);
        cr_compiled *compiled = graph ? cr_graph_compile(graph) : NULL;
        bool done = compiled && cr_compiled_memory_for(compiled, 1).arena_bytes;
        cr_memory_fail_after(-1);
        cr_compiled_free(compiled);
        cr_graph_free(graph);
        if (done)
            break;
        assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
        cr_error_clear();
        assert_int_equal(cr_memory_get_stats().small, live);
    }
    CHECK_OK();
    cr_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_architecture_is_traced),
        cmocka_unit_test(a_graph_gives_what_the_model_gives),
        cmocka_unit_test(compiled_gives_what_the_model_gives),
        cmocka_unit_test(compiled_runs_allocate_nothing),
        cmocka_unit_test(compiled_refuses_indices_out_of_range),
        cmocka_unit_test(compiled_runs_in_many_threads),
        cmocka_unit_test(sizes_follow_the_batch),
        cmocka_unit_test(what_no_graph_says_is_an_error),
        cmocka_unit_test(a_graph_prints_a_line_a_node),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
