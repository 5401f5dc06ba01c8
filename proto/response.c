/* Logits to scores, and scores to the shape of each dialect:
 *
 *                 one text                      a list
 *   sample        {"prediction":[A]}            {"prediction":[A,A]}          A: {"label","score"}
 *     top_k       {"prediction":[A,A]}          {"prediction":[[A,A],[A,A]]}
 *   tei           [B,B]                         [[B,B],[B,B]]                 B: {"score","label"}
 *   vertex                                      {"predictions":[A,A]}, with top_k [[A,A],[A,A]]
 *
 * The sample's are what transformers' TextClassificationPipeline returns: without top_k the best
 * label, with it a list by falling score in which equals keep the model's order. Where the model's
 * config.json says return_all_scores, A without top_k is the list of all labels in that order. */
#include "proto/response.h"
#include "proto/writer.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* numpy's pairwise summation, which the pipeline's softmax ends in: eight running sums over at most
 * PAIRWISE_BLOCK numbers, halves above that. With fewer than eight it is a plain loop. */
#define PAIRWISE_LANES 8
#define PAIRWISE_BLOCK 128

static float sum_block(const float *numbers, uint32_t n_numbers)
{
    float lane[PAIRWISE_LANES], sum;
    uint32_t i;

    for (i = 0; i < PAIRWISE_LANES; i++)
        lane[i] = numbers[i];
    for (; i + PAIRWISE_LANES <= n_numbers; i += PAIRWISE_LANES)
        for (uint32_t k = 0; k < PAIRWISE_LANES; k++)
            lane[k] += numbers[i + k];
    sum = ((lane[0] + lane[1]) + (lane[2] + lane[3])) + ((lane[4] + lane[5]) + (lane[6] + lane[7]));
    for (; i < n_numbers; i++)
        sum += numbers[i];
    return sum;
}

static float sum_pairwise(const float *numbers, uint32_t n_numbers)
{
    float sum = 0;

    if (n_numbers < PAIRWISE_LANES) {
        for (uint32_t i = 0; i < n_numbers; i++)
            sum += numbers[i];
        return sum;
    }
    if (n_numbers <= PAIRWISE_BLOCK)
        return sum_block(numbers, n_numbers);
    uint32_t half = n_numbers / 2;
    half -= half % PAIRWISE_LANES;
    return sum_pairwise(numbers, half) + sum_pairwise(numbers + half, n_numbers - half);
}

static void softmax(const float *logits, float *scores, uint32_t n_labels)
{
    float maximum = logits[0], sum;

    for (uint32_t i = 1; i < n_labels; i++)
        maximum = logits[i] > maximum ? logits[i] : maximum;
    for (uint32_t i = 0; i < n_labels; i++)
        scores[i] = expf(logits[i] - maximum);
    sum = sum_pairwise(scores, n_labels);
    for (uint32_t i = 0; i < n_labels; i++)
        scores[i] /= sum;
}

static enum request_function default_function(const struct response_labels *labels)
{
    if (labels->problem == RESPONSE_REGRESSION)
        return REQUEST_NONE;
    if (labels->problem == RESPONSE_MULTI_LABEL || labels->n_labels == 1)
        return REQUEST_SIGMOID;
    return REQUEST_SOFTMAX;
}

void response_scores(const struct response_labels *labels, enum request_function function,
                     const float *logits, float *scores)
{
    if (function == REQUEST_FUNCTION_DEFAULT)
        function = default_function(labels);
    if (function == REQUEST_SOFTMAX)
        softmax(logits, scores, labels->n_labels);
    else if (function == REQUEST_SIGMOID)
        for (uint32_t i = 0; i < labels->n_labels; i++)
            scores[i] = 1.0f / (1.0f + expf(-logits[i]));
    else
        memcpy(scores, logits, labels->n_labels * sizeof(*scores));
}

bool response_logits_are_finite(const struct response_labels *labels, const float *logits)
{
    for (uint32_t i = 0; i < labels->n_labels; i++)
        if (!isfinite(logits[i]))
            return false;
    return true;
}

/* One text's answer in the making. */
struct answer {
    struct writer *writer;
    const struct predict_request *request;
    const struct response_labels *labels;
    float *scores;   /* (n_labels) */
    uint64_t *order; /* (n_labels) sort keys; the low half is the label's index */
};

static int compare_u64(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

    return (a > b) - (a < b);
}

/* Bits that rise as the float falls; -0 and 0 are equal. */
static uint32_t falling_bits(float score)
{
    uint32_t bits;

    score += 0.0f;
    memcpy(&bits, &score, sizeof(bits));
    return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

/* The index stands below the score in each key, so that equal scores keep the model's order. */
static void sort_labels(const struct answer *answer)
{
    for (uint32_t i = 0; i < answer->labels->n_labels; i++)
        answer->order[i] = (uint64_t)falling_bits(answer->scores[i]) << 32 | i;
    qsort(answer->order, answer->labels->n_labels, sizeof(*answer->order), compare_u64);
}

static void write_label(const struct answer *answer, uint32_t index)
{
    struct writer *writer = answer->writer;
    bool is_score_first = answer->request->dialect == REQUEST_TEI; /* whose labels are strings */
    bool is_number =
        !is_score_first && answer->labels->is_number != NULL && answer->labels->is_number[index];

    writer_map(writer, 2);
    if (is_score_first) {
        writer_key(writer, "score");
        writer_float(writer, answer->scores[index]);
    }
    writer_key(writer, "label");
    if (is_number)
        writer_integer(writer, answer->labels->names[index]);
    else
        writer_string(writer, answer->labels->names[index]);
    if (!is_score_first) {
        writer_key(writer, "score");
        writer_float(writer, answer->scores[index]);
    }
    writer_map_end(writer);
}

static void write_best(const struct answer *answer)
{
    uint32_t best = 0;

    for (uint32_t i = 1; i < answer->labels->n_labels; i++)
        if (answer->scores[i] > answer->scores[best])
            best = i;
    write_label(answer, best);
}

static void write_sorted(const struct answer *answer)
{
    uint32_t count = answer->labels->n_labels;

    if (answer->request->top_k > 0 && answer->request->top_k < count)
        count = answer->request->top_k;
    sort_labels(answer);
    writer_list(answer->writer, count);
    for (uint32_t i = 0; i < count; i++)
        write_label(answer, (uint32_t)answer->order[i]);
    writer_list_end(answer->writer);
}

static void write_all(const struct answer *answer)
{
    writer_list(answer->writer, answer->labels->n_labels);
    for (uint32_t i = 0; i < answer->labels->n_labels; i++)
        write_label(answer, i);
    writer_list_end(answer->writer);
}

static void write_text(const struct answer *answer, const float *logits)
{
    response_scores(answer->labels, answer->request->function, logits, answer->scores);
    if (answer->request->dialect == REQUEST_TEI || answer->request->has_top_k)
        write_sorted(answer);
    else if (answer->labels->return_all)
        write_all(answer);
    else
        write_best(answer);
}

static void write_texts(const struct answer *answer, const float *const *logits)
{
    writer_list(answer->writer, answer->request->n_texts);
    for (uint32_t i = 0; i < answer->request->n_texts; i++)
        write_text(answer, logits[i]);
    writer_list_end(answer->writer);
}

void response_format(struct response_buffer *buffer, enum request_encoding encoding,
                     const struct predict_request *request, const struct response_labels *labels,
                     const float *const *logits)
{
    struct writer writer = {.buffer = buffer, .encoding = encoding};
    struct answer answer = {.writer = &writer, .request = request, .labels = labels};
    size_t n_labels = labels->n_labels;

    CHECK(request->n_texts >= 1 && n_labels >= 1);
    answer.order = buffer->allocate(buffer->context, n_labels * sizeof(*answer.order));
    answer.scores = buffer->allocate(buffer->context, n_labels * sizeof(*answer.scores));

    /* The pipeline wraps the one answer to a string, but neither the list that top_k makes nor the
     * answer to an object. */
    bool is_bare = !request->is_list && (request->has_top_k || request->is_object);
    if (request->dialect == REQUEST_TEI) {
        is_bare = !request->is_list;
    } else {
        writer_map(&writer, 1);
        writer_key(&writer, request->dialect == REQUEST_VERTEX ? "predictions" : "prediction");
    }
    if (is_bare)
        write_text(&answer, logits[0]);
    else
        write_texts(&answer, logits);
    if (request->dialect != REQUEST_TEI)
        writer_map_end(&writer);
}

void response_format_error(struct response_buffer *buffer, enum request_encoding encoding,
                           const char *type, const char *sentence)
{
    struct writer writer = {.buffer = buffer, .encoding = encoding};

    writer_map(&writer, 2);
    writer_key(&writer, "error");
    writer_string(&writer, sentence);
    writer_key(&writer, "error_type");
    writer_string(&writer, type);
    writer_map_end(&writer);
}
