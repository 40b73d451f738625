/* YUV4MPEG2: a text header, then raw planes. What ffmpeg, mpv and measuring tools read without
 * loss. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/files/sink.h"

struct y4m {
    FILE *file;
    size_t picture_bytes;
    char path[4096];
};

static int y4m_open(void **state, const char *path, const struct kt_sink_params *p,
                    struct kt_error *err)
{
    struct y4m *y = calloc(1, sizeof(*y));
    if (!y) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    snprintf(y->path, sizeof(y->path), "%s", path);
    y->picture_bytes = (size_t)p->width * (size_t)p->height * 3 / 2;
    y->file = fopen(path, "wb");
    if (!y->file) {
        int rc = kt_fail(err, -errno, "%s: %s", path, strerror(errno));
        free(y);
        return rc;
    }
    fprintf(y->file, "YUV4MPEG2 W%d H%d F%d:1 Ip A1:1 C420mpeg2 XCOLORRANGE=LIMITED\n", p->width,
            p->height, p->fps);
    *state = y;
    return 0;
}

static int y4m_write(void *state, const uint8_t *i420, struct kt_error *err)
{
    struct y4m *y = state;
    if (fputs("FRAME\n", y->file) < 0 ||
        fwrite(i420, 1, y->picture_bytes, y->file) != y->picture_bytes) {
        return kt_fail(err, -errno, "%s: %s", y->path, strerror(errno));
    }
    return 0;
}

static int y4m_close(void *state, int complete, struct kt_error *err)
{
    struct y4m *y = state;
    int rc = fclose(y->file) == 0 ? 0 : kt_fail(err, -errno, "%s: %s", y->path, strerror(errno));
    free(y);
    return rc;
}

const struct kt_sink_ops kt_sink_y4m = {
    .ending = ".y4m", .open = y4m_open, .write = y4m_write, .close = y4m_close};
