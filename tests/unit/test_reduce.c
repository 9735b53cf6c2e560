/* Reductions against loops written out: all strides, sizes around the lengths of the inner loops,
 * the precision of long sums, thread counts and instruction sets. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/ops.h"
#include "cresset/thread.h"
#include "kernels/reduce/reduce.h"

static cr_tensor *counting(cr_shape shape)
{
    cr_tensor *x = cr_empty(shape, .dtype = CR_F64);
    for (int64_t i = 0; i < cr_numel(x); i++)
        ((double *)cr_data(x))[i] = (double)(i * 37 % 101) - 50;
    return x;
}

/* The sum over the dims that are set in `mask`, element by element. */
static void check_sum(cr_tensor *x, unsigned mask)
{
    cr_frame frame = cr_frame_begin();
    cr_shape shape = cr_shape_of(x);
    cr_shape dims = { 0 };
    cr_tensor *expected =
        cr_zeros(CR_SHAPE(shape.dim[0], shape.dim[1], shape.dim[2]), .dtype = CR_F64);
    double *totals = cr_data(expected);
    for (int64_t i = 0; i < cr_numel(x); i++) {
        int64_t index[3] = { i / shape.dim[2] / shape.dim[1], i / shape.dim[2] % shape.dim[1],
                             i % shape.dim[2] };
        for (int d = 0; d < 3; d++)
            index[d] = mask >> d & 1 ? 0 : index[d];
        totals[(index[0] * shape.dim[1] + index[1]) * shape.dim[2] + index[2]] += cr_element(x, i);
    }
    for (int d = 0; d < 3; d++) {
        if (mask >> d & 1)
            dims.dim[dims.ndim++] = d;
    }
    cr_tensor *sum = cr_expand(cr_sum_dims(x, dims, true), shape);
    for (int64_t i = 0; i < cr_numel(x); i++) {
        int64_t index[3] = { i / shape.dim[2] / shape.dim[1], i / shape.dim[2] % shape.dim[1],
                             i % shape.dim[2] };
        for (int d = 0; d < 3; d++)
            index[d] = mask >> d & 1 ? 0 : index[d];
        int64_t at = (index[0] * shape.dim[1] + index[1]) * shape.dim[2] + index[2];
        assert_float_equal(cr_element(sum, i), totals[at], 1e-9);
    }
    cr_frame_end(frame);
}

static void test_all_dims_and_strides(void **state)
{
    (void)state;
    static const int64_t orders[][3] = { { 0, 1, 2 }, { 0, 2, 1 }, { 1, 0, 2 },
                                         { 1, 2, 0 }, { 2, 0, 1 }, { 2, 1, 0 } };
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = counting(CR_SHAPE(3, 5, 70));
    for (int o = 0; o < 6; o++) {
        for (unsigned mask = 1; mask < 8; mask++)
            check_sum(cr_permute(x, cr_shape_make(3, orders[o])), mask);
    }
    cr_frame_end(frame);
}

/* float32 sums of 10 million equal numbers, which a plain loop gets wrong by percents. */
static void test_long_sums_are_precise(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_full(0.1, CR_SHAPE(1000, 10000));
    assert_float_equal(cr_item(cr_sum(x)), 1e7 * (double)0.1f, 1);
    assert_float_equal(cr_element(cr_sum_dims(x, CR_SHAPE(0), false), 77), 1e3 * (double)0.1f,
                       1e-4);
    assert_float_equal(cr_item(cr_mean(x)), 0.1, 1e-7);
    assert_float_equal(cr_item(cr_var(x)), 0, 1e-12);
    cr_frame_end(frame);
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_to_dtype(counting(CR_SHAPE(317, 1009)), CR_F32);
    double found[2][3];
    for (int t = 0; t < 2; t++) {
        cr_set_num_threads(t ? 3 : 1);
        found[t][0] = cr_item(cr_sum(cr_mul_scalar(x, 0.1)));
        found[t][1] = cr_item(cr_norm(x));
        found[t][2] = cr_element(cr_logsumexp(x, CR_SHAPE(0), false), 5);
    }
    cr_set_num_threads(0);
    assert_memory_equal(found[0], found[1], sizeof found[0]);
    cr_frame_end(frame);
}

extern const struct reduce_loops reduce_loops_portable;

/* Every loop in use against the portable one, on lengths around those of the lanes. */
static void test_instruction_sets(void **state)
{
    (void)state;
    const struct reduce_loops *loops[] = { &reduce_loops_portable, reduce_loops() };
    static float x[4 * REDUCE_PIECE];
    for (int64_t i = 0; i < 4 * REDUCE_PIECE; i++)
        x[i] = (float)(i * 7919 % 211) / 100 - 1;
    for (int kind = 0; kind < REDUCE_KIND_COUNT; kind++) {
        bool whole = kind == REDUCE_NONZERO || kind == REDUCE_NUMBERS;
        for (int64_t n = 1; n < REDUCE_PIECE; n += 61) {
            union reduce_total row[2], columns[2][REDUCE_PIECE];
            static double parameters[REDUCE_PIECE];
            for (int k = 0; k < 2; k++) {
                row[k] = (union reduce_total){ .whole = 0 };
                memset(columns[k], 0, sizeof columns[k]);
                loops[k]->row[kind][REDUCE_F32](x + 7, n, 0.5, &row[k]);
                loops[k]->columns[kind][REDUCE_F32](x, REDUCE_PIECE, 4, n, parameters, columns[k]);
            }
            for (int64_t j = -1; j < n; j++) {
                union reduce_total a = j < 0 ? row[0] : columns[0][j];
                union reduce_total b = j < 0 ? row[1] : columns[1][j];
                if (whole)
                    assert_int_equal(a.whole, b.whole);
                else
                    assert_true(fabs(a.real - b.real) <= 1e-4 * (1 + fabs(a.real)));
            }
        }
    }
}

static void test_edges(void **state)
{
    (void)state;
    cr_frame frame = cr_frame_begin();
    cr_tensor *none = cr_zeros(CR_SHAPE(2, 0));
    assert_float_equal(cr_element(cr_sum_dims(none, CR_SHAPE(1), false), 1), 0, 0);
    assert_float_equal(cr_item(cr_prod(none)), 1, 0);
    assert_true(isnan(cr_item(cr_mean(none))));
    assert_int_equal(cr_item_int64(cr_all(none, cr_shape_scalar(), false)), 1);
    assert_int_equal(cr_numel(cr_sum_dims(none, CR_SHAPE(0), false)), 0);
    assert_null(cr_max(none));
    assert_non_null(strstr(cr_error_message(), "max: no elements"));
    cr_error_clear();
    cr_tensor *indices;
    cr_tensor *x = cr_from_buffer((int32_t[]){ 3, 9, 9, 1 }, CR_SHAPE(2, 2), CR_I32);
    assert_int_equal(cr_element_int64(cr_max_dim(x, 1, false, &indices), 0), 9);
    assert_int_equal(cr_element_int64(indices, 0), 1);
    assert_int_equal(cr_item_int64(cr_median(x)), 3);
    cr_frame_end(frame);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_dims_and_strides),
        cmocka_unit_test(test_long_sums_are_precise),
        cmocka_unit_test(test_threads_do_not_matter),
        cmocka_unit_test(test_instruction_sets),
        cmocka_unit_test(test_edges),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
