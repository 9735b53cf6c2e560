/* Tests of base: errors, text and numbers, random numbers, the parallel loop, the system. Memory
 * and files have programs of their own. */
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

static int clear_error(void **state)
{
    (void)state;
    cr_error_clear();
    return 0;
}

static void first_error_sticks(void **state)
{
    (void)state;
    assert_false(cr_failed());
    assert_string_equal(cr_error_message(), "");
    assert_int_equal(cr_error_set(CR_ERROR_SHAPE, "shape %d", 1), CR_ERROR_SHAPE);
    assert_int_equal(cr_error_set(CR_ERROR_MEMORY, "later"), CR_ERROR_SHAPE);
    assert_true(cr_failed());
    assert_string_equal(cr_error_message(), "shape 1");
    cr_error_prefix("%s line %d", "a.csv", 3);
    assert_string_equal(cr_error_message(), "a.csv line 3: shape 1");
    cr_error_clear();
    assert_false(cr_failed());
    cr_error_prefix("nothing");
    assert_string_equal(cr_error_message(), "");
}

static void long_errors_are_cut_between_characters(void **state)
{
    (void)state;
    char text[3001];
    for (int i = 0; i < 3000; i += 3)
        memcpy(text + i, "\xE2\x82\xAC", 3);
    text[3000] = '\0';
    for (int shift = 0; shift < 3; shift++) {
        cr_error_clear();
        cr_error_set(CR_ERROR_IO, "%.*s%s", shift, "xx", text);
        size_t length = strlen(cr_error_message());
        assert_int_equal((length - (size_t)shift) % 3, 0);
        assert_true(length > 1000 && length < 1024);
        cr_error_prefix("%.*s", 40, text);
        assert_true(strlen(cr_error_message()) > 1000);
        assert_int_equal((unsigned char)cr_error_message()[strlen(cr_error_message()) - 1], 0xAC);
    }
}

static void *fail_in_thread(void *seen)
{
    *(bool *)seen = cr_failed();
    cr_error_set(CR_ERROR_STATE, "in the thread");
    return NULL;
}

static void errors_belong_to_a_thread(void **state)
{
    (void)state;
    bool seen = true;
    pthread_t thread;
    cr_error_set(CR_ERROR_IO, "in the caller");
    assert_int_equal(pthread_create(&thread, NULL, fail_in_thread, &seen), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_false(seen);
    assert_int_equal(cr_error_status(), CR_ERROR_IO);
}

static void statuses_have_names(void **state)
{
    (void)state;
    assert_string_equal(cr_status_name(CR_OK), "OK");
    assert_string_equal(cr_status_name(CR_ERROR_SHAPE), "SHAPE");
    assert_string_equal(cr_status_words(CR_ERROR_INTERRUPTED), "interrupted");
    assert_string_equal(cr_status_name((cr_status)99), "UNKNOWN");
}

static void text_grows(void **state)
{
    (void)state;
    cr_text text = { 0 };
    for (int i = 0; i < 1000; i++)
        cr_text_printf(&text, "%d,", i % 10);
    cr_text_append(&text, "end");
    cr_text_append_bytes(&text, "\0z", 2);
    assert_int_equal(text.length, 2005);
    assert_memory_equal(text.data + 1998, "9,end\0z", 8);
    char *taken = cr_text_take(&text);
    assert_null(text.data);
    cr_free(taken);
    char *empty = cr_text_take(&text);
    assert_string_equal(empty, "");
    cr_free(empty);
    char *formatted = cr_string_format("%s %.2f", "pi", 3.14159);
    assert_string_equal(formatted, "pi 3.14");
    cr_free(formatted);
}

static void text_drops_what_follows_a_failed_allocation(void **state)
{
    (void)state;
    uint64_t live = cr_memory_get_stats().small;
    cr_text text = { 0 };
    cr_memory_fail_after(1);
    cr_text_append(&text, "short");
    assert_false(cr_failed());
    cr_text_printf(&text, "%0200d", 7);
    assert_int_equal(cr_error_status(), CR_ERROR_MEMORY);
    cr_memory_fail_after(-1);
    cr_text_append(&text, "dropped");
    assert_null(cr_text_take(&text));
    assert_int_equal(cr_memory_get_stats().small, live);
}

static void patterns_match(void **state)
{
    (void)state;
    assert_true(cr_pattern_match("layer4.*", "layer4.0.conv1.weight"));
    assert_false(cr_pattern_match("layer4.*", "layer3.0.conv1.weight"));
    assert_true(cr_pattern_match("*.weight", "layer4.0.conv1.weight"));
    assert_false(cr_pattern_match("*.weight", "layer4.0.conv1.weights"));
    assert_true(cr_pattern_match("layer?.*.bn?.*", "layer1.2.bn2.running_mean"));
    assert_true(cr_pattern_match("*ab*ab", "ababxab"));
    assert_true(cr_pattern_match("**", ""));
    assert_true(cr_pattern_match("", ""));
    assert_false(cr_pattern_match("?", ""));
    assert_false(cr_pattern_match("", "a"));
    assert_true(cr_pattern_match("a", "a"));
}

static void patterns_do_not_blow_up(void **state)
{
    (void)state;
    char name[4001], pattern[202];
    memset(name, 'a', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    for (int i = 0; i < 200; i += 2)
        memcpy(pattern + i, "*a", 2);
    strncpy(pattern + 200, "b", 2);
    double start = cr_clock_seconds();
    assert_false(cr_pattern_match(pattern, name));
    assert_true(cr_clock_seconds() - start < 1.0);
}

static void edit_distances(void **state)
{
    (void)state;
    assert_int_equal(cr_edit_distance("resnet18", "resnet18"), 0);
    assert_int_equal(cr_edit_distance("kitten", "sitting"), 3);
    assert_int_equal(cr_edit_distance("", "abc"), 3);
    assert_int_equal(cr_edit_distance("abc", ""), 3);
    char long_name[401];
    memset(long_name, 'x', 400);
    long_name[400] = '\0';
    assert_int_equal(cr_edit_distance(long_name, "x"), 400);
}

static void integers_are_parsed_whole(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool good;
        long long value;
    } cases[] = {
        { "0", true, 0 },
        { "-17", true, -17 },
        { "+5", true, 5 },
        { "010", true, 10 },
        { "0x1F", true, 31 },
        { "9223372036854775807", true, INT64_MAX },
        { "-9223372036854775808", true, INT64_MIN },
        { "9223372036854775808", false, 0 },
        { "", false, 0 },
        { " 1", false, 0 },
        { "1 ", false, 0 },
        { "1.5", false, 0 },
        { "0x", false, 0 },
        { "-", false, 0 },
        { "twelve", false, 0 },
    };
    for (int i = 0; i < CR_COUNT_OF(cases); i++) {
        long long value = 99;
        bool good = cr_parse_int64(cases[i].text, &value);
        assert_int_equal(good, cases[i].good);
        assert_int_equal(value, good ? cases[i].value : 99);
    }
}

static void doubles_are_parsed_whole(void **state)
{
    (void)state;
    const struct {
        const char *text;
        bool good;
        double value;
    } cases[] = {
        { "0.1", true, 0.1 },      { "-2e-3", true, -2e-3 }, { "5", true, 5.0 },
        { "0x1p-3", true, 0.125 }, { "1e-400", true, 0.0 },  { "1e400", false, 0.0 },
        { "", false, 0.0 },        { " 1", false, 0.0 },     { "1,5", false, 0.0 },
        { "1.5x", false, 0.0 },    { "nan", false, 0.0 },    { "-inf", false, 0.0 },
        { ".", false, 0.0 },
    };
    for (int i = 0; i < CR_COUNT_OF(cases); i++) {
        double value = 99.0;
        bool good = cr_parse_double(cases[i].text, &value);
        assert_int_equal(good, cases[i].good);
        assert_true(value == (good ? cases[i].value : 99.0));
    }
}

/* With a locale of a decimal comma where one is installed; everywhere else nothing can go wrong. */
static void numbers_ignore_the_locale(void **state)
{
    (void)state;
    if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
        skip();
    double value = 0.0;
    assert_true(cr_parse_double("2.5", &value));
    assert_true(value == 2.5);
    char *text = cr_string_format("%.1f", 2.5);
    setlocale(LC_NUMERIC, "C");
    assert_string_equal(text, "2.5");
    cr_free(text);
}

/* The vectors of Random123's tests/kat_vectors, "philox4x32 10". */
static void philox_gives_the_known_answers(void **state)
{
    (void)state;
    const struct {
        uint64_t seed, stream, index;
        uint32_t out[4];
    } cases[] = {
        { 0, 0, 0, { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 } },
        { UINT64_MAX, UINT64_MAX, UINT64_MAX, { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd } },
        { 0x299f31d0a4093822,
          0x0370734413198a2e,
          0x85a308d3243f6a88,
          { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } },
    };
    for (int i = 0; i < CR_COUNT_OF(cases); i++) {
        uint32_t out[4];
        cr_philox(cases[i].seed, cases[i].stream, cases[i].index, out);
        assert_memory_equal(out, cases[i].out, sizeof(out));
    }
}

static void generators_repeat(void **state)
{
    (void)state;
    cr_manual_seed(42);
    uint64_t first = cr_random_u64(cr_default_generator());
    assert_int_equal(cr_default_generator()->offset, 1);
    cr_generator same = cr_generator_make(42, 0);
    cr_generator other = cr_generator_make(42, 1);
    assert_int_equal(cr_random_u64(&same), first);
    assert_int_not_equal(cr_random_u64(&other), first);
    assert_int_equal(cr_generator_reserve(&same, 10), 1);
    uint32_t block[4];
    cr_philox(42, 0, 11, block);
    assert_int_equal(cr_random_u32(&same), block[0]);
    assert_int_equal(same.offset, 12);
}

static void random_numbers_have_their_moments(void **state)
{
    (void)state;
    const int count = 200000;
    cr_generator generator = cr_generator_make(7, 3);
    double uniform = 0.0, sum = 0.0, squares = 0.0, fourths = 0.0;
    for (int i = 0; i < count; i++) {
        double u = cr_random_uniform(&generator);
        assert_true(u >= 0.0 && u < 1.0);
        uniform += u;
        double z = cr_random_normal(&generator);
        assert_true(isfinite(z));
        sum += z;
        squares += z * z;
        fourths += z * z * z * z;
    }
    assert_true(fabs(uniform / count - 0.5) < 0.004);
    assert_true(fabs(sum / count) < 0.012);
    assert_true(fabs(squares / count - 1.0) < 0.016);
    assert_true(fabs(fourths / count - 3.0) < 0.12);
}

static void bounded_numbers_are_unbiased(void **state)
{
    (void)state;
    cr_generator generator = cr_generator_make(1, 0);
    /* With a remainder alone, this bound would give the lower half two times in three. */
    const uint64_t bound = (uint64_t)3 << 62;
    int lower = 0;
    for (int i = 0; i < 30000; i++) {
        uint64_t number = cr_random_below(&generator, bound);
        assert_true(number < bound);
        lower += number < bound / 3;
    }
    assert_in_range(lower, 9600, 10400);
    int counts[7] = { 0 };
    for (int i = 0; i < 70000; i++)
        counts[cr_random_below(&generator, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(counts[i], 9600, 10400);
    assert_int_equal(cr_random_below(&generator, 0), 0);
    assert_int_equal(cr_random_below(&generator, 1), 0);
}

static void permutations_hold_each_once(void **state)
{
    (void)state;
    int64_t order[1000], again[1000];
    bool seen[1000] = { false };
    cr_generator generator = cr_generator_make(5, 0);
    cr_random_permutation(&generator, order, 1000);
    generator = cr_generator_make(5, 0);
    cr_random_permutation(&generator, again, 1000);
    assert_memory_equal(order, again, sizeof(order));
    int fixed = 0;
    for (int i = 0; i < 1000; i++) {
        assert_in_range(order[i], 0, 999);
        assert_false(seen[order[i]]);
        seen[order[i]] = true;
        fixed += order[i] == i;
    }
    assert_in_range(fixed, 0, 8);
}

typedef struct visits {
    int64_t count, chunk;
    int seen[1003];
    int wrong;
} visits;

static void visit(int64_t begin, int64_t end, void *context)
{
    visits *v = context;
    bool whole = begin % v->chunk == 0 && end == CR_MIN(begin + v->chunk, v->count);
    if (!whole)
        __atomic_fetch_add(&v->wrong, 1, __ATOMIC_RELAXED);
    for (int64_t i = begin; i < end; i++)
        v->seen[i]++;
}

static void loops_visit_each_once_at_any_thread_count(void **state)
{
    (void)state;
    const int64_t chunks[] = { 1, 7, 100, 1002, 1003, 5000 };
    for (int threads = 1; threads <= 5; threads++) {
        cr_set_num_threads(threads);
        assert_int_equal(cr_num_threads(), threads);
        for (int c = 0; c < CR_COUNT_OF(chunks); c++) {
            visits v = { .count = 1003, .chunk = chunks[c] };
            cr_parallel_for(v.count, v.chunk, visit, &v);
            assert_int_equal(v.wrong, 0);
            for (int i = 0; i < 1003; i++)
                assert_int_equal(v.seen[i], 1);
        }
    }
    cr_set_num_threads(0);
    assert_true(cr_num_threads() >= 1);
    visits none = { .count = 0, .chunk = 1 };
    cr_parallel_for(0, 1, visit, &none);
    assert_int_equal(none.seen[0], 0);
}

static void visit_nested(int64_t begin, int64_t end, void *context)
{
    visits *all = context;
    for (int64_t i = begin; i < end; i++)
        cr_parallel_for(all[i].count, all[i].chunk, visit, &all[i]);
}

static void loops_nest(void **state)
{
    (void)state;
    visits all[8];
    memset(all, 0, sizeof(all));
    for (int i = 0; i < 8; i++) {
        all[i].count = 1003;
        all[i].chunk = 10;
    }
    cr_set_num_threads(3);
    cr_parallel_for(8, 1, visit_nested, all);
    cr_set_num_threads(0);
    for (int i = 0; i < 8; i++) {
        assert_int_equal(all[i].wrong, 0);
        for (int j = 0; j < 1003; j++)
            assert_int_equal(all[i].seen[j], 1);
    }
}

/* What ask() answers in a process of its own with this variable set, or unset for NULL. */
static int ask_with(const char *name, const char *value, int (*ask)(void))
{
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        unsetenv("CRESSET_THREADS");
        if (value)
            setenv(name, value, 1);
        else
            unsetenv(name);
        _exit(ask());
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int ask_isa(void)
{
    return (int)cr_cpu_isa();
}

/* A bit for each set that there is. */
static int ask_available(void)
{
    int available = 0;
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        available |= (int)cr_cpu_has_isa((cr_isa)isa) << isa;
    return available;
}

/* Both tests of the environment run first: a process asks it once and keeps the answer. */
static void the_environment_chooses_among_the_instruction_sets_there_are(void **state)
{
    (void)state;
    int strongest = ask_with("CRESSET_ISA", NULL, ask_isa);
    int available = ask_with("CRESSET_ISA", "portable", ask_available);
    assert_true(available & 1 << CR_ISA_PORTABLE && available & 1 << strongest);
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        assert_int_equal(ask_with("CRESSET_ISA", cr_isa_name((cr_isa)isa), ask_isa),
                         available >> isa & 1 ? isa : strongest);
    assert_int_equal(ask_with("CRESSET_ISA", "abacus", ask_isa), strongest);
}

static void the_environment_sets_the_threads(void **state)
{
    (void)state;
    int machine = ask_with("OMP_NUM_THREADS", NULL, cr_num_threads);
    assert_true(machine >= 1);
    assert_int_equal(ask_with("OMP_NUM_THREADS", "3,2", cr_num_threads), 3);
    assert_int_equal(ask_with("CRESSET_THREADS", "5", cr_num_threads), 5);
    assert_int_equal(ask_with("OMP_NUM_THREADS", "-1", cr_num_threads), machine);
    assert_int_equal(ask_with("OMP_NUM_THREADS", "many", cr_num_threads), machine);
}

static void the_system_is_described(void **state)
{
    (void)state;
    assert_true(strlen(cr_version()) >= 5);
    assert_true(strlen(cr_build_description()) > 0);
    assert_in_range(cr_cpu_isa(), 0, CR_ISA_COUNT - 1);
    assert_string_equal(cr_isa_name(CR_ISA_AVX512_BF16), "avx512_bf16");
    assert_string_equal(cr_isa_name(CR_ISA_COUNT), "unknown");
    const char *wanted = getenv("CRESSET_ISA");
    if (wanted && strcmp(wanted, "portable") == 0)
        assert_int_equal(cr_cpu_isa(), CR_ISA_PORTABLE);
    assert_true(strlen(cr_cpu_name()) > 0);
    assert_non_null(cr_cpu_features());
    assert_true(cr_cpu_cache(1) >= 0 && cr_cpu_cache(3) >= 0);
    assert_int_equal(cr_cpu_cache(0), 0);
    assert_int_equal(cr_cpu_cache(4), 0);
    double before = cr_clock_seconds();
    assert_true(cr_clock_seconds() >= before);
    assert_true(cr_process_memory() > 0);
    assert_true(cr_process_memory_peak() >= cr_process_memory() / 2);
}

static void keep_line(cr_log_level level, const char *line, void *context)
{
    cr_text_printf(context, "%d:%s;", (int)level, line);
}

static void log_lines_reach_the_sink(void **state)
{
    (void)state;
    cr_text lines = { 0 };
    cr_log_message(CR_LOG_INFO, "dropped");
    cr_log_set_sink(keep_line, &lines);
    cr_log_message(CR_LOG_INFO, "epoch %d", 1);
    cr_log_message(CR_LOG_WARNING, "slow");
    cr_log_set_sink(NULL, NULL);
    cr_log_message(CR_LOG_INFO, "dropped");
    assert_string_equal(lines.data, "1:epoch 1;2:slow;");
    cr_text_free(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_environment_chooses_among_the_instruction_sets_there_are,
                               clear_error),
        cmocka_unit_test_setup(the_environment_sets_the_threads, clear_error),
        cmocka_unit_test_setup(first_error_sticks, clear_error),
        cmocka_unit_test_setup(long_errors_are_cut_between_characters, clear_error),
        cmocka_unit_test_setup(errors_belong_to_a_thread, clear_error),
        cmocka_unit_test_setup(statuses_have_names, clear_error),
        cmocka_unit_test_setup(text_grows, clear_error),
        cmocka_unit_test_setup(text_drops_what_follows_a_failed_allocation, clear_error),
        cmocka_unit_test_setup(patterns_match, clear_error),
        cmocka_unit_test_setup(patterns_do_not_blow_up, clear_error),
        cmocka_unit_test_setup(edit_distances, clear_error),
        cmocka_unit_test_setup(integers_are_parsed_whole, clear_error),
        cmocka_unit_test_setup(doubles_are_parsed_whole, clear_error),
        cmocka_unit_test_setup(numbers_ignore_the_locale, clear_error),
        cmocka_unit_test_setup(philox_gives_the_known_answers, clear_error),
        cmocka_unit_test_setup(generators_repeat, clear_error),
        cmocka_unit_test_setup(random_numbers_have_their_moments, clear_error),
        cmocka_unit_test_setup(bounded_numbers_are_unbiased, clear_error),
        cmocka_unit_test_setup(permutations_hold_each_once, clear_error),
        cmocka_unit_test_setup(loops_visit_each_once_at_any_thread_count, clear_error),
        cmocka_unit_test_setup(loops_nest, clear_error),
        cmocka_unit_test_setup(the_system_is_described, clear_error),
        cmocka_unit_test_setup(log_lines_reach_the_sink, clear_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
