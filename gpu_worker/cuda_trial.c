/* Trials of cuBLASLt's algorithms; see cuda_trial.h. Their inputs are cuda_trial_inputs.c's. */
#include "gpu_worker/cuda_trial.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "gpu_worker/cuda_error.h"

#define CANDIDATES_MAX 8

/* Between two events: one run would measure the events. */
#define TIMED_RUNS 8

#define FETCHED_ROWS (CUDA_TRIAL_WINDOWS * CUDA_TRIAL_ROWS)

/* ---- memory ---- */

static const struct cuda_trial_tile *find_tile(const struct cuda_trials *trials,
                                               const struct cuda_gemm *gemm)
{
    for (uint32_t i = 0; i < trials->n_tiles; i++)
        if (trials->tiles[i].type == gemm->x_type && trials->tiles[i].in_dim == gemm->in_dim)
            return &trials->tiles[i];
    return NULL;
}

static void plan_tile(struct cuda_trials *trials, const struct cuda_gemm *gemm,
                      struct cuda_plan *device)
{
    const uint64_t row_bytes = gemm->in_dim * cuda_gemm_type_bytes(gemm->x_type);
    CHECK(trials->n_tiles < CUDA_TRIAL_TILES);
    struct cuda_trial_tile *tile = &trials->tiles[trials->n_tiles++];
    *tile = (struct cuda_trial_tile){gemm->x_type, gemm->in_dim, NULL, NULL};
    cuda_plan_add(device, "trials of algorithms", 2 * CUDA_TRIAL_ROWS * row_bytes, &tile->x);
    cuda_plan_add(device, "trials of algorithms", CUDA_TRIAL_COLUMNS * row_bytes, &tile->weight);
}

void cuda_trials_plan(struct cuda_trials *trials, const struct cuda_gemm *gemms, uint32_t n_gemms,
                      struct cuda_plan *device, struct cuda_plan *mapped)
{
    const char *name = "trials of algorithms";
    uint64_t x_bytes = 0, weight_bytes = 0, y_bytes = 0, y_row_bytes = 0;
    CHECK(n_gemms <= CUDA_TRIAL_GEMMS);
    for (uint32_t i = 0; i < n_gemms; i++) {
        const struct cuda_gemm *g = &gemms[i];
        const uint64_t rows = cuda_buckets_largest(g->buckets);
        const uint64_t x_row = g->in_dim * cuda_gemm_type_bytes(g->x_type);
        const uint64_t y_row = g->out_dim * cuda_gemm_type_bytes(g->y_type);
        x_bytes = max_u64(x_bytes, rows * x_row);
        weight_bytes = max_u64(weight_bytes, g->out_dim * x_row);
        y_bytes = max_u64(y_bytes, rows * y_row);
        y_row_bytes = max_u64(y_row_bytes, y_row);
        trials->bias_elements = max_u64(trials->bias_elements, g->out_dim);
        if (find_tile(trials, g) == NULL)
            plan_tile(trials, g, device);
        cuda_plan_add(mapped, name, CUDA_TRIAL_ROWS * y_row, (void **)&trials->expected[i]);
    }
    cuda_plan_add(device, name, x_bytes, &trials->x);
    cuda_plan_add(device, name, weight_bytes, &trials->weight);
    cuda_plan_add(device, name, trials->bias_elements * sizeof(float), &trials->bias);
    cuda_plan_add(device, name, y_bytes, &trials->y);
    cuda_plan_add(device, name, CUDA_GEMM_WORKSPACE_BYTES, &trials->workspace);
    cuda_plan_add(device, name, sizeof(float), (void **)&trials->scale);
    cuda_plan_add(mapped, name, FETCHED_ROWS * y_row_bytes, (void **)&trials->fetched);
}

/* ---- one algorithm ---- */

struct cuda_trial cuda_trial_of(const struct cuda_trials *trials,
                                const struct cuda_gemm_context *context, struct cuda_gemm *gemm,
                                uint32_t index, const struct cuda_gemm_operands *operands)
{
    struct cuda_trial trial = {trials, *context, gemm, trials->expected[index], operands};
    trial.context.workspace = trials->workspace;
    return trial;
}

/* A bucket's call under trial. */
struct run {
    const struct cuda_trial *trial;
    uint32_t n_rows;
    uint64_t x_row_bytes, y_row_bytes;
    const struct cuda_trial_tile *tile;
    struct cuda_gemm_operands operands;
    struct cuda_gemm_call call;
    cublasLtMatmulHeuristicResult_t candidates[CANDIDATES_MAX];
    int n_candidates;
    bool failed; /* not the algorithm: the card, or memory */
    uint32_t n_fetched;
    uint32_t pattern[FETCHED_ROWS]; /* which of x's rows a fetched row of y is of */
};

/* Copies rows from a tile and then doubles them: `n_rows` rows that repeat with `period`. */
static cudaError_t repeat_rows(void *to, const void *tile, uint64_t row_bytes, uint32_t period,
                               uint32_t n_rows, cudaStream_t stream)
{
    uint32_t filled = (uint32_t)min_u64(period, n_rows);
    cudaError_t status =
        cudaMemcpyAsync(to, tile, filled * row_bytes, cudaMemcpyDeviceToDevice, stream);
    while (status == cudaSuccess && filled < n_rows) {
        const uint32_t more = (uint32_t)min_u64(filled, n_rows - filled);
        status = cudaMemcpyAsync((char *)to + filled * row_bytes, to, more * row_bytes,
                                 cudaMemcpyDeviceToDevice, stream);
        filled += more;
    }
    return status;
}

/* The weights are filled in here; x for each run. */
static int open_run(struct run *run, const struct cuda_trial *trial, uint32_t bucket,
                    char error[ERROR_BYTES])
{
    const struct cuda_gemm *gemm = trial->gemm;
    const struct cuda_trials *trials = trial->trials;
    const bool has_scales = gemm->x_type == CUDA_R_8F_E4M3;
    *run = (struct run){
        .trial = trial,
        .n_rows = gemm->buckets->rows[bucket],
        .x_row_bytes = gemm->in_dim * cuda_gemm_type_bytes(gemm->x_type),
        .y_row_bytes = gemm->out_dim * cuda_gemm_type_bytes(gemm->y_type),
        .tile = find_tile(trials, gemm),
        .operands = {trials->y, trials->x, trials->weight,
                     gemm->epilogue != CUBLASLT_EPILOGUE_DEFAULT ? trials->bias : NULL,
                     has_scales ? trials->scale : NULL, has_scales ? trials->scale : NULL},
    };
    CHECK(run->tile != NULL);
    const int result =
        cuda_check(repeat_rows(trials->weight, run->tile->weight, run->x_row_bytes,
                               CUDA_TRIAL_COLUMNS, gemm->out_dim, trial->context.stream),
                   "the copying of a trial's weights", error);
    return result != 0 ? result
                       : cuda_gemm_call_open(&trial->context, gemm, &run->operands, run->n_rows,
                                             &run->call, error);
}

static void close_run(struct run *run)
{
    cuda_gemm_call_close(&run->trial->context.blas, &run->call);
}

static bool succeeds(struct run *run, cudaError_t status)
{
    run->failed = run->failed || status != cudaSuccess;
    return status == cudaSuccess;
}

static bool multiply(struct run *run, const cublasLtMatmulAlgo_t *algorithm)
{
    const struct cuda_trial *trial = run->trial;
    const cublasStatus_t status =
        cuda_gemm_call_run(&trial->context, trial->gemm, &run->operands, &run->call, algorithm);
    const bool refused = status == CUBLAS_STATUS_NOT_SUPPORTED ||
                         status == CUBLAS_STATUS_INVALID_VALUE ||
                         status == CUBLAS_STATUS_ARCH_MISMATCH;
    run->failed = run->failed || (status != CUBLAS_STATUS_SUCCESS && !refused);
    return status == CUBLAS_STATUS_SUCCESS;
}

/* Queues the fetching of `n` rows of y, the first of which has the pattern `pattern`. */
static bool fetch_rows(struct run *run, uint32_t first_row, uint32_t n, uint32_t pattern)
{
    const struct cuda_trials *trials = run->trial->trials;
    unsigned char *to = trials->fetched + run->n_fetched * run->y_row_bytes;
    CHECK(run->n_fetched + n <= FETCHED_ROWS);
    for (uint32_t i = 0; i < n; i++)
        run->pattern[run->n_fetched++] = (pattern + i) % CUDA_TRIAL_ROWS;
    return succeeds(run, cudaMemcpyAsync(to, (const char *)trials->y + first_row * run->y_row_bytes,
                                         n * run->y_row_bytes, cudaMemcpyDeviceToHost,
                                         run->trial->context.stream));
}

/* Multiplies a bucket's worth of rows, from x's row `first` on, and fetches the first, the middle
 * and the last of them, as many as there are patterns. */
static bool run_rows(struct run *run, const cublasLtMatmulAlgo_t *algorithm, uint32_t first)
{
    const struct cuda_trial *trial = run->trial;
    const cudaStream_t stream = trial->context.stream;
    const char *tile = (const char *)run->tile->x + first * run->x_row_bytes;
    const uint32_t n = (uint32_t)min_u64(run->n_rows, CUDA_TRIAL_ROWS);
    const uint32_t windows[CUDA_TRIAL_WINDOWS] = {0, (run->n_rows - n) / 2, run->n_rows - n};
    bool runs = succeeds(run, repeat_rows(trial->trials->x, tile, run->x_row_bytes, CUDA_TRIAL_ROWS,
                                          run->n_rows, stream)) &&
                succeeds(run, cudaMemsetAsync(trial->trials->y, 0, run->n_rows * run->y_row_bytes,
                                              stream)) &&
                multiply(run, algorithm);
    if (runs && trial->gemm->beta != 0.0f) /* y now holds something to be added to */
        runs = multiply(run, algorithm);
    for (int i = 0; runs && i < CUDA_TRIAL_WINDOWS; i++)
        if (i == 0 || windows[i] != windows[i - 1])
            runs = fetch_rows(run, windows[i], n, first + windows[i]);
    return runs;
}

/* All of x's rows by one algorithm: y's lie in `fetched`. */
static bool try_algorithm(struct run *run, const cublasLtMatmulAlgo_t *algorithm)
{
    bool runs = true;
    run->n_fetched = 0;
    for (uint32_t first = 0; runs && first < CUDA_TRIAL_ROWS; first += run->n_rows)
        runs = run_rows(run, algorithm, first);
    /* Waits in any case: what was queued writes to memory that others use next. */
    return succeeds(run, cudaStreamSynchronize(run->trial->context.stream)) && runs;
}

static bool equals_expected(const struct run *run)
{
    const unsigned char *fetched = run->trial->trials->fetched;
    for (uint32_t i = 0; i < run->n_fetched; i++)
        if (memcmp(fetched + i * run->y_row_bytes,
                   run->trial->expected + run->pattern[i] * run->y_row_bytes,
                   run->y_row_bytes) != 0)
            return false;
    return true;
}

static bool equals_reference(struct run *run, const cublasLtMatmulAlgo_t *algorithm)
{
    return try_algorithm(run, algorithm) && equals_expected(run);
}

/* False where it does not run, or gives a row other bits in another place. */
static bool becomes_reference(struct run *run, const cublasLtMatmulAlgo_t *algorithm)
{
    if (!try_algorithm(run, algorithm))
        return false;
    for (uint32_t i = run->n_fetched; i-- > 0;)
        memcpy(run->trial->expected + run->pattern[i] * run->y_row_bytes,
               run->trial->trials->fetched + i * run->y_row_bytes, run->y_row_bytes);
    return equals_expected(run);
}

/* ---- choosing ---- */

/* A result may say that it holds no algorithm. */
static void drop_empty_candidates(struct run *run)
{
    int n = 0;
    for (int i = 0; i < run->n_candidates; i++)
        if (run->candidates[i].state == CUBLAS_STATUS_SUCCESS)
            run->candidates[n++] = run->candidates[i];
    run->n_candidates = n;
}

static int find_candidates(struct run *run, char error[ERROR_BYTES])
{
    const struct cuda_gemm_context *context = &run->trial->context;
    const struct cuda_blas *blas = &context->blas;
    const struct cuda_gemm_call *call = &run->call;
    const uint64_t workspace_bytes = CUDA_GEMM_WORKSPACE_BYTES;
    const uint32_t no_split_k = CUBLASLT_REDUCTION_SCHEME_NONE;
    cublasLtMatmulPreference_t preference = NULL;
    cublasStatus_t status = blas->preference_create(&preference);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->preference_set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                      &workspace_bytes, sizeof workspace_bytes);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->preference_set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                                      &no_split_k, sizeof no_split_k);
    if (status == CUBLAS_STATUS_SUCCESS)
        status =
            blas->heuristic(blas->handle, call->matmul, call->weight, call->x, call->y, call->y,
                            preference, CANDIDATES_MAX, run->candidates, &run->n_candidates);
    drop_empty_candidates(run);
    if (status == CUBLAS_STATUS_SUCCESS && run->n_candidates == 0)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (preference != NULL)
        blas->preference_destroy(preference);
    return cuda_blas_check(status, run->trial->gemm->name, error);
}

bool cuda_trial_time(cudaStream_t stream, bool (*enqueue)(void *context), void *context,
                     float *milliseconds)
{
    cudaEvent_t began = NULL, ended = NULL;
    bool runs = cudaEventCreate(&began) == cudaSuccess && cudaEventCreate(&ended) == cudaSuccess;
    for (int i = 0; runs && i <= TIMED_RUNS; i++) { /* the first warms up */
        if (i == 1)
            runs = cudaEventRecord(began, stream) == cudaSuccess;
        runs = runs && enqueue(context);
    }
    runs = runs && cudaEventRecord(ended, stream) == cudaSuccess &&
           cudaEventSynchronize(ended) == cudaSuccess &&
           cudaEventElapsedTime(milliseconds, began, ended) == cudaSuccess;
    if (ended != NULL)
        cuda_check_logged(cudaEventDestroy(ended), "an event's end");
    if (began != NULL)
        cuda_check_logged(cudaEventDestroy(began), "an event's end");
    if (!runs)
        cudaGetLastError(); /* else the thread's next launch would find this error */
    return runs;
}

struct timed_run {
    struct run *run;
    const cublasLtMatmulAlgo_t *algorithm;
};

static bool enqueue_timed(void *context)
{
    const struct timed_run *timed = context;
    return multiply(timed->run, timed->algorithm);
}

/* The index of the candidate to take, of those with the reference's bits that can be captured: the
 * first or, where times are wanted, the fastest. -1: none. */
static int best_candidate(struct run *run, uint32_t bucket, bool timed)
{
    const struct cuda_trial *trial = run->trial;
    float best_ms = INFINITY;
    int best = -1;
    for (int i = 0; i < run->n_candidates; i++) {
        const cublasLtMatmulAlgo_t *algorithm = &run->candidates[i].algo;
        struct timed_run timed_run = {run, algorithm};
        float ms;
        if (!equals_reference(run, algorithm) ||
            !cuda_gemm_can_be_captured(&trial->context, trial->gemm, trial->of, bucket, algorithm))
            continue;
        if (!timed)
            return i;
        if (cuda_trial_time(trial->context.stream, enqueue_timed, &timed_run, &ms) &&
            ms < best_ms) {
            best_ms = ms;
            best = i;
        }
    }
    return best;
}

int cuda_trial_choose(const struct cuda_trial *trial, uint32_t bucket, bool timed,
                      char error[ERROR_BYTES])
{
    struct cuda_gemm *gemm = trial->gemm;
    const uint32_t last = gemm->buckets->count - 1;
    const cublasLtMatmulAlgo_t reference = gemm->algorithms[last];
    struct run run;
    int result = open_run(&run, trial, bucket, error);
    if (result == 0)
        result = find_candidates(&run, error);
    const int best = result == 0 ? best_candidate(&run, bucket, timed) : -1;
    if (best >= 0)
        gemm->algorithms[bucket] = run.candidates[best].algo;
    else if (result == 0 && equals_reference(&run, &reference))
        gemm->algorithms[bucket] = reference;
    else if (result == 0) {
        snprintf(error, ERROR_BYTES, "cuBLASLt: %s of %s for %u rows has the bits of %u rows",
                 run.failed ? "the card failed before an algorithm" : "no algorithm", gemm->name,
                 run.n_rows, gemm->buckets->rows[last]);
        result = -EIO;
    }
    close_run(&run);
    return result;
}

/* A card that fails is no reason to take another candidate: this process would differ from those
 * whose card did not. */
int cuda_trial_find_reference(const struct cuda_trial *trial, char error[ERROR_BYTES])
{
    struct cuda_gemm *gemm = trial->gemm;
    const uint32_t last = gemm->buckets->count - 1;
    bool found = false;
    struct run run;
    int result = open_run(&run, trial, last, error);
    if (result == 0)
        result = find_candidates(&run, error);
    for (int i = 0; result == 0 && !found && !run.failed && i < run.n_candidates; i++) {
        gemm->algorithms[last] = run.candidates[i].algo;
        found = becomes_reference(&run, &gemm->algorithms[last]);
    }
    if (result == 0 && !found) {
        const char *why = run.failed ? cudaGetErrorString(cudaGetLastError())
                                     : "each is refused, or gives a row other bits in other places:"
                                       " use another version of cuBLAS, or WEIR_CUDA_GEMM=own";
        snprintf(error, ERROR_BYTES, "cuBLASLt: no algorithm serves for %s: %s", gemm->name, why);
        result = -EIO;
    }
    close_run(&run);
    return result;
}

int cuda_trial_keep_reference(const struct cuda_trial *trial, char error[ERROR_BYTES])
{
    const uint32_t last = trial->gemm->buckets->count - 1;
    struct run run;
    int result = open_run(&run, trial, last, error);
    if (result == 0 && !becomes_reference(&run, &trial->gemm->algorithms[last])) {
        snprintf(error, ERROR_BYTES, "cuBLASLt: the reference of %s does not run any more",
                 trial->gemm->name);
        result = -EIO;
    }
    close_run(&run);
    return result;
}
