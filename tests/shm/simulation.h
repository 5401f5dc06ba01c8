/* Several processes in one thread, one seed, and death at any step.
 *
 * Each process has one or two actors (coroutines on stacks of their own). An actor gives way at
 * every SHM_STEP() of the library, that is before every shared store, and wherever its program says
 * so. The scheduler chooses who goes on by the seed, so a failure is repeated exactly by the same
 * seed. A process dies at a step of its actors, by chance or at a given step; what the kernel takes
 * back at a death is taken back by its `died` callback, and it is started again later.
 *
 * The futex is simulated: compare and fall asleep in one step, wake by the same word of the segment
 * only, time-outs on a virtual clock that leaps when nobody can run. */
#ifndef WEIR_TESTS_SHM_SIMULATION_H
#define WEIR_TESTS_SHM_SIMULATION_H

#include "shm/segment.h"

#define SIMULATION_PROCESSES_MAX 4
#define SIMULATION_ACTORS_MAX    2

struct simulation_process {
    const char *name;
    void *state;
    /* One program an actor; NULL: none. All return when the process ends well. */
    void (*actors[SIMULATION_ACTORS_MAX])(void *state);
    /* Runs after a death, outside all actors: frees what the kernel would. */
    void (*died)(void *state);
    struct segment *segment; /* its mapping, to tell futex words of two mappings apart */
    /* Whether this actor, asleep on a futex, should be awake. Asked only when nobody can run, so
     * that nothing is on its way: a yes is a lost wake-up. */
    bool (*has_work)(void *state, uint32_t actor);
};

struct simulation_options {
    uint64_t seed;
    uint32_t death_one_in; /* chance of a death at a step; 0: none by chance */
    uint32_t deaths_max;
    /* A death at exactly this step of this process, counted from 1; 0: none. */
    uint32_t kill_process, kill_step;
};

struct simulation_result {
    uint32_t deaths;
    uint32_t sleeps, lost_wakeups;
    uint32_t steps[SIMULATION_PROCESSES_MAX];
    uint64_t end_ns; /* of virtual time since the start */
};

/* Runs until all processes but those in `servant` (a bit each) have ended; those are then asked to
 * end by simulation_ending(). False: virtual time ran past `limit_ns`. */
bool simulation_run(const struct simulation_process *processes, uint32_t n_processes,
                    uint32_t servants, uint64_t limit_ns, const struct simulation_options *options,
                    struct simulation_result *result);

/* ---- for programs of actors ---- */

uint64_t simulation_now_ns(void);
uint32_t simulation_random(uint32_t below);
bool simulation_ending(void);
/* True once deaths by chance are spent or switched off. */
void simulation_stop_deaths(void);
void simulation_yield(void);
void simulation_sleep(uint64_t duration_ns);
/* This process dies here. */
_Noreturn void simulation_die(void);

#endif
