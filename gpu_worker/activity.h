/* What the worker is busy with, for the sentence it leaves when it dies (shm/last_words.h). */
#ifndef WEIR_GPU_WORKER_ACTIVITY_H
#define WEIR_GPU_WORKER_ACTIVITY_H

#include "shm/last_words.h"

/* The encoder runs these, in all its batches together; 0 batches: nothing. */
void activity_running(uint32_t n_batches, uint32_t n_sequences, uint32_t n_tokens);

/* For last_words_install(). */
void activity_describe(struct last_words_sentence *sentence);

#endif
