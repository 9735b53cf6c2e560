/* A graph as C source: a folder with a net that is compiled anywhere and needs nothing but libm.
 *
 *     cr_c_report report;
 *     cr_graph_save_c(graph, "net", (cr_c_args){ .name = "digits" }, &report);
 *
 * The code is C99 for one sample at a time (batch size 1), float32, without allocation: what lies
 * between layers shares one arena of fixed size. Batch norm is folded into the weights, activations
 * and residuals are done where sums are made. Numbers agree with the library's to about 1e-5.
 *
 * Files: net.h, net.c, the weights as net_weights.c or net_weights.bin, main.c (a program that
 * classifies a picture), Makefile, README.md. */
#ifndef CRESSET_PLAIN_C_H
#define CRESSET_PLAIN_C_H

#include "cresset/graph.h"
#include "cresset/transforms.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum cr_c_weights {
    CR_C_WEIGHTS_AUTO,  /* an array of up to a million, a file of more */
    CR_C_WEIGHTS_ARRAY, /* an array, compiled */
    CR_C_WEIGHTS_FILE   /* a file of little-endian float32, to be mapped or read */
} cr_c_weights;

typedef struct cr_c_args {
    const char *name; /* of the model, for comments; NULL: "net" */
    cr_c_weights weights;
    int lanes; /* output channels that are computed together, 1 to 64; 0: 32, which suits large
                  processors. Weights are padded to a multiple: small nets for small ones take 4 */
    const cr_transform_list *transforms; /* what main.c does to a picture; NULL: none */
    char *const *class_names;            /* of the results, NULL: numbers */
    int class_count;
} cr_c_args;

typedef struct cr_c_report {
    int64_t arena_bytes;
    int64_t weight_bytes;
    int64_t steps; /* calls that a run makes */
} cr_c_report;

/* Writes the files into a folder, which is made if need be. The graph has one float32 input and one
 * float32 output. Fails with one sentence that names all ops that cannot be written. `report` may
 * be NULL. */
cr_status cr_graph_save_c(const cr_graph *graph, const char *folder, cr_c_args args,
                          cr_c_report *report);

#ifdef __cplusplus
}
#endif
#endif
