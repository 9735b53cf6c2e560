/* MNIST and the sets made after it: two idx files a split in one folder. Reading the files is io's;
 * here they are found, compared with each other, and given the names of their classes. */
#include <string.h>
#include <zlib.h>

#include "cresset/file.h"
#include "cresset/idx.h"
#include "cresset/shaping.h"
#include "data/data.h"

#define CLASSES 10

static const char *const fashion_names[CLASSES] = { "T-shirt/top", "Trouser", "Pullover",
                                                    "Dress",       "Coat",    "Sandal",
                                                    "Shirt",       "Sneaker", "Bag",
                                                    "Ankle boot" };

/* CRC-32 of the labels of Fashion-MNIST, training and test, by which it is known in any folder. */
static const uint32_t fashion_labels[] = { 0x2ed6e46a, 0x242bc73f };

/* The file of a split: plain or compressed, with the dash of the original names or the dot of some
 * copies. To be freed. */
static char *find_file(const char *folder, const char *split, const char *kind, const char *type)
{
    for (int i = 0; i < 4 && !cr_failed(); i++) {
        char *path = cr_string_format("%s/%s-%s%c%s%s", folder, split, kind, i < 2 ? '-' : '.',
                                      type, i % 2 ? ".gz" : "");
        if (cr_file_exists(path))
            return path;
        cr_free(path);
    }
    cr_error_set(CR_ERROR_IO,
                 "%s has neither %s-%s-%s nor %s-%s-%s.gz, which an idx data set needs", folder,
                 split, kind, type, split, kind, type);
    return NULL;
}

/* An array of bytes with this many dimensions; *path is where it stands, to be freed. */
static cr_tensor *load_array(const char *folder, const char *split, const char *kind, int ndim,
                             char **path)
{
    *path = find_file(folder, split, kind, ndim == 1 ? "idx1-ubyte" : "idx3-ubyte");
    cr_tensor *array = *path ? cr_idx_load(*path) : NULL;
    if (!array)
        return NULL;
    char shape[CR_SHAPE_TEXT];
    cr_shape found = cr_shape_of(array);
    if (cr_dtype_of(array) == CR_U8 && found.ndim == ndim)
        return array;
    cr_error_set(CR_ERROR_FORMAT, "%s holds %s %s, where uint8 of %d dimension%s is needed", *path,
                 cr_dtype_name(cr_dtype_of(array)), cr_shape_format(&found, shape, sizeof shape),
                 ndim, ndim == 1 ? "" : "s");
    return NULL;
}

/* True if the last part of the path, slashes after it aside, has the word in it. */
static bool is_named(const char *folder, const char *word)
{
    for (const char *at = strcasestr(folder, word); at; at = strcasestr(at + 1, word)) {
        const char *rest = at + strcspn(at, "/");
        if (rest[strspn(rest, "/")] == '\0')
            return true;
    }
    return false;
}

static bool is_fashion(const char *folder, const cr_tensor *labels)
{
    uint32_t sum = (uint32_t)crc32_z(0, cr_data(labels), (size_t)cr_numel(labels));
    for (int i = 0; i < CR_COUNT_OF(fashion_labels); i++) {
        if (fashion_labels[i] == sum)
            return true;
    }
    return is_named(folder, "fashion");
}

static cr_status check_labels(const cr_tensor *labels, const char *path)
{
    const uint8_t *data = cr_data(labels);
    for (int64_t i = 0; i < cr_numel(labels); i++) {
        if (data[i] >= CLASSES)
            return cr_error_set(
                CR_ERROR_FORMAT,
                "%s: the label of sample %lld is %d, where only 0 to %d are classes", path,
                (long long)i, data[i], CLASSES - 1);
    }
    return CR_OK;
}

static cr_dataset *join(const char *folder, const char *split, cr_tensor *images, cr_tensor *labels,
                        const char *images_path, const char *labels_path)
{
    int64_t count = cr_dim(images, 0);
    if (cr_dim(labels, 0) != count) {
        cr_error_set(CR_ERROR_FORMAT, "%s has %lld labels, but %s has %lld images", labels_path,
                     (long long)cr_dim(labels, 0), images_path, (long long)count);
        return NULL;
    }
    if (check_labels(labels, labels_path) != CR_OK)
        return NULL;
    char *name = cr_string_format("%s (%s)", folder, split);
    if (!name)
        return NULL;
    cr_tensor *samples = cr_view(images, CR_SHAPE(count, 1, cr_dim(images, 1), cr_dim(images, 2)));
    cr_dataset *set = NULL;
    if (samples)
        set = cr_dataset_from_tensors(
            samples, .labels = labels, .class_count = CLASSES,
            .class_names = is_fashion(folder, labels) ? fashion_names : NULL, .name = name);
    cr_free(name);
    return set;
}

cr_dataset *cr_dataset_open_idx(const char *folder, cr_data_split split)
{
    if (cr_failed())
        return NULL;
    if (!folder || !cr_file_is_folder(folder)) {
        cr_error_set(CR_ERROR_IO, "%s is not a folder with a data set", folder ? folder : "NULL");
        return NULL;
    }
    const char *word = split == CR_SPLIT_TRAIN ? "train" : "t10k";
    char *images_path = NULL;
    char *labels_path = NULL;
    cr_frame frame = cr_frame_begin();
    cr_tensor *images = load_array(folder, word, "images", 3, &images_path);
    cr_tensor *labels = images ? load_array(folder, word, "labels", 1, &labels_path) : NULL;
    cr_dataset *set = labels ? join(folder, split == CR_SPLIT_TRAIN ? "train" : "test", images,
                                    labels, images_path, labels_path)
                             : NULL;
    cr_frame_end(frame);
    cr_free(images_path);
    cr_free(labels_path);
    return set;
}
