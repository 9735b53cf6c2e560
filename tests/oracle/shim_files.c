/* What Python needs of files of weights: names and tensors by number, a model loaded with options.
 * Nothing here computes. */
#include "cresset/state_dict.h"
#include "cresset/weights.h"

const char *oracle_torch_name(const cr_torch_file *file, int i)
{
    return cr_torch_at(file, i).name;
}

const char *oracle_torch_dtype(const cr_torch_file *file, int i)
{
    return cr_torch_at(file, i).dtype_name;
}

const char *oracle_weights_name(const cr_weights *weights, int i)
{
    return cr_weights_at(weights, i).name;
}

int oracle_save(const char *path, const char *const *names, cr_tensor *const *tensors, int count,
                bool as_torch)
{
    cr_safetensors_item items[64];
    for (int i = 0; i < count && i < 64; i++)
        items[i] = (cr_safetensors_item){ names[i], tensors[i] };
    return (int)(as_torch ? cr_torch_save(path, items, count)
                          : cr_safetensors_save(path, items, count, NULL, 0));
}

/* Fills {matched, missing, unexpected, mismatched, left out}. */
int oracle_model_load(cr_model *model, const char *path, bool partial, const char *leave_out,
                      int counts[5])
{
    cr_load_report report;
    cr_status status = cr_model_load(
        model, path, &(cr_load_options){ .partial = partial, .leave_out = leave_out }, &report);
    counts[0] = report.matched_count;
    counts[1] = report.missing_count;
    counts[2] = report.unexpected_count;
    counts[3] = report.mismatched_count;
    counts[4] = report.left_out_count;
    cr_load_report_free(&report);
    return (int)status;
}
