/* A worker in a process of its own, with the real loop, the real lanes and a made-up encoder, and
 * the frontend's side of its lanes for the test to play.
 *
 * The made-up encoder's logits are a hash of the text, so a result that went to the wrong slot or
 * was made of another text shows. Two tokens make it misbehave. */
#ifndef WEIR_TESTS_GPU_WORKER_WORKER_PROCESS_H
#define WEIR_TESTS_GPU_WORKER_WORKER_PROCESS_H

#include "gpu_worker/worker.h"
#include "shm/process.h"

#include <sys/types.h>

#define KIT_LANES      3
#define KIT_SLOTS      256
#define KIT_TOKENS     40 /* of a text */
#define KIT_VOCAB      1000
#define KIT_LABELS     3
#define KIT_FAIL_TOKEN 990 /* forward() returns -EIO */

#define KIT_EXIT_FAILED    3 /* worker_run() returned an error */
#define KIT_EXIT_ALLOCATED 4 /* our code took memory in the loop, or some was kept */

extern const struct job_shape kit_shape;
/* create() takes no model. */
extern const struct encoder_backend kit_backend;

/* Logits of a text as the made-up encoder gives them. */
void kit_logits(const uint32_t *input_ids, uint32_t n_tokens, uint32_t type_start, float *logits);

/* Starts a worker on the segment's file `path` and waits until it is ready. Its pid. */
pid_t kit_start_worker(const char *path);
/* Waits for its end: exit status, or -signal. */
int kit_await_end(pid_t pid);
/* SIGTERM, then kit_await_end(). */
int kit_stop_worker(pid_t pid);

/* A text made of numbers that `number` decides, 1..KIT_TOKENS tokens, none of the special ones. */
struct kit_text {
    uint32_t input_ids[KIT_TOKENS];
    uint32_t n_tokens, type_start;
};
struct kit_text kit_text(uint32_t number);

/* Submits a text whose deadline is far away. The slot. Exits when the lane is full. */
uint32_t kit_submit(struct lane_producer *producer, const struct kit_text *text);
/* The next completion, waiting for it; exits when none comes for 20 s. */
struct lane_completion kit_reap(struct lane_producer *producer);

#endif
