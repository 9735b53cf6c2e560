/* Tests of files: read whole and with limits, replaced whole, decompressed, folders made. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cmocka.h>

#include "base/base.h"
#include "cresset/file.h"

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

static int clear_error(void **state)
{
    (void)state;
    cr_error_clear();
    return 0;
}

static const char *in_folder(const char *name)
{
    static char path[128];
    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_plain(const char *path, const void *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
}

static void assert_refused(const char *data, cr_status status, const char *words)
{
    assert_null(data);
    assert_int_equal(cr_error_status(), status);
    assert_non_null(strstr(cr_error_message(), words));
    assert_non_null(strstr(cr_error_message(), folder));
    cr_error_clear();
}

static void files_are_read_whole(void **state)
{
    (void)state;
    const char *path = in_folder("plain");
    size_t size = 99;
    write_plain(path, "", 0);
    char *data = cr_file_read(path, 0, &size);
    assert_string_equal(data, "");
    assert_int_equal(size, 0);
    cr_free(data);
    write_plain(path, "a\0b", 3);
    data = cr_file_read(path, 3, &size);
    assert_memory_equal(data, "a\0b", 4);
    assert_int_equal(size, 3);
    cr_free(data);
    assert_refused(cr_file_read(path, 2, &size), CR_ERROR_FORMAT, "limit of 2 bytes");
}

static void what_is_no_file_is_refused(void **state)
{
    (void)state;
    assert_refused(cr_file_read(in_folder("absent"), 0, NULL), CR_ERROR_IO, "No such file");
    assert_refused(cr_file_read(in_folder(""), 0, NULL), CR_ERROR_IO, "folder");
    assert_refused(cr_file_read_gzip(in_folder("absent"), 0, NULL), CR_ERROR_IO, "No such file");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    assert_refused(cr_file_read(in_folder("pipe"), 0, NULL), CR_ERROR_IO, "regular");
    assert_null(cr_file_read("", 0, NULL));
    assert_int_equal(cr_error_status(), CR_ERROR_ARGUMENT);
}

static void files_are_replaced(void **state)
{
    (void)state;
    const char *path = in_folder("replaced");
    assert_int_equal(cr_file_replace(path, "one", 3), CR_OK);
    assert_int_equal(cr_file_replace(path, "second", 6), CR_OK);
    char *data = cr_file_read(path, 0, NULL);
    assert_string_equal(data, "second");
    cr_free(data);
    char *beside = cr_string_format("%s.tmp-%ld", path, (long)getpid());
    assert_false(cr_file_exists(beside));
    cr_free(beside);
    assert_int_equal(cr_file_replace(in_folder("no/such"), "x", 1), CR_ERROR_IO);
    assert_non_null(strstr(cr_error_message(), "no/such"));
    cr_error_clear();
    assert_int_equal(cr_folder_make(in_folder("taken")), CR_OK);
    assert_int_equal(cr_file_replace(in_folder("taken"), "x", 1), CR_ERROR_IO);
}

static void written_pieces_come_in_order(void **state)
{
    (void)state;
    const size_t sizes[] = { 1, 65535, 65536, 100, 200000, 0, 65436, 3 };
    const char *path = in_folder("pieces");
    char *expected = cr_alloc(400000);
    size_t total = 0;
    cr_file_writer *writer = cr_file_writer_open(path);
    assert_non_null(writer);
    for (int i = 0; i < CR_COUNT_OF(sizes); i++) {
        for (size_t j = 0; j < sizes[i]; j++)
            expected[total + j] = (char)((total + j) * 31 >> 3);
        cr_file_writer_write(writer, expected + total, sizes[i]);
        total += sizes[i];
    }
    assert_false(cr_file_exists(path));
    assert_int_equal(cr_file_writer_finish(writer), CR_OK);
    size_t size;
    char *data = cr_file_read(path, 0, &size);
    assert_int_equal(size, total);
    assert_memory_equal(data, expected, total);
    cr_free(data);
    cr_free(expected);
}

static void an_abandoned_file_leaves_the_old(void **state)
{
    (void)state;
    const char *path = in_folder("kept");
    assert_int_equal(cr_file_replace(path, "old", 3), CR_OK);
    cr_file_writer *writer = cr_file_writer_open(path);
    cr_file_writer_write(writer, "new", 3);
    cr_file_writer_abandon(writer);
    char *data = cr_file_read(path, 0, NULL);
    assert_string_equal(data, "old");
    cr_free(data);
    cr_file_writer_abandon(NULL);
    assert_int_equal(cr_file_writer_finish(NULL), CR_ERROR_ARGUMENT);
}

/* /dev/full fails every write with "No space left on device". */
static void a_full_disk_is_reported(void **state)
{
    (void)state;
    char *beside = cr_string_format("%s.tmp-%ld", in_folder("full"), (long)getpid());
    if (symlink("/dev/full", beside) != 0 || access("/dev/full", W_OK) != 0)
        skip();
    cr_free(beside);
    const char *path = in_folder("full");
    assert_int_equal(cr_file_replace(path, "x", 1), CR_ERROR_IO);
    assert_non_null(strstr(cr_error_message(), "No space left"));
    assert_non_null(strstr(cr_error_message(), path));
    assert_false(cr_file_exists(path));
}

static size_t write_gzip(const char *path, size_t size)
{
    char *data = cr_alloc_zeroed(size, 1);
    for (size_t i = 0; i < size / 2; i++)
        data[i] = (char)(i * i >> 5);
    gzFile file = gzopen(path, "wb");
    assert_int_equal(gzwrite(file, data, (unsigned)size), size);
    assert_int_equal(gzclose(file), Z_OK);
    cr_free(data);
    struct stat status;
    assert_int_equal(stat(path, &status), 0);
    return (size_t)status.st_size;
}

static void gzip_files_are_decompressed(void **state)
{
    (void)state;
    const char *path = in_folder("data.gz");
    write_gzip(path, 300000);
    size_t size = 0;
    char *data = cr_file_read_gzip(path, 300000, &size);
    assert_int_equal(size, 300000);
    assert_int_equal((unsigned char)data[100], 100 * 100 >> 5 & 0xFF);
    assert_int_equal(data[299999], 0);
    cr_free(data);
    assert_refused(cr_file_read_gzip(path, 299999, NULL), CR_ERROR_FORMAT, "limit of 299999");
    write_plain(path, "not compressed", 14);
    data = cr_file_read_gzip(path, 0, &size);
    assert_string_equal(data, "not compressed");
    cr_free(data);
}

static void truncated_and_damaged_gzip_is_refused(void **state)
{
    (void)state;
    const char *path = in_folder("short.gz");
    size_t packed = write_gzip(path, 100000);
    char *whole = cr_file_read(path, 0, NULL);
    const size_t kept[] = { 3, 9, 10, 15, packed / 2, packed - 9, packed - 8, packed - 1 };
    for (int i = 0; i < CR_COUNT_OF(kept); i++) {
        write_plain(path, whole, kept[i]);
        assert_refused(cr_file_read_gzip(path, 0, NULL), CR_ERROR_FORMAT, "truncated");
    }
    whole[packed / 2] ^= 0x55;
    write_plain(path, whole, packed);
    assert_refused(cr_file_read_gzip(path, 0, NULL), CR_ERROR_FORMAT, "valid gzip");
    cr_free(whole);
}

static void folders_are_made(void **state)
{
    (void)state;
    assert_int_equal(cr_folder_make(in_folder("a/b//c/")), CR_OK);
    assert_true(cr_file_is_folder(in_folder("a/b/c")));
    assert_int_equal(cr_folder_make(in_folder("a/b/c")), CR_OK);
    assert_int_equal(cr_folder_make("/"), CR_OK);
    write_plain(in_folder("a/file"), "x", 1);
    assert_true(cr_file_exists(in_folder("a/file")));
    assert_false(cr_file_is_folder(in_folder("a/file")));
    assert_int_equal(cr_folder_make(in_folder("a/file/d")), CR_ERROR_IO);
    assert_non_null(strstr(cr_error_message(), "a/file"));
}

static void paths_are_joined(void **state)
{
    (void)state;
    const char *const cases[][3] = { { "a", "b", "a/b" }, { "a/", "b", "a/b" }, { "", "b", "b" } };
    for (int i = 0; i < CR_COUNT_OF(cases); i++) {
        char *joined = cr_path_join(cases[i][0], cases[i][1]);
        assert_string_equal(joined, cases[i][2]);
        cr_free(joined);
    }
    assert_null(cr_path_join(NULL, "b"));
}

/* Every allocation failed in turn: an error each time, no leak, and the old file stands. */
static void files_survive_want_of_memory(void **state)
{
    (void)state;
    const char *path = in_folder("scarce");
    assert_int_equal(cr_file_replace(path, "old", 3), CR_OK);
    uint64_t live = cr_memory_get_stats().small;
    int failures = 0;
    for (;; failures++) {
        cr_memory_fail_after(failures);
        cr_status status = cr_file_replace(path, "new", 3);
        char *data = status == CR_OK ? cr_file_read_gzip(path, 0, NULL) : NULL;
        cr_memory_fail_after(-1);
        if (data) {
            assert_string_equal(data, "new");
            cr_free(data);
            break;
        }
        assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
        assert_int_equal(cr_memory_get_stats().small, live);
        cr_error_clear();
    }
    assert_true(failures >= 4);
    assert_int_equal(cr_memory_get_stats().small, live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(files_are_read_whole, clear_error),
        cmocka_unit_test_setup(what_is_no_file_is_refused, clear_error),
        cmocka_unit_test_setup(files_are_replaced, clear_error),
        cmocka_unit_test_setup(written_pieces_come_in_order, clear_error),
        cmocka_unit_test_setup(an_abandoned_file_leaves_the_old, clear_error),
        cmocka_unit_test_setup(a_full_disk_is_reported, clear_error),
        cmocka_unit_test_setup(gzip_files_are_decompressed, clear_error),
        cmocka_unit_test_setup(truncated_and_damaged_gzip_is_refused, clear_error),
        cmocka_unit_test_setup(folders_are_made, clear_error),
        cmocka_unit_test_setup(paths_are_joined, clear_error),
        cmocka_unit_test_setup(files_survive_want_of_memory, clear_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
