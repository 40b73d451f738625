/* Who may come in, and what plain HTTP gets. */
#include "server/auth.h"
#include "server/http.h"
#include "tests/proto/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *const hosts[] = {"video.example.org", NULL};
static const char *const origins[] = {"https://friend.example", NULL};

static void host_header(void **state)
{
    static const char *const good[] = {"localhost",         "localhost:8080",
                                       "LocalHost:1",       "127.0.0.1:8080",
                                       "[::1]:8080",        "[::1]",
                                       "192.168.1.7:80",    "kt.localhost:1",
                                       "video.example.org", "VIDEO.example.org:8080"};
    static const char *const bad[] = {
        "",     "evil.example", "evil.example:8080",  "localhost.evil.example", ":8080",
        "[::1", "[::1]x",       "evil.localhost.com", "127.0.0.1.evil.example", ".localhost.evil"};
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_true(kt_auth_host_ok(good[i], hosts));
    }
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(kt_auth_host_ok(bad[i], hosts));
    }
    assert_false(kt_auth_host_ok(NULL, hosts));
}

static void origin_header(void **state)
{
    const char *host = "127.0.0.1:8080";
    assert_true(kt_auth_origin_ok(NULL, host, origins));
    assert_true(kt_auth_origin_ok("http://127.0.0.1:8080", host, origins));
    assert_true(kt_auth_origin_ok("https://127.0.0.1:8080", host, origins));
    assert_true(kt_auth_origin_ok("https://friend.example", host, origins));
    static const char *const bad[] = {"null",
                                      "",
                                      "http://127.0.0.1",
                                      "http://127.0.0.1:8081",
                                      "http://127.0.0.1:8080.evil.example",
                                      "ftp://127.0.0.1:8080",
                                      "https://friend.example.evil",
                                      "http://friend.example",
                                      "https://evil.example"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(kt_auth_origin_ok(bad[i], host, origins));
    }
    assert_false(kt_auth_origin_ok("http://x", NULL, origins));
}

static void tokens(void **state)
{
    assert_true(kt_auth_token_equal("open sesame", "open sesame"));
    static const char *const bad[] = {"", "open sesam", "open sesame ", "open sesameopen sesame",
                                      "x"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_false(kt_auth_token_equal("open sesame", bad[i]));
    }
    assert_false(kt_auth_token_equal("", ""));
    assert_false(kt_auth_token_equal("", "x"));
    char a[33], b[33];
    assert_int_equal(kt_auth_random_hex(a, 16), 0);
    assert_int_equal(kt_auth_random_hex(b, 16), 0);
    assert_int_equal(strlen(a), 32);
    assert_string_not_equal(a, b);
}

static void write_file(const char *directory, const char *name, const char *text)
{
    char path[256];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static struct kt_http_response get(const struct kt_site *site, const char *path)
{
    struct kt_http_response r;
    kt_site_answer(site, path, 1, &r);
    return r;
}

static void site(void **state)
{
    char dir[] = "/tmp/kinetype-site-XXXXXX", sub[64];
    struct kt_site *s = NULL;
    struct kt_error err;
    assert_non_null(mkdtemp(dir));
    snprintf(sub, sizeof(sub), "%s/core", dir);
    assert_int_equal(mkdir(sub, 0700), 0);
    write_file(dir, "index.html", "<p>");
    write_file(dir, "notes", "no type");
    write_file(dir, ".hidden.js", "no");
    write_file(sub, "a.js", "let a;");
    assert_int_equal(kt_site_open(&s, dir, &err), 0);
    assert_int_equal(kt_site_files(s), 2);
    assert_string_equal(get(s, "/").mime, "text/html; charset=utf-8");
    assert_int_equal(get(s, "/").n, 3);
    assert_string_equal(get(s, "/core/a.js").mime, "text/javascript; charset=utf-8");
    static const char *const missing[] = {
        "/notes", "/.hidden.js", "/core/../index.html", "/core",
        "",       "//",          "/core/b.js",          "/../etc/passwd"};
    for (size_t i = 0; i < sizeof(missing) / sizeof(missing[0]); i++) {
        assert_int_equal(get(s, missing[i]).status, 404);
    }
    assert_int_equal(get(s, "/healthz").status, 200);
    assert_int_equal(get(s, "/readyz").status, 200);
    assert_int_equal(get(s, "/v1/live").status, 426);
    struct kt_http_response r;
    kt_site_answer(s, "/readyz", 0, &r);
    assert_int_equal(r.status, 503);
    kt_site_close(&s);
    char command[80];
    snprintf(command, sizeof(command), "rm -r %s", dir);
    assert_int_equal(system(command), 0);
    assert_int_equal(kt_site_open(&s, dir, &err), -ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_header),
        cmocka_unit_test(origin_header),
        cmocka_unit_test(tokens),
        cmocka_unit_test(site),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
