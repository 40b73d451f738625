/* `kinetype replay`: makes the pictures of a decision log again and says whether they are the same.
 * What it takes to be the same machine and model stands in the log's head. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/arguments.h"
#include "cli/command.h"
#include "cli/files/sink.h"
#include "cli/replay/player.h"
#include "engine/base/clock.h"
#include "engine/journal.h"

struct replay {
    const char *log, *model, *output;
    int session, check, quiet;
    struct kt_journal_reader *reader;
    struct kt_journal_head head;
    struct kt_engine *e;
    struct kt_player *player;
    struct kt_sink *sink;
    int64_t start_ns;
    int shown;
    struct kt_error err;
};

/* ---- is this the machine and the model? ---- */

static int same_word(struct replay *r, const char *what, const char *logged, const char *here)
{
    return strcmp(logged, here) == 0
               ? 0
               : kt_fail(&r->err, -EINVAL, "%s: the log was written with %s '%s', here it is '%s'",
                         r->log, what, logged, here);
}

static int compare_heads(struct replay *r, const struct kt_journal_head *here)
{
    const struct kt_journal_head *h = &r->head;
    int rc = same_word(r, "kinetype", h->library, here->library);
    rc = rc < 0 ? rc : same_word(r, "model", h->model, here->model);
    rc = rc < 0 ? rc : same_word(r, "device", h->device, here->device);
    rc = rc < 0 ? rc : same_word(r, "kernels", h->kernels, here->kernels);
    rc = rc < 0 ? rc : same_word(r, "precision", h->precision, here->precision);
    if (rc == 0 && h->weights != here->weights) {
        return kt_fail(&r->err, -EINVAL,
                       "%s: the log was written with other weights of '%s' (%016llx, here %016llx)",
                       r->log, h->model, (unsigned long long)h->weights,
                       (unsigned long long)here->weights);
    }
    const struct kt_board_params *a = &h->board, *b = &here->board;
    if (rc == 0 && (h->threads != here->threads || a->window != b->window || a->sink != b->sink ||
                    a->block_latents != b->block_latents || a->first_frames != b->first_frames ||
                    a->frames_per_latent != b->frames_per_latent)) {
        return kt_fail(
            &r->err, -EINVAL,
            "%s: the log was written with %d threads, window %d, sink %d, block %d; here "
            "they are %d, %d, %d, %d",
            r->log, h->threads, a->window, a->sink, a->block_latents, here->threads, b->window,
            b->sink, b->block_latents);
    }
    return rc;
}

/* Limits beyond any lane's, so that a hostile head asks for nothing silly. */
static int check_head(struct replay *r)
{
    const struct kt_board_params *b = &r->head.board;
    if (b->sessions_max < 1 || b->sessions_max > 1024 || b->branches_max < 1 ||
        b->branches_max > 4096 || b->checkpoints_max < 0 || b->checkpoints_max > 65536 ||
        r->head.threads < 1 || r->head.threads > 1024 || r->head.window < 0) {
        return kt_fail(&r->err, -EBADMSG,
                       "%s: %d sessions, %d branches, %d checkpoints, %d threads: not what a lane "
                       "has",
                       r->log, b->sessions_max, b->branches_max, b->checkpoints_max,
                       r->head.threads);
    }
    if (r->session >= b->sessions_max) {
        return kt_fail(&r->err, -EINVAL, "--session: the log has sessions 0 to %d",
                       b->sessions_max - 1);
    }
    return 0;
}

static int open_engine(struct replay *r)
{
    const struct kt_board_params *b = &r->head.board;
    struct kt_journal_head here;
    struct kt_engine_params p = {.model_dir = r->model,
                                 .timelines_max = b->sessions_max + b->branches_max,
                                 .snapshots_max = b->checkpoints_max ? b->checkpoints_max : 1,
                                 .contexts_max = 16 + 4 * b->sessions_max,
                                 .random_weights = r->head.random_weights,
                                 .window = r->head.window,
                                 .tiny_vae = r->head.tiny_vae,
                                 .device = {.kind = r->head.device, .threads = r->head.threads}};
    int rc = kt_precision_parse(&p.device.precision, r->head.precision, &r->err);
    if (rc == 0) {
        rc = kt_engine_open(&r->e, &p, &r->err);
    }
    if (rc == 0) {
        struct kt_lane_params lane = {
            .engine = r->e, .sessions_max = b->sessions_max, .policy = b->policy};
        rc = kt_journal_describe(&here, &lane, &p, &r->err);
    }
    return rc < 0 ? rc : compare_heads(r, &here);
}

/* ---- the pictures ---- */

static int show(void *arg, const uint8_t *i420, struct kt_error *err)
{
    struct replay *r = arg;
    r->shown++;
    return kt_sink_write(r->sink, i420, err);
}

static int open_output(struct replay *r)
{
    struct kt_engine_info info;
    kt_engine_get_info(r->e, &info);
    struct kt_sink_params p = {
        .path = r->output, .width = info.width, .height = info.height, .fps = info.fps};
    return r->output ? kt_sink_open(&r->sink, &p, &r->err) : 0;
}

static int play(struct replay *r)
{
    struct kt_record record;
    struct kt_player_params p = {.engine = r->e,
                                 .board = &r->head.board,
                                 .session = r->sink ? r->session : -1,
                                 .show = show,
                                 .arg = r};
    int rc = kt_player_open(&r->player, &p, &r->err);
    while (rc == 0) {
        rc = kt_journal_reader_next(r->reader, &record, &r->err);
        if (rc <= 0) {
            break;
        }
        rc = kt_player_feed(r->player, &record, &r->err);
        if (rc < 0) {
            kt_fail_prefix(&r->err, rc, "%s: line %d", r->log, kt_journal_reader_line(r->reader));
        }
    }
    return rc < 0 ? rc : kt_player_finish(r->player, &r->err);
}

static int run(struct replay *r)
{
    int rc = kt_journal_reader_open(&r->reader, r->log, &r->head, &r->err);
    rc = rc < 0 ? rc : check_head(r);
    rc = rc < 0 ? rc : open_engine(r);
    rc = rc < 0 ? rc : open_output(r);
    r->start_ns = kt_now_ns();
    return rc < 0 ? rc : play(r);
}

static void report(const struct replay *r)
{
    struct kt_player_counts c;
    kt_player_get_counts(r->player, &c);
    printf("%llu jobs again: %llu latents and %llu pictures equal, %llu published, %.1f s\n",
           (unsigned long long)c.jobs, (unsigned long long)c.latents,
           (unsigned long long)c.pictures, (unsigned long long)c.published,
           kt_ms_since(r->start_ns) / 1000);
    if (r->output) {
        printf("wrote %s: %d pictures of session %d\n", r->output, r->shown, r->session);
    }
}

static int finish(struct replay *r, int rc)
{
    if (rc < 0) {
        kt_sink_abort(&r->sink);
    } else {
        rc = kt_sink_close(&r->sink, &r->err);
    }
    if (rc == 0 && !r->quiet) {
        report(r);
    }
    kt_player_close(&r->player);
    kt_engine_close(&r->e);
    kt_journal_reader_close(&r->reader);
    return rc;
}

int kt_command_replay(int argc, char **argv)
{
    struct replay r = {.model = "models/demo"};
    const struct kt_option options[] = {
        {"", KT_OPTION_TEXT, &r.log, 0, 0, "the decision log (docs/log.md)"},
        {"model", KT_OPTION_TEXT, &r.model, 0, 0, "the model's directory (models/demo)"},
        {"output", KT_OPTION_TEXT, &r.output, 0, 0, "or -o: file.webm or .y4m, what was shown"},
        {"session", KT_OPTION_INT, &r.session, 0, 1 << 20, "whose pictures to write (0)"},
        {"check", KT_OPTION_FLAG, &r.check, 0, 0, "compare only; so it is without -o"},
        {"quiet", KT_OPTION_FLAG, &r.quiet, 0, 0, "no summary"},
        {NULL, KT_OPTION_FLAG, NULL, 0, 0, NULL},
    };
    int rc = kt_arguments_parse(argc, argv, options, "replay LOG --model DIR [-o FILE] [options]");
    if (rc) {
        return rc == 1 ? 0 : rc;
    }
    if (!r.log || (r.check && r.output)) {
        fprintf(stderr, "kinetype replay: %s\n",
                r.log ? "--check writes no file: leave out -o" : "the decision log is missing");
        return 2;
    }
    rc = finish(&r, run(&r));
    if (rc < 0) {
        fprintf(stderr, "kinetype replay: %s\n", r.err.text[0] ? r.err.text : strerror(-rc));
        return 1;
    }
    return 0;
}
