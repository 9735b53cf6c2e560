/* Classifiers whose architecture is an imported ONNX graph: opened by its file's name, kept as
 * base64 of the graph without its weights in the description, opened from there again. */
#include <string.h>

#include "cresset/classifier.h"
#include "cresset/file.h"
#include "cresset/memory.h"
#include "cresset/onnx.h"
#include "cresset/text.h"
#include "train/train_run.h"

#define ENDING     ".onnx"
#define MAX_BASE64 ((size_t)64 << 20) /* characters; a graph without weights has far fewer */

static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

struct cr_imported_graph {
    cr_architecture architecture; /* a name for who asks */
    char *name;
    cr_onnx *onnx;
    char *base64; /* of the file without weights */
    char *bytes;  /* which the open graph reads; NULL: it reads a file */
};

bool is_imported_name(const char *architecture)
{
    size_t length = architecture ? strlen(architecture) : 0, ending = strlen(ENDING);
    return length > ending && strcmp(architecture + length - ending, ENDING) == 0;
}

/* ---- base64 ---- */

static char *encode(const unsigned char *bytes, size_t size)
{
    char *text = cr_alloc(size / 3 * 4 + 8), *to = text;
    for (size_t i = 0; text && i < size; i += 3) {
        size_t rest = size - i;
        unsigned word = (unsigned)bytes[i] << 16 | (rest > 1 ? (unsigned)bytes[i + 1] << 8 : 0) |
                        (rest > 2 ? (unsigned)bytes[i + 2] : 0);
        for (int k = 0; k < 4; k++)
            *to++ = (size_t)k > rest ? '=' : letters[word >> (18 - 6 * k) & 63];
    }
    if (text)
        *to = '\0';
    return text;
}

/* NULL, with an error, for anything but whole groups of four. */
static char *decode(const char *text, size_t *size)
{
    size_t length = strlen(text);
    unsigned char *bytes =
        length % 4 == 0 && length < MAX_BASE64 ? cr_alloc(length / 4 * 3 + 1) : NULL;
    bool good = bytes != NULL;
    *size = 0;
    for (size_t i = 0; good && i < length; i += 4) {
        unsigned word = 0;
        int padding = 0;
        for (size_t k = 0; k < 4 && good; k++) {
            bool pads = text[i + k] == '=' && i + 4 == length && k >= 2;
            const char *at = pads ? letters : strchr(letters, text[i + k]);
            good = at && *at && (pads || !padding);
            padding += pads;
            word = word << 6 | (good ? (unsigned)(at - letters) : 0);
        }
        for (int k = 0; k < 3 - padding; k++)
            bytes[(*size)++] = (unsigned char)(word >> (16 - 8 * k));
    }
    if (good)
        return (char *)bytes;
    cr_free(bytes);
    cr_error_set(CR_ERROR_FORMAT, "its graph is not base64");
    return NULL;
}

/* ---- graphs ---- */

/* "models/net.onnx" → "net" */
static char *stem(const char *path)
{
    const char *slash = strrchr(path, '/');
    const char *base = slash ? slash + 1 : path;
    size_t length = strlen(base);
    if (is_imported_name(base))
        length -= strlen(ENDING);
    return cr_string_format("%.*s", (int)length, base);
}

static cr_status check_graph(const cr_onnx *onnx)
{
    cr_onnx_port input =
        cr_onnx_input_count(onnx) == 1 ? cr_onnx_input(onnx, 0) : (cr_onnx_port){ 0 };
    if (input.is_tensor && input.has_dtype && input.dtype == CR_F32 &&
        (!input.has_shape || input.shape.ndim == 4))
        return CR_OK;
    return cr_error_set(CR_ERROR_UNSUPPORTED,
                        "%s cannot be a classifier of pictures: it does not take one float tensor "
                        "(N, C, H, W)",
                        cr_onnx_path(onnx));
}

/* Fills in what is bound; the graph owns the rest. */
static cr_status bind(cr_classifier *classifier, struct cr_imported_graph *graph, const char *name)
{
    graph->name = stem(name);
    if (!graph->name || !graph->onnx || check_graph(graph->onnx) != CR_OK)
        return cr_error_status();
    graph->architecture = (cr_architecture){ .name = graph->name,
                                             .summary = "imported from an ONNX file",
                                             .classes = cr_onnx_as_classifier(graph->onnx).classes,
                                             .kind = CR_INPUT_IMAGE };
    classifier->bound.architecture = &graph->architecture;
    classifier->bound.onnx = graph->onnx;
    return CR_OK;
}

static struct cr_imported_graph *graph_new(cr_classifier *classifier)
{
    classifier->graph = cr_alloc_zeroed(1, sizeof(struct cr_imported_graph));
    return classifier->graph;
}

cr_status imported_open(cr_classifier *classifier, const char *path)
{
    struct cr_imported_graph *graph = graph_new(classifier);
    size_t size = 0;
    if (!graph)
        return cr_error_status();
    graph->onnx = cr_onnx_open(path);
    char *bytes = graph->onnx ? cr_onnx_graph_bytes(graph->onnx, &size) : NULL;
    graph->base64 = bytes ? encode((const unsigned char *)bytes, size) : NULL;
    cr_free(bytes);
    return graph->base64 ? bind(classifier, graph, path) : cr_error_status();
}

cr_status imported_restore(cr_classifier *classifier, const char *name, const char *base64)
{
    struct cr_imported_graph *graph = graph_new(classifier);
    size_t size = 0;
    if (!graph)
        return cr_error_status();
    graph->base64 = cr_string_copy(base64);
    graph->bytes = graph->base64 ? decode(base64, &size) : NULL;
    graph->onnx = graph->bytes ? cr_onnx_open_graph(graph->bytes, size, name) : NULL;
    return graph->onnx ? bind(classifier, graph, name) : cr_error_status();
}

const char *imported_text(const cr_classifier *classifier)
{
    return classifier->graph ? classifier->graph->base64 : NULL;
}

void imported_free(cr_classifier *classifier)
{
    struct cr_imported_graph *graph = classifier->graph;
    if (!graph)
        return;
    cr_onnx_close(graph->onnx);
    cr_free(graph->name);
    cr_free(graph->base64);
    cr_free(graph->bytes);
    cr_free(graph);
}
