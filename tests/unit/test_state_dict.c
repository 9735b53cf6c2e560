/* Tests of state dicts: what is saved comes back, and what does not fit is reported by name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cresset/autograd.h"
#include "cresset/state_dict.h"

static char folder[64];

static int make_folder(void **state)
{
    (void)state;
    strncpy(folder, "/tmp/cresset-test-XXXXXX", sizeof(folder));
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    char command[128];
    snprintf(command, sizeof(command), "rm -r '%s'", folder);
    return system(command);
}

static int clear_state(void **state)
{
    (void)state;
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static cr_init constant(double value)
{
    return (cr_init){ CR_INIT_CONSTANT, value, 0 };
}

/* conv.weight (2, 3), conv.bias (2), a counter and fc.weight (classes, 2), all of one value. */
static cr_model *make_model(double value, int64_t classes)
{
    cr_model *model = cr_model_new(.seed = 1);
    cr_parameter(cr_at(cr_root(model), "conv"), "weight", CR_SHAPE(2, 3), constant(value));
    cr_parameter(cr_at(cr_root(model), "conv"), "bias", CR_SHAPE(2), constant(value));
    cr_buffer(cr_at(cr_root(model), "conv"), "counter", cr_shape_scalar(), CR_I64, value);
    cr_parameter(cr_at(cr_root(model), "fc"), "weight", CR_SHAPE(classes, 2), constant(value));
    assert_false(cr_failed());
    return model;
}

static double value_of(const cr_model *model, const char *name)
{
    return cr_element(cr_model_find(model, name), 0);
}

static void a_saved_model_comes_back(void **state)
{
    (void)state;
    cr_model *model = make_model(3, 4);
    const char *path = in_folder("model.safetensors");
    const cr_string_pair metadata = { "architecture", "{\"name\": \"small\"}" };
    assert_int_equal(cr_model_save(model, path, &metadata, 1), CR_OK);
    cr_model *other = make_model(-1, 4);
    cr_load_report report;
    assert_int_equal(cr_model_load(other, path, NULL, &report), CR_OK);
    assert_int_equal(report.matched_count, 4);
    assert_string_equal(report.matched[0], "conv.weight");
    assert_int_equal(report.missing_count + report.unexpected_count + report.mismatched_count, 0);
    cr_load_report_free(&report);
    assert_true(value_of(other, "conv.weight") == 3);
    assert_true(value_of(other, "conv.counter") == 3);
    assert_int_equal(cr_dtype_of(cr_model_find(other, "conv.counter")), CR_I64);
    assert_true(value_of(other, "fc.weight") == 3);
    assert_true(cr_requires_grad(cr_model_find(other, "fc.weight")));
    assert_true(cr_is_leaf(cr_model_find(other, "fc.weight")));
    assert_true(cr_grad_enabled());
    cr_safetensors *file = cr_safetensors_open(path);
    assert_string_equal(cr_safetensors_metadata(file, "architecture"), metadata.value);
    cr_safetensors_close(file);
    cr_model_free(model);
    cr_model_free(other);
}

/* A file of another model: conv.bias is missing, head is unexpected, fc.weight has other classes.
 */
static const char *save_other(const char *prefix)
{
    static const char *const names[] = { "conv.weight", "conv.counter", "fc.weight", "head" };
    char full[4][64];
    cr_safetensors_item items[4];
    for (int i = 0; i < 4; i++) {
        snprintf(full[i], sizeof full[i], "%s%s", prefix, names[i]);
        items[i].name = full[i];
    }
    items[0].tensor = cr_full(7, CR_SHAPE(2, 3), .dtype = CR_F64);
    items[1].tensor = cr_scalar_int(7);
    items[2].tensor = cr_full(7, CR_SHAPE(10, 2), .dtype = CR_BF16);
    items[3].tensor = cr_ones(CR_SHAPE(1));
    const char *path = in_folder("other.safetensors");
    assert_int_equal(cr_safetensors_save(path, items, 4, NULL, 0), CR_OK);
    return path;
}

static void what_does_not_fit_is_reported(void **state)
{
    (void)state;
    const char *path = save_other("");
    cr_model *model = make_model(1, 4);
    cr_load_report report;
    assert_int_equal(cr_model_load(model, path, NULL, &report), CR_ERROR_STATE);
    static const char *const words[] = {
        "other.safetensors does not fit the model; ", "1 missing: conv.bias", "1 unexpected: head",
        "fc.weight is (10, 2) in the file and (4, 2) in the model"
    };
    for (int i = 0; i < CR_COUNT_OF(words); i++)
        assert_non_null(strstr(cr_error_message(), words[i]));
    assert_true(value_of(model, "conv.weight") == 1); /* nothing was copied */
    assert_int_equal(report.matched_count, 2);
    assert_int_equal(report.missing_count, 1);
    assert_string_equal(report.missing[0], "conv.bias");
    assert_string_equal(report.unexpected[0], "head");
    assert_string_equal(report.mismatched[0].name, "fc.weight");
    assert_int_equal(report.mismatched[0].in_file.dim[0], 10);
    assert_int_equal(report.mismatched[0].in_model.dim[0], 4);
    cr_text text = { 0 };
    cr_load_report_print(&report, &text);
    assert_string_equal(text.data,
                        "2 of 4 tensors of the model found in the file\n"
                        "missing: conv.bias\n"
                        "unexpected: head\n"
                        "of another shape: fc.weight is (10, 2) in the file and (4, 2) in the "
                        "model\n");
    cr_text_free(&text);
    cr_load_report_free(&report);
    cr_error_clear();
    /* As in PyTorch, a shape that differs is an error even in a partial load. */
    const cr_load_options partial = { .partial = true };
    assert_int_equal(cr_model_load(model, path, &partial, NULL), CR_ERROR_STATE);
    assert_null(strstr(cr_error_message(), "missing"));
    cr_model_free(model);
}

static void a_partial_load_takes_what_fits(void **state)
{
    (void)state;
    const char *path = save_other("module.");
    cr_model *model = make_model(1, 4);
    const cr_load_options options = { .partial = true,
                                      .ignore_mismatched = true,
                                      .strip_prefix = "module." };
    assert_int_equal(cr_model_load(model, path, &options, NULL), CR_OK);
    assert_true(value_of(model, "conv.weight") == 7); /* from float64 */
    assert_int_equal(cr_dtype_of(cr_model_find(model, "conv.weight")), CR_F32);
    assert_true(value_of(model, "conv.counter") == 7);
    assert_true(value_of(model, "conv.bias") == 1);
    assert_true(value_of(model, "fc.weight") == 1);
    cr_model_free(model);
    model = make_model(1, 10);
    assert_int_equal(cr_model_load(model, path, &options, NULL), CR_OK);
    assert_true(value_of(model, "fc.weight") == 7); /* from bfloat16 */
    cr_model_free(model);
}

static void patterns_choose_what_is_loaded(void **state)
{
    (void)state;
    const char *path = save_other("");
    cr_model *model = make_model(1, 10);
    const cr_load_options only = { .only = "fc.*" };
    cr_load_report report;
    assert_int_equal(cr_model_load(model, path, &only, &report), CR_OK);
    assert_int_equal(report.matched_count, 1);
    cr_load_report_free(&report);
    assert_true(value_of(model, "fc.weight") == 7);
    assert_true(value_of(model, "conv.weight") == 1);
    const cr_load_options ignore = { .ignore = "*ea?" };
    assert_int_equal(cr_model_load(model, path, &ignore, &report), CR_ERROR_STATE);
    assert_int_equal(report.unexpected_count, 0);
    assert_int_equal(report.missing_count, 1);
    cr_load_report_free(&report);
    cr_model_free(model);
}

static void what_cannot_be_loaded_is_refused(void **state)
{
    (void)state;
    cr_model *model = cr_model_new(.seed = 1);
    cr_load_report report;
    assert_int_equal(cr_model_load(model, save_other(""), NULL, &report), CR_ERROR_STATE);
    assert_non_null(strstr(cr_error_message(), "no parameters yet"));
    cr_load_report_free(&report);
    cr_error_clear();
    assert_int_equal(cr_model_load(model, in_folder("absent"), NULL, &report), CR_ERROR_IO);
    cr_load_report_free(&report);
    cr_error_clear();
    assert_int_equal(cr_model_save(model, in_folder("empty"), NULL, 0), CR_OK);
    cr_model_free(model);
    model = cr_model_new(.meta = true);
    cr_parameter(cr_root(model), "head", CR_SHAPE(1), constant(0));
    assert_int_equal(cr_model_save(model, in_folder("meta"), NULL, 0), CR_ERROR_STATE);
    cr_error_clear();
    const cr_load_options partial = { .partial = true };
    assert_int_equal(cr_model_load(model, in_folder("other.safetensors"), &partial, NULL),
                     CR_ERROR_STATE);
    assert_non_null(strstr(cr_error_message(), "head is on the meta device"));
    cr_model_free(model);
}

static void want_of_memory_is_survived(void **state)
{
    (void)state;
    cr_model *model = make_model(2, 10);
    const char *path = save_other("module.");
    const cr_load_options options = { .partial = true, .strip_prefix = "module." };
    cr_frame_end_all();
    uint64_t live = cr_memory_get_stats().small;
    cr_status status = CR_ERROR_MEMORY;
    for (int failures = 0; status != CR_OK; failures++) {
        cr_load_report report;
        cr_memory_fail_after(failures);
        status = cr_model_load(model, path, &options, &report);
        cr_memory_fail_after(-1);
        assert_true(status == CR_OK || status == CR_ERROR_MEMORY);
        cr_load_report_free(&report);
        cr_frame_end_all();
        cr_error_clear();
        assert_int_equal(cr_memory_get_stats().small, live);
        assert_true(failures < 200);
    }
    assert_true(value_of(model, "fc.weight") == 7);
    cr_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_saved_model_comes_back, clear_state),
        cmocka_unit_test_setup(what_does_not_fit_is_reported, clear_state),
        cmocka_unit_test_setup(a_partial_load_takes_what_fits, clear_state),
        cmocka_unit_test_setup(patterns_choose_what_is_loaded, clear_state),
        cmocka_unit_test_setup(what_cannot_be_loaded_is_refused, clear_state),
        cmocka_unit_test_setup(want_of_memory_is_survived, clear_state),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
