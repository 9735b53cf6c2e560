/* Splits, grids and edits through views, which the comparisons with PyTorch do not reach; and every
 * allocation of the families of shaping, indexing, ordering and printing failing in turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/array_file.h"
#include "cresset/autograd.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/print.h"

static int clear_state(void **state)
{
    (void)state;
    cr_memory_fail_after(-1);
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

static cr_tensor *counting(cr_shape shape)
{
    return cr_reshape(cr_arange(0, (double)cr_shape_numel(&shape)), shape);
}

static void check_values(const cr_tensor *tensor, int64_t count, const double *expected)
{
    assert_non_null(tensor);
    assert_int_equal(cr_numel(tensor), count);
    for (int64_t i = 0; i < count; i++)
        assert_true(cr_element(tensor, i) == expected[i]);
}

static void test_split(void **state)
{
    (void)state;
    cr_tensor *x = counting(CR_SHAPE(5, 2));
    cr_tensor *parts[8];
    assert_int_equal(cr_split(x, 2, 0, parts, 8), 3);
    check_values(parts[0], 4, (double[]){ 0, 1, 2, 3 });
    check_values(parts[2], 2, (double[]){ 8, 9 });
    assert_true(cr_shares_storage(parts[1], x));
    assert_int_equal(cr_split_sizes(x, (int64_t[]){ 1, 4 }, 2, -2, parts), 2);
    check_values(parts[0], 2, (double[]){ 0, 1 });
    assert_int_equal(cr_dim(parts[1], 0), 4);
    assert_int_equal(cr_chunk(x, 4, 0, parts, 8), 3); /* of 2, 2 and 1, as in PyTorch */
    assert_int_equal(cr_dim(parts[2], 0), 1);
    assert_int_equal(cr_unbind(x, 1, parts, 8), 2);
    check_values(parts[1], 5, (double[]){ 1, 3, 5, 7, 9 });
}

static void test_split_refuses(void **state)
{
    (void)state;
    cr_tensor *x = counting(CR_SHAPE(5, 2));
    cr_tensor *parts[8] = { x, x, x };
    assert_int_equal(cr_split(x, 2, 0, parts, 2), 0);
    assert_non_null(strstr(cr_error_message(), "there are 3 parts, but room for 2"));
    assert_null(parts[0]);
    cr_error_clear();
    assert_int_equal(cr_split_sizes(x, (int64_t[]){ 1, 3 }, 2, 0, parts), 0);
    assert_non_null(strstr(cr_error_message(), "add up to 4"));
    cr_error_clear();
    assert_int_equal(cr_split(x, 0, 0, parts, 8), 0);
    assert_int_equal(cr_error_status(), CR_ERROR_ARGUMENT);
    cr_error_clear();
    assert_int_equal(cr_chunk(NULL, 2, 0, parts, 8), 0);
    assert_non_null(strstr(cr_error_message(), "NULL"));
    assert_int_equal(cr_chunk(x, 2, 0, parts, 8), 0); /* while an error stands */
    assert_null(parts[0]);
}

static void test_split_gradient(void **state)
{
    (void)state;
    cr_tensor *x = cr_ones(CR_SHAPE(2, 3), .requires_grad = true);
    cr_tensor *parts[3];
    assert_int_equal(cr_unbind(x, 1, parts, 3), 3);
    assert_int_equal(cr_backward(cr_sum(cr_add(parts[0], cr_mul_scalar(parts[2], 3)))), CR_OK);
    check_values(cr_grad_of(x), 6, (double[]){ 1, 0, 3, 1, 0, 3 });
}

static void test_meshgrid(void **state)
{
    (void)state;
    cr_tensor *vectors[] = { cr_arange(0, 2), cr_arange(10, 13) };
    cr_tensor *grids[2];
    assert_int_equal(cr_meshgrid(vectors, 2, false, grids), CR_OK);
    check_values(grids[0], 6, (double[]){ 0, 0, 0, 1, 1, 1 });
    check_values(grids[1], 6, (double[]){ 10, 11, 12, 10, 11, 12 });
    assert_int_equal(cr_meshgrid(vectors, 2, true, grids), CR_OK);
    assert_int_equal(cr_dim(grids[0], 0), 3);
    check_values(grids[0], 6, (double[]){ 0, 1, 0, 1, 0, 1 });
    vectors[1] = counting(CR_SHAPE(2, 2));
    assert_int_equal(cr_meshgrid(vectors, 2, false, grids), CR_ERROR_SHAPE);
    assert_null(grids[0]);
}

/* A view shares storage: what is written through one is seen in the other. */
static void test_edit_through_view(void **state)
{
    (void)state;
    cr_tensor *x = cr_zeros(CR_SHAPE(3, 4));
    assert_int_equal(cr_fill_(cr_select(x, 1, 2), 7), CR_OK);
    assert_int_equal(cr_fill_(cr_diagonal(x, 0, 0, 1), 5), CR_OK);
    assert_int_equal(cr_fill_(cr_slice(x, 0, 1, CR_SLICE_END, 2), 1), CR_OK);
    check_values(x, 12, (double[]){ 5, 0, 7, 0, 1, 1, 1, 1, 0, 0, 5, 0 });
    assert_int_equal(cr_fill_(NULL, 1), CR_ERROR_ARGUMENT);
}

/* What was saved for backward and is edited through a view is noticed. */
static void test_edit_is_noticed(void **state)
{
    (void)state;
    cr_tensor *w = cr_ones(CR_SHAPE(4));
    cr_tensor *x = cr_ones(CR_SHAPE(4), .requires_grad = true);
    cr_tensor *loss = cr_sum(cr_mul(x, w));
    assert_int_equal(cr_zero_(cr_narrow(w, 0, 1, 2)), CR_OK);
    assert_int_equal(cr_backward(loss), CR_ERROR_STATE);
    assert_non_null(strstr(cr_error_message(), "changed in place"));
}

static void test_index_by_null(void **state)
{
    (void)state;
    cr_tensor *x = counting(CR_SHAPE(2, 3));
    cr_tensor *last = cr_from_buffer((int64_t[]){ -1, 0 }, CR_SHAPE(2), CR_I64);
    cr_tensor *y = cr_index(x, (cr_tensor *[]){ NULL, last }, 2);
    check_values(y, 4, (double[]){ 2, 0, 5, 3 });
    y = cr_index_put(x, (cr_tensor *[]){ last }, 1, cr_scalar(9), false);
    check_values(y, 6, (double[]){ 9, 9, 9, 9, 9, 9 });
    check_values(x, 6, (double[]){ 0, 1, 2, 3, 4, 5 });
}

static void test_optional_outputs(void **state)
{
    (void)state;
    cr_tensor *x = cr_from_buffer((int64_t[]){ 3, 1, 3, 2 }, CR_SHAPE(4), CR_I64);
    cr_tensor *indices, *inverse, *counts;
    check_values(cr_sort(x, 0, true, &indices), 4, (double[]){ 3, 3, 2, 1 });
    check_values(indices, 4, (double[]){ 0, 2, 3, 1 });
    check_values(cr_topk(x, 2, 0, true, NULL), 2, (double[]){ 1, 2 });
    check_values(cr_unique(x, &inverse, &counts), 3, (double[]){ 1, 2, 3 });
    check_values(inverse, 4, (double[]){ 2, 0, 2, 1 });
    check_values(counts, 3, (double[]){ 1, 1, 2 });
    assert_int_equal(cr_item_int64(cr_argmax_all(x)), 0);
    check_values(cr_bincount(x, NULL, 0), 4, (double[]){ 0, 1, 1, 2 });
}

static void check_text(const cr_tensor *tensor, const char *expected)
{
    cr_text text = { 0 };
    assert_int_equal(cr_tensor_format(tensor, &text), CR_OK);
    assert_string_equal(text.data, expected);
    cr_text_free(&text);
}

static void test_print(void **state)
{
    (void)state;
    check_text(cr_from_buffer((float[]){ 1, 1.0f / 3, 0.5f, -0.25f }, CR_SHAPE(2, 2), CR_F32),
               "tensor([[ 1.    ,  0.3333],\n        [ 0.5   , -0.25  ]])");
    check_text(cr_arange(0, 3, .dtype = CR_I32), "tensor([0, 1, 2], dtype=int32)");
    check_text(cr_full(1e10, CR_SHAPE(2)), "tensor([1.e+10, 1.e+10])");
    check_text(cr_zeros(CR_SHAPE(2, 0)), "tensor([], shape=(2, 0), dtype=float32)");
    check_text(cr_scalar(2.5), "tensor(2.5, dtype=float64)");
    check_text(cr_full(1.5, CR_SHAPE(2), .dtype = CR_BF16), "tensor([1.5, 1.5], dtype=bfloat16)");
    check_text(cr_arange(0, 5000, .dtype = CR_I64),
               "tensor([   0,    1,    2, ..., 4997, 4998, 4999])");
    check_text(cr_zeros(CR_SHAPE(2, 3), .device = CR_META),
               "tensor(..., shape=(2, 3), dtype=float32, device=meta)");
}

/* ---- every allocation fails in turn ---- */

static void shape_work(void)
{
    cr_tensor *x = cr_set_requires_grad(counting(CR_SHAPE(4, 5)), true);
    cr_tensor *index = cr_from_buffer((int64_t[]){ 1, -1 }, CR_SHAPE(2), CR_I64);
    cr_tensor *y = cr_index(x, (cr_tensor *[]){ index }, 1);
    y = cr_cat_of(0, y, cr_flip(x, CR_SHAPE(1)), cr_roll(x, CR_SHAPE(1), CR_SHAPE(0)));
    y = cr_pad(cr_repeat(y, CR_SHAPE(1, 2)), CR_SHAPE(1, 1), CR_PAD_CONSTANT, 0);
    y = cr_topk(cr_unfold_dim(y, 1, 3, 2), 2, 0, false, NULL);
    y = cr_masked_select(y, cr_gt_scalar(cr_detach(y), 3));
    cr_backward(cr_sum(y));
}

static void format_work(void)
{
    cr_text text = { 0 };
    cr_tensor_format(cr_mul_scalar(counting(CR_SHAPE(3, 4)), 0.3), &text);
    cr_text_free(&text);
}

static uint8_t archive[4096];
static size_t archive_size;

static void read_work(void)
{
    cr_npz *file = cr_npz_open_memory(archive, archive_size, "archive");
    for (int i = 0; i < cr_npz_count(file); i++)
        cr_npz_load(file, cr_npz_name(file, i));
    cr_npz_close(file);
}

/* Runs the work with room for 0, 1, 2, … allocations until it succeeds: it must fail with the right
 * error and leave nothing behind. */
static void check_exhaustion(void (*work)(void))
{
    work(); /* what is allocated once only is there from now on */
    assert_false(cr_failed());
    cr_frame_end_all();
    uint64_t live = cr_memory_get_stats().small;
    for (int64_t room = 0; room < 100000; room++) {
        cr_memory_fail_after(room);
        work();
        cr_memory_fail_after(-1);
        bool failed = cr_failed();
        if (failed)
            assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
        cr_error_clear();
        cr_frame_end_all();
        assert_int_equal(cr_memory_get_stats().small, live);
        if (!failed)
            return;
    }
    fail_msg("the work never succeeded");
}

static void test_exhaustion(void **state)
{
    (void)state;
    check_exhaustion(shape_work);
    check_exhaustion(format_work);
}

/* Writes an archive, then reads it with too little memory. */
static void test_archive_exhaustion(void **state)
{
    (void)state;
    const char *path = "test_shaping.npz";
    size_t size;
    cr_npz_item items[] = { { "a", counting(CR_SHAPE(2, 3)) }, { "b", cr_scalar(1) } };
    assert_int_equal(cr_npz_save(path, items, 2), CR_OK);
    char *data = cr_file_read(path, sizeof archive, &size);
    assert_non_null(data);
    memcpy(archive, data, size);
    archive_size = size;
    cr_free(data);
    assert_int_equal(remove(path), 0);
    check_exhaustion(read_work);
    items[1].name = "a";
    assert_int_equal(cr_npz_save(path, items, 2), CR_ERROR_ARGUMENT);
    assert_false(cr_file_exists(path));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_split, clear_state),
        cmocka_unit_test_teardown(test_split_refuses, clear_state),
        cmocka_unit_test_teardown(test_split_gradient, clear_state),
        cmocka_unit_test_teardown(test_meshgrid, clear_state),
        cmocka_unit_test_teardown(test_edit_through_view, clear_state),
        cmocka_unit_test_teardown(test_edit_is_noticed, clear_state),
        cmocka_unit_test_teardown(test_index_by_null, clear_state),
        cmocka_unit_test_teardown(test_optional_outputs, clear_state),
        cmocka_unit_test_teardown(test_print, clear_state),
        cmocka_unit_test_teardown(test_exhaustion, clear_state),
        cmocka_unit_test_teardown(test_archive_exhaustion, clear_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
