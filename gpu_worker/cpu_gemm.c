/* Tasks are numbered slice by slice, so that threads that run at the same time share a slice of the
 * weights in their last-level cache while the blocks of rows pass by. */
#include "gpu_worker/cpu_gemm.h"

#include "shm/log.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A slice's columns are whole registers and cache lines for every kernel of the library. */
#define SLICE_ALIGNMENT 64
/* A slice's weights should fit a core's second-level cache beside the rows. */
#define SLICE_COLUMNS_MAX 384

static const uint32_t ladder_rows[] = CPU_GEMM_LADDER;

_Static_assert(ARRAY_COUNT(ladder_rows) == CPU_GEMM_STEPS, "the ladder and its length");

/* ---- at start -------------------------------------------------------------------------------- */

int cpu_gemm_open(struct cpu_gemm *gemm, struct cpu_pool *pool, char error[ERROR_BYTES])
{
    memset(gemm, 0, sizeof(*gemm));
    gemm->pool = pool;
    for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++)
        gemm->usable[i] = true;
    gemm->dnnl = cpu_dnnl_create(cpu_pool_threads(pool), error);
    return gemm->dnnl ? 0 : -ENOMEM;
}

static bool same_shape(const struct cpu_dnnl_shape *a, const struct cpu_dnnl_shape *b)
{
    return a->in_dim == b->in_dim && a->out_dim == b->out_dim && a->in_stride == b->in_stride &&
           a->out_stride == b->out_stride && a->activation == b->activation;
}

/* Steps whose weights would have to be packed in another way than the first step's are not used. */
static int compile_ladder(struct cpu_gemm *gemm, struct cpu_gemm_ladder *ladder,
                          char error[ERROR_BYTES])
{
    for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++) {
        struct cpu_dnnl_product *product =
            cpu_dnnl_product_create(gemm->dnnl, &ladder->shape, ladder_rows[i], error);

        if (!product)
            return -ENOTSUP;
        ladder->products[i] = product;
        gemm->usable[i] &= cpu_dnnl_same_packing(product, ladder->products[0]);
        gemm->scratch_bytes = max_u64(gemm->scratch_bytes, cpu_dnnl_scratch_bytes(product));
    }
    return 0;
}

static int find_ladder(struct cpu_gemm *gemm, const struct cpu_dnnl_shape *shape,
                       const struct cpu_gemm_ladder **found, char error[ERROR_BYTES])
{
    struct cpu_gemm_ladder *ladder;

    for (uint32_t i = 0; i < gemm->n_ladders; i++) {
        *found = &gemm->ladders[i];
        if (same_shape(&gemm->ladders[i].shape, shape))
            return 0;
    }
    CHECK(gemm->n_ladders < CPU_GEMM_SHAPES_MAX);
    ladder = &gemm->ladders[gemm->n_ladders++];
    ladder->shape = *shape;
    *found = ladder;
    return compile_ladder(gemm, ladder, error);
}

/* At least one slice for each thread, so that a single short text keeps all of them busy. */
static uint32_t choose_slice_dim(uint32_t out_dim, uint32_t n_threads)
{
    uint32_t wanted = (out_dim + n_threads - 1) / n_threads;
    uint32_t n_slices;

    wanted = (uint32_t)align_up_u64(min_u64(wanted, SLICE_COLUMNS_MAX), SLICE_ALIGNMENT);
    n_slices = (out_dim + wanted - 1) / wanted;
    return (uint32_t)align_up_u64((out_dim + n_slices - 1) / n_slices, SLICE_ALIGNMENT);
}

int cpu_gemm_kind_open(struct cpu_gemm *gemm, struct cpu_gemm_kind *kind,
                       const struct cpu_dnnl_shape *shape, char error[ERROR_BYTES])
{
    struct cpu_dnnl_shape slice = *shape;
    int status;

    kind->shape = *shape;
    kind->slice_dim = choose_slice_dim(shape->out_dim, cpu_pool_threads(gemm->pool));
    kind->n_slices = (shape->out_dim + kind->slice_dim - 1) / kind->slice_dim;
    slice.out_dim = shape->out_dim - (kind->n_slices - 1) * kind->slice_dim;
    status = find_ladder(gemm, &slice, &kind->last, error);
    kind->full = kind->last;
    if (status == 0 && kind->n_slices > 1 && slice.out_dim != kind->slice_dim) {
        slice.out_dim = kind->slice_dim;
        status = find_ladder(gemm, &slice, &kind->full, error);
    }
    return status;
}

static const struct cpu_gemm_ladder *ladder_of(const struct cpu_gemm_kind *kind, uint32_t slice)
{
    return slice + 1 == kind->n_slices ? kind->last : kind->full;
}

static uint64_t packed_bytes(const struct cpu_gemm_kind *kind, uint32_t slice)
{
    return align_up_u64(cpu_dnnl_weights_bytes(ladder_of(kind, slice)->products[0]),
                        CACHE_LINE_BYTES);
}

int cpu_gemm_linear_plan(struct cpu_gemm_linear *linear, const struct cpu_gemm_kind *kind,
                         struct cpu_arena *arena, char error[ERROR_BYTES])
{
    uint64_t bytes = 0;

    for (uint32_t i = 0; i < kind->n_slices; i++)
        bytes += packed_bytes(kind, i);
    linear->kind = kind;
    linear->weights_offset = cpu_arena_plan(arena, "packed weights", bytes);
    linear->bias_offset = cpu_arena_plan(arena, "biases", kind->shape.out_dim * sizeof(float));
    linear->slices = calloc(kind->n_slices, sizeof(struct cpu_dnnl_weights *));
    if (!linear->slices) {
        snprintf(error, ERROR_BYTES, "no memory for the weights' table");
        return -ENOMEM;
    }
    return 0;
}

uint32_t cpu_gemm_rows_room(uint32_t n_rows)
{
    return n_rows + CPU_GEMM_ROWS_MAX;
}

static uint32_t blocks_max(uint32_t n_rows)
{
    return n_rows / CPU_GEMM_ROWS_MIN + 1;
}

void cpu_gemm_plan(struct cpu_gemm *gemm, struct cpu_arena *arena, uint32_t max_rows)
{
    gemm->arena = arena;
    gemm->scratch_bytes = align_up_u64(gemm->scratch_bytes + 1, CACHE_LINE_BYTES);
    gemm->scratch_offset = cpu_arena_plan(arena, "scratch of products",
                                          gemm->scratch_bytes * cpu_pool_threads(gemm->pool));
    gemm->countdown_offset = cpu_arena_plan(arena, "scratch of products",
                                            blocks_max(max_rows) * sizeof(_Atomic uint32_t));
}

int cpu_gemm_linear_pack(struct cpu_gemm *gemm, struct cpu_gemm_linear *linear, uint32_t thread,
                         const struct model_linear *model, float *staging, char error[ERROR_BYTES])
{
    const struct cpu_gemm_kind *kind = linear->kind;
    char *packed = cpu_arena_at(gemm->arena, linear->weights_offset);
    float *bias = cpu_arena_at(gemm->arena, linear->bias_offset);

    CHECK(model->weight.rows == kind->shape.out_dim && model->weight.columns == kind->shape.in_dim);
    model_tensor_to_float32(&model->bias, 0, 1, bias);
    for (uint32_t i = 0; i < kind->n_slices; i++) {
        uint32_t first = i * kind->slice_dim;
        const struct cpu_gemm_ladder *ladder = ladder_of(kind, i);

        model_tensor_to_float32(&model->weight, first, ladder->shape.out_dim, staging);
        linear->slices[i] = cpu_dnnl_weights_create(gemm->dnnl, thread, ladder->products[0],
                                                    staging, bias + first, packed, error);
        if (!linear->slices[i])
            return -ENOTSUP;
        packed += packed_bytes(kind, i);
    }
    return 0;
}

void cpu_gemm_linear_close(struct cpu_gemm_linear *linear)
{
    for (uint32_t i = 0; linear->slices && i < linear->kind->n_slices; i++)
        cpu_dnnl_weights_destroy(linear->slices[i]);
    free(linear->slices);
    linear->slices = NULL;
}

void cpu_gemm_close(struct cpu_gemm *gemm)
{
    for (uint32_t i = 0; i < gemm->n_ladders; i++)
        for (uint32_t step = 0; step < CPU_GEMM_STEPS; step++)
            cpu_dnnl_product_destroy(gemm->ladders[i].products[step]);
    cpu_dnnl_destroy(gemm->dnnl);
    memset(gemm, 0, sizeof(*gemm));
}

/* ---- same text, same bits -------------------------------------------------------------------- */

/* Numbers of all magnitudes a sum may meet; equal sums in another order give other bits. */
static void fill_equal_rows(float *rows, const struct cpu_dnnl_shape *shape)
{
    uint32_t state = 1;

    for (uint32_t i = 0; i < shape->in_dim; i++) {
        state = state * 1664525 + 1013904223;
        rows[i] = (float)(int32_t)state / 2147483648.0f;
    }
    for (uint32_t row = 1; row < CPU_GEMM_ROWS_MAX; row++)
        memcpy(rows + (uint64_t)row * shape->in_stride, rows, shape->in_dim * sizeof(float));
}

static bool rows_equal(const float *rows, uint32_t n_rows, const float *expected,
                       const struct cpu_dnnl_shape *shape)
{
    for (uint32_t row = 0; row < n_rows; row++)
        if (memcmp(rows + (uint64_t)row * shape->out_stride, expected,
                   shape->out_dim * sizeof(float)) != 0)
            return false;
    return true;
}

static void *scratch_of(const struct cpu_gemm *gemm, uint32_t thread)
{
    return (char *)cpu_arena_at(gemm->arena, gemm->scratch_offset) + thread * gemm->scratch_bytes;
}

static int check_ladder(struct cpu_gemm *gemm, const struct cpu_gemm_ladder *ladder,
                        const struct cpu_dnnl_weights *weights, float *in, float *out)
{
    float expected[SLICE_COLUMNS_MAX];
    bool have_expected = false;

    fill_equal_rows(in, &ladder->shape);
    for (uint32_t i = CPU_GEMM_STEPS; i-- > 0;) {
        int status;

        if (!gemm->usable[i])
            continue;
        status = cpu_dnnl_run(ladder->products[i], 0, weights, in, out, scratch_of(gemm, 0));
        if (status)
            return status;
        if (!have_expected)
            memcpy(expected, out, ladder->shape.out_dim * sizeof(float));
        gemm->usable[i] = rows_equal(out, ladder_rows[i], expected, &ladder->shape);
        have_expected |= gemm->usable[i];
    }
    return 0;
}

int cpu_gemm_check_bits(struct cpu_gemm *gemm, const struct cpu_gemm_linear *linear, float *in,
                        float *out, char error[ERROR_BYTES])
{
    const struct cpu_gemm_kind *kind = linear->kind;
    int status = check_ladder(gemm, kind->last, linear->slices[kind->n_slices - 1], in, out);

    if (status == 0 && kind->full != kind->last)
        status = check_ladder(gemm, kind->full, linear->slices[0], in, out);
    if (status) {
        snprintf(error, ERROR_BYTES, "oneDNN failed in a product of %u by %u", kind->shape.in_dim,
                 kind->shape.out_dim);
        return status;
    }
    for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++)
        if (gemm->usable[i])
            return 0;
    snprintf(error, ERROR_BYTES,
             "oneDNN's products on this CPU give other bits for the same row at another place, for "
             "every block size tried; no way round is known for this CPU, please report it");
    return -ENOTSUP;
}

void cpu_gemm_log_steps(const struct cpu_gemm *gemm)
{
    char text[CPU_GEMM_STEPS * 8] = "";
    uint32_t n_usable = 0, length = 0;

    for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++) {
        if (!gemm->usable[i])
            continue;
        length += (uint32_t)snprintf(text + length, sizeof(text) - length, " %u", ladder_rows[i]);
        n_usable++;
    }
    log_debug("products of %u of %u block sizes give the same bits and are used:%s rows", n_usable,
              CPU_GEMM_STEPS, text);
}

/* ---- in a forward pass ----------------------------------------------------------------------- */

/* How n_rows are cut: all blocks but the last have block_rows, a step of the ladder; the last runs
 * at last_step on last_rows real rows. */
struct cut {
    uint32_t n_blocks, block_rows, block_step, last_rows, last_step;
};

static uint32_t usable_step(const struct cpu_gemm *gemm, uint32_t n_rows)
{
    uint32_t largest = 0;

    for (uint32_t i = 0; i < CPU_GEMM_STEPS; i++) {
        if (!gemm->usable[i])
            continue;
        largest = i;
        if (ladder_rows[i] >= n_rows)
            return i;
    }
    return largest;
}

/* As few blocks as the ladder allows, and then of nearly equal size. */
static struct cut cut_rows(const struct cpu_gemm *gemm, uint32_t n_rows)
{
    uint32_t largest = ladder_rows[usable_step(gemm, UINT32_MAX)];
    uint32_t fewest = (n_rows + largest - 1) / largest;
    struct cut cut;

    cut.block_step = usable_step(gemm, (n_rows + fewest - 1) / fewest);
    cut.block_rows = ladder_rows[cut.block_step];
    cut.n_blocks = (n_rows + cut.block_rows - 1) / cut.block_rows;
    cut.last_rows = n_rows - (cut.n_blocks - 1) * cut.block_rows;
    cut.last_step = usable_step(gemm, cut.last_rows);
    return cut;
}

struct stage {
    struct cpu_gemm *gemm;
    struct {
        struct cpu_gemm_part part;
        struct cut cut;
        uint32_t first_task;
    } parts[CPU_GEMM_PARTS_MAX];
    uint32_t n_parts;
    cpu_gemm_rows_done rows_done;
    void *context;
};

/* Slices of a block that are finished. Whoever finishes the last one calls rows_done and leaves the
 * counter at zero for the next stage. */
static void finish_slice(struct stage *stage, uint32_t block)
{
    _Atomic uint32_t *finished =
        (_Atomic uint32_t *)cpu_arena_at(stage->gemm->arena, stage->gemm->countdown_offset) + block;
    const struct cut *cut = &stage->parts[0].cut;
    uint32_t n_slices = stage->parts[0].part.linear->kind->n_slices;

    if (!stage->rows_done)
        return;
    /* Release: our rows are written; acquire: the last one sees everybody's. */
    if (atomic_fetch_add_explicit(finished, 1, memory_order_acq_rel) + 1 < n_slices)
        return;
    atomic_store_explicit(finished, 0, memory_order_relaxed);
    stage->rows_done(stage->context, block * cut->block_rows,
                     block + 1 == cut->n_blocks ? cut->last_rows : cut->block_rows);
}

static void run_task(void *context, uint32_t task, uint32_t thread)
{
    struct stage *stage = context;
    struct cpu_gemm *gemm = stage->gemm;
    uint32_t p = stage->n_parts - 1;
    const struct cpu_gemm_part *part;
    const struct cpu_gemm_kind *kind;
    const struct cut *cut;
    uint32_t slice, block, step;
    uint64_t first_row;
    int status;

    while (task < stage->parts[p].first_task)
        p--;
    part = &stage->parts[p].part;
    cut = &stage->parts[p].cut;
    kind = part->linear->kind;
    task -= stage->parts[p].first_task;
    slice = task / cut->n_blocks;
    block = task % cut->n_blocks;
    step = block + 1 == cut->n_blocks ? cut->last_step : cut->block_step;
    first_row = (uint64_t)block * cut->block_rows;
    status = cpu_dnnl_run(ladder_of(kind, slice)->products[step], thread,
                          part->linear->slices[slice], part->in + first_row * kind->shape.in_stride,
                          part->out + first_row * kind->shape.out_stride + slice * kind->slice_dim,
                          scratch_of(gemm, thread));
    if (status)
        atomic_store_explicit(&gemm->failure, status, memory_order_relaxed);
    finish_slice(stage, block);
}

int cpu_gemm_run(struct cpu_gemm *gemm, const struct cpu_gemm_part *parts, uint32_t n_parts,
                 cpu_gemm_rows_done rows_done, void *context)
{
    struct stage stage = {
        .gemm = gemm, .n_parts = n_parts, .rows_done = rows_done, .context = context};
    uint32_t n_tasks = 0;

    CHECK(n_parts >= 1 && n_parts <= CPU_GEMM_PARTS_MAX && (!rows_done || n_parts == 1));
    for (uint32_t i = 0; i < n_parts; i++) {
        stage.parts[i].part = parts[i];
        stage.parts[i].cut = cut_rows(gemm, parts[i].n_rows);
        stage.parts[i].first_task = n_tasks;
        n_tasks += stage.parts[i].cut.n_blocks * parts[i].linear->kind->n_slices;
    }
    cpu_pool_run(gemm->pool, run_task, &stage, n_tasks);
    return atomic_load_explicit(&gemm->failure, memory_order_relaxed);
}
