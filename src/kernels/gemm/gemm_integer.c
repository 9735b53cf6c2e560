/* Matrix products of integer types: plain loops, in parallel over rows. Sums wrap around as the
 * type does, so they are taken in the unsigned type of the same size. */
#include "kernels/gemm/gemm.h"

#define MACS_PER_PART (1 << 16)

#define INTEGER_PRODUCT(suffix, unsigned_type)                                                     \
    static void rows_##suffix(int64_t begin, int64_t end, void *context)                           \
    {                                                                                              \
        const cr_gemm_integer *g = context;                                                        \
        for (int64_t i = begin; i < end; i++) {                                                    \
            unsigned_type *c = (unsigned_type *)g->c + i * g->c_stride;                            \
            const unsigned_type *a = (const unsigned_type *)g->a + i * g->a_stride;                \
            for (int64_t j = 0; j < g->n; j++)                                                     \
                c[j] = 0;                                                                          \
            for (int64_t p = 0; p < g->k; p++) {                                                   \
                const unsigned_type *b = (const unsigned_type *)g->b + p * g->b_k_stride;          \
                uint64_t scale = a[p * g->a_k_stride];                                             \
                for (int64_t j = 0; j < g->n; j++)                                                 \
                    c[j] = (unsigned_type)(c[j] + scale * b[j * g->b_stride]);                     \
            }                                                                                      \
        }                                                                                          \
    }                                                                                              \
    void cr_gemm_##suffix(const cr_gemm_integer *product)                                          \
    {                                                                                              \
        cr_gemm_integer g = *product;                                                              \
        int64_t row = CR_MAX(g.n * g.k, 1);                                                        \
        cr_parallel_for(g.m, CR_MAX(MACS_PER_PART / row, 1), rows_##suffix, &g);                   \
    }

INTEGER_PRODUCT(i64, uint64_t)
INTEGER_PRODUCT(i32, uint32_t)
INTEGER_PRODUCT(i16, uint16_t)
INTEGER_PRODUCT(i8, uint8_t)
INTEGER_PRODUCT(u8, uint8_t)
