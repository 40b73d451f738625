/* The pool of pictures: fixed, host memory, counted references that any thread may drop. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/lane/parts.h"

struct kt_frame *kt_frame_ref(struct kt_frame *f)
{
    /* Relaxed: the caller already holds a reference, so the frame cannot be recycled meanwhile. */
    atomic_fetch_add_explicit(&((struct lane_frame *)f)->refs, 1, memory_order_relaxed);
    return f;
}

void kt_frame_unref(struct kt_frame **f)
{
    if (!f || !*f) {
        return;
    }
    struct lane_frame *frame = (struct lane_frame *)*f;
    struct kt_lane *lane = frame->lane;
    *f = NULL;
    /* Release: this thread's reads of the picture come before the lane's next write into it (which
     * acquires in kt_lane_take_frame). */
    if (atomic_fetch_sub_explicit(&frame->refs, 1, memory_order_release) == 1) {
        pthread_mutex_lock(&lane->lock);
        pthread_cond_signal(&lane->woken);
        pthread_mutex_unlock(&lane->lock);
    }
}

struct lane_frame *kt_lane_take_frame(struct kt_lane *lane)
{
    for (int i = 0; i < lane->frame_count; i++) {
        int none = 0;
        if (atomic_compare_exchange_strong_explicit(&lane->frames[i].refs, &none, 1,
                                                    memory_order_acquire, memory_order_relaxed)) {
            return &lane->frames[i];
        }
    }
    return NULL;
}

int kt_lane_free_frames(struct kt_lane *lane)
{
    int n = 0;
    for (int i = 0; i < lane->frame_count; i++) {
        n += atomic_load_explicit(&lane->frames[i].refs, memory_order_relaxed) == 0;
    }
    return n;
}

int64_t kt_lane_frames_before(const struct kt_lane *lane, int64_t latent)
{
    return latent == 0 ? 0 : lane->info.first_frames + (latent - 1) * lane->info.frames_per_latent;
}

/* Pictures of a draft that the playhead has passed are let go, but for the last latent's: a commit
 * always finds some. What was committed may begin elsewhere in time (a reset) and keeps all. */
void kt_lane_release_passed(struct kt_lane *lane, int session)
{
    struct lane_track *t = &lane->sessions[session].next;
    struct kt_board_session_info s;
    int keep = lane->info.frames_per_latent, gone = 0;
    kt_board_get_session(lane->board, session, 0, &s);
    while (!t->committed && t->held_count - gone > keep && t->held[gone]->public.frame < s.shown) {
        struct kt_frame *f = &t->held[gone++]->public;
        kt_frame_unref(&f);
    }
    t->held_count -= gone;
    memmove(t->held, t->held + gone, (size_t)t->held_count * sizeof(t->held[0]));
}

/* Per session: the decode lead, one latent more in the decoder, one in the encoder's hands, the
 * frames of an epoch that is being flushed, a preview, and what a branch holds. */
int kt_lane_init_frames(struct kt_lane *lane)
{
    int each =
        (lane->p.policy.decode_lead + 4 + KT_LANE_HELD_LATENTS) * lane->info.frames_per_latent;
    lane->frame_count = each * lane->p.sessions_max;
    lane->picture_bytes = (size_t)lane->info.width * (size_t)lane->info.height * 3 / 2;
    lane->frames = calloc((size_t)lane->frame_count, sizeof(*lane->frames));
    lane->pictures = malloc(lane->picture_bytes * (size_t)lane->frame_count);
    lane->decode_buffer = malloc(lane->picture_bytes * (size_t)lane->info.frames_per_latent);
    if (!lane->frames || !lane->pictures || !lane->decode_buffer) {
        return -ENOMEM;
    }
    for (int i = 0; i < lane->frame_count; i++) {
        lane->frames[i].lane = lane;
        lane->frames[i].public.data = lane->pictures + lane->picture_bytes * (size_t)i;
        lane->frames[i].public.width = lane->info.width;
        lane->frames[i].public.height = lane->info.height;
    }
    return 0;
}
