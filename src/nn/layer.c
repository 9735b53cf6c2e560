/* What surrounds each layer: its place in the tree, a frame, and the report to a summary. */
#include "nn/nn.h"
#include "profile/profile.h"

CR_THREAD_LOCAL struct layer_observer *layer_observer;
CR_THREAD_LOCAL const char *layer_name = "";

static CR_THREAD_LOCAL cr_layer_watch layer_watch;

cr_layer_watch cr_watch_layers(cr_layer_watch watch)
{
    cr_layer_watch was = layer_watch;
    layer_watch = watch;
    return was;
}

void layer_tell(cr_scope at, const char *kind, cr_tensor *input, cr_tensor *output)
{
    cr_layer_watch watch = layer_watch;
    if (CR_LIKELY(!watch.function) || !output)
        return;
    const char *name = cr_scope_name(at);
    if (!watch.pattern || cr_pattern_match(watch.pattern, name))
        watch.function(name, kind, input, output, watch.context);
}

struct layer layer_begin(cr_scope at, const char *name, const char *kind, cr_tensor *input)
{
    struct layer layer = { .at = cr_at(at, name), .kind = kind, .input = input };
    layer.frame = cr_frame_begin();
    layer.around = layer_name;
    layer_name = cr_scope_name(layer.at);
    if (layer_observer)
        layer.multiply_adds_before = layer_observer->multiply_adds(layer_observer->context);
    if (profile_mode()) {
        const char *dotted = profile_layer_name(cr_scope_name(layer.at));
        layer.outer = profile_set_layer(dotted);
        layer.profiled = profile_push(PROFILE_LAYER, dotted);
    }
    return layer;
}

cr_tensor *layer_end(struct layer layer, cr_tensor *output)
{
    if (output && layer_observer)
        layer_observer->ended(&layer, output, layer_observer->context);
    layer_tell(layer.at, layer.kind, layer.input, output);
    if (!output && layer.at.node)
        cr_error_prefix("%s", cr_scope_name(layer.at));
    output = cr_frame_end_with(layer.frame, output);
    layer_name = layer.around;
    if (CR_UNLIKELY(layer.profiled)) {
        profile_pop(layer.profiled);
        profile_set_layer(layer.outer);
    }
    return output;
}
