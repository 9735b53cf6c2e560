/* A trained model inside a program: five calls. inference MODEL SAMPLE, where MODEL is a run
 * directory, a file of weights that cresset train wrote, or an ONNX file, and SAMPLE holds the
 * float32 numbers of one sample as the model takes it. Prints the first output. inference.cpp and
 * inference.py are the same in C++ and Python. */
#include <stdio.h>

#include "cresset/cresset.h"

static int fail(cr_session *session, const char *why)
{
    fprintf(stderr, "inference: %s\n", why);
    cr_session_free(session);
    return 1;
}

int main(int count, char **words)
{
    if (count != 3)
        return fail(NULL, "usage: inference MODEL SAMPLE");
    cr_session *session = cr_session_load(words[1]);
    if (!session)
        return fail(NULL, cr_error_message());
    cr_shape shape = cr_session_input_at(session, 0).shape;
    shape.dim[0] = 1; /* the batch, of any size */
    size_t bytes = (size_t)cr_shape_numel(&shape) * sizeof(float), size = 0;
    char *sample = cr_file_read(words[2], 0, &size);
    if (!sample || size != bytes) {
        cr_free(sample);
        return fail(session, sample ? "the sample has another size than the model's input"
                                    : cr_error_message());
    }
    cr_session_input(session, 0, sample, shape, CR_F32);
    cr_session_run(session);
    const float *output = cr_session_output(session, 0, &shape);
    cr_free(sample);
    if (!output)
        return fail(session, cr_error_message());
    for (int64_t i = 0; i < cr_shape_numel(&shape); i++)
        printf("%.5f\n", (double)output[i]);
    cr_session_free(session);
    return 0;
}
