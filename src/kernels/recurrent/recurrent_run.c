/* Whole sequences: the products of the inputs, the packing of the weights, the loop over steps, and
 * the products that give the gradients of weights and inputs. Everything is cut by sizes alone. */
#include "kernels/recurrent/recurrent.h"

#include <string.h>

#define ALIGNMENT     64
#define PART_MACS     (1 << 17) /* of a step; less is not worth waking a thread */
#define PART_ELEMENTS 32768     /* of what is copied */

CR_KERNEL_VARIANTS(const struct recurrent_kernels, recurrent_kernels, [CR_GEMM_TYPE_COUNT]);

static const struct recurrent_kernels *kernels_of(cr_gemm_type type)
{
    return &(*CR_KERNELS_IN_USE(recurrent_kernels))[type];
}

int64_t recurrent_gates(enum recurrent_cell cell)
{
    static const int64_t gates[RECURRENT_CELL_COUNT] = { 1, 1, 4, 3 };
    return gates[cell];
}

int64_t recurrent_reserve(enum recurrent_cell cell)
{
    static const int64_t reserve[RECURRENT_CELL_COUNT] = { 0, 0, 5, 4 };
    return reserve[cell];
}

int64_t recurrent_gate_gradients(enum recurrent_cell cell)
{
    static const int64_t gradients[RECURRENT_CELL_COUNT] = { 1, 1, 4, 4 };
    return gradients[cell];
}

int64_t recurrent_length(const struct recurrent_layer *layer, int64_t row)
{
    return layer->lengths ? layer->lengths[row] : layer->steps;
}

int64_t recurrent_position(const struct recurrent_layer *layer, int64_t row, int64_t step)
{
    int64_t time = layer->reverse ? recurrent_length(layer, row) - 1 - step : step;
    return layer->batch_first ? row * layer->steps + time : time * layer->batch + row;
}

/* ---- workspace: parts one after the other ---- */

static size_t aligned(int64_t bytes)
{
    return (size_t)(CR_DIV_UP(bytes, ALIGNMENT) * ALIGNMENT);
}

/* Takes a part; with *at NULL only the size is wanted, in *used. */
static void *take(char *at, size_t *used, size_t bytes)
{
    void *part = at ? at + *used : NULL;
    *used += bytes;
    return part;
}

static int64_t element_of(const struct recurrent_layer *layer)
{
    return cr_gemm_kernels_of(layer->type)->element;
}

/* ---- the loop over steps ---- */

/* What the steps share; k is H forward and G H backward, and `panels` those of a block of units. */
struct loop {
    struct recurrent_step step;
    int64_t panels;
    void *weights;
    void *state[2];
    size_t state_bytes;
};

static struct loop loop_make(const struct recurrent_layer *layer, bool is_forward, char *workspace,
                             size_t *used)
{
    const cr_gemm_kernels *gemm = cr_gemm_kernels_of(layer->type);
    int64_t gates = recurrent_gates(layer->cell);
    struct loop loop = { .panels = is_forward ? gates : 1 };
    struct recurrent_step *step = &loop.step;
    step->layer = layer;
    step->gemm = gemm;
    step->k = is_forward ? layer->hidden : gates * layer->hidden;
    step->width = layer->hidden <= gemm->lanes ? gemm->lanes : gemm->tile_columns;
    step->blocks = CR_DIV_UP(layer->hidden, step->width);
    int64_t tile_rows = gemm->tile_rows;
    step->panel_rows = CR_DIV_UP(layer->batch, CR_MAX(CR_DIV_UP(layer->batch, tile_rows), 1));
    step->panel_rows = CR_MAX(step->panel_rows, 1);
    loop.state_bytes = aligned(layer->batch * step->k * gemm->element);
    loop.weights =
        take(workspace, used,
             aligned(step->blocks * loop.panels * step->width * step->k * gemm->element));
    loop.state[0] = take(workspace, used, loop.state_bytes);
    loop.state[1] = take(workspace, used, loop.state_bytes);
    step->weights = loop.weights;
    return loop;
}

/* Packs blocks [begin, end) of weight_hh: forward a panel for each gate, with the gate's rows of
 * the weight as columns; backward one with the weight's columns. */
struct packing {
    const struct loop *loop;
    const void *weight;
    bool is_forward;
};

static void pack_blocks(int64_t begin, int64_t end, void *context)
{
    const struct packing *packing = context;
    const struct recurrent_step *step = &packing->loop->step;
    const cr_gemm_kernels *gemm = step->gemm;
    int64_t hidden = step->layer->hidden;
    for (int64_t index = begin; index < end; index++) {
        int64_t unit = index / packing->loop->panels * step->width;
        int64_t gate = index % packing->loop->panels;
        int64_t units = CR_MIN(hidden - unit, step->width);
        int64_t first = packing->is_forward ? (gate * hidden + unit) * hidden : unit;
        const char *from = (const char *)packing->weight + first * gemm->element;
        char *to = (char *)packing->loop->weights + index * step->width * step->k * gemm->element;
        if (packing->is_forward)
            gemm->pack(from, hidden, 1, units, step->width, step->k, to);
        else
            gemm->pack(from, 1, hidden, units, step->width, step->k, to);
    }
}

static void pack_weights(const struct loop *loop, const void *weight, bool is_forward)
{
    struct packing packing = { loop, weight, is_forward };
    const struct recurrent_step *step = &loop->step;
    int64_t chunk = CR_MAX(PART_ELEMENTS / CR_MAX(step->width * step->k, 1), 1);
    cr_parallel_for(step->blocks * loop->panels, chunk, pack_blocks, &packing);
}

/* The row after the last one that has this step. */
static int64_t active_rows(const struct recurrent_layer *layer, int64_t step)
{
    int64_t rows = layer->batch;
    while (rows > 0 && recurrent_length(layer, rows - 1) <= step)
        rows--;
    return rows;
}

typedef void (*step_function)(const struct recurrent_step *step, int64_t begin, int64_t end);

struct step_share {
    const struct recurrent_step *step;
    step_function function;
};

static void run_share(int64_t begin, int64_t end, void *context)
{
    const struct step_share *share = context;
    share->function(share->step, begin, end);
}

static void run_step(struct recurrent_step *step, step_function function, int64_t panels)
{
    int64_t chunk_rows = RECURRENT_PANELS * step->panel_rows;
    int64_t macs = CR_MIN(step->rows, chunk_rows) * step->width * step->k * panels;
    struct step_share share = { step, function };
    cr_parallel_for(CR_DIV_UP(step->rows, chunk_rows) * step->blocks,
                    CR_MAX(PART_MACS / CR_MAX(macs, 1), 1), run_share, &share);
}

/* ---- forward ---- */

static void copy_or_zero(void *to, const void *from, size_t bytes)
{
    if (from)
        memcpy(to, from, bytes);
    else
        memset(to, 0, bytes);
}

/* sum = ih + hh, but for the part of hh that GRU multiplies by its reset gate. */
static void add_biases(const struct recurrent_layer *layer, const struct recurrent_forward *job,
                       void *sum)
{
    int64_t hidden = layer->hidden, element = element_of(layer);
    int64_t gates = recurrent_gates(layer->cell);
    int64_t state_part = layer->cell == RECURRENT_GRU ? 2 : gates;
    copy_or_zero(sum, job->bias_ih, (size_t)(gates * hidden * element));
    if (job->bias_hh)
        kernels_of(layer->type)->add_rows(job->bias_hh, 0, 0, 1, state_part * hidden, sum);
}

/* A large product, whose numbers may be rounded to bfloat16 if the layer says so. */
static cr_gemm in_precision(const struct recurrent_layer *layer, cr_gemm product)
{
    if (layer->half_products && layer->type == CR_GEMM_F32) {
        product.type = CR_GEMM_BF16;
        product.operands_float = product.c_float = product.bias_float = true;
    }
    return product;
}

/* gates (positions, G H) = x weight_ihᵀ + bias. */
static cr_gemm input_product(const struct recurrent_layer *layer,
                             const struct recurrent_forward *job, void *gates, int64_t stride,
                             const void *bias)
{
    cr_gemm product = { .type = layer->type,
                        .m = layer->batch * layer->steps,
                        .n = recurrent_gates(layer->cell) * layer->hidden,
                        .k = layer->input,
                        .alpha = 1,
                        .a = { .data = job->x, .stride = layer->input, .k_stride = 1 },
                        .b = { .data = job->weight_ih, .stride = layer->input, .k_stride = 1 },
                        .c = gates,
                        .c_stride = stride,
                        .epilogue = { .column_bias = bias } };
    return in_precision(layer, product);
}

struct forward_room {
    struct loop loop;
    void *bias;
    void *gates;
    void *product;
    size_t bytes;
};

static struct forward_room forward_room(const struct recurrent_layer *layer,
                                        const struct recurrent_forward *job, bool keeps_reserve,
                                        char *workspace)
{
    struct forward_room room = { .bytes = 0 };
    int64_t element = element_of(layer), reserve = recurrent_reserve(layer->cell) * layer->hidden;
    room.loop = loop_make(layer, true, workspace, &room.bytes);
    room.bias = take(workspace, &room.bytes,
                     aligned(recurrent_gates(layer->cell) * layer->hidden * element));
    room.loop.step.gate_stride = reserve ? reserve : layer->hidden;
    room.gates = reserve ? job->reserve : job->y;
    if (reserve && !keeps_reserve)
        room.gates =
            take(workspace, &room.bytes, aligned(layer->batch * layer->steps * reserve * element));
    cr_gemm product = input_product(layer, job, NULL, room.loop.step.gate_stride, room.bias);
    room.product = take(workspace, &room.bytes, cr_gemm_workspace(&product));
    return room;
}

size_t recurrent_forward_workspace(const struct recurrent_layer *layer, bool keeps_reserve)
{
    struct recurrent_forward job = { .x = NULL };
    return forward_room(layer, &job, keeps_reserve, NULL).bytes;
}

/* Packs a first state as the steps pack theirs. */
static void pack_state(const struct loop *loop, const void *state, void *to)
{
    const struct recurrent_step *step = &loop->step;
    int64_t element = step->gemm->element, batch = step->layer->batch;
    for (int64_t row = 0; row < batch; row += step->panel_rows) {
        int64_t rows = CR_MIN(batch - row, step->panel_rows);
        step->gemm->pack((const char *)state + row * step->k * element, step->k, 1, rows, rows,
                         step->k, (char *)to + row * step->k * element);
    }
}

/* What stands behind the end of a sequence is zero. */
static void clear_padding(const struct recurrent_layer *layer, void *rows, int64_t numbers)
{
    size_t bytes = (size_t)(numbers * element_of(layer));
    for (int64_t row = 0; layer->lengths && row < layer->batch; row++) {
        for (int64_t time = layer->lengths[row]; time < layer->steps; time++) {
            int64_t position =
                layer->batch_first ? row * layer->steps + time : time * layer->batch + row;
            memset((char *)rows + (size_t)position * bytes, 0, bytes);
        }
    }
}

void recurrent_run_forward(const struct recurrent_layer *layer, const struct recurrent_forward *job,
                           void *workspace)
{
    struct forward_room room = forward_room(layer, job, job->reserve != NULL, workspace);
    struct recurrent_step *step = &room.loop.step;
    size_t state_bytes = (size_t)(layer->batch * layer->hidden * element_of(layer));
    add_biases(layer, job, room.bias);
    cr_gemm product = input_product(layer, job, room.gates, step->gate_stride, room.bias);
    cr_gemm_run(&product, room.product);
    pack_weights(&room.loop, job->weight_hh, true);
    copy_or_zero(job->h_n, job->h0, state_bytes);
    if (layer->cell == RECURRENT_LSTM)
        copy_or_zero(job->c_n, job->c0, state_bytes);
    if (job->h0)
        pack_state(&room.loop, job->h0, room.loop.state[0]);
    step->forward = job;
    step->gates = room.gates;
    for (step->step = 0; step->step < layer->steps; step->step++) {
        step->rows = active_rows(layer, step->step);
        step->multiplies = step->step > 0 || job->h0;
        step->state = room.loop.state[step->step & 1];
        step->next = room.loop.state[(step->step + 1) & 1];
        run_step(step, kernels_of(layer->type)->forward, room.loop.panels);
    }
    clear_padding(layer, job->y, layer->hidden);
}

/* ---- backward ---- */

size_t recurrent_backward_workspace(const struct recurrent_layer *layer)
{
    size_t bytes = 0;
    loop_make(layer, false, NULL, &bytes);
    return bytes;
}

void recurrent_run_backward(const struct recurrent_layer *layer,
                            const struct recurrent_backward *job, void *workspace)
{
    size_t used = 0;
    struct loop loop = loop_make(layer, false, workspace, &used);
    struct recurrent_step *step = &loop.step;
    const struct recurrent_kernels *kernels = kernels_of(layer->type);
    size_t state_bytes = (size_t)(layer->batch * layer->hidden * element_of(layer));
    pack_weights(&loop, job->weight_hh, false);
    copy_or_zero(job->grad_h0, job->grad_h_n, state_bytes);
    if (layer->cell == RECURRENT_LSTM)
        copy_or_zero(job->grad_c0, job->grad_c_n, state_bytes);
    /* Rows that have not begun yet pass nothing back. */
    memset(loop.state[0], 0, loop.state_bytes);
    memset(loop.state[1], 0, loop.state_bytes);
    step->backward = job;
    step->gate_stride = recurrent_reserve(layer->cell) * layer->hidden;
    for (step->step = layer->steps - 1; step->step >= 0; step->step--) {
        step->rows = active_rows(layer, step->step);
        step->multiplies = step->step < layer->steps - 1;
        step->state = loop.state[(step->step + 1) & 1];
        step->next = loop.state[step->step & 1];
        run_step(step, kernels->backward, loop.panels);
    }
    step->rows = layer->batch;
    step->multiplies = layer->steps > 0;
    step->state = loop.state[0];
    run_step(step, kernels->backward_end, loop.panels);
    clear_padding(layer, job->grad_gates, recurrent_gate_gradients(layer->cell) * layer->hidden);
}

/* ---- gradients of inputs and weights ---- */

/* The states before each step, (positions, H): y moved by a step. */
struct shift {
    const struct recurrent_layer *layer;
    const void *y, *h0;
    void *to;
};

static void shift_rows(int64_t begin, int64_t end, void *context)
{
    const struct shift *shift = context;
    const struct recurrent_layer *layer = shift->layer;
    size_t bytes = (size_t)(layer->hidden * element_of(layer));
    for (int64_t row = begin; row < end; row++) {
        for (int64_t step = 0; step < recurrent_length(layer, row); step++) {
            char *to = (char *)shift->to + (size_t)recurrent_position(layer, row, step) * bytes;
            const char *from = NULL;
            if (step)
                from = (const char *)shift->y +
                       (size_t)recurrent_position(layer, row, step - 1) * bytes;
            else if (shift->h0)
                from = (const char *)shift->h0 + (size_t)row * bytes;
            copy_or_zero(to, from, bytes);
        }
    }
}

/* c (count, n) = columns [first, first + count) of grad_gates, transposed, × rows (positions, n).
 */
static cr_gemm weight_product(const struct recurrent_layer *layer, const void *gates, int64_t first,
                              int64_t count, const void *rows, int64_t n, void *c)
{
    int64_t element = element_of(layer);
    int64_t stride = recurrent_gate_gradients(layer->cell) * layer->hidden;
    const char *a = gates ? (const char *)gates + first * element : NULL;
    cr_gemm product = { .type = layer->type,
                        .m = count,
                        .n = n,
                        .k = layer->batch * layer->steps,
                        .alpha = 1,
                        .a = { .data = a, .stride = 1, .k_stride = stride },
                        .b = { .data = rows, .stride = 1, .k_stride = n },
                        .c = c,
                        .c_stride = n };
    return in_precision(layer, product);
}

static cr_gemm grad_x_product(const struct recurrent_layer *layer,
                              const struct recurrent_gradients *job)
{
    int64_t stride = recurrent_gate_gradients(layer->cell) * layer->hidden;
    cr_gemm product = { .type = layer->type,
                        .m = layer->batch * layer->steps,
                        .n = layer->input,
                        .k = recurrent_gates(layer->cell) * layer->hidden,
                        .alpha = 1,
                        .a = { .data = job->grad_gates, .stride = stride, .k_stride = 1 },
                        .b = { .data = job->weight_ih, .stride = 1, .k_stride = layer->input },
                        .c = job->grad_x,
                        .c_stride = layer->input };
    return in_precision(layer, product);
}

/* Rows of weight_hh whose gradient comes from the first columns of grad_gates; GRU's last gate has
 * its own. */
static int64_t plain_rows(const struct recurrent_layer *layer)
{
    int64_t gates = recurrent_gates(layer->cell);
    return (layer->cell == RECURRENT_GRU ? gates - 1 : gates) * layer->hidden;
}

size_t recurrent_gradients_workspace(const struct recurrent_layer *layer)
{
    struct recurrent_gradients job = { .x = NULL };
    int64_t all = recurrent_gates(layer->cell) * layer->hidden;
    cr_gemm products[] = {
        grad_x_product(layer, &job),
        weight_product(layer, NULL, 0, all, NULL, layer->input, NULL),
        weight_product(layer, NULL, 0, plain_rows(layer), NULL, layer->hidden, NULL),
        weight_product(layer, NULL, 0, layer->hidden, NULL, layer->hidden, NULL),
    };
    size_t most = 0;
    for (int i = 0; i < CR_COUNT_OF(products); i++) {
        size_t bytes = cr_gemm_workspace(&products[i]);
        most = CR_MAX(most, bytes);
    }
    return most + aligned(layer->batch * layer->steps * layer->hidden * element_of(layer));
}

static void state_weight_gradient(const struct recurrent_layer *layer,
                                  const struct recurrent_gradients *job, char *states, void *room)
{
    int64_t hidden = layer->hidden, plain = plain_rows(layer), element = element_of(layer);
    struct shift shift = { layer, job->y, job->h0, states };
    clear_padding(layer, states, hidden);
    cr_parallel_for(layer->batch, CR_MAX(PART_ELEMENTS / CR_MAX(layer->steps * hidden, 1), 1),
                    shift_rows, &shift);
    cr_gemm product =
        weight_product(layer, job->grad_gates, 0, plain, states, hidden, job->grad_weight_hh);
    cr_gemm_run(&product, room);
    if (layer->cell != RECURRENT_GRU)
        return;
    char *last = (char *)job->grad_weight_hh + plain * hidden * element;
    product = weight_product(layer, job->grad_gates, 3 * hidden, hidden, states, hidden, last);
    cr_gemm_run(&product, room);
}

struct column_sums {
    const struct recurrent_layer *layer;
    const char *rows;
    char *sum;
};

static void sum_columns(int64_t begin, int64_t end, void *context)
{
    const struct column_sums *sums = context;
    const struct recurrent_layer *layer = sums->layer;
    int64_t element = element_of(layer);
    char *to = sums->sum + begin * element;
    memset(to, 0, (size_t)((end - begin) * element));
    kernels_of(layer->type)
        ->add_rows(sums->rows + begin * element,
                   recurrent_gate_gradients(layer->cell) * layer->hidden, 0,
                   layer->batch * layer->steps, end - begin, to);
}

void recurrent_run_gradients(const struct recurrent_layer *layer,
                             const struct recurrent_gradients *job, void *workspace)
{
    int64_t positions = layer->batch * layer->steps;
    char *states = workspace;
    char *room = states + aligned(positions * layer->hidden * element_of(layer));
    if (job->grad_x) {
        cr_gemm product = grad_x_product(layer, job);
        cr_gemm_run(&product, room);
    }
    if (job->grad_weight_ih) {
        cr_gemm product =
            weight_product(layer, job->grad_gates, 0, recurrent_gates(layer->cell) * layer->hidden,
                           job->x, layer->input, job->grad_weight_ih);
        cr_gemm_run(&product, room);
    }
    if (job->grad_weight_hh)
        state_weight_gradient(layer, job, states, room);
    if (job->grad_bias) {
        struct column_sums sums = { layer, job->grad_gates, job->grad_bias };
        int64_t chunk = CR_DIV_UP(PART_ELEMENTS / CR_MAX(positions, 1), 64) * 64;
        cr_parallel_for(recurrent_gate_gradients(layer->cell) * layer->hidden, CR_MAX(chunk, 64),
                        sum_columns, &sums);
    }
}
