/* The variants of the kernels: one for each instruction set, of which one is in use.
 *
 * A family of kernels is a table of functions, or an array of tables, that is compiled once for
 * each instruction set: NAME.isa.c defines it as CR_ISA_NAME(family), which is family_portable,
 * family_neon and so on. All families stand in the list below; CR_KERNEL_VARIANTS declares the
 * tables of one, and CR_KERNELS_IN_USE is the address of the one in use. Nothing else knows which
 * sets there are, so a new set is a line here, one in CR_ISA_TABLE and its flags in
 * cmake/CressetLibrary.cmake. tests/kernels/ compares every family of every set with the portable
 * one, and fails for a family that it has no case for. */
#ifndef CR_KERNELS_VARIANTS_H
#define CR_KERNELS_VARIANTS_H

#include "base/base.h"

#define CR_KERNEL_FAMILIES(X)                                                                      \
    X(cr_gemm_kernels)                                                                             \
    X(cr_conv_kernels)                                                                             \
    X(cr_depthwise_kernels)                                                                        \
    X(cr_points_kernels)                                                                           \
    X(cr_pointwise_kernels)                                                                        \
    X(cr_winograd_kernels)                                                                         \
    X(cr_winograd_weight_kernels)                                                                  \
    X(cr_rows_kernels)                                                                             \
    X(cr_depthwise_last_kernels)                                                                   \
    X(cr_weight_kernels)                                                                           \
    X(attention_kernels)                                                                           \
    X(recurrent_kernels)                                                                           \
    X(norm_kernels)                                                                                \
    X(reduce_loops)                                                                                \
    X(pointwise_maps)                                                                              \
    X(activation_maps)                                                                             \
    X(gelu_half_loops)                                                                             \
    X(half_loops)                                                                                  \
    X(pool_loops)                                                                                  \
    X(pool_last_loops)                                                                             \
    X(quantized_loops)                                                                             \
    X(picture_loops)                                                                               \
    X(vision_loops)                                                                                \
    X(random_loops)                                                                                \
    X(optimizer_loops)                                                                             \
    X(peak_loops)

enum cr_kernel_family {
#define CR_FAMILY_ENUM(name) CR_FAMILY_##name,
    CR_KERNEL_FAMILIES(CR_FAMILY_ENUM)
#undef CR_FAMILY_ENUM
        CR_FAMILY_COUNT
};

/* Declares the tables of a family, each a `table`, or an array of them if `dims` says so. */
#define CR_KERNEL_VARIANTS(table, name, dims)                                                      \
    _Static_assert(CR_FAMILY_##name < CR_FAMILY_COUNT, "a family stands in CR_KERNEL_FAMILIES");   \
    extern table name##_portable dims;                                                             \
    extern table name##_neon dims;                                                                 \
    extern table name##_avx2 dims;                                                                 \
    extern table name##_avx512 dims

/* The address of the table in use, the strongest that the set in use has. */
#define CR_KERNELS_IN_USE(name)                                                                    \
    (CR_PICK_AVX512(name) CR_PICK_AVX2(name) CR_PICK_NEON(name) & name##_portable)

#ifdef CR_HAVE_AVX512
#define CR_PICK_AVX512(name) cr_isa_in_use() >= CR_ISA_AVX512 ? &name##_avx512:
#else
#define CR_PICK_AVX512(name)
#endif
#ifdef CR_HAVE_AVX2
#define CR_PICK_AVX2(name) cr_isa_in_use() >= CR_ISA_AVX2 ? &name##_avx2:
#else
#define CR_PICK_AVX2(name)
#endif
#ifdef CR_HAVE_NEON
#define CR_PICK_NEON(name) cr_isa_in_use() == CR_ISA_NEON ? &name##_neon:
#else
#define CR_PICK_NEON(name)
#endif

/* The instruction set in use: cr_cpu_isa(), or for tests another that cr_cpu_has_isa, set by
 * cr_use_isa (CR_ISA_COUNT restores the default; not while another thread computes). */
cr_isa cr_isa_in_use(void);
void cr_use_isa(cr_isa isa);

#endif
