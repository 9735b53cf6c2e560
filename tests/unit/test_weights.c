/* Tests of checkpoints and of files of weights: what is saved comes back, memory that runs out at
 * any point is an error and no more, and a model takes what it is told to. (What PyTorch makes of
 * the files, and what it wrote, is compared in tests/oracle/checkpoints.py.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cresset/autograd.h"
#include "cresset/file.h"
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
    static char paths[4][128];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static cr_init constant(double value)
{
    return (cr_init){ CR_INIT_CONSTANT, value, 0 };
}

/* conv.weight (2, 3), bn.num_batches_tracked and fc.weight (classes, 2), all of one value. */
static cr_model *make_model(double value, int64_t classes)
{
    cr_model *model = cr_model_new(.seed = 1);
    cr_parameter(cr_at(cr_root(model), "conv"), "weight", CR_SHAPE(2, 3), constant(value));
    cr_buffer(cr_at(cr_root(model), "bn"), "num_batches_tracked", cr_shape_scalar(), CR_I64, value);
    cr_parameter(cr_at(cr_root(model), "fc"), "weight", CR_SHAPE(classes, 2), constant(value));
    assert_false(cr_failed());
    return model;
}

static double value_of(const cr_model *model, const char *name)
{
    return cr_element(cr_model_find(model, name), 0);
}

static void a_checkpoint_comes_back(void **state)
{
    (void)state;
    cr_model *model = make_model(3, 4), *other = make_model(-1, 4);
    const char *path = in_folder("model.pth");
    assert_int_equal(cr_model_save_torch(model, path), CR_OK);
    cr_load_report report;
    assert_int_equal(cr_model_load(other, path, NULL, &report), CR_OK);
    assert_int_equal(report.matched_count, 3);
    cr_load_report_free(&report);
    assert_true(value_of(other, "conv.weight") == 3);
    assert_true(value_of(other, "bn.num_batches_tracked") == 3);
    cr_torch_file *file = cr_torch_open(path, NULL);
    assert_int_equal(cr_torch_count(file), 3);
    assert_string_equal(cr_torch_at(file, 1).name, "bn.num_batches_tracked");
    assert_string_equal(cr_torch_at(file, 1).dtype_name, "int64");
    assert_int_equal(cr_torch_find(file, "absent"), -1);
    assert_false(cr_failed());
    assert_null(cr_torch_load(file, "absent"));
    assert_non_null(strstr(cr_error_message(), "has no tensor \"absent\""));
    cr_torch_close(file);
    cr_model_free(model);
    cr_model_free(other);
}

static void parts_of_a_model_are_left_out(void **state)
{
    (void)state;
    cr_model *model = make_model(3, 10), *other = make_model(-1, 4);
    const char *path = in_folder("model.pth");
    assert_int_equal(cr_model_save_torch(model, path), CR_OK);
    const cr_load_options options = { .leave_out = "head.*,fc.*" };
    cr_load_report report;
    assert_int_equal(cr_model_load(other, path, &options, &report), CR_OK);
    assert_int_equal(report.left_out_count, 1);
    assert_string_equal(report.left_out[0], "fc.weight");
    assert_int_equal(report.unexpected_count, 0);
    cr_text text = { 0 };
    cr_load_report_print(&report, &text);
    assert_string_equal(text.data, "2 of 3 tensors of the model found in the file\n"
                                   "left out: fc.weight\n");
    cr_text_free(&text);
    cr_load_report_free(&report);
    assert_true(value_of(other, "conv.weight") == 3);
    assert_true(value_of(other, "fc.weight") == -1);
    cr_model_free(other);
    other = make_model(-1, 10);
    const cr_load_options dry = { .dry_run = true };
    assert_int_equal(cr_model_load(other, path, &dry, NULL), CR_OK);
    assert_true(value_of(other, "conv.weight") == -1);
    cr_model_free(other);
    cr_model_free(model);
}

/* A file as other programs wrap it, and without the count that old ones did not keep. */
static void wrappers_are_seen_through(void **state)
{
    (void)state;
    static const char *const prefixes[] = { "module.", "model.", "net.", "_orig_mod." };
    for (int i = 0; i < CR_COUNT_OF(prefixes); i++) {
        char names[2][64];
        cr_safetensors_item items[2];
        snprintf(names[0], sizeof names[0], "%sconv.weight", prefixes[i]);
        snprintf(names[1], sizeof names[1], "%sfc.weight", prefixes[i]);
        items[0] = (cr_safetensors_item){ names[0], cr_full(7, CR_SHAPE(2, 3)) };
        items[1] = (cr_safetensors_item){ names[1], cr_full(7, CR_SHAPE(4, 2)) };
        assert_int_equal(cr_torch_save(in_folder("wrapped.pth"), items, 2), CR_OK);
        cr_model *model = make_model(1, 4);
        assert_int_equal(cr_model_load(model, in_folder("wrapped.pth"), NULL, NULL), CR_OK);
        assert_true(value_of(model, "fc.weight") == 7);
        assert_true(value_of(model, "bn.num_batches_tracked") == 1);
        cr_model_free(model);
    }
}

/* The names that old checkpoints of DenseNet and of vision transformers have. */
static void old_names_are_understood(void **state)
{
    (void)state;
    cr_model *model = cr_model_new(.seed = 1);
    cr_scope root = cr_root(model);
    cr_parameter(cr_at(root, "denselayer1.norm1"), "weight", CR_SHAPE(2), constant(1));
    cr_parameter(cr_at(root, "layer.mlp.3"), "bias", CR_SHAPE(2), constant(1));
    const cr_safetensors_item items[] = {
        { "module.denselayer1.norm.1.weight", cr_full(7, CR_SHAPE(2)) },
        { "module.layer.mlp.linear_2.bias", cr_full(8, CR_SHAPE(2)) },
    };
    assert_int_equal(cr_torch_save(in_folder("old.pth"), items, 2), CR_OK);
    assert_int_equal(cr_model_load(model, in_folder("old.pth"), NULL, NULL), CR_OK);
    assert_true(value_of(model, "denselayer1.norm1.weight") == 7);
    assert_true(value_of(model, "layer.mlp.3.bias") == 8);
    cr_model_free(model);
}

static const char *save_shards(void)
{
    static const char index[] = "{\"metadata\": {}, \"weight_map\": {\"a\": \"one.pth\", "
                                "\"b\": \"two.safetensors\", \"c\": \"one.pth\"}}";
    cr_tensor *ones = cr_ones(CR_SHAPE(2, 3));
    cr_tensor *turned = cr_transpose(cr_full(2, CR_SHAPE(3, 4), .dtype = CR_F16), 0, 1);
    const cr_safetensors_item one[] = { { "a", ones }, { "c", turned } }, two[] = { { "b", ones } };
    assert_int_equal(cr_torch_save(in_folder("one.pth"), one, 2), CR_OK);
    assert_int_equal(cr_safetensors_save(in_folder("two.safetensors"), two, 1, NULL, 0), CR_OK);
    const char *path = in_folder("index.json");
    assert_int_equal(cr_file_replace(path, index, sizeof index - 1), CR_OK);
    return path;
}

static void several_files_are_one(void **state)
{
    (void)state;
    cr_weights *weights = cr_weights_open(save_shards());
    assert_int_equal(cr_weights_count(weights), 3);
    int c = cr_weights_find(weights, "c");
    assert_string_equal(cr_weights_at(weights, c).name, "c");
    assert_int_equal(cr_weights_at(weights, c).shape.dim[0], 4);
    assert_true(cr_element(cr_weights_load(weights, c), 5) == 2);
    assert_true(cr_element(cr_weights_load(weights, cr_weights_find(weights, "b")), 5) == 1);
    assert_int_equal(cr_weights_find(weights, "d"), -1);
    assert_string_equal(cr_weights_format(weights), "PyTorch checkpoints with an index");
    cr_weights_close(weights);
}

/* Everything that opening and loading do. */
static bool open_and_load(const char *path)
{
    cr_weights *weights = cr_weights_open(path);
    for (int i = 0; i < cr_weights_count(weights); i++)
        cr_weights_load(weights, i);
    cr_weights_close(weights);
    return !cr_failed();
}

static void memory_may_run_out(void **state)
{
    (void)state;
    const char *index = save_shards();
    cr_model *model = make_model(3, 4);
    for (int path = 0; path < 2; path++) {
        bool done = false;
        for (int64_t successes = 0; !done; successes++) {
            uint64_t live = cr_memory_get_stats().small;
            cr_frame frame = cr_frame_begin();
            cr_memory_fail_after(successes);
            done = path == 0 ? open_and_load(index)
                             : cr_model_save_torch(model, in_folder("model.pth")) == CR_OK;
            cr_memory_fail_after(-1);
            assert_true(done || cr_error_status() == CR_ERROR_MEMORY ||
                        cr_error_status() == CR_ERROR_FORMAT);
            cr_error_clear();
            cr_frame_end(frame);
            assert_int_equal(cr_memory_get_stats().small, live);
        }
    }
    cr_model_free(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_checkpoint_comes_back, clear_state),
        cmocka_unit_test_teardown(parts_of_a_model_are_left_out, clear_state),
        cmocka_unit_test_teardown(wrappers_are_seen_through, clear_state),
        cmocka_unit_test_teardown(old_names_are_understood, clear_state),
        cmocka_unit_test_teardown(several_files_are_one, clear_state),
        cmocka_unit_test_teardown(memory_may_run_out, clear_state),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
