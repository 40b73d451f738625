#include "server/auth.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>

/* The name part of "name", "name:port", "[v6]:port"; 0 when it is none of these. */
static int split_host(const char *host, char *name, size_t cap)
{
    const char *end;
    if (host[0] == '[') {
        host++;
        end = strchr(host, ']');
        if (!end || (end[1] != '\0' && end[1] != ':')) {
            return 0;
        }
    } else {
        end = host + strcspn(host, ":");
    }
    const size_t n = (size_t)(end - host);
    if (n == 0 || n >= cap) {
        return 0;
    }
    memcpy(name, host, n);
    name[n] = '\0';
    return 1;
}

static int is_address(const char *name)
{
    unsigned char bytes[16];
    return inet_pton(AF_INET, name, bytes) == 1 || inet_pton(AF_INET6, name, bytes) == 1;
}

static int ends_with(const char *s, const char *end)
{
    const size_t n = strlen(s), m = strlen(end);
    return n > m && strcasecmp(s + n - m, end) == 0;
}

int kt_auth_host_ok(const char *host, const char *const *hosts)
{
    char name[256];
    if (!host || !split_host(host, name, sizeof(name))) {
        return 0;
    }
    if (is_address(name) || strcasecmp(name, "localhost") == 0 || ends_with(name, ".localhost")) {
        return 1;
    }
    for (; hosts && *hosts; hosts++) {
        if (strcasecmp(name, *hosts) == 0) {
            return 1;
        }
    }
    return 0;
}

int kt_auth_origin_ok(const char *origin, const char *host, const char *const *origins)
{
    if (!origin) {
        return 1;
    }
    for (; origins && *origins; origins++) {
        if (strcasecmp(origin, *origins) == 0) {
            return 1;
        }
    }
    const char *rest = strncasecmp(origin, "http://", 7) == 0    ? origin + 7
                       : strncasecmp(origin, "https://", 8) == 0 ? origin + 8
                                                                 : NULL;
    return rest && host && strcasecmp(rest, host) == 0;
}

int kt_auth_token_equal(const char *expected, const char *given)
{
    const size_t n = strlen(expected), m = strlen(given);
    unsigned char differ = n != m;
    for (size_t i = 0; i < m; i++) {
        differ |= (unsigned char)(given[i] ^ (n ? expected[i % n] : 1));
    }
    return !differ && n > 0;
}

int kt_auth_random_hex(char *out, size_t n)
{
    unsigned char bytes[64];
    if (n > sizeof(bytes)) {
        return -EINVAL;
    }
    if (getrandom(bytes, n, 0) != (ssize_t)n) {
        return -EIO;
    }
    for (size_t i = 0; i < n; i++) {
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
    }
    return 0;
}

int kt_auth_is_loopback(const char *address)
{
    struct in_addr v4;
    struct in6_addr v6;
    if (inet_pton(AF_INET, address, &v4) == 1) {
        return ntohl(v4.s_addr) >> 24 == 127;
    }
    if (inet_pton(AF_INET6, address, &v6) == 1) {
        return IN6_IS_ADDR_LOOPBACK(&v6);
    }
    return strcasecmp(address, "localhost") == 0;
}
