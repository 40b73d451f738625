/* Inside of a world, shared by world.c (the clock and the door) and session.c (one person's way
 * through it); nobody else includes it. */
#ifndef KT_SIM_PARTS_H
#define KT_SIM_PARTS_H

#include "sim/agenda.h"
#include "sim/world.h"

enum kt_sim_happening {
    KT_SIM_ARRIVES, /* a session: at the door */
    KT_SIM_LEAVES,
    KT_SIM_DOES,     /* the person's next deed */
    KT_SIM_HEARD,    /* the server gets the oldest message on its way */
    KT_SIM_NOTICES,  /* the client's report, each 100 ms */
    KT_SIM_REPORTED, /* it reached the server; stamp: epoch, value: shown */
    KT_SIM_SENDS,    /* a picture is due */
    KT_SIM_LOOKS,    /* a device: at its work */
    KT_SIM_KNOCKS,   /* the door: is there room now? */
};

enum { KT_SIM_MESSAGES_MAX = 64, KT_SIM_ENTERED_MAX = 16 };

struct kt_sim_session {
    enum { KT_SIM_OUTSIDE, KT_SIM_QUEUED, KT_SIM_INSIDE, KT_SIM_GONE } state;
    int device, slot, steps_cap;
    struct kt_sim_person person;
    enum kt_sim_deed deed;
    struct kt_sim_viewer viewer;
    struct kt_sim_random random; /* of its network */
    uint64_t stream_seed;
    char prompt[KT_SIM_TEXT_MAX];                        /* in force, or on its way */
    struct kt_sim_command messages[KT_SIM_MESSAGES_MAX]; /* to the server, in order */
    int message_head, message_count;
    double last_heard_ms;
    struct kt_sim_entered {
        uint32_t revision;
        int hit;                               /* -1: not applied yet */
        double at_ms, pause_ms, preview_at_ms; /* infinity: no preview */
    } entered[KT_SIM_ENTERED_MAX];
    int entered_count;
    double arrived_ms, let_in_ms, last_shown_ms, still_since_ms, warm_ms;
    uint32_t send_stamp;
    double send_at_ms; /* an appointment for it stands; infinity: none */
    uint64_t warm_holes;
    double warm_hole_ms;
};

struct kt_sim_lane { /* a device and who is on it */
    struct kt_sim_device device;
    int *sessions; /* by slot, -1: free */
    int open;
    uint32_t look_stamp;
    double look_at_ms; /* an appointment for it stands; infinity: none */
};

struct kt_sim_world {
    const struct kt_sim_params *p;
    struct kt_device *host;
    struct kt_sim_agenda agenda;
    struct kt_sim_lane *lanes;
    struct kt_sim_session *sessions;
    int *queue; /* sessions at the door */
    int queue_head, queue_count;
    int lanes_ready;
    double now, end_ms;
    int failed; /* -ENOMEM somewhere */
    struct kt_sim_report *r;
};

void kt_sim_later(struct kt_sim_world *w, double at_ms, enum kt_sim_happening what, int who,
                  uint32_t stamp, int64_t value);
/* Wakes a device after something was told to it. */
void kt_sim_look(struct kt_sim_world *w, int lane);

/* session.c: what happens to a session. */
void kt_sim_session_enter(struct kt_sim_world *w, int who, int lane, int slot, int steps_cap);
void kt_sim_session_happens(struct kt_sim_world *w, const struct kt_sim_appointment *a);
void kt_sim_session_end(struct kt_sim_world *w, int who); /* the last entries into the report */
extern const struct kt_sim_sink kt_sim_session_sink;      /* its arg is the world */

/* world.c: somebody left. */
void kt_sim_door_left(struct kt_sim_world *w, int lane, int slot);

#endif
