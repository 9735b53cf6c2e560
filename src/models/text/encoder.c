/* BERT: Devlin et al., "BERT: pre-training of deep bidirectional transformers for language
 * understanding", 2018, with the names and numerics of Hugging Face's BertModel: norms after the
 * residuals, learned positions, dropout after every part and of the attention's weights. */
#include "cresset/models.h"
#include "cresset/ops.h"

#define NORM_EPS 1e-12
#define DROPOUT  0.1

enum { HEAD_WIDTH = 64 };

/* The settings with their defaults filled in. */
static cr_bert_args with_defaults(cr_bert_args args)
{
    args.vocabulary = args.vocabulary ? args.vocabulary : 30522;
    args.width = args.width ? args.width : 768;
    args.layers = args.layers ? args.layers : 12;
    args.heads = args.heads ? args.heads : 12;
    args.intermediate = args.intermediate ? args.intermediate : 4 * args.width;
    args.positions = args.positions ? args.positions : 512;
    return args;
}

static cr_tensor *drop(cr_scope at, const cr_bert_args *args, cr_tensor *x)
{
    return cr_dropout(at, x, args->no_dropout ? 0 : DROPOUT);
}

/* x through a linear layer and dropout, added to what it came from, normalised. */
static cr_tensor *end_part(cr_scope at, const cr_bert_args *args, cr_tensor *x, cr_tensor *residual)
{
    x = drop(at, args, cr_linear(at, "dense", x, .out = args->width));
    return cr_layer_norm(at, "LayerNorm", cr_add(x, residual), .eps = NORM_EPS);
}

/* ---- embeddings ---- */

/* Rows of a table of which the first `count` are wanted, (count, width). */
static cr_tensor *first_rows(cr_scope at, int64_t rows, int64_t count, int64_t width)
{
    cr_tensor *table =
        cr_parameter(at, "weight", CR_SHAPE(rows, width), (cr_init){ CR_INIT_NORMAL, 0, 1 });
    return cr_narrow(table, 0, 0, count);
}

/* (N, L) → (N, L, width) */
static cr_tensor *embed(cr_scope at, const cr_bert_args *args)
{
    int64_t length = cr_dim(args->ids, 1), width = args->width;
    if (length > args->positions) {
        cr_error_set(CR_ERROR_SHAPE, "bert: %lld tokens are more than the %lld there are positions",
                     (long long)length, (long long)args->positions);
        return NULL;
    }
    cr_tensor *x = cr_embedding(at, "word_embeddings", args->ids, .count = args->vocabulary,
                                .dim = width, .padding_row = 1);
    cr_tensor *places =
        first_rows(cr_at(at, "position_embeddings"), args->positions, length, width);
    cr_scope types = cr_at(at, "token_type_embeddings");
    if (args->token_types)
        x = cr_add(x, cr_embedding(types, "", args->token_types, .count = 2, .dim = width));
    else
        places = cr_add(places, first_rows(types, 2, 1, width));
    x = cr_layer_norm(at, "LayerNorm", cr_add(x, places), .eps = NORM_EPS);
    return drop(at, args, x);
}

/* ---- layers ---- */

/* One of query, key and value: (N, L, width) → (N, heads, L, D). */
static cr_tensor *project(cr_scope at, const char *name, const cr_bert_args *args, cr_tensor *x)
{
    x = cr_linear(at, name, x, .out = args->width);
    x = cr_unflatten(x, -1, CR_SHAPE(args->heads, args->width / args->heads));
    return cr_transpose(x, 1, 2);
}

static cr_tensor *attend(cr_scope at, const cr_bert_args *args, cr_tensor *x, cr_tensor *mask)
{
    bool drops = cr_model_is_training(at.model) && !args->no_dropout;
    cr_scope self = cr_at(at, "self");
    cr_tensor *query = project(self, "query", args, x);
    cr_tensor *key = project(self, "key", args, x);
    cr_tensor *value = project(self, "value", args, x);
    cr_tensor *y = cr_scaled_dot_product_attention(query, key, value, .attn_mask = mask,
                                                   .dropout_p = drops ? DROPOUT : 0);
    y = cr_flatten(cr_transpose(y, 1, 2), -2, -1);
    return end_part(cr_at(at, "output"), args, y, x);
}

/* A block of x and the mask. */
static cr_tensor *bert_layer(cr_scope at, cr_tensor *const *inputs, const void *settings)
{
    const cr_bert_args *args = settings;
    cr_tensor *x = attend(cr_at(at, "attention"), args, inputs[0], inputs[1]);
    cr_tensor *y = cr_linear(at, "intermediate.dense", x, .out = args->intermediate, .gelu = true);
    return end_part(cr_at(at, "output"), args, y, x);
}

/* Hugging Face's initialisation where it is not the layers' own. */
static void init_rules(cr_model *model)
{
    cr_model_init_rule(model, "*.weight", (cr_init){ CR_INIT_NORMAL, 0, 0.02 });
    cr_model_init_rule(model, "*.bias", (cr_init){ CR_INIT_ZEROS, 0, 0 });
    cr_model_init_rule(model, "*LayerNorm.weight", (cr_init){ CR_INIT_CONSTANT, 1, 0 });
}

cr_tensor *cr_bert_with(cr_scope at, cr_bert_args args)
{
    if (!args.ids || cr_failed())
        return NULL;
    args = with_defaults(args);
    if (cr_ndim(args.ids) != 2 || args.width % args.heads != 0) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "bert: ids must be (N, length) and the heads divide the width");
        return NULL;
    }
    if (!cr_model_tensor_count(at.model))
        init_rules(at.model);
    cr_tensor *mask = args.mask;
    if (mask)
        mask = cr_unflatten(mask, 0, CR_SHAPE(cr_dim(mask, 0), 1, 1));
    cr_tensor *x = embed(cr_at(at, "embeddings"), &args);
    for (int i = 0; i < args.layers; i++)
        x = cr_block(cr_at_format(at, "encoder.layer.%d", i), bert_layer, &args, x, mask);
    return x;
}

cr_tensor *cr_bert_base(cr_scope at, cr_tensor *ids, cr_model_settings settings)
{
    cr_bert_args args = { .ids = ids,
                          .width = settings.width,
                          .heads = settings.width / HEAD_WIDTH,
                          .no_dropout = settings.no_dropout };
    if (!settings.classes)
        return cr_bert_with(at, args);
    cr_scope encoder = cr_at(at, "bert");
    cr_tensor *x = cr_select(cr_bert_with(encoder, args), 1, 0);
    x = cr_tanh(cr_linear(encoder, "pooler.dense", x, .out = cr_dim(x, -1)));
    double dropout = settings.dropout != 0 ? settings.dropout : DROPOUT;
    x = cr_dropout(at, x, settings.no_dropout ? 0 : dropout);
    return cr_linear(at, "classifier", x, .out = settings.classes);
}
