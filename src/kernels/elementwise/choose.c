/* Which instruction set's loops are used. */
#include "kernels/elementwise/elementwise.h"

/* PICK(name) is the table of that name for the instruction set in use, declared by TABLES. */
#define TABLES(type, name, count)                                                                  \
    extern type name##_portable[count];                                                            \
    TABLE_AVX2(type, name, count)                                                                  \
    TABLE_AVX512(type, name, count)

#ifdef CR_HAVE_AVX2
#define TABLE_AVX2(type, name, count) extern type name##_avx2[count];
#define PICK_AVX2(name)                                                                            \
    if (isa >= CR_ISA_AVX2)                                                                        \
        return name##_avx2;
#else
#define TABLE_AVX2(type, name, count)
#define PICK_AVX2(name)
#endif
#ifdef CR_HAVE_AVX512
#define TABLE_AVX512(type, name, count) extern type name##_avx512[count];
#define PICK_AVX512(name)                                                                          \
    if (isa >= CR_ISA_AVX512)                                                                      \
        return name##_avx512;
#else
#define TABLE_AVX512(type, name, count)
#define PICK_AVX512(name)
#endif

#define TABLE_CHOICE(type, name, count)                                                            \
    TABLES(type, name, count)                                                                      \
    static type *choose_##name(void)                                                               \
    {                                                                                              \
        cr_isa isa = cr_cpu_isa();                                                                 \
        PICK_AVX512(name)                                                                          \
        PICK_AVX2(name)                                                                            \
        (void)isa;                                                                                 \
        return name##_portable;                                                                    \
    }

TABLE_CHOICE(const struct map, pointwise_maps, MAP_POINTWISE_COUNT)

const struct map *pointwise_map(enum map_kind kind)
{
    return &choose_pointwise_maps()[kind];
}

TABLE_CHOICE(const struct map, activation_maps, ACTIVATION_COUNT)

const struct map *activation_map(enum activation_kind kind)
{
    return &choose_activation_maps()[kind];
}

TABLE_CHOICE(const half_loop, half_loops, HALF_LOOP_COUNT)

half_loop half_conversion(enum half_loop_kind kind)
{
    return choose_half_loops()[kind];
}
