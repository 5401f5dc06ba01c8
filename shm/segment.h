/* The shared-memory segment: one file, mapped by the worker, every frontend and the inspector.
 *
 *     header | control (worker's bell, process table) | lane 0 | lane 1 | ... | lane n-1
 *
 * The first worker creates it, its successors adopt it, frontends attach to it. All bytes are
 * reserved at creation (posix_fallocate), so a /dev/shm that is too small is an error at start and
 * never a SIGBUS under load. shm/layout.h is the only place that declares the shared bytes. */
#ifndef WEIR_SHM_SEGMENT_H
#define WEIR_SHM_SEGMENT_H

#include "shm/base.h"

struct segment_header; /* shm/layout.h */

/* What the creator decides; everybody else copies it out of the header once and checks it. */
struct segment_geometry {
    uint32_t n_lanes;        /* frontends + 1 spare for a rolling restart; 1 .. SEGMENT_LANES_MAX */
    uint32_t slots_per_lane; /* power of two, 2 .. SEGMENT_SLOTS_MAX */
    uint32_t payload_bytes;  /* of one slot: what the frontend writes and the worker reads */
    uint32_t result_bytes;   /* of one slot: what the worker writes and the frontend reads */
};

#define SEGMENT_LANES_MAX 64
#define SEGMENT_SLOTS_MAX 65536

/* A process' own view. Filled by segment_open_*, undone by segment_close; zeroed may be closed. */
struct segment {
    struct segment_header *header;
    uint64_t mapped_bytes;
    struct segment_geometry geometry; /* private copy, checked */
    uint64_t device, inode;           /* of the mapped file: see segment_is_current() */
    bool locked;                      /* the worker's: lock_descriptor holds the file's flock */
    int lock_descriptor;
};

/* Creates `path` (mode 0600), or adopts what a dead worker left there when its geometry, layout
 * version and `model_id` are the same; a file of another shape is replaced by a fresh one.
 * Only one worker may be alive: it holds flock(2) on the file, which the kernel drops at its death;
 * a second one gets -EBUSY. Bumps the worker epoch and counts STATS_WORKER_STARTS.
 * 0 or -errno, with a sentence in `error`. */
int segment_open_worker(struct segment *segment, const char *path,
                        const struct segment_geometry *geometry, const char *model_id,
                        char error[ERROR_BYTES]);

/* Attaches a frontend to an existing segment, read-write. -ENOENT until a worker made it. */
int segment_open_frontend(struct segment *segment, const char *path, char error[ERROR_BYTES]);

/* Maps an existing segment read-only, for the inspector: functions that take a const segment work.
 */
int segment_open_readonly(struct segment *segment, const char *path, char error[ERROR_BYTES]);

void segment_close(struct segment *segment);

/* False when `path` no longer names the mapped file: a worker of another shape replaced it. No
 * worker will ever serve this mapping, so a frontend that finds out exits and is started again. One
 * stat(2): ask once a tick, not once a request. */
bool segment_is_current(const struct segment *segment, const char *path);

/* Increments with every worker that opened the segment; 0 before the first. Acquire. */
uint32_t segment_worker_epoch(const struct segment *segment);

/* The creator's model id, at most 127 bytes, copied and terminated. */
void segment_model_id(const struct segment *segment, char model_id[128]);

#endif
