/* Earliest deadline first, in small pieces.
 *
 * A session's deadline is the moment its screen would run out of video: what is decoded and not yet
 * sent. The lane works on the session with the least of it, one piece at a time (a step, a pass,
 * one latent's decode), and asks again after each piece; so a prompt never waits for a whole block,
 * and no session can starve another: the lead of whoever is served grows, the others' shrinks,
 * until they are next. On a device that is too slow for all of them no lead ever grows; so among
 * equals the turn goes round.
 *
 * Within a session a committed prompt comes first: everything else it could do would be made under
 * a prompt that is already history. Then decoding, when the lead is short and a latent is there: it
 * turns finished work into video. Then the block in flight. A new block is begun only while few
 * finished latents wait, because what is made ahead is thrown away at the next prompt.
 *
 * Between sessions a waiting prompt wins over a session that still has more than one latent's worth
 * of lead: somebody is looking at the screen for exactly that. */
#include "engine/sched/pick.h"

static enum kt_job_kind next_kind(const struct kt_sched_session *s, const struct kt_sched_limits *l)
{
    if (!s->runnable) {
        return KT_JOB_NONE;
    }
    if (s->prompt_waiting) {
        return KT_JOB_PROMPT;
    }
    if (!s->has_timeline) {
        return KT_JOB_NONE;
    }
    if (s->undecoded > 0 && s->lead_ms < l->lead_ms_max && s->frames_free >= l->frames_per_latent) {
        return KT_JOB_DECODE;
    }
    if (s->block_active) {
        return s->steps_left > 0 ? KT_JOB_STEP : KT_JOB_COMMIT;
    }
    return s->undecoded < l->undecoded_max ? KT_JOB_BEGIN : KT_JOB_NONE;
}

/* Prompts are urgent as if their session had no lead left. */
static double urgency_ms(const struct kt_sched_session *s, enum kt_job_kind kind)
{
    return kind == KT_JOB_PROMPT ? 0.0 : s->lead_ms;
}

struct kt_job kt_sched_pick(const struct kt_sched_session *sessions, int count,
                            const struct kt_sched_limits *limits)
{
    struct kt_job best = {.kind = KT_JOB_NONE};
    double best_ms = 0;
    for (int n = 0; n < count; n++) {
        int i = (limits->first + n) % count;
        enum kt_job_kind kind = next_kind(&sessions[i], limits);
        double ms = urgency_ms(&sessions[i], kind);
        if (kind != KT_JOB_NONE && (best.kind == KT_JOB_NONE || ms < best_ms)) {
            best = (struct kt_job){.kind = kind, .session = i};
            best_ms = ms;
        }
    }
    return best;
}
