/* Inside of the board, shared by board.c (what happened) and choose.c (what to do); nobody else
 * includes it. */
#ifndef KT_ENGINE_SCHED_PLACES_H
#define KT_ENGINE_SCHED_PLACES_H

#include "engine/sched/board.h"
#include "engine/sched/pace.h"

struct kt_track_state {
    int there;
    int64_t latents, decoded;
    int64_t cut;   /* its first latent under its own prompt */
    int64_t floor; /* cannot be rewound below: where latents were recached last */
    int block_active, steps_left, steps;
    int uncached;    /* the last block's t = 0 pass is still to come */
    int blend_left;  /* stages of a blend still to come */
    int blend;       /* of so many */
    double block_ms; /* device time of the block in flight */
    double ms;       /* device time of all of it (NEXT: wasted when dropped) */
};

struct kt_wanted { /* a wish that has not become a branch */
    int there, encoded, failed;
    struct kt_wish wish;
    double given_ms;
    int hit; /* as kt_job.hit */
};

struct kt_place {
    int open, paused;
    struct kt_session_settings settings;
    struct kt_pace pace;
    uint32_t epoch;
    int64_t sent, shown;
    double shown_ms; /* when `shown` was reported */
    struct kt_track_state live, next;
    uint64_t live_key;
    struct kt_wanted draft;  /* what stands in the editor */
    struct kt_wanted commit; /* Enter was pressed */
    struct kt_wanted spare;  /* what `commit` overtook: made after all should that one fail */
    struct kt_wanted making; /* what NEXT is made for */
    int making_committed, previewed;
    int at_end;         /* rewinding failed: cut at the end */
    int overtaken;      /* commits in a row that never reached the screen */
    int64_t checkpoint; /* latent of the newest one, -1: none */
};

struct kt_checkpoint {
    int used, session;
    int64_t latents, decoded, floor;
    int64_t ours; /* latents before it are still the session's stream: a cut replaced the others */
    uint64_t stamp;
};

struct kt_board {
    struct kt_board_params p;
    struct kt_costs costs;
    struct kt_board_counters counters;
    struct kt_place *places;
    struct kt_checkpoint *checkpoints;
    uint64_t stamp;
    int first; /* the session that wins among equals: after the one served last */
};

/* ---- position ---- */

int64_t kt_board_frames_before(const struct kt_board *b, int64_t latent);
/* The latent that frame belongs to. */
int64_t kt_board_latent_of(const struct kt_board *b, int64_t frame);

/* ---- reading a place ---- */

double kt_place_lead_ms(const struct kt_board *b, const struct kt_place *s);
/* The frame that is on the screen by then, as far as can be told from here. */
int64_t kt_place_shown(const struct kt_board *b, const struct kt_place *s, double when);
enum kt_stage kt_place_stage(const struct kt_board *b, const struct kt_place *s);
int kt_place_ready(const struct kt_place *s); /* NEXT has a decoded latent of its own */
/* The latent at which NEXT takes LIVE's place were it shown now: its own first, unless that was
 * sent. */
int64_t kt_place_takeover(const struct kt_board *b, const struct kt_place *s);
/* Device time until NEXT (or the wish that will become it) can be shown. */
double kt_place_ready_in_ms(const struct kt_board *b, const struct kt_place *s,
                            const struct kt_wanted *w);
int kt_place_recache(const struct kt_board *b, const struct kt_place *s, const struct kt_wish *w,
                     int64_t at);

#endif
