/* The loops of optimizer_loops.inc for float and double, compiled for each instruction set. */
#include <math.h>

#include "base/base.h"
#include "kernels/optimizer/optimizer.h"

#define REAL    float
#define SQRT    sqrtf
#define NAME(f) f##_f32
#include "kernels/optimizer/optimizer_loops.inc"
#undef REAL
#undef SQRT
#undef NAME

#define REAL    double
#define SQRT    sqrt
#define NAME(f) f##_f64
#include "kernels/optimizer/optimizer_loops.inc"

extern const struct optimizer_loops CR_ISA_NAME(optimizer_loops);
const struct optimizer_loops CR_ISA_NAME(optimizer_loops) = {
#define OPTIMIZER_ENTRY(name) .name##_f32 = name##_f32, .name##_f64 = name##_f64,
    OPTIMIZER_TABLE(OPTIMIZER_ENTRY)
};
