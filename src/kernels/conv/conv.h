/* Convolution over one, two or three spatial dimensions, and its gradients, for float, double, and
 * 16-bit floats that are summed in float.
 *
 * A convolution is a matrix product whose packer reads the image (kernels/gemm): no matrix of
 * patches is made in memory. Forward multiplies the weights by the patches of all images at once;
 * the gradient of the input is again such a convolution, of the gradient of the output (one for
 * each phase of the stride); the gradient of the weights multiplies output gradients by patches
 * along all positions of the batch. That way takes every convolution. Faster ones take the usual:
 *
 *   winograd.c, winograd_weight.c   3 x 3 kernels of stride 1: a quarter of the multiplications
 *   points.c, weight_gradient.c     one group, two dimensions: read straight from padded rows
 *   conv_direct.inc                 depthwise: loops along the rows
 *   pair_images.c, pair_weights.c   bfloat16, one group: the same from pairs of channels
 *   channels_last.c                 inference on (N, H, W, C): products of rows of patches
 *
 * Tensors are contiguous: input (N, C_in, spatial…), weight (C_out, C_in / groups, kernel…), output
 * (N, C_out, spatial…). Nothing here allocates or fails; the caller passes as much workspace as the
 * query says, 64-byte aligned. Results do not depend on the number of threads. */
#ifndef CR_CONV_H
#define CR_CONV_H

#include "kernels/gemm/gemm.h"

#define CR_CONV_DIMS 3

/* Sizes by dimension are depth, height, width; a convolution of fewer dimensions has size 1,
 * kernel 1, stride 1, padding 0, dilation 1 in the first ones. `output` is given, not derived: what
 * an output position reads outside the input is zero, so that padding at the end, and the
 * output_padding of a transposed convolution, need no settings of their own. `padding` is that at
 * the beginning. */
typedef struct cr_conv {
    cr_gemm_type type;
    int64_t batch, in_channels, out_channels, groups;
    int64_t input[CR_CONV_DIMS], kernel[CR_CONV_DIMS], output[CR_CONV_DIMS];
    int64_t stride[CR_CONV_DIMS], padding[CR_CONV_DIMS], dilation[CR_CONV_DIMS];
    bool channels_last; /* input, output and residual are (N, spatial…, C); forward only, where
                         * cr_channels_last_suits */
    bool bias_float;    /* of 16-bit types: the bias of the epilogue is float */
} cr_conv;

/* output = epilogue(conv(input, weight)). The bias, if any, is the epilogue's row_bias (C_out).
 * `prepared` is what cr_conv_prepare made of the weights, or NULL: then it is made again, in the
 * workspace. */
size_t cr_conv_forward_workspace(const cr_conv *conv);
size_t cr_conv_prepared_workspace(const cr_conv *conv); /* where `prepared` is passed */
void cr_conv_forward(const cr_conv *conv, const void *input, const void *weight,
                     const void *prepared, const cr_epilogue *epilogue, void *output,
                     void *workspace);

/* The weights in the order, or the transform, in which forward reads them: so many bytes (0: as
 * they are), and which form it is, which other sizes of the input may change. */
size_t cr_conv_prepared_size(const cr_conv *conv);
unsigned cr_conv_prepared_form(const cr_conv *conv);
void cr_conv_prepare(const cr_conv *conv, const void *weight, void *prepared);

/* The same of weights that are multiplied by the scale of their output channel. False, and nothing
 * done, where there is no prepared form for this. */
bool cr_conv_prepare_scaled(const cr_conv *conv, const float *weight, const float *scale,
                            void *prepared);

/* input = gradient of the input, given that of the output; also the forward of a transposed
 * convolution, whose input is this output. `epilogue` may be NULL; its row_bias is (C_in). */
size_t cr_conv_backward_data_workspace(const cr_conv *conv);
void cr_conv_backward_data(const cr_conv *conv, const void *output, const void *weight,
                           const cr_epilogue *epilogue, void *input, void *workspace);

/* weight = gradient of the weights. */
size_t cr_conv_backward_weight_workspace(const cr_conv *conv);
void cr_conv_backward_weight(const cr_conv *conv, const void *input, const void *output,
                             void *weight, void *workspace);

/* ---- what the driver and the files of one instruction set share ---- */

/* How the points of a grid read a source of (N, C, spatial…): point q of a dimension and tap t read
 * coordinate q * step + origin + t * tap_step, or zero where that is outside [0, size). */
typedef struct cr_patches {
    const void *source;
    int64_t batch_stride, channel_stride, group_stride; /* elements */
    int64_t grid[CR_CONV_DIMS], step[CR_CONV_DIMS], size[CR_CONV_DIMS];
    int64_t taps[CR_CONV_DIMS], origin[CR_CONV_DIMS], tap_step[CR_CONV_DIMS];
    const cr_gemm_kernels *kernels;
} cr_patches;

/* Where a transposed-weight operand is read: element (row, (channel, tap)) lies at channel *
 * channel_stride + row * row_stride + sum over dimensions of (first + t * step) * tap_stride. */
typedef struct cr_weight_taps {
    const void *weight;
    int64_t channel_stride, row_stride, group_stride;
    int64_t taps[CR_CONV_DIMS], first[CR_CONV_DIMS], step[CR_CONV_DIMS], tap_stride[CR_CONV_DIMS];
    const cr_gemm_kernels *kernels;
} cr_weight_taps;

/* A depthwise convolution for channels [begin, end) of all images, counted as n * channels + c. */
typedef struct cr_depthwise {
    const cr_conv *conv;
    const void *input, *weight, *output; /* two are read, one is written */
    void *result;
    const cr_epilogue *epilogue;
} cr_depthwise;

/* Two dimensions, float32, strides of 1 and 2 (conv_depthwise.isa.c). */
typedef struct cr_depthwise_kernels {
    bool (*suits)(const cr_conv *conv, bool backward);
    void (*forward)(const cr_depthwise *call, int64_t begin, int64_t end);
    void (*data)(const cr_depthwise *call, int64_t begin,
                 int64_t end); /* one output channel each */
    void (*weight)(const cr_depthwise *call, int64_t begin, int64_t end);
} cr_depthwise_kernels;

CR_KERNEL_VARIANTS(const cr_depthwise_kernels, cr_depthwise_kernels, );

typedef struct cr_conv_kernels {
    cr_gemm_packer pack_patches;   /* context cr_patches; columns are points, k is (channel, tap) */
    cr_gemm_packer pack_positions; /* context cr_patches; columns are (channel, tap), k is points */
    cr_gemm_packer pack_weight;    /* context cr_weight_taps; rows of A */
    void (*depthwise_forward)(const cr_depthwise *call, int64_t begin, int64_t end);
    void (*depthwise_data)(const cr_depthwise *call, int64_t begin, int64_t end);
    void (*depthwise_weight)(const cr_depthwise *call, int64_t begin, int64_t end);
} cr_conv_kernels;

/* ---- Winograd's algorithm, for 3 x 3 kernels of stride 1 (winograd.c) ---- */

/* One such convolution, forward or by its input. Sizes are height, width. */
typedef struct cr_winograd {
    int64_t batch, in_channels, out_channels;
    int64_t in_size[2], out_size[2], padding[2];
    bool channels_last;
    const float *input, *weight, *scale;         /* scale of output channels; NULL: none */
    int64_t weight_in_stride, weight_out_stride; /* elements, by channel */
    bool flip;                                   /* the kernel is read from its end */
    cr_epilogue epilogue;
    float *output;
    int64_t tiles_y, tiles_x;
    int64_t in_padded, out_padded; /* channels, to whole vectors and panels */
    const float *transformed;      /* weights: (36, panels, in_padded, panel) */
    int64_t weight_step;           /* from one of the 36 positions to the next */
} cr_winograd;

/* What a block of tiles is computed in, and a strip of the image on its way in or out. */
typedef struct cr_winograd_scratch {
    int64_t tiles, panel_rows;
    int64_t first_tile;                   /* of the tile rows of a call, in the block */
    int64_t input_stride, product_stride; /* from one of the 36 positions to the next */
    float *inputs, *products;
    float *strip, *turned;
} cr_winograd_scratch;

typedef struct cr_winograd_kernels {
    int lanes;
    /* Transforms the weights of vectors [begin, end) of output channels. */
    void (*weights)(const cr_winograd *w, float *transformed, int64_t begin, int64_t end);
    /* For a vector of channels of tile rows [first, last), counted through the images, which may be
     * some of the block; between the two, for each position, the products of output channels
     * [begin, end). */
    void (*input)(const cr_winograd *w, const cr_winograd_scratch *s, int64_t first, int64_t last,
                  int64_t channel);
    void (*multiply)(const cr_winograd *w, const cr_winograd_scratch *s, int64_t position,
                     int64_t begin, int64_t end);
    void (*output)(const cr_winograd *w, const cr_winograd_scratch *s, int64_t first, int64_t last,
                   int64_t channel);
} cr_winograd_kernels;

CR_KERNEL_VARIANTS(const cr_winograd_kernels, cr_winograd_kernels, );

/* True if the algorithm applies to a convolution (or its gradient by the input) and is faster. */
bool cr_winograd_suits(const cr_conv *conv, bool backward);

/* The sizes and strides of a convolution, without its data and what depends on the kernels. */
cr_winograd cr_winograd_describe(const cr_conv *conv, bool backward);
size_t cr_winograd_workspace(const cr_conv *conv, bool backward);

/* The transformed weights, in so many bytes. */
size_t cr_winograd_prepared_size(const cr_conv *conv, bool backward);
void cr_winograd_prepare(const cr_conv *conv, bool backward, const float *weight,
                         const float *scale, void *prepared);

/* Forward: from input to output; backward: from the output's gradient to the input's. */
void cr_winograd_run(const cr_conv *conv, bool backward, const float *from, const void *prepared,
                     const cr_epilogue *epilogue, float *to, void *workspace);

/* ---- convolution and its gradient by the input, point by point (points.c) ---- */

#define CR_POINTS_PHASES 4 /* of the stride, at most */

/* The points of the result that read the same taps. */
typedef struct cr_points_phase {
    cr_patches patches;
    cr_weight_taps weight;
    int64_t k;      /* channels times taps */
    int64_t packed; /* where its weights begin: (panel, k, channels of the panel) */
} cr_points_phase;

/* Sizes and strides of the result are height, width. */
typedef struct cr_points {
    int phase_count;
    cr_points_phase phases[CR_POINTS_PHASES];
    int64_t batch, channels, out_channels, out_padded;
    int64_t out_size[2], stride[2]; /* phase of point (y, x): y % stride[0], x % stride[1] */
    int64_t first_column, columns;  /* of the source that are copied; may lie outside */
    const float *packed;
    cr_epilogue epilogue;
    float *output;
} cr_points;

/* Rows [first, last) of the result of some images, which lines of each phase's grid these are, and
 * which output channels. */
typedef struct cr_points_chunk {
    int64_t first_image, images, first, last;
    int64_t first_line[CR_POINTS_PHASES], last_line[CR_POINTS_PHASES];
    int64_t first_row, rows;     /* of the source that are copied */
    int64_t first_out, last_out; /* output channels, in whole panels */
} cr_points_chunk;

typedef struct cr_points_scratch {
    float *copy, *turned;
    float *products[CR_POINTS_PHASES];
    int32_t *points, *steps;
} cr_points_scratch;

typedef struct cr_points_kernels {
    int lanes;
    void (*chunk)(const cr_points *w, const cr_points_chunk *c, cr_points_scratch *s);
} cr_points_kernels;

CR_KERNEL_VARIANTS(const cr_points_kernels, cr_points_kernels, );

/* True if a convolution, or its gradient by the input, can be computed so. Then `phases` describe
 * it, one for each phase of the result's stride (forward: one), in row-major order. */
bool cr_points_suits(const cr_conv *conv, bool backward);
size_t cr_points_workspace(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                           int count);

/* The packed weights, in so many bytes. */
size_t cr_points_prepared_size(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                               int count);
void cr_points_prepare(const cr_conv *conv, bool backward, const cr_points_phase *phases, int count,
                       void *prepared);
void cr_points_run(const cr_conv *conv, bool backward, const cr_points_phase *phases, int count,
                   const void *prepared, const cr_epilogue *epilogue, float *output,
                   void *workspace);

/* ---- 1 x 1 kernels of stride 1 (pointwise.c) ---- */

/* A tile: `rows` output channels by up to two vectors of positions, of one step of k. */
typedef struct cr_pointwise_tile {
    int64_t k_count;
    const float *weight; /* (k, rows) */
    const float *image;  /* k rows, image_step apart, readable to whole vectors */
    int64_t image_step;
    int64_t rows, columns;
    const float *bias, *residual; /* of the first row; NULL: none */
    cr_activation activation;
    float slope;
    float *output; /* rows `output_step` apart; holds the sums of the steps before */
    int64_t output_step;
    bool first, last; /* step of k; the epilogue is done in the last */
} cr_pointwise_tile;

typedef struct cr_pointwise_kernels {
    int rows, lanes;
    void (*tile)(const cr_pointwise_tile *tile);
    /* Panels of 2 * lanes positions, (k, position), from rows that are `step` apart. */
    void (*pack)(const float *image, int64_t step, int64_t k_count, int64_t columns, float *to);
} cr_pointwise_kernels;

CR_KERNEL_VARIANTS(const cr_pointwise_kernels, cr_pointwise_kernels, );

bool cr_pointwise_suits(const cr_conv *conv);
size_t cr_pointwise_prepared_size(const cr_conv *conv);
void cr_pointwise_prepare(const cr_conv *conv, const float *weight, void *prepared);
size_t cr_pointwise_workspace(const cr_conv *conv);
void cr_pointwise_run(const cr_conv *conv, const float *input, const void *prepared,
                      const cr_epilogue *epilogue, float *output, void *workspace);

/* ---- channels-last images: float32, two dimensions, one group or depthwise (channels_last.c) ----
 */

#define CR_ROWS_STEP 272 /* from patch to patch; no multiple of a large power of two */

/* Some patches by a panel of weights, for one step of k. */
typedef struct cr_rows_tile {
    int64_t k_count;
    const float *patches; /* CR_ROWS_STEP apart */
    const float *weight;  /* (k, 2 * lanes) */
    int64_t rows, channels;
    const float *bias, *residual; /* of the first channel and row; NULL: none */
    cr_activation activation;
    float slope;
    float *output; /* rows `output_step` apart; holds the sums of the steps before */
    int64_t output_step;
    bool first, last; /* step of k; the bias is added in the first, the rest in the last */
} cr_rows_tile;

typedef struct cr_rows_kernels {
    int rows, lanes;
    void (*tile)(const cr_rows_tile *tile);
    /* Elements [k, k + k_count) of the patches of points [first, first + count) of the result,
     * counted through the images. k is (tap, channel). */
    void (*patches)(const cr_conv *conv, const float *input, int64_t first, int64_t count,
                    int64_t k, int64_t k_count, float *to);
    /* Points [begin, end) of an image whose channels lie `plane` apart become vectors. */
    void (*turn)(const float *from, int64_t channels, int64_t plane, int64_t begin, int64_t end,
                 float *to);
} cr_rows_kernels;

CR_KERNEL_VARIANTS(const cr_rows_kernels, cr_rows_kernels, );

typedef struct cr_depthwise_last {
    const cr_conv *conv;
    const float *input, *weight; /* weight (tap, channels_padded) */
    int64_t channels_padded;     /* to whole vectors */
    cr_epilogue epilogue;
    float *output;
} cr_depthwise_last;

typedef struct cr_depthwise_last_kernels {
    int lanes;
    /* Rows [begin, end) of the result, counted through the images. */
    void (*rows)(const cr_depthwise_last *call, int64_t begin, int64_t end);
} cr_depthwise_last_kernels;

CR_KERNEL_VARIANTS(const cr_depthwise_last_kernels, cr_depthwise_last_kernels, );

bool cr_channels_last_suits(const cr_conv *conv);
size_t cr_channels_last_prepared_size(const cr_conv *conv);
void cr_channels_last_prepare(const cr_conv *conv, const float *weight, const float *scale,
                              void *prepared);
size_t cr_channels_last_workspace(const cr_conv *conv);
void cr_channels_last_run(const cr_conv *conv, const float *input, const void *prepared,
                          const cr_epilogue *epilogue, float *output, void *workspace);

/* (batch, channels, plane) becomes (batch, plane, channels). */
void cr_channels_last_turn(const float *from, int64_t batch, int64_t channels, int64_t plane,
                           float *to);

/* ---- the gradient of the weights by Winograd's algorithm (winograd_weight.c) ---- */

/* `input` and `output` say how tiles of the input and of the output's gradient are read. */
typedef struct cr_winograd_weight {
    cr_winograd input, output;
    int64_t in_padded, out_padded; /* channels, to whole vectors and panels */
    int64_t sum_step;              /* from one of the 36 positions to the next */
} cr_winograd_weight;

/* In a scratch, `products` are the transformed tiles of the output's gradient. */
typedef struct cr_winograd_weight_kernels {
    int lanes;
    void (*tiles)(const cr_winograd *w, const cr_winograd_scratch *s, bool gradient, int64_t first,
                  int64_t last, int64_t channel, int64_t padded, int64_t position_stride,
                  float *to);
    void (*multiply)(const cr_winograd_weight *w, const cr_winograd_scratch *s, int64_t position,
                     int64_t first, int64_t last, bool accumulate, float *sums);
    void (*finish)(const cr_winograd_weight *w, const float *sums, int64_t splits, int64_t begin,
                   int64_t end, float *weight);
} cr_winograd_weight_kernels;

CR_KERNEL_VARIANTS(const cr_winograd_weight_kernels, cr_winograd_weight_kernels, );

bool cr_winograd_weight_suits(const cr_conv *conv);
size_t cr_winograd_weight_workspace(const cr_conv *conv);
void cr_winograd_weight_run(const cr_conv *conv, const float *input, const float *output,
                            float *weight, void *workspace);

/* ---- the gradient of the weights without patches (weight_gradient.c) ---- */

typedef struct cr_weight_gradient {
    const cr_conv *conv;
    const float *input, *output;
    int64_t rows;         /* (input channel, tap) pairs */
    int64_t out_padded;   /* output channels, to whole panels */
    int64_t padded_width; /* of the copied rows */
} cr_weight_gradient;

/* Some output lines of some images. Steps are elements of the copied rows. */
typedef struct cr_weight_chunk {
    int64_t first_image, images, first_line, lines;
    int64_t height; /* copied rows of a plane */
    int64_t channel_step, image_step, line_step;
} cr_weight_chunk;

typedef struct cr_weight_kernels {
    int panel;
    void (*chunk)(const cr_weight_gradient *w, const cr_weight_chunk *c, int64_t channel,
                  int64_t channels, float *x, float *b, bool accumulate, float *sums);
    void (*finish)(const cr_weight_gradient *w, const float *sums, int64_t splits,
                   int64_t split_step, int64_t begin, int64_t end, float *weight);
} cr_weight_kernels;

CR_KERNEL_VARIANTS(const cr_weight_kernels, cr_weight_kernels, );

bool cr_weight_gradient_suits(const cr_conv *conv);
size_t cr_weight_gradient_workspace(const cr_conv *conv);
void cr_weight_gradient_run(const cr_conv *conv, const float *input, const float *output,
                            float *weight, void *workspace);

/* ---- depthwise convolution of 16-bit floats: plane by plane in float (depthwise_half.c) ---- */

size_t cr_depthwise_half_workspace(const cr_conv *conv);
/* Computes the one of input, weight and output that is NULL into `result`. */
void cr_depthwise_half_run(const cr_conv *conv, const void *input, const void *weight,
                           const void *output, const cr_epilogue *epilogue, void *result,
                           void *workspace);

/* ---- bfloat16 by pairs of channels, straight from the image (pair_images.c) ---- */

#define CR_PAIR_BLOCK   32 /* channels that are multiplied together */
#define CR_PAIR_COLUMNS 32 /* points of a tile */

/* A tile: sums of `rows` output channels at up to CR_PAIR_COLUMNS points that follow each other, of
 * all blocks of channels and taps. An element of the image is a pair of channels. */
typedef struct cr_pair_tile {
    int64_t rows, columns, blocks, taps;
    const uint16_t *weight; /* (block, tap), each a panel of A as the matrix product has it */
    const uint32_t *image;  /* the first point of the first pair of channels */
    int64_t plane;          /* from a pair of channels to the next */
    const int64_t *tap;     /* where each tap reads, from the point */
    float *sums;            /* rows CR_PAIR_COLUMNS apart */
} cr_pair_tile;

/* A tile of a gradient of weights: sums over points of `rows` input channels times
 * CR_PAIR_COLUMNS output channels. Of each image, `steps` times 32 points are added. */
typedef struct cr_pair_sum {
    int64_t rows, images, steps;
    const uint16_t *left; /* (channel, point) */
    int64_t left_plane, left_image;
    const uint16_t *right; /* panels of B as the matrix product has them, k being points */
    int64_t right_image;
    float *sums;
    int64_t sum_stride;
    bool accumulate;
} cr_pair_sum;

typedef struct cr_pair_kernels {
    void (*tile)(const cr_pair_tile *tile);
    void (*sum)(const cr_pair_sum *sum);
    /* Every step-th element of a row of two channels, from `first` on, as pairs, then zeros to
     * `width`. A channel that is NULL is zero. */
    void (*row)(const uint16_t *even, const uint16_t *odd, int64_t count, int64_t step,
                int64_t first, int64_t width, uint32_t *to);
} cr_pair_kernels;

/* Those in use; NULL where the processor has no instructions for pairs. */
const cr_pair_kernels *cr_pair_kernels_in_use(void);
extern const cr_pair_kernels cr_pair_kernels_avx512_bf16;
extern const cr_pair_kernels cr_pair_kernels_amx_bf16;
void cr_pair_row(const uint16_t *even, const uint16_t *odd, int64_t count, int64_t step,
                 int64_t first, int64_t width, uint32_t *to);

#define CR_PAIR_TAPS 64 /* at most */

/* Taps by what they read of the source: which remainder of the step, and how many steps off. */
typedef struct cr_pair_taps {
    int64_t count;
    int64_t remainder[CR_PAIR_TAPS], row[CR_PAIR_TAPS], column[CR_PAIR_TAPS];
} cr_pair_taps;

/* How rows of the source are copied: elements of one remainder of the step, then zeros to `width`;
 * before the first of them `lead` zeros. Sizes are height, width. */
typedef struct cr_pair_geometry {
    int64_t in_size[2], step[2];
    int64_t low[2], high[2]; /* of the offsets of all taps */
    int64_t width, lead;
} cr_pair_geometry;

cr_pair_geometry cr_pair_geometry_of(const int64_t in_size[2], const cr_patches *patches);
void cr_pair_place_taps(cr_pair_geometry *g, const cr_patches *patches, cr_pair_taps *taps);
/* After the taps of all phases, whose grids are at most so wide. */
void cr_pair_set_width(cr_pair_geometry *g, int64_t grid);

/* As points.c has them, for bfloat16 where the processor multiplies pairs. */
bool cr_pair_images_suit(const cr_conv *conv, bool backward);
size_t cr_pair_images_prepared_size(const cr_conv *conv, bool backward,
                                    const cr_points_phase *phases, int count);
void cr_pair_images_prepare(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                            int count, void *prepared);
size_t cr_pair_images_workspace(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                                int count);
void cr_pair_images_run(const cr_conv *conv, bool backward, const cr_points_phase *phases,
                        int count, const void *prepared, const cr_epilogue *epilogue, void *output,
                        void *workspace);

/* The gradient of the weights in the same way (pair_weights.c). */
bool cr_pair_weights_suit(const cr_conv *conv);
size_t cr_pair_weights_workspace(const cr_conv *conv, const cr_patches *input);
void cr_pair_weights_run(const cr_conv *conv, const cr_patches *input, const void *output,
                         void *weight, void *workspace);

CR_KERNEL_VARIANTS(const cr_conv_kernels, cr_conv_kernels, [CR_GEMM_TYPE_COUNT]);
const cr_conv_kernels *cr_conv_kernels_of(cr_gemm_type type);

#endif
