/* Layers that look rows up in a table. */
#include "cresset/indexing.h"
#include "nn/nn.h"

/* The row that stands for padding begins at zero, as in PyTorch. */
static cr_tensor *embedding_weight(cr_scope at, const cr_embedding_args *args)
{
    int before = cr_model_tensor_count(at.model);
    cr_tensor *weight = cr_parameter(at, "weight", CR_SHAPE(args->count, args->dim),
                                     (cr_init){ CR_INIT_NORMAL, 0, 1 });
    if (!weight || !args->padding_row || cr_model_tensor_count(at.model) == before)
        return weight;
    bool was = cr_set_grad_enabled(false);
    cr_status status = cr_fill_(cr_select(weight, 0, args->padding_row - 1), 0);
    cr_set_grad_enabled(was);
    return status == CR_OK ? weight : NULL;
}

cr_tensor *cr_embedding_with(cr_scope at, const char *name, cr_embedding_args args)
{
    if (!args.indices || cr_failed())
        return NULL;
    if (args.count < 1 || args.dim < 1) {
        cr_error_set(CR_ERROR_ARGUMENT,
                     "embedding: .count and .dim must be positive, not %lld and "
                     "%lld",
                     (long long)args.count, (long long)args.dim);
        return NULL;
    }
    struct layer layer = layer_begin(at, name, "Embedding", args.indices);
    cr_tensor *weight = embedding_weight(layer.at, &args);
    return layer_end(layer, cr_functional_embedding(weight, args.indices, args.padding_row - 1));
}
