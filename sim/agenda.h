/* What will happen when: the simulator's virtual clock.
 *
 * Appointments come out in order of time, and of those at the same time in the order in which they
 * were made, so a run is a function of its seed.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_AGENDA_H
#define KT_SIM_AGENDA_H

#include <stddef.h>
#include <stdint.h>

struct kt_sim_appointment {
    double at_ms;
    uint64_t order; /* filled in by kt_sim_agenda_add */
    int kind, who;
    uint32_t stamp; /* the owner's, to recognise appointments that are void by now */
    int64_t value;  /* the owner's */
};

struct kt_sim_agenda {
    struct kt_sim_appointment *heap;
    size_t count, cap;
    uint64_t made;
};

/* 0 or -ENOMEM. */
int kt_sim_agenda_add(struct kt_sim_agenda *a, const struct kt_sim_appointment *what);
/* The next one; 0 when there is none. */
int kt_sim_agenda_take(struct kt_sim_agenda *a, struct kt_sim_appointment *out);
void kt_sim_agenda_finish(struct kt_sim_agenda *a);

#endif
