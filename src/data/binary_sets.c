/* CIFAR-10, CIFAR-100 and STL-10 in the binary files in which their authors give them out, in a
 * folder or, for CIFAR, in the archive as it is downloaded. They stay in memory as they are. */
#include <string.h>
#include <strings.h>

#include "cresset/creation.h"
#include "cresset/file.h"
#include "cresset/tar_file.h"
#include "data/data.h"

#define LARGEST_ARCHIVE ((size_t)1 << 30)
#define LARGEST_FILE    ((size_t)4 << 30)
#define CIFAR_SIDE      32
#define STL_SIDE        96
#define STL_CLASSES     10
#define MOST_CLASSES    100

/* ---- where the files are ---- */

/* A folder, or an archive in memory whose files are known by the last part of their names. */
struct place {
    const char *path; /* as the user gave it */
    char *folder;
    char *archive;
    cr_tar *tar;
};

static void place_close(struct place *place)
{
    cr_tar_close(place->tar);
    cr_free(place->archive);
    cr_free(place->folder);
}

static bool has_file(const char *folder, const char *name)
{
    char *path = cr_path_join(folder, name);
    bool found = path && cr_file_exists(path);
    cr_free(path);
    return found;
}

/* The folder itself or the one inside it that has the file; NULL if neither has. To be freed. */
static char *find_folder(const char *path, const char *inside, const char *file)
{
    if (has_file(path, file))
        return cr_string_copy(path);
    char *folder = cr_path_join(path, inside);
    if (folder && has_file(folder, file))
        return folder;
    cr_free(folder);
    return NULL;
}

static int64_t find_entry(const cr_tar *tar, const char *name)
{
    for (int64_t i = 0; i < cr_tar_count(tar); i++) {
        const char *own = cr_tar_at(tar, i).name;
        const char *slash = strrchr(own, '/');
        if (strcmp(slash ? slash + 1 : own, name) == 0)
            return i;
    }
    return -1;
}

static bool place_has(const struct place *place, const char *name)
{
    return place->tar ? find_entry(place->tar, name) >= 0 : has_file(place->folder, name);
}

/* A file whole, terminated, to be freed. */
static char *place_read(const struct place *place, const char *name, size_t *size)
{
    if (!place->tar) {
        char *path = cr_path_join(place->folder, name);
        char *bytes = path ? cr_file_read(path, LARGEST_FILE, size) : NULL;
        cr_free(path);
        return bytes;
    }
    int64_t entry = find_entry(place->tar, name);
    if (entry < 0) {
        cr_error_set(CR_ERROR_FORMAT, "%s has no file %s", place->path, name);
        return NULL;
    }
    *size = (size_t)cr_tar_at(place->tar, entry).size;
    char *bytes = cr_alloc(*size + 1);
    if (bytes && cr_tar_read(place->tar, entry, bytes) == CR_OK) {
        bytes[*size] = '\0';
        return bytes;
    }
    cr_free(bytes);
    return NULL;
}

/* ---- names of classes, one a line ---- */

struct class_names {
    char *text; /* NULL: there are none */
    const char *names[MOST_CLASSES];
    int count;
};

static void read_names(const struct place *place, const char *file, struct class_names *names)
{
    size_t size;
    names->count = 0;
    names->text = place_has(place, file) ? place_read(place, file, &size) : NULL;
    for (char *at = names->text; at && *at && names->count < MOST_CLASSES;) {
        size_t length = strcspn(at, "\r\n");
        char *end = at + length;
        size_t gap = strspn(end, "\r\n");
        *end = '\0';
        if (length > 0)
            names->names[names->count++] = at;
        at = end + gap;
    }
}

static cr_dataset *make_set(const struct place *place, const char *split, cr_tensor *samples,
                            cr_tensor *labels, int classes, const struct class_names *names)
{
    char *name = cr_string_format("%s (%s)", place->path, split);
    cr_dataset *set = NULL;
    if (name && samples && labels)
        set = cr_dataset_from_tensors(samples, .labels = labels, .class_count = classes,
                                      .class_names = names->count == classes ? names->names : NULL,
                                      .name = name);
    cr_free(name);
    return set;
}

static const char *split_word(cr_data_split split)
{
    return split == CR_SPLIT_TRAIN ? "train" : "test";
}

static cr_status refuse_validation(const char *path, cr_data_split split)
{
    if (split != CR_SPLIT_VALIDATION)
        return CR_OK;
    return cr_error_set(CR_ERROR_ARGUMENT,
                        "%s has a training and a test part, but none for "
                        "validation; hold a part of the training set out",
                        path);
}

/* ---- CIFAR ---- */

/* The files of a split, and how many labels stand before each picture. */
struct cifar_files {
    const char *names[5];
    int count;
    int labels;
    int classes;
    const char *class_names;
};

static const struct cifar_files cifar_files[2][2] = {
    { { { "data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin",
          "data_batch_5.bin" },
        5,
        1,
        10,
        "batches.meta.txt" },
      { { "test_batch.bin" }, 1, 1, 10, "batches.meta.txt" } },
    { { { "train.bin" }, 1, 2, 100, "fine_label_names.txt" },
      { { "test.bin" }, 1, 2, 100, "fine_label_names.txt" } },
};

static cr_status cifar_open_place(const char *path, struct place *place)
{
    size_t size;
    *place = (struct place){ .path = path };
    if (cr_file_is_folder(path)) {
        place->folder = find_folder(path, "cifar-10-batches-bin", "data_batch_1.bin");
        if (!place->folder)
            place->folder = find_folder(path, "cifar-100-binary", "train.bin");
        if (place->folder || cr_failed())
            return cr_error_status();
        return cr_error_set(CR_ERROR_IO,
                            "%s has neither data_batch_1.bin nor train.bin, which "
                            "CIFAR-10 and CIFAR-100 need",
                            path);
    }
    place->archive = cr_file_read_gzip(path, LARGEST_ARCHIVE, &size);
    if (place->archive)
        place->tar = cr_tar_open_memory(place->archive, size, path);
    return cr_error_status();
}

/* Copies the pictures and labels of one file to where they belong; *done counts samples. */
static cr_status cifar_take(const struct place *place, const struct cifar_files *files,
                            const char *file, const char *bytes, size_t size, uint8_t *samples,
                            uint8_t *labels, int64_t room, int64_t *done)
{
    size_t pixels = 3 * CIFAR_SIDE * CIFAR_SIDE;
    size_t row = pixels + (size_t)files->labels;
    int64_t count = (int64_t)(size / row);
    if (size % row != 0 || count > room - *done)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s of %s has %zu bytes, which are not whole rows of %zu", file,
                            place->path, size, row);
    for (int64_t i = 0; i < count; i++, bytes += row, ++*done) {
        uint8_t label = (uint8_t)bytes[files->labels - 1];
        if (label >= files->classes)
            return cr_error_set(CR_ERROR_FORMAT,
                                "%s of %s: the label of sample %lld is %d, where only 0 to %d are "
                                "classes",
                                file, place->path, (long long)i, label, files->classes - 1);
        labels[*done] = label;
        memcpy(samples + (size_t)*done * pixels, bytes + files->labels, pixels);
    }
    return CR_OK;
}

static cr_dataset *cifar_read(const struct place *place, const struct cifar_files *files,
                              cr_data_split split)
{
    char *bytes[5] = { NULL };
    size_t sizes[5] = { 0 };
    size_t row = 3 * CIFAR_SIDE * CIFAR_SIDE + (size_t)files->labels;
    int64_t count = 0;
    for (int i = 0; i < files->count && !cr_failed(); i++) {
        bytes[i] = place_read(place, files->names[i], &sizes[i]);
        count += (int64_t)(sizes[i] / row);
    }
    cr_tensor *samples = cr_empty(CR_SHAPE(count, 3, CIFAR_SIDE, CIFAR_SIDE), .dtype = CR_U8);
    cr_tensor *labels = cr_empty(CR_SHAPE(count), .dtype = CR_U8);
    int64_t done = 0;
    for (int i = 0; i < files->count && labels && samples && !cr_failed(); i++)
        cifar_take(place, files, files->names[i], bytes[i], sizes[i], cr_data(samples),
                   cr_data(labels), count, &done);
    struct class_names names = { 0 };
    cr_dataset *set = NULL;
    if (!cr_failed()) {
        read_names(place, files->class_names, &names);
        set = make_set(place, split_word(split), samples, labels, files->classes, &names);
    }
    cr_free(names.text);
    for (int i = 0; i < files->count; i++)
        cr_free(bytes[i]);
    return set;
}

cr_dataset *cr_dataset_open_cifar(const char *path, cr_data_split split)
{
    if (cr_failed() || refuse_validation(path, split) != CR_OK)
        return NULL;
    struct place place;
    cr_dataset *set = NULL;
    cr_frame frame = cr_frame_begin();
    if (cifar_open_place(path, &place) == CR_OK) {
        bool of_100 = !place_has(&place, "data_batch_1.bin");
        set = cifar_read(&place, &cifar_files[of_100][split == CR_SPLIT_TEST], split);
    }
    cr_frame_end(frame);
    place_close(&place);
    return set;
}

/* ---- STL-10 ---- */

/* Its planes stand column by column. */
static void turn_planes(const uint8_t *from, uint8_t *to, int64_t planes)
{
    for (int64_t p = 0; p < planes; p++, from += STL_SIDE * STL_SIDE, to += STL_SIDE * STL_SIDE) {
        for (int y = 0; y < STL_SIDE; y++) {
            for (int x = 0; x < STL_SIDE; x++)
                to[y * STL_SIDE + x] = from[x * STL_SIDE + y];
        }
    }
}

static cr_status stl_check(const struct place *place, const char *word, const uint8_t *labels,
                           size_t count, size_t bytes)
{
    size_t row = 3 * STL_SIDE * STL_SIDE;
    if (bytes != count * row)
        return cr_error_set(CR_ERROR_FORMAT,
                            "%s has %zu labels in %s_y.bin, but %zu bytes of pictures in "
                            "%s_X.bin, where each has %zu",
                            place->path, count, word, bytes, word, row);
    for (size_t i = 0; i < count; i++) {
        if (labels[i] < 1 || labels[i] > STL_CLASSES)
            return cr_error_set(CR_ERROR_FORMAT,
                                "%s: the label of sample %zu in %s_y.bin is %d, where only 1 to %d "
                                "are classes",
                                place->path, i, word, labels[i], STL_CLASSES);
    }
    return CR_OK;
}

static cr_dataset *stl_read(const struct place *place, cr_data_split split)
{
    const char *word = split_word(split);
    size_t bytes = 0;
    size_t count = 0;
    char *pictures =
        place_read(place, split == CR_SPLIT_TRAIN ? "train_X.bin" : "test_X.bin", &bytes);
    char *numbers =
        pictures ? place_read(place, split == CR_SPLIT_TRAIN ? "train_y.bin" : "test_y.bin", &count)
                 : NULL;
    cr_dataset *set = NULL;
    if (numbers && stl_check(place, word, (const uint8_t *)numbers, count, bytes) == CR_OK) {
        cr_tensor *samples =
            cr_empty(CR_SHAPE((int64_t)count, 3, STL_SIDE, STL_SIDE), .dtype = CR_U8);
        cr_tensor *labels = cr_empty(CR_SHAPE((int64_t)count), .dtype = CR_U8);
        if (samples && labels) {
            turn_planes((const uint8_t *)pictures, cr_data(samples), 3 * (int64_t)count);
            for (size_t i = 0; i < count; i++)
                ((uint8_t *)cr_data(labels))[i] = (uint8_t)(numbers[i] - 1);
        }
        struct class_names names;
        read_names(place, "class_names.txt", &names);
        set = make_set(place, word, samples, labels, STL_CLASSES, &names);
        cr_free(names.text);
    }
    cr_free(pictures);
    cr_free(numbers);
    return set;
}

cr_dataset *cr_dataset_open_stl10(const char *path, cr_data_split split)
{
    if (cr_failed() || refuse_validation(path, split) != CR_OK)
        return NULL;
    struct place place = { .path = path,
                           .folder = find_folder(path, "stl10_binary", "train_X.bin") };
    cr_dataset *set = NULL;
    if (place.folder) {
        cr_frame frame = cr_frame_begin();
        set = stl_read(&place, split);
        cr_frame_end(frame);
    } else {
        cr_error_set(CR_ERROR_IO, "%s has no train_X.bin, which STL-10 needs", path);
    }
    place_close(&place);
    return set;
}

/* ---- what is at a path ---- */

static bool ends_in(const char *path, const char *ending)
{
    size_t length = strlen(path);
    size_t own = strlen(ending);
    return length >= own && strcasecmp(path + length - own, ending) == 0;
}

static bool has_idx(const char *folder)
{
    static const char *const names[] = { "train-images-idx3-ubyte", "train-images-idx3-ubyte.gz",
                                         "train-images.idx3-ubyte", "train-images.idx3-ubyte.gz" };
    bool found = false;
    for (int i = 0; i < CR_COUNT_OF(names); i++)
        found |= has_file(folder, names[i]);
    return found;
}

/* True if the folder or the one inside it has the file. */
static bool has_inside(const char *path, const char *inside, const char *file)
{
    char *folder = find_folder(path, inside, file);
    cr_free(folder);
    return folder != NULL;
}

/* True if the last part of a path begins with "cifar-". */
static bool is_cifar_archive(const char *path)
{
    const char *slash = strrchr(path, '/');
    return strncasecmp(slash ? slash + 1 : path, "cifar-", 6) == 0 &&
           (ends_in(path, ".tar.gz") || ends_in(path, ".tgz") || ends_in(path, ".tar"));
}

cr_data_kind cr_data_kind_at(const char *path)
{
    if (!path || !cr_file_exists(path))
        return CR_DATA_UNKNOWN;
    if (!cr_file_is_folder(path)) {
        if (ends_in(path, ".npz"))
            return CR_DATA_NPZ;
        return is_cifar_archive(path) ? CR_DATA_CIFAR : CR_DATA_UNKNOWN;
    }
    if (has_idx(path))
        return CR_DATA_IDX;
    if (has_inside(path, "cifar-10-batches-bin", "data_batch_1.bin") ||
        has_inside(path, "cifar-100-binary", "train.bin"))
        return CR_DATA_CIFAR;
    if (has_inside(path, "stl10_binary", "train_X.bin"))
        return CR_DATA_STL10;
    return CR_DATA_UNKNOWN;
}

cr_dataset *cr_dataset_open(const char *path, cr_data_split split)
{
    if (cr_failed())
        return NULL;
    switch (cr_data_kind_at(path)) {
    case CR_DATA_IDX:
        return refuse_validation(path, split) == CR_OK ? cr_dataset_open_idx(path, split) : NULL;
    case CR_DATA_CIFAR:
        return cr_dataset_open_cifar(path, split);
    case CR_DATA_STL10:
        return cr_dataset_open_stl10(path, split);
    case CR_DATA_NPZ:
        return cr_dataset_open_npz(path, split);
    case CR_DATA_UNKNOWN:
        break;
    }
    cr_error_set(CR_ERROR_IO,
                 "%s is no data set that is known here: neither idx files, nor CIFAR, STL-10 or "
                 "npz",
                 path ? path : "NULL");
    return NULL;
}
