#include "load/viewer.h"

#include <errno.h>
#include <string.h>

enum { STREAM_VIDEO, STREAM_PREVIEW, FRAME_SOON_US = 12000, FRAME_EARLY_US = 8000 };

void kt_viewer_open(struct kt_viewer *v, const struct kt_viewer_params *p)
{
    memset(v, 0, sizeof(*v));
    v->p = *p;
    v->need_key[STREAM_VIDEO] = v->need_key[STREAM_PREVIEW] = 1;
}

static int lose(struct kt_viewer *v, int stream, const char *why)
{
    kt_results_problem(v->p.results, why);
    kt_decoder_close(&v->decoder[stream]);
    v->need_key[stream] = 1;
    return -EBADMSG;
}

static int decode(struct kt_viewer *v, const struct kt_media_header *h, const uint8_t *payload)
{
    struct kt_error err = {0};
    const int64_t start = v->p.now_us(v->p.arg);
    int rc = 0;
    if (!v->p.decode) {
        return 0;
    }
    if (!v->decoder[h->stream]) {
        rc = kt_decoder_open(&v->decoder[h->stream], (enum kt_media_codec)h->codec, &err);
    }
    rc = rc < 0 ? rc : kt_decoder_decode(v->decoder[h->stream], h, payload, &err);
    if (rc < 0) {
        v->p.results->decode_errors++;
        return lose(v, h->stream, err.text);
    }
    kt_tally_add(&v->p.results->decode_ms, (double)(v->p.now_us(v->p.arg) - start) * 1e-3);
    return 0;
}

static int64_t transit(const struct kt_viewer *v, const struct kt_media_header *h, int64_t now_us)
{
    const int best = kt_round_trip_best(v->p.round_trip);
    return best < 0 ? -1 : now_us + v->p.round_trip->sample[best].offset_us - (int64_t)h->server_us;
}

static void count(struct kt_viewer *v, const struct kt_media_header *h, size_t n, int64_t now_us)
{
    struct kt_load_results *r = v->p.results;
    const int64_t way = transit(v, h, now_us);
    r->received += h->stream == STREAM_VIDEO;
    r->previews += h->stream == STREAM_PREVIEW;
    r->bytes += (int64_t)n;
    r->keys += (h->flags & KT_MEDIA_KEY) != 0;
    r->late += (h->flags & KT_MEDIA_LATE) != 0;
    if (v->has_seq && h->seq != v->next_seq) {
        r->gaps++;
    }
    v->has_seq = 1;
    v->next_seq = h->seq + 1;
    for (int i = 0; i < KT_TIMING_COUNT && h->stream == STREAM_VIDEO; i++) {
        kt_tally_add(&r->stage_ms[i], h->timings[i] * 0.1);
    }
    if (way >= 0) {
        kt_tally_add(&r->transit_ms, (double)way * 1e-3);
    }
}

/* Epochs never go back, and no preview comes behind the picture that it announces. */
static void check_order(struct kt_viewer *v, const struct kt_media_header *h)
{
    const int preview = h->stream == STREAM_PREVIEW;
    if (v->has_epoch && (preview ? h->epoch <= v->epoch : h->epoch < v->epoch)) {
        v->p.results->disordered++;
    }
    if (!preview && (!v->has_epoch || h->epoch > v->epoch)) {
        v->has_epoch = 1;
        v->epoch = h->epoch;
    }
}

static void report_passed(struct kt_viewer *v, uint32_t seq)
{
    v->passed_seq = v->has_passed && v->passed_seq > seq ? v->passed_seq : seq;
    v->has_passed = 1;
}

/* Not shown, but the playhead goes past it, or the server would wait. */
static int pass_over(struct kt_viewer *v, const struct kt_media_header *h)
{
    if (h->stream == STREAM_VIDEO) {
        v->flush_owed |= (h->flags & KT_MEDIA_FLUSH) != 0;
        report_passed(v, h->seq);
    }
    return h->stream == STREAM_VIDEO ? -EBADMSG : 0;
}

static int take_preview(struct kt_viewer *v, const struct kt_media_header *h,
                        const uint8_t *payload, int64_t now_us)
{
    struct kt_commit *c = kt_ledger_of_revision(v->p.ledger, h->revision);
    const int rc = decode(v, h, payload);
    if (rc == 0 && c && !c->preview_received_us && !c->shown_us) {
        c->preview_received_us = now_us;
        c->preview_shown_us = v->p.now_us(v->p.arg);
    }
    return rc;
}

static int take_video(struct kt_viewer *v, const struct kt_media_header *h, const uint8_t *payload,
                      int64_t now_us)
{
    struct kt_commit *c = kt_ledger_of_epoch(v->p.ledger, h->epoch);
    if (c && !c->received_us) {
        c->received_us = now_us;
        c->transit_us = transit(v, h, now_us);
        memcpy(c->timings, h->timings, sizeof(c->timings));
        v->p.results->wrong_revision += h->revision != (uint32_t)c->rev;
    }
    if (decode(v, h, payload) < 0) {
        return pass_over(v, h);
    }
    const struct kt_picture picture = {.seq = h->seq,
                                       .epoch = h->epoch,
                                       .revision = h->revision,
                                       .pts_us = (int64_t)h->pts_us,
                                       .flush = (h->flags & KT_MEDIA_FLUSH) != 0 || v->flush_owed,
                                       .late = (h->flags & KT_MEDIA_LATE) != 0,
                                       .first = (h->flags & KT_MEDIA_FIRST) != 0};
    const int64_t decoded_us = v->p.now_us(v->p.arg);
    if (c && !c->decoded_us) {
        c->decoded_us = decoded_us;
    }
    v->flush_owed = 0;
    kt_playout_push(&v->playout, &picture, decoded_us);
    return 0;
}

int kt_viewer_picture(struct kt_viewer *v, const uint8_t *data, size_t n, int64_t now_us)
{
    struct kt_media_header h;
    struct kt_fault fault;
    if (kt_media_unpack(&h, data, n, &fault) < 0) {
        v->p.results->bad_messages++;
        return lose(v, STREAM_VIDEO, fault.message);
    }
    if (h.stream > STREAM_PREVIEW) {
        return 0;
    }
    count(v, &h, n, now_us);
    check_order(v, &h);
    if (v->need_key[h.stream] && !(h.flags & KT_MEDIA_KEY)) {
        return pass_over(v, &h);
    }
    v->need_key[h.stream] = 0;
    const uint8_t *payload = data + KT_MEDIA_HEADER_BYTES;
    return h.stream == STREAM_PREVIEW ? take_preview(v, &h, payload, now_us)
                                      : take_video(v, &h, payload, now_us);
}

/* ---- show ---- */

static int show(struct kt_viewer *v, int64_t now_us)
{
    struct kt_picture picture;
    if (!kt_playout_due(&v->playout, now_us, &picture)) {
        return 0;
    }
    kt_screen_show(&v->screen, &picture, now_us);
    kt_ledger_shown(v->p.ledger, picture.epoch, now_us);
    report_passed(v, picture.seq);
    v->has_shown = 1;
    return 1;
}

/* As the page arms itself: a timer until shortly before, then the display's next refresh. */
static int64_t service_display(struct kt_viewer *v, int64_t now_us)
{
    const int64_t refresh_us = 1000000 / v->p.refresh_hz;
    if (v->frame_us && now_us >= v->frame_us) {
        v->frame_us = 0;
        show(v, now_us);
    }
    if (v->frame_us) {
        return v->frame_us;
    }
    const int64_t wait = kt_playout_wait(&v->playout, now_us);
    if (wait < 0) {
        return INT64_MAX;
    }
    if (wait > FRAME_SOON_US) {
        return now_us + wait - FRAME_EARLY_US;
    }
    v->frame_us = (now_us / refresh_us + 1) * refresh_us;
    return v->frame_us;
}

int64_t kt_viewer_service(struct kt_viewer *v, int64_t now_us)
{
    if (v->p.refresh_hz) {
        return service_display(v, now_us);
    }
    while (show(v, now_us)) {
        /* one after the other: each may move the clock of the next */
    }
    const int64_t wait = kt_playout_wait(&v->playout, now_us);
    return wait < 0 ? INT64_MAX : now_us + wait;
}

void kt_viewer_end(struct kt_viewer *v, int64_t now_us)
{
    if (!v->ended) {
        v->ended = 1;
        kt_screen_end(&v->screen, now_us);
    }
}

void kt_viewer_close(struct kt_viewer *v, int64_t now_us)
{
    struct kt_load_results *r = v->p.results;
    kt_viewer_end(v, now_us);
    if (v->has_shown) {
        kt_tally_add(&r->fps, kt_screen_fps(&v->screen));
    }
    r->shown += v->screen.pictures;
    r->stale += v->screen.stale;
    r->stalls += v->screen.stalls;
    r->stall_us += v->screen.stall_us;
    if (v->screen.stall_longest_us > r->stall_longest_us) {
        r->stall_longest_us = v->screen.stall_longest_us;
    }
    r->missed += v->playout.missed;
    r->flushed += v->playout.flushed;
    r->overflowed += v->playout.overflowed;
    r->outdated += v->playout.outdated;
    r->rebased += v->playout.rebased;
    kt_decoder_close(&v->decoder[STREAM_VIDEO]);
    kt_decoder_close(&v->decoder[STREAM_PREVIEW]);
}
