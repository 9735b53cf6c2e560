/* main.c of a net as C: reads a picture or raw numbers, does what the transforms of the model say,
 * and prints the classes. */
#include <string.h>

#include "data/data.h"
#include "graph/plain_c/plain_c.h"

struct program {
    cr_text body;        /* calls on the picture */
    const char *unknown; /* a transform that cannot be written; NULL: none */
    const char *filter;  /* part of the filter that resizing has; NULL: none */
    float mean[4], deviation[4];
    int normals; /* channels of these; 1 for all; 0: no normalisation */
    bool makes_grey;
    bool *wanted;
};

static bool has_name(const cr_transform *transform, const char *name)
{
    return strcmp(transform->type->name, name) == 0;
}

/* ---- transforms ---- */

static bool write_resize(const struct lowering *l, const cr_transform *transform,
                         struct program *program)
{
    const double *p = transform->parameters;
    int kind = (int)p[2];
    const char *filter = kind == DATA_BILINEAR  ? "filter_bilinear"
                         : kind == DATA_BICUBIC ? "filter_bicubic"
                                                : NULL;
    if (!filter || (program->filter && strcmp(program->filter, filter) != 0))
        return false;
    program->filter = filter;
    parts_want(&l->parts, filter, program->wanted);
    if (p[1] > 0) {
        parts_want(&l->parts, "program_resize", program->wanted);
        cr_text_printf(&program->body, "    resize(&p, %d, %d);\n", (int)p[0], (int)p[1]);
    } else {
        parts_want(&l->parts, "program_shorter", program->wanted);
        cr_text_printf(&program->body, "    resize_shorter(&p, %d);\n", (int)p[0]);
    }
    return true;
}

static bool write_crop(const struct lowering *l, const cr_transform *transform,
                       struct program *program)
{
    const double *p = transform->parameters;
    parts_want(&l->parts, "program_crop", program->wanted);
    cr_text_printf(&program->body, "    center_crop(&p, %d, %d);\n", (int)p[0],
                   (int)p[p[1] > 0 ? 1 : 0]);
    return true;
}

static bool write_grey(const struct lowering *l, const cr_transform *transform,
                       struct program *program)
{
    (void)l;
    program->makes_grey = true;
    cr_text_printf(&program->body, "    convert(&p, 1);\n    convert(&p, %d);\n",
                   (int)transform->parameters[0]);
    return true;
}

static bool take_normalize(const cr_transform *transform, struct program *program)
{
    if (program->normals)
        return false;
    program->normals = transform->count / 2;
    for (int i = 0; i < program->normals; i++) {
        program->mean[i] = (float)transform->parameters[i];
        program->deviation[i] = (float)transform->parameters[program->normals + i];
    }
    return true;
}

static void write_transforms(const struct lowering *l, struct program *program)
{
    const cr_transform_list *list = l->args.transforms;
    for (int i = 0; list && i < list->count; i++) {
        const cr_transform *transform = &list->items[i];
        bool good = has_name(transform, "resize")        ? write_resize(l, transform, program)
                    : has_name(transform, "center_crop") ? write_crop(l, transform, program)
                    : has_name(transform, "grayscale")   ? write_grey(l, transform, program)
                    : has_name(transform, "normalize")   ? take_normalize(transform, program)
                                                         : false;
        if (!good && !program->unknown)
            program->unknown = transform->type->name;
    }
}

/* ---- the text ---- */

static void print_string(const char *string, cr_text *text)
{
    cr_text_append(text, "\"");
    for (const char *at = string; *at; at++) {
        unsigned char byte = (unsigned char)*at;
        if (byte == '"' || byte == '\\')
            cr_text_printf(text, "\\%c", byte);
        else if (byte < ' ' || byte == '?' || byte >= 127)
            cr_text_printf(text, "\\%03o", byte);
        else
            cr_text_append_bytes(text, at, 1);
    }
    cr_text_append(text, "\"");
}

static void print_labels(const struct lowering *l, cr_text *text)
{
    if (!l->args.class_names)
        return;
    cr_text_append(text, "\nstatic const char *const labels[NET_OUTPUT] = {\n");
    for (int i = 0; i < l->args.class_count; i++) {
        cr_text_append(text, "    ");
        print_string(l->args.class_names[i], text);
        cr_text_append(text, ",\n");
    }
    cr_text_append(text, "};\n");
}

static void print_numbers(const float *numbers, int count, cr_text *text)
{
    for (int i = 0; i < count; i++)
        cr_text_printf(text, "%s(float)%.9g", i ? ", " : "", (double)numbers[i]);
}

/* The function that makes the input of the net from a picture. */
static void print_prepare(const struct lowering *l, const struct program *program, cr_text *text)
{
    cr_shape in = value_shape(l, l->graph->inputs[0]);
    cr_text_append(text, "\n/* What was done to pictures in training. */\n"
                         "static void prepare(struct picture p, const char *path, float *in)\n{\n");
    if (program->normals) {
        cr_text_printf(text, "    static const float mean[] = { ");
        print_numbers(program->mean, program->normals, text);
        cr_text_append(text, " }, deviation[] = { ");
        print_numbers(program->deviation, program->normals, text);
        cr_text_append(text, " };\n");
    }
    cr_text_append(text, "    size_t i, c;\n");
    cr_text_printf(text, "    convert(&p, %lld);\n",
                   program->makes_grey ? 3LL : (long long)in.dim[1]);
    if (program->body.data)
        cr_text_append(text, program->body.data);
    cr_text_append(
        text,
        "    if (p.width != NET_WIDTH || p.height != NET_HEIGHT || p.channels != NET_CHANNELS)\n"
        "        refuse(path, \"the net takes pictures of another size\");\n"
        "    for (c = 0; c < NET_CHANNELS; c++) {\n"
        "        for (i = 0; i < NET_HEIGHT * NET_WIDTH; i++)\n");
    if (program->normals)
        cr_text_printf(
            text,
            "            *in++ = ((float)p.pixels[i * NET_CHANNELS + c] / 255 - mean[%s]) "
            "/ deviation[%s];\n",
            program->normals > 1 ? "c" : "0", program->normals > 1 ? "c" : "0");
    else
        cr_text_append(text, "            *in++ = (float)p.pixels[i * NET_CHANNELS + c] / 255;\n");
    cr_text_append(text, "    }\n    free(p.pixels);\n}\n");
}

static const char raw_text[] =
    "\n/* Raw numbers, little-endian, as the net takes them. */\n"
    "static void read_raw(FILE *file, const char *path, float *in)\n{\n"
    "    size_t i;\n"
    "    for (i = 0; i < NET_INPUT; i++) {\n"
    "        unsigned char byte[4];\n        unsigned bits;\n"
    "        if (fread(byte, 1, 4, file) != 4)\n"
    "            refuse(path, \"it is %s\");\n"
    "        bits = byte[0] | (unsigned)byte[1] << 8 | (unsigned)byte[2] << 16 |\n"
    "               (unsigned)byte[3] << 24;\n"
    "        memcpy(&in[i], &bits, 4);\n    }\n}\n";

static const char main_text[] = "\n/* Prints the five classes of the highest probability. */\n"
                                "static void print_classes(const float *out)\n{\n"
                                "    float most = out[0], sum = 0;\n"
                                "    int taken[5], rank, i, k;\n"
                                "    for (i = 1; i < NET_OUTPUT; i++)\n"
                                "        most = out[i] > most ? out[i] : most;\n"
                                "    for (i = 0; i < NET_OUTPUT; i++)\n"
                                "        sum += expf(out[i] - most);\n"
                                "    for (rank = 0; rank < 5 && rank < NET_OUTPUT; rank++) {\n"
                                "        int best = -1;\n"
                                "        for (i = 0; i < NET_OUTPUT; i++) {\n"
                                "            int is_taken = 0;\n"
                                "            for (k = 0; k < rank; k++)\n"
                                "                is_taken |= taken[k] == i;\n"
                                "            if (!is_taken && (best < 0 || out[i] > out[best]))\n"
                                "                best = i;\n        }\n"
                                "        taken[rank] = best;\n";

static void print_main_function(const struct lowering *l, bool pictures, cr_text *text)
{
    bool file = l->args.weights == CR_C_WEIGHTS_FILE;
    cr_text_append(text, main_text);
    cr_text_printf(
        text,
        "        printf(\"%%6.2f%%%%  %s\\n\", 100.0 * (double)(expf(out[best] - most) / "
        "sum), %s);\n    }\n}\n",
        l->args.class_names ? "%s" : "%d", l->args.class_names ? "labels[best]" : "best");
    cr_text_printf(text,
                   "\nint main(int argc, char **argv)\n{\n"
                   "    static float in[NET_INPUT], out[NET_OUTPUT];\n%s"
                   "    const int values = argc > 1 && strcmp(argv[1], \"--values\") == 0;\n"
                   "    const char *path;\n    FILE *file;\n    int i%s;\n"
                   "    if (argc - values != %d) {\n"
                   "        fprintf(stderr, \"usage: %%s [--values] %s%s\\n\", argv[0]);\n"
                   "        return 2;\n    }\n",
                   file ? "    static float weights[NET_WEIGHTS];\n" : "",
                   pictures ? ", first, second" : "", file ? 3 : 2, file ? "net_weights.bin " : "",
                   pictures ? "PICTURE.ppm" : "NUMBERS");
    if (file)
        cr_text_append(text, "    if (net_read_weights(argv[1 + values], weights) != 0)\n"
                             "        refuse(argv[1 + values], \"it does not hold the weights of "
                             "this net\");\n");
    cr_text_append(text, "    path = argv[argc - 1];\n    file = fopen(path, \"rb\");\n"
                         "    if (!file)\n        refuse(path, \"it cannot be opened\");\n");
    if (pictures)
        cr_text_append(text, "    first = getc(file);\n    second = getc(file);\n"
                             "    if (first == 'P' && (second == '5' || second == '6')) {\n"
                             "        prepare(read_picture(file, path, second), path, in);\n"
                             "    } else {\n        rewind(file);\n"
                             "        read_raw(file, path, in);\n    }\n");
    else
        cr_text_append(text, "    read_raw(file, path, in);\n");
    cr_text_append(text, "    fclose(file);\n    net_run(in, out);\n"
                         "    if (!values)\n        print_classes(out);\n"
                         "    for (i = 0; values && i < NET_OUTPUT; i++)\n"
                         "        printf(\"%.9g\\n\", (double)out[i]);\n    return 0;\n}\n");
}

cr_status print_main(const struct lowering *l, cr_text *text)
{
    cr_shape in = value_shape(l, l->graph->inputs[0]);
    struct program program = { 0 };
    program.wanted = cr_alloc_zeroed((size_t)l->parts.count + 1, sizeof *program.wanted);
    if (!program.wanted)
        return cr_error_status();
    if (in.ndim == 4 && (in.dim[1] == 1 || in.dim[1] == 3))
        write_transforms(l, &program);
    bool pictures = in.ndim == 4 && (in.dim[1] == 1 || in.dim[1] == 3) && l->args.transforms &&
                    !program.unknown;
    parts_want(&l->parts, "program_head", program.wanted);
    if (pictures) {
        parts_want(&l->parts, "program_read", program.wanted);
        parts_want(&l->parts, "program_channels", program.wanted);
    }
    cr_text_printf(text, "/* Runs %s on a file: %s. */\n", l->args.name,
                   pictures ? "a binary PPM or PGM picture, or raw float32"
                            : "raw float32 numbers, prepared as in training");
    if (program.unknown)
        cr_text_printf(text,
                       "/* Pictures are not read, as the transform %s is not written as C. "
                       "*/\n",
                       program.unknown);
    parts_print(&l->parts, program.wanted, text);
    print_labels(l, text);
    if (pictures)
        print_prepare(l, &program, text);
    cr_text_printf(text, raw_text,
                   pictures ? "neither a PPM or PGM picture nor as many numbers as the net takes"
                            : "shorter than the numbers that the net takes");
    print_main_function(l, pictures, text);
    cr_text_free(&program.body);
    cr_free(program.wanted);
    return cr_error_status();
}
