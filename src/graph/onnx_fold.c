/* Batch norm by running statistics after a convolution or a linear layer is a line in its result:
 * it goes into weight and bias (as PyTorch's exporter has it in eval mode). */
#include <math.h>
#include <string.h>

#include "cresset/pointwise.h"
#include "cresset/shaping.h"
#include "graph/graph.h"
#include "ops/ops.h"

/* BatchNormalization's inputs. */
enum { NORM_X, NORM_SCALE, NORM_SHIFT, NORM_MEAN, NORM_VAR, NORM_COUNT };

/* How often each value is read, outputs of the graph included. */
static int *count_readers(const struct onnx_file *file)
{
    const cr_onnx_graph *graph = file->graph;
    int *readers = cr_alloc_zeroed((size_t)graph->value_count + 1, sizeof *readers);
    for (int o = 0; o < graph->operator_count && readers; o++) {
        const struct written_operator *operation = &graph->operators[o];
        for (int i = 0; i < operation->input_count; i++)
            readers[operation->inputs[i]]++;
    }
    for (int i = 0; i < file->output_count && readers; i++)
        readers[file->outputs[i]]++;
    return readers;
}

static double float_attribute(const struct written_operator *operation, const char *name)
{
    for (int i = 0; i < operation->attribute_count; i++) {
        if (strcmp(operation->attributes[i].name, name) == 0)
            return operation->attributes[i].number;
    }
    return 0;
}

/* A constant vector as (count) float64. */
static cr_tensor *vector_of(const cr_onnx_graph *graph, cr_onnx_value value)
{
    return cr_to_dtype(graph->values[value].data, CR_F64);
}

/* weight * s along its first dimension, and (bias - mean) s + shift, for s = scale / sqrt(var +
 * eps). */
struct folded {
    cr_tensor *weight;
    cr_tensor *bias;
};

static struct folded fold_tensors(const cr_onnx_graph *graph,
                                  const struct written_operator *product,
                                  const struct written_operator *norm)
{
    cr_tensor *weight = graph->values[product->inputs[1]].data;
    cr_tensor *vectors[NORM_COUNT] = { NULL };
    for (int i = NORM_SCALE; i < NORM_COUNT; i++)
        vectors[i] = vector_of(graph, norm->inputs[i]);
    cr_tensor *deviation =
        cr_sqrt(cr_add_scalar(vectors[NORM_VAR], float_attribute(norm, "epsilon")));
    cr_tensor *scale = cr_div(vectors[NORM_SCALE], deviation);
    cr_shape along = { .ndim = cr_ndim(weight) };
    for (int d = 0; d < along.ndim; d++)
        along.dim[d] = d == 0 ? cr_dim(weight, 0) : 1;
    cr_tensor *shift = cr_neg(vectors[NORM_MEAN]);
    if (product->input_count > 2 && product->inputs[2])
        shift = cr_add(shift, vector_of(graph, product->inputs[2]));
    shift = cr_add(cr_mul(shift, scale), vectors[NORM_SHIFT]);
    cr_tensor *scaled = cr_mul(cr_to_dtype(weight, CR_F64), cr_reshape(scale, along));
    return (struct folded){ cr_contiguous(cr_to_dtype(scaled, cr_dtype_of(weight))),
                            cr_to_dtype(shift, cr_dtype_of(weight)) };
}

/* The name of a bias beside a weight, to be freed: "conv1.bias" of "conv1.weight". */
static char *bias_name(const char *weight)
{
    const char *dot = weight ? strrchr(weight, '.') : NULL;
    return weight ? cr_string_format("%.*sbias", dot ? (int)(dot - weight) + 1 : 0, weight) : NULL;
}

static bool are_constants(const cr_onnx_graph *graph, const struct written_operator *operation,
                          int first)
{
    for (int i = first; i < operation->input_count; i++) {
        if (operation->inputs[i] && !graph->values[operation->inputs[i]].data)
            return false;
    }
    return true;
}

/* The operator before a norm whose weights may take it up; NULL if there is none. */
static struct written_operator *foldable(const cr_onnx_graph *graph,
                                         const struct written_operator *norm, const int *readers)
{
    cr_onnx_value x = norm->inputs[NORM_X];
    int maker = graph->values[x].maker;
    struct written_operator *product = maker >= 0 ? &graph->operators[maker] : NULL;
    if (!product || readers[x] != 1 || !are_constants(graph, norm, NORM_SCALE) ||
        !are_constants(graph, product, 1))
        return NULL;
    return strcmp(product->type, "Conv") == 0 || strcmp(product->type, "Gemm") == 0 ? product
                                                                                    : NULL;
}

static cr_status fold_norm(cr_onnx_graph *graph, int number, struct written_operator *product)
{
    struct written_operator *norm = &graph->operators[number];
    cr_frame frame = cr_frame_begin();
    struct folded folded = fold_tensors(graph, product, norm);
    const char *weight_name = graph->values[product->inputs[1]].name;
    char *name = bias_name(weight_name);
    cr_onnx_value weight = cr_failed() ? 0 : onnx_graph_value(graph, weight_name, folded.weight);
    cr_onnx_value bias = weight ? onnx_graph_value(graph, name, folded.bias) : 0;
    cr_onnx_value *inputs = bias ? cr_resize(product->inputs, 3, sizeof *inputs) : NULL;
    if (inputs) {
        inputs[1] = weight;
        inputs[2] = bias;
        product->inputs = inputs;
        product->input_count = 3;
        product->output = norm->output; /* whoever read the norm's result reads this one */
        graph->values[norm->output].maker = (int)(product - graph->operators);
        norm->is_removed = true;
    }
    cr_free(name);
    cr_frame_end(frame);
    return cr_error_status();
}

cr_status onnx_fold(struct onnx_file *file, cr_onnx_report *report)
{
    cr_onnx_graph *graph = file->graph;
    int *readers = count_readers(file);
    for (int o = 0; o < graph->operator_count && readers && !cr_failed(); o++) {
        struct written_operator *norm = &graph->operators[o];
        if (strcmp(norm->type, "BatchNormalization") != 0)
            continue;
        struct written_operator *product = foldable(graph, norm, readers);
        if (product && fold_norm(graph, o, product) == CR_OK)
            report->folded++;
    }
    cr_free(readers);
    return cr_error_status();
}
