/* Where things lie, and which headers are refused with which sentence. */
#include "shm/layout.h"
#include "tests/test.h"
#include <errno.h>

static const struct segment_geometry good = {
    .n_lanes = 3, .slots_per_lane = 8, .payload_bytes = 100, .result_bytes = 20};

static struct segment_identity identity_of(const struct segment_geometry *geometry)
{
    return (struct segment_identity){
        .magic = LAYOUT_MAGIC,
        .layout_version = LAYOUT_VERSION,
        .header_bytes = sizeof(struct segment_header),
        .layout_hash = layout_hash(),
        .total_bytes = layout_total_bytes(geometry),
        .n_lanes = geometry->n_lanes,
        .slots_per_lane = geometry->slots_per_lane,
        .payload_bytes = geometry->payload_bytes,
        .result_bytes = geometry->result_bytes,
    };
}

static void parts_do_not_overlap_and_start_on_their_lines(void)
{
    static const uint32_t sizes[] = {1, 63, 64, 65, 1000};
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++) {
        struct segment_geometry geometry = {
            .n_lanes = 2, .slots_per_lane = 4, .payload_bytes = sizes[i], .result_bytes = sizes[i]};
        uint64_t total_bytes = layout_total_bytes(&geometry);
        struct segment segment = {.header = aligned_alloc(4096, total_bytes), .geometry = geometry};
        char *end = (char *)segment.header + sizeof(struct segment_header);
        for (uint32_t lane_index = 0; lane_index < 2; lane_index++) {
            struct lane_header *lane = layout_lane(&segment, lane_index);
            EXPECT((char *)lane >= end && (uintptr_t)lane % 4096 == 0);
            EXPECT((char *)layout_submit_ring(lane) == (char *)(lane + 1));
            EXPECT(layout_complete_ring(lane, &geometry) == layout_submit_ring(lane) + 8);
            end = (char *)(layout_complete_ring(lane, &geometry) + 8);
            for (uint32_t slot_index = 0; slot_index < 4; slot_index++) {
                struct slot_header *slot = layout_slot(lane, &geometry, slot_index);
                EXPECT((char *)slot >= end && (uintptr_t)slot % CACHE_LINE_BYTES == 0);
                char *result = layout_result(slot, &geometry);
                EXPECT(result >= (char *)layout_payload(slot) + sizes[i]);
                EXPECT((uintptr_t)result % CACHE_LINE_BYTES == 0);
                end = result + sizes[i];
            }
        }
        EXPECT(end <= (char *)segment.header + total_bytes);
        free(segment.header);
    }
}

static void the_largest_geometry_does_not_overflow(void)
{
    struct segment_geometry geometry = {.n_lanes = SEGMENT_LANES_MAX,
                                        .slots_per_lane = SEGMENT_SLOTS_MAX,
                                        .payload_bytes = LAYOUT_SLOT_PART_BYTES_MAX,
                                        .result_bytes = LAYOUT_SLOT_PART_BYTES_MAX};
    EXPECT(layout_geometry_fault(&geometry) == NULL);
    EXPECT(layout_total_bytes(&geometry) > UINT64_C(64) * 65536 * 2 * 1048576);
    EXPECT(layout_total_bytes(&geometry) < UINT64_C(1) << 44);
}

static void a_geometry_is_refused_just_outside_its_limits(void)
{
    static const struct {
        uint32_t n_lanes, slots, payload, result;
        bool is_good;
    } cases[] = {
        {0, 8, 1, 1, false},  {1, 8, 1, 1, true},       {64, 8, 1, 1, true},
        {65, 8, 1, 1, false}, {1, 1, 1, 1, false},      {1, 2, 1, 1, true},
        {1, 3, 1, 1, false},  {1, 65536, 1, 1, true},   {1, 131072, 1, 1, false},
        {1, 8, 0, 1, false},  {1, 8, 1048576, 1, true}, {1, 8, 1048577, 1, false},
        {1, 8, 1, 0, false},  {1, 8, 1, 1048576, true}, {1, 8, 1, 1048577, false},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct segment_geometry geometry = {cases[i].n_lanes, cases[i].slots, cases[i].payload,
                                            cases[i].result};
        EXPECT_EQUAL(layout_geometry_fault(&geometry) == NULL, cases[i].is_good);
    }
}

static void a_good_identity_gives_its_geometry(void)
{
    struct segment_identity identity = identity_of(&good);
    struct segment_geometry geometry;
    char error[ERROR_BYTES];
    EXPECT_EQUAL(layout_check(&identity, identity.total_bytes, &geometry, error), 0);
    EXPECT(memcmp(&geometry, &good, sizeof(good)) == 0);
}

static void expect_refused(const struct segment_identity *identity, uint64_t file_bytes, int code,
                           const char *sentence)
{
    struct segment_geometry geometry;
    char error[ERROR_BYTES];
    EXPECT_EQUAL(layout_check(identity, file_bytes, &geometry, error), code);
    EXPECT_STRING(error, sentence);
}

static void each_wrong_number_is_refused_with_its_own_sentence(void)
{
    struct segment_identity identity = identity_of(&good);
    uint64_t bytes = identity.total_bytes;
    char sentence[ERROR_BYTES];
    identity.magic = 0;
    expect_refused(&identity, bytes, -ENOENT, "is not a segment yet: its creator has not finished");
    identity.magic = LAYOUT_MAGIC + 1;
    expect_refused(&identity, bytes, -EPROTO, "is not a weir segment (wrong magic)");
    identity = identity_of(&good);
    identity.layout_version = 99;
    snprintf(sentence, sizeof(sentence), "has layout version 99, this program reads version %d",
             LAYOUT_VERSION);
    expect_refused(&identity, bytes, -EPROTO, sentence);
    identity = identity_of(&good);
    identity.layout_hash++;
    expect_refused(&identity, bytes, -EPROTO,
                   "was made by another build of weir (layout hash differs)");
    identity = identity_of(&good);
    identity.slots_per_lane = 7;
    expect_refused(&identity, bytes, -EPROTO,
                   "has a damaged header: the slots of a lane are not a power of two");
    identity = identity_of(&good);
    snprintf(sentence, sizeof(sentence),
             "has %" PRIu64 " bytes, its header says %" PRIu64 " and its geometry needs %" PRIu64,
             bytes - 1, bytes, bytes);
    expect_refused(&identity, bytes - 1, -EPROTO, sentence);
}

static void the_state_word_keeps_its_four_parts(void)
{
    uint64_t word = slot_word(0x12345678, 0x1abcd, 0x1ef, SLOT_STATE_DONE);
    EXPECT_EQUAL(slot_word_generation(word), 0x12345678);
    EXPECT_EQUAL(slot_word_epoch(word), 0xabcd); /* its low bits */
    EXPECT_EQUAL(slot_word_tries(word), 0xef);
    EXPECT_EQUAL(slot_word_state(word), SLOT_STATE_DONE);
    EXPECT_EQUAL(slot_word_state(UINT64_MAX), 255);
    EXPECT_EQUAL(slot_word(0, 0, 0, SLOT_STATE_FREE), 0); /* what a fresh file holds */
}

static void texts_are_cut_terminated_and_survive_damage(void)
{
    _Atomic uint64_t words[2];
    char text[16];
    layout_text_store(words, sizeof(words), "short");
    layout_text_load(words, sizeof(words), text);
    EXPECT_STRING(text, "short");
    layout_text_store(words, sizeof(words), "0123456789abcdefghij");
    layout_text_load(words, sizeof(words), text);
    EXPECT_STRING(text, "0123456789abcde");
    layout_text_store(words, sizeof(words), "");
    layout_text_load(words, sizeof(words), text);
    EXPECT_STRING(text, "");
    atomic_store(&words[0], UINT64_MAX);
    atomic_store(&words[1], UINT64_MAX);
    layout_text_load(words, sizeof(words), text);
    EXPECT_EQUAL(strlen(text), 15);
}

int main(void)
{
    RUN(parts_do_not_overlap_and_start_on_their_lines);
    RUN(the_largest_geometry_does_not_overflow);
    RUN(a_geometry_is_refused_just_outside_its_limits);
    RUN(a_good_identity_gives_its_geometry);
    RUN(each_wrong_number_is_refused_with_its_own_sentence);
    RUN(the_state_word_keeps_its_four_parts);
    RUN(texts_are_cut_terminated_and_survive_damage);
    return 0;
}
