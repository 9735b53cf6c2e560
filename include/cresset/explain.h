/* Why a classifier says what it says: where in a picture it looked, and how it describes one.
 *
 *     cr_tensor *maps = cr_grad_cam(net, batch.samples);              (N, H, W), from 0 to 1
 *     cr_heat_paint(cr_data(maps), pixels, height, width, 3, painted);
 *
 * Both run the classifier in eval mode and leave its mode and gradients as they were. */
#ifndef CRESSET_EXPLAIN_H
#define CRESSET_EXPLAIN_H

#include "cresset/classifier.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Grad-CAM (Selvaraju et al., "Grad-CAM: visual explanations from deep networks via gradient-based
 * localization", 2017): of the last layer that still has places (maps of a convolution, windows or
 * tokens of a transformer) the channels are weighed by the mean gradient of a class's score, and
 * what speaks for the class is kept. */
typedef struct cr_grad_cam_args {
    cr_tensor *samples;     /* (N, C, H, W) float32, transformed as for cr_classifier_forward */
    const int64_t *classes; /* (N), whose scores are explained; NULL: the highest of each sample */
    const char *layer; /* which layers to choose from, a pattern of names; NULL: all. The last one
                        * with places on which the score depends is taken */
} cr_grad_cam_args;

/* Maps (N, H, W) float32 of the samples' size, each with 1 at its most telling place, or 0
 * everywhere where nothing speaks for the class. NULL with CR_ERROR_UNSUPPORTED if the model has no
 * layer with places. */
#define cr_grad_cam(net, ...) cr_grad_cam_with(net, (cr_grad_cam_args){ .samples = __VA_ARGS__ })
cr_tensor *cr_grad_cam_with(const cr_classifier *classifier, cr_grad_cam_args args);

/* Paints a map (height, width) in warm colours over a picture (height, width, channels), which is
 * made grey, as RGB (height, width, 3) bytes. 1, 3 or 4 channels. */
void cr_heat_paint(const float *map, const uint8_t *pixels, int64_t height, int64_t width,
                   int64_t channels, uint8_t *painted);

/* What the classifier's last layer sees of samples: (N, features) float32, the input of the last
 * linear layer, or the means over places of the last layer where there is none. */
cr_tensor *cr_classifier_features(const cr_classifier *classifier, cr_tensor *samples);

#ifdef __cplusplus
}
#endif
#endif
