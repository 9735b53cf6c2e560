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

#ifdef __cplusplus
}
#endif
#endif
