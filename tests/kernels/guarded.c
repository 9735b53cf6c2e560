/* Buffers between guards, and what is compared of them.
 *
 * Each buffer lies in a slot of its own between pages that cannot be touched, flush with one of
 * them in turn. The room that is left in its pages is filled with a pattern that must stay. A fault
 * is told by the handler of test_variants.c, which asks here what lies at the address. */
#include "guarded.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SLOTS      40
#define SLOT_BYTES ((size_t)16 << 20) /* of address space; only what is used becomes memory */
#define PATTERN    0x5a
#define GUARD      256 /* bytes on a side that are filled and looked at, at most */

enum role { OPERAND, RESULT, WORKSPACE };

struct buffer {
    enum role role;
    cr_dtype dtype;
    size_t bytes;
    char *data;
    size_t before, after; /* bytes of pattern */
    double relative, absolute;
    bool exact;
    char *first; /* an operand as it was, or what the portable variant wrote */
    size_t room; /* of `first` */
};

static struct buffer buffers[SLOTS];
static int used;
static char *arena;
static size_t page;

bool guarded_open(void)
{
    page = (size_t)sysconf(_SC_PAGESIZE);
    size_t all = SLOTS * (SLOT_BYTES + page) + page;
    arena =
        mmap(NULL, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return false;
    for (size_t i = 0; i <= SLOTS; i++)
        if (mprotect(arena + i * (SLOT_BYTES + page), page, PROT_NONE) != 0)
            return false;
    return true;
}

void guarded_begin(void)
{
    used = 0;
}

void guarded_end(void)
{
    for (int i = 0; i < SLOTS; i++) {
        cr_free(buffers[i].first);
        buffers[i].first = NULL;
        buffers[i].room = 0;
    }
}

const char *guarded_describe(const void *address)
{
    static char text[160];
    const char *at = address;
    for (int i = 0; i < used; i++) {
        const struct buffer *b = &buffers[i];
        if (at < b->data - page - GUARD || at >= b->data + b->bytes + page + GUARD)
            continue;
        snprintf(text, sizeof text, "buffer %d (%s of %zu bytes): byte %td", i,
                 b->role == OPERAND  ? "an operand"
                 : b->role == RESULT ? "a result"
                                     : "a workspace",
                 b->bytes, at - b->data);
        return text;
    }
    return "no buffer of the trial";
}

void *guarded_new(struct trial *t, cr_dtype dtype, size_t bytes, int alignment, bool is_workspace)
{
    if (used == SLOTS || bytes + 2 * GUARD > SLOT_BYTES) {
        guarded_fault("a case needs more or larger buffers than there are: %d, %zu bytes", used,
                      bytes);
        return NULL;
    }
    struct buffer *b = &buffers[used];
    char *slot = arena + (size_t)used * (SLOT_BYTES + page) + page;
    bool at_end = (t->number + used) % 2 == 0;
    size_t unit = (size_t)alignment;
    b->data = at_end ? slot + (SLOT_BYTES - bytes) / unit * unit : slot;
    size_t before = (size_t)(b->data - slot), after = SLOT_BYTES - before - bytes;
    b->before = CR_MIN(before, (size_t)GUARD);
    b->after = CR_MIN(after, (size_t)GUARD);
    b->role = is_workspace ? WORKSPACE : RESULT;
    b->dtype = dtype;
    b->bytes = bytes;
    memset(b->data - b->before, PATTERN, b->before);
    memset(b->data, 0xff, bytes);
    memset(b->data + bytes, PATTERN, b->after);
    used++;
    return b->data;
}

static void keep(struct buffer *b)
{
    if (b->room < b->bytes + 1) {
        cr_free(b->first);
        b->room = b->bytes + 1;
        b->first = cr_alloc(b->room);
    }
    if (b->first)
        memcpy(b->first, b->data, b->bytes);
    else
        guarded_fault("no memory for a copy of %zu bytes", b->bytes);
}

void guarded_is_operand(void)
{
    struct buffer *b = &buffers[used - 1];
    b->role = OPERAND;
    keep(b);
}

void guarded_compare(bool exact, double relative, double absolute)
{
    struct buffer *b = &buffers[used - 1];
    b->exact = exact;
    b->relative = relative;
    b->absolute = absolute;
}

static double element(const struct buffer *b, const char *data, int64_t i)
{
    switch (b->dtype) {
    case CR_F32:
        return (double)((const float *)(const void *)data)[i];
    case CR_F64:
        return ((const double *)(const void *)data)[i];
    case CR_BF16:
        return (double)bf16_to_float(((const uint16_t *)(const void *)data)[i]);
    case CR_F16:
        return (double)f16_to_float(((const uint16_t *)(const void *)data)[i]);
    case CR_I64:
        return (double)((const int64_t *)(const void *)data)[i];
    case CR_I32:
        return (double)((const int32_t *)(const void *)data)[i];
    case CR_I16:
        return (double)((const int16_t *)(const void *)data)[i];
    case CR_I8:
        return (double)((const int8_t *)data)[i];
    default:
        return (double)((const uint8_t *)data)[i];
    }
}

/* NaN is NaN, whatever its bits are; and an infinity is no more than itself. */
static bool is_same(const struct buffer *b, int64_t i, size_t size)
{
    double one = element(b, b->first, i), other = element(b, b->data, i);
    if (isnan(one) || isnan(other))
        return isnan(one) && isnan(other);
    if (b->exact)
        return memcmp(b->first + (size_t)i * size, b->data + (size_t)i * size, size) == 0;
    if (isinf(one) || isinf(other))
        return one == other;
    return fabs(one - other) <= b->relative * fmax(fabs(one), fabs(other)) + b->absolute;
}

static void check_results(const struct buffer *b, int number)
{
    size_t size = cr_dtype_size(b->dtype);
    if (b->room < b->bytes + 1) {
        guarded_fault("buffer %d is another than the portable variant's", number);
        return;
    }
    if (memcmp(b->first, b->data, b->bytes) == 0)
        return;
    for (int64_t i = 0; i < (int64_t)(b->bytes / size); i++)
        if (!is_same(b, i, size)) {
            guarded_fault(
                "buffer %d (%s) differs at %lld of %zu: %.9g, portable %.9g, allowed %.2g", number,
                cr_dtype_name(b->dtype), (long long)i, b->bytes / size, element(b, b->data, i),
                element(b, b->first, i),
                b->exact ? 0.0 : b->relative * fabs(element(b, b->first, i)) + b->absolute);
            return;
        }
}

void guarded_check(bool is_first)
{
    for (int i = 0; i < used; i++) {
        struct buffer *b = &buffers[i];
        for (size_t g = 0; g < b->before; g++)
            if (b->data[-(ptrdiff_t)g - 1] != PATTERN)
                guarded_fault("buffer %d: written %zu bytes before its beginning", i, g + 1);
        for (size_t g = 0; g < b->after; g++)
            if (b->data[b->bytes + g] != PATTERN)
                guarded_fault("buffer %d: written %zu bytes beyond its end", i, g + 1);
        if (b->role == OPERAND && memcmp(b->first, b->data, b->bytes) != 0)
            guarded_fault("buffer %d: an operand was written", i);
        if (b->role == RESULT && is_first)
            keep(b);
        else if (b->role == RESULT)
            check_results(b, i);
    }
}
