/* What is around the library: version, processor, clock, log. */
#ifndef CRESSET_SYSTEM_H
#define CRESSET_SYSTEM_H

#include <stdbool.h>
#include <stdint.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the library, e.g. "0.1.0", and how it was built (compiler, type). */
const char *cr_version(void);
const char *cr_build_description(void);

/* Instruction sets that kernels are written for; of one kind of processor, weakest first. The one
 * in use is the strongest that the processor has, or the weaker one that CRESSET_ISA names;
 * avx512_bf16 is preferred only where it is faster than float32 (AMD's), amx_bf16 is there only
 * where the system grants its registers. neon is 64-bit ARM's, the others but portable x86-64's.
 * X(NAME, word). */
#define CR_ISA_TABLE(X)                                                                            \
    X(PORTABLE, "portable")                                                                        \
    X(NEON, "neon")                                                                                \
    X(AVX2, "avx2")                                                                                \
    X(AVX512, "avx512")                                                                            \
    X(AVX512_BF16, "avx512_bf16")                                                                  \
    X(AMX_BF16, "amx_bf16")

typedef enum cr_isa {
#define CR_ISA_ENUM(name, word) CR_ISA_##name,
    CR_ISA_TABLE(CR_ISA_ENUM)
#undef CR_ISA_ENUM
        CR_ISA_COUNT
} cr_isa;

cr_isa cr_cpu_isa(void);

/* True if a set is built in and the processor has it, and this system lets it be used. */
bool cr_cpu_has_isa(cr_isa isa);
const char *cr_isa_name(cr_isa isa);

/* The processor's model name, its instruction-set extensions that matter here (words parted by
 * spaces), and cache sizes in bytes (levels 1 to 3; 0 if unknown). */
const char *cr_cpu_name(void);
const char *cr_cpu_features(void);
int64_t cr_cpu_cache(int level);

/* Seconds on a clock that never goes back. */
double cr_clock_seconds(void);

/* Resident memory of this process in bytes: now, and at its highest. 0 if unknown. */
int64_t cr_process_memory(void);
int64_t cr_process_memory_peak(void);

/* Log lines go to the sink; without one they are dropped. Lines carry no newline. */
typedef enum cr_log_level { CR_LOG_DEBUG, CR_LOG_INFO, CR_LOG_WARNING } cr_log_level;
typedef void (*cr_log_sink)(cr_log_level level, const char *line, void *context);
void cr_log_set_sink(cr_log_sink sink, void *context);
void cr_log_message(cr_log_level level, const char *format, ...) CR_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
