/* A network learns one task, is saved, and begins another with what it knows: the file is loaded
 * with a report of what did not fit, the first layer is frozen, and the rest learns at a tenth of
 * the new layer's rate. Images are made up: a bright spot, to be found in a quarter, then a half.
 *
 *     cc transfer_learning.c $(pkg-config --cflags --libs cresset) -o transfer_learning
 *     ./transfer_learning weights.safetensors */
#include <stdio.h>

#include <cresset/cresset.h>

static cr_tensor *net(cr_scope at, cr_tensor *x, const void *settings)
{
    const int64_t *classes = settings;
    x = cr_relu(cr_conv2d(at, "conv1", x, .out = 8, .kernel = 3, .padding = 1));
    x = cr_relu(cr_conv2d(at, "conv2", x, .out = 16, .kernel = 3, .stride = 2));
    return cr_linear(at, "fc", cr_flatten(x, 1, -1), .out = *classes);
}

/* Images (64, 1, 12, 12) of noise with a spot, and the class of the place where it is. */
static cr_tensor *draw_images(int64_t classes, cr_tensor **labels)
{
    cr_tensor *images = cr_randn(CR_SHAPE(64, 1, 12, 12));
    *labels = cr_randint(0, classes, CR_SHAPE(64));
    for (int i = 0; i < 64 && !cr_failed(); i++) {
        int64_t place = cr_element_int64(*labels, i);
        cr_tensor *rows = cr_narrow(cr_select(images, 0, i), 1, place % 2 * 6 + 1, 3);
        cr_fill_(cr_narrow(rows, 2, place / 2 * 6 + 1, 3), 1.5);
    }
    return images;
}

static void train(cr_model *model, cr_optim *optim, int64_t classes, int steps)
{
    for (int step = 1; step <= steps && !cr_failed(); step++) {
        cr_frame frame = cr_frame_begin();
        cr_tensor *labels;
        cr_tensor *images = draw_images(classes, &labels);
        cr_tensor *loss = cr_cross_entropy(net(cr_root(model), images, &classes), labels);
        cr_backward(loss);
        cr_optim_step(optim);
        cr_model_zero_grad(model);
        if (step % 10 == 0)
            printf("  step %2d: loss %.4f\n", step, cr_item(loss));
        cr_frame_end(frame);
    }
    cr_optim_free(optim);
}

int main(int count, char **words)
{
    const char *path = count > 1 ? words[1] : "weights.safetensors";
    const int64_t quarters = 4, halves = 2;
    const cr_shape shape = CR_SHAPE(1, 1, 12, 12);
    cr_model *first = cr_model_new(.seed = 1);
    cr_model_build(first, net, &quarters, shape, CR_F32, NULL);
    printf("the first task\n");
    train(first, cr_adam(first, 0.003), quarters, 40);
    cr_model_save(first, path, NULL, 0);

    cr_model *second = cr_model_new(.seed = 2);
    cr_model_build(second, net, &halves, shape, CR_F32, NULL);
    cr_load_report report = { 0 };
    cr_text words_of_report = { 0 };
    cr_model_load(second, path, &(cr_load_options){ .ignore_mismatched = true }, &report);
    cr_load_report_print(&report, &words_of_report);
    printf("%sfrozen: %d parameters\nthe second task\n", words_of_report.data,
           cr_model_freeze(second, "conv1.*", true));
    cr_optim *optim = cr_adamw(second, 0.003, 0.01);
    cr_optim_group(optim, "conv2.*", 0.1, -1);
    train(second, optim, halves, 20);
    if (cr_failed())
        fprintf(stderr, "transfer_learning: %s\n", cr_error_message());
    cr_load_report_free(&report);
    cr_text_free(&words_of_report);
    cr_model_free(first);
    cr_model_free(second);
    cr_frame_end_all();
    return cr_failed() ? 1 : 0;
}
