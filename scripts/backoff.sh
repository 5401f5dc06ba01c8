# shellcheck shell=bash
# When a child that crashed is started again, sourced by scripts/supervisor. Pure functions: what
# they are given decides, results are in REPLY.
#
# shellcheck disable=SC2034  # read where this is sourced

readonly BACKOFF_FIRST_MS=100 BACKOFF_MAX_MS=5000 # the first restart is at once, then doubling
readonly BACKOFF_READY_MAX_MS=500 # who was ready does not fail to start: clients wait for it
readonly CRASHES_MAX=${WEIR_CRASHES_MAX:-20} # more, and we stop: the platform shall replace us
readonly FORGIVING_MS=1000        # a life this long makes up for one crash, once it was ready

crashes_in_a_row() { # CRASHES_BEFORE LIFE_MS: with this one
    REPLY=$(($1 - $2 / FORGIVING_MS))
    REPLY=$((REPLY < 0 ? 1 : REPLY + 1))
}

backoff_ms() { # CRASHES_IN_A_ROW WAS_READY
    local most=$BACKOFF_MAX_MS
    [[ -z $2 ]] || most=$BACKOFF_READY_MAX_MS
    REPLY=0
    (($1 == 1)) || REPLY=$(($1 > 8 ? most : BACKOFF_FIRST_MS << ($1 - 2)))
    ((REPLY <= most)) || REPLY=$most
}
