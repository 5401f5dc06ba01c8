# shellcheck shell=bash
# What scripts/supervisor must know before it starts anything; sourced by it and by scripts/serve.
#
# The programs parse and judge the flags (proto/settings.h); here the few are looked up that a
# script needs. A bad value is refused not here but by the program that it reaches, which says what
# is wrong with it; but for what is wrong for several processes only.
#
# shellcheck disable=SC2034  # the variables set here are read where this is sourced

readonly EXIT_USAGE=64 EXIT_CONFIG=78 # as in proto/settings.h
cgroup_cpu_max=/sys/fs/cgroup/cpu.max # of a container with a CPU quota (cgroup v2)

log() { # SEVERITY MESSAGE, in the layout of shm/log.c
    local process=${0##*/} now=${EPOCHREALTIME/,/.} plain=${2//[[:cntrl:]]/ } text time
    text=${plain//\\/\\\\}
    TZ=UTC printf -v time '%(%FT%T)T.%sZ' "${now%.*}" "${now#*.}"
    # || true: a log that nobody reads ends no server.
    if [[ $json_output == true ]]; then
        printf '{"severity":"%s","time":"%s","process":"%s","message":"%s"}\n' \
            "$1" "$time" "$process" "${text//\"/\\\"}" >&2 || true
    else
        printf '%s %s %s: %s\n' "$time" "$1" "$process" "$plain" >&2 || true
    fi
}

wants_help() { # ARGUMENTS...: as proto/settings.c sees it, wherever the word stands
    [[ " $* " == *" --help "* || " $* " == *" -h "* ]]
}

# The value that the programs will take, in REPLY.
setting() { # FLAG ENVIRONMENT FALLBACK ARGUMENTS...
    local flag=$1
    REPLY=${!2:-$3}
    shift 3
    while (($# > 0)); do
        case $1 in
        "--$flag="*) REPLY=${1#*=} ;;
        "--$flag") if [[ ${2:---} == --* ]]; then REPLY=true; else REPLY=$2; fi ;;
        "--no-$flag") REPLY=false ;;
        esac
        shift
    done
}

number_setting() { # the same; what is no number gives FALLBACK
    setting "$@"
    [[ $REPLY =~ ^[0-9]{1,9}$ ]] || REPLY=$3
    REPLY=$((10#$REPLY))
}

find_programs() { # FOLDER_OF_SCRIPTS: theirs in $bin
    local program
    bin=${WEIR_BIN:-$1}
    [[ -n ${WEIR_BIN:-} || -x $bin/weir-worker ]] || bin=$1/../build/release/bin
    for program in weir-worker weir-frontend shm_inspect; do
        if [[ ! -x $bin/$program ]]; then
            log ERROR "no program $bin/$program: build first (scripts/serve does), or set WEIR_BIN"
            exit "$EXIT_CONFIG"
        fi
    done
}

read_settings() { # ARGUMENTS...
    number_setting port PORT 8080 && number_setting port AIP_HTTP_PORT "$REPLY" "$@"
    port=$REPLY
    if ((port == 0)); then
        log ERROR "--port 0 would give each frontend a port of its own: choose one for all (PORT)"
        exit "$EXIT_USAGE"
    fi
    number_setting drain-timeout-ms DRAIN_TIMEOUT_MS 8000 "$@" && drain_ms=$REPLY
    number_setting hang-timeout-ms HANG_TIMEOUT_MS 30000 "$@" && hang_ms=$REPLY
    number_setting ready-fd WEIR_READY_FD 0 "$@" && own_ready_fd=$REPLY
    # Containers may share /dev/shm but neither host name nor process numbers.
    default_stem=/dev/shm/weir-$HOSTNAME
    setting segment WEIR_SEGMENT "$default_stem-$port-$$" "$@" && segment=$REPLY
}

# The cores that we may use, as gpu_worker/cpu_pool.c counts them, in REPLY.
usable_cores() { # needs capture() of scripts/children.sh
    local quota_us period_us
    capture nproc
    [[ -r $cgroup_cpu_max ]] && read -r quota_us period_us <"$cgroup_cpu_max" || return 0
    [[ $quota_us =~ ^[0-9]+$ && $period_us -gt 0 ]] || return 0 # "max": no quota
    quota_us=$(((quota_us + period_us - 1) / period_us))
    ((quota_us < 1 || quota_us >= REPLY)) || REPLY=$quota_us
}

choose_frontends() { # ARGUMENTS...
    number_setting frontends FRONTENDS 0 "$@" && frontends=$REPLY
    if ((frontends == 0)); then
        usable_cores
        frontends=$((REPLY < 4 ? 1 : REPLY > 16 ? 8 : REPLY / 2))
    fi
    ((frontends <= 63)) || frontends=63 # more is refused by the worker
}

segment_refused() {
    log ERROR "no pipe beside --segment $segment: is its folder there, and writable?"
    exit "$EXIT_CONFIG"
}

# What supervisors left that were killed with -9. Their children, if still ending, have it mapped.
remove_stale_segments() {
    local file pid
    for file in "$default_stem"-*; do
        if [[ $file =~ -([0-9]+)(\.[0-9]+)?$ ]]; then
            pid=${BASH_REMATCH[1]}
            [[ $pid != "$$" && -d /proc/$pid ]] || rm -f -- "$file"
        fi
    done
}

# At once, from the arguments of the script that sources this: even its first complaint is a line of
# the log.
setting json-output JSON_OUTPUT false "$@"
json_output=$REPLY
[[ $json_output != 1 ]] || json_output=true
