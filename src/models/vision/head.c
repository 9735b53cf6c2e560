/* The last layers of classifiers of images. */
#include "cresset/models.h"
#include "cresset/ops.h"

/* The names of torch.nn.Sequential(Linear, ReLU, Dropout, Linear) in place of a Linear. */
static cr_tensor *perceptron(cr_scope at, cr_tensor *x, const cr_model_settings *settings,
                             int64_t classes)
{
    x = cr_relu(cr_linear(at, "0", x, .out = settings->head));
    x = cr_dropout(at, x, settings->no_dropout ? 0 : settings->dropout);
    return cr_linear(at, "3", x, .out = classes);
}

cr_tensor *cr_classifier_head(cr_scope at, const char *name, cr_tensor *x,
                              cr_model_settings settings, cr_classifier_head_args usual)
{
    if (settings.no_head)
        return x;
    int64_t classes = settings.classes ? settings.classes : usual.classes;
    double dropout = settings.dropout != 0 && !settings.head ? settings.dropout : usual.dropout;
    x = cr_dropout(at, x, settings.no_dropout ? 0 : dropout);
    return settings.head ? perceptron(cr_at(at, name), x, &settings, classes)
                         : cr_linear(at, name, x, .out = classes);
}
