/* The CPU backend against the formulas, and its promises: same text, same bits, whatever shares its
 * batch; no allocation in forward(). */
#include "gpu_worker/encoder.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/gpu_worker/reference_encoder.h"
#include "tests/test.h"

#include <math.h>

#define LABELS_MAX 8

static const struct model_config shapes[] = {
    {.architecture = MODEL_DISTILBERT,
     .vocab_size = 97,
     .hidden_dim = 64,
     .n_layers = 2,
     .n_heads = 4,
     .ffn_dim = 128,
     .n_positions = 160,
     .n_labels = 2},
    {.architecture = MODEL_BERT,
     .vocab_size = 97,
     .hidden_dim = 96,
     .n_layers = 2,
     .n_heads = 3,
     .ffn_dim = 200,
     .n_positions = 128,
     .n_types = 2,
     .n_labels = 5,
     .layer_norm_eps = 1e-5f},
    /* Nothing a multiple of anything. */
    {.architecture = MODEL_BERT,
     .vocab_size = 31,
     .hidden_dim = 42,
     .n_layers = 1,
     .n_heads = 7,
     .ffn_dim = 51,
     .n_positions = 50,
     .n_types = 2,
     .n_labels = 1},
    {.architecture = MODEL_DISTILBERT,
     .vocab_size = 50,
     .hidden_dim = 130,
     .n_layers = 3,
     .n_heads = 2,
     .ffn_dim = 70,
     .n_positions = 64,
     .n_labels = 3,
     .activation = MODEL_RELU},
    {.architecture = MODEL_DISTILBERT,
     .vocab_size = 400,
     .hidden_dim = 768,
     .n_layers = 2,
     .n_heads = 12,
     .ffn_dim = 3072,
     .n_positions = 512,
     .n_labels = 2},
};

static struct encoder *make_encoder(const struct model *model, uint32_t threads)
{
    struct encoder_options options = {.threads = threads,
                                      .max_batch_tokens = RANDOM_TEXTS_TOKENS_MAX,
                                      .max_batch_sequences = RANDOM_TEXTS_MAX};
    char error[ERROR_BYTES] = "";
    struct encoder *encoder = encoder_cpu.create(model, &options, error);

    if (!encoder)
        fprintf(stderr, "%s\n", error);
    EXPECT(encoder != NULL);
    return encoder;
}

static void expect_near(const struct model *model, const struct random_texts *texts,
                        const float *logits)
{
    uint32_t n_labels = model->config.n_labels;

    for (uint32_t i = 0; i < texts->batch.n_sequences; i++) {
        double expected[LABELS_MAX];
        uint32_t start = texts->cu_seqlens[i];

        reference_logits(model, texts->input_ids + start, texts->cu_seqlens[i + 1] - start,
                         texts->type_starts[i], expected);
        for (uint32_t label = 0; label < n_labels; label++) {
            double got = logits[i * n_labels + label];
            if (!(fabs(got - expected[label]) <= 2e-5 * (1 + fabs(expected[label])))) {
                fprintf(stderr, "text %u of %u tokens, label %u: %.9g, expected %.9g\n", i,
                        texts->cu_seqlens[i + 1] - start, label, got, expected[label]);
                exit(1);
            }
        }
    }
}

static void logits_are_those_of_the_formulas(void)
{
    for (size_t s = 0; s < ARRAY_COUNT(shapes); s++) {
        static const uint32_t lengths[] = {1, 2, 3, 12, 13, 16, 17, 31, 48};
        struct random_model random;
        static struct random_texts texts;
        float logits[RANDOM_TEXTS_MAX * LABELS_MAX];
        struct encoder *encoder;
        uint64_t seed = s;
        uint32_t n_lengths = shapes[s].hidden_dim > 500 ? 5 : ARRAY_COUNT(lengths);

        random_model_make(&random, &shapes[s], s);
        random_texts_clear(&texts);
        for (size_t i = 0; i < n_lengths; i++)
            EXPECT(random_texts_append_random(&texts, &shapes[s], lengths[i], &seed));
        encoder = make_encoder(&random.model, 2);
        EXPECT_EQUAL(encoder_cpu.forward(encoder, &texts.batch, logits), 0);
        expect_near(&random.model, &texts, logits);
        encoder_cpu.destroy(encoder);
        random_model_free(&random);
    }
}

/* ---- same text, same bits -------------------------------------------------------------------- */

/* A text whose logits are known, amid `before` random texts and as many as fit behind it. */
static void surround(struct random_texts *texts, const struct random_texts *alone,
                     const struct model_config *config, uint32_t before, uint32_t max_tokens,
                     uint64_t *seed)
{
    uint32_t length = alone->cu_seqlens[1];

    random_texts_clear(texts);
    for (uint32_t i = 0; i < before; i++) {
        uint32_t room = max_tokens - length - texts->batch.n_tokens;
        if (room == 0 ||
            !random_texts_append_random(texts, config,
                                        random_between(seed, 1, (uint32_t)min_u64(room, 40)), seed))
            break;
    }
    EXPECT(random_texts_append(texts, alone->input_ids, length, alone->type_starts[0]));
    while (texts->batch.n_tokens < max_tokens && random_between(seed, 0, 30) > 0) {
        uint32_t room = max_tokens - texts->batch.n_tokens;
        if (!random_texts_append_random(texts, config,
                                        random_between(seed, 1, (uint32_t)min_u64(room, 40)), seed))
            break;
    }
}

static void expect_same_bits(struct encoder *encoder, const struct model_config *config,
                             uint32_t length, uint32_t n_batches, uint64_t *seed)
{
    static struct random_texts alone, texts;
    float expected[LABELS_MAX], logits[RANDOM_TEXTS_MAX * LABELS_MAX];
    random_texts_clear(&alone);
    EXPECT(random_texts_append_random(&alone, config, length, seed));
    EXPECT_EQUAL(encoder_cpu.forward(encoder, &alone.batch, expected), 0);
    for (uint32_t i = 0; i < n_batches; i++) {
        uint32_t before = random_between(seed, 0, 20);
        uint32_t room =
            random_between(seed, length, (uint32_t)min_u64(length + 500, RANDOM_TEXTS_TOKENS_MAX));
        uint32_t place = 0;

        surround(&texts, &alone, config, before, room, seed);
        while (texts.cu_seqlens[place + 1] - texts.cu_seqlens[place] != length ||
               memcmp(texts.input_ids + texts.cu_seqlens[place], alone.input_ids,
                      length * sizeof(uint32_t)) != 0 ||
               texts.type_starts[place] != alone.type_starts[0])
            place++;
        EXPECT_EQUAL(encoder_cpu.forward(encoder, &texts.batch, logits), 0);
        if (memcmp(expected, logits + place * config->n_labels, config->n_labels * sizeof(float))) {
            fprintf(stderr,
                    "a text of %u tokens: other bits as number %u in a batch of %u, %u tokens\n",
                    length, place, texts.batch.n_sequences, texts.batch.n_tokens);
            exit(1);
        }
    }
}

static void the_same_text_gives_the_same_bits_in_any_batch(void)
{
    static const uint32_t lengths[] = {1, 2, 5, 12, 13, 24, 31, 48, 49};
    uint64_t seed = 20261124;

    for (size_t s = 0; s < ARRAY_COUNT(shapes); s++) {
        bool big = shapes[s].hidden_dim > 500;
        struct random_model random;

        random_model_make(&random, &shapes[s], s);
        for (uint32_t threads = 1; threads <= 3; threads += big ? 2 : 1) {
            struct encoder *encoder = make_encoder(&random.model, threads);
            for (size_t i = 0; i < ARRAY_COUNT(lengths); i++)
                expect_same_bits(encoder, &shapes[s], lengths[i], big ? 3 : 40, &seed);
            encoder_cpu.destroy(encoder);
        }
        random_model_free(&random);
    }
}

/* Every number of rows from 1 on, so every step of the ladder and every size of last block. */
static void every_batch_size_gives_the_same_bits(void)
{
    const struct model_config *config = &shapes[0];
    struct random_model random;
    struct encoder *encoder;
    float expected[LABELS_MAX], logits[RANDOM_TEXTS_MAX * LABELS_MAX];
    static struct random_texts texts;
    uint64_t seed = 7;

    random_model_make(&random, config, 7);
    encoder = make_encoder(&random.model, 2);
    for (uint32_t filler = 0; filler <= 300; filler++) {
        random_texts_clear(&texts);
        EXPECT(random_texts_append(&texts, (const uint32_t[]){3, 1, 4, 1, 5}, 5, 5));
        for (uint32_t left = filler; left > 0; left -= (uint32_t)min_u64(left, 30))
            EXPECT(random_texts_append_random(&texts, config, (uint32_t)min_u64(left, 30), &seed));
        EXPECT_EQUAL(encoder_cpu.forward(encoder, &texts.batch, logits), 0);
        if (filler == 0)
            memcpy(expected, logits, sizeof(expected));
        EXPECT(memcmp(expected, logits, config->n_labels * sizeof(float)) == 0);
    }
    encoder_cpu.destroy(encoder);
    random_model_free(&random);
}

/* ---- limits ---------------------------------------------------------------------------------- */

static void the_largest_batch_and_the_longest_text_fit(void)
{
    const struct model_config *config = &shapes[0];
    struct random_model random;
    struct encoder *encoder;
    static struct random_texts texts;
    float logits[RANDOM_TEXTS_MAX * LABELS_MAX];
    uint64_t seed = 1;

    random_model_make(&random, config, 1);
    encoder = make_encoder(&random.model, 2);
    random_texts_clear(&texts);
    while (random_texts_append_random(&texts, config, RANDOM_TEXTS_TOKENS_MAX / RANDOM_TEXTS_MAX,
                                      &seed))
        ;
    EXPECT_EQUAL(texts.batch.n_tokens, RANDOM_TEXTS_TOKENS_MAX);
    EXPECT_EQUAL(texts.batch.n_sequences, RANDOM_TEXTS_MAX);
    EXPECT_EQUAL(encoder_cpu.forward(encoder, &texts.batch, logits), 0);
    expect_near(&random.model, &texts, logits);

    random_texts_clear(&texts);
    EXPECT(random_texts_append_random(&texts, config, config->n_positions, &seed));
    EXPECT_EQUAL(encoder_cpu.forward(encoder, &texts.batch, logits), 0);
    expect_near(&random.model, &texts, logits);
    encoder_cpu.destroy(encoder);
    random_model_free(&random);
}

static void a_dtype_that_is_not_built_is_refused_by_a_sentence(void)
{
    struct encoder_options options = {
        .threads = 1, .max_batch_tokens = 64, .max_batch_sequences = 4};
    struct random_model random;

    random_model_make(&random, &shapes[0], 1);
    for (int dtype = ENCODER_DTYPE_AUTO; dtype < ENCODER_DTYPE_COUNT; dtype++) {
        char error[ERROR_BYTES] = "";
        struct encoder *encoder;

        options.dtype = (enum encoder_dtype)dtype;
        encoder = encoder_cpu.create(&random.model, &options, error);
        if (dtype == ENCODER_DTYPE_AUTO || dtype == ENCODER_DTYPE_FLOAT32)
            EXPECT(encoder != NULL);
        else
            EXPECT(encoder == NULL && strstr(error, "float32") != NULL);
        encoder_cpu.destroy(encoder);
    }
    random_model_free(&random);
}

int main(void)
{
    RUN(logits_are_those_of_the_formulas);
    RUN(the_same_text_gives_the_same_bits_in_any_batch);
    RUN(every_batch_size_gives_the_same_bits);
    RUN(the_largest_batch_and_the_longest_text_fit);
    RUN(a_dtype_that_is_not_built_is_refused_by_a_sentence);
    return 0;
}
