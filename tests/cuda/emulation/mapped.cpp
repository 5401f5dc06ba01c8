/* Mapped memory's order: what a thread wrote there and has not fenced yet. The emulated GPU's own
 * memory is in order, so the writes are only watched: a word that differs was written by the thread
 * that ran since the last look. */
#include "emulation/machine.h"

#include <vector>

namespace gpu
{

constexpr int64_t NOBODY = -1;

static const uint32_t *watched;
static std::vector<uint32_t> seen;
static std::vector<int64_t> writers; /* by word: who has not fenced since; NOBODY: all have */

void watch_mapped_words(const void *words, size_t bytes)
{
    watched = (const uint32_t *)words;
    seen.assign(watched, watched + bytes / sizeof *watched);
    writers.assign(seen.size(), NOBODY);
}

void forget_mapped_writes()
{
    watch_mapped_words(watched, seen.size() * sizeof *watched);
}

static int64_t running_thread()
{
    const machine &m = the_machine;
    return (int64_t)(m.block.y * m.grid_dim.x + m.block.x) * THREADS_MAX + (m.running - m.fibers);
}

void look_at_mapped_words()
{
    for (size_t i = 0; i < seen.size(); i++)
        if (seen[i] != watched[i]) {
            seen[i] = watched[i];
            writers[i] = running_thread();
        }
}

void system_fence()
{
    look_at_mapped_words();
    for (int64_t &writer : writers)
        if (writer == running_thread())
            writer = NOBODY;
    __atomic_thread_fence(__ATOMIC_SEQ_CST);
}

void check_mapped_words()
{
    look_at_mapped_words();
    for (int64_t writer : writers)
        if (writer != NOBODY)
            fail("the host is told of what a thread wrote and has not fenced");
}

} // namespace gpu
