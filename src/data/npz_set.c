/* npz files in MedMNIST's layout: for each part an array of pictures and one of labels. Reading
 * arrays is io's; here their shapes are checked and pictures become (C, H, W). */
#include <string.h>

#include "cresset/array_file.h"
#include "cresset/pointwise.h"
#include "cresset/shaping.h"
#include "data/data.h"

#define MOST_CLASSES 10000

static const char *part_name(cr_data_split split)
{
    return split == CR_SPLIT_TRAIN ? "train" : split == CR_SPLIT_TEST ? "test" : "val";
}

static cr_tensor *load(cr_npz *file, const char *part, const char *what)
{
    char *name = cr_string_format("%s_%s", part, what);
    cr_tensor *array = name ? cr_npz_load(file, name) : NULL;
    cr_free(name);
    return array;
}

/* (N, H, W) and (N, H, W, C) to (N, C, H, W). */
static cr_tensor *to_samples(cr_tensor *images, const char *path, const char *part)
{
    cr_shape shape = cr_shape_of(images);
    bool is_grey = shape.ndim == 3;
    bool is_color =
        shape.ndim == 4 && (shape.dim[3] == 1 || shape.dim[3] == 3 || shape.dim[3] == 4);
    if (!images)
        return NULL;
    if (cr_dtype_of(images) == CR_U8 && is_grey)
        return cr_view(cr_contiguous(images),
                       CR_SHAPE(shape.dim[0], 1, shape.dim[1], shape.dim[2]));
    if (cr_dtype_of(images) == CR_U8 && is_color)
        return cr_contiguous(cr_permute(images, CR_SHAPE(0, 3, 1, 2)));
    char text[CR_SHAPE_TEXT];
    cr_error_set(
        CR_ERROR_FORMAT, "%s: %s_images is %s %s, where uint8 (N, H, W) or (N, H, W, C) is needed",
        path, part, cr_dtype_name(cr_dtype_of(images)), cr_shape_format(&shape, text, sizeof text));
    return NULL;
}

/* One more than the largest label of all parts, so that every part has the same classes. */
static int count_classes(cr_npz *file, const char *path)
{
    static const char *const parts[] = { "train_labels", "val_labels", "test_labels" };
    int64_t largest = -1;
    for (int i = 0; i < CR_COUNT_OF(parts) && !cr_failed(); i++) {
        bool is_there = false;
        for (int j = 0; j < cr_npz_count(file); j++)
            is_there |= strcmp(cr_npz_name(file, j), parts[i]) == 0;
        cr_tensor *labels = is_there ? cr_npz_load(file, parts[i]) : NULL;
        for (int64_t j = 0; j < cr_numel(labels); j++)
            largest = CR_MAX(largest, (int64_t)cr_element(labels, j));
    }
    if (!cr_failed() && (largest < 0 || largest >= MOST_CLASSES))
        cr_error_set(CR_ERROR_FORMAT, "%s: its largest label is %lld, and at most %d classes fit",
                     path, (long long)largest, MOST_CLASSES);
    return (int)(largest + 1);
}

static cr_dataset *join(cr_npz *file, const char *path, const char *part)
{
    cr_tensor *samples = to_samples(load(file, part, "images"), path, part);
    cr_tensor *labels = samples ? load(file, part, "labels") : NULL;
    char *name = cr_string_format("%s (%s)", path, part);
    cr_dataset *set = NULL;
    if (labels && name) {
        bool has_several = cr_ndim(labels) == 2 && cr_dim(labels, 1) > 1;
        if (has_several)
            set = cr_dataset_from_tensors(samples, .targets = labels, .name = name);
        else
            set = cr_dataset_from_tensors(samples,
                                          .labels = cr_reshape(labels, CR_SHAPE(cr_numel(labels))),
                                          .class_count = count_classes(file, path), .name = name);
    }
    cr_free(name);
    return set;
}

cr_dataset *cr_dataset_open_npz(const char *path, cr_data_split split)
{
    if (cr_failed())
        return NULL;
    cr_npz *file = cr_npz_open(path);
    if (!file)
        return NULL;
    cr_frame frame = cr_frame_begin();
    cr_dataset *set = join(file, path, part_name(split));
    cr_frame_end(frame);
    cr_npz_close(file);
    return set;
}
