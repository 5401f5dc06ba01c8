/* "forward() allocates nothing": every malloc of the process is counted, with who called it.
 *
 * None may come from our own code. oneDNN makes a map of its arguments inside each call and drops
 * it before it returns; those are seen, and nothing of them may stay. */
#include "gpu_worker/encoder.h"
#include "tests/gpu_worker/count_malloc.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

static const struct model_config config = {.architecture = MODEL_BERT,
                                           .vocab_size = 97,
                                           .hidden_dim = 256,
                                           .n_layers = 2,
                                           .n_heads = 4,
                                           .ffn_dim = 512,
                                           .n_positions = 128,
                                           .n_types = 2,
                                           .n_labels = 2};

#define TOKENS_MAX 512

static void the_counter_sees_our_own_malloc(void)
{
    void *volatile block;

    count_malloc_start();
    block = malloc(16);
    EXPECT_EQUAL(count_malloc_stop().by_us, 1);
    free(block);
}

static void forward_allocates_nothing(void)
{
    struct encoder_options options = {
        .threads = 3, .max_batch_tokens = TOKENS_MAX, .max_batch_sequences = TOKENS_MAX};
    uint32_t ids[TOKENS_MAX] = {0}, starts[TOKENS_MAX + 1] = {0}, type_starts[TOKENS_MAX] = {0};
    static float logits[TOKENS_MAX * 2];
    struct random_model random;
    char error[ERROR_BYTES] = "";
    struct encoder *encoder;
    struct malloc_counts counts;

    random_model_make(&random, &config, 1);
    encoder = encoder_cpu.create(&random.model, &options, error);
    EXPECT(encoder != NULL);
    count_malloc_start();
    /* The very first forward pass counts too: what is made lazily is found. */
    for (uint32_t n_tokens = 1; n_tokens <= TOKENS_MAX; n_tokens += 7) {
        uint32_t n = 0;
        struct batch batch = {ids, starts, type_starts, 0, n_tokens};

        while (starts[n] < n_tokens) {
            starts[n + 1] = (uint32_t)min_u64(starts[n] + 1 + n % 60, n_tokens);
            n++;
        }
        batch.n_sequences = n;
        EXPECT_EQUAL(encoder_cpu.forward(encoder, &batch, logits), 0);
    }
    counts = count_malloc_stop();
    printf("   oneDNN took %ld small blocks for its argument maps and kept %ld\n",
           counts.by_libraries, counts.kept);
    EXPECT_EQUAL(counts.by_us, 0);
    EXPECT_EQUAL(counts.kept, 0);
    encoder_cpu.destroy(encoder);
    random_model_free(&random);
}

int main(void)
{
    if (!count_malloc_works()) {
        printf("skipped: the sanitizer owns malloc here\n");
        return 0;
    }
    RUN(the_counter_sees_our_own_malloc);
    RUN(forward_allocates_nothing);
    return 0;
}
