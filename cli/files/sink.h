/* Where generated pictures go: a file format behind three verbs. The format is chosen by the file
 * name's end.
 *
 * Thread-safety: one thread. */
#ifndef KT_CLI_FILES_SINK_H
#define KT_CLI_FILES_SINK_H

#include "engine/base/error.h"

#include <stdint.h>

struct kt_sink;

struct kt_sink_params {
    const char *path;
    int width, height, fps; /* even sizes */
    int pictures;           /* how many will come; 0: unknown (a contact sheet needs it) */
    int bitrate_kbps;       /* 0: the format's default */
};

/* Opens `path`: .webm (VP9), .y4m (raw) or .png (contact sheet). Nothing of that name is replaced
 * before close: the data goes to a temporary name beside it. Errors: -EINVAL unknown ending,
 * -ENOTSUP not in this build, those of open(2). */
int kt_sink_open(struct kt_sink **s, const struct kt_sink_params *p, struct kt_error *err);

/* One I420 picture, planes dense, BT.709 limited range. */
int kt_sink_write(struct kt_sink *s, const uint8_t *i420, struct kt_error *err);

/* Completes the file and gives it its name. NULL and *NULL accepted. On error no file of that name
 * is left behind by us. */
int kt_sink_close(struct kt_sink **s, struct kt_error *err);
/* Gives up: removes the temporary file. */
void kt_sink_abort(struct kt_sink **s);

/* ---- for the formats ---- */

struct kt_sink_ops {
    const char *ending; /* ".webm" */
    int (*open)(void **state, const char *path, const struct kt_sink_params *p,
                struct kt_error *err);
    int (*write)(void *state, const uint8_t *i420, struct kt_error *err);
    int (*close)(void *state, int complete,
                 struct kt_error *err); /* frees state; complete 0: give up */
};

extern const struct kt_sink_ops kt_sink_webm, kt_sink_y4m, kt_sink_sheet;

#endif
