/* Tests of data sets in other people's files: tar archives, CIFAR, STL-10, npz; and of splits by
 * group. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/array_file.h"
#include "cresset/creation.h"
#include "cresset/data.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/tar_file.h"

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

static void assert_error(const char *words)
{
    if (!strstr(cr_error_message(), words))
        fail_msg("\"%s\" is not in: %s", words, cr_error_message());
    cr_error_clear();
}

static const char *in_folder(const char *name)
{
    static char paths[4][320];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(paths[turn], sizeof(paths[turn]), "%s/%s", folder, name);
    return paths[turn];
}

static void shell(const char *line)
{
    char command[1024];
    snprintf(command, sizeof(command), "cd '%s' && %s", folder, line);
    assert_int_equal(system(command), 0);
}

/* ---- tar ---- */

static void test_tar_of_every_dialect(void **state)
{
    (void)state;
    shell("mkdir -p t && cd t && printf hello >one && printf '' >empty && mkdir -p "
          "a/longer/longer/longer/longer/longer/longer/longer/longer/longer/longer/longer/longer/"
          "longer/longer/longer/longer/longer/longer/longer/longer && printf deep >"
          "a/longer/longer/longer/longer/longer/longer/longer/longer/longer/longer/longer/longer/"
          "longer/longer/longer/longer/longer/longer/longer/longer/file && ln -s one link");
    static const char *const dialects[] = { "gnu", "pax", "ustar" };
    for (int d = 0; d < 3; d++) {
        char line[200], name[32];
        snprintf(line, sizeof(line), "tar cf %s.tar --format=%s --sort=name -C t .", dialects[d],
                 dialects[d]);
        shell(line);
        snprintf(name, sizeof(name), "%s.tar", dialects[d]);
        cr_tar *tar = cr_tar_open(in_folder(name));
        assert_non_null(tar);
        assert_int_equal(cr_tar_count(tar), 3);
        cr_tar_entry deep = cr_tar_at(tar, 0), one = cr_tar_at(tar, 2);
        assert_string_equal(one.name, "./one");
        assert_non_null(strstr(deep.name, "longer/longer/file"));
        assert_int_equal(strlen(deep.name), strlen("./a/file") + 7 * 20);
        char bytes[8] = "";
        assert_int_equal(cr_tar_read(tar, 2, bytes), CR_OK);
        assert_string_equal(bytes, "hello");
        assert_int_equal(cr_tar_at(tar, 1).size, 0);
        assert_int_equal(cr_tar_read(tar, 1, bytes), CR_OK);
        cr_tar_close(tar);
    }
    size_t size;
    char *bytes = cr_file_read(in_folder("gnu.tar"), 0, &size);
    assert_null(cr_tar_open_memory(bytes, 700, "cut.tar"));
    assert_error("cut.tar is not a whole tar archive");
    bytes[3] ^= 1;
    assert_null(cr_tar_open_memory(bytes, size, "bad.tar"));
    assert_error("its sum is wrong");
    cr_free(bytes);
    assert_null(cr_tar_open(in_folder("absent.tar")));
    assert_error("cannot open");
}

/* ---- CIFAR and STL-10 ---- */

static void write_rows(const char *name, int labels, int rows, int first)
{
    size_t row = 3072 + (size_t)labels;
    uint8_t *bytes = calloc((size_t)rows, row);
    for (int i = 0; i < rows; i++) {
        bytes[(size_t)i * row + (size_t)labels - 1] = (uint8_t)((first + i) % 10);
        for (size_t j = 0; j < 3072; j++)
            bytes[(size_t)i * row + (size_t)labels + j] = (uint8_t)((size_t)(first + i) + j);
    }
    assert_int_equal(cr_file_replace(in_folder(name), bytes, (size_t)rows * row), CR_OK);
    free(bytes);
}

static void check_cifar(const char *path, int classes, int64_t train, const char *third)
{
    assert_int_equal(cr_data_kind_at(path), CR_DATA_CIFAR);
    cr_dataset *set = cr_dataset_open(path, CR_SPLIT_TRAIN);
    assert_non_null(set);
    assert_int_equal(cr_dataset_size(set), train);
    assert_int_equal(cr_dataset_class_count(set), classes);
    assert_string_equal(cr_dataset_class_name(set, 2), third);
    uint8_t sample[3072];
    int64_t label;
    assert_int_equal(cr_dataset_get(set, 3, sample, &label), CR_OK);
    assert_int_equal(label, 3);
    assert_int_equal(sample[10], 13);
    cr_dataset_free(set);
    set = cr_dataset_open(path, CR_SPLIT_TEST);
    assert_non_null(set);
    assert_int_equal(cr_dataset_size(set), 2);
    cr_dataset_free(set);
    assert_null(cr_dataset_open(path, CR_SPLIT_VALIDATION));
    assert_error("none for validation");
}

static void test_cifar(void **state)
{
    (void)state;
    shell("mkdir -p c/cifar-10-batches-bin h/cifar-100-binary");
    for (int i = 0; i < 5; i++) {
        char name[64];
        snprintf(name, sizeof(name), "c/cifar-10-batches-bin/data_batch_%d.bin", i + 1);
        write_rows(name, 1, 4, 4 * i);
    }
    write_rows("c/cifar-10-batches-bin/test_batch.bin", 1, 2, 0);
    shell("printf "
          "'airplane\\nautomobile\\nbird\\ncat\\ndeer\\ndog\\nfrog\\nhorse\\nship\\ntruck\\n\\n' "
          ">c/cifar-10-batches-bin/batches.meta.txt");
    check_cifar(in_folder("c"), 10, 20, "bird");
    check_cifar(in_folder("c/cifar-10-batches-bin"), 10, 20, "bird");
    shell("tar czf cifar-10-binary.tar.gz -C c cifar-10-batches-bin");
    check_cifar(in_folder("cifar-10-binary.tar.gz"), 10, 20, "bird");
    write_rows("h/cifar-100-binary/train.bin", 2, 7, 0);
    write_rows("h/cifar-100-binary/test.bin", 2, 2, 0);
    check_cifar(in_folder("h"), 100, 7, "2");
    shell("printf x >>c/cifar-10-batches-bin/test_batch.bin");
    assert_null(cr_dataset_open(in_folder("c"), CR_SPLIT_TEST));
    assert_error("not whole rows of 3073");
}

static void test_stl10(void **state)
{
    (void)state;
    size_t plane = 96 * 96;
    shell("mkdir -p s/stl10_binary");
    uint8_t *bytes = calloc(2, 3 * plane);
    bytes[1] = 7;                          /* row 1, column 0 of the red plane of the first */
    bytes[3 * plane + 2 * plane + 96] = 9; /* row 0, column 1 of the blue plane of the second */
    assert_int_equal(cr_file_replace(in_folder("s/stl10_binary/train_X.bin"), bytes, 6 * plane),
                     CR_OK);
    assert_int_equal(cr_file_replace(in_folder("s/stl10_binary/train_y.bin"), "\x0a\x01", 2),
                     CR_OK);
    shell("printf 'airplane\\nbird\\ncar\\ncat\\ndeer\\ndog\\nhorse\\nmonkey\\nship\\ntruck\\n' "
          ">s/stl10_binary/class_names.txt");
    cr_dataset *set = cr_dataset_open(in_folder("s"), CR_SPLIT_TRAIN);
    assert_non_null(set);
    int64_t label;
    assert_int_equal(cr_dataset_get(set, 0, bytes, &label), CR_OK);
    assert_int_equal(label, 9);
    assert_int_equal(bytes[96], 7);
    assert_int_equal(cr_dataset_get(set, 1, bytes, &label), CR_OK);
    assert_int_equal(bytes[2 * plane + 1], 9);
    assert_string_equal(cr_dataset_class_name(set, (int)label), "airplane");
    cr_dataset_free(set);
    assert_int_equal(cr_file_replace(in_folder("s/stl10_binary/train_y.bin"), "\x0b\x01", 2),
                     CR_OK);
    assert_null(cr_dataset_open(in_folder("s"), CR_SPLIT_TRAIN));
    assert_error("only 1 to 10");
    free(bytes);
}

/* ---- npz ---- */

static cr_tensor *bytes_of(cr_shape shape, int first)
{
    uint8_t bytes[512];
    for (int i = 0; i < 512; i++)
        bytes[i] = (uint8_t)(first + i);
    return cr_from_buffer(bytes, shape, CR_U8);
}

static void test_npz(void **state)
{
    (void)state;
    const char *path = in_folder("small.npz");
    static const uint8_t classes[] = { 0, 2, 1, 1 };
    static const uint8_t several[] = { 1, 0, 1, 0, 0, 0 };
    cr_npz_item items[] = {
        { "train_images", bytes_of(CR_SHAPE(4, 2, 3, 3), 0) },
        { "train_labels", cr_from_buffer(classes, CR_SHAPE(4, 1), CR_U8) },
        { "val_images", bytes_of(CR_SHAPE(2, 2, 3), 5) },
        { "val_labels", cr_from_buffer(several, CR_SHAPE(2, 3), CR_U8) },
    };
    assert_int_equal(cr_npz_save(path, items, 4), CR_OK);
    assert_int_equal(cr_data_kind_at(path), CR_DATA_NPZ);
    cr_dataset *set = cr_dataset_open(path, CR_SPLIT_TRAIN);
    assert_non_null(set);
    uint8_t sample[18];
    int64_t label;
    assert_int_equal(cr_dataset_class_count(set), 3);
    assert_int_equal(cr_dataset_get(set, 1, sample, &label), CR_OK);
    assert_int_equal(label, 2);
    assert_int_equal(sample[0], 18); /* (H, W, C) became (C, H, W) */
    assert_int_equal(sample[1], 21);
    assert_int_equal(sample[6], 19);
    float targets[3];
    assert_false(cr_dataset_has_targets(set));
    assert_int_equal(cr_dataset_targets(set, 1, targets), CR_OK);
    assert_true(targets[0] == 0 && targets[1] == 0 && targets[2] == 1);
    cr_dataset_free(set);
    set = cr_dataset_open(path, CR_SPLIT_VALIDATION);
    assert_non_null(set);
    assert_true(cr_dataset_has_targets(set));
    assert_int_equal(cr_dataset_sample_shape(set).dim[0], 1);
    static const int64_t second[] = { 1, 0 };
    cr_dataset *view = cr_dataset_subset(set, second, 2);
    assert_int_equal(cr_dataset_targets(view, 1, targets), CR_OK);
    assert_true(targets[0] == 1 && targets[1] == 0 && targets[2] == 1);
    cr_dataset_free(view);
    cr_dataset_free(set);
    assert_null(cr_dataset_open(path, CR_SPLIT_TEST));
    assert_error("test_images");
}

/* ---- groups ---- */

static const char *paths[240];

static cr_status tell_label(void *context, int64_t index, int64_t *label)
{
    (void)context;
    *label = index % 3;
    return CR_OK;
}

static cr_status give_sample(void *context, int64_t index, void *sample, int64_t *label)
{
    *(uint8_t *)sample = (uint8_t)index;
    return tell_label(context, index, label);
}

static const char *tell_path(void *context, int64_t index)
{
    (void)context;
    return paths[index];
}

static void test_groups_stay_together(void **state)
{
    (void)state;
    static char room[240][40];
    for (int i = 0; i < 240; i++) {
        snprintf(room[i], sizeof(room[i]), "CNV/CNV-%d-%d.jpeg", 1000 + i * 7 % 60, i);
        paths[i] = room[i];
    }
    cr_dataset *set = cr_dataset_new(&(cr_dataset_source){ .name = "patients",
                                                           .size = 240,
                                                           .sample_shape = CR_SHAPE(1),
                                                           .dtype = CR_U8,
                                                           .class_count = 3,
                                                           .get = give_sample,
                                                           .label = tell_label,
                                                           .path = tell_path });
    int64_t groups[240];
    assert_int_equal(cr_dataset_group_by_path(set, "-([0-9]+)-", groups), CR_OK);
    for (int i = 0; i < 60; i++) {
        assert_int_equal(groups[i], i);
        assert_int_equal(groups[i + 60], i);
    }
    cr_dataset *first, *second;
    assert_int_equal(cr_dataset_split_groups(set, groups, 0.75, 5, &first, &second), CR_OK);
    assert_int_equal(cr_dataset_size(first) + cr_dataset_size(second), 240);
    assert_in_range(cr_dataset_size(first), 170, 190);
    bool sides[60] = { false };
    int64_t counts[3] = { 0 };
    uint8_t sample;
    int64_t label;
    for (int64_t i = 0; i < cr_dataset_size(first); i++) {
        assert_int_equal(cr_dataset_get(first, i, &sample, &label), CR_OK);
        assert_string_equal(cr_dataset_path(first, i), paths[sample]);
        sides[groups[sample]] = true;
        counts[label]++;
    }
    for (int64_t i = 0; i < cr_dataset_size(second); i++) {
        assert_int_equal(cr_dataset_get(second, i, &sample, &label), CR_OK);
        assert_false(sides[groups[sample]]);
    }
    for (int c = 0; c < 3; c++)
        assert_in_range(counts[c], 54, 66);
    cr_dataset_free(first);
    cr_dataset_free(second);
    assert_int_not_equal(cr_dataset_group_by_path(set, "x[", groups), CR_OK);
    assert_error("is not a regular expression");
    assert_int_not_equal(cr_dataset_group_by_path(set, "nowhere", groups), CR_OK);
    assert_error("finds no group in CNV/CNV-1000-0.jpeg");
    cr_dataset_free(set);
}

static cr_status tell_uneven_label(void *context, int64_t index, int64_t *label)
{
    (void)context;
    *label = index < 60 ? 0 : index < 90 ? 1 : CR_NO_LABEL;
    return CR_OK;
}

/* Classes come evenly in all folds, with groups and without, and every sample is in one. */
static void test_folds(void **state)
{
    (void)state;
    cr_dataset *set = cr_dataset_new(&(cr_dataset_source){ .name = "folds",
                                                           .size = 100,
                                                           .sample_shape = CR_SHAPE(1),
                                                           .dtype = CR_U8,
                                                           .class_count = 2,
                                                           .get = give_sample,
                                                           .label = tell_uneven_label });
    int64_t groups[100];
    for (int i = 0; i < 100; i++)
        groups[i] = i / 3;
    for (int grouped = 0; grouped < 2; grouped++) {
        int fold[100], again[100], counts[5][2] = { { 0 } };
        cr_dataset *others, *own;
        assert_int_equal(cr_dataset_folds(set, grouped ? groups : NULL, 5, 3, fold), CR_OK);
        assert_int_equal(cr_dataset_folds(set, grouped ? groups : NULL, 5, 3, again), CR_OK);
        assert_memory_equal(fold, again, sizeof fold);
        for (int i = 0; i < 100; i++) {
            assert_in_range(fold[i], 0, 4);
            if (i < 90)
                counts[fold[i]][i >= 60]++;
            if (grouped && i % 3 > 0)
                assert_int_equal(fold[i], fold[i - 1]);
        }
        for (int k = 0; k < 5; k++) {
            assert_in_range(counts[k][0], 12 - grouped * 3, 12 + grouped * 3);
            assert_in_range(counts[k][1], 6 - grouped * 3, 6 + grouped * 3);
        }
        assert_int_equal(cr_dataset_fold(set, fold, 2, &others, &own), CR_OK);
        assert_int_equal(cr_dataset_size(others) + cr_dataset_size(own), 100);
        assert_in_range(cr_dataset_size(own), 17, 23);
        cr_dataset_free(others);
        cr_dataset_free(own);
    }
    int fold[100];
    assert_int_equal(cr_dataset_folds(set, groups, 35, 3, fold), CR_ERROR_ARGUMENT);
    assert_error("34 samples or groups, which cannot be parted into 35 folds");
    cr_dataset_free(set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_tar_of_every_dialect, clear_state),
        cmocka_unit_test_teardown(test_cifar, clear_state),
        cmocka_unit_test_teardown(test_stl10, clear_state),
        cmocka_unit_test_teardown(test_npz, clear_state),
        cmocka_unit_test_teardown(test_groups_stay_together, clear_state),
        cmocka_unit_test_teardown(test_folds, clear_state),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
