/* Imported graphs where an architecture is expected: a classifier in an ONNX file, with its own
 * last layer or with a new one for other classes. */
#include "cresset/error.h"
#include "cresset/models.h"
#include "cresset/onnx.h"

cr_tensor *cr_run_imported(cr_scope at, cr_tensor *x, const cr_onnx *onnx,
                           cr_model_settings settings)
{
    cr_onnx_classifier own = cr_onnx_as_classifier(onnx);
    bool fits = own.classes == settings.classes || settings.classes == 0 || !own.head;
    if (fits && settings.head == 0 && !settings.no_head) {
        cr_tensor *logits = cr_onnx_run_logits(at, x, onnx);
        if (!logits || settings.classes == 0 ||
            (cr_ndim(logits) == 2 && cr_dim(logits, 1) == settings.classes))
            return logits;
        char text[CR_SHAPE_TEXT];
        cr_shape shape = cr_shape_of(logits);
        cr_error_set(CR_ERROR_SHAPE,
                     "%s gives %s where scores of %lld classes are needed, and its last layer is "
                     "not a linear one that another could replace",
                     cr_onnx_path(onnx), cr_shape_format(&shape, text, sizeof text),
                     (long long)settings.classes);
        return NULL;
    }
    cr_tensor *features = cr_onnx_run_features(at, x, onnx);
    if (features && cr_ndim(features) != 2) {
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "%s: its last layer reads a tensor of %d dimensions, and only one over "
                     "(N, features) can be replaced",
                     cr_onnx_path(onnx), cr_ndim(features));
        return NULL;
    }
    if (!settings.classes)
        settings.classes = own.classes;
    return cr_classifier_head(at, own.head, features, settings, (cr_classifier_head_args){ 0 });
}
