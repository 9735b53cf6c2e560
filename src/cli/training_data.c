/* The data of a run: which pictures there are, and which of them train, validate and test. The same
 * plan, kept in a run's args.json, gives the same parts again when the run is evaluated. */
#include <string.h>

#include "cli.h"
#include "cresset/file.h"
#include "cresset/memory.h"

/* All samples anew in parts, whatever parts the set has: plan->split. */
static bool part_anew(const data_plan *plan, cr_image_parts *parts)
{
    cr_dataset *sets[DATA_PARTS], *made[DATA_PARTS] = { NULL };
    double fractions[DATA_PARTS];
    int count = 0;
    cr_dataset *const own[DATA_PARTS] = { parts->train, parts->validation, parts->test };
    for (int i = 0; i < DATA_PARTS; i++)
        if (own[i])
            sets[count++] = own[i];
    cr_dataset *all = cr_dataset_concat(sets, count);
    bool good = all && read_fractions("split", plan->split, fractions) &&
                part_in_three(all, plan->group_by, fractions, plan->seed, made);
    cr_dataset_free(all);
    cr_image_parts_free(parts);
    *parts = (cr_image_parts){ made[0], made[1], made[2] };
    return good;
}

/* Training and validation samples: the parts that there are, or a share of the training part. */
static bool hold_out(training_data *data, const data_plan *plan, const cr_image_parts *parts)
{
    if (plan->validation > 0 && !parts->validation)
        return part_set(parts->train, plan->group_by, 1 - plan->validation, plan->seed,
                        &data->train, &data->validation);
    data->train = cr_dataset_retain(parts->train);
    data->validation = cr_dataset_retain(parts->validation ? parts->validation : parts->test);
    if (!data->validation)
        cr_error_set(CR_ERROR_IO,
                     "%s has a training part only; hold some of it out with --validation 0.2, or "
                     "part it with --split 0.75/0.25 or cresset data split",
                     plan->name);
    return data->validation != NULL;
}

/* One fold of a cross-validation validates, the others train; the test part is left alone. */
static bool take_fold(training_data *data, const data_plan *plan, cr_dataset *all)
{
    int64_t *groups = plan->group_by ? groups_of(all, plan->group_by) : NULL;
    int *fold = cr_alloc_array((size_t)cr_dataset_size(all), sizeof *fold);
    bool good =
        fold && (groups || !plan->group_by) &&
        cr_dataset_folds(all, groups, plan->folds, plan->seed, fold) == CR_OK &&
        cr_dataset_fold(all, fold, plan->fold - 1, &data->train, &data->validation) == CR_OK;
    cr_free(groups);
    cr_free(fold);
    data->test = cr_dataset_retain(data->validation);
    return good;
}

/* All folds together, to be evaluated on samples that none has seen. */
static bool take_whole(training_data *data, const data_plan *plan, const cr_image_parts *parts)
{
    data->train = cr_dataset_retain(parts->train);
    data->validation = cr_dataset_retain(parts->validation ? parts->validation : parts->test);
    data->test = cr_dataset_retain(parts->test ? parts->test : parts->validation);
    if (!data->test)
        cr_error_set(CR_ERROR_IO,
                     "%s has no part that no fold was trained on; give other data with --data, or "
                     "look at what the folds say of it in summary.json",
                     plan->name);
    return data->test != NULL;
}

bool training_data_open(training_data *data, const data_plan *plan, const cr_classifier *classifier)
{
    *data = (training_data){ .name = plan->name };
    cr_image_parts parts;
    data_request request = { .name = plan->name,
                             .label_by = plan->label_by,
                             .classifier = classifier,
                             .broken = plan->skips_broken ? &data->broken : NULL };
    if (!open_data_parts(&request, &parts))
        return false;
    bool good = !plan->split || part_anew(plan, &parts);
    if (good && !parts.train) {
        cr_error_set(CR_ERROR_IO, "%s has no training part", plan->name);
        good = false;
    }
    if (good && plan->fold > 0) {
        good = take_fold(data, plan, parts.train);
    } else if (good && plan->folds > 0) {
        good = take_whole(data, plan, &parts);
    } else if (good) {
        good = hold_out(data, plan, &parts);
        data->test = cr_dataset_retain(parts.test ? parts.test : data->validation);
    }
    cr_image_parts_free(&parts);
    return good;
}

void training_data_close(training_data *data)
{
    cr_dataset_free(data->train);
    cr_dataset_free(data->validation);
    cr_dataset_free(data->test);
    cr_broken_pictures_free(&data->broken);
    *data = (training_data){ 0 };
}

bool run_data_plan(const char *folder, data_plan *plan, json_t **owner)
{
    char *path = cr_path_join(folder, "args.json");
    json_t *args = path && cr_file_exists(path) ? json_load_file(path, 0, NULL) : NULL;
    const char *broken = json_string_value(json_object_get(args, "broken"));
    cr_free(path);
    *owner = args;
    *plan = (data_plan){
        .name = json_string_value(json_object_get(args, "data")),
        .split = json_string_value(json_object_get(args, "split")),
        .group_by = json_string_value(json_object_get(args, "group-by")),
        .label_by = json_string_value(json_object_get(args, "label-by")),
        .validation = json_number_value(json_object_get(args, "validation")),
        .seed = (uint64_t)json_integer_value(json_object_get(args, "seed")),
        .folds = (int)json_integer_value(json_object_get(args, "folds")),
        .fold = (int)json_integer_value(json_object_get(args, "fold")),
        .skips_broken = broken && strcmp(broken, "skip") == 0,
    };
    return plan->name != NULL;
}
