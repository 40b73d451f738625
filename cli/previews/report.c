#include "cli/previews/report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

static json_t *pictures_of(struct kt_previews_way *w)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "psnr_db", kt_samples_median(&w->psnr),
                     "ssim", kt_samples_median(&w->ssim), "to_full_levels",
                     kt_samples_median(&w->distance), "from_old_levels",
                     kt_samples_median(&w->jump), "share", kt_samples_median(&w->share),
                     "share_colours", kt_samples_median(&w->colours), "nearer_than_old",
                     w->pairs ? (double)w->nearer / w->pairs : 0);
}

static json_t *way_of(struct kt_previews_way *w)
{
    return json_pack("{s:s, s:i, s:o, s:{s:f, s:f}}", "way", w->name, "steps", w->steps, "pictures",
                     pictures_of(w), "ms", "first", kt_samples_median(&w->first_ms), "full",
                     kt_samples_median(&w->full_ms));
}

static json_t *stages_of(struct kt_previews_stages *s)
{
    struct {
        const char *name;
        struct kt_samples *samples;
    } list[] = {{"text", &s->text},
                {"recache", &s->recache},
                {"step", &s->step},
                {"commit", &s->commit},
                {"decode", &s->decode},
                {"preview", &s->preview},
                {"low_encode", &s->low_encode},
                {"low_resume", &s->low_resume},
                {"low_text", &s->low_text},
                {"low_recache", &s->low_recache},
                {"low_step", &s->low_step},
                {"low_decode", &s->low_decode}};
    json_t *out = json_object();
    for (size_t i = 0; i < sizeof(list) / sizeof(list[0]); i++) {
        if (list[i].samples->count) {
            json_object_set_new(out, list[i].name, json_real(kt_samples_median(list[i].samples)));
        }
    }
    return out;
}

/* Keeping the small timeline warm: every latent that is shown is encoded once. */
static double warm_share(struct kt_previews_result *r)
{
    return kt_samples_median(&r->stages.low_encode) / r->latent_ms;
}

int kt_previews_report_json(struct kt_previews_result *r, const char *path)
{
    json_t *ways = json_array();
    for (int i = 0; i < r->ways; i++) {
        json_array_append_new(ways, way_of(&r->way[i]));
    }
    json_t *out =
        json_pack("{s:s, s:i, s:i, s:[i,i], s:f, s:f, s:o, s:o}", "model",
                  kt_engine_config(r->e)->name, "pairs", r->pairs, "steps", r->steps, "low",
                  r->low_width, r->low_height, "motion_levels", kt_samples_median(&r->motion),
                  "warm_share", warm_share(r), "stage_ms", stages_of(&r->stages), "ways", ways);
    if (!out) {
        return -ENOMEM;
    }
    const size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(6);
    int rc =
        strcmp(path, "-") == 0 ? json_dumpf(out, stdout, flags) : json_dump_file(out, path, flags);
    if (rc == 0 && strcmp(path, "-") == 0) {
        puts("");
    }
    json_decref(out);
    return rc < 0 ? -EIO : 0;
}

void kt_previews_report_text(struct kt_previews_result *r)
{
    struct kt_previews_stages *s = &r->stages;
    printf("| way | first ms | full ms | extra ms | PSNR dB | SSIM | to full | from old | share | "
           "colours | nearer |\n|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|\n");
    for (int i = 0; i < r->ways; i++) {
        struct kt_previews_way *w = &r->way[i];
        double full = kt_samples_median(&w->full_ms);
        printf("| %s | %.0f | %.0f | %.0f | %.1f | %.2f | %.1f | %.1f | %.2f | %.2f | %.0f %% |\n",
               w->name, kt_samples_median(&w->first_ms), full,
               full - kt_samples_median(&r->way[0].full_ms), kt_samples_median(&w->psnr),
               kt_samples_median(&w->ssim), kt_samples_median(&w->distance),
               kt_samples_median(&w->jump), kt_samples_median(&w->share),
               kt_samples_median(&w->colours), w->pairs ? 100.0 * w->nearer / w->pairs : 0);
    }
    printf("\n%d pairs; one full picture to the next: %.1f levels\nms: text %.1f, recache %.1f, "
           "step %.1f, commit %.1f, decode %.1f, preview %.1f\n",
           r->pairs, kt_samples_median(&r->motion), kt_samples_median(&s->text),
           kt_samples_median(&s->recache), kt_samples_median(&s->step),
           kt_samples_median(&s->commit), kt_samples_median(&s->decode),
           kt_samples_median(&s->preview));
    if (r->low_width) {
        printf("%dx%d ms: text %.1f, recache %.1f, step %.1f, decode %.1f; kept warm: %.1f to "
               "encode each latent of %.0f, %.1f %% of the device\n",
               r->low_width, r->low_height, kt_samples_median(&s->low_text),
               kt_samples_median(&s->low_recache), kt_samples_median(&s->low_step),
               kt_samples_median(&s->low_decode), kt_samples_median(&s->low_encode), r->latent_ms,
               100 * warm_share(r));
    }
}
