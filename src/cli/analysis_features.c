/* The analysis of errors by the model's own features: which mistakes look alike to it, and whether
 * it can tell one set of pictures from another. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "cresset/autograd.h"
#include "cresset/explain.h"
#include "cresset/memory.h"
#include "cresset/random.h"

enum { MOST_GROUPS = 8, SHOWN_GROUPS = 3, SHOWN_OF_GROUP = 8, ROUNDS = 50, FOLDS = 5, STEPS = 200 };
#define LEAST_MISTAKES 20 /* fewer are looked at one by one */
#define SEED           1

/* Features of samples, (count, width). */
typedef struct feature_table {
    int64_t count, width;
    float *values;
} feature_table;

static bool take_batch(const cr_classifier *classifier, const cr_batch *batch, feature_table *table,
                       int64_t room)
{
    cr_tensor *features = cr_classifier_features(classifier, batch->samples);
    if (!features)
        return false;
    if (!table->values) {
        table->width = cr_dim(features, 1);
        table->values = cr_alloc_array((size_t)room, (size_t)table->width * sizeof *table->values);
    }
    if (!table->values)
        return false;
    memcpy(table->values + table->count * table->width, cr_data(features),
           (size_t)(batch->size * table->width) * sizeof *table->values);
    table->count += batch->size;
    return true;
}

/* The features of all samples of a set; false with an error set. */
static bool features_of(const analysis *a, cr_dataset *set, feature_table *table)
{
    *table = (feature_table){ 0 };
    cr_loader *loader = cr_loader_new(set, .batch_size = 32, .workers = (int)a->workers,
                                      .transforms = &a->classifier->transforms);
    bool good = loader && cr_loader_start(loader, 0, 0) == CR_OK;
    for (bool more = good; good && more;) {
        cr_batch batch;
        cr_frame frame = cr_frame_begin();
        more = cr_loader_next(loader, &batch);
        good = more ? take_batch(a->classifier, &batch, table, cr_dataset_size(set)) : !cr_failed();
        cr_frame_end(frame);
        if (good && interrupted()) {
            cr_error_set(CR_ERROR_INTERRUPTED, "the analysis was interrupted");
            good = false;
        }
    }
    cr_loader_free(loader);
    return good;
}

/* Every feature to mean 0 and deviation 1 over the table. */
static void standardise(feature_table *table)
{
    for (int64_t f = 0; f < table->width; f++) {
        double sum = 0, squares = 0;
        for (int64_t i = 0; i < table->count; i++)
            sum += (double)table->values[i * table->width + f];
        double mean = sum / (double)table->count;
        for (int64_t i = 0; i < table->count; i++) {
            double distance = (double)table->values[i * table->width + f] - mean;
            squares += distance * distance;
        }
        double deviation = sqrt(squares / (double)table->count);
        for (int64_t i = 0; i < table->count; i++) {
            float *value = &table->values[i * table->width + f];
            *value = deviation > 0 ? (float)(((double)*value - mean) / deviation) : 0;
        }
    }
}

/* --- Which mistakes look alike? ------------------------------------------------------------- */

static double distance_of(const float *x, const float *y, int64_t width)
{
    double sum = 0;
    for (int64_t f = 0; f < width; f++)
        sum += (double)(x[f] - y[f]) * (double)(x[f] - y[f]);
    return sum;
}

/* Centres far from each other (k-means++; Arthur and Vassilvitskii, 2007); distances is room for
 * one number a sample. */
static void choose_centres(const feature_table *t, int groups, float *centres, double *distances)
{
    cr_generator generator = cr_generator_make(SEED, 1);
    int64_t chosen = (int64_t)cr_random_below(&generator, (uint64_t)t->count);
    for (int64_t i = 0; i < t->count; i++)
        distances[i] = INFINITY;
    for (int g = 0; g < groups; g++) {
        memcpy(centres + g * t->width, t->values + chosen * t->width,
               (size_t)t->width * sizeof *centres);
        double all = 0;
        for (int64_t i = 0; i < t->count; i++) {
            double own = distance_of(t->values + i * t->width, centres + g * t->width, t->width);
            distances[i] = fmin(distances[i], own);
            all += distances[i];
        }
        double drawn = cr_random_uniform(&generator) * all;
        for (chosen = 0; chosen + 1 < t->count && drawn >= distances[chosen]; chosen++)
            drawn -= distances[chosen];
    }
}

/* Gives each sample the nearest centre; true if any changed. */
static bool assign(const feature_table *t, int groups, const float *centres, int *group,
                   double *distances)
{
    bool changed = false;
    for (int64_t i = 0; i < t->count; i++) {
        int nearest = 0;
        distances[i] = INFINITY;
        for (int g = 0; g < groups; g++) {
            double own = distance_of(t->values + i * t->width, centres + g * t->width, t->width);
            if (own < distances[i]) {
                distances[i] = own;
                nearest = g;
            }
        }
        changed = changed || group[i] != nearest;
        group[i] = nearest;
    }
    return changed;
}

static void move_centres(const feature_table *t, int groups, float *centres, const int *group)
{
    for (int g = 0; g < groups; g++) {
        double members = 0;
        for (int64_t i = 0; i < t->count; i++)
            members += group[i] == g;
        if (members == 0)
            continue;
        for (int64_t f = 0; f < t->width; f++) {
            double sum = 0;
            for (int64_t i = 0; i < t->count; i++)
                sum += group[i] == g ? (double)t->values[i * t->width + f] : 0;
            centres[g * t->width + f] = (float)(sum / members);
        }
    }
}

/* k-means; group and distances hold one number a sample. False with an error set. */
static bool cluster(const feature_table *t, int groups, int *group, double *distances)
{
    float *centres = cr_alloc_array((size_t)groups, (size_t)t->width * sizeof *centres);
    if (!centres)
        return false;
    choose_centres(t, groups, centres, distances);
    for (int64_t i = 0; i < t->count; i++)
        group[i] = -1;
    for (int round = 0; assign(t, groups, centres, group, distances) && round < ROUNDS; round++)
        move_centres(t, groups, centres, group);
    cr_free(centres);
    return true;
}

/* The commonest confusion of a group: truth * classes + prediction, and how often. */
static int64_t commonest(const analysis *a, const int64_t *wrong, int64_t count, const int *group,
                         int of, int64_t *times)
{
    const cr_evaluation *e = a->evaluation;
    int64_t best = -1;
    *times = 0;
    for (int64_t i = 0; i < count; i++) {
        int64_t own = 0, pair = e->truth[wrong[i]] * e->classes + e->predicted[wrong[i]];
        for (int64_t j = 0; group[i] == of && j < count; j++)
            own +=
                group[j] == of && e->truth[wrong[j]] * e->classes + e->predicted[wrong[j]] == pair;
        if (own > *times) {
            *times = own;
            best = pair;
        }
    }
    return best;
}

/* The members of a group nearest to its centre, as mistakes with pictures. */
static bool show_group(analysis *a, cr_report_finding *f, const int64_t *wrong, int64_t count,
                       const int *group, int of, const double *distances)
{
    const cr_evaluation *e = a->evaluation;
    cr_report_mistake *list = cr_alloc_zeroed(SHOWN_OF_GROUP, sizeof *list);
    double below = -1;
    if (!list)
        return false;
    f->pictures = list; /* the findings free them */
    while (f->picture_count < SHOWN_OF_GROUP) {
        int64_t next = -1;
        for (int64_t i = 0; i < count; i++)
            if (group[i] == of && distances[i] > below &&
                (next < 0 || distances[i] < distances[next]))
                next = i;
        if (next < 0)
            break;
        below = distances[next];
        int64_t sample = wrong[next], predicted = e->predicted[sample];
        list[f->picture_count++] = (cr_report_mistake){
            .truth = e->truth[sample],
            .predicted = predicted,
            .probability = (double)e->probabilities[sample * e->classes + predicted],
            .index = sample,
        };
    }
    return picture_mistakes(a->classifier, a->set, false, list, f->picture_count);
}

static bool describe_group(analysis *a, const int64_t *wrong, int64_t count, const int *group,
                           int of, const double *distances)
{
    const cr_evaluation *e = a->evaluation;
    int64_t members = 0, times;
    for (int64_t i = 0; i < count; i++)
        members += group[i] == of;
    if (members * 10 < count) /* less than a tenth of the mistakes */
        return true;
    cr_report_finding *f = findings_add(&a->found, "Which mistakes look alike?");
    if (!f)
        return false;
    int64_t pair = commonest(a, wrong, count, group, of, &times);
    f->verdict = CR_REPORT_WATCH;
    f->answer =
        findings_say(&a->found,
                     "Of %lld mistakes %lld (%.0f %%) look alike to the model; %lld of "
                     "these are %s taken for %s.",
                     (long long)members, (long long)count, 100 * (double)members / (double)count,
                     (long long)times, a->classifier->class_names[pair / e->classes],
                     a->classifier->class_names[pair % e->classes]);
    f->advice = "Look at what these pictures share: labels that are wrong, a kind that the "
                "training data lack, or classes that overlap.";
    return !cr_failed() && show_group(a, f, wrong, count, group, of, distances);
}

/* The group with the most members below `limit` members, ties by number. */
static int next_group(const int *group, int64_t count, int groups, const bool *done)
{
    int best = -1;
    int64_t most = 0;
    for (int g = 0; g < groups; g++) {
        int64_t members = 0;
        for (int64_t i = 0; i < count; i++)
            members += group[i] == g;
        if (!done[g] && members > most) {
            most = members;
            best = g;
        }
    }
    return best;
}

static bool find_groups(analysis *a, const int64_t *wrong, int64_t count)
{
    feature_table table = { 0 };
    cr_dataset *set = cr_dataset_subset(a->set, wrong, count);
    int groups = (int)fmin(MOST_GROUPS, fmax(2, sqrt((double)count / 4)));
    int *group = cr_alloc_array((size_t)count, sizeof *group);
    double *distances = cr_alloc_array((size_t)count, sizeof *distances);
    bool good = set && group && distances && features_of(a, set, &table);
    if (good) {
        bool done[MOST_GROUPS] = { false };
        standardise(&table);
        good = cluster(&table, groups, group, distances);
        for (int shown = 0; good && shown < SHOWN_GROUPS; shown++) {
            int of = next_group(group, count, groups, done);
            if (of < 0)
                break;
            done[of] = true;
            good = describe_group(a, wrong, count, group, of, distances);
        }
    }
    cr_free(table.values);
    cr_free(group);
    cr_free(distances);
    cr_dataset_free(set);
    return good;
}

static bool find_clusters(analysis *a)
{
    const cr_evaluation *e = a->evaluation;
    int64_t *wrong = cr_alloc_array((size_t)e->count, sizeof *wrong), count = 0;
    bool good = wrong != NULL;
    for (int64_t i = 0; good && i < e->count && count < a->samples; i++)
        if (e->truth[i] != e->predicted[i])
            wrong[count++] = i;
    if (good && count >= LEAST_MISTAKES)
        good = find_groups(a, wrong, count);
    cr_free(wrong);
    return good;
}

/* --- Is one set like another? --------------------------------------------------------------- */

/* Logistic regression of which of two sets a sample is from, by gradient steps, leaving out every
 * FOLDS-th sample from `fold` on, which get scores. */
static void score_fold(const feature_table *t, const int64_t *which, int fold, double *weights,
                       double *slope, float *scores)
{
    size_t room = (size_t)(t->width + 1) * sizeof *weights;
    double rate = 1.8 / (0.25 * (double)t->width + 1), decay = 0.01 * (double)t->width;
    memset(weights, 0, room);
    for (int step = 0; step <= STEPS; step++) {
        bool last = step == STEPS;
        double seen = 0;
        memset(slope, 0, room);
        for (int64_t i = 0; i < t->count; i++) {
            const float *x = t->values + i * t->width;
            bool held = i % FOLDS == fold;
            if (held != last)
                continue;
            double score = weights[t->width];
            for (int64_t f = 0; f < t->width; f++)
                score += weights[f] * (double)x[f];
            if (last) {
                scores[i] = (float)score;
                continue;
            }
            double wrong = 1 / (1 + exp(-score)) - (double)which[i];
            for (int64_t f = 0; f < t->width; f++)
                slope[f] += wrong * (double)x[f];
            slope[t->width] += wrong;
            seen++;
        }
        for (int64_t f = 0; !last && f <= t->width; f++)
            weights[f] -= rate * (slope[f] / seen + decay / seen * weights[f]);
    }
}

/* How well the features tell the first `first` samples of a table from the others: the area under
 * ROC of a classifier of the two (Lopez-Paz and Oquab, "Revisiting classifier two-sample tests",
 * 2017) on samples that it has not seen. NaN with an error set. */
static double tell_apart(feature_table *t, int64_t first)
{
    int64_t *which = cr_alloc_array((size_t)t->count, sizeof *which);
    float *scores = cr_alloc_zeroed((size_t)t->count, sizeof *scores);
    double *weights = cr_alloc_array((size_t)t->width + 1, 2 * sizeof *weights);
    double area = NAN;
    if (which && scores && weights) {
        standardise(t);
        for (int64_t i = 0; i < t->count; i++)
            which[i] = i >= first;
        for (int fold = 0; fold < FOLDS; fold++)
            score_fold(t, which, fold, weights, weights + t->width + 1, scores);
        cr_binary_task task = {
            .truth = which, .positive = 1, .scores = scores, .count = t->count
        };
        area = cr_roc_auc_score(&task);
    }
    cr_free(which);
    cr_free(scores);
    cr_free(weights);
    return area;
}

static bool join_tables(feature_table *all, const feature_table *a, const feature_table *b)
{
    *all = (feature_table){ .count = a->count + b->count, .width = a->width };
    all->values = cr_alloc_array((size_t)all->count, (size_t)all->width * sizeof *all->values);
    if (!all->values)
        return false;
    size_t of_a = (size_t)(a->count * a->width);
    memcpy(all->values, a->values, of_a * sizeof *all->values);
    memcpy(all->values + of_a, b->values, (size_t)(b->count * b->width) * sizeof *all->values);
    return true;
}

static bool find_shift(analysis *a, const feature_table *train, cr_dataset *other,
                       const char *question, const char *name)
{
    feature_table own = { 0 }, all = { 0 };
    int64_t count;
    cr_dataset *part = some_of(other, a->samples, NULL, &count);
    double area = NAN;
    bool good = part && count > 1 && features_of(a, part, &own) && join_tables(&all, train, &own);
    if (good) {
        area = tell_apart(&all, train->count);
        good = !cr_failed();
    }
    cr_free(own.values);
    cr_free(all.values);
    cr_dataset_free(part);
    cr_report_finding *f = good && isfinite(area) ? findings_add(&a->found, question) : NULL;
    if (!f)
        return !cr_failed();
    f->verdict = area < 0.6 ? CR_REPORT_GOOD : area < 0.75 ? CR_REPORT_WATCH : CR_REPORT_BAD;
    f->answer = findings_say(&a->found,
                             "By the model's features %s can be told from the training data with "
                             "an area under ROC of %.2f, where 0.5 is chance and 1 is always.",
                             name, fmax(area, 1 - area));
    if (f->verdict != CR_REPORT_GOOD)
        f->advice = findings_say(&a->found,
                                 "Look at both side by side for a difference in device, "
                                 "preparation or mixture of classes; label some of %s and evaluate "
                                 "on it before trusting the scores above.",
                                 name);
    return !cr_failed();
}

bool analyse_features(analysis *a)
{
    feature_table train = { 0 };
    int64_t count;
    bool good = find_clusters(a);
    if (good && a->train) {
        cr_dataset *part = some_of(a->train, a->samples, NULL, &count);
        good = part && features_of(a, part, &train);
        cr_dataset_free(part);
    }
    if (good && a->train && a->train != a->set)
        good = find_shift(a, &train, a->set, "Is the evaluated data like the training data?",
                          "the evaluated data");
    if (good && a->train && a->fresh)
        good = find_shift(a, &train, a->fresh, "Is the new data like the training data?",
                          "the new data");
    cr_free(train.values);
    /* A model without features has no clusters and no shift. */
    if (!good && cr_error_status() == CR_ERROR_UNSUPPORTED) {
        cr_error_clear();
        good = true;
    }
    return good;
}
