/* Pictures to classify, the way TorchServe takes them: the bytes of a file as the body, or a form
 * with one. /predictions answers as TorchServe does, {label: probability}; /explanations says all
 * there is to say, with a picture of where the model looked. */
#include <string.h>
#include <strings.h>

#include "cresset/image_file.h"
#include "cresset/memory.h"
#include "serve/serve.h"

#define USUAL_TOP 5
#define MAX_TOP   1000

void handle_ping(exchange *ex)
{
    bool healthy = !atomic_load(&ex->server->draining);
    ex->answer.status = healthy ? 200 : 503;
    cr_text_append(&ex->answer.body,
                   healthy ? "{\"status\": \"Healthy\"}\n" : "{\"status\": \"Unhealthy\"}\n");
}

/* ---- the picture ---- */

/* The bytes of the picture, which are a piece of the body. */
static bool find_picture(exchange *ex, const char **picture, size_t *size)
{
    const char *type = exchange_header(ex, "Content-Type");
    *picture = ex->body;
    *size = ex->size;
    if (type && strncasecmp(type, "multipart/form-data", 19) == 0 && ex->size > 0 &&
        !multipart_find(type, ex->body, ex->size, "data", picture, size, &ex->answer))
        return false;
    return *size > 0 || serve_refuse(&ex->answer, 400,
                                     "the request has no picture: send a file as its body, or in a "
                                     "form as \"data\"");
}

static bool check_size(exchange *ex, const char *picture, size_t size)
{
    cr_image_info info;
    if (cr_image_probe_memory(picture, size, "the picture", &info) != CR_OK)
        return serve_refuse_error(&ex->answer, 400);
    return info.width * info.height <= CR_SERVE_MAX_PIXELS ||
           serve_refuse(&ex->answer, 413, "the picture has %lld x %lld pixels; the limit is %lld",
                        (long long)info.width, (long long)info.height,
                        (long long)CR_SERVE_MAX_PIXELS);
}

static bool takes_pictures(exchange *ex, const runner *r)
{
    int64_t channels = r->class_count > 0 ? r->sample.dim[0] : 0;
    return channels == 1 || channels == 3 || channels == 4 ||
           serve_refuse(&ex->answer, 400,
                        "the model %s does not classify pictures; POST tensors to "
                        "/v2/models/%s/infer",
                        ex->version->name, ex->version->name);
}

/* Decodes the picture into the input of a job. */
static bool read_picture(exchange *ex, runner *r)
{
    const char *picture;
    size_t size;
    if (!takes_pictures(ex, r) || !find_picture(ex, &picture, &size) ||
        !check_size(ex, picture, size))
        return false;
    const cr_shape *shape = &r->sample;
    ex->work = job_new(r);
    if (!ex->work)
        return serve_refuse_error(&ex->answer, 503);
    tensor_value *input = &ex->work->inputs[0];
    input->shape = CR_SHAPE(1, shape->dim[0], shape->dim[1], shape->dim[2]);
    input->bytes = (size_t)cr_shape_numel(shape) * sizeof(float);
    input->data = cr_alloc(input->bytes);
    if (!input->data || !runner_read_picture(r, picture, size, input->data))
        return serve_refuse_error(&ex->answer, 400);
    return true;
}

/* ---- parameters ---- */

/* A whole number of the address, `usual` if it is not there. */
static bool number_parameter(exchange *ex, const char *name, int64_t low, int64_t high,
                             int64_t usual, int64_t *value)
{
    const char *text = exchange_parameter(ex, name);
    long long number;
    *value = usual;
    if (!text)
        return true;
    if (!cr_parse_int64(text, &number) || number < low || number > high)
        return serve_refuse(&ex->answer, 400, "the parameter %s is a number from %lld to %lld",
                            name, (long long)low, (long long)high);
    *value = number;
    return true;
}

/* ---- answers ---- */

/* Calls `put` for the classes in the answer, the most probable first. */
static void for_each_rank(exchange *ex, void (*put)(cr_text *out, int64_t class, const char *label,
                                                    double probability))
{
    const runner *r = ex->work->runner;
    const float *probabilities = ex->work->outputs[1].data;
    int64_t class = -1;
    for (int64_t rank = 0; rank < ex->top && rank < r->class_count; rank++) {
        class = infer_next_rank(probabilities, r->class_count, class);
        if (class < 0)
            return;
        if (rank)
            cr_text_append(&ex->answer.body, ", ");
        put(&ex->answer.body, class, r->class_names[class], (double)probabilities[class]);
    }
}

static void put_pair(cr_text *out, int64_t class, const char *label, double probability)
{
    (void)class;
    serve_put_string(out, label);
    cr_text_append(out, ": ");
    serve_put_number(out, probability, 9);
}

static void put_prediction(cr_text *out, int64_t class, const char *label, double probability)
{
    cr_text_printf(out, "{\"class\": %lld, \"label\": ", (long long)class);
    serve_put_string(out, label);
    cr_text_append(out, ", \"probability\": ");
    serve_put_number(out, probability, 9);
    cr_text_append(out, "}");
}

static bool has_failed(exchange *ex)
{
    const job *work = ex->work;
    if (work->status)
        serve_refuse(&ex->answer, work->status, "%s", work->refusal ? work->refusal : "no memory");
    return work->status != 0;
}

static void write_prediction(exchange *ex)
{
    if (has_failed(ex))
        return;
    cr_text_append(&ex->answer.body, "{");
    for_each_rank(ex, put_pair);
    cr_text_append(&ex->answer.body, "}\n");
}

static void put_painting(cr_text *out, const job *work)
{
    if (work->unexplained) {
        cr_text_append(out, ", \"explanation\": null, \"unexplained\": ");
        serve_put_string(out, work->unexplained);
        return;
    }
    cr_text_printf(out,
                   ", \"explanation\": {\"method\": \"Grad-CAM\", \"class\": %lld, \"label\": ",
                   (long long)work->class);
    serve_put_string(out, work->runner->class_names[work->class]);
    cr_text_append(out, ", \"picture\": \"data:image/png;base64,");
    serve_put_base64(out, work->painted.data, work->painted.length);
    cr_text_append(out, "\"}");
}

static void write_explanation(exchange *ex)
{
    cr_text *out = &ex->answer.body;
    if (has_failed(ex))
        return;
    cr_text_append(out, "{\"model_name\": ");
    serve_put_string(out, ex->version->name);
    cr_text_printf(out, ", \"model_version\": \"%lld\", \"predictions\": [",
                   (long long)ex->version->version);
    for_each_rank(ex, put_prediction);
    cr_text_append(out, "]");
    put_painting(out, ex->work);
    infer_put_journey(out, ex->work);
    cr_text_append(out, "}\n");
}

/* ---- routes ---- */

/* Hands a picture to the model; `explained` if it is to be said where that looks. */
static void submit_picture(exchange *ex, runner *r, bool explained)
{
    int64_t class;
    if (!number_parameter(ex, "top", 1, MAX_TOP, USUAL_TOP, &ex->top) || !read_picture(ex, r) ||
        !number_parameter(ex, "class", 0, r->class_count - 1, -1, &class))
        return;
    job *work = ex->work;
    tensor_value *input = &work->inputs[0];
    work->class = class;
    work->explains = explained;
    work->seen = explained ? cr_alloc(input->bytes) : NULL;
    if (explained && !work->seen) {
        serve_refuse_error(&ex->answer, 503);
        return;
    }
    if (explained)
        memcpy(work->seen, input->data, input->bytes);
    runner_finish_sample(r, input->data);
    exchange_submit(ex, explained ? write_explanation : write_prediction);
}

void handle_predict(exchange *ex)
{
    runner *r;
    if (!exchange_find_runner(ex, &r))
        return;
    submit_picture(ex, r, false);
    runner_release(r);
}

void handle_explain(exchange *ex)
{
    runner *r;
    if (!exchange_find_runner(ex, &r))
        return;
    submit_picture(ex, r, true);
    runner_release(r);
}
