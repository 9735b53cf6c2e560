/* The folds of cross-validation: every sample is in one, each class evenly over all, and samples
 * that belong together in the same one. */
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

/* Samples that stay together, with how many there are of each class. */
struct clump {
    int64_t group;
    int64_t size;
    int64_t turn;    /* drawn by chance */
    int64_t *counts; /* (classes) */
};

struct folding {
    cr_dataset *set;
    int64_t size;
    int64_t clump_count;
    int class_count; /* one more than the set has: samples without a label */
    struct clump *clumps;
    int64_t *clump_of; /* of each sample */
    int64_t *counts;   /* (clumps, classes) */
    int64_t *totals;   /* (classes) */
    int64_t *filled;   /* (folds, classes), so far */
    int64_t *order;
};

static void folding_free(struct folding *f)
{
    cr_free(f->clumps);
    cr_free(f->clump_of);
    cr_free(f->counts);
    cr_free(f->totals);
    cr_free(f->filled);
    cr_free(f->order);
}

struct numbered {
    int64_t group;
    int64_t index;
};

static int by_group(const void *left, const void *right)
{
    const struct numbered *a = left;
    const struct numbered *b = right;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* The clump of every sample: by group, or each by itself. */
static cr_status number_clumps(struct folding *f, const int64_t *groups)
{
    struct numbered *sorted = cr_alloc_array((size_t)f->size, sizeof *sorted);
    for (int64_t i = 0; sorted && i < f->size; i++)
        sorted[i] = (struct numbered){ groups ? groups[i] : i, i };
    if (sorted)
        qsort(sorted, (size_t)f->size, sizeof *sorted, by_group);
    for (int64_t i = 0; sorted && i < f->size; i++) {
        f->clump_count += i == 0 || sorted[i].group != sorted[i - 1].group;
        f->clump_of[sorted[i].index] = f->clump_count - 1;
    }
    cr_free(sorted);
    return cr_error_status();
}

static cr_status count_classes(struct folding *f)
{
    int classes = f->class_count;
    for (int64_t i = 0; i < f->size; i++) {
        int64_t label = CR_NO_LABEL;
        if (classes > 1 && cr_dataset_label(f->set, i, &label) != CR_OK)
            return cr_error_status();
        int64_t class = label == CR_NO_LABEL ? classes - 1 : label;
        f->counts[f->clump_of[i] * classes + class]++;
        f->totals[class]++;
        f->clumps[f->clump_of[i]].size++;
    }
    return CR_OK;
}

/* The largest first, so that small ones can even out what is left; classes by turns among equals.
 */
static int by_falling_size(const void *left, const void *right)
{
    const struct clump *a = left;
    const struct clump *b = right;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->turn < b->turn ? -1 : a->turn > b->turn;
}

static cr_status folding_make(struct folding *f, const int64_t *groups, int folds, uint64_t seed)
{
    size_t size = (size_t)f->size, classes = (size_t)f->class_count;
    f->clump_of = cr_alloc_array(size, sizeof *f->clump_of);
    if (!f->clump_of || number_clumps(f, groups) != CR_OK)
        return cr_error_status();
    size_t clumps = (size_t)f->clump_count;
    f->clumps = cr_alloc_zeroed(clumps, sizeof *f->clumps);
    f->counts = cr_alloc_zeroed(clumps, classes * sizeof *f->counts);
    f->totals = cr_alloc_zeroed(classes, sizeof *f->totals);
    f->filled = cr_alloc_zeroed((size_t)folds, classes * sizeof *f->filled);
    f->order = cr_alloc_array(clumps, sizeof *f->order);
    if (cr_failed() || count_classes(f) != CR_OK)
        return cr_error_status();
    cr_generator generator = data_generator(seed, DATA_SPLIT, 0, 2);
    cr_random_permutation(&generator, f->order, f->clump_count);
    for (int64_t i = 0; i < f->clump_count; i++) {
        f->clumps[i].group = i;
        f->clumps[i].turn = f->order[i];
        f->clumps[i].counts = f->counts + i * f->class_count;
    }
    qsort(f->clumps, clumps, sizeof *f->clumps, by_falling_size);
    return CR_OK;
}

/* How full a fold would be with a clump: the squares of its shares of the classes that the clump
 * has, and a little of the number of all samples, which decides between equals. */
static double crowding(const struct folding *f, const struct clump *clump, int fold)
{
    const int64_t *filled = f->filled + (int64_t)fold * f->class_count;
    double crowd = 0, all = 0;
    for (int c = 0; c < f->class_count; c++) {
        double before = (double)filled[c], after = before + (double)clump->counts[c];
        double total = (double)f->totals[c];
        all += after;
        if (total > 0)
            crowd += (after * after - before * before) / (total * total);
    }
    return crowd + 1e-6 * all / (double)f->size;
}

static void deal_out(struct folding *f, int folds, int *fold)
{
    for (int64_t i = 0; i < f->clump_count; i++) {
        const struct clump *clump = &f->clumps[i];
        int best = 0;
        for (int k = 1; k < folds; k++)
            if (crowding(f, clump, k) < crowding(f, clump, best))
                best = k;
        for (int c = 0; c < f->class_count; c++)
            f->filled[(int64_t)best * f->class_count + c] += clump->counts[c];
        f->order[clump->group] = best;
    }
    for (int64_t i = 0; i < f->size; i++)
        fold[i] = (int)f->order[f->clump_of[i]];
}

cr_status cr_dataset_folds(cr_dataset *set, const int64_t *groups, int folds, uint64_t seed,
                           int *fold)
{
    if (cr_failed() || !set)
        return cr_error_status();
    struct folding f = { .set = set,
                         .size = cr_dataset_size(set),
                         .class_count = cr_dataset_class_count(set) + 1 };
    if (folding_make(&f, groups, folds > 0 ? folds : 1, seed) == CR_OK &&
        (folds < 2 || folds > f.clump_count))
        cr_error_set(CR_ERROR_ARGUMENT,
                     "%s has %lld samples or groups, which cannot be parted into %d folds",
                     cr_dataset_name(set), (long long)f.clump_count, folds);
    if (!cr_failed())
        deal_out(&f, folds, fold);
    folding_free(&f);
    return cr_error_status();
}

cr_status cr_dataset_fold(cr_dataset *set, const int *fold, int which, cr_dataset **others,
                          cr_dataset **own)
{
    *others = NULL;
    *own = NULL;
    if (cr_failed() || !set)
        return cr_error_status();
    int64_t size = cr_dataset_size(set), count[2] = { 0, 0 };
    int64_t *indices[2] = { cr_alloc_array((size_t)size, sizeof(int64_t)),
                            cr_alloc_array((size_t)size, sizeof(int64_t)) };
    for (int64_t i = 0; indices[0] && indices[1] && i < size; i++)
        indices[fold[i] == which][count[fold[i] == which]++] = i;
    if (indices[0] && indices[1]) {
        *others = data_subset_new(set, indices[0], count[0]);
        *own = data_subset_new(set, indices[1], count[1]);
    } else {
        cr_free(indices[0]);
        cr_free(indices[1]);
    }
    if (cr_failed()) {
        cr_dataset_free(*others);
        cr_dataset_free(*own);
        *others = *own = NULL;
    }
    return cr_error_status();
}
