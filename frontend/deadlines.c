/* The heap behind deadlines.h. Invariants: no entry is earlier than its parent at position / 2, and
 * heap[d->position - 1] == d for every entry d. */
#include "frontend/deadlines.h"

#include <errno.h>
#include <stdlib.h>

int deadlines_open(struct deadlines *deadlines, uint32_t capacity)
{
    *deadlines = (struct deadlines){.capacity = capacity};
    deadlines->heap = calloc(capacity, sizeof(*deadlines->heap));
    return deadlines->heap == NULL ? -ENOMEM : 0;
}

void deadlines_close(struct deadlines *deadlines)
{
    free(deadlines->heap);
    *deadlines = (struct deadlines){0};
}

static void place(struct deadlines *deadlines, struct deadline *deadline, uint32_t position)
{
    deadlines->heap[position - 1] = deadline;
    deadline->position = position;
}

static void move_up(struct deadlines *deadlines, struct deadline *deadline, uint32_t position)
{
    while (position > 1 && deadlines->heap[position / 2 - 1]->at_ns > deadline->at_ns) {
        place(deadlines, deadlines->heap[position / 2 - 1], position);
        position /= 2;
    }
    place(deadlines, deadline, position);
}

static void move_down(struct deadlines *deadlines, struct deadline *deadline, uint32_t position)
{
    while (position * 2 <= deadlines->n) {
        uint32_t child = position * 2;
        if (child < deadlines->n &&
            deadlines->heap[child]->at_ns < deadlines->heap[child - 1]->at_ns)
            child++;
        if (deadlines->heap[child - 1]->at_ns >= deadline->at_ns)
            break;
        place(deadlines, deadlines->heap[child - 1], position);
        position = child;
    }
    place(deadlines, deadline, position);
}

void deadlines_add(struct deadlines *deadlines, struct deadline *deadline, uint64_t at_ns)
{
    CHECK(deadlines->n < deadlines->capacity);
    deadline->at_ns = at_ns;
    move_up(deadlines, deadline, ++deadlines->n);
}

void deadlines_remove(struct deadlines *deadlines, struct deadline *deadline)
{
    uint32_t position = deadline->position;
    if (position == 0)
        return;
    CHECK(position <= deadlines->n && deadlines->heap[position - 1] == deadline);
    deadline->position = 0;
    struct deadline *last = deadlines->heap[--deadlines->n];
    if (last == deadline)
        return;
    /* The last entry takes the hole; it may belong above or below it. */
    if (position > 1 && deadlines->heap[position / 2 - 1]->at_ns > last->at_ns)
        move_up(deadlines, last, position);
    else
        move_down(deadlines, last, position);
}

struct deadline *deadlines_first(const struct deadlines *deadlines)
{
    return deadlines->n == 0 ? NULL : deadlines->heap[0];
}
