/* Server messages. Built as JSON trees: none of them is in the frame path. */
#include "proto/control.h"
#include "proto/json.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static char *dump(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    return text;
}

const char *const kt_cut_names[] = {"now", "latent", "block", NULL};
const char *const kt_transition_names[] = {"model", "cut", "scene", "blend", NULL};

json_t *kt_json_recache(int64_t recache)
{
    return recache == KT_CHANGE_FULL         ? json_string("full")
           : recache == KT_CHANGE_CHECKPOINT ? json_string("checkpoint")
                                             : json_integer(recache);
}

static json_t *string_list(const char *const *list)
{
    json_t *a = json_array();
    for (; a && list && *list; list++) {
        json_array_append_new(a, json_string(*list));
    }
    return a;
}

static json_t *limits_object(int steps_max, int window)
{
    return json_pack("{s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i s:i}", //
                     "message_bytes", KT_MESSAGE_BYTES_MAX,                               //
                     "text_bytes", KT_TEXT_BYTES_MAX,                                     //
                     "hello_ms", KT_HELLO_MS,                                             //
                     "resume_ms", KT_RESUME_MS,                                           //
                     "playhead_ms", KT_PLAYHEAD_MS,                                       //
                     "lead_ms", KT_LEAD_MS,                                               //
                     "edits_per_s", KT_EDITS_PER_S,                                       //
                     "edits_burst", KT_EDITS_BURST,                                       //
                     "keyframes_per_s", KT_KEYFRAMES_PER_S,                               //
                     "keyframes_burst", KT_KEYFRAMES_BURST,                               //
                     "messages_per_s", KT_MESSAGES_PER_S,                                 //
                     "messages_burst", KT_MESSAGES_BURST,                                 //
                     "steps_max", steps_max,                                              //
                     "unread_ms", KT_UNREAD_MS, "window", window, "history_ms", KT_HISTORY_MS);
}

static json_t *model_object(const struct kt_welcome *w)
{
    json_t *model = json_pack("{s:s s:b}", "name", w->model, "ready", w->ready);
    if (model && w->examples) {
        json_object_set_new(model, "examples", string_list(w->examples));
    }
    if (model && w->vocabulary) {
        json_object_set(model, "vocabulary", w->vocabulary);
    }
    return model;
}

static json_t *settings_object(const struct kt_settings *s)
{
    return json_pack("{s:b s:b s:i s:s s:s s:i s:o}", "draft", s->draft, "preview", s->preview,
                     "depth", s->depth, "cut", kt_cut_names[s->change.cut], "transition",
                     kt_transition_names[s->change.transition], "blend", (int)s->change.blend,
                     "recache", kt_json_recache(s->change.recache));
}

char *kt_print_settings(const struct kt_settings *s)
{
    json_t *root = settings_object(s);
    if (root) {
        json_object_set_new(root, "type", json_string("settings"));
    }
    return dump(root);
}

char *kt_print_welcome(const struct kt_welcome *w)
{
    char seed[24];
    snprintf(seed, sizeof(seed), "%llu", (unsigned long long)w->seed);
    json_t *video =
        json_pack("{s:i s:i s:i s:i s:i s:{s:s s:s s:s s:b}}", "width", w->width, "height",
                  w->height, "fps", w->fps, "frames_per_latent", w->frames_per_latent,
                  "block_frames", w->block_frames, "color_space", "matrix", "bt709", "primaries",
                  "bt709", "transfer", "bt709", "fullRange", 0);
    return dump(json_pack(
        "{s:s s:i s:s s:b s:s s:s s:o s:o s:I s:o s:i s:s s:o s:s s:i s:o s:o}",                //
        "type", "welcome",                                                                      //
        "protocol", KT_PROTOCOL_VERSION,                                                        //
        "session", w->session,                                                                  //
        "resumed", w->resumed,                                                                  //
        "codec", w->codec,                                                                      //
        "codec_string", w->codec_string,                                                        //
        "video", video,                                                                         //
        "limits", limits_object(w->steps_max, w->window),                                       //
        "server_us", (json_int_t)w->server_us,                                                  //
        "model", model_object(w),                                                               //
        "rev", w->rev,                                                                          //
        "text", w->text,                                                                        //
        "committed", w->committed < 0 ? json_null() : json_integer(w->committed), "seed", seed, //
        "steps", w->steps,                                                                      //
        "settings", settings_object(&w->settings), "features", string_list(w->features)));
}

char *kt_print_received(const struct kt_received *r)
{
    json_t *root = json_pack("{s:s s:i s:b s:i}", "type", "received", "rev", r->rev, "committed",
                             r->committed, "words", r->words);
    if (root && r->known >= 0) {
        json_t *unknown = json_array();
        for (int i = 0; i < r->unknown_count; i++) {
            json_array_append_new(unknown, json_string(r->unknown[i]));
        }
        json_object_set_new(root, "known", json_integer(r->known));
        json_object_set_new(root, "unknown", unknown);
    }
    if (root && r->note) {
        json_object_set_new(root, "note", json_string(r->note));
    }
    json_object_set_new(root, "server_us", json_integer(r->server_us));
    return dump(root);
}

char *kt_print_applied(const struct kt_applied *a)
{
    static const char *const hits[] = {"cold", "begun", "ready"};
    return dump(json_pack("{s:s s:i s:I s:I s:s s:s s:b s:I}", "type", "applied", "rev", a->rev,
                          "epoch", (json_int_t)a->epoch, "frame", (json_int_t)a->frame, "hit",
                          hits[a->hit], "cut", kt_cut_names[a->cut], "flush", a->flush, "server_us",
                          (json_int_t)a->server_us));
}

char *kt_print_drafted(int rev, int ready, int64_t server_us)
{
    return dump(json_pack("{s:s s:i s:s s:I}", "type", "drafted", "rev", rev, "stage",
                          ready ? "ready" : "text", "server_us", (json_int_t)server_us));
}

char *kt_print_queued(const struct kt_queued *q)
{
    json_t *root = json_pack("{s:s s:i s:i}", "type", "queued", "position", q->position, "sessions",
                             q->sessions);
    if (root && q->eta_ms >= 0) {
        json_object_set_new(root, "eta_ms", json_integer(q->eta_ms));
    }
    return dump(root);
}

char *kt_print_history(const struct kt_history *h)
{
    json_t *root = json_pack("{s:s s:I s:I}", "type", "history", "from", (json_int_t)h->from, "to",
                             (json_int_t)h->to);
    json_t *list = h->checkpoint_count > 0 ? json_array() : NULL;
    for (int i = 0; list && i < h->checkpoint_count; i++) {
        json_array_append_new(list, json_integer(h->checkpoints[i]));
    }
    if (list) {
        json_object_set_new(root, "checkpoints", list);
    }
    return dump(root);
}

char *kt_print_failed(int rev, const char *code, const char *message)
{
    return dump(json_pack("{s:s s:i s:s s:s}", "type", "failed", "rev", rev, "code", code,
                          "message", message));
}

char *kt_print_resync(int rev, const char *text, const char *reason)
{
    return dump(json_pack("{s:s s:i s:s s:s}", "type", "resync", "rev", rev, "text", text, "reason",
                          reason));
}

char *kt_print_status(const struct kt_stream_status *s)
{
    static const char *const states[] = {"warming", "waiting", "live", "paused"};
    static const char *const reasons[] = {"", "client", "hidden"};
    return dump(json_pack("{s:s s:s s:s s:f s:i s:i s:b}", "type", "status", "state",
                          states[s->state], "reason", reasons[s->reason], "fps", s->fps,
                          "target_fps", s->target_fps, "steps", s->steps, "slow", s->slow));
}

char *kt_print_pong(int64_t id, int64_t client_us, int64_t server_us)
{
    return dump(json_pack("{s:s s:I s:I s:I}", "type", "pong", "id", (json_int_t)id, "client_us",
                          (json_int_t)client_us, "server_us", (json_int_t)server_us));
}

static void set_text(json_t *root, const char *key, const char *text)
{
    if (root && text[0]) {
        json_object_set_new(root, key, json_string(text));
    }
}

static void set_int(json_t *root, const char *key, int present, int value)
{
    if (root && present) {
        json_object_set_new(root, key, json_integer(value));
    }
}

char *kt_print_fault(const struct kt_fault *f)
{
    json_t *root = json_pack("{s:s s:s s:s s:b}", "type", "error", "code", kt_fault_name(f->code),
                             "message", f->message, "fatal", kt_fault_close_code(f->code) != 0);
    set_text(root, "expected", f->expected);
    set_text(root, "found", f->found);
    set_text(root, "field", f->field);
    set_int(root, "rev", f->has_rev, f->rev);
    set_int(root, "limit", f->limit != 0, f->limit);
    set_int(root, "retry_ms", f->retry_ms != 0, f->retry_ms);
    return dump(root);
}

char *kt_print_bye(const char *code, const char *message, int retry_ms)
{
    json_t *root = json_pack("{s:s s:s s:s}", "type", "bye", "code", code, "message", message);
    set_int(root, "retry_ms", retry_ms != 0, retry_ms);
    return dump(root);
}
