/* Data sets of pictures in files (component cresset_images): a folder for each class, a table of
 * paths and labels, and tar shards. The pictures are read when they are asked for; what lies in
 * memory is their names.
 *
 *     cr_image_parts parts;
 *     if (cr_image_parts_open("oct2017", .channels = 3, .parts = &parts) == CR_OK)
 *         …parts.train, parts.validation, parts.test…
 *     cr_image_parts_free(&parts);
 *
 * Pictures may differ in size: the sample shape is (channels, -1, -1), and a transform has to bring
 * them to one size. A picture that cannot be read ends the reading with a sentence that names it,
 * unless `broken` is given: then all pictures are read once when the set is opened, which takes its
 * time, and those that cannot be are left out and listed. */
#ifndef CRESSET_IMAGE_SETS_H
#define CRESSET_IMAGE_SETS_H

#include "cresset/data.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Pictures that could not be read: a sentence for each, which begins with its name. */
typedef struct cr_broken_pictures {
    int64_t count;
    char **sentences;
} cr_broken_pictures;

void cr_broken_pictures_free(cr_broken_pictures *broken);

typedef struct cr_image_parts cr_image_parts;

typedef struct cr_image_set_args {
    const char *path;               /* a folder or a file */
    int channels;                   /* 1 or 3 (0: 3) */
    const char *const *class_names; /* the classes in their order; NULL: those that are found */
    int class_count;
    cr_broken_pictures *broken; /* what is appended to, so that one may serve several sets */
    const char *root;           /* of the paths of a table; NULL: the folder that the table is in */
    cr_image_parts *parts;      /* of cr_image_parts_open */
    const char *label_by; /* of folders: finds the class in a path, instead of the subfolder */
} cr_image_set_args;

/* One subfolder for each class, as torchvision's ImageFolder has it: classes sorted by name,
 * pictures in them and below them sorted by path, known by the endings of their names. What begins
 * with a dot is passed over. A class without a picture is an error, unless the classes are given.
 * With `label_by`, a POSIX extended regular expression, all pictures below the folder are taken,
 * and their classes are what its first parenthesis (or all of it) finds in their paths. */
#define cr_dataset_open_folder(...)                                                                \
    cr_dataset_open_folder_with((cr_image_set_args){ .path = __VA_ARGS__ })
cr_dataset *cr_dataset_open_folder_with(cr_image_set_args args);

/* The paths of all pictures in a folder and below it, sorted as in such a class, each and the list
 * to be freed with cr_free; `count` of them. NULL on failure, which a folder without pictures is.
 */
char **cr_image_folder_paths(const char *folder, int64_t *count);

/* A table (CSV) of paths and labels: the columns called path (or file, filename, image, img, name)
 * and label (or labels, class, target), or the first two if there are no headings. Several labels
 * of a picture are parted by '|'; such a set has targets (cr_dataset_targets), and its labels are
 * the first of each. A picture with an empty label has none. Classes are sorted by name, by number
 * if all are numbers. */
#define cr_dataset_open_csv(...)                                                                   \
    cr_dataset_open_csv_with((cr_image_set_args){ .path = __VA_ARGS__ })
cr_dataset *cr_dataset_open_csv_with(cr_image_set_args args);

/* Tar files in WebDataset's layout: KEY.jpg (or another ending of pictures) and KEY.cls, the number
 * of the class, stand next to each other. `path` is a .tar file or a folder of them, which are
 * taken in the order of their names. The table of contents is read once; pictures are read from
 * where they stand. Not compressed. Classes are called by their numbers unless names are given. */
#define cr_dataset_open_shards(...)                                                                \
    cr_dataset_open_shards_with((cr_image_set_args){ .path = __VA_ARGS__ })
cr_dataset *cr_dataset_open_shards_with(cr_image_set_args args);

/* A folder with the parts of a set in subfolders: train (or training), val (valid, validation) and
 * test (testing), each with a folder for each class, or with tar shards; or train.csv, val.csv and
 * test.csv, which come before folders of the same names. Parts that are not there are NULL. All
 * have the classes of the first part. Without any of these, the folder itself (or the table or tar
 * file) is opened as `train`. */
struct cr_image_parts {
    cr_dataset *train;
    cr_dataset *validation;
    cr_dataset *test;
};

#define cr_image_parts_open(...)                                                                   \
    cr_image_parts_open_with((cr_image_set_args){ .path = __VA_ARGS__ })
cr_status cr_image_parts_open_with(cr_image_set_args args);
void cr_image_parts_free(cr_image_parts *parts);

/* True if cr_image_parts_open is for this path: a table, a tar file, a folder with one of the parts
 * above or with a subfolder in which there is a picture, or one of tar files. */
bool cr_image_parts_at(const char *path);

#ifdef __cplusplus
}
#endif
#endif
