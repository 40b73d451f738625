/* Who may connect: Host and Origin of every request, and the token.
 *
 * Thread-safety: pure functions. */
#ifndef KT_SERVER_AUTH_H
#define KT_SERVER_AUTH_H

#include <stddef.h>

/* Host is what stops DNS rebinding: a name must be localhost, *.localhost or in `hosts`
 * (NULL-terminated, without port); an IP literal is always fine, because no DNS answer can make a
 * page carry it. `host`: the header, NULL when missing. */
int kt_auth_host_ok(const char *host, const char *const *hosts);
/* Origin is what stops other pages: absent (not a browser), the same host and port as `host`, or in
 * `origins` exactly. */
int kt_auth_origin_ok(const char *origin, const char *host, const char *const *origins);
/* Time depends on the length of `given` only. */
int kt_auth_token_equal(const char *expected, const char *given);
/* 2 * n lower-case hex digits of kernel randomness and a NUL. -errno. */
int kt_auth_random_hex(char *out, size_t n);
/* 1 for 127.0.0.0/8, ::1 and localhost: addresses that need no token. */
int kt_auth_is_loopback(const char *address);

#endif
