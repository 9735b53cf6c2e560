/* The caching allocator for the data of tensors.
 *
 * Small buffers come from the system in size classes, eight to a doubling, and go back to the list
 * of their class: the next buffer of the class is one step away. Large ones are cut from segments
 * mapped from the system: the smallest free block that fits is split, and a released block is
 * joined with its free neighbours, so that varying sizes do not pile up. Before a new segment is
 * mapped, segments that are free as a whole and proved too small go back to the system, so that
 * the peak follows what is needed at once and not the sum of all that was ever needed.
 *
 * A block of a segment has its header before it. Under AddressSanitizer there is no caching: each
 * buffer is a block of the system, so that overruns and leaks are found. */
#include "base/base.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifdef CR_ADDRESS_SANITIZER
#define CACHING false
#else
#define CACHING true
#endif

#define ALIGNMENT    ((size_t)64)
#define MEBIBYTE     ((size_t)1 << 20)
#define LARGE_SIZE   MEBIBYTE        /* from here on buffers are cut from segments */
#define SEGMENT_SIZE (32 * MEBIBYTE) /* the smallest segment */
#define HUGE_PAGE    (2 * MEBIBYTE)  /* segments start and end on one: a fault then maps it whole */

/* A remainder smaller than this stays with the block that is cut. */
#define SMALLEST_REST ((size_t)64 << 10)

/* Released small buffers beyond this go back to the system. */
#define SMALL_CACHE_LIMIT (256 * MEBIBYTE)

/* Classes of the sizes below LARGE_SIZE, and of all that an address can be. */
#define SMALL_CLASSES 96
#define CLASSES       448

/* The header of a block in a segment; its data follow, up to the next header. */
typedef struct block {
    CR_ALIGNED(64) size_t size; /* of the data */
    struct block *before;       /* the neighbour at the lower address; NULL in the first block */
    struct block *next_free;    /* in the list of its class, while free */
    struct block *previous_free;
    bool last; /* no neighbour at the higher address */
    bool free;
} block;

/* A released small buffer. */
typedef struct small_buffer {
    struct small_buffer *next;
} small_buffer;

/* Told, with the lock held, of each buffer that is handed out and, before it comes back, of its
 * return; NULL while nobody is. Only the trace of memory (src/profile) sets it, and declares it for
 * itself, as it is no part of what base offers. It must not ask for buffers. */
_Atomic(void (*)(const void *buffer, size_t size, bool is_new, size_t cached)) buffers_watcher;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static cr_memory_stats stats;
static size_t small_cached;
static small_buffer *small_lists[SMALL_CLASSES];
static block *free_lists[CLASSES];
static uint64_t nonempty[CLASSES / 64]; /* a bit for each list of free_lists */

/* The first class that holds size bytes. Classes 0 to 7 are 1 to 8 units of 64 bytes; after them
 * come eight to each doubling, which wastes at most one part in nine. */
static int class_of(size_t size)
{
    size_t units = CR_MAX(CR_DIV_UP(size, ALIGNMENT), (size_t)1);
    if (units <= 8)
        return (int)units - 1;
    int shift = 60 - __builtin_clzll((unsigned long long)units - 1);
    return 8 * shift + (int)((units - 1) >> shift);
}

static size_t class_size(int bin)
{
    if (bin < 8)
        return (size_t)(bin + 1) * ALIGNMENT;
    int shift = (bin - 8) / 8;
    return (size_t)(bin % 8 + 9) * ALIGNMENT << shift;
}

/* The last class that a block of this size can serve. */
static int class_served_by(size_t size)
{
    int bin = class_of(size);
    return class_size(bin) > size ? bin - 1 : bin;
}

static void list_add(block *b)
{
    int bin = class_served_by(b->size);
    b->free = true;
    b->previous_free = NULL;
    b->next_free = free_lists[bin];
    if (b->next_free)
        b->next_free->previous_free = b;
    free_lists[bin] = b;
    nonempty[bin / 64] |= (uint64_t)1 << bin % 64;
    stats.cached += b->size;
}

static void list_remove(block *b)
{
    int bin = class_served_by(b->size);
    if (b->previous_free)
        b->previous_free->next_free = b->next_free;
    else
        free_lists[bin] = b->next_free;
    if (b->next_free)
        b->next_free->previous_free = b->previous_free;
    if (!free_lists[bin])
        nonempty[bin / 64] &= ~((uint64_t)1 << bin % 64);
    b->free = false;
    stats.cached -= b->size;
}

/* The first class from `bin` on with a free block; CLASSES if there is none. */
static int next_nonempty(int bin)
{
    for (int word = bin / 64; word < CLASSES / 64; word++) {
        uint64_t bits = nonempty[word];
        if (word == bin / 64)
            bits &= UINT64_MAX << bin % 64;
        if (bits)
            return 64 * word + __builtin_ctzll(bits);
    }
    return CLASSES;
}

/* The smallest free block of at least size bytes. Only the first list may hold ones too small. */
static block *best_fit(size_t size)
{
    int bin = next_nonempty(class_served_by(size));
    for (; bin < CLASSES; bin = next_nonempty(bin + 1)) {
        block *best = NULL;
        for (block *b = free_lists[bin]; b; b = b->next_free)
            if (b->size >= size && (!best || b->size < best->size))
                best = b;
        if (best)
            return best;
    }
    return NULL;
}

static block *neighbour_after(block *b)
{
    return b->last ? NULL : (block *)((char *)(b + 1) + b->size);
}

/* Cuts what is beyond size bytes off and frees it, if it is worth it. */
static void split(block *b, size_t size)
{
    if (b->size < size + sizeof(block) + SMALLEST_REST)
        return;
    block *rest = (block *)((char *)(b + 1) + size);
    rest->size = b->size - size - sizeof(block);
    rest->before = b;
    rest->last = b->last;
    b->size = size;
    b->last = false;
    block *after = neighbour_after(rest);
    if (after)
        after->before = rest;
    list_add(rest);
}

/* Makes one of b and the block after it, neither of which is in a list. */
static void join_with_next(block *b)
{
    block *after = neighbour_after(b);
    b->size += sizeof(block) + after->size;
    b->last = after->last;
    after = neighbour_after(b);
    if (after)
        after->before = b;
}

static void large_free(block *b)
{
    block *after = neighbour_after(b);
    if (after && after->free) {
        list_remove(after);
        join_with_next(b);
    }
    if (b->before && b->before->free) {
        b = b->before;
        list_remove(b);
        join_with_next(b);
    }
    list_add(b);
}

/* Unmaps segments that are free as a whole until `wanted` bytes are given back or none is left. */
static void release_segments(size_t wanted)
{
    size_t released = 0;
    for (int bin = next_nonempty(0); bin < CLASSES; bin = next_nonempty(bin + 1)) {
        for (block *b = free_lists[bin], *next; b && released < wanted; b = next) {
            next = b->next_free;
            if (b->before || !b->last)
                continue;
            list_remove(b);
            released += b->size;
            munmap(b, sizeof(block) + b->size);
        }
    }
}

/* A new segment for a block of size bytes, as one block in no list; NULL if the system refuses. */
static block *segment_map(size_t size)
{
    size_t bytes = CR_MAX(size + sizeof(block), SEGMENT_SIZE);
    bytes = CR_DIV_UP(bytes, HUGE_PAGE) * HUGE_PAGE;
    char *mapped =
        mmap(NULL, bytes + HUGE_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped == MAP_FAILED)
        return NULL;
    size_t skipped = (HUGE_PAGE - (uintptr_t)mapped % HUGE_PAGE) % HUGE_PAGE;
    if (skipped > 0)
        munmap(mapped, skipped);
    munmap(mapped + skipped + bytes, HUGE_PAGE - skipped);
    /* A page fault a huge page instead of one every 4 KiB; without them all works as well. */
    madvise(mapped + skipped, bytes, MADV_HUGEPAGE);
    block *b = (block *)(mapped + skipped);
    b->size = bytes - sizeof(block);
    b->before = NULL;
    b->last = true;
    b->free = false;
    return b;
}

static void release_small(void)
{
    for (int bin = 0; bin < SMALL_CLASSES; bin++) {
        while (small_lists[bin]) {
            small_buffer *first = small_lists[bin];
            small_lists[bin] = first->next;
            free(first);
        }
    }
    stats.cached -= small_cached;
    small_cached = 0;
}

static void release_all(void)
{
    release_small();
    release_segments(SIZE_MAX);
}

static void *large_take(size_t size)
{
    size = CR_DIV_UP(size, ALIGNMENT) * ALIGNMENT;
    block *b = best_fit(size);
    if (b) {
        list_remove(b);
    } else {
        release_segments(size);
        b = segment_map(size);
        if (!b) {
            release_all();
            b = segment_map(size);
        }
        if (!b)
            return NULL;
        stats.system++;
    }
    split(b, size);
    return b + 1;
}

static void *small_take(size_t size)
{
    int bin = class_of(size);
    small_buffer *first = small_lists[bin];
    if (CR_LIKELY(first != NULL)) {
        small_lists[bin] = first->next;
        small_cached -= class_size(bin);
        stats.cached -= class_size(bin);
        return first;
    }
    void *fresh = aligned_alloc(ALIGNMENT, class_size(bin));
    if (!fresh) {
        release_all();
        fresh = aligned_alloc(ALIGNMENT, class_size(bin));
    }
    stats.system += fresh != NULL;
    return fresh;
}

static void small_give(void *buffer, size_t size)
{
    int bin = class_of(size);
    if (small_cached + class_size(bin) > SMALL_CACHE_LIMIT) {
        free(buffer);
        return;
    }
    small_buffer *released = buffer;
    released->next = small_lists[bin];
    small_lists[bin] = released;
    small_cached += class_size(bin);
    stats.cached += class_size(bin);
}

static void *take(size_t size)
{
    if (CACHING)
        return size < LARGE_SIZE ? small_take(size) : large_take(size);
    void *buffer = NULL;
    if (posix_memalign(&buffer, ALIGNMENT, CR_MAX(size, (size_t)1)) != 0)
        return NULL;
    stats.system++;
    return buffer;
}

static void give(void *buffer, size_t size)
{
    if (!CACHING)
        free(buffer);
    else if (size < LARGE_SIZE)
        small_give(buffer, size);
    else
        large_free((block *)buffer - 1);
}

CR_INLINE void tell_watcher(const void *buffer, size_t size, bool is_new)
{
    void (*watcher)(const void *, size_t, bool, size_t) =
        atomic_load_explicit(&buffers_watcher, memory_order_relaxed);
    if (CR_UNLIKELY(watcher != NULL))
        watcher(buffer, size, is_new, stats.cached);
}

void *cr_buffer_alloc(size_t size)
{
    /* Half the address space leaves room for every rounding up. */
    if (!base_memory_admit() || size > PTRDIFF_MAX / 2)
        return base_memory_exhausted(size);
    pthread_mutex_lock(&lock);
    stats.requests++;
    void *buffer = take(size);
    if (buffer) {
        stats.in_use += size;
        stats.peak = CR_MAX(stats.peak, stats.in_use);
        tell_watcher(buffer, size, true);
    }
    pthread_mutex_unlock(&lock);
    return CR_LIKELY(buffer != NULL) ? buffer : base_memory_exhausted(size);
}

void cr_buffer_free(void *buffer, size_t size)
{
    if (!buffer)
        return;
    pthread_mutex_lock(&lock);
    tell_watcher(buffer, size, false);
    stats.in_use -= size;
    give(buffer, size);
    pthread_mutex_unlock(&lock);
}

cr_memory_stats cr_memory_get_stats(void)
{
    pthread_mutex_lock(&lock);
    cr_memory_stats copy = stats;
    pthread_mutex_unlock(&lock);
    copy.small = base_memory_live_blocks();
    return copy;
}

void cr_memory_reset_peak(void)
{
    pthread_mutex_lock(&lock);
    stats.peak = stats.in_use;
    pthread_mutex_unlock(&lock);
}

void cr_memory_trim(void)
{
    pthread_mutex_lock(&lock);
    release_all();
    pthread_mutex_unlock(&lock);
}
