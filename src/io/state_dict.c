/* State dicts: the tensors of a model and those of a file of weights are matched by name, the
 * findings are gathered in a report, and only when the report is acceptable are data copied. */
#include <string.h>

#include "base/base.h"
#include "cresset/autograd.h"
#include "cresset/state_dict.h"

#define LISTED       8 /* names of one kind that a report spells out */
#define MOST_PATTERN 256

/* What wrappers of models put before the names, none first: nn.DataParallel, Lightning and the
 * like, torch.compile. */
static const char *const wrapper_prefixes[] = { "",     "module.",    "model.",
                                                "net.", "_orig_mod.", "module.model." };

/* Names in files of torchvision's that it changed later: of its dense layers, and of the
 * perceptrons of its vision transformers. */
static const struct {
    const char *now, *then;
} old_names[] = { { ".norm1.", ".norm.1." },       { ".norm2.", ".norm.2." },
                  { ".conv1.", ".conv.1." },       { ".conv2.", ".conv.2." },
                  { ".mlp.0.", ".mlp.linear_1." }, { ".mlp.3.", ".mlp.linear_2." } };

/* ---- saving ---- */

/* The tensors of a model as a list, to be freed with cr_free. NULL on failure. */
static cr_safetensors_item *items_of(const cr_model *model, const char *path)
{
    if (cr_failed())
        return NULL;
    if (!model) {
        cr_error_set(CR_ERROR_ARGUMENT, "there is no model to save to %s", path ? path : "");
        return NULL;
    }
    int count = cr_model_tensor_count(model);
    cr_safetensors_item *items = cr_alloc_array((size_t)count, sizeof *items);
    for (int i = 0; items && i < count; i++) {
        cr_named_tensor named = cr_model_tensor_at(model, i);
        items[i] = (cr_safetensors_item){ named.name, named.tensor };
    }
    return items;
}

cr_status cr_model_save(const cr_model *model, const char *path, const cr_string_pair *metadata,
                        int metadata_count)
{
    cr_safetensors_item *items = items_of(model, path);
    if (items)
        cr_safetensors_save(path, items, cr_model_tensor_count(model), metadata, metadata_count);
    cr_free(items);
    return cr_error_status();
}

cr_status cr_model_save_torch(const cr_model *model, const char *path)
{
    cr_safetensors_item *items = items_of(model, path);
    if (items)
        cr_torch_save(path, items, cr_model_tensor_count(model));
    cr_free(items);
    return cr_error_status();
}

/* ---- matching ---- */

/* A load under way. */
struct match {
    cr_model *model;
    cr_weights *file;
    const char *prefix; /* before the names in the file */
    cr_load_options options;
    cr_load_report *report;
    int *file_index; /* for each tensor of the model: where it is in the file, or -1 */
    bool *is_taken;  /* for each tensor of the file */
};

/* Room for everything that could be found, so that adding to a list cannot fail halfway. */
static cr_status report_reserve(cr_load_report *report, int in_model, int in_file)
{
    report->matched = cr_alloc_zeroed((size_t)in_model, sizeof(char *));
    report->missing = cr_alloc_zeroed((size_t)in_model, sizeof(char *));
    report->unexpected = cr_alloc_zeroed((size_t)in_file, sizeof(char *));
    report->left_out = cr_alloc_zeroed((size_t)in_model, sizeof(char *));
    report->mismatched = cr_alloc_zeroed((size_t)in_model, sizeof *report->mismatched);
    return report->matched && report->missing && report->unexpected && report->left_out &&
                   report->mismatched
               ? CR_OK
               : cr_error_status();
}

static cr_status add_name(char **names, int *count, const char *name)
{
    names[*count] = cr_string_copy(name);
    if (!names[*count])
        return cr_error_status();
    (*count)++;
    return CR_OK;
}

/* Under the name that older versions of torchvision gave it. */
static int find_by_old_name(const struct match *match, const char *prefix, const char *name)
{
    for (int i = 0; i < CR_COUNT_OF(old_names); i++) {
        const char *at = strstr(name, old_names[i].now);
        if (!at)
            continue;
        char *old = cr_string_format("%s%.*s%s%s", prefix, (int)(at - name), name,
                                     old_names[i].then, at + strlen(old_names[i].now));
        int index = old ? cr_weights_find(match->file, old) : -1;
        cr_free(old);
        if (index >= 0)
            return index;
    }
    return -1;
}

/* Where the file has a tensor of the model: with the prefix, or as it is. */
static int find_in_file(const struct match *match, const char *prefix, const char *name)
{
    int index = -1;
    if (*prefix) {
        char *whole = cr_string_format("%s%s", prefix, name);
        index = whole ? cr_weights_find(match->file, whole) : -1;
        cr_free(whole);
    }
    if (index < 0)
        index = cr_weights_find(match->file, name);
    return index >= 0 ? index : find_by_old_name(match, prefix, name);
}

/* The prefix that was asked for, or the first of those under which most names are found. */
static const char *choose_prefix(const struct match *match)
{
    const char *best = "";
    int most = -1;
    if (match->options.strip_prefix)
        return match->options.strip_prefix;
    for (int p = 0; p < CR_COUNT_OF(wrapper_prefixes) && !cr_failed(); p++) {
        int found = 0;
        for (int i = 0; i < cr_model_tensor_count(match->model); i++)
            found += find_in_file(match, wrapper_prefixes[p],
                                  cr_model_tensor_at(match->model, i).name) >= 0;
        if (found > most) {
            most = found;
            best = wrapper_prefixes[p];
        }
        if (most == cr_model_tensor_count(match->model))
            break;
    }
    return best;
}

/* Whether a name of the model matches one of the patterns of .leave_out. */
static bool is_left_out(const struct match *match, const char *name)
{
    char pattern[MOST_PATTERN];
    for (const char *at = match->options.leave_out; at && *at;) {
        size_t length = strcspn(at, ",");
        if (length < sizeof pattern) {
            memcpy(pattern, at, length);
            pattern[length] = '\0';
            if (cr_pattern_match(pattern, name))
                return true;
        }
        at += length + (at[length] == ',');
    }
    return false;
}

static bool is_ignored(const struct match *match, const char *file_name)
{
    return match->options.ignore && cr_pattern_match(match->options.ignore, file_name);
}

static cr_status match_tensor(struct match *match, int number)
{
    cr_named_tensor named = cr_model_tensor_at(match->model, number);
    cr_load_report *report = match->report;
    match->file_index[number] = -1;
    int index = find_in_file(match, match->prefix, named.name);
    if (index >= 0 && is_ignored(match, cr_weights_at(match->file, index).name))
        index = -1;
    if (index >= 0)
        match->is_taken[index] = true;
    if (is_left_out(match, named.name))
        return add_name(report->left_out, &report->left_out_count, named.name);
    if (match->options.only && !cr_pattern_match(match->options.only, named.name))
        return CR_OK;
    /* PyTorch before 0.4.1 did not count batches, and its files load all the same. */
    if (index < 0 && named.is_buffer && cr_pattern_match("*.num_batches_tracked", named.name))
        return CR_OK;
    if (index < 0)
        return add_name(report->missing, &report->missing_count, named.name);
    cr_weights_entry entry = cr_weights_at(match->file, index);
    if (!entry.is_supported)
        return cr_error_set(CR_ERROR_UNSUPPORTED, "%s: %s is %s, which is not a dtype here",
                            cr_weights_path(match->file), named.name, entry.dtype_name);
    cr_shape in_file = entry.shape;
    cr_shape in_model = cr_shape_of(named.tensor);
    if (cr_shape_equal(&in_file, &in_model)) {
        match->file_index[number] = index;
        return add_name(report->matched, &report->matched_count, named.name);
    }
    char *name = cr_string_copy(named.name);
    if (name)
        report->mismatched[report->mismatched_count++] =
            (cr_load_mismatch){ name, in_file, in_model };
    return cr_error_status();
}

/* A name in the file as the model would have it. */
static const char *without_prefix(const struct match *match, const char *name)
{
    size_t length = strlen(match->prefix);
    return strncmp(name, match->prefix, length) == 0 ? name + length : name;
}

/* With a pattern, what the file has besides is as little of interest as the rest of the model; and
 * so is what would belong to the parts that are left out. */
static cr_status match_rest(struct match *match)
{
    cr_load_report *report = match->report;
    for (int i = 0; i < cr_weights_count(match->file) && !match->options.only; i++) {
        const char *name = cr_weights_at(match->file, i).name;
        if (match->is_taken[i] || is_ignored(match, name) ||
            is_left_out(match, without_prefix(match, name)))
            continue;
        if (add_name(report->unexpected, &report->unexpected_count, name) != CR_OK)
            return cr_error_status();
    }
    return CR_OK;
}

static cr_status match_all(struct match *match)
{
    int in_model = cr_model_tensor_count(match->model);
    int in_file = cr_weights_count(match->file);
    match->file_index = cr_alloc_array((size_t)in_model, sizeof *match->file_index);
    match->is_taken = cr_alloc_zeroed((size_t)in_file, sizeof *match->is_taken);
    if (!match->file_index || !match->is_taken ||
        report_reserve(match->report, in_model, in_file) != CR_OK)
        return cr_error_status();
    match->prefix = choose_prefix(match);
    for (int i = 0; i < in_model; i++) {
        if (match_tensor(match, i) != CR_OK)
            return cr_error_status();
    }
    return match_rest(match);
}

/* ---- loading ---- */

static void print_names(cr_text *text, char *const *names, int count)
{
    for (int i = 0; i < CR_MIN(count, LISTED); i++)
        cr_text_printf(text, "%s%s", i > 0 ? ", " : "", names[i]);
    if (count > LISTED)
        cr_text_printf(text, " and %d more", count - LISTED);
}

static void print_mismatches(cr_text *text, const cr_load_mismatch *mismatched, int count)
{
    for (int i = 0; i < CR_MIN(count, LISTED); i++) {
        char in_file[CR_SHAPE_TEXT];
        char in_model[CR_SHAPE_TEXT];
        cr_text_printf(text, "%s%s is %s in the file and %s in the model", i > 0 ? ", " : "",
                       mismatched[i].name,
                       cr_shape_format(&mismatched[i].in_file, in_file, sizeof in_file),
                       cr_shape_format(&mismatched[i].in_model, in_model, sizeof in_model));
    }
    if (count > LISTED)
        cr_text_printf(text, " and %d more", count - LISTED);
}

/* The findings that are not acceptable, as one error. */
static cr_status judge(const struct match *match, const char *path)
{
    const cr_load_report *report = match->report;
    bool names = !match->options.partial && report->missing_count + report->unexpected_count > 0;
    bool shapes = !match->options.ignore_mismatched && report->mismatched_count > 0;
    if (!names && !shapes)
        return CR_OK;
    cr_text text = { 0 };
    if (cr_model_tensor_count(match->model) == 0)
        cr_text_append(&text, "; the model has no parameters yet, build it first");
    if (names && report->missing_count > 0) {
        cr_text_printf(&text, "; %d missing: ", report->missing_count);
        print_names(&text, report->missing, report->missing_count);
    }
    if (names && report->unexpected_count > 0) {
        cr_text_printf(&text, "; %d unexpected: ", report->unexpected_count);
        print_names(&text, report->unexpected, report->unexpected_count);
    }
    if (shapes) {
        cr_text_append(&text, "; ");
        print_mismatches(&text, report->mismatched, report->mismatched_count);
    }
    cr_status status = cr_error_set(CR_ERROR_STATE, "%s does not fit the model%s", path,
                                    text.data ? text.data : "");
    cr_text_free(&text);
    return status;
}

static cr_status copy_tensor(const struct match *match, int number)
{
    cr_named_tensor named = cr_model_tensor_at(match->model, number);
    int index = match->file_index[number];
    if (index < 0)
        return CR_OK;
    if (cr_device_of(named.tensor) == CR_META)
        return cr_error_set(CR_ERROR_STATE,
                            "%s is on the meta device and cannot be loaded: make the model with "
                            "data",
                            named.name);
    return cr_weights_load_into(match->file, index, named.tensor);
}

static cr_status copy_all(const struct match *match)
{
    bool was = cr_set_grad_enabled(false);
    cr_status status = CR_OK;
    for (int i = 0; i < cr_model_tensor_count(match->model) && status == CR_OK; i++)
        status = copy_tensor(match, i);
    cr_set_grad_enabled(was);
    return status;
}

cr_status cr_model_load_weights(cr_model *model, cr_weights *weights,
                                const cr_load_options *options, cr_load_report *report)
{
    cr_load_report own = { 0 };
    if (report)
        *report = own;
    if (cr_failed())
        return cr_error_status();
    if (!model || !weights)
        return cr_error_set(CR_ERROR_ARGUMENT, "there is no %s to load",
                            model ? "open file" : "model");
    struct match match = { .model = model, .file = weights, .report = report ? report : &own };
    if (options)
        match.options = *options;
    cr_status status = match_all(&match);
    if (status == CR_OK)
        status = judge(&match, cr_weights_path(weights));
    if (status == CR_OK && !match.options.dry_run)
        status = copy_all(&match);
    cr_load_report_free(&own);
    cr_free(match.file_index);
    cr_free(match.is_taken);
    return status;
}

cr_status cr_model_load_from(cr_model *model, cr_safetensors *file, const cr_load_options *options,
                             cr_load_report *report)
{
    if (report)
        *report = (cr_load_report){ 0 };
    cr_weights *weights = file ? cr_weights_from_safetensors(file) : NULL;
    if (!file || weights)
        cr_model_load_weights(model, weights, options, report);
    cr_weights_close(weights);
    return cr_error_status();
}

cr_status cr_model_load(cr_model *model, const char *path, const cr_load_options *options,
                        cr_load_report *report)
{
    if (report)
        *report = (cr_load_report){ 0 };
    cr_weights *weights = cr_weights_open(path);
    if (!weights)
        return cr_error_status();
    cr_model_load_weights(model, weights, options, report);
    cr_weights_close(weights);
    return cr_error_status();
}

/* ---- the report ---- */

void cr_load_report_print(const cr_load_report *report, cr_text *text)
{
    cr_text_printf(text, "%d of %d tensors of the model found in the file\n", report->matched_count,
                   report->matched_count + report->missing_count + report->mismatched_count +
                       report->left_out_count);
    if (report->left_out_count > 0) {
        cr_text_append(text, "left out: ");
        print_names(text, report->left_out, report->left_out_count);
        cr_text_append(text, "\n");
    }
    if (report->missing_count > 0) {
        cr_text_append(text, "missing: ");
        print_names(text, report->missing, report->missing_count);
        cr_text_append(text, "\n");
    }
    if (report->unexpected_count > 0) {
        cr_text_append(text, "unexpected: ");
        print_names(text, report->unexpected, report->unexpected_count);
        cr_text_append(text, "\n");
    }
    if (report->mismatched_count > 0) {
        cr_text_append(text, "of another shape: ");
        print_mismatches(text, report->mismatched, report->mismatched_count);
        cr_text_append(text, "\n");
    }
}

static void free_names(char **names, int count)
{
    for (int i = 0; i < count; i++)
        cr_free(names[i]);
    cr_free(names);
}

void cr_load_report_free(cr_load_report *report)
{
    free_names(report->matched, report->matched_count);
    free_names(report->missing, report->missing_count);
    free_names(report->unexpected, report->unexpected_count);
    free_names(report->left_out, report->left_out_count);
    for (int i = 0; i < report->mismatched_count; i++)
        cr_free(report->mismatched[i].name);
    cr_free(report->mismatched);
    *report = (cr_load_report){ 0 };
}
