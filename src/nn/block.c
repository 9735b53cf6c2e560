/* Blocks: the parts of a model that repeat, each in a frame of its own, and under activation
 * checkpointing where the model asks for it. */
#include <string.h>

#include "nn/nn.h"

/* What the second run of a block needs; the checkpoint keeps a copy. */
struct block {
    cr_scope at;
    cr_block_function function;
    _Alignas(16) char settings[CR_BLOCK_SETTINGS];
};

static cr_tensor *run_block(cr_tensor *const *inputs, int count, void *context)
{
    const struct block *block = context;
    (void)count;
    return block->function(block->at, inputs, block->settings);
}

static bool is_checkpointed(cr_scope at, cr_tensor *const *inputs, int count)
{
    if (!at.model || !model_checkpoints(at.model) || !cr_grad_enabled())
        return false;
    for (int i = 0; i < count; i++) {
        if (cr_device_of(inputs[i]) == CR_META)
            return false;
    }
    return true;
}

cr_tensor *cr_block_with(cr_scope at, cr_block_function function, const void *settings, size_t size,
                         cr_tensor *const *inputs, int count)
{
    struct block block = { .at = at, .function = function };
    if (cr_failed())
        return NULL;
    if (size > sizeof block.settings) {
        cr_error_set(CR_ERROR_ARGUMENT, "block: settings of over %zu bytes", sizeof block.settings);
        return NULL;
    }
    if (is_checkpointed(at, inputs, count)) {
        memcpy(block.settings, settings, size);
        return cr_checkpoint_with(run_block, inputs, count, &block, sizeof block);
    }
    cr_frame frame = cr_frame_begin();
    const char *around = layer_name;
    layer_name = cr_scope_name(at);
    cr_tensor *output = function(at, inputs, settings);
    layer_name = around;
    layer_tell(at, "Block", count > 0 ? inputs[0] : NULL, output);
    return cr_frame_end_with(frame, output);
}
