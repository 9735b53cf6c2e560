/* Where the ticks of an axis stand and how they are written: steps of 1, 2 or 5 times a power of
 * ten, and no more digits than the step needs. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "canvas.h"

static double round_step(double rough)
{
    double power = pow(10, floor(log10(rough)));
    double digit = rough / power;
    if (digit < 1.5)
        return power;
    if (digit < 3.2)
        return 2 * power;
    return digit < 7 ? 5 * power : 10 * power;
}

cr_ticks cr_ticks_between(double low, double high, int wanted, bool whole)
{
    double step = round_step((high - low) / (wanted > 1 ? wanted : 1));
    if (whole && step < 1)
        step = 1;
    /* A hair of slack keeps a tick at the very ends despite rounding. */
    double first = ceil(low / step - 1e-6) * step;
    cr_ticks ticks = { .step = step };
    for (double i = 0; i < CR_MAX_TICKS && first + i * step <= high + 1e-6 * step; i++)
        ticks.at[ticks.count++] = first + i * step;
    return ticks;
}

cr_ticks cr_ticks_between_logs(double low, double high, int wanted)
{
    if (high - low >= 2)
        return cr_ticks_between(low, high, wanted, true);
    /* Less than two decades: 1, 2 and 5, or every digit where even these are too few. */
    cr_ticks ticks = { 0 };
    bool all = high - low < 0.7;
    for (double power = floor(low); power <= high; power++) {
        for (int digit = 1; digit <= 9 && ticks.count < CR_MAX_TICKS; digit++) {
            double at = power + log10(digit);
            bool round = all || digit == 1 || digit == 2 || digit == 5;
            if (round && at >= low && at <= high)
                ticks.at[ticks.count++] = at;
        }
    }
    return ticks;
}

/* 2e-05 as 2e-5, 1e+06 as 1e6. */
static void shorten_exponent(char *text)
{
    char *e = strchr(text, 'e');
    if (e == NULL)
        return;
    char *from = e + 1;
    char *to = e + 1;
    if (*from == '-')
        *to++ = '-';
    if (*from == '-' || *from == '+')
        from++;
    while (*from == '0' && from[1] != '\0')
        from++;
    memmove(to, from, strlen(from) + 1);
}

void cr_tick_label(char *buffer, size_t size, double value, double step, bool percent)
{
    if (percent) {
        value *= 100;
        step *= 100;
    }
    if (step > 0 && fabs(value) < step * 1e-6)
        value = 0;
    double places = step > 0 ? -floor(log10(step) + 1e-9) : 0;
    if (value != 0 && (places > 4 || fabs(value) >= 1e6)) {
        double exponent = floor(log10(fabs(value)) + 1e-9);
        int digits = (int)fmin(fmax(exponent + places, 0), 9);
        snprintf(buffer, size, "%.*e", digits, value);
        shorten_exponent(buffer);
        return;
    }
    snprintf(buffer, size, "%.*f%s", value == 0 ? 0 : (int)fmin(fmax(places, 0), 9), value,
             percent ? " %" : "");
}
