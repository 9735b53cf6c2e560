/* The reader of arguments: every kind of value in every form it can be typed, the order of the
 * sources, and the sentences that answer mistakes. The command line as a whole is tested in
 * tests/cli. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "cli/cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

typedef struct settings {
    bool verbose, report;
    int64_t epochs;
    double rate, decay;
    const char *data, *optimizer, *name;
    number_list input;
} settings;

static const char *optimizers(int index)
{
    static const char *const words[] = { "sgd", "adam", "adamw" };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

static const cli_option options[] = {
    { "data", 'd', "Data", FOLDER_PATH(settings, data), "DIR", NULL, "the data" },
    { "input", 0, "Data", NUMBERS(settings, input, 1, 4096), "3x224x224", "1x28x28", "a shape" },
    { "epochs", 'e', "Training", INTEGER(settings, epochs, 1, 1000), "N", "10", "passes" },
    { "lr", 0, "Training", REAL(settings, rate, 0, 10), "X", NULL, "the rate" },
    { "weight-decay", 0, "Training", REAL(settings, decay, 0, INFINITY), "X", "0.01", "decay" },
    { "optimizer", 'o', "Training", CHOICE(settings, optimizer, optimizers), "NAME", "sgd", "by" },
    { "name", 0, "Output", TEXT(settings, name), "NAME", NULL, "the name" },
    { "verbose", 'v', "Output", FLAG(settings, verbose), NULL, NULL, "say more" },
    { "report", 'r', "Output", FLAG(settings, report), NULL, "true", "no report" },
};

static const cli_command test_command = {
    .name = "test",
    .operands = "WORD…",
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(settings),
    .operand_maximum = 2,
    .takes_config = true,
};

#define WORDS_LIMIT 16

static char config_path[64]; /* of this process alone */
static char message[1024];   /* what the last call printed on standard error */
static char line_copy[1024]; /* holds the words of the last call; settings point into it */

/* Parses words parted by spaces, with standard error caught. */
static bool parse(arguments *args, const char *line)
{
    char *words[WORDS_LIMIT], *rest = line_copy, *word;
    int count = 0;
    snprintf(line_copy, sizeof line_copy, "%s", line);
    while ((word = strsep(&rest, " ")) && count < WORDS_LIMIT)
        if (*word)
            words[count++] = word;
    FILE *before = stderr;
    memset(message, 0, sizeof message);
    stderr = fmemopen(message, sizeof message, "w");
    bool good = arguments_parse(args, &test_command, count, words);
    fclose(stderr);
    stderr = before;
    return good;
}

static settings parsed(const char *line)
{
    arguments args;
    assert_true(parse(&args, line));
    settings got = *(settings *)args.settings;
    arguments_free(&args);
    return got;
}

static void refused(const char *line, const char *sentence)
{
    arguments args;
    assert_false(parse(&args, line));
    arguments_free(&args);
    if (!strstr(message, sentence))
        fail_msg("\"%s\" was answered with: %s", line, message);
    assert_ptr_equal(strchr(message, '\n'), message + strlen(message) - 1);
    assert_false(cr_failed());
}

static void write_config(const char *text)
{
    assert_int_equal(cr_file_replace(config_path, text, strlen(text)), CR_OK);
}

/* "--config FILE" and further words, in a buffer of its own. */
static const char *with_config(const char *more)
{
    static char line[160];
    snprintf(line, sizeof line, "--config %s %s", config_path, more);
    return line;
}

static void test_defaults(void **state)
{
    (void)state;
    settings got = parsed("");
    assert_false(got.verbose);
    assert_true(got.report);
    assert_int_equal(got.epochs, 10);
    assert_true(isnan(got.rate));
    assert_true(got.decay == 0.01);
    assert_null(got.data);
    assert_string_equal(got.optimizer, "sgd");
    assert_int_equal(got.input.count, 3);
    assert_int_equal(got.input.values[2], 28);
}

static void test_forms(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "--data x --epochs 7 --optimizer adam --verbose",
        "--data=x --epochs=7 --optimizer=adam --verbose",
        "-d x -e 7 -o adam -v",
        "-dx -e7 -oadam -v",
        "-d=x -ve7 -o=adam",
        "-e 1 -e 7 -v --no-verbose -v -o adam --data x",
    };
    for (int i = 0; i < COUNT_OF(lines); i++) {
        settings got = parsed(lines[i]);
        assert_string_equal(got.data, "x");
        assert_int_equal(got.epochs, 7);
        assert_string_equal(got.optimizer, "adam");
        assert_true(got.verbose);
    }
    assert_false(parsed("--no-report").report);
    assert_true(parsed("--lr -0").rate == 0);
    assert_true(parsed("--lr 4e-3").rate == 0.004);
    assert_string_equal(parsed("--data=--x=y").data, "--x=y");
    assert_int_equal(parsed("--input 3,32").input.count, 2);
}

static void test_operands(void **state)
{
    (void)state;
    arguments args;
    assert_true(parse(&args, "one -v -- --two"));
    assert_int_equal(args.operand_count, 2);
    assert_string_equal(args.operands[1], "--two");
    arguments_free(&args);
    assert_true(parse(&args, "- --epochs 3"));
    assert_int_equal(args.operand_count, 1);
    assert_true(arguments_given(&args, "epochs"));
    assert_false(arguments_given(&args, "lr"));
    arguments_free(&args);
    refused("a b c", "\"c\" is one word too many");
}

static void test_mistakes(void **state)
{
    (void)state;
    refused("--epoch 3", "no option --epoch; did you mean --epochs?");
    refused("--weightdecay 3", "did you mean --weight-decay?");
    refused("--qqqqqq", "no option --qqqqqq; see cresset test --help");
    refused("--no-epochs", "no option --no-epochs");
    refused("-vq", "no option -q");
    refused("--verbose=1", "--verbose takes no value");
    refused("--epochs", "option --epochs needs a value: --epochs N");
    refused("-e", "option --epochs needs a value: --epochs N");
    refused("--data --verbose", "option --data needs a value (DIR) before --verbose");
    refused("--data=", "--data must not be empty");
    refused("--epochs 3.5", "--epochs must be a whole number, not \"3.5\"");
    refused("--epochs 99999999999999999999", "--epochs must be a whole number");
    refused("--epochs 0", "--epochs must be from 1 to 1000, not 0");
    refused("--lr fast", "--lr must be a number, not \"fast\"");
    refused("--lr nan", "--lr must be");
    refused("--lr 11", "--lr must be from 0 to 10, not 11");
    refused("--weight-decay -1", "--weight-decay must be at least 0, not -1");
    refused("--optimizer adma", "--optimizer cannot be \"adma\"; did you mean adam?");
    refused("--optimizer quadratic", "--optimizer must be sgd, adam or adamw, not \"quadratic\"");
    refused("--input 3x", "--input must be whole numbers such as 3x224x224, not \"3x\"");
    refused("--input 0x3", "--input must be from 1 to 4096, not 0");
    refused("--input 1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1", "--input takes at most 16 numbers");
}

static void test_config(void **state)
{
    (void)state;
    write_config("{\"epochs\": 20, \"weight_decay\": 1, \"verbose\": true, \"report\": false,"
                 " \"optimizer\": \"adamw\", \"input\": [3, 8, 9], \"lr\": null}");
    settings got = parsed(with_config("--optimizer adam"));
    assert_int_equal(got.epochs, 20);
    assert_true(got.decay == 1);
    assert_true(isnan(got.rate));
    assert_true(got.verbose);
    assert_false(got.report);
    assert_string_equal(got.optimizer, "adam");
    assert_int_equal(got.input.values[2], 9);
    assert_true(parsed(with_config("--report")).report);
}

static void refused_config(const char *text, const char *sentence)
{
    write_config(text);
    refused(with_config(""), sentence);
}

static void test_config_mistakes(void **state)
{
    (void)state;
    refused_config("{\"epoch\": 20}", "no setting \"epoch\"; did you mean \"epochs\"?");
    refused_config("{\"zzzzzzzz\": 20}", "no setting \"zzzzzzzz\" in cresset test");
    refused_config("{\"epochs\": \"20\"}", ".json: \"epochs\" must be a whole number");
    refused_config("{\"epochs\": 20.5}", "\"epochs\" must be a whole number");
    refused_config("{\"lr\": true}", "\"lr\" must be a number");
    refused_config("{\"verbose\": 1}", "\"verbose\" must be true or false");
    refused_config("{\"data\": 1}", "\"data\" must be a string");
    refused_config("{\"input\": [1, \"2\"]}", "\"input\" must hold whole numbers only");
    refused_config("{\"epochs\": 0}", "\"epochs\" must be from 1 to 1000, not 0");
    refused_config("[1]", "must hold one JSON object");
    refused_config("{\"epochs\": }", "is not valid JSON: line 1");
    refused_config("{\"epochs\": 1, \"epochs\": 2}", "is not valid JSON");
    unlink(config_path);
    refused(with_config(""), config_path);
}

static void test_settings_can_be_read_back(void **state)
{
    (void)state;
    arguments args;
    assert_true(parse(&args, "--lr 0.1 --no-report --input 3x4 --data x -o adam"));
    json_t *object = arguments_to_json(&args);
    char *text = json_dumps(object, 0);
    write_config(text);
    json_decref(object);
    free(text);
    arguments_free(&args);
    assert_true(parse(&args, with_config("")));
    const settings *got = args.settings;
    assert_true(got->rate == 0.1);
    assert_false(got->report);
    assert_int_equal(got->input.count, 2);
    assert_string_equal(got->data, "x");
    assert_string_equal(got->optimizer, "adam");
    assert_null(got->name);
    arguments_free(&args);
    unlink(config_path);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    arguments args;
    uint64_t blocks = cr_memory_get_stats().small;
    for (int successes = 0; successes < 12; successes++) {
        cr_memory_fail_after(successes);
        bool good = parse(&args, "--data x --epochs 3 --optimizer adma");
        cr_memory_fail_after(-1);
        arguments_free(&args);
        assert_false(good);
        cr_error_clear();
    }
    assert_int_equal(cr_memory_get_stats().small, blocks);
}

static void test_wrapping(void **state)
{
    (void)state;
    cr_text text = { 0 };
    text_wrap(&text, "one two three\n\nfour", 0, 2, 8);
    assert_string_equal(text.data, "one two\n  three\n\n  four");
    cr_text_free(&text);
}

static void test_numbers_for_people(void **state)
{
    (void)state;
    char buffer[NUMBER_SIZE];
    assert_string_equal(format_count(buffer, 1234567), "1,234,567");
    assert_string_equal(format_count(buffer, -123), "-123");
    assert_string_equal(format_scaled(buffer, 1819066368), "1.82 G");
    assert_string_equal(format_scaled(buffer, 999), "999");
    assert_string_equal(format_bytes(buffer, 1024 * 1023.9), "1.00 MiB");
    assert_string_equal(format_bytes(buffer, 98304), "96.0 KiB");
    assert_string_equal(format_clock(buffer, 3909.2), "1:05:09");
    assert_string_equal(format_clock(buffer, 59.6), "1:00");
    assert_string_equal(format_seconds(buffer, 0.0123), "12.3 ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_operands),
        cmocka_unit_test(test_mistakes),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_config_mistakes),
        cmocka_unit_test(test_settings_can_be_read_back),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_wrapping),
        cmocka_unit_test(test_numbers_for_people),
    };
    snprintf(config_path, sizeof config_path, "/tmp/test_cli_options.%d.json", (int)getpid());
    return cmocka_run_group_tests(tests, NULL, NULL);
}
