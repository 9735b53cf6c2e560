/* Loads a folder of pictures (a subfolder for each class) once to warm up and then `epochs` times,
 * and prints as JSON what one epoch took: seconds of the clock and of the processors. Arguments:
 * FOLDER TRANSFORMS BATCH WORKERS EPOCHS [FILE], where FILE receives the samples of an epoch as
 * float32. TRANSFORMS may be "decode", which only decodes. The peer is in loader.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "cresset/autograd.h"
#include "cresset/creation.h"
#include "cresset/error.h"
#include "cresset/image_sets.h"

struct times {
    double wall, processor;
};

static struct times now(void)
{
    struct timespec clock;
    struct rusage usage;
    clock_gettime(CLOCK_MONOTONIC, &clock);
    getrusage(RUSAGE_SELF, &usage);
    return (struct times){
        (double)clock.tv_sec + (double)clock.tv_nsec * 1e-9,
        (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
            (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1e-6,
    };
}

static void decode_epoch(cr_dataset *set)
{
    cr_image image = { 0 };
    for (int64_t i = 0; i < cr_dataset_size(set) && !cr_failed(); i++)
        cr_dataset_picture(set, i, &image, NULL);
    cr_image_free(&image);
}

static void load_epoch(cr_loader *loader, uint64_t epoch, FILE *file)
{
    cr_loader_start(loader, epoch, 0);
    cr_frame frame = cr_frame_begin();
    cr_batch batch;
    while (cr_loader_next(loader, &batch)) {
        if (file)
            fwrite(cr_data(batch.samples), sizeof(float), (size_t)cr_numel(batch.samples), file);
        cr_frame_end(frame);
        frame = cr_frame_begin();
    }
    cr_frame_end(frame);
}

static cr_loader *open_loader(cr_dataset *set, char **words)
{
    cr_transform_list transforms = { 0 };
    cr_transform_parse(words[2], &transforms);
    return cr_loader_new(set, .batch_size = atoll(words[3]), .workers = atoi(words[4]),
                         .transforms = &transforms);
}

static void measure(cr_dataset *set, char **words, FILE *file)
{
    int epochs = atoi(words[5]);
    bool decodes = strcmp(words[2], "decode") == 0;
    cr_loader *loader = decodes ? NULL : open_loader(set, words);
    struct times begin = { 0 };
    for (int epoch = 0; epoch <= epochs && !cr_failed(); epoch++) {
        if (epoch == 1)
            begin = now();
        if (decodes)
            decode_epoch(set);
        else
            load_epoch(loader, (uint64_t)epoch, epoch == 0 ? file : NULL);
    }
    struct times end = now();
    cr_loader_free(loader);
    if (!cr_failed())
        printf("{\"pictures\": %lld, \"seconds\": %.6f, \"processor\": %.6f}\n",
               (long long)cr_dataset_size(set), (end.wall - begin.wall) / epochs,
               (end.processor - begin.processor) / epochs);
}

int main(int count, char **words)
{
    if (count < 6) {
        fprintf(stderr, "usage: bench_loader FOLDER TRANSFORMS BATCH WORKERS EPOCHS [FILE]\n");
        return 2;
    }
    cr_dataset *set = cr_dataset_open_folder(words[1]);
    FILE *file = count > 6 ? fopen(words[6], "wb") : NULL;
    if (set)
        measure(set, words, file);
    if (file)
        fclose(file);
    cr_dataset_free(set);
    if (!cr_failed())
        return 0;
    fprintf(stderr, "bench_loader: %s\n", cr_error_message());
    return 1;
}
