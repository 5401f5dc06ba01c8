/* The stand-in's cuBLASLt: checks every rule that the manual gives for the calls we make, then
 * computes with plain loops. It offers several algorithms, which add up in different orders and so
 * give different bits, and likes different ones best for different numbers of rows: as the real one
 * does. */
#include <string.h>

#include <atomic>
#include <mutex>
#include <thread>
#include <vector>

#include <cublasLt.h>
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_fp8.h>

#include "standin/device.h"
#include "standin/standin.h"

namespace standin
{

static constexpr uint64_t LIVE = 0x6c6976656c697665, DEAD = 0x6465616464656164;
static constexpr size_t ALIGNMENT = 16, WORKSPACE_ALIGNMENT = 256;
static constexpr int WORKSPACE_USED = 256; /* by every algorithm */

/* Ascending and descending order of k, one that never runs, one with ASCENDING's bits that is
 * faster for few rows and slower for many, and one whose last rows come from DESCENDING. NONE is a
 * result whose state says that it holds no algorithm. */
enum algorithm_order : uint64_t {
    ASCENDING,
    DESCENDING,
    UNSUPPORTED,
    NARROW,
    UNEVEN,
    N_ORDERS,
    NONE
};
static std::atomic<bool> narrow_cannot_be_captured, few_rows_have_other_bits;
static std::atomic<uint64_t> workspace_wanted;
static constexpr int64_t FEW_ROWS = 32; /* up to here DESCENDING is the favourite */
static constexpr uint64_t UNEVEN_ROWS = 8;

struct object {
    uint64_t life = LIVE;
};
/* One thread may make it and another use it, but no two use it: the manual advises against that. */
struct handle : object {
    std::thread::id user;
};
struct matmul : object {
    cublasComputeType_t compute;
    cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
    cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    const float *a_scale = nullptr, *b_scale = nullptr; /* of E4M3; none is 1 */
    int8_t fast_accumulation = 0;
};
struct layout : object {
    cudaDataType_t type;
    uint64_t rows, columns;
    int64_t stride;
};
struct preference : object {
    uint64_t workspace_bytes = 0;
    uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_MASK;
};
struct algorithm { /* what lies in cublasLtMatmulAlgo_t */
    uint64_t magic, order, out_dim, in_dim;
};
static_assert(sizeof(algorithm) <= sizeof(cublasLtMatmulAlgo_t), "fits");

template <class kind> static kind *alive(const void *pointer, const char *what)
{
    kind *found = (kind *)pointer;
    if (found == nullptr || found->life != LIVE)
        misuse("%s is used, but is not alive", what);
    return found;
}

template <class kind>
static cublasStatus_t make(void **place, kind made, const char *call = __builtin_FUNCTION())
{
    if (call_shall_fail(call))
        return CUBLAS_STATUS_ALLOC_FAILED;
    *place = new kind(made);
    object_made();
    return CUBLAS_STATUS_SUCCESS;
}

/* The memory stays, marked, so that a later use is seen. */
static std::vector<void *> &graveyard = *new std::vector<void *>;
static std::mutex &graveyard_mutex = *new std::mutex;

static void check_handle(const void *pointer)
{
    handle *used = alive<handle>(pointer, "a handle");
    if (used->user == std::thread::id())
        used->user = std::this_thread::get_id();
    if (used->user != std::this_thread::get_id())
        misuse("a cuBLASLt handle is used by two threads");
}

template <class kind> static cublasStatus_t destroy(const void *pointer, const char *what)
{
    kind *dead = alive<kind>(pointer, what);
    dead->life = DEAD;
    std::lock_guard<std::mutex> lock(graveyard_mutex);
    graveyard.push_back(dead);
    object_destroyed();
    return CUBLAS_STATUS_SUCCESS;
}

static size_t type_bytes(cudaDataType_t type)
{
    return type == CUDA_R_32F ? 4 : type == CUDA_R_8F_E4M3 ? 1 : 2;
}

static float read_element(cudaDataType_t type, const void *matrix, size_t i)
{
    if (type == CUDA_R_16F)
        return __half2float(((const __half *)matrix)[i]);
    if (type == CUDA_R_16BF)
        return __bfloat162float(((const __nv_bfloat16 *)matrix)[i]);
    if (type == CUDA_R_8F_E4M3)
        return __half2float(
            __half(__nv_cvt_fp8_to_halfraw(((const uint8_t *)matrix)[i], __NV_E4M3)));
    return ((const float *)matrix)[i];
}

static void write_element(cudaDataType_t type, void *matrix, size_t i, float value)
{
    if (type == CUDA_R_16F)
        ((__half *)matrix)[i] = __float2half_rn(value);
    else if (type == CUDA_R_16BF)
        ((__nv_bfloat16 *)matrix)[i] = __float2bfloat16_rn(value);
    else
        ((float *)matrix)[i] = value;
}

/* ---- the rules ---- */

/* The manual's table for E4M3 times E4M3, where D and the bias are float16, or D is bfloat16. */
static void check_fp8(const matmul &m, const layout &a, const layout &b, const layout &d)
{
    if (card_compute_capability() < 89)
        misuse("fp8 on a card of compute capability below 8.9");
    if (b.type != CUDA_R_8F_E4M3 || (d.type != CUDA_R_16F && d.type != CUDA_R_16BF) ||
        m.compute != CUBLAS_COMPUTE_32F)
        misuse("a combination of types that cuBLASLt does not have for fp8");
    if (m.transpose_a != CUBLAS_OP_T || m.transpose_b != CUBLAS_OP_N)
        misuse("fp8 that is not in the TN form");
    if (a.rows % 16 != 0 || a.columns % 16 != 0 || b.columns % 16 != 0)
        misuse("fp8 with a dimension that is not a multiple of 16: %zu, %zu, %zu", (size_t)a.rows,
               (size_t)a.columns, (size_t)b.columns);
    if (m.fast_accumulation)
        misuse("fast accumulation: sums would be kept in fewer bits");
    if (m.epilogue != CUBLASLT_EPILOGUE_DEFAULT && m.epilogue != CUBLASLT_EPILOGUE_BIAS)
        misuse("fp8 with an epilogue that not every card has");
}

static void check_types(const matmul &m, const layout &a, const layout &b, const layout &d)
{
    const bool strict = m.compute == CUBLAS_COMPUTE_32F_PEDANTIC;
    if (m.compute != CUBLAS_COMPUTE_32F && !strict)
        misuse("a compute type that the stand-in does not know");
    if (a.type != CUDA_R_32F && strict)
        misuse("CUBLAS_COMPUTE_32F_PEDANTIC is for float32");
    if (a.type == CUDA_R_8F_E4M3)
        return check_fp8(m, a, b, d);
    if (m.a_scale != nullptr || m.b_scale != nullptr || m.fast_accumulation)
        misuse("scales or fast accumulation with a type that is not of 8 bits");
    if (a.type != b.type || (d.type != a.type && d.type != CUDA_R_32F))
        misuse("a combination of types that cuBLASLt does not have");
}

static void check_layouts(const matmul &m, const layout &a, const layout &b, const layout &c,
                          const layout &d)
{
    if (m.transpose_a != CUBLAS_OP_T || m.transpose_b != CUBLAS_OP_N)
        misuse("not the TN form");
    if (a.rows != b.rows || a.columns != d.rows || b.columns != d.columns)
        misuse("shapes do not fit: A %zux%zu, B %zux%zu, D %zux%zu", (size_t)a.rows,
               (size_t)a.columns, (size_t)b.rows, (size_t)b.columns, (size_t)d.rows,
               (size_t)d.columns);
    if (c.rows != d.rows || c.columns != d.columns || c.type != d.type)
        misuse("C and D differ");
    for (const layout *l : {&a, &b, &c, &d}) {
        if (l->stride < (int64_t)l->rows)
            misuse("a leading dimension of %ld for %zu rows", (long)l->stride, (size_t)l->rows);
        if (l->stride * type_bytes(l->type) % ALIGNMENT != 0)
            misuse("a leading dimension that is not a multiple of 16 bytes");
    }
}

static size_t layout_bytes(const layout &l)
{
    return ((l.columns - 1) * (size_t)l.stride + l.rows) * type_bytes(l.type);
}

static void check_apart(const void *a, size_t a_bytes, const void *b, size_t b_bytes,
                        const char *what)
{
    if ((const char *)a < (const char *)b + b_bytes && (const char *)b < (const char *)a + a_bytes)
        misuse("D overlaps %s", what);
}

struct call {
    matmul m;
    layout a, b, d;
    const void *a_data, *b_data, *c_data;
    void *d_data, *workspace;
    size_t workspace_bytes;
    float alpha, beta;
    uint64_t order;
};

static void check_memory(const call &c)
{
    const size_t d_bytes = layout_bytes(c.d), bias_bytes = c.d.rows * type_bytes(c.d.type);
    check_range(c.a_data, layout_bytes(c.a), ALIGNMENT, "A");
    check_range(c.b_data, layout_bytes(c.b), ALIGNMENT, "B");
    check_range(c.c_data, d_bytes, ALIGNMENT, "C");
    check_range(c.d_data, d_bytes, ALIGNMENT, "D");
    if (c.workspace_bytes < (size_t)WORKSPACE_USED)
        misuse("a workspace of %zu bytes, where %d are used", c.workspace_bytes, WORKSPACE_USED);
    check_range(c.workspace, c.workspace_bytes, WORKSPACE_ALIGNMENT, "the workspace");
    check_apart(c.d_data, d_bytes, c.a_data, layout_bytes(c.a), "A");
    check_apart(c.d_data, d_bytes, c.b_data, layout_bytes(c.b), "B");
    check_apart(c.d_data, d_bytes, c.workspace, c.workspace_bytes, "the workspace");
    if (c.c_data != c.d_data)
        check_apart(c.d_data, d_bytes, c.c_data, d_bytes, "C");
    for (const float *scale : {c.m.a_scale, c.m.b_scale})
        if (c.a.type == CUDA_R_8F_E4M3)
            check_range(scale, sizeof *scale, sizeof *scale, "a scale");
    if (c.m.epilogue == CUBLASLT_EPILOGUE_DEFAULT)
        return;
    if (c.m.epilogue != CUBLASLT_EPILOGUE_BIAS && c.m.epilogue != CUBLASLT_EPILOGUE_RELU_BIAS)
        misuse("an epilogue that the encoder has no use for: %d", (int)c.m.epilogue);
    check_range(c.m.bias, bias_bytes, ALIGNMENT, "the bias");
    check_apart(c.d_data, d_bytes, c.m.bias, bias_bytes, "the bias");
}

/* ---- the arithmetic ---- */

static void multiply_row(const call &c, const std::vector<float> &a_transposed, uint64_t row)
{
    const uint64_t out_dim = c.d.rows, in_dim = c.a.rows;
    const float scale = c.m.a_scale != nullptr ? *c.m.a_scale * *c.m.b_scale : 1.0f;
    const uint64_t first = few_rows_have_other_bits && c.d.columns <= FEW_ROWS ? in_dim / 2 : 0;
    const bool descending =
        c.order == DESCENDING || (c.order == UNEVEN && row + UNEVEN_ROWS >= c.d.columns);
    std::vector<float> sums(out_dim, 0.0f);
    for (uint64_t i = 0; i < in_dim; i++) {
        const uint64_t step = (first + i) % in_dim;
        const uint64_t k = descending ? in_dim - 1 - step : step;
        const float x = read_element(c.b.type, c.b_data, row * (size_t)c.b.stride + k);
        const float *column = &a_transposed[k * out_dim];
        for (uint64_t o = 0; o < out_dim; o++)
            sums[o] += x * column[o];
    }
    for (uint64_t o = 0; o < out_dim; o++) {
        const size_t i = row * (size_t)c.d.stride + o;
        float value = c.alpha * scale * sums[o];
        if (c.beta != 0.0f)
            value += c.beta * read_element(c.d.type, c.c_data, i);
        if (c.m.epilogue != CUBLASLT_EPILOGUE_DEFAULT)
            value += read_element(c.d.type, c.m.bias, o);
        if (c.m.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS && value < 0.0f)
            value = 0.0f;
        write_element(c.d.type, c.d_data, i, value);
    }
}

static cudaError_t run(const call &c)
{
    const uint64_t out_dim = c.d.rows, in_dim = c.a.rows;
    std::vector<float> a_transposed(in_dim * out_dim);
    check_memory(c); /* again: what was captured must still be alive */
    count_matmul();
    spend_ns(c.order == NARROW ? 100 * c.d.columns : 1700 + 50 * c.d.columns);
    memset(c.workspace, 0xff, WORKSPACE_USED);
    for (uint64_t o = 0; o < out_dim; o++)
        for (uint64_t k = 0; k < in_dim; k++)
            a_transposed[k * out_dim + o] =
                read_element(c.a.type, c.a_data, o * (size_t)c.a.stride + k);
    for (uint64_t row = 0; row < c.d.columns; row++)
        multiply_row(c, a_transposed, row);
    return cudaSuccess;
}

static cublasLtMatmulHeuristicResult_t offer(uint64_t order, const layout &a)
{
    cublasLtMatmulHeuristicResult_t result = {};
    const algorithm offered = {LIVE, order, a.columns, a.rows};
    memcpy(&result.algo, &offered, sizeof offered);
    result.state = order != NONE ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    if (order == NONE)
        memset(&result.algo, 0xff, sizeof result.algo);
    return result;
}

} // namespace standin

using namespace standin;

extern "C" {

cublasStatus_t cublasLtCreate(cublasLtHandle_t *place)
{
    return make((void **)place, handle());
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t pointer)
{
    return destroy<handle>(pointer, "a handle");
}

size_t cublasLtGetVersion(void)
{
    return 130100;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *place, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    matmul made;
    made.compute = compute;
    if (scale != CUDA_R_32F)
        misuse("a scale type other than float32");
    return make((void **)place, made);
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t pointer)
{
    return destroy<matmul>(pointer, "a matmul descriptor");
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t pointer,
                                              cublasLtMatmulDescAttributes_t attribute,
                                              const void *value, size_t bytes)
{
    matmul *m = alive<matmul>(pointer, "a matmul descriptor");
    const struct {
        cublasLtMatmulDescAttributes_t attribute;
        void *target;
        size_t bytes;
    } known[] = {
        {CUBLASLT_MATMUL_DESC_TRANSA, &m->transpose_a, sizeof m->transpose_a},
        {CUBLASLT_MATMUL_DESC_EPILOGUE, &m->epilogue, sizeof m->epilogue},
        {CUBLASLT_MATMUL_DESC_BIAS_POINTER, &m->bias, sizeof m->bias},
        {CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, &m->a_scale, sizeof m->a_scale},
        {CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, &m->b_scale, sizeof m->b_scale},
        {CUBLASLT_MATMUL_DESC_FAST_ACCUM, &m->fast_accumulation, sizeof m->fast_accumulation},
    };
    void *target = nullptr;
    for (const auto &each : known)
        if (each.attribute == attribute && each.bytes == bytes)
            target = each.target;
    if (target == nullptr)
        misuse("matmul attribute %d of %zu bytes", (int)attribute, bytes);
    memcpy(target, value, bytes);
    return call_shall_fail() ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *place, cudaDataType_t type,
                                          uint64_t rows, uint64_t columns, int64_t stride)
{
    layout made;
    made.type = type;
    made.rows = rows;
    made.columns = columns;
    made.stride = stride;
    return make((void **)place, made);
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t pointer)
{
    return destroy<layout>(pointer, "a layout");
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *place)
{
    return make((void **)place, preference());
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t pointer)
{
    return destroy<preference>(pointer, "a preference");
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t pointer,
                                                    cublasLtMatmulPreferenceAttributes_t attribute,
                                                    const void *value, size_t bytes)
{
    preference *p = alive<preference>(pointer, "a preference");
    if (attribute == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES && bytes == 8)
        memcpy(&p->workspace_bytes, value, bytes);
    else if (attribute == CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK && bytes == 4)
        memcpy(&p->reductions, value, bytes);
    else
        misuse("preference attribute %d of %zu bytes", (int)attribute, bytes);
    return call_shall_fail() ? CUBLAS_STATUS_INVALID_VALUE : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t user, cublasLtMatmulDesc_t m,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t wanted, int n_wanted,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *n_results)
{
    const layout &la = *alive<layout>(a, "A's layout"), &lb = *alive<layout>(b, "B's layout");
    const bool few = lb.columns <= FEW_ROWS;
    const uint64_t for_few[] = {NONE, UNSUPPORTED, DESCENDING, ASCENDING, NARROW};
    const uint64_t for_many[] = {UNEVEN, NONE, ASCENDING, DESCENDING, NARROW};
    check_handle(user);
    check_types(*alive<matmul>(m, "a matmul"), la, lb, *alive<layout>(d, "D's layout"));
    if (alive<preference>(wanted, "a preference")->reductions != CUBLASLT_REDUCTION_SCHEME_NONE)
        misuse("split-K is allowed: bits would depend on the batch");
    alive<layout>(c, "C's layout");
    *n_results = 0;
    for (uint64_t order : few ? for_few : for_many)
        if (*n_results < n_wanted)
            results[(*n_results)++] = offer(order, la);
    return call_shall_fail() ? CUBLAS_STATUS_NOT_SUPPORTED : CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t user, cublasLtMatmulDesc_t m,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    const layout &la = *alive<layout>(a, "A's layout");
    algorithm asked;
    memcpy(&asked, algo, sizeof asked);
    check_handle(user);
    check_layouts(*alive<matmul>(m, "a matmul"), la, *alive<layout>(b, "B's layout"),
                  *alive<layout>(c, "C's layout"), *alive<layout>(d, "D's layout"));
    const bool fits = asked.out_dim == la.columns && asked.in_dim == la.rows;
    if (call_shall_fail() || asked.magic != LIVE || asked.order >= N_ORDERS ||
        asked.order == UNSUPPORTED)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    *result = offer(fits ? asked.order : NONE, la); /* the question was a good one */
    result->workspaceSize = workspace_wanted;
    return CUBLAS_STATUS_SUCCESS;
}

void standin_forbid_capture_of_narrow(bool forbid)
{
    narrow_cannot_be_captured = forbid;
}

void standin_change_bits_of_few_rows(bool change)
{
    few_rows_have_other_bits = change;
}

void standin_want_workspace(uint64_t bytes)
{
    workspace_wanted = bytes;
}

static uint64_t order_of(const void *algo)
{
    algorithm asked;
    memcpy(&asked, algo, sizeof asked);
    return asked.order;
}

bool standin_algorithm_is_narrow(const void *algo)
{
    return order_of(algo) == NARROW;
}

void standin_set_algorithm_order(void *algo, int order)
{
    algorithm changed;
    memcpy(&changed, algo, sizeof changed);
    changed.order = (uint64_t)order;
    memcpy(algo, &changed, sizeof changed);
}

int standin_algorithm_order(const void *algo)
{
    const uint64_t order = order_of(algo) == NARROW ? ASCENDING : order_of(algo);
    return order == ASCENDING || order == DESCENDING ? (int)order : -1;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t user, cublasLtMatmulDesc_t m, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream)
{
    algorithm chosen;
    call made;
    check_handle(user);
    memcpy(&chosen, algo, sizeof chosen);
    made.m = *alive<matmul>(m, "a matmul descriptor");
    made.a = *alive<layout>(a_layout, "A's layout");
    made.b = *alive<layout>(b_layout, "B's layout");
    made.d = *alive<layout>(d_layout, "D's layout");
    made.a_data = a;
    made.b_data = b;
    made.c_data = c;
    made.d_data = d;
    made.workspace = workspace;
    made.workspace_bytes = workspace_bytes;
    memcpy(&made.alpha, alpha, sizeof made.alpha);
    memcpy(&made.beta, beta, sizeof made.beta);
    made.order = chosen.order;
    check_types(made.m, made.a, made.b, made.d);
    check_layouts(made.m, made.a, made.b, *alive<layout>(c_layout, "C's layout"), made.d);
    check_memory(made);
    if (chosen.magic != LIVE || chosen.order >= N_ORDERS || chosen.out_dim != made.a.columns ||
        chosen.in_dim != made.a.rows)
        misuse("an algorithm that was not offered for this shape");
    const bool cannot_be_captured = chosen.order == NARROW && narrow_cannot_be_captured;
    const bool fails = call_shall_fail() || card_has_failed();
    if (chosen.order == UNSUPPORTED || (is_capturing(stream) && cannot_be_captured) || fails) {
        spoil_capture(stream);
        return fails ? CUBLAS_STATUS_EXECUTION_FAILED : CUBLAS_STATUS_NOT_SUPPORTED;
    }
    if (is_capturing(stream)) {
        enqueue(stream, [made] { return run(made); });
        return CUBLAS_STATUS_SUCCESS;
    }
    check_workspace_is_free(workspace, stream);
    enqueue(stream, [made] { return run(made); });
    workspace_was_given(workspace, stream);
    return CUBLAS_STATUS_SUCCESS;
}

} /* extern "C" */
