/* gpu_check's times at the encoder's seam: one text, and batches one behind the other. */
#include "shm/log.h"
#include "tests/cuda/gpu_check.h"

#define REPETITIONS     300
#define REPETITIONS_DRY 3
#define WARM_UP         20

static int compare_u64(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void measure_latency(struct check *check, struct encoder *encoder, uint32_t n_tokens)
{
    float logits[CHECK_LABELS];
    uint64_t ns[REPETITIONS];
    char name[32];
    struct check_batch batch;
    const uint32_t n = check->dry ? REPETITIONS_DRY : REPETITIONS;
    check_batch_open(&batch, check);
    EXPECT(check_batch_add_length(&batch, check, n_tokens));
    for (uint32_t i = 0; i < (check->dry ? 1 : WARM_UP); i++)
        check_forward(encoder, &batch, logits);
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t started_ns = clock_now_ns();
        check_forward(encoder, &batch, logits);
        ns[i] = clock_now_ns() - started_ns;
    }
    qsort(ns, n, sizeof ns[0], compare_u64);
    snprintf(name, sizeof name, "1x%u", n_tokens);
    check_entry(check, name, "{\"median_us\": %.1f, \"p99_us\": %.1f}", (double)ns[n / 2] / 1e3,
                (double)ns[n - 1 - n / 100] / 1e3);
    check_batch_close(&batch);
}

void check_latency(struct check *check)
{
    struct encoder *encoder = check_encoder_open(check);
    for (uint32_t tokens = 16; tokens <= 128; tokens *= 2)
        measure_latency(check, encoder, tokens);
    encoder_cuda.destroy(encoder);
}

/* FLOP that are really executed for a text: 12 H^2 multiply-adds a token and layer where ffn_dim is
 * 4 H, and in the last layer keys and values for all rows, the rest for [CLS] alone. */
static double flop_of(const struct model_config *c, uint32_t length)
{
    const double h = c->hidden_dim, f = c->ffn_dim, layers = c->n_layers - 1, n = length;
    const double whole_layer = n * (8 * h * h + 4 * h * f) + 4 * n * n * h;
    const double last_layer = n * 4 * h * h + 4 * n * h + 4 * h * h + 4 * h * f;
    return layers * whole_layer + last_layer + 2 * h * h;
}

/* Two batches always in flight; submit_us is what a batch costs the CPU. */
static void measure_throughput(struct check *check, struct encoder *encoder, const char *kind,
                               const struct check_batch *batch, uint32_t n_tokens)
{
    static float logits[CHECK_SEQUENCES_MAX * CHECK_LABELS];
    const struct batch *b = &batch->batch;
    const uint32_t n = check->dry ? REPETITIONS_DRY : REPETITIONS;
    uint64_t submit_ns = 0;
    double flop = 0.0;
    char name[32];
    for (uint32_t s = 0; s < b->n_sequences; s++)
        flop += flop_of(&check->random.model.config, b->cu_seqlens[s + 1] - b->cu_seqlens[s]);
    EXPECT_EQUAL(encoder_cuda.submit(encoder, b), 0);
    const uint64_t started_ns = clock_now_ns();
    for (uint32_t i = 0; i < n; i++) {
        const uint64_t before_ns = clock_now_ns();
        EXPECT_EQUAL(encoder_cuda.submit(encoder, b), 0);
        submit_ns += clock_now_ns() - before_ns;
        check_collect(encoder, logits);
    }
    const double seconds = (double)(clock_now_ns() - started_ns) / 1e9;
    check_collect(encoder, logits);
    snprintf(name, sizeof name, "%s_%u", kind, n_tokens);
    check_entry(check, name,
                "{\"texts\": %u, \"tokens\": %u, \"mtok_s\": %.3f, \"tflop_s\": %.1f, "
                "\"batch_us\": %.1f, \"submit_us\": %.2f}",
                b->n_sequences, b->n_tokens, (double)b->n_tokens * n / seconds / 1e6,
                flop * n / seconds / 1e12, seconds / n * 1e6, (double)submit_ns / n / 1e3);
}

/* Texts of 32 tokens, and the real texts as they come. */
void check_throughput(struct check *check)
{
    struct check_batch batch;
    struct encoder *encoder = check_encoder_open(check);
    check_batch_open(&batch, check);
    for (uint32_t tokens = check->dry ? 64 : 512; tokens <= check->max_tokens; tokens *= 2) {
        check_batch_clear(&batch);
        while (batch.batch.n_tokens + 32 <= tokens && check_batch_add_length(&batch, check, 32))
            ;
        measure_throughput(check, encoder, "even32", &batch, tokens);
        check_batch_clear(&batch);
        for (uint32_t i = 0;
             batch.batch.n_tokens + check->texts[i % check->n_texts].length <= tokens; i++)
            if (!check_batch_add_text(&batch, check, i % check->n_texts))
                break;
        measure_throughput(check, encoder, "ragged", &batch, tokens);
    }
    check_batch_close(&batch);
    encoder_cuda.destroy(encoder);
}
