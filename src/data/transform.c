/* Lists of transforms: how they are made, joined, and applied to a sample with random numbers of
 * its own. Their text form stands in transform_text.c, what each kind does in the files that
 * transform_types.c names. */
#include <string.h>

#include "data/data.h"

static bool is_for_tensors_only(const cr_transform_type *type)
{
    return !type->picture;
}

static bool is_for_pictures_only(const cr_transform_type *type)
{
    return !type->apply;
}

/* Transforms of pictures come first. */
static cr_status check_order(const cr_transform_list *list, const cr_transform_type *type)
{
    for (int i = 0; is_for_pictures_only(type) && i < list->count; i++) {
        if (is_for_tensors_only(list->items[i].type))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "transform %s works on pictures and must stand before %s",
                                type->name, list->items[i].type->name);
    }
    return CR_OK;
}

static cr_status append(cr_transform_list *list, const cr_transform *transform)
{
    if (list->count >= CR_TRANSFORM_MAX)
        return cr_error_set(CR_ERROR_ARGUMENT, "there are more than %d transforms",
                            CR_TRANSFORM_MAX);
    list->items[list->count++] = *transform;
    return CR_OK;
}

cr_status cr_transform_add(cr_transform_list *list, const cr_transform_type *type,
                           const double *parameters, int count)
{
    if (cr_failed() || check_order(list, type) != CR_OK)
        return cr_error_status();
    if (count < type->least || count > type->most)
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s has %d parameters; it takes %d to %d",
                            type->name, count, type->least, type->most);
    cr_transform transform = { .type = type, .count = count };
    for (int i = 0; i < CR_TRANSFORM_PARAMETERS; i++)
        transform.parameters[i] = i < count ? parameters[i] : type->parameters[i].fallback;
    const char *wanted = type->check ? type->check(&transform, 0) : NULL;
    if (wanted)
        return cr_error_set(CR_ERROR_ARGUMENT, "transform %s needs %s", type->name, wanted);
    return append(list, &transform);
}

cr_status cr_transform_add_normalize(cr_transform_list *list, const double *means,
                                     const double *deviations, int channels)
{
    double parameters[CR_TRANSFORM_PARAMETERS];
    if (channels < 1 || channels > CR_TRANSFORM_PARAMETERS / 2)
        return cr_error_set(CR_ERROR_ARGUMENT, "normalize: %d channels; it takes 1 to %d", channels,
                            CR_TRANSFORM_PARAMETERS / 2);
    for (int c = 0; c < channels; c++) {
        parameters[c] = means[c];
        parameters[channels + c] = deviations[c];
    }
    return cr_transform_add(list, data_transform_find("normalize"), parameters, 2 * channels);
}

static void change_shape(const cr_transform *transform, cr_shape *shape)
{
    if (transform->type->shape)
        transform->type->shape(transform, shape);
}

cr_shape cr_transform_shape(const cr_transform_list *list, cr_shape shape)
{
    for (int i = 0; list && i < list->count && shape.ndim == 3; i++)
        change_shape(&list->items[i], &shape);
    return shape;
}

/* True if pictures of any size come out in one size. */
static bool sets_size(const cr_transform_list *list)
{
    cr_shape shape = cr_transform_shape(list, CR_SHAPE(3, -1, -1));
    return shape.dim[1] > 0 && shape.dim[2] > 0;
}

/* True if a transform makes another size of pictures. */
static bool changes_size(const cr_transform *transform)
{
    cr_shape shape = CR_SHAPE(3, 1000, 2000);
    change_shape(transform, &shape);
    return shape.dim[1] != 1000 || shape.dim[2] != 2000;
}

cr_status cr_transform_join(const cr_transform_list *augment, const cr_transform_list *own,
                            cr_transform_list *joined)
{
    bool keeps_size = !sets_size(augment);
    cr_status status = cr_error_status();
    *joined = (cr_transform_list){ 0 };
    int first = 0; /* of own's transforms of tensors */
    while (first < own->count && !is_for_tensors_only(own->items[first].type))
        first++;
    for (int i = 0; i < first && status == CR_OK; i++) {
        if (keeps_size || !changes_size(&own->items[i]))
            status = append(joined, &own->items[i]);
    }
    for (int i = 0; i < augment->count && status == CR_OK; i++)
        status = append(joined, &augment->items[i]);
    for (int i = first; i < own->count && status == CR_OK; i++)
        status = append(joined, &own->items[i]);
    return status;
}

/* ---- applying ---- */

cr_status data_transforms_fit(const cr_transform_list *list, bool pictures, int64_t channels)
{
    cr_shape shape = CR_SHAPE(channels, -1, -1);
    for (int i = 0; i < list->count; i++) {
        const cr_transform *transform = &list->items[i];
        const cr_transform_type *type = transform->type;
        if (!pictures && is_for_pictures_only(type))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "transform %s works on pictures, which these samples are not: "
                                "pictures are uint8 of 1, 3 or 4 channels",
                                type->name);
        const char *wanted = type->check ? type->check(transform, shape.dim[0]) : NULL;
        if (wanted)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "transform %s on samples of %lld channels needs %s", type->name,
                                (long long)shape.dim[0], wanted);
        change_shape(transform, &shape);
    }
    return CR_OK;
}

static void apply_from(const cr_transform_list *list, int first, cr_sample *sample,
                       cr_generator *generator)
{
    for (int i = first; i < list->count; i++)
        list->items[i].type->apply(&list->items[i], sample, generator);
}

void cr_transform_apply(const cr_transform_list *list, cr_sample *sample, uint64_t seed,
                        uint64_t epoch, int64_t position)
{
    if (!list || list->count == 0)
        return;
    cr_generator generator = data_generator(seed, DATA_TRANSFORM, epoch, (uint64_t)position);
    apply_from(list, 0, sample, &generator);
}

/* Bytes to a plane of floats for each channel, by a table for each. */
static void to_planes(const cr_image *image, float tables[4][256], float *out)
{
    int64_t area = image->height * image->width;
    const uint8_t *from = image->pixels;
    int channels = image->channels;
    for (int64_t i = 0; channels == 3 && i < area; i++, from += 3) {
        out[i] = tables[0][from[0]];
        out[area + i] = tables[1][from[1]];
        out[2 * area + i] = tables[2][from[2]];
    }
    for (int c = 0; channels != 3 && c < channels; c++) {
        for (int64_t i = 0; i < area; i++)
            out[c * area + i] = tables[c][from[i * channels + c]];
    }
}

/* A picture as a sample, and whether `next` was done on the way: it is if it is normalize. */
static bool to_sample(const cr_image *image, const cr_transform *next, float *out)
{
    float tables[4][256];
    bool normalizes = next && next->type == &data_normalize;
    for (int c = 0; c < image->channels; c++)
        data_normalize_table(normalizes ? next : NULL, c, tables[c]);
    to_planes(image, tables, out);
    return normalizes;
}

static cr_status check_shape(const cr_image *image, const cr_shape *shape)
{
    if (image->channels == shape->dim[0] && image->height == shape->dim[1] &&
        image->width == shape->dim[2])
        return CR_OK;
    return cr_error_set(CR_ERROR_SHAPE,
                        "the picture is %lld × %lld with %d channels after the transforms, where "
                        "%lld × %lld with %lld are needed",
                        (long long)image->width, (long long)image->height, image->channels,
                        (long long)shape->dim[2], (long long)shape->dim[1],
                        (long long)shape->dim[0]);
}

static cr_status in_transform(const cr_transform *transform)
{
    cr_error_prefix("transform %s", transform->type->name);
    return cr_error_status();
}

cr_status data_transform_part(const cr_transform_list *list, const struct data_plan *plan,
                              const cr_image_part *part, cr_image *image, cr_image *spare,
                              cr_shape shape, float *out)
{
    cr_generator generator = plan->generator;
    int i = plan->used;
    if (data_plan_apply(plan, part, image, spare) != CR_OK)
        return in_transform(&list->items[0]);
    for (; i < list->count && !is_for_tensors_only(list->items[i].type); i++) {
        const cr_transform *transform = &list->items[i];
        if (transform->type->picture(transform, image, spare, &generator) != CR_OK)
            return in_transform(transform);
    }
    if (check_shape(image, &shape) != CR_OK)
        return cr_error_status();
    i += to_sample(image, i < list->count ? &list->items[i] : NULL, out);
    cr_sample sample = { out, shape.dim[0], shape.dim[1], shape.dim[2] };
    apply_from(list, i, &sample, &generator);
    return CR_OK;
}

cr_status cr_transform_picture(const cr_transform_list *list, cr_image *image, cr_image *spare,
                               uint64_t seed, uint64_t epoch, int64_t position, cr_shape shape,
                               float *out)
{
    static const cr_transform_list none;
    struct data_plan plan;
    cr_image_part part = { image->height, image->width, { 0, 0, image->height, image->width } };
    if (!list)
        list = &none;
    data_plan_make(list, image->height, image->width,
                   data_generator(seed, DATA_TRANSFORM, epoch, (uint64_t)position), &plan);
    return data_transform_part(list, &plan, &part, image, spare, shape, out);
}
