/* Recurrent nets over sequences of features. */
#include "cresset/models.h"
#include "cresset/ops.h"
#include "cresset/sequence_layers.h"

cr_tensor *cr_bilstm(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    x = cr_lstm(at, "", x, .hidden = settings.width ? settings.width : 256, .layers = 2,
                .bidirectional = true, .batch_first = true,
                .dropout = settings.no_dropout ? 0 : settings.dropout)
            .output;
    if (!settings.classes)
        return x;
    return cr_linear(at, "fc", cr_mean_dims(x, CR_SHAPE(1), false), .out = settings.classes);
}
