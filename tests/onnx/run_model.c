/* Runs an ONNX model of one float32 input on numbers in a file, for comparisons with other
 * runtimes: on its tensors, and first for its shapes alone, which must agree.
 *
 *     run_model MODEL INPUT OUTPUT SIZE… */
#include <stdio.h>
#include <stdlib.h>

#include "cresset/cresset.h"

static int report(void)
{
    fprintf(stderr, "%s\n", cr_error_message());
    return 1;
}

int main(int argc, char **argv)
{
    if (argc < 5 || argc > 4 + CR_MAX_DIMS)
        return 2;
    cr_shape shape = { .ndim = argc - 4 };
    for (int d = 0; d < shape.ndim; d++)
        shape.dim[d] = strtoll(argv[4 + d], NULL, 10);
    size_t bytes = 0;
    char *numbers = cr_file_read(argv[2], 0, &bytes);
    cr_onnx *onnx = numbers ? cr_onnx_open(argv[1]) : NULL;
    cr_model *model = onnx ? cr_model_new(.seed = 1) : NULL;
    if (!model || bytes != (size_t)cr_shape_numel(&shape) * sizeof(float))
        return report();
    cr_model_train(model, false);
    cr_set_grad_enabled(false);
    cr_summary summary = { 0 };
    cr_frame frame = cr_frame_begin();
    cr_tensor *y = NULL;
    if (cr_model_build(model, cr_onnx_run, onnx, shape, CR_F32, &summary) == CR_OK)
        y = cr_onnx_run(cr_root(model), cr_from_buffer(numbers, shape, CR_F32), onnx);
    cr_shape got = cr_shape_of(y);
    if (y && !cr_shape_equal(&got, &summary.output))
        cr_error_set(CR_ERROR_SHAPE, "the run for shapes gave another one");
    if (y)
        cr_file_replace(argv[3], cr_data(cr_contiguous(y)), (size_t)cr_numel(y) * sizeof(float));
    int status = cr_failed() ? report() : 0;
    cr_frame_end(frame);
    cr_summary_free(&summary);
    cr_model_free(model);
    cr_onnx_close(onnx);
    cr_free(numbers);
    return status;
}
