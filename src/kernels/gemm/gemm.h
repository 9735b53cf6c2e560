/* The matrix product engine: C = act(alpha * A * B + C + bias + residual), for float, double, and
 * operands of 16 bits (bfloat16, float16) that are summed in float.
 *
 * A (m, k) and B (k, n) are read by any strides, or by a packer that the caller supplies (which is
 * how a convolution runs on this engine without an im2col matrix in memory). The product is cut
 * into blocks of C that are computed independently; a block packs what it needs of A and B into
 * panels that fit the caches, and a register-tiled micro-kernel of the processor's instruction set
 * does the rest. Where C is small and k is huge, k is cut as well, and the partial sums are added
 * in order. How k is cut depends on the shapes and the processor, never on the number of threads,
 * so the result has the same bits at any thread count; the blocks of C, which change no sum, follow
 * the threads.
 *
 * Nothing here allocates or fails. The caller passes cr_gemm_workspace() bytes, 64-byte aligned. */
#ifndef CR_GEMM_H
#define CR_GEMM_H

#include <stdatomic.h>

#include "base/base.h"
#include "cresset/tensor.h"
#include "kernels/variants.h"

#define CR_ROUND_UP(value, unit) (CR_DIV_UP(value, unit) * (unit))

typedef enum cr_gemm_type {
    CR_GEMM_F32,
    CR_GEMM_F64,
    CR_GEMM_BF16,
    CR_GEMM_F16,
    CR_GEMM_TYPE_COUNT
} cr_gemm_type;

/* The type of tensors of a floating dtype. */
cr_gemm_type cr_gemm_type_of(cr_dtype dtype);

/* What is done to an element of C last. `slope` of the epilogue is leaky ReLU's. */
typedef enum cr_activation {
    CR_ACTIVATION_NONE,
    CR_ACTIVATION_RELU,
    CR_ACTIVATION_RELU6,
    CR_ACTIVATION_LEAKY_RELU,
    CR_ACTIVATION_HARDSWISH,
    CR_ACTIVATION_SIGMOID,
    CR_ACTIVATION_TANH,
    CR_ACTIVATION_SILU,
    CR_ACTIVATION_GELU, /* exact: by the error function */
    CR_ACTIVATION_GELU_TANH,
    CR_ACTIVATION_COUNT
} cr_activation;

/* Applied to a tile of C while it is in registers, after the last of k. All-zero means nothing. */
typedef struct cr_epilogue {
    const void *row_bias;    /* (m), added to every column; NULL: none */
    const void *column_bias; /* (n), added to every row; NULL: none */
    const void *residual;    /* laid out as C, added before the activation; NULL: none */
    cr_activation activation;
    float slope;
} cr_epilogue;

/* A packer is never asked for more steps of k at once. */
#define CR_GEMM_K_MAX 512

/* Writes a panel of an operand: for p in [0, k_count), `width` elements of which the first `count`
 * are rows (of A) or columns (of B) first … first + count - 1 at k index k_first + p, and the rest
 * are anything. `batch` is the index of the product in a batch.
 *
 * The elements of a panel are those of the operand, step of k after step of k. For a type of 16
 * bits they are floats, or, where the kernels have `pairs`, elements in pairs along k: element (p,
 * j) lies at (p / 2 * width + j) * 2 + p % 2, and an odd k_count is completed by zeros. */
typedef void (*cr_gemm_packer)(const void *context, int64_t batch, int64_t first, int64_t count,
                               int64_t width, int64_t k_first, int64_t k_count, void *panel);

/* One operand. `stride` is the step from row to row of A or from column to column of B, `k_stride`
 * the step along k, `batch_stride` from product to product, in elements; any may be 0 or negative.
 * With a packer, data and strides are not read. */
typedef struct cr_gemm_operand {
    const void *data;
    int64_t stride;
    int64_t k_stride;
    int64_t batch_stride;
    cr_gemm_packer packer;
    const void *context;
} cr_gemm_operand;

/* A product, or a batch of them. Column j of row i of C lies at i * c_stride + j * c_column_stride,
 * or, where c_block is not 0, at i * c_stride + place(j / c_block) + (j % c_block) *
 * c_column_stride, where place(block) is block * c_block_stride, or what c_block_place says (so
 * that the images of a batch, or every other pixel of them, can be the columns of one product). */
typedef struct cr_gemm {
    cr_gemm_type type;
    int64_t m, n, k;
    int64_t batch; /* 0 means 1 */
    double alpha;
    bool accumulate; /* add to what C holds */
    /* For types of 16 bits: A and B, C and the residual, or the biases, are float. Those of A and
     * B are rounded as they are packed, where products of that type are faster; else the product
     * is that of floats, and all three must be set. */
    bool operands_float, c_float, bias_float;
    cr_gemm_operand a, b;
    void *c;
    int64_t c_stride;
    int64_t c_column_stride; /* 0 means 1 */
    int64_t c_block, c_block_stride;
    int64_t (*c_block_place)(const void *context, int64_t block);
    const void *c_context;
    int64_t c_batch_stride;
    int64_t bias_batch_stride; /* of row_bias */
    cr_epilogue epilogue;
} cr_gemm;

/* Bytes of workspace that cr_gemm_run needs, for the calling thread's number of threads. The data
 * pointers are not read. */
size_t cr_gemm_workspace(const cr_gemm *product);

/* Computes the product. C must not overlap A, B or the workspace. */
void cr_gemm_run(const cr_gemm *product, void *workspace);

/* ---- integer matrices ---- */

/* C (m, n) = A (m, k) B (k, n), wrapping around as the type does; all by element strides. */
typedef struct cr_gemm_integer {
    int64_t m, n, k;
    const void *a;
    int64_t a_stride, a_k_stride;
    const void *b;
    int64_t b_stride, b_k_stride;
    void *c;
    int64_t c_stride;
} cr_gemm_integer;

void cr_gemm_i64(const cr_gemm_integer *product);
void cr_gemm_i32(const cr_gemm_integer *product);
void cr_gemm_i16(const cr_gemm_integer *product);
void cr_gemm_i8(const cr_gemm_integer *product);
void cr_gemm_u8(const cr_gemm_integer *product);

/* ---- slots: pieces of a workspace that running tasks have to themselves (slots.c) ---- */

typedef struct cr_slots {
    atomic_flag *busy;
    int64_t count;
} cr_slots;

/* How many the calling thread's loops need, and the bytes of their flags, a multiple of 64. */
int64_t cr_slots_wanted(void);
size_t cr_slots_size(int64_t count);
cr_slots cr_slots_make(void *memory, int64_t count);
int64_t cr_slot_take(const cr_slots *slots);
void cr_slot_release(const cr_slots *slots, int64_t slot);

/* ---- what the engine and the files of one instruction set share ---- */

/* A tile of sums on its way to C: C = act(alpha * sum + C + bias + residual). */
typedef struct cr_gemm_finish {
    int64_t rows, columns;
    const void *sum;
    int64_t sum_stride;
    void *c;
    int64_t c_stride, c_column_stride;
    bool accumulate;
    bool c_float, bias_float;
    double alpha;
    cr_epilogue epilogue; /* its pointers moved to the tile's first row and column */
} cr_gemm_finish;

/* The kernels of one type and instruction set. */
typedef struct cr_gemm_kernels {
    int element;       /* bytes of one of A, B and, unless the product says otherwise, C */
    int panel_element; /* of one in a panel */
    int sum_element;
    int k_unit, row_unit; /* panels have whole multiples of so many steps of k and rows of A */
    bool pairs;           /* panels are made of pairs along k */
    int64_t task_macs;    /* fewer multiply-adds are not worth a task of their own */
    int tile_rows, tile_columns, lanes;
    /* C (rows, width) = A B, or += with `accumulate`. width is lanes or tile_columns; a holds a
     * step of `rows` elements every a_step, b one of width elements every b_step. */
    void (*tile)(int64_t k_count, const void *a, int64_t a_step, const void *b, int64_t b_step,
                 int rows, int64_t width, void *c, int64_t c_stride, bool accumulate);
    /* The same where rows of A are contiguous along k, a_stride apart; NULL: they must be packed.
     */
    void (*tile_in_place)(int64_t k_count, const void *a, int64_t a_stride, const void *b,
                          int64_t b_step, int rows, int64_t width, void *c, int64_t c_stride,
                          bool accumulate);
    /* C (rows, tile_columns) = A B, where A holds `lanes` steps of k of each row, row after row,
     * then the next `lanes` steps; k_count is a multiple of lanes; b is packed. */
    void (*tile_blocked)(int64_t k_count, const void *a, const void *b, int rows, void *c,
                         int64_t c_stride);
    /* to (width, rows) = the transpose of a tile of `width` columns; to has a row every to_stride
     * elements, and both have room for whole squares of lanes. Where there is tile_in_place. */
    void (*turn)(const void *tile, int64_t rows, int64_t width, void *to, int64_t to_stride);
    void (*finish)(const cr_gemm_finish *finish);
    /* to += from, both of `count` elements. */
    void (*add)(const void *from, int64_t count, void *to);
    /* Packs a panel of an operand given by strides, as a cr_gemm_packer does. */
    void (*pack)(const void *data, int64_t stride, int64_t k_stride, int64_t count, int64_t width,
                 int64_t k_count, void *panel);
    /* Floats to elements; where the kernels have pairs. */
    void (*narrow)(const float *from, int64_t count, uint16_t *to);
    /* Where panels of A differ from those of B: packs one, and makes one from a panel of pairs of
     * the same width. NULL otherwise. */
    void (*pack_rows)(const void *data, int64_t stride, int64_t k_stride, int64_t count,
                      int64_t width, int64_t k_count, void *panel);
    void (*turn_rows)(const void *pairs, int64_t width, int64_t k_count, void *panel);
    /* Around the calls of `tile` of a task; NULL: nothing. */
    void (*begin)(void);
    void (*end)(void);
    /* sum (rows, columns) = A B for few rows, without packing: by dot products where both k strides
     * are 1, by adding scaled rows of B where the stride of B is 1. */
    void (*dot)(int64_t rows, int64_t columns, int64_t k, const void *a, int64_t a_stride,
                const void *b, int64_t b_stride, void *sum, int64_t sum_stride);
    void (*axpy)(int64_t rows, int64_t columns, int64_t k, const void *a, int64_t a_stride,
                 int64_t a_k_stride, const void *b, int64_t b_k_stride, void *sum,
                 int64_t sum_stride);
} cr_gemm_kernels;

/* By cr_gemm_type, compiled once for each instruction set. */
CR_KERNEL_VARIANTS(const cr_gemm_kernels, cr_gemm_kernels, [CR_GEMM_TYPE_COUNT]);

/* For bfloat16 by instructions of its own (gemm_pairs_avx512_bf16.c, gemm_tiles_amx_bf16.c). */
extern const cr_gemm_kernels cr_gemm_pairs_avx512_bf16;
extern const cr_gemm_kernels cr_gemm_tiles_amx_bf16;

const cr_gemm_kernels *cr_gemm_kernels_of(cr_gemm_type type);

/* to = from, `count` elements of a type of 16 bits as floats. */
void cr_gemm_widen(cr_gemm_type type, const void *from, int64_t count, float *to);

/* What those kernels pack with (pack_pairs_avx512.c), as cr_gemm_kernels says. */
void cr_gemm_pack_pairs(const void *data, int64_t stride, int64_t k_stride, int64_t count,
                        int64_t width, int64_t k_count, void *panel);
void cr_gemm_pack_tile_rows(const void *data, int64_t stride, int64_t k_stride, int64_t count,
                            int64_t width, int64_t k_count, void *panel);
void cr_gemm_turn_tile_rows(const void *pairs, int64_t width, int64_t k_count, void *panel);

/* What they share of the rest (gemm_finish_avx512_bf16.c). */
void cr_gemm_finish_pairs(const cr_gemm_finish *finish);
void cr_gemm_narrow_pairs(const float *from, int64_t count, uint16_t *to);
void cr_gemm_add_pairs(const void *from, int64_t count, void *to);
void cr_gemm_dot_pairs(int64_t rows, int64_t columns, int64_t k, const void *a, int64_t a_stride,
                       const void *b, int64_t b_stride, void *sum, int64_t sum_stride);
void cr_gemm_axpy_pairs(int64_t rows, int64_t columns, int64_t k, const void *a, int64_t a_stride,
                        int64_t a_k_stride, const void *b, int64_t b_k_stride, void *sum,
                        int64_t sum_stride);

#endif
