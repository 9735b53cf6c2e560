/* The data set as such: a source with a count of its holders, and the checks that every kind of set
 * can rely on: indices in range, labels that are classes. Where samples come from is left to the
 * kinds of sets. */
#include <stdatomic.h>
#include <string.h>

#include "data/data.h"

struct cr_dataset {
    atomic_int holders;
    bool is_view;             /* the sets below name the sample that fails */
    cr_dataset_source source; /* its name and class names are the set's own */
};

cr_generator data_generator(uint64_t seed, enum data_purpose purpose, uint64_t epoch, uint64_t item)
{
    uint32_t words[4];
    cr_philox(seed, (uint64_t)purpose, epoch, words);
    return cr_generator_make(words[0] | (uint64_t)words[1] << 32, item);
}

static void names_free(const char *const *names, int count)
{
    for (int i = 0; names && i < count; i++)
        cr_free((char *)names[i]);
    cr_free((void *)names);
}

/* The given names, or numbers. */
static const char *const *names_copy(const char *const *names, int count)
{
    const char **copy = cr_alloc_zeroed((size_t)count, sizeof *copy);
    for (int i = 0; copy && i < count; i++) {
        copy[i] = names ? cr_string_copy(names[i]) : cr_string_format("%d", i);
        if (!copy[i]) {
            names_free(copy, count);
            return NULL;
        }
    }
    return copy;
}

static bool has_negative(const cr_shape *shape)
{
    bool found = false;
    for (int i = 0; i < shape->ndim; i++)
        found |= shape->dim[i] < 0;
    return found;
}

static bool is_picture(cr_dtype dtype, const cr_shape *shape)
{
    int64_t channels = shape->dim[0];
    return dtype == CR_U8 && shape->ndim == 3 && (channels == 1 || channels == 3 || channels == 4);
}

static cr_status check_source(const cr_dataset_source *source)
{
    if (!source->get == !source->picture || source->size < 0 || source->class_count < 0)
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "data set %s: a size, a number of classes, or one of get and picture "
                            "is missing",
                            source->name);
    if (source->dtype != CR_U8 && source->dtype != CR_F32)
        return cr_error_set(CR_ERROR_DTYPE, "data set %s: samples are uint8 or float32, not %s",
                            source->name, cr_dtype_name(source->dtype));
    bool pictures = is_picture(source->dtype, &source->sample_shape);
    if (source->picture && !pictures)
        return cr_error_set(CR_ERROR_SHAPE,
                            "data set %s: pictures are uint8 (C, H, W) of 1, 3 or 4 channels",
                            source->name);
    if (source->picture)
        return CR_OK;
    if (has_negative(&source->sample_shape) || cr_shape_numel(&source->sample_shape) < 0 ||
        source->sample_shape.ndim >= CR_MAX_DIMS)
        return cr_error_set(CR_ERROR_SHAPE, "data set %s: the samples are too large", source->name);
    return CR_OK;
}

cr_dataset *cr_dataset_new(const cr_dataset_source *source)
{
    cr_dataset *set = NULL;
    cr_dataset_source own = *source;
    if (!own.name)
        own.name = "unnamed";
    if (!cr_failed() && check_source(&own) == CR_OK)
        set = cr_alloc_zeroed(1, sizeof *set);
    if (set) {
        own.name = cr_string_copy(own.name);
        own.class_names = names_copy(own.class_names, own.class_count);
        if (own.name && own.class_names) {
            atomic_init(&set->holders, 1);
            set->source = own;
            return set;
        }
        cr_free((char *)own.name);
        names_free(own.class_names, own.class_count);
        cr_free(set);
    }
    if (source->free)
        source->free(source->context);
    return NULL;
}

cr_dataset *data_view_new(const cr_dataset *base, const cr_dataset_source *source)
{
    cr_dataset_source own = *source;
    if (base->source.picture)
        own.get = NULL;
    else
        own.picture = NULL;
    if (!base->source.picture_part)
        own.picture_part = NULL;
    if (!base->source.path)
        own.path = NULL;
    if (!base->source.targets)
        own.targets = NULL;
    cr_dataset *view = cr_dataset_new(&own);
    if (view)
        view->is_view = true;
    return view;
}

cr_dataset *cr_dataset_retain(cr_dataset *set)
{
    if (set)
        atomic_fetch_add_explicit(&set->holders, 1, memory_order_relaxed);
    return set;
}

void cr_dataset_free(cr_dataset *set)
{
    if (!set || atomic_fetch_sub_explicit(&set->holders, 1, memory_order_acq_rel) != 1)
        return;
    if (set->source.free)
        set->source.free(set->source.context);
    cr_free((char *)set->source.name);
    names_free(set->source.class_names, set->source.class_count);
    cr_free(set);
}

const char *cr_dataset_name(const cr_dataset *set)
{
    return set ? set->source.name : "";
}

int64_t cr_dataset_size(const cr_dataset *set)
{
    return set ? set->source.size : 0;
}

cr_shape cr_dataset_sample_shape(const cr_dataset *set)
{
    return set ? set->source.sample_shape : cr_shape_scalar();
}

cr_dtype cr_dataset_dtype(const cr_dataset *set)
{
    return set ? set->source.dtype : CR_F32;
}

int cr_dataset_class_count(const cr_dataset *set)
{
    return set ? set->source.class_count : 0;
}

const char *cr_dataset_class_name(const cr_dataset *set, int label)
{
    return set && label >= 0 && label < set->source.class_count ? set->source.class_names[label]
                                                                : "";
}

const char *const *data_class_names(const cr_dataset *set)
{
    return set->source.class_names;
}

static cr_status name_sample(const cr_dataset *set, int64_t index)
{
    if (!set->is_view)
        cr_error_prefix("sample %lld of %s", (long long)index, set->source.name);
    return cr_error_status();
}

static cr_status check_index(const cr_dataset *set, int64_t index)
{
    if (!set)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no data set to read from");
    if (index >= 0 && index < set->source.size)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT, "%s has %lld samples, and number %lld was asked for",
                        set->source.name, (long long)set->source.size, (long long)index);
}

static cr_status check_label(const cr_dataset *set, int64_t index, int64_t label)
{
    int classes = set->source.class_count;
    if (classes == 0 || label == CR_NO_LABEL || (label >= 0 && label < classes))
        return CR_OK;
    return cr_error_set(CR_ERROR_FORMAT,
                        "sample %lld of %s has the label %lld, where only 0 to %d are classes",
                        (long long)index, set->source.name, (long long)label, classes - 1);
}

/* What follows a reading: the label checked, or the sentence given the sample's name. */
static cr_status finish_reading(const cr_dataset *set, int64_t index, cr_status status,
                                int64_t found, int64_t *label)
{
    if (status == CR_OK)
        status = check_label(set, index, found);
    else
        name_sample(set, index);
    if (label)
        *label = found;
    return status;
}

cr_status cr_dataset_get(cr_dataset *set, int64_t index, void *sample, int64_t *label)
{
    if (check_index(set, index) != CR_OK)
        return cr_error_status();
    if (!set->source.get)
        return cr_error_set(CR_ERROR_UNSUPPORTED,
                            "the pictures of %s differ in size and are read as pictures",
                            set->source.name);
    int64_t found = CR_NO_LABEL;
    cr_status status = set->source.get(set->source.context, index, sample, &found);
    return finish_reading(set, index, status, found, label);
}

bool cr_dataset_has_pictures(const cr_dataset *set)
{
    return set && is_picture(set->source.dtype, &set->source.sample_shape);
}

/* From a set of one size, whose samples are planes. */
static cr_status planar_picture(cr_dataset *set, int64_t index, cr_image *image, int64_t *label)
{
    const cr_shape *shape = &set->source.sample_shape;
    if (cr_image_resize_room(image, shape->dim[1], shape->dim[2], (int)shape->dim[0]) != CR_OK)
        return cr_error_status();
    if (image->channels == 1)
        return set->source.get(set->source.context, index, image->pixels, label);
    uint8_t *planes = cr_alloc((size_t)cr_shape_numel(shape));
    if (!planes)
        return cr_error_status();
    cr_status status = set->source.get(set->source.context, index, planes, label);
    if (status == CR_OK)
        data_planes_to_pixels(planes, image);
    cr_free(planes);
    return status;
}

cr_status cr_dataset_picture_part(cr_dataset *set, int64_t index, const cr_image_wish *wish,
                                  cr_image *image, cr_image_part *part, int64_t *label)
{
    if (check_index(set, index) != CR_OK)
        return cr_error_status();
    if (!cr_dataset_has_pictures(set))
        return cr_error_set(CR_ERROR_SHAPE, "the samples of %s are not pictures", set->source.name);
    int64_t found = CR_NO_LABEL;
    cr_status status;
    bool in_part = wish && set->source.picture_part;
    if (in_part)
        status = set->source.picture_part(set->source.context, index, wish, image, part, &found);
    else if (set->source.picture)
        status = set->source.picture(set->source.context, index, image, &found);
    else
        status = planar_picture(set, index, image, &found);
    if (!in_part)
        *part =
            (cr_image_part){ image->height, image->width, { 0, 0, image->height, image->width } };
    if (status == CR_OK && image->channels != set->source.sample_shape.dim[0])
        status = cr_error_set(CR_ERROR_SHAPE, "it has %d channels, not %lld", image->channels,
                              (long long)set->source.sample_shape.dim[0]);
    return finish_reading(set, index, status, found, label);
}

cr_status cr_dataset_picture(cr_dataset *set, int64_t index, cr_image *image, int64_t *label)
{
    cr_image_part part;
    return cr_dataset_picture_part(set, index, NULL, image, &part, label);
}

/* Without a source that gives labels alone, the sample is read and thrown away. */
static cr_status label_by_sample(cr_dataset *set, int64_t index, int64_t *label)
{
    if (!set->source.get) {
        cr_image image = { 0 };
        cr_dataset_picture(set, index, &image, label);
        cr_image_free(&image);
        return cr_error_status();
    }
    size_t count = (size_t)cr_shape_numel(&set->source.sample_shape);
    void *sample = cr_alloc_array(count, cr_dtype_size(set->source.dtype));
    if (!sample)
        return cr_error_status();
    cr_status status = cr_dataset_get(set, index, sample, label);
    cr_free(sample);
    return status;
}

cr_status cr_dataset_label(cr_dataset *set, int64_t index, int64_t *label)
{
    if (check_index(set, index) != CR_OK)
        return cr_error_status();
    if (!set->source.label)
        return label_by_sample(set, index, label);
    *label = CR_NO_LABEL;
    if (set->source.label(set->source.context, index, label) == CR_OK)
        return check_label(set, index, *label);
    return name_sample(set, index);
}

const char *cr_dataset_path(const cr_dataset *set, int64_t index)
{
    if (!set || !set->source.path || index < 0 || index >= set->source.size)
        return "";
    const char *path = set->source.path(set->source.context, index);
    return path ? path : "";
}

bool cr_dataset_has_targets(const cr_dataset *set)
{
    return set && set->source.targets;
}

cr_status cr_dataset_targets(cr_dataset *set, int64_t index, float *targets)
{
    if (check_index(set, index) != CR_OK)
        return cr_error_status();
    if (set->source.targets) {
        if (set->source.targets(set->source.context, index, targets) != CR_OK)
            name_sample(set, index);
        return cr_error_status();
    }
    int64_t label;
    if (cr_dataset_label(set, index, &label) != CR_OK)
        return cr_error_status();
    for (int i = 0; i < set->source.class_count; i++)
        targets[i] = i == label ? 1 : 0;
    return CR_OK;
}
