/* Which instruction set's loops are used. */
#include "kernels/elementwise/elementwise.h"
#include "kernels/variants.h"

CR_KERNEL_VARIANTS(const struct map, pointwise_maps, [MAP_POINTWISE_COUNT]);

const struct map *pointwise_map(enum map_kind kind)
{
    return &(*CR_KERNELS_IN_USE(pointwise_maps))[kind];
}

CR_KERNEL_VARIANTS(const struct map, activation_maps, [ACTIVATION_COUNT]);

const struct map *activation_map(enum activation_kind kind)
{
    return &(*CR_KERNELS_IN_USE(activation_maps))[kind];
}

CR_KERNEL_VARIANTS(const half_loop, half_loops, [HALF_LOOP_COUNT]);

half_loop half_conversion(enum half_loop_kind kind)
{
    return (*CR_KERNELS_IN_USE(half_loops))[kind];
}

CR_KERNEL_VARIANTS(const map_loop, gelu_half_loops, [GELU_HALF_COUNT]);

map_loop map_half_loop(const struct map *map)
{
    if (map == activation_map(ACTIVATION_GELU))
        return (*CR_KERNELS_IN_USE(gelu_half_loops))[GELU_HALF];
    if (map == activation_map(ACTIVATION_GELU_BACKWARD))
        return (*CR_KERNELS_IN_USE(gelu_half_loops))[GELU_HALF_BACKWARD];
    return NULL;
}
