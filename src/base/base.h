/* What every source file may assume of the compiler, and what base shares with the folders above
 * it but not with users. */
#ifndef CR_BASE_H
#define CR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cresset/error.h"
#include "cresset/memory.h"
#include "cresset/random.h"
#include "cresset/system.h"
#include "cresset/text.h"
#include "cresset/thread.h"

/* Compiler extensions, the only place for them. */
#define CR_LIKELY(condition)   __builtin_expect(!!(condition), 1)
#define CR_UNLIKELY(condition) __builtin_expect(!!(condition), 0)
#define CR_UNUSED              __attribute__((unused))
#define CR_INLINE              static inline __attribute__((always_inline, unused))
#define CR_NOINLINE            __attribute__((noinline))
#define CR_RESTRICT            __restrict__
#define CR_THREAD_LOCAL        _Thread_local
#define CR_ALIGNED(bytes)      __attribute__((aligned(bytes)))
#define CR_CONSTRUCTOR         __attribute__((constructor))
#define CR_PREFETCH(address)   __builtin_prefetch(address)
#define CR_OPAQUE(value)       __asm__("" : "+r"(value)) /* the compiler knows nothing of it */

/* Before a loop whose turns do not depend on each other, though its pointers may be equal. */
#ifdef __clang__
#define CR_INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#else
#define CR_INDEPENDENT _Pragma("GCC ivdep")
#endif

/* Defined when AddressSanitizer watches: then nothing may hide a block from it by caching. */
#if defined(__SANITIZE_ADDRESS__)
#define CR_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CR_ADDRESS_SANITIZER 1
#endif
#endif

#define CR_COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))
#define CR_MIN(a, b)       ((a) < (b) ? (a) : (b))
#define CR_MAX(a, b)       ((a) > (b) ? (a) : (b))
#define CR_DIV_UP(a, b)    ((a) / (b) + ((a) % (b) != 0))

/* A kernel source is compiled once for each instruction set; there CR_ISA_SUFFIX is the set's word
 * and CR_ISA_NAME(f) is f_avx512 and so on. Each such file defines one table of functions under a
 * suffixed name, of which kernels/variants.h picks one. */
#ifdef CR_ISA_SUFFIX
#define CR_JOIN_(a, b)    a##_##b
#define CR_JOIN(a, b)     CR_JOIN_(a, b)
#define CR_ISA_NAME(name) CR_JOIN(name, CR_ISA_SUFFIX)
#endif

/* a * b and a + b in *result; false on overflow. */
CR_INLINE bool cr_multiply_checked(size_t a, size_t b, size_t *result)
{
    return !__builtin_mul_overflow(a, b, result);
}

CR_INLINE bool cr_add_checked(size_t a, size_t b, size_t *result)
{
    return !__builtin_add_overflow(a, b, result);
}

/* Between the two allocators of this folder: counts an allocation and says whether fault injection
 * lets it succeed; records CR_ERROR_MEMORY and returns NULL; live blocks of cr_alloc. */
bool base_memory_admit(void);
void *base_memory_exhausted(size_t size);
uint64_t base_memory_live_blocks(void);

#endif
