/* The driver of the matrix product: cuts C into blocks, packs, and calls the micro-kernels.
 *
 * A plan is made from the shape, the caches and the instruction set. C is cut into blocks of
 * m_block by n_block, k into `splits` ranges; each (product, split, block) is one task of a
 * parallel loop. A task goes through its range of k in steps of k_block: it packs that part of B,
 * then panels of A (unless they are read in place or were packed for all tasks beforehand), and
 * multiplies panel by panel. With more
 * than one split, tasks write partial sums, which a second loop adds in order. Between the steps of
 * k, sums are kept in C, or beside the panels where C has too few bits.
 *
 * Tasks pack into slots of the workspace, one for each thread that may run at once; a task takes
 * any free slot, which changes no result. */
#include "kernels/gemm/gemm.h"

#include <string.h>

#define ALIGNMENT        64
#define TILE_MAX         (16 * 32)  /* doubles that hold the largest tile of any type */
#define PANEL_WIDTH_MAX  32         /* of 16-bit elements */
#define TASKS_WANTED     64         /* enough to keep many threads busy to the end */
#define SHARE_MIN_MACS   (16 << 20) /* packing A beforehand costs a loop of its own */
#define SHARE_MAX        (8 << 20)  /* elements of A that are packed beforehand */
#define SPLIT_MIN_K      512        /* k of a split at least */
#define SPLIT_TASKS      16
#define TASKS_EACH       2 /* for each thread */
#define DIRECT_K         128
#define DIRECT_PITCH     256 /* elements */
#define STEPS_TOGETHER   16
#define PACK_GAIN        8
#define TURN_COST        13
#define TURNED_STRIDE    16 /* of a turned tile: at least the rows of any */
#define A_PANELS         8
#define FEW_ROWS         4
#define FEW_ROWS_COLUMNS 256
#define FEW_ROWS_MACS    (1 << 16)

/* ---- choice of kernels ---- */

const cr_gemm_kernels *cr_gemm_kernels_of(cr_gemm_type type)
{
#ifdef CR_HAVE_AMX_BF16
    if (type == CR_GEMM_BF16 && cr_isa_in_use() == CR_ISA_AMX_BF16)
        return &cr_gemm_tiles_amx_bf16;
#endif
#ifdef CR_HAVE_AVX512_BF16
    if (type == CR_GEMM_BF16 && cr_isa_in_use() == CR_ISA_AVX512_BF16)
        return &cr_gemm_pairs_avx512_bf16;
#endif
    return &(*CR_KERNELS_IN_USE(cr_gemm_kernels))[type];
}

cr_gemm_type cr_gemm_type_of(cr_dtype dtype)
{
    switch (dtype) {
    case CR_F64:
        return CR_GEMM_F64;
    case CR_BF16:
        return CR_GEMM_BF16;
    case CR_F16:
        return CR_GEMM_F16;
    default:
        return CR_GEMM_F32;
    }
}

void cr_gemm_widen(cr_gemm_type type, const void *from, int64_t count, float *to)
{
    (*CR_KERNELS_IN_USE(cr_gemm_kernels))[type].pack(from, 1, 0, count, count, 1, to);
}

/* ---- the plan ---- */

typedef struct plan {
    const cr_gemm_kernels *kernels;
    int64_t batch;
    int64_t panel_rows; /* of A; the last panel may have fewer */
    int64_t a_panels;   /* that a task packs at a time */
    int64_t m_block, n_block, k_block;
    int64_t m_blocks, n_blocks;
    int64_t splits, split_k;
    bool few_rows; /* no panels at all: dot or axpy */
    bool share_a;  /* A, B: packed as a whole first */
    bool share_b;
    bool direct_a; /* panels of A, and full ones of B, are read where they lie */
    bool direct_b;
    bool in_place_a;    /* so are rows of A that are contiguous along k */
    bool turned;        /* A and B have changed places: tiles are those of C transposed */
    bool c_is_sum;      /* C holds elements of the type of the sums */
    bool keep;          /* sums between the steps of k are kept in the slot */
    int64_t sum_stride; /* of partial sums */
    int64_t slots;
    /* bytes */
    size_t slot_a, slot_b, slot_sums, shared_a, shared_b, partial, flags;
} plan;

static size_t align_size(int64_t bytes)
{
    return (size_t)CR_ROUND_UP(bytes, ALIGNMENT);
}

static int64_t cache_size(int level, int64_t otherwise)
{
    int64_t size = cr_cpu_cache(level);
    return size > 0 ? size : otherwise;
}

/* n cut into equal parts of at most `most`, in whole units. */
static int64_t even_block(int64_t n, int64_t most, int64_t unit)
{
    most = CR_MAX(most / unit * unit, unit);
    return CR_ROUND_UP(CR_DIV_UP(n, CR_DIV_UP(n, most)), unit);
}

/* The side of a square block whose panels, and sums if they are kept, fill most of the second
 * cache. */
static int64_t block_side(const plan *p, int64_t l2)
{
    int64_t row = p->k_block * p->kernels->panel_element;
    int64_t side = l2 * 3 / 8 / row;
    while (p->keep && side > PANEL_WIDTH_MAX &&
           side * (2 * row + side * p->kernels->sum_element) > l2 * 3 / 4)
        side -= PANEL_WIDTH_MAX;
    return side;
}

static int64_t count_tasks(plan *p, const cr_gemm *g)
{
    p->m_blocks = CR_DIV_UP(g->m, p->m_block);
    p->n_blocks = CR_DIV_UP(g->n, p->n_block);
    return p->batch * p->m_blocks * p->n_blocks;
}

/* So much k for a small C that k is cut. */
static bool is_long(const cr_gemm *g)
{
    return g->k >= 2 * SPLIT_MIN_K && g->k > 4 * CR_MAX(g->m, g->n);
}

/* Blocks whose sums are kept in the task's slot between the steps of k. */
static void plan_kept(plan *p, const cr_gemm *g)
{
    const cr_gemm_kernels *kernels = p->kernels;
    int64_t tile = kernels->tile_columns;
    int64_t l1 = cache_size(1, 32 << 10), l2 = cache_size(2, 512 << 10);
    int64_t macs = p->batch * g->m * g->n * g->k;
    int64_t wanted = CR_MIN(CR_MAX(macs / kernels->task_macs, 1), TASKS_WANTED);

    p->k_block =
        even_block(g->k, CR_MIN(l1 * 3 / 4 / (tile * kernels->panel_element), CR_GEMM_K_MAX),
                   CR_MAX(8, kernels->k_unit));
    p->keep = (!p->c_is_sum || kernels->pairs) && g->k > p->k_block;
    int64_t side = block_side(p, l2);
    p->m_block = even_block(g->m, side, p->panel_rows);
    p->n_block = even_block(g->n, side, tile);
    bool may_share = p->batch == 1 && macs >= SHARE_MIN_MACS;
    p->share_a = may_share && g->n > p->n_block / 2 && g->m * g->k <= SHARE_MAX;
    if (p->share_a && !p->keep)
        p->m_block = CR_ROUND_UP(g->m, p->panel_rows);

    int64_t tasks = count_tasks(p, g);
    if (tasks < wanted && is_long(g)) {
        p->splits = CR_MIN(CR_DIV_UP(wanted, tasks), g->k / SPLIT_MIN_K);
        p->share_a = may_share = p->keep = false;
        p->m_block = even_block(g->m, side, p->panel_rows);
    }
    while (p->splits == 1 && tasks < wanted) {
        /* Where A is packed beforehand, another block of columns costs least. */
        bool by_rows = (p->m_block > p->n_block && !p->share_a) || p->n_block <= 2 * tile;
        if (by_rows && p->m_block > 2 * p->panel_rows)
            p->m_block = even_block(g->m, p->m_block / 2, p->panel_rows);
        else if (p->n_block > 2 * tile)
            p->n_block = even_block(g->n, p->n_block / 2, tile);
        else
            break;
        tasks = count_tasks(p, g);
    }
    count_tasks(p, g);
    p->share_a = p->share_a && p->n_blocks > 1;
    p->share_b = may_share && kernels->pairs && p->m_blocks > 1 && g->n * g->k <= SHARE_MAX;
}

/* How much an element costs that is packed, beside one that is read in place. */
static int64_t packing_cost(const cr_gemm *g, const cr_gemm_operand *operand, bool in_place)
{
    if (in_place)
        return 1;
    if (operand->packer || g->operands_float)
        return 8;
    return operand->stride == 1 ? 2 : 4;
}

static bool is_in_place(const plan *p, const cr_gemm_operand *a)
{
    return p->kernels->tile_in_place && p->kernels->element == p->kernels->panel_element &&
           !a->packer && a->k_stride == 1;
}

/* Cuts C into tasks for the threads, which changes no sum. Each block of columns packs or reads all
 * of A again, each block of rows all of B: of the two, what costs less. */
static void cut_into_tasks(plan *p, const cr_gemm *g, int64_t wanted)
{
    int64_t tile = p->kernels->tile_columns;
    int64_t a_cost = packing_cost(g, &g->a, is_in_place(p, &g->a));
    int64_t b_cost = packing_cost(g, &g->b, false);
    while (count_tasks(p, g) < wanted) {
        bool rows_left = p->m_block > 2 * p->panel_rows, columns_left = p->n_block > 2 * tile;
        if (rows_left && (!columns_left || p->m_block * a_cost > p->n_block * b_cost))
            p->m_block = even_block(g->m, p->m_block / 2, p->panel_rows);
        else if (columns_left)
            p->n_block = even_block(g->n, p->n_block / 2, tile);
        else
            break;
    }
}

/* Blocks whose sums go to C: a panel of A stays in the first cache while a block of B, of which the
 * second cache holds at least two, passes by. */
static void plan_flowing(plan *p, const cr_gemm *g)
{
    const cr_gemm_kernels *kernels = p->kernels;
    int64_t tile = kernels->tile_columns, element = kernels->panel_element;
    int64_t l1 = cache_size(1, 32 << 10), l2 = cache_size(2, 512 << 10);
    int64_t macs = p->batch * g->m * g->n * g->k;
    int64_t most = CR_MAX(macs / kernels->task_macs, 1);
    p->k_block = even_block(g->k, CR_MIN(l1 / 2 / (kernels->tile_rows * element), CR_GEMM_K_MAX),
                            CR_MAX(8, kernels->k_unit));
    p->n_block = even_block(g->n, l2 / 2 / (p->k_block * element), tile);
    p->m_block = CR_ROUND_UP(g->m, p->panel_rows);
    int64_t tasks = count_tasks(p, g), splits = CR_MIN(most, SPLIT_TASKS);
    if (tasks < splits && is_long(g))
        p->splits = CR_MIN(CR_DIV_UP(splits, tasks), g->k / SPLIT_MIN_K);
    else
        cut_into_tasks(p, g,
                       CR_MIN(most, cr_num_threads() > 1 ? TASKS_EACH * cr_num_threads() : 1));
    p->share_a = p->batch == 1 && p->splits == 1 && g->a.packer && p->n_blocks > 1 &&
                 g->m * g->k <= SHARE_MAX;
}

static void plan_blocks(plan *p, const cr_gemm *g)
{
    const cr_gemm_kernels *kernels = p->kernels;
    p->splits = 1;
    p->panel_rows = CR_DIV_UP(g->m, CR_DIV_UP(g->m, (int64_t)kernels->tile_rows));
    p->panel_rows = CR_ROUND_UP(p->panel_rows, kernels->row_unit);
    if (p->c_is_sum && !kernels->pairs)
        plan_flowing(p, g);
    else
        plan_kept(p, g);
}

/* Few rows: packing would cost more than the product. */
static bool is_few_rows(const cr_gemm *g)
{
    if (g->m > FEW_ROWS || g->a.packer || g->b.packer || g->c_block || g->operands_float)
        return false;
    return g->b.stride == 1 || (g->b.k_stride == 1 && g->a.k_stride == 1);
}

/* An operand whose steps of k are contiguous need not be packed if it is read a few times only, or
 * if what is read of it lies close together. */
static bool is_direct_operand(const cr_gemm_operand *operand, int64_t k, bool few)
{
    return !operand->packer && operand->stride == 1 &&
           (few || k <= DIRECT_K || (operand->k_stride > 0 && operand->k_stride <= DIRECT_PITCH));
}

/* Rows as panels of A have them. */
static int64_t padded_rows(const plan *p, int64_t rows)
{
    return CR_ROUND_UP(rows, p->kernels->row_unit);
}

static int64_t padded_steps(const plan *p, int64_t k_count)
{
    return CR_ROUND_UP(k_count, p->kernels->k_unit);
}

static size_t slot_size(const plan *p)
{
    return p->slot_a + p->slot_b + p->slot_sums;
}

static plan make_plan(const cr_gemm *g, bool turned)
{
    plan p = { .kernels = cr_gemm_kernels_of(g->type),
               .batch = CR_MAX(g->batch, 1),
               .turned = turned };
    p.few_rows = !turned && is_few_rows(g);
    p.c_is_sum = p.kernels->element == p.kernels->sum_element || g->c_float;
    if (p.few_rows || g->m <= 0 || g->n <= 0 || g->k <= 0)
        return p;
    plan_blocks(&p, g);
    int64_t element = p.kernels->panel_element, sum = p.kernels->sum_element;
    p.split_k = CR_ROUND_UP(CR_DIV_UP(g->k, p.splits), p.splits > 1 ? p.k_block : 1);
    p.splits = CR_DIV_UP(g->k, p.split_k);
    bool direct = element == p.kernels->element && !p.kernels->pairs;
    p.direct_a = direct && !p.share_a &&
                 is_direct_operand(&g->a, g->k, p.n_block <= p.kernels->tile_columns);
    p.direct_b = direct && is_direct_operand(&g->b, g->k, p.m_block <= 4 * p.panel_rows);
    p.in_place_a = !p.share_a && is_in_place(&p, &g->a);
    p.sum_stride = CR_ROUND_UP(g->n, p.kernels->tile_columns);
    p.slots = cr_slots_wanted();
    int64_t k_padded = padded_steps(&p, g->k);
    p.a_panels = g->a.stride == 1 ? A_PANELS : 1;
    p.slot_a = p.share_a ? 0 : align_size(p.a_panels * p.panel_rows * p.k_block * element);
    p.slot_b = p.share_b ? 0 : align_size(p.n_block * p.k_block * element);
    p.slot_sums = p.keep ? align_size(p.m_block * p.n_block * sum) : 0;
    p.shared_a = p.share_a ? align_size(padded_rows(&p, g->m) * k_padded * element) : 0;
    p.shared_b = p.share_b ? align_size(p.sum_stride * k_padded * element) : 0;
    p.partial = p.splits > 1 ? align_size(g->m * p.sum_stride * sum) : 0;
    p.flags = cr_slots_size(p.slots);
    return p;
}

/* The product with its defaults filled in; one with a single column becomes the transposed product
 * with a single row. */
static cr_gemm normalised(const cr_gemm *g)
{
    cr_gemm row = *g;
    if (row.c_column_stride == 0)
        row.c_column_stride = 1;
    if (g->operands_float && !cr_gemm_kernels_of(g->type)->pairs)
        row.type = CR_GEMM_F32;
    if (row.type != CR_GEMM_BF16 && row.type != CR_GEMM_F16)
        row.operands_float = row.c_float = row.bias_float = false;
    if (g->n == 1 && g->m > 1 && g->c_stride == 1 && !g->c_block) {
        row.m = 1;
        row.n = g->m;
        row.a = g->b;
        row.b = g->a;
        row.c_stride = g->m;
        row.epilogue.row_bias = g->epilogue.column_bias;
        row.epilogue.column_bias = g->epilogue.row_bias;
    }
    return row;
}

/* Where B is contiguous along k and has more columns than A rows, as in a layer of a small batch,
 * the transposed product reads B in place and packs A: for few rows packing B costs most. Against
 * that stands TURN_COST for each tile that is turned, in steps of k that pack PACK_GAIN elements.
 */
static bool is_better_turned(const cr_gemm *g)
{
    const cr_gemm_kernels *kernels = cr_gemm_kernels_of(g->type);
    bool may = kernels->tile_in_place && kernels->element == kernels->sum_element && !g->a.packer &&
               !g->b.packer && g->b.k_stride == 1 && g->b.stride != 1 && !is_few_rows(g) &&
               !is_long(g);
    return may && PACK_GAIN * g->k * (g->n - g->m) > TURN_COST * g->m * g->n;
}

/* The product whose operands are packed and multiplied: that of C, or of its transpose. */
static cr_gemm turned_product(const cr_gemm *g, bool turned)
{
    cr_gemm product = *g;
    if (turned) {
        product.m = g->n;
        product.n = g->m;
        product.a = g->b;
        product.b = g->a;
    }
    return product;
}

size_t cr_gemm_workspace(const cr_gemm *product)
{
    const cr_gemm g = normalised(product);
    bool turned = is_better_turned(&g);
    const cr_gemm operands = turned_product(&g, turned);
    plan p = make_plan(&operands, turned);
    return p.flags + (size_t)p.slots * slot_size(&p) + p.shared_a + p.shared_b +
           (size_t)p.batch * (size_t)p.splits * p.partial;
}

/* ---- running ---- */

typedef struct run {
    const cr_gemm *product; /* turned, if the plan says so */
    const cr_gemm *result;  /* as it was asked for: what C and the epilogue are */
    plan plan;
    cr_slots slots;
    char *slot_memory;
    char *shared_a, *shared_b;
    char *partial;
} run;

static const void *operand_at(const run *r, const cr_gemm_operand *operand, int64_t batch,
                              int64_t index, int64_t k)
{
    int64_t offset =
        batch * operand->batch_stride + index * operand->stride + k * operand->k_stride;
    int64_t element =
        r->product->operands_float ? (int64_t)sizeof(float) : r->plan.kernels->element;
    return (const char *)operand->data + offset * element;
}

/* Floats of an operand are rounded to elements that lie as they did, one way or the other. */
static void pack_floats(const run *r, const cr_gemm_operand *operand, bool is_left, int64_t batch,
                        int64_t first, int64_t count, int64_t width, int64_t k_first,
                        int64_t k_count, char *panel)
{
    const cr_gemm_kernels *kernels = r->plan.kernels;
    CR_ALIGNED(ALIGNMENT) uint16_t rounded[PANEL_WIDTH_MAX * CR_GEMM_K_MAX];
    const float *from = operand_at(r, operand, batch, first, k_first);
    int64_t stride = 1, k_stride = PANEL_WIDTH_MAX;
    if (operand->k_stride == 1) {
        stride = CR_GEMM_K_MAX;
        k_stride = 1;
        for (int64_t i = 0; i < count; i++)
            kernels->narrow(from + i * operand->stride, k_count, rounded + i * stride);
    } else if (operand->stride == 1) {
        for (int64_t k = 0; k < k_count; k++)
            kernels->narrow(from + k * operand->k_stride, count, rounded + k * k_stride);
    } else {
        for (int64_t k = 0; k < k_count; k++)
            for (int64_t i = 0; i < count; i++)
                kernels->narrow(from + i * operand->stride + k * operand->k_stride, 1,
                                rounded + k * k_stride + i);
    }
    (is_left && kernels->pack_rows ? kernels->pack_rows : kernels->pack)(
        rounded, stride, k_stride, count, width, k_count, panel);
}

/* A panel of B; the steps that complete its last unit of k are zeros. */
static void pack_right(const run *r, int64_t batch, int64_t first, int64_t count, int64_t width,
                       int64_t k_first, int64_t k_count, char *panel)
{
    const cr_gemm_operand *b = &r->product->b;
    const cr_gemm_kernels *kernels = r->plan.kernels;
    if (b->packer)
        b->packer(b->context, batch, first, count, width, k_first, k_count, panel);
    else if (r->product->operands_float)
        pack_floats(r, b, false, batch, first, count, width, k_first, k_count, panel);
    else
        kernels->pack(operand_at(r, b, batch, first, k_first), b->stride, b->k_stride, count, width,
                      k_count, panel);
    if (kernels->pairs) {
        int64_t used = CR_ROUND_UP(k_count, 2), step = width * kernels->panel_element;
        memset(panel + used * step, 0, (size_t)((padded_steps(&r->plan, k_count) - used) * step));
    }
}

static void pack_left(const run *r, int64_t batch, int64_t first, int64_t rows, int64_t k_first,
                      int64_t k_count, char *panel)
{
    const cr_gemm_operand *a = &r->product->a;
    const cr_gemm_kernels *kernels = r->plan.kernels;
    int64_t width = padded_rows(&r->plan, rows);
    if (a->packer && kernels->turn_rows) {
        CR_ALIGNED(ALIGNMENT) uint16_t pairs[PANEL_WIDTH_MAX * CR_GEMM_K_MAX];
        a->packer(a->context, batch, first, rows, width, k_first, k_count, pairs);
        kernels->turn_rows(pairs, width, k_count, panel);
    } else if (a->packer) {
        a->packer(a->context, batch, first, rows, width, k_first, k_count, panel);
    } else if (r->product->operands_float) {
        pack_floats(r, a, true, batch, first, rows, width, k_first, k_count, panel);
    } else {
        (kernels->pack_rows ? kernels->pack_rows
                            : kernels->pack)(operand_at(r, a, batch, first, k_first), a->stride,
                                             a->k_stride, rows, width, k_count, panel);
    }
}

/* Packs rows [first, last) of A for one step of k, panel after panel. */
static void pack_rows(const run *r, int64_t batch, int64_t first, int64_t last, int64_t k_first,
                      int64_t k_count, char *to)
{
    for (int64_t i = first; i < last; i += r->plan.panel_rows) {
        int64_t rows = CR_MIN(last - i, r->plan.panel_rows);
        pack_left(r, batch, i, rows, k_first, k_count, to);
        to += padded_rows(&r->plan, rows) * padded_steps(&r->plan, k_count) *
              r->plan.kernels->panel_element;
    }
}

static int64_t panel_width(const plan *p, int64_t columns)
{
    return columns <= p->kernels->lanes ? p->kernels->lanes : p->kernels->tile_columns;
}

static bool is_direct_panel(const plan *p, int64_t columns)
{
    return p->direct_b && columns == p->kernels->tile_columns;
}

/* Panels of an operand whose steps of k are contiguous: some steps of all of them before the next,
 * so that what lies together is read together. */
static void pack_together(const run *r, const cr_gemm_operand *operand, int64_t batch,
                          int64_t first, int64_t last, int64_t tile, int64_t k_first,
                          int64_t k_count, char *to)
{
    const cr_gemm_kernels *kernels = r->plan.kernels;
    int64_t element = kernels->panel_element;
    for (int64_t k = 0; k < k_count; k += STEPS_TOGETHER) {
        int64_t steps = CR_MIN(k_count - k, STEPS_TOGETHER);
        for (int64_t i = first; i < last; i += tile) {
            int64_t count = CR_MIN(last - i, tile);
            int64_t width = operand == &r->product->a ? count : panel_width(&r->plan, count);
            kernels->pack(operand_at(r, operand, batch, i, k_first + k), 1, operand->k_stride,
                          count, width, steps, to + ((i - first) * k_count + k * width) * element);
        }
    }
}

static bool is_packed_together(const run *r, const cr_gemm_operand *operand)
{
    return operand->stride == 1 && !operand->packer && !r->product->operands_float &&
           !r->plan.kernels->pairs;
}

static void pack_columns(const run *r, int64_t batch, int64_t first, int64_t last, int64_t k_first,
                         int64_t k_count, char *to)
{
    const plan *p = &r->plan;
    int64_t tile = p->kernels->tile_columns;
    if (is_packed_together(r, &r->product->b)) {
        /* Of columns that are read in place only a narrow last panel is packed. */
        int64_t in_place = p->direct_b ? (last - first) / tile * tile : 0;
        pack_together(r, &r->product->b, batch, first + in_place, last, tile, k_first, k_count,
                      to + in_place * k_count * p->kernels->panel_element);
        return;
    }
    for (int64_t j = first; j < last; j += tile) {
        int64_t columns = CR_MIN(last - j, tile);
        pack_right(r, batch, j, columns, panel_width(p, columns), k_first, k_count, to);
        to += tile * padded_steps(p, k_count) * p->kernels->panel_element;
    }
}

/* Where an operand that was packed beforehand has row or column `first` for the step of k that
 * begins at k_first: the panels of one step lie together, and `all` rows or columns are in each. */
static char *shared_at(const plan *p, char *shared, int64_t all, int64_t first, int64_t k_first,
                       int64_t k_count)
{
    return shared + (k_first * all + first * padded_steps(p, k_count)) * p->kernels->panel_element;
}

/* Bodies of the loops that pack A or B beforehand: index counts panels, and each is packed for
 * every step of k. */
static void pack_shared_rows(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const cr_gemm *g = r->product;
    int64_t first = begin * r->plan.panel_rows, last = CR_MIN(end * r->plan.panel_rows, g->m);
    int64_t all = padded_rows(&r->plan, g->m);
    for (int64_t k = 0; k < g->k; k += r->plan.k_block) {
        int64_t k_count = CR_MIN(r->plan.k_block, g->k - k);
        pack_rows(r, 0, first, last, k, k_count,
                  shared_at(&r->plan, r->shared_a, all, first, k, k_count));
    }
}

static void pack_shared_columns(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const cr_gemm *g = r->product;
    int64_t tile = r->plan.kernels->tile_columns;
    int64_t first = begin * tile, last = CR_MIN(end * tile, g->n);
    for (int64_t k = 0; k < g->k; k += r->plan.k_block) {
        int64_t k_count = CR_MIN(r->plan.k_block, g->k - k);
        pack_columns(r, 0, first, last, k, k_count,
                     shared_at(&r->plan, r->shared_b, r->plan.sum_stride, first, k, k_count));
    }
}

/* ---- a tile ---- */

/* What is done with one tile: which part of C, which step of k, where its panels are. */
typedef struct tile_job {
    int64_t batch, split;
    int64_t row, rows, column, columns;
    int64_t k_first, k_count;
    bool first, last; /* step of k in its split */
    const void *a, *b;
    int64_t a_step, b_step;
    char *sums; /* where the task keeps those of this tile; NULL: nowhere */
} tile_job;

static const void *moved(const void *pointer, int64_t elements, int64_t element)
{
    return pointer ? (const char *)pointer + elements * element : NULL;
}

static int64_t c_offset(const cr_gemm *g, int64_t batch, int64_t row, int64_t column)
{
    int64_t offset = batch * g->c_batch_stride + row * g->c_stride;
    if (!g->c_block)
        return offset + column * g->c_column_stride;
    int64_t block = column / g->c_block;
    offset += column % g->c_block * g->c_column_stride;
    if (g->c_block_place)
        return offset + g->c_block_place(g->c_context, block);
    return offset + block * g->c_block_stride;
}

static bool has_epilogue(const cr_epilogue *e)
{
    return e->row_bias || e->column_bias || e->residual || e->activation != CR_ACTIVATION_NONE;
}

/* Writes sums to C, where `sum` stands for rows row … and columns column …, with the epilogue if
 * they are complete. */
static void finish(const run *r, int64_t batch, int64_t row, int64_t rows, int64_t column,
                   int64_t columns, const void *sum, int64_t sum_stride, bool accumulate, bool last)
{
    const cr_gemm *g = r->result;
    const cr_gemm_kernels *kernels = r->plan.kernels;
    int64_t element = r->plan.c_is_sum ? kernels->sum_element : kernels->element;
    int64_t bias_element = g->bias_float ? (int64_t)sizeof(float) : kernels->element;
    for (int64_t done = 0; done < columns;) {
        int64_t j = column + done, count = columns - done;
        if (g->c_block)
            count = CR_MIN(count, g->c_block - j % g->c_block);
        int64_t offset = c_offset(g, batch, row, j);
        cr_gemm_finish f = { .rows = rows,
                             .columns = count,
                             .sum = moved(sum, done, kernels->sum_element),
                             .sum_stride = sum_stride,
                             .c = (char *)g->c + offset * element,
                             .c_stride = g->c_stride,
                             .c_column_stride = g->c_column_stride,
                             .accumulate = accumulate,
                             .c_float = g->c_float,
                             .bias_float = g->bias_float,
                             .alpha = g->alpha };
        if (last) {
            f.epilogue = g->epilogue;
            f.epilogue.row_bias =
                moved(g->epilogue.row_bias, batch * g->bias_batch_stride + row, bias_element);
            f.epilogue.column_bias = moved(g->epilogue.column_bias, j, bias_element);
            f.epilogue.residual = moved(g->epilogue.residual, offset, element);
        }
        kernels->finish(&f);
        done += count;
    }
}

static void multiply_tile(const run *r, const tile_job *t, void *sums, int64_t stride,
                          bool accumulate)
{
    const cr_gemm_kernels *kernels = r->plan.kernels;
    (r->plan.in_place_a ? kernels->tile_in_place : kernels->tile)(
        t->k_count, t->a, t->a_step, t->b, t->b_step, (int)t->rows,
        panel_width(&r->plan, t->columns), sums, stride, accumulate);
}

/* Asks for the part of C that a tile will be written to, which the sums leave time for: lines that
 * are not in a cache would hold the writes up. */
static void ask_for_tile(const run *r, const tile_job *t)
{
    enum { LINE = 64 };
    const cr_gemm *g = r->product;
    int64_t element = r->plan.c_is_sum ? r->plan.kernels->sum_element : r->plan.kernels->element;
    const char *c = (const char *)g->c + c_offset(g, t->batch, t->row, t->column) * element;
    for (int64_t i = 0; i < t->rows; i++, c += g->c_stride * element)
        for (int64_t at = 0; at < t->columns * element; at += LINE)
            __builtin_prefetch(c + at, 1);
}

/* A tile of the transposed product on its way to C. */
static void run_turned_tile(const run *r, const tile_job *t)
{
    CR_ALIGNED(ALIGNMENT) double sum[TILE_MAX], turned[TILE_MAX];
    int64_t width = panel_width(&r->plan, t->columns);
    multiply_tile(r, t, sum, width, false);
    r->plan.kernels->turn(sum, t->rows, width, turned, TURNED_STRIDE);
    finish(r, t->batch, t->column, t->columns, t->row, t->rows, turned, TURNED_STRIDE,
           r->result->accumulate || !t->first, t->last);
}

static void run_tile(const run *r, const tile_job *t)
{
    const cr_gemm *g = r->product;
    const plan *p = &r->plan;
    int64_t width = panel_width(p, t->columns), element = p->kernels->sum_element;
    if (p->turned) {
        run_turned_tile(r, t);
        return;
    }
    if (p->splits > 1) {
        char *to = r->partial + (size_t)(t->batch * p->splits + t->split) * p->partial +
                   (size_t)((t->row * p->sum_stride + t->column) * element);
        multiply_tile(r, t, to, p->sum_stride, !t->first);
        return;
    }
    if (p->keep) {
        multiply_tile(r, t, t->sums, width, !t->first);
        if (t->last)
            finish(r, t->batch, t->row, t->rows, t->column, t->columns, t->sums, width,
                   g->accumulate, true);
        return;
    }
    bool accumulate = g->accumulate || !t->first;
    bool whole = t->columns == width && g->c_column_stride == 1 &&
                 (!g->c_block || t->column % g->c_block + t->columns <= g->c_block);
    if (whole && p->c_is_sum && g->alpha == 1 && !(t->last && has_epilogue(&g->epilogue))) {
        char *to = (char *)g->c + c_offset(g, t->batch, t->row, t->column) * element;
        multiply_tile(r, t, to, g->c_stride, accumulate);
        return;
    }
    if (g->c_column_stride == 1 && !g->c_block)
        ask_for_tile(r, t);
    CR_ALIGNED(ALIGNMENT) double sum[TILE_MAX];
    multiply_tile(r, t, sum, width, false);
    finish(r, t->batch, t->row, t->rows, t->column, t->columns, sum, width, accumulate, t->last);
}

/* ---- a task ---- */

typedef struct task {
    int64_t batch, split;
    int64_t m_first, m_last, n_first, n_last;
    char *slot;
} task;

/* Finds the panel of A of a row of tiles: where it lies, where it was packed for all tasks, or in
 * the slot, where some panels are packed at a time. */
static void find_panel(const run *r, const task *t, tile_job *job, const char *shared)
{
    const plan *p = &r->plan;
    const cr_gemm_operand *a = &r->product->a;
    if (p->in_place_a || p->direct_a) {
        job->a = operand_at(r, a, t->batch, job->row, job->k_first);
        job->a_step = p->in_place_a ? a->stride : a->k_stride;
        return;
    }
    job->a_step = job->rows;
    int64_t row = job->row - t->m_first, panel = row / p->panel_rows % p->a_panels;
    int64_t step = padded_steps(p, job->k_count) * p->kernels->panel_element;
    job->a = shared ? shared + row * step : t->slot + panel * p->panel_rows * step;
    if (shared || panel > 0)
        return;
    int64_t last = CR_MIN(job->row + p->a_panels * p->panel_rows, t->m_last);
    if (is_packed_together(r, a))
        pack_together(r, a, t->batch, job->row, last, p->panel_rows, job->k_first, job->k_count,
                      t->slot);
    else
        pack_rows(r, t->batch, job->row, last, job->k_first, job->k_count, t->slot);
}

/* Every tile of a task for one step of k. A panel of A stays in the first cache while the panels
 * of B pass from the second. */
static void multiply_block(const run *r, const task *t, tile_job job, const char *shared_a,
                           const char *b)
{
    const plan *p = &r->plan;
    int64_t tile = p->kernels->tile_columns;
    int64_t step = padded_steps(p, job.k_count) * p->kernels->panel_element;
    char *sums = t->slot + p->slot_a + p->slot_b;
    for (job.row = t->m_first; job.row < t->m_last; job.row += job.rows) {
        job.rows = CR_MIN(t->m_last - job.row, p->panel_rows);
        find_panel(r, t, &job, shared_a);
        for (job.column = t->n_first; job.column < t->n_last; job.column += tile) {
            job.columns = CR_MIN(t->n_last - job.column, tile);
            job.b = b + (job.column - t->n_first) * step;
            job.b_step = panel_width(p, job.columns);
            if (is_direct_panel(p, job.columns)) {
                job.b = operand_at(r, &r->product->b, t->batch, job.column, job.k_first);
                job.b_step = r->product->b.k_stride;
            }
            if (p->keep)
                job.sums = sums + ((job.row - t->m_first) * p->n_block +
                                   (job.column - t->n_first) * p->panel_rows) *
                                      p->kernels->sum_element;
            run_tile(r, &job);
        }
    }
}

static void run_task(const run *r, const task *t)
{
    const plan *p = &r->plan;
    const cr_gemm *g = r->product;
    int64_t k_begin = t->split * p->split_k, k_end = CR_MIN(k_begin + p->split_k, g->k);
    const char *a = NULL;
    char *b = t->slot + p->slot_a;
    for (int64_t k = k_begin; k < k_end; k += p->k_block) {
        int64_t k_count = CR_MIN(p->k_block, k_end - k);
        if (p->share_b)
            b = shared_at(p, r->shared_b, p->sum_stride, t->n_first, k, k_count);
        else
            pack_columns(r, t->batch, t->n_first, t->n_last, k, k_count, b);
        if (p->share_a)
            a = shared_at(p, r->shared_a, padded_rows(p, g->m), t->m_first, k, k_count);
        tile_job job = { .batch = t->batch,
                         .split = t->split,
                         .k_first = k,
                         .k_count = k_count,
                         .first = k == k_begin,
                         .last = k + k_count == k_end };
        multiply_block(r, t, job, a, b);
    }
}

static void run_tasks(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    int64_t slot = cr_slot_take(&r->slots);
    if (p->kernels->begin)
        p->kernels->begin();
    for (int64_t index = begin; index < end; index++) {
        int64_t rest = index;
        int64_t n = rest % p->n_blocks;
        rest /= p->n_blocks;
        int64_t m = rest % p->m_blocks;
        rest /= p->m_blocks;
        task t = { .batch = rest / p->splits,
                   .split = rest % p->splits,
                   .m_first = m * p->m_block,
                   .m_last = CR_MIN((m + 1) * p->m_block, r->product->m),
                   .n_first = n * p->n_block,
                   .n_last = CR_MIN((n + 1) * p->n_block, r->product->n),
                   .slot = r->slot_memory + (size_t)slot * slot_size(p) };
        run_task(r, &t);
    }
    if (p->kernels->end)
        p->kernels->end();
    cr_slot_release(&r->slots, slot);
}

/* Adds the partial sums of rows [begin, end), counted through the batch, in the order of k. */
static void reduce_rows(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const plan *p = &r->plan;
    for (int64_t index = begin; index < end; index++) {
        int64_t batch = index / r->product->m, row = index % r->product->m;
        char *sum = r->partial + (size_t)(batch * p->splits) * p->partial +
                    (size_t)(row * p->sum_stride * p->kernels->sum_element);
        for (int64_t split = 1; split < p->splits; split++)
            p->kernels->add(sum + (size_t)split * p->partial, r->product->n, sum);
        finish(r, batch, row, 1, 0, r->product->n, sum, p->sum_stride, r->product->accumulate,
               true);
    }
}

/* ---- products without panels ---- */

static void run_few_rows(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const cr_gemm *g = r->product;
    const cr_gemm_kernels *kernels = r->plan.kernels;
    CR_ALIGNED(ALIGNMENT) double sum[FEW_ROWS * FEW_ROWS_COLUMNS];
    while (begin < end) {
        int64_t batch = begin / g->n, column = begin % g->n;
        int64_t columns = CR_MIN(CR_MIN(end - begin, g->n - column), FEW_ROWS_COLUMNS);
        const void *a = moved(g->a.data, batch * g->a.batch_stride, kernels->element);
        const void *b =
            moved(g->b.data, batch * g->b.batch_stride + column * g->b.stride, kernels->element);
        if (g->b.stride != 1)
            kernels->dot(g->m, columns, g->k, a, g->a.stride, b, g->b.stride, sum,
                         FEW_ROWS_COLUMNS);
        else
            kernels->axpy(g->m, columns, g->k, a, g->a.stride, g->a.k_stride, b, g->b.k_stride, sum,
                          FEW_ROWS_COLUMNS);
        finish(r, batch, 0, g->m, column, columns, sum, FEW_ROWS_COLUMNS, g->accumulate, true);
        begin += columns;
    }
}

/* k is 0: the sums are 0. */
static void run_empty(int64_t begin, int64_t end, void *context)
{
    const run *r = context;
    const cr_gemm *g = r->product;
    static const double zeros[FEW_ROWS_COLUMNS];
    for (int64_t index = begin; index < end; index++)
        for (int64_t j = 0; j < g->n; j += FEW_ROWS_COLUMNS)
            finish(r, index / g->m, index % g->m, 1, j, CR_MIN(g->n - j, FEW_ROWS_COLUMNS), zeros,
                   0, g->accumulate, true);
}

static void run_blocks(run *r, void *workspace)
{
    const plan *p = &r->plan;
    const cr_gemm *g = r->product;
    char *at = workspace;
    r->slots = cr_slots_make(at, p->slots);
    r->slot_memory = at + p->flags;
    r->shared_a = r->slot_memory + (size_t)p->slots * slot_size(p);
    r->shared_b = r->shared_a + p->shared_a;
    r->partial = r->shared_b + p->shared_b;
    int64_t tile = p->kernels->tile_columns;
    if (p->share_a)
        cr_parallel_for(CR_DIV_UP(g->m, p->panel_rows),
                        CR_MAX((1 << 16) / (p->panel_rows * g->k), 1), pack_shared_rows, r);
    if (p->share_b)
        cr_parallel_for(CR_DIV_UP(g->n, tile), CR_MAX((1 << 16) / (tile * g->k), 1),
                        pack_shared_columns, r);
    int64_t tasks = p->batch * p->splits * p->m_blocks * p->n_blocks;
    int64_t macs = CR_MIN(p->m_block, g->m) * CR_MIN(p->n_block, g->n) * CR_MIN(p->split_k, g->k);
    int64_t part = p->kernels->task_macs / 3;
    cr_parallel_for(tasks, CR_MAX(part / CR_MAX(macs, 1), 1), run_tasks, r);
    if (p->splits > 1)
        cr_parallel_for(p->batch * g->m, CR_MAX((1 << 16) / (g->n * p->splits), 1), reduce_rows, r);
}

void cr_gemm_run(const cr_gemm *product, void *workspace)
{
    if (product->m <= 0 || product->n <= 0 || product->batch < 0)
        return;
    const cr_gemm g = normalised(product);
    bool turned = is_better_turned(&g);
    const cr_gemm operands = turned_product(&g, turned);
    run r = { .product = &operands, .result = &g, .plan = make_plan(&operands, turned) };
    if (g.k <= 0) {
        cr_parallel_for(r.plan.batch * g.m, CR_MAX((1 << 16) / g.n, 1), run_empty, &r);
    } else if (r.plan.few_rows) {
        int64_t chunk = CR_MAX(FEW_ROWS_MACS / (g.m * g.k), 16);
        cr_parallel_for(r.plan.batch * g.n, CR_ROUND_UP(chunk, 16), run_few_rows, &r);
    } else {
        run_blocks(&r, workspace);
    }
}
