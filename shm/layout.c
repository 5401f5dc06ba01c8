/* Whether a file's header is ours, decided from a private copy; and texts that change under
 * readers. */
#include "shm/layout.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define STATS_COUNTER_NAME(identifier, family, labels, help) #identifier "\n"
#define STATS_HISTOGRAM_NAME(identifier, family, unit, help) #identifier "\n"
#define START_PHASE_NAME(identifier, word, help)             #identifier "\n"

uint64_t layout_hash(void)
{
    static const uint32_t sizes[] = {
        sizeof(struct segment_header),
        sizeof(struct lane_header),
        sizeof(struct slot_header),
        sizeof(struct process_entry),
        sizeof(struct stats_block),
        sizeof(struct stats_histogram_shared),
        sizeof(struct start_times),
        offsetof(struct segment_header, worker_stats),
        offsetof(struct segment_header, worker_start),
        offsetof(struct lane_header, stats),
        offsetof(struct slot_header, taken_ns),
        STATS_BUCKETS_COUNT,
        STATS_SUB_BUCKETS,
    };
    static const char names[] = STATS_COUNTERS(STATS_COUNTER_NAME)
        STATS_HISTOGRAMS(STATS_HISTOGRAM_NAME) START_PHASES(START_PHASE_NAME);
    return fnv1a_u64(fnv1a_u64(FNV1A_START, sizes, sizeof(sizes)), names, sizeof(names));
}

const char *layout_geometry_fault(const struct segment_geometry *geometry)
{
    if (geometry->n_lanes < 1 || geometry->n_lanes > SEGMENT_LANES_MAX)
        return "the number of lanes is not in 1..64";
    if (geometry->slots_per_lane < 2 || geometry->slots_per_lane > SEGMENT_SLOTS_MAX)
        return "the slots of a lane are not in 2..65536";
    if (geometry->slots_per_lane & (geometry->slots_per_lane - 1))
        return "the slots of a lane are not a power of two";
    if (geometry->payload_bytes < 1 || geometry->payload_bytes > LAYOUT_SLOT_PART_BYTES_MAX)
        return "the payload of a slot is not in 1..1048576 bytes";
    if (geometry->result_bytes < 1 || geometry->result_bytes > LAYOUT_SLOT_PART_BYTES_MAX)
        return "the result of a slot is not in 1..1048576 bytes";
    return NULL;
}

static int refuse(char error[ERROR_BYTES], const char *sentence)
{
    snprintf(error, ERROR_BYTES, "%s", sentence);
    return -EPROTO;
}

int layout_check(const struct segment_identity *copy, uint64_t file_bytes,
                 struct segment_geometry *geometry, char error[ERROR_BYTES])
{
    /* Relaxed: the copy is private; who made it loaded the magic with acquire first. */
    uint64_t magic = atomic_load_explicit(&copy->magic, memory_order_relaxed);
    if (magic == 0) {
        snprintf(error, ERROR_BYTES, "is not a segment yet: its creator has not finished");
        return -ENOENT;
    }
    if (magic != LAYOUT_MAGIC)
        return refuse(error, "is not a weir segment (wrong magic)");
    if (copy->layout_version != LAYOUT_VERSION) {
        snprintf(error, ERROR_BYTES, "has layout version %u, this program reads version %u",
                 copy->layout_version, LAYOUT_VERSION);
        return -EPROTO;
    }
    if (copy->layout_hash != layout_hash() || copy->header_bytes != sizeof(struct segment_header))
        return refuse(error, "was made by another build of weir (layout hash differs)");
    *geometry = (struct segment_geometry){
        .n_lanes = copy->n_lanes,
        .slots_per_lane = copy->slots_per_lane,
        .payload_bytes = copy->payload_bytes,
        .result_bytes = copy->result_bytes,
    };
    const char *fault = layout_geometry_fault(geometry);
    if (fault) {
        snprintf(error, ERROR_BYTES, "has a damaged header: %s", fault);
        return -EPROTO;
    }
    uint64_t expected = layout_total_bytes(geometry);
    if (copy->total_bytes != expected || file_bytes != expected) {
        snprintf(error, ERROR_BYTES,
                 "has %llu bytes, its header says %llu and its geometry needs %llu",
                 (unsigned long long)file_bytes, (unsigned long long)copy->total_bytes,
                 (unsigned long long)expected);
        return -EPROTO;
    }
    return 0;
}

void layout_text_store(_Atomic uint64_t *words, uint32_t bytes, const char *text)
{
    /* The last byte is always 0, so that even a torn text ends. strnlen and memcpy are safe in a
     * signal handler. */
    size_t length = strnlen(text, bytes - 1);
    for (uint32_t at = 0; at < bytes; at += 8) {
        uint64_t word = 0;
        if (at < length)
            memcpy(&word, text + at, min_u64(8, length - at));
        atomic_store_explicit(&words[at / 8], word, memory_order_relaxed);
    }
}

void layout_text_load(const _Atomic uint64_t *words, uint32_t bytes, char *text)
{
    for (uint32_t at = 0; at < bytes; at += 8) {
        uint64_t word = atomic_load_explicit(&words[at / 8], memory_order_relaxed);
        memcpy(text + at, &word, 8);
    }
    text[bytes - 1] = 0;
}
