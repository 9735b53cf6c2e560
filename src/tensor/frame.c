/* Frames: each thread has a stack of the tensors it owns; a frame is a mark in that stack.
 *
 * A frame remembers, besides its mark, the serial number it was opened under. Serials of open
 * frames rise with their marks, so ending one that an outer frame's end already ended does nothing.
 */
#include <pthread.h>

#include "tensor/tensor.h"

struct frame_stack {
    cr_tensor **owned;
    size_t count;
    size_t capacity;
    uint64_t *serials; /* of the open frames */
    size_t open;
    size_t open_capacity;
    uint64_t next_serial;
};

static CR_THREAD_LOCAL struct frame_stack stack;

static pthread_key_t at_thread_end;
static bool has_key;
static pthread_once_t key_once = PTHREAD_ONCE_INIT;

static void end_with_thread(void *mark)
{
    (void)mark;
    cr_frame_end_all();
}

static void make_key(void)
{
    has_key = pthread_key_create(&at_thread_end, end_with_thread) == 0;
}

/* Has the stack of this thread freed as the thread ends, whatever the thread forgets. */
static void watch_thread(void)
{
    pthread_once(&key_once, make_key);
    if (has_key)
        pthread_setspecific(at_thread_end, &stack);
}

cr_frame cr_frame_begin(void)
{
    cr_frame frame = { stack.count, 0 };
    if (stack.open == stack.open_capacity) {
        if (!stack.open_capacity)
            watch_thread();
        size_t capacity = stack.open_capacity ? 2 * stack.open_capacity : 16;
        uint64_t *serials = cr_resize(stack.serials, capacity, sizeof *serials);
        if (!serials)
            return frame; /* serial 0: ending it does nothing, the frame around it owns all */
        stack.serials = serials;
        stack.open_capacity = capacity;
    }
    frame.serial = ++stack.next_serial;
    stack.serials[stack.open++] = frame.serial;
    return frame;
}

/* Drops the frame and those above it from the list of open ones; false if it is not open. */
static bool frame_close(cr_frame frame)
{
    size_t open = stack.open;
    while (open && stack.serials[open - 1] > frame.serial)
        open--;
    if (!frame.serial || !open || stack.serials[open - 1] != frame.serial)
        return false;
    stack.open = open - 1;
    return true;
}

void cr_frame_end(cr_frame frame)
{
    if (!frame_close(frame))
        return;
    while (stack.count > frame.mark)
        cr_release(stack.owned[--stack.count]);
}

cr_tensor *cr_frame_end_with(cr_frame frame, cr_tensor *tensor)
{
    cr_retain(tensor);
    cr_frame_end(frame);
    return cr_frame_add(tensor);
}

void cr_frame_end_with_all(cr_frame frame, cr_tensor *const *tensors, int count)
{
    for (int i = 0; i < count; i++)
        cr_retain(tensors[i]);
    cr_frame_end(frame);
    for (int i = 0; i < count; i++)
        cr_frame_add(tensors[i]);
}

void cr_frame_end_all(void)
{
    while (stack.count)
        cr_release(stack.owned[--stack.count]);
    cr_free(stack.owned);
    cr_free(stack.serials);
    uint64_t serial = stack.next_serial;
    stack = (struct frame_stack){ .next_serial = serial };
}

cr_tensor *cr_frame_add(cr_tensor *tensor)
{
    if (!tensor)
        return NULL;
    if (stack.count == stack.capacity) {
        if (!stack.capacity)
            watch_thread();
        size_t capacity = stack.capacity ? 2 * stack.capacity : 64;
        cr_tensor **owned = cr_resize(stack.owned, capacity, sizeof(cr_tensor *));
        if (!owned) {
            cr_release(tensor);
            return NULL;
        }
        stack.owned = owned;
        stack.capacity = capacity;
    }
    stack.owned[stack.count++] = tensor;
    return tensor;
}
