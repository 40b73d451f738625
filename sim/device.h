/* A simulated device: a real board, the engine's real lists, and a cost model in place of the
 * arithmetic. It does what a lane does: commands first, then the board's next job, one at a time.
 *
 * It also keeps its own books, to check the board's: what each piece of work was for, what became
 * of it, and which jobs no executor should ever have been asked to do.
 *
 * Thread-safety: one thread at a time. */
#ifndef KT_SIM_DEVICE_H
#define KT_SIM_DEVICE_H

#include "engine/sched/board.h"
#include "sim/costs.h"
#include "sim/memory.h"
#include "sim/random.h"

enum { KT_SIM_KEPT = 64 }; /* latents whose costs are remembered until somebody saw them */

enum kt_sim_command_kind {
    KT_SIM_OPEN, /* settings, wish; key 0: no prompt yet */
    KT_SIM_DRAFT,
    KT_SIM_UNDRAFT,
    KT_SIM_COMMIT,
    KT_SIM_REPORT, /* epoch, sent, shown */
    KT_SIM_PAUSED, /* on */
    KT_SIM_CLOSE,
};

struct kt_sim_command {
    enum kt_sim_command_kind kind;
    int session;
    struct kt_wish wish;
    struct kt_session_settings settings;
    uint32_t epoch;
    int64_t sent, shown;
    int on;
};

/* What must never happen. Counted; the first is kept in words. */
struct kt_sim_faults {
    uint64_t jobs;     /* that make no sense: on what is not there, closed, or paused */
    uint64_t memory;   /* asked for pages, tails or frames that are not there */
    uint64_t idle;     /* list work for ever, without an end */
    uint64_t promoted; /* pictures nobody committed, or older than what was shown */
    uint64_t lost;     /* commits given up */
    char first[200];
};
void kt_sim_fault(struct kt_sim_faults *f, uint64_t *counter, double now, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* For tests: spoils decisions, results, or what the policy is told. Any may be NULL. */
struct kt_sim_hooks {
    void *arg;
    void (*resources)(void *arg, struct kt_board_resources *r);
    void (*job)(void *arg, int device, double now, struct kt_job *job);
    void (*result)(void *arg, const struct kt_job *job, struct kt_job_result *r);
    int (*command)(void *arg, int device,
                   const struct kt_sim_command *c); /* 0: the board never hears of it */
};

/* What the world hears. `frame` counts from the stream's start; `count` pictures follow. */
struct kt_sim_sink {
    void *arg;
    void (*pictures)(void *arg, int device, int session, double now, uint32_t epoch, int64_t frame,
                     int count);
    void (*applied)(void *arg, int device, int session, double now, const struct kt_job *promote,
                    uint32_t epoch, uint32_t revision);
    /* A first idea of a revision that is being made. */
    void (*preview)(void *arg, int device, int session, double now, uint32_t revision);
    void (*closed)(void *arg, int device, int session, double now);
};

struct kt_sim_track {
    struct kt_sim_stream stream;
    struct kt_wish wish;
    int committed; /* Enter was pressed for it */
    int block_active, steps, steps_left;
    int uncached; /* the last block's t = 0 pass is still to come */
    int64_t held; /* NEXT: first frame of those decoded and held */
    int64_t held_count;
    /* books */
    double block_ms, open_ms;      /* of the block in flight; of text and cut */
    double latent_ms[KT_SIM_KEPT]; /* latent i at i % KT_SIM_KEPT, from `unseen` on */
    int64_t unseen;
};

struct kt_sim_place {
    int open, paused;
    uint32_t epoch;
    struct kt_sim_track live, next;
    struct kt_wish draft, commit, spare; /* spare: what the commit overtook */
    double text_ms;                      /* of a text that no branch was made for yet */
    uint32_t applied_revision;
    struct kt_sim_pending { /* commits that have not taken effect */
        uint32_t revision;
        uint64_t key;
    } pending[8];
    int pending_count;
};

struct kt_sim_device_params {
    const struct kt_sim_costs *costs;
    struct kt_board_params board;
    double jitter;     /* a piece takes 1 +- jitter of its cost */
    int frames_max;    /* of the picture pool */
    int pages_percent; /* of the pages that an engine would have; 0: 100 */
    int contexts_max;  /* prompts in the LRU */
    uint64_t seed;
    int id;
    struct kt_sim_sink sink;
    const struct kt_sim_hooks *hooks; /* or NULL */
};

struct kt_sim_books { /* device time, milliseconds */
    double busy, useful, wasted;
    uint64_t jobs[KT_JOB_KINDS];
    double ms[KT_JOB_KINDS];
};

struct kt_sim_device {
    struct kt_sim_device_params p;
    struct kt_board *board;
    struct kt_sim_memory memory;
    struct kt_sim_place *places;
    struct kt_sim_checkpoint {
        struct kt_sim_stream stream;
        int session;
    } * checkpoints;
    struct kt_sim_command *waiting; /* until the piece of work in hand is done */
    int waiting_count, waiting_cap;
    struct kt_sim_random random;
    struct {
        uint64_t key, used;
    } * contexts;
    uint64_t context_clock;
    int frames_used, frames_used_max;
    int working;
    struct kt_job job;
    struct kt_job_result result;
    double until_ms; /* working: when it is done; else when to look again (infinity: on an event) */
    struct kt_sim_books books;
    struct kt_sim_faults faults;
};

/* `host` gives memory to the lists. -ENOMEM, -EINVAL. */
int kt_sim_device_init(struct kt_sim_device *d, const struct kt_sim_device_params *p,
                       struct kt_device *host, struct kt_error *err);
void kt_sim_device_finish(struct kt_sim_device *d);

/* Taken at once, or when the piece of work in hand is done. -ENOMEM. Follow with
 * kt_sim_device_look. */
int kt_sim_device_command(struct kt_sim_device *d, double now, const struct kt_sim_command *c);
/* Pictures of the pool are free again. */
void kt_sim_device_release(struct kt_sim_device *d, int frames);
/* Finishes what is done by now and begins what comes next. Afterwards until_ms says when to come
 * again. */
void kt_sim_device_look(struct kt_sim_device *d, double now);

/* Device time whose fate is open: drafts, and pictures on their way. */
double kt_sim_device_undecided_ms(const struct kt_sim_device *d);

#endif
