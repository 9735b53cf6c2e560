/* Random tensors: which block of the generator gives which element, at any number of threads; the
 * fills in place and the generator that they draw from. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/autograd.h"
#include "cresset/ops.h"
#include "cresset/thread.h"

#define MANY 100003

static int clear_state(void **state)
{
    (void)state;
    cr_set_num_threads(0);
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

static void test_blocks(void **state)
{
    (void)state;
    cr_generator generator = cr_generator_make(5, 3);
    generator.offset = 11;
    cr_tensor *x = cr_empty(CR_SHAPE(10));
    assert_int_equal(cr_uniform_(x, 0, 1, &generator), CR_OK);
    assert_int_equal(generator.offset, 14); /* three blocks of four */
    for (int i = 0; i < 10; i++) {
        uint32_t words[4];
        cr_philox(5, 3, 11 + (uint64_t)i / 4, words);
        assert_true(cr_element(x, i) == (double)(words[i % 4] >> 8) * 0x1p-24);
    }
}

static bool same_bits(const cr_tensor *a, const cr_tensor *b)
{
    size_t bytes = (size_t)cr_numel(a) * cr_dtype_size(cr_dtype_of(a));
    return cr_numel(a) == cr_numel(b) && memcmp(cr_data(a), cr_data(b), bytes) == 0;
}

typedef cr_tensor *(*maker)(void);

static cr_tensor *make_uniform(void)
{
    return cr_rand(CR_SHAPE(MANY));
}

static cr_tensor *make_normal(void)
{
    return cr_randn(CR_SHAPE(MANY));
}

static cr_tensor *make_normal_f64(void)
{
    return cr_randn(CR_SHAPE(MANY), .dtype = CR_F64);
}

static cr_tensor *make_integers(void)
{
    return cr_randint(-5, 100, CR_SHAPE(MANY));
}

static cr_tensor *make_choices(void)
{
    return cr_bernoulli(cr_full(0.3, CR_SHAPE(MANY)));
}

static cr_tensor *make_truncated(void)
{
    cr_tensor *x = cr_empty(CR_SHAPE(MANY));
    return cr_trunc_normal_(x, 0, 1, -2, 2, NULL) == CR_OK ? x : NULL;
}

static void test_threads_do_not_matter(void **state)
{
    (void)state;
    const maker makers[] = { make_uniform,  make_normal,  make_normal_f64,
                             make_integers, make_choices, make_truncated };
    for (size_t i = 0; i < sizeof makers / sizeof *makers; i++) {
        cr_manual_seed(7);
        cr_set_num_threads(1);
        cr_tensor *one = makers[i]();
        uint64_t offset = cr_default_generator()->offset;
        cr_manual_seed(7);
        cr_set_num_threads(3);
        cr_tensor *three = makers[i]();
        assert_non_null(one);
        assert_true(same_bits(one, three));
        assert_int_equal(cr_default_generator()->offset, offset);
        assert_false(same_bits(one, makers[i]()));
    }
}

/* A short draw begins with the same numbers as a long one. */
static void test_prefix(void **state)
{
    (void)state;
    cr_manual_seed(1);
    cr_tensor *longer = cr_randn(CR_SHAPE(1000));
    cr_manual_seed(1);
    cr_tensor *shorter = cr_randn(CR_SHAPE(77));
    assert_true(same_bits(shorter, cr_contiguous(cr_narrow(longer, 0, 0, 77))));
}

static void test_strided_fill(void **state)
{
    (void)state;
    cr_generator first = cr_generator_make(2, 0), second = first;
    cr_tensor *x = cr_zeros(CR_SHAPE(4, 6));
    cr_tensor *column = cr_slice(x, 1, 1, CR_SLICE_END, 2);
    cr_tensor *plain = cr_empty(CR_SHAPE(4, 3));
    assert_int_equal(cr_normal_(column, 0, 1, &first), CR_OK);
    assert_int_equal(cr_normal_(plain, 0, 1, &second), CR_OK);
    assert_true(same_bits(cr_contiguous(column), plain));
    assert_true(cr_element(x, 0) == 0);
    assert_int_equal(first.offset, second.offset);
}

static void test_bounds(void **state)
{
    (void)state;
    cr_tensor *x = cr_empty(CR_SHAPE(MANY));
    assert_int_equal(cr_trunc_normal_(x, 0.5, 2, 0, 1, NULL), CR_OK);
    assert_true(cr_item(cr_min(x)) >= 0 && cr_item(cr_max(x)) <= 1);
    assert_int_equal(cr_bernoulli_(x, 0, NULL), CR_OK);
    assert_true(cr_item(cr_max(x)) == 0);
    assert_int_equal(cr_bernoulli_(x, 1, NULL), CR_OK);
    assert_true(cr_item(cr_min(x)) == 1);
    cr_tensor *bytes = cr_empty(CR_SHAPE(MANY), .dtype = CR_U8);
    assert_int_equal(cr_random_(bytes, 3, 6, NULL), CR_OK);
    assert_true(cr_item(cr_min(bytes)) == 3 && cr_item(cr_max(bytes)) == 5);
    cr_tensor *wide = cr_randint(INT64_MIN, INT64_MAX, CR_SHAPE(100));
    assert_non_null(wide);
}

static void test_refusals(void **state)
{
    (void)state;
    cr_tensor *integers = cr_zeros(CR_SHAPE(3), .dtype = CR_I64);
    assert_int_equal(cr_normal_(integers, 0, 1, NULL), CR_ERROR_DTYPE);
    cr_error_clear();
    cr_tensor *leaf = cr_zeros(CR_SHAPE(3), .requires_grad = true);
    assert_int_equal(cr_uniform_(leaf, 0, 1, NULL), CR_ERROR_STATE);
    cr_error_clear();
    bool was = cr_set_grad_enabled(false);
    assert_int_equal(cr_uniform_(leaf, 0, 1, NULL), CR_OK);
    cr_set_grad_enabled(was);
    assert_int_equal(cr_uniform_(NULL, 0, 1, NULL), CR_ERROR_ARGUMENT);
    cr_error_clear();
    assert_int_equal(cr_bernoulli_(leaf, 1.5, NULL), CR_ERROR_ARGUMENT);
    cr_error_clear();
    assert_int_equal(cr_random_(integers, 4, 4, NULL), CR_ERROR_ARGUMENT);
    cr_error_clear();
    assert_int_equal(cr_trunc_normal_(leaf, 0, 1, 2, -2, NULL), CR_ERROR_ARGUMENT);
}

static void test_requires_grad(void **state)
{
    (void)state;
    assert_true(cr_requires_grad(cr_randn(CR_SHAPE(2), .requires_grad = true)));
    assert_false(cr_requires_grad(cr_randn_like(cr_zeros(CR_SHAPE(2)))));
    assert_null(cr_rand_like(NULL));
    assert_int_equal(cr_error_status(), CR_ERROR_ARGUMENT);
}

/* On the meta device nothing is drawn, but the generator moves as it would. */
static void test_meta(void **state)
{
    (void)state;
    cr_manual_seed(1);
    assert_non_null(cr_randn(CR_SHAPE(9), .device = CR_META));
    assert_int_equal(cr_default_generator()->offset, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_blocks, clear_state),
        cmocka_unit_test_teardown(test_threads_do_not_matter, clear_state),
        cmocka_unit_test_teardown(test_prefix, clear_state),
        cmocka_unit_test_teardown(test_strided_fill, clear_state),
        cmocka_unit_test_teardown(test_bounds, clear_state),
        cmocka_unit_test_teardown(test_refusals, clear_state),
        cmocka_unit_test_teardown(test_requires_grad, clear_state),
        cmocka_unit_test_teardown(test_meta, clear_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
