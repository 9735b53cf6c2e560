/* Parting a data set: the fractions as a user gives them, and the parts, with the same fraction of
 * every class in each and, if asked, groups of samples kept together. */
#include <stdio.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"

bool read_fractions(const char *option, const char *text, double fractions[DATA_PARTS])
{
    char words[100];
    double values[DATA_PARTS], sum = 0;
    int count = 0;
    snprintf(words, sizeof words, "%s", text);
    bool good = strlen(text) < sizeof words;
    for (char *at = words; good && at; count++) {
        char *slash = strchr(at, '/');
        if (slash)
            *slash++ = '\0';
        good = count < DATA_PARTS && cr_parse_double(at, &values[count]) && values[count] > 0;
        sum += good ? values[count] : 0;
        at = slash;
    }
    if (!good || count < 2 || sum > 1.000001) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "--%s %s: two or three numbers above 0 are needed, which add up to at most 1, "
                     "such as 0.7/0.15/0.15",
                     option, text);
        return false;
    }
    fractions[0] = values[0] / sum;
    fractions[1] = count == 3 ? values[1] / sum : 0;
    fractions[2] = values[count - 1] / sum;
    return true;
}

int64_t *groups_of(cr_dataset *set, const char *group_by)
{
    int64_t *groups = cr_alloc_array((size_t)cr_dataset_size(set), sizeof *groups);
    if (groups && cr_dataset_group_by_path(set, group_by, groups) == CR_OK)
        return groups;
    cr_free(groups);
    return NULL;
}

bool part_set(cr_dataset *set, const char *group_by, double fraction, uint64_t seed,
              cr_dataset **first, cr_dataset **second)
{
    if (!group_by)
        return cr_dataset_split(set, fraction, seed, first, second) == CR_OK;
    int64_t *groups = groups_of(set, group_by);
    bool good =
        groups && cr_dataset_split_groups(set, groups, fraction, seed, first, second) == CR_OK;
    cr_free(groups);
    return good;
}

bool part_in_three(cr_dataset *all, const char *group_by, const double fractions[DATA_PARTS],
                   uint64_t seed, cr_dataset *parts[DATA_PARTS])
{
    cr_dataset *rest = NULL;
    double later = fractions[1] + fractions[2];
    bool good = part_set(all, group_by, fractions[0], seed, &parts[0], &rest);
    if (good && fractions[1] > 0)
        good = part_set(rest, group_by, fractions[1] / later, seed + 1, &parts[1], &parts[2]);
    else if (good)
        parts[2] = cr_dataset_retain(rest);
    cr_dataset_free(rest);
    return good;
}
