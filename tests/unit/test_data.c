/* Tests of data sets, samplers and transforms: what they give, that seeds decide everything, and
 * that wrong files and settings are refused with a sentence. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zlib.h>

#include "base/base.h"
#include "cresset/data.h"
#include "cresset/file.h"
#include "cresset/idx.h"

#define FASHION_MNIST "/usr/share/datasets/fashion-mnist"

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

static void assert_error(cr_status status, const char *words)
{
    assert_int_equal(cr_error_status(), status);
    if (!strstr(cr_error_message(), words))
        fail_msg("\"%s\" is not in: %s", words, cr_error_message());
    cr_error_clear();
}

/* ---- idx files ---- */

static const char *in_folder(const char *name)
{
    static char path[192];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

/* `size` bytes of an idx file of `count` items; images are 2 x 3. */
static size_t make_idx(uint8_t *out, int ndim, int count)
{
    const int dims[] = { count, 2, 3 };
    memset(out, 0, 4 + 4 * (size_t)ndim);
    out[2] = 8;
    out[3] = (uint8_t)ndim;
    size_t items = 1;
    for (int i = 0; i < ndim; i++) {
        out[4 + 4 * i + 2] = (uint8_t)(dims[i] >> 8);
        out[4 + 4 * i + 3] = (uint8_t)dims[i];
        items *= (size_t)dims[i];
    }
    size_t start = 4 + 4 * (size_t)ndim;
    for (size_t i = 0; i < items; i++)
        out[start + i] = (uint8_t)(ndim == 1 ? i % 10 : i);
    return start + items;
}

static void write_set(int images, int labels)
{
    uint8_t bytes[4096];
    size_t size = make_idx(bytes, 3, images);
    assert_int_equal(cr_file_replace(in_folder("train-images-idx3-ubyte"), bytes, size), CR_OK);
    size = make_idx(bytes, 1, labels);
    gzFile packed = gzopen(in_folder("train-labels-idx1-ubyte.gz"), "wb");
    assert_int_equal(gzwrite(packed, bytes, (unsigned)size), size);
    assert_int_equal(gzclose(packed), Z_OK);
}

static void an_idx_folder_is_a_data_set(void **state)
{
    (void)state;
    write_set(20, 20);
    cr_dataset *set = cr_dataset_open_idx(folder, CR_SPLIT_TRAIN);
    assert_non_null(set);
    assert_int_equal(cr_dataset_size(set), 20);
    assert_int_equal(cr_dataset_dtype(set), CR_U8);
    assert_int_equal(cr_dataset_class_count(set), 10);
    assert_string_equal(cr_dataset_class_name(set, 7), "7");
    assert_string_equal(cr_dataset_class_name(set, 10), "");
    cr_shape shape = cr_dataset_sample_shape(set);
    const cr_shape expected = CR_SHAPE(1, 2, 3);
    assert_true(cr_shape_equal(&shape, &expected));
    uint8_t sample[6];
    int64_t label;
    assert_int_equal(cr_dataset_get(set, 13, sample, &label), CR_OK);
    assert_int_equal(label, 3);
    assert_int_equal(sample[0], 13 * 6);
    assert_int_equal(sample[5], 13 * 6 + 5);
    assert_int_not_equal(cr_dataset_get(set, 20, sample, &label), CR_OK);
    assert_error(CR_ERROR_ARGUMENT, "20 samples, and number 20");
    cr_dataset_free(set);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TEST));
    assert_error(CR_ERROR_IO, "t10k-images-idx3-ubyte.gz");
    assert_null(cr_dataset_open_idx("/no/such", CR_SPLIT_TEST));
    assert_error(CR_ERROR_IO, "/no/such is not a folder");
}

/* Sets that are not Fashion-MNIST itself have its classes if the folder says so. */
static void the_folder_may_name_the_classes(void **state)
{
    (void)state;
    const struct {
        const char *name;
        const char *class_name;
    } cases[] = { { "my-Fashion/", "Sneaker" }, { "my-Fashion/digits", "7" } };
    uint8_t bytes[4096];
    for (int i = 0; i < 2; i++) {
        char inner[192];
        char path[256];
        snprintf(inner, sizeof inner, "%s", in_folder(cases[i].name));
        assert_int_equal(cr_folder_make(inner), CR_OK);
        snprintf(path, sizeof path, "%s/t10k-images-idx3-ubyte", inner);
        assert_int_equal(cr_file_replace(path, bytes, make_idx(bytes, 3, 4)), CR_OK);
        snprintf(path, sizeof path, "%s/t10k-labels-idx1-ubyte", inner);
        assert_int_equal(cr_file_replace(path, bytes, make_idx(bytes, 1, 4)), CR_OK);
        cr_dataset *set = cr_dataset_open_idx(inner, CR_SPLIT_TEST);
        assert_string_equal(cr_dataset_class_name(set, 7), cases[i].class_name);
        cr_dataset_free(set);
    }
}

static void wrong_idx_folders_are_refused(void **state)
{
    (void)state;
    uint8_t bytes[4096];
    const char *images = "train-images-idx3-ubyte";
    write_set(20, 19);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TRAIN));
    assert_error(CR_ERROR_FORMAT, "has 19 labels, but");
    write_set(20, 20);
    size_t size = make_idx(bytes, 3, 20);
    cr_file_replace(in_folder(images), bytes, size - 1);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TRAIN));
    assert_error(CR_ERROR_FORMAT, "is truncated: its header says (20, 2, 3), 120 bytes, and 119");
    bytes[size] = 0;
    cr_file_replace(in_folder(images), bytes, size + 1);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TRAIN));
    assert_error(CR_ERROR_FORMAT, "is too long");
    cr_file_replace(in_folder(images), "\x89PNG\r\n", 6);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TRAIN));
    assert_error(CR_ERROR_FORMAT, "not an idx file: it begins with the bytes 89 50 4e 47");
    size = make_idx(bytes, 1, 20);
    cr_file_replace(in_folder(images), bytes, size);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TRAIN));
    assert_error(CR_ERROR_FORMAT, "uint8 (20,), where uint8 of 3 dimensions");
    write_set(20, 20);
    size = make_idx(bytes, 1, 20);
    bytes[8 + 4] = 11;
    remove(in_folder("train-labels-idx1-ubyte.gz"));
    cr_file_replace(in_folder("train-labels-idx1-ubyte"), bytes, size);
    assert_null(cr_dataset_open_idx(folder, CR_SPLIT_TRAIN));
    assert_error(CR_ERROR_FORMAT, "the label of sample 4 is 11");
    remove(in_folder("train-labels-idx1-ubyte"));
    size = make_idx(bytes, 1, 20);
    cr_file_replace(in_folder("train-labels.idx1-ubyte"), bytes, size);
    cr_dataset *set = cr_dataset_open_idx(folder, CR_SPLIT_TRAIN);
    assert_int_equal(cr_dataset_size(set), 20);
    cr_dataset_free(set);
    remove(in_folder("train-labels.idx1-ubyte"));
}

static void idx_arrays_of_all_types_are_read(void **state)
{
    (void)state;
    const uint8_t shorts[] = { 0, 0, 0x0B, 1, 0, 0, 0, 2, 0x01, 0x02, 0xff, 0xfe };
    cr_tensor *tensor = cr_idx_load_memory(shorts, sizeof shorts, "m");
    assert_int_equal(cr_dtype_of(tensor), CR_I16);
    assert_int_equal(cr_element_int64(tensor, 0), 258);
    assert_int_equal(cr_element_int64(tensor, 1), -2);
    const uint8_t number[] = { 0, 0, 0x0E, 1, 0, 0, 0, 1, 0xC0, 0x04, 0, 0, 0, 0, 0, 0 };
    assert_true(cr_item(cr_idx_load_memory(number, sizeof number, "m")) == -2.5);
    const uint8_t nine[4 + 36] = { 0, 0, 8, 9 };
    assert_null(cr_idx_load_memory(nine, sizeof nine, "m"));
    assert_error(CR_ERROR_FORMAT, "m has 9 dimensions");
    assert_null(cr_idx_load_memory(shorts, 7, "m"));
    assert_error(CR_ERROR_FORMAT, "ends inside its header");
    assert_null(cr_idx_load_memory(shorts, 3, "m"));
    assert_error(CR_ERROR_FORMAT, "only 3 bytes");
}

/* Known figures of Fashion-MNIST: 6000 of each class, mean 0.2860, deviation 0.3530. */
static void fashion_mnist_is_measured(void **state)
{
    (void)state;
    if (!cr_file_is_folder(FASHION_MNIST)) {
        print_message("skipped: %s is not there\n", FASHION_MNIST);
        skip();
    }
    cr_dataset *set = cr_dataset_open_idx(FASHION_MNIST, CR_SPLIT_TRAIN);
    assert_non_null(set);
    assert_string_equal(cr_dataset_class_name(set, 9), "Ankle boot");
    cr_dataset_statistics statistics;
    assert_int_equal(cr_dataset_measure(set, &statistics), CR_OK);
    assert_int_equal(statistics.size, 60000);
    assert_int_equal(statistics.unlabelled, 0);
    for (int c = 0; c < 10; c++)
        assert_int_equal(statistics.class_counts[c], 6000);
    assert_int_equal(statistics.channel_count, 1);
    assert_true(fabs(statistics.channel_means[0] - 0.28604) < 5e-6);
    assert_true(fabs(statistics.channel_deviations[0] - 0.35302) < 5e-6);
    cr_dataset_statistics_free(&statistics);
    cr_dataset_free(set);
}

/* ---- sets in memory and views ---- */

/* `size` samples of two channels of 1 x 2 float32; their value is their number, their class number
 * modulo `classes`. */
static cr_dataset *counting_set(int64_t size, int classes)
{
    cr_tensor *samples = cr_empty(CR_SHAPE(size, 2, 1, 2));
    cr_tensor *labels = cr_empty(CR_SHAPE(size), .dtype = CR_U8);
    for (int64_t i = 0; i < size; i++) {
        for (int64_t j = 0; j < 4; j++)
            ((float *)cr_data(samples))[4 * i + j] = (float)(j < 2 ? i : -i);
        ((uint8_t *)cr_data(labels))[i] = (uint8_t)(i % classes);
    }
    return cr_dataset_from_tensors(samples, .labels = labels, .name = "counting");
}

static int64_t number_of(cr_dataset *set, int64_t index)
{
    float sample[4];
    int64_t label;
    int64_t alone;
    assert_int_equal(cr_dataset_get(set, index, sample, &label), CR_OK);
    assert_int_equal(cr_dataset_label(set, index, &alone), CR_OK);
    assert_int_equal(label, alone);
    assert_true(sample[3] == -sample[0]);
    return (int64_t)sample[0];
}

static void tensors_are_a_data_set(void **state)
{
    (void)state;
    cr_dataset *set = counting_set(7, 3);
    assert_int_equal(cr_dataset_class_count(set), 3);
    assert_int_equal(number_of(set, 5), 5);
    cr_dataset_statistics statistics;
    assert_int_equal(cr_dataset_measure(set, &statistics), CR_OK);
    assert_int_equal(statistics.channel_count, 2);
    assert_true(fabs(statistics.channel_means[0] - 3) < 1e-12);
    assert_true(fabs(statistics.channel_means[1] + 3) < 1e-12);
    assert_true(fabs(statistics.channel_deviations[1] - 2) < 1e-12);
    assert_int_equal(statistics.class_counts[0], 3);
    assert_int_equal(statistics.class_counts[1], 2);
    cr_dataset_statistics_free(&statistics);
    cr_dataset_free(set);

    cr_tensor *samples = cr_zeros(CR_SHAPE(3, 2));
    set = cr_dataset_from_tensors(samples);
    int64_t label = 0;
    assert_int_equal(cr_dataset_label(set, 2, &label), CR_OK);
    assert_int_equal(label, CR_NO_LABEL);
    cr_dataset_free(set);
    assert_null(cr_dataset_from_tensors(samples, .labels = cr_zeros(CR_SHAPE(2), .dtype = CR_I64)));
    assert_error(CR_ERROR_SHAPE, "labels have the shape (2,) for 3 samples");
    assert_null(cr_dataset_from_tensors(samples, .labels = cr_zeros(CR_SHAPE(3))));
    assert_error(CR_ERROR_DTYPE, "labels must be integers");
    cr_tensor *fives = cr_full(5, CR_SHAPE(3), .dtype = CR_I64);
    assert_null(cr_dataset_from_tensors(samples, .labels = fives, .class_count = 5));
    assert_error(CR_ERROR_FORMAT, "the label of sample 0 is 5");
    assert_null(cr_dataset_from_tensors(cr_zeros(CR_SHAPE(3, 2), .dtype = CR_I64)));
    assert_error(CR_ERROR_DTYPE, "not int64");
}

static void views_read_what_they_show(void **state)
{
    (void)state;
    cr_dataset *set = counting_set(10, 2);
    const int64_t chosen[] = { 9, 0, 0, 4 };
    cr_dataset *subset = cr_dataset_subset(set, chosen, 4);
    cr_dataset *both[] = { subset, set, subset };
    cr_dataset *all = cr_dataset_concat(both, 3);
    cr_dataset_free(set);
    cr_dataset_free(subset);
    const int64_t expected[] = { 9, 0, 0, 4, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 0, 0, 4 };
    assert_int_equal(cr_dataset_size(all), 18);
    for (int i = 0; i < 18; i++)
        assert_int_equal(number_of(all, i), expected[i]);
    const int64_t outside = 18;
    assert_null(cr_dataset_subset(all, &outside, 1));
    assert_error(CR_ERROR_ARGUMENT, "number 18");
    cr_dataset *other = cr_dataset_from_tensors(cr_zeros(CR_SHAPE(3, 2)));
    cr_dataset *unlike[] = { all, other };
    assert_null(cr_dataset_concat(unlike, 2));
    assert_error(CR_ERROR_SHAPE, "concat: counting has samples float32 (2, 1, 2)");
    cr_dataset_free(all);
    cr_dataset_free(other);
}

static void splits_keep_the_ratio_of_classes(void **state)
{
    (void)state;
    cr_dataset *set = counting_set(103, 7);
    cr_dataset *first;
    cr_dataset *second;
    assert_int_equal(cr_dataset_split(set, 0.2, 5, &first, &second), CR_OK);
    assert_int_equal(cr_dataset_size(first), 21);
    assert_int_equal(cr_dataset_size(second), 82);
    int seen[103] = { 0 };
    int counts[7] = { 0 };
    for (int64_t i = 0; i < 103; i++) {
        int64_t number = number_of(i < 21 ? first : second, i < 21 ? i : i - 21);
        seen[number]++;
        counts[number % 7] += i < 21;
    }
    for (int i = 0; i < 103; i++)
        assert_int_equal(seen[i], 1);
    for (int c = 0; c < 7; c++)
        assert_int_equal(counts[c], 3);
    cr_dataset *again[2];
    assert_int_equal(cr_dataset_split(set, 0.2, 5, &again[0], &again[1]), CR_OK);
    for (int64_t i = 0; i < 21; i++)
        assert_int_equal(number_of(first, i), number_of(again[0], i));
    cr_dataset *other[2];
    assert_int_equal(cr_dataset_split(set, 0.2, 6, &other[0], &other[1]), CR_OK);
    int same = 0;
    for (int64_t i = 0; i < 21; i++)
        same += number_of(first, i) == number_of(other[0], i);
    assert_true(same < 21);
    cr_dataset *const all[] = { first, second, again[0], again[1], other[0], other[1], set };
    assert_int_not_equal(cr_dataset_split(set, 1.5, 5, &first, &second), CR_OK);
    assert_error(CR_ERROR_ARGUMENT, "fraction is 1.5");
    for (int i = 0; i < CR_COUNT_OF(all); i++)
        cr_dataset_free(all[i]);
}

/* ---- samplers ---- */

static void orders_depend_on_seed_and_epoch(void **state)
{
    (void)state;
    cr_sampler *sampler = cr_sampler_random(100);
    int64_t first[100], again[100], next[100], other[100];
    cr_sampler_order(sampler, 3, 0, first);
    cr_sampler_order(sampler, 3, 0, again);
    cr_sampler_order(sampler, 3, 1, next);
    cr_sampler_order(sampler, 4, 0, other);
    assert_memory_equal(first, again, sizeof first);
    assert_memory_not_equal(first, next, sizeof first);
    assert_memory_not_equal(first, other, sizeof first);
    int seen[100] = { 0 };
    for (int i = 0; i < 100; i++)
        seen[first[i]]++;
    for (int i = 0; i < 100; i++)
        assert_int_equal(seen[i], 1);
    cr_sampler_free(sampler);
    sampler = cr_sampler_sequential(5);
    cr_sampler_order(sampler, 3, 0, first);
    assert_int_equal(first[4], 4);
    cr_sampler_free(sampler);
    const int64_t chosen[] = { 70, 80, 90 };
    sampler = cr_sampler_subset(chosen, 3);
    cr_sampler_order(sampler, 1, 0, first);
    assert_int_equal(first[0] + first[1] + first[2], 240);
    assert_int_equal(first[0] * first[1] * first[2], 70 * 80 * 90);
    cr_sampler_free(sampler);
}

static void weights_are_probabilities(void **state)
{
    (void)state;
    const double weights[] = { 1, 0, 2, 5, 0 };
    int64_t order[8000];
    int counts[5] = { 0 };
    cr_sampler *sampler = cr_sampler_weighted(weights, 5, 8000, false);
    assert_int_equal(cr_sampler_length(sampler), 8000);
    cr_sampler_order(sampler, 1, 0, order);
    for (int i = 0; i < 8000; i++)
        counts[order[i]]++;
    assert_int_equal(counts[1] + counts[4], 0);
    assert_true(abs(counts[0] - 1000) < 120); /* four deviations */
    assert_true(abs(counts[3] - 5000) < 180);
    cr_sampler_free(sampler);
    sampler = cr_sampler_weighted(weights, 5, 3, true);
    int first[5] = { 0 };
    for (uint64_t epoch = 0; epoch < 1600; epoch++) {
        cr_sampler_order(sampler, 1, epoch, order);
        assert_int_equal((1 << order[0]) + (1 << order[1]) + (1 << order[2]), 1 + 4 + 8);
        first[order[0]]++;
    }
    assert_true(abs(first[3] - 1000) < 80);
    cr_sampler_free(sampler);
    assert_null(cr_sampler_weighted(weights, 5, 4, true));
    assert_error(CR_ERROR_ARGUMENT, "only 3 weights are positive");
    const double wrong[] = { 1, NAN };
    assert_null(cr_sampler_weighted(wrong, 2, 0, false));
    assert_error(CR_ERROR_ARGUMENT, "weight 1 is");
}

/* Classes of 40, 10 and 3 samples come 17 or 18 times each in 53 draws. */
static void balanced_orders_are_balanced(void **state)
{
    (void)state;
    cr_tensor *labels = cr_empty(CR_SHAPE(53), .dtype = CR_I64);
    for (int64_t i = 0; i < 53; i++)
        ((int64_t *)cr_data(labels))[i] = i < 40 ? 0 : i < 50 ? 2 : 3;
    cr_dataset *set = cr_dataset_from_tensors(cr_zeros(CR_SHAPE(53, 1)), .labels = labels);
    cr_sampler *sampler = cr_sampler_balanced(set, 0);
    cr_dataset_free(set);
    int64_t order[53];
    int counts[53] = { 0 };
    assert_int_equal(cr_sampler_order(sampler, 9, 2, order), CR_OK);
    for (int i = 0; i < 53; i++)
        counts[order[i]]++;
    int of_class[3] = { 0 };
    for (int i = 0; i < 53; i++) {
        int c = i < 40 ? 0 : i < 50 ? 1 : 2;
        int lowest = (int[]){ 0, 1, 5 }[c];
        assert_in_range(counts[i], lowest, lowest + 1);
        of_class[c] += counts[i];
    }
    for (int c = 0; c < 3; c++)
        assert_in_range(of_class[c], 17, 18);
    assert_true(order[0] != order[1] || order[1] != order[2]);
    cr_sampler_free(sampler);
}

/* ---- transforms ---- */

static void texts_of_transforms_are_read_and_printed(void **state)
{
    (void)state;
    static const char *const good[] = { "", "flip", "flip,crop:4,erase:0.25",
                                        "shift:0.05,cutout:12,normalize:0.2860406:0.353024" };
    for (int i = 0; i < CR_COUNT_OF(good); i++) {
        cr_transform_list list = { 0 };
        cr_text text = { 0 };
        assert_int_equal(cr_transform_parse(good[i], &list), CR_OK);
        cr_transform_print(&list, &text);
        assert_string_equal(text.data ? text.data : "", good[i]);
        cr_text_free(&text);
    }
    cr_transform_list named = { 0 };
    cr_text text = { 0 };
    assert_int_equal(cr_transform_parse("erase:0.25:max=0.5,flip:p=0", &named), CR_OK);
    cr_transform_print(&named, &text);
    assert_string_equal(text.data, "erase:0.25:0.02:0.5,flip:0");
    cr_text_free(&text);
    static const char *const bad[][2] = {
        { "flop", "\"flop\" is not a transform; there are resize, center_crop" },
        { "flip,", "ends with a comma" },
        { ",flip", "\"\" is not a transform" },
        { "flip:2", "flip needs a probability" },
        { "flip:x", "flip: parameter p is not a number" },
        { "flip:0.1:0.2", "flip has too many parameters" },
        { "flip:q=0.1", "flip has no parameter q; it has p" },
        { "erase:p=0.1:0.2", "what has no name must come before" },
        { "normalize:1:x", "normalize: parameter 2 is not a number" },
        { "crop:-1", "crop needs a whole number" },
        { "crop:1.5", "crop needs a whole number" },
        { "erase:0.5:0.4:0.2", "erase needs" },
        { "normalize", "normalize has 0 parameters" },
        { "normalize:0.5:0", "normalize needs" },
        { "normalize:1:2:3", "normalize needs" },
        { "normalize:1:1:1:1:1:1:1:1:1", "too many parameters" },
        { "flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,flip,"
          "flip,flip,flip,flip,flip,flip,flip,flip",
          "more than 24" },
    };
    for (int i = 0; i < CR_COUNT_OF(bad); i++) {
        cr_transform_list list = { 0 };
        assert_int_not_equal(cr_transform_parse(bad[i][0], &list), CR_OK);
        assert_error(CR_ERROR_ARGUMENT, bad[i][1]);
        assert_int_equal(list.count, 0);
    }
}

#define SIDE 6

/* Two channels whose values say where they are: 100 c + 10 y + x + 1. */
static cr_sample numbered_sample(float data[2 * SIDE * SIDE])
{
    for (int i = 0; i < 2 * SIDE * SIDE; i++)
        data[i] = (float)(i / (SIDE * SIDE) * 100 + i / SIDE % SIDE * 10 + i % SIDE + 1);
    return (cr_sample){ data, 2, SIDE, SIDE };
}

static void apply(const char *text, cr_sample *sample, uint64_t epoch, int64_t index)
{
    cr_transform_list list = { 0 };
    assert_int_equal(cr_transform_parse(text, &list), CR_OK);
    cr_transform_apply(&list, sample, 1, epoch, index);
}

static void flips_mirror_half_of_the_samples(void **state)
{
    (void)state;
    int flipped = 0;
    for (int64_t i = 0; i < 400; i++) {
        float data[2 * SIDE * SIDE];
        cr_sample sample = numbered_sample(data);
        apply("flip", &sample, 0, i);
        bool is_flipped = data[0] == SIDE;
        flipped += is_flipped;
        for (int j = 0; j < 2 * SIDE * SIDE; j++) {
            int x = is_flipped ? SIDE - 1 - j % SIDE : j % SIDE;
            assert_true(data[j] == j / (SIDE * SIDE) * 100 + j / SIDE % SIDE * 10 + x + 1);
        }
    }
    assert_in_range(flipped, 160, 240);
}

/* Where a moved sample shows something, it shows one offset of both channels; elsewhere zero. */
static void check_moved(const float *data, int limit, int seen[2 * 8 + 1])
{
    int down = 0;
    int right = 0;
    bool found = false;
    for (int j = 0; j < 2 * SIDE * SIDE; j++) {
        int y = j / SIDE % SIDE;
        int x = j % SIDE;
        if (!found && data[j] != 0) {
            found = true;
            down = y - ((int)data[j] - 1) % 100 / 10;
            right = x - ((int)data[j] - 1) % 10;
            assert_true(abs(down) <= limit && abs(right) <= limit);
            seen[8 + down]++;
        }
    }
    for (int j = 0; j < 2 * SIDE * SIDE && found; j++) {
        int y = j / SIDE % SIDE - down;
        int x = j % SIDE - right;
        bool inside = y >= 0 && y < SIDE && x >= 0 && x < SIDE;
        float expected = inside ? (float)(j / (SIDE * SIDE) * 100 + y * 10 + x + 1) : 0;
        assert_true(data[j] == expected);
    }
}

static void crops_and_shifts_move_all_ways(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int limit;
    } cases[] = { { "crop:2", 2 }, { "shift:0.5", 3 }, { "crop:8", 8 }, { "crop:0", 0 } };
    for (int c = 0; c < CR_COUNT_OF(cases); c++) {
        int seen[2 * 8 + 1] = { 0 };
        for (int64_t i = 0; i < 500; i++) {
            float data[2 * SIDE * SIDE];
            cr_sample sample = numbered_sample(data);
            apply(cases[c].text, &sample, 0, i);
            check_moved(data, cases[c].limit, seen);
        }
        for (int d = -CR_MIN(cases[c].limit, SIDE - 1); d <= CR_MIN(cases[c].limit, SIDE - 1); d++)
            assert_true(seen[8 + d] > 0);
    }
}

/* What is zero is one box, the same in both channels; the rest is as it was. Returns its area. */
static int check_box(const float *data)
{
    float untouched[2 * SIDE * SIDE];
    numbered_sample(untouched);
    int top = SIDE, left = SIDE, bottom = -1, right = -1, zeros = 0;
    for (int j = 0; j < SIDE * SIDE; j++) {
        assert_true((data[j] == 0) == (data[SIDE * SIDE + j] == 0));
        assert_true(data[j] == 0 || data[j] == untouched[j]);
        if (data[j] != 0)
            continue;
        zeros++;
        top = CR_MIN(top, j / SIDE);
        bottom = CR_MAX(bottom, j / SIDE);
        left = CR_MIN(left, j % SIDE);
        right = CR_MAX(right, j % SIDE);
    }
    assert_int_equal(zeros, zeros ? (bottom - top + 1) * (right - left + 1) : 0);
    return zeros;
}

static void boxes_are_erased(void **state)
{
    (void)state;
    int erased = 0;
    for (int64_t i = 0; i < 400; i++) {
        float data[2 * SIDE * SIDE];
        cr_sample sample = numbered_sample(data);
        apply("erase:0.5:0.1:0.3", &sample, 0, i);
        int area = check_box(data);
        assert_true(area <= 0.3 * SIDE * SIDE + SIDE);
        erased += area > 0;
        sample = numbered_sample(data);
        apply("cutout:4", &sample, 0, i);
        area = check_box(data);
        assert_true(area >= 4 && area <= 16);
    }
    assert_in_range(erased, 150, 250);
}

static void normalize_uses_each_channels_numbers(void **state)
{
    (void)state;
    float data[2 * SIDE * SIDE];
    cr_sample sample = numbered_sample(data);
    apply("normalize:1:3:2:4", &sample, 0, 0);
    assert_true(data[3] == (4.0f - 1) / 2);
    assert_true(data[SIDE * SIDE + 3] == (104.0f - 3) / 4);
    cr_transform_list list = { 0 };
    const double means[] = { 1, 3 };
    const double deviations[] = { 2, 4 };
    assert_int_equal(cr_transform_add_normalize(&list, means, deviations, 2), CR_OK);
    float other[2 * SIDE * SIDE];
    sample = numbered_sample(other);
    cr_transform_apply(&list, &sample, 0, 0, 0);
    assert_memory_equal(data, other, sizeof data);
    assert_int_not_equal(cr_transform_add_normalize(&list, means, deviations, 5), CR_OK);
    assert_error(CR_ERROR_ARGUMENT, "5 channels");
}

static void a_sample_has_its_own_numbers(void **state)
{
    (void)state;
    float data[4][2 * SIDE * SIDE];
    const struct {
        uint64_t epoch;
        int64_t index;
    } cases[] = { { 0, 7 }, { 0, 7 }, { 1, 7 }, { 0, 8 } };
    for (int c = 0; c < 4; c++) {
        cr_sample sample = numbered_sample(data[c]);
        apply("crop:3,erase:1,cutout:2", &sample, cases[c].epoch, cases[c].index);
    }
    assert_memory_equal(data[0], data[1], sizeof data[0]);
    assert_memory_not_equal(data[0], data[2], sizeof data[0]);
    assert_memory_not_equal(data[0], data[3], sizeof data[0]);
}

/* Every allocation failed in turn: an error each time, and no leak. */
static void want_of_memory_is_survived(void **state)
{
    (void)state;
    write_set(20, 20);
    cr_frame_end_all();
    uint64_t live = cr_memory_get_stats().small;
    bool done = false;
    for (int failures = 0; !done; failures++) {
        cr_memory_fail_after(failures);
        cr_dataset *set = cr_dataset_open_idx(folder, CR_SPLIT_TRAIN);
        cr_dataset *parts[2] = { NULL, NULL };
        cr_dataset_split(set, 0.5, 1, &parts[0], &parts[1]);
        cr_dataset *all = cr_failed() ? NULL : cr_dataset_concat(parts, 2);
        cr_sampler *sampler = all ? cr_sampler_balanced(all, 0) : NULL;
        int64_t order[20];
        cr_dataset_statistics statistics;
        done = sampler && cr_sampler_order(sampler, 1, 1, order) == CR_OK &&
               cr_dataset_measure(all, &statistics) == CR_OK;
        cr_memory_fail_after(-1);
        if (done)
            cr_dataset_statistics_free(&statistics);
        assert_true(done || cr_error_status() == CR_ERROR_MEMORY);
        cr_sampler_free(sampler);
        cr_dataset_free(all);
        cr_dataset_free(parts[0]);
        cr_dataset_free(parts[1]);
        cr_dataset_free(set);
        cr_frame_end_all();
        cr_error_clear();
        assert_int_equal(cr_memory_get_stats().small, live);
        assert_true(failures < 500);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(an_idx_folder_is_a_data_set, clear_state),
        cmocka_unit_test_setup(the_folder_may_name_the_classes, clear_state),
        cmocka_unit_test_setup(wrong_idx_folders_are_refused, clear_state),
        cmocka_unit_test_setup(idx_arrays_of_all_types_are_read, clear_state),
        cmocka_unit_test_setup(fashion_mnist_is_measured, clear_state),
        cmocka_unit_test_setup(tensors_are_a_data_set, clear_state),
        cmocka_unit_test_setup(views_read_what_they_show, clear_state),
        cmocka_unit_test_setup(splits_keep_the_ratio_of_classes, clear_state),
        cmocka_unit_test_setup(orders_depend_on_seed_and_epoch, clear_state),
        cmocka_unit_test_setup(weights_are_probabilities, clear_state),
        cmocka_unit_test_setup(balanced_orders_are_balanced, clear_state),
        cmocka_unit_test_setup(texts_of_transforms_are_read_and_printed, clear_state),
        cmocka_unit_test_setup(flips_mirror_half_of_the_samples, clear_state),
        cmocka_unit_test_setup(crops_and_shifts_move_all_ways, clear_state),
        cmocka_unit_test_setup(boxes_are_erased, clear_state),
        cmocka_unit_test_setup(normalize_uses_each_channels_numbers, clear_state),
        cmocka_unit_test_setup(a_sample_has_its_own_numbers, clear_state),
        cmocka_unit_test_setup(want_of_memory_is_survived, clear_state),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
