/* Explaining a classifier. The layers are watched while it runs; the last few outputs that have
 * places are kept. For Grad-CAM one walk back from the scores of the wanted classes gives the
 * gradients of all of them at once, and the last one with a gradient at some place is taken: in a
 * transformer that reads a class token, the tokens of the very last layer have none. */
#include <math.h>
#include <string.h>

#include "cresset/autograd.h"
#include "cresset/explain.h"
#include "cresset/memory.h"
#include "cresset/ops.h"

enum { KEPT = 32 };

/* Where the places of a layer's output lie: value (n, y, x, c) is at n * sample + y * row +
 * x * column + c * channel + first. */
typedef struct places {
    int64_t height, width, channels;
    int64_t sample, row, column, channel, first;
} places;

/* The outputs of the last layers with places, the last linear layer's input, in a ring. */
typedef struct watched {
    int64_t samples, height, width; /* of what goes in */
    int64_t classes;
    int64_t count;
    cr_tensor *outputs[KEPT];
    places places[KEPT];
    cr_tensor *features;
} watched;

/* Sizes in the ratio of the picture's, to within rounding up at each halving. */
static bool is_in_ratio(const watched *w, int64_t height, int64_t width)
{
    if (height < 1 || width < 1 || height * width < 2)
        return false;
    int64_t reduction = (w->height + height - 1) / height;
    int64_t expected = (w->width + reduction - 1) / reduction;
    return width >= expected - 1 && width <= expected + 1;
}

/* Tokens (N, L, C), after a class token or not; false if they are no grid. */
static bool find_tokens(const watched *w, int64_t length, int64_t channels, places *p)
{
    for (int64_t skipped = 0; skipped < 2; skipped++) {
        int64_t count = length - skipped;
        double ratio = (double)w->height / (double)w->width;
        int64_t height = llround(sqrt((double)count * ratio));
        if (height < 1 || count % height != 0 || !is_in_ratio(w, height, count / height))
            continue;
        int64_t width = count / height;
        *p = (places){ height,           width,    channels, length * channels,
                       width * channels, channels, 1,        skipped * channels };
        return true;
    }
    return false;
}

static bool find_places(const watched *w, const char *kind, cr_tensor *output, places *p)
{
    int dims = cr_ndim(output);
    if (dims < 3 || cr_dim(output, 0) != w->samples || strcmp(kind, "Linear") == 0)
        return false;
    int64_t a = cr_dim(output, 1), b = cr_dim(output, 2);
    if (dims == 3)
        return find_tokens(w, a, b, p);
    int64_t c = cr_dim(output, 3);
    bool last = strcmp(kind, "LayerNorm") == 0; /* channels are the last dimension */
    if (dims != 4)
        return false;
    if (!last && is_in_ratio(w, b, c)) {
        *p = (places){ b, c, a, a * b * c, c, 1, b * c, 0 };
        return true;
    }
    if (is_in_ratio(w, a, b)) {
        *p = (places){ a, b, c, a * b * c, b * c, c, 1, 0 };
        return true;
    }
    return false;
}

static void keep_features(watched *w, cr_tensor *input, cr_tensor *output)
{
    bool scores = cr_ndim(output) == 2 && cr_ndim(input) == 2 && cr_dim(output, 1) == w->classes &&
                  cr_dim(output, 0) == w->samples;
    if (!scores)
        return;
    cr_release(w->features);
    w->features = cr_retain(input);
}

static void on_layer(const char *name, const char *kind, cr_tensor *input, cr_tensor *output,
                     void *context)
{
    watched *w = context;
    places p;
    (void)name;
    if (strcmp(kind, "Linear") == 0 && input)
        keep_features(w, input, output);
    bool in_graph = !cr_grad_enabled() || cr_requires_grad(output);
    if (!in_graph || !find_places(w, kind, output, &p))
        return;
    int64_t at = w->count++ % KEPT;
    cr_release(w->outputs[at]);
    w->outputs[at] = cr_retain(output);
    w->places[at] = p;
}

static void forget(watched *w)
{
    for (int i = 0; i < KEPT; i++)
        cr_release(w->outputs[i]);
    cr_release(w->features);
}

static bool watch_begin(watched *w, const cr_classifier *classifier, const cr_tensor *samples)
{
    if (cr_failed() || !samples)
        return false;
    if (cr_ndim(samples) != 4) {
        cr_error_set(CR_ERROR_SHAPE,
                     "explain: samples of %d dimensions are no pictures (N, C, H, W)",
                     cr_ndim(samples));
        return false;
    }
    *w = (watched){ .samples = cr_dim(samples, 0),
                    .height = cr_dim(samples, 2),
                    .width = cr_dim(samples, 3),
                    .classes = classifier->class_count };
    return true;
}

/* Runs the classifier, watched, in eval mode; the scores as float32. */
static cr_tensor *run_watched(watched *w, const cr_classifier *classifier, cr_tensor *samples,
                              const char *pattern)
{
    bool training_was = cr_model_is_training(classifier->model);
    cr_model_train(classifier->model, false);
    cr_layer_watch was = cr_watch_layers((cr_layer_watch){ pattern, on_layer, w });
    cr_tensor *logits = cr_to_dtype(cr_classifier_forward(classifier, samples), CR_F32);
    cr_watch_layers(was);
    cr_model_train(classifier->model, training_was);
    return logits;
}

/* ---- Grad-CAM ---- */

/* One at the class of each sample. */
static cr_tensor *seed_of(cr_tensor *logits, const int64_t *classes)
{
    int64_t count = cr_dim(logits, 0), width = cr_dim(logits, 1);
    cr_tensor *seed = cr_zeros(CR_SHAPE(count, width));
    cr_tensor *whole = cr_contiguous(logits);
    if (!seed || !whole)
        return NULL;
    const float *scores = cr_data(whole);
    float *ones = cr_data(seed);
    for (int64_t i = 0; i < count; i++) {
        int64_t best = 0;
        for (int64_t c = 1; c < width; c++)
            best = scores[i * width + c] > scores[i * width + best] ? c : best;
        int64_t class = classes ? classes[i] : best;
        if (class < 0 || class >= width) {
            cr_error_set(CR_ERROR_ARGUMENT,
                         "Grad-CAM: class %lld of sample %lld is outside 0 to %lld",
                         (long long)class, (long long)i, (long long)(width - 1));
            return NULL;
        }
        ones[i * width + class] = 1;
    }
    return seed;
}

static const float *floats_of(cr_tensor *tensor)
{
    cr_tensor *whole = cr_contiguous(cr_to_dtype(cr_detach(tensor), CR_F32));
    return whole ? cr_data(whole) : NULL;
}

static bool has_gradient(const float *gradient, const places *p, int64_t samples)
{
    for (int64_t n = 0; n < samples; n++)
        for (int64_t y = 0; y < p->height; y++)
            for (int64_t x = 0; x < p->width; x++)
                for (int64_t c = 0; c < p->channels; c++)
                    if (gradient[n * p->sample + y * p->row + x * p->column + c * p->channel +
                                 p->first] != 0)
                        return true;
    return false;
}

/* The map of one sample at the layer's resolution, 1 at its highest. */
static void weigh(const float *values, const float *gradient, const places *p, float *map)
{
    int64_t count = p->height * p->width;
    memset(map, 0, (size_t)count * sizeof *map);
    for (int64_t c = 0; c < p->channels; c++) {
        double weight = 0;
        for (int64_t i = 0; i < count; i++)
            weight += gradient[i / p->width * p->row + i % p->width * p->column + c * p->channel];
        weight /= (double)count;
        for (int64_t i = 0; i < count; i++)
            map[i] += (float)weight *
                      values[i / p->width * p->row + i % p->width * p->column + c * p->channel];
    }
    float highest = 0;
    for (int64_t i = 0; i < count; i++) {
        map[i] = map[i] > 0 ? map[i] : 0;
        highest = map[i] > highest ? map[i] : highest;
    }
    for (int64_t i = 0; i < count && highest > 0; i++)
        map[i] /= highest;
}

/* The maps from the last layer on which the scores depend; NULL without an error if there is none.
 */
static cr_tensor *make_maps(const watched *w, cr_tensor *const *gradients, const int *order,
                            int count)
{
    for (int i = count - 1; i >= 0; i--) {
        const places *p = &w->places[order[i]];
        const float *gradient = gradients[i] ? floats_of(gradients[i]) : NULL;
        if (cr_failed())
            return NULL;
        if (!gradient || !has_gradient(gradient, p, w->samples))
            continue;
        const float *values = floats_of(w->outputs[order[i]]);
        cr_tensor *small = cr_zeros(CR_SHAPE(w->samples, 1, p->height, p->width));
        for (int64_t n = 0; values && small && n < w->samples; n++)
            weigh(values + n * p->sample + p->first, gradient + n * p->sample + p->first, p,
                  (float *)cr_data(small) + n * p->height * p->width);
        cr_tensor *large = cr_interpolate(small, .size = CR_SHAPE(w->height, w->width),
                                          .mode = CR_INTERPOLATE_BILINEAR);
        return cr_contiguous(cr_reshape(large, CR_SHAPE(w->samples, w->height, w->width)));
    }
    return NULL;
}

static cr_tensor *find_maps(watched *w, const cr_classifier *classifier,
                            const cr_grad_cam_args *args)
{
    int order[KEPT];
    cr_tensor *inputs[KEPT], *gradients[KEPT] = { NULL };
    int count = 0;
    /* A leaf that wants a gradient makes a graph also where all parameters are frozen. */
    cr_tensor *samples = cr_set_requires_grad(cr_detach(args->samples), true);
    cr_tensor *logits = run_watched(w, classifier, samples, args->layer);
    if (!logits)
        return NULL;
    for (int64_t i = w->count > KEPT ? w->count - KEPT : 0; i < w->count; i++) {
        order[count] = (int)(i % KEPT);
        inputs[count++] = w->outputs[i % KEPT];
    }
    cr_tensor *seed = seed_of(logits, args->classes);
    cr_tensor *maps = NULL;
    if (seed && count > 0 &&
        cr_grad((cr_backward_args){ .output = logits, .gradient = seed }, inputs, count,
                gradients) == CR_OK) {
        bool was = cr_set_grad_enabled(false);
        maps = make_maps(w, gradients, order, count);
        cr_set_grad_enabled(was);
    }
    if (!maps && !cr_failed())
        cr_error_set(CR_ERROR_UNSUPPORTED,
                     "Grad-CAM: %s has no layer with places in the picture%s%s on which its scores "
                     "depend",
                     classifier->bound.architecture->name, args->layer ? " among " : "",
                     args->layer ? args->layer : "");
    return maps;
}

cr_tensor *cr_grad_cam_with(const cr_classifier *classifier, cr_grad_cam_args args)
{
    watched w;
    if (!watch_begin(&w, classifier, args.samples))
        return NULL;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(true);
    cr_tensor *maps = find_maps(&w, classifier, &args);
    cr_set_grad_enabled(was);
    forget(&w);
    return cr_frame_end_with(frame, maps);
}

/* ---- features ---- */

static cr_tensor *mean_over_places(const watched *w)
{
    int at = (int)((w->count - 1) % KEPT);
    const places *p = &w->places[at];
    const float *values = floats_of(w->outputs[at]);
    cr_tensor *means = cr_zeros(CR_SHAPE(w->samples, p->channels));
    if (!values || !means)
        return NULL;
    float *mean = cr_data(means);
    for (int64_t n = 0; n < w->samples; n++) {
        for (int64_t c = 0; c < p->channels; c++) {
            double sum = 0;
            for (int64_t i = 0; i < p->height * p->width; i++)
                sum += values[n * p->sample + p->first + c * p->channel + i / p->width * p->row +
                              i % p->width * p->column];
            mean[n * p->channels + c] = (float)(sum / (double)(p->height * p->width));
        }
    }
    return means;
}

cr_tensor *cr_classifier_features(const cr_classifier *classifier, cr_tensor *samples)
{
    watched w;
    cr_tensor *features = NULL;
    if (!watch_begin(&w, classifier, samples))
        return NULL;
    cr_frame frame = cr_frame_begin();
    bool was = cr_set_grad_enabled(false);
    if (run_watched(&w, classifier, samples, NULL)) {
        if (w.features)
            features = cr_contiguous(cr_to_dtype(cr_frame_add(cr_retain(w.features)), CR_F32));
        else if (w.count > 0)
            features = mean_over_places(&w);
        else
            cr_error_set(CR_ERROR_UNSUPPORTED, "%s has no layer that gives features",
                         classifier->bound.architecture->name);
    }
    cr_set_grad_enabled(was);
    forget(&w);
    return cr_frame_end_with(frame, features);
}

/* ---- painting ---- */

void cr_heat_paint(const float *map, const uint8_t *pixels, int64_t height, int64_t width,
                   int64_t channels, uint8_t *painted)
{
    static const float cool[3] = { 255, 190, 40 }, hot[3] = { 225, 20, 50 };
    for (int64_t i = 0; i < height * width; i++) {
        const uint8_t *pixel = pixels + i * channels;
        float grey = channels < 3 ? (float)pixel[0]
                                  : 0.299F * (float)pixel[0] + 0.587F * (float)pixel[1] +
                                        0.114F * (float)pixel[2];
        float heat = map[i] < 0 ? 0 : map[i] > 1 ? 1 : map[i];
        float share = 0.7F * heat;
        for (int k = 0; k < 3; k++) {
            float warm = cool[k] + (hot[k] - cool[k]) * heat;
            painted[3 * i + k] = (uint8_t)(grey + (warm - grey) * share + 0.5F);
        }
    }
}
