/* Tests of data sets of pictures in files: folders, tables, tar shards and their parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cresset/file.h"
#include "cresset/image_file.h"
#include "cresset/image_sets.h"
#include "cresset/memory.h"

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
    char command[512];
    snprintf(command, sizeof(command), "cd '%s' && %s", folder, line);
    assert_int_equal(system(command), 0);
}

/* A grey picture of one value; its width tells pictures apart. */
static void write_picture(const char *name, int width, int value)
{
    cr_image image = { 0 };
    assert_int_equal(cr_image_resize_room(&image, 4, width, 1), CR_OK);
    memset(image.pixels, value, (size_t)(4 * width));
    char path[320];
    snprintf(path, sizeof(path), "%s", in_folder(name));
    char *slash = strrchr(path, '/');
    *slash = '\0';
    assert_int_equal(cr_folder_make(path), CR_OK);
    *slash = '/';
    assert_int_equal(cr_image_write_png(path, &image), CR_OK);
    cr_image_free(&image);
}

static void write_text(const char *name, const char *text)
{
    assert_int_equal(cr_file_replace(in_folder(name), text, strlen(text)), CR_OK);
}

/* Sample `index` must have this label, and its picture this width and value. */
static void check_sample(cr_dataset *set, int64_t index, int64_t label, int width, int value)
{
    cr_image image = { 0 };
    int64_t own;
    if (cr_dataset_picture(set, index, &image, &own) != CR_OK)
        fail_msg("%s", cr_error_message());
    assert_int_equal(own, label);
    assert_int_equal(image.width, width);
    assert_int_equal(image.pixels[0], value);
    assert_int_equal(cr_dataset_label(set, index, &own), CR_OK);
    assert_int_equal(own, label);
    cr_image_free(&image);
}

static void test_folder(void **state)
{
    (void)state;
    write_picture("f/dog/b.png", 3, 30);
    write_picture("f/dog/a/z.png", 4, 40);
    write_picture("f/cat/y.PNG", 2, 20);
    write_picture("f/cat/x.png", 1, 10);
    write_picture("f/.hidden/x.png", 9, 90);
    write_text("f/notes.txt", "no picture");
    write_text("f/dog/notes.txt", "no picture");
    write_text("f/dog/._b.png", "no picture");
    assert_true(cr_image_parts_at(in_folder("f")));
    cr_dataset *set = cr_dataset_open_folder(in_folder("f"), .channels = 1);
    assert_non_null(set);
    assert_int_equal(cr_dataset_size(set), 4);
    assert_int_equal(cr_dataset_class_count(set), 2);
    assert_string_equal(cr_dataset_class_name(set, 1), "dog");
    assert_int_equal(cr_dataset_sample_shape(set).dim[0], 1);
    assert_int_equal(cr_dataset_sample_shape(set).dim[1], -1);
    check_sample(set, 0, 0, 1, 10);
    check_sample(set, 1, 0, 2, 20);
    check_sample(set, 2, 1, 3, 30);
    check_sample(set, 3, 1, 4, 40);
    assert_string_equal(cr_dataset_path(set, 3), in_folder("f/dog/a/z.png"));
    assert_string_equal(cr_dataset_path(set, 4), "");
    cr_dataset_free(set);
    shell("mkdir f/empty");
    assert_null(cr_dataset_open_folder(in_folder("f")));
    assert_error("f/empty has no pictures");
    assert_null(cr_dataset_open_folder(in_folder("f/cat")));
    assert_error("has no subfolders");
    assert_null(cr_dataset_open_folder(in_folder("absent")));
    assert_error("cannot open the folder");
}

static void test_classes_by_path(void **state)
{
    (void)state;
    write_picture("e/2/p7_class1.png", 1, 1);
    write_picture("e/1/p7_class0.png", 2, 2);
    cr_dataset *set =
        cr_dataset_open_folder(in_folder("e"), .channels = 1, .label_by = "class([0-9]+)");
    assert_non_null(set);
    assert_int_equal(cr_dataset_class_count(set), 2);
    assert_string_equal(cr_dataset_class_name(set, 1), "1");
    check_sample(set, 0, 0, 2, 2);
    check_sample(set, 1, 1, 1, 1);
    cr_dataset_free(set);
    assert_null(cr_dataset_open_folder(in_folder("e"), .label_by = "class([1-9])"));
    assert_error("finds no class in");
    assert_null(cr_dataset_open_folder(in_folder("e"), .label_by = "("));
    assert_error("is not a regular expression");
}

static void test_broken_pictures(void **state)
{
    (void)state;
    write_picture("b/one/a.png", 3, 30);
    write_picture("b/one/c.png", 5, 50);
    write_text("b/one/b.png", "\x89PNG\r\n\x1a\n broken");
    cr_dataset *set = cr_dataset_open_folder(in_folder("b"), .channels = 3);
    cr_image image = { 0 };
    assert_int_not_equal(cr_dataset_picture(set, 1, &image, NULL), CR_OK);
    assert_error("one/b.png");
    cr_image_free(&image);
    cr_dataset_free(set);
    cr_broken_pictures broken = { 0 };
    set = cr_dataset_open_folder(in_folder("b"), .channels = 3, .broken = &broken);
    assert_int_equal(cr_dataset_size(set), 2);
    assert_int_equal(broken.count, 1);
    assert_non_null(strstr(broken.sentences[0], "one/b.png"));
    check_sample(set, 1, 0, 5, 50);
    cr_dataset_free(set);
    cr_broken_pictures_free(&broken);
}

static void test_parts(void **state)
{
    (void)state;
    write_picture("p/train/cat/1.png", 1, 1);
    write_picture("p/train/dog/2.png", 2, 2);
    write_picture("p/val/dog/3.png", 3, 3);
    write_picture("p/test/cat/4.png", 4, 4);
    cr_image_parts parts;
    assert_int_equal(cr_image_parts_open(in_folder("p"), .parts = &parts), CR_OK);
    check_sample(parts.train, 1, 1, 2, 2);
    check_sample(parts.validation, 0, 1, 3, 3);
    check_sample(parts.test, 0, 0, 4, 4);
    assert_int_equal(cr_dataset_class_count(parts.test), 2);
    cr_image_parts_free(&parts);
    write_picture("p/test/horse/5.png", 5, 5);
    assert_int_not_equal(cr_image_parts_open(in_folder("p"), .parts = &parts), CR_OK);
    assert_error("test/horse is no class");
    assert_false(cr_image_parts_at(in_folder("p/train/cat")));
    assert_true(cr_image_parts_at(in_folder("p/train")));
    assert_int_equal(cr_image_parts_open(in_folder("p/train"), .parts = &parts), CR_OK);
    assert_null(parts.validation);
    assert_int_equal(cr_dataset_size(parts.train), 2);
    cr_image_parts_free(&parts);
}

static void test_table(void **state)
{
    (void)state;
    write_picture("c/a,b.png", 1, 1);
    write_picture("c/d.png", 2, 2);
    write_picture("c/e.png", 3, 3);
    write_text("c/single.csv", "image,age,label\r\n\"a,b.png\",3,10\r\nd.png,4,9\r\ne.png,5,\r\n");
    cr_dataset *set = cr_dataset_open_csv(in_folder("c/single.csv"), .channels = 1);
    if (!set)
        fail_msg("%s", cr_error_message());
    assert_int_equal(cr_dataset_size(set), 3);
    assert_string_equal(cr_dataset_class_name(set, 0), "9"); /* in the order of numbers */
    check_sample(set, 0, 1, 1, 1);
    check_sample(set, 1, 0, 2, 2);
    check_sample(set, 2, CR_NO_LABEL, 3, 3);
    assert_false(cr_dataset_has_targets(set));
    cr_dataset_free(set);

    write_text("c/several.csv", "d.png,sun|rain\ne.png,\na.png,rain");
    set = cr_dataset_open_csv(in_folder("c/several.csv"), .channels = 1);
    assert_non_null(set);
    assert_true(cr_dataset_has_targets(set));
    assert_string_equal(cr_dataset_class_name(set, 0), "rain");
    float targets[2];
    assert_int_equal(cr_dataset_targets(set, 0, targets), CR_OK);
    assert_true(targets[0] == 1 && targets[1] == 1);
    check_sample(set, 0, 1, 2, 2);
    assert_int_equal(cr_dataset_targets(set, 1, targets), CR_OK);
    assert_true(targets[0] == 0 && targets[1] == 0);
    cr_image image = { 0 };
    assert_int_not_equal(cr_dataset_picture(set, 2, &image, NULL), CR_OK);
    assert_error("No such file");
    cr_dataset_free(set);

    write_text("c/bad.csv", "path,label\nd.png,x\n,y\n");
    assert_null(cr_dataset_open_csv(in_folder("c/bad.csv")));
    assert_error("row 3 names no picture");
    static const char *const names[] = { "x" };
    write_text("c/bad.csv", "d.png,z\n");
    assert_null(
        cr_dataset_open_csv(in_folder("c/bad.csv"), .class_names = names, .class_count = 1));
    assert_error("has the label z, which is not one of the classes");
}

static void test_shards(void **state)
{
    (void)state;
    write_picture("w/one/000.png", 1, 1);
    write_picture("w/one/001.seg.png", 9, 9);
    write_picture("w/one/001.png", 2, 2);
    write_picture("w/two/s/002.png", 3, 3);
    write_text("w/one/000.cls", "1");
    write_text("w/one/001.cls", "0\n");
    write_text("w/one/001.json", "{}");
    write_text("w/two/s/002.cls", "2");
    shell("tar cf w/shard-0.tar -C w/one 000.cls 000.png 001.png 001.cls 001.json && "
          "tar cf w/shard-1.tar -C w/two s/002.png s/002.cls && rm -r w/one w/two");
    assert_true(cr_image_parts_at(in_folder("w")));
    cr_dataset *set = cr_dataset_open_shards(in_folder("w"), .channels = 1);
    if (!set)
        fail_msg("%s", cr_error_message());
    assert_int_equal(cr_dataset_size(set), 3);
    assert_int_equal(cr_dataset_class_count(set), 3);
    check_sample(set, 0, 1, 1, 1);
    check_sample(set, 1, 0, 2, 2);
    check_sample(set, 2, 2, 3, 3);
    assert_non_null(strstr(cr_dataset_path(set, 2), "shard-1.tar/s/002.png"));
    cr_dataset_free(set);
    cr_image_parts parts;
    assert_int_equal(cr_image_parts_open(in_folder("w/shard-0.tar"), .parts = &parts), CR_OK);
    assert_int_equal(cr_dataset_size(parts.train), 2);
    cr_image_parts_free(&parts);
    static const char *const names[] = { "x" };
    assert_null(cr_dataset_open_shards(in_folder("w"), .class_names = names, .class_count = 1));
    assert_error("has the class 2");
}

/* Every allocation may fail, and nothing is left behind. */
static void test_failing_allocations(void **state)
{
    (void)state;
    write_picture("m/train/cat/1.png", 1, 1);
    write_picture("m/train/dog/2.png", 2, 2);
    write_text("m/val.csv", "train/cat/1.png,cat|dog\n");
    const char *path = in_folder("m");
    uint64_t live = cr_memory_get_stats().small;
    bool done = false;
    for (int64_t room = 0; !done; room++) {
        cr_image_parts parts;
        cr_memory_fail_after(room);
        done = cr_image_parts_open(path, .parts = &parts) == CR_OK;
        cr_memory_fail_after(-1);
        assert_true(done || cr_error_status() == CR_ERROR_MEMORY);
        cr_error_clear();
        if (done)
            assert_true(cr_dataset_has_targets(parts.validation));
        cr_image_parts_free(&parts);
        assert_int_equal(cr_memory_get_stats().small, live);
        assert_true(room < 2000);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_folder, clear_state),
        cmocka_unit_test_teardown(test_classes_by_path, clear_state),
        cmocka_unit_test_teardown(test_broken_pictures, clear_state),
        cmocka_unit_test_teardown(test_parts, clear_state),
        cmocka_unit_test_teardown(test_table, clear_state),
        cmocka_unit_test_teardown(test_shards, clear_state),
        cmocka_unit_test_teardown(test_failing_allocations, clear_state),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
