/* Which tiers there are, and which one this CPU gets. */
#include "gpu_worker/cpu_kernels.h"

#include "shm/base.h"

extern const struct cpu_kernels cpu_kernels_avx512, cpu_kernels_avx2, cpu_kernels_portable;

static const struct cpu_kernels *const tiers[] = {
#if defined(__x86_64__)
    &cpu_kernels_avx512,
    &cpu_kernels_avx2,
#endif
    &cpu_kernels_portable,
    NULL,
};

/* As many rows of scores and of results as a register tile has queries. */
#define TILE_ROWS_MAX 4

uint64_t cpu_attention_scratch_bytes(uint32_t max_keys, uint32_t head_dim)
{
    uint64_t keys = align_up_u64(max_keys, CPU_KERNELS_LANES_MAX);
    uint64_t dim = align_up_u64(head_dim, CPU_KERNELS_LANES_MAX);

    return (head_dim * keys + TILE_ROWS_MAX * (keys + dim) + keys * dim) * sizeof(float);
}

const struct cpu_kernels *const *cpu_kernels_all(void)
{
    return tiers;
}

const struct cpu_kernels *cpu_kernels_best(void)
{
    uint32_t i = 0;

    while (!tiers[i]->supported())
        i++; /* ends: the portable tier runs everywhere */
    return tiers[i];
}
