/* The scheduler of simulation.h. */
#include "tests/shm/simulation.h"
#include "shm/step.h"
#include "tests/test.h"
#include <ucontext.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
/* A dead actor leaves red zones on its stack, which the next one gets. */
#define STACK_CLEAN(stack, size) __asan_unpoison_memory_region(stack, size)
#else
#define STACK_CLEAN(stack, size) ((void)(stack))
#endif

#define STACK_BYTES (256 * 1024)
#define TURN_NS     (5 * NS_PER_US)
/* A successor comes at once, so that it meets what its predecessor had just begun, or late. */
#define REBIRTH_SOON_NS (20 * TURN_NS)
#define REBIRTH_LATE_NS (2 * NS_PER_MS)
#define START_TIME_NS   NS_PER_S

enum actor_state { ACTOR_ABSENT, ACTOR_RUNNABLE, ACTOR_ASLEEP, ACTOR_ENDED };

struct actor {
    enum actor_state state;
    ucontext_t context;
    char stack[STACK_BYTES];
    uint64_t futex_offset; /* asleep on this word of the segment; UINT64_MAX: on the clock alone */
    uint64_t wake_ns;
};

struct process {
    struct simulation_process setup;
    struct actor actors[SIMULATION_ACTORS_MAX];
    bool dead;
    uint64_t rebirth_ns;
    uint32_t steps;
};

static struct {
    struct simulation_options options;
    struct process processes[SIMULATION_PROCESSES_MAX];
    uint32_t n_processes;
    ucontext_t scheduler;
    uint64_t random_state, now_ns;
    struct process *process; /* who runs */
    struct actor *actor;
    bool ending, deaths_stopped;
    uint32_t deaths, sleeps, lost_wakeups;
} world;

static uint32_t next_random(void)
{
    world.random_state ^= world.random_state << 13;
    world.random_state ^= world.random_state >> 7;
    world.random_state ^= world.random_state << 17;
    return (uint32_t)(world.random_state >> 32);
}

uint32_t simulation_random(uint32_t below)
{
    return next_random() % below;
}

uint64_t simulation_now_ns(void)
{
    return world.now_ns;
}

bool simulation_ending(void)
{
    return world.ending;
}

void simulation_stop_deaths(void)
{
    world.deaths_stopped = true;
}

static void to_scheduler(void)
{
    swapcontext(&world.actor->context, &world.scheduler);
}

void simulation_yield(void)
{
    to_scheduler();
}

_Noreturn void simulation_die(void)
{
    world.process->dead = true;
    to_scheduler();
    abort(); /* nobody returns from there */
}

static void fall_asleep(uint64_t futex_offset, uint64_t duration_ns)
{
    world.actor->state = ACTOR_ASLEEP;
    world.actor->futex_offset = futex_offset;
    world.actor->wake_ns = world.now_ns + duration_ns;
    to_scheduler();
}

void simulation_sleep(uint64_t duration_ns)
{
    fall_asleep(UINT64_MAX, duration_ns);
}

/* ---- what the library calls ---- */

static bool is_time_to_die(void)
{
    if (world.options.kill_step > 0)
        return world.process == &world.processes[world.options.kill_process] &&
               world.process->steps == world.options.kill_step;
    return world.options.death_one_in > 0 && !world.deaths_stopped &&
           world.deaths < world.options.deaths_max &&
           next_random() % world.options.death_one_in == 0;
}

void shm_step(const char *file, int line)
{
    (void)file;
    (void)line;
    world.process->steps++;
    if (is_time_to_die())
        simulation_die();
    if (next_random() % 2)
        to_scheduler();
}

static uint64_t offset_of(_Atomic uint32_t *word)
{
    return (uint64_t)((char *)word - (char *)world.process->setup.segment->header);
}

void shm_step_sleep(_Atomic uint32_t *word, uint32_t expected, uint64_t timeout_ns)
{
    shm_step(__FILE__, __LINE__);
    if (atomic_load(word) != expected)
        return;
    world.sleeps++;
    fall_asleep(offset_of(word), timeout_ns);
}

void shm_step_wake(_Atomic uint32_t *word)
{
    uint64_t offset = offset_of(word);
    for (uint32_t p = 0; p < world.n_processes; p++)
        for (uint32_t a = 0; a < SIMULATION_ACTORS_MAX; a++) {
            struct actor *actor = &world.processes[p].actors[a];
            if (actor->state == ACTOR_ASLEEP && actor->futex_offset == offset)
                actor->state = ACTOR_RUNNABLE;
        }
}

/* ---- the scheduler ---- */

static void actor_main(void)
{
    uint32_t index = (uint32_t)(world.actor - world.process->actors);
    world.process->setup.actors[index](world.process->setup.state);
    world.actor->state = ACTOR_ENDED;
    to_scheduler();
}

static void start_actor(struct actor *actor, bool has_program)
{
    actor->state = has_program ? ACTOR_RUNNABLE : ACTOR_ABSENT;
    STACK_CLEAN(actor->stack, STACK_BYTES);
    getcontext(&actor->context);
    actor->context.uc_stack.ss_sp = actor->stack;
    actor->context.uc_stack.ss_size = STACK_BYTES;
    actor->context.uc_link = NULL;
    makecontext(&actor->context, actor_main, 0);
}

static void start(struct process *process)
{
    process->dead = false;
    for (uint32_t i = 0; i < SIMULATION_ACTORS_MAX; i++)
        start_actor(&process->actors[i], process->setup.actors[i] != NULL);
}

static void bury(struct process *process)
{
    world.deaths++;
    for (uint32_t i = 0; i < SIMULATION_ACTORS_MAX; i++)
        process->actors[i].state = ACTOR_ABSENT;
    process->setup.died(process->setup.state);
    uint64_t pause_ns = next_random() % 2 ? REBIRTH_SOON_NS : REBIRTH_LATE_NS;
    process->rebirth_ns = world.now_ns + next_random() % pause_ns;
}

/* Wakes who is due, brings the dead back, and lists who can run. */
static uint32_t runnable(struct actor **actors, struct process **owners)
{
    uint32_t n = 0;
    for (uint32_t p = 0; p < world.n_processes; p++) {
        struct process *process = &world.processes[p];
        if (process->dead && world.now_ns >= process->rebirth_ns)
            start(process);
        for (uint32_t a = 0; a < SIMULATION_ACTORS_MAX; a++) {
            struct actor *actor = &process->actors[a];
            if (actor->state == ACTOR_ASLEEP && world.now_ns >= actor->wake_ns)
                actor->state = ACTOR_RUNNABLE;
            if (actor->state != ACTOR_RUNNABLE)
                continue;
            actors[n] = actor;
            owners[n++] = process;
        }
    }
    return n;
}

/* Nobody can run: the clock leaps to whoever is next. */
static void leap(void)
{
    uint64_t next_ns = UINT64_MAX;
    for (uint32_t p = 0; p < world.n_processes; p++) {
        struct process *process = &world.processes[p];
        if (process->dead)
            next_ns = min_u64(next_ns, process->rebirth_ns);
        for (uint32_t a = 0; a < SIMULATION_ACTORS_MAX; a++) {
            if (process->actors[a].state != ACTOR_ASLEEP)
                continue;
            next_ns = min_u64(next_ns, process->actors[a].wake_ns);
            world.lost_wakeups += process->actors[a].futex_offset != UINT64_MAX &&
                                  process->setup.has_work(process->setup.state, a);
        }
    }
    EXPECT(next_ns != UINT64_MAX); /* somebody sleeps for ever */
    world.now_ns = max_u64(world.now_ns, next_ns);
}

static void turn(void)
{
    struct actor *actors[SIMULATION_PROCESSES_MAX * SIMULATION_ACTORS_MAX];
    struct process *owners[ARRAY_COUNT(actors)];
    uint32_t n = runnable(actors, owners);
    if (n == 0) {
        leap();
        return;
    }
    uint32_t chosen = next_random() % n;
    world.actor = actors[chosen];
    world.process = owners[chosen];
    world.now_ns += TURN_NS;
    swapcontext(&world.scheduler, &world.actor->context);
    if (world.process->dead)
        bury(world.process);
}

static bool has_ended(const struct process *process)
{
    if (process->dead)
        return false;
    for (uint32_t a = 0; a < SIMULATION_ACTORS_MAX; a++)
        if (process->actors[a].state == ACTOR_RUNNABLE || process->actors[a].state == ACTOR_ASLEEP)
            return false;
    return true;
}

static bool have_ended(uint32_t mask)
{
    for (uint32_t p = 0; p < world.n_processes; p++)
        if (mask & 1u << p && !has_ended(&world.processes[p]))
            return false;
    return true;
}

bool simulation_run(const struct simulation_process *processes, uint32_t n_processes,
                    uint32_t servants, uint64_t limit_ns, const struct simulation_options *options,
                    struct simulation_result *result)
{
    world.options = *options;
    world.n_processes = n_processes;
    world.random_state = options->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
    world.now_ns = START_TIME_NS;
    world.ending = world.deaths_stopped = false;
    world.deaths = world.sleeps = world.lost_wakeups = 0;
    for (uint32_t p = 0; p < n_processes; p++) {
        world.processes[p].setup = processes[p];
        world.processes[p].steps = 0;
        start(&world.processes[p]);
    }
    uint32_t all = (1u << n_processes) - 1;
    while (!have_ended(all) && world.now_ns < START_TIME_NS + limit_ns) {
        world.ending = have_ended(all & ~servants);
        turn();
    }
    *result = (struct simulation_result){.deaths = world.deaths,
                                         .sleeps = world.sleeps,
                                         .lost_wakeups = world.lost_wakeups,
                                         .end_ns = world.now_ns - START_TIME_NS};
    for (uint32_t p = 0; p < n_processes; p++)
        result->steps[p] = world.processes[p].steps;
    return have_ended(all);
}
