/* gpu_check's reference: the CPU backend in float32. */
#include "tests/cuda/gpu_check.h"

const char *const check_reference_name = "the CPU backend, float32";

void check_reference_run(struct check *check, uint64_t end_ns)
{
    const struct encoder_options options = {
        .dtype = ENCODER_DTYPE_FLOAT32, .max_batch_tokens = 512, .max_batch_sequences = 1};
    char error[ERROR_BYTES];
    struct check_batch batch;
    struct encoder *encoder = encoder_cpu.create(&check->random.model, &options, error);
    if (encoder == NULL)
        fprintf(stderr, "%s\n", error);
    EXPECT(encoder != NULL);
    check_batch_open(&batch, check);
    for (uint32_t i = 0; i < check->n_texts && clock_now_ns() < end_ns; i++) {
        check_batch_clear(&batch);
        EXPECT(check_batch_add_text(&batch, check, i));
        EXPECT_EQUAL(encoder_cpu.forward(encoder, &batch.batch, check->expected + i * CHECK_LABELS),
                     0);
        check->n_expected = i + 1;
    }
    check_batch_close(&batch);
    encoder_cpu.destroy(encoder);
}
