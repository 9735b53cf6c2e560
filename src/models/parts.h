/* What architectures of images have in common: blocks that follow one another, squeeze and
 * excitation, the way from features to logits, and the usual ways to begin. */
#ifndef CR_MODELS_PARTS_H
#define CR_MODELS_PARTS_H

#include "cresset/models.h"

/* Runs a block on x, which the caller holds (cr_retain), and gives x up: only what backward needs
 * outlives the block that reads it. The result is held by the caller. */
cr_tensor *part_next_with(cr_scope at, cr_block_function function, const void *settings,
                          size_t size, cr_tensor *x);
#define part_next(at, function, settings, x)                                                       \
    part_next_with(at, function, settings, sizeof *(settings), x)

/* The mean over height and width of x (N, C, H, W), which the caller holds and gives up: (N, C). */
cr_tensor *part_pool(cr_tensor *x);

/* Images (N, 3, H, W) normalised as ImageNet's are, to a mean and a deviation of 0.5 a channel. */
cr_tensor *part_transform(cr_tensor *x);

/* Squeeze and excitation (Hu et al., "Squeeze-and-excitation networks", 2017): x times what a
 * perceptron of `squeeze` units makes of the means of its channels. Names fc1, fc2. */
typedef struct part_squeeze_args {
    int64_t squeeze;
    bool silu; /* inside, instead of relu */
    bool hard; /* hardsigmoid at the end */
} part_squeeze_args;
cr_tensor *part_squeeze(cr_scope at, cr_tensor *x, part_squeeze_args args);

/* x + a branch that is left out of some samples in training. */
cr_tensor *part_join(cr_scope at, cr_tensor *x, cr_tensor *branch, double drop);

/* Whether a residual can be added where the branch is made: nothing of it is left out. */
bool part_is_kept(cr_scope at, double drop);

/* Runs an auxiliary head on features x (N, C, H, W), if a cr_auxiliary is asked for in training; a
 * run for shapes makes its parameters, of features (N, C, size, size), and counts nothing. */
void part_auxiliary(cr_scope at, cr_block_function head, cr_tensor *x, int64_t size,
                    const cr_model_settings *settings);

/* A number of channels as a multiple of 8, at most a tenth less. */
int64_t part_divisible(double channels, int64_t divisor);

/* The dropout of an architecture under its settings. */
double part_dropout(const cr_model_settings *settings, double usual);

/* Rules of initialisation, for a model that has no tensors yet: convolutions kaiming normal by
 * what they give, and linear layers normal (a deviation of 0: their own way) with biases of 0. */
bool part_is_new(cr_scope at);
void part_init_convolutions(cr_scope at);
void part_init_linear(cr_scope at, double deviation);

#endif
