/* Swin transformers: Liu et al., "Swin Transformer: hierarchical vision transformer using shifted
 * windows", 2021, and "Swin Transformer V2: scaling up capacity and resolution", 2021, with
 * torchvision's names and numerics. Images stay (N, H, W, C) after the first layer; attention looks
 * at windows of 7×7 (8×8) positions, every second block at shifted ones. */
#include <math.h>

#include "cresset/attention.h"
#include "cresset/normalization.h"
#include "cresset/ops.h"
#include "models/parts.h"

enum { PATCH = 4, STAGES = 4, MLP_RATIO = 4, BIAS_UNITS = 512, MOST_AREA = 64 };

#define MASKED    (-100.0F) /* what torchvision adds to a score that is left out */
#define BIAS_MOST 16        /* of what version 2 adds to a score */
#define UNIT_EPS  1e-12     /* of the length of queries and keys */

struct swin_plan {
    int64_t width;          /* channels of the first stage */
    int64_t depths[STAGES]; /* blocks */
    int64_t heads[STAGES];
    double stochastic_depth; /* of the last block; it grows from 0 */
    int64_t window;          /* its side */
    bool is_v2;
};

/* ---- windows ---- */

/* The map of features as it is cut into windows. */
struct window_grid {
    int64_t side;          /* of a window */
    int64_t height, width; /* multiples of it */
    int64_t down, right;   /* how far the windows are shifted */
};

static int64_t round_up(int64_t size, int64_t side)
{
    return (size + side - 1) / side * side;
}

/* A map no larger than one window is not shifted. */
static struct window_grid window_grid_of(const cr_tensor *x, int64_t side, bool shifted)
{
    struct window_grid grid = { .side = side,
                                .height = round_up(cr_dim(x, 1), side),
                                .width = round_up(cr_dim(x, 2), side) };
    grid.down = shifted && grid.height > side ? side / 2 : 0;
    grid.right = shifted && grid.width > side ? side / 2 : 0;
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
    return grid->height / grid->side * (grid->width / grid->side);
}

/* Where in the map, which is rolled by the shift, position `i` of a window is. */
static int64_t position_of(const struct window_grid *grid, int64_t window, int64_t i)
{
    int64_t side = grid->side, columns = grid->width / side;
    int64_t row = window / columns * side + i / side + grid->down;
    int64_t column = window % columns * side + i % side + grid->right;
    return row % grid->height * grid->width + column % grid->width;
}

/* The positions of each window, (windows, side²). */
static cr_tensor *window_positions(const struct window_grid *grid, cr_device device)
{
    int64_t area = grid->side * grid->side;
    cr_tensor *positions =
        cr_empty(CR_SHAPE(window_count(grid), area), .dtype = CR_I64, .device = device);
    int64_t *values = cr_data(positions);
    for (int64_t w = 0; values && w < window_count(grid); w++) {
        for (int64_t i = 0; i < area; i++)
            *values++ = position_of(grid, w, i);
    }
    return positions;
}

/* ---- attention ---- */

/* For a pair of positions of a window the row of the table of biases. */
static int64_t relative_position(int64_t query, int64_t key, int64_t side)
{
    int64_t down = query / side - key / side + side - 1;
    int64_t right = query % side - key % side + side - 1;
    return down * (2 * side - 1) + right;
}

/* A buffer that torchvision keeps for what follows from the size of windows: true if it is new and
 * has data, to be filled. */
static bool new_buffer(cr_scope at, const char *name, cr_shape shape, cr_dtype dtype,
                       cr_tensor **buffer)
{
    int before = cr_model_tensor_count(at.model);
    *buffer = cr_buffer(at, name, shape, dtype, 0);
    return cr_data(*buffer) && cr_model_tensor_count(at.model) > before;
}

/* relative_position of all pairs. */
static cr_tensor *position_index(cr_scope at, int64_t side)
{
    cr_tensor *index;
    int64_t area = side * side;
    if (new_buffer(at, "relative_position_index", CR_SHAPE(area * area), CR_I64, &index)) {
        int64_t *values = cr_data(index);
        for (int64_t i = 0; i < area * area; i++)
            values[i] = relative_position(i / area, i % area, side);
    }
    return index;
}

/* How far two positions of a window are apart, in both directions: logarithms, so scaled that the
 * windows of pretraining end at 1; (1, 2 side - 1, 2 side - 1, 2). */
static cr_tensor *distances(cr_scope at, int64_t side)
{
    cr_tensor *table;
    int64_t count = 2 * side - 1;
    if (new_buffer(at, "relative_coords_table", CR_SHAPE(1, count, count, 2), CR_F32, &table)) {
        float *values = cr_data(table);
        for (int64_t i = 0; i < count * count * 2; i++) {
            int64_t place = i % 2 == 0 ? i / 2 / count : i / 2 % count;
            double apart = 8.0 * (double)(place - side + 1) / (double)(side - 1);
            values[i] = (float)(copysign(log2(fabs(apart) + 1), apart) / 3);
        }
    }
    return table;
}

/* One bias for each distance and head, ((2 side - 1)², heads): a table, or in version 2 what a
 * perceptron makes of the distances. */
static cr_tensor *bias_table(cr_scope at, const struct swin_plan *plan, int64_t heads)
{
    int64_t count = 2 * plan->window - 1;
    if (!plan->is_v2)
        return cr_parameter(at, "relative_position_bias_table", CR_SHAPE(count * count, heads),
                            (cr_init){ CR_INIT_NORMAL, 0, 0.02 });
    cr_tensor *x = cr_reshape(distances(at, plan->window), CR_SHAPE(-1, 2));
    x = cr_relu(cr_linear(at, "cpb_mlp.0", x, .out = BIAS_UNITS));
    x = cr_linear(at, "cpb_mlp.2", x, .out = heads, .no_bias = true);
    return cr_mul_scalar(cr_sigmoid(x), BIAS_MOST);
}

/* What is added to the scores of each head, (heads, side², side²). */
static cr_tensor *position_bias(cr_scope at, const struct swin_plan *plan, int64_t heads)
{
    int64_t area = plan->window * plan->window;
    cr_tensor *bias =
        cr_index_select(bias_table(at, plan, heads), 0, position_index(at, plan->window));
    return cr_permute(cr_reshape(bias, CR_SHAPE(area, area, heads)), CR_SHAPE(2, 0, 1));
}

/* Rolling brings together what is not neighbouring: a position sees only those of its own part. */
static int part_along(int64_t position, int64_t size, int64_t side, int64_t shift)
{
    if (!shift || position < size - side)
        return 0;
    return position < size - shift ? 1 : 2;
}

/* The part that position `i` of window `window` is in. */
static int part_of(const struct window_grid *grid, int64_t window, int64_t i)
{
    int64_t side = grid->side, columns = grid->width / side;
    int64_t row = window / columns * side + i / side;
    int64_t column = window % columns * side + i % side;
    return 3 * part_along(row, grid->height, side, grid->down) +
           part_along(column, grid->width, side, grid->right);
}

/* (windows, side², side²): 0, or a large negative number where two positions are in different
 * parts. */
static cr_tensor *shift_mask(const struct window_grid *grid, cr_device device)
{
    int64_t windows = window_count(grid), area = grid->side * grid->side;
    cr_tensor *mask = cr_empty(CR_SHAPE(windows, area, area), .device = device);
    float *values = cr_data(mask);
    for (int64_t w = 0; values && w < windows; w++) {
        int parts[MOST_AREA];
        for (int64_t i = 0; i < area; i++)
            parts[i] = part_of(grid, w, i);
        for (int64_t pair = 0; pair < area * area; pair++)
            *values++ = parts[pair / area] == parts[pair % area] ? 0 : MASKED;
    }
    return mask;
}

/* Query, key and value of version 2, where keys have no bias: (N, H, W, C) → (N, H, W, 3 C). */
static cr_tensor *project_v2(cr_scope at, cr_tensor *x)
{
    int64_t channels = cr_dim(x, 3);
    cr_tensor *y = cr_linear(at, "qkv", x, .out = 3 * channels, .no_bias = true);
    cr_tensor *bias = cr_parameter(cr_at(at, "qkv"), "bias", CR_SHAPE(3 * channels),
                                   (cr_init){ CR_INIT_ZEROS, 0, 0 });
    cr_tensor *query = cr_narrow(bias, 0, 0, channels);
    cr_tensor *value = cr_narrow(bias, 0, 2 * channels, channels);
    cr_tensor *none = cr_zeros(CR_SHAPE(channels), .device = cr_device_of(x));
    return cr_add(y, cr_cat_of(0, query, none, value));
}

/* Attention by the cosine: queries and keys (N, rows, 3, heads, E) of length 1, queries scaled by
 * what each head has learned. */
static cr_tensor *unit_lengths(cr_scope at, cr_tensor *qkv, int64_t heads)
{
    cr_tensor *scale = cr_parameter(at, "logit_scale", CR_SHAPE(heads, 1, 1),
                                    (cr_init){ CR_INIT_CONSTANT, log(10), 0 });
    scale = cr_reshape(cr_exp(cr_clamp(scale, -INFINITY, log(100))), CR_SHAPE(heads, 1));
    cr_tensor *query = cr_normalize(cr_narrow(qkv, 2, 0, 1), 2, -1, UNIT_EPS);
    cr_tensor *key = cr_normalize(cr_narrow(qkv, 2, 1, 1), 2, -1, UNIT_EPS);
    return cr_cat_of(2, cr_mul(query, scale), key, cr_narrow(qkv, 2, 2, 1));
}

/* (N, H, W, C) → (N, H, W, C) */
static cr_tensor *window_attention(cr_scope at, cr_tensor *x, const struct swin_plan *plan,
                                   int64_t heads, bool shifted)
{
    int64_t height = cr_dim(x, 1), width = cr_dim(x, 2), channels = cr_dim(x, 3);
    struct window_grid grid = window_grid_of(x, plan->window, shifted);
    cr_device device = cr_device_of(x);
    cr_tensor *bias = position_bias(at, plan, heads);
    cr_tensor *mask = grid.down || grid.right ? shift_mask(&grid, device) : NULL;
    x = fill_up(x, &grid);
    cr_tensor *qkv = plan->is_v2 ? project_v2(at, x) : cr_linear(at, "qkv", x, .out = 3 * channels);
    qkv = cr_unflatten(cr_flatten(qkv, 1, 2), -1, CR_SHAPE(3, heads, channels / heads));
    if (plan->is_v2)
        qkv = unit_lengths(at, qkv, heads);
    cr_tensor *y = cr_window_attention(qkv, .windows = window_positions(&grid, device),
                                       .bias = bias, .mask = mask, .scale = plan->is_v2 ? 1 : 0);
    y = cr_unflatten(cr_flatten(y, -2, -1), 1, CR_SHAPE(grid.height, grid.width));
    y = cr_linear(at, "proj", y, .out = channels);
    return cut_off(y, &grid, height, width);
}

/* ---- the net ---- */

struct block_settings {
    struct swin_plan plan;
    int64_t heads;
    bool shifted;
    double drop;
};

static cr_tensor *perceptron(cr_scope at, cr_tensor *x)
{
    int64_t channels = cr_dim(x, 3);
    x = cr_linear(at, "mlp.0", x, .out = MLP_RATIO * channels, .gelu = true);
    return cr_linear(at, "mlp.3", x, .out = channels);
}

/* Version 2 has its norms behind attention and perceptron instead of before them. */
static cr_tensor *swin_block(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct block_settings *block = settings;
    cr_scope attention = cr_at(at, "attn");
    cr_tensor *x = inputs[0], *y = x;
    bool norm_last = block->plan.is_v2;
    y = norm_last ? y : cr_layer_norm(at, "norm1", y);
    y = window_attention(attention, y, &block->plan, block->heads, block->shifted);
    y = norm_last ? cr_layer_norm(at, "norm1", y) : y;
    x = part_join(at, x, y, block->drop);
    y = norm_last ? x : cr_layer_norm(at, "norm2", x);
    y = perceptron(at, y);
    y = norm_last ? cr_layer_norm(at, "norm2", y) : y;
    return part_join(at, x, y, block->drop);
}

/* Every four neighbours become one position: (N, H, W, C) → (N, H/2, W/2, 2 C). */
static cr_tensor *merge_patches(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct swin_plan *plan = settings;
    cr_tensor *x = inputs[0];
    int64_t below = cr_dim(x, 1) % 2, beside = cr_dim(x, 2) % 2, channels = cr_dim(x, 3);
    if (below || beside)
        x = cr_pad(x, CR_SHAPE(0, 0, 0, beside, 0, below), CR_PAD_CONSTANT, 0);
    x = cr_unflatten(cr_unflatten(x, 2, CR_SHAPE(-1, 2)), 1, CR_SHAPE(-1, 2));
    x = cr_flatten(cr_permute(x, CR_SHAPE(0, 1, 3, 4, 2, 5)), 3, 5);
    x = plan->is_v2 ? x : cr_layer_norm(at, "norm", x);
    x = cr_linear(at, "reduction", x, .out = 2 * channels, .no_bias = true);
    return plan->is_v2 ? cr_layer_norm(at, "norm", x) : x;
}

/* Places are numbered as torchvision's: 0 the patches, then stages and mergings by turns. x is held
 * by the caller and given up, the result held in its place. */
static cr_tensor *stages(cr_scope at, cr_tensor *x, const struct swin_plan *plan, double drop)
{
    int64_t block = 0, blocks = -1;
    for (int s = 0; s < STAGES; s++)
        blocks += plan->depths[s];
    for (int s = 0; s < STAGES; s++) {
        cr_scope stage = cr_at_format(at, "%d", 2 * s + 1);
        for (int64_t i = 0; i < plan->depths[s]; i++, block++) {
            struct block_settings settings = { *plan, plan->heads[s], i % 2 == 1,
                                               drop * (double)block / (double)blocks };
            x = part_next(cr_at_format(stage, "%d", (int)i), swin_block, &settings, x);
        }
        if (s + 1 < STAGES)
            x = part_next(cr_at_format(at, "%d", 2 * s + 2), merge_patches, plan, x);
    }
    return x;
}

static cr_tensor *embed_patches(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const struct swin_plan *plan = settings;
    cr_tensor *x =
        cr_conv2d(at, "0", inputs[0], .out = plan->width, .kernel = PATCH, .stride = PATCH);
    return cr_layer_norm(at, "2", cr_permute(x, CR_SHAPE(0, 2, 3, 1)));
}

/* Torchvision's initialisation where it is not the layers' own: linear layers only. */
static void init_rules(cr_model *model)
{
    static const char *const layers[] = { "*.qkv.bias", "*.proj.bias", "*.mlp.?.bias",
                                          "*.cpb_mlp.0.bias", "head.bias" };
    cr_model_init_weights(model, "*.weight", 2, (cr_init){ CR_INIT_NORMAL, 0, 0.02 });
    for (size_t i = 0; i < sizeof layers / sizeof layers[0]; i++)
        cr_model_init_rule(model, layers[i], (cr_init){ CR_INIT_ZEROS, 0, 0 });
}

static cr_tensor *swin(cr_scope at, cr_tensor *x, cr_model_settings settings,
                       const struct swin_plan *plan)
{
    if (part_is_new(at))
        init_rules(at.model);
    cr_scope features = cr_at(at, "features");
    x = part_next(cr_at(features, "0"), embed_patches, plan, cr_retain(x));
    x = stages(features, x, plan, settings.no_dropout ? 0 : plan->stochastic_depth);
    cr_tensor *last = x;
    x = cr_mean_dims(cr_layer_norm(at, "norm", x), CR_SHAPE(1, 2), false);
    cr_release(last);
    return cr_classifier_head(at, "head", x, settings, (cr_classifier_head_args){ 1000, 0 });
}

#define SWIN(name, ...)                                                                            \
    cr_tensor *cr_swin_##name(cr_scope at, cr_tensor *x, cr_model_settings settings)               \
    {                                                                                              \
        static const struct swin_plan plan = __VA_ARGS__;                                          \
        return swin(at, x, settings, &plan);                                                       \
    }

SWIN(t, { 96, { 2, 2, 6, 2 }, { 3, 6, 12, 24 }, 0.2, 7, false })
SWIN(s, { 96, { 2, 2, 18, 2 }, { 3, 6, 12, 24 }, 0.3, 7, false })
SWIN(b, { 128, { 2, 2, 18, 2 }, { 4, 8, 16, 32 }, 0.5, 7, false })
SWIN(v2_t, { 96, { 2, 2, 6, 2 }, { 3, 6, 12, 24 }, 0.2, 8, true })
SWIN(v2_s, { 96, { 2, 2, 18, 2 }, { 3, 6, 12, 24 }, 0.3, 8, true })
SWIN(v2_b, { 128, { 2, 2, 18, 2 }, { 4, 8, 16, 32 }, 0.5, 8, true })
