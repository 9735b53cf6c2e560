/* Runs a fuzz target for a fixed count without libFuzzer: every seed as it is, which must be
 * accepted, and then seeds that were mutated. The mutations are the same in every run, so what
 * fails once fails again; the input that crashed is left in fuzz-crash (under a sanitizer, set
 * abort_on_error=1). Built together with one fuzz_NAME.c. Usage: fuzz_NAME [count], or
 * fuzz_NAME FILE… to run the target on files. */
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/random.h"
#include "cresset/text.h"
#include "fuzz.h"

#define ROOM          65536
#define MAX_SEEDS     64
#define DEFAULT_COUNT 100000
#define MAX_MUTATIONS 4 /* of one input */

struct input {
    uint8_t bytes[ROOM];
    size_t size;
};

static struct input seeds[MAX_SEEDS];
static int seed_count;
static struct input current;
static cr_generator generator;

static size_t below(size_t bound)
{
    return (size_t)cr_random_below(&generator, bound);
}

/* Replaces `removed` bytes at `at` by others, as far as there is room. */
static void replace(size_t at, size_t removed, const void *bytes, size_t count)
{
    if (current.size - removed + count > ROOM)
        return;
    uint8_t held[ROOM];
    memcpy(held, bytes, count);
    memmove(current.bytes + at + count, current.bytes + at + removed, current.size - at - removed);
    memcpy(current.bytes + at, held, count);
    current.size = current.size - removed + count;
}

static void change_byte(void)
{
    static const uint8_t telling[] = { 0, 1, 0x7f, 0x80, 0xff, '"', '{', '}', ',', '-', '9' };
    if (current.size == 0)
        return;
    uint8_t *byte = &current.bytes[below(current.size)];
    if (below(2))
        *byte ^= (uint8_t)(1u << below(8));
    else
        *byte = telling[below(sizeof telling)];
}

/* A number in digits becomes another one, often one at a limit. */
static void change_number(void)
{
    static const char *const numbers[] = { "0",          "1",          "-1",
                                           "255",        "4294967296", "9223372036854775807",
                                           "1e9",        "1.5",        "18446744073709551615",
                                           "2147483648", "16",         "3" };
    size_t start = current.size ? below(current.size) : 0;
    while (start < current.size && (current.bytes[start] < '0' || current.bytes[start] > '9'))
        start++;
    size_t end = start;
    while (end < current.size && current.bytes[end] >= '0' && current.bytes[end] <= '9')
        end++;
    const char *number = numbers[below(sizeof numbers / sizeof *numbers)];
    if (end > start)
        replace(start, end - start, number, strlen(number));
}

static void insert_word(void)
{
    size_t count = 0;
    while (fuzz_words[count])
        count++;
    if (count == 0)
        return;
    const char *word = fuzz_words[below(count)];
    size_t at = below(current.size + 1);
    size_t over = below(2) ? strlen(word) : 0;
    if (over > current.size - at)
        over = current.size - at;
    replace(at, over, word, strlen(word));
}

static void remove_piece(void)
{
    size_t at = below(current.size + 1);
    replace(at, below(current.size - at + 1), "", 0);
}

static void repeat_piece(void)
{
    size_t at = below(current.size + 1);
    size_t count = below(current.size - at + 1);
    replace(below(current.size + 1), 0, current.bytes + at, count);
}

/* The start of this input with the end of another seed. */
static void splice_seed(void)
{
    const struct input *other = &seeds[below((size_t)seed_count)];
    size_t from = below(other->size + 1);
    size_t at = below(current.size + 1);
    replace(at, current.size - at, other->bytes + from, other->size - from);
}

static void cut(void)
{
    current.size = below(current.size + 1);
}

static void mutate(void)
{
    static void (*const mutations[])(void) = { change_byte, change_byte,  change_number,
                                               insert_word, remove_piece, repeat_piece,
                                               splice_seed, cut };
    size_t times = 1 + below(MAX_MUTATIONS);
    for (size_t i = 0; i < times; i++)
        mutations[below(sizeof mutations / sizeof *mutations)]();
}

/* A block of exactly the input's size, so that AddressSanitizer sees a read past its end. */
static void run(const uint8_t *bytes, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);
    if (!exact)
        exit(2);
    memcpy(exact, bytes, size);
    LLVMFuzzerTestOneInput(exact, size);
    free(exact);
}

static int run_files(int count, char **paths)
{
    for (int i = 0; i < count; i++) {
        size_t size;
        char *data = cr_file_read(paths[i], 0, &size);
        if (!data) {
            fprintf(stderr, "%s\n", cr_error_message());
            return 2;
        }
        run((const uint8_t *)data, size);
        cr_free(data);
        printf("%s: %s\n", paths[i], fuzz_accepted() ? "accepted" : "refused");
    }
    return 0;
}

/* Keeps the input that crashed, with functions that a signal handler may call. */
static void keep_crash(int number)
{
    int file = open("fuzz-crash", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    if (file >= 0 && write(file, current.bytes, current.size) >= 0)
        close(file);
    signal(number, SIG_DFL);
    raise(number);
}

static int run_mutations(long long count)
{
    static const int fatal[] = { SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE };
    for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++)
        signal(fatal[i], keep_crash);
    long long accepted = 0;
    for (long long i = 0; i < count; i++) {
        generator = cr_generator_make(1, (uint64_t)i);
        current = seeds[below((size_t)seed_count)];
        mutate();
        run(current.bytes, current.size);
        accepted += fuzz_accepted();
    }
    printf("%d seeds, %lld mutations, %lld of them accepted\n", seed_count, count, accepted);
    return 0;
}

int main(int argc, char **argv)
{
    long long count = DEFAULT_COUNT;
    if (argc > 1 && !cr_parse_int64(argv[1], &count))
        return run_files(argc - 1, argv + 1);
    while (seed_count < MAX_SEEDS) {
        size_t size = fuzz_seed(seed_count, seeds[seed_count].bytes, ROOM);
        if (size == 0)
            break;
        seeds[seed_count].size = size;
        run(seeds[seed_count].bytes, size);
        if (!fuzz_accepted()) {
            fprintf(stderr, "seed %d is refused\n", seed_count);
            return 1;
        }
        seed_count++;
    }
    return seed_count > 0 ? run_mutations(count) : 1;
}
