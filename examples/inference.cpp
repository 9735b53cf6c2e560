// A trained model inside a program in C++: what inference.c does, with the session in an owner that
// frees it.
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <vector>

#include <cresset/cresset.h>

struct free_session {
    void operator()(cr_session *session) const { cr_session_free(session); }
};

static int fail(const char *why)
{
    std::fprintf(stderr, "inference: %s\n", why);
    return EXIT_FAILURE;
}

int main(int count, char **words)
{
    if (count != 3)
        return fail("usage: inference MODEL SAMPLE");
    std::unique_ptr<cr_session, free_session> session(cr_session_load(words[1]));
    if (!session)
        return fail(cr_error_message());
    cr_shape shape = cr_session_input_at(session.get(), 0).shape;
    shape.dim[0] = 1; // the batch, of any size
    std::ifstream file(words[2], std::ios::binary);
    std::vector<char> sample{ std::istreambuf_iterator<char>(file), {} };
    if (sample.size() != static_cast<size_t>(cr_shape_numel(&shape)) * sizeof(float))
        return fail("the sample has another size than the model's input");
    cr_session_input(session.get(), 0, sample.data(), shape, CR_F32);
    cr_session_run(session.get());
    auto output = static_cast<const float *>(cr_session_output(session.get(), 0, &shape));
    if (!output)
        return fail(cr_error_message());
    for (int64_t i = 0; i < cr_shape_numel(&shape); i++)
        std::printf("%.5f\n", static_cast<double>(output[i]));
    return EXIT_SUCCESS;
}
