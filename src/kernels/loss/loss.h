/* Kernels of losses that pick elements by a target: negative log likelihood, the multi-label
 * margin, and connectionist temporal classification.
 *
 * Pointers are to REAL, float or double as the type says; memory is contiguous. */
#ifndef CR_KERNELS_LOSS_LOSS_H
#define CR_KERNELS_LOSS_LOSS_H

#include "base/base.h"

enum loss_type { LOSS_F32, LOSS_F64 };

/* ---- negative log likelihood of x (outer, classes, inner) ---- */

struct nll_job {
    int64_t outer;
    int64_t classes;
    int64_t inner;
    int64_t ignore_index;
    const int64_t *target; /* (outer, inner) */
    const void *weight;    /* (classes), optional */
    const void *x;         /* forward */
    void *loss;            /* (outer, inner): -weight x; forward */
    void *used;            /* (outer, inner): the weight, 0 where ignored; forward */
    const void *grad;      /* (outer, inner); backward */
    void *grad_x;          /* of x's shape; backward */
};
void nll_forward(enum loss_type type, const struct nll_job *job);
void nll_backward(enum loss_type type, const struct nll_job *job);

/* ---- multi-label margin of x (rows, classes) ---- */

/* The targets of a row are those before the first negative one. */
struct multilabel_margin_job {
    int64_t rows;
    int64_t classes;
    const void *x;
    const int64_t *target; /* (rows, classes) */
    void *loss;            /* (rows); forward */
    const void *grad;      /* (rows); backward */
    void *grad_x;          /* (rows, classes); backward */
};
void multilabel_margin_forward(enum loss_type type, const struct multilabel_margin_job *job);
void multilabel_margin_backward(enum loss_type type, const struct multilabel_margin_job *job);

/* ---- connectionist temporal classification of log_probs (time, batch, classes) ---- */

struct ctc_job {
    int64_t time;
    int64_t batch;
    int64_t classes;
    int64_t blank;
    int64_t longest; /* the most labels of a sample */
    const void *log_probs;
    const int64_t *target;         /* labels of all samples */
    const int64_t *target_start;   /* (batch): where each sample's begin */
    const int64_t *input_lengths;  /* (batch) */
    const int64_t *target_lengths; /* (batch) */
    void *loss;                    /* (batch): -log of the probability of the labels */
    void *alpha;                   /* (batch, time, 2 longest + 1) */
    const void *grad;              /* (batch); backward */
    void *grad_x;                  /* (time, batch, classes); backward */
    bool zero_infinity;            /* no gradient of samples whose loss is infinite */
    void *workspace;               /* backward: ctc_workspace bytes */
};
size_t ctc_workspace(enum loss_type type, const struct ctc_job *job);
void ctc_forward(enum loss_type type, const struct ctc_job *job);
void ctc_backward(enum loss_type type, const struct ctc_job *job);

#endif
