/* The files of a net as C: net.h, net.c, the weights, main.c, Makefile and README.md. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/file.h"
#include "graph/plain_c/plain_c.h"

#define ARRAY_MOST (1 << 20) /* weights that are compiled, where the caller leaves the choice */
#define LANES      32

/* ---- net.h ---- */

static void print_header(const struct lowering *l, cr_text *text)
{
    cr_shape in = value_shape(l, l->graph->inputs[0]), out = value_shape(l, l->graph->outputs[0]);
    char in_text[CR_SHAPE_TEXT], out_text[CR_SHAPE_TEXT];
    cr_text_printf(
        text,
        "/* %s: a net in plain C, made by Cresset; net.c says how it is built.\n"
        " *\n"
        " *     float in[NET_INPUT], out[NET_OUTPUT];\n"
        " *     ...fill `in`...\n"
        " *     net_run(in, out);\n"
        " *\n"
        " * The input is %s, row-major, already normalised as main.c does; the output is %s. */\n"
        "#ifndef NET_H\n#define NET_H\n\n"
        "#define NET_INPUT   %lld /* floats */\n"
        "#define NET_OUTPUT  %lld\n"
        "#define NET_ARENA   %lld /* floats that lie between layers */\n"
        "#define NET_WEIGHTS %lld\n",
        l->args.name, cr_shape_format(&in, in_text, sizeof in_text),
        cr_shape_format(&out, out_text, sizeof out_text), (long long)cr_shape_numel(&in),
        (long long)cr_shape_numel(&out), (long long)CR_MAX(l->arena, 1),
        (long long)CR_MAX(l->weight_count, 1));
    if (in.ndim == 4)
        cr_text_printf(text,
                       "#define NET_CHANNELS %lld\n#define NET_HEIGHT   %lld\n"
                       "#define NET_WIDTH    %lld\n",
                       (long long)in.dim[1], (long long)in.dim[2], (long long)in.dim[3]);
    cr_text_append(
        text, "\n/* Runs the net once, on an arena that all calls share: one thread at a time. */\n"
              "void net_run(const float *in, float *out);\n\n"
              "/* The same on the caller's arena of NET_ARENA floats: one for each thread. */\n"
              "void net_run_in(float *arena, const float *in, float *out);\n\n");
    if (l->args.weights == CR_C_WEIGHTS_FILE)
        cr_text_append(
            text,
            "/* Has to be called first: the weights, NET_WEIGHTS floats that stay where they are. "
            "On a\n * little-endian machine they are the bytes of net_weights.bin, which may be "
            "mapped. */\n"
            "void net_use_weights(const float *weights);\n\n"
            "/* Reads net_weights.bin on any machine into room for NET_WEIGHTS floats, and uses "
            "them; 0\n * if that went well. */\n"
            "int net_read_weights(const char *path, float *room);\n\n");
    else
        cr_text_append(text, "extern const float net_weights[NET_WEIGHTS];\n\n");
    cr_text_append(text, "#endif\n");
}

/* ---- net.c ---- */

/* A step with addresses in the place of marks. */
static void print_step(const struct lowering *l, const char *at, cr_text *text)
{
    static const char *const bases[] = {
        [BUFFER_ARENA] = "a", [BUFFER_INPUT] = "in", [BUFFER_OUTPUT] = "out", [BUFFER_WEIGHTS] = "w"
    };
    while (*at) {
        size_t plain = strcspn(at, (const char[]){ MARK, 0 });
        cr_text_append_bytes(text, at, plain);
        at += plain;
        if (*at != MARK)
            continue;
        int number = 0;
        long long offset = 0;
        sscanf(at + 1, "%d %lld", &number, &offset);
        const struct buffer *buffer = &l->buffers[number];
        if (buffer->kind == BUFFER_ARENA || buffer->kind == BUFFER_WEIGHTS)
            offset += buffer->place;
        cr_text_append(text, bases[buffer->kind]);
        if (offset)
            cr_text_printf(text, " + %lld", offset);
        at = strchr(at + 1, MARK) + 1;
    }
}

static void print_weights_access(const struct lowering *l, cr_text *text)
{
    if (l->args.weights != CR_C_WEIGHTS_FILE)
        return;
    cr_text_append(
        text, "\nstatic const float *net_weights;\n\n"
              "void net_use_weights(const float *weights)\n{\n    net_weights = weights;\n}\n\n"
              "int net_read_weights(const char *path, float *room)\n{\n"
              "    FILE *file = fopen(path, \"rb\");\n"
              "    size_t i, read;\n"
              "    if (!file)\n        return -1;\n"
              "    read = fread(room, sizeof *room, NET_WEIGHTS, file);\n"
              "    fclose(file);\n"
              "    if (read != NET_WEIGHTS)\n        return -1;\n"
              "    for (i = 0; i < NET_WEIGHTS; i++) { /* the order of bytes of this machine */\n"
              "        unsigned char byte[4];\n        unsigned bits;\n"
              "        memcpy(byte, &room[i], 4);\n"
              "        bits = byte[0] | (unsigned)byte[1] << 8 | (unsigned)byte[2] << 16 |\n"
              "               (unsigned)byte[3] << 24;\n"
              "        memcpy(&room[i], &bits, 4);\n    }\n"
              "    net_use_weights(room);\n    return 0;\n}\n");
}

static void print_source(const struct lowering *l, cr_text *text)
{
    bool pictures = parts_has(&l->parts, "conv_shape", l->wanted);
    cr_text_printf(
        text,
        "/* %s in plain C (C99, libm), made by Cresset. Compile it with the best flags "
        "that the\n * processor has: -O3 -march=native -ffp-contract=fast.\n *\n"
        " * Pictures lie as (height, width, channels), so that a pixel is a vector; batch "
        "norm is folded\n * into the weights. net_run_in at the end is the net, a call for "
        "each layer: `a` is the arena,\n * where numbers live as long as they are needed, "
        "`w` are the weights. */\n"
        "#include <math.h>\n#include <stddef.h>\n%s#include <string.h>\n\n"
        "#include \"net.h\"\n\n",
        l->args.name, l->args.weights == CR_C_WEIGHTS_FILE ? "#include <stdio.h>\n" : "");
    cr_text_printf(text, "#define NET_LANES %d /* output channels that are computed together */\n",
                   l->args.lanes);
    if (pictures)
        cr_text_printf(text,
                       "#define NET_TAPS  %lld /* of the largest kernel */\n"
                       "#define NET_ZEROS %lld /* of the deepest picture */\n",
                       (long long)l->taps, (long long)l->zeros);
    if (l->tables.length)
        cr_text_append(text, l->tables.data);
    parts_print(&l->parts, l->wanted, text);
    print_weights_access(l, text);
    cr_text_append(text, "\n/* ---- the net ---- */\n\n"
                         "void net_run_in(float *a, const float *in, float *out)\n{\n"
                         "    const float *w = net_weights;\n");
    for (int i = 0; i < l->step_count; i++) {
        cr_text_append(text, "\n");
        print_step(l, l->steps[i], text);
    }
    cr_text_append(text,
                   "    (void)a;\n    (void)w;\n}\n\n"
                   "void net_run(const float *in, float *out)\n{\n"
                   "    static float arena[NET_ARENA];\n    net_run_in(arena, in, out);\n}\n");
}

/* ---- weights ---- */

static cr_status write_array(const struct lowering *l, const char *path)
{
    cr_file_writer *writer = cr_file_writer_open(path);
    if (!writer)
        return cr_error_status();
    cr_text text = { 0 };
    cr_text_append(&text, "/* The weights of the net, in the order in which net.c reads them. */\n"
                          "#include <math.h>\n\n#include \"net.h\"\n\n"
                          "const float net_weights[NET_WEIGHTS] = {");
    for (int64_t i = 0; i < CR_MAX(l->weight_count, 1); i++) {
        float value = i < l->weight_count ? l->weights[i] : 0;
        cr_text_append(&text, i % 8 ? " " : "\n    ");
        if (isfinite(value))
            cr_text_printf(&text, "%.9g,", (double)value);
        else
            cr_text_append(&text, isnan(value) ? "NAN," : value < 0 ? "-INFINITY," : "INFINITY,");
        if (text.length > 1 << 16) {
            cr_file_writer_write(writer, text.data, text.length);
            text.length = 0;
        }
    }
    cr_text_append(&text, "\n};\n");
    cr_file_writer_write(writer, text.data, text.length);
    cr_text_free(&text);
    return cr_file_writer_finish(writer);
}

static cr_status write_bytes(const struct lowering *l, const char *path)
{
    cr_file_writer *writer = cr_file_writer_open(path);
    if (!writer)
        return cr_error_status();
    for (int64_t i = 0; i < CR_MAX(l->weight_count, 1); i++) {
        uint32_t bits = 0;
        if (i < l->weight_count)
            memcpy(&bits, &l->weights[i], sizeof bits);
        uint8_t bytes[4] = { (uint8_t)bits, (uint8_t)(bits >> 8), (uint8_t)(bits >> 16),
                             (uint8_t)(bits >> 24) };
        cr_file_writer_write(writer, bytes, sizeof bytes);
    }
    return cr_file_writer_finish(writer);
}

/* ---- the rest ---- */

static void print_makefile(const struct lowering *l, cr_text *text)
{
    const char *weights = l->args.weights == CR_C_WEIGHTS_FILE ? "" : " net_weights.o";
    cr_text_printf(
        text,
        "# Builds the program `net`, and net.o for others. CFLAGS are for this processor.\n"
        "CC = cc\n"
        "CFLAGS = -O3 -march=native -ffp-contract=fast\n"
        "LDLIBS = -lm\n\n"
        "net: main.o net.o%s\n"
        "\t$(CC) $(CFLAGS) $(LDFLAGS) -o $@ main.o net.o%s $(LDLIBS)\n\n"
        "main.o net.o%s: net.h\n\n"
        ".c.o:\n\t$(CC) -std=c99 $(CFLAGS) -c $<\n\n"
        "clean:\n\trm -f net main.o net.o%s\n",
        weights, weights, weights, weights);
}

static void print_readme(const struct lowering *l, cr_text *text)
{
    bool file = l->args.weights == CR_C_WEIGHTS_FILE;
    cr_text_printf(
        text,
        "# %s in plain C\n\n"
        "    make\n    ./net%s picture.ppm\n\n"
        "`net.h` is the interface: `net_run(in, out)` takes %lld floats and gives %lld. It needs "
        "libm\nand nothing else, allocates nothing, and works on an arena of %lld bytes; the "
        "weights take\n%lld bytes%s.\n\n"
        "`main.c` reads a binary PPM or PGM picture, does to it what was done in training, and "
        "prints the\nclasses; a file of %lld raw float32 (little-endian) goes in as it is. "
        "`--values` prints all results.\n\n"
        "On a small processor compile `net.c` and the weights with that processor's flags, and "
        "leave\n`main.c` out.\n",
        l->args.name, file ? " net_weights.bin" : "", (long long)l->buffers[l->input].size,
        (long long)l->buffers[l->output].size, (long long)CR_MAX(l->arena, 1) * 4,
        (long long)CR_MAX(l->weight_count, 1) * 4,
        file ? " in `net_weights.bin`, which is little-endian" : "",
        (long long)l->buffers[l->input].size);
}

static cr_status write_text(const char *folder, const char *name, cr_text *text)
{
    char *path = cr_path_join(folder, name);
    if (path && !cr_failed())
        cr_file_replace(path, text->data, text->length);
    cr_free(path);
    cr_text_free(text);
    return cr_error_status();
}

static void write_weights(const struct lowering *l, const char *folder)
{
    bool file = l->args.weights == CR_C_WEIGHTS_FILE;
    char *path = cr_path_join(folder, file ? "net_weights.bin" : "net_weights.c");
    if (path && !cr_failed()) {
        if (file)
            write_bytes(l, path);
        else
            write_array(l, path);
    }
    cr_free(path);
}

cr_status write_folder(struct lowering *l, const char *folder)
{
    cr_text text = { 0 };
    if (cr_folder_make(folder) != CR_OK)
        return cr_error_status();
    print_header(l, &text);
    write_text(folder, "net.h", &text);
    print_source(l, &text);
    write_text(folder, "net.c", &text);
    print_main(l, &text);
    write_text(folder, "main.c", &text);
    print_makefile(l, &text);
    write_text(folder, "Makefile", &text);
    print_readme(l, &text);
    write_text(folder, "README.md", &text);
    write_weights(l, folder);
    return cr_error_status();
}

/* ---- the interface ---- */

cr_status cr_graph_save_c(const cr_graph *graph, const char *folder, cr_c_args args,
                          cr_c_report *report)
{
    if (cr_failed())
        return cr_error_status();
    if (args.lanes < 0 || args.lanes > 64)
        return cr_error_set(CR_ERROR_ARGUMENT, "%d lanes are not 1 to 64", args.lanes);
    args.lanes = args.lanes ? args.lanes : LANES;
    args.name = args.name ? args.name : "net";
    struct lowering l = { .graph = graph, .args = args };
    bool grad_was = cr_set_grad_enabled(false);
    cr_frame frame = cr_frame_begin();
    if (lower_graph(&l) == CR_OK) {
        if (args.weights == CR_C_WEIGHTS_AUTO)
            l.args.weights = l.weight_count > ARRAY_MOST ? CR_C_WEIGHTS_FILE : CR_C_WEIGHTS_ARRAY;
        write_folder(&l, folder);
    }
    if (report && !cr_failed())
        *report = (cr_c_report){ .arena_bytes = CR_MAX(l.arena, 1) * 4,
                                 .weight_bytes = CR_MAX(l.weight_count, 1) * 4,
                                 .steps = l.step_count };
    lowering_free(&l);
    cr_frame_end(frame);
    cr_set_grad_enabled(grad_was);
    return cr_error_status();
}
