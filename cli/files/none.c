/* What a build without codecs says when a file of pictures is asked for. */
#include <errno.h>

#include "cli/files/sink.h"

int kt_sink_open(struct kt_sink **s, const struct kt_sink_params *p, struct kt_error *err)
{
    return kt_fail(err, -ENOTSUP,
                   "%s: not in this build; install libavformat, libpng and what the server needs, "
                   "and configure with -Dserver=enabled",
                   p->path);
}

int kt_sink_write(struct kt_sink *s, const uint8_t *i420, struct kt_error *err)
{
    return kt_fail(err, -ENOTSUP, "not in this build");
}

int kt_sink_close(struct kt_sink **s, struct kt_error *err)
{
    return 0;
}

void kt_sink_abort(struct kt_sink **s)
{
}
