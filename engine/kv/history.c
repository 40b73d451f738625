/* The past as lists of references.
 *
 * A latent frame, once finished, leaves three immutable objects behind: its page (K and V in every
 * layer, under the prompt of its time), its clean latent, and, once decoded, the VAE's tail. A
 * timeline is nothing but ordered lists of references to those. Whatever people do to a stream then
 * reduces to list work:
 *
 *   append     a finished block puts its pages at the end; the oldest rolling page leaves the
 * window snapshot   copy the lists and count references restore    put such a copy back rewind cut
 * the lists short; possible for a few latents because `slack` pages outlive the window recache
 * replace the pages of the window by new ones made from the clean latents under the new prompt
 *
 * The sink is a list of its own: the first latents of the stream (or of the range that a re-sink
 * rewrote) stay while rolling pages pass by. A window in slot order is sink, then the newest
 * rolling pages; while the stream is shorter than the window both together are simply all of it.
 *
 * A recache writes new pages and never touches old ones: a snapshot taken before the switch still
 * sees the old prompt's. Rolling pages beyond the window still carry the old prompt after a
 * recache, so they are dropped and the stream cannot be rewound past that point without a snapshot
 * (`floor`). */
#include "engine/kv/history.h"

#include <errno.h>
#include <string.h>

#include "engine/base/assert.h"

static void drop_front(struct kt_slab_item **items, int *count, int n)
{
    for (int i = 0; i < n; i++) {
        kt_slab_unref(&items[i]);
    }
    memmove(items, items + n, (size_t)(*count - n) * sizeof(*items));
    *count -= n;
}

static void drop_back(struct kt_slab_item **items, int *count, int n)
{
    for (int i = 0; i < n; i++) {
        kt_slab_unref(&items[--*count]);
    }
}

static void drop_tails_front(struct kt_history *h, int n)
{
    for (int i = 0; i < n; i++) {
        kt_vae_tail_unref(&h->tails[i]);
    }
    memmove(h->tails, h->tails + n, (size_t)(h->tail_count - n) * sizeof(h->tails[0]));
    h->tail_count -= n;
}

void kt_history_copy(struct kt_history *dst, const struct kt_history *src)
{
    *dst = *src;
    for (int i = 0; i < dst->sink_count; i++) {
        kt_slab_ref(dst->sink[i]);
    }
    for (int i = 0; i < dst->page_count; i++) {
        kt_slab_ref(dst->pages[i]);
    }
    for (int i = 0; i < dst->clean_count; i++) {
        kt_slab_ref(dst->clean[i]);
    }
    for (int i = 0; i < dst->tail_count; i++) {
        kt_vae_tail_ref(dst->tails[i]);
    }
}

void kt_history_clear(struct kt_history *h)
{
    drop_back(h->sink, &h->sink_count, h->sink_count);
    drop_back(h->pages, &h->page_count, h->page_count);
    drop_back(h->clean, &h->clean_count, h->clean_count);
    drop_tails_front(h, h->tail_count);
    memset(h, 0, sizeof(*h));
}

void kt_history_append(struct kt_history *h, const struct kt_window_shape *w,
                       struct kt_slab_item *page, struct kt_slab_item *clean)
{
    int pages_kept = w->window - w->sink + w->slack, clean_kept = w->window + w->slack;
    if (h->sink_count < w->sink) {
        h->sink[h->sink_count++] = page;
    } else {
        if (h->page_count == pages_kept) {
            drop_front(h->pages, &h->page_count, 1);
        }
        h->pages[h->page_count++] = page;
    }
    if (h->clean_count == clean_kept) {
        drop_front(h->clean, &h->clean_count, 1);
    }
    h->clean[h->clean_count++] = clean;
    h->latents++;
}

int kt_history_window(const struct kt_history *h, const struct kt_window_shape *w, int frames,
                      struct kt_slab_item **out)
{
    int room = w->window - w->sink - frames;
    int rolling = h->page_count < room ? h->page_count : room;
    KT_ASSERT(room >= 0);
    memcpy(out, h->sink, (size_t)h->sink_count * sizeof(*out));
    memcpy(out + h->sink_count, h->pages + h->page_count - rolling, (size_t)rolling * sizeof(*out));
    return h->sink_count + rolling;
}

void kt_history_plan_recache(const struct kt_history *h, const struct kt_window_shape *w,
                             int keep_sink, int limit, struct kt_recache_plan *plan)
{
    struct kt_slab_item *slots[KT_SLOTS_MAX];
    int total = kt_history_window(h, w, 0, slots);
    int sink_stays = keep_sink && h->latents > w->window;
    *plan = (struct kt_recache_plan){.prefix_count = sink_stays ? h->sink_count : 0};
    if (keep_sink && limit > 0 && limit < total - plan->prefix_count) {
        plan->prefix_count = total - limit;
    }
    memcpy(plan->prefix, slots, (size_t)plan->prefix_count * sizeof(slots[0]));
    plan->frames = total - plan->prefix_count;
    plan->rewrites_sink = plan->prefix_count == 0;
    KT_ASSERT(plan->frames <= h->clean_count);
    memcpy(plan->clean, h->clean + h->clean_count - plan->frames,
           (size_t)plan->frames * sizeof(plan->clean[0]));
}

void kt_history_apply_recache(struct kt_history *h, const struct kt_window_shape *w,
                              const struct kt_recache_plan *plan, struct kt_slab_item **pages)
{
    struct kt_slab_item *slots[KT_SLOTS_MAX];
    int total = plan->prefix_count + plan->frames, at = 0;
    for (int i = 0; i < plan->prefix_count; i++) {
        slots[i] = kt_slab_ref(plan->prefix[i]);
    }
    memcpy(slots + plan->prefix_count, pages, (size_t)plan->frames * sizeof(slots[0]));
    drop_back(h->sink, &h->sink_count, h->sink_count);
    drop_back(h->pages, &h->page_count, h->page_count);
    while (at < total && h->sink_count < w->sink) {
        h->sink[h->sink_count++] = slots[at++];
    }
    while (at < total) {
        h->pages[h->page_count++] = slots[at++];
    }
    h->floor = h->latents;
}

/* How many latents can be taken off the end: all rolling pages, and then the sink's too where it is
 * the start of the stream and nothing between them is gone. */
static int64_t removable(const struct kt_history *h)
{
    int whole = h->latents == h->page_count + h->sink_count;
    return h->page_count + (whole ? h->sink_count : 0);
}

int kt_history_rewind(struct kt_history *h, const struct kt_window_shape *w, int64_t at)
{
    int64_t back = h->latents - at, undecode = h->decoded > at ? h->decoded - at : 0;
    int64_t rolling = at > w->sink ? at - w->sink : 0;
    int64_t rolling_needed = rolling < w->window - w->sink ? rolling : w->window - w->sink;
    int64_t clean_needed = at < w->window ? at : w->window;
    if (back < 0 || at < 0 || at < h->floor || back > removable(h) ||
        (rolling > 0 && h->page_count - back < rolling_needed) ||
        h->clean_count - back < clean_needed) {
        return -ERANGE;
    }
    /* Position p stands before tails[p - decoded + tail_count - 1]; position 0 needs no tail. */
    if (undecode > 0 && undecode >= h->tail_count && at > 0) {
        return -ERANGE;
    }
    int from_pages = back < h->page_count ? (int)back : h->page_count;
    drop_back(h->pages, &h->page_count, from_pages);
    drop_back(h->sink, &h->sink_count, (int)back - from_pages);
    drop_back(h->clean, &h->clean_count, (int)back);
    for (int64_t i = 0; i < undecode && h->tail_count > 0; i++) {
        kt_vae_tail_unref(&h->tails[--h->tail_count]);
    }
    h->decoded -= undecode;
    h->latents = at;
    return 0;
}

struct kt_slab_item *kt_history_clean(const struct kt_history *h, int64_t index)
{
    int64_t i = index - (h->latents - h->clean_count);
    return i >= 0 && i < h->clean_count ? h->clean[i] : NULL;
}

struct kt_vae_tail *kt_history_tail(const struct kt_history *h)
{
    return h->tail_count ? h->tails[h->tail_count - 1] : NULL;
}

void kt_history_trim_tails(struct kt_history *h, int kept)
{
    if (h->tail_count > kept) {
        drop_tails_front(h, h->tail_count - kept);
    }
}

void kt_history_push_tail(struct kt_history *h, struct kt_vae_tail *tail, int kept)
{
    KT_ASSERT(kept >= 1 && kept <= KT_TAILS_KEPT);
    if (h->tail_count == kept) {
        drop_tails_front(h, 1);
    }
    h->tails[h->tail_count++] = tail;
    h->decoded++;
}
