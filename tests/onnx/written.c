/* See written.h. */
#include "written.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/onnx.h"
#include "cresset/pointwise.h"

static void print_line(json_t *line)
{
    char *text = json_dumps(line, JSON_COMPACT);
    puts(text ? text : "{}");
    fflush(stdout);
    free(text);
    json_decref(line);
}

bool write_failure(const char *name)
{
    print_line(json_pack("{s:s, s:s}", "name", name, "error", cr_error_message()));
    cr_error_clear();
    return false;
}

/* One tensor in a file of its own. */
static json_t *write_tensor(const char *folder, const char *name, const char *port,
                            cr_tensor *tensor)
{
    char *file = cr_string_format("%s.%s.bin", name, port);
    char *path = file ? cr_path_join(folder, file) : NULL;
    cr_tensor *data = cr_contiguous(tensor);
    json_t *shape = json_array();
    if (!path || !data)
        return NULL;
    cr_file_replace(path, cr_data(data), (size_t)cr_numel(data) * cr_dtype_size(cr_dtype_of(data)));
    for (int d = 0; d < cr_ndim(data); d++)
        json_array_append_new(shape, json_integer(cr_dim(data, d)));
    json_t *entry = json_pack("{s:s, s:s, s:s, s:o}", "name", port, "file", file, "type",
                              cr_dtype_name(cr_dtype_of(data)), "shape", shape);
    cr_free(path);
    cr_free(file);
    return entry;
}

/* How far apart two tensors are at most; infinite where shapes or dtypes differ. */
static double distance(cr_tensor *a, cr_tensor *b)
{
    cr_shape shape = cr_shape_of(a), other = cr_shape_of(b);
    double most = 0;
    if (!cr_shape_equal(&shape, &other) || cr_dtype_of(a) != cr_dtype_of(b))
        return INFINITY;
    for (int64_t i = 0; i < cr_numel(a); i++) {
        double x = cr_element(a, i), y = cr_element(b, i);
        if (x != y && !(isnan(x) && isnan(y)))
            most = fabs(x - y) <= most ? most : fabs(x - y);
    }
    return isnan(most) ? INFINITY : most;
}

/* What our own reading of a file gives, compared with what it should give: how far it is from that,
 * or why it cannot be run. */
static json_t *import_again(const char *path, cr_tensor *const *inputs, int input_count,
                            cr_tensor *const *outputs, int output_count)
{
    cr_tensor *results[CR_GRAPH_OUTPUTS] = { NULL };
    cr_onnx *onnx = cr_onnx_open(path);
    cr_model *model = cr_model_new();
    double most = 0;
    cr_model_train(model, false);
    if (onnx &&
        cr_onnx_run_all(cr_root(model), onnx, inputs, input_count, results, output_count) == CR_OK)
        for (int i = 0; i < output_count; i++)
            most = fmax(most, distance(results[i], outputs[i]));
    json_t *answer = cr_failed()   ? json_string(cr_error_message())
                     : isinf(most) ? json_string("the results of the import are others")
                                   : json_real(most);
    cr_error_clear();
    cr_model_free(model);
    if (onnx)
        cr_onnx_close(onnx);
    return answer;
}

bool write_case(const char *folder, const char *name, const cr_graph *graph,
                cr_tensor *const *inputs, bool is_batched, cr_onnx_args args)
{
    cr_tensor *outputs[CR_GRAPH_OUTPUTS] = { NULL };
    json_t *given = json_array(), *wanted = json_array();
    char *file = cr_string_format("%s.onnx", name);
    char *path = cr_path_join(folder, file);
    cr_frame frame = cr_frame_begin();
    if (cr_graph_save_onnx(graph, path, args, NULL) == CR_OK &&
        cr_graph_run(graph, inputs, outputs) == CR_OK) {
        for (int i = 0; i < cr_graph_input_count(graph); i++)
            json_array_append_new(
                given, write_tensor(folder, name, cr_graph_input_at(graph, i).name, inputs[i]));
        for (int i = 0; i < cr_graph_output_count(graph); i++)
            json_array_append_new(
                wanted, write_tensor(folder, name, cr_graph_output_at(graph, i).name, outputs[i]));
    }
    json_t *imported = cr_failed() ? json_null()
                                   : import_again(path, inputs, cr_graph_input_count(graph),
                                                  outputs, cr_graph_output_count(graph));
    cr_frame_end(frame);
    json_t *line =
        json_pack("{s:s, s:s, s:b, s:o, s:o, s:o}", "name", name, "model", file, "batched",
                  is_batched, "inputs", given, "outputs", wanted, "imported", imported);
    cr_free(path);
    cr_free(file);
    if (cr_failed()) {
        json_decref(line);
        return write_failure(name);
    }
    print_line(line);
    return true;
}
