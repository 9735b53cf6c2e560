/* The profile as tables for people. */
#include <stdio.h>

#include "profile/profile.h"

#define NAME_COLUMNS 36
#define SMALLEST_ROW 0.001 /* ops of a smaller share are counted, not shown */
#define LAYERS_SHOWN 12
#define NUMBER_SIZE  24

static const char *format_time(char buffer[NUMBER_SIZE], double seconds)
{
    if (seconds >= 100)
        snprintf(buffer, NUMBER_SIZE, "%.0f s", seconds);
    else if (seconds >= 1)
        snprintf(buffer, NUMBER_SIZE, "%.2f s", seconds);
    else if (seconds >= 1e-3)
        snprintf(buffer, NUMBER_SIZE, "%.*f ms",
                 seconds >= 0.1    ? 0
                 : seconds >= 0.01 ? 1
                                   : 2,
                 seconds * 1e3);
    else
        snprintf(buffer, NUMBER_SIZE, "%.1f us", seconds * 1e6);
    return buffer;
}

static const char *format_rate(char buffer[NUMBER_SIZE], double count, double seconds)
{
    double rate = seconds > 0 ? count / seconds / 1e9 : 0;
    if (rate <= 0)
        snprintf(buffer, NUMBER_SIZE, "-");
    else
        snprintf(buffer, NUMBER_SIZE, "%.*f", rate >= 100 ? 0 : rate >= 10 ? 1 : 2, rate);
    return buffer;
}

static const char *format_share(char buffer[NUMBER_SIZE], const cr_profile_row *row)
{
    snprintf(buffer, NUMBER_SIZE, row->beside ? "(%.1f %%)" : "%.1f %%", 100 * row->share);
    return buffer;
}

/* "82 % a": the share of the peak in arithmetic, or "m", in memory. */
static const char *format_of_peak(char buffer[NUMBER_SIZE], const cr_profile *profile,
                                  const cr_profile_row *row)
{
    bool by_memory;
    double share = cr_profile_of_peak(profile, row, &by_memory);
    if (share <= 0)
        snprintf(buffer, NUMBER_SIZE, "-  ");
    else
        snprintf(buffer, NUMBER_SIZE, "%.0f %% %c", 100 * share, by_memory ? 'm' : 'a');
    return buffer;
}

static void append_rule(cr_text *out, int columns)
{
    for (int i = 0; i < columns; i++)
        cr_text_append(out, "-");
    cr_text_append(out, "\n");
}

static void append_row(cr_text *out, const cr_profile *profile, const cr_profile_row *row)
{
    char total[NUMBER_SIZE], self[NUMBER_SIZE], share[NUMBER_SIZE], flops[NUMBER_SIZE];
    char bytes[NUMBER_SIZE], of_peak[NUMBER_SIZE];
    bool is_part = row->kind == CR_PROFILE_PART;
    cr_text_printf(
        out, "%s%-*.*s %8lld %9s %9s %9s %8s %7s %8s\n", is_part ? "  " : "",
        NAME_COLUMNS - 2 * is_part, NAME_COLUMNS - 2 * is_part, row->name, (long long)row->calls,
        format_time(total, row->total), format_time(self, row->self), format_share(share, row),
        format_rate(flops, 2 * row->multiply_adds, row->busy),
        format_rate(bytes, row->bytes, row->busy), format_of_peak(of_peak, profile, row));
}

static void append_rows(cr_text *out, const cr_profile *profile)
{
    int left_out = 0;
    double share = 0;
    cr_text_printf(out, "%-*s %8s %9s %9s %9s %8s %7s %8s\n", NAME_COLUMNS, "operation", "calls",
                   "total", "self", "share", "GFLOP/s", "GB/s", "of peak");
    append_rule(out, NAME_COLUMNS + 65);
    for (int i = 0; i < profile->row_count; i++) {
        const cr_profile_row *row = &profile->rows[i];
        bool is_shown = row->share >= SMALLEST_ROW || row->kind >= CR_PROFILE_RANGE;
        if (is_shown) {
            append_row(out, profile, row);
        } else if (row->kind != CR_PROFILE_PART) {
            left_out++;
            share += row->share;
        }
    }
    if (left_out)
        cr_text_printf(out, "and %d more of less than %.1f %% each, %.1f %% together\n", left_out,
                       100 * SMALLEST_ROW, 100 * share);
}

static void append_layers(cr_text *out, const cr_profile *profile)
{
    char forward[NUMBER_SIZE], backward[NUMBER_SIZE];
    if (!profile->layer_count)
        return;
    cr_text_printf(out, "\n%-*s %9s %9s %9s\n", NAME_COLUMNS, "layer", "forward", "backward",
                   "share");
    append_rule(out, NAME_COLUMNS + 30);
    for (int i = 0; i < profile->layer_count && i < LAYERS_SHOWN; i++) {
        const cr_profile_layer *layer = &profile->layers[i];
        double all = layer->forward + layer->backward;
        cr_text_printf(out, "%-*.*s %9s %9s %7.1f %%\n", NAME_COLUMNS, NAME_COLUMNS, layer->name,
                       format_time(forward, layer->forward),
                       layer->backward > 0 ? format_time(backward, layer->backward) : "-",
                       profile->seconds > 0 ? 100 * all / profile->seconds : 0);
    }
    if (profile->layer_count > LAYERS_SHOWN)
        cr_text_printf(out, "and %d more\n", profile->layer_count - LAYERS_SHOWN);
}

/* Where the time went, in a line. */
static void append_phases(cr_text *out, const cr_profile *profile)
{
    double forward = 0, backward = 0;
    for (int i = 0; i < profile->row_count; i++) {
        const cr_profile_row *row = &profile->rows[i];
        if (row->kind == CR_PROFILE_OP && !row->beside)
            forward += row->share;
        else if (row->kind == CR_PROFILE_BACKWARD && !row->beside)
            backward += row->share;
    }
    cr_text_printf(out, "operations forward %.1f %%", 100 * forward);
    if (backward > 0)
        cr_text_printf(out, ", backward %.1f %%", 100 * backward);
    for (int i = 0; i < profile->row_count; i++) {
        const cr_profile_row *row = &profile->rows[i];
        if (row->kind >= CR_PROFILE_RANGE && !row->beside && row->share >= SMALLEST_ROW)
            cr_text_printf(out, ", %s %.1f %%", row->name, 100 * row->share);
    }
    cr_text_append(out, "\n");
}

void cr_profile_format(const cr_profile *profile, cr_text *out)
{
    char all[NUMBER_SIZE], each[NUMBER_SIZE];
    double steps = profile->steps > 0 ? (double)profile->steps : 1;
    if (!profile->steps) {
        cr_text_append(out, "nothing was profiled: the program ended within the warm-up\n");
        return;
    }
    format_time(all, profile->seconds);
    format_time(each, profile->seconds / steps);
    cr_text_printf(out, "profile of %lld step%s in %s, %s each", (long long)profile->steps,
                   profile->steps == 1 ? "" : "s", all, each);
    if (profile->peak.flops > 0)
        cr_text_printf(out, "; peak on %d thread%s: %.0f GFLOP/s, %.1f GB/s", profile->peak.threads,
                       profile->peak.threads == 1 ? "" : "s", profile->peak.flops / 1e9,
                       profile->peak.bytes_per_second / 1e9);
    cr_text_append(out, "\n");
    append_phases(out, profile);
    cr_text_append(out, "\n");
    append_rows(out, profile);
    append_layers(out, profile);
    if (profile->dropped)
        cr_text_printf(out, "\n%lld events were beyond the limit and are missing\n",
                       (long long)profile->dropped);
}
