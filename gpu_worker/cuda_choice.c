/* The choice of algorithms; see cuda_choice.h. */
#include "gpu_worker/cuda_choice.h"

#include <string.h>

#include "gpu_worker/cuda_engine.h"
#include "gpu_worker/cuda_error.h"
#include "gpu_worker/cuda_tune.h"
#include "shm/log.h"

/* Our FFN GEMM must take less than this share of the time of cuBLASLt's and the GELU after it: so
 * much more than times vary that machines of a kind find the same. */
#define OWN_FFN_SHARE 0.95f

_Static_assert((int)CUDA_GEMM_COUNT <= CUDA_TRIAL_GEMMS, "each GEMM has a place for its reference");

static struct cuda_tune_key tune_key(const struct encoder *e)
{
    struct cuda_tune_key key = {
        .compute_capability = (uint32_t)e->compute_capability,
        .n_multiprocessors = (uint32_t)e->n_multiprocessors,
        .driver_version = (uint32_t)e->driver_version,
        .cublas_version = (uint32_t)e->gemm_context.blas.version,
        .element_type = e->fp8 != NULL ? CUDA_R_8F_E4M3 : e->gemm_context.element_type,
        .compute_type = e->gemm_context.compute_type,
        .workspace_bytes = CUDA_GEMM_WORKSPACE_BYTES,
        .architecture = e->config.architecture,
        .hidden_dim = e->config.hidden_dim,
        .n_layers = e->config.n_layers,
        .n_heads = e->config.n_heads,
        .ffn_dim = e->config.ffn_dim,
        .activation = e->config.activation,
        .max_tokens = e->max_tokens,
        .max_sequences = e->max_sequences,
    };
    memcpy(key.card, e->device_name, strnlen(e->device_name, sizeof key.card));
    return key;
}

static struct cuda_trial trial_of(struct encoder *e, const struct cuda_gemm_operands *operands,
                                  uint32_t i)
{
    return cuda_trial_of(&e->trials, &e->gemm_context, &e->gemms[i], i, &operands[i]);
}

/* ---- one bucket ---- */

/* A GEMM of the bucket. What the tune file says holds if it can be captured; else a trial decides,
 * which first needs the reference's bits: a start that loaded the file has run none. */
static int settle_gemm(struct encoder *e, const struct cuda_gemm_operands *operands, uint32_t i,
                       uint32_t bucket, bool timed, char error[ERROR_BYTES])
{
    struct cuda_gemm *gemm = &e->gemms[i];
    const struct cuda_trial trial = trial_of(e, operands, i);
    if (e->choice.loaded) {
        if (cuda_gemm_can_be_captured(&e->gemm_context, gemm, &operands[i], bucket,
                                      &gemm->algorithms[bucket]))
            return 0;
        log_warning("the tune file's algorithm of %s for %u rows cannot be captured into a graph: "
                    "another is tried",
                    gemm->name, gemm->buckets->rows[bucket]);
        e->choice.has_changed = true;
    }
    if (!e->choice.has_reference[i]) {
        const int result = cuda_trial_keep_reference(&trial, error);
        if (result != 0)
            return result;
        e->choice.has_reference[i] = true;
    }
    return cuda_trial_choose(&trial, bucket, timed, error);
}

static int settle(struct encoder *twin, struct encoder *owner, struct cuda_buckets *buckets,
                  uint32_t bucket, bool timed, char error[ERROR_BYTES])
{
    struct cuda_gemm_operands operands[CUDA_GEMM_COUNT];
    int result = 0;
    cuda_forward_operands(twin, operands);
    for (uint32_t i = 0; result == 0 && i < CUDA_GEMM_COUNT; i++)
        if (twin->gemms[i].buckets == buckets)
            result = settle_gemm(twin, operands, i, bucket, timed, error);
    cudaGetLastError(); /* of a trial that failed: else the thread's next launch would find it */
    if (result != 0)
        return result;
    for (uint32_t i = 0; twin != owner && i < CUDA_GEMM_COUNT; i++)
        if (twin->gemms[i].buckets == buckets)
            owner->gemms[i].algorithms[bucket] = twin->gemms[i].algorithms[bucket];
    cuda_bucket_make_ready(buckets, bucket);
    return 0;
}

int cuda_choice_settle(struct encoder *twin, struct encoder *owner, struct cuda_buckets *buckets,
                       uint32_t bucket, char error[ERROR_BYTES])
{
    return settle(twin, owner, buckets, bucket, false, error);
}

/* ---- the tune file ---- */

/* The file's algorithms, if those that the first answers need can be captured. */
static bool load(struct encoder *e, const struct cuda_tune_key *key,
                 const struct cuda_gemm_operands *operands)
{
    if (!cuda_tune_load(e->tune_path, key, &e->gemm_context, e->gemms, operands, CUDA_GEMM_COUNT,
                        &e->choice.own_ffn_is_fast))
        return false;
    for (uint32_t i = 0; i < CUDA_GEMM_COUNT; i++) {
        const struct cuda_gemm *gemm = &e->gemms[i];
        const uint32_t needed[2] = {0, gemm->buckets->count - 1};
        for (int j = 0; j < 2; j++)
            if (!cuda_gemm_can_be_captured(&e->gemm_context, gemm, &operands[i], needed[j],
                                           &gemm->algorithms[needed[j]])) {
                log_warning("the tune file's algorithm of %s for %u rows cannot be captured into a "
                            "graph: all are timed anew",
                            gemm->name, gemm->buckets->rows[needed[j]]);
                return false;
            }
    }
    return true;
}

static bool all_are_ready(const struct cuda_buckets *buckets)
{
    for (uint32_t i = 0; i < buckets->count; i++)
        if (!cuda_bucket_is_ready(buckets, i))
            return false;
    return true;
}

static bool save(const struct encoder *e)
{
    const struct cuda_tune_key key = tune_key(e);
    return cuda_tune_save(e->tune_path, &key, e->gemms, CUDA_GEMM_COUNT, e->choice.own_ffn_is_fast);
}

/* ---- the FFN's first half: cuBLASLt's GEMM and the GELU, or our GEMM with the GELU in it ---- */

struct ffn_run {
    const struct encoder *encoder;
    uint32_t bucket;
};

static bool enqueue_two_passes(void *context)
{
    const struct ffn_run *run = context;
    const struct encoder *e = run->encoder;
    const struct cuda_trials *t = &e->trials;
    const struct cuda_gemm *gemm = &e->gemms[CUDA_GEMM_ffn_in];
    const struct cuda_gemm_operands operands = {t->y, t->x, t->weight, t->bias, NULL, NULL};
    const uint64_t n_elements = (uint64_t)gemm->buckets->rows[run->bucket] * gemm->out_dim;
    const struct fp8_output no_codes = {NULL, 0.0f};
    char unused[ERROR_BYTES];
    return cuda_gemm_enqueue(&e->gemm_context, gemm, &operands, run->bucket, unused) == 0 &&
           e->kernels->gelu(t->y, no_codes, n_elements, e->stream) == cudaSuccess;
}

static bool enqueue_one_pass(void *context)
{
    const struct ffn_run *run = context;
    const struct encoder *e = run->encoder;
    const struct cuda_trials *t = &e->trials;
    const struct cuda_gemm *gemm = &e->gemms[CUDA_GEMM_ffn_in];
    return e->kernels->gemm(t->y, t->x, t->weight, t->bias, GEMM_GELU,
                            gemm->buckets->rows[run->bucket], gemm->out_dim, gemm->in_dim,
                            e->stream) == cudaSuccess;
}

/* Over all buckets of tokens, so that large ones count most: the choice is for all of them, and
 * what it is for is throughput. */
static bool time_own_ffn(const struct encoder *e)
{
    float two_passes_ms = 0.0f, one_pass_ms = 0.0f;
    if (!cuda_forward_has_own_ffn(e))
        return false;
    for (uint32_t bucket = 0; bucket < e->tokens.count; bucket++) {
        struct ffn_run run = {e, bucket};
        float two, one;
        if (!cuda_trial_time(e->stream, enqueue_two_passes, &run, &two) ||
            !cuda_trial_time(e->stream, enqueue_one_pass, &run, &one))
            return false;
        two_passes_ms += two;
        one_pass_ms += one;
    }
    const bool is_fast = one_pass_ms < OWN_FFN_SHARE * two_passes_ms;
    log_info("the FFN's first half, all buckets: %.3f ms by cuBLASLt and GELU, %.3f ms by our GEMM "
             "with the GELU in it: WEIR_CUDA_FFN=auto takes %s",
             (double)two_passes_ms, (double)one_pass_ms, is_fast ? "ours" : "cuBLASLt's");
    return is_fast;
}

/* What the file says, and not what was measured: two that measure at once must not differ for
 * longer than the file does, and a worker's successor must do as it did. */
static void follow_file(struct encoder *e, bool saved)
{
    const struct cuda_tune_key key = tune_key(e);
    if (!e->choice.loaded)
        e->choice.own_ffn_is_fast =
            saved && cuda_tune_says_own_ffn(e->tune_path, &key, e->gemms, CUDA_GEMM_COUNT);
    if (e->choice.ffn_by_time && e->choice.own_ffn_is_fast)
        e->own_ffn = true;
}

/* ---- begin and end ---- */

static int find_references(struct encoder *e, const struct cuda_gemm_operands *operands,
                           char error[ERROR_BYTES])
{
    int result = 0;
    for (uint32_t i = 0; result == 0 && i < CUDA_GEMM_COUNT; i++) {
        const struct cuda_trial trial = trial_of(e, operands, i);
        result = cuda_trial_find_reference(&trial, error);
        e->choice.has_reference[i] = result == 0;
    }
    return result;
}

/* The reference for the largest bucket, which may be the smallest too; where times are wanted, the
 * other buckets before it, as the reference is what the largest has. */
static void settle_first(struct encoder *e, struct cuda_buckets *buckets, bool timed)
{
    const uint32_t last = buckets->count - 1, n = timed ? buckets->count : 1;
    char error[ERROR_BYTES];
    for (uint32_t bucket = 0; bucket < n; bucket++)
        if ((timed || bucket < last) && settle(e, e, buckets, bucket, timed, error) != 0)
            log_warning("no batch runs in the bucket of %u rows: %s", buckets->rows[bucket], error);
    cuda_bucket_make_ready(buckets, last);
}

int cuda_choice_begin(struct encoder *e, char error[ERROR_BYTES])
{
    struct cuda_gemm_operands operands[CUDA_GEMM_COUNT];
    const struct cuda_tune_key key = tune_key(e);
    const bool wanted = e->tune_path != NULL;
    bool saved = false;
    int result = cuda_trials_begin(&e->trials, e->gemm_context.element_type, e->stream, error);
    if (result != 0)
        return result;
    cuda_forward_operands(e, operands);
    e->choice.loaded = wanted && load(e, &key, operands);
    const bool timed = wanted && !e->choice.loaded;
    if (!e->choice.loaded)
        result = find_references(e, operands, error);
    if (result != 0)
        return result;
    settle_first(e, &e->tokens, timed);
    settle_first(e, &e->sequences, timed);
    if (timed) {
        e->choice.own_ffn_is_fast = time_own_ffn(e);
        saved = all_are_ready(&e->tokens) && all_are_ready(&e->sequences) && save(e);
    }
    follow_file(e, saved);
    return 0;
}

/* The twin's buckets are a copy of what was ready when the thread began; those that its GEMMs point
 * to are the owner's. */
void cuda_choice_end(const struct encoder *twin)
{
    if (twin->choice.loaded && twin->choice.has_changed &&
        all_are_ready(twin->gemms[CUDA_GEMM_qkv].buckets) &&
        all_are_ready(twin->gemms[CUDA_GEMM_pooler].buckets))
        save(twin);
}
