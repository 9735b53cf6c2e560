/* Tensors: handles with a dtype, a shape of up to 8 dimensions, strides and a storage.
 *
 * Lifetime. An op's result belongs to the innermost open frame of the calling thread; ending the
 * frame releases it, so expressions nest freely and nothing is freed by hand:
 *
 *     cr_frame frame = cr_frame_begin();
 *     cr_tensor *loss = cr_cross_entropy(resnet34(root, images), labels);
 *     cr_backward(loss);
 *     cr_optim_step(optimizer);
 *     cr_frame_end(frame);
 *
 * Without an open frame a result lives until the thread ends or cr_frame_end_all. What must outlive
 * frames is kept with cr_retain and given up with cr_release. Below that stand atomic reference
 * counts; what backward needs is held by the graph, not by the frame.
 *
 * The shape of a tensor never changes. Views share storage with what they view. Tensors may be read
 * from any thread; writing one while another thread reads it is the caller's to prevent. */
#ifndef CRESSET_TENSOR_H
#define CRESSET_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cresset/error.h"

#ifdef __cplusplus
extern "C" {
#endif

/* X(enumerator, PyTorch's name, NumPy type string, bytes, kind) where kind orders promotion:
 * 0 bool, 1 integer, 2 floating. */
#define CR_DTYPE_TABLE(X)                                                                          \
    X(F32, "float32", "<f4", 4, 2)                                                                 \
    X(F64, "float64", "<f8", 8, 2)                                                                 \
    X(BF16, "bfloat16", "<V2", 2, 2)                                                               \
    X(F16, "float16", "<f2", 2, 2)                                                                 \
    X(I64, "int64", "<i8", 8, 1)                                                                   \
    X(I32, "int32", "<i4", 4, 1)                                                                   \
    X(I16, "int16", "<i2", 2, 1)                                                                   \
    X(I8, "int8", "|i1", 1, 1)                                                                     \
    X(U8, "uint8", "|u1", 1, 1)                                                                    \
    X(BOOL, "bool", "|b1", 1, 0)

typedef enum cr_dtype {
#define CR_DTYPE_ENUM(name, word, numpy, bytes, kind) CR_##name,
    CR_DTYPE_TABLE(CR_DTYPE_ENUM)
#undef CR_DTYPE_ENUM
        CR_DTYPE_COUNT
} cr_dtype;

size_t cr_dtype_size(cr_dtype dtype);
const char *cr_dtype_name(cr_dtype dtype);
bool cr_dtype_is_floating(cr_dtype dtype);

/* The dtype that an operation on both gives, as torch.promote_types. */
cr_dtype cr_promote_types(cr_dtype a, cr_dtype b);

/* Where the data lie. A tensor on CR_META has a shape and no data: a model run on one computes
 * shapes only. */
typedef enum cr_device { CR_CPU, CR_META, CR_DEVICE_COUNT } cr_device;

#define CR_MAX_DIMS 8

/* A list of up to 8 integers: sizes, or per-dimension settings. A value, not a handle. */
typedef struct cr_shape {
    int ndim;
    int64_t dim[CR_MAX_DIMS];
} cr_shape;

/* The list of its arguments, e.g. CR_SHAPE(n, 3, 224, 224); for no dimensions use
 * cr_shape_scalar(). */
#define CR_SHAPE(...)                                                                              \
    cr_shape_make((int)(sizeof((int64_t[]){ __VA_ARGS__ }) / sizeof(int64_t)),                     \
                  (const int64_t[]){ __VA_ARGS__ })
cr_shape cr_shape_make(int ndim, const int64_t *dim);
cr_shape cr_shape_scalar(void);

bool cr_shape_equal(const cr_shape *a, const cr_shape *b);

/* The product of the sizes (1 for no dimensions); -1 if it overflows. */
int64_t cr_shape_numel(const cr_shape *shape);

/* Writes "(2, 3)" or "(2,)" as Python prints it; text is cut to the room there is. Returns text. */
#define CR_SHAPE_TEXT 160
char *cr_shape_format(const cr_shape *shape, char *text, size_t room);

typedef struct cr_tensor cr_tensor;

/* ---- frames ---- */

typedef struct cr_frame {
    size_t mark;
    uint64_t serial;
} cr_frame;

cr_frame cr_frame_begin(void);

/* Releases what was made since the frame began; also ends frames left open above it, so that an
 * early return only delays the freeing. Ending a frame twice has no effect. */
void cr_frame_end(cr_frame frame);

/* The same, but hands `tensor` (may be NULL) to the enclosing frame and returns it. */
cr_tensor *cr_frame_end_with(cr_frame frame, cr_tensor *tensor);

/* The same for several tensors. */
void cr_frame_end_with_all(cr_frame frame, cr_tensor *const *tensors, int count);

/* Releases everything that frames of the calling thread hold, as the end of a thread does, too. */
void cr_frame_end_all(void);

/* Keeps a tensor beyond its frame; each retain needs one release. NULL is legal. */
cr_tensor *cr_retain(cr_tensor *tensor);
void cr_release(cr_tensor *tensor);

/* Gives a retained reference to the innermost frame of the calling thread. Returns tensor. */
cr_tensor *cr_frame_add(cr_tensor *tensor);

/* ---- what a tensor is ---- */

/* Each of these gives 0, false or an empty shape for NULL. `dim` counts from the end if negative.
 */
cr_dtype cr_dtype_of(const cr_tensor *tensor);
cr_device cr_device_of(const cr_tensor *tensor);
cr_shape cr_shape_of(const cr_tensor *tensor);
int cr_ndim(const cr_tensor *tensor);
int64_t cr_dim(const cr_tensor *tensor, int dim);
int64_t cr_stride(const cr_tensor *tensor, int dim); /* in elements */
int64_t cr_numel(const cr_tensor *tensor);
bool cr_is_contiguous(const cr_tensor *tensor);

/* True if both read the same storage. */
bool cr_shares_storage(const cr_tensor *a, const cr_tensor *b);

/* The first element; NULL on CR_META. Writing through it does not count as an in-place edit:
 * say so with cr_mark_written if a graph may hold the tensor, or autocast a copy of it. */
void *cr_data(const cr_tensor *tensor);
void cr_mark_written(cr_tensor *tensor);

/* ---- making tensors ---- */

/* The options of every function that makes a tensor; zero means float32 on the CPU. */
typedef struct cr_tensor_args {
    cr_shape shape;
    cr_dtype dtype;
    cr_device device;
    bool requires_grad;
} cr_tensor_args;

/* Of a shape, with options: cr_zeros(CR_SHAPE(2, 3), .dtype = CR_F64). Empty is not initialised. */
#define cr_empty(...) cr_empty_with((cr_tensor_args){ .shape = __VA_ARGS__ })
#define cr_zeros(...) cr_zeros_with((cr_tensor_args){ .shape = __VA_ARGS__ })
#define cr_ones(...)  cr_ones_with((cr_tensor_args){ .shape = __VA_ARGS__ })
cr_tensor *cr_empty_with(cr_tensor_args args);
cr_tensor *cr_zeros_with(cr_tensor_args args);
cr_tensor *cr_ones_with(cr_tensor_args args);

/* Every element `value`. */
cr_tensor *cr_full_with(cr_tensor_args args, double value);
#define cr_full(value, ...) cr_full_with((cr_tensor_args){ .shape = __VA_ARGS__ }, (value))

/* A number for arithmetic with tensors: no dimensions, and it does not raise the dtype of a tensor
 * of the same kind (2.0 times a float32 tensor stays float32), as PyTorch treats Python numbers. */
cr_tensor *cr_scalar(double value);
cr_tensor *cr_scalar_int(int64_t value);

/* A contiguous copy of numel elements at `data`. */
cr_tensor *cr_from_buffer(const void *data, cr_shape shape, cr_dtype dtype);

/* A tensor over memory of the caller's, which stays his; `release` (may be NULL) is called with
 * `context` when no tensor reads it any more, also when this call fails. */
cr_tensor *cr_wrap_buffer(void *data, cr_shape shape, cr_dtype dtype,
                          void (*release)(void *context), void *context);

/* The elements in row-major order, copied to `data`, which must have room for
 * numel * cr_dtype_size bytes; `bytes` is checked against that. */
cr_status cr_to_buffer(const cr_tensor *tensor, void *data, size_t bytes);

/* The value of a tensor of one element; 0 on failure. */
double cr_item(const cr_tensor *tensor);
int64_t cr_item_int64(const cr_tensor *tensor);

/* One element, by row-major position, as a double or an integer; for printing and tests. */
double cr_element(const cr_tensor *tensor, int64_t position);
int64_t cr_element_int64(const cr_tensor *tensor, int64_t position);

#ifdef __cplusplus
}
#endif
#endif
