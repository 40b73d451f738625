/* What `kinetype previews` found: per way of previewing how near its pictures come to the full ones
 * and when they are there; JSON or a table.
 *
 * Thread-safety: one thread. */
#ifndef KT_CLI_PREVIEWS_REPORT_H
#define KT_CLI_PREVIEWS_REPORT_H

#include "cli/bench_report.h"

enum { KT_PREVIEWS_WAYS_MAX = 24 };

/* Figures of pictures compare a latent's four with the full ones of the same instants. */
struct kt_previews_way {
    char name[16]; /* "old": no preview, "A1": the block's x0 after 1 step, "B4": small, 4 steps */
    int steps;
    struct kt_samples first_ms;             /* from the commit to these pictures decoded */
    struct kt_samples full_ms;              /* to the full ones, when these were made before them */
    struct kt_samples psnr, ssim, distance; /* to the full ones: dB, -1..1, levels of 255 */
    struct kt_samples jump;                 /* from the old ones to these, levels of 255 */
    struct kt_samples share, colours; /* of the way from the old to the full ones: pixels, cells */
    int nearer, pairs;                /* pairs in which they are nearer to the full than the old */
};

struct kt_previews_stages {
    struct kt_samples text, recache, step, commit, decode, preview;
    struct kt_samples low_encode, low_resume, low_text, low_recache, low_step, low_decode;
};

struct kt_previews_result {
    struct kt_engine *e;                     /* still open: the model's name and sizes */
    int pairs, steps, low_width, low_height; /* 0: no low resolution */
    double latent_ms;                        /* a latent's time on the screen */
    struct kt_samples motion;                /* from one full picture to the next, levels of 255 */
    struct kt_previews_stages stages;
    struct kt_previews_way way[KT_PREVIEWS_WAYS_MAX];
    int ways;
};

/* `path`: "-" for stdout. Errors: -ENOMEM, -EIO. */
int kt_previews_report_json(struct kt_previews_result *r, const char *path);
void kt_previews_report_text(struct kt_previews_result *r);

#endif
