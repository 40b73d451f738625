#include "load/results.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kt_results_free(struct kt_load_results *r)
{
    free(r->commits);
    for (int i = 0; i < KT_TIMING_COUNT; i++) {
        kt_tally_free(&r->stage_ms[i]);
    }
    kt_tally_free(&r->queue_ms);
    kt_tally_free(&r->transit_ms);
    kt_tally_free(&r->decode_ms);
    kt_tally_free(&r->fps);
    kt_tally_free(&r->rtt_ms);
    *r = (struct kt_load_results){0};
}

void kt_results_commit(void *arg, const struct kt_commit *c)
{
    struct kt_load_results *r = arg;
    r->commits_ended[c->end]++;
    if (!r->commits) {
        r->commits = malloc(KT_COMMITS_KEPT_MAX * sizeof(*r->commits));
    }
    if (r->commits && r->commit_count < KT_COMMITS_KEPT_MAX) {
        r->commits[r->commit_count++] = *c;
    }
}

void kt_results_error(struct kt_load_results *r, const char *code)
{
    for (int i = 0; i < KT_ERROR_CODES_MAX; i++) {
        struct kt_error_count *e = &r->errors[i];
        const int last = i == KT_ERROR_CODES_MAX - 1;
        if (e->n == 0) {
            snprintf(e->code, sizeof(e->code), "%s", last ? "other" : code);
        }
        if (last || strncmp(e->code, code, sizeof(e->code) - 1) == 0) {
            e->n++;
            return;
        }
    }
}

void kt_results_problem(struct kt_load_results *r, const char *text)
{
    if (!r->problem[0]) {
        snprintf(r->problem, sizeof(r->problem), "%s", text);
    }
}
