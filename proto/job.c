/* A slot's payload in bytes: a header of two numbers, then the ids at the narrowest width that
 * holds the vocabulary. Both sides derive the width from the shape, so no payload says it. All
 * access goes through memcpy: a payload is bytes, and no alignment of a slot is relied on. */
#include "proto/job.h"

#include <errno.h>
#include <string.h>

struct job_header {
    uint32_t n_tokens;
    uint32_t type_start;
};

_Static_assert(sizeof(struct job_header) == 8, "the ids follow at byte 8");

#define NARROW_IDS_MAX 65536u /* ids of a smaller vocabulary fit 16 bits */

static uint32_t id_bytes(const struct job_shape *shape)
{
    return shape->vocab_size <= NARROW_IDS_MAX ? sizeof(uint16_t) : sizeof(uint32_t);
}

static uint8_t *ids_of(void *payload)
{
    return (uint8_t *)payload + sizeof(struct job_header);
}

static uint32_t read_id(const void *payload, uint32_t width, uint32_t index)
{
    const uint8_t *at = (const uint8_t *)payload + sizeof(struct job_header) + index * width;
    uint32_t wide = 0;

    if (width == sizeof(uint16_t)) {
        uint16_t narrow;
        memcpy(&narrow, at, sizeof(narrow));
        return narrow;
    }
    memcpy(&wide, at, sizeof(wide));
    return wide;
}

uint32_t job_payload_bytes(const struct job_shape *shape)
{
    return (uint32_t)sizeof(struct job_header) + shape->max_tokens * id_bytes(shape);
}

uint32_t job_result_bytes(const struct job_shape *shape)
{
    return shape->n_labels * (uint32_t)sizeof(float);
}

void job_write(void *payload, const struct job_shape *shape, const uint32_t *input_ids,
               uint32_t n_tokens, uint32_t type_start)
{
    struct job_header header = {.n_tokens = n_tokens, .type_start = type_start};
    uint8_t *ids = ids_of(payload);

    CHECK(n_tokens >= 1 && n_tokens <= shape->max_tokens);
    CHECK(type_start <= n_tokens);
    memcpy(payload, &header, sizeof(header));
    for (uint32_t i = 0; i < n_tokens; i++) {
        CHECK(input_ids[i] < shape->vocab_size);
        if (id_bytes(shape) == sizeof(uint16_t)) {
            uint16_t narrow = (uint16_t)input_ids[i];
            memcpy(ids + i * sizeof(narrow), &narrow, sizeof(narrow));
        } else {
            memcpy(ids + i * sizeof(uint32_t), &input_ids[i], sizeof(uint32_t));
        }
    }
}

int job_read(const void *payload, const struct job_shape *shape, uint32_t *input_ids,
             uint32_t *n_tokens, uint32_t *type_start)
{
    struct job_header header;
    uint32_t width = id_bytes(shape);

    memcpy(&header, payload, sizeof(header));
    if (header.n_tokens < 1 || header.n_tokens > shape->max_tokens ||
        header.type_start > header.n_tokens)
        return -EINVAL;
    for (uint32_t i = 0; i < header.n_tokens; i++) {
        input_ids[i] = read_id(payload, width, i);
        if (input_ids[i] >= shape->vocab_size)
            return -EINVAL;
    }
    *n_tokens = header.n_tokens;
    *type_start = header.type_start;
    return 0;
}

uint64_t job_hash(const void *payload, const struct job_shape *shape)
{
    struct job_header header;
    uint64_t hash = FNV1A_START;
    uint32_t n_tokens, width = id_bytes(shape);

    memcpy(&header, payload, sizeof(header));
    n_tokens = (uint32_t)min_u64(header.n_tokens, shape->max_tokens);
    for (uint32_t i = 0; i < n_tokens; i++) {
        uint32_t id = read_id(payload, width, i);
        hash = fnv1a_u64(hash, &id, sizeof(id));
    }
    return hash;
}
