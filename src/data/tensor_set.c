/* Data sets in memory: samples and labels are tensors, of which a sample is a copy of one row. */
#include <string.h>

#include "cresset/pointwise.h"
#include "data/data.h"

struct tensor_set {
    cr_tensor *samples; /* contiguous; retained */
    cr_tensor *labels;  /* int64, contiguous; retained; NULL: none */
    cr_tensor *targets; /* float32, contiguous; retained; NULL: none */
    size_t row;         /* bytes of a sample */
};

static cr_status get_label(void *context, int64_t index, int64_t *label)
{
    const struct tensor_set *set = context;
    *label = set->labels ? ((const int64_t *)cr_data(set->labels))[index] : CR_NO_LABEL;
    return CR_OK;
}

static cr_status get_targets(void *context, int64_t index, float *targets)
{
    const struct tensor_set *set = context;
    size_t classes = (size_t)cr_dim(set->targets, 1);
    memcpy(targets, (const float *)cr_data(set->targets) + (size_t)index * classes,
           classes * sizeof(float));
    return CR_OK;
}

static cr_status get_sample(void *context, int64_t index, void *sample, int64_t *label)
{
    const struct tensor_set *set = context;
    if (set->row > 0)
        memcpy(sample, (const char *)cr_data(set->samples) + (size_t)index * set->row, set->row);
    return get_label(context, index, label);
}

static void free_set(void *context)
{
    struct tensor_set *set = context;
    cr_release(set->samples);
    cr_release(set->labels);
    cr_release(set->targets);
    cr_free(set);
}

static cr_status check_tensors(const cr_dataset_tensors *args)
{
    char shape[CR_SHAPE_TEXT];
    cr_shape samples = cr_shape_of(args->samples);
    cr_shape labels = cr_shape_of(args->labels);
    if (!args->samples)
        return cr_error_set(CR_ERROR_ARGUMENT, "%s: a data set needs samples", args->name);
    if (samples.ndim < 1 || cr_device_of(args->samples) == CR_META)
        return cr_error_set(CR_ERROR_SHAPE, "%s: samples must be (N, …) with data, not %s",
                            args->name, cr_shape_format(&samples, shape, sizeof shape));
    cr_shape targets = cr_shape_of(args->targets);
    if (args->targets && (args->labels || targets.ndim != 2 || targets.dim[0] != samples.dim[0]))
        return cr_error_set(CR_ERROR_SHAPE,
                            "%s: targets of several classes stand alone and are (N, classes) for "
                            "%lld samples, not %s",
                            args->name, (long long)samples.dim[0],
                            cr_shape_format(&targets, shape, sizeof shape));
    if (!args->labels)
        return CR_OK;
    if (cr_dtype_is_floating(cr_dtype_of(args->labels)))
        return cr_error_set(CR_ERROR_DTYPE, "%s: labels must be integers, not %s", args->name,
                            cr_dtype_name(cr_dtype_of(args->labels)));
    if (labels.ndim != 1 || labels.dim[0] != samples.dim[0])
        return cr_error_set(CR_ERROR_SHAPE, "%s: labels have the shape %s for %lld samples",
                            args->name, cr_shape_format(&labels, shape, sizeof shape),
                            (long long)samples.dim[0]);
    return CR_OK;
}

/* Every label must be a class; *classes is found if it is 0. */
static cr_status check_labels(const struct tensor_set *set, const char *name, int *classes)
{
    const int64_t *labels = cr_data(set->labels);
    int64_t count = cr_numel(set->labels);
    int64_t limit = *classes > 0 ? *classes : INT32_MAX;
    int64_t largest = -1;
    for (int64_t i = 0; i < count; i++) {
        if (labels[i] < 0 || labels[i] >= limit)
            return cr_error_set(CR_ERROR_FORMAT,
                                "%s: the label of sample %lld is %lld, out of the range 0 to %lld",
                                name, (long long)i, (long long)labels[i], (long long)limit - 1);
        largest = CR_MAX(largest, labels[i]);
    }
    if (*classes == 0)
        *classes = (int)(largest + 1);
    return CR_OK;
}

static struct tensor_set *hold_tensors(const cr_dataset_tensors *args)
{
    struct tensor_set *set = cr_alloc_zeroed(1, sizeof *set);
    if (!set)
        return NULL;
    cr_frame frame = cr_frame_begin();
    set->samples = cr_retain(cr_contiguous(args->samples));
    if (args->labels)
        set->labels = cr_retain(cr_contiguous(cr_to_dtype(args->labels, CR_I64)));
    if (args->targets)
        set->targets = cr_retain(cr_contiguous(cr_to_dtype(args->targets, CR_F32)));
    cr_frame_end(frame);
    if (!cr_failed())
        return set;
    free_set(set);
    return NULL;
}

cr_dataset *cr_dataset_from_tensors_with(cr_dataset_tensors args)
{
    if (!args.name)
        args.name = "tensors";
    if (cr_failed() || check_tensors(&args) != CR_OK)
        return NULL;
    struct tensor_set *set = hold_tensors(&args);
    if (!set)
        return NULL;
    if (set->labels && check_labels(set, args.name, &args.class_count) != CR_OK) {
        free_set(set);
        return NULL;
    }
    if (set->targets)
        args.class_count = (int)cr_dim(set->targets, 1);
    cr_dataset_source source = { .name = args.name,
                                 .size = cr_dim(set->samples, 0),
                                 .dtype = cr_dtype_of(set->samples),
                                 .class_count = args.class_count,
                                 .class_names = args.class_names,
                                 .get = get_sample,
                                 .label = get_label,
                                 .targets = set->targets ? get_targets : NULL,
                                 .free = free_set,
                                 .context = set };
    source.sample_shape.ndim = cr_ndim(set->samples) - 1;
    for (int i = 0; i < source.sample_shape.ndim; i++)
        source.sample_shape.dim[i] = cr_dim(set->samples, i + 1);
    set->row = (size_t)cr_shape_numel(&source.sample_shape) * cr_dtype_size(source.dtype);
    return cr_dataset_new(&source);
}
