/* Tensors made, broadcast, viewed and printed; gradients of what is computed with them; and what a
 * mistake looks like.
 *
 *     cc tensors_and_gradients.c $(pkg-config --cflags --libs cresset) -o tensors_and_gradients */
#include <stdio.h>

#include <cresset/cresset.h>

static void show(const char *name, const cr_tensor *tensor)
{
    cr_text text = { 0 };
    if (cr_tensor_format(tensor, &text) == CR_OK)
        printf("%s\n%s\n\n", name, text.data);
    cr_text_free(&text);
}

static void show_tensors(void)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *table = cr_reshape(cr_arange(0, 6), CR_SHAPE(2, 3));
    const float tens[] = { 10, 20, 30 };
    cr_tensor *row = cr_from_buffer(tens, CR_SHAPE(3), CR_F32);
    show("a table and a row", cr_add(table, row));
    show("a table and a column", cr_mul(table, cr_full(0.5, CR_SHAPE(2, 1))));
    show("every second column", cr_slice(table, 1, 0, 3, 2));
    show("a product of matrices", cr_matmul(table, cr_t(table)));
    show("rows softly chosen", cr_softmax(table, 0));
    show("larger than 2", cr_gt_scalar(table, 2));
    cr_frame_end(frame);
}

static void show_gradients(void)
{
    cr_frame frame = cr_frame_begin();
    cr_tensor *x = cr_set_requires_grad(cr_linspace(-1, 1, 5), true);
    cr_backward(cr_sum(cr_pow_scalar(x, 3)));
    show("the gradient of x³, 3 x²", cr_grad_of(x));
    cr_frame_end(frame);
}

/* Finds the line through four points by descending the gradient of the error. */
static void fit_line(void)
{
    const float at[] = { 0, 1, 2, 3 }, values[] = { 1, 3, 5, 7 };
    cr_frame outer = cr_frame_begin();
    cr_tensor *x = cr_from_buffer(at, CR_SHAPE(4), CR_F32);
    cr_tensor *y = cr_from_buffer(values, CR_SHAPE(4), CR_F32);
    cr_tensor *slope = cr_zeros(CR_SHAPE(1), .requires_grad = true);
    cr_tensor *offset = cr_zeros(CR_SHAPE(1), .requires_grad = true);
    for (int step = 0; step < 300 && !cr_failed(); step++) {
        cr_frame frame = cr_frame_begin();
        cr_backward(cr_mse_loss(cr_add(cr_mul(slope, x), offset), y));
        bool was = cr_set_grad_enabled(false);
        cr_add_(slope, cr_grad_of(slope), -0.1);
        cr_add_(offset, cr_grad_of(offset), -0.1);
        cr_set_grad_enabled(was);
        cr_set_grad(slope, NULL);
        cr_set_grad(offset, NULL);
        cr_frame_end(frame);
    }
    printf("the line: y = %.3f x + %.3f\n\n", cr_item(slope), cr_item(offset));
    cr_frame_end(outer);
}

int main(void)
{
    show_tensors();
    show_gradients();
    fit_line();
    int status = cr_failed() ? 1 : 0;
    cr_matmul(cr_ones(CR_SHAPE(2, 3)), cr_ones(CR_SHAPE(4, 5)));
    printf("a mistake: %s\n", cr_error_message());
    cr_frame_end_all();
    return status;
}
