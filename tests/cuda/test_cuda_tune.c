/* The tune file: the second start tries nothing, gives the same bits, and refuses every file that
 * is not whole and its own. */
#include <dirent.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpu_worker/cuda_engine.h"
#include "gpu_worker/cuda_tune.h"
#include "shm/log.h"
#include "tests/cuda/standin/standin.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

/* Two layers: 4 GEMMs in the first, 6 in the last. */
#define MATMULS_OF_A_BATCH 10
#define FILE_BYTES_MAX     (1 << 16)
#define CALLS_MAX          5000

static char folder[] = "/tmp/weir-tune-XXXXXX", path[64];
static unsigned char whole[FILE_BYTES_MAX]; /* a good file */
static size_t whole_bytes;

struct start {
    uint64_t matmuls; /* of the start, its first batch included */
    bool narrow_for_few, narrow_for_many;
    float logits[2];
};

static struct encoder *create(enum encoder_dtype dtype, uint32_t max_tokens,
                              char error[ERROR_BYTES])
{
    const struct encoder_options options = {
        .dtype = dtype, .max_batch_tokens = max_tokens, .max_batch_sequences = 2};
    struct random_model random;
    random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    random_model_free(&random);
    return encoder;
}

static struct start start_with(enum encoder_dtype dtype, uint32_t max_tokens)
{
    const uint32_t input_ids[3] = {3, 1, 4}, cu_seqlens[2] = {0, 3}, type_starts[1] = {3};
    const struct batch batch = {input_ids, cu_seqlens, type_starts, 1, 3};
    char error[ERROR_BYTES] = "";
    const uint64_t before = standin_counters().matmuls;
    struct encoder *encoder = create(dtype, max_tokens, error);
    if (encoder == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(encoder != NULL);
    cuda_graphs_wait(&encoder->graphs);
    const struct cuda_gemm *qkv = &encoder->gemms[CUDA_GEMM_qkv];
    struct start start = {
        .matmuls = standin_counters().matmuls - before,
        .narrow_for_few = standin_algorithm_is_narrow(&qkv->algorithms[0]),
        .narrow_for_many = standin_algorithm_is_narrow(&qkv->algorithms[qkv->buckets->count - 1]),
    };
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &batch, start.logits), 0);
    encoder_cuda.destroy(encoder);
    return start;
}

static struct start start(void)
{
    return start_with(ENCODER_DTYPE_FLOAT16, 48);
}

static size_t read_file(unsigned char *bytes)
{
    FILE *file = fopen(path, "rb");
    EXPECT(file != NULL);
    const size_t n = fread(bytes, 1, FILE_BYTES_MAX, file);
    fclose(file);
    return n;
}

static void write_file(const unsigned char *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    EXPECT(file != NULL && fwrite(bytes, 1, n, file) == n);
    fclose(file);
}

/* As cuda_tune.h says it; a forger's tool. */
static void sign(unsigned char *bytes, size_t n)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (size_t i = 0; i < n - 8; i++)
        hash = (hash ^ bytes[i]) * UINT64_C(0x100000001b3);
    memcpy(bytes + n - 8, &hash, 8);
}

static bool is_whole(void)
{
    static unsigned char bytes[FILE_BYTES_MAX];
    return read_file(bytes) == whole_bytes && memcmp(bytes, whole, whole_bytes) == 0;
}

/* Another one after each writing: a new file replaces the old one. */
static uint64_t number_of_file(void)
{
    struct stat status;
    EXPECT_EQUAL(stat(path, &status), 0);
    EXPECT_EQUAL(status.st_mode & 0777, 0600); /* nobody else's start reads or makes it */
    return status.st_ino;
}

static uint32_t files_in_folder(void)
{
    uint32_t n = 0;
    DIR *directory = opendir(folder);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory))
        n += entry->d_name[0] != '.';
    closedir(directory);
    return n;
}

static void the_second_start_tries_nothing_and_gives_the_same_bits(void)
{
    unsetenv("WEIR_CUDA_TUNE_FILE");
    const struct start without = start();
    setenv("WEIR_CUDA_TUNE_FILE", path, 1);
    const struct start first = start();
    const uint64_t number = number_of_file();
    const struct start second = start();
    EXPECT_EQUAL(number_of_file(), number);
    EXPECT(without.matmuls > MATMULS_OF_A_BATCH);
    EXPECT(first.matmuls > without.matmuls);
    EXPECT_EQUAL(second.matmuls, MATMULS_OF_A_BATCH);
    EXPECT(memcmp(first.logits, without.logits, sizeof first.logits) == 0);
    EXPECT(memcmp(second.logits, without.logits, sizeof second.logits) == 0);
    whole_bytes = read_file(whole);
    EXPECT(whole_bytes > sizeof(struct cuda_tune_header));
    EXPECT_EQUAL(files_in_folder(), 1);
}

/* What the key leaves out, a file of another shape or card could get wrong. No field of this model
 * is zero, which is what a forgotten one would be. */
static void the_key_names_all_that_the_choice_depends_on(void)
{
    const struct model_config *config = &RANDOM_MODEL_BERT;
    struct model_config relu = *config;
    const struct cuda_tune_key expected = {
        .card = "CUDA stand-in",
        .compute_capability = 90,
        .n_multiprocessors = 132,
        .driver_version = 13000,
        .cublas_version = 130100,
        .element_type = CUDA_R_16F,
        .compute_type = CUBLAS_COMPUTE_32F,
        .workspace_bytes = CUDA_GEMM_WORKSPACE_BYTES,
        .architecture = config->architecture,
        .hidden_dim = config->hidden_dim,
        .n_layers = config->n_layers,
        .n_heads = config->n_heads,
        .ffn_dim = config->ffn_dim,
        .activation = MODEL_RELU,
        .max_tokens = 48,
        .max_sequences = 2,
    };
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT16, .max_batch_tokens = 48, .max_batch_sequences = 2};
    static unsigned char bytes[FILE_BYTES_MAX];
    struct cuda_tune_header header;
    struct random_model random;
    char error[ERROR_BYTES] = "";
    relu.activation = MODEL_RELU;
    random_model_make(&random, &relu, 1);
    struct encoder *encoder = encoder_cuda.create(&random.model, &options, error);
    EXPECT(encoder != NULL);
    encoder_cuda.destroy(encoder);
    random_model_free(&random);
    EXPECT(read_file(bytes) > sizeof header);
    memcpy(&header, bytes, sizeof header);
    write_file(whole, whole_bytes);
    EXPECT(memcmp(&header.key, &expected, sizeof expected) == 0);
}

static void times_choose_among_equals(void)
{
    unsetenv("WEIR_CUDA_TUNE_FILE");
    EXPECT(!start().narrow_for_few);
    setenv("WEIR_CUDA_TUNE_FILE", "", 1); /* as good as none */
    EXPECT(!start().narrow_for_few);
    setenv("WEIR_CUDA_TUNE_FILE", path, 1);
    unlink(path);
    for (int i = 0; i < 2; i++) { /* timed, then loaded */
        const struct start timed = start();
        EXPECT(timed.narrow_for_few);
        EXPECT(!timed.narrow_for_many);
    }
    EXPECT(is_whole());
}

/* As after an update that changed more than the key knows: cuBLASLt accepts the algorithm, and only
 * a capture shows that it does not serve. The start goes on, and the file is made good. */
static void an_algorithm_that_cannot_be_captured_is_chosen_anew(void)
{
    standin_forbid_capture_of_narrow(true);
    const struct start first = start(), second = start();
    EXPECT(first.matmuls > MATMULS_OF_A_BATCH);
    EXPECT(!first.narrow_for_few);
    EXPECT(!is_whole());
    EXPECT(!second.narrow_for_few);
    EXPECT_EQUAL(second.matmuls, MATMULS_OF_A_BATCH);
    EXPECT(memcmp(first.logits, second.logits, sizeof first.logits) == 0);
    standin_forbid_capture_of_narrow(false);
    write_file(whole, whole_bytes);
}

/* The file `bytes`, but for a bucket of the first GEMM: that one has the narrow algorithm, which
 * the good file has for its smallest. */
static void write_file_with_narrow(unsigned char *bytes, uint32_t bucket)
{
    static unsigned char forged[FILE_BYTES_MAX];
    const size_t place =
        sizeof(struct cuda_tune_header) + offsetof(struct cuda_tune_entry, algorithm);
    memcpy(forged, bytes, whole_bytes);
    memcpy(forged + place + bucket * sizeof(struct cuda_tune_entry), whole + place,
           sizeof(cublasLtMatmulAlgo_t));
    sign(forged, whole_bytes);
    write_file(forged, whole_bytes);
}

/* The first answers need the smallest and the largest bucket: the file is no better than none where
 * one of these cannot be captured. A bucket between them is chosen anew beside the answers. */
static void a_file_whose_first_or_last_bucket_cannot_be_captured_is_timed_anew(void)
{
    static unsigned char without_narrow[FILE_BYTES_MAX];
    unlink(path);
    standin_forbid_capture_of_narrow(true);
    const uint64_t timed = start().matmuls;
    EXPECT_EQUAL(read_file(without_narrow), whole_bytes);
    for (uint32_t bucket = 0; bucket < 3; bucket++) {
        write_file_with_narrow(without_narrow, bucket);
        const uint64_t matmuls = start().matmuls;
        EXPECT(matmuls > MATMULS_OF_A_BATCH);
        EXPECT_EQUAL(matmuls == timed, bucket != 1);
    }
    standin_forbid_capture_of_narrow(false);
    write_file(whole, whole_bytes);
}

/* A load that is refused costs no more than the start without a file, so each start here is one. */
static void expect_refusal(void)
{
    EXPECT(start().matmuls > MATMULS_OF_A_BATCH);
    EXPECT(is_whole()); /* made anew */
    EXPECT_EQUAL(files_in_folder(), 1);
}

/* The same where the first answers do not need the algorithm: it is chosen anew beside them. The
 * thread stands at the first graph while the update happens. */
static void one_that_cannot_be_captured_later_is_chosen_anew_beside_answers(void)
{
    uint32_t input_ids[20];
    const uint32_t cu_seqlens[3] = {0, 10, 20}, type_starts[2] = {10, 10};
    const struct batch batch = {input_ids, cu_seqlens, type_starts, 2, 20};
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT16, .max_batch_tokens = 48, .max_batch_sequences = 2};
    float before[4], after[4];
    for (uint32_t i = 0; i < 20; i++)
        input_ids[i] = 7 * i % 20;
    unlink(path);
    for (int i = 0; i < 3; i++) { /* timed, loaded, and loaded what the second made good */
        struct random_model random;
        char error[ERROR_BYTES] = "";
        random_model_make(&random, &RANDOM_MODEL_SMALL, 1);
        standin_allow_graphs(0);
        struct encoder *e = encoder_cuda.create(&random.model, &options, error);
        random_model_free(&random);
        EXPECT(e != NULL);
        EXPECT_EQUAL(e->choice.loaded, i > 0);
        EXPECT_EQUAL(encoder_cuda.forward(e, &batch, before), 0);
        standin_forbid_capture_of_narrow(i == 1);
        standin_allow_graphs(UINT64_MAX);
        cuda_graphs_wait(&e->graphs);
        EXPECT_EQUAL(encoder_cuda.forward(e, &batch, after), 0);
        EXPECT(memcmp(before, after, sizeof before) == 0);
        const struct cuda_gemm *qkv = &e->gemms[CUDA_GEMM_qkv];
        EXPECT_EQUAL(standin_algorithm_is_narrow(&qkv->algorithms[0]), true);
        EXPECT_EQUAL(standin_algorithm_is_narrow(&qkv->algorithms[1]), i == 0);
        EXPECT_EQUAL(e->choice.has_changed, false); /* the twin's has */
        encoder_cuda.destroy(e);
        standin_forbid_capture_of_narrow(false);
    }
    write_file(whole, whole_bytes);
}

/* ---- WEIR_CUDA_FFN=auto ---- */

/* Wide enough for our GEMM. */
static const struct model_config WIDE = {
    .architecture = MODEL_DISTILBERT,
    .vocab_size = 20,
    .hidden_dim = 64,
    .n_layers = 2,
    .n_heads = 2,
    .ffn_dim = 64,
    .n_positions = 16,
    .n_labels = 2,
    .layer_norm_eps = 1e-12f,
};

struct ffn_start {
    bool ours; /* says the description */
    float logits[2];
};

static struct ffn_start ffn_start(const char *word)
{
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT16, .max_batch_tokens = 32, .max_batch_sequences = 1};
    const uint32_t input_ids[3] = {3, 1, 4}, cu_seqlens[2] = {0, 3}, type_starts[1] = {3};
    const struct batch batch = {input_ids, cu_seqlens, type_starts, 1, 3};
    struct random_model random;
    struct ffn_start start;
    char error[ERROR_BYTES] = "";
    setenv("WEIR_CUDA_FFN", word, 1);
    random_model_make(&random, &WIDE, 1);
    struct encoder *e = encoder_cuda.create(&random.model, &options, error);
    random_model_free(&random);
    if (e == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(e != NULL);
    start.ours = strstr(encoder_cuda.describe(e), "own FFN GEMM") != NULL;
    EXPECT_EQUAL(start.ours, e->own_ffn);
    cuda_graphs_wait(&e->graphs);
    const uint64_t before = standin_counters().matmuls;
    EXPECT_EQUAL(encoder_cuda.forward(e, &batch, start.logits), 0);
    EXPECT_EQUAL(standin_counters().matmuls - before, MATMULS_OF_A_BATCH - (start.ours ? 2 : 0));
    encoder_cuda.destroy(e);
    unsetenv("WEIR_CUDA_FFN");
    return start;
}

static bool same_bits(struct ffn_start a, struct ffn_start b)
{
    return memcmp(a.logits, b.logits, sizeof a.logits) == 0;
}

/* The card's clock stands still in our kernels unless a test lets it go. */
static void auto_takes_the_faster_ffn_and_then_what_the_file_says(void)
{
    unlink(path);
    const struct ffn_start own = ffn_start("own"), none = ffn_start("");
    EXPECT(own.ours && !none.ours && !same_bits(own, none));
    unlink(path);
    const struct ffn_start timed = ffn_start("auto");
    EXPECT(timed.ours && same_bits(timed, own));
    standin_set_kernel_time("gemm_kernel", NS_PER_MS); /* the file is believed all the same */
    const struct ffn_start loaded = ffn_start("auto"), unasked = ffn_start("");
    EXPECT(loaded.ours && same_bits(loaded, own));
    EXPECT(!unasked.ours && same_bits(unasked, none));
    unlink(path);
    const struct ffn_start slow = ffn_start("auto");
    EXPECT(!slow.ours && same_bits(slow, none));
    standin_set_kernel_time(NULL, 0);
    EXPECT(!ffn_start("auto").ours);
    unlink(path);
}

/* 5 in 100 are what it must gain: cuBLASLt's two buckets take 2500 and 3300 ns. */
static void auto_wants_more_than_a_hair(void)
{
    static const struct {
        uint64_t ns;
        bool ours;
    } cases[] = {{2800, false}, {2700, true}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        unlink(path);
        standin_set_kernel_time("gemm_kernel", cases[i].ns);
        EXPECT_EQUAL(ffn_start("auto").ours, cases[i].ours);
    }
    standin_set_kernel_time(NULL, 0);
    unlink(path);
}

/* The times of the FFN are the last of the start, two in each of two buckets: in steps of three one
 * of them is met. */
static void an_ffn_whose_time_cannot_be_taken_is_cublas(void)
{
    bool ours = true;
    uint64_t n = BY_SANITIZER(1, 13, 13);
    for (; ours && n < 200; n += 3) {
        unlink(path);
        standin_fail_call_of("cudaEventElapsedTime", n);
        ours = ffn_start("auto").ours;
        standin_reset();
    }
    EXPECT(!ours && n > 4);
    unlink(path);
}

static void expect_ffn_refusal(const char *word, const char *words)
{
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT16, .max_batch_tokens = 16, .max_batch_sequences = 1};
    struct random_model random;
    char error[ERROR_BYTES] = "";
    setenv("WEIR_CUDA_FFN", word, 1);
    random_model_make(&random, &WIDE, 1);
    EXPECT(encoder_cuda.create(&random.model, &options, error) == NULL);
    EXPECT(strstr(error, words) != NULL);
    random_model_free(&random);
    unsetenv("WEIR_CUDA_FFN");
}

static void auto_without_a_file_to_follow_is_refused_or_cublas(void)
{
    unsetenv("WEIR_CUDA_TUNE_FILE");
    expect_ffn_refusal("auto", "name one in WEIR_CUDA_TUNE_FILE");
    expect_ffn_refusal("fast", "WEIR_CUDA_FFN is \"fast\", and can only be own or auto: unset");
    setenv("WEIR_CUDA_TUNE_FILE", "/nowhere/tune", 1);
    EXPECT(!ffn_start("auto").ours); /* its successor would have to measure again */
    setenv("WEIR_CUDA_TUNE_FILE", path, 1);
}

/* Many files, so that no start is made: the loader alone, over the key and GEMMs of one encoder. */
static void expect_loader_refuses_all(bool (*next)(unsigned char *bytes, size_t *n, uint32_t i))
{
    static unsigned char bytes[FILE_BYTES_MAX];
    char error[ERROR_BYTES] = "";
    struct cuda_tune_header header;
    struct cuda_gemm_operands operands[CUDA_GEMM_COUNT] = {{0}};
    memcpy(&header, whole, sizeof header);
    bool own_ffn_is_fast;
    struct encoder *e = create(ENCODER_DTYPE_FLOAT16, 48, error);
    EXPECT(e != NULL);
    cuda_graphs_wait(&e->graphs); /* its thread has a file to write, too */
    write_file(whole, whole_bytes);
    EXPECT(cuda_tune_load(path, &header.key, &e->gemm_context, e->gemms, operands, CUDA_GEMM_COUNT,
                          &own_ffn_is_fast));
    uint32_t i = 0;
    for (;; i += BY_SANITIZER(1, 11, 11)) {
        size_t n = whole_bytes;
        memcpy(bytes, whole, whole_bytes);
        if (!next(bytes, &n, i))
            break;
        write_file(bytes, n);
        if (cuda_tune_load(path, &header.key, &e->gemm_context, e->gemms, operands, CUDA_GEMM_COUNT,
                           &own_ffn_is_fast)) {
            fprintf(stderr, "file %u was taken\n", i);
            exit(1);
        }
    }
    EXPECT(i > 0);
    encoder_cuda.destroy(e);
    write_file(whole, whole_bytes);
}

static bool cut_off(unsigned char *bytes, size_t *n, uint32_t i)
{
    (void)bytes;
    *n = i;
    return i < whole_bytes;
}

static bool flipped(unsigned char *bytes, size_t *n, uint32_t i)
{
    if (i >= *n)
        return false;
    bytes[i] ^= (unsigned char)(1 << i % 8);
    return true;
}

/* Each byte of the header, and of the first and last entries but what only cuBLASLt understands. */
static bool forged(unsigned char *bytes, size_t *n, uint32_t i)
{
    const uint32_t header = sizeof(struct cuda_tune_header), entry = 16;
    const uint32_t last = (uint32_t)(*n - 8 - sizeof(struct cuda_tune_entry));
    if (i >= header + 2 * entry)
        return false;
    const bool is_verdict = i == offsetof(struct cuda_tune_header, own_ffn_is_fast);
    bytes[i < header + entry ? i : last + i - header - entry] ^= is_verdict ? 2 : 1;
    sign(bytes, *n);
    return true;
}

/* As the program of an earlier format wrote it. */
static bool of_the_format_before(unsigned char *bytes, size_t *n, uint32_t i)
{
    const uint32_t format = CUDA_TUNE_FORMAT - 1;
    memcpy(bytes + offsetof(struct cuda_tune_header, format), &format, sizeof format);
    sign(bytes, *n);
    return i == 0;
}

/* Each algorithm with a byte changed. */
static bool of_another_algorithm(unsigned char *bytes, size_t *n, uint32_t i, size_t byte)
{
    const size_t entries = *n - 8 - sizeof(struct cuda_tune_header);
    if (i >= entries / sizeof(struct cuda_tune_entry))
        return false;
    bytes[sizeof(struct cuda_tune_header) + i * sizeof(struct cuda_tune_entry) +
          offsetof(struct cuda_tune_entry, algorithm) + byte] ^= 1;
    sign(bytes, *n);
    return true;
}

/* None that cuBLASLt knows: it says so in what its question returns. */
static bool of_no_algorithm(unsigned char *bytes, size_t *n, uint32_t i)
{
    return of_another_algorithm(bytes, n, i, 0);
}

/* One for another shape: the stand-in says so in the result's state alone. */
static bool of_another_shape(unsigned char *bytes, size_t *n, uint32_t i)
{
    return of_another_algorithm(bytes, n, i, 2 * sizeof(uint64_t));
}

static void no_damaged_or_forged_file_is_taken(void)
{
    expect_loader_refuses_all(cut_off);
    expect_loader_refuses_all(flipped);
    expect_loader_refuses_all(forged);
    expect_loader_refuses_all(of_the_format_before);
    expect_loader_refuses_all(of_no_algorithm);
    expect_loader_refuses_all(of_another_shape);
    whole[whole_bytes] = 0;
    write_file(whole, whole_bytes + 1);
    expect_refusal();
    write_file(whole, 0);
    expect_refusal();
}

static void a_file_of_another_card_driver_dtype_or_size_is_not_taken(void)
{
    unsigned char other[FILE_BYTES_MAX];
    standin_set_name("Another card");
    EXPECT(start().matmuls > MATMULS_OF_A_BATCH);
    EXPECT(!is_whole());
    standin_reset();
    expect_refusal();
    if (BY_SANITIZER(false, true, true))
        return;
    standin_set_driver_version(13010);
    EXPECT(start().matmuls > MATMULS_OF_A_BATCH);
    standin_reset();
    expect_refusal();
    standin_set_device(1, 8, 9, 132);
    EXPECT(start().matmuls > MATMULS_OF_A_BATCH);
    standin_reset();
    expect_refusal();
    EXPECT(start_with(ENCODER_DTYPE_BFLOAT16, 48).matmuls > MATMULS_OF_A_BATCH);
    expect_refusal();
    EXPECT(start_with(ENCODER_DTYPE_FLOAT16, 64).matmuls > MATMULS_OF_A_BATCH);
    EXPECT(read_file(other) > whole_bytes); /* one more bucket */
    expect_refusal();
}

/* The key says nothing of it: an algorithm may want more in another place. */
static void an_algorithm_that_wants_more_workspace_is_not_taken(void)
{
    standin_want_workspace(CUDA_GEMM_WORKSPACE_BYTES);
    EXPECT_EQUAL(start().matmuls, MATMULS_OF_A_BATCH);
    standin_want_workspace(CUDA_GEMM_WORKSPACE_BYTES + 1);
    expect_refusal();
    standin_want_workspace(0);
}

/* Opening one waits for a writer, if it may. */
static void a_pipe_in_the_files_place_holds_nobody_up(void)
{
    unlink(path);
    EXPECT_EQUAL(mkfifo(path, 0600), 0);
    expect_refusal();
}

/* Its batches run in the next larger one that has them. */
static void a_bucket_without_an_algorithm_of_the_references_bits_is_not_used(void)
{
    char error[ERROR_BYTES] = "";
    unlink(path);
    standin_change_bits_of_few_rows(true);
    struct encoder *e = create(ENCODER_DTYPE_FLOAT32, 48, error);
    EXPECT(e != NULL);
    cuda_graphs_wait(&e->graphs);
    EXPECT(!cuda_bucket_is_ready(&e->tokens, 0) && !cuda_bucket_is_ready(&e->tokens, 1));
    EXPECT_EQUAL(cuda_bucket_find_ready(&e->tokens, 1), 2);
    encoder_cuda.destroy(e);
    EXPECT_EQUAL(standin_counters().live_objects, 0);
    EXPECT_EQUAL(files_in_folder(), 0); /* not all was chosen */
    standin_reset();
    write_file(whole, whole_bytes);
}

static void a_file_that_cannot_be_written_is_no_hindrance(void)
{
    setenv("WEIR_CUDA_TUNE_FILE", "/nowhere/tune", 1);
    EXPECT(start().narrow_for_few);
    char subfolder[80]; /* which is no file, and cannot be replaced by one */
    snprintf(subfolder, sizeof subfolder, "%s/sub", folder);
    EXPECT_EQUAL(mkdir(subfolder, 0700), 0);
    setenv("WEIR_CUDA_TUNE_FILE", subfolder, 1);
    EXPECT(start().narrow_for_few);
    EXPECT_EQUAL(files_in_folder(), 2); /* nothing half-written is left */
    rmdir(subfolder);
    setenv("WEIR_CUDA_TUNE_FILE", path, 1);
    EXPECT_EQUAL(files_in_folder(), 1);
}

/* Timed calls among them: a failure is a sentence or a slower choice, and leaves nothing. */
static void any_call_of_a_timed_start_may_fail_and_nothing_leaks(void)
{
    bool succeeded = false;
    for (uint64_t n = 1; n < CALLS_MAX; n += BY_SANITIZER(61, 701, 701)) {
        char error[ERROR_BYTES] = "";
        unlink(path);
        standin_fail_call(n);
        struct encoder *encoder = create(ENCODER_DTYPE_FLOAT16, 16, error);
        EXPECT(encoder != NULL || error[0] != 0);
        succeeded = encoder != NULL;
        encoder_cuda.destroy(encoder);
        EXPECT_EQUAL(standin_counters().live_objects, 0);
        standin_reset();
    }
    EXPECT(succeeded);
}

/* An event that cannot be made, recorded, waited for or read: the first algorithm has no time, the
 * next one is taken, and no launch meets the error later. */
static void a_time_that_cannot_be_taken_is_no_hindrance(void)
{
    static const struct {
        const char *call;
        uint64_t n_a_time;
    } calls[] = {{"cudaEventCreate", 2},
                 {"cudaEventRecord", 2},
                 {"cudaEventSynchronize", 1},
                 {"cudaEventElapsedTime", 1}};
    for (size_t i = 0; i < ARRAY_COUNT(calls); i++)
        for (uint64_t n = 1; n <= calls[i].n_a_time; n += BY_SANITIZER(1, 2, 2)) {
            char error[ERROR_BYTES] = "";
            unlink(path);
            standin_fail_call_of(calls[i].call, n);
            struct encoder *encoder = create(ENCODER_DTYPE_FLOAT16, 48, error);
            EXPECT(encoder != NULL);
            EXPECT(standin_algorithm_is_narrow(encoder->gemms[CUDA_GEMM_qkv].algorithms));
            encoder_cuda.destroy(encoder);
            EXPECT_EQUAL(standin_counters().live_objects, 0);
            standin_reset();
        }
}

int main(void)
{
    log_init("test", false, LOG_SEVERITY_ERROR); /* hundreds of files are refused in a line each */
    EXPECT(mkdtemp(folder) != NULL);
    snprintf(path, sizeof path, "%s/tune", folder);
    RUN(the_second_start_tries_nothing_and_gives_the_same_bits);
    RUN(times_choose_among_equals);
    RUN(an_algorithm_that_cannot_be_captured_is_chosen_anew);
    RUN(a_file_whose_first_or_last_bucket_cannot_be_captured_is_timed_anew);
    RUN(one_that_cannot_be_captured_later_is_chosen_anew_beside_answers);
    RUN(no_damaged_or_forged_file_is_taken);
    RUN(a_file_of_another_card_driver_dtype_or_size_is_not_taken);
    RUN(an_algorithm_that_wants_more_workspace_is_not_taken);
    RUN(a_pipe_in_the_files_place_holds_nobody_up);
    RUN(a_bucket_without_an_algorithm_of_the_references_bits_is_not_used);
    RUN(a_file_that_cannot_be_written_is_no_hindrance);
    RUN(any_call_of_a_timed_start_may_fail_and_nothing_leaks);
    RUN(auto_wants_more_than_a_hair);
    RUN(auto_without_a_file_to_follow_is_refused_or_cublas);
    if (BY_SANITIZER(true, false, false)) { /* more starts of the kinds above */
        RUN(the_key_names_all_that_the_choice_depends_on);
        RUN(a_time_that_cannot_be_taken_is_no_hindrance);
        RUN(auto_takes_the_faster_ffn_and_then_what_the_file_says);
        RUN(an_ffn_whose_time_cannot_be_taken_is_cublas);
    }
    unlink(path);
    rmdir(folder);
    return 0;
}
