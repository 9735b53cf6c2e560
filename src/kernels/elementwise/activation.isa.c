/* The maps of activations, compiled for each instruction set. */
#include <math.h>

#include "kernels/elementwise/elementwise.h"
#include "kernels/elementwise/fastmath.h"

#include "kernels/elementwise/map.inc"

#define REAL       float
#define NAME(name) name##_f32
#define F(name)    name##f
#define FAST(name) fast_##name
#include "kernels/elementwise/activation_real.inc"
#undef REAL
#undef NAME
#undef F
#undef FAST

#define REAL        double
#define NAME(name)  name##_f64
#define F(name)     name
#define FAST(name)  exact_##name
#define exact_exp   exp
#define exact_expm1 expm1
#define exact_tanh  tanh
#define exact_erf   erf

CR_INLINE double exact_sigmoid(double x)
{
    double e = exp(-fabs(x));
    return x < 0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
}

CR_INLINE double exact_softplus(double x)
{
    return log1p(exp(-fabs(x))) + (x < 0 ? 0.0 : x);
}
#include "kernels/elementwise/activation_real.inc"

#define ROW(kind, name) [ACTIVATION_##kind] = { .f32 = name##_f32, .f64 = name##_f64 },
#define ROW_DROPOUT(kind, name)                                                                    \
    [ACTIVATION_##kind] = { .f32 = name##_f32, .f64 = name##_f64, .truths = 1 },

extern const struct map CR_ISA_NAME(activation_maps)[ACTIVATION_COUNT];
const struct map CR_ISA_NAME(activation_maps)[ACTIVATION_COUNT] = { ACTIVATION_LIST(ROW,
                                                                                    ROW_DROPOUT) };
