/* Triangles of matrices: each row keeps a run of bytes and loses the rest. */
#include <string.h>

#include "kernels/rearrange/rearrange.h"

struct triangle {
    char *out;
    const char *x;
    int64_t rows;
    int64_t columns;
    int64_t diagonal;
    int64_t size; /* bytes of an element */
    bool is_upper;
};

static void triangle_rows(int64_t begin, int64_t end, void *context)
{
    const struct triangle *t = context;
    int64_t pitch = t->columns * t->size;
    for (int64_t r = begin; r < end; r++) {
        int64_t edge = r % t->rows + t->diagonal + (t->is_upper ? 0 : 1);
        int64_t cut = CR_MIN(CR_MAX(edge, 0), t->columns) * t->size;
        int64_t from = t->is_upper ? cut : 0;
        int64_t kept = t->is_upper ? pitch - cut : cut;
        char *out = t->out + r * pitch;
        memset(t->is_upper ? out : out + cut, 0, (size_t)(pitch - kept));
        memcpy(out + from, t->x + r * pitch + from, (size_t)kept);
    }
}

void rearrange_triangle(cr_tensor *out, const cr_tensor *x, int64_t diagonal, bool is_upper)
{
    int ndim = x->shape.ndim;
    struct triangle t = { .out = tensor_bytes(out),
                          .x = tensor_bytes(x),
                          .rows = x->shape.dim[ndim - 2],
                          .columns = x->shape.dim[ndim - 1],
                          .diagonal = diagonal,
                          .size = (int64_t)cr_dtype_size((cr_dtype)x->dtype),
                          .is_upper = is_upper };
    int64_t count = tensor_numel(x);
    if (count)
        cr_parallel_for(count / t.columns, CR_MAX(16384 / t.columns, 1), triangle_rows, &t);
}
