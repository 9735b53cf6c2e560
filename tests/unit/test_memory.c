/* Tests of the two allocators: sizes, overflow, fault injection, reuse and coalescing of buffers.
 * What depends on caching is skipped where AddressSanitizer turns caching off. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

#define MEBIBYTE ((size_t)1 << 20)

#ifdef CR_ADDRESS_SANITIZER
#define NEEDS_CACHE() skip()
#else
#define NEEDS_CACHE() ((void)0)
#endif

static int start_clean(void **state)
{
    (void)state;
    cr_error_clear();
    cr_memory_trim();
    cr_memory_reset_peak();
    return 0;
}

static void assert_out_of_memory(const void *block)
{
    assert_null(block);
    assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
    cr_error_clear();
}

static void blocks_are_counted(void **state)
{
    (void)state;
    uint64_t live = cr_memory_get_stats().small;
    void *empty = cr_alloc(0);
    int *numbers = cr_alloc_zeroed(100, sizeof(int));
    char *copy = cr_string_copy("copy");
    assert_non_null(empty);
    assert_int_equal(numbers[99], 0);
    assert_string_equal(copy, "copy");
    numbers[99] = 7;
    numbers = cr_resize(numbers, 100000, sizeof(int));
    assert_int_equal(numbers[99], 7);
    assert_int_equal(cr_memory_get_stats().small, live + 3);
    cr_free(empty);
    cr_free(numbers);
    cr_free(copy);
    cr_free(NULL);
    assert_int_equal(cr_memory_get_stats().small, live);
}

static void impossible_sizes_are_refused(void **state)
{
    (void)state;
    char *block = cr_string_copy("stands");
    assert_out_of_memory(cr_alloc(SIZE_MAX));
    assert_out_of_memory(cr_alloc_array(SIZE_MAX / 2, 3));
    assert_out_of_memory(cr_alloc_zeroed(SIZE_MAX / 8 + 1, 8));
    assert_out_of_memory(cr_resize(block, SIZE_MAX / 2, 4));
    assert_string_equal(block, "stands");
    assert_out_of_memory(cr_buffer_alloc(SIZE_MAX));
    assert_out_of_memory(cr_buffer_alloc(PTRDIFF_MAX));
    cr_free(block);
    assert_int_equal(cr_memory_get_stats().in_use, 0);
}

static void chosen_allocations_fail(void **state)
{
    (void)state;
    void *cached = cr_buffer_alloc(100);
    cr_buffer_free(cached, 100);
    cr_memory_fail_after(2);
    void *first = cr_alloc(1);
    void *second = cr_buffer_alloc(100);
    assert_non_null(first);
    assert_non_null(second);
    assert_out_of_memory(cr_alloc(1));
    assert_out_of_memory(cr_alloc_zeroed(1, 1));
    assert_out_of_memory(cr_resize(first, 2, 1));
    assert_out_of_memory(cr_buffer_alloc(100));
    assert_out_of_memory(cr_buffer_alloc(4 * MEBIBYTE));
    assert_int_equal(cr_memory_fail_after(-1), 7);
    cr_free(first);
    cr_buffer_free(second, 100);
    void *after = cr_alloc(1);
    assert_non_null(after);
    cr_free(after);
    assert_int_equal(cr_memory_fail_after(-1), 1);
}

static void buffers_are_aligned_and_whole(void **state)
{
    (void)state;
    for (size_t size = 0; size < 40 * MEBIBYTE; size = size * 9 / 7 + 1) {
        unsigned char *buffer = cr_buffer_alloc(size);
        assert_non_null(buffer);
        assert_int_equal((uintptr_t)buffer % 64, 0);
        memset(buffer, 0xA5, size);
        assert_int_equal(cr_memory_get_stats().in_use, size);
        cr_buffer_free(buffer, size);
    }
    cr_buffer_free(NULL, 0);
    assert_int_equal(cr_memory_get_stats().in_use, 0);
}

static void steady_state_asks_the_system_for_nothing(void **state)
{
    (void)state;
    NEEDS_CACHE();
    const size_t sizes[] = { 40, 200704, 3000000, 64, 9000000, 1048576, 1048575, 70000000 };
    void *buffers[CR_COUNT_OF(sizes)];
    uint64_t before = 0;
    for (int step = 0; step < 5; step++) {
        for (int i = 0; i < CR_COUNT_OF(sizes); i++)
            buffers[i] = cr_buffer_alloc(sizes[i]);
        for (int i = 0; i < CR_COUNT_OF(sizes); i += 2)
            cr_buffer_free(buffers[i], sizes[i]);
        for (int i = 1; i < CR_COUNT_OF(sizes); i += 2)
            cr_buffer_free(buffers[i], sizes[i]);
        if (step == 0)
            before = cr_memory_get_stats().system;
    }
    assert_int_equal(cr_memory_get_stats().system, before);
    assert_true(cr_memory_get_stats().cached > 80000000);
    cr_memory_trim();
    assert_int_equal(cr_memory_get_stats().cached, 0);
}

static void rounding_wastes_little(void **state)
{
    (void)state;
    NEEDS_CACHE();
    for (size_t size = 512; size < MEBIBYTE; size = size * 15 / 14 + 1) {
        cr_buffer_free(cr_buffer_alloc(size), size);
        size_t kept = cr_memory_get_stats().cached;
        assert_true(kept >= size && kept <= size + CR_MAX(size / 8, (size_t)64));
        cr_memory_trim();
    }
}

static void neighbours_are_joined(void **state)
{
    (void)state;
    NEEDS_CACHE();
    void *parts[10];
    for (int i = 0; i < 10; i++)
        parts[i] = cr_buffer_alloc(3 * MEBIBYTE);
    const int order[] = { 4, 2, 3, 0, 9, 1, 7, 8, 5, 6 };
    for (int i = 0; i < 10; i++)
        cr_buffer_free(parts[order[i]], 3 * MEBIBYTE);
    uint64_t before = cr_memory_get_stats().system;
    void *whole = cr_buffer_alloc(31 * MEBIBYTE);
    assert_ptr_equal(whole, parts[0]);
    assert_int_equal(cr_memory_get_stats().system, before);
    cr_buffer_free(whole, 31 * MEBIBYTE);
}

static void segments_too_small_go_back_before_more_are_mapped(void **state)
{
    (void)state;
    NEEDS_CACHE();
    for (size_t size = 40 * MEBIBYTE; size < 200 * MEBIBYTE; size += 20 * MEBIBYTE) {
        void *buffer = cr_buffer_alloc(size);
        assert_true(cr_memory_get_stats().cached < 4 * MEBIBYTE);
        cr_buffer_free(buffer, size);
    }
    assert_true(cr_memory_get_stats().cached < 202 * MEBIBYTE);
    assert_int_equal(cr_memory_get_stats().peak, 180 * MEBIBYTE);
}

typedef struct held_buffer {
    unsigned char *data;
    size_t size;
    unsigned char mark;
} held_buffer;

/* Random sizes and lifetimes; each buffer carries a mark at both ends that no other may touch. */
static void *churn(void *seed)
{
    held_buffer held[40];
    memset(held, 0, sizeof(held));
    cr_generator generator = cr_generator_make(11, (uint64_t)(uintptr_t)seed);
    uintptr_t damaged = 0;
    for (int step = 0; step < 4000; step++) {
        held_buffer *h = &held[cr_random_below(&generator, 40)];
        if (h->data) {
            damaged += h->data[0] != h->mark || h->data[h->size - 1] != h->mark;
            cr_buffer_free(h->data, h->size);
        }
        h->size = 1 + cr_random_below(&generator, (uint64_t)1 << (4 + step % 20));
        h->mark = (unsigned char)cr_random_u32(&generator);
        h->data = cr_buffer_alloc(h->size);
        h->data[0] = h->data[h->size - 1] = h->mark;
    }
    for (int i = 0; i < 40; i++)
        cr_buffer_free(held[i].data, held[i].size);
    return (void *)damaged;
}

static void threads_share_the_cache(void **state)
{
    (void)state;
    pthread_t threads[3];
    for (uintptr_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, churn, (void *)i), 0);
    for (int i = 0; i < 3; i++) {
        void *damaged;
        assert_int_equal(pthread_join(threads[i], &damaged), 0);
        assert_null(damaged);
    }
    assert_int_equal(cr_memory_get_stats().in_use, 0);
    cr_memory_trim();
    assert_int_equal(cr_memory_get_stats().cached, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(blocks_are_counted, start_clean),
        cmocka_unit_test_setup(impossible_sizes_are_refused, start_clean),
        cmocka_unit_test_setup(chosen_allocations_fail, start_clean),
        cmocka_unit_test_setup(buffers_are_aligned_and_whole, start_clean),
        cmocka_unit_test_setup(steady_state_asks_the_system_for_nothing, start_clean),
        cmocka_unit_test_setup(rounding_wastes_little, start_clean),
        cmocka_unit_test_setup(neighbours_are_joined, start_clean),
        cmocka_unit_test_setup(segments_too_small_go_back_before_more_are_mapped, start_clean),
        cmocka_unit_test_setup(threads_share_the_cache, start_clean),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
