/* The profiler and the trace of memory: what a small model's steps are made of. */
#include "cresset/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "cresset/cresset.h"

#define STEPS 3

struct task {
    cr_model *model;
    cr_optim *optimizer;
    cr_tensor *x;
    cr_tensor *labels;
};

static cr_tensor *net(cr_scope at, cr_tensor *x)
{
    x = cr_relu(cr_conv2d(at, "conv", x, .out = 8, .kernel = 3, .padding = 1));
    return cr_linear(at, "fc", cr_flatten(x, 1, -1), .out = 4);
}

static struct task begin(void)
{
    struct task task = { .model = cr_model_new(.seed = 1) };
    task.x = cr_retain(cr_randn(CR_SHAPE(2, 3, 8, 8)));
    task.labels = cr_retain(cr_zeros(CR_SHAPE(2), .dtype = CR_I64));
    net(cr_root(task.model), task.x);
    task.optimizer = cr_optim_new(task.model, cr_optim_defaults(CR_OPTIM_ADAM));
    cr_frame_end_all();
    return task;
}

static void step(const struct task *task)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *loss = cr_cross_entropy(net(cr_root(task->model), task->x), task->labels);
    cr_model_zero_grad(task->model);
    assert_int_equal(cr_backward(loss), CR_OK);
    assert_int_equal(cr_optim_step(task->optimizer), CR_OK);
    cr_frame_end(frame);
}

static void end(struct task *task)
{
    cr_optim_free(task->optimizer);
    cr_model_free(task->model);
    cr_release(task->x);
    cr_release(task->labels);
    cr_frame_end_all();
    assert_false(cr_failed());
}

static cr_profile take_profile(int64_t warm_up, int64_t limit)
{
    cr_profile profile;
    struct task task = begin();
    cr_profile_args args = { .warm_up = warm_up, .steps = limit, .no_peak = true };
    assert_int_equal(cr_profile_start(args), CR_OK);
    for (int i = 0; i < STEPS; i++) {
        step(&task);
        cr_profile_step();
    }
    assert_int_equal(cr_profile_stop(&profile), CR_OK);
    end(&task);
    return profile;
}

static const cr_profile_row *row_of(const cr_profile *profile, const char *name)
{
    for (int i = 0; i < profile->row_count; i++) {
        if (strcmp(profile->rows[i].name, name) == 0)
            return &profile->rows[i];
    }
    fail_msg("there is no row %s", name);
    return NULL;
}

/* Each op and gradient is counted, the work of a convolution known, and the shares make a whole. */
static void test_rows(void **state)
{
    (void)state;
    cr_profile profile = take_profile(0, 0);
    double share = 0;
    assert_int_equal(profile.steps, STEPS);
    assert_int_equal(profile.dropped, 0);
    const cr_profile_row *forward = row_of(&profile, "conv2d");
    const cr_profile_row *backward = row_of(&profile, "conv2d backward");
    assert_int_equal(forward->calls, STEPS);
    assert_int_equal(forward->kind, CR_PROFILE_OP);
    assert_int_equal(backward->calls, STEPS);
    assert_int_equal(backward->kind, CR_PROFILE_BACKWARD);
    double count = STEPS * 2.0 * 8 * 8 * 8 * 3 * 9;
    assert_float_equal(forward->multiply_adds, count, 0);
    assert_float_equal(backward->multiply_adds, count, 0); /* the input needs no gradient */
    double bytes = 4.0 * (2 * 3 * 64 + 8 * 3 * 9 + 8 + 2 * 8 * 64) * STEPS;
    assert_float_equal(forward->bytes, bytes, 0);
    assert_int_equal(row_of(&profile, "optimizer step")->kind, CR_PROFILE_RANGE);
    for (int i = 0; i < profile.row_count; i++) {
        const cr_profile_row *row = &profile.rows[i];
        share += row->kind == CR_PROFILE_PART ? 0 : row->share;
        assert_true(row->self <= row->total + 1e-9);
    }
    assert_true(share > 0.999 && share < 1.001);
    cr_profile_free(&profile);
}

static void test_layers(void **state)
{
    (void)state;
    cr_profile profile = take_profile(0, 0);
    int found = 0;
    for (int i = 0; i < profile.layer_count; i++) {
        const cr_profile_layer *layer = &profile.layers[i];
        assert_true(layer->forward > 0 && layer->backward > 0);
        found += strcmp(layer->name, "conv") == 0 || strcmp(layer->name, "fc") == 0;
    }
    assert_int_equal(found, 2);
    assert_int_equal(profile.layer_count, 2);
    cr_profile_free(&profile);
}

static void test_steps_are_limited(void **state)
{
    (void)state;
    cr_profile profile = take_profile(1, 1);
    assert_int_equal(profile.steps, 1);
    assert_int_equal(row_of(&profile, "conv2d")->calls, 1);
    assert_false(cr_profile_is_recording());
    cr_text text = { 0 };
    cr_profile_format(&profile, &text);
    assert_non_null(strstr(text.data, "profile of 1 step"));
    assert_non_null(strstr(text.data, "operations forward"));
    assert_non_null(strstr(text.data, "between operations"));
    cr_text_free(&text);
    cr_profile_free(&profile);
    profile = take_profile(STEPS, 1); /* all of it is warm-up */
    assert_int_equal(profile.steps, 0);
    assert_int_equal(profile.events, 0);
    cr_profile_free(&profile);
}

/* Ranges that were open when a profile began or ended leave no trace and do no harm. */
static void test_ranges_across_a_start(void **state)
{
    (void)state;
    cr_profile profile;
    cr_profile_args args = { .no_peak = true };
    cr_profile_start(args);
    cr_profile_range before = cr_profile_begin("before");
    cr_profile_start(args);
    cr_profile_range inside = cr_profile_begin("inside");
    cr_profile_end(inside);
    cr_profile_end(before);
    cr_profile_range open = cr_profile_begin("open");
    assert_int_equal(cr_profile_stop(&profile), CR_OK);
    cr_profile_end(open);
    assert_int_equal(profile.steps, 1);
    assert_int_equal(row_of(&profile, "inside")->calls, 1);
    for (int i = 0; i < profile.row_count; i++)
        assert_true(strcmp(profile.rows[i].name, "before") && strcmp(profile.rows[i].name, "open"));
    cr_profile_free(&profile);
}

/* The trace is an object of complete events, each within the one that encloses it. */
static void test_trace(void **state)
{
    (void)state;
    char path[] = "/tmp/cresset_trace_XXXXXX";
    close(mkstemp(path));
    cr_profile profile = take_profile(0, 0);
    assert_int_equal(cr_profile_write_trace(path), CR_OK);
    json_t *root = json_load_file(path, 0, NULL), *event;
    json_t *events = json_object_get(root, "traceEvents");
    size_t i, complete = 0, layers = 0;
    json_array_foreach(events, i, event)
    {
        const char *phase = json_string_value(json_object_get(event, "ph"));
        const char *category = json_string_value(json_object_get(event, "cat"));
        assert_non_null(phase);
        if (strcmp(phase, "X") != 0)
            continue;
        complete++;
        layers += strcmp(category, "layer") == 0;
        assert_true(json_number_value(json_object_get(event, "ts")) >= 0);
        assert_true(json_number_value(json_object_get(event, "dur")) >= 0);
    }
    assert_int_equal(complete, profile.events);
    assert_int_equal(layers, 2 * STEPS);
    json_decref(root);
    cr_profile_free(&profile);
    unlink(path);
}

static int64_t kept_by(const cr_memory_report *report, const char *op)
{
    for (int i = 0; i < report->op_count; i++) {
        if (strcmp(report->ops[i].name, op) == 0)
            return report->ops[i].bytes;
    }
    return 0;
}

/* All bytes are accounted for, under what they are for. */
static void test_memory(void **state)
{
    (void)state;
    cr_memory_report report;
    assert_int_equal(cr_memory_trace_start(), CR_OK);
    size_t before = cr_memory_get_stats().in_use;
    struct task task = begin();
    cr_memory_tag(task.x, CR_MEMORY_INPUT);
    step(&task);
    cr_memory_reset_peak();
    cr_memory_trace_reset();
    step(&task);
    assert_int_equal(cr_memory_trace_report(&report), CR_OK);
    assert_int_equal(report.bytes, cr_memory_get_stats().peak - before);
    int64_t sum = 0, parameters = 4 * cr_model_parameter_count(task.model, false);
    for (int i = 0; i < (int)CR_MEMORY_CATEGORY_COUNT; i++)
        sum += report.categories[i];
    assert_int_equal(sum, report.bytes);
    assert_int_equal(report.categories[CR_MEMORY_PARAMETER], parameters);
    assert_true(report.categories[CR_MEMORY_OPTIMIZER] >= 2 * parameters);
    assert_int_equal(report.categories[CR_MEMORY_INPUT], 4 * 2 * 3 * 64);
    assert_true(report.process > report.bytes || report.process == 0);
    cr_memory_report_free(&report);
    cr_memory_trace_stop();
    end(&task);
}

/* What nodes keep is told by the op that made it, until they let it go. */
static void test_kept(void **state)
{
    (void)state;
    cr_memory_report report;
    assert_int_equal(cr_memory_trace_start(), CR_OK);
    cr_frame frame = cr_frame_begin();
    cr_tensor *a = cr_ones(CR_SHAPE(1024), .requires_grad = true);
    cr_tensor *b = cr_exp(cr_exp(a));
    assert_int_equal(cr_memory_trace_report(&report), CR_OK);
    assert_int_equal(kept_by(&report, "exp"), 2 * 4096);
    assert_int_equal(report.categories[CR_MEMORY_KEPT], 2 * 4096);
    assert_string_equal(report.op, "exp");
    assert_false(report.backward);
    cr_memory_report_free(&report);
    assert_int_equal(cr_backward(cr_sum(b)), CR_OK);
    cr_memory_trace_reset();
    assert_int_equal(cr_memory_trace_report(&report), CR_OK);
    assert_int_equal(report.categories[CR_MEMORY_KEPT], 0);
    assert_int_equal(report.categories[CR_MEMORY_GRADIENT], 4096);
    cr_memory_report_free(&report);
    cr_memory_trace_stop();
    cr_frame_end(frame);
}

static void test_peak(void **state)
{
    (void)state;
    cr_machine_peak peak = cr_measure_peak();
    assert_int_equal(peak.threads, cr_num_threads());
    assert_true(peak.flops > 1e8 && peak.bytes_per_second > 1e7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows),
        cmocka_unit_test(test_layers),
        cmocka_unit_test(test_steps_are_limited),
        cmocka_unit_test(test_ranges_across_a_start),
        cmocka_unit_test(test_trace),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_kept),
        cmocka_unit_test(test_peak),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
