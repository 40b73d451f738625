/* A session's pictures on their way out: from the lane through the reel, the pacer, the encoder and
 * the client's queue to the wire. At most one of them is due at a time; it goes to the encoder with
 * an empty packet, comes back, and waits in the outq until the socket takes it. That moment gives
 * it its sequence number, and the lane is told how far the wire has got. */
#include "server/session_parts.h"

#include "engine/base/assert.h"
#include "server/client.h"

#include <stdlib.h>
#include <string.h>

enum { RETRY_US = 5000, FADE_PICTURES = 3 };

/* Frames before it are on the wire. */
static void report_sent(struct kt_session *s, uint32_t epoch, int64_t frame)
{
    struct kt_wishes *w = &s->wishes;
    w->shown = w->epoch == epoch && s->reported ? w->shown : frame;
    w->epoch = epoch;
    w->sent = frame + 1;
    w->report_due = 1;
    s->reported = 1;
}

static void take_frame(struct kt_session *s, struct kt_frame *frame)
{
    if (s->phase != KT_SESSION_OPEN) {
        kt_frame_unref(&frame);
        return;
    }
    const uint32_t epoch = frame->epoch;
    const int64_t index = frame->frame;
    const int steps = frame->steps;
    const uint64_t overflows = s->reel.overflows, dropped = s->reel.dropped;
    const enum kt_reel_answer answer = kt_reel_put(&s->reel, frame);
    s->live->counts.dropped += s->reel.dropped - dropped;
    if (answer == KT_REEL_FLUSHED && s->client) {
        const uint64_t flushed = s->client->outq.flushed;
        kt_outq_flush(&s->client->outq, epoch);
        s->live->counts.flushed += s->client->outq.flushed - flushed;
    }
    if (answer == KT_REEL_SKIPPED) {
        report_sent(s, epoch, index); /* else the lane would wait for it to be sent */
    }
    s->device_steps = answer == KT_REEL_LEFT ? s->device_steps : steps;
    if (s->reel.overflows > overflows && s->reel.overflows == 1) {
        kt_log(s->live->log, KT_LOG_WARN, "session %u: %d raw pictures wait, dropping", s->index,
               KT_RAW_MAX);
    }
}

static void fill_header(struct kt_media_header *h, const struct kt_session *s,
                        const struct kt_frame *f, const struct kt_slot *pace)
{
    const struct kt_frame_timings *ms = &f->ms;
    const double timings[] = {ms->queue,   ms->text,   ms->recache,
                              ms->denoise, ms->decode, ms->convert};
    *h = (struct kt_media_header){
        .codec = (uint8_t)s->codec,
        .steps = (uint8_t)f->steps,
        .flags = pace->late ? KT_MEDIA_LATE : 0,
        .epoch = f->epoch,
        .revision = f->revision,
        .frame = (uint64_t)f->frame,
        .pts_us = (uint64_t)pace->pts_us,
        .width = (uint16_t)f->width,
        .height = (uint16_t)f->height,
    };
    for (int i = 0; i <= KT_TIMING_CONVERT; i++) {
        h->timings[i] = kt_media_timing(timings[i]);
    }
}

/* ---- previews ---- */

static int64_t stream_clock(const struct kt_session *s, int64_t now_us)
{
    return s->pacer.taken ? now_us - s->pacer.origin_us : 0;
}

static void open_preview(struct kt_session *s)
{
    struct kt_encode_order order = {.session = s->index, .kind = KT_ENCODE_OPEN};
    kt_session_encoder_params(s, &order.params);
    order.params.codec = s->preview.codec;
    order.stream = KT_STREAM_PREVIEW;
    order.generation = s->preview.generation;
    const int rc = kt_encode_worker_order(s->live->worker, &order);
    KT_ASSERT(rc == 0);
    s->orders++;
    s->preview.open = 1;
    s->preview.want_key = 1;
}

static int may_preview(const struct kt_session *s, const struct kt_frame *frame)
{
    return s->phase == KT_SESSION_OPEN && s->live->ready && !kt_session_paused(s) &&
           s->client->state == KT_CLIENT_BOUND && s->settings.preview &&
           kt_preview_room(&s->preview) && !(s->reel.on_wire && frame->epoch <= s->reel.wire_epoch);
}

static void take_preview(struct kt_session *s, struct kt_frame *frame, int64_t now_us)
{
    struct kt_packet *packet = may_preview(s, frame) ? kt_packet_take(s->live->pool) : NULL;
    if (!packet) {
        s->live->counts.previews_dropped++;
        kt_frame_unref(&frame);
        return;
    }
    if (!s->preview.open) {
        open_preview(s);
    }
    struct kt_encode_order order = {
        .kind = KT_ENCODE_PICTURE, .session = s->index, .frame = frame, .packet = packet};
    kt_preview_order(&s->preview, &order, stream_clock(s, now_us), s->pacer.nominal_us);
    const struct kt_slot slot = {.pts_us = order.pts_us};
    fill_header(&packet->header, s, frame, &slot);
    packet->header.stream = KT_STREAM_PREVIEW;
    packet->header.codec = (uint8_t)s->preview.codec;
    packet->header.flags = order.want_key ? KT_MEDIA_FIRST : 0;
    const int rc = kt_encode_worker_order(s->live->worker, &order);
    KT_ASSERT(rc == 0);
    s->orders++;
}

/* ---- what the lane says ---- */

void kt_session_note_cut(struct kt_session *s, int revision, enum kt_cut_name cut, char *text)
{
    struct kt_noted_cut *c = &s->cuts[s->cut_count++ % KT_CUTS_NOTED];
    const int fade = cut == KT_NAME_NOW && text ? FADE_PICTURES : 0;
    free(c->text);
    *c = (struct kt_noted_cut){revision, fade, cut, text};
}

/* From now on a fork goes on with it. */
static void text_applied(struct kt_session *s, int revision)
{
    for (int i = 0; i < KT_CUTS_NOTED; i++) {
        struct kt_noted_cut *c = &s->cuts[i];
        if (c->text && c->revision == revision) {
            free(s->applied_text);
            s->applied_text = c->text;
            c->text = NULL;
        }
    }
}

/* The first pictures of a session take nobody's place. */
static struct kt_noted_cut find_cut(const struct kt_session *s, int revision)
{
    for (int i = s->cut_count - 1; i >= 0 && i >= s->cut_count - KT_CUTS_NOTED; i--) {
        if (s->cuts[i % KT_CUTS_NOTED].revision == revision) {
            return s->cuts[i % KT_CUTS_NOTED];
        }
    }
    return (struct kt_noted_cut){.revision = revision, .cut = KT_NAME_NOW};
}

static void take_applied(struct kt_session *s, const struct kt_event *e, int64_t now_us)
{
    static const char *const hits[] = {"cold", "begun", "ready"};
    const uint64_t dropped = s->reel.dropped;
    const struct kt_noted_cut cut = find_cut(s, (int)e->revision);
    const int hit = e->hit < 0 || e->hit > 2 ? 0 : e->hit;
    kt_log(s->live->log, KT_LOG_INFO, "session %u: revision %u applied at epoch %u frame %lld, %s",
           s->index, e->revision, e->epoch, (long long)e->frame_index, hits[hit]);
    s->applied = (int)e->revision;
    text_applied(s, s->applied);
    s->answered = s->applied > s->answered ? s->applied : s->answered;
    s->fade = (struct kt_fade){e->epoch, e->flush ? cut.fade : 0};
    kt_reel_cut(&s->reel, e->epoch, e->frame_index);
    s->live->counts.dropped += s->reel.dropped - dropped;
    s->live->counts.applied++;
    if (s->client) {
        const struct kt_applied a = {.rev = (int)e->revision,
                                     .epoch = e->epoch,
                                     .frame = e->frame_index,
                                     .server_us = now_us,
                                     .hit = hit,
                                     .cut = cut.cut,
                                     .flush = e->flush && s->reel.on_wire};
        kt_client_send(s->client, kt_print_applied(&a));
    }
}

static void take_drafted(struct kt_session *s, const struct kt_event *e, int64_t now_us)
{
    s->live->counts.drafted += e->stage == KT_STAGE_READY;
    if (s->client) {
        kt_client_send(s->client,
                       kt_print_drafted((int)e->revision, e->stage == KT_STAGE_READY, now_us));
    }
}

static void take_failure(struct kt_session *s, const struct kt_event *e)
{
    kt_log(s->live->log, KT_LOG_WARN, "session %u: revision %u failed: %s", s->index, e->revision,
           e->error.text);
    s->live->counts.failed++;
    s->answered = (int)e->revision > s->answered ? (int)e->revision : s->answered;
    if (s->client) {
        kt_client_send(s->client, kt_print_failed((int)e->revision, "model_failed", e->error.text));
    }
}

void kt_session_event(struct kt_session *s, struct kt_event *e, int64_t now_us)
{
    switch (e->kind) {
    case KT_EVENT_FRAME:
        if (e->frame->preview) {
            take_preview(s, e->frame, now_us);
        } else {
            take_frame(s, e->frame);
        }
        break;
    case KT_EVENT_APPLIED: take_applied(s, e, now_us); break;
    case KT_EVENT_FAILED: take_failure(s, e); break;
    case KT_EVENT_PACE:
        kt_pacer_sustained(&s->pacer, e->fps);
        s->device_steps = e->steps;
        break;
    case KT_EVENT_CLOSED: s->wishes.lane_open = 0; break;
    case KT_EVENT_DRAFTED: take_drafted(s, e, now_us); break;
    case KT_EVENT_READY: break;
    }
}

/* ---- to the encoder ---- */

static void mark_first(struct kt_session *s, struct kt_media_header *h, int flush)
{
    h->flags |= KT_MEDIA_FIRST | (flush ? KT_MEDIA_FLUSH : 0);
    h->fade = flush && s->fade.epoch == h->epoch ? (uint8_t)s->fade.pictures : 0;
    kt_outq_drop_previews(&s->client->outq, h->epoch);
}

static void submit(struct kt_session *s, struct kt_packet *packet, int64_t now_us)
{
    int first, flush;
    struct kt_frame *frame = kt_reel_take(&s->reel, &first, &flush);
    const struct kt_slot pace = kt_pacer_take(&s->pacer, now_us, flush, s->reel.count);
    fill_header(&packet->header, s, frame, &pace);
    if (first || flush) {
        mark_first(s, &packet->header, flush);
    }
    packet->number = pace.number;
    const struct kt_encode_order order = {
        .kind = KT_ENCODE_PICTURE,
        .session = s->index,
        .generation = s->generation,
        .frame = frame,
        .packet = packet,
        .pts_us = pace.pts_us,
        .duration_us = pace.duration_us,
        .want_key = s->want_key || first || flush,
    };
    const int rc = kt_encode_worker_order(s->live->worker, &order);
    KT_ASSERT(rc == 0);
    s->orders++;
    s->pictures_in_flight++;
    s->want_key = 0;
    s->live->counts.late += (uint64_t)pace.late;
}

static int may_submit(const struct kt_session *s)
{
    return s->phase == KT_SESSION_OPEN && s->live->ready && !kt_session_paused(s) &&
           !s->encoder_failed && s->client->state == KT_CLIENT_BOUND &&
           s->pictures_in_flight < KT_IN_FLIGHT_MAX && kt_outq_room(&s->client->outq);
}

static int64_t service_dry(struct kt_session *s, int64_t now_us)
{
    const int64_t dry = kt_pacer_dry_us(&s->pacer);
    if (now_us < dry) {
        return dry;
    }
    kt_pacer_starved(&s->pacer);
    return INT64_MAX;
}

int64_t kt_session_service_pictures(struct kt_session *s, int64_t now_us)
{
    while (may_submit(s)) {
        const int64_t due = s->reel.flush ? now_us : kt_pacer_due_us(&s->pacer);
        if (due > now_us) {
            return due;
        }
        if (s->reel.count == 0) {
            return service_dry(s, now_us);
        }
        struct kt_packet *packet = kt_packet_take(s->live->pool);
        if (!packet) {
            return now_us + RETRY_US;
        }
        submit(s, packet, now_us);
    }
    return INT64_MAX;
}

/* The GPU's encoder worked when the server started, but has no session left, or has gone: what the
 * client wants next is made on the CPU. */
static int replace_encoder(struct kt_session *s, const struct kt_encode_order *answer)
{
    if (s->codec != KT_CODEC_H264 || s->client->codec_else == KT_CODEC_NONE) {
        return 0;
    }
    s->codec = s->client->codec_else;
    s->want_key = 1;
    kt_log(s->live->log, KT_LOG_WARN, "session %u: %s instead of h264: %s", s->index,
           kt_codec_name(s->codec), answer->error.text);
    kt_session_order_encoder(s);
    return 1;
}

static void take_open_answer(struct kt_session *s, const struct kt_encode_order *answer)
{
    struct kt_fault fault;
    if (answer->rc >= 0) {
        return;
    }
    if (answer->stream == KT_STREAM_PREVIEW) {
        kt_log(s->live->log, KT_LOG_WARN, "session %u: no previews: %s", s->index,
               answer->error.text);
        if (answer->generation == s->preview.generation) {
            s->preview.codec = KT_CODEC_NONE;
        }
    } else if (answer->generation == s->generation && s->client && !replace_encoder(s, answer)) {
        s->encoder_failed = 1;
        kt_log(s->live->log, KT_LOG_ERROR, "session %u: %s", s->index, answer->error.text);
        kt_fault_set(&fault, KT_FAULT_INTERNAL, "the video encoder cannot be opened");
        kt_client_fault(s->client, &fault);
    }
}

/* A preview is overtaken by the epoch that it announces, a picture by a flush. */
static int stale(const struct kt_session *s, const struct kt_encode_order *answer)
{
    const uint32_t epoch = answer->packet->header.epoch;
    if (!s->client || s->phase != KT_SESSION_OPEN) {
        return 1;
    }
    if (answer->stream == KT_STREAM_PREVIEW) {
        return answer->generation != s->preview.generation ||
               (s->reel.on_wire && epoch <= s->reel.wire_epoch);
    }
    return answer->generation != s->generation || epoch < s->reel.flushed_before;
}

/* The next one has to do what this one should have done. */
static void replace_picture(struct kt_session *s, const struct kt_encode_order *answer)
{
    const struct kt_media_header *h = &answer->packet->header;
    kt_log(s->live->log, KT_LOG_WARN, "session %u: %s", s->index, answer->error.text);
    s->live->counts.encode_failures++;
    if (answer->stream == KT_STREAM_PREVIEW) {
        s->preview.want_key = 1;
        return;
    }
    s->want_key = 1;
    if (h->flags & KT_MEDIA_FLUSH) {
        kt_reel_flush_again(&s->reel, h->epoch);
    }
}

static void count_encode(struct kt_stage_stats *s, double ms)
{
    int bucket = 0;
    while (bucket < KT_HISTOGRAM - 1 && ms > kt_stage_bound_ms(bucket)) {
        bucket++;
    }
    s->bucket[bucket]++;
    s->count++;
    s->sum_ms += ms;
}

static void count_picture(struct kt_counts *counts, const struct kt_packet *p)
{
    if (p->header.stream == KT_STREAM_PREVIEW) {
        counts->previews++;
    } else {
        counts->pictures++;
        counts->key_pictures += (p->header.flags & KT_MEDIA_KEY) != 0;
    }
}

static void take_picture_answer(struct kt_session *s, struct kt_encode_order *answer,
                                int64_t now_us)
{
    struct kt_packet *p = answer->packet;
    const int preview = answer->stream == KT_STREAM_PREVIEW, old = stale(s, answer);
    *(preview ? &s->preview.in_flight : &s->pictures_in_flight) -= 1;
    count_encode(&s->live->counts.encode, answer->encode_ms);
    if (answer->rc < 0 && !old) {
        replace_picture(s, answer);
    }
    if (answer->rc < 0 || old) {
        *(preview ? &s->live->counts.previews_dropped : &s->live->counts.flushed) += (uint64_t)old;
        kt_packet_release(&p);
        return;
    }
    p->header.flags |= answer->key ? KT_MEDIA_KEY : 0;
    p->header.timings[KT_TIMING_ENCODE] = kt_media_timing(answer->encode_ms);
    p->header.payload_bytes = (uint32_t)answer->rc;
    p->n = KT_MEDIA_HEADER_BYTES + (size_t)answer->rc;
    kt_media_pack(p->data, &p->header);
    count_picture(&s->live->counts, p);
    kt_client_send_picture(s->client, p, now_us);
}

void kt_session_encoded(struct kt_session *s, struct kt_encode_order *answer, int64_t now_us)
{
    s->orders--;
    if (answer->kind == KT_ENCODE_OPEN) {
        take_open_answer(s, answer);
    } else if (answer->kind == KT_ENCODE_PICTURE) {
        take_picture_answer(s, answer, now_us);
    }
}

/* ---- on the wire ---- */

int kt_session_shown(const struct kt_session *s, int64_t *frame)
{
    const int64_t shown = s->wishes.shown - 1;
    *frame = shown < 0 ? 0 : shown;
    return s->reported;
}

void kt_session_stamp(struct kt_session *s, struct kt_packet *packet, int64_t now_us)
{
    const struct kt_media_header *h = &packet->header;
    const uint32_t seq = s->next_seq++;
    const int preview = h->stream == KT_STREAM_PREVIEW;
    kt_media_stamp(packet->data, seq, (uint64_t)now_us,
                   kt_media_timing((double)(now_us - packet->queued_us) * 1e-3));
    s->sent[seq % KT_SENT_MAX] = (struct kt_sent){
        seq, h->epoch, preview, packet->number, (int64_t)h->pts_us, (int64_t)h->frame};
    s->live->counts.sent_bytes += packet->n;
    if (preview) {
        return;
    }
    report_sent(s, h->epoch, (int64_t)h->frame);
    if (!s->sent_since_attach) {
        s->sent_since_attach = 1;
        s->last_report_us = now_us;
    }
}
