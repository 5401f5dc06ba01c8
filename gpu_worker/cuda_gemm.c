/* cuBLASLt GEMMs and the choice of their algorithms; see cuda_gemm.h. */
#include "gpu_worker/cuda_gemm.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_worker/cuda_error.h"
#include "shm/log.h"

#define CANDIDATES_MAX 8

/* Compared bit by bit. Two orders of summation differ in perhaps one of a thousand results once
 * these are rounded to float16, so a trial needs many. */
#define TRIAL_ELEMENTS 65536

/* Between two events: one run would measure the events. */
#define TIMED_RUNS 8

/* Everything that one call of cuBLASLt needs. */
struct gemm_call {
    cublasLtMatmulDesc_t matmul;
    cublasLtMatrixLayout_t weight, x, y;
};

static size_t type_bytes(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : type == CUDA_R_8F_E4M3 ? 1 : 2;
}

static void gemm_call_close(const struct cuda_blas *blas, struct gemm_call *call)
{
    if (call->y != NULL)
        blas->layout_destroy(call->y);
    if (call->x != NULL)
        blas->layout_destroy(call->x);
    if (call->weight != NULL)
        blas->layout_destroy(call->weight);
    if (call->matmul != NULL)
        blas->matmul_destroy(call->matmul);
}

/* Sums go to full float32 as they grow: fast accumulation would keep some of them in fewer bits for
 * a few percent of speed. */
static cublasStatus_t describe_scales(const struct cuda_blas *blas,
                                      const struct cuda_gemm_operands *operands,
                                      cublasLtMatmulDesc_t matmul)
{
    const int8_t fast_accumulation = 0;
    cublasStatus_t status =
        blas->matmul_set(matmul, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &operands->weight_scale,
                         sizeof operands->weight_scale);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->matmul_set(matmul, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &operands->x_scale,
                                  sizeof operands->x_scale);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->matmul_set(matmul, CUBLASLT_MATMUL_DESC_FAST_ACCUM, &fast_accumulation,
                                  sizeof fast_accumulation);
    return status;
}

static cublasStatus_t gemm_call_describe(const struct cuda_gemm_context *context,
                                         const struct cuda_gemm *gemm,
                                         const struct cuda_gemm_operands *operands, uint32_t n_rows,
                                         struct gemm_call *call)
{
    const struct cuda_blas *blas = &context->blas;
    const cublasOperation_t transposed = CUBLAS_OP_T;
    cublasStatus_t status = blas->matmul_create(&call->matmul, context->compute_type, CUDA_R_32F);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->matmul_set(call->matmul, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                  sizeof transposed);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->matmul_set(call->matmul, CUBLASLT_MATMUL_DESC_EPILOGUE, &gemm->epilogue,
                                  sizeof gemm->epilogue);
    if (status == CUBLAS_STATUS_SUCCESS && gemm->epilogue != CUBLASLT_EPILOGUE_DEFAULT)
        status = blas->matmul_set(call->matmul, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &operands->bias,
                                  sizeof operands->bias);
    if (status == CUBLAS_STATUS_SUCCESS && gemm->x_type == CUDA_R_8F_E4M3)
        status = describe_scales(blas, operands, call->matmul);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->layout_create(&call->weight, gemm->x_type, gemm->in_dim, gemm->out_dim,
                                     gemm->in_dim);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->layout_create(&call->x, gemm->x_type, gemm->in_dim, n_rows, gemm->in_dim);
    if (status == CUBLAS_STATUS_SUCCESS)
        status = blas->layout_create(&call->y, gemm->y_type, gemm->out_dim, n_rows, gemm->out_dim);
    return status;
}

static int gemm_call_open(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                          const struct cuda_gemm_operands *operands, uint32_t n_rows,
                          struct gemm_call *call, char error[ERROR_BYTES])
{
    *call = (struct gemm_call){0};
    const cublasStatus_t status = gemm_call_describe(context, gemm, operands, n_rows, call);
    if (status != CUBLAS_STATUS_SUCCESS)
        gemm_call_close(&context->blas, call);
    return cuda_blas_check(status, gemm->name, error);
}

/* y is input and output: cuBLASLt allows C and D to be one where their layouts are. */
static cublasStatus_t gemm_call_run(const struct cuda_gemm_context *context,
                                    const struct cuda_gemm *gemm,
                                    const struct cuda_gemm_operands *operands,
                                    const struct gemm_call *call,
                                    const cublasLtMatmulAlgo_t *algorithm)
{
    const float alpha = 1.0f;
    return context->blas.matmul(context->blas.handle, call->matmul, &alpha, operands->weight,
                                call->weight, operands->x, call->x, &gemm->beta, operands->y,
                                call->y, operands->y, call->y, algorithm, context->workspace,
                                CUDA_GEMM_WORKSPACE_BYTES, context->stream);
}

static int enqueue_own(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                       const struct cuda_gemm_operands *operands, uint32_t n_rows,
                       char error[ERROR_BYTES])
{
    enum gemm_epilogue epilogue = GEMM_BIAS;
    if (gemm->epilogue == CUBLASLT_EPILOGUE_DEFAULT)
        epilogue = GEMM_FLOAT; /* the pooler: the head adds its bias */
    else if (gemm->epilogue == CUBLASLT_EPILOGUE_RELU_BIAS)
        epilogue = GEMM_RELU;
    else if (gemm->beta != 0.0f)
        epilogue = GEMM_RESIDUAL;
    return cuda_check(context->own->gemm(operands->y, operands->x, operands->weight, operands->bias,
                                         epilogue, n_rows, gemm->out_dim, gemm->in_dim,
                                         context->stream),
                      gemm->name, error);
}

int cuda_gemm_enqueue(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                      const struct cuda_gemm_operands *operands, uint32_t bucket,
                      char error[ERROR_BYTES])
{
    const uint32_t n_rows = gemm->buckets->rows[bucket];
    struct gemm_call call;
    if (context->own != NULL)
        return enqueue_own(context, gemm, operands, n_rows, error);
    int result = gemm_call_open(context, gemm, operands, n_rows, &call, error);
    if (result != 0)
        return result;
    result =
        cuda_blas_check(gemm_call_run(context, gemm, operands, &call, &gemm->algorithms[bucket]),
                        gemm->name, error);
    gemm_call_close(&context->blas, &call);
    return result;
}

bool cuda_gemm_accepts(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                       const struct cuda_gemm_operands *operands, uint32_t bucket)
{
    const struct cuda_blas *blas = &context->blas;
    cublasLtMatmulHeuristicResult_t found = {0};
    struct gemm_call call;
    char unused[ERROR_BYTES];
    if (gemm_call_open(context, gemm, operands, gemm->buckets->rows[bucket], &call, unused) != 0)
        return false;
    const cublasStatus_t status = blas->check(blas->handle, call.matmul, call.weight, call.x,
                                              call.y, call.y, &gemm->algorithms[bucket], &found);
    gemm_call_close(blas, &call);
    return status == CUBLAS_STATUS_SUCCESS && found.state == CUBLAS_STATUS_SUCCESS &&
           found.workspaceSize <= CUDA_GEMM_WORKSPACE_BYTES;
}

static bool call_can_be_captured(const struct cuda_gemm_context *context,
                                 const struct cuda_gemm *gemm,
                                 const struct cuda_gemm_operands *operands,
                                 const struct gemm_call *call,
                                 const cublasLtMatmulAlgo_t *algorithm)
{
    cudaGraph_t graph = NULL;
    if (cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeThreadLocal) != cudaSuccess)
        return false;
    const cublasStatus_t status = gemm_call_run(context, gemm, operands, call, algorithm);
    const cudaError_t ended = cudaStreamEndCapture(context->stream, &graph);
    if (graph != NULL)
        cudaGraphDestroy(graph);
    if (status == CUBLAS_STATUS_SUCCESS && ended == cudaSuccess)
        return true;
    cudaGetLastError(); /* else the next kernel's launch would find this error */
    return false;
}

static bool bucket_can_be_captured(const struct cuda_gemm_context *context,
                                   const struct cuda_gemm *gemm,
                                   const struct cuda_gemm_operands *operands, uint32_t bucket)
{
    struct gemm_call call;
    char unused[ERROR_BYTES];
    if (gemm_call_open(context, gemm, operands, gemm->buckets->rows[bucket], &call, unused) != 0)
        return false;
    const bool can =
        call_can_be_captured(context, gemm, operands, &call, &gemm->algorithms[bucket]);
    gemm_call_close(&context->blas, &call);
    return can;
}

bool cuda_gemm_can_be_captured(const struct cuda_gemm_context *context,
                               const struct cuda_gemm *gemm,
                               const struct cuda_gemm_operands *operands)
{
    for (uint32_t bucket = 0; bucket < gemm->buckets->count; bucket++)
        if (!bucket_can_be_captured(context, gemm, operands, bucket)) {
            log_warning("the algorithm of %s for %u rows cannot be captured into a graph",
                        gemm->name, gemm->buckets->rows[bucket]);
            return false;
        }
    return true;
}

/* ---- choosing ---- */

struct trial {
    const struct cuda_gemm_context *context;
    struct cuda_gemm *gemm;
    const struct cuda_gemm_operands *operands;
    uint32_t x_rows;             /* that x and y have room for */
    uint32_t n_rows;             /* that are compared */
    uint64_t row_bytes;          /* of y */
    unsigned char *expected, *y; /* host, (n_rows): the reference's bits, and a candidate's */
    cublasLtMatmulHeuristicResult_t candidates[CANDIDATES_MAX];
    int n_candidates;
    bool timed;
    cudaEvent_t began, ended; /* where timed */
};

static int find_candidates(struct trial *trial, const struct gemm_call *call,
                           char error[ERROR_BYTES])
{
    const struct cuda_blas *blas = &trial->context->blas;
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
                            preference, CANDIDATES_MAX, trial->candidates, &trial->n_candidates);
    if (status == CUBLAS_STATUS_SUCCESS && trial->n_candidates == 0)
        status = CUBLAS_STATUS_NOT_SUPPORTED;
    if (preference != NULL)
        blas->preference_destroy(preference);
    return cuda_blas_check(status, trial->gemm->name, error);
}

/* Multiplies rows [first, first + bucket_rows) of x and fetches those of y that are compared. */
static bool try_rows(const struct trial *trial, const struct gemm_call *call,
                     const cublasLtMatmulAlgo_t *algorithm, uint32_t first, uint32_t bucket_rows,
                     unsigned char *y)
{
    const struct cuda_gemm_context *context = trial->context;
    const uint64_t x_row_bytes = trial->gemm->in_dim * type_bytes(trial->gemm->x_type);
    const uint32_t fetched = (uint32_t)min_u64(bucket_rows, trial->n_rows - first);
    struct cuda_gemm_operands operands = *trial->operands;
    operands.x = (const char *)operands.x + first * x_row_bytes;
    return cudaMemsetAsync(operands.y, 0, bucket_rows * trial->row_bytes, context->stream) ==
               cudaSuccess &&
           gemm_call_run(context, trial->gemm, &operands, call, algorithm) ==
               CUBLAS_STATUS_SUCCESS &&
           cudaMemcpyAsync(y + first * trial->row_bytes, operands.y, fetched * trial->row_bytes,
                           cudaMemcpyDeviceToHost, context->stream) == cudaSuccess &&
           cudaStreamSynchronize(context->stream) == cudaSuccess;
}

/* All compared rows of y by one algorithm, a bucket's worth of rows at a time. */
static bool try_algorithm(const struct trial *trial, const struct gemm_call *call,
                          const cublasLtMatmulAlgo_t *algorithm, uint32_t bucket_rows,
                          unsigned char *y)
{
    bool runs = true;
    for (uint32_t row = 0; runs && row < trial->n_rows; row += bucket_rows) {
        const uint32_t first = (uint32_t)min_u64(row, trial->x_rows - bucket_rows);
        runs = try_rows(trial, call, algorithm, first, bucket_rows, y);
    }
    return runs;
}

static bool equals_reference(const struct trial *trial, const struct gemm_call *call,
                             const cublasLtMatmulAlgo_t *algorithm, uint32_t bucket_rows)
{
    return try_algorithm(trial, call, algorithm, bucket_rows, trial->y) &&
           memcmp(trial->y, trial->expected, trial->n_rows * trial->row_bytes) == 0;
}

static bool time_algorithm(const struct trial *trial, const struct gemm_call *call,
                           const cublasLtMatmulAlgo_t *algorithm, float *milliseconds)
{
    const cudaStream_t stream = trial->context->stream;
    bool runs = true;
    for (int i = 0; runs && i <= TIMED_RUNS; i++) { /* the first warms up */
        if (i == 1)
            runs = cudaEventRecord(trial->began, stream) == cudaSuccess;
        runs = runs && gemm_call_run(trial->context, trial->gemm, trial->operands, call,
                                     algorithm) == CUBLAS_STATUS_SUCCESS;
    }
    return runs && cudaEventRecord(trial->ended, stream) == cudaSuccess &&
           cudaEventSynchronize(trial->ended) == cudaSuccess &&
           cudaEventElapsedTime(milliseconds, trial->began, trial->ended) == cudaSuccess;
}

/* The index of the candidate to take, of those with the reference's bits that can be captured: the
 * first or, where times are wanted, the fastest. -1: none. */
static int best_candidate(const struct trial *trial, const struct gemm_call *call,
                          uint32_t bucket_rows)
{
    float best_ms = INFINITY;
    int best = -1;
    for (int i = 0; i < trial->n_candidates; i++) {
        const cublasLtMatmulAlgo_t *algorithm = &trial->candidates[i].algo;
        float ms;
        if (!equals_reference(trial, call, algorithm, bucket_rows) ||
            !call_can_be_captured(trial->context, trial->gemm, trial->operands, call, algorithm))
            continue;
        if (!trial->timed)
            return i;
        if (time_algorithm(trial, call, algorithm, &ms) && ms < best_ms) {
            best_ms = ms;
            best = i;
        }
    }
    return best;
}

static int choose_for_bucket(struct trial *trial, uint32_t bucket, char error[ERROR_BYTES])
{
    struct cuda_gemm *gemm = trial->gemm;
    const uint32_t n_rows = gemm->buckets->rows[bucket], last = gemm->buckets->count - 1;
    const cublasLtMatmulAlgo_t reference = gemm->algorithms[last];
    struct gemm_call call;
    int result = gemm_call_open(trial->context, gemm, trial->operands, n_rows, &call, error);
    if (result != 0)
        return result;
    result = find_candidates(trial, &call, error);
    const int best = result == 0 ? best_candidate(trial, &call, n_rows) : -1;
    gemm->algorithms[bucket] = best >= 0 ? trial->candidates[best].algo : reference;
    if (result == 0 && best < 0 && !equals_reference(trial, &call, &reference, n_rows)) {
        snprintf(error, ERROR_BYTES,
                 "cuBLASLt: no algorithm of %s gives the same bits for %u rows as for %u: lower "
                 "--max-batch-tokens, or use another version of cuBLAS",
                 gemm->name, n_rows, gemm->buckets->rows[last]);
        result = -EIO;
    }
    gemm_call_close(&trial->context->blas, &call);
    return result;
}

static int choose_reference(struct trial *trial, char error[ERROR_BYTES])
{
    struct cuda_gemm *gemm = trial->gemm;
    const uint32_t last = gemm->buckets->count - 1;
    struct gemm_call call;
    int result = gemm_call_open(trial->context, gemm, trial->operands, gemm->buckets->rows[last],
                                &call, error);
    if (result != 0)
        return result;
    result = find_candidates(trial, &call, error);
    for (int i = 0; result == 0 && i < trial->n_candidates; i++) {
        gemm->algorithms[last] = trial->candidates[i].algo;
        if (try_algorithm(trial, &call, &gemm->algorithms[last], gemm->buckets->rows[last],
                          trial->expected))
            goto done;
    }
    if (result == 0) {
        snprintf(error, ERROR_BYTES, "cuBLASLt: none of its algorithms for %s can be run (%s)",
                 gemm->name, cudaGetErrorString(cudaGetLastError()));
        result = -EIO;
    }
done:
    gemm_call_close(&trial->context->blas, &call);
    return result;
}

static int open_clock(struct trial *trial, char error[ERROR_BYTES])
{
    const int result = cuda_check(cudaEventCreate(&trial->began), "an event's making", error);
    return result != 0 ? result
                       : cuda_check(cudaEventCreate(&trial->ended), "an event's making", error);
}

static void close_clock(const struct trial *trial)
{
    if (trial->began != NULL)
        cudaEventDestroy(trial->began);
    if (trial->ended != NULL)
        cudaEventDestroy(trial->ended);
}

int cuda_gemm_choose(const struct cuda_gemm_context *context, struct cuda_gemm *gemm,
                     const struct cuda_gemm_operands *operands, uint32_t x_rows, bool timed,
                     char error[ERROR_BYTES])
{
    const uint32_t wanted_rows = TRIAL_ELEMENTS / gemm->out_dim + 1;
    struct trial trial = {.context = context,
                          .gemm = gemm,
                          .operands = operands,
                          .x_rows = x_rows,
                          .n_rows = (uint32_t)min_u64(x_rows, wanted_rows),
                          .row_bytes = gemm->out_dim * type_bytes(gemm->y_type),
                          .timed = timed};
    CHECK(cuda_buckets_largest(gemm->buckets) <= x_rows);
    trial.expected = malloc(2 * trial.n_rows * trial.row_bytes);
    if (trial.expected == NULL) {
        snprintf(error, ERROR_BYTES, "no memory for the trial of %s", gemm->name);
        return -ENOMEM;
    }
    trial.y = trial.expected + trial.n_rows * trial.row_bytes;
    int result = timed ? open_clock(&trial, error) : 0;
    if (result == 0)
        result = choose_reference(&trial, error);
    /* The last bucket's is the reference itself, unless another with its bits is faster. */
    for (uint32_t bucket = 0; result == 0 && bucket + !timed < gemm->buckets->count; bucket++)
        result = choose_for_bucket(&trial, bucket, error);
    close_clock(&trial);
    free(trial.expected);
    return result;
}
