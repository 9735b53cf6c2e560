/* Memory: one allocator for everything.
 *
 * Small records come from cr_alloc and its kin; the data of tensors come from a caching allocator
 * (cr_buffer_alloc), which keeps released blocks for the next use, so that a training loop reaches
 * a steady state in which it asks the system for nothing. All functions are thread-safe. A failed
 * allocation records CR_ERROR_MEMORY and returns NULL. */
#ifndef CRESSET_MEMORY_H
#define CRESSET_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* size bytes, not zeroed; size 0 is legal and gives a block that can be freed. */
void *cr_alloc(size_t size);

/* count * size bytes, overflow checked; the first not zeroed, the second zeroed. */
void *cr_alloc_array(size_t count, size_t size);
void *cr_alloc_zeroed(size_t count, size_t size);

/* A block from cr_alloc (or NULL) grown or shrunk to count * size bytes. NULL on failure, and then
 * the old block stands. */
void *cr_resize(void *block, size_t count, size_t size);

/* Frees what cr_alloc and its kin gave; NULL is legal. */
void cr_free(void *block);

/* A copy of a string, to be freed with cr_free. */
char *cr_string_copy(const char *string);

/* A 64-byte aligned block for tensor data from the caching allocator, and its return. The size
 * given back must be the size asked for. */
void *cr_buffer_alloc(size_t size);
void cr_buffer_free(void *block, size_t size);

typedef struct cr_memory_stats {
    size_t in_use;     /* bytes of buffers handed out now */
    size_t peak;       /* the most that was handed out at once since the start or the last reset */
    size_t cached;     /* bytes kept for the next use */
    uint64_t requests; /* buffers asked for */
    uint64_t system;   /* of these, how many had to go to the system */
    uint64_t small;    /* live blocks of cr_alloc; what a leak test watches */
} cr_memory_stats;

cr_memory_stats cr_memory_get_stats(void);
void cr_memory_reset_peak(void);

/* Gives the cached blocks back to the system. */
void cr_memory_trim(void);

/* For tests: lets the next `successes` allocations (of either kind, in any thread) succeed and
 * every one after them fail, until called with a negative number. Returns how many allocations were
 * asked for since the last call. */
uint64_t cr_memory_fail_after(int64_t successes);

#ifdef __cplusplus
}
#endif
#endif
