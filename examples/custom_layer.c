/* A layer of one's own: a residual block as a function of a place in the tree of parameters, with a
 * parameter that no library layer has; the model's summary; and a few steps of training.
 *
 *     cc custom_layer.c $(pkg-config --cflags --libs cresset) -o custom_layer */
#include <stdio.h>

#include <cresset/cresset.h>

/* x (N, width, H, W) plus what two convolutions make of it, weighed by channel. */
static cr_tensor *residual_block(cr_scope at, cr_tensor *x)
{
    int64_t width = cr_dim(x, 1);
    cr_tensor *y = cr_conv2d(at, "conv1", x, .out = width, .kernel = 3, .padding = 1);
    y = cr_relu(cr_batch_norm(at, "norm", y));
    y = cr_conv2d(at, "conv2", y, .out = width, .kernel = 3, .padding = 1);
    cr_tensor *scale = cr_parameter(at, "scale", CR_SHAPE(width, 1, 1),
                                    (cr_init){ .kind = CR_INIT_CONSTANT, .a = 0.1 });
    return cr_add(x, cr_mul(scale, y));
}

/* Logits (N, classes) of images (N, C, H, W); the settings are the number of classes. */
static cr_tensor *net(cr_scope at, cr_tensor *x, const void *settings)
{
    const int64_t *classes = settings;
    x = cr_relu(cr_conv2d(at, "stem", x, .out = 16, .kernel = 3, .stride = 2, .padding = 1));
    for (int i = 0; i < 2; i++)
        x = residual_block(cr_at_format(at, "blocks.%d", i), x);
    x = cr_flatten(cr_adaptive_avg_pool2d(x, CR_SHAPE(1, 1)), 1, -1);
    return cr_linear(at, "fc", x, .out = *classes);
}

static void print_summary(const cr_summary *summary)
{
    char shape[CR_SHAPE_TEXT];
    for (int i = 0; i < summary->count; i++) {
        const cr_layer_row *row = &summary->rows[i];
        printf("%-16s %-12s %-18s %8lld\n", row->name, row->kind,
               cr_shape_format(&row->output, shape, sizeof(shape)), (long long)row->parameters);
    }
    printf("%lld parameters, %lld multiply-adds\n", (long long)summary->parameters,
           (long long)summary->multiply_adds);
}

int main(void)
{
    const int64_t classes = 4;
    cr_summary summary = { 0 };
    cr_model *model = cr_model_new(.seed = 1);
    if (cr_model_build(model, net, &classes, CR_SHAPE(1, 3, 32, 32), CR_F32, &summary) == CR_OK)
        print_summary(&summary);

    cr_optim *optim = cr_sgd(model, 0.05, 0.9);
    cr_tensor *labels = cr_retain(cr_randint(0, classes, CR_SHAPE(8)));
    cr_tensor *brightness = cr_reshape(labels, CR_SHAPE(8, 1, 1, 1));
    cr_tensor *images = cr_retain(cr_add(cr_randn(CR_SHAPE(8, 3, 32, 32)), brightness));
    for (int step = 1; step <= 20 && !cr_failed(); step++) {
        cr_frame frame = cr_frame_begin();
        cr_tensor *loss = cr_cross_entropy(net(cr_root(model), images, &classes), labels);
        cr_backward(loss);
        cr_optim_step(optim);
        cr_model_zero_grad(model);
        if (step % 5 == 0)
            printf("step %2d: loss %.4f\n", step, cr_item(loss));
        cr_frame_end(frame);
    }
    if (cr_failed())
        fprintf(stderr, "custom_layer: %s\n", cr_error_message());
    cr_release(images);
    cr_release(labels);
    cr_optim_free(optim);
    cr_summary_free(&summary);
    cr_model_free(model);
    cr_frame_end_all();
    return cr_failed() ? 1 : 0;
}
