/* What plain HTTP requests get: the page (read into memory at start: the loop thread never waits
 * for a disk), /healthz, /readyz. No sockets here.
 *
 * Thread-safety: belongs to the loop thread. */
#ifndef KT_SERVER_HTTP_H
#define KT_SERVER_HTTP_H

#include "engine/base/error.h"

#include <stddef.h>

struct kt_site;

struct kt_http_response {
    int status;
    const char *mime;
    const char *body; /* lives as long as the site; or is `owned` */
    size_t n;
    char *owned; /* malloc'ed for this answer, freed when it was sent; or NULL */
};

struct kt_http_header {
    const char *name; /* with the colon, lower case */
    const char *value;
};

/* Reads every file under `directory` whose ending has a known MIME type (at most 512 files, 32 MiB
 * in all); hidden ones are skipped. NULL or "": a site without a page. -ENOENT, -EFBIG, -ENOMEM. */
int kt_site_open(struct kt_site **site, const char *directory, struct kt_error *err);
void kt_site_close(struct kt_site **site);
int kt_site_files(const struct kt_site *site);

/* `path` without query; `ready`: the model is warm. Always fills `out`. */
void kt_site_answer(const struct kt_site *site, const char *path, int ready,
                    struct kt_http_response *out);

/* Sent with every answer; ends with a NULL name. */
extern const struct kt_http_header kt_http_headers[];

#endif
