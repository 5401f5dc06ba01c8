/* What trials multiply: numbers whose exact sums are zero, so that nothing comes out but the
 * rounding errors of one order of summation; why, cuda_trial.h says. Made on the CPU, bit by bit in
 * each type's format, the same in every start. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gpu_worker/cuda_error.h"
#include "gpu_worker/cuda_trial.h"

/* Exponents of the inputs' numbers: within the normal ones of every type. */
#define EXPONENT_MIN  (-6)
#define EXPONENT_MAX  5
#define BIAS_EXPONENT (-8) /* of the size of the rounding errors */

/* splitmix64. */
static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

struct number_format {
    uint32_t bytes, mantissa_bits, exponent_bias;
};

static struct number_format format_of(cudaDataType_t type)
{
    switch (type) {
    case CUDA_R_16F:
        return (struct number_format){2, 10, 15};
    case CUDA_R_16BF:
        return (struct number_format){2, 7, 127};
    case CUDA_R_8F_E4M3:
        return (struct number_format){1, 3, 7};
    default:
        CHECK(type == CUDA_R_32F);
        return (struct number_format){4, 23, 127};
    }
}

static uint32_t sign_of(struct number_format format)
{
    return UINT32_C(1) << (8 * format.bytes - 1);
}

/* A number of either sign, of any mantissa, whose exponent lies between the two. */
static uint32_t random_number(struct number_format format, int exponent_min, int exponent_max,
                              uint64_t *state)
{
    const uint64_t random = next_random(state);
    const uint32_t n_exponents = (uint32_t)(exponent_max - exponent_min + 1);
    const int exponent = exponent_min + (int)((random >> 32) % n_exponents);
    const uint32_t field = (uint32_t)((int)format.exponent_bias + exponent);
    const uint32_t mantissa = (uint32_t)random & ((UINT32_C(1) << format.mantissa_bits) - 1);
    return (random >> 63 != 0 ? sign_of(format) : 0) | field << format.mantissa_bits | mantissa;
}

/* Little-endian, as the card reads it. */
static void store(unsigned char *row, struct number_format format, uint32_t column, uint32_t number)
{
    memcpy(row + (uint64_t)column * format.bytes, &number, format.bytes);
}

/* Rows whose columns pair[2 i] and pair[2 i + 1] hold the same number, or its negative. */
static void make_rows(unsigned char *rows, uint32_t n_rows, uint32_t n_columns,
                      const uint32_t *pairs, struct number_format format, uint32_t partner_sign,
                      uint64_t *state)
{
    for (uint32_t r = 0; r < n_rows; r++)
        for (uint32_t i = 0; i < n_columns; i += 2) {
            unsigned char *row = rows + (uint64_t)r * n_columns * format.bytes;
            const uint32_t number = random_number(format, EXPONENT_MIN, EXPONENT_MAX, state);
            store(row, format, pairs[i], number);
            store(row, format, pairs[i + 1], number ^ partner_sign);
        }
}

/* 0 .. n - 1 in a random order. */
static void shuffle(uint32_t *numbers, uint32_t n, uint64_t *state)
{
    for (uint32_t i = 0; i < n; i++) {
        const uint32_t j = (uint32_t)(next_random(state) % (i + 1));
        numbers[i] = numbers[j];
        numbers[j] = i;
    }
}

static int upload(void *to, const void *from, uint64_t bytes, cudaStream_t stream,
                  char error[ERROR_BYTES])
{
    const int result = cuda_check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, stream),
                                  "the upload of a trial's inputs", error);
    return result != 0
               ? result
               : cuda_check(cudaStreamSynchronize(stream), "the upload of a trial's inputs", error);
}

static int make_tile(const struct cuda_trial_tile *tile, cudaStream_t stream,
                     char error[ERROR_BYTES])
{
    const struct number_format format = format_of(tile->type);
    const uint64_t row_bytes = (uint64_t)tile->in_dim * format.bytes;
    const uint64_t x_bytes = CUDA_TRIAL_ROWS * row_bytes;
    const uint64_t weight_bytes = CUDA_TRIAL_COLUMNS * row_bytes;
    uint64_t state = tile->in_dim;
    uint32_t *pairs = malloc(tile->in_dim * sizeof *pairs);
    unsigned char *rows = malloc(2 * x_bytes + weight_bytes);
    int result = -ENOMEM;
    if (pairs == NULL || rows == NULL) {
        snprintf(error, ERROR_BYTES, "no memory for a trial's inputs");
        goto done;
    }
    CHECK(tile->in_dim % 2 == 0);
    shuffle(pairs, tile->in_dim, &state);
    make_rows(rows, CUDA_TRIAL_ROWS, tile->in_dim, pairs, format, sign_of(format), &state);
    memcpy(rows + x_bytes, rows, x_bytes);
    make_rows(rows + 2 * x_bytes, CUDA_TRIAL_COLUMNS, tile->in_dim, pairs, format, 0, &state);
    result = upload(tile->x, rows, 2 * x_bytes, stream, error);
    if (result == 0)
        result = upload(tile->weight, rows + 2 * x_bytes, weight_bytes, stream, error);
done:
    free(rows);
    free(pairs);
    return result;
}

static int make_bias(const struct cuda_trials *trials, cudaDataType_t type, cudaStream_t stream,
                     char error[ERROR_BYTES])
{
    const struct number_format format = format_of(type);
    uint64_t state = 1;
    unsigned char *bias = malloc(trials->bias_elements * format.bytes);
    if (bias == NULL) {
        snprintf(error, ERROR_BYTES, "no memory for a trial's inputs");
        return -ENOMEM;
    }
    for (uint32_t i = 0; i < trials->bias_elements; i++)
        store(bias, format, i, random_number(format, BIAS_EXPONENT - 3, BIAS_EXPONENT, &state));
    const int result =
        upload(trials->bias, bias, trials->bias_elements * format.bytes, stream, error);
    free(bias);
    return result;
}

int cuda_trials_begin(struct cuda_trials *trials, cudaDataType_t element_type, cudaStream_t stream,
                      char error[ERROR_BYTES])
{
    const float one = 1.0f;
    int result = upload(trials->scale, &one, sizeof one, stream, error);
    if (result == 0)
        result = make_bias(trials, element_type, stream, error);
    for (uint32_t i = 0; result == 0 && i < trials->n_tiles; i++)
        result = make_tile(&trials->tiles[i], stream, error);
    return result;
}
