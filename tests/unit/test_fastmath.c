/* The elementary functions of fastmath.h against the C library in double, over floats of all sizes
 * and the special values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "kernels/elementwise/fastmath.h"

#define STRIDE    10007u /* of the bit patterns that are tried */
#define MOST_ULPS 3.0

struct function {
    const char *name;
    float (*fast)(float x);
    double (*exact)(double x);
    float limit; /* of the size of x */
};

static double exact_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double exact_softplus(double x)
{
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

#define CALL(name)                                                                                 \
    static float call_##name(float x)                                                              \
    {                                                                                              \
        return fast_##name(x);                                                                     \
    }

CALL(exp)
CALL(expm1)
CALL(log)
CALL(log2)
CALL(log10)
CALL(log1p)
CALL(tanh)
CALL(sigmoid)
CALL(softplus)
CALL(erf)
CALL(sin)
CALL(cos)

static const struct function functions[] = {
    { "exp", call_exp, exp, INFINITY },
    { "expm1", call_expm1, expm1, INFINITY },
    { "log", call_log, log, INFINITY },
    { "log2", call_log2, log2, INFINITY },
    { "log10", call_log10, log10, INFINITY },
    { "log1p", call_log1p, log1p, INFINITY },
    { "tanh", call_tanh, tanh, INFINITY },
    { "sigmoid", call_sigmoid, exact_sigmoid, INFINITY },
    { "softplus", call_softplus, exact_softplus, INFINITY },
    { "erf", call_erf, erf, INFINITY },
    { "sin", call_sin, sin, FAST_CIRCLE_LIMIT },
    { "cos", call_cos, cos, FAST_CIRCLE_LIMIT },
};

/* The distance of y from the exact value, in units of the last place of a float. */
static double error_in_ulps(float y, double exact)
{
    float rounded = (float)exact;
    if (isnan(exact))
        return isnan(y) ? 0 : INFINITY;
    if (isinf(rounded) || isinf(y))
        return fabsf(y) > 3.4e38f && fabs(exact) > 3.4e38 && (y > 0) == (exact > 0) ? 0 : INFINITY;
    if (exact == 0)
        return y == 0 && signbit(y) == signbit(rounded) ? 0 : INFINITY;
    int exponent;
    frexp(exact, &exponent);
    return fabs((double)y - exact) / ldexp(1.0, CR_MAX(exponent, -125) - 24);
}

static void check(const struct function *function, float x)
{
    if (fabsf(x) > function->limit)
        return;
    float y = function->fast(x);
    double ulps = error_in_ulps(y, function->exact((double)x));
    if (!(ulps <= MOST_ULPS))
        fail_msg("%s(%a) = %a is %g ulps off", function->name, (double)x, (double)y, ulps);
}

static void test_errors(void **state)
{
    (void)state;
    for (int f = 0; f < CR_COUNT_OF(functions); f++) {
        for (uint64_t bits = 0; bits <= UINT32_MAX; bits += STRIDE)
            check(&functions[f], fast_from_bits((uint32_t)bits));
    }
}

static void test_special_values(void **state)
{
    (void)state;
    const float special[] = {
        0.0f,   -0.0f,     1.0f,       -1.0f,           INFINITY,         -INFINITY,
        NAN,    0x1p-149f, -0x1p-149f, 0x1.fffffep127f, -0x1.fffffep127f, 88.7228f,
        88.73f, -87.4f,    -103.9f,    -104.0f
    };
    for (int f = 0; f < CR_COUNT_OF(functions); f++) {
        for (int i = 0; i < CR_COUNT_OF(special); i++)
            check(&functions[f], special[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_special_values),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
