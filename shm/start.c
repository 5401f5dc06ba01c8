/* Writing and reading the block of struct start_times; the words of its phases. */
#include "shm/start.h"
#include "shm/layout.h"

/* Relaxed throughout: each number stands for itself, and a reader that meets a start half told
 * shows a start half done. */
void start_begin(struct segment *segment)
{
    struct start_times *times = &segment->header->worker_start;
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        atomic_store_explicit(&times->phase_ns[i], 0, memory_order_relaxed);
    atomic_store_explicit(&times->total_ns, 0, memory_order_relaxed);
}

void start_add(struct segment *segment, enum start_phase phase, uint64_t took_ns)
{
    CHECK(phase < START_PHASE_COUNT);
    _Atomic uint64_t *phase_ns = &segment->header->worker_start.phase_ns[phase];
    uint64_t before_ns = atomic_load_explicit(phase_ns, memory_order_relaxed);
    atomic_store_explicit(phase_ns, before_ns + took_ns, memory_order_relaxed);
}

void start_end(struct segment *segment, uint64_t total_ns)
{
    atomic_store_explicit(&segment->header->worker_start.total_ns, total_ns, memory_order_relaxed);
}

void start_read(const struct segment *segment, struct start_view *view)
{
    const struct start_times *times = &segment->header->worker_start;
    for (uint32_t i = 0; i < START_PHASE_COUNT; i++)
        view->phase_ns[i] = atomic_load_explicit(&times->phase_ns[i], memory_order_relaxed);
    view->total_ns = atomic_load_explicit(&times->total_ns, memory_order_relaxed);
}

const char *start_phase_word(enum start_phase phase)
{
#define PHASE_WORD(identifier, word, help) word,
    static const char *const words[] = {START_PHASES(PHASE_WORD)};
    CHECK(phase < START_PHASE_COUNT);
    return words[phase];
}
