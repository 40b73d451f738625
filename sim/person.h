/* Somebody who types prompts: bursts of keys, mistakes and their correction, a pause before Enter,
 * then watching and thinking, and again.
 *
 * A person is a generator of moments: kt_sim_person_next says what is done and after how long.
 * Thread-safety: plain data. */
#ifndef KT_SIM_PERSON_H
#define KT_SIM_PERSON_H

#include "sim/random.h"

#include <stdint.h>

enum { KT_SIM_TEXT_MAX = 96 };

/* Milliseconds, drawn evenly from [low, high). */
struct kt_sim_span {
    double low, high;
};

struct kt_sim_people {
    struct kt_sim_span key_ms;   /* between keys */
    struct kt_sim_span word_ms;  /* more at the end of a word, every third time */
    struct kt_sim_span enter_ms; /* the pause before Enter */
    struct kt_sim_span watch_ms; /* from Enter to the next key */
    double mistake;              /* per key: typed wrong, noticed two keys later, corrected */
    double second_thought;       /* after the pause somebody types on instead of pressing Enter */
    double known;                /* the prompt is one of a few that everybody uses */
    double restless;             /* per prompt: pauses, resets or rewinds instead */
    int words_min, words_max;
};

/* 120-250 ms between keys, 0.2-1.5 s before Enter: the typing scripts' (config/typing). */
void kt_sim_people_default(struct kt_sim_people *p);

enum kt_sim_deed {
    KT_SIM_TYPE,  /* the text is another one now */
    KT_SIM_ENTER, /* commit it */
    KT_SIM_PAUSE,
    KT_SIM_RESUME,
    KT_SIM_RESET,
    KT_SIM_REWIND,
};

struct kt_sim_person {
    struct kt_sim_random random;
    char text[KT_SIM_TEXT_MAX]; /* as it stands in the editor */
    char goal[KT_SIM_TEXT_MAX];
    int n, wrong; /* characters typed; of those wrong ones at the end */
    int state;
    uint32_t revision;
    double entered_after_ms; /* how long the pause before the last Enter was */
};

void kt_sim_person_init(struct kt_sim_person *p, const struct kt_sim_people *how, uint64_t seed,
                        int who);
/* A prompt to begin with, in p->text. */
void kt_sim_person_first(struct kt_sim_person *p, const struct kt_sim_people *how);
/* What is done next, `*after_ms` after the deed before. */
enum kt_sim_deed kt_sim_person_next(struct kt_sim_person *p, const struct kt_sim_people *how,
                                    double *after_ms);

#endif
