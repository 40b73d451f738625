#include "sim/agenda.h"

#include <errno.h>
#include <stdlib.h>

static int before(const struct kt_sim_appointment *a, const struct kt_sim_appointment *b)
{
    return a->at_ms < b->at_ms || (a->at_ms == b->at_ms && a->order < b->order);
}

static int grow(struct kt_sim_agenda *a)
{
    size_t cap = a->cap ? 2 * a->cap : 1024;
    struct kt_sim_appointment *heap = realloc(a->heap, cap * sizeof(*heap));
    if (!heap) {
        return -ENOMEM;
    }
    a->heap = heap;
    a->cap = cap;
    return 0;
}

int kt_sim_agenda_add(struct kt_sim_agenda *a, const struct kt_sim_appointment *what)
{
    if (a->count == a->cap && grow(a) < 0) {
        return -ENOMEM;
    }
    struct kt_sim_appointment add = *what;
    add.order = a->made++;
    size_t i = a->count++;
    while (i > 0 && before(&add, &a->heap[(i - 1) / 2])) {
        a->heap[i] = a->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    a->heap[i] = add;
    return 0;
}

int kt_sim_agenda_take(struct kt_sim_agenda *a, struct kt_sim_appointment *out)
{
    if (a->count == 0) {
        return 0;
    }
    *out = a->heap[0];
    struct kt_sim_appointment last = a->heap[--a->count];
    size_t i = 0;
    for (size_t child = 1; child < a->count; child = 2 * i + 1) {
        if (child + 1 < a->count && before(&a->heap[child + 1], &a->heap[child])) {
            child++;
        }
        if (!before(&a->heap[child], &last)) {
            break;
        }
        a->heap[i] = a->heap[child];
        i = child;
    }
    a->heap[i] = last;
    return 1;
}

void kt_sim_agenda_finish(struct kt_sim_agenda *a)
{
    free(a->heap);
    *a = (struct kt_sim_agenda){0};
}
