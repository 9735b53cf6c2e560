/* An LSTM that reads sequences of different lengths and tells their classes. The sequences are made
 * up: the class is the first token, and what follows is noise, to be remembered through.
 *
 *     cc sequence_classifier.c $(pkg-config --cflags --libs cresset) -o sequence_classifier */
#include <stdio.h>

#include <cresset/cresset.h>

enum { BATCH = 64, LONGEST = 12, CLASSES = 3, TOKENS = 10 };

/* tokens (N, T) and lengths (N), int64 → logits (N, CLASSES). */
static cr_tensor *classify(cr_scope at, cr_tensor *tokens, cr_tensor *lengths)
{
    cr_tensor *x = cr_embedding(at, "embedding", tokens, .count = TOKENS, .dim = 8);
    cr_recurrent read =
        cr_lstm(at, "lstm", x, .hidden = 32, .batch_first = true, .lengths = lengths);
    return cr_linear(at, "fc", cr_select(read.h_n, 0, 0), .out = CLASSES);
}

/* Token 0 pads; tokens up to CLASSES name a class; the others are noise. */
static void draw_sequences(cr_generator *chance, cr_tensor **tokens, cr_tensor **lengths,
                           cr_tensor **labels)
{
    int64_t token[BATCH][LONGEST] = { { 0 } }, length[BATCH], label[BATCH];
    for (int i = 0; i < BATCH; i++) {
        length[i] = 2 + (int64_t)cr_random_below(chance, LONGEST - 1);
        label[i] = (int64_t)cr_random_below(chance, CLASSES);
        token[i][0] = 1 + label[i];
        for (int64_t j = 1; j < length[i]; j++)
            token[i][j] = 1 + CLASSES + (int64_t)cr_random_below(chance, TOKENS - 1 - CLASSES);
    }
    *tokens = cr_from_buffer(token, CR_SHAPE(BATCH, LONGEST), CR_I64);
    *lengths = cr_from_buffer(length, CR_SHAPE(BATCH), CR_I64);
    *labels = cr_from_buffer(label, CR_SHAPE(BATCH), CR_I64);
}

int main(void)
{
    cr_generator chance = cr_generator_make(1, 0);
    cr_model *model = cr_model_new(.seed = 1);
    cr_optim *optim = NULL;
    cr_schedule *schedule = cr_schedule_cosine(150, 0);
    for (int step = 0; step < 150 && !cr_failed(); step++) {
        cr_frame frame = cr_frame_begin();
        cr_tensor *tokens, *lengths, *labels;
        draw_sequences(&chance, &tokens, &lengths, &labels);
        cr_tensor *logits = classify(cr_root(model), tokens, lengths);
        cr_tensor *loss = cr_cross_entropy(logits, labels);
        if (!optim) /* the first batch has made the parameters */
            optim = cr_adam(model, 0.02);
        cr_backward(loss);
        cr_clip_grad_norm(optim, 1, 2);
        cr_optim_set_lr(optim, cr_schedule_lr(schedule, 0.02, step));
        cr_optim_step(optim);
        cr_model_zero_grad(model);
        cr_tensor *right = cr_eq(cr_argmax(logits, 1, false), labels);
        if (step % 25 == 24)
            printf("step %3d: loss %.4f, accuracy %.1f %%\n", step + 1, cr_item(loss),
                   100 * cr_item(cr_mean(cr_to_dtype(right, CR_F32))));
        cr_frame_end(frame);
    }
    if (cr_failed())
        fprintf(stderr, "sequence_classifier: %s\n", cr_error_message());
    cr_schedule_free(schedule);
    cr_optim_free(optim);
    cr_model_free(model);
    cr_frame_end_all();
    return cr_failed() ? 1 : 0;
}
