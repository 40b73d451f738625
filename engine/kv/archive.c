/* A hot snapshot costs pages and a VAE tail: hundreds of megabytes a position at full size. A cold
 * one costs nothing but the latents before it, 0.4 MB each, which every position of the stream
 * shares with its neighbours: a stream that keeps its latents can go back anywhere. So the archive
 * keeps latents, not checkpoints, in fixed slots of one allocation.
 *
 * When no slot is free, the stream that holds most is thinned: its past is seen as windows,
 * stretches of `window` latents at multiples of that length, each of which makes the position at
 * its end reachable. In the older half of what the stream holds every second whole window is
 * dropped. Done again and again this keeps a past that is dense where it is young and ever sparser
 * where it is old: an hour's stream can still go back to its first minutes, if not to each second
 * of them. What is no whole window any more (the rest of earlier thinning) goes first.
 *
 * Never dropped by thinning are the latents that a sink of the stream is made of, and the newest
 * two windows, which the stream itself stands on.
 *
 * Prompts are records in a list of their own: from which latent on, which text, and whose the sink
 * is. They are few and small; when their places run out, the stream with most of them forgets its
 * oldest, together with the positions that would need it. */
#include "engine/kv/archive.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine/base/assert.h"
#include "engine/engine.h"

enum { NONE = -1, PROMPTS_PER_STREAM = 64, YOUNG_WINDOWS = 2 };

struct slot {
    int64_t index;
    int prev, next; /* in the stream's list, or the free list (next) */
};

struct prompt {
    int64_t at, sink_at;
    int text, sink_text;
    int prev, next;
};

struct text { /* shared by the prompts that need it */
    int refs;
    char bytes[KT_PROMPT_BYTES_MAX + 1];
};

struct list {
    int first, last, count;
};

struct stream {
    uint64_t seed;
    struct list slots, prompts; /* by rising index and `at` */
    int64_t end;
};

struct kt_archive {
    struct kt_archive_params p;
    size_t latent_bytes, held;
    int slot_count, prompt_count, text_count;
    int slots_used, free_slot, prompts_used, free_prompt;
    struct stream *streams;
    struct slot *slots;
    struct prompt *prompts;
    struct text *texts;
    float *latents;       /* [slot_count, latent_floats] */
    float *window, *sink; /* what kt_archive_read hands out */
    uint64_t thinned;
};

/* ---- opening ---- */

/* Everything but the slots is small and fixed; slots take what is left of the cap. */
static int size_up(struct kt_archive *a, struct kt_error *err)
{
    const struct kt_archive_params *p = &a->p;
    size_t streams = (size_t)p->streams_max;
    a->latent_bytes = p->latent_floats * sizeof(float);
    a->prompt_count = p->streams_max * PROMPTS_PER_STREAM;
    a->text_count = a->prompt_count + p->streams_max + 2; /* sinks' whose prompt is gone, and two
                                                              in passing */
    size_t fixed = sizeof(*a) + streams * sizeof(struct stream) +
                   (size_t)a->prompt_count * sizeof(struct prompt) +
                   (size_t)a->text_count * sizeof(struct text) +
                   (size_t)(p->window + p->sink) * a->latent_bytes;
    size_t one = a->latent_bytes + sizeof(struct slot);
    size_t slots = p->bytes_max > fixed ? (p->bytes_max - fixed) / one : 0;
    if (slots < (size_t)(2 * p->window + p->sink)) {
        return kt_fail(err, -EINVAL,
                       "archive: expected room for two windows, at least %zu bytes, found %zu",
                       fixed + one * (size_t)(2 * p->window + p->sink), p->bytes_max);
    }
    a->slot_count = slots < INT32_MAX ? (int)slots : INT32_MAX;
    a->held = fixed + one * (size_t)a->slot_count;
    return 0;
}

static int take_memory(struct kt_archive *a)
{
    const struct kt_archive_params *p = &a->p;
    a->streams = calloc((size_t)p->streams_max, sizeof(*a->streams));
    a->slots = malloc((size_t)a->slot_count * sizeof(*a->slots));
    a->prompts = malloc((size_t)a->prompt_count * sizeof(*a->prompts));
    a->texts = calloc((size_t)a->text_count, sizeof(*a->texts));
    a->latents = malloc((size_t)a->slot_count * a->latent_bytes);
    a->window = malloc((size_t)p->window * a->latent_bytes);
    a->sink = malloc((size_t)(p->sink ? p->sink : 1) * a->latent_bytes);
    return a->streams && a->slots && a->prompts && a->texts && a->latents && a->window && a->sink
               ? 0
               : -ENOMEM;
}

static const struct list k_empty = {NONE, NONE, 0};

int kt_archive_open(struct kt_archive **out, const struct kt_archive_params *p,
                    struct kt_error *err)
{
    KT_ASSERT(p->streams_max >= 1 && p->window >= 1 && p->sink >= 0 && p->latent_floats >= 1);
    struct kt_archive *a = calloc(1, sizeof(*a));
    if (!a) {
        return kt_fail(err, -ENOMEM, "archive: out of memory");
    }
    a->p = *p;
    int rc = size_up(a, err);
    if (rc == 0 && take_memory(a) < 0) {
        rc = kt_fail(err, -ENOMEM, "archive: no memory for %zu bytes", a->held);
    }
    if (rc < 0) {
        kt_archive_close(&a);
        return rc;
    }
    for (int i = 0; i < a->slot_count; i++) {
        a->slots[i].next = i + 1 < a->slot_count ? i + 1 : NONE;
    }
    for (int i = 0; i < a->prompt_count; i++) {
        a->prompts[i].next = i + 1 < a->prompt_count ? i + 1 : NONE;
    }
    for (int i = 0; i < p->streams_max; i++) {
        a->streams[i] = (struct stream){.slots = k_empty, .prompts = k_empty};
    }
    *out = a;
    return 0;
}

void kt_archive_close(struct kt_archive **a)
{
    if (!a || !*a) {
        return;
    }
    void *parts[] = {(*a)->streams, (*a)->slots,  (*a)->prompts, (*a)->texts,
                     (*a)->latents, (*a)->window, (*a)->sink};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        free(parts[i]);
    }
    free(*a);
    *a = NULL;
}

/* ---- latents ---- */

static float *latent_of(const struct kt_archive *a, int slot)
{
    return a->latents + a->p.latent_floats * (size_t)slot;
}

static void drop_slot(struct kt_archive *a, struct stream *s, int i)
{
    struct slot *slot = &a->slots[i];
    *(slot->prev == NONE ? &s->slots.first : &a->slots[slot->prev].next) = slot->next;
    *(slot->next == NONE ? &s->slots.last : &a->slots[slot->next].prev) = slot->prev;
    s->slots.count--;
    slot->next = a->free_slot;
    a->free_slot = i;
    a->slots_used--;
}

/* The slot of latent `index`, or NONE; searched from the young end, where most questions are. */
static int find_slot(const struct kt_archive *a, const struct stream *s, int64_t index)
{
    int i = s->slots.last;
    while (i != NONE && a->slots[i].index > index) {
        i = a->slots[i].prev;
    }
    return i != NONE && a->slots[i].index == index ? i : NONE;
}

/* ---- prompts ---- */

static int take_text(struct kt_archive *a, const char *text)
{
    for (int i = 0; i < a->text_count; i++) {
        if (a->texts[i].refs == 0) {
            a->texts[i].refs = 1;
            strncpy(a->texts[i].bytes, text, KT_PROMPT_BYTES_MAX);
            a->texts[i].bytes[KT_PROMPT_BYTES_MAX] = '\0';
            return i;
        }
    }
    KT_ASSERT(!"there is a text for every prompt, and one a stream");
    return NONE;
}

static void drop_prompt(struct kt_archive *a, struct stream *s, int i)
{
    struct prompt *p = &a->prompts[i];
    *(p->prev == NONE ? &s->prompts.first : &a->prompts[p->prev].next) = p->next;
    *(p->next == NONE ? &s->prompts.last : &a->prompts[p->next].prev) = p->prev;
    s->prompts.count--;
    a->texts[p->text].refs--;
    a->texts[p->sink_text].refs--;
    p->next = a->free_prompt;
    a->free_prompt = i;
    a->prompts_used--;
}

/* The prompt that the latents before `at` were made under; a switch at `at` itself comes after. */
static const struct prompt *prompt_at(const struct kt_archive *a, const struct stream *s,
                                      int64_t at)
{
    int i = s->prompts.last;
    while (i != NONE && a->prompts[i].at >= at && a->prompts[i].prev != NONE) {
        i = a->prompts[i].prev;
    }
    return i == NONE || (a->prompts[i].at >= at && a->prompts[i].at > 0) ? NULL : &a->prompts[i];
}

/* Forgets the oldest prompt of the stream that has most, and the latents that only its positions
 * stood on. */
static void forget_a_prompt(struct kt_archive *a)
{
    struct stream *most = &a->streams[0];
    for (int i = 1; i < a->p.streams_max; i++) {
        most = a->streams[i].prompts.count > most->prompts.count ? &a->streams[i] : most;
    }
    KT_ASSERT(most->prompts.count > 1); /* there are more places than streams */
    const struct prompt *next = &a->prompts[a->prompts[most->prompts.first].next];
    int64_t sink_end = next->sink_at + a->p.sink, needed = next->at - a->p.window;
    for (int i = most->slots.first, after; i != NONE; i = after) {
        after = a->slots[i].next;
        int64_t index = a->slots[i].index;
        if (index < needed && (index < next->sink_at || index >= sink_end)) {
            drop_slot(a, most, i);
            a->thinned++;
        }
    }
    drop_prompt(a, most, most->prompts.first);
}

static void add_prompt(struct kt_archive *a, struct stream *s, int64_t at, int text,
                       int64_t sink_at, int sink_text)
{
    while (a->free_prompt == NONE) {
        forget_a_prompt(a);
    }
    int i = a->free_prompt;
    a->free_prompt = a->prompts[i].next;
    a->texts[sink_text].refs++;
    a->prompts[i] = (struct prompt){.at = at,
                                    .sink_at = sink_at,
                                    .text = text,
                                    .sink_text = sink_text,
                                    .prev = s->prompts.last,
                                    .next = NONE};
    *(s->prompts.last == NONE ? &s->prompts.first : &a->prompts[s->prompts.last].next) = i;
    s->prompts.last = i;
    s->prompts.count++;
    a->prompts_used++;
}

/* ---- thinning ---- */

static int is_sink(const struct kt_archive *a, const struct stream *s, int64_t index)
{
    for (int i = s->prompts.first; i != NONE; i = a->prompts[i].next) {
        int64_t at = a->prompts[i].sink_at;
        if (index >= at && index < at + a->p.sink) {
            return 1;
        }
    }
    return 0;
}

/* Drops the latents from slot `i` to latent `to` that no sink is made of. Returns how many. */
static int drop_run(struct kt_archive *a, struct stream *s, int i, int64_t to)
{
    int dropped = 0;
    for (int after; i != NONE && a->slots[i].index < to; i = after) {
        after = a->slots[i].next;
        if (!is_sink(a, s, a->slots[i].index)) {
            drop_slot(a, s, i);
            dropped++;
        }
    }
    a->thinned += (uint64_t)dropped;
    return dropped;
}

/* Walks the windows at multiples of the window's length that lie before `to`: drops what is not
 * whole, and, with `whole`, every second one that is. */
static int thin_windows(struct kt_archive *a, struct stream *s, int64_t to, int whole)
{
    int dropped = 0, odd = 0;
    for (int i = s->slots.first; i != NONE;) {
        int64_t w = a->slots[i].index / a->p.window * a->p.window, end = w + a->p.window;
        if (end > to) {
            break;
        }
        int kept = 0, start = i;
        for (; i != NONE && a->slots[i].index < end; i = a->slots[i].next) {
            kept++;
        }
        int is_whole = kept == a->p.window;
        int drop = is_whole ? whole && odd : 1;
        odd ^= is_whole;
        dropped += drop ? drop_run(a, s, start, end) : 0;
    }
    return dropped;
}

static int64_t middle(const struct kt_archive *a, const struct stream *s)
{
    int i = s->slots.first;
    for (int n = s->slots.count / 2; n > 0; n--) {
        i = a->slots[i].next;
    }
    int64_t young = s->end - YOUNG_WINDOWS * a->p.window;
    return a->slots[i].index < young ? a->slots[i].index : young;
}

/* Frees at least one slot, of the stream that holds most; of its oldest latents where nothing can
 * be chosen any more. */
static void thin(struct kt_archive *a)
{
    struct stream *most = &a->streams[0];
    for (int i = 1; i < a->p.streams_max; i++) {
        most = a->streams[i].slots.count > most->slots.count ? &a->streams[i] : most;
    }
    int64_t to = middle(a, most);
    if (thin_windows(a, most, to, 0) || thin_windows(a, most, to, 1) ||
        drop_run(a, most, most->slots.first, to)) {
        return;
    }
    drop_slot(a, most, most->slots.first);
    a->thinned++;
}

/* ---- streams ---- */

static struct stream *stream_of(const struct kt_archive *a, int stream)
{
    KT_ASSERT(stream >= 0 && stream < a->p.streams_max);
    return &a->streams[stream];
}

void kt_archive_end(struct kt_archive *a, int stream)
{
    struct stream *s = stream_of(a, stream);
    while (s->slots.last != NONE) {
        drop_slot(a, s, s->slots.last);
    }
    while (s->prompts.last != NONE) {
        drop_prompt(a, s, s->prompts.last);
    }
    *s = (struct stream){.slots = k_empty, .prompts = k_empty};
}

void kt_archive_begin(struct kt_archive *a, int stream, uint64_t seed, const char *text)
{
    struct stream *s = stream_of(a, stream);
    kt_archive_end(a, stream);
    s->seed = seed;
    int t = take_text(a, text);
    add_prompt(a, s, 0, t, 0, t);
}

void kt_archive_rewind(struct kt_archive *a, int stream, int64_t at)
{
    struct stream *s = stream_of(a, stream);
    while (s->slots.last != NONE && a->slots[s->slots.last].index >= at) {
        drop_slot(a, s, s->slots.last);
    }
    while (s->prompts.count > 1 && a->prompts[s->prompts.last].at > at) {
        drop_prompt(a, s, s->prompts.last);
    }
    s->end = s->end < at ? s->end : at;
}

/* Whose the sink is after a switch: that of kt_history_plan_recache. */
void kt_archive_switch(struct kt_archive *a, int stream, int64_t at, const char *text,
                       int keep_sink, int recache)
{
    struct stream *s = stream_of(a, stream);
    kt_archive_rewind(a, stream, at);
    const struct prompt *old = s->prompts.last == NONE ? NULL : &a->prompts[s->prompts.last];
    int64_t total = at < a->p.window ? at : a->p.window, sink_at = old ? old->sink_at : 0;
    int stays = keep_sink && (at > a->p.window || (recache > 0 && recache < total));
    int sink_text = old ? old->sink_text : NONE;
    if (!stays) {
        sink_at = keep_sink ? sink_at : at - total;
        sink_text = NONE;
    }
    /* Not by way of the list: making room may drop the old prompt. */
    sink_text = sink_text == NONE ? NONE : (a->texts[sink_text].refs++, sink_text);
    while (s->prompts.count > 0 && a->prompts[s->prompts.last].at >= at) {
        drop_prompt(a, s, s->prompts.last);
    }
    int t = take_text(a, text);
    add_prompt(a, s, at, t, sink_at, sink_text == NONE ? t : sink_text);
    if (sink_text != NONE) {
        a->texts[sink_text].refs--;
    }
}

void kt_archive_put(struct kt_archive *a, int stream, int64_t index, const float *latent)
{
    struct stream *s = stream_of(a, stream);
    if (index < s->end) {
        kt_archive_rewind(a, stream, index);
    }
    while (a->free_slot == NONE) {
        thin(a);
    }
    int i = a->free_slot;
    a->free_slot = a->slots[i].next;
    a->slots[i] = (struct slot){.index = index, .prev = s->slots.last, .next = NONE};
    *(s->slots.last == NONE ? &s->slots.first : &a->slots[s->slots.last].next) = i;
    s->slots.last = i;
    s->slots.count++;
    s->end = index + 1;
    a->slots_used++;
    memcpy(latent_of(a, i), latent, a->latent_bytes);
}

/* ---- reading ---- */

/* How far before `at` latents are kept without a gap, counted up to the window's length. */
static int64_t run_before(const struct kt_archive *a, const struct stream *s, int64_t at)
{
    int i = at > 0 ? find_slot(a, s, at - 1) : NONE;
    int64_t n = 0;
    for (; i != NONE && n < a->p.window && a->slots[i].index == at - 1 - n; n++) {
        i = a->slots[i].prev;
    }
    return n;
}

static int reachable(const struct kt_archive *a, const struct stream *s, int64_t at)
{
    const struct prompt *p = prompt_at(a, s, at);
    if (!p || at < 1 || run_before(a, s, at) < (at < a->p.window ? at : a->p.window)) {
        return 0;
    }
    for (int i = 0; i < a->p.sink && p->sink_at + i < at; i++) {
        if (find_slot(a, s, p->sink_at + i) == NONE) {
            return 0;
        }
    }
    return 1;
}

int64_t kt_archive_reach(const struct kt_archive *a, int stream, int64_t at)
{
    const struct stream *s = stream_of(a, stream);
    for (int i = s->slots.last; i != NONE; i = a->slots[i].prev) {
        int64_t here = a->slots[i].index + 1;
        if (here <= at && reachable(a, s, here)) {
            return here;
        }
    }
    return NONE;
}

static void gather(const struct kt_archive *a, const struct stream *s, int64_t from, int64_t to,
                   float *out)
{
    int i = find_slot(a, s, from);
    for (int64_t at = from; at < to; at++, i = a->slots[i].next) {
        KT_ASSERT(i != NONE && a->slots[i].index == at);
        memcpy(out + a->p.latent_floats * (size_t)(at - from), latent_of(a, i), a->latent_bytes);
    }
}

int kt_archive_read(struct kt_archive *a, int stream, int64_t at, struct kt_archive_point *out)
{
    const struct stream *s = stream_of(a, stream);
    const struct prompt *p = prompt_at(a, s, at);
    if (!reachable(a, s, at)) {
        return -ERANGE;
    }
    int n = at < a->p.window ? (int)at : a->p.window;
    int has_sink = a->p.sink > 0 && at > p->sink_at + a->p.sink;
    gather(a, s, at - n, at, a->window);
    if (has_sink) {
        gather(a, s, p->sink_at, p->sink_at + a->p.sink, a->sink);
    }
    *out = (struct kt_archive_point){.at = at,
                                     .sink_at = p->sink_at,
                                     .n = n,
                                     .window = a->window,
                                     .sink = has_sink ? a->sink : NULL,
                                     .text = a->texts[p->text].bytes,
                                     .sink_text = a->texts[p->sink_text].bytes,
                                     .seed = s->seed};
    return 0;
}

int kt_archive_fork(struct kt_archive *a, int stream, int from, int64_t at)
{
    struct kt_archive_point point;
    KT_ASSERT(stream != from);
    int rc = kt_archive_read(a, from, at, &point);
    if (rc < 0) {
        return rc;
    }
    struct prompt old = *prompt_at(a, stream_of(a, from), at);
    struct stream *s = stream_of(a, stream);
    a->texts[old.text].refs++;
    a->texts[old.sink_text].refs++;
    kt_archive_end(a, stream);
    s->seed = point.seed;
    a->texts[old.text].refs++; /* add_prompt takes this one over */
    add_prompt(a, s, at - 1, old.text, old.sink_at, old.sink_text); /* good for `at`, not before */
    a->texts[old.text].refs--;
    a->texts[old.sink_text].refs--;
    for (int i = 0; point.sink && i < a->p.sink && point.sink_at + i < at - point.n; i++) {
        kt_archive_put(a, stream, point.sink_at + i, point.sink + a->p.latent_floats * (size_t)i);
    }
    for (int i = 0; i < point.n; i++) {
        kt_archive_put(a, stream, at - point.n + i, point.window + a->p.latent_floats * (size_t)i);
    }
    return 0;
}

void kt_archive_get_info(const struct kt_archive *a, struct kt_archive_info *out)
{
    *out = (struct kt_archive_info){
        .bytes_used = a->held - (size_t)(a->slot_count - a->slots_used) *
                                    (a->latent_bytes + sizeof(struct slot)),
        .bytes_held = a->held,
        .bytes_max = a->p.bytes_max,
        .thinned = a->thinned,
    };
}

void kt_archive_get_stream(const struct kt_archive *a, int stream, struct kt_archive_stream *out)
{
    const struct stream *s = stream_of(a, stream);
    *out = (struct kt_archive_stream){.first = NONE, .end = s->end, .kept = s->slots.count};
    for (int i = s->slots.first; i != NONE && out->first == NONE; i = a->slots[i].next) {
        out->first = reachable(a, s, a->slots[i].index + 1) ? a->slots[i].index + 1 : NONE;
    }
}
