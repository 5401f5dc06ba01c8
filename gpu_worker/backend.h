/* Which encoder serves: `--backend cpu`, `cuda`, or `auto`, which is cuda where the module is
 * installed and finds a card it can use, and cpu elsewhere. The CUDA backend is a module opened at
 * run time, so one worker binary serves both kinds of machine and a machine without a card needs
 * none of its libraries. */
#ifndef WEIR_GPU_WORKER_BACKEND_H
#define WEIR_GPU_WORKER_BACKEND_H

#include "gpu_worker/encoder.h"

struct backend_choice {
    const struct encoder_backend *backend;
    struct encoder *encoder;
    uint32_t max_batch_tokens; /* as asked, or lower where more gains nothing */
    void *module;              /* of dlopen(), or NULL */
};

/* `word` is one of "auto", "cpu", "cuda". 0 or -errno with a sentence. A zeroed choice may be
 * closed. */
int backend_open(struct backend_choice *choice, const char *word, const struct model *model,
                 const struct encoder_options *options, char error[ERROR_BYTES]);
void backend_close(struct backend_choice *choice);

#endif
