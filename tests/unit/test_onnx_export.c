/* Files of ONNX export as files: what is refused, where weights go, and what is left when memory or
 * the disk runs out. That runtimes read them is tests/onnx/. */
#include "cresset/autograd.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/nn.h"
#include "cresset/onnx_export.h"
#include "cresset/ops.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_onnx_export.XXXXXX";

static char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static cr_tensor *net(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    x = cr_conv2d(at, "conv", x, .out = 32, .kernel = 3, .padding = 1, .no_bias = true);
    x = cr_relu(cr_batch_norm(at, "norm", x));
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    return cr_linear(at, "fc", x, .out = 5);
}

/* Of two ops that ONNX has nothing like, and one that it has but not so. */
static cr_tensor *impossible(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)at;
    (void)settings;
    x = cr_cumprod(x, 1);
    x = cr_pad(x, CR_SHAPE(1, 1), CR_PAD_CIRCULAR, 0);
    return cr_diagonal(x, 0, -2, -1);
}

static cr_graph *trace(cr_model *model, cr_model_function function, int64_t size)
{
    return cr_graph_trace(model, .function = function, .sample = CR_SHAPE(3, size, size));
}

static void test_refusals_are_told_at_once(void **unused)
{
    (void)unused;
    cr_model *model = cr_model_new();
    cr_graph *graph = trace(model, impossible, 8);
    assert_non_null(graph);
    char *path = in_folder("refused.onnx");
    assert_int_not_equal(cr_graph_save_onnx(graph, path, (cr_onnx_args){ 0 }, NULL), CR_OK);
    assert_non_null(strstr(cr_error_message(), "native_scan (of products or log-sum-exp)"));
    assert_non_null(strstr(cr_error_message(), "pad (circular)"));
    assert_non_null(strstr(cr_error_message(), "diagonal"));
    assert_false(cr_file_exists(path));
    cr_error_clear();
    cr_graph_free(graph);
    cr_model_free(model);
}

static void test_folding(void **unused)
{
    (void)unused;
    cr_model *model = cr_model_new();
    cr_graph *graph = trace(model, net, 8);
    cr_onnx_report folded, plain;
    assert_non_null(graph);
    assert_int_equal(cr_graph_save_onnx(graph, in_folder("a.onnx"), (cr_onnx_args){ 0 }, &folded),
                     CR_OK);
    assert_int_equal(
        cr_graph_save_onnx(graph, in_folder("b.onnx"), (cr_onnx_args){ .no_fold = true }, &plain),
        CR_OK);
    assert_int_equal(folded.folded, 1);
    assert_int_equal(plain.folded, 0);
    assert_int_equal(plain.operators, folded.operators + 1);
    assert_int_equal(folded.initializers, 5); /* two weights, two biases, a shape */
    assert_int_equal(plain.initializers, 8);
    cr_graph_free(graph);
    cr_model_free(model);
}

static void test_external_data(void **unused)
{
    (void)unused;
    cr_model *model = cr_model_new();
    cr_graph *graph = trace(model, net, 8);
    cr_onnx_report report;
    size_t size;
    assert_int_equal(cr_graph_save_onnx(graph, in_folder("c.onnx"),
                                        (cr_onnx_args){ .external_data = true }, &report),
                     CR_OK);
    char *file = cr_file_read(in_folder("c.onnx"), 0, &size);
    assert_non_null(file);
    assert_int_equal(size, report.bytes);
    assert_non_null(memmem(file, size, "c.onnx.data", 11));
    cr_free(file);
    file = cr_file_read(in_folder("c.onnx.data"), 0, &size);
    assert_non_null(file);
    assert_int_equal(size, report.data_bytes);
    assert_int_equal(size, 4096); /* the weight of the convolution; the rest is small */
    cr_free(file);
    cr_graph_free(graph);
    cr_model_free(model);
}

static void test_metadata(void **unused)
{
    (void)unused;
    cr_string_pair pair = { "classes", "[\"cat\"]" };
    cr_model *model = cr_model_new();
    cr_graph *graph = trace(model, net, 8);
    size_t size;
    assert_int_equal(cr_graph_save_onnx(graph, in_folder("d.onnx"),
                                        (cr_onnx_args){ .metadata = &pair, .metadata_count = 1 },
                                        NULL),
                     CR_OK);
    char *file = cr_file_read(in_folder("d.onnx"), 0, &size);
    assert_non_null(memmem(file, size, "[\"cat\"]", 7));
    assert_non_null(memmem(file, size, "conv.weight", 11));
    cr_free(file);
    cr_graph_free(graph);
    cr_model_free(model);
}

/* With graphs of other sizes height and width are free; a layer of fixed size stands in the way. */
static cr_tensor *fixed_net(cr_scope at, cr_tensor *x, const void *settings)
{
    (void)settings;
    return cr_linear(at, "fc", cr_flatten(x, 1, -1), .out = 5);
}

static void test_dynamic_size(void **unused)
{
    (void)unused;
    cr_model *model = cr_model_new();
    const cr_graph *graphs[3];
    size_t size;
    for (int i = 0; i < 3; i++)
        graphs[i] =
            cr_graph_trace(model, .function = net, .sample = CR_SHAPE(3, 8 + 3 * i, 8 + 5 * i));
    cr_onnx_args args = { .other_sizes = graphs + 1, .other_count = 2 };
    assert_int_equal(cr_graph_save_onnx(graphs[0], in_folder("e.onnx"), args, NULL), CR_OK);
    char *file = cr_file_read(in_folder("e.onnx"), 0, &size);
    assert_non_null(memmem(file, size, "height", 6));
    assert_non_null(memmem(file, size, "width", 5));
    cr_free(file);
    for (int i = 0; i < 3; i++)
        cr_graph_free((cr_graph *)graphs[i]);
    cr_model *other = cr_model_new();
    graphs[0] = trace(other, fixed_net, 8);
    assert_non_null(graphs[0]);
    assert_null(trace(other, fixed_net, 9));
    cr_error_clear();
    cr_graph_free((cr_graph *)graphs[0]);
    cr_model_free(other);
    cr_model_free(model);
}

/* Every allocation fails in turn: an error, no file or (after its renaming) a whole one, and
 * nothing leaked. */
static void test_out_of_memory(void **unused)
{
    (void)unused;
    cr_model *model = cr_model_new();
    cr_graph *graph = trace(model, net, 8);
    char *path = in_folder("f.onnx");
    cr_onnx_report whole;
    assert_int_equal(cr_graph_save_onnx(graph, path, (cr_onnx_args){ 0 }, &whole), CR_OK);
    unlink(path);
    cr_frame_end_all();
    for (int64_t successes = 0;; successes++) {
        uint64_t before = cr_memory_get_stats().small;
        cr_frame frame = cr_frame_begin();
        cr_memory_fail_after(successes);
        cr_status status = cr_graph_save_onnx(graph, path, (cr_onnx_args){ 0 }, NULL);
        cr_memory_fail_after(-1);
        cr_frame_end(frame);
        if (status == CR_OK)
            break;
        assert_int_equal(status, CR_ERROR_MEMORY);
        cr_error_clear();
        if (cr_file_exists(path)) {
            size_t size;
            cr_free(cr_file_read(path, 0, &size));
            assert_int_equal(size, whole.bytes);
            unlink(path);
        }
        if (successes > 0) /* the frame keeps its list of tensors */
            assert_true(cr_memory_get_stats().small <= before + 1);
    }
    cr_graph_free(graph);
    cr_model_free(model);
}

static void test_no_such_folder(void **unused)
{
    (void)unused;
    cr_model *model = cr_model_new();
    cr_graph *graph = trace(model, net, 8);
    assert_int_not_equal(
        cr_graph_save_onnx(graph, in_folder("no/such/g.onnx"), (cr_onnx_args){ 0 }, NULL), CR_OK);
    assert_non_null(strstr(cr_error_message(), "g.onnx"));
    cr_error_clear();
    cr_graph_free(graph);
    cr_model_free(model);
}

int main(void)
{
    static const char *const names[] = { "a.onnx", "b.onnx", "c.onnx", "c.onnx.data",
                                         "d.onnx", "e.onnx", "f.onnx" };
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals_are_told_at_once),
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_external_data),
        cmocka_unit_test(test_metadata),
        cmocka_unit_test(test_dynamic_size),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_no_such_folder),
    };
    if (!mkdtemp(folder))
        return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        unlink(in_folder(names[i]));
    rmdir(folder);
    return failed;
}
