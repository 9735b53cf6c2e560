/* `cresset train --show-batch`: the first batch of training as a contact sheet, with its random
 * changes and its labels, before anything is trained on it. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"
#include "cresset/ops.h"

#define SHOWN      64 /* pictures of a batch */
#define SHEET_SIDE 128

/* The normalization of a classifier, to be taken back. */
static void find_normalization(const cr_classifier *classifier, double *means, double *deviations)
{
    for (int c = 0; c < CR_TRANSFORM_PARAMETERS / 2; c++) {
        means[c] = 0;
        deviations[c] = 1;
    }
    for (int i = 0; i < classifier->transforms.count; i++) {
        const cr_transform *transform = &classifier->transforms.items[i];
        int given = transform->count / 2;
        for (int c = 0; c < CR_TRANSFORM_PARAMETERS / 2; c++) {
            int from = given == 1 ? 0 : c;
            if (strcmp(transform->type->name, "normalize") != 0 || from >= given)
                continue;
            means[c] = transform->parameters[from];
            deviations[c] = transform->parameters[given + from];
        }
    }
}

/* A sample (C, H, W) as the bytes (H, W, C) of a picture; NULL with an error set. */
static uint8_t *bytes_of(const cr_classifier *classifier, const float *sample)
{
    double means[CR_TRANSFORM_PARAMETERS / 2], deviations[CR_TRANSFORM_PARAMETERS / 2];
    const cr_shape *shape = &classifier->input;
    int64_t numel = cr_shape_numel(shape), plane = shape->dim[1] * shape->dim[2];
    uint8_t *pixels = cr_alloc((size_t)numel);
    find_normalization(classifier, means, deviations);
    for (int64_t i = 0; pixels && i < numel; i++) {
        int64_t c = i / plane;
        double value = 255 * ((double)sample[i] * deviations[c] + means[c]) + 0.5;
        pixels[i % plane * shape->dim[0] + c] = (uint8_t)fmin(fmax(value, 0), 255);
    }
    return pixels;
}

/* The names of a sample's classes, at most as many as fit; to be freed. */
static char *caption_of(cr_dataset *set, int64_t index)
{
    cr_text text = { 0 };
    int classes = cr_dataset_class_count(set);
    float *targets = cr_alloc_array((size_t)classes, sizeof *targets);
    if (targets && cr_dataset_targets(set, index, targets) == CR_OK) {
        for (int c = 0; c < classes; c++)
            if (targets[c] > 0)
                cr_text_printf(&text, "%s%s", text.length ? "\n" : "",
                               cr_dataset_class_name(set, c));
    }
    char *caption = cr_failed() ? NULL : cr_string_copy(text.data ? text.data : "");
    cr_free(targets);
    cr_text_free(&text);
    return caption;
}

static bool draw_batch(const cr_classifier *classifier, cr_dataset *set, const cr_batch *batch,
                       const char *path)
{
    cr_plot_picture pictures[SHOWN] = { { 0 } };
    const cr_shape *shape = &classifier->input;
    const float *samples = cr_data(batch->samples);
    const int64_t *indices = cr_data(batch->indices);
    int64_t count = batch->size < SHOWN ? batch->size : SHOWN;
    for (int64_t i = 0; i < count && !cr_failed(); i++) {
        pictures[i] = (cr_plot_picture){
            .pixels = bytes_of(classifier, samples + i * cr_shape_numel(shape)),
            .width = (int)shape->dim[2],
            .height = (int)shape->dim[1],
            .channels = (int)shape->dim[0],
            .caption = caption_of(set, indices[i]),
        };
    }
    if (!cr_failed())
        cr_plot_pictures(cr_plot_to_file(path), .pictures = pictures, .count = count, .columns = 8,
                         .side = SHEET_SIDE);
    for (int64_t i = 0; i < count; i++) {
        cr_free((void *)pictures[i].pixels);
        cr_free((void *)pictures[i].caption);
    }
    return !cr_failed();
}

bool show_batch(const cr_classifier *classifier, cr_dataset *set, const cr_train_settings *settings,
                const char *path)
{
    cr_transform_list transforms;
    cr_loader *loader = NULL;
    cr_batch batch = { 0 };
    if (cr_transform_join(&settings->augment, &classifier->transforms, &transforms) != CR_OK)
        return false;
    cr_sampler *sampler = cr_train_sampler(set, settings);
    if (sampler)
        loader = cr_loader_new(set, .batch_size = settings->batch_size, .sampler = sampler,
                               .workers = settings->workers, .seed = settings->seed,
                               .transforms = &transforms);
    cr_frame frame = cr_frame_begin();
    bool good = loader && cr_loader_start(loader, 0, 0) == CR_OK &&
                cr_loader_next(loader, &batch) && draw_batch(classifier, set, &batch, path);
    cr_frame_end(frame);
    cr_loader_free(loader);
    cr_sampler_free(sampler);
    return good;
}
