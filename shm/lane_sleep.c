/* Where the two sides of a lane sleep, and how full it is.
 *
 * No sleep is longer than LANE_SCAN_PERIOD_NS, whatever the caller allows: who died between taking
 * a bell's flag and waking the sleeper, or before his ring entry, is made good by the next scan. */
#include "shm/doorbell.h"
#include "shm/lane.h"
#include "shm/layout.h"

/* Turns of the spin between two looks at the clock. */
#define SPINS_PER_CLOCK 32

/* ---- the worker ---- */

/* seq_cst: the load R of doorbell.h's argument; pairs with the store in push_submission(). */
static bool has_work(const struct lane_consumer *consumers, uint32_t n_consumers)
{
    for (uint32_t i = 0; i < n_consumers; i++) {
        uint32_t tail = atomic_load_explicit(
            &layout_lane(consumers[i].segment, consumers[i].lane_index)->submit_tail,
            memory_order_seq_cst);
        if (tail != consumers[i].peek_position || consumers[i].n_found > 0)
            return true;
    }
    return false;
}

static bool spin_for_work(const struct lane_consumer *consumers, uint32_t n_consumers,
                          uint64_t spin_ns)
{
    uint64_t end_ns = clock_now_ns() + spin_ns;
    do {
        for (int i = 0; i < SPINS_PER_CLOCK; i++) {
            if (has_work(consumers, n_consumers))
                return true;
            doorbell_relax();
        }
    } while (clock_now_ns() < end_ns);
    return false;
}

bool lane_wait_work(struct lane_consumer *consumers, uint32_t n_consumers, uint64_t spin_ns,
                    uint64_t timeout_ns)
{
    CHECK(n_consumers > 0);
    if (has_work(consumers, n_consumers))
        return true;
    if (spin_ns > 0 && spin_for_work(consumers, n_consumers, spin_ns))
        return true;
    struct doorbell *bell = &consumers[0].segment->header->worker_bell;
    doorbell_announce(bell);
    /* Compared with the count at the end of the last wait, not with now's: so a wake-up that came
     * while the worker was busy, say a signal just before this call, ends this sleep. */
    if (!has_work(consumers, n_consumers))
        doorbell_sleep(bell, consumers[0].rings_seen, min_u64(timeout_ns, LANE_SCAN_PERIOD_NS));
    doorbell_withdraw(bell);
    consumers[0].rings_seen = doorbell_rings(bell);
    return has_work(consumers, n_consumers);
}

void lane_wake_worker(struct segment *segment)
{
    doorbell_ring_always(&segment->header->worker_bell);
}

/* ---- the frontend's completion thread ---- */

/* seq_cst: the load R of doorbell.h's argument; pairs with the store in push_completion(). */
static bool has_unannounced(struct lane_header *lane)
{
    uint32_t tail = atomic_load_explicit(&lane->complete_tail, memory_order_seq_cst);
    return tail != atomic_load_explicit(&lane->complete_announced, memory_order_relaxed) &&
           tail != atomic_load_explicit(&lane->complete_head, memory_order_relaxed);
}

bool lane_wait_completion(struct segment *segment, uint32_t lane_index, uint64_t timeout_ns)
{
    struct lane_header *lane = layout_lane(segment, lane_index);
    uint32_t rings_seen = doorbell_rings(&lane->bell);
    doorbell_announce(&lane->bell);
    if (!has_unannounced(lane))
        doorbell_sleep(&lane->bell, rings_seen, min_u64(timeout_ns, LANE_SCAN_PERIOD_NS));
    doorbell_withdraw(&lane->bell);
    if (!has_unannounced(lane))
        return false;
    atomic_store_explicit(&lane->complete_announced,
                          atomic_load_explicit(&lane->complete_tail, memory_order_relaxed),
                          memory_order_relaxed);
    return true;
}

/* ---- anybody ---- */

uint32_t lane_depth(const struct segment *segment, uint32_t lane_index)
{
    struct lane_header *lane = layout_lane(segment, lane_index);
    uint32_t depth = 0;
    for (uint32_t i = 0; i < segment->geometry.slots_per_lane; i++) {
        uint64_t word = atomic_load_explicit(&layout_slot(lane, &segment->geometry, i)->state_word,
                                             memory_order_relaxed);
        uint32_t state = slot_word_state(word);
        depth += state == SLOT_STATE_QUEUED || state == SLOT_STATE_RUNNING;
    }
    return depth;
}
