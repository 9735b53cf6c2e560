/* Fuzzes the reader of ONNX files: whatever the bytes, they are refused with a sentence, or the
 * model can be asked about, written without its weights and read again, and run for its shapes;
 * and nothing leaks. Graphs that make tensors of any size from numbers in the file are not run, as
 * they may ask for all memory with good reason. */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "cresset/memory.h"
#include "cresset/onnx.h"
#include "fuzz.h"

const char *const fuzz_words[] = { "Conv",    "Gemm",     "Reshape",  "Slice",
                                   "Concat",  "Split",    "Resize",   "If",
                                   "Softmax", "Squeeze",  "MatMul",   "Cast",
                                   "axis",    "pads",     "strides",  "transB",
                                   "ai.onnx", "\x08\x07", "\x12\x00", "\x0a\xff\xff\xff\xff\x0f",
                                   "x",       "w",        NULL };

static const char *const sized[] = { "Loop", "Expand", "Range",    "Tile", "OneHot", "Pad",   "Of",
                                     "Eye",  "Resize", "Upsample", "pads", "Window", "Center" };

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

static bool makes_sizes(const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < sizeof sized / sizeof *sized; i++) {
        if (memmem(data, size, sized[i], strlen(sized[i])))
            return true;
    }
    return false;
}

/* Asks for everything that can be asked. */
static void ask(const cr_onnx *onnx)
{
    for (int i = 0; i < cr_onnx_input_count(onnx); i++)
        check(cr_onnx_input(onnx, i).name[0] != '\0');
    for (int i = 0; i < cr_onnx_output_count(onnx); i++)
        check(cr_onnx_output(onnx, i).type != NULL);
    for (int i = 0; i < cr_onnx_metadata_count(onnx); i++) {
        cr_string_pair pair = cr_onnx_metadata_at(onnx, i);
        check(cr_onnx_metadata(onnx, pair.key) != NULL);
    }
    check(cr_onnx_as_classifier(onnx).classes >= 0 && cr_onnx_producer(onnx) != NULL);
}

/* The file without weights opens again. */
static void strip(const cr_onnx *onnx)
{
    size_t size;
    char *bytes = cr_onnx_graph_bytes(onnx, &size);
    check(bytes != NULL);
    cr_onnx *again = cr_onnx_open_graph(bytes, size, "again");
    check(again != NULL && cr_onnx_node_count(again) == cr_onnx_node_count(onnx));
    cr_onnx_close(again);
    cr_free(bytes);
}

static void run_shapes(const cr_onnx *onnx)
{
    cr_shape shape = CR_SHAPE(2, 3, 4, 4);
    cr_onnx_port port =
        cr_onnx_input_count(onnx) == 1 ? cr_onnx_input(onnx, 0) : (cr_onnx_port){ 0 };
    if (!port.is_tensor || !port.has_dtype || cr_onnx_output_count(onnx) < 1)
        return;
    for (int d = 0; port.has_shape && d < port.shape.ndim; d++) {
        if (port.shape.dim[d] > 64)
            return;
        shape.dim[d] = port.shape.dim[d] > 0 ? port.shape.dim[d] : 2;
    }
    shape.ndim = port.has_shape ? port.shape.ndim : 4;
    cr_model *model = cr_model_new(.seed = 1);
    cr_summary summary = { 0 };
    cr_status status = cr_model_build(model, cr_onnx_run, onnx, shape, port.dtype, &summary);
    check(status == CR_OK || cr_error_message()[0] != '\0');
    cr_error_clear();
    cr_summary_free(&summary);
    cr_model_free(model);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    cr_onnx *onnx = cr_onnx_open_memory(data, size, "fuzz");
    accepted = onnx != NULL;
    check(accepted != cr_failed());
    check(accepted || cr_error_message()[0] != '\0');
    cr_error_clear();
    if (onnx) {
        ask(onnx);
        strip(onnx);
        if (!makes_sizes(data, size))
            run_shapes(onnx);
    }
    cr_onnx_close(onnx);
    cr_frame_end_all();
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

/* ---- seeds ---- */

/* A message that grows. */
struct message {
    uint8_t bytes[2048];
    size_t size;
};

static void put_varint(struct message *m, uint64_t value)
{
    for (; value > 127; value >>= 7)
        m->bytes[m->size++] = (uint8_t)(value | 128);
    m->bytes[m->size++] = (uint8_t)value;
}

static void put_number(struct message *m, unsigned field, uint64_t value)
{
    put_varint(m, field << 3);
    put_varint(m, value);
}

static void put_bytes(struct message *m, unsigned field, const void *bytes, size_t size)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, size);
    memcpy(m->bytes + m->size, bytes, size);
    m->size += size;
}

static void put_text(struct message *m, unsigned field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static void put_message(struct message *m, unsigned field, const struct message *inner)
{
    put_bytes(m, field, inner->bytes, inner->size);
}

/* float or int64 elements, as raw bytes or as numbers. */
static void put_tensor(struct message *graph, const char *name, int type, int rows, int columns,
                       bool raw)
{
    struct message m = { .size = 0 }, numbers = { .size = 0 };
    int count = rows * (columns ? columns : 1);
    put_number(&m, 1, (uint64_t)rows);
    if (columns)
        put_number(&m, 1, (uint64_t)columns);
    put_number(&m, 2, (uint64_t)type);
    put_text(&m, 8, name);
    for (int i = 0; i < count; i++) {
        float f = (float)i / 4;
        int64_t n = i == 0 ? 2 : -1;
        if (type == 1 || raw) {
            size_t size = type == 1 ? sizeof f : sizeof n;
            memcpy(numbers.bytes + numbers.size, type == 1 ? (void *)&f : (void *)&n, size);
            numbers.size += size;
        } else {
            put_varint(&numbers, (uint64_t)n);
        }
    }
    put_message(&m, raw ? 9 : type == 1 ? 4 : 7, &numbers);
    put_message(graph, 5, &m);
}

static void put_port(struct message *graph, unsigned field, const char *name, int columns)
{
    struct message m = { .size = 0 }, type = { .size = 0 }, tensor = { .size = 0 },
                   shape = { .size = 0 }, dim = { .size = 0 };
    put_text(&dim, 2, "n");
    put_message(&shape, 1, &dim);
    dim.size = 0;
    put_number(&dim, 1, (uint64_t)columns);
    put_message(&shape, 1, &dim);
    put_number(&tensor, 1, 1);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&m, 1, name);
    put_message(&m, 2, &type);
    put_message(graph, field, &m);
}

/* inputs: names parted by spaces. An integer attribute, or a graph under that name. */
static void put_node(struct message *graph, const char *op, const char *inputs, const char *output,
                     const char *attribute, int64_t value, const struct message *inner)
{
    struct message m = { .size = 0 }, a = { .size = 0 };
    while (*inputs) {
        size_t length = strcspn(inputs, " ");
        put_bytes(&m, 1, inputs, length);
        inputs += length + (inputs[length] == ' ');
    }
    put_text(&m, 2, output);
    put_text(&m, 4, op);
    if (attribute) {
        put_text(&a, 1, attribute);
        if (inner)
            put_message(&a, 6, inner);
        else
            put_number(&a, 3, (uint64_t)value);
        put_number(&a, 20, inner ? 5 : 2);
        put_message(&m, 5, &a);
    }
    put_message(graph, 1, &m);
}

static void seed_linear(struct message *graph)
{
    put_tensor(graph, "w", 1, 4, 3, true);
    put_tensor(graph, "b", 1, 4, 0, false);
    put_node(graph, "Gemm", "x w b", "a", "transB", 1, NULL);
    put_node(graph, "Relu", "a", "c", NULL, 0, NULL);
    put_node(graph, "Softmax", "c", "y", "axis", -1, NULL);
}

static void seed_shapes(struct message *graph)
{
    put_tensor(graph, "w", 1, 3, 2, true);
    put_tensor(graph, "s", 7, 2, 0, false);
    put_node(graph, "MatMul", "x w", "a", NULL, 0, NULL);
    put_node(graph, "Shape", "a", "h", NULL, 0, NULL);
    put_node(graph, "Concat", "h h", "k", "axis", 0, NULL);
    put_node(graph, "Reshape", "a s", "y", NULL, 0, NULL);
}

static void seed_branches(struct message *graph)
{
    struct message inner = { .size = 0 };
    put_node(&inner, "Neg", "x", "z", NULL, 0, NULL);
    put_port(&inner, 12, "z", 3);
    put_node(graph, "SequenceConstruct", "x x", "q", NULL, 0, NULL);
    put_node(graph, "ConcatFromSequence", "q", "r", "axis", 1, NULL);
    put_tensor(graph, "c", 7, 1, 0, true);
    put_node(graph, "If", "c", "y", "then_branch", 0, &inner);
}

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    static void (*const seeds[])(struct message *) = { seed_linear, seed_shapes, seed_branches };
    if (index >= (int)(sizeof seeds / sizeof *seeds))
        return 0;
    struct message graph = { .size = 0 }, opset = { .size = 0 }, model = { .size = 0 };
    seeds[index](&graph);
    put_port(&graph, 11, "x", 3);
    put_port(&graph, 12, "y", 3);
    put_number(&opset, 2, 13);
    put_number(&model, 1, 8);
    put_text(&model, 2, "seed");
    put_message(&model, 7, &graph);
    put_message(&model, 8, &opset);
    if (model.size > room)
        return 0;
    memcpy(out, model.bytes, model.size);
    return model.size;
}
