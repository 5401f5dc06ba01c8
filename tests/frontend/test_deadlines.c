/* The heap of deadlines against a plain search, over seeded random insertions and removals. */
#include "frontend/deadlines.h"
#include "tests/test.h"

#define N 200

static struct deadline *earliest(struct deadline *all, size_t n)
{
    struct deadline *first = NULL;
    for (size_t i = 0; i < n; i++)
        if (all[i].position != 0 && (first == NULL || all[i].at_ns < first->at_ns))
            first = &all[i];
    return first;
}

/* xorshift64: the same run every time. */
static uint64_t next(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static void the_first_is_always_the_earliest(void)
{
    struct deadlines deadlines;
    static struct deadline all[N];
    uint64_t seed = 88172645463325252u;
    EXPECT_EQUAL(deadlines_open(&deadlines, N), 0);
    for (int turn = 0; turn < 100000; turn++) {
        struct deadline *one = &all[next(&seed) % N];
        if (one->position == 0)
            deadlines_add(&deadlines, one, next(&seed) % 1000);
        else
            deadlines_remove(&deadlines, one);
        struct deadline *first = deadlines_first(&deadlines), *expected = earliest(all, N);
        EXPECT((first == NULL) == (expected == NULL));
        EXPECT(first == NULL || first->at_ns == expected->at_ns);
    }
    deadlines_close(&deadlines);
}

static void removing_what_is_not_there_does_nothing(void)
{
    struct deadlines deadlines;
    struct deadline one = {0}, two = {0};
    EXPECT_EQUAL(deadlines_open(&deadlines, 2), 0);
    EXPECT(deadlines_first(&deadlines) == NULL);
    deadlines_remove(&deadlines, &one);
    deadlines_add(&deadlines, &one, 5);
    deadlines_add(&deadlines, &two, 5);
    deadlines_remove(&deadlines, &one);
    deadlines_remove(&deadlines, &one);
    EXPECT(deadlines_first(&deadlines) == &two);
    deadlines_close(&deadlines);
    deadlines_close(&deadlines);
}

int main(void)
{
    RUN(the_first_is_always_the_earliest);
    RUN(removing_what_is_not_there_does_nothing);
    return 0;
}
