/* Images read at other places, as in torch.nn.functional. Inputs and results are floating; results
 * are owned by the frame; every function returns NULL on failure. */
#ifndef CRESSET_VISION_H
#define CRESSET_VISION_H

#include <stdbool.h>

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- resizing ---- */

typedef enum cr_interpolate_mode {
    CR_INTERPOLATE_NEAREST,
    CR_INTERPOLATE_LINEAR,    /* (N, C, L) */
    CR_INTERPOLATE_BILINEAR,  /* (N, C, H, W) */
    CR_INTERPOLATE_BICUBIC,   /* (N, C, H, W) */
    CR_INTERPOLATE_TRILINEAR, /* (N, C, D, H, W) */
    CR_INTERPOLATE_AREA,      /* adaptive mean */
    CR_INTERPOLATE_NEAREST_EXACT
} cr_interpolate_mode;

/* x (N, C, spatial…) resized to `size`, a list or one value for all dimensions alike, or by
 * `scale_factor`: cr_interpolate(x, .scale_factor = 2, .mode = CR_INTERPOLATE_BILINEAR). */
typedef struct cr_interpolate_args {
    cr_tensor *x;
    cr_shape size;
    double scale_factor;
    cr_interpolate_mode mode;
    bool align_corners;          /* the centres of the corner pixels stay where they are */
    bool recompute_scale_factor; /* the scale is that of the sizes, not scale_factor */
} cr_interpolate_args;
#define cr_interpolate(...) cr_interpolate_with((cr_interpolate_args){ .x = __VA_ARGS__ })
cr_tensor *cr_interpolate_with(cr_interpolate_args args);

/* ---- sampling at points ---- */

typedef enum cr_sample_mode {
    CR_SAMPLE_BILINEAR, /* in three dimensions trilinear */
    CR_SAMPLE_NEAREST,
    CR_SAMPLE_BICUBIC /* (N, C, H, W) only */
} cr_sample_mode;

/* What points outside of the image see: zeros, the nearest pixel at its border, or the image
 * mirrored there. */
typedef enum cr_sample_padding {
    CR_SAMPLE_ZEROS,
    CR_SAMPLE_BORDER,
    CR_SAMPLE_REFLECTION
} cr_sample_padding;

/* x (N, C, H, W) at grid (N, H', W', 2), giving (N, C, H', W'); or x (N, C, D, H, W) at grid (N,
 * D', H', W', 3). A point is (x, y) or (x, y, z), each in [-1, 1] across the image. The gradients
 * have no gradients. */
typedef struct cr_grid_sample_args {
    cr_tensor *x;
    cr_tensor *grid;
    cr_sample_mode mode;
    cr_sample_padding padding_mode;
    bool align_corners; /* -1 and 1 are the centres of the corner pixels, not their outer edges */
} cr_grid_sample_args;
#define cr_grid_sample(...) cr_grid_sample_with((cr_grid_sample_args){ .x = __VA_ARGS__ })
cr_tensor *cr_grid_sample_with(cr_grid_sample_args args);

/* The grid of the affine maps theta (N, 2, 3) for images of size (N, C, H, W), or (N, 3, 4) for (N,
 * C, D, H, W). */
cr_tensor *cr_affine_grid(cr_tensor *theta, cr_shape size, bool align_corners);

/* ---- channels and pixels ---- */

/* x (…, C r², H, W) → (…, C, H r, W r), and back (Shi et al., "Real-time single image and video
 * super-resolution using an efficient sub-pixel convolutional neural network", 2016). */
cr_tensor *cr_pixel_shuffle(cr_tensor *x, int64_t upscale_factor);
cr_tensor *cr_pixel_unshuffle(cr_tensor *x, int64_t downscale_factor);

/* x (N, C, …): the channels of all groups taken in turn. */
cr_tensor *cr_channel_shuffle(cr_tensor *x, int64_t groups);

/* ---- patches as columns ---- */

/* Each list has one value for both dimensions or two. */
typedef struct cr_patch_args {
    cr_tensor *x;
    cr_shape kernel_size;
    cr_shape dilation;    /* none: 1 */
    cr_shape padding;     /* none: 0 */
    cr_shape stride;      /* none: 1 */
    cr_shape output_size; /* of fold: the height and width of the image */
} cr_patch_args;

/* torch.nn.functional.unfold: x (N, C, H, W) → (N, C kernel, patches), and fold, which adds such
 * columns up to an image; both also without N. */
#define cr_functional_unfold(...) cr_functional_unfold_with((cr_patch_args){ .x = __VA_ARGS__ })
cr_tensor *cr_functional_unfold_with(cr_patch_args args);
#define cr_functional_fold(...) cr_functional_fold_with((cr_patch_args){ .x = __VA_ARGS__ })
cr_tensor *cr_functional_fold_with(cr_patch_args args);

#ifdef __cplusplus
}
#endif
#endif
