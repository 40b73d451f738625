#include "load/scrape.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

enum { TIMEOUT_S = 3 };

struct line {
    char name[256]; /* with its labels */
    double value;
};

void kt_scrape_clear(struct kt_scrape *m)
{
    memset(m, 0, sizeof(*m));
    m->rss_mib = m->wasted_ms = m->busy_ms = -1;
}

/* "name{labels} value [time]": 1, or 0 for anything else. */
static int read_line(const char *s, size_t n, struct line *out)
{
    char copy[512];
    if (n == 0 || n >= sizeof(copy) || s[0] == '#') {
        return 0;
    }
    memcpy(copy, s, n);
    copy[n] = '\0';
    size_t name = strcspn(copy, "{ \t");
    if (copy[name] == '{') {
        const char *end = strrchr(copy, '}');
        name = end && name > 0 ? (size_t)(end + 1 - copy) : 0;
    }
    if (name == 0 || name >= sizeof(out->name)) {
        return 0;
    }
    char *end;
    memcpy(out->name, copy, name);
    out->name[name] = '\0';
    out->value = strtod(copy + name, &end);
    return end != copy + name;
}

static int named(const struct line *l, const char *name)
{
    const size_t n = strlen(name);
    return strncmp(l->name, name, n) == 0 && (l->name[n] == '\0' || l->name[n] == '{');
}

static void add(double *sum, double x)
{
    *sum = (*sum < 0 ? 0 : *sum) + x;
}

static void keep(struct kt_scrape *m, const struct line *l)
{
    static const char prefix[] = "kinetype_";
    const char *rest = l->name + sizeof(prefix) - 1;
    if (strncmp(l->name, prefix, sizeof(prefix) - 1) == 0 && !strstr(rest, "_bucket") &&
        m->count < KT_SCRAPE_VALUES_MAX && strlen(rest) < sizeof(m->value[0].name)) {
        strcpy(m->value[m->count].name, rest);
        m->value[m->count++].value = l->value;
    }
}

void kt_scrape_parse(struct kt_scrape *m, const char *text, size_t n)
{
    struct line l;
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        const size_t length = end ? (size_t)(end - text) - at : n - at;
        if (read_line(text + at, length, &l)) {
            keep(m, &l);
            if (named(&l, "process_resident_memory_bytes")) {
                m->rss_mib = l.value / (1 << 20);
            } else if (named(&l, "kinetype_device_wasted_seconds_total")) {
                add(&m->wasted_ms, l.value * 1000);
            } else if (named(&l, "kinetype_device_busy_seconds_total")) {
                add(&m->busy_ms, l.value * 1000);
            }
        }
        at += length + 1;
    }
}

/* ---- reading ---- */

static int split(const char *url, char *host, char *port, const char **path)
{
    int used = 0;
    if (sscanf(url, "http://[%127[0-9a-fA-F:]]:%7[0-9]%n", host, port, &used) != 2 &&
        sscanf(url, "http://%127[^:/]:%7[0-9]%n", host, port, &used) != 2) {
        return -EINVAL;
    }
    *path = url[used] ? url + used : "/metrics";
    return **path == '/' ? 0 : -EINVAL;
}

static int dial(const char *host, const char *port)
{
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    const struct timeval timeout = {.tv_sec = TIMEOUT_S};
    struct addrinfo *list;
    int fd = -1;
    if (getaddrinfo(host, port, &hints, &list) != 0) {
        return -1;
    }
    for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0) {
            continue;
        }
        setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
        if (connect(fd, a->ai_addr, a->ai_addrlen) < 0) {
            close(fd);
            fd = -1;
        }
    }
    freeaddrinfo(list);
    return fd;
}

static size_t read_all(int fd, char *out, size_t cap)
{
    size_t n = 0;
    for (ssize_t got = 1; got > 0 && n<cap; n += got> 0 ? (size_t)got : 0) {
        got = recv(fd, out + n, cap - n, 0);
    }
    return n;
}

static int ask(int fd, const char *host, const char *port, const char *path)
{
    char request[768];
    const int n = snprintf(request, sizeof(request),
                           "GET %s HTTP/1.1\r\nHost: %s%s%s:%s\r\nConnection: close\r\n\r\n", path,
                           strchr(host, ':') ? "[" : "", host, strchr(host, ':') ? "]" : "", port);
    return n < (int)sizeof(request) && send(fd, request, (size_t)n, MSG_NOSIGNAL) == n ? 0 : -EIO;
}

int kt_scrape_fetch(struct kt_scrape *m, const char *url, struct kt_error *err)
{
    char host[128], port[8];
    const char *path;
    if (split(url, host, port, &path) < 0) {
        return kt_fail(err, -EINVAL,
                       "--metrics: expected http://HOST:PORT/metrics, found \"%.200s\"", url);
    }
    const int fd = dial(host, port);
    char *answer = fd >= 0 ? malloc(KT_SCRAPE_BYTES_MAX + 1) : NULL;
    int rc = -EIO;
    if (answer && ask(fd, host, port, path) == 0) {
        const size_t n = read_all(fd, answer, KT_SCRAPE_BYTES_MAX);
        answer[n] = '\0';
        const char *body = strstr(answer, "\r\n\r\n");
        if (body && strncmp(answer, "HTTP/1.", 7) == 0 && strncmp(answer + 8, " 200", 4) == 0) {
            kt_scrape_parse(m, body + 4, n - (size_t)(body + 4 - answer));
            rc = 0;
        }
    }
    free(answer);
    if (fd >= 0) {
        close(fd);
    }
    return rc < 0 ? kt_fail(err, rc, "--metrics: %.200s does not answer with metrics", url) : 0;
}

int kt_scrape_process(struct kt_scrape *m, int pid, struct kt_error *err)
{
    char path[64], line[256];
    double kib = -1;
    snprintf(path, sizeof(path), "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof(line), f)) {
        if (sscanf(line, "VmRSS: %lf kB", &kib) == 1) {
            break;
        }
    }
    if (f) {
        fclose(f);
    }
    if (kib < 0) {
        return kt_fail(err, -ENOENT, "--server-pid: there is no process %d to look at", pid);
    }
    m->rss_mib = kib / 1024;
    return 0;
}
