#include "cli/files/sink.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct kt_sink {
    const struct kt_sink_ops *ops;
    void *state;
    char *path, *temporary;
};

static const struct kt_sink_ops *find_format(const char *path)
{
    static const struct kt_sink_ops *const formats[] = {&kt_sink_webm, &kt_sink_y4m,
                                                        &kt_sink_sheet};
    size_t length = strlen(path);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        size_t ending = strlen(formats[i]->ending);
        if (length > ending && strcmp(path + length - ending, formats[i]->ending) == 0) {
            return formats[i];
        }
    }
    return NULL;
}

static void free_sink(struct kt_sink **s)
{
    free((*s)->path);
    free((*s)->temporary);
    free(*s);
    *s = NULL;
}

int kt_sink_open(struct kt_sink **out, const struct kt_sink_params *p, struct kt_error *err)
{
    const struct kt_sink_ops *ops = find_format(p->path);
    if (!ops) {
        return kt_fail(err, -EINVAL, "%s: expected a name that ends in .webm, .y4m or .png",
                       p->path);
    }
    struct kt_sink *s = calloc(1, sizeof(*s));
    if (!s) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", p->path);
    }
    s->ops = ops;
    s->path = strdup(p->path);
    if (!s->path || asprintf(&s->temporary, "%s.part", p->path) < 0) {
        s->temporary = NULL;
        free_sink(&s);
        return kt_fail(err, -ENOMEM, "%s: out of memory", p->path);
    }
    int rc = ops->open(&s->state, s->temporary, p, err);
    if (rc < 0) {
        free_sink(&s);
        return rc;
    }
    *out = s;
    return 0;
}

int kt_sink_write(struct kt_sink *s, const uint8_t *i420, struct kt_error *err)
{
    return s->ops->write(s->state, i420, err);
}

int kt_sink_close(struct kt_sink **out, struct kt_error *err)
{
    if (!out || !*out) {
        return 0;
    }
    struct kt_sink *s = *out;
    *out = NULL;
    int rc = s->ops->close(s->state, 1, err);
    if (rc == 0 && rename(s->temporary, s->path) != 0) {
        rc = kt_fail(err, -errno, "%s: cannot rename the finished file: %s", s->path,
                     strerror(errno));
    }
    if (rc < 0) {
        unlink(s->temporary);
    }
    free_sink(&s);
    return rc;
}

void kt_sink_abort(struct kt_sink **out)
{
    if (!out || !*out) {
        return;
    }
    struct kt_sink *s = *out;
    *out = NULL;
    s->ops->close(s->state, 0, NULL);
    unlink(s->temporary);
    free_sink(&s);
}
