# shellcheck shell=bash
# Children of an event loop in bash, sourced by scripts/supervisor.
#
# The only event there is is a child's end. Programs, timers (sleep) and readers of readiness pipes
# are all children, each with a function that is called with (pid, status, its own arguments) when
# it ends. Three rules come of bash's ways with traps:
# 1. The loop blocks in `wait -n` alone, where a trap runs at once; in a foreground command it would
#    run after it.
# 2. While traps are set there is no $(...) and no <(...): a trap that comes in the middle of one is
#    parsed as if it stood inside and ends in a syntax error (seen with bash 5.2.15, in one of 70).
#    So functions give their result in REPLY, and capture() stands in for $(...).
# 3. Nor is there `continue` or `break`: the trap of a signal that comes meanwhile runs as a part of
#    what is being skipped, so not at all (5.2.15: of 1000 signals to a loop of `continue`, 511).

readonly STATUS_UNKNOWN=-1 # of a child whose end bash lost: neither good nor bad
declare -A at_end=() # pid -> "FUNCTION ARGUMENTS"
declare -A reader_of=() late_end=() # spawn_announced()'s, by the pid of who announces
waker_pid=0          # a timer always under way; its end makes `wait -n` return
fifo=                # a path of ours, where a pipe stands for the moment that opening it takes
scratch=0            # capture()'s pipe, open both ways

# Whether a child that ignores what is sent to all of us was ended by it: before it came to that.
# Between fork and its `trap` a subshell has the default, and a busy machine leaves it there long.
ended_too_soon() { # STATUS
    (($1 == 128 + 1 || $1 == 128 + 2 || $1 == 128 + 15)) # HUP, INT, TERM
}

# A short program in the foreground. A signal that is sent to all of us must not end it, or its
# status would end us; and bash's own "Killed" line about a child that died meanwhile is not wanted.
quietly() { # COMMAND...
    local status=143
    while ended_too_soon "$status"; do
        status=0
        { (trap '' TERM INT HUP && exec "$@"); } 2>/dev/null || status=$?
    done
    return "$status"
}

# A pipe of which both ends are one descriptor, in REPLY.
open_pipe() { # fails, without a word, if no pipe can be made
    [[ ! -e $fifo ]] || quietly rm -f -- "$fifo"
    quietly mkfifo -m 600 "$fifo" && exec {REPLY}<>"$fifo" && quietly rm -f -- "$fifo"
}

children_init() { # FIFO
    fifo=$1
    open_pipe && scratch=$REPLY
}

# What a builtin or a short program prints, in REPLY: at most 64 KiB, as much as a pipe holds.
capture() { # COMMAND...
    local status=0
    {
        "$@" || status=$?
        printf '\0'
    } 1>&"$scratch" 2>/dev/null
    IFS= read -r -d '' -u "$scratch" REPLY
    REPLY=${REPLY%$'\n'}
    return "$status"
}

now_ms() {
    REPLY=$((${EPOCHREALTIME/[.,]/} / 1000))
}

spawn() { # "FUNCTION ARGUMENTS" COMMAND...: the command's pid in REPLY
    # The subshell becomes the command: one process. Traps are reset first, or a signal that comes
    # before exec would be swallowed. With the parent-death signal children end after us, come what
    # may. SIGHUP is ours alone, also where a closing terminal sends it to the whole group.
    (trap - TERM INT && trap '' HUP && exec setpriv --pdeathsig TERM "${@:2}") &
    REPLY=$!
    at_end[$REPLY]=$1
}

seconds() { # MILLISECONDS
    printf -v REPLY '%d.%03d' $(($1 / 1000)) $(($1 % 1000))
}

# A timer ends when its time is up and for no signal that is meant for all of us: systemd and a
# terminal's Ctrl-C send theirs to each process, and a drain cut short would lose requests.
after() { # MILLISECONDS "FUNCTION ARGUMENTS"
    seconds "$1"
    (trap '' TERM INT HUP && exec setpriv --pdeathsig KILL sleep "$REPLY") &
    REPLY=$!
    at_end[$REPLY]="timer_ended $1 $2"
}

timer_ended() { # PID STATUS MILLISECONDS FUNCTION ARGUMENTS...
    if ended_too_soon "$2"; then after "$3" "${*:4}"; else "$4" "$1" "$2" "${@:5}"; fi
}

# Starts a program that is told by --ready-fd where to write its newline; fails as open_pipe does.
spawn_announced() { # "AT_END ARGUMENTS" "AT_READY ARGUMENTS" COMMAND...: the command's pid in REPLY
    local both read_end write_end pid
    open_pipe || return
    both=$REPLY
    # shellcheck disable=SC2094
    exec {read_end}<"/proc/self/fd/$both" {write_end}>"/proc/self/fd/$both" {both}>&-
    spawn "$1" "${@:3}" --ready-fd "$write_end" {read_end}<&-
    pid=$REPLY
    # Status 0: a newline; 1: the writer is dead.
    (trap '' TERM INT HUP && exec {write_end}>&- && read -r -u "$read_end") &
    reader_of[$pid]=$!
    at_end[$!]="announcement_ended $pid $2"
    at_end[$pid]="announcer_ended $1"
    exec {read_end}<&- {write_end}>&-
    REPLY=$pid
}

# Who dies right after its newline was ready all the same: the newline's turn comes first, although
# the loop may hear of the death before it.
announcer_ended() { # PID STATUS FUNCTION ARGUMENTS...
    if [[ -n ${reader_of[$1]:-} ]]; then late_end[$1]=$*; else "$3" "$1" "$2" "${@:4}"; fi
}

announcement_ended() { # PID STATUS ANNOUNCER_PID FUNCTION ARGUMENTS...
    local end status=$2
    unset "reader_of[$3]"
    ! ended_too_soon "$2" || status=$STATUS_UNKNOWN
    "$4" "$1" "$status" "${@:5}"
    [[ -n ${late_end[$3]:-} ]] || return 0
    read -ra end <<<"${late_end[$3]}"
    unset "late_end[$3]"
    announcer_ended "${end[@]}"
}

# For traps: a signal that comes after the loop looked and before it waits must not wait for a
# child.
wake() {
    ((waker_pid == 0)) || kill "$waker_pid" 2>/dev/null || true
}

waker_start() { # MILLISECONDS "FUNCTION ARGUMENTS"
    seconds "$1"
    spawn "$2" sleep "$REPLY" # which wake() can end
    waker_pid=$REPLY
}

# Bash (up to 5.2 at least) loses children's ends in two ways, so the loop looks for the missing
# first:
# - `wait -n` reporting one child drops another that a signal ended meanwhile; its status is kept;
# - a trap that interrupts `wait` in the moment when a child was reaped: it counts as running for
#   ever.
wait_for_child() { # returns after one event: a child's end, handled, or a trapped signal
    local pid status=0
    for pid in "${!at_end[@]}"; do
        if ! kill -0 "$pid" 2>/dev/null; then
            missing_child_ended "$pid"
            return
        fi
    done
    pid=
    wait -n -p pid 2>/dev/null || status=$? # 2>: bash's own "Killed" line; we say it better
    [[ -z ${pid:-} || -z ${at_end[$pid]:-} ]] || child_ended "$pid" "$status"
}

missing_child_ended() { # PID
    local status=0
    capture jobs -rp
    if [[ $'\n'$REPLY$'\n' == *$'\n'$1$'\n'* ]]; then
        status=$STATUS_UNKNOWN
    else
        wait "$1" 2>/dev/null || status=$?
    fi
    child_ended "$1" "$status"
}

child_ended() { # PID STATUS
    local call
    read -ra call <<<"${at_end[$1]}"
    unset "at_end[$1]"
    "${call[0]}" "$@" "${call[@]:1}"
}

kill_children() { # the last act: bash's "Killed" lines are not wanted
    local pid
    exec 2>/dev/null
    for pid in "${!at_end[@]}"; do kill -KILL "$pid" 2>/dev/null || true; done
}
