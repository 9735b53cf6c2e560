/* Slots: pieces of a workspace of which each running task has one to itself.
 *
 * There are as many as threads, and a task takes any that is free, so it never waits for long. What
 * a task computes does not depend on which one it has. */
#include "kernels/gemm/gemm.h"

#define FLAGS_UNIT 64 /* bytes */

/* The slot that this thread had last, which is still in its cache. */
static CR_THREAD_LOCAL int64_t last_slot;

int64_t cr_slots_wanted(void)
{
    return cr_num_threads();
}

size_t cr_slots_size(int64_t count)
{
    return (size_t)CR_ROUND_UP(count * (int64_t)sizeof(atomic_flag), FLAGS_UNIT);
}

cr_slots cr_slots_make(void *memory, int64_t count)
{
    cr_slots slots = { .busy = memory, .count = count };
    for (int64_t i = 0; i < count; i++)
        atomic_flag_clear_explicit(&slots.busy[i], memory_order_relaxed);
    return slots;
}

int64_t cr_slot_take(const cr_slots *slots)
{
    int64_t slot = last_slot < slots->count ? last_slot : 0;
    while (atomic_flag_test_and_set_explicit(&slots->busy[slot], memory_order_acquire))
        slot = slot + 1 < slots->count ? slot + 1 : 0;
    last_slot = slot;
    return slot;
}

void cr_slot_release(const cr_slots *slots, int64_t slot)
{
    atomic_flag_clear_explicit(&slots->busy[slot], memory_order_release);
}
