/* Models that are only run: a classifier and an ONNX file through the five calls, from several
 * threads, and what goes wrong. */
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cresset/cresset.h"
#include "cresset/onnx_export.h"

#define SIDE    16
#define CLASSES 4
#define THREADS 4

static cr_classifier *make_net(void)
{
    cr_frame frame = cr_frame_begin();
    cr_dataset *data = cr_dataset_from_tensors(cr_zeros(CR_SHAPE(2, 3, SIDE, SIDE)),
                                               .labels = cr_zeros(CR_SHAPE(2), .dtype = CR_I64),
                                               .class_count = CLASSES);
    cr_classifier *net =
        cr_classifier_new("resnet18", .data = data, .seed = 1, .settings = { .small_stem = true },
                          .normalization = CR_NORMALIZE_NONE);
    cr_dataset_free(data);
    cr_frame_end(frame);
    assert_non_null(net);
    cr_model_train(net->model, false);
    return net;
}

struct files {
    char classifier[64];
    char onnx[64];
    float samples[3 * 3 * SIDE * SIDE];
    float logits[3 * CLASSES]; /* what the model says, op by op */
};
static struct files files;

static int write_files(void **state)
{
    (void)state;
    cr_classifier *net = make_net();
    snprintf(files.classifier, sizeof files.classifier, "session-%d.safetensors", (int)getpid());
    snprintf(files.onnx, sizeof files.onnx, "session-%d.onnx", (int)getpid());
    cr_generator generator = cr_generator_make(9, 0);
    for (int i = 0; i < 3 * 3 * SIDE * SIDE; i++)
        files.samples[i] = (float)cr_random_normal(&generator);
    cr_frame frame = cr_frame_begin();
    cr_set_grad_enabled(false);
    cr_tensor *x = cr_from_buffer(files.samples, CR_SHAPE(3, 3, SIDE, SIDE), CR_F32);
    cr_to_buffer(cr_classifier_forward(net, x), files.logits, sizeof files.logits);
    cr_classifier_save(net, files.classifier);
    cr_graph *graph = cr_graph_trace(net->model, .function = cr_run_architecture,
                                     .settings = &net->bound, .sample = net->input);
    cr_graph_save_onnx(graph, files.onnx, (cr_onnx_args){ 0 }, NULL);
    cr_set_grad_enabled(true);
    cr_graph_free(graph);
    cr_frame_end(frame);
    cr_classifier_free(net);
    assert_string_equal(cr_error_message(), "");
    return 0;
}

static int remove_files(void **state)
{
    (void)state;
    unlink(files.classifier);
    unlink(files.onnx);
    return 0;
}

/* The largest difference from the model, for `n` samples; infinite on failure. */
static double ask(cr_session *session, int64_t n)
{
    cr_shape shape;
    double difference = 0;
    cr_session_input(session, 0, files.samples, CR_SHAPE(n, 3, SIDE, SIDE), CR_F32);
    cr_session_run(session);
    const float *logits = cr_session_output(session, 0, &shape);
    if (!logits || shape.ndim != 2 || shape.dim[0] != n || shape.dim[1] != CLASSES)
        return INFINITY;
    for (int64_t i = 0; i < n * CLASSES; i++)
        difference = fmax(difference, fabs((double)logits[i] - (double)files.logits[i]));
    return difference;
}

static void *ask_often(void *context)
{
    static _Thread_local double worst;
    cr_session *session = context;
    for (int i = 0; i < 9; i++)
        worst = fmax(worst, ask(session, 1 + i % 3));
    return worst < 1e-5 ? context : NULL;
}

static void five_calls_give_an_answer(void **state)
{
    (void)state;
    const char *paths[] = { files.classifier, files.onnx };
    for (int i = 0; i < 2; i++) {
        cr_session *session = cr_session_load(paths[i]);
        if (!session)
            fail_msg("%s", cr_error_message());
        assert_int_equal(cr_session_input_count(session), 1);
        assert_int_equal(cr_session_output_count(session), 1);
        cr_shape in = cr_session_input_at(session, 0).shape;
        cr_shape out = cr_session_output_at(session, 0).shape;
        cr_shape wanted_in = CR_SHAPE(-1, 3, SIDE, SIDE), wanted_out = CR_SHAPE(-1, CLASSES);
        assert_true(cr_shape_equal(&in, &wanted_in));
        assert_true(cr_shape_equal(&out, &wanted_out));
        assert_int_equal(cr_session_classifier(session) != NULL, i == 0);
        double found = ask(session, 2);
        if (!(found < 1e-5))
            fail_msg("%s: %g %s", paths[i], found, cr_error_message());
        pthread_t threads[THREADS];
        for (int t = 0; t < THREADS; t++)
            pthread_create(&threads[t], NULL, ask_often, session);
        for (int t = 0; t < THREADS; t++) {
            void *good;
            pthread_join(threads[t], &good);
            assert_non_null(good);
        }
        cr_session_free(session);
    }
}

static void refuse(const char *part)
{
    if (!strstr(cr_error_message(), part))
        fail_msg("\"%s\" does not say \"%s\"", cr_error_message(), part);
    cr_error_clear();
}

static void mistakes_are_told(void **state)
{
    (void)state;
    assert_null(cr_session_load("there-is-none.onnx"));
    refuse("there-is-none.onnx");
    cr_session *session = cr_session_load(files.classifier);
    assert_null(cr_session_output(session, 0, NULL));
    refuse("there is no output 0");
    cr_session_run(session);
    refuse("the input input has not been set");
    cr_session_input(session, 1, files.samples, CR_SHAPE(1), CR_F32);
    refuse("there is no input 1 of 1");
    cr_session_input(session, 0, files.samples, CR_SHAPE(1, 3, 8, 8), CR_F64);
    cr_session_run(session);
    refuse("the input input is float32, not float64");
    cr_session_input(session, 0, files.samples, CR_SHAPE(1, 5, SIDE, SIDE), CR_F32);
    cr_session_run(session);
    refuse("conv1");
    assert_true(ask(session, 1) < 1e-5);
    cr_session_free(session);
    cr_session_free(NULL);
}

/* A classifier that is compiled says the same; watched, it runs its layers. */
static void a_classifier_is_compiled(void **state)
{
    (void)state;
    cr_classifier *net = make_net();
    float logits[3 * CLASSES];
    cr_classifier_compile(net);
    assert_non_null(net->compiled);
    cr_frame frame = cr_frame_begin();
    cr_set_grad_enabled(false);
    cr_tensor *x = cr_from_buffer(files.samples, CR_SHAPE(3, 3, SIDE, SIDE), CR_F32);
    cr_to_buffer(cr_classifier_forward(net, x), logits, sizeof logits);
    cr_set_grad_enabled(true);
    cr_frame_end(frame);
    for (int i = 0; i < 3 * CLASSES; i++)
        assert_true(fabs((double)logits[i] - (double)files.logits[i]) < 1e-5);
    cr_classifier_free(net);
    assert_string_equal(cr_error_message(), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(five_calls_give_an_answer),
        cmocka_unit_test(mistakes_are_told),
        cmocka_unit_test(a_classifier_is_compiled),
    };
    return cmocka_run_group_tests(tests, write_files, remove_files);
}
