/* What is around the library: its version, the processor and its instruction sets, the clock,
 * the memory of the process, and where log lines go. What is asked of the system once is kept. */
#include "base/base.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#endif

#define LOG_LINE_SIZE 1024
#define CACHE_LEVELS  3

#ifdef CR_HAVE_AVX2
#define BUILT_AVX2 " avx2"
#else
#define BUILT_AVX2 ""
#endif
#ifdef CR_HAVE_AVX512
#define BUILT_AVX512 " avx512"
#else
#define BUILT_AVX512 ""
#endif
#ifdef CR_HAVE_AVX512_BF16
#define BUILT_AVX512_BF16 " avx512_bf16"
#else
#define BUILT_AVX512_BF16 ""
#endif
#ifdef CR_HAVE_AMX_BF16
#define BUILT_AMX_BF16 " amx_bf16"
#else
#define BUILT_AMX_BF16 ""
#endif

static pthread_once_t detect_once = PTHREAD_ONCE_INIT;
static cr_isa isa_in_use = CR_ISA_PORTABLE;
static char cpu_name[64] = "unknown";
static char cpu_features[256];
static int64_t cache_sizes[CACHE_LEVELS];

const char *cr_version(void)
{
    return CR_VERSION;
}

const char *cr_build_description(void)
{
    return CR_COMPILER
        " " CR_BUILD_TYPE
        ", kernels portable" BUILT_AVX2 BUILT_AVX512 BUILT_AVX512_BF16 BUILT_AMX_BF16;
}

static const char *const isa_names[] = {
#define ISA_NAME(name, word) word,
    CR_ISA_TABLE(ISA_NAME)
#undef ISA_NAME
};

const char *cr_isa_name(cr_isa isa)
{
    return (unsigned)isa < CR_ISA_COUNT ? isa_names[isa] : "unknown";
}

#if defined(__x86_64__)
/* Leaf 1, ECX bit 29, and leaf 7, subleaf 1, EAX bit 5: not every supported compiler can ask for
 * these two by name. That the system saves their registers is seen from the sets they extend. */
static bool has_f16c(void)
{
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx") && __get_cpuid(1, &eax, &ebx, &ecx, &edx) &&
           (ecx >> 29 & 1);
}

static bool has_avx512_bf16(void)
{
    unsigned eax, ebx, ecx, edx;
    return __builtin_cpu_supports("avx512f") && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
           (eax >> 5 & 1);
}

/* Leaf 7: EDX bits 22 and 24 are AMX-BF16 and AMX's tiles. */
static bool has_amx_bf16(void)
{
    unsigned eax, ebx, ecx, edx;
    return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 22 & 1) && (edx >> 24 & 1);
}

#ifdef CR_HAVE_AMX_BF16
/* The tiles' registers are large, so Linux wants to be asked once before a process uses them
 * (arch_prctl, from 5.16); a kernel that does not know the request refuses it. */
static bool tiles_granted(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}
#endif

#ifdef CR_HAVE_AVX512_BF16
/* Intel's AVX512-BF16 has half the rate of float32's arithmetic or less; AMD's has twice. */
static bool has_fast_avx512_bf16(void)
{
    return has_avx512_bf16() && !__builtin_cpu_is("intel");
}
#endif

static cr_isa strongest_isa(void)
{
    cr_isa strongest = CR_ISA_PORTABLE;
#ifdef CR_HAVE_AVX2
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c())
        strongest = CR_ISA_AVX2;
#endif
#ifdef CR_HAVE_AVX512
    if (strongest == CR_ISA_AVX2 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl"))
        strongest = CR_ISA_AVX512;
#endif
#ifdef CR_HAVE_AVX512_BF16
    if (strongest == CR_ISA_AVX512 && has_fast_avx512_bf16())
        strongest = CR_ISA_AVX512_BF16;
#endif
#ifdef CR_HAVE_AMX_BF16
    if (strongest >= CR_ISA_AVX512 && has_avx512_bf16() && has_amx_bf16() && tiles_granted())
        strongest = CR_ISA_AMX_BF16;
#endif
    return strongest;
}

static void add_feature(bool present, const char *word)
{
    size_t used = strlen(cpu_features);
    if (present)
        snprintf(cpu_features + used, sizeof(cpu_features) - used, "%s%s", used ? " " : "", word);
}

static void detect_features(void)
{
    add_feature(__builtin_cpu_supports("sse4.2"), "sse4_2");
    add_feature(__builtin_cpu_supports("avx"), "avx");
    add_feature(has_f16c(), "f16c");
    add_feature(__builtin_cpu_supports("fma"), "fma");
    add_feature(__builtin_cpu_supports("avx2"), "avx2");
    add_feature(__builtin_cpu_supports("avx512f"), "avx512f");
    add_feature(__builtin_cpu_supports("avx512bw"), "avx512bw");
    add_feature(__builtin_cpu_supports("avx512dq"), "avx512dq");
    add_feature(__builtin_cpu_supports("avx512vl"), "avx512vl");
    add_feature(__builtin_cpu_supports("avx512vnni"), "avx512_vnni");
    add_feature(has_avx512_bf16(), "avx512_bf16");
    add_feature(has_amx_bf16(), "amx_bf16");
}

/* The brand string: 48 bytes in three leaves, padded with blanks. */
static void detect_name(void)
{
    unsigned words[12];
    char brand[sizeof(words) + 1] = { 0 };
    for (unsigned i = 0; i < 3; i++) {
        unsigned *w = words + 4 * i;
        if (!__get_cpuid(0x80000002u + i, &w[0], &w[1], &w[2], &w[3]))
            return;
    }
    memcpy(brand, words, sizeof(words));
    const char *start = brand + strspn(brand, " ");
    size_t length = strlen(start);
    while (length > 0 && start[length - 1] == ' ')
        length--;
    if (length > 0)
        snprintf(cpu_name, sizeof(cpu_name), "%.*s", (int)length, start);
}
#else
static cr_isa strongest_isa(void)
{
    return CR_ISA_PORTABLE;
}

static void detect_features(void)
{
}

static void detect_name(void)
{
}
#endif

/* The set that CRESSET_ISA names, if it is weaker than what the processor has. */
static cr_isa weaken(cr_isa strongest)
{
    const char *wanted = getenv("CRESSET_ISA");
    for (int isa = 0; wanted && isa < (int)strongest; isa++)
        if (strcmp(wanted, isa_names[isa]) == 0)
            return (cr_isa)isa;
    return strongest;
}

/* One line of a small file of the system, without its newline. */
static bool read_line(const char *path, char *line, int size)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return false;
    bool good = fgets(line, size, file) != NULL;
    fclose(file);
    if (good)
        line[strcspn(line, "\n")] = '\0';
    return good;
}

/* A size as sysfs writes it: "48K", "32M" or plain bytes. */
static int64_t parse_cache_size(const char *text)
{
    char *unit;
    long long size = strtoll(text, &unit, 10);
    int shift = *unit == 'K' ? 10 : *unit == 'M' ? 20 : 0;
    return size > 0 && size < (1LL << 40) ? (int64_t)size << shift : 0;
}

/* The caches of the first processor that hold data, from sysfs; else what the C library knows. */
static void detect_caches(void)
{
    for (int index = 0; index < 8; index++) {
        const char *const fields[] = { "level", "type", "size" };
        char values[3][32];
        bool good = true;
        for (int f = 0; good && f < 3; f++) {
            char path[96];
            snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index,
                     fields[f]);
            good = read_line(path, values[f], (int)sizeof(values[f]));
        }
        int level = good ? values[0][0] - '0' : 0;
        if (level >= 1 && level <= CACHE_LEVELS && strcmp(values[1], "Instruction") != 0)
            cache_sizes[level - 1] = parse_cache_size(values[2]);
    }
    const int names[CACHE_LEVELS] = { _SC_LEVEL1_DCACHE_SIZE, _SC_LEVEL2_CACHE_SIZE,
                                      _SC_LEVEL3_CACHE_SIZE };
    for (int level = 0; level < CACHE_LEVELS; level++)
        if (cache_sizes[level] == 0)
            cache_sizes[level] = CR_MAX(sysconf(names[level]), 0L);
}

static void detect(void)
{
    isa_in_use = weaken(strongest_isa());
    detect_features();
    detect_name();
    detect_caches();
}

cr_isa cr_cpu_isa(void)
{
    pthread_once(&detect_once, detect);
    return isa_in_use;
}

const char *cr_cpu_name(void)
{
    pthread_once(&detect_once, detect);
    return cpu_name;
}

const char *cr_cpu_features(void)
{
    pthread_once(&detect_once, detect);
    return cpu_features;
}

int64_t cr_cpu_cache(int level)
{
    pthread_once(&detect_once, detect);
    return level >= 1 && level <= CACHE_LEVELS ? cache_sizes[level - 1] : 0;
}

double cr_clock_seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* A field of /proc/self/status that is given in kB, in bytes. */
static int64_t process_status(const char *field)
{
    FILE *file = fopen("/proc/self/status", "re");
    if (!file)
        return 0;
    char line[256];
    long long kilobytes = 0;
    size_t length = strlen(field);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, length) == 0 && line[length] == ':') {
            kilobytes = strtoll(line + length + 1, NULL, 10);
            break;
        }
    }
    fclose(file);
    return (int64_t)kilobytes * 1024;
}

int64_t cr_process_memory(void)
{
    return process_status("VmRSS");
}

int64_t cr_process_memory_peak(void)
{
    return process_status("VmHWM");
}

static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
static cr_log_sink log_sink;
static void *log_context;

void cr_log_set_sink(cr_log_sink sink, void *context)
{
    pthread_mutex_lock(&log_lock);
    log_sink = sink;
    log_context = context;
    pthread_mutex_unlock(&log_lock);
}

void cr_log_message(cr_log_level level, const char *format, ...)
{
    pthread_mutex_lock(&log_lock);
    cr_log_sink sink = log_sink;
    void *context = log_context;
    pthread_mutex_unlock(&log_lock);
    if (!sink)
        return;
    char line[LOG_LINE_SIZE];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(line, sizeof(line), format, arguments);
    va_end(arguments);
    sink(level, line, context);
}
