/* Fuzzes what the model server parses of a request's body: JSON (its depth, its number of values),
 * a request to infer with binary tensors behind the JSON, and forms. Whatever the bytes, they give
 * a job that fits the model, or a refusal with a status and a sentence, and nothing leaks.
 *
 * The first byte of an input says which it is: 'f' a form, 'j' a request in JSON, 'b' one with the
 * header of the binary extension, whose value are the next four bytes. */
#include <stdlib.h>
#include <string.h>

#include "cresset/memory.h"
#include "fuzz.h"
#include "serve/serve.h"

#define FORM_TYPE "multipart/form-data; boundary=frontier"

const char *const fuzz_words[] = {
    "\"inputs\":",   "\"outputs\":",   "\"name\":",       "\"shape\":", "\"datatype\":",
    "\"data\":",     "\"FP32\"",       "\"INT64\"",       "\"UINT8\"",  "\"BOOL\"",
    "\"x\"",         "\"ids\"",        "[[[[[[[[",        "]]]]",       "\"binary_data_size\":",
    "\"timeout\":",  "\r\n--frontier", "--frontier--",    "\r\n\r\n",   "Content-Disposition: ",
    "name=\"data\"", "filename=\"",    "\"parameters\":", NULL
};

static bool accepted;

static void check(bool holds)
{
    if (!holds)
        __builtin_trap();
}

/* A model of three inputs; nothing is ever run on it. */
static runner *a_runner(void)
{
    static tensor_spec inputs[] = { { (char *)"x", CR_F32, { 2, { -1, 2 } } },
                                    { (char *)"ids", CR_I64, { 2, { -1, -1 } } },
                                    { (char *)"mask", CR_BOOL, { 1, { -1 } } } };
    static tensor_spec outputs[] = { { (char *)"y", CR_F32, { 2, { -1, 2 } } } };
    static runner made = { .references = 1,
                           .platform = "fuzz",
                           .input_count = 3,
                           .output_count = 1,
                           .inputs = inputs,
                           .outputs = outputs,
                           .batches = true };
    return &made;
}

static void check_job(const job *work)
{
    check(work->rows >= 1);
    for (int i = 0; i < 3; i++) {
        const tensor_value *value = &work->inputs[i];
        size_t size = cr_dtype_size(work->runner->inputs[i].dtype);
        check(value->data && value->shape.dim[0] == work->rows);
        check(value->bytes == (size_t)cr_shape_numel(&value->shape) * size);
    }
}

static void try_infer(const char *body, size_t size, int64_t json_length, serve_answer *answer)
{
    infer_request request;
    accepted = infer_parse(a_runner(), body, size, json_length, &request, answer);
    if (!accepted)
        return;
    check_job(request.work);
    job_free(request.work);
    cr_free(request.id);
    json_decref(request.outputs);
}

static void try_form(const char *body, size_t size, serve_answer *answer)
{
    const char *part = NULL;
    size_t part_size = 0;
    accepted = multipart_find(FORM_TYPE, body, size, "data", &part, &part_size, answer);
    check(!accepted || (part >= body && part + part_size <= body + size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t live = cr_memory_get_stats().small;
    serve_answer answer = { 0 };
    const char *body = (const char *)data + 1;
    accepted = false;
    if (size > 0 && data[0] == 'f') {
        try_form(body, size - 1, &answer);
    } else if (size > 4 && data[0] == 'b') {
        char digits[5] = { 0 };
        long long length = 0;
        memcpy(digits, body, 4);
        cr_parse_int64(digits, &length);
        try_infer(body + 4, size - 5, length < 0 ? 0 : length, &answer);
    } else if (size > 0) {
        try_infer(body, size - 1, -1, &answer);
    }
    check(accepted || size == 0 || (answer.status >= 400 && answer.refusal[0]));
    check(!accepted || answer.status == 0);
    check(!cr_failed());
    serve_answer_free(&answer);
    check(cr_memory_get_stats().small == live);
    return 0;
}

int fuzz_accepted(void)
{
    return accepted;
}

static const char *const seeds[] = {
    "j{\"inputs\": [{\"name\": \"x\", \"shape\": [2, 2], \"datatype\": \"FP32\", \"data\": [[1, "
    "2.5], [-3e1, 4]]}, {\"name\": \"ids\", \"shape\": [2, 1], \"datatype\": \"INT64\", \"data\": "
    "[7, 8]}, {\"name\": \"mask\", \"shape\": [2], \"datatype\": \"BOOL\", \"data\": [true, 0]}], "
    "\"id\": \"a\\u00e9\", \"outputs\": [{\"name\": \"y\", \"parameters\": {\"binary_data\": "
    "true}}], \"parameters\": {\"timeout\": 1000, \"binary_data_output\": false}}",
    "b0287{\"inputs\": [{\"name\": \"x\", \"shape\": [1, 2], \"datatype\": \"FP32\", "
    "\"parameters\": {\"binary_data_size\": 8}}, {\"name\": \"ids\", \"shape\": [1, 1], "
    "\"datatype\": \"INT64\", \"data\": [7]}, {\"name\": \"mask\", \"shape\": [1], \"datatype\": "
    "\"BOOL\", \"parameters\": {\"binary_data_size\": 1}}], \"parameters\": {}, \"id\": "
    "\"0123456789\" }12345678\x01",
    "f--frontier\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--frontier\r\n"
    "Content-Disposition: form-data; name=\"data\"; filename=\"x.png\"\r\nContent-Type: "
    "image/png\r\n\r\nPNG\r\n\r\nPNG\r\n--frontier--\r\n",
    "fpreamble\r\n--frontier\r\nContent-Disposition: form-data; filename=x; name=file\r\n\r\n"
    "\r\n--frontier--",
};

size_t fuzz_seed(int index, uint8_t *out, size_t room)
{
    if (index >= (int)(sizeof seeds / sizeof *seeds))
        return 0;
    size_t size = strlen(seeds[index]);
    if (size > room)
        return 0;
    memcpy(out, seeds[index], size);
    if (out[0] == 'b') { /* the length of the JSON is that up to the bytes of the tensors */
        char digits[8];
        snprintf(digits, sizeof digits, "%04u", (unsigned)(size - 5 - 9) % 10000u);
        memcpy(out + 1, digits, 4);
    }
    return size;
}
