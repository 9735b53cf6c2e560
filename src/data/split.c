/* The two parts of a set: by chance with the same fraction of every class, or by whole groups of
 * samples, of which none stands on both sides. */
#include <math.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>

#include "data/data.h"

/* ---- by class ---- */

/* One class of a split, or all samples without a label. */
struct stratum {
    int64_t size;
    int64_t taken; /* into the first part */
    double rest;   /* what rounding down left */
    int number;
};

static int by_falling_rest(const void *left, const void *right)
{
    const struct stratum *a = left;
    const struct stratum *b = right;
    if (a->rest != b->rest)
        return a->rest > b->rest ? -1 : 1;
    return a->number - b->number;
}

static int by_number(const void *left, const void *right)
{
    return ((const struct stratum *)left)->number - ((const struct stratum *)right)->number;
}

/* Rounds so that all strata together give the rounded total: largest remainders first. */
static int64_t share_out(struct stratum *strata, int count, double fraction)
{
    int64_t size = 0;
    int64_t taken = 0;
    for (int i = 0; i < count; i++) {
        double exact = fraction * (double)strata[i].size;
        strata[i].taken = CR_MIN((int64_t)exact, strata[i].size);
        strata[i].rest = exact - (double)strata[i].taken;
        size += strata[i].size;
        taken += strata[i].taken;
    }
    int64_t total = CR_MIN(llround(fraction * (double)size), size);
    qsort(strata, (size_t)count, sizeof *strata, by_falling_rest);
    for (int i = 0; i < count && taken < total; i++) {
        int64_t more = strata[i].taken < strata[i].size;
        strata[i].taken += more;
        taken += more;
    }
    qsort(strata, (size_t)count, sizeof *strata, by_number);
    return taken;
}

/* The stratum of every sample, and how many there are of each. Stratum `classes` has no label. */
static cr_status find_strata(cr_dataset *set, int *of, struct stratum *strata)
{
    int classes = cr_dataset_class_count(set);
    for (int i = 0; i <= classes; i++)
        strata[i] = (struct stratum){ .number = i };
    for (int64_t i = 0; i < cr_dataset_size(set); i++) {
        int64_t label = CR_NO_LABEL;
        if (classes > 0 && cr_dataset_label(set, i, &label) != CR_OK)
            return cr_error_status();
        of[i] = label == CR_NO_LABEL ? classes : (int)label;
        strata[of[i]].size++;
    }
    return CR_OK;
}

/* Going through the samples in order, each is taken with the probability that exactly the wanted
 * number of its stratum will have been (Knuth's selection sampling). */
static void select_samples(const int *of, int64_t size, struct stratum *strata, uint64_t seed,
                           int64_t *first, int64_t *second)
{
    cr_generator generator = data_generator(seed, DATA_SPLIT, 0, 0);
    for (int64_t i = 0; i < size; i++) {
        struct stratum *stratum = &strata[of[i]];
        uint64_t draw = cr_random_below(&generator, (uint64_t)stratum->size);
        bool taken = (int64_t)draw < stratum->taken;
        if (taken)
            *first++ = i;
        else
            *second++ = i;
        stratum->taken -= taken;
        stratum->size--;
    }
}

/* Makes both parts from index lists, which it takes over. */
static cr_status make_parts(cr_dataset *set, int64_t *first, int64_t *second, int64_t taken,
                            cr_dataset **parts)
{
    parts[0] = data_subset_new(set, first, taken);
    parts[1] = data_subset_new(set, second, cr_dataset_size(set) - taken);
    if (parts[0] && parts[1])
        return CR_OK;
    cr_dataset_free(parts[0]);
    cr_dataset_free(parts[1]);
    parts[0] = NULL;
    parts[1] = NULL;
    return cr_error_status();
}

cr_status cr_dataset_split(cr_dataset *set, double fraction, uint64_t seed, cr_dataset **first,
                           cr_dataset **second)
{
    *first = NULL;
    *second = NULL;
    if (cr_failed() || !set)
        return cr_error_status();
    if (!(fraction >= 0 && fraction <= 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "split: the fraction is %g; it must be 0 to 1",
                            fraction);
    size_t size = (size_t)cr_dataset_size(set);
    int strata_count = cr_dataset_class_count(set) + 1;
    struct stratum *strata = cr_alloc_array((size_t)strata_count, sizeof *strata);
    int *of = cr_alloc_array(size, sizeof *of);
    int64_t *indices[2] = { NULL, NULL };
    int64_t taken = 0;
    cr_dataset *parts[2] = { NULL, NULL };
    if (strata && of && find_strata(set, of, strata) == CR_OK) {
        taken = share_out(strata, strata_count, fraction);
        indices[0] = cr_alloc_array((size_t)taken, sizeof(int64_t));
        indices[1] = cr_alloc_array(size - (size_t)taken, sizeof(int64_t));
    }
    if (indices[0] && indices[1]) {
        select_samples(of, (int64_t)size, strata, seed, indices[0], indices[1]);
        make_parts(set, indices[0], indices[1], taken, parts);
    } else {
        cr_free(indices[0]);
        cr_free(indices[1]);
    }
    cr_free(strata);
    cr_free(of);
    *first = parts[0];
    *second = parts[1];
    return cr_error_status();
}

/* ---- by group ---- */

struct group {
    int64_t id;
    int64_t first; /* of its samples, in the list that is sorted by group */
    int64_t size;
    int64_t turn; /* drawn by chance */
    bool taken;   /* into the first part */
};

struct member {
    int64_t group;
    int64_t index;
};

/* All that a split by groups works with. */
struct grouping {
    cr_dataset *set;
    int64_t size;
    int64_t group_count;
    int class_count; /* one more than the set has: samples without a label */
    struct member *members;
    struct group *groups;
    int *of;         /* the stratum of each sample */
    double *wanted;  /* of each stratum, in the first part */
    double *present; /* of each stratum, there now */
    double *counts;  /* of each stratum, in one group */
    int64_t *order;
};

static int by_group(const void *left, const void *right)
{
    const struct member *a = left;
    const struct member *b = right;
    if (a->group != b->group)
        return a->group < b->group ? -1 : 1;
    return a->index < b->index ? -1 : a->index > b->index;
}

/* The largest first, so that small ones can even out what is left. */
static int by_falling_size(const void *left, const void *right)
{
    const struct group *a = left;
    const struct group *b = right;
    if (a->size != b->size)
        return a->size > b->size ? -1 : 1;
    return a->turn < b->turn ? -1 : a->turn > b->turn;
}

static void grouping_free(struct grouping *g)
{
    cr_free(g->members);
    cr_free(g->groups);
    cr_free(g->of);
    cr_free(g->wanted);
    cr_free(g->present);
    cr_free(g->counts);
    cr_free(g->order);
}

static void list_groups(struct grouping *g, const int64_t *groups)
{
    for (int64_t i = 0; i < g->size; i++)
        g->members[i] = (struct member){ groups[i], i };
    qsort(g->members, (size_t)g->size, sizeof *g->members, by_group);
    for (int64_t i = 0; i < g->size; i++) {
        if (i == 0 || g->members[i].group != g->members[i - 1].group)
            g->groups[g->group_count++] = (struct group){ .id = g->members[i].group, .first = i };
        g->groups[g->group_count - 1].size++;
    }
}

static cr_status grouping_make(struct grouping *g, const int64_t *groups, double fraction)
{
    size_t size = (size_t)g->size;
    size_t classes = (size_t)g->class_count;
    struct stratum *strata = cr_alloc_array(classes, sizeof *strata);
    g->members = cr_alloc_array(size, sizeof *g->members);
    g->groups = cr_alloc_array(size, sizeof *g->groups);
    g->of = cr_alloc_array(size, sizeof *g->of);
    g->order = cr_alloc_array(size, sizeof *g->order);
    g->wanted = cr_alloc_zeroed(classes, sizeof *g->wanted);
    g->present = cr_alloc_zeroed(classes, sizeof *g->present);
    g->counts = cr_alloc_zeroed(classes, sizeof *g->counts);
    if (!cr_failed() && find_strata(g->set, g->of, strata) == CR_OK) {
        for (int c = 0; c < g->class_count; c++)
            g->wanted[c] = fraction * (double)strata[c].size;
        list_groups(g, groups);
    }
    cr_free(strata);
    return cr_error_status();
}

/* Taking a group must bring the classes nearer to what is wanted, each in proportion to its size.
 */
static void consider(struct grouping *g, struct group *group)
{
    memset(g->counts, 0, (size_t)g->class_count * sizeof *g->counts);
    for (int64_t i = 0; i < group->size; i++)
        g->counts[g->of[g->members[group->first + i].index]]++;
    double change = 0;
    for (int c = 0; c < g->class_count; c++) {
        double before = g->present[c] - g->wanted[c];
        double after = before + g->counts[c];
        change += (after * after - before * before) / (g->wanted[c] + 1);
    }
    group->taken = change < 0;
    for (int c = 0; c < g->class_count && group->taken; c++)
        g->present[c] += g->counts[c];
}

/* Lists the samples of both parts in the set's order; how many are in the first. */
static int64_t deal_out(struct grouping *g, uint64_t seed, int64_t *first, int64_t *second)
{
    cr_generator generator = data_generator(seed, DATA_SPLIT, 0, 1);
    cr_random_permutation(&generator, g->order, g->group_count);
    for (int64_t i = 0; i < g->group_count; i++)
        g->groups[i].turn = g->order[i];
    qsort(g->groups, (size_t)g->group_count, sizeof *g->groups, by_falling_size);
    for (int64_t i = 0; i < g->group_count; i++)
        consider(g, &g->groups[i]);
    for (int64_t i = 0; i < g->group_count; i++) {
        for (int64_t j = 0; j < g->groups[i].size; j++)
            g->order[g->members[g->groups[i].first + j].index] = g->groups[i].taken;
    }
    int64_t taken = 0;
    for (int64_t i = 0; i < g->size; i++) {
        if (g->order[i])
            first[taken++] = i;
        else
            second[i - taken] = i;
    }
    return taken;
}

cr_status cr_dataset_split_groups(cr_dataset *set, const int64_t *groups, double fraction,
                                  uint64_t seed, cr_dataset **first, cr_dataset **second)
{
    *first = NULL;
    *second = NULL;
    if (cr_failed() || !set)
        return cr_error_status();
    if (!(fraction >= 0 && fraction <= 1))
        return cr_error_set(CR_ERROR_ARGUMENT, "split: the fraction is %g; it must be 0 to 1",
                            fraction);
    struct grouping g = { .set = set,
                          .size = cr_dataset_size(set),
                          .class_count = cr_dataset_class_count(set) + 1 };
    int64_t *indices[2] = { NULL, NULL };
    cr_dataset *parts[2] = { NULL, NULL };
    if (grouping_make(&g, groups, fraction) == CR_OK) {
        indices[0] = cr_alloc_array((size_t)g.size, sizeof(int64_t));
        indices[1] = cr_alloc_array((size_t)g.size, sizeof(int64_t));
    }
    if (indices[0] && indices[1]) {
        int64_t taken = deal_out(&g, seed, indices[0], indices[1]);
        make_parts(set, indices[0], indices[1], taken, parts);
    } else {
        cr_free(indices[0]);
        cr_free(indices[1]);
    }
    grouping_free(&g);
    *first = parts[0];
    *second = parts[1];
    return cr_error_status();
}

/* ---- groups by path ---- */

/* What was found in a path. */
struct piece {
    const char *text;
    size_t length;
    int64_t index;
};

static int compare_pieces(const struct piece *a, const struct piece *b)
{
    int order = memcmp(a->text, b->text, CR_MIN(a->length, b->length));
    if (order != 0 || a->length == b->length)
        return order;
    return a->length < b->length ? -1 : 1;
}

static int by_text(const void *left, const void *right)
{
    const struct piece *a = left;
    const struct piece *b = right;
    int order = compare_pieces(a, b);
    return order ? order : a->index < b->index ? -1 : a->index > b->index;
}

static cr_status find_pieces(const cr_dataset *set, const regex_t *regex, const char *expression,
                             struct piece *pieces)
{
    for (int64_t i = 0; i < cr_dataset_size(set); i++) {
        const char *path = cr_dataset_path(set, i);
        regmatch_t found[2];
        if (!*path)
            return cr_error_set(CR_ERROR_ARGUMENT,
                                "the samples of %s do not come from files by whose names they "
                                "could be grouped",
                                cr_dataset_name(set));
        if (regexec(regex, path, 2, found, 0) != 0)
            return cr_error_set(CR_ERROR_ARGUMENT, "the expression %s finds no group in %s",
                                expression, path);
        regmatch_t match = found[regex->re_nsub > 0 && found[1].rm_so >= 0];
        pieces[i] = (struct piece){ path + match.rm_so, (size_t)(match.rm_eo - match.rm_so), i };
    }
    return CR_OK;
}

/* Equal pieces stand together once they are sorted, the one that came first in front. Each gets
 * the index of that one, and then the numbers are made dense in the order of the samples. */
static void number_groups(struct piece *pieces, int64_t size, int64_t *groups)
{
    qsort(pieces, (size_t)size, sizeof *pieces, by_text);
    for (int64_t i = 0; i < size; i++) {
        bool goes_on = i > 0 && compare_pieces(&pieces[i - 1], &pieces[i]) == 0;
        groups[pieces[i].index] = goes_on ? groups[pieces[i - 1].index] : pieces[i].index;
    }
    int64_t count = 0;
    for (int64_t i = 0; i < size; i++)
        groups[i] = groups[i] == i ? count++ : groups[groups[i]];
}

cr_status cr_dataset_group_by_path(const cr_dataset *set, const char *expression, int64_t *groups)
{
    if (cr_failed() || !set)
        return cr_error_status();
    regex_t regex;
    int code = regcomp(&regex, expression, REG_EXTENDED);
    if (code != 0) {
        char words[200];
        regerror(code, &regex, words, sizeof words);
        return cr_error_set(CR_ERROR_ARGUMENT, "%s is not a regular expression: %s", expression,
                            words);
    }
    struct piece *pieces = cr_alloc_array((size_t)cr_dataset_size(set), sizeof *pieces);
    if (pieces && find_pieces(set, &regex, expression, pieces) == CR_OK)
        number_groups(pieces, cr_dataset_size(set), groups);
    cr_free(pieces);
    regfree(&regex);
    return cr_error_status();
}
