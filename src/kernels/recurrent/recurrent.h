/* Kernels of recurrent layers: one layer in one direction over whole sequences.
 *
 * The products of the inputs with their weights are one large matrix product for all steps. Then
 * the steps run one after the other, each one parallel loop over blocks of hidden units: a task
 * multiplies the last state by the weights of its units, which were packed once for all steps,
 * applies the gates while the sums are in the cache, and writes the new state packed for the next
 * step. Backward does the same from the last step to the first, and gives the gradients of the
 * gates before their activation; those of weights and inputs follow from them by large products.
 *
 * Sequences of a batch may have lengths of their own: a row beyond its length is passed over, and a
 * reversed row begins at its end. Float and double, contiguous memory; nothing here fails. */
#ifndef CR_KERNELS_RECURRENT_RECURRENT_H
#define CR_KERNELS_RECURRENT_RECURRENT_H

#include "kernels/gemm/gemm.h"

enum recurrent_cell {
    RECURRENT_TANH,
    RECURRENT_RELU,
    RECURRENT_LSTM,
    RECURRENT_GRU,
    RECURRENT_CELL_COUNT
};

/* What a layer is; REAL below is float or double by `type`. */
struct recurrent_layer {
    cr_gemm_type type;
    enum recurrent_cell cell;
    int64_t batch;    /* N */
    int64_t steps;    /* T */
    int64_t input;    /* I */
    int64_t hidden;   /* H */
    bool batch_first; /* sequences are (N, T, …) instead of (T, N, …) */
    bool reverse;
    const int64_t *lengths; /* (N), each in [1, T]; NULL: all T */
    bool half_products;     /* of inputs and for weights: may round float to bfloat16 */
};

/* Gates of a cell, G: LSTM's are i f g o, GRU's r z n. */
int64_t recurrent_gates(enum recurrent_cell cell);

/* Numbers kept for backward for each unit and step besides y: LSTM's gates and cell, GRU's gates
 * and the state's part of n, nothing for the plain cells. */
int64_t recurrent_reserve(enum recurrent_cell cell);

/* Gradients of gates for each unit and step, D: G, and for GRU the state's part of n after them. */
int64_t recurrent_gate_gradients(enum recurrent_cell cell);

/* Pointers are over REAL; those marked optional may be NULL. */
struct recurrent_forward {
    const void *x;         /* (T, N, I) */
    const void *weight_ih; /* (G H, I) */
    const void *weight_hh; /* (G H, H) */
    const void *bias_ih;   /* (G H), optional */
    const void *bias_hh;   /* (G H), optional */
    const void *h0;        /* (N, H), optional: zeros */
    const void *c0;        /* (N, H), optional: zeros; LSTM */
    void *y;               /* (T, N, H) */
    void *h_n;             /* (N, H) */
    void *c_n;             /* (N, H); LSTM */
    void *reserve;         /* (T, N, reserve H), optional: then nothing is kept */
};

struct recurrent_backward {
    const void *weight_hh;
    const void *y;
    const void *reserve;
    const void *h0;       /* optional */
    const void *c0;       /* optional */
    const void *grad_y;   /* (T, N, H), optional */
    const void *grad_h_n; /* (N, H), optional */
    const void *grad_c_n; /* (N, H), optional */
    void *grad_gates;     /* (T, N, D H), before the activation */
    void *grad_h0;        /* (N, H) */
    void *grad_c0;        /* (N, H); LSTM */
};

/* From grad_gates to the rest; results that are NULL are left out. */
struct recurrent_gradients {
    const void *x;
    const void *y;
    const void *h0; /* optional */
    const void *weight_ih;
    const void *grad_gates;
    void *grad_x;         /* (T, N, I) */
    void *grad_weight_ih; /* (G H, I) */
    void *grad_weight_hh; /* (G H, H) */
    void *grad_bias;      /* (D H): the sums of grad_gates over steps and batch */
};

/* Bytes of workspace, and the run. Only sizes and which pointers are NULL matter for the first. */
size_t recurrent_forward_workspace(const struct recurrent_layer *layer, bool keeps_reserve);
void recurrent_run_forward(const struct recurrent_layer *layer, const struct recurrent_forward *job,
                           void *workspace);
size_t recurrent_backward_workspace(const struct recurrent_layer *layer);
void recurrent_run_backward(const struct recurrent_layer *layer,
                            const struct recurrent_backward *job, void *workspace);
size_t recurrent_gradients_workspace(const struct recurrent_layer *layer);
void recurrent_run_gradients(const struct recurrent_layer *layer,
                             const struct recurrent_gradients *job, void *workspace);

/* ---- what the driver and the files of one instruction set share ---- */

/* A task of a step has at most this many panels of rows, of TILE_ROWS each, and WIDTH_BYTES of
 * units: the largest of any instruction set. */
#define RECURRENT_PANELS      8
#define RECURRENT_TILE_ROWS   14
#define RECURRENT_WIDTH_BYTES 128
#define RECURRENT_GATES_MAX   4

/* A row of a sequence as memory: positions count rows of (T, N) or (N, T). */
int64_t recurrent_position(const struct recurrent_layer *layer, int64_t row, int64_t step);

/* The steps that a row has. */
int64_t recurrent_length(const struct recurrent_layer *layer, int64_t row);

/* One step on its way. The state is packed in panels of panel_rows rows, k elements each. */
struct recurrent_step {
    const struct recurrent_layer *layer;
    const struct recurrent_forward *forward;
    const struct recurrent_backward *backward;
    const cr_gemm_kernels *gemm;
    int64_t step;
    int64_t rows; /* those before which all others have ended */
    int64_t k;
    int64_t panel_rows;
    int64_t width;       /* units of a block */
    int64_t blocks;      /* of units */
    bool multiplies;     /* false: the last state is zero */
    const void *weights; /* packed, block after block */
    const void *state;   /* packed */
    void *next;          /* packed: the state that this step makes */
    void *gates;         /* forward: (T, N, gate_stride), first the products of the inputs */
    int64_t gate_stride;
};

/* Each computes tasks [begin, end): task = chunk of rows * blocks + block of units. backward_end
 * adds what step 0 passes back to the gradient of the first state. */
struct recurrent_kernels {
    void (*forward)(const struct recurrent_step *step, int64_t begin, int64_t end);
    void (*backward)(const struct recurrent_step *step, int64_t begin, int64_t end);
    void (*backward_end)(const struct recurrent_step *step, int64_t begin, int64_t end);
    /* sum[0 … columns) += rows [begin, end) of (rows, stride), in double in pieces. */
    void (*add_rows)(const void *rows, int64_t stride, int64_t begin, int64_t end, int64_t columns,
                     void *sum);
};

#endif
