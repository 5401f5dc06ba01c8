/* The encoder's memory: one device allocation and one of mapped, pinned host memory, each planned
 * as a table of named regions before it is taken, so that it can be printed and nothing is
 * allocated later. */
#ifndef WEIR_GPU_WORKER_CUDA_MEMORY_H
#define WEIR_GPU_WORKER_CUDA_MEMORY_H

#include "shm/base.h"

#define CUDA_REGIONS_MAX      1024
#define CUDA_REGION_ALIGNMENT 256 /* what cuBLASLt likes best */

struct cuda_region {
    const char *name; /* regions of one name follow one another and print as one line */
    uint64_t offset, bytes;
    void **place; /* set to the region's address */
};

struct cuda_plan {
    const char *title;
    struct cuda_region regions[CUDA_REGIONS_MAX];
    uint32_t n_regions;
    uint64_t total_bytes;
    void *memory;        /* where regions lie, for this process or the card */
    void *device_memory; /* the card's address of the same; differs only for mapped memory */
};

void cuda_plan_init(struct cuda_plan *plan, const char *title);

/* Asks for `bytes`; `place` is set by the opening. */
void cuda_plan_add(struct cuda_plan *plan, const char *name, uint64_t bytes, void **place);

/* Takes the memory, zeroed, and sets all places. 0 or -EIO with a sentence. */
int cuda_plan_open_device(struct cuda_plan *plan, char error[ERROR_BYTES]);
int cuda_plan_open_mapped(struct cuda_plan *plan, char error[ERROR_BYTES]);
void cuda_plan_close_device(struct cuda_plan *plan);
void cuda_plan_close_mapped(struct cuda_plan *plan);

/* The card's address of a place in mapped memory. */
void *cuda_plan_device_address(const struct cuda_plan *plan, const void *place);

/* One log line for each name, and the sum. */
void cuda_plan_print(const struct cuda_plan *plan);

#endif
