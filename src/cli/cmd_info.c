/* `cresset info`: the version, the build and the machine, as far as they decide speed and results.
 */
#include <stdio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli.h"
#include "cresset/system.h"
#include "cresset/thread.h"

typedef struct info_settings {
    bool peak, json;
} info_settings;

static const cli_option options[] = {
    { "peak", 0, "Output", FLAG(info_settings, peak), NULL, NULL,
      "also measure the peak of arithmetic and memory, which takes a tenth of a second" },
    { "json", 0, "Output", FLAG(info_settings, json), NULL, NULL, "answer in JSON" },
};

static const cli_example examples[] = {
    { "cresset info", "Which instruction set and how many threads are in use:" },
    { "cresset info --peak", "What --profile compares with:" },
    { "CRESSET_ISA=avx2 cresset info --json", "The same for a program, under a weaker set:" },
};

/* Bytes of memory of the machine, and of these what programs can still get; 0 if unknown. */
static int64_t memory_total(void)
{
    long pages = sysconf(_SC_PHYS_PAGES);
    return pages > 0 ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

static int64_t memory_available(void)
{
    long long kibibytes = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "r");
    while (file && fgets(line, sizeof line, file))
        if (sscanf(line, "MemAvailable: %lld kB", &kibibytes) == 1)
            break;
    if (file)
        fclose(file);
    return (int64_t)kibibytes * 1024;
}

static json_t *isa_list(void)
{
    json_t *list = json_array();
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        if (cr_cpu_has_isa((cr_isa)isa))
            json_array_append_new(list, json_string(cr_isa_name((cr_isa)isa)));
    return list;
}

static int print_as_json(const cli_command *command, const cr_machine_peak *peak)
{
    struct utsname system;
    uname(&system);
    json_t *caches = json_array();
    for (int level = 1; level <= 3; level++)
        json_array_append_new(caches, json_integer(cr_cpu_cache(level)));
    json_t *cpu =
        json_pack("{s:s, s:s, s:s, s:o, s:i, s:o}", "name", cr_cpu_name(), "features",
                  cr_cpu_features(), "isa", cr_isa_name(cr_cpu_isa()), "isas", isa_list(),
                  "processors", (int)sysconf(_SC_NPROCESSORS_ONLN), "cache_bytes", caches);
    json_t *memory = json_pack("{s:I, s:I}", "total_bytes", (json_int_t)memory_total(),
                               "available_bytes", (json_int_t)memory_available());
    json_t *answer = json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:o, s:o}", "version", cr_version(),
                               "build", cr_build_description(), "system", system.sysname, "release",
                               system.release, "machine", system.machine, "threads",
                               cr_num_threads(), "cpu", cpu, "memory", memory);
    if (peak)
        json_object_set_new(answer, "peak",
                            json_pack("{s:f, s:f}", "gflops", peak->flops / 1e9,
                                      "gigabytes_per_second", peak->bytes_per_second / 1e9));
    return print_json(command, answer);
}

static void print_caches(void)
{
    char number[NUMBER_SIZE];
    printf("%-14s", "caches");
    for (int level = 1; level <= 3; level++)
        if (cr_cpu_cache(level) > 0)
            printf("%sL%d %s", level > 1 ? ", " : "", level,
                   format_bytes(number, (double)cr_cpu_cache(level)));
    putchar('\n');
}

static void print_features(void)
{
    cr_text text = { 0 };
    text_wrap(&text, cr_cpu_features(), 14, 14, terminal_width(stdout));
    printf("%-14s%s\n", "features", text.data ? text.data : "");
    cr_text_free(&text);
}

static int run(const arguments *args)
{
    const info_settings *settings = args->settings;
    cr_machine_peak peak = { 0 };
    if (settings->peak)
        peak = cr_measure_peak();
    if (settings->json)
        return print_as_json(args->command, settings->peak ? &peak : NULL);
    struct utsname system;
    char total[NUMBER_SIZE], available[NUMBER_SIZE];
    uname(&system);
    printf("%-14s%s\n", "cresset", cr_version());
    printf("%-14s%s\n", "build", cr_build_description());
    printf("%-14s%s %s on %s\n", "system", system.sysname, system.release, system.machine);
    printf("%-14s%s\n", "processor", cr_cpu_name());
    print_features();
    printf("%-14s%s\n", "kernels", cr_isa_name(cr_cpu_isa()));
    printf("%-14s%d of %ld processors\n", "threads", cr_num_threads(),
           sysconf(_SC_NPROCESSORS_ONLN));
    print_caches();
    printf("%-14s%s, of which %s available\n", "memory",
           format_bytes(total, (double)memory_total()),
           format_bytes(available, (double)memory_available()));
    if (settings->peak)
        printf("%-14s%.0f GFLOP/s in float32, %.1f GB/s of memory, on %d thread%s\n", "peak",
               peak.flops / 1e9, peak.bytes_per_second / 1e9, peak.threads,
               peak.threads == 1 ? "" : "s");
    return STATUS_DONE;
}

const cli_command info_command = {
    .name = "info",
    .summary = "Show the version, the build and the processor",
    .operands = "",
    .description = "Shows the version and build of Cresset, the processor and the instruction set "
                   "that kernels use on it, the number of threads, caches and memory: what decides "
                   "speed, and what a result may depend on.",
    .examples = examples,
    .example_count = COUNT_OF(examples),
    .options = options,
    .option_count = COUNT_OF(options),
    .settings_size = sizeof(info_settings),
    .run = run,
};
