/* What is in a data set: samples of each class, and mean and deviation of each channel. Sums of
 * uint8 are integers and exact; of float32, a sum a sample, in double. */
#include <math.h>

#include "data/data.h"

#define WHITE 255.0 /* the uint8 value that counts as 1 */

struct channel_sums {
    double sum;
    double squares;
};

/* A measurement under way. */
struct measuring {
    cr_dataset *set;
    cr_dataset_statistics *statistics;
    struct channel_sums *sums;
    double pixels; /* of a channel */
};

/* One channel of bytes, `step` apart. */
static void add_u8(struct channel_sums *sums, const uint8_t *data, int64_t count, int64_t step)
{
    uint64_t sum = 0;
    uint64_t squares = 0;
    for (int64_t i = 0; i < count; i++) {
        uint32_t value = data[i * step];
        sum += value;
        squares += value * value;
    }
    sums->sum += (double)sum;
    sums->squares += (double)squares;
}

static void add_f32(struct channel_sums *sums, const float *data, int64_t count)
{
    double sum = 0;
    double squares = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += data[i];
        squares += (double)data[i] * data[i];
    }
    sums->sum += sum;
    sums->squares += squares;
}

static void add_label(struct measuring *measuring, int64_t label)
{
    if (label == CR_NO_LABEL)
        measuring->statistics->unlabelled++;
    else if (measuring->statistics->class_count > 0)
        measuring->statistics->class_counts[label]++;
}

static void add_pictures(struct measuring *measuring)
{
    cr_image image = { 0 };
    int64_t label;
    for (int64_t i = 0; i < measuring->statistics->size; i++) {
        if (cr_dataset_picture(measuring->set, i, &image, &label) != CR_OK)
            break;
        int64_t area = image.height * image.width;
        for (int c = 0; c < image.channels; c++)
            add_u8(&measuring->sums[c], image.pixels + c, area, image.channels);
        measuring->pixels += (double)area;
        add_label(measuring, label);
    }
    cr_image_free(&image);
}

static void add_samples(struct measuring *measuring)
{
    cr_shape shape = cr_dataset_sample_shape(measuring->set);
    int channels = measuring->statistics->channel_count;
    int64_t numel = cr_shape_numel(&shape);
    int64_t area = channels > 0 ? numel / channels : 0;
    bool bytes = cr_dataset_dtype(measuring->set) == CR_U8;
    int64_t label;
    void *sample = cr_alloc_array((size_t)numel, cr_dtype_size(cr_dataset_dtype(measuring->set)));
    for (int64_t i = 0; sample && i < measuring->statistics->size; i++) {
        if (cr_dataset_get(measuring->set, i, sample, &label) != CR_OK)
            break;
        for (int c = 0; c < channels; c++) {
            if (bytes)
                add_u8(&measuring->sums[c], (const uint8_t *)sample + c * area, area, 1);
            else
                add_f32(&measuring->sums[c], (const float *)sample + c * area, area);
        }
        measuring->pixels += (double)area;
        add_label(measuring, label);
    }
    cr_free(sample);
}

static void finish(const struct measuring *measuring)
{
    double count = measuring->pixels;
    double unit = cr_dataset_dtype(measuring->set) == CR_U8 ? WHITE : 1;
    for (int c = 0; c < measuring->statistics->channel_count; c++) {
        const struct channel_sums *sums = &measuring->sums[c];
        double mean = count > 0 ? sums->sum / count : 0;
        double variance = count > 0 ? sums->squares / count - mean * mean : 0;
        measuring->statistics->channel_means[c] = mean / unit;
        measuring->statistics->channel_deviations[c] = sqrt(CR_MAX(variance, 0)) / unit;
    }
}

static int channels_of(const cr_shape *shape)
{
    return shape->ndim >= 3 && shape->dim[0] <= INT32_MAX ? (int)shape->dim[0] : 1;
}

cr_status cr_dataset_measure(cr_dataset *set, cr_dataset_statistics *statistics)
{
    *statistics = (cr_dataset_statistics){ 0 };
    if (cr_failed())
        return cr_error_status();
    if (!set)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no data set to measure");
    cr_shape shape = cr_dataset_sample_shape(set);
    int channels = channels_of(&shape);
    statistics->size = cr_dataset_size(set);
    statistics->class_count = cr_dataset_class_count(set);
    statistics->channel_count = channels;
    statistics->class_counts =
        cr_alloc_zeroed((size_t)statistics->class_count, sizeof *statistics->class_counts);
    statistics->channel_means = cr_alloc_zeroed((size_t)channels, sizeof(double));
    statistics->channel_deviations = cr_alloc_zeroed((size_t)channels, sizeof(double));
    struct measuring measuring = { set, statistics,
                                   cr_alloc_zeroed((size_t)channels, sizeof(struct channel_sums)),
                                   0 };
    if (!cr_failed() && cr_dataset_has_pictures(set))
        add_pictures(&measuring);
    else if (!cr_failed())
        add_samples(&measuring);
    if (cr_failed())
        cr_dataset_statistics_free(statistics);
    else
        finish(&measuring);
    cr_free(measuring.sums);
    return cr_error_status();
}

void cr_dataset_statistics_free(cr_dataset_statistics *statistics)
{
    cr_free(statistics->class_counts);
    cr_free(statistics->channel_means);
    cr_free(statistics->channel_deviations);
    *statistics = (cr_dataset_statistics){ 0 };
}
