/* Kernels that read images at other places: resizing, sampling at the points of a grid, and the
 * patches of a convolution as columns. float32 and float64, contiguous. */
#ifndef CR_KERNELS_VISION_VISION_KERNELS_H
#define CR_KERNELS_VISION_VISION_KERNELS_H

#include "tensor/tensor.h"

/* ---- resizing ---- */

enum resize_mode { RESIZE_NEAREST, RESIZE_NEAREST_EXACT, RESIZE_LINEAR, RESIZE_CUBIC };

/* One dimension of a resizing. Output o is the sum over taps t of weight[t * out + o] times input
 * index[t * out + o]; the weights are of the dtype computed in. */
struct resize_axis {
    int64_t in;
    int64_t out;
    double scale; /* outputs an input, as the caller asked for; 0: out / in */
    const int32_t *index;
    const void *weight;
};

struct resize_plan {
    enum resize_mode mode;
    bool align_corners;
    int64_t planes;
    struct resize_axis axis[3]; /* depth, height, width; those not resized have in = out */
};

#define RESIZE_MOST_TAPS 4

/* Bytes of the tables of a plan, and the tables themselves, written to `room`. */
size_t resize_table_size(const struct resize_plan *plan);
void resize_make_tables(struct resize_plan *plan, cr_dtype dtype, void *room);

/* x (planes, in…) → y (planes, out…), and grad (planes, out…) → grad_x (planes, in…). */
void resize_forward(const struct resize_plan *plan, cr_dtype dtype, const void *x, void *y);
void resize_backward(const struct resize_plan *plan, cr_dtype dtype, const void *grad,
                     void *grad_x);

/* ---- sampling at points ---- */

enum sample_mode { SAMPLE_BILINEAR, SAMPLE_NEAREST, SAMPLE_BICUBIC };
enum sample_padding { SAMPLE_ZEROS, SAMPLE_BORDER, SAMPLE_REFLECTION };

/* x (batch, channels, in…), grid (batch, points, dims) with the coordinate of the last dimension
 * first, y (batch, channels, points). */
struct sample_plan {
    enum sample_mode mode;
    enum sample_padding padding;
    bool align_corners;
    int dims; /* 2 or 3 */
    int64_t batch;
    int64_t channels;
    int64_t in[3]; /* depth (1 in two dimensions), height, width */
    int64_t points;
};

void sample_forward(const struct sample_plan *plan, cr_dtype dtype, const void *x, const void *grid,
                    void *y);
void sample_backward_input(const struct sample_plan *plan, cr_dtype dtype, const void *grad,
                           const void *grid, void *grad_x);
void sample_backward_grid(const struct sample_plan *plan, cr_dtype dtype, const void *grad,
                          const void *x, const void *grid, void *grad_grid);

/* ---- patches as columns ---- */

struct patch_axis {
    int64_t in;
    int64_t out;
    int64_t kernel;
    int64_t stride;
    int64_t padding;
    int64_t dilation;
};

/* image (planes, in height, in width), columns (planes, kernel height * width, out height * width)
 */
struct patch_plan {
    int64_t planes;
    struct patch_axis height;
    struct patch_axis width;
};

/* The elements that each place of the kernel sees, 0 in the padding; and these added up. */
void patch_unfold(const struct patch_plan *plan, cr_dtype dtype, const void *image, void *columns);
void patch_fold(const struct patch_plan *plan, cr_dtype dtype, const void *columns, void *image);

/* ---- the loops for each instruction set ---- */

/* One piece [begin, end) of the work: planes, or points of all samples. */
typedef void (*vision_loop)(const void *plan, const void *const *from, void *to, int64_t begin,
                            int64_t end);

enum vision_kind {
    VISION_RESIZE,
    VISION_RESIZE_BACKWARD,
    VISION_SAMPLE,
    VISION_SAMPLE_BACKWARD_INPUT,
    VISION_SAMPLE_BACKWARD_GRID,
    VISION_UNFOLD,
    VISION_FOLD,
    VISION_KIND_COUNT
};

struct vision_loops {
    vision_loop f32[VISION_KIND_COUNT];
    vision_loop f64[VISION_KIND_COUNT];
};

CR_INLINE int resize_taps(enum resize_mode mode)
{
    return mode == RESIZE_CUBIC ? 4 : mode == RESIZE_LINEAR ? 2 : 1;
}

#endif
