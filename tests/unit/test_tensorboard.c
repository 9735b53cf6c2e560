/* Tests of event files: the checksum, whole records after every value, names that never clash, what
 * is refused, and want of memory or disk. What the records hold is read back by
 * tests/formats/test_events.py. */
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/tensorboard.h"
#include "track/track.h"

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

static void assert_refused(cr_status status, const char *words)
{
    assert_int_equal(cr_error_status(), status);
    if (!strstr(cr_error_message(), words))
        fail_msg("\"%s\" does not say \"%s\"", cr_error_message(), words);
    cr_error_clear();
}

/* How many records the file holds; fails unless the last one is whole. */
static int count_records(const char *path)
{
    size_t size;
    char *data = cr_file_read(path, 0, &size);
    assert_non_null(data);
    int count = 0;
    for (size_t at = 0; at < size; count++) {
        uint64_t length;
        assert_true(size - at >= 16);
        memcpy(&length, data + at, sizeof(length));
        assert_true(length <= size - at - 16);
        at += 16 + (size_t)length;
    }
    cr_free(data);
    return count;
}

/* From RFC 3720, B.4, and the usual check value. */
static void the_checksum_is_castagnolis(void **state)
{
    (void)state;
    uint8_t bytes[32] = { 0 };
    assert_int_equal(track_crc32c("", 0), 0);
    assert_int_equal(track_crc32c("123456789", 9), 0xE3069283);
    assert_int_equal(track_crc32c(bytes, 32), 0x8A9136AA);
    memset(bytes, 0xFF, sizeof(bytes));
    assert_int_equal(track_crc32c(bytes, 32), 0x62A8AB43);
    for (int i = 0; i < 32; i++)
        bytes[i] = (uint8_t)i;
    assert_int_equal(track_crc32c(bytes, 32), 0x46DD794E);
}

static void every_value_is_in_the_file_at_once(void **state)
{
    (void)state;
    cr_tensorboard *board = cr_tensorboard_open(folder);
    assert_non_null(board);
    const char *path = cr_tensorboard_path(board);
    assert_int_equal(count_records(path), 1);
    assert_int_equal(cr_tensorboard_scalar(board, "loss", 1, 0.5, 0), CR_OK);
    assert_int_equal(count_records(path), 2);
    assert_int_equal(cr_tensorboard_text(board, "note", 1, "text", 0), CR_OK);
    assert_int_equal(count_records(path), 3);
    assert_int_equal(cr_tensorboard_close(board), CR_OK);
}

static void writers_of_one_folder_have_files_of_their_own(void **state)
{
    (void)state;
    cr_tensorboard *boards[3];
    for (int i = 0; i < 3; i++)
        boards[i] = cr_tensorboard_open(folder);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(cr_tensorboard_scalar(boards[i], "loss", 1, i, 0), CR_OK);
        assert_string_not_equal(cr_tensorboard_path(boards[i]),
                                cr_tensorboard_path(boards[(i + 1) % 3]));
    }
    for (int i = 0; i < 3; i++) {
        assert_int_equal(count_records(cr_tensorboard_path(boards[i])), 2);
        cr_tensorboard_close(boards[i]);
    }
}

static void nonsense_is_refused_and_not_written(void **state)
{
    (void)state;
    static const char no_png[64] = "\x89PNG\r\n\x1a\n\0\0\0\rJHDR";
    cr_tensorboard *board = cr_tensorboard_open(folder);
    cr_tensorboard_scalar(board, "", 1, 0.5, 0);
    assert_refused(CR_ERROR_ARGUMENT, "tag");
    cr_tensorboard_scalar(board, NULL, 1, 0.5, 0);
    assert_refused(CR_ERROR_ARGUMENT, "tag");
    cr_tensorboard_scalar(board, "loss", 1, 0.5, NAN);
    assert_refused(CR_ERROR_ARGUMENT, "wall time of loss");
    cr_tensorboard_image(board, "picture", 1, no_png, sizeof(no_png), 0);
    assert_refused(CR_ERROR_ARGUMENT, "picture is not a PNG");
    cr_tensorboard_image(board, "picture", 1, "\x89PNG", 4, 0);
    assert_refused(CR_ERROR_ARGUMENT, "picture is not a PNG");
    cr_tensorboard_image(board, "picture", 1, NULL, 0, 0);
    assert_refused(CR_ERROR_ARGUMENT, "picture is not a PNG");
    cr_tensorboard_histogram(board, "weights", 1, NULL, 0);
    assert_refused(CR_ERROR_ARGUMENT, "weights has no data");
    cr_tensorboard_histogram(board, "weights", 1, cr_zeros(CR_SHAPE(2), .device = CR_META), 0);
    assert_refused(CR_ERROR_ARGUMENT, "weights has no data");
    assert_int_equal(count_records(cr_tensorboard_path(board)), 1);
    assert_int_equal(cr_tensorboard_close(board), CR_OK);
    assert_int_equal(cr_tensorboard_close(NULL), CR_OK);
    assert_int_equal(cr_tensorboard_scalar(NULL, "loss", 1, 0.5, 0), CR_OK);
    assert_string_equal(cr_tensorboard_path(NULL), "");
    assert_null(cr_tensorboard_open("/proc/no/such"));
    assert_refused(CR_ERROR_IO, "/proc/no");
    cr_frame_end_all();
}

/* Extremes of doubles make no width that is not finite, and no place outside the buckets. */
static void histograms_take_any_number(void **state)
{
    (void)state;
    const double values[] = { -1.7e308, 1.7e308, 0, INFINITY, NAN, 5e-324, -INFINITY };
    cr_tensorboard *board = cr_tensorboard_open(folder);
    for (int count = 1; count <= 7; count++) {
        cr_tensor *tensor = cr_from_buffer(values, CR_SHAPE(count), CR_F64);
        assert_int_equal(cr_tensorboard_histogram(board, "all", count, tensor, 0), CR_OK);
        tensor = cr_from_buffer(values + 7 - count, CR_SHAPE(count), CR_F64);
        assert_int_equal(cr_tensorboard_histogram(board, "all", count, tensor, 0), CR_OK);
    }
    assert_int_equal(count_records(cr_tensorboard_path(board)), 15);
    cr_tensorboard_close(board);
    cr_frame_end_all();
}

/* A limit on the size of files stands for a full disk: the record that goes over it is taken back.
 */
static void a_full_disk_leaves_whole_records(void **state)
{
    (void)state;
    struct rlimit old;
    char text[1000];
    memset(text, 'a', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    cr_tensorboard *board = cr_tensorboard_open(folder);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){ 2000, old.rlim_max });
    assert_int_equal(cr_tensorboard_text(board, "note", 1, text, 0), CR_OK);
    cr_status status = cr_tensorboard_text(board, "note", 2, text, 0);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(status, CR_ERROR_IO);
    assert_refused(CR_ERROR_IO, "cannot write");
    assert_int_equal(count_records(cr_tensorboard_path(board)), 2);
    assert_int_equal(cr_tensorboard_text(board, "note", 2, text, 0), CR_OK);
    assert_int_equal(count_records(cr_tensorboard_path(board)), 3);
    cr_tensorboard_close(board);
}

static void write_some(void)
{
    cr_frame frame = cr_frame_begin();
    cr_tensorboard *board = cr_tensorboard_open(folder);
    cr_tensorboard_purge(board, 1);
    cr_tensorboard_scalar(board, "loss", 1, 0.5, 0);
    cr_tensorboard_text(board, "note", 1, "text", 0);
    cr_tensorboard_histogram(board, "ones", 1, cr_ones(CR_SHAPE(2, 3)), 0);
    cr_tensorboard_close(board);
    cr_frame_end(frame);
}

/* Every allocation failed in turn: an error each time, and no leak. */
static void want_of_memory_is_reported(void **state)
{
    (void)state;
    write_some();
    assert_false(cr_failed());
    uint64_t live = cr_memory_get_stats().small;
    int failures = 0;
    for (;; failures++) {
        cr_memory_fail_after(failures);
        write_some();
        cr_memory_fail_after(-1);
        assert_int_equal(cr_memory_get_stats().small, live);
        if (!cr_failed())
            break;
        assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
        cr_error_clear();
    }
    assert_true(failures >= 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_checksum_is_castagnolis, clear_error),
        cmocka_unit_test_setup(every_value_is_in_the_file_at_once, clear_error),
        cmocka_unit_test_setup(writers_of_one_folder_have_files_of_their_own, clear_error),
        cmocka_unit_test_setup(nonsense_is_refused_and_not_written, clear_error),
        cmocka_unit_test_setup(histograms_take_any_number, clear_error),
        cmocka_unit_test_setup(a_full_disk_leaves_whole_records, clear_error),
        cmocka_unit_test_setup(want_of_memory_is_reported, clear_error),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
