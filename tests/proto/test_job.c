/* A slot's contents: what is written is what is read, and nothing that a broken frontend could
 * leave in a slot gets past job_read(). */
#include "proto/job.h"
#include "tests/test.h"

#include <errno.h>

#define TOKENS_MAX 16

static const struct job_shape narrow = {
    .vocab_size = 65536, .max_tokens = TOKENS_MAX, .n_labels = 3};
static const struct job_shape wide = {.vocab_size = 65537, .max_tokens = TOKENS_MAX, .n_labels = 2};

static void what_was_written_is_read_back(void)
{
    const struct job_shape *shapes[] = {&narrow, &wide};

    for (size_t s = 0; s < ARRAY_COUNT(shapes); s++) {
        const struct job_shape *shape = shapes[s];
        uint32_t ids[TOKENS_MAX], read[TOKENS_MAX], n_tokens = 0, type_start = 0;
        uint8_t payload[256];

        EXPECT(job_payload_bytes(shape) <= sizeof(payload) - 1);
        for (uint32_t n = 1; n <= TOKENS_MAX; n++) {
            for (uint32_t i = 0; i < n; i++)
                ids[i] = (shape->vocab_size - 1) - i * 977;
            /* One byte off: a payload needs no alignment. */
            job_write(payload + 1, shape, ids, n, n / 2);
            EXPECT_EQUAL(job_read(payload + 1, shape, read, &n_tokens, &type_start), 0);
            EXPECT_EQUAL(n_tokens, n);
            EXPECT_EQUAL(type_start, n / 2);
            EXPECT(memcmp(ids, read, n * sizeof(*ids)) == 0);
        }
    }
}

static void sizes_follow_the_vocabulary(void)
{
    EXPECT_EQUAL(job_payload_bytes(&narrow), 8 + TOKENS_MAX * 2);
    EXPECT_EQUAL(job_payload_bytes(&wide), 8 + TOKENS_MAX * 4);
    EXPECT_EQUAL(job_result_bytes(&narrow), 12);
    EXPECT_EQUAL(job_result_bytes(&wide), 8);
}

static void a_payload_fills_its_bytes_and_no_more(void)
{
    uint32_t ids[TOKENS_MAX] = {0};
    uint8_t *payload = malloc(job_payload_bytes(&wide) + 1);

    payload[job_payload_bytes(&wide)] = 0x5a;
    job_write(payload, &wide, ids, TOKENS_MAX, TOKENS_MAX);
    EXPECT_EQUAL(payload[job_payload_bytes(&wide)], 0x5a);
    free(payload);
}

static void numbers_out_of_bounds_are_refused(void)
{
    struct {
        uint32_t n_tokens, type_start, first_id;
        int result;
    } cases[] = {
        {1, 1, 0, 0},
        {0, 0, 0, -EINVAL},
        {TOKENS_MAX, 0, 0, 0},
        {TOKENS_MAX + 1, 0, 0, -EINVAL},
        {UINT32_MAX, 0, 0, -EINVAL},
        {4, 5, 0, -EINVAL},
        {4, 4, 65536, 0},
        {4, 4, 65537, -EINVAL},
        {4, 4, UINT32_MAX, -EINVAL},
    };

    for (size_t c = 0; c < ARRAY_COUNT(cases); c++) {
        uint32_t payload[2 + TOKENS_MAX] = {cases[c].n_tokens, cases[c].type_start,
                                            cases[c].first_id};
        uint32_t ids[TOKENS_MAX], n_tokens, type_start;

        EXPECT_EQUAL(job_read(payload, &wide, ids, &n_tokens, &type_start), cases[c].result);
    }
}

static void the_hash_names_the_text_and_is_bounded(void)
{
    uint32_t ids[] = {101, 2023, 102}, other[] = {101, 2024, 102};
    uint8_t a[256] = {0}, b[256] = {0}, broken[256];

    job_write(a, &narrow, ids, 3, 3);
    job_write(b, &wide, ids, 3, 1);
    EXPECT(job_hash(a, &narrow) == job_hash(b, &wide));
    job_write(b, &wide, other, 3, 3);
    EXPECT(job_hash(a, &narrow) != job_hash(b, &wide));
    memset(broken, 0xff, sizeof(broken));
    EXPECT(job_hash(broken, &wide) != 0); /* under ASan: reads no further than the shape allows */
}

int main(void)
{
    RUN(what_was_written_is_read_back);
    RUN(sizes_follow_the_vocabulary);
    RUN(a_payload_fills_its_bytes_and_no_more);
    RUN(numbers_out_of_bounds_are_refused);
    RUN(the_hash_names_the_text_and_is_bounded);
    return 0;
}
