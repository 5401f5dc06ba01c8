/* The batching policy, with made-up tickets and a made-up clock. */
#include "gpu_worker/batcher.h"
#include "tests/gpu_worker/random_model.h"
#include "tests/test.h"

#define LANES     4
#define SLOTS     64
#define TOKENS    100
#define SEQUENCES 8

static const struct batcher_limits limits = {
    .n_lanes = LANES, .slots_per_lane = SLOTS, .max_tokens = TOKENS, .max_sequences = SEQUENCES};

static struct batcher *make(const struct batcher_limits *with)
{
    char error[ERROR_BYTES];
    struct batcher *batcher = batcher_create(with, error);

    EXPECT(batcher != NULL);
    return batcher;
}

static void add(struct batcher *batcher, uint32_t lane, uint32_t slot, uint32_t weight)
{
    batcher_add(batcher, &(struct lane_ticket){.lane_index = lane,
                                               .slot_index = slot,
                                               .weight = weight,
                                               .deadline_ns = UINT64_MAX});
}

/* "lane.slot lane.slot ..." of the next batch. */
static const char *next(struct batcher *batcher)
{
    static char text[SEQUENCES * 24];
    struct lane_ticket tickets[SEQUENCES];
    uint32_t n = batcher_next(batcher, tickets), length = 0;

    text[0] = 0;
    for (uint32_t i = 0; i < n; i++)
        length += (uint32_t)snprintf(text + length, sizeof(text) - length, "%s%u.%u", i ? " " : "",
                                     tickets[i].lane_index, tickets[i].slot_index);
    return text;
}

static void one_waiting_text_makes_a_batch_at_once(void)
{
    struct batcher *batcher = make(&limits);

    EXPECT_STRING(next(batcher), "");
    add(batcher, 2, 5, 7);
    EXPECT_EQUAL(batcher_waiting(batcher), 1);
    EXPECT_STRING(next(batcher), "2.5");
    EXPECT_STRING(next(batcher), "");
    EXPECT_EQUAL(batcher_waiting(batcher), 0);
    batcher_destroy(batcher);
}

static void within_a_lane_the_first_comes_first(void)
{
    struct batcher *batcher = make(&limits);

    for (uint32_t slot = 20; slot > 10; slot--)
        add(batcher, 1, slot, 1);
    EXPECT_STRING(next(batcher), "1.20 1.19 1.18 1.17 1.16 1.15 1.14 1.13");
    EXPECT_STRING(next(batcher), "1.12 1.11");
    batcher_destroy(batcher);
}

static void lanes_take_turns(void)
{
    struct batcher *batcher = make(&limits);

    for (uint32_t slot = 0; slot < 20; slot++)
        add(batcher, 0, slot, 1);
    add(batcher, 3, 0, 1);
    add(batcher, 3, 1, 1);
    EXPECT_STRING(next(batcher), "0.0 3.0 0.1 3.1 0.2 0.3 0.4 0.5");
    batcher_destroy(batcher);
}

static void the_token_budget_is_kept_to_the_token(void)
{
    struct batcher *batcher = make(&limits);

    add(batcher, 0, 0, 50);
    add(batcher, 0, 1, 50);
    add(batcher, 0, 2, 1);
    EXPECT_STRING(next(batcher), "0.0 0.1");
    EXPECT_STRING(next(batcher), "0.2");
    add(batcher, 0, 0, 50);
    add(batcher, 0, 1, 51);
    EXPECT_STRING(next(batcher), "0.0");
    EXPECT_STRING(next(batcher), "0.1");
    batcher_destroy(batcher);
}

static void a_text_that_did_not_fit_opens_the_next_batch(void)
{
    struct batcher *batcher = make(&limits);

    add(batcher, 0, 0, 10);
    add(batcher, 0, 1, 10);
    add(batcher, 1, 0, 10);
    add(batcher, 2, 0, 100);
    add(batcher, 3, 0, 10);
    EXPECT_STRING(next(batcher), "0.0 1.0 3.0 0.1");
    add(batcher, 1, 1, 10); /* lane 1 would be next by turn */
    EXPECT_STRING(next(batcher), "2.0");
    EXPECT_STRING(next(batcher), "1.1");
    batcher_destroy(batcher);
}

static void a_weight_out_of_bounds_is_bounded(void)
{
    struct batcher *batcher = make(&limits);

    add(batcher, 0, 0, UINT32_MAX);
    add(batcher, 0, 1, 0);
    EXPECT_STRING(next(batcher), "0.0");
    EXPECT_STRING(next(batcher), "0.1");
    batcher_destroy(batcher);
}

static void a_text_that_was_running_when_a_worker_died_runs_alone(void)
{
    struct batcher *batcher = make(&limits);
    struct lane_ticket suspect = {
        .lane_index = 1, .slot_index = 9, .weight = 1, .tries = 1, .deadline_ns = UINT64_MAX};

    add(batcher, 0, 0, 1);
    batcher_add(batcher, &suspect);
    add(batcher, 1, 10, 1);
    EXPECT_STRING(next(batcher), "0.0");
    EXPECT_STRING(next(batcher), "1.9");
    EXPECT_STRING(next(batcher), "1.10");
    batcher_destroy(batcher);
}

static void whether_the_next_batch_is_alone_is_known_before(void)
{
    struct batcher *batcher = make(&limits);
    struct lane_ticket again = {
        .lane_index = 1, .slot_index = 1, .weight = 1, .tries = 1, .deadline_ns = UINT64_MAX};

    EXPECT(!batcher_next_is_alone(batcher));
    add(batcher, 0, 0, 1);
    batcher_add(batcher, &again);
    EXPECT(!batcher_next_is_alone(batcher));
    EXPECT_STRING(next(batcher), "0.0");
    add(batcher, 0, 2, 1);
    EXPECT(batcher_next_is_alone(batcher));
    EXPECT_STRING(next(batcher), "1.1");
    EXPECT(!batcher_next_is_alone(batcher));
    EXPECT_STRING(next(batcher), "0.2");
    batcher_destroy(batcher);
}

static void a_newer_ticket_for_a_slot_replaces_the_older(void)
{
    struct batcher *batcher = make(&limits);

    add(batcher, 0, 0, 1);
    add(batcher, 0, 1, 1);
    add(batcher, 0, 2, 1);
    add(batcher, 0, 1, 1);
    add(batcher, 0, 0, 1);
    EXPECT_EQUAL(batcher_waiting(batcher), 3);
    EXPECT_STRING(next(batcher), "0.2 0.1 0.0");
    batcher_destroy(batcher);
}

struct expired {
    uint32_t slots[SLOTS * LANES], n;
};

static void note_expired(void *context, const struct lane_ticket *ticket)
{
    struct expired *expired = context;
    expired->slots[expired->n++] = ticket->slot_index;
}

static void a_text_expires_at_its_deadline_and_not_before(void)
{
    struct batcher *batcher = make(&limits);
    struct expired expired = {.n = 0};

    for (uint32_t slot = 0; slot < 6; slot++)
        batcher_add(batcher, &(struct lane_ticket){.lane_index = slot % 2,
                                                   .slot_index = slot,
                                                   .weight = 1,
                                                   .deadline_ns = 1000 + slot / 2});
    EXPECT_EQUAL(batcher_expire(batcher, 999, note_expired, &expired), 0);
    EXPECT_EQUAL(batcher_expire(batcher, 1000, note_expired, &expired), 2);
    EXPECT_EQUAL(expired.slots[0] + expired.slots[1], 1);
    EXPECT_EQUAL(batcher_expire(batcher, 1000, note_expired, &expired), 0);
    EXPECT_EQUAL(batcher_expire(batcher, 1001, note_expired, &expired), 2);
    EXPECT_STRING(next(batcher), "0.4 1.5");
    EXPECT_EQUAL(batcher_expire(batcher, UINT64_MAX - 1, note_expired, &expired), 0);
    batcher_destroy(batcher);
}

/* ---- any queue ------------------------------------------------------------------------------- */

/* What must hold, beside the batcher's own idea of it: a plain list of what waits. */
struct model_entry {
    struct lane_ticket ticket;
    bool waiting;
    uint64_t order;            /* of arrival */
    uint32_t batches_as_first; /* batches that passed while it was its lane's first */
};

static struct model_entry entries[LANES][SLOTS];
static uint64_t arrivals;

static struct model_entry *first_of(uint32_t lane)
{
    struct model_entry *first = NULL;

    for (uint32_t slot = 0; slot < SLOTS; slot++)
        if (entries[lane][slot].waiting && (!first || entries[lane][slot].order < first->order))
            first = &entries[lane][slot];
    return first;
}

static void add_any(struct batcher *batcher, uint64_t *seed, uint64_t now_ns)
{
    uint32_t lane = random_between(seed, 0, LANES - 1), slot = random_between(seed, 0, SLOTS - 1);
    struct lane_ticket ticket = {
        .lane_index = lane,
        .slot_index = slot,
        .weight = random_between(seed, 0, 9) == 0 ? random_between(seed, 1, TOKENS)
                                                  : random_between(seed, 1, 30),
        .tries = random_between(seed, 0, 19) == 0,
        .deadline_ns = now_ns + random_between(seed, 1, 400),
    };

    batcher_add(batcher, &ticket);
    entries[lane][slot] =
        (struct model_entry){.ticket = ticket, .waiting = true, .order = arrivals++};
}

static void drop_expired(void *context, const struct lane_ticket *ticket)
{
    uint64_t now_ns = *(uint64_t *)context;
    struct model_entry *entry = &entries[ticket->lane_index][ticket->slot_index];

    EXPECT(entry->waiting && entry->ticket.deadline_ns <= now_ns);
    entry->waiting = false;
}

static uint32_t check_batch(struct batcher *batcher, uint64_t now_ns)
{
    struct lane_ticket tickets[SEQUENCES];
    uint32_t n = batcher_next(batcher, tickets), n_tokens = 0;
    struct model_entry *left;

    EXPECT(n <= SEQUENCES);
    for (uint32_t i = 0; i < n; i++) {
        struct model_entry *entry = &entries[tickets[i].lane_index][tickets[i].slot_index];

        EXPECT(entry == first_of(tickets[i].lane_index));
        EXPECT(entry->ticket.deadline_ns > now_ns);
        EXPECT(entry->ticket.tries == 0 || n == 1);
        entry->waiting = false;
        n_tokens += entry->ticket.weight;
    }
    EXPECT(n_tokens <= TOKENS);
    for (uint32_t lane = 0; lane < LANES; lane++) {
        left = first_of(lane);
        if (!left)
            continue;
        EXPECT(n > 0); /* somebody waited, so there was a batch */
        /* Nobody is left out who would have fitted. */
        EXPECT(n == SEQUENCES || n_tokens + left->ticket.weight > TOKENS || left->ticket.tries ||
               tickets[0].tries);
        EXPECT(++left->batches_as_first <= LANES); /* nobody starves */
    }
    return n;
}

static void whatever_waits_the_rules_hold(void)
{
    struct batcher *batcher = make(&limits);
    uint64_t seed = 20261124, now_ns = 1;
    uint32_t n_texts = 0;

    printf("   seed %llu\n", (unsigned long long)seed);
    for (uint32_t turn = 0; turn < 50000; turn++) {
        uint32_t arriving = random_between(&seed, 0, 12), waiting = 0;

        for (uint32_t i = 0; i < arriving; i++)
            add_any(batcher, &seed, now_ns);
        now_ns += random_between(&seed, 0, 20);
        batcher_expire(batcher, now_ns, drop_expired, &now_ns);
        n_texts += check_batch(batcher, now_ns);
        for (uint32_t lane = 0; lane < LANES; lane++)
            for (uint32_t slot = 0; slot < SLOTS; slot++) {
                waiting += entries[lane][slot].waiting;
                EXPECT(!entries[lane][slot].waiting ||
                       entries[lane][slot].ticket.deadline_ns > now_ns);
            }
        EXPECT_EQUAL(batcher_waiting(batcher), waiting);
    }
    EXPECT(n_texts > 100000);
    batcher_destroy(batcher);
}

int main(void)
{
    RUN(one_waiting_text_makes_a_batch_at_once);
    RUN(within_a_lane_the_first_comes_first);
    RUN(lanes_take_turns);
    RUN(the_token_budget_is_kept_to_the_token);
    RUN(a_text_that_did_not_fit_opens_the_next_batch);
    RUN(a_weight_out_of_bounds_is_bounded);
    RUN(a_text_that_was_running_when_a_worker_died_runs_alone);
    RUN(whether_the_next_batch_is_alone_is_known_before);
    RUN(a_newer_ticket_for_a_slot_replaces_the_older);
    RUN(a_text_expires_at_its_deadline_and_not_before);
    RUN(whatever_waits_the_rules_hold);
    return 0;
}
