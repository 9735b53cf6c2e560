/* What is in a data set: samples of each class, and mean and deviation of each channel. Sums of
 * uint8 are integers and exact; of float32, a sum a sample, in double. */
#include <math.h>

#include "data/data.h"

#define WHITE 255.0 /* the uint8 value that counts as 1 */

struct channel_sums {
    double sum;
    double squares;
};

static void add_u8(struct channel_sums *sums, const uint8_t *data, int64_t count)
{
    uint64_t sum = 0;
    uint64_t squares = 0;
    for (int64_t i = 0; i < count; i++) {
        sum += data[i];
        squares += (uint32_t)data[i] * data[i];
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

static cr_status add_samples(cr_dataset *set, void *sample, int64_t area, struct channel_sums *sums,
                             cr_dataset_statistics *statistics)
{
    bool bytes = cr_dataset_dtype(set) == CR_U8;
    for (int64_t i = 0; i < statistics->size; i++) {
        int64_t label;
        if (cr_dataset_get(set, i, sample, &label) != CR_OK)
            return cr_error_status();
        if (label == CR_NO_LABEL)
            statistics->unlabelled++;
        else if (statistics->class_count > 0)
            statistics->class_counts[label]++;
        for (int c = 0; c < statistics->channel_count; c++) {
            if (bytes)
                add_u8(&sums[c], (const uint8_t *)sample + c * area, area);
            else
                add_f32(&sums[c], (const float *)sample + c * area, area);
        }
    }
    return CR_OK;
}

static void finish(const cr_dataset *set, const struct channel_sums *sums, int64_t area,
                   cr_dataset_statistics *statistics)
{
    double count = (double)statistics->size * (double)area;
    double unit = cr_dataset_dtype(set) == CR_U8 ? WHITE : 1;
    for (int c = 0; c < statistics->channel_count; c++) {
        double mean = count > 0 ? sums[c].sum / count : 0;
        double variance = count > 0 ? sums[c].squares / count - mean * mean : 0;
        statistics->channel_means[c] = mean / unit;
        statistics->channel_deviations[c] = sqrt(CR_MAX(variance, 0)) / unit;
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
    int64_t numel = cr_shape_numel(&shape);
    int64_t area = channels > 0 ? numel / channels : 0;
    statistics->size = cr_dataset_size(set);
    statistics->class_count = cr_dataset_class_count(set);
    statistics->channel_count = channels;
    statistics->class_counts =
        cr_alloc_zeroed((size_t)statistics->class_count, sizeof *statistics->class_counts);
    statistics->channel_means = cr_alloc_zeroed((size_t)channels, sizeof(double));
    statistics->channel_deviations = cr_alloc_zeroed((size_t)channels, sizeof(double));
    struct channel_sums *sums = cr_alloc_zeroed((size_t)channels, sizeof *sums);
    void *sample = cr_alloc_array((size_t)numel, cr_dtype_size(cr_dataset_dtype(set)));
    if (statistics->class_counts && statistics->channel_means && statistics->channel_deviations &&
        sums && sample && add_samples(set, sample, area, sums, statistics) == CR_OK)
        finish(set, sums, area, statistics);
    else
        cr_dataset_statistics_free(statistics);
    cr_free(sums);
    cr_free(sample);
    return cr_error_status();
}

void cr_dataset_statistics_free(cr_dataset_statistics *statistics)
{
    cr_free(statistics->class_counts);
    cr_free(statistics->channel_means);
    cr_free(statistics->channel_deviations);
    *statistics = (cr_dataset_statistics){ 0 };
}
