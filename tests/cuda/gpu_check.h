/* What the steps of gpu_check share. Each step is a run of the program of its own, so that one that
 * fails costs no other its figures; it prints one JSON object. */
#ifndef WEIR_TESTS_CUDA_GPU_CHECK_H
#define WEIR_TESTS_CUDA_GPU_CHECK_H

#include "gpu_worker/cuda_engine.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#define CHECK_SEQUENCES_MAX 512
#define CHECK_LABELS        2
#define CHECK_TEXTS_MAX     4096

struct check_text {
    uint32_t first, length; /* of its ids */
};

struct check {
    bool dry; /* over the stand-in: a small model, few repetitions */
    uint32_t max_tokens;
    enum encoder_dtype dtype;
    struct random_model random;
    uint32_t *ids; /* of all texts */
    struct check_text texts[CHECK_TEXTS_MAX];
    uint32_t n_texts;
    float *expected;     /* (n_expected, CHECK_LABELS): the CPU's float32 logits */
    uint32_t n_expected; /* of the first texts */
    uint32_t n_entries;  /* of the JSON object so far */
    uint32_t failures;
};

/* A batch that is put together text by text. */
struct check_batch {
    uint32_t *input_ids, cu_seqlens[CHECK_SEQUENCES_MAX + 1], type_starts[CHECK_SEQUENCES_MAX];
    uint32_t text[CHECK_SEQUENCES_MAX]; /* its number; UINT32_MAX where it is no text's */
    struct batch batch;
};

void check_batch_open(struct check_batch *batch, const struct check *check);
void check_batch_close(struct check_batch *batch);
void check_batch_clear(struct check_batch *batch);
/* False when the text no longer fits into max_tokens, or into the sequences. */
bool check_batch_add_text(struct check_batch *batch, const struct check *check, uint32_t number);
/* Some text of that length. */
bool check_batch_add_length(struct check_batch *batch, const struct check *check, uint32_t length);

/* "name": followed by printf's words. */
void check_entry(struct check *check, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* The encoder with all its graphs made: what is checked is the server at its best. */
struct encoder *check_encoder_open(struct check *check);
/* forward(), which must succeed. */
void check_forward(struct encoder *encoder, const struct check_batch *batch, float *logits);
/* Waits for the oldest batch in flight. */
void check_collect(struct encoder *encoder, float *logits);

/* float32 logits of one text by the CPU: oneDNN's where gpu_check_cpu.c is linked, plain loops
 * where gpu_check_plain.c is. Its name, for the report. */
extern const char *const check_reference_name;
void check_reference_run(struct check *check, uint64_t end_ns);

void check_latency(struct check *check);
void check_throughput(struct check *check);
void check_ring(struct check *check);

#endif
