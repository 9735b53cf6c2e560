/* Samplers: the order of an epoch as a pure function of (seed, epoch). A record says what kind of
 * order it is and holds what that kind needs; the order itself is computed when an epoch begins. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

enum sampler_kind { SEQUENTIAL, RANDOM, SUBSET, WEIGHTED, WEIGHTED_ONCE, BALANCED, REPEATED };

struct cr_sampler {
    enum sampler_kind kind;
    int64_t size;     /* indices to choose from */
    int64_t length;   /* indices of an epoch */
    int64_t *indices; /* SUBSET; BALANCED: all samples, class after class */
    double *weights;  /* WEIGHTED_ONCE: the weights; WEIGHTED: their running sums */
    int class_count;  /* BALANCED: classes that have samples */
    int64_t *starts;  /* BALANCED: class_count + 1 places in indices */
    cr_sampler *base; /* REPEATED */
};

static cr_sampler *sampler_new(enum sampler_kind kind, int64_t size, int64_t length)
{
    if (cr_failed())
        return NULL;
    if (size < 0 || length < 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "sampler: a size of %lld or a length of %lld is negative",
                     (long long)size, (long long)length);
        return NULL;
    }
    cr_sampler *sampler = cr_alloc_zeroed(1, sizeof *sampler);
    if (!sampler)
        return NULL;
    sampler->kind = kind;
    sampler->size = size;
    sampler->length = length;
    return sampler;
}

void cr_sampler_free(cr_sampler *sampler)
{
    if (!sampler)
        return;
    cr_free(sampler->indices);
    cr_free(sampler->weights);
    cr_free(sampler->starts);
    cr_sampler_free(sampler->base);
    cr_free(sampler);
}

cr_sampler *cr_sampler_sequential(int64_t size)
{
    return sampler_new(SEQUENTIAL, size, size);
}

cr_sampler *cr_sampler_random(int64_t size)
{
    return sampler_new(RANDOM, size, size);
}

cr_sampler *cr_sampler_subset(const int64_t *indices, int64_t count)
{
    cr_sampler *sampler = sampler_new(SUBSET, count, count);
    if (!sampler)
        return NULL;
    sampler->indices = cr_alloc_array((size_t)count, sizeof *indices);
    if (!sampler->indices) {
        cr_sampler_free(sampler);
        return NULL;
    }
    if (count > 0)
        memcpy(sampler->indices, indices, (size_t)count * sizeof *indices);
    return sampler;
}

/* ---- repeated ---- */

cr_sampler *cr_sampler_repeat(cr_sampler *base, int times)
{
    int64_t length = base ? base->length : 0;
    cr_sampler *sampler = NULL;
    if (times < 1 || length > INT64_MAX / CR_MAX(times, 1))
        cr_error_set(CR_ERROR_ARGUMENT, "sampler: %lld samples cannot be repeated %d times",
                     (long long)length, times);
    else if (base)
        sampler = sampler_new(REPEATED, base->size, length * times);
    if (sampler)
        sampler->base = base;
    else
        cr_sampler_free(base);
    return sampler;
}

/* From the last on, so that nothing is overwritten before it is read. */
static cr_status repeated_order(const cr_sampler *sampler, uint64_t seed, uint64_t epoch,
                                int64_t *order)
{
    int64_t count = sampler->base->length;
    if (cr_sampler_order(sampler->base, seed, epoch, order) != CR_OK)
        return cr_error_status();
    int64_t times = count > 0 ? sampler->length / count : 0;
    for (int64_t i = sampler->length; i-- > 0;)
        order[i] = order[i / times];
    return CR_OK;
}

/* ---- weighted ---- */

static cr_status check_weights(const double *weights, int64_t size, int64_t draws,
                               bool no_replacement)
{
    int64_t positive = 0;
    double total = 0;
    for (int64_t i = 0; i < size; i++) {
        if (!(weights[i] >= 0) || isinf(weights[i]))
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "weighted sampler: weight %lld is %g; weights must be finite and "
                                "not negative",
                                (long long)i, weights[i]);
        positive += weights[i] > 0;
        total += weights[i];
    }
    if (isinf(total))
        return cr_error_set(CR_ERROR_ARGUMENT,
                            "weighted sampler: the sum of the weights overflows");
    int64_t needed = no_replacement ? draws : CR_MIN(draws, 1);
    if (positive < needed)
        return cr_error_set(
            CR_ERROR_ARGUMENT, "weighted sampler: %lld draws%s, and only %lld weights are positive",
            (long long)draws, no_replacement ? " without replacement" : "", (long long)positive);
    return CR_OK;
}

cr_sampler *cr_sampler_weighted(const double *weights, int64_t size, int64_t draws,
                                bool no_replacement)
{
    draws = draws == 0 ? size : draws;
    cr_sampler *sampler = sampler_new(no_replacement ? WEIGHTED_ONCE : WEIGHTED, size, draws);
    if (!sampler)
        return NULL;
    if (check_weights(weights, size, draws, no_replacement) == CR_OK)
        sampler->weights = cr_alloc_array((size_t)size, sizeof *weights);
    if (!sampler->weights) {
        cr_sampler_free(sampler);
        return NULL;
    }
    double sum = 0;
    int64_t last = -1;
    for (int64_t i = 0; i < size; i++) {
        sum += weights[i];
        sampler->weights[i] = no_replacement ? weights[i] : sum;
        if (weights[i] > 0)
            last = i;
    }
    /* Rounding may put a draw at the very end of the sums, where trailing zeros stand. */
    if (!no_replacement)
        sampler->size = last + 1;
    return sampler;
}

/* The first place whose running sum is over the point, so that no weight of 0 is ever hit. */
static void order_weighted(const cr_sampler *sampler, cr_generator *generator, int64_t *order)
{
    const double *sums = sampler->weights;
    for (int64_t i = 0; i < sampler->length; i++) {
        double point = cr_random_uniform(generator) * sums[sampler->size - 1];
        int64_t low = 0;
        int64_t high = sampler->size - 1;
        while (low < high) {
            int64_t middle = low + (high - low) / 2;
            if (sums[middle] > point)
                high = middle;
            else
                low = middle + 1;
        }
        order[i] = low;
    }
}

struct keyed {
    double key;
    int64_t index;
};

static int by_key(const void *left, const void *right)
{
    const struct keyed *a = left;
    const struct keyed *b = right;
    if (a->key != b->key)
        return a->key < b->key ? -1 : 1;
    return (a->index > b->index) - (a->index < b->index);
}

/* An exponential of rate weight for each index; the earliest arrivals are the draws, in order. */
static cr_status order_weighted_once(const cr_sampler *sampler, cr_generator *generator,
                                     int64_t *order)
{
    struct keyed *keys = cr_alloc_array((size_t)sampler->size, sizeof *keys);
    if (!keys)
        return cr_error_status();
    for (int64_t i = 0; i < sampler->size; i++) {
        double arrival = -log1p(-cr_random_uniform(generator));
        double weight = sampler->weights[i];
        keys[i] = (struct keyed){ weight > 0 ? arrival / weight : INFINITY, i };
    }
    qsort(keys, (size_t)sampler->size, sizeof *keys, by_key);
    for (int64_t i = 0; i < sampler->length; i++)
        order[i] = keys[i].index;
    cr_free(keys);
    return CR_OK;
}

/* ---- balanced ---- */

/* Counts the samples of each class into counts[label + 1]. Samples without a label are left out. */
static cr_status count_labels(cr_dataset *set, int64_t *labels, int64_t *counts)
{
    for (int64_t i = 0; i < cr_dataset_size(set); i++) {
        if (cr_dataset_label(set, i, &labels[i]) != CR_OK)
            return cr_error_status();
        if (labels[i] != CR_NO_LABEL)
            counts[labels[i] + 1]++;
    }
    return CR_OK;
}

/* Sorts the samples by class; `places` holds where each class begins and is used up. */
static void fill_classes(cr_sampler *sampler, const int64_t *labels, int64_t *places, int classes)
{
    for (int c = 0; c < classes; c++) {
        if (places[c + 1] > 0) /* still a count */
            sampler->starts[++sampler->class_count] = places[c + 1] + places[c];
        places[c + 1] += places[c];
    }
    for (int64_t i = 0; i < sampler->size; i++) {
        if (labels[i] != CR_NO_LABEL)
            sampler->indices[places[labels[i]]++] = i;
    }
}

cr_sampler *cr_sampler_balanced(cr_dataset *set, int64_t draws)
{
    int64_t size = cr_dataset_size(set);
    int classes = cr_dataset_class_count(set);
    if (!cr_failed() && classes == 0)
        cr_error_set(CR_ERROR_ARGUMENT, "balanced sampler: %s has no classes",
                     cr_dataset_name(set));
    cr_sampler *sampler = sampler_new(BALANCED, size, draws == 0 ? size : draws);
    if (!sampler)
        return NULL;
    int64_t *labels = cr_alloc_array((size_t)size, sizeof *labels);
    int64_t *places = cr_alloc_zeroed((size_t)classes + 1, sizeof *places);
    sampler->indices = cr_alloc_array((size_t)size, sizeof *sampler->indices);
    sampler->starts = cr_alloc_zeroed((size_t)classes + 1, sizeof *sampler->starts);
    bool complete = labels && places && sampler->indices && sampler->starts &&
                    count_labels(set, labels, places) == CR_OK;
    if (complete)
        fill_classes(sampler, labels, places, classes);
    if (complete && sampler->class_count == 0 && sampler->length > 0) {
        cr_error_set(CR_ERROR_ARGUMENT, "balanced sampler: no sample of %s has a label",
                     cr_dataset_name(set));
        complete = false;
    }
    cr_free(labels);
    cr_free(places);
    if (complete)
        return sampler;
    cr_sampler_free(sampler);
    return NULL;
}

static void shuffle(cr_generator *generator, int64_t *order, int64_t count)
{
    for (int64_t i = count - 1; i > 0; i--) {
        int64_t j = (int64_t)cr_random_below(generator, (uint64_t)i + 1);
        int64_t held = order[i];
        order[i] = order[j];
        order[j] = held;
    }
}

/* `count` of a class: whole rounds through its samples, and a random part of them. */
static void draw_class(cr_generator *generator, int64_t *members, int64_t size, int64_t *order,
                       int64_t count)
{
    while (count > 0) {
        int64_t taken = CR_MIN(size, count);
        shuffle(generator, members, size);
        memcpy(order, members, (size_t)taken * sizeof *order);
        order += taken;
        count -= taken;
    }
}

/* The classes that get one more than the others, where the draws do not divide evenly, are found by
 * chance. */
static cr_status order_balanced(const cr_sampler *sampler, cr_generator *generator, int64_t *order)
{
    int classes = sampler->class_count;
    if (classes == 0)
        return CR_OK;
    int64_t *members = cr_alloc_array((size_t)sampler->size, sizeof *members);
    int64_t *rank = cr_alloc_array((size_t)classes, sizeof *rank);
    if (members && rank) {
        memcpy(members, sampler->indices, (size_t)sampler->starts[classes] * sizeof *members);
        cr_random_permutation(generator, rank, classes);
        int64_t done = 0;
        for (int c = 0; c < classes; c++) {
            int64_t share = sampler->length / classes + (rank[c] < sampler->length % classes);
            int64_t start = sampler->starts[c];
            draw_class(generator, members + start, sampler->starts[c + 1] - start, order + done,
                       share);
            done += share;
        }
        shuffle(generator, order, sampler->length);
    }
    cr_free(members);
    cr_free(rank);
    return cr_error_status();
}

/* ---- the order ---- */

int64_t cr_sampler_length(const cr_sampler *sampler)
{
    return sampler ? sampler->length : 0;
}

cr_status cr_sampler_order(const cr_sampler *sampler, uint64_t seed, uint64_t epoch, int64_t *order)
{
    if (cr_failed())
        return cr_error_status();
    if (!sampler)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no sampler to order an epoch");
    cr_generator generator = data_generator(seed, DATA_ORDER, epoch, 0);
    switch (sampler->kind) {
    case SEQUENTIAL:
        for (int64_t i = 0; i < sampler->length; i++)
            order[i] = i;
        break;
    case RANDOM:
        cr_random_permutation(&generator, order, sampler->length);
        break;
    case SUBSET:
        if (sampler->length > 0)
            memcpy(order, sampler->indices, (size_t)sampler->length * sizeof *order);
        shuffle(&generator, order, sampler->length);
        break;
    case WEIGHTED:
        order_weighted(sampler, &generator, order);
        break;
    case WEIGHTED_ONCE:
        return order_weighted_once(sampler, &generator, order);
    case BALANCED:
        return order_balanced(sampler, &generator, order);
    case REPEATED:
        return repeated_order(sampler, seed, epoch, order);
    }
    return CR_OK;
}
