/* Sets made of other sets: chosen samples, several sets in a row, and the two parts of a split.
 * A view keeps what it reads and asks it for every sample; nothing is copied. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

/* ---- subset ---- */

struct subset {
    cr_dataset *set;
    int64_t *indices;
};

static cr_status subset_get(void *context, int64_t index, void *sample, int64_t *label)
{
    const struct subset *subset = context;
    return cr_dataset_get(subset->set, subset->indices[index], sample, label);
}

static cr_status subset_picture(void *context, int64_t index, cr_image *image, int64_t *label)
{
    const struct subset *subset = context;
    return cr_dataset_picture(subset->set, subset->indices[index], image, label);
}

static cr_status subset_label(void *context, int64_t index, int64_t *label)
{
    const struct subset *subset = context;
    return cr_dataset_label(subset->set, subset->indices[index], label);
}

static void subset_free(void *context)
{
    struct subset *subset = context;
    cr_dataset_free(subset->set);
    cr_free(subset->indices);
    cr_free(subset);
}

/* Takes over `indices`, also when it fails. */
static cr_dataset *subset_new(cr_dataset *set, int64_t *indices, int64_t count)
{
    struct subset *subset = cr_alloc(sizeof *subset);
    if (!subset) {
        cr_free(indices);
        return NULL;
    }
    *subset = (struct subset){ .set = cr_dataset_retain(set), .indices = indices };
    return data_view_new(set, &(cr_dataset_source){ .name = cr_dataset_name(set),
                                                    .size = count,
                                                    .sample_shape = cr_dataset_sample_shape(set),
                                                    .dtype = cr_dataset_dtype(set),
                                                    .class_count = cr_dataset_class_count(set),
                                                    .class_names = data_class_names(set),
                                                    .get = subset_get,
                                                    .picture = subset_picture,
                                                    .label = subset_label,
                                                    .free = subset_free,
                                                    .context = subset });
}

cr_dataset *cr_dataset_subset(cr_dataset *set, const int64_t *indices, int64_t count)
{
    if (cr_failed() || !set)
        return NULL;
    int64_t size = cr_dataset_size(set);
    for (int64_t i = 0; i < count; i++) {
        if (indices[i] < 0 || indices[i] >= size) {
            cr_error_set(CR_ERROR_ARGUMENT,
                         "subset: %s has %lld samples, and number %lld was asked for",
                         cr_dataset_name(set), (long long)size, (long long)indices[i]);
            return NULL;
        }
    }
    int64_t *copy = cr_alloc_array((size_t)CR_MAX(count, 0), sizeof *copy);
    if (!copy)
        return NULL;
    if (count > 0)
        memcpy(copy, indices, (size_t)count * sizeof *copy);
    return subset_new(set, copy, CR_MAX(count, 0));
}

/* ---- concat ---- */

struct concat {
    int count;
    cr_dataset **sets;
    int64_t *starts; /* count + 1 of them: where each set begins, and the end */
};

/* The set that an index falls in; *index becomes the index there. */
static cr_dataset *concat_find(const struct concat *concat, int64_t *index)
{
    int low = 0;
    int high = concat->count;
    while (high - low > 1) {
        int middle = low + (high - low) / 2;
        if (concat->starts[middle] <= *index)
            low = middle;
        else
            high = middle;
    }
    *index -= concat->starts[low];
    return concat->sets[low];
}

static cr_status concat_get(void *context, int64_t index, void *sample, int64_t *label)
{
    cr_dataset *set = concat_find(context, &index);
    return cr_dataset_get(set, index, sample, label);
}

static cr_status concat_picture(void *context, int64_t index, cr_image *image, int64_t *label)
{
    cr_dataset *set = concat_find(context, &index);
    return cr_dataset_picture(set, index, image, label);
}

static cr_status concat_label(void *context, int64_t index, int64_t *label)
{
    cr_dataset *set = concat_find(context, &index);
    return cr_dataset_label(set, index, label);
}

static void concat_free(void *context)
{
    struct concat *concat = context;
    for (int i = 0; i < concat->count; i++)
        cr_dataset_free(concat->sets[i]);
    cr_free(concat->sets);
    cr_free(concat->starts);
    cr_free(concat);
}

static cr_status check_alike(cr_dataset *const *sets, int count)
{
    if (count < 1)
        return cr_error_set(CR_ERROR_ARGUMENT, "concat: at least one data set is needed");
    for (int i = 0; i < count; i++) {
        if (!sets[i])
            return cr_error_set(CR_ERROR_ARGUMENT, "concat: data set %d is NULL", i);
        cr_shape first = cr_dataset_sample_shape(sets[0]);
        cr_shape other = cr_dataset_sample_shape(sets[i]);
        char a[CR_SHAPE_TEXT];
        char b[CR_SHAPE_TEXT];
        if (!cr_shape_equal(&first, &other) ||
            cr_dataset_dtype(sets[0]) != cr_dataset_dtype(sets[i]) ||
            cr_dataset_class_count(sets[0]) != cr_dataset_class_count(sets[i]))
            return cr_error_set(
                CR_ERROR_SHAPE,
                "concat: %s has samples %s %s of %d classes, but %s has %s %s of %d",
                cr_dataset_name(sets[0]), cr_dtype_name(cr_dataset_dtype(sets[0])),
                cr_shape_format(&first, a, sizeof a), cr_dataset_class_count(sets[0]),
                cr_dataset_name(sets[i]), cr_dtype_name(cr_dataset_dtype(sets[i])),
                cr_shape_format(&other, b, sizeof b), cr_dataset_class_count(sets[i]));
    }
    return CR_OK;
}

static struct concat *concat_make(cr_dataset *const *sets, int count)
{
    struct concat *concat = cr_alloc_zeroed(1, sizeof *concat);
    if (!concat)
        return NULL;
    concat->sets = cr_alloc_array((size_t)count, sizeof(cr_dataset *));
    concat->starts = cr_alloc_zeroed((size_t)count + 1, sizeof *concat->starts);
    if (!concat->sets || !concat->starts) {
        concat_free(concat);
        return NULL;
    }
    for (int i = 0; i < count; i++) {
        concat->sets[i] = cr_dataset_retain(sets[i]);
        concat->starts[i + 1] = concat->starts[i] + cr_dataset_size(sets[i]);
    }
    concat->count = count;
    return concat;
}

cr_dataset *cr_dataset_concat(cr_dataset *const *sets, int count)
{
    if (cr_failed() || check_alike(sets, count) != CR_OK)
        return NULL;
    struct concat *concat = concat_make(sets, count);
    if (!concat)
        return NULL;
    return data_view_new(sets[0],
                         &(cr_dataset_source){ .name = cr_dataset_name(sets[0]),
                                               .size = concat->starts[count],
                                               .sample_shape = cr_dataset_sample_shape(sets[0]),
                                               .dtype = cr_dataset_dtype(sets[0]),
                                               .class_count = cr_dataset_class_count(sets[0]),
                                               .class_names = data_class_names(sets[0]),
                                               .get = concat_get,
                                               .picture = concat_picture,
                                               .label = concat_label,
                                               .free = concat_free,
                                               .context = concat });
}

/* ---- split ---- */

/* One class of a split, or all samples without a label. */
struct stratum {
    int64_t size;
    int64_t taken; /* into the first part */
    double rest;   /* what rounding down left */
    int number;
};

static int by_falling_rest(const void *left, const void *right)
{
    const struct stratum *a = left;
    const struct stratum *b = right;
    if (a->rest != b->rest)
        return a->rest > b->rest ? -1 : 1;
    return a->number - b->number;
}

static int by_number(const void *left, const void *right)
{
    return ((const struct stratum *)left)->number - ((const struct stratum *)right)->number;
}

/* Rounds so that all strata together give the rounded total: largest remainders first. */
static int64_t share_out(struct stratum *strata, int count, double fraction)
{
    int64_t size = 0;
    int64_t taken = 0;
    for (int i = 0; i < count; i++) {
        double exact = fraction * (double)strata[i].size;
        strata[i].taken = CR_MIN((int64_t)exact, strata[i].size);
        strata[i].rest = exact - (double)strata[i].taken;
        size += strata[i].size;
        taken += strata[i].taken;
    }
    int64_t total = CR_MIN(llround(fraction * (double)size), size);
    qsort(strata, (size_t)count, sizeof *strata, by_falling_rest);
    for (int i = 0; i < count && taken < total; i++) {
        int64_t more = strata[i].taken < strata[i].size;
        strata[i].taken += more;
        taken += more;
    }
    qsort(strata, (size_t)count, sizeof *strata, by_number);
    return taken;
}

/* The stratum of every sample, and how many there are of each. Stratum `classes` has no label. */
static cr_status find_strata(cr_dataset *set, int *of, struct stratum *strata)
{
    int classes = cr_dataset_class_count(set);
    for (int i = 0; i <= classes; i++)
        strata[i] = (struct stratum){ .number = i };
    for (int64_t i = 0; i < cr_dataset_size(set); i++) {
        int64_t label = CR_NO_LABEL;
        if (classes > 0 && cr_dataset_label(set, i, &label) != CR_OK)
            return cr_error_status();
        of[i] = label == CR_NO_LABEL ? classes : (int)label;
        strata[of[i]].size++;
    }
    return CR_OK;
}

/* Going through the samples in order, each is taken with the probability that exactly the wanted
 * number of its stratum will have been (Knuth's selection sampling). */
static void select_samples(const int *of, int64_t size, struct stratum *strata, uint64_t seed,
                           int64_t *first, int64_t *second)
{
    cr_generator generator = data_generator(seed, DATA_SPLIT, 0, 0);
    for (int64_t i = 0; i < size; i++) {
        struct stratum *stratum = &strata[of[i]];
        uint64_t draw = cr_random_below(&generator, (uint64_t)stratum->size);
        bool taken = (int64_t)draw < stratum->taken;
        if (taken)
            *first++ = i;
        else
            *second++ = i;
        stratum->taken -= taken;
        stratum->size--;
    }
}

/* Makes both parts from index lists, which it takes over. */
static cr_status make_parts(cr_dataset *set, int64_t *first, int64_t *second, int64_t taken,
                            cr_dataset **parts)
{
    parts[0] = subset_new(set, first, taken);
    parts[1] = subset_new(set, second, cr_dataset_size(set) - taken);
    if (parts[0] && parts[1])
        return CR_OK;
    cr_dataset_free(parts[0]);
    cr_dataset_free(parts[1]);
    parts[0] = NULL;
    parts[1] = NULL;
    return cr_error_status();
}

cr_status cr_dataset_split(cr_dataset *set, double fraction, uint64_t seed, cr_dataset **first,
                           cr_dataset **second)
{
    *first = NULL;
    *second = NULL;
    if (cr_failed() || !set)
        return cr_error_status();
    if (!(fraction >= 0 && fraction <= 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "split: the fraction is %g; it must be 0 to 1",
                            fraction);
    size_t size = (size_t)cr_dataset_size(set);
    int strata_count = cr_dataset_class_count(set) + 1;
    struct stratum *strata = cr_alloc_array((size_t)strata_count, sizeof *strata);
    int *of = cr_alloc_array(size, sizeof *of);
    int64_t *indices[2] = { NULL, NULL };
    int64_t taken = 0;
    cr_dataset *parts[2] = { NULL, NULL };
    if (strata && of && find_strata(set, of, strata) == CR_OK) {
        taken = share_out(strata, strata_count, fraction);
        indices[0] = cr_alloc_array((size_t)taken, sizeof(int64_t));
        indices[1] = cr_alloc_array(size - (size_t)taken, sizeof(int64_t));
    }
    if (indices[0] && indices[1]) {
        select_samples(of, (int64_t)size, strata, seed, indices[0], indices[1]);
        make_parts(set, indices[0], indices[1], taken, parts);
    } else {
        cr_free(indices[0]);
        cr_free(indices[1]);
    }
    cr_free(strata);
    cr_free(of);
    *first = parts[0];
    *second = parts[1];
    return cr_error_status();
}
