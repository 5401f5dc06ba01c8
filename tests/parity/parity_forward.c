/* Runs the CPU encoder over token ids from a file, for the comparison with transformers.
 *
 *     parity_forward MODEL BATCHES LOGITS
 *
 * BATCHES, little-endian u32: how many batches; for each, how many sequences; for each of those,
 * its length, the index of its first token of type 1 (the length where there is none), its ids.
 * LOGITS gets float32, (n_labels) for each sequence in the order of the file. A test's own files
 * are believed: what is wrong with one ends the program. */
#include "gpu_worker/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define THREADS             2
#define BATCH_SEQUENCES_MAX 512
#define BATCH_TOKENS_MAX    16384

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "parity_forward: %s: %s\n", what, why);
    exit(1);
}

static uint32_t read_u32(FILE *file)
{
    uint32_t value;

    if (fread(&value, sizeof(value), 1, file) != 1)
        give_up("batches", "the file ends too early");
    return value;
}

struct room {
    uint32_t input_ids[BATCH_TOKENS_MAX];
    uint32_t cu_seqlens[BATCH_SEQUENCES_MAX + 1];
    uint32_t type_starts[BATCH_SEQUENCES_MAX];
};

static struct batch read_batch(FILE *file, struct room *room)
{
    struct batch batch = {room->input_ids, room->cu_seqlens, room->type_starts, read_u32(file), 0};

    if (batch.n_sequences > BATCH_SEQUENCES_MAX)
        give_up("batches", "too many sequences in one");
    for (uint32_t i = 0; i < batch.n_sequences; i++) {
        uint32_t length = read_u32(file);
        room->cu_seqlens[i] = batch.n_tokens;
        room->type_starts[i] = read_u32(file);
        if (length > BATCH_TOKENS_MAX - batch.n_tokens)
            give_up("batches", "too many tokens in one");
        while (length--)
            room->input_ids[batch.n_tokens++] = read_u32(file);
    }
    room->cu_seqlens[batch.n_sequences] = batch.n_tokens;
    return batch;
}

static void run(struct encoder *encoder, uint32_t n_labels, FILE *batches, FILE *results)
{
    static struct room room;
    float *logits = malloc(sizeof(float) * BATCH_SEQUENCES_MAX * n_labels);
    uint32_t n_batches = read_u32(batches);

    if (!logits)
        give_up("logits", "no memory");
    while (n_batches--) {
        struct batch batch = read_batch(batches, &room);
        size_t count = (size_t)batch.n_sequences * n_labels;
        int status = encoder_cpu.forward(encoder, &batch, logits);
        if (status)
            give_up("forward", strerror(-status));
        if (fwrite(logits, sizeof(float), count, results) != count)
            give_up("logits", "cannot write");
    }
    free(logits);
}

int main(int argc, char **argv)
{
    const struct encoder_options options = {.dtype = ENCODER_DTYPE_FLOAT32,
                                            .threads = THREADS,
                                            .max_batch_tokens = BATCH_TOKENS_MAX,
                                            .max_batch_sequences = BATCH_SEQUENCES_MAX};
    char error[ERROR_BYTES] = "";
    static struct model model;
    struct encoder *encoder;
    FILE *batches, *results;

    if (argc != 4)
        give_up("usage", "parity_forward MODEL BATCHES LOGITS");
    if (model_open(&model, argv[1], error))
        give_up(argv[1], error);
    encoder = encoder_cpu.create(&model, &options, error);
    if (!encoder)
        give_up(argv[1], error);
    batches = fopen(argv[2], "rb");
    results = fopen(argv[3], "wb");
    if (!batches || !results)
        give_up(batches ? argv[3] : argv[2], "cannot be opened");
    run(encoder, model.config.n_labels, batches, results);
    if (fclose(results))
        give_up(argv[3], "cannot be written");
    fclose(batches);
    encoder_cpu.destroy(encoder);
    model_close(&model);
    return 0;
}
