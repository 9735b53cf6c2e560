/* The allocator of small records: the system's, with sizes checked for overflow, a count of live
 * blocks that tests watch for leaks, and the fault injection that fails a chosen allocation of
 * either kind. The data of tensors come from buffers.c. */
#include "base/base.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic uint64_t live_blocks;

/* Allocations asked for since the last cr_memory_fail_after, and how many of them may succeed. One
 * addition and one comparison are all that injection costs while it is off. */
static _Atomic uint64_t asked;
static _Atomic uint64_t allowed = UINT64_MAX;

bool base_memory_admit(void)
{
    uint64_t number = atomic_fetch_add_explicit(&asked, 1, memory_order_relaxed);
    return CR_LIKELY(number < atomic_load_explicit(&allowed, memory_order_relaxed));
}

uint64_t cr_memory_fail_after(int64_t successes)
{
    atomic_store(&allowed, UINT64_MAX);
    uint64_t count = atomic_exchange(&asked, 0);
    if (successes >= 0)
        atomic_store(&allowed, (uint64_t)successes);
    return count;
}

void *base_memory_exhausted(size_t size)
{
    if (size > PTRDIFF_MAX)
        cr_error_set(CR_ERROR_MEMORY, "out of memory: more was asked for than can be addressed");
    else
        cr_error_set(CR_ERROR_MEMORY, "out of memory: %zu bytes could not be allocated", size);
    return NULL;
}

uint64_t base_memory_live_blocks(void)
{
    return atomic_load_explicit(&live_blocks, memory_order_relaxed);
}

static void *count_block(void *block, size_t size)
{
    if (!block)
        return base_memory_exhausted(size);
    atomic_fetch_add_explicit(&live_blocks, 1, memory_order_relaxed);
    return block;
}

void *cr_alloc(size_t size)
{
    bool possible = base_memory_admit() && size <= PTRDIFF_MAX;
    return count_block(possible ? malloc(CR_MAX(size, (size_t)1)) : NULL, size);
}

void *cr_alloc_array(size_t count, size_t size)
{
    size_t bytes;
    if (!cr_multiply_checked(count, size, &bytes))
        bytes = SIZE_MAX;
    return cr_alloc(bytes);
}

void *cr_alloc_zeroed(size_t count, size_t size)
{
    size_t bytes;
    if (!cr_multiply_checked(count, size, &bytes))
        bytes = SIZE_MAX;
    bool possible = base_memory_admit() && bytes <= PTRDIFF_MAX;
    return count_block(possible ? calloc(CR_MAX(bytes, (size_t)1), 1) : NULL, bytes);
}

void *cr_resize(void *block, size_t count, size_t size)
{
    if (!block)
        return cr_alloc_array(count, size);
    size_t bytes;
    if (!cr_multiply_checked(count, size, &bytes))
        bytes = SIZE_MAX;
    bool possible = base_memory_admit() && bytes <= PTRDIFF_MAX;
    void *resized = possible ? realloc(block, CR_MAX(bytes, (size_t)1)) : NULL;
    return resized ? resized : base_memory_exhausted(bytes);
}

void cr_free(void *block)
{
    if (!block)
        return;
    atomic_fetch_sub_explicit(&live_blocks, 1, memory_order_relaxed);
    free(block);
}

char *cr_string_copy(const char *string)
{
    size_t size = strlen(string) + 1;
    char *copy = cr_alloc(size);
    if (copy)
        memcpy(copy, string, size);
    return copy;
}
