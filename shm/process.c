/* Writing one's own entry of the process table, reading anybody's, asking the kernel who lives. */
#include "shm/process.h"
#include "shm/layout.h"
#include "shm/step.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct process_entry *entry_of(const struct segment *segment, uint32_t index)
{
    if (index == PROCESS_WORKER)
        return &segment->header->worker;
    return &layout_lane(segment, index)->frontend;
}

/* Field 3 (state) and field 22 (start time) of /proc/PID/stat. False when there is no such process.
 * The name in field 2 may hold spaces and brackets: fields are counted from the last ')'. */
static bool read_proc_stat(uint32_t pid, char *run_state, uint64_t *start_ticks)
{
    char path[32], text[1024];
    snprintf(path, sizeof(path), "/proc/%u/stat", pid);
    int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    if (descriptor < 0)
        return false;
    ssize_t size = read(descriptor, text, sizeof(text) - 1);
    close(descriptor);
    if (size <= 0)
        return false;
    text[size] = 0;
    const char *at = strrchr(text, ')');
    if (!at || at[1] != ' ' || !at[2])
        return false;
    *run_state = at[2];
    for (int field = 2; field < 22; field++) {
        at = strchr(at + 1, ' ');
        if (!at)
            return false;
    }
    *start_ticks = strtoull(at + 1, NULL, 10);
    return true;
}

void process_claim(struct segment *segment, uint32_t index)
{
    struct process_entry *entry = entry_of(segment, index);
    char run_state;
    uint64_t start_ticks = 0, now_ns = clock_now_ns();
    read_proc_stat((uint32_t)getpid(), &run_state, &start_ticks);
    /* EMPTY first and the new state last with release: a reader that sees the state (acquire) sees
     * our pid with it, not our predecessor's. */
    atomic_store_explicit(&entry->state, PROCESS_STATE_EMPTY, memory_order_release);
    SHM_STEP();
    atomic_store_explicit(&entry->pid, (uint32_t)getpid(), memory_order_relaxed);
    atomic_store_explicit(&entry->start_ticks, start_ticks, memory_order_relaxed);
    atomic_store_explicit(&entry->started_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&entry->heartbeat_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&entry->last_batch_ns, 0, memory_order_relaxed);
    layout_text_store(entry->description.words, sizeof(entry->description), "");
    layout_text_store(entry->last_words.words, sizeof(entry->last_words), "");
    SHM_STEP();
    atomic_store_explicit(&entry->state, PROCESS_STATE_STARTING, memory_order_release);
}

void process_set_state(struct segment *segment, uint32_t index, enum process_state state)
{
    CHECK(state <= PROCESS_STATE_FAILED);
    /* Release: who sees READY (acquire in process_read) sees what was prepared before it. */
    atomic_store_explicit(&entry_of(segment, index)->state, state, memory_order_release);
}

void process_set_description(struct segment *segment, uint32_t index, const char *description)
{
    struct process_entry *entry = entry_of(segment, index);
    layout_text_store(entry->description.words, sizeof(entry->description), description);
}

void process_heartbeat(struct segment *segment, uint32_t index, uint64_t now_ns)
{
    atomic_store_explicit(&entry_of(segment, index)->heartbeat_ns, now_ns, memory_order_relaxed);
}

void process_batch_done(struct segment *segment, uint32_t index, uint64_t now_ns)
{
    atomic_store_explicit(&entry_of(segment, index)->last_batch_ns, now_ns, memory_order_relaxed);
}

void process_last_words(struct segment *segment, uint32_t index, const char *sentence)
{
    struct process_entry *entry = entry_of(segment, index);
    layout_text_store(entry->last_words.words, sizeof(entry->last_words), sentence);
}

void process_read(const struct segment *segment, uint32_t index, struct process_view *view)
{
    const struct process_entry *entry = entry_of(segment, index);
    /* Acquire: pairs with the releases in process_claim() and process_set_state(). */
    uint32_t state = atomic_load_explicit(&entry->state, memory_order_acquire);
    view->state = state <= PROCESS_STATE_FAILED ? (enum process_state)state : PROCESS_STATE_EMPTY;
    view->pid = atomic_load_explicit(&entry->pid, memory_order_relaxed);
    view->start_ticks = atomic_load_explicit(&entry->start_ticks, memory_order_relaxed);
    view->started_ns = atomic_load_explicit(&entry->started_ns, memory_order_relaxed);
    view->heartbeat_ns = atomic_load_explicit(&entry->heartbeat_ns, memory_order_relaxed);
    view->last_batch_ns = atomic_load_explicit(&entry->last_batch_ns, memory_order_relaxed);
    layout_text_load(entry->description.words, sizeof(view->description), view->description);
    layout_text_load(entry->last_words.words, sizeof(view->last_words), view->last_words);
}

uint64_t process_own_age_ns(void)
{
    char run_state;
    uint64_t start_ticks = 0;
    struct timespec now; /* BOOTTIME is the clock of field 22 */
    clock_gettime(CLOCK_BOOTTIME, &now);
    uint64_t now_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
    if (!read_proc_stat((uint32_t)getpid(), &run_state, &start_ticks))
        return 0;
    uint64_t start_ns = start_ticks * (NS_PER_S / (uint64_t)sysconf(_SC_CLK_TCK));
    return start_ticks > 0 && now_ns > start_ns ? now_ns - start_ns : 0;
}

bool process_is_alive(const struct process_view *view)
{
    char run_state;
    uint64_t start_ticks;
    if (view->pid == 0 || !read_proc_stat(view->pid, &run_state, &start_ticks))
        return false;
    /* A zombie has ended; only its parent has not looked yet. */
    return start_ticks == view->start_ticks && run_state != 'Z' && run_state != 'X';
}
