/* A contact sheet: up to 24 pictures, evenly spaced over the video, in a grid, as one PNG. To see
 * at a glance what a prompt and its switches became. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libyuv.h>
#include <png.h>

#include "cli/files/sink.h"

enum { CELLS_MAX = 24, GAP = 4 };

struct sheet {
    FILE *file;
    char path[4096];
    int width, height, pictures, seen;
    int cells, columns, rows;
    int sheet_width, sheet_height;
    uint8_t *argb; /* [sheet_height, sheet_width, 4], libyuv's ARGB: b, g, r, a in memory */
};

static int sheet_open(void **state, const char *path, const struct kt_sink_params *p,
                      struct kt_error *err)
{
    if (p->pictures < 1) {
        return kt_fail(err, -EINVAL, "%s: a contact sheet needs to know the video's length", path);
    }
    struct sheet *s = calloc(1, sizeof(*s));
    if (!s) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    s->width = p->width, s->height = p->height, s->pictures = p->pictures;
    s->cells = p->pictures < CELLS_MAX ? p->pictures : CELLS_MAX;
    s->columns = (int)ceil(sqrt((double)s->cells));
    s->rows = (s->cells + s->columns - 1) / s->columns;
    s->sheet_width = s->columns * (s->width + GAP) + GAP;
    s->sheet_height = s->rows * (s->height + GAP) + GAP;
    snprintf(s->path, sizeof(s->path), "%s", path);
    s->argb = calloc((size_t)s->sheet_width * (size_t)s->sheet_height, 4);
    s->file = s->argb ? fopen(path, "wb") : NULL;
    if (!s->file) {
        int rc = kt_fail(err, s->argb ? -errno : -ENOMEM, "%s: %s", path,
                         s->argb ? strerror(errno) : "out of memory");
        free(s->argb);
        free(s);
        return rc;
    }
    *state = s;
    return 0;
}

/* Which picture cell `i` shows: first and last included. */
static int picture_of(const struct sheet *s, int i)
{
    return s->cells == 1 ? 0 : (int)((int64_t)i * (s->pictures - 1) / (s->cells - 1));
}

static int sheet_write(void *state, const uint8_t *i420, struct kt_error *err)
{
    struct sheet *s = state;
    int luma = s->width * s->height, index = s->seen++;
    for (int i = 0; i < s->cells; i++) {
        if (picture_of(s, i) != index) {
            continue;
        }
        int x = GAP + i % s->columns * (s->width + GAP),
            y = GAP + i / s->columns * (s->height + GAP);
        H420ToARGB(i420, s->width, i420 + luma, s->width / 2, i420 + luma + luma / 4, s->width / 2,
                   s->argb + 4 * ((size_t)y * (size_t)s->sheet_width + (size_t)x),
                   4 * s->sheet_width, s->width, s->height);
    }
    return 0;
}

static int write_png(struct sheet *s, struct kt_error *err)
{
    size_t bytes = (size_t)s->sheet_width * (size_t)s->sheet_height * 3;
    uint8_t *rgb = malloc(bytes);
    png_image image = {.version = PNG_IMAGE_VERSION,
                       .width = (png_uint_32)s->sheet_width,
                       .height = (png_uint_32)s->sheet_height,
                       .format = PNG_FORMAT_RGB};
    if (!rgb) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", s->path);
    }
    ARGBToRAW(s->argb, 4 * s->sheet_width, rgb, 3 * s->sheet_width, s->sheet_width,
              s->sheet_height);
    int ok = png_image_write_to_stdio(&image, s->file, 0, rgb, 0, NULL);
    free(rgb);
    return ok ? 0 : kt_fail(err, -EIO, "%s: %s", s->path, image.message);
}

static int sheet_close(void *state, int complete, struct kt_error *err)
{
    struct sheet *s = state;
    int rc = complete ? write_png(s, err) : 0;
    if (fclose(s->file) != 0 && rc == 0) {
        rc = kt_fail(err, -errno, "%s: %s", s->path, strerror(errno));
    }
    free(s->argb);
    free(s);
    return rc;
}

const struct kt_sink_ops kt_sink_sheet = {
    .ending = ".png", .open = sheet_open, .write = sheet_write, .close = sheet_close};
