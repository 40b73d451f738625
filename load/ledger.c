#include "load/ledger.h"

#include <string.h>

static void close_at(struct kt_ledger *l, int i, enum kt_commit_end end)
{
    struct kt_commit c = l->open[i];
    c.end = end;
    l->count--;
    memmove(&l->open[i], &l->open[i + 1], (size_t)(l->count - i) * sizeof(l->open[0]));
    l->closed(l->arg, &c);
}

void kt_ledger_add(struct kt_ledger *l, const struct kt_commit *c)
{
    if (l->count == KT_COMMITS_OPEN_MAX) {
        close_at(l, 0, l->open[0].applied ? KT_COMMIT_PASSED : KT_COMMIT_UNANSWERED);
    }
    l->open[l->count++] = *c;
}

void kt_ledger_rename(struct kt_ledger *l, int from, int to)
{
    for (int i = 0; i < l->count; i++) {
        if (l->open[i].rev == from && !l->open[i].applied) {
            l->open[i].rev = to;
        }
    }
}

/* Revisions grow, so those before the applied one that have no epoch will never get one. The same
 * revision may have been committed twice: the latest of them is meant. */
void kt_ledger_applied(struct kt_ledger *l, const struct kt_commit *news, int64_t now_us)
{
    int found = -1;
    for (int i = 0; i < l->count; i++) {
        found = l->open[i].rev == news->rev && !l->open[i].applied ? i : found;
    }
    for (int i = found; i >= 0; i--) {
        struct kt_commit *c = &l->open[i];
        if (i == found) {
            c->applied = 1;
            c->applied_us = now_us;
            c->epoch = news->epoch;
            c->hit = news->hit;
            memcpy(c->cut, news->cut, sizeof(c->cut));
        } else if (!c->applied) {
            close_at(l, i, KT_COMMIT_OVERTAKEN);
        }
    }
}

void kt_ledger_failed(struct kt_ledger *l, int rev)
{
    for (int i = 0; i < l->count; i++) {
        if (l->open[i].rev == rev && !l->open[i].applied) {
            close_at(l, i, KT_COMMIT_FAILED);
            return;
        }
    }
}

struct kt_commit *kt_ledger_of_epoch(struct kt_ledger *l, uint32_t epoch)
{
    for (int i = 0; i < l->count; i++) {
        if (l->open[i].applied && l->open[i].epoch == epoch) {
            return &l->open[i];
        }
    }
    return NULL;
}

struct kt_commit *kt_ledger_of_revision(struct kt_ledger *l, uint32_t revision)
{
    for (int i = l->count - 1; i >= 0; i--) {
        if ((uint32_t)l->open[i].rev == revision) {
            return &l->open[i];
        }
    }
    return NULL;
}

void kt_ledger_shown(struct kt_ledger *l, uint32_t epoch, int64_t now_us)
{
    for (int i = 0; i < l->count;) {
        struct kt_commit *c = &l->open[i];
        if (!c->applied || c->epoch > epoch) {
            i++;
        } else if (c->epoch < epoch) {
            close_at(l, i, KT_COMMIT_PASSED);
        } else {
            c->shown_us = now_us;
            close_at(l, i, KT_COMMIT_SHOWN);
        }
    }
}

void kt_ledger_end(struct kt_ledger *l)
{
    while (l->count > 0) {
        close_at(l, 0, l->open[0].applied ? KT_COMMIT_PASSED : KT_COMMIT_UNANSWERED);
    }
}
