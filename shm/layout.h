/* Every byte that two processes share, declared once.
 *
 *     0            struct segment_header: identity, worker's epoch, bell, process entry,
 *                  statistics, start
 *     lane_offset  lane 0 | lane 1 | ... | lane n-1       each starts on a page of its own
 *
 *     a lane       struct lane_header: ring ends, bell, process entry, statistics
 *                  uint32_t submit_ring[2 * slots_per_lane]      slot numbers, frontend to worker
 *                  uint32_t complete_ring[2 * slots_per_lane]    slot numbers, worker to frontend
 *                  slots_per_lane x { struct slot_header | payload | result }
 *
 * Rules of these bytes:
 * - One field, one writer; the writer is named beside the field. The exceptions are the state word,
 *   which is handed over by compare-and-swap, and the two words of a doorbell (shm/doorbell.h).
 * - Fields that change while others look are atomic. Plain fields are written by the creator before
 *   `magic` is stored with release and never again; who loads `magic` with acquire may read them.
 * - Payload and result are plain bytes: whoever owns the slot by its state word may touch them.
 * - Positions are free-running uint32_t counters; the entry is `position % ring_entries`.
 * - Nothing here is trusted by its reader: numbers are copied once, bounded, then used.
 *
 * LAYOUT_VERSION changes with any change of meaning; layout_hash() changes by itself with any
 * change of a size, an offset, the list of statistics or of phases, so two builds that disagree
 * never share a segment. */
#ifndef WEIR_SHM_LAYOUT_H
#define WEIR_SHM_LAYOUT_H

#include "shm/process.h"
#include "shm/segment.h"
#include "shm/start.h"
#include "shm/stats.h"
#include <stdatomic.h>

#define LAYOUT_MAGIC      UINT64_C(0x3130524945573a73) /* "s:WEIR01" in memory */
#define LAYOUT_VERSION    2
#define LAYOUT_PAGE_BYTES 4096

/* Largest payload and result of a slot: bounds the arithmetic, far above any model. */
#define LAYOUT_SLOT_PART_BYTES_MAX (1u << 20)

/* Text that changes while others read it: relaxed words, so that no reader meets undefined
 * behaviour, only old letters beside new ones. */
#define LAYOUT_TEXT(bytes)                   \
    struct {                                 \
        _Atomic uint64_t words[(bytes) / 8]; \
    }

struct doorbell {
    _Atomic uint32_t rings; /* the futex word; ringers add one */
    /* 1: the owner sleeps or is about to; set by him, taken by a ringer. */
    _Atomic uint32_t sleeping;
    uint8_t unused[56];
};

struct process_entry { /* writer: the process that claimed it */
    _Atomic uint32_t pid;
    _Atomic uint32_t state;       /* enum process_state */
    _Atomic uint64_t start_ticks; /* /proc/PID/stat field 22 */
    _Atomic uint64_t started_ns;
    _Atomic uint64_t heartbeat_ns;
    _Atomic uint64_t last_batch_ns;
    uint8_t unused[24];
    LAYOUT_TEXT(64) description;
    LAYOUT_TEXT(PROCESS_LAST_WORDS_SIZE) last_words;
};

struct stats_histogram_shared {
    _Atomic uint64_t buckets[STATS_BUCKETS_COUNT];
    _Atomic uint64_t sum;
};

struct stats_block { /* writer: the worker, or the lane's frontend (its loop thread) */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t counters[STATS_COUNTER_COUNT];
    struct stats_histogram_shared histograms[STATS_HISTOGRAM_COUNT];
};

struct start_times { /* writer: the worker */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t phase_ns[START_PHASE_COUNT];
    _Atomic uint64_t total_ns;
};

struct segment_identity {   /* writer: the creator, before anybody else can see the file */
    _Atomic uint64_t magic; /* stored last */
    uint32_t layout_version;
    uint32_t header_bytes; /* sizeof(struct segment_header) */
    uint64_t layout_hash;
    uint64_t total_bytes; /* of the file */
    uint64_t created_ns;  /* clock_now_ns() */
    uint64_t created_unix_ns;
    uint32_t n_lanes;
    uint32_t slots_per_lane;
    uint32_t payload_bytes;
    uint32_t result_bytes;
    char model_id[128]; /* terminated */
};

struct segment_header {
    struct segment_identity identity;
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t worker_epoch; /* worker, at start */
    _Alignas(CACHE_LINE_BYTES) struct doorbell worker_bell; /* frontends ring, the worker sleeps */
    struct process_entry worker;
    struct stats_block worker_stats;
    struct start_times worker_start;
};

struct lane_header {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t submit_tail;        /* frontend */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t submit_head;        /* worker: entries peeked at */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t complete_tail;      /* worker */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t complete_head;      /* frontend's loop thread */
    _Alignas(CACHE_LINE_BYTES) _Atomic uint32_t complete_announced; /* its completion thread */
    _Alignas(CACHE_LINE_BYTES) struct doorbell bell; /* the worker rings, that thread sleeps */
    struct process_entry frontend;
    struct stats_block stats;
};

/*  63        32 31      16 15     8 7      0
 *  | generation |  epoch  | tries  | state  |
 *
 * generation  counts the slot's uses; grows when the slot becomes FREE, so that a late actor's
 *             compare-and-swap on an earlier use fails
 * epoch       low bits of the worker's epoch while RUNNING (and DONE after that), else 0
 * tries       workers that took the slot; while QUEUED: all of them dead */
enum slot_state {
    SLOT_STATE_FREE,    /* the frontend's: free, or reserved and being written */
    SLOT_STATE_QUEUED,  /* nobody's: the worker takes it or the frontend cancels it, by CAS */
    SLOT_STATE_RUNNING, /* the worker's */
    SLOT_STATE_DONE,    /* the frontend's: result to be read */
    SLOT_STATE_COUNT,
};

struct slot_header {
    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t state_word; /* handed over: see above */
    _Atomic uint64_t submitted_ns;                          /* frontend, as the next three */
    _Atomic uint64_t deadline_ns;
    _Atomic uint32_t weight;
    _Atomic uint32_t payload_used; /* bytes of the payload that were written */

    _Alignas(CACHE_LINE_BYTES) _Atomic uint64_t taken_ns; /* worker, as the next three */
    _Atomic uint64_t done_ns;
    _Atomic uint32_t status; /* enum lane_status */
    _Atomic uint32_t batch_weight;
};

_Static_assert(sizeof(struct doorbell) == 64, "a doorbell fills its cache line");
_Static_assert(sizeof(struct process_entry) == 320, "process entry: 64 + 64 + 192");
_Static_assert(offsetof(struct process_entry, description) == 64, "texts start on a cache line");
_Static_assert(sizeof(struct stats_block) % CACHE_LINE_BYTES == 0, "blocks share no cache line");
_Static_assert(offsetof(struct segment_identity, model_id) == 64, "the numbers: one cache line");
_Static_assert(offsetof(struct segment_header, worker_epoch) == 192, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct segment_header, worker_bell) == 256, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct segment_header, worker) == 320, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct segment_header, worker_stats) == 640, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct lane_header, bell) == 320, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct lane_header, frontend) == 384, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct lane_header, stats) == 704, "moved: new LAYOUT_VERSION");
_Static_assert(offsetof(struct slot_header, taken_ns) == 64, "the two writers share no cache line");
_Static_assert(sizeof(struct slot_header) == 128, "a slot's header is two cache lines");
_Static_assert(ATOMIC_INT_LOCK_FREE == 2 && ATOMIC_LLONG_LOCK_FREE == 2,
               "atomics with a hidden lock do not work between processes");

/* ---- where things lie; all from the private, checked copy of the geometry ---- */

static inline uint32_t layout_ring_entries(const struct segment_geometry *geometry)
{
    return 2 * geometry->slots_per_lane;
}

static inline uint64_t layout_slot_stride(const struct segment_geometry *geometry)
{
    return sizeof(struct slot_header) + align_up_u64(geometry->payload_bytes, CACHE_LINE_BYTES) +
           align_up_u64(geometry->result_bytes, CACHE_LINE_BYTES);
}

static inline uint64_t layout_slots_offset(const struct segment_geometry *geometry)
{
    return align_up_u64(sizeof(struct lane_header) +
                            UINT64_C(2) * layout_ring_entries(geometry) * sizeof(uint32_t),
                        CACHE_LINE_BYTES);
}

static inline uint64_t layout_lane_stride(const struct segment_geometry *geometry)
{
    return align_up_u64(layout_slots_offset(geometry) +
                            geometry->slots_per_lane * layout_slot_stride(geometry),
                        LAYOUT_PAGE_BYTES);
}

static inline uint64_t layout_lane_offset(const struct segment_geometry *geometry, uint32_t index)
{
    return align_up_u64(sizeof(struct segment_header), LAYOUT_PAGE_BYTES) +
           index * layout_lane_stride(geometry);
}

static inline uint64_t layout_total_bytes(const struct segment_geometry *geometry)
{
    return layout_lane_offset(geometry, geometry->n_lanes);
}

static inline struct lane_header *layout_lane(const struct segment *segment, uint32_t lane_index)
{
    CHECK(lane_index < segment->geometry.n_lanes);
    return (struct lane_header *)((char *)segment->header +
                                  layout_lane_offset(&segment->geometry, lane_index));
}

static inline _Atomic uint32_t *layout_submit_ring(struct lane_header *lane)
{
    return (_Atomic uint32_t *)(lane + 1);
}

static inline _Atomic uint32_t *layout_complete_ring(struct lane_header *lane,
                                                     const struct segment_geometry *geometry)
{
    return layout_submit_ring(lane) + layout_ring_entries(geometry);
}

static inline struct slot_header *
layout_slot(struct lane_header *lane, const struct segment_geometry *geometry, uint32_t slot_index)
{
    CHECK(slot_index < geometry->slots_per_lane);
    return (struct slot_header *)((char *)lane + layout_slots_offset(geometry) +
                                  slot_index * layout_slot_stride(geometry));
}

static inline void *layout_payload(struct slot_header *slot)
{
    return slot + 1;
}

static inline void *layout_result(struct slot_header *slot, const struct segment_geometry *geometry)
{
    return (char *)layout_payload(slot) + align_up_u64(geometry->payload_bytes, CACHE_LINE_BYTES);
}

/* ---- the state word ---- */

static inline uint64_t slot_word(uint32_t generation, uint32_t epoch, uint32_t tries,
                                 enum slot_state state)
{
    return (uint64_t)generation << 32 | (uint64_t)(epoch & 0xffff) << 16 |
           (uint64_t)(tries & 0xff) << 8 | (uint64_t)state;
}

static inline uint32_t slot_word_generation(uint64_t word)
{
    return (uint32_t)(word >> 32);
}

static inline uint32_t slot_word_epoch(uint64_t word)
{
    return (uint32_t)(word >> 16) & 0xffff;
}

static inline uint32_t slot_word_tries(uint64_t word)
{
    return (uint32_t)(word >> 8) & 0xff;
}

/* Any byte may stand there: a value of SLOT_STATE_COUNT or more is somebody's damage. */
static inline uint32_t slot_word_state(uint64_t word)
{
    return (uint32_t)word & 0xff;
}

/* ---- identity ---- */

/* FNV-1a over the sizes above and the names of all statistics, in order. */
uint64_t layout_hash(void);

/* What is wrong with these numbers, or NULL. */
const char *layout_geometry_fault(const struct segment_geometry *geometry);

/* Checks a private copy of an identity against this build and the file's size and fills `geometry`.
 * 0; -ENOENT: not (yet) a segment; -EPROTO: another build's, or damaged. The sentence in `error`
 * begins in lower case and does not name the file. */
int layout_check(const struct segment_identity *copy, uint64_t file_bytes,
                 struct segment_geometry *geometry, char error[ERROR_BYTES]);

/* Relaxed copies of text that others may be writing or reading now. `bytes` is a multiple of 8. */
void layout_text_store(_Atomic uint64_t *words, uint32_t bytes, const char *text);
void layout_text_load(const _Atomic uint64_t *words, uint32_t bytes, char *text);

#endif
