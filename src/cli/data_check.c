/* `cresset data check`: reads every picture of a set once, on all threads, and finds what is
 * broken, what comes twice (by a hash of the pixels) and what looks nearly the same (by whether
 * each of 16 x 16 places is darker than the one to its right). */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"
#include "cresset/thread.h"
#include "cresset/transforms.h"

#define BLOCK         64 /* pictures between two looks at the progress bar */
#define LOOK_SIDE     16
#define ALIKE_BITS    10    /* of 256 that may differ */
#define LEAST_BITS    8     /* that are set, or a picture is too even to be compared */
#define MOST_COMPARED 60000 /* pictures, each with each other */
#define SHOWN         20    /* of each kind, in the text */
#define UNEVEN        3     /* times that the largest class has as many as the smallest */
#define FEW           50    /* training pictures of a class */

/* ---- one picture ---- */

static uint64_t mix(uint64_t hash, uint64_t word)
{
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 29;
}

static void hash_pixels(const cr_image *image, uint64_t hash[2])
{
    size_t size = (size_t)(image->height * image->width * image->channels), at = 0;
    hash[0] = mix(1, (uint64_t)image->width << 32 | (uint64_t)image->height);
    hash[1] = mix(2, (uint64_t)image->channels);
    for (; at + 8 <= size; at += 8) {
        uint64_t word;
        memcpy(&word, image->pixels + at, sizeof word);
        hash[0] = mix(hash[0], word);
        hash[1] = mix(hash[1], word * 3 + 1);
    }
    for (; at < size; at++) {
        hash[0] = mix(hash[0], image->pixels[at]);
        hash[1] = mix(hash[1], image->pixels[at] * UINT64_C(3) + 1);
    }
}

static void add_up(const cr_image *image, checked_picture *picture)
{
    size_t count = (size_t)(image->height * image->width);
    int channels = image->channels < 3 ? image->channels : 3;
    for (int c = 0; c < channels; c++) {
        const uint8_t *at = image->pixels + c;
        uint64_t sum = 0, squares = 0;
        for (size_t i = 0; i < count; i++, at += image->channels) {
            sum += *at;
            squares += (uint64_t)*at * *at;
        }
        picture->sums[c] = sum;
        picture->squares[c] = squares;
    }
}

static void hash_looks(cr_image *image, cr_image *spare, const cr_transform_list *small,
                       uint64_t looks[4])
{
    float grey[LOOK_SIDE * (LOOK_SIDE + 1)];
    memset(looks, 0, 4 * sizeof *looks);
    if (cr_image_convert(image, 1) != CR_OK ||
        cr_transform_picture(small, image, spare, 0, 0, 0, CR_SHAPE(1, LOOK_SIDE, LOOK_SIDE + 1),
                             grey) != CR_OK)
        return;
    for (int bit = 0; bit < LOOK_SIDE * LOOK_SIDE; bit++) {
        const float *at = grey + bit / LOOK_SIDE * (LOOK_SIDE + 1) + bit % LOOK_SIDE;
        looks[bit / 64] |= (uint64_t)(at[0] < at[1]) << bit % 64;
    }
}

/* ---- all pictures ---- */

typedef struct reading {
    data_check *check;
    cr_transform_list small;
    int64_t first; /* of the block */
} reading;

/* An error belongs to the thread that has it, so each is made a part of its picture at once. */
static void read_pictures(int64_t begin, int64_t end, void *context)
{
    const reading *job = context;
    cr_image image = { 0 }, spare = { 0 };
    for (int64_t i = job->first + begin; i < job->first + end; i++) {
        checked_picture *picture = &job->check->pictures[i];
        cr_dataset *set = job->check->parts.parts[picture->part].set;
        if (cr_dataset_picture(set, picture->index, &image, &picture->label) == CR_OK) {
            picture->width = image.width;
            picture->height = image.height;
            hash_pixels(&image, picture->pixels);
            add_up(&image, picture);
            hash_looks(&image, &spare, &job->small, picture->looks);
        }
        if (cr_failed()) {
            char words[1024];
            snprintf(words, sizeof words, "%s", cr_error_message());
            cr_error_clear();
            picture->broken = cr_string_copy(words);
            cr_error_clear();
        }
    }
    cr_image_free(&image);
    cr_image_free(&spare);
}

static bool read_all(data_check *check, bool quiet)
{
    reading job = { .check = check };
    if (cr_transform_parse("resize:16:17", &job.small) != CR_OK)
        return false;
    progress bar = { 0 };
    if (!quiet)
        progress_begin(&bar, "reading", check->count, "pictures");
    for (job.first = 0; job.first < check->count; job.first += BLOCK) {
        int64_t left = check->count - job.first;
        cr_parallel_for(left < BLOCK ? left : BLOCK, 1, read_pictures, &job);
        if (!quiet)
            progress_update(&bar, job.first + (left < BLOCK ? left : BLOCK), "");
    }
    if (!quiet)
        progress_clear(&bar);
    return true;
}

/* ---- what comes twice ---- */

static int by_pixels(const void *left, const void *right)
{
    const checked_picture *a = *(checked_picture *const *)left;
    const checked_picture *b = *(checked_picture *const *)right;
    for (int i = 0; i < 2; i++) {
        if (a->pixels[i] != b->pixels[i])
            return a->pixels[i] < b->pixels[i] ? -1 : 1;
    }
    return a < b ? -1 : a > b;
}

static bool same_pixels(const checked_picture *a, const checked_picture *b)
{
    return a->pixels[0] == b->pixels[0] && a->pixels[1] == b->pixels[1];
}

static bool find_twins(data_check *check)
{
    checked_picture **order = cr_alloc_array((size_t)check->count, sizeof *order);
    int64_t count = 0;
    if (!order)
        return false;
    for (int64_t i = 0; i < check->count; i++)
        if (!check->pictures[i].broken)
            order[count++] = &check->pictures[i];
    if (count > 0)
        qsort(order, (size_t)count, sizeof *order, by_pixels);
    const checked_picture *first = NULL;
    for (int64_t i = 0; i < count; i++) {
        if (!first || !same_pixels(first, order[i])) {
            first = order[i];
            continue;
        }
        order[i]->twin = first - check->pictures;
        check->twins++;
        check->twins_across += first->part != order[i]->part;
        check->twins_at_odds += first->label != order[i]->label;
    }
    cr_free(order);
    return true;
}

static int count_bits(const uint64_t a[4], const uint64_t b[4])
{
    int bits = 0;
    for (int i = 0; i < 4; i++)
        bits += __builtin_popcountll(a[i] ^ b[i]);
    return bits;
}

static void find_alike(int64_t begin, int64_t end, void *context)
{
    const data_check *check = context;
    for (int64_t i = begin; i < end; i++) {
        checked_picture *own = &check->pictures[i];
        int least = ALIKE_BITS + 1;
        if (count_bits(own->looks, (const uint64_t[4]){ 0 }) < LEAST_BITS)
            continue;
        for (int64_t j = 0; j < i && !own->broken && own->twin < 0; j++) {
            const checked_picture *other = &check->pictures[j];
            int bits = count_bits(own->looks, other->looks);
            if (bits < least && !other->broken && other->twin < 0) {
                least = bits;
                own->alike = j;
            }
        }
    }
}

/* ---- what it means ---- */

static CR_PRINTF(2, 3) void add_finding(data_check *check, const char *format, ...)
{
    if (check->finding_count >= COUNT_OF(check->findings))
        return;
    va_list words;
    va_start(words, format);
    vsnprintf(check->findings[check->finding_count++], sizeof check->findings[0], format, words);
    va_end(words);
}

static const char *class_word(const data_check *check, int class)
{
    return cr_dataset_class_name(check->parts.parts[0].set, class);
}

static void look_at_classes(data_check *check)
{
    const int64_t *counts = check->class_counts;
    int largest = 0, smallest = 0;
    for (int i = 1; i < check->classes; i++) {
        largest = counts[i] > counts[largest] ? i : largest;
        smallest = counts[i] < counts[smallest] ? i : smallest;
    }
    if (check->classes > 1 && counts[largest] >= UNEVEN * counts[smallest])
        add_finding(check,
                    "The class %s has %lld pictures to train on, %s only %lld: draw them evenly "
                    "with --sampler balanced, or use --class-weights.",
                    class_word(check, largest), (long long)counts[largest],
                    class_word(check, smallest), (long long)counts[smallest]);
    if (check->classes > 0 && counts[smallest] < FEW)
        add_finding(check,
                    "%s has %lld pictures to train on: begin with the weights of a trained model "
                    "(--weights) and change the pictures (--augment).",
                    class_word(check, smallest), (long long)counts[smallest]);
    for (int part = 1; part < check->parts.count; part++) {
        for (int i = 0; i < check->classes; i++)
            if (counts[part * (check->classes + 1) + i] == 0)
                add_finding(check, "There is no picture of %s in the %s part.",
                            class_word(check, i), check->parts.parts[part].name);
    }
}

static void conclude(data_check *check)
{
    if (check->broken > 0)
        add_finding(check, "Pictures that cannot be read: %lld. Get them again, or take them out.",
                    (long long)check->broken);
    if (check->twins_across > 0)
        add_finding(check,
                    "Pictures that stand in two parts: %lld. What is measured on them looks better "
                    "than it is; take them out of one.",
                    (long long)check->twins_across);
    if (check->twins_at_odds > 0)
        add_finding(check,
                    "Pictures that come twice with different labels: %lld. One of the labels is "
                    "wrong.",
                    (long long)check->twins_at_odds);
    if (check->twins > check->twins_across)
        add_finding(check,
                    "Pictures that come again in the same part: %lld. They count more than others.",
                    (long long)(check->twins - check->twins_across));
    if (check->alike_across > 0)
        add_finding(check,
                    "Pictures that look nearly like one of another part: %lld. If they show the "
                    "same patient or scene, cresset data split --group-by keeps such together.",
                    (long long)check->alike_across);
    if (check->count > MOST_COMPARED)
        add_finding(check, "Pictures that look nearly alike were not looked for among so many.");
    look_at_classes(check);
    if (check->finding_count == 0)
        add_finding(check, "No picture is broken, and none comes twice.");
}

static bool count_up(data_check *check)
{
    check->classes = cr_dataset_class_count(check->parts.parts[0].set);
    size_t row = (size_t)check->classes + 1;
    check->class_counts = cr_alloc_zeroed((size_t)check->parts.count * row, sizeof(int64_t));
    if (!check->class_counts)
        return false;
    double sums[3] = { 0 }, squares[3] = { 0 }, pixels = 0;
    for (int64_t i = 0; i < check->count; i++) {
        const checked_picture *picture = &check->pictures[i];
        check->broken += picture->broken != NULL;
        check->alike += picture->alike >= 0;
        if (picture->alike >= 0)
            check->alike_across += check->pictures[picture->alike].part != picture->part;
        size_t label = picture->label >= 0 ? (size_t)picture->label : row - 1;
        check->class_counts[(size_t)picture->part * row + label] += !picture->broken;
        if (picture->part > 0 || picture->broken)
            continue;
        pixels += (double)(picture->width * picture->height);
        for (int c = 0; c < 3; c++) {
            sums[c] += (double)picture->sums[c] / 255;
            squares[c] += (double)picture->squares[c] / (255.0 * 255.0);
        }
    }
    for (int c = 0; c < 3 && pixels > 0; c++) {
        check->means[c] = sums[c] / pixels;
        check->deviations[c] =
            sqrt(fmax(squares[c] / pixels - check->means[c] * check->means[c], 0));
    }
    return true;
}

static bool make_list(data_check *check)
{
    for (int i = 0; i < check->parts.count; i++) {
        if (!cr_dataset_has_pictures(check->parts.parts[i].set)) {
            cr_error_set(CR_ERROR_SHAPE, "the samples of %s are not pictures", check->name);
            return false;
        }
        check->count += cr_dataset_size(check->parts.parts[i].set);
    }
    check->pictures = cr_alloc_zeroed((size_t)check->count, sizeof *check->pictures);
    int64_t at = 0;
    for (int part = 0; check->pictures && part < check->parts.count; part++) {
        for (int64_t i = 0; i < cr_dataset_size(check->parts.parts[part].set); i++)
            check->pictures[at++] = (checked_picture){
                .part = part, .index = i, .label = CR_NO_LABEL, .twin = -1, .alike = -1
            };
    }
    return check->pictures != NULL;
}

static bool work(data_check *check, const char *label_by, bool quiet)
{
    if (!data_parts_open(&check->parts, check->name, label_by) || !make_list(check) ||
        !read_all(check, quiet) || !find_twins(check))
        return false;
    if (check->count <= MOST_COMPARED)
        cr_parallel_for(check->count, 256, find_alike, check);
    if (!count_up(check))
        return false;
    conclude(check);
    return true;
}

static void close_check(data_check *check)
{
    for (int64_t i = 0; check->pictures && i < check->count; i++)
        cr_free(check->pictures[i].broken);
    cr_free(check->pictures);
    cr_free(check->class_counts);
    data_parts_close(&check->parts);
}

/* ---- answers ---- */

const char *checked_name(const data_check *check, int64_t which, char buffer[96])
{
    const checked_picture *picture = &check->pictures[which];
    const data_part *part = &check->parts.parts[picture->part];
    const char *path = cr_dataset_path(part->set, picture->index);
    if (*path)
        return path;
    snprintf(buffer, 96, "%s, sample %lld", part->name, (long long)picture->index);
    return buffer;
}

/* The sizes of pictures in order, by area. */
static int by_area(const void *left, const void *right)
{
    const int64_t *a = left;
    const int64_t *b = right;
    int64_t difference = a[0] * a[1] - b[0] * b[1];
    return difference ? (difference < 0 ? -1 : 1) : a[0] < b[0] ? -1 : a[0] > b[0];
}

typedef struct size_range {
    int64_t smallest[2], median[2], largest[2], kinds;
} size_range;

static bool find_sizes(const data_check *check, size_range *range)
{
    int64_t(*sizes)[2] = cr_alloc_array((size_t)check->count, sizeof *sizes);
    int64_t count = 0;
    *range = (size_range){ 0 };
    for (int64_t i = 0; sizes && i < check->count; i++) {
        if (check->pictures[i].broken)
            continue;
        sizes[count][0] = check->pictures[i].width;
        sizes[count++][1] = check->pictures[i].height;
    }
    if (sizes && count > 0) {
        qsort(sizes, (size_t)count, sizeof *sizes, by_area);
        memcpy(range->smallest, sizes[0], sizeof range->smallest);
        memcpy(range->median, sizes[count / 2], sizeof range->median);
        memcpy(range->largest, sizes[count - 1], sizeof range->largest);
        for (int64_t i = 0; i < count; i++)
            range->kinds += i == 0 || by_area(sizes[i], sizes[i - 1]) != 0;
    }
    cr_free(sizes);
    return sizes != NULL;
}

static json_t *size_to_json(const int64_t size[2])
{
    return json_pack("[I, I]", (json_int_t)size[0], (json_int_t)size[1]);
}

/* Pictures of one kind with the earlier ones that they belong to. */
static json_t *pairs_to_json(const data_check *check, bool twins)
{
    char own[96], other[96];
    json_t *pairs = json_array();
    for (int64_t i = 0; i < check->count; i++) {
        int64_t first = twins ? check->pictures[i].twin : check->pictures[i].alike;
        if (first >= 0)
            json_array_append_new(
                pairs,
                json_pack("{s:s, s:s, s:b, s:b}", "picture", checked_name(check, i, own), "like",
                          checked_name(check, first, other), "across_parts",
                          check->pictures[i].part != check->pictures[first].part, "labels_differ",
                          check->pictures[i].label != check->pictures[first].label));
    }
    return pairs;
}

static json_t *check_to_json(const data_check *check, const size_range *range)
{
    json_t *parts = json_array(), *broken = json_array(), *findings = json_array();
    json_t *means = json_array(), *deviations = json_array();
    for (int part = 0; part < check->parts.count; part++) {
        json_t *counts = json_object();
        for (int i = 0; i < check->classes; i++)
            json_object_set_new(counts, class_word(check, i),
                                json_integer(check->class_counts[part * (check->classes + 1) + i]));
        json_array_append_new(
            parts, json_pack("{s:s, s:I, s:o}", "name", check->parts.parts[part].name, "pictures",
                             (json_int_t)cr_dataset_size(check->parts.parts[part].set),
                             "class_counts", counts));
    }
    for (int64_t i = 0; i < check->count; i++)
        if (check->pictures[i].broken)
            json_array_append_new(broken, json_string(check->pictures[i].broken));
    for (int i = 0; i < check->finding_count; i++)
        json_array_append_new(findings, json_string(check->findings[i]));
    for (int c = 0; c < 3; c++) {
        json_array_append_new(means, json_finite(check->means[c]));
        json_array_append_new(deviations, json_finite(check->deviations[c]));
    }
    return json_pack("{s:s, s:o, s:{s:o, s:o, s:o, s:I}, s:o, s:o, s:o, s:o, s:o, s:o}", "name",
                     check->name, "parts", parts, "sizes", "smallest",
                     size_to_json(range->smallest), "median", size_to_json(range->median),
                     "largest", size_to_json(range->largest), "kinds", (json_int_t)range->kinds,
                     "broken", broken, "duplicates", pairs_to_json(check, true), "near_duplicates",
                     pairs_to_json(check, false), "channel_means", means, "channel_deviations",
                     deviations, "findings", findings);
}

static void print_counts(const data_check *check)
{
    static const char *const alignments[] = { "lr", "lrr", "lrrr" };
    char number[NUMBER_SIZE];
    cli_table table;
    table_begin(&table, alignments[check->parts.count - 1]);
    table_cell(&table, "class");
    for (int part = 0; part < check->parts.count; part++)
        table_cell(&table, "%s", check->parts.parts[part].name);
    table_rule(&table);
    for (int i = 0; i < check->classes; i++) {
        table_cell(&table, "%s", class_word(check, i));
        for (int part = 0; part < check->parts.count; part++)
            table_cell(&table, "%s",
                       format_count(number, check->class_counts[part * (check->classes + 1) + i]));
    }
    table_rule(&table);
    table_cell(&table, "all");
    for (int part = 0; part < check->parts.count; part++)
        table_cell(&table, "%s",
                   format_count(number, cr_dataset_size(check->parts.parts[part].set)));
    table_print(&table, stdout);
}

static void print_pairs(const data_check *check, bool twins)
{
    char own[96], other[96];
    int64_t count = twins ? check->twins : check->alike, shown = 0;
    if (count == 0)
        return;
    printf("\n%s\n", twins ? "The same pixels" : "Nearly the same");
    for (int64_t i = 0; i < check->count && shown < SHOWN; i++) {
        const checked_picture *picture = &check->pictures[i];
        int64_t first = twins ? picture->twin : picture->alike;
        if (first < 0)
            continue;
        bool differ = check->pictures[first].label != picture->label;
        printf("  %s and %s%s\n", checked_name(check, i, own), checked_name(check, first, other),
               differ ? " (of another class)" : "");
        shown++;
    }
    if (count > shown)
        printf("  and %lld more\n", (long long)(count - shown));
}

static void print_check(const data_check *check, const size_range *range)
{
    printf("%s\n\n", check->name);
    print_counts(check);
    printf("\nsizes     %lldx%lld to %lldx%lld, half of them up to %lldx%lld; %lld kind%s\n",
           (long long)range->smallest[0], (long long)range->smallest[1],
           (long long)range->largest[0], (long long)range->largest[1], (long long)range->median[0],
           (long long)range->median[1], (long long)range->kinds, range->kinds == 1 ? "" : "s");
    printf("channels  mean %.4f %.4f %.4f, deviation %.4f %.4f %.4f\n", check->means[0],
           check->means[1], check->means[2], check->deviations[0], check->deviations[1],
           check->deviations[2]);
    int64_t shown = 0;
    if (check->broken > 0)
        printf("\nBroken\n");
    for (int64_t i = 0; i < check->count && shown < SHOWN; i++) {
        if (check->pictures[i].broken) {
            printf("  %s\n", check->pictures[i].broken);
            shown++;
        }
    }
    if (check->broken > shown)
        printf("  and %lld more\n", (long long)(check->broken - shown));
    print_pairs(check, true);
    print_pairs(check, false);
    printf("\n");
    for (int i = 0; i < check->finding_count; i++) {
        cr_text text = { 0 };
        text_wrap(&text, check->findings[i], 2, 2, terminal_width(stdout));
        printf("- %s\n", text.data ? text.data : "");
        cr_text_free(&text);
    }
}

int run_data_check(const arguments *args)
{
    const data_settings *settings = args->settings;
    data_check check = { .name = args->operands[1] };
    size_range range;
    int status = STATUS_DONE;
    if (!work(&check, settings->label_by, settings->json) || !find_sizes(&check, &range) ||
        (settings->html && !write_check_page(&check, settings->html)))
        status = library_failure(args->command);
    else if (settings->json)
        status = print_json(args->command, check_to_json(&check, &range));
    else
        print_check(&check, &range);
    close_check(&check);
    return status;
}
