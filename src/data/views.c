/* Sets made of other sets: chosen samples, and several sets in a row.
 * A view keeps what it reads and asks it for every sample; nothing is copied. */
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

static cr_status subset_picture_part(void *context, int64_t index, const cr_image_wish *wish,
                                     cr_image *image, cr_image_part *part, int64_t *label)
{
    const struct subset *subset = context;
    return cr_dataset_picture_part(subset->set, subset->indices[index], wish, image, part, label);
}

static cr_status subset_label(void *context, int64_t index, int64_t *label)
{
    const struct subset *subset = context;
    return cr_dataset_label(subset->set, subset->indices[index], label);
}

static const char *subset_path(void *context, int64_t index)
{
    const struct subset *subset = context;
    return cr_dataset_path(subset->set, subset->indices[index]);
}

static cr_status subset_targets(void *context, int64_t index, float *targets)
{
    const struct subset *subset = context;
    return cr_dataset_targets(subset->set, subset->indices[index], targets);
}

static void subset_free(void *context)
{
    struct subset *subset = context;
    cr_dataset_free(subset->set);
    cr_free(subset->indices);
    cr_free(subset);
}

cr_dataset *data_subset_new(cr_dataset *set, int64_t *indices, int64_t count)
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
                                                    .picture_part = subset_picture_part,
                                                    .label = subset_label,
                                                    .path = subset_path,
                                                    .targets = subset_targets,
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
    return data_subset_new(set, copy, CR_MAX(count, 0));
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

static cr_status concat_picture_part(void *context, int64_t index, const cr_image_wish *wish,
                                     cr_image *image, cr_image_part *part, int64_t *label)
{
    cr_dataset *set = concat_find(context, &index);
    return cr_dataset_picture_part(set, index, wish, image, part, label);
}

static cr_status concat_label(void *context, int64_t index, int64_t *label)
{
    cr_dataset *set = concat_find(context, &index);
    return cr_dataset_label(set, index, label);
}

static const char *concat_path(void *context, int64_t index)
{
    const cr_dataset *set = concat_find(context, &index);
    return cr_dataset_path(set, index);
}

static cr_status concat_targets(void *context, int64_t index, float *targets)
{
    cr_dataset *set = concat_find(context, &index);
    return cr_dataset_targets(set, index, targets);
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
                                               .picture_part = concat_picture_part,
                                               .label = concat_label,
                                               .path = concat_path,
                                               .targets = concat_targets,
                                               .free = concat_free,
                                               .context = concat });
}
