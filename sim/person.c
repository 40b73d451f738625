#include "sim/person.h"

#include <stdio.h>
#include <string.h>

enum { WATCHING, TYPING, PAUSED, DONE_TYPING };
enum { NOTICED = 2, KNOWN_PROMPTS = 8 };

static const char *const words[] = {"a",      "big",    "red",  "heart",  "over",  "the", "ocean",
                                    "at",     "sunset", "blue", "circle", "small", "in",  "green",
                                    "forest", "with",   "rain", "and",    "night", "star"};
enum { WORDS = sizeof(words) / sizeof(words[0]) };

void kt_sim_people_default(struct kt_sim_people *p)
{
    *p = (struct kt_sim_people){.key_ms = {120, 250},
                                .word_ms = {0, 300},
                                .enter_ms = {200, 1500},
                                .watch_ms = {4000, 12000},
                                .mistake = 0.03,
                                .second_thought = 0.1,
                                .known = 0.15,
                                .words_min = 2,
                                .words_max = 6};
}

void kt_sim_person_init(struct kt_sim_person *p, const struct kt_sim_people *how, uint64_t seed,
                        int who)
{
    (void)how;
    memset(p, 0, sizeof(*p));
    kt_sim_random_seed(&p->random, seed, (uint64_t)who);
    p->state = WATCHING;
}

static void add_words(struct kt_sim_person *p, int count)
{
    size_t n = strlen(p->goal);
    for (int i = 0; i < count && n + 16 < sizeof(p->goal); i++) {
        const char *word = words[kt_sim_random_below(&p->random, WORDS)];
        n += (size_t)snprintf(p->goal + n, sizeof(p->goal) - n, "%s%s", n ? " " : "", word);
    }
}

static void choose_goal(struct kt_sim_person *p, const struct kt_sim_people *how)
{
    p->goal[0] = '\0';
    if (kt_sim_random_chance(&p->random, how->known)) {
        snprintf(p->goal, sizeof(p->goal), "prompt %d of the page",
                 kt_sim_random_below(&p->random, KNOWN_PROMPTS));
        return;
    }
    add_words(p, how->words_min +
                     kt_sim_random_below(&p->random, how->words_max - how->words_min + 1));
}

void kt_sim_person_first(struct kt_sim_person *p, const struct kt_sim_people *how)
{
    choose_goal(p, how);
    memcpy(p->text, p->goal, sizeof(p->text));
    p->n = (int)strlen(p->text);
}

static double draw(struct kt_sim_person *p, const struct kt_sim_span *span)
{
    return kt_sim_random_between(&p->random, span->low, span->high);
}

/* One key: the next letter, a wrong one, or a correction. */
static void press(struct kt_sim_person *p, const struct kt_sim_people *how)
{
    if (p->wrong >= NOTICED || (p->wrong > 0 && p->n >= (int)strlen(p->goal))) {
        p->n--;
        p->wrong = p->wrong == NOTICED ? -1 : 0; /* the other one goes too */
    } else if (p->wrong < 0) {
        p->n--;
        p->wrong = 0;
    } else if (p->wrong > 0 || kt_sim_random_chance(&p->random, how->mistake)) {
        p->text[p->n++] = (char)('a' + kt_sim_random_below(&p->random, 26));
        p->wrong++;
    } else {
        p->text[p->n] = p->goal[p->n];
        p->n++;
    }
    p->text[p->n] = '\0';
    p->revision++;
}

static int finished(const struct kt_sim_person *p)
{
    return p->wrong == 0 && strcmp(p->text, p->goal) == 0;
}

static enum kt_sim_deed type(struct kt_sim_person *p, const struct kt_sim_people *how,
                             double *after_ms)
{
    *after_ms += draw(p, &how->key_ms);
    press(p, how);
    if (p->n > 0 && p->text[p->n - 1] == ' ' && kt_sim_random_below(&p->random, 3) == 0) {
        *after_ms += draw(p, &how->word_ms);
    }
    p->state = finished(p) ? DONE_TYPING : TYPING;
    return KT_SIM_TYPE;
}

static enum kt_sim_deed watch(struct kt_sim_person *p, const struct kt_sim_people *how,
                              double *after_ms)
{
    *after_ms = draw(p, &how->watch_ms);
    if (kt_sim_random_chance(&p->random, how->restless)) {
        static const enum kt_sim_deed deeds[] = {KT_SIM_PAUSE, KT_SIM_RESET, KT_SIM_REWIND};
        enum kt_sim_deed deed = deeds[kt_sim_random_below(&p->random, 3)];
        p->state = deed == KT_SIM_PAUSE ? PAUSED : WATCHING;
        return deed;
    }
    choose_goal(p, how);
    p->n = p->wrong = 0; /* the old text is selected and typed over */
    p->text[0] = '\0';
    return type(p, how, after_ms);
}

static enum kt_sim_deed decide(struct kt_sim_person *p, const struct kt_sim_people *how,
                               double *after_ms)
{
    *after_ms = draw(p, &how->enter_ms);
    if (kt_sim_random_chance(&p->random, how->second_thought) &&
        strlen(p->goal) + 24 < sizeof(p->goal)) {
        add_words(p, 1);
        return type(p, how, after_ms);
    }
    p->state = WATCHING;
    p->entered_after_ms = *after_ms;
    return KT_SIM_ENTER;
}

enum kt_sim_deed kt_sim_person_next(struct kt_sim_person *p, const struct kt_sim_people *how,
                                    double *after_ms)
{
    *after_ms = 0;
    switch (p->state) {
    case WATCHING: return watch(p, how, after_ms);
    case TYPING: return type(p, how, after_ms);
    case DONE_TYPING: return decide(p, how, after_ms);
    default: break;
    }
    *after_ms = draw(p, &how->watch_ms);
    p->state = WATCHING;
    return KT_SIM_RESUME;
}
