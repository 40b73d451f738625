#include "server/http.h"

#include "proto/limits.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { FILES_MAX = 512, SITE_BYTES_MAX = 32 * 1024 * 1024, DEPTH_MAX = 8, PATH_BYTES = 4096 };

struct file {
    char *path; /* as requested: "/core/socket.js" */
    const char *mime;
    char *bytes;
    size_t n;
};

struct kt_site {
    struct file files[FILES_MAX];
    int count;
    size_t bytes;
};

/* Scripts and pictures from here only, sockets to here only, no frames: the page needs nothing
 * else. COOP and COEP give the page a clock of 5 us instead of 100 us. */
const struct kt_http_header kt_http_headers[] = {
    {"content-security-policy:",
     "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
     "media-src 'self' blob:; font-src 'self'; connect-src 'self'; worker-src 'self'; "
     "manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"},
    {"cross-origin-opener-policy:", "same-origin"},
    {"cross-origin-embedder-policy:", "require-corp"},
    {"cross-origin-resource-policy:", "same-origin"},
    {"x-content-type-options:", "nosniff"},
    {"referrer-policy:", "no-referrer"},
    {"cache-control:", "no-cache"},
    {NULL, NULL},
};

static const struct {
    const char *ending, *mime;
} mimes[] = {
    {".html", "text/html; charset=utf-8"},
    {".css", "text/css; charset=utf-8"},
    {".js", "text/javascript; charset=utf-8"},
    {".mjs", "text/javascript; charset=utf-8"},
    {".json", "application/json"},
    {".webmanifest", "application/manifest+json"},
    {".txt", "text/plain; charset=utf-8"},
    {".svg", "image/svg+xml"},
    {".png", "image/png"},
    {".jpg", "image/jpeg"},
    {".gif", "image/gif"},
    {".webp", "image/webp"},
    {".ico", "image/x-icon"},
    {".woff2", "font/woff2"},
    {".wasm", "application/wasm"},
    {".webm", "video/webm"},
};

static const char *mime_of(const char *path)
{
    const size_t n = strlen(path);
    for (size_t i = 0; i < sizeof(mimes) / sizeof(mimes[0]); i++) {
        const size_t m = strlen(mimes[i].ending);
        if (n > m && strcmp(path + n - m, mimes[i].ending) == 0) {
            return mimes[i].mime;
        }
    }
    return NULL;
}

static int read_file(struct file *f, const char *path, size_t n, struct kt_error *err)
{
    FILE *in = fopen(path, "rb");
    if (!in) {
        return kt_fail(err, -ENOENT, "%s: cannot be read: %s", path, strerror(errno));
    }
    f->bytes = malloc(n + 1);
    f->n = f->bytes ? fread(f->bytes, 1, n, in) : 0;
    fclose(in);
    return f->bytes ? 0 : kt_fail(err, -ENOMEM, "%s: out of memory", path);
}

static int add_file(struct kt_site *site, const char *root, const char *path, size_t n,
                    struct kt_error *err)
{
    if (!mime_of(path)) {
        return 0;
    }
    if (site->count == FILES_MAX || site->bytes + n > SITE_BYTES_MAX) {
        return kt_fail(err, -EFBIG, "%s: more than %d files or %d MiB", root, FILES_MAX,
                       SITE_BYTES_MAX / (1024 * 1024));
    }
    struct file *f = &site->files[site->count];
    f->mime = mime_of(path);
    f->path = strdup(path + strlen(root));
    if (!f->path) {
        return kt_fail(err, -ENOMEM, "%s: out of memory", path);
    }
    site->count++;
    site->bytes += n;
    return read_file(f, path, n, err);
}

static int add_directory(struct kt_site *site, const char *root, const char *directory, int depth,
                         struct kt_error *err)
{
    DIR *d = opendir(directory);
    if (!d) {
        return kt_fail(err, -ENOENT, "%s: cannot be opened: %s", directory, strerror(errno));
    }
    int rc = 0;
    for (const struct dirent *e; rc == 0 && (e = readdir(d));) {
        char path[PATH_BYTES];
        struct stat st;
        const int n = snprintf(path, sizeof(path), "%s/%s", directory, e->d_name);
        if (e->d_name[0] == '.' || n >= (int)sizeof(path) || stat(path, &st) < 0 ||
            strcmp(e->d_name, "node_modules") == 0) {
            continue;
        }
        if (S_ISDIR(st.st_mode) && depth < DEPTH_MAX) {
            rc = add_directory(site, root, path, depth + 1, err);
        } else if (S_ISREG(st.st_mode)) {
            rc = add_file(site, root, path, (size_t)st.st_size, err);
        }
    }
    closedir(d);
    return rc;
}

int kt_site_open(struct kt_site **site, const char *directory, struct kt_error *err)
{
    struct kt_site *s = calloc(1, sizeof(*s));
    if (!s) {
        return kt_fail(err, -ENOMEM, "out of memory");
    }
    if (directory && directory[0]) {
        const int rc = add_directory(s, directory, directory, 0, err);
        if (rc < 0) {
            kt_site_close(&s);
            return kt_fail_prefix(err, rc, "web");
        }
    }
    *site = s;
    return 0;
}

void kt_site_close(struct kt_site **site)
{
    struct kt_site *s = *site;
    *site = NULL;
    for (int i = 0; s && i < s->count; i++) {
        free(s->files[i].path);
        free(s->files[i].bytes);
    }
    free(s);
}

int kt_site_files(const struct kt_site *site)
{
    return site->count;
}

static void answer_text(struct kt_http_response *out, int status, const char *text)
{
    *out = (struct kt_http_response){
        .status = status, .mime = "text/plain; charset=utf-8", .body = text, .n = strlen(text)};
}

void kt_site_answer(const struct kt_site *site, const char *path, int ready,
                    struct kt_http_response *out)
{
    if (strcmp(path, "/healthz") == 0) {
        answer_text(out, 200, "ok\n");
        return;
    }
    if (strcmp(path, "/readyz") == 0) {
        answer_text(out, ready ? 200 : 503, ready ? "ready\n" : "the model is warming up\n");
        return;
    }
    if (strcmp(path, KT_LIVE_PATH) == 0) {
        answer_text(out, 426, "this is a WebSocket address (sub-protocol " KT_SUB_PROTOCOL ")\n");
        return;
    }
    const char *wanted = strcmp(path, "/") == 0 ? "/index.html" : path;
    for (int i = 0; i < site->count; i++) {
        const struct file *f = &site->files[i];
        if (strcmp(f->path, wanted) == 0) {
            *out = (struct kt_http_response){
                .status = 200, .mime = f->mime, .body = f->bytes, .n = f->n};
            return;
        }
    }
    answer_text(out, 404, "not found\n");
}
