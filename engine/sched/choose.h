/* One choice of the policy (choose.c), and the parts it is made of; nobody else includes it.
 *
 * track.c   the next piece of work of a track, and what hangs on it
 * cut.c     where a branch begins
 * room.c    what to forget when memory is short
 * upkeep.c  promotions, stale branches, checkpoints: list work, at no cost */
#ifndef KT_ENGINE_SCHED_CHOOSE_H
#define KT_ENGINE_SCHED_CHOOSE_H

#include "engine/sched/places.h"

struct kt_choice {
    struct kt_board *b;
    const struct kt_board_resources *r;
    double now;
    double wake_ms; /* when to ask again if nothing is to be done */
};

static const struct kt_job kt_no_job = {.kind = KT_JOB_NONE};

void kt_choice_wake_at(struct kt_choice *o, double when);
struct kt_job kt_job_of(const struct kt_board *b, const struct kt_place *s, enum kt_job_kind kind,
                        enum kt_track track);
int kt_place_active(const struct kt_place *s);
/* Enter was pressed and its pictures are not shown yet. */
int kt_place_waits(const struct kt_place *s);
/* NEXT is made for this very wish. */
int kt_place_makes(const struct kt_place *s, const struct kt_wanted *w);

/* ---- track.c ---- */
struct kt_job kt_track_block_part(const struct kt_board *b, const struct kt_place *s,
                                  enum kt_track track);
struct kt_job kt_track_live_job(const struct kt_choice *o, const struct kt_place *s);
/* A picture of this session hangs on its live job; else the job is speculation. */
int kt_track_live_needed(const struct kt_choice *o, const struct kt_place *s,
                         const struct kt_job *job);
/* Video that lies decoded, less the device time until there is more. */
double kt_track_slack_ms(const struct kt_board *b, const struct kt_place *s);
struct kt_job kt_track_next_job(const struct kt_choice *o, const struct kt_place *s);

/* ---- cut.c ---- */
struct kt_job kt_cut_job(const struct kt_choice *o, const struct kt_place *s,
                         const struct kt_wanted *w, int committed);

/* ---- room.c ---- */
/* What to forget so that `job` finds its memory; with *fits set nothing has to be. */
struct kt_job kt_room_for(const struct kt_choice *o, const struct kt_job *job, int *fits);
/* The same for work from slack, which leaves every stream a block's pages. */
int kt_room_fits_slack(const struct kt_choice *o, const struct kt_job *job);
struct kt_job kt_room_from_slack(const struct kt_choice *o, const struct kt_job *job);

/* ---- upkeep.c ---- */
struct kt_job kt_upkeep_job(struct kt_choice *o);

#endif
