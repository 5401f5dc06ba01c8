/* What scripts/gpu_check runs on a card, a step at a time: known answers for every bucket, parity
 * with the CPU, the same bits in any company, the tune file. gpu_check_speed.c measures.
 *
 *     gpu_check [--dry-run] STEP DTYPE TEXTS EXPECTED
 *
 * TEXTS has a text a line, its token ids as numbers. EXPECTED has the CPU's logits of the first of
 * them: the step `expected` writes it, `parity` and `buckets` read it. Over the stand-in
 * (--dry-run) all this shows only that the program is sound; its times mean nothing. */
#include "tests/cuda/gpu_check.h"

#include <math.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shm/log.h"

#define FINGERPRINT        "00112233445566778899aabbccddeeff" /* of any random model */
#define LOAD_ROUNDS        300
#define LOAD_ROUNDS_DRY    12
#define EXPECTED_BUDGET_NS (90 * NS_PER_S)

static const struct model_config BASE = {
    .architecture = MODEL_DISTILBERT,
    .vocab_size = 30522,
    .hidden_dim = 768,
    .n_layers = 6,
    .n_heads = 12,
    .ffn_dim = 3072,
    .n_positions = 512,
    .n_labels = CHECK_LABELS,
    .layer_norm_eps = 1e-12f,
};

static const struct model_config DRY = {
    .architecture = MODEL_DISTILBERT,
    .vocab_size = 100,
    .hidden_dim = 64,
    .n_layers = 2,
    .n_heads = 1,
    .ffn_dim = 64,
    .n_positions = 512,
    .n_labels = CHECK_LABELS,
    .layer_norm_eps = 1e-12f,
};

/* ---- what the steps share ---- */

void check_entry(struct check *check, const char *name, const char *format, ...)
{
    va_list arguments;
    printf("%s\"%s\": ", check->n_entries++ > 0 ? ", " : "{", name);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    fflush(stdout);
}

void check_batch_open(struct check_batch *batch, const struct check *check)
{
    batch->input_ids = malloc(sizeof(uint32_t) * check->max_tokens);
    EXPECT(batch->input_ids != NULL);
    check_batch_clear(batch);
}

void check_batch_close(struct check_batch *batch)
{
    free(batch->input_ids);
}

void check_batch_clear(struct check_batch *batch)
{
    batch->cu_seqlens[0] = 0;
    batch->batch = (struct batch){batch->input_ids, batch->cu_seqlens, batch->type_starts, 0, 0};
}

static bool add_ids(struct check_batch *batch, const struct check *check, const uint32_t *ids,
                    uint32_t length, uint32_t number)
{
    struct batch *b = &batch->batch;
    if (b->n_sequences == CHECK_SEQUENCES_MAX || b->n_tokens + length > check->max_tokens)
        return false;
    memcpy(batch->input_ids + b->n_tokens, ids, sizeof(uint32_t) * length);
    batch->type_starts[b->n_sequences] = length;
    batch->text[b->n_sequences++] = number;
    b->n_tokens += length;
    batch->cu_seqlens[b->n_sequences] = b->n_tokens;
    return true;
}

bool check_batch_add_text(struct check_batch *batch, const struct check *check, uint32_t number)
{
    const struct check_text *text = &check->texts[number];
    return add_ids(batch, check, check->ids + text->first, text->length, number);
}

bool check_batch_add_length(struct check_batch *batch, const struct check *check, uint32_t length)
{
    uint32_t ids[512];
    uint64_t seed = length;
    EXPECT(length <= ARRAY_COUNT(ids));
    for (uint32_t i = 0; i < length; i++)
        ids[i] = random_between(&seed, 0, check->random.model.config.vocab_size - 1);
    return add_ids(batch, check, ids, length, UINT32_MAX);
}

static struct encoder *try_to_open(struct check *check, char error[ERROR_BYTES])
{
    const struct encoder_options options = {.dtype = check->dtype,
                                            .max_batch_tokens = check->max_tokens,
                                            .max_batch_sequences = CHECK_SEQUENCES_MAX};
    error[0] = 0;
    return encoder_cuda.create(&check->random.model, &options, error);
}

struct encoder *check_encoder_open(struct check *check)
{
    char error[ERROR_BYTES];
    const uint64_t started_ns = clock_now_ns();
    struct encoder *encoder = try_to_open(check, error);
    if (encoder == NULL) {
        fprintf(stderr, "%s\n", error);
        exit(1);
    }
    check_entry(check, "start_ms", "%.1f", (double)(clock_now_ns() - started_ns) / 1e6);
    cuda_graphs_wait(&encoder->graphs);
    check_entry(check, "all_graphs_ms", "%.1f", (double)(clock_now_ns() - started_ns) / 1e6);
    check_entry(check, "encoder", "\"%s\"", encoder_cuda.describe(encoder));
    return encoder;
}

void check_forward(struct encoder *encoder, const struct check_batch *batch, float *logits)
{
    memset(logits, 0xff, sizeof(float) * CHECK_LABELS * batch->batch.n_sequences); /* NaN */
    EXPECT_EQUAL(encoder_cuda.forward(encoder, &batch->batch, logits), 0);
}

void check_collect(struct encoder *encoder, float *logits)
{
    int collected = 0;
    while (collected == 0)
        collected = encoder_cuda.collect(encoder, logits, clock_now_ns());
    EXPECT_EQUAL(collected, 1);
}

/* What a dtype may differ by from float32; a new one has no promise yet but to be of use. */
static double tolerance_of(enum encoder_dtype dtype)
{
    switch (dtype) {
    case ENCODER_DTYPE_FLOAT32:
        return 1e-3;
    case ENCODER_DTYPE_FLOAT16:
        return 1e-2;
    case ENCODER_DTYPE_BFLOAT16:
        return 1e-1;
    default:
        return 0.5;
    }
}

static float *expected_of(const struct check *check, uint32_t number)
{
    return number < check->n_expected ? check->expected + (size_t)number * CHECK_LABELS : NULL;
}

/* NaN counts as the largest. */
static double difference(const float *a, const float *b)
{
    double largest = 0.0;
    for (uint32_t i = 0; i < CHECK_LABELS; i++)
        if (!(fabs((double)a[i] - b[i]) <= largest))
            largest = fabs((double)a[i] - b[i]);
    return isnan(largest) ? INFINITY : largest;
}

/* ---- steps ---- */

/* Which types this engine and this card have; auto must be one that works. */
static void check_dtypes(struct check *check)
{
    static const char *const words[] = {
#define DTYPE_WORD(identifier, word) word,
        ENCODER_DTYPES(DTYPE_WORD)};
    char error[ERROR_BYTES];
    for (uint32_t dtype = 0; dtype < ENCODER_DTYPE_COUNT; dtype++) {
        check->dtype = (enum encoder_dtype)dtype;
        struct encoder *encoder = try_to_open(check, error);
        if (encoder == NULL)
            fprintf(stderr, "%s: %s\n", words[dtype], error);
        check->failures += encoder == NULL && dtype == ENCODER_DTYPE_AUTO;
        check_entry(check, words[dtype], encoder != NULL ? "true" : "false");
        encoder_cuda.destroy(encoder);
    }
}

/* Every text once, in batches: with WEIR_CUDA_CALIBRATE_FILE the encoder writes, as it is closed,
 * what
 * --dtype fp8 needs. */
static void check_calibrate(struct check *check)
{
    static float logits[CHECK_SEQUENCES_MAX * CHECK_LABELS];
    struct check_batch batch;
    uint32_t next = 0;
    const char *path = getenv("WEIR_CUDA_CALIBRATE_FILE");
    EXPECT(path != NULL);
    struct encoder *encoder = check_encoder_open(check);
    check_batch_open(&batch, check);
    while (next < check->n_texts) {
        check_batch_clear(&batch);
        while (next < check->n_texts && check_batch_add_text(&batch, check, next))
            next++;
        check_forward(encoder, &batch, logits);
    }
    check_batch_close(&batch);
    encoder_cuda.destroy(encoder);
    check->failures += access(path, R_OK) != 0;
}

static void check_parity(struct check *check)
{
    static float logits[CHECK_SEQUENCES_MAX * CHECK_LABELS];
    const double tolerance = tolerance_of(check->dtype);
    double largest = 0.0, low = INFINITY, high = -INFINITY;
    uint32_t n_flips = 0, next = 0;
    struct check_batch batch;
    struct encoder *encoder = check_encoder_open(check);
    EXPECT(check->n_expected > 0);
    check_batch_open(&batch, check);
    while (next < check->n_expected) {
        check_batch_clear(&batch);
        while (next < check->n_expected && check_batch_add_text(&batch, check, next))
            next++;
        check_forward(encoder, &batch, logits);
        for (uint32_t s = 0; s < batch.batch.n_sequences; s++) {
            const float *ours = logits + s * CHECK_LABELS,
                        *theirs = expected_of(check, batch.text[s]);
            largest = fmax(largest, difference(ours, theirs));
            n_flips += (ours[0] > ours[1]) != (theirs[0] > theirs[1]);
            low = fmin(low, theirs[0]);
            high = fmax(high, theirs[0]);
        }
    }
    check_entry(check, "texts", "%u", check->n_expected);
    check_entry(check, "max_logit_error", "%.3g", isinf(largest) ? 1e30 : largest);
    check_entry(check, "tolerance", "%.3g", tolerance);
    check_entry(check, "label_flips", "%u", n_flips);
    check_entry(check, "spread_of_logits", "%.3g", high - low);
    check->failures += !(largest < tolerance);
    check->failures += check->n_expected > 1 && !(high - low > tolerance); /* all texts alike? */
    check_batch_close(&batch);
    encoder_cuda.destroy(encoder);
}

/* logits (n_texts, labels) of every text by itself. */
static float *all_alone(struct check *check, struct encoder *encoder, uint32_t n_texts)
{
    struct check_batch batch;
    float *alone = malloc(sizeof(float) * CHECK_LABELS * n_texts);
    EXPECT(alone != NULL);
    check_batch_open(&batch, check);
    for (uint32_t i = 0; i < n_texts; i++) {
        check_batch_clear(&batch);
        EXPECT(check_batch_add_text(&batch, check, i));
        check_forward(encoder, &batch, alone + i * CHECK_LABELS);
    }
    check_batch_close(&batch);
    return alone;
}

/* Texts of a batch whose bits are not those that they have alone. */
static uint32_t count_different(const struct check_batch *batch, const float *logits,
                                const float *alone)
{
    uint32_t n = 0;
    for (uint32_t s = 0; s < batch->batch.n_sequences; s++)
        if (batch->text[s] != UINT32_MAX)
            n += memcmp(logits + s * CHECK_LABELS, alone + batch->text[s] * CHECK_LABELS,
                        sizeof(float) * CHECK_LABELS) != 0;
    return n;
}

/* Fills the batch up to exactly n_tokens, the last text being of no number. */
static void fill(struct check_batch *batch, const struct check *check, uint32_t n_tokens,
                 uint32_t *next)
{
    struct batch *b = &batch->batch;
    check_batch_clear(batch);
    while (b->n_sequences + 1 < CHECK_SEQUENCES_MAX &&
           b->n_tokens + check->texts[*next].length <= n_tokens) {
        EXPECT(check_batch_add_text(batch, check, *next));
        *next = (*next + 1) % check->n_texts;
    }
    while (b->n_tokens < n_tokens && b->n_sequences < CHECK_SEQUENCES_MAX) {
        const uint32_t left = n_tokens - b->n_tokens;
        const uint32_t longest = check->random.model.config.n_positions;
        EXPECT(check_batch_add_length(batch, check, left < longest ? left : longest));
    }
}

/* Every bucket of tokens, filled to the last row and to one row more than its predecessor holds,
 * and every bucket of sequences: bits as alone, numbers as the CPU's. */
static void check_buckets(struct check *check)
{
    static float logits[CHECK_SEQUENCES_MAX * CHECK_LABELS];
    struct cuda_buckets tokens, sequences;
    struct check_batch batch;
    double largest = 0.0;
    uint32_t n_different = 0, n_batches = 0, next = 0;
    struct encoder *encoder = check_encoder_open(check);
    float *alone = all_alone(check, encoder, check->n_texts);
    for (uint32_t i = 0; i < check->n_expected && i < check->n_texts; i++)
        largest = fmax(largest, difference(alone + i * CHECK_LABELS, expected_of(check, i)));
    cuda_buckets_of_tokens(&tokens, check->max_tokens);
    cuda_buckets_of_sequences(&sequences, CHECK_SEQUENCES_MAX);
    check_batch_open(&batch, check);
    for (uint32_t i = 0; i < 2 * tokens.count; i++) {
        const uint32_t rows = i % 2 ? tokens.rows[i / 2] : i > 0 ? tokens.rows[i / 2 - 1] + 1 : 1;
        fill(&batch, check, rows < check->max_tokens ? rows : check->max_tokens, &next);
        check_forward(encoder, &batch, logits);
        n_different += count_different(&batch, logits, alone);
        n_batches++;
    }
    for (uint32_t i = 0; i < sequences.count; i++) {
        check_batch_clear(&batch);
        for (uint32_t s = 0; s < sequences.rows[i]; s++)
            if (!check_batch_add_text(&batch, check, next++ % check->n_texts))
                break;
        next %= check->n_texts;
        check_forward(encoder, &batch, logits);
        n_different += count_different(&batch, logits, alone);
        n_batches++;
    }
    check_entry(check, "buckets", "%u", tokens.count + sequences.count);
    check_entry(check, "batches", "%u", n_batches);
    check_entry(check, "texts_with_other_bits", "%u", n_different);
    check_entry(check, "max_logit_error", "%.3g", isinf(largest) ? 1e30 : largest);
    check->failures += n_different > 0 || !(largest < tolerance_of(check->dtype));
    check_batch_close(&batch);
    free(alone);
    encoder_cuda.destroy(encoder);
}

/* Two batches always in flight, of texts drawn anew for each: the same text, the same bits. */
static void check_bits(struct check *check)
{
    static float logits[CHECK_SEQUENCES_MAX * CHECK_LABELS];
    const uint32_t rounds = check->dry ? LOAD_ROUNDS_DRY : LOAD_ROUNDS;
    struct check_batch batches[ENCODER_FLIGHTS_MAX];
    uint32_t n_different = 0, n_texts = 0;
    uint64_t seed = 11;
    struct encoder *encoder = check_encoder_open(check);
    float *alone = all_alone(check, encoder, check->n_texts);
    for (uint32_t i = 0; i < ENCODER_FLIGHTS_MAX; i++)
        check_batch_open(&batches[i], check);
    for (uint32_t round = 0; round < rounds + ENCODER_FLIGHTS_MAX; round++) {
        struct check_batch *batch = &batches[round % ENCODER_FLIGHTS_MAX];
        if (round >= ENCODER_FLIGHTS_MAX) {
            check_collect(encoder, logits);
            n_different += count_different(batch, logits, alone);
            n_texts += batch->batch.n_sequences;
        }
        if (round >= rounds)
            continue;
        check_batch_clear(batch);
        const uint32_t wanted = random_between(&seed, 1, CHECK_SEQUENCES_MAX);
        for (uint32_t s = 0; s < wanted; s++)
            if (!check_batch_add_text(batch, check, random_between(&seed, 0, check->n_texts - 1)))
                break;
        EXPECT_EQUAL(encoder_cuda.submit(encoder, &batch->batch), 0);
    }
    check_entry(check, "batches", "%u", rounds);
    check_entry(check, "texts", "%u", n_texts);
    check_entry(check, "texts_with_other_bits", "%u", n_different);
    check->failures += n_different > 0 || n_texts == 0;
    for (uint32_t i = 0; i < ENCODER_FLIGHTS_MAX; i++)
        check_batch_close(&batches[i]);
    free(alone);
    encoder_cuda.destroy(encoder);
}

/* Starts without a tune file, with one to be made, and with the one that was made; the same bits
 * each time, and the file is read, not made again. */
static void check_tune(struct check *check)
{
    static const char *const words[] = {"without", "timed", "loaded"};
    const char *path = getenv("WEIR_CUDA_TUNE_FILE");
    struct stat made = {0}, used = {0};
    float *first = NULL;
    uint32_t n_different = 0;
    EXPECT(path != NULL);
    char *kept = strdup(path);
    unlink(kept);
    unsetenv("WEIR_CUDA_TUNE_FILE");
    for (uint32_t i = 0; i < 3; i++) {
        struct check again = *check;
        char name[32];
        const uint64_t started_ns = clock_now_ns();
        char error[ERROR_BYTES];
        struct encoder *encoder = try_to_open(&again, error);
        if (encoder == NULL)
            fprintf(stderr, "%s\n", error);
        EXPECT(encoder != NULL);
        snprintf(name, sizeof name, "start_ms_%s", words[i]);
        check_entry(check, name, "%.1f", (double)(clock_now_ns() - started_ns) / 1e6);
        cuda_graphs_wait(&encoder->graphs);
        float *alone = all_alone(check, encoder, check->n_texts);
        if (first == NULL)
            first = alone;
        else
            n_different += memcmp(first, alone, sizeof(float) * CHECK_LABELS * check->n_texts) != 0;
        if (first != alone)
            free(alone);
        encoder_cuda.destroy(encoder);
        EXPECT_EQUAL(stat(kept, i == 1 ? &made : &used), i == 0 ? -1 : 0);
        setenv("WEIR_CUDA_TUNE_FILE", kept, 1);
    }
    const bool is_same_file = made.st_ino == used.st_ino; /* a new one comes by a rename */
    check_entry(check, "file_was_loaded", is_same_file ? "true" : "false");
    check_entry(check, "starts_with_other_bits", "%u", n_different);
    check->failures += n_different > 0 || !is_same_file;
    free(first);
    free(kept);
}

/* ---- files ---- */

static void read_texts(struct check *check, const char *path)
{
    const struct model_config *config = &check->random.model.config;
    uint32_t room = 0, used = 0;
    char *line = NULL;
    size_t line_bytes = 0;
    FILE *file = fopen(path, "r");
    EXPECT(file != NULL);
    while (check->n_texts < CHECK_TEXTS_MAX && getline(&line, &line_bytes, file) > 0) {
        struct check_text *text = &check->texts[check->n_texts];
        char *at = line, *end;
        *text = (struct check_text){used, 0};
        for (unsigned long id = strtoul(at, &end, 10); end != at && text->length < 128;
             at = end, id = strtoul(at, &end, 10)) {
            if (used == room)
                check->ids = realloc(check->ids, sizeof(uint32_t) * (room = 2 * room + 1024));
            EXPECT(check->ids != NULL);
            check->ids[used++] = (uint32_t)id % config->vocab_size;
            text->length++;
        }
        check->n_texts += text->length > 0;
    }
    free(line);
    fclose(file);
    EXPECT(check->n_texts > 0);
}

/* The first of the file EXPECTED: whose logits they are. */
static uint64_t hash_of_texts(const struct check *check)
{
    const struct check_text *last = &check->texts[check->n_texts - 1];
    return fnv1a_u64(FNV1A_START, check->ids, sizeof(uint32_t) * (last->first + last->length));
}

static void write_expected(struct check *check, const char *path)
{
    check->expected = calloc(check->n_texts * CHECK_LABELS, sizeof(float));
    EXPECT(check->expected != NULL);
    check_reference_run(check, clock_now_ns() + EXPECTED_BUDGET_NS);
    FILE *file = fopen(path, "w");
    EXPECT(file != NULL);
    const uint64_t hash = hash_of_texts(check);
    EXPECT_EQUAL(fwrite(&hash, sizeof hash, 1, file), 1);
    EXPECT_EQUAL(fwrite(check->expected, sizeof(float) * CHECK_LABELS, check->n_expected, file),
                 check->n_expected);
    EXPECT_EQUAL(fclose(file), 0);
    check_entry(check, "reference", "\"%s\"", check_reference_name);
    check_entry(check, "texts", "%u", check->n_expected);
    check->failures += check->n_expected == 0;
}

static void read_expected(struct check *check, const char *path)
{
    FILE *file = fopen(path, "r");
    check->expected = calloc(check->n_texts * CHECK_LABELS, sizeof(float));
    EXPECT(check->expected != NULL);
    if (file == NULL)
        return; /* the step that needs it fails */
    uint64_t hash;
    EXPECT_EQUAL(fread(&hash, sizeof hash, 1, file), 1);
    if (hash != hash_of_texts(check))
        fprintf(stderr, "%s: the logits of other texts\n", path);
    EXPECT_EQUAL(hash, hash_of_texts(check));
    check->n_expected =
        (uint32_t)fread(check->expected, sizeof(float) * CHECK_LABELS, check->n_texts, file);
    fclose(file);
}

/* ---- main ---- */

static enum encoder_dtype dtype_of(const char *word)
{
#define DTYPE_OF(identifier, its_word) \
    if (strcmp(word, its_word) == 0)   \
        return ENCODER_DTYPE_##identifier;
    ENCODER_DTYPES(DTYPE_OF)
    fprintf(stderr, "gpu_check: there is no dtype %s\n", word);
    exit(64);
}

static void run(struct check *check, const char *step, const char *expected)
{
    static const struct {
        const char *name;
        void (*run)(struct check *);
    } STEPS[] = {{"calibrate", check_calibrate},
                 {"dtypes", check_dtypes},
                 {"parity", check_parity},
                 {"buckets", check_buckets},
                 {"bits", check_bits},
                 {"tune", check_tune},
                 {"latency", check_latency},
                 {"throughput", check_throughput},
                 {"ring", check_ring}};
    if (strcmp(step, "expected") == 0) {
        write_expected(check, expected);
        return;
    }
    read_expected(check, expected);
    for (size_t i = 0; i < ARRAY_COUNT(STEPS); i++)
        if (strcmp(step, STEPS[i].name) == 0) {
            STEPS[i].run(check);
            return;
        }
    fprintf(stderr, "gpu_check: there is no step %s\n", step);
    exit(64);
}

int main(int argc, char **argv)
{
    static struct check check;
    check.dry = argc == 6 && strcmp(argv[1], "--dry-run") == 0;
    if (argc != 5 + check.dry) {
        fprintf(stderr, "usage: gpu_check [--dry-run] STEP DTYPE TEXTS EXPECTED\n");
        return 64;
    }
    argv += check.dry;
    check.max_tokens = check.dry ? 256 : 8192;
    check.dtype = dtype_of(argv[2]);
    random_model_make(&check.random, check.dry ? &DRY : &BASE, 5);
    snprintf(check.random.model.fingerprint, sizeof check.random.model.fingerprint, "%s",
             FINGERPRINT);
    read_texts(&check, argv[3]);
    run(&check, argv[1], argv[4]);
    check_entry(&check, "failures", "%u", check.failures);
    printf("}\n");
    random_model_free(&check.random);
    return check.failures > 0;
}
