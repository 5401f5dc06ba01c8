/* The doorbell of shm/doorbell.h on a machine with store buffers: is a wake-up ever lost?
 *
 * Two ringers (frontends) store work and ring; one sleeper (the worker) sleeps when he sees none. Each
 * has a store buffer of one entry, as any x86 has of many: a plain store becomes visible to others some
 * time later, and the processor's own loads may overtake it. An atomic exchange or addition, and a
 * system call, wait until the buffer is empty. The sleeper has no time-out here unless DEATHS says so:
 * a lost wake-up is a deadlock, which spin finds as an invalid end state.
 *
 * Switches; each with the value at the right is a mistake that must be caught:
 *   FENCE 1      store and load in sequentially consistent order           0: plain stores
 *   LOOK_FIRST 0 say "I sleep", then look for work                         1: look, then say
 *   COUNT_LATE 0 read the count before saying and looking                  1: read it last
 *   NO_COUNT 0   the ringer counts, so that the kernel refuses to sleep    1: he only wakes
 *   DEATHS 0     ringers may die anywhere; sleeps have a time-out; the work of the dead stays
 *   NO_TIMEOUT 0                                                           1: with DEATHS 1
 * And one that is right both ways:
 *   EARLY_COUNT 0 as a completion thread does; 1: the count is that of the end of the last wait, as the
 *                 worker does, so that a wake-up before the wait ends it */
#ifndef FENCE
#define FENCE 1
#endif
#ifndef LOOK_FIRST
#define LOOK_FIRST 0
#endif
#ifndef COUNT_LATE
#define COUNT_LATE 0
#endif
#ifndef NO_COUNT
#define NO_COUNT 0
#endif
#ifndef DEATHS
#define DEATHS 0
#endif
#ifndef NO_TIMEOUT
#define NO_TIMEOUT 0
#endif

#ifndef EARLY_COUNT
#define EARLY_COUNT 0
#endif

#define RINGERS 2
#define WORK    2 /* pieces a ringer */

/* Memory as all see it. */
byte tail[RINGERS];
bool sleeping;
byte rings;

/* The store buffers: at most one store each that others do not see yet. */
bool ringer_pending[RINGERS];
byte ringer_value[RINGERS];
bool sleeper_pending, sleeper_value;

/* The kernel: on the list of the futex. */
bool asleep;

byte head[RINGERS];       /* the sleeper's own */
bool ended[RINGERS];      /* the ringer is done, or dead */
byte stored[RINGERS];     /* what he stored before that: the sleeper must find all of it */

proctype flush_ringer(byte me)
{
end:
    do
    :: atomic { ringer_pending[me] -> tail[me] = ringer_value[me]; ringer_pending[me] = false }
    od
}

proctype flush_sleeper()
{
end:
    do
    :: atomic { sleeper_pending -> sleeping = sleeper_value; sleeper_pending = false }
    od
}

inline may_die()
{
    if
    :: DEATHS -> goto dead
    :: true
    fi
}

proctype ringer(byte me)
{
    bool taken;
    byte piece = 0;
    do
    :: piece < WORK ->
        piece++;
        atomic { !ringer_pending[me] -> ringer_value[me] = piece; ringer_pending[me] = true;
                 stored[me] = piece }                       /* store the work */
        may_die();
        if
        :: FENCE -> !ringer_pending[me]
        :: !FENCE
        fi;
        if
        :: sleeping ->                                      /* load the flag */
            may_die();
            atomic { !ringer_pending[me] -> taken = sleeping; sleeping = false }    /* exchange */
            if
            :: taken ->
                may_die();
                if
                :: !NO_COUNT -> rings++
                :: NO_COUNT
                fi;
                may_die();
                asleep = false                              /* the system call */
            :: !taken
            fi
        :: !sleeping
        fi
    :: piece == WORK -> break
    od;
dead:
    atomic { !ringer_pending[me] -> ended[me] = true } /* the hardware finishes the dead's stores */
}

#define HAS_WORK (tail[0] != head[0] || tail[1] != head[1])

inline say_that_I_sleep()
{
    atomic { !sleeper_pending -> sleeper_value = true; sleeper_pending = true };
    if
    :: FENCE -> !sleeper_pending
    :: !FENCE
    fi
}

proctype sleeper()
{
    byte seen;
    bool none;
    do
    :: atomic { tail[0] != head[0] -> head[0] = tail[0] }
    :: atomic { tail[1] != head[1] -> head[1] = tail[1] }
    :: ended[0] && ended[1] && head[0] == stored[0] && head[1] == stored[1] -> break
    :: !HAS_WORK ->
        if
        :: !COUNT_LATE && !EARLY_COUNT -> seen = rings
        :: COUNT_LATE || EARLY_COUNT
        fi;
        if
        :: LOOK_FIRST -> none = !HAS_WORK; say_that_I_sleep()
        :: !LOOK_FIRST -> say_that_I_sleep(); none = !HAS_WORK
        fi;
        if
        :: COUNT_LATE -> seen = rings
        :: !COUNT_LATE
        fi;
        if
        :: none && !(ended[0] && ended[1] && head[0] == stored[0] && head[1] == stored[1]) ->
            !sleeper_pending; /* the system call waits for the buffer */
            atomic {
                if
                :: rings == seen -> asleep = true
                :: rings != seen
                fi
            }
            if
            :: !asleep
            :: DEATHS && !NO_TIMEOUT -> asleep = false
            :: asleep && ended[0] && ended[1] && head[0] == stored[0] && head[1] == stored[1] ->
                asleep = false /* nothing will come, and nothing is missing: a good end */
            fi
        :: else
        fi;
        atomic { !sleeper_pending -> sleeper_value = false; sleeper_pending = true }; /* withdraw */
        if
        :: EARLY_COUNT -> seen = rings
        :: !EARLY_COUNT
        fi
    od
}

init {
    atomic {
        run flush_ringer(0);
        run flush_ringer(1);
        run flush_sleeper();
        run ringer(0);
        run ringer(1);
        run sleeper()
    }
}
