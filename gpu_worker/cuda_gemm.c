/* cuBLASLt GEMMs; see cuda_gemm.h. */
#include "gpu_worker/cuda_gemm.h"

#include <stdio.h>

#include "gpu_worker/cuda_error.h"

void cuda_gemm_call_close(const struct cuda_blas *blas, struct cuda_gemm_call *call)
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
                                         struct cuda_gemm_call *call)
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

int cuda_gemm_call_open(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                        const struct cuda_gemm_operands *operands, uint32_t n_rows,
                        struct cuda_gemm_call *call, char error[ERROR_BYTES])
{
    *call = (struct cuda_gemm_call){0};
    const cublasStatus_t status = gemm_call_describe(context, gemm, operands, n_rows, call);
    if (status != CUBLAS_STATUS_SUCCESS) {
        cuda_gemm_call_close(&context->blas, call);
        *call = (struct cuda_gemm_call){0};
    }
    return cuda_blas_check(status, gemm->name, error);
}

/* y is input and output: cuBLASLt allows C and D to be one where their layouts are. */
cublasStatus_t cuda_gemm_call_run(const struct cuda_gemm_context *context,
                                  const struct cuda_gemm *gemm,
                                  const struct cuda_gemm_operands *operands,
                                  const struct cuda_gemm_call *call,
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
    struct cuda_gemm_call call;
    if (context->own != NULL)
        return enqueue_own(context, gemm, operands, n_rows, error);
    int result = cuda_gemm_call_open(context, gemm, operands, n_rows, &call, error);
    if (result != 0)
        return result;
    result = cuda_blas_check(
        cuda_gemm_call_run(context, gemm, operands, &call, &gemm->algorithms[bucket]), gemm->name,
        error);
    cuda_gemm_call_close(&context->blas, &call);
    return result;
}

bool cuda_gemm_accepts(const struct cuda_gemm_context *context, const struct cuda_gemm *gemm,
                       const struct cuda_gemm_operands *operands, uint32_t bucket)
{
    const struct cuda_blas *blas = &context->blas;
    cublasLtMatmulHeuristicResult_t found = {0};
    struct cuda_gemm_call call;
    char unused[ERROR_BYTES];
    if (cuda_gemm_call_open(context, gemm, operands, gemm->buckets->rows[bucket], &call, unused) !=
        0)
        return false;
    const cublasStatus_t status = blas->check(blas->handle, call.matmul, call.weight, call.x,
                                              call.y, call.y, &gemm->algorithms[bucket], &found);
    cuda_gemm_call_close(blas, &call);
    return status == CUBLAS_STATUS_SUCCESS && found.state == CUBLAS_STATUS_SUCCESS &&
           found.workspaceSize <= CUDA_GEMM_WORKSPACE_BYTES;
}

bool cuda_gemm_can_be_captured(const struct cuda_gemm_context *context,
                               const struct cuda_gemm *gemm,
                               const struct cuda_gemm_operands *operands, uint32_t bucket,
                               const cublasLtMatmulAlgo_t *algorithm)
{
    struct cuda_gemm_call call;
    cudaGraph_t graph = NULL;
    cublasStatus_t status = CUBLAS_STATUS_NOT_SUPPORTED;
    char unused[ERROR_BYTES];
    if (cuda_gemm_call_open(context, gemm, operands, gemm->buckets->rows[bucket], &call, unused) !=
        0)
        return false;
    cudaError_t ended = cudaStreamBeginCapture(context->stream, cudaStreamCaptureModeThreadLocal);
    if (ended == cudaSuccess) {
        status = cuda_gemm_call_run(context, gemm, operands, &call, algorithm);
        ended = cudaStreamEndCapture(context->stream, &graph);
    }
    if (graph != NULL)
        cuda_check_logged(cudaGraphDestroy(graph), "a capture's end");
    cuda_gemm_call_close(&context->blas, &call);
    if (status == CUBLAS_STATUS_SUCCESS && ended == cudaSuccess)
        return true;
    cudaGetLastError(); /* else the next kernel's launch would find this error */
    return false;
}
