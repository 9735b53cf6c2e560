/* The events of a profile in the trace-event format ("Trace Event Format", Chromium): complete
 * events (ph X) with times in microseconds, a counter of memory (ph C), names of threads (ph M). */
#include <string.h>

#include "cresset/file.h"
#include "profile/profile.h"

#define FLUSH_BYTES ((size_t)1 << 16)

static void append_string(cr_text *out, const char *string)
{
    cr_text_append(out, "\"");
    for (const char *c = string; *c; c++) {
        if (*c == '"' || *c == '\\')
            cr_text_printf(out, "\\%c", *c);
        else if ((unsigned char)*c < 0x20)
            cr_text_printf(out, "\\u%04x", (unsigned)*c);
        else
            cr_text_append_bytes(out, c, 1);
    }
    cr_text_append(out, "\"");
}

static const char *category(const struct profile_event *event)
{
    static const char *const words[] = {
        [PROFILE_OP] = "op",       [PROFILE_NODE] = "backward", [PROFILE_RANGE] = "range",
        [PROFILE_LAYER] = "layer", [PROFILE_PHASE] = "phase",   [PROFILE_STEP] = "step",
    };
    return words[event->kind];
}

static void append_name(cr_text *out, const struct profile_event *event)
{
    if (event->kind == PROFILE_NODE) {
        cr_text joined = { 0 };
        cr_text_printf(&joined, "%s backward", profile_op_name(event->name));
        append_string(out, joined.data ? joined.data : "");
        cr_text_free(&joined);
    } else {
        append_string(out, event->kind == PROFILE_OP ? profile_op_name(event->name) : event->name);
    }
}

static void append_arguments(cr_text *out, const struct profile_event *event)
{
    cr_text_append(out, ",\"args\":{");
    const char *comma = "";
    if (event->layer[0] && event->kind != PROFILE_LAYER) {
        cr_text_append(out, "\"layer\":");
        append_string(out, event->layer);
        comma = ",";
    }
    if (event->multiply_adds > 0 && event->self > 0) {
        cr_text_printf(out, "%s\"multiply_adds\":%.0f,\"GFLOP/s\":%.2f", comma,
                       event->multiply_adds, 2e-9 * event->multiply_adds / event->self);
        comma = ",";
    }
    if (event->bytes > 0 && event->self > 0)
        cr_text_printf(out, "%s\"bytes\":%.0f,\"GB/s\":%.2f", comma, event->bytes,
                       1e-9 * event->bytes / event->self);
    cr_text_append(out, "}");
}

static void append_event(cr_text *out, const struct profile_event *event, double began)
{
    cr_text_append(out, ",\n{\"name\":");
    append_name(out, event);
    cr_text_printf(
        out, ",\"cat\":\"%s\",\"ph\":\"X\",\"pid\":1,\"tid\":%d,\"ts\":%.3f,\"dur\":%.3f",
        category(event), event->thread + 1, 1e6 * (event->start - began), 1e6 * event->duration);
    append_arguments(out, event);
    cr_text_append(out, "}");
    if (event->kind == PROFILE_OP)
        cr_text_printf(out,
                       ",\n{\"name\":\"bytes of tensors\",\"ph\":\"C\",\"pid\":1,\"ts\":%.3f,"
                       "\"args\":{\"in use\":%lld}}",
                       1e6 * (event->start + event->duration - began), (long long)event->in_use);
}

static void append_head(cr_text *out, const struct profile_log *log)
{
    cr_text_printf(out,
                   "{\"displayTimeUnit\":\"ms\",\n\"otherData\":{\"program\":\"cresset %s\","
                   "\"processor\":",
                   cr_version());
    append_string(out, cr_cpu_name());
    cr_text_printf(out,
                   ",\"kernels\":\"%s\",\"threads\":%d,\"steps\":%lld,\"peak_flops\":%.0f,"
                   "\"peak_bytes_per_second\":%.0f},\n\"traceEvents\":[\n",
                   cr_isa_name(cr_cpu_isa()), cr_num_threads(), (long long)log->steps,
                   log->peak.flops, log->peak.bytes_per_second);
    cr_text_append(out, "{\"name\":\"process_name\",\"ph\":\"M\",\"pid\":1,\"args\":{\"name\":"
                        "\"cresset\"}}");
    for (int i = 0; i < log->threads; i++)
        cr_text_printf(out,
                       ",\n{\"name\":\"thread_name\",\"ph\":\"M\",\"pid\":1,\"tid\":%d,"
                       "\"args\":{\"name\":\"%s\"}}",
                       i + 1, i == log->step_thread ? "steps" : "beside");
}

cr_status cr_profile_write_trace(const char *path)
{
    const struct profile_log *log = profile_log_get();
    cr_file_writer *writer = cr_file_writer_open(path);
    if (!writer)
        return cr_error_status();
    cr_text out = { 0 };
    append_head(&out, log);
    for (int64_t i = 0; i < log->count; i++) {
        append_event(&out, &log->events[i], log->began);
        if (out.length >= FLUSH_BYTES) {
            cr_file_writer_write(writer, out.data, out.length);
            out.length = 0;
        }
    }
    cr_text_append(&out, "\n]}\n");
    cr_file_writer_write(writer, out.data, out.length);
    cr_text_free(&out);
    if (cr_failed()) {
        cr_file_writer_abandon(writer);
        return cr_error_status();
    }
    return cr_file_writer_finish(writer);
}
