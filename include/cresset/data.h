/* Data: sets of samples, the order in which they are seen, how they are changed for training, and
 * the loader that makes batches of them on threads of its own.
 *
 *     cr_dataset *train = cr_dataset_open_idx("fashion-mnist", CR_SPLIT_TRAIN);
 *     cr_transform_list augment = { 0 };
 *     cr_transform_parse("flip,crop:2,normalize:0.286:0.353", &augment);
 *     cr_loader *loader = cr_loader_new(train, .batch_size = 128, .shuffle = true, .workers = 2,
 *                                       .seed = 1, .transforms = &augment);
 *     for (uint64_t epoch = 0; epoch < 15; epoch++) {
 *         cr_loader_start(loader, epoch, 0);
 *         cr_frame frame = cr_frame_begin();
 *         cr_batch batch;
 *         while (cr_loader_next(loader, &batch)) {
 *             …batch.samples (N, C, H, W) float32, batch.labels (N) int64…
 *             cr_frame_end(frame);
 *             frame = cr_frame_begin();
 *         }
 *     }
 *     cr_loader_free(loader);
 *     cr_dataset_free(train);
 *
 * What a batch holds depends on (seed, epoch, position) alone: not on the number of workers, nor on
 * whether the epoch was begun in its middle. */
#ifndef CRESSET_DATA_H
#define CRESSET_DATA_H

#include "cresset/transforms.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- data sets ----
 *
 * A set is counted: views (subset, concat, split) and loaders keep the sets that they read, so a
 * set may be freed by its maker while they live. Reading is thread-safe. */

typedef struct cr_dataset cr_dataset;

/* The label of samples that have none. */
#define CR_NO_LABEL (-1)

/* What a set is made of. To be filled in for one's own kind of set. */
typedef struct cr_dataset_source {
    const char *name; /* for messages; copied */
    int64_t size;
    cr_shape sample_shape;          /* of one sample: (C, H, W); H and W -1 where they differ */
    cr_dtype dtype;                 /* of its elements: CR_U8, from 0 to 255, or CR_F32 */
    int class_count;                /* labels are 0 … class_count - 1; 0: they are not classes */
    const char *const *class_names; /* class_count of them, copied; NULL: "0", "1", … */

    /* Writes sample `index`, contiguous, to `sample` and its label to *label. Called from many
     * threads at once. On failure records a sentence and returns its status. */
    cr_status (*get)(void *context, int64_t index, void *sample, int64_t *label);

    /* In place of get for sets whose samples differ in size: gives `image` the size and the pixels
     * of a picture of C channels. Such a set is of CR_U8. */
    cr_status (*picture)(void *context, int64_t index, cr_image *image, int64_t *label);

    /* Like picture, for sets that read a part of a picture in less time than the whole: see
     * cr_image_read_part. NULL: whole pictures are read. */
    cr_status (*picture_part)(void *context, int64_t index, const cr_image_wish *wish,
                              cr_image *image, cr_image_part *part, int64_t *label);

    /* The label alone; NULL if that is not cheaper than get. */
    cr_status (*label)(void *context, int64_t index, int64_t *label);

    /* The file that a sample comes from, which lives as long as the set; NULL if there are none. */
    const char *(*path)(void *context, int64_t index);

    /* For samples with several labels: writes 1 for each class that a sample has, and 0 for the
     * others, to class_count numbers. NULL: a sample has the one class of its label. */
    cr_status (*targets)(void *context, int64_t index, float *targets);

    /* Called once when nothing reads the set any more, also when making it fails; may be NULL. */
    void (*free)(void *context);
    void *context;
} cr_dataset_source;

/* A set from its source. NULL on failure. */
cr_dataset *cr_dataset_new(const cr_dataset_source *source);

/* Gives up the caller's hold on a set; NULL is legal. retain adds one. */
void cr_dataset_free(cr_dataset *set);
cr_dataset *cr_dataset_retain(cr_dataset *set);

const char *cr_dataset_name(const cr_dataset *set);
int64_t cr_dataset_size(const cr_dataset *set);
cr_shape cr_dataset_sample_shape(const cr_dataset *set);
cr_dtype cr_dataset_dtype(const cr_dataset *set);
int cr_dataset_class_count(const cr_dataset *set);
const char *cr_dataset_class_name(const cr_dataset *set, int label); /* "" out of range */

/* A sample and its label (which may be NULL), or the label alone. An index out of range, and a
 * label that is neither a class nor CR_NO_LABEL, is an error that names the set and the sample. */
cr_status cr_dataset_get(cr_dataset *set, int64_t index, void *sample, int64_t *label);
cr_status cr_dataset_label(cr_dataset *set, int64_t index, int64_t *label);

/* A sample of a set of CR_U8 with 1, 3 or 4 channels as a picture, whatever its size. */
cr_status cr_dataset_picture(cr_dataset *set, int64_t index, cr_image *image, int64_t *label);

/* The same where only a part is wanted; *part says what was read, that or more. */
cr_status cr_dataset_picture_part(cr_dataset *set, int64_t index, const cr_image_wish *wish,
                                  cr_image *image, cr_image_part *part, int64_t *label);

/* True if a set holds pictures: CR_U8 (C, H, W) of 1, 3 or 4 channels. */
bool cr_dataset_has_pictures(const cr_dataset *set);

/* The file that a sample comes from, for messages and reports; "" if it has none. It lives as long
 * as the set. */
const char *cr_dataset_path(const cr_dataset *set, int64_t index);

/* The classes of a sample as class_count numbers, 1 for each that it has and 0 for the others; of a
 * set of single labels the label's. True if samples may have several. */
cr_status cr_dataset_targets(cr_dataset *set, int64_t index, float *targets);
bool cr_dataset_has_targets(const cr_dataset *set);

/* A set over tensors, which it keeps: samples (N, …), uint8 or float32, and labels (N) of an
 * integer dtype (NULL: none). Not copied if contiguous; they must not be written while the set is
 * read. */
typedef struct cr_dataset_tensors {
    cr_tensor *samples;
    cr_tensor *labels;
    int class_count; /* 0: one more than the largest label */
    const char *const *class_names;
    const char *name;   /* NULL: "tensors" */
    cr_tensor *targets; /* instead of labels, (N, classes) of 0 and 1: several of a sample */
} cr_dataset_tensors;
#define cr_dataset_from_tensors(...)                                                               \
    cr_dataset_from_tensors_with((cr_dataset_tensors){ .samples = __VA_ARGS__ })
cr_dataset *cr_dataset_from_tensors_with(cr_dataset_tensors args);

/* A folder with train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-… and t10k-labels-…,
 * each plain or with ".gz" (some copies have ".idx" for "-idx"): MNIST and the sets made after it.
 * Samples are (1, H, W) uint8 and stay as they are in memory. The classes are named for
 * Fashion-MNIST (known by its labels, or by "fashion" in the name of the folder), and digits else.
 */
typedef enum cr_data_split { CR_SPLIT_TRAIN, CR_SPLIT_TEST, CR_SPLIT_VALIDATION } cr_data_split;
cr_dataset *cr_dataset_open_idx(const char *folder, cr_data_split split);

/* CIFAR-10 and CIFAR-100 in their binary version: the folder with data_batch_1.bin, … or train.bin,
 * or one that cifar-10-batches-bin or cifar-100-binary is in, or the archive as it is downloaded
 * (.tar.gz) or unpacked (.tar). Samples are (3, 32, 32) uint8; labels of CIFAR-100 are the fine
 * ones. */
cr_dataset *cr_dataset_open_cifar(const char *path, cr_data_split split);

/* STL-10 in its binary version: the folder with train_X.bin, train_y.bin, test_X.bin, … or one that
 * stl10_binary is in. Samples are (3, 96, 96) uint8. */
cr_dataset *cr_dataset_open_stl10(const char *path, cr_data_split split);

/* An npz file in MedMNIST's layout: train_images (N, H, W) or (N, H, W, 3) uint8, train_labels (N,
 * 1) of class numbers or (N, classes) of 0 and 1, and the same with val_ and test_. */
cr_dataset *cr_dataset_open_npz(const char *path, cr_data_split split);

/* What is at a path: by the names of the files there. */
typedef enum cr_data_kind {
    CR_DATA_UNKNOWN,
    CR_DATA_IDX,
    CR_DATA_CIFAR,
    CR_DATA_STL10,
    CR_DATA_NPZ
} cr_data_kind;
cr_data_kind cr_data_kind_at(const char *path);

/* Opens one of these kinds; a path with something else is an error. */
cr_dataset *cr_dataset_open(const char *path, cr_data_split split);

/* The samples at `indices` of a set, in that order; several sets one after the other, which must
 * agree in shape, dtype and number of classes. */
cr_dataset *cr_dataset_subset(cr_dataset *set, const int64_t *indices, int64_t count);
cr_dataset *cr_dataset_concat(cr_dataset *const *sets, int count);

/* Parts a set in two by chance: `fraction` of it (rounded) into *first, the rest into *second, both
 * in the set's order. Each class is parted in this ratio, unless the set has no classes. */
cr_status cr_dataset_split(cr_dataset *set, double fraction, uint64_t seed, cr_dataset **first,
                           cr_dataset **second);

/* The same for samples that belong together, such as the scans of a patient: sample i is of group
 * groups[i] (any numbers), and no group stands on both sides. Groups are chosen so that the
 * fraction of each class comes as near to `fraction` as they allow. */
cr_status cr_dataset_split_groups(cr_dataset *set, const int64_t *groups, double fraction,
                                  uint64_t seed, cr_dataset **first, cr_dataset **second);

/* Deals the samples out to so many folds of a cross-validation: fold[i] of 0 … folds - 1 for sample
 * i, each class as evenly as can be (of several labels, the first). Samples of one group (NULL:
 * each is one) are in the same fold. And the two sets of a fold: the samples of the others, and its
 * own.
 */
cr_status cr_dataset_folds(cr_dataset *set, const int64_t *groups, int folds, uint64_t seed,
                           int *fold);
cr_status cr_dataset_fold(cr_dataset *set, const int *fold, int which, cr_dataset **others,
                          cr_dataset **own);

/* Numbers the groups (0, 1, … in the order in which they come) by what a POSIX extended regular
 * expression finds in the paths of the samples: its first parenthesis, or all that it matches. A
 * path in which it finds nothing is an error. */
cr_status cr_dataset_group_by_path(const cr_dataset *set, const char *expression, int64_t *groups);

/* What is in a set. Channels are those of (C, …) samples of three dimensions or more, one
 * otherwise; uint8 values count as 0 … 1. Deviations are of the whole population. */
typedef struct cr_dataset_statistics {
    int64_t size;
    int64_t unlabelled;
    int class_count;
    int64_t *class_counts;
    int channel_count;
    double *channel_means;
    double *channel_deviations;
} cr_dataset_statistics;

/* Reads the whole set; pictures count pixel by pixel, whatever their size. To be freed with
 * cr_dataset_statistics_free, on success only. */
cr_status cr_dataset_measure(cr_dataset *set, cr_dataset_statistics *statistics);
void cr_dataset_statistics_free(cr_dataset_statistics *statistics);

/* ---- samplers: the order of an epoch ----
 *
 * A sampler gives, for a seed and an epoch, the indices to visit. It keeps no position: the state
 * of an interrupted epoch is (seed, epoch, position). */

typedef struct cr_sampler cr_sampler;

/* 0 … size - 1 in order; the same in random order; `count` given indices in random order. */
cr_sampler *cr_sampler_sequential(int64_t size);
cr_sampler *cr_sampler_random(int64_t size);
cr_sampler *cr_sampler_subset(const int64_t *indices, int64_t count);

/* `draws` indices (0: size) with probabilities in proportion to the weights, each drawn anew, or
 * without replacement (Efraimidis and Spirakis, 2006). */
cr_sampler *cr_sampler_weighted(const double *weights, int64_t size, int64_t draws,
                                bool no_replacement);

/* `draws` indices (0: size of the set) in which each class that has samples comes equally often (to
 * within one); within a class every sample comes once before any comes twice. */
cr_sampler *cr_sampler_balanced(cr_dataset *set, int64_t draws);

/* Each index of another sampler's order `times` times in a row, so that a loader makes as many
 * views of a sample. Takes the other over, also when it fails. */
cr_sampler *cr_sampler_repeat(cr_sampler *sampler, int times);
void cr_sampler_free(cr_sampler *sampler);

/* The number of indices of an epoch, and the indices, into room for that many. */
int64_t cr_sampler_length(const cr_sampler *sampler);
cr_status cr_sampler_order(const cr_sampler *sampler, uint64_t seed, uint64_t epoch,
                           int64_t *order);

/* ---- the loader ---- */

typedef struct cr_loader cr_loader;

typedef struct cr_loader_args {
    cr_dataset *data;
    int64_t batch_size;        /* 0: 1 */
    bool shuffle;              /* a new random order each epoch */
    const cr_sampler *sampler; /* instead of shuffle; must live as long as the loader */
    bool drop_last;            /* leave out a last batch that is not full */
    int workers;               /* threads that make batches; 0: the caller's makes them */
    int prefetch;              /* batches made ahead, for each worker; 0: 2 */
    uint64_t seed;
    const cr_transform_list *transforms; /* copied; NULL: none */
} cr_loader_args;

/* A loader that keeps the data set. NULL on failure. One loader belongs to one thread. */
#define cr_loader_new(...) cr_loader_new_with((cr_loader_args){ .data = __VA_ARGS__ })
cr_loader *cr_loader_new_with(cr_loader_args args);

/* Stops, and gives up everything. NULL is legal. */
void cr_loader_free(cr_loader *loader);

/* A batch of `size` samples. The tensors are owned by the frame; their memory comes from the
 * caching allocator, so that the batches of an epoch take turns in the same few buffers. */
typedef struct cr_batch {
    cr_tensor *samples; /* (N, C, H, W) float32: N before the shape of a sample */
    cr_tensor *labels;  /* (N) int64 */
    cr_tensor *indices; /* (N) int64: which samples of the data set */
    int64_t size;
} cr_batch;

/* Where an epoch stands: what has to be saved to go on with the same batches. */
typedef struct cr_loader_state {
    uint64_t seed;
    uint64_t epoch;
    int64_t position; /* samples delivered */
} cr_loader_state;

/* Begins an epoch after its first `position` samples; one under way is stopped first. resume does
 * so from a state, and takes over its seed. */
cr_status cr_loader_start(cr_loader *loader, uint64_t epoch, int64_t position);
cr_status cr_loader_resume(cr_loader *loader, cr_loader_state state);

/* The next batch of the epoch. False at its end, if none was begun, and on failure (cr_failed):
 * batches before the one that failed are delivered first. */
bool cr_loader_next(cr_loader *loader, cr_batch *batch);

/* Ends the workers of an epoch that is not wanted to its end; start begins another. */
void cr_loader_stop(cr_loader *loader);

cr_loader_state cr_loader_get_state(const cr_loader *loader);

/* Batches and samples of a whole epoch, as drop_last has it. */
int64_t cr_loader_batch_count(const cr_loader *loader);
int64_t cr_loader_sample_count(const cr_loader *loader);

#ifdef __cplusplus
}
#endif
#endif
