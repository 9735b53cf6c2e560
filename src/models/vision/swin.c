/* Swin transformers: Liu et al., "Swin Transformer: hierarchical vision transformer using shifted
 * windows", 2021, with torchvision's names and numerics. Images stay (N, H, W, C) after the first
 * layer; attention looks at windows of 7×7 positions, every second block at shifted ones. */
#include <stdio.h>

#include "cresset/attention.h"
#include "cresset/models.h"
#include "cresset/ops.h"

enum { WINDOW = 7, PATCH = 4, STAGES = 4, MLP_RATIO = 4 };

#define WINDOW_AREA   (WINDOW * WINDOW)
#define WINDOW_PAIRS  (WINDOW_AREA * WINDOW_AREA)
#define WINDOW_OFFSET (2 * WINDOW - 1) /* how many offsets two positions of a window can have */
#define MASKED        (-100.0F)        /* what torchvision adds to a score that is left out */

struct swin_plan {
    int64_t width;          /* channels of the first stage */
    int64_t depths[STAGES]; /* blocks */
    int64_t heads[STAGES];
    double stochastic_depth; /* of the last block; it grows from 0 */
};

/* ---- windows ---- */

/* The map of features as it is cut into windows. */
struct window_grid {
    int64_t height, width; /* multiples of the window */
    int64_t down, right;   /* how far the windows are shifted */
};

static int64_t round_up(int64_t size)
{
    return (size + WINDOW - 1) / WINDOW * WINDOW;
}

/* A map no larger than one window is not shifted. */
static struct window_grid window_grid_of(const cr_tensor *x, bool shifted)
{
    struct window_grid grid = { .height = round_up(cr_dim(x, 1)), .width = round_up(cr_dim(x, 2)) };
    grid.down = shifted && grid.height > WINDOW ? WINDOW / 2 : 0;
    grid.right = shifted && grid.width > WINDOW ? WINDOW / 2 : 0;
    return grid;
}

/* (N, H, W, C) filled up to whole windows. */
static cr_tensor *fill_up(cr_tensor *x, const struct window_grid *grid)
{
    int64_t below = grid->height - cr_dim(x, 1), beside = grid->width - cr_dim(x, 2);
    if (below || beside)
        x = cr_pad(x, CR_SHAPE(0, 0, 0, beside, 0, below), CR_PAD_CONSTANT, 0);
    return x;
}

/* Back to (N, H, W, C), without what was filled up. */
static cr_tensor *cut_off(cr_tensor *x, const struct window_grid *grid, int64_t height,
                          int64_t width)
{
    if (grid->height != height)
        x = cr_narrow(x, 1, 0, height);
    return grid->width != width ? cr_narrow(x, 2, 0, width) : x;
}

static int64_t window_count(const struct window_grid *grid)
{
    return grid->height / WINDOW * (grid->width / WINDOW);
}

/* Where in the map, which is rolled by the shift, position `i` of a window is. */
static int64_t position_of(const struct window_grid *grid, int64_t window, int64_t i)
{
    int64_t columns = grid->width / WINDOW;
    int64_t row = window / columns * WINDOW + i / WINDOW + grid->down;
    int64_t column = window % columns * WINDOW + i % WINDOW + grid->right;
    return row % grid->height * grid->width + column % grid->width;
}

/* The positions of each window, (windows, 49). */
static cr_tensor *window_positions(const struct window_grid *grid, cr_device device)
{
    cr_tensor *positions =
        cr_empty(CR_SHAPE(window_count(grid), WINDOW_AREA), .dtype = CR_I64, .device = device);
    int64_t *values = cr_data(positions);
    for (int64_t w = 0; values && w < window_count(grid); w++) {
        for (int64_t i = 0; i < WINDOW_AREA; i++)
            *values++ = position_of(grid, w, i);
    }
    return positions;
}

/* ---- attention ---- */

/* For each pair of positions of a window the row of the table of biases. */
static int64_t relative_position(int64_t query, int64_t key)
{
    int64_t down = query / WINDOW - key / WINDOW + WINDOW - 1;
    int64_t right = query % WINDOW - key % WINDOW + WINDOW - 1;
    return down * WINDOW_OFFSET + right;
}

/* The buffer that torchvision keeps for that, filled when it is made. */
static cr_tensor *position_index(cr_scope at)
{
    int before = cr_model_tensor_count(at.model);
    cr_tensor *index = cr_buffer(at, "relative_position_index", CR_SHAPE(WINDOW_PAIRS), CR_I64, 0);
    int64_t *values = cr_data(index);
    if (values && cr_model_tensor_count(at.model) > before) {
        for (int64_t i = 0; i < WINDOW_PAIRS; i++)
            values[i] = relative_position(i / WINDOW_AREA, i % WINDOW_AREA);
    }
    return index;
}

/* What is added to the scores of each head, (heads, 49, 49). */
static cr_tensor *position_bias(cr_scope at, int64_t heads)
{
    cr_tensor *table = cr_parameter(at, "relative_position_bias_table",
                                    CR_SHAPE((int64_t)WINDOW_OFFSET * WINDOW_OFFSET, heads),
                                    (cr_init){ CR_INIT_TRUNC_NORMAL, 0, 0.02 });
    cr_tensor *bias = cr_index_select(table, 0, position_index(at));
    return cr_permute(cr_reshape(bias, CR_SHAPE(WINDOW_AREA, WINDOW_AREA, heads)),
                      CR_SHAPE(2, 0, 1));
}

/* Rolling brings together what is not neighbouring: a position sees only those of its own part. */
static int part_along(int64_t position, int64_t size, int64_t shift)
{
    if (!shift || position < size - WINDOW)
        return 0;
    return position < size - shift ? 1 : 2;
}

/* The part that position `i` of window `window` is in. */
static int part_of(const struct window_grid *grid, int64_t window, int64_t i)
{
    int64_t columns = grid->width / WINDOW;
    int64_t row = window / columns * WINDOW + i / WINDOW;
    int64_t column = window % columns * WINDOW + i % WINDOW;
    return 3 * part_along(row, grid->height, grid->down) +
           part_along(column, grid->width, grid->right);
}

/* (windows, 49, 49): 0, or a large negative number where two positions are in different parts.
 */
static cr_tensor *shift_mask(const struct window_grid *grid, cr_device device)
{
    int64_t windows = window_count(grid);
    cr_tensor *mask = cr_empty(CR_SHAPE(windows, WINDOW_AREA, WINDOW_AREA), .device = device);
    float *values = cr_data(mask);
    for (int64_t w = 0; values && w < windows; w++) {
        int parts[WINDOW_AREA];
        for (int64_t i = 0; i < WINDOW_AREA; i++)
            parts[i] = part_of(grid, w, i);
        for (int64_t pair = 0; pair < WINDOW_PAIRS; pair++)
            *values++ = parts[pair / WINDOW_AREA] == parts[pair % WINDOW_AREA] ? 0 : MASKED;
    }
    return mask;
}

/* (N, H, W, C) → (N, H, W, C) */
static cr_tensor *window_attention(cr_scope at, cr_tensor *x, int64_t heads, bool shifted)
{
    int64_t height = cr_dim(x, 1), width = cr_dim(x, 2), channels = cr_dim(x, 3);
    struct window_grid grid = window_grid_of(x, shifted);
    cr_device device = cr_device_of(x);
    cr_tensor *bias = position_bias(at, heads);
    cr_tensor *mask = grid.down || grid.right ? shift_mask(&grid, device) : NULL;
    cr_tensor *qkv = cr_linear(at, "qkv", fill_up(x, &grid), .out = 3 * channels);
    qkv = cr_unflatten(cr_flatten(qkv, 1, 2), -1, CR_SHAPE(3, heads, channels / heads));
    cr_tensor *y = cr_window_attention(qkv, .windows = window_positions(&grid, device),
                                       .bias = bias, .mask = mask);
    y = cr_unflatten(cr_flatten(y, -2, -1), 1, CR_SHAPE(grid.height, grid.width));
    y = cr_linear(at, "proj", y, .out = channels);
    return cut_off(y, &grid, height, width);
}

/* ---- the net ---- */

struct block_settings {
    int64_t heads;
    bool shifted;
    double drop;
};

static cr_tensor *swin_block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *block = settings;
    cr_tensor *x = inputs[0];
    double drop = block->drop;
    int64_t channels = cr_dim(x, 3);
    cr_tensor *y = cr_layer_norm(at, "norm1", x);
    y = window_attention(cr_at(at, "attn"), y, block->heads, block->shifted);
    x = cr_add(x, cr_stochastic_depth(at, y, drop));
    y = cr_layer_norm(at, "norm2", x);
    y = cr_linear(at, "mlp.0", y, .out = MLP_RATIO * channels, .gelu = true);
    y = cr_linear(at, "mlp.3", y, .out = channels);
    return cr_add(x, cr_stochastic_depth(at, y, drop));
}

/* Every four neighbours become one position: (N, H, W, C) → (N, H/2, W/2, 2 C). */
static cr_tensor *merge_patches(cr_scope at, cr_tensor *x)
{
    int64_t below = cr_dim(x, 1) % 2, beside = cr_dim(x, 2) % 2, channels = cr_dim(x, 3);
    if (below || beside)
        x = cr_pad(x, CR_SHAPE(0, 0, 0, beside, 0, below), CR_PAD_CONSTANT, 0);
    x = cr_unflatten(cr_unflatten(x, 2, CR_SHAPE(-1, 2)), 1, CR_SHAPE(-1, 2));
    x = cr_flatten(cr_permute(x, CR_SHAPE(0, 1, 3, 4, 2, 5)), 3, 5);
    x = cr_layer_norm(at, "norm", x);
    return cr_linear(at, "reduction", x, .out = 2 * channels, .no_bias = true);
}

/* Places are numbered as torchvision's: 0 the patches, then stages and mergings by turns. */
static cr_tensor *stages(cr_scope at, cr_tensor *x, const struct swin_plan *plan, double drop)
{
    int64_t block = 0, blocks = -1;
    for (int s = 0; s < STAGES; s++)
        blocks += plan->depths[s];
    for (int s = 0; s < STAGES; s++) {
        cr_scope stage = cr_at_format(at, "%d", 2 * s + 1);
        for (int64_t i = 0; i < plan->depths[s]; i++, block++) {
            struct block_settings settings = { plan->heads[s], i % 2 == 1,
                                               drop * (double)block / (double)blocks };
            x = cr_block(cr_at_format(stage, "%d", (int)i), swin_block, &settings, x);
        }
        if (s + 1 < STAGES)
            x = merge_patches(cr_at_format(at, "%d", 2 * s + 2), x);
    }
    return x;
}

static cr_tensor *embed_patches(cr_scope at, cr_tensor *x, int64_t width)
{
    x = cr_conv2d(at, "0", x, .out = width, .kernel = PATCH, .stride = PATCH);
    return cr_layer_norm(at, "2", cr_permute(x, CR_SHAPE(0, 2, 3, 1)));
}

/* Torchvision's initialisation where it is not the layers' own: linear layers only. */
static void init_rules(cr_model *model)
{
    static const char *const layers[] = { "*.qkv", "*.proj", "*.mlp.?", "*.reduction", "head" };
    char pattern[32];
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++) {
        snprintf(pattern, sizeof pattern, "%s.weight", layers[i]);
        cr_model_init_rule(model, pattern, (cr_init){ CR_INIT_TRUNC_NORMAL, 0, 0.02 });
        snprintf(pattern, sizeof pattern, "%s.bias", layers[i]);
        cr_model_init_rule(model, pattern, (cr_init){ CR_INIT_ZEROS, 0, 0 });
    }
}

static cr_tensor *swin(cr_scope at, cr_tensor *x, cr_model_settings settings,
                       const struct swin_plan *plan)
{
    if (!cr_model_tensor_count(at.model))
        init_rules(at.model);
    cr_scope features = cr_at(at, "features");
    x = embed_patches(cr_at(features, "0"), x, plan->width);
    x = stages(features, x, plan, settings.no_dropout ? 0 : plan->stochastic_depth);
    x = cr_mean_dims(cr_layer_norm(at, "norm", x), CR_SHAPE(1, 2), false);
    return cr_classifier_head(at, "head", x, settings, (cr_classifier_head_args){ 1000, 0 });
}

cr_tensor *cr_swin_t(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct swin_plan plan = { 96, { 2, 2, 6, 2 }, { 3, 6, 12, 24 }, 0.2 };
    return swin(at, x, settings, &plan);
}

cr_tensor *cr_swin_s(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct swin_plan plan = { 96, { 2, 2, 18, 2 }, { 3, 6, 12, 24 }, 0.3 };
    return swin(at, x, settings, &plan);
}

cr_tensor *cr_swin_b(cr_scope at, cr_tensor *x, cr_model_settings settings)
{
    static const struct swin_plan plan = { 128, { 2, 2, 18, 2 }, { 4, 8, 16, 32 }, 0.5 };
    return swin(at, x, settings, &plan);
}
