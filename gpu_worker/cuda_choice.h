/* Which algorithm each GEMM has in each bucket, and when that is found out.
 *
 *     begin     before the first answer: every GEMM's reference, for its largest bucket; and the
 *               smallest bucket of tokens and of sequences, so that a first text finds a small one
 *     settle    afterwards, by the thread of cuda_graphs.h: one more bucket, all its GEMMs, which
 *               is then ready (cuda_bucket.h)
 *     end       when all are through
 *
 * A bucket whose trial fails, in whatever call, stays as it was: its batches run in the next larger
 * one that is ready. So no batch ever runs by an algorithm that was not seen to give the
 * reference's bits.
 *
 * With a tune file all is taken from the file, and settling asks only whether it can be captured.
 * Where there is none that serves, everything is timed in begin(): times taken beside batches would
 * be times of both. */
#ifndef WEIR_GPU_WORKER_CUDA_CHOICE_H
#define WEIR_GPU_WORKER_CUDA_CHOICE_H

#include "gpu_worker/cuda_trial.h"

struct encoder;

struct cuda_choice {
    bool loaded;          /* the algorithms come from the tune file */
    bool has_changed;     /* but not all of them any more */
    bool ffn_by_time;     /* WEIR_CUDA_FFN=auto, and our GEMM can do it */
    bool own_ffn_is_fast; /* says the tune file, or would */
    bool has_reference[CUDA_TRIAL_GEMMS];
};

/* 0 or -errno with a sentence. The encoder has nothing in flight, and no thread yet. */
int cuda_choice_begin(struct encoder *encoder, char error[ERROR_BYTES]);

/* Chooses for a bucket of `buckets`, which are the owner's tokens or sequences, on the twin's
 * stream and handle; then hands the algorithms to the owner, and the bucket is ready. 0, or -EIO
 * with a sentence where it is not. The owner may be the twin. */
int cuda_choice_settle(struct encoder *twin, struct encoder *owner, struct cuda_buckets *buckets,
                       uint32_t bucket, char error[ERROR_BYTES]);

/* Makes a tune file good that held something which could not be captured. */
void cuda_choice_end(const struct encoder *twin);

#endif
