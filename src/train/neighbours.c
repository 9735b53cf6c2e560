/* How well the features of a model tell classes apart without a classifier: by nearest neighbours.
 * A run of pretraining is judged so. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/memory.h"
#include "cresset/ops.h"
#include "cresset/self_supervised.h"
#include "train/train_run.h"

#define TEMPERATURE   0.07
#define MOST_IN_BANK  5000
#define MOST_JUDGED   2000
#define NEIGHBOURS    20
#define FEATURE_BATCH 256

/* The class of most votes; the lower one of two with as many. -1 if there is none. */
static int64_t vote(const float *cosines, const int64_t *nearest, int64_t k, const int64_t *labels,
                    int64_t classes, double *votes)
{
    int64_t best = -1;
    for (int64_t c = 0; c < classes; c++)
        votes[c] = 0;
    for (int64_t i = 0; i < k; i++) {
        int64_t label = labels[nearest[i]];
        if (label >= 0 && label < classes)
            votes[label] += exp((double)cosines[i] / TEMPERATURE);
    }
    for (int64_t c = 0; c < classes; c++) {
        if (votes[c] > 0 && (best < 0 || votes[c] > votes[best]))
            best = c;
    }
    return best;
}

static double count_right(cr_tensor *cosines, cr_tensor *nearest, const int64_t *bank_labels,
                          const int64_t *labels, int64_t classes)
{
    int64_t rows = cr_dim(cosines, 0);
    int64_t k = cr_dim(cosines, 1);
    int64_t judged = 0;
    int64_t right = 0;
    double *votes = cr_alloc_array((size_t)classes, sizeof *votes);
    const float *cosine = cr_data(cosines);
    const int64_t *index = cr_data(nearest);
    for (int64_t i = 0; votes && i < rows; i++) {
        if (labels[i] < 0)
            continue;
        judged++;
        right += vote(cosine + i * k, index + i * k, k, bank_labels, classes, votes) == labels[i];
    }
    cr_free(votes);
    return judged > 0 ? (double)right / (double)judged : NAN;
}

double cr_neighbour_accuracy(cr_tensor *bank, cr_tensor *bank_labels, cr_tensor *vectors,
                             cr_tensor *labels, int64_t k, int64_t classes)
{
    double accuracy = NAN;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    bank = cr_normalize(bank, 2, 1, 1e-12);
    vectors = cr_normalize(vectors, 2, 1, 1e-12);
    cr_tensor *all = cr_matmul(vectors, cr_transpose(bank, 0, 1));
    cr_tensor *nearest = NULL;
    if (all && k > cr_dim(all, 1))
        k = cr_dim(all, 1);
    cr_tensor *cosines = cr_contiguous(cr_topk(cr_to_dtype(all, CR_F32), k, 1, false, &nearest));
    nearest = cr_contiguous(nearest);
    bank_labels = cr_contiguous(bank_labels);
    labels = cr_contiguous(labels);
    if (cosines && nearest && bank_labels && labels && classes > 0)
        accuracy = count_right(cosines, nearest, cr_data(bank_labels), cr_data(labels), classes);
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    return accuracy;
}

/* ---- judging pretraining ---- */

/* `most` of a set's samples, evenly spread; all if there are no more. */
static cr_dataset *some_of(cr_dataset *set, int64_t most)
{
    int64_t size = cr_dataset_size(set);
    int64_t count = size < most ? size : most;
    int64_t *indices = cr_alloc_array((size_t)count, sizeof *indices);
    for (int64_t i = 0; indices && i < count; i++)
        indices[i] = i * size / count;
    cr_dataset *some = indices ? cr_dataset_subset(set, indices, count) : NULL;
    cr_free(indices);
    return some;
}

/* Writes features and labels of batch after batch; owned by the frame. */
static cr_status take_features(const cr_classifier *classifier, cr_loader *loader, int64_t count,
                               cr_tensor **features, cr_tensor **labels)
{
    int64_t done = 0;
    cr_batch batch;
    *features = NULL;
    *labels = cr_empty(CR_SHAPE(count), .dtype = CR_I64);
    if (!*labels || cr_loader_start(loader, 0, 0) != CR_OK)
        return cr_error_status();
    cr_frame frame = cr_frame_begin();
    cr_tensor *all = NULL;
    while (cr_loader_next(loader, &batch)) {
        cr_tensor *own =
            cr_contiguous(cr_to_dtype(cr_classifier_forward(classifier, batch.samples), CR_F32));
        if (own && !all)
            all = cr_retain(cr_empty(CR_SHAPE(count, cr_dim(own, 1))));
        if (!own || !all)
            break;
        size_t width = (size_t)cr_dim(all, 1);
        memcpy((float *)cr_data(all) + (size_t)done * width, cr_data(own),
               (size_t)batch.size * width * sizeof(float));
        memcpy((int64_t *)cr_data(*labels) + done, cr_data(batch.labels),
               (size_t)batch.size * sizeof(int64_t));
        done += batch.size;
        cr_frame_end(frame);
        frame = cr_frame_begin();
    }
    cr_frame_end(frame);
    *features = cr_frame_add(all);
    return cr_error_status();
}

static cr_status features_of(const struct trainer *trainer, cr_dataset *set, int64_t most,
                             cr_tensor **features, cr_tensor **labels)
{
    cr_dataset *some = some_of(set, most);
    cr_loader *loader = some ? cr_loader_new(some, .batch_size = FEATURE_BATCH,
                                             .workers = trainer->settings.workers,
                                             .transforms = &trainer->classifier->transforms)
                             : NULL;
    if (loader)
        take_features(trainer->classifier, loader, cr_dataset_size(some), features, labels);
    cr_loader_free(loader);
    cr_dataset_free(some);
    return cr_error_status();
}

double neighbours_judge(const struct trainer *trainer)
{
    int64_t classes = trainer->classifier->class_count;
    if (!trainer->validation || classes < 2)
        return NAN;
    double accuracy = NAN;
    cr_tensor *bank, *bank_labels, *features, *labels;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    cr_model_train(trainer->classifier->model, false);
    if (features_of(trainer, trainer->train, MOST_IN_BANK, &bank, &bank_labels) == CR_OK &&
        features_of(trainer, trainer->validation, MOST_JUDGED, &features, &labels) == CR_OK)
        accuracy = cr_neighbour_accuracy(bank, bank_labels, features, labels, NEIGHBOURS, classes);
    cr_set_grad_enabled(was);
    cr_frame_end(frame);
    return accuracy;
}
