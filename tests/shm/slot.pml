/* The life of slots (shm/lane.h) when any process may die between any two steps: is a request lost,
 * answered twice, answered with another's result, torn, or blamed without guilt?
 *
 * One frontend, one worker, a supervisor that replaces the dead; two slots. Each access to shared
 * memory is a step of its own (in sequential order: store buffers are doorbell.pml's matter). A
 * slot's word is its state, generation, epoch and tries, read, compared and swapped as one. Rings are
 * lists of hints that a death may leave incomplete. A sleep that no wake-up ends is a scan: it is
 * offered when it would find something, as the periodic scans do.
 *
 * d_step is used where the real thing is one access, and for the judge's notes. Values that no step
 * can read any more are set to 0 (a slot's contents once it is free, a ring's entry once it is read):
 * fewer states, the same behaviour.
 *
 * REQUESTS, WORKER_DEATHS, FRONTEND_DEATHS, CANCELS, LATE (whether deadlines may pass) bound the
 * search. BUG n must be caught:
 *   1 a new worker recovers nothing that was running
 *   2 the worker does not scan: it trusts the ring
 *   3 the frontend does not scan: it trusts the ring
 *   4 a new frontend frees slots that are running
 *   5 the generation does not change when a slot is freed
 *   6 the worker takes without compare-and-swap
 *   7 the worker writes status and result without a look at the word
 *   8 a slot is given up after its first death
 *   9 a new worker believes its predecessor's notes of what was shown already */
#ifndef REQUESTS
#define REQUESTS 2
#endif
#ifndef WORKER_DEATHS
#define WORKER_DEATHS 1
#endif
#ifndef FRONTEND_DEATHS
#define FRONTEND_DEATHS 0
#endif
#ifndef CANCELS
#define CANCELS 0
#endif
#ifndef LATE
#define LATE 0
#endif
#ifndef BUG
#define BUG 0
#endif

#define SLOTS     2
#define RING      4
#define TICKETS   3 /* of two slots: so an old use's ticket may lie beside a new one's */
#define TRIES_MAX (BUG == 8 -> 1 : 2)

#define FREE    0
#define QUEUED  1
#define RUNNING 2
#define DONE    3

#define OK       0
#define EXPIRED  1
#define POISONED 2

typedef word_t { byte state; byte generation; byte epoch; byte tries };

/* Shared memory. */
word_t word[SLOTS];
byte payload_a[SLOTS], payload_b[SLOTS]; /* two halves of the text: its id, twice */
byte result[SLOTS], status[SLOTS];
byte submit_ring[RING], submit_tail, submit_head;
byte complete_ring[RING], complete_tail, complete_head;
byte worker_epoch;

/* The judge's notes, by id from 1. */
bool answered[REQUESTS + 1], cancelled[REQUESTS + 1], orphaned[REQUESTS + 1], late[REQUESTS + 1];
byte deaths_running[REQUESTS + 1];
byte next_id = 1;
byte n_cancels, n_worker_deaths, n_frontend_deaths;
bool worker_dead, frontend_dead;
byte running_id[SLOTS]; /* the living worker runs this; 0: nothing */

/* The worker's private notes, global so that BUG 9 can keep them. */
word_t shown[SLOTS];

#define IS(a, b)                                                                                   \
    (a.state == b.state && a.generation == b.generation && a.epoch == b.epoch && a.tries == b.tries)
#define SET(to, s, g, e, t) to.state = s; to.generation = g; to.epoch = e; to.tries = t
#define COPY(to, from)      SET(to, from.state, from.generation, from.epoch, from.tries)

#define SET_FREE(i)                                                                                \
    SET(word[i], FREE, (BUG == 5 -> word[i].generation : word[i].generation + 1), 0, 0);           \
    payload_a[i] = 0;                                                                              \
    payload_b[i] = 0;                                                                              \
    result[i] = 0;                                                                                 \
    status[i] = 0;                                                                                 \
    if                                                                                             \
    :: BUG != 5 && BUG != 9 -> SET(shown[i], 0, 0, 0, 0)                                           \
    :: else                                                                                        \
    fi

/* ---- the worker ---- */

inline worker_may_die()
{
    if
    :: n_worker_deaths < WORKER_DEATHS -> n_worker_deaths++; goto dead
    :: true
    fi
}

inline push_complete(i)
{
    worker_may_die();
    complete_ring[complete_tail % RING] = i;
    worker_may_die();
    complete_tail++
}

/* finish() of lane_consumer.c: `mine` is the word it must still be. */
inline finish(i, outcome, value)
{
    if
    :: BUG == 7 || IS(word[i], mine) ->
        worker_may_die();
        status[i] = outcome;
        worker_may_die();
        result[i] = value;
        worker_may_die();
        d_step {
            swapped = IS(word[i], mine);
            if
            :: swapped -> word[i].state = DONE; word[i].epoch = epoch; running_id[i] = 0
            :: else
            fi
        }
        if
        :: swapped -> push_complete(i)
        :: !swapped
        fi
    :: else
    fi
}

#define IS_NEW(i) (word[i].state == QUEUED && !IS(word[i], shown[i]))

#define HAS_ROOM  (ticket_id[0] == 0 || ticket_id[1] == 0 || ticket_id[2] == 0)
#define HAS_TICKET (ticket_id[0] != 0 || ticket_id[1] != 0 || ticket_id[2] != 0)

/* show() */
inline look_at(i)
{
    d_step {
        if
        :: IS_NEW(i) ->
            at = (ticket_id[0] == 0 -> 0 : (ticket_id[1] == 0 -> 1 : 2));
            COPY(shown[i], word[i]);
            COPY(ticket[at], word[i]);
            ticket_slot[at] = i;
            ticket_id[at] = payload_a[i];
            at = 0
        :: else
        fi
    }
}

inline take()
{
    d_step {
        swapped = BUG == 6 || IS(word[i], mine);
        if
        :: swapped ->
            mine.state = RUNNING;
            mine.epoch = epoch;
            mine.tries++;
            COPY(word[i], mine);
            running_id[i] = id;
            assert(!cancelled[id])
        :: else
        fi
    }
}

proctype worker()
{
    byte i, at, epoch, id, a, b;
    bool swapped;
    word_t ticket[TICKETS], mine;
    byte ticket_slot[TICKETS], ticket_id[TICKETS]; /* id 0: no ticket */

    d_step {
        if
        :: BUG == 9
        :: else -> SET(shown[0], 0, 0, 0, 0); SET(shown[1], 0, 0, 0, 0)
        fi;
        worker_epoch++;
        epoch = worker_epoch
    }
    worker_may_die();

    /* lane_recover() */
    do
    :: i < SLOTS ->
        d_step { COPY(mine, word[i]) }
        if
        :: BUG != 1 && mine.state == RUNNING && mine.epoch != epoch && mine.tries >= TRIES_MAX ->
            finish(i, POISONED, 0)
        :: BUG != 1 && mine.state == RUNNING && mine.epoch != epoch && mine.tries < TRIES_MAX ->
            d_step {
                if
                :: IS(word[i], mine) -> word[i].state = QUEUED; word[i].epoch = 0
                :: else
                fi
            }
            worker_may_die()
        :: else
        fi;
        i++
    :: i == SLOTS -> break
    od;
    skip;
    d_step { i = 0; SET(mine, 0, 0, 0, 0) }

end:
    do
    :: HAS_ROOM && submit_head != submit_tail -> /* peek */
        i = submit_ring[submit_head % RING];
        look_at(i);
        d_step { submit_ring[submit_head % RING] = 0; submit_head++; i = 0 }
        worker_may_die()
    :: BUG != 2 && HAS_ROOM && IS_NEW(0) -> look_at(0)
    :: BUG != 2 && HAS_ROOM && IS_NEW(1) -> look_at(1)
    :: HAS_TICKET ->
        if
        :: ticket_id[0] != 0 -> at = 0
        :: ticket_id[1] != 0 -> at = 1
        :: ticket_id[2] != 0 -> at = 2
        fi;
        d_step {
            COPY(mine, ticket[at]);
            i = ticket_slot[at];
            id = ticket_id[at];
            SET(ticket[at], 0, 0, 0, 0);
            ticket_slot[at] = 0;
            ticket_id[at] = 0;
            at = 0
        }
        if
        :: late[id] -> finish(i, EXPIRED, 0) /* lane_expire() */
        :: true ->
            take();
            if
            :: swapped ->
                worker_may_die();
                a = payload_a[i];
                b = payload_b[i];
                assert(a == b && a == id);
                worker_may_die(); /* the batch runs; a poisonous text dies here */
                finish(i, OK, id);
                worker_may_die()
            :: !swapped
            fi
        fi;
        d_step { i = 0; id = 0; a = 0; b = 0; swapped = false; SET(mine, 0, 0, 0, 0) }
    od;
dead:
    skip; /* spin does not jump into a d_step */
    d_step {
        i = 0;
        do
        :: i < SLOTS ->
            if
            :: running_id[i] != 0 -> deaths_running[running_id[i]]++; running_id[i] = 0
            :: else
            fi;
            i++
        :: else -> break
        od;
        worker_dead = true
    }
}

/* ---- the frontend ---- */

inline frontend_may_die()
{
    if
    :: n_frontend_deaths < FRONTEND_DEATHS -> n_frontend_deaths++; goto dead
    :: true
    fi
}

/* Judges the answer to what we wait for in slot i, if anything, and frees the slot. */
inline reap(i)
{
    if
    :: word[i].state == DONE && !is_free[i] ->
        d_step {
            id = id_of[i];
            id_of[i] = 0;
            if
            :: id != 0 ->
                assert(!answered[id] && !cancelled[id]);
                assert(status[i] != OK || result[i] == id);
                assert(status[i] != EXPIRED || late[id]);
                assert(status[i] != POISONED || deaths_running[id] == 2);
                answered[id] = true
            :: else /* a predecessor's */
            fi;
            id = 0
        }
        frontend_may_die();
        d_step { SET_FREE(i); is_free[i] = true }
    :: else
    fi
}

inline submit()
{
    if
    :: is_free[0] -> i = 0
    :: !is_free[0] -> i = 1
    fi;
    d_step { is_free[i] = false; id = next_id; next_id++; id_of[i] = id }
    if
    :: LATE -> late[id] = true
    :: true
    fi;
    payload_a[i] = id;
    frontend_may_die();
    payload_b[i] = id;
    frontend_may_die();
    d_step { word[i].state = QUEUED; id = 0 }
    frontend_may_die();
    submit_ring[submit_tail % RING] = i;
    frontend_may_die();
    d_step { submit_tail++; i = 0 }
    frontend_may_die()
}

inline cancel()
{
    if
    :: id_of[0] != 0 -> i = 0
    :: id_of[1] != 0 -> i = 1
    fi;
    d_step {
        n_cancels++;
        if
        :: word[i].state == QUEUED ->
            SET_FREE(i);
            cancelled[id_of[i]] = true;
            id_of[i] = 0;
            is_free[i] = true
        :: else
        fi;
        i = 0
    }
    frontend_may_die()
}

inline adopt(i)
{
    d_step {
        if
        :: word[i].state == QUEUED || word[i].state == DONE ||
           (BUG == 4 && word[i].state == RUNNING) ->
            SET_FREE(i);
            is_free[i] = true
        :: word[i].state == FREE -> is_free[i] = true
        :: else -> is_free[i] = false /* a zombie */
        fi
    }
    frontend_may_die()
}

proctype frontend()
{
    byte i, id;
    byte id_of[SLOTS];
    bool is_free[SLOTS];

    complete_head = complete_tail;
    adopt(0);
    adopt(1);
    do
    :: next_id <= REQUESTS && (is_free[0] || is_free[1]) -> submit()
    :: n_cancels < CANCELS && (id_of[0] != 0 || id_of[1] != 0) -> cancel()
    :: complete_head != complete_tail ->
        i = complete_ring[complete_head % RING];
        reap(i);
        d_step { complete_ring[complete_head % RING] = 0; complete_head++; i = 0 }
        frontend_may_die()
    :: BUG != 3 && complete_head == complete_tail && word[0].state == DONE && !is_free[0] -> reap(0)
    :: BUG != 3 && complete_head == complete_tail && word[1].state == DONE && !is_free[1] -> reap(1)
    :: next_id > REQUESTS && is_free[0] && is_free[1] -> goto ended
    od;
dead:
    skip; /* spin does not jump into a d_step */
    d_step {
        orphaned[id_of[0]] = true;
        orphaned[id_of[1]] = true;
        orphaned[0] = false;
        frontend_dead = true
    }
    goto gone;
ended:
    skip;
    d_step {
        i = 1;
        do
        :: i <= REQUESTS -> assert(answered[i] || cancelled[i] || orphaned[i]); i++
        :: else -> break
        od
    }
gone:
    skip
}

/* The supervisor: it has waited for the dead before it starts their successors. */
init
{
    atomic { run worker(); run frontend() }
end:
    do
    :: atomic { worker_dead -> worker_dead = false; run worker() }
    :: atomic { frontend_dead -> frontend_dead = false; run frontend() }
    od
}
