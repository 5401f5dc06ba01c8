/* Planned memory; see cuda_memory.h. */
#include "gpu_worker/cuda_memory.h"

#include <string.h>

#include <cuda_runtime_api.h>

#include "gpu_worker/cuda_error.h"
#include "shm/log.h"

void cuda_plan_init(struct cuda_plan *plan, const char *title)
{
    memset(plan, 0, sizeof *plan);
    plan->title = title;
}

void cuda_plan_add(struct cuda_plan *plan, const char *name, uint64_t bytes, void **place)
{
    CHECK(plan->memory == NULL && plan->n_regions < CUDA_REGIONS_MAX);
    plan->regions[plan->n_regions++] = (struct cuda_region){name, plan->total_bytes, bytes, place};
    plan->total_bytes += align_up_u64(bytes, CUDA_REGION_ALIGNMENT);
}

static void set_places(struct cuda_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_regions; i++)
        *plan->regions[i].place = (char *)plan->memory + plan->regions[i].offset;
}

int cuda_plan_open_device(struct cuda_plan *plan, char error[ERROR_BYTES])
{
    int result = cuda_check(cudaMalloc(&plan->memory, plan->total_bytes),
                            "the allocation of the encoder's memory", error);
    if (result != 0) {
        plan->memory = NULL;
        return result;
    }
    plan->device_memory = plan->memory;
    set_places(plan);
    return cuda_check(cudaMemset(plan->memory, 0, plan->total_bytes), "clearing memory", error);
}

int cuda_plan_open_mapped(struct cuda_plan *plan, char error[ERROR_BYTES])
{
    int result = cuda_check(cudaHostAlloc(&plan->memory, plan->total_bytes, cudaHostAllocMapped),
                            "the allocation of pinned memory", error);
    if (result != 0) {
        plan->memory = NULL;
        return result;
    }
    memset(plan->memory, 0, plan->total_bytes);
    set_places(plan);
    return cuda_check(cudaHostGetDevicePointer(&plan->device_memory, plan->memory, 0),
                      "the mapping of pinned memory", error);
}

void cuda_plan_close_device(struct cuda_plan *plan)
{
    if (plan->memory != NULL)
        cuda_check_logged(cudaFree(plan->memory), "cudaFree");
    plan->memory = NULL;
}

void cuda_plan_close_mapped(struct cuda_plan *plan)
{
    if (plan->memory != NULL)
        cuda_check_logged(cudaFreeHost(plan->memory), "cudaFreeHost");
    plan->memory = NULL;
}

void *cuda_plan_device_address(const struct cuda_plan *plan, const void *place)
{
    const uint64_t offset = (uint64_t)((const char *)place - (const char *)plan->memory);
    CHECK(offset < plan->total_bytes);
    return (char *)plan->device_memory + offset;
}

void cuda_plan_print(const struct cuda_plan *plan)
{
    for (uint32_t i = 0; i < plan->n_regions;) {
        const char *name = plan->regions[i].name;
        uint64_t bytes = 0;
        for (; i < plan->n_regions && strcmp(plan->regions[i].name, name) == 0; i++)
            bytes += align_up_u64(plan->regions[i].bytes, CUDA_REGION_ALIGNMENT);
        log_info("%s: %-24s %9.2f MB", plan->title, name, (double)bytes / 1e6);
    }
    log_info("%s: %-24s %9.2f MB", plan->title, "sum", (double)plan->total_bytes / 1e6);
}
