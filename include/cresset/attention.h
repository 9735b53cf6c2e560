/* Attention as a function of tensors. The layer that keeps parameters is in sequence_layers.h. */
#ifndef CRESSET_ATTENTION_H
#define CRESSET_ATTENTION_H

#include "cresset/tensor.h"

#ifdef __cplusplus
extern "C" {
#endif

/* softmax(scale query keyᵀ + mask) value, torch.nn.functional.scaled_dot_product_attention.
 *
 * query (…, L, E), key (…, S, E), value (…, S, Ev); leading dimensions broadcast. Result
 * (…, L, Ev). The scores (L, S) are never stored, so memory grows with L + S only. Where no key
 * takes part in a row the result is 0, as in PyTorch since 2.5.
 *
 * float32 and float64 are computed as they are, bfloat16 and float16 in float32. Owned by the
 * frame; NULL on failure. Second-order gradients store the scores, and there are none with dropout.
 */
typedef struct cr_attention_args {
    cr_tensor *query;
    cr_tensor *key;
    cr_tensor *value;
    cr_tensor *attn_mask; /* broadcasts to (…, L, S): bool, true takes part, or floating, added */
    double dropout_p; /* probability that a weight becomes 0; in training only, so pass 0 else */
    bool is_causal;   /* row i sees keys 0 … i only */
    double scale;     /* 0: 1 / sqrt(E) */
    bool enable_gqa;  /* key and value have fewer heads (dimension -3), each for several of query */
} cr_attention_args;
#define cr_scaled_dot_product_attention(...)                                                       \
    cr_scaled_dot_product_attention_with((cr_attention_args){ .query = __VA_ARGS__ })
cr_tensor *cr_scaled_dot_product_attention_with(cr_attention_args args);

/* Self-attention inside windows of rows whose query, key and value one product made, as in Liu et
 * al., "Swin Transformer", 2021: softmax(scale query keyᵀ + bias + mask) value.
 *
 * qkv (N, rows, 3, heads, E); windows (count, L), int64: the rows of each window, where every row
 * is in one window; NULL: all rows are one. bias (heads, L, L) is added in all windows, mask
 * (count, L, L) for all heads, each float32, or float64 as qkv is; a mask has no gradient. Result
 * (N, rows, heads, E), with each row where it was. L and E are 128 at most.
 *
 * Owned by the frame; NULL on failure. bfloat16 and float16 are computed in float32. */
typedef struct cr_window_attention_args {
    cr_tensor *qkv;
    cr_tensor *windows;
    cr_tensor *bias;
    cr_tensor *mask;
    double scale; /* 0: 1 / sqrt(E) */
} cr_window_attention_args;
#define cr_window_attention(...)                                                                   \
    cr_window_attention_with((cr_window_attention_args){ .qkv = __VA_ARGS__ })
cr_tensor *cr_window_attention_with(cr_window_attention_args args);

#ifdef __cplusplus
}
#endif
#endif
