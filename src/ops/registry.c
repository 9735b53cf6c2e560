/* The table of all ops, by family. */
#include <string.h>

#include "ops/ops.h"

#define OP_FAMILY_ENTRY(name) name,
static const cr_op *const *const families[] = { OP_FAMILY_TABLE(OP_FAMILY_ENTRY) };

int cr_op_count(void)
{
    int count = 0;
    for (int f = 0; f < CR_COUNT_OF(families); f++) {
        for (const cr_op *const *op = families[f]; *op; op++)
            count++;
    }
    return count;
}

const cr_op *cr_op_at(int index)
{
    for (int f = 0; f < CR_COUNT_OF(families) && index >= 0; f++) {
        for (const cr_op *const *op = families[f]; *op; op++) {
            if (index-- == 0)
                return *op;
        }
    }
    return NULL;
}

const cr_op *cr_op_find(const char *name)
{
    for (int f = 0; f < CR_COUNT_OF(families); f++) {
        for (const cr_op *const *op = families[f]; *op; op++) {
            if (strcmp((*op)->name, name) == 0)
                return *op;
        }
    }
    return NULL;
}
