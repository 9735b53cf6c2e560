/* How the options of `cresset train` become the settings of the training interface. */
#include <math.h>
#include <string.h>

#include "cli.h"
#include "cresset/memory.h"

const char *normalize_words(int index)
{
    static const char *const words[] = {
        [CR_NORMALIZE_MEASURED] = "auto",
        [CR_NORMALIZE_IMAGENET] = "imagenet",
        [CR_NORMALIZE_NONE] = "none",
    };
    return index < COUNT_OF(words) ? words[index] : NULL;
}

cr_normalization normalization_of(const char *word)
{
    int index = 0;
    while (strcmp(normalize_words(index), word) != 0)
        index++;
    return (cr_normalization)index;
}

/* The default of a number of the optimiser unless one was given. */
static void keep_given(double *target, double given)
{
    if (!isnan(given))
        *target = given;
}

static cr_optim_settings optimizer_settings(const train_options *chosen)
{
    const cr_optim_settings *given = &chosen->train.optimizer;
    cr_optim_settings settings = cr_optim_defaults(cr_optim_find(chosen->optimizer));
    keep_given(&settings.lr, given->lr);
    keep_given(&settings.weight_decay, given->weight_decay);
    keep_given(&settings.momentum, given->momentum);
    keep_given(&settings.dampening, given->dampening);
    keep_given(&settings.beta1, given->beta1);
    keep_given(&settings.beta2, given->beta2);
    keep_given(&settings.eps, given->eps);
    keep_given(&settings.alpha, given->alpha);
    keep_given(&settings.lr_decay, given->lr_decay);
    keep_given(&settings.rho, given->rho);
    keep_given(&settings.momentum_decay, given->momentum_decay);
    settings.nesterov = given->nesterov;
    settings.amsgrad = given->amsgrad;
    settings.centered = given->centered;
    return settings;
}

/* "layer4=0.4,layer1=0.01". The names stay in `room`, a copy of the text. */
static bool read_rates(char *room, cr_train_settings *settings)
{
    settings->rate_count = 0;
    char *rest = NULL;
    for (char *word = strtok_r(room, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        char *value = strchr(word, '=');
        cr_train_rate rate = { .pattern = word };
        if (value)
            *value++ = '\0';
        if (!value || !*word || !cr_parse_double(value, &rate.scale) || rate.scale < 0) {
            cr_error_set(CR_ERROR_ARGUMENT,
                         "--lr-scale takes names with multiples, such as layer4=0.4,layer1=0.01; "
                         "\"%s\" is none",
                         word);
            return false;
        }
        if (settings->rate_count == CR_TRAIN_MAX_RATES) {
            cr_error_set(CR_ERROR_ARGUMENT, "--lr-scale takes at most %d names",
                         CR_TRAIN_MAX_RATES);
            return false;
        }
        settings->rates[settings->rate_count++] = rate;
    }
    return true;
}

/* What evaluation does with pictures: --resize, --crop, then --preprocess. */
static bool read_transforms(const train_options *chosen, cr_transform_list *list)
{
    cr_text text = { 0 };
    *list = (cr_transform_list){ 0 };
    if (chosen->resize > 0)
        cr_text_printf(&text, "resize:%lld", (long long)chosen->resize);
    if (chosen->crop && strncmp(chosen->crop, "center:", 7) != 0) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "--crop is center:N or center:HEIGHT:WIDTH, not \"%s\"; a random crop is "
                     "--augment random_crop:N",
                     chosen->crop);
        return false;
    }
    if (chosen->crop)
        cr_text_printf(&text, "%scenter_crop:%s", text.length ? "," : "", chosen->crop + 7);
    if (chosen->preprocess)
        cr_text_printf(&text, "%s%s", text.length ? "," : "", chosen->preprocess);
    bool good = cr_transform_parse(text.data ? text.data : "", list) == CR_OK;
    cr_text_free(&text);
    return good;
}

/* What is done strongly: what was asked for, or what --augment does and more. */
static bool read_strong(const train_options *chosen, cr_transform_list *list)
{
    if (chosen->strong_augment)
        return cr_transform_parse(chosen->strong_augment, list) == CR_OK;
    return (!chosen->augment || cr_transform_parse(chosen->augment, list) == CR_OK) &&
           cr_transform_parse("randaugment:2:10", list) == CR_OK;
}

bool train_options_translate(const train_options *chosen, char *rates,
                             cr_transform_list *transforms, cr_train_settings *settings)
{
    *settings = chosen->train;
    settings->optimizer = optimizer_settings(chosen);
    settings->schedule = cr_train_schedule_find(chosen->schedule);
    settings->plateau_patience = (int)chosen->plateau_patience;
    settings->workers = (int)chosen->workers;
    settings->seed = (uint64_t)chosen->seed;
    settings->autocast = precision_dtype(chosen->precision);
    settings->milestone_count = chosen->milestones.count;
    for (int i = 0; i < chosen->milestones.count; i++)
        settings->milestones[i] = (double)chosen->milestones.values[i];
    settings->balanced = strcmp(chosen->sampler, "balanced") == 0;
    return read_transforms(chosen, transforms) && (!rates || read_rates(rates, settings)) &&
           (!chosen->augment || cr_transform_parse(chosen->augment, &settings->augment) == CR_OK) &&
           (!chosen->unlabeled || read_strong(chosen, &settings->consistency.strong));
}
