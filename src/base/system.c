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
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#define LOG_LINE_SIZE 1024
#define CACHE_LEVELS  3

#define BIT(isa) (1u << CR_ISA_##isa)

/* The sets that kernels were built for. */
static const unsigned built = BIT(PORTABLE)
#ifdef CR_HAVE_NEON
                              | BIT(NEON)
#endif
#ifdef CR_HAVE_AVX2
                              | BIT(AVX2)
#endif
#ifdef CR_HAVE_AVX512
                              | BIT(AVX512)
#endif
#ifdef CR_HAVE_AVX512_BF16
                              | BIT(AVX512_BF16)
#endif
#ifdef CR_HAVE_AMX_BF16
                              | BIT(AMX_BF16)
#endif
    ;

static pthread_once_t detect_once = PTHREAD_ONCE_INIT;
static unsigned available; /* the sets that are built, and there */
static cr_isa isa_in_use = CR_ISA_PORTABLE;
static char build_description[256];
static char cpu_name[64] = "unknown";
static char cpu_features[256];
static int64_t cache_sizes[CACHE_LEVELS];

const char *cr_version(void)
{
    return CR_VERSION;
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

static void add_word(char *text, size_t size, bool present, const char *word)
{
    size_t used = strlen(text);
    if (present)
        snprintf(text + used, size - used, "%s%s", used ? " " : "", word);
}

static void add_feature(bool present, const char *word)
{
    add_word(cpu_features, sizeof(cpu_features), present, word);
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

/* The tiles' registers are large, so Linux wants to be asked once before a process uses them
 * (arch_prctl, from 5.16); a kernel that does not know the request refuses it. */
static bool tiles_granted(void)
{
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };
    return syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static bool has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") && has_f16c();
}

static bool has_avx512(void)
{
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

static unsigned present_isas(void)
{
    unsigned present = BIT(PORTABLE);
    if (has_avx2())
        present |= BIT(AVX2);
    if (!has_avx512())
        return present;
    present |= BIT(AVX512);
    if (has_avx512_bf16())
        present |= BIT(AVX512_BF16);
    if (built & BIT(AMX_BF16) && has_avx512_bf16() && has_amx_bf16() && tiles_granted())
        present |= BIT(AMX_BF16);
    return present;
}

/* Intel's AVX512-BF16 has half the rate of float32's arithmetic or less; AMD's has twice. */
static bool is_slow(cr_isa isa)
{
    return isa == CR_ISA_AVX512_BF16 && __builtin_cpu_is("intel");
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
#elif defined(__aarch64__)
static unsigned present_isas(void)
{
    return BIT(PORTABLE) | (getauxval(AT_HWCAP) & HWCAP_ASIMD ? BIT(NEON) : 0);
}

static bool is_slow(cr_isa isa)
{
    (void)isa;
    return false;
}

static void detect_features(void)
{
    unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
    add_feature(first & HWCAP_ASIMD, "asimd");
    add_feature(first & HWCAP_ASIMDHP, "asimdhp");
    add_feature(first & HWCAP_ASIMDDP, "asimddp");
    add_feature(first & HWCAP_ASIMDFHM, "asimdfhm");
    add_feature(first & HWCAP_ATOMICS, "atomics");
    add_feature(first & HWCAP_SVE, "sve");
    add_feature(second & HWCAP2_SVE2, "sve2");
    add_feature(second & HWCAP2_I8MM, "i8mm");
    add_feature(second & HWCAP2_BF16, "bf16");
}

/* The identification register holds numbers; Linux lets a process read it where it says so. Of the
 * cores that are common in servers and boards, ARM's own have names here. */
static void detect_name(void)
{
    static const struct {
        unsigned part;
        const char *name;
    } cores[] = { { 0xd03, "Cortex-A53" },  { 0xd05, "Cortex-A55" },  { 0xd07, "Cortex-A57" },
                  { 0xd08, "Cortex-A72" },  { 0xd09, "Cortex-A73" },  { 0xd0a, "Cortex-A75" },
                  { 0xd0b, "Cortex-A76" },  { 0xd0c, "Neoverse-N1" }, { 0xd40, "Neoverse-V1" },
                  { 0xd41, "Cortex-A78" },  { 0xd44, "Cortex-X1" },   { 0xd46, "Cortex-A510" },
                  { 0xd47, "Cortex-A710" }, { 0xd49, "Neoverse-N2" }, { 0xd4f, "Neoverse-V2" } };
    if (!(getauxval(AT_HWCAP) & HWCAP_CPUID))
        return;
    uint64_t id;
    __asm__("mrs %0, MIDR_EL1" : "=r"(id));
    unsigned implementer = id >> 24 & 0xff, part = id >> 4 & 0xfff;
    snprintf(cpu_name, sizeof(cpu_name), "ARMv8, implementer 0x%02x, part 0x%03x", implementer,
             part);
    for (int i = 0; implementer == 0x41 && i < CR_COUNT_OF(cores); i++)
        if (cores[i].part == part)
            snprintf(cpu_name, sizeof(cpu_name), "ARM %s", cores[i].name);
}
#else
static unsigned present_isas(void)
{
    return BIT(PORTABLE);
}

static bool is_slow(cr_isa isa)
{
    (void)isa;
    return false;
}

static void detect_features(void)
{
}

static void detect_name(void)
{
}
#endif

static void detect_isas(void)
{
    const char *wanted = getenv("CRESSET_ISA");
    available = built & present_isas();
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        if (available >> isa & 1 && !is_slow((cr_isa)isa))
            isa_in_use = (cr_isa)isa;
    for (int isa = 0; wanted && isa < CR_ISA_COUNT; isa++)
        if (available >> isa & 1 && strcmp(wanted, isa_names[isa]) == 0)
            isa_in_use = (cr_isa)isa;
}

static void describe_build(void)
{
    snprintf(build_description, sizeof(build_description),
             CR_COMPILER " " CR_BUILD_TYPE ", kernels");
    for (int isa = 0; isa < CR_ISA_COUNT; isa++)
        add_word(build_description, sizeof(build_description), built >> isa & 1, isa_names[isa]);
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
    detect_isas();
    describe_build();
    detect_features();
    detect_name();
    detect_caches();
}

cr_isa cr_cpu_isa(void)
{
    pthread_once(&detect_once, detect);
    return isa_in_use;
}

bool cr_cpu_has_isa(cr_isa isa)
{
    pthread_once(&detect_once, detect);
    return (unsigned)isa < CR_ISA_COUNT && available >> isa & 1;
}

const char *cr_build_description(void)
{
    pthread_once(&detect_once, detect);
    return build_description;
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
