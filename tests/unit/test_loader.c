/* Tests of the loader: the same bytes for any number of workers, resume in mid-epoch, stopping at
 * any time, samples that fail, drop_last, and buffers that are used again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/base.h"
#include "cresset/data.h"

#define SIZE   103 /* samples of the set */
#define PIXELS 16

static int clear_state(void **state)
{
    (void)state;
    cr_error_clear();
    cr_frame_end_all();
    return 0;
}

/* A set that is read slowly, out of step, and fails at one sample. */
struct slow_set {
    int64_t failing;
    atomic_int reads;
    atomic_int frees;
};

static cr_status slow_get(void *context, int64_t index, void *sample, int64_t *label)
{
    struct slow_set *slow = context;
    atomic_fetch_add(&slow->reads, 1);
    if (index % 7 == 3)
        nanosleep(&(struct timespec){ .tv_nsec = 300000 }, NULL);
    if (index == slow->failing)
        return cr_error_set(CR_ERROR_FORMAT, "/data/%lld.png is truncated", (long long)index);
    for (int i = 0; i < PIXELS; i++)
        ((uint8_t *)sample)[i] = (uint8_t)(index + i);
    *label = index % 10;
    return CR_OK;
}

static void slow_free(void *context)
{
    atomic_fetch_add(&((struct slow_set *)context)->frees, 1);
}

static cr_dataset *make_set(struct slow_set *slow, int64_t failing)
{
    *slow = (struct slow_set){ .failing = failing };
    return cr_dataset_new(&(cr_dataset_source){ .name = "slow",
                                                .size = SIZE,
                                                .sample_shape = CR_SHAPE(1, 4, 4),
                                                .dtype = CR_U8,
                                                .class_count = 10,
                                                .get = slow_get,
                                                .free = slow_free,
                                                .context = slow });
}

/* All that an epoch delivers, one sample after the other. */
struct record {
    int64_t count;
    int64_t batches;
    float samples[SIZE][PIXELS];
    int64_t labels[SIZE];
    int64_t indices[SIZE];
};

static void add_batch(struct record *record, const cr_batch *batch)
{
    size_t count = (size_t)batch->size;
    cr_shape shape = cr_shape_of(batch->samples);
    const cr_shape expected = CR_SHAPE(batch->size, 1, 4, 4);
    assert_true(cr_shape_equal(&shape, &expected));
    assert_int_equal(cr_dtype_of(batch->labels), CR_I64);
    assert_true(record->count + batch->size <= SIZE);
    cr_to_buffer(batch->samples, record->samples[record->count], count * sizeof *record->samples);
    cr_to_buffer(batch->labels, record->labels + record->count, count * sizeof(int64_t));
    cr_to_buffer(batch->indices, record->indices + record->count, count * sizeof(int64_t));
    record->count += batch->size;
    record->batches++;
}

/* Takes up to `limit` batches. */
static void take(cr_loader *loader, struct record *record, int64_t limit)
{
    cr_batch batch;
    while (limit-- > 0) {
        cr_frame frame = cr_frame_begin();
        bool more = cr_loader_next(loader, &batch);
        if (more)
            add_batch(record, &batch);
        cr_frame_end(frame);
        if (!more)
            return;
    }
}

static cr_loader *make_loader(cr_dataset *set, int workers)
{
    cr_transform_list list = { 0 };
    assert_int_equal(cr_transform_parse("flip,crop:1,erase,normalize:0.3:0.4", &list), CR_OK);
    return cr_loader_new(set, .batch_size = 8, .shuffle = true, .seed = 11, .workers = workers,
                         .transforms = &list);
}

static void workers_do_not_change_a_bit(void **state)
{
    (void)state;
    static struct record records[3];
    const int workers[] = { 0, 1, 3 };
    struct slow_set slow;
    for (int i = 0; i < 3; i++) {
        cr_dataset *set = make_set(&slow, -1);
        cr_loader *loader = make_loader(set, workers[i]);
        cr_dataset_free(set);
        memset(&records[i], 0, sizeof records[i]);
        assert_int_equal(cr_loader_batch_count(loader), 13);
        assert_int_equal(cr_loader_start(loader, 5, 0), CR_OK);
        take(loader, &records[i], 100);
        assert_false(cr_failed());
        assert_int_equal(records[i].count, SIZE);
        assert_int_equal(records[i].batches, 13);
        assert_memory_equal(&records[i], &records[0], sizeof records[0]);
        assert_int_equal(slow.frees, 0);
        cr_loader_free(loader);
        assert_int_equal(slow.frees, 1);
    }
    int seen[SIZE] = { 0 };
    for (int i = 0; i < SIZE; i++) {
        seen[records[0].indices[i]]++;
        assert_int_equal(records[0].labels[i], records[0].indices[i] % 10);
    }
    for (int i = 0; i < SIZE; i++)
        assert_int_equal(seen[i], 1);
}

/* One sample that is drawn for every place of an epoch is changed differently in each, and from any
 * place on as in the whole epoch. */
static void a_sample_drawn_again_is_changed_anew(void **state)
{
    (void)state;
    static struct record whole, rest;
    struct slow_set slow;
    double weights[SIZE] = { [4] = 1 };
    cr_transform_list list = { 0 };
    cr_transform_parse("flip,crop:1,erase", &list);
    whole = rest = (struct record){ 0 };
    cr_dataset *set = make_set(&slow, -1);
    cr_sampler *sampler = cr_sampler_weighted(weights, SIZE, 32, false);
    for (int part = 0; part < 2; part++) {
        cr_loader *loader = cr_loader_new(set, .batch_size = 8, .sampler = sampler, .seed = 2,
                                          .workers = 2 * part, .transforms = &list);
        cr_loader_start(loader, 1, 16 * part);
        take(loader, part ? &rest : &whole, 100);
        cr_loader_free(loader);
    }
    assert_int_equal(whole.count, 32);
    int different = 0;
    for (int i = 1; i < 32; i++) {
        assert_int_equal(whole.indices[i], 4);
        different += memcmp(whole.samples[i], whole.samples[0], sizeof whole.samples[0]) != 0;
    }
    assert_true(different > 20);
    assert_memory_equal(rest.samples, whole.samples[16], 16 * sizeof whole.samples[0]);
    cr_sampler_free(sampler);
    cr_dataset_free(set);
}

/* Without transforms a sample is its bytes divided by 255. */
static void samples_are_scaled(void **state)
{
    (void)state;
    struct slow_set slow;
    static struct record record;
    record = (struct record){ 0 };
    cr_dataset *set = make_set(&slow, -1);
    cr_loader *loader = cr_loader_new(set, .batch_size = 50);
    cr_dataset_free(set);
    assert_int_equal(cr_loader_start(loader, 0, 0), CR_OK);
    take(loader, &record, 100);
    for (int64_t i = 0; i < SIZE; i++) {
        assert_int_equal(record.indices[i], i);
        assert_true(record.samples[i][3] == (float)(i + 3) / 255.0f);
    }
    cr_loader_free(loader);
}

static void an_epoch_goes_on_where_it_was_left(void **state)
{
    (void)state;
    static struct record whole;
    static struct record parts;
    whole = (struct record){ 0 };
    parts = (struct record){ 0 };
    struct slow_set slow;
    cr_dataset *set = make_set(&slow, -1);
    cr_loader *loader = make_loader(set, 2);
    cr_loader_start(loader, 3, 0);
    take(loader, &whole, 100);
    cr_loader_start(loader, 3, 0);
    take(loader, &parts, 5);
    cr_loader_state saved = cr_loader_get_state(loader);
    assert_int_equal(saved.seed, 11);
    assert_int_equal(saved.epoch, 3);
    assert_int_equal(saved.position, 40);
    cr_loader_free(loader);
    cr_transform_list list = { 0 };
    cr_transform_parse("flip,crop:1,erase,normalize:0.3:0.4", &list);
    loader = cr_loader_new(set, .batch_size = 8, .shuffle = true, .workers = 1, .seed = 999,
                           .transforms = &list);
    assert_int_equal(cr_loader_resume(loader, saved), CR_OK);
    take(loader, &parts, 100);
    assert_memory_equal(&parts, &whole, sizeof whole);
    saved = cr_loader_get_state(loader);
    assert_int_equal(saved.position, SIZE);
    assert_int_equal(cr_loader_resume(loader, saved), CR_OK);
    cr_batch batch;
    assert_false(cr_loader_next(loader, &batch));
    assert_int_not_equal(cr_loader_start(loader, 3, SIZE + 1), CR_OK);
    assert_non_null(strstr(cr_error_message(), "cannot begin at 104"));
    cr_loader_free(loader);
    cr_dataset_free(set);
}

static void epochs_differ(void **state)
{
    (void)state;
    static struct record records[2];
    memset(records, 0, sizeof records);
    struct slow_set slow;
    cr_dataset *set = make_set(&slow, -1);
    cr_loader *loader = make_loader(set, 2);
    cr_dataset_free(set);
    for (uint64_t epoch = 0; epoch < 2; epoch++) {
        cr_loader_start(loader, epoch, 0);
        take(loader, &records[epoch], 100);
    }
    assert_memory_not_equal(records[0].indices, records[1].indices, sizeof records[0].indices);
    cr_loader_free(loader);
}

/* A loader may be stopped, restarted or freed with batches on the way. */
static void a_loader_stops_at_any_time(void **state)
{
    (void)state;
    struct slow_set slow;
    cr_dataset *set = make_set(&slow, -1);
    uint64_t live = cr_memory_get_stats().small;
    static struct record record;
    for (int64_t taken = 0; taken < 14; taken++) {
        record = (struct record){ 0 };
        cr_loader *loader = make_loader(set, 1 + (int)taken % 3);
        cr_loader_start(loader, 0, 0);
        take(loader, &record, taken / 2);
        cr_loader_start(loader, 1, 0);
        take(loader, &record, taken / 2);
        if (taken % 2)
            cr_loader_stop(loader);
        cr_batch batch;
        if (taken % 2)
            assert_false(cr_loader_next(loader, &batch));
        cr_loader_free(loader);
    }
    cr_frame_end_all();
    assert_int_equal(cr_memory_get_stats().small, live);
    assert_false(cr_failed());
    /* Ahead of the consumer there are never more batches than the slots hold. */
    slow.reads = 0;
    cr_loader *loader = cr_loader_new(set, .batch_size = 5, .workers = 2, .prefetch = 2);
    cr_loader_start(loader, 0, 0);
    nanosleep(&(struct timespec){ .tv_nsec = 30000000 }, NULL);
    assert_true(slow.reads <= 4 * 5);
    cr_loader_free(loader);
    cr_dataset_free(set);
}

static void a_failing_sample_is_named_in_its_turn(void **state)
{
    (void)state;
    for (int workers = 0; workers <= 3; workers++) {
        static struct record record;
        record = (struct record){ 0 };
        struct slow_set slow;
        cr_dataset *set = make_set(&slow, 45);
        cr_loader *loader = cr_loader_new(set, .batch_size = 10, .workers = workers);
        cr_dataset_free(set);
        cr_loader_start(loader, 0, 0);
        take(loader, &record, 100);
        assert_int_equal(record.count, 40);
        assert_int_equal(cr_error_status(), CR_ERROR_FORMAT);
        assert_string_equal(cr_error_message(), "sample 45 of slow: /data/45.png is truncated");
        assert_int_equal(cr_loader_get_state(loader).position, 40);
        cr_batch batch;
        assert_false(cr_loader_next(loader, &batch));
        cr_error_clear();
        assert_false(cr_loader_next(loader, &batch));
        slow.failing = -1; /* the file was put in order */
        assert_int_equal(cr_loader_resume(loader, cr_loader_get_state(loader)), CR_OK);
        take(loader, &record, 100);
        assert_int_equal(record.count, SIZE);
        cr_loader_free(loader);
    }
}

static void the_last_batch_may_be_dropped(void **state)
{
    (void)state;
    static struct record record;
    record = (struct record){ 0 };
    struct slow_set slow;
    cr_dataset *set = make_set(&slow, -1);
    cr_loader *loader = cr_loader_new(set, .batch_size = 20, .drop_last = true, .workers = 2);
    assert_int_equal(cr_loader_batch_count(loader), 5);
    assert_int_equal(cr_loader_sample_count(loader), 100);
    cr_loader_start(loader, 0, 0);
    take(loader, &record, 100);
    assert_int_equal(record.count, 100);
    assert_int_equal(record.batches, 5);
    cr_loader_free(loader);
    const int64_t few[] = { 5, 6 };
    cr_sampler *sampler = cr_sampler_subset(few, 2);
    loader = cr_loader_new(set, .batch_size = 20, .drop_last = true, .sampler = sampler);
    assert_int_equal(cr_loader_batch_count(loader), 0);
    cr_loader_start(loader, 0, 0);
    cr_batch batch;
    assert_false(cr_loader_next(loader, &batch));
    assert_false(cr_failed());
    cr_loader_free(loader);
    cr_sampler_free(sampler);
    cr_dataset_free(set);
}

/* After the first batches an epoch asks the system for no more memory. */
static void buffers_are_used_again(void **state)
{
    (void)state;
    struct slow_set slow;
    static struct record record;
    cr_dataset *set = make_set(&slow, -1);
    cr_loader *loader = cr_loader_new(set, .batch_size = 2);
    cr_loader_start(loader, 0, 0);
    record = (struct record){ 0 };
    take(loader, &record, 2);
    uint64_t before = cr_memory_get_stats().system;
    take(loader, &record, 100);
    assert_int_equal(record.batches, 52);
#ifndef CR_ADDRESS_SANITIZER
    assert_int_equal(cr_memory_get_stats().system, before);
#else
    (void)before;
#endif
    cr_loader_free(loader);
    cr_dataset_free(set);
}

static void wrong_settings_are_refused(void **state)
{
    (void)state;
    struct slow_set slow;
    cr_dataset *set = make_set(&slow, -1);
    cr_sampler *sampler = cr_sampler_random(5);
    cr_transform_list three = { 0 };
    cr_transform_parse("normalize:1:2:3:1:2:3", &three);
    const cr_loader_args wrong[] = {
        { .data = NULL },
        { .data = set, .batch_size = -1 },
        { .data = set, .workers = -1 },
        { .data = set, .workers = 1000 },
        { .data = set, .prefetch = -2 },
        { .data = set, .sampler = sampler, .shuffle = true },
        { .data = set, .transforms = &three },
    };
    static const char *const words[] = { "no data set",  "batch size is -1", "0 to 256",
                                         "not 1000",     "-2 batches",       "exclude each other",
                                         "of 1 channels" };
    for (int i = 0; i < CR_COUNT_OF(wrong); i++) {
        assert_null(cr_loader_new_with(wrong[i]));
        assert_int_equal(cr_error_status(), CR_ERROR_ARGUMENT);
        assert_non_null(strstr(cr_error_message(), words[i]));
        cr_error_clear();
    }
    cr_sampler_free(sampler);
    cr_dataset_free(set);
    assert_int_equal(slow.frees, 1);
}

/* Every allocation failed in turn, in workers and without: an error each time, and no leak. */
static void want_of_memory_is_survived(void **state)
{
    (void)state;
    static struct record record;
    struct slow_set slow;
    for (int workers = 0; workers <= 2; workers += 2) {
        cr_frame_end_all();
        uint64_t live = cr_memory_get_stats().small;
        bool done = false;
        for (int failures = 0; !done; failures += 1 + failures / 20) {
            record = (struct record){ 0 };
            cr_memory_fail_after(failures);
            cr_dataset *set = make_set(&slow, -1);
            cr_loader *loader =
                set ? cr_loader_new(set, .batch_size = 50, .workers = workers) : NULL;
            cr_loader_start(loader, 0, 0);
            take(loader, &record, 100);
            cr_memory_fail_after(-1);
            done = !cr_failed();
            assert_true(done ? record.count == SIZE : cr_error_status() == CR_ERROR_MEMORY);
            cr_loader_free(loader);
            cr_dataset_free(set);
            cr_frame_end_all();
            cr_error_clear();
            assert_int_equal(cr_memory_get_stats().small, live);
            assert_true(failures < 2000);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(workers_do_not_change_a_bit, clear_state),
        cmocka_unit_test_setup(a_sample_drawn_again_is_changed_anew, clear_state),
        cmocka_unit_test_setup(samples_are_scaled, clear_state),
        cmocka_unit_test_setup(an_epoch_goes_on_where_it_was_left, clear_state),
        cmocka_unit_test_setup(epochs_differ, clear_state),
        cmocka_unit_test_setup(a_loader_stops_at_any_time, clear_state),
        cmocka_unit_test_setup(a_failing_sample_is_named_in_its_turn, clear_state),
        cmocka_unit_test_setup(the_last_batch_may_be_dropped, clear_state),
        cmocka_unit_test_setup(buffers_are_used_again, clear_state),
        cmocka_unit_test_setup(wrong_settings_are_refused, clear_state),
        cmocka_unit_test_setup(want_of_memory_is_survived, clear_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
