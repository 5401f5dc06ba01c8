/* Matrix products of an encoder, cut into tasks for the pool: blocks of rows times slices of
 * columns.
 *
 *                 slice 0   slice 1   slice 2        weight (out_dim, in_dim), cut along out_dim;
 *     rows  0..95 [task 0 ] [task 2 ] [task 4 ]      each slice packed by itself
 *     rows 96..   [task 1 ] [task 3 ] [task 5 ]
 *
 * Same text, same bits. Each task is one oneDNN product on one thread. The library compiles a
 * product for one number of rows, and on some CPUs the order of its sums depends on that number and
 * on a row's place (measured: docs/decisions-cpu.md). So only the row counts of a short ladder are
 * used, and at start each step of it is run on equal rows and compared bit by bit with the largest;
 * a step that differs is not used. A batch's last block is rounded up to the next step: its spare
 * rows are computed on whatever the buffer holds and looked at by nobody, so buffers need room for
 * them (cpu_gemm_rows_room). */
#ifndef WEIR_GPU_WORKER_CPU_GEMM_H
#define WEIR_GPU_WORKER_CPU_GEMM_H

#include "gpu_worker/cpu_arena.h"
#include "gpu_worker/cpu_dnnl.h"
#include "gpu_worker/cpu_pool.h"
#include "models/model.h"

/* The ladder, in rows. Fine where a text alone ends, coarse where rounding up costs little.
 * Multiples of 4, because AVX2 kernels give equal bits for most of those and for few others. Larger
 * blocks than the last are no faster. */
#define CPU_GEMM_LADDER                                              \
    {                                                                \
        4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96 \
    }
#define CPU_GEMM_STEPS      16
#define CPU_GEMM_ROWS_MIN   4
#define CPU_GEMM_ROWS_MAX   96
#define CPU_GEMM_SHAPES_MAX 16
#define CPU_GEMM_PARTS_MAX  3

/* One shape at every step of the ladder. */
struct cpu_gemm_ladder {
    struct cpu_dnnl_shape shape;
    struct cpu_dnnl_product *products[CPU_GEMM_STEPS];
};

struct cpu_gemm {
    struct cpu_pool *pool; /* borrowed */
    struct cpu_dnnl *dnnl;
    struct cpu_gemm_ladder ladders[CPU_GEMM_SHAPES_MAX];
    uint32_t n_ladders;
    bool usable[CPU_GEMM_STEPS];
    uint64_t scratch_bytes;    /* of one thread */
    uint64_t scratch_offset;   /* into the arena: (n_threads, scratch_bytes) */
    uint64_t countdown_offset; /* (blocks of the largest batch) */
    const struct cpu_arena *arena;
    _Atomic int failure; /* -errno of a product that failed, else 0 */
};

/* How a linear layer is cut; the same for all layers of one kind. */
struct cpu_gemm_kind {
    struct cpu_dnnl_shape shape; /* of the whole layer */
    uint32_t slice_dim;          /* columns of a slice; the last one may be narrower */
    uint32_t n_slices;
    const struct cpu_gemm_ladder *full, *last; /* of all slices but the last, and of the last */
};

/* One linear layer's weights. */
struct cpu_gemm_linear {
    const struct cpu_gemm_kind *kind;
    uint64_t weights_offset, bias_offset; /* into the arena */
    struct cpu_dnnl_weights **slices;     /* (n_slices), owned */
};

/* A product to run: in (n_rows, in_dim) to out (n_rows, out_dim), strides as in the shape. */
struct cpu_gemm_part {
    const struct cpu_gemm_linear *linear;
    const float *in;
    float *out;
    uint32_t n_rows;
};

/* ---- at start, in this order ----------------------------------------------------------------- */

int cpu_gemm_open(struct cpu_gemm *gemm, struct cpu_pool *pool, char error[ERROR_BYTES]);
/* Compiles what the kind needs. */
int cpu_gemm_kind_open(struct cpu_gemm *gemm, struct cpu_gemm_kind *kind,
                       const struct cpu_dnnl_shape *shape, char error[ERROR_BYTES]);
int cpu_gemm_linear_plan(struct cpu_gemm_linear *linear, const struct cpu_gemm_kind *kind,
                         struct cpu_arena *arena, char error[ERROR_BYTES]);
/* After the last kind. `max_rows`: the largest n_rows there will be. */
void cpu_gemm_plan(struct cpu_gemm *gemm, struct cpu_arena *arena, uint32_t max_rows);
/* After cpu_arena_take(). `staging` (slice_dim, in_dim) floats are scribbled on. Different linears
 * may be packed by different threads at once. */
int cpu_gemm_linear_pack(struct cpu_gemm *gemm, struct cpu_gemm_linear *linear, uint32_t thread,
                         const struct model_linear *model, float *staging, char error[ERROR_BYTES]);
/* Runs every step of the ladder of `linear`'s kind on equal rows; see above. Uses in and out
 * (CPU_GEMM_ROWS_MAX rows each). */
int cpu_gemm_check_bits(struct cpu_gemm *gemm, const struct cpu_gemm_linear *linear, float *in,
                        float *out, char error[ERROR_BYTES]);
/* One debug line: which block sizes are in use. */
void cpu_gemm_log_steps(const struct cpu_gemm *gemm);

void cpu_gemm_linear_close(struct cpu_gemm_linear *linear);
void cpu_gemm_close(struct cpu_gemm *gemm);

/* Rows that a buffer for n_rows needs, spare ones included. */
uint32_t cpu_gemm_rows_room(uint32_t n_rows);

/* ---- in a forward pass ----------------------------------------------------------------------- */

/* Called by the thread that finishes the last slice of a block of rows. */
typedef void (*cpu_gemm_rows_done)(void *context, uint32_t first_row, uint32_t n_rows);

/* Runs up to CPU_GEMM_PARTS_MAX products as one stage. `rows_done` (only with a single part) may be
 * NULL. 0 or -EIO. */
int cpu_gemm_run(struct cpu_gemm *gemm, const struct cpu_gemm_part *parts, uint32_t n_parts,
                 cpu_gemm_rows_done rows_done, void *context);

#endif
