/* What is recorded is what is read, lost records are confessed, and no line of a hostile log gets
 * past the reader. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/journal.h"
#include "tests/text/tmp_dir.h"

static const struct kt_journal_head k_head = {
    .format = KT_JOURNAL_FORMAT,
    .library = "0.1.0",
    .model = "a \"model\"\\",
    .weights = 0x0123456789abcdefu,
    .device = "cpu",
    .kernels = "cpu-ref",
    .precision = "fp32",
    .threads = 2,
    .window = 12,
    .board = {.sessions_max = 3, .fps = 16.5, .policy = {.reserve_ms = 1.0 / 3}}};

static void path_in(char path[4096], void **state, const char *name)
{
    snprintf(path, 4096, "%s/%s", ((struct tmp_dir *)*state)->path, name);
}

static struct kt_record command(int i, const char *text)
{
    return (struct kt_record){.kind = KT_RECORD_COMMAND,
                              .t_ms = 0.1 + i / 3.0,
                              .session = i % 5,
                              .command = i % 10,
                              .wish = {.key = 0xfedcba9876543210u + (uint64_t)i,
                                       .revision = (uint32_t)i,
                                       .cut = KT_CUT_NOW,
                                       .transition = KT_TRANSITION_SCENE,
                                       .blend = 4,
                                       .recache = KT_RECACHE_CHECKPOINT,
                                       .at = -1,
                                       .from = -1,
                                       .encoded = 1,
                                       .fresh = 1,
                                       .seed = UINT64_MAX - (uint64_t)i},
                              .settings = {.steps = 2, .steps_cap = 3, .drafts = 1, .depth = -1},
                              .sent = 100 + i,
                              .shown = 90 + i,
                              .text = text};
}

static struct kt_record job(int i)
{
    struct kt_record r = {.kind = KT_RECORD_JOB,
                          .t_ms = 1e-9 * i,
                          .picked_ms = 1e9 / (i + 3),
                          .session = 1,
                          .job = {.kind = (enum kt_job_kind)(1 + i % (KT_JOB_KINDS - 1)),
                                  .track = KT_TRACK_NEXT,
                                  .source = KT_SOURCE_ARCHIVE,
                                  .from = 2,
                                  .slot = -1,
                                  .steps = 4,
                                  .recache = 9,
                                  .at = (int64_t)1 << 40,
                                  .frame = 77,
                                  .flush = 1,
                                  .hit = 2,
                                  .evict = 1,
                                  .committed = 1,
                                  .weight = 1.0 / 3},
                          .result = {.rc = -EAGAIN, .ms = 12.25, .frames = 4, .latents = 8},
                          .resources = {.pages_free = 5, .frames_free = 6, .contexts_free = 7},
                          .timeline = 9,
                          .parent = 8,
                          .hash_count = i % (KT_RECORD_HASHES_MAX + 1)};
    for (int k = 0; k < r.hash_count; k++) {
        r.hash[k] = (uint64_t)k << 60 | (uint64_t)i;
    }
    return r;
}

static struct kt_record publish(int i)
{
    return (struct kt_record){.kind = KT_RECORD_PUBLISH,
                              .t_ms = i,
                              .session = 2,
                              .timeline = 3,
                              .epoch = UINT32_MAX,
                              .revision = 4,
                              .frame = i,
                              .picture = (uint64_t)i,
                              .preview = 1};
}

static void assert_same(const struct kt_record *x, const struct kt_record *y)
{
    struct kt_record a = *x, b = *y;
    assert_int_equal(!a.text, !b.text);
    if (a.text) {
        assert_string_equal(a.text, b.text);
    }
    a.text = b.text = NULL;
    assert_memory_equal(&a, &b, sizeof(a));
}

static void open_at(struct kt_journal **j, const char *path, int records, size_t texts)
{
    struct kt_error err = {{0}};
    struct kt_journal_params p = {
        .path = path, .head = &k_head, .records_max = records, .text_bytes = texts};
    if (kt_journal_open(j, &p, &err) < 0) {
        fail_msg("%s", err.text);
    }
}

static void what_is_written_is_read(void **state)
{
    static char longest[KT_PROMPT_BYTES_MAX + 1];
    static const char *const texts[] = {
        "a red ball", "",  "quotes \" and \\ and \n\t\x01\x7f", "h\xc3\xa9llo \xf0\x9f\x8c\x8a",
        longest,      NULL};
    char path[4096];
    struct kt_journal *j;
    struct kt_journal_reader *r;
    struct kt_journal_head head;
    struct kt_journal_stats stats;
    struct kt_record out;
    struct kt_error err = {{0}};
    memset(longest, '\x02', sizeof(longest) - 1);
    path_in(path, state, "log.jsonl");
    open_at(&j, path, 0, 0);
    for (int i = 0; i < 200; i++) {
        struct kt_record records[] = {command(i, texts[i % 6]), job(i), publish(i)};
        for (int k = 0; k < 3; k++) {
            kt_journal_record(j, &records[k]);
        }
    }
    kt_journal_close(&j, &stats);
    assert_null(j);
    assert_int_equal(stats.written, 600);
    assert_int_equal(stats.lost, 0);
    assert_int_equal(stats.error, 0);
    memset(&head, 0, sizeof(head));
    assert_int_equal(kt_journal_reader_open(&r, path, &head, &err), 0);
    assert_memory_equal(&head, &k_head, sizeof(head));
    for (int i = 0; i < 200; i++) {
        struct kt_record records[] = {command(i, texts[i % 6]), job(i), publish(i)};
        for (int k = 0; k < 3; k++) {
            if (kt_journal_reader_next(r, &out, &err) != 1) {
                fail_msg("%s", err.text);
            }
            assert_int_equal(kt_journal_reader_line(r), 2 + 3 * i + k);
            assert_same(&out, &records[k]);
        }
    }
    assert_int_equal(kt_journal_reader_next(r, &out, &err), 0);
    kt_journal_reader_close(&r);
}

static void a_log_is_never_written_over(void **state)
{
    char path[4096];
    struct kt_journal *j, *second = NULL;
    struct kt_error err;
    path_in(path, state, "twice.jsonl");
    open_at(&j, path, 0, 0);
    struct kt_journal_params p = {.path = path, .head = &k_head};
    assert_int_equal(kt_journal_open(&second, &p, &err), -EEXIST);
    assert_null(second);
    assert_non_null(strstr(err.text, "exists already"));
    kt_journal_close(&j, NULL);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_size > 0 && (st.st_mode & 077) == 0); /* prompts are nobody else's business */
}

/* More than fits between two looks of the writer: what is lost is counted, in the stats and in the
 * log, in the right places. */
static void a_full_ring_confesses(void **state)
{
    char path[4096], text[200];
    struct kt_journal *j;
    struct kt_journal_stats stats;
    struct kt_journal_reader *r;
    struct kt_journal_head head;
    struct kt_record out;
    struct kt_error err = {{0}};
    uint64_t next = 0, gaps = 0;
    enum { COUNT = 200000 };
    path_in(path, state, "full.jsonl");
    open_at(&j, path, 16, 1000);
    for (int i = 0; i < COUNT; i++) {
        snprintf(text, sizeof(text), "text %d %*s", i, i % 90, "");
        struct kt_record c = i % 3 ? publish(i) : command(i, text);
        kt_journal_record(j, &c);
        if (i % 50000 == 0) {
            usleep(30000);
        }
    }
    kt_journal_close(&j, &stats);
    assert_int_equal(stats.written + stats.lost, COUNT);
    assert_true(stats.lost > 0 && stats.written > 32);
    assert_int_equal(kt_journal_reader_open(&r, path, &head, &err), 0);
    while (kt_journal_reader_next(r, &out, &err) == 1) {
        if (out.kind == KT_RECORD_GAP) {
            assert_true(out.count > 0);
            gaps += out.count;
            next += out.count;
            continue;
        }
        snprintf(text, sizeof(text), "text %d %*s", (int)next, (int)next % 90, "");
        struct kt_record c = next % 3 ? publish((int)next) : command((int)next, text);
        assert_same(&out, &c);
        next++;
    }
    assert_string_equal(err.text, "");
    kt_journal_reader_close(&r);
    assert_int_equal(next, COUNT);
    assert_int_equal(gaps, stats.lost);
}

/* A disk that is full: said once in the stats, counted, and the lane's side goes on. */
static void a_full_disk_stops_the_log_alone(void **state)
{
    char path[4096];
    struct kt_journal *j;
    struct kt_journal_stats stats;
    struct rlimit old, small = {4096, 0};
    path_in(path, state, "disk.jsonl");
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_IGN);
    small.rlim_max = old.rlim_max;
    open_at(&j, path, 0, 0);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    for (int i = 0; i < 100; i++) {
        struct kt_record c = job(i);
        kt_journal_record(j, &c);
    }
    kt_journal_close(&j, &stats);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    assert_int_equal(stats.error, -EFBIG);
    assert_int_equal(stats.written + stats.lost, 100);
    assert_true(stats.lost > 50 && stats.written > 0);
    struct kt_journal_params p = {.path = path, .head = &k_head, .bytes_max = 2000};
    struct kt_error err;
    unlink(path);
    assert_int_equal(kt_journal_open(&j, &p, &err), 0);
    for (int i = 0; i < 100; i++) {
        struct kt_record c = publish(i);
        kt_journal_record(j, &c);
    }
    kt_journal_close(&j, &stats);
    assert_int_equal(stats.error, -EFBIG);
    assert_true(stats.bytes <= 2000 && stats.bytes > 1500);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, stats.bytes);
    p.path = "no/such/folder/log.jsonl";
    assert_int_equal(kt_journal_open(&j, &p, &err), -ENOENT);
}

/* ---- hostile logs ---- */

static char *read_all(const char *path, size_t *n)
{
    char *all = malloc(1 << 20);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    *n = fread(all, 1, 1 << 20, f);
    fclose(f);
    return all;
}

/* Reads a log to its end or its first error; returns the error's text or NULL. */
static const char *verdict(const char *path, const char *bytes, size_t n)
{
    static struct kt_error err;
    struct kt_journal_reader *r = NULL;
    struct kt_journal_head head;
    struct kt_record out;
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    err.text[0] = '\0';
    int rc = kt_journal_reader_open(&r, path, &head, &err);
    while (rc == 0 && (rc = kt_journal_reader_next(r, &out, &err)) == 1) {
        rc = 0;
    }
    kt_journal_reader_close(&r);
    assert_true(rc == 0 || err.text[0] != '\0');
    return rc < 0 ? err.text : NULL;
}

static void small_log(char path[4096], void **state)
{
    struct kt_journal *j;
    path_in(path, state, "small.jsonl");
    unlink(path);
    open_at(&j, path, 0, 0);
    struct kt_record records[] = {command(1, "text"), job(3), publish(7)};
    for (int k = 0; k < 3; k++) {
        kt_journal_record(j, &records[k]);
    }
    kt_journal_close(&j, NULL);
}

static const char *with(const char *path, const char *all, const char *find, const char *put)
{
    static char changed[1 << 18];
    const char *at = strstr(all, find);
    if (!at) {
        fail_msg("the log has no %s", find);
    }
    int n = snprintf(changed, sizeof(changed), "%.*s%s%s", (int)(at - all), all, put,
                     at + strlen(find));
    return verdict(path, changed, (size_t)n);
}

static void hostile_lines_are_named(void **state)
{
    static const struct {
        const char *find, *put, *expected;
    } cases[] = {
        {"\"head\"", "\"tail\"", "no head"},
        {"\"format\": 1", "\"format\": 2", "expected 1, found 2"},
        {"\"threads\": 2", "\"threads\": \"2\"", "line 1: \"threads\": expected a whole number"},
        {"\"session\": 1", "\"session\": 1.5", "line 2: \"session\""},
        {"\"session\": 1", "\"session\": 99999999999", "\"session\""},
        {"\"session\": 1", "\"session\": 1, \"session\": 2", "duplicate"},
        {"\"session\": 1", "\"sesion\": 1",
         "\"session\": expected a whole number of 32 bits, found"},
        {"\"session\": 1", "\"session\": 1, \"more\": 1", "\"more\": not a key"},
        {"\"command\": \"draft\"", "\"command\": \"dance\"", "\"dance\""},
        {"\"fedcba", "\"fedcbg", "16 hex digits"},
        {"\"fedcba", "\"edcba", "16 hex digits"},
        {"\"text\": \"text\"", "\"text\": 7", "\"text\""},
        {"\"text\": \"text\"", "\"text\": \"te\\u0000xt\"", "line 2"},
        {"\"hashes\": [\"", "\"hashes\": [\"0", "\"hashes\""},
        {"\"hashes\": [", "\"hashes\": [1, ", "\"hashes\""},
        {"\"kind\": \"job\"", "\"kind\": \"jab\"", "line 3: \"kind\""},
        {"\"kind\": \"job\"", "\"kind\": 3", "line 3: \"kind\""},
        {"\"n\": 1", "\"n\": 2", "line 3: \"n\": expected record 1, found 2"},
        {"\"n\": 0, ", "", "line 2: \"n\""},
        {"\"picture\": \"0000", "\"picture\": \"0x00", "line 4: \"picture\""},
        {"{\"kind\": \"publish\"", "{{\"kind\": \"publish\"", "line 4"},
        {"{\"kind\": \"publish\"", "[{\"kind\": \"publish\"", "line 4"},
        {"{\"kind\": \"publish\"", "\n{\"kind\": \"publish\"", "line 4"},
    };
    char path[4096];
    size_t n;
    small_log(path, state);
    char *all = read_all(path, &n);
    all[n] = '\0';
    assert_null(verdict(path, all, n));
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *said = with(path, all, cases[i].find, cases[i].put);
        if (!said || !strstr(said, cases[i].expected)) {
            fail_msg("%s: expected ...%s..., found %s", cases[i].put, cases[i].expected,
                     said ? said : "nothing");
        }
    }
    free(all);
}

static void a_log_cut_off_anywhere_is_refused(void **state)
{
    char path[4096];
    size_t n;
    small_log(path, state);
    char *all = read_all(path, &n);
    for (size_t cut = 0; cut < n; cut++) {
        int at_line = cut > 0 && all[cut - 1] == '\n';
        const char *said = verdict(path, all, cut);
        assert_int_equal(said == NULL, at_line);
    }
    all[n / 2] = '\0';
    assert_non_null(verdict(path, all, n));
    memset(all, 'x', n);
    assert_non_null(verdict(path, all, n));
    free(all);
    char *line = malloc(1 << 18);
    memset(line, ' ', 1 << 18);
    assert_non_null(verdict(path, line, 1 << 18));
    free(line);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_log_is_never_written_over),
        cmocka_unit_test(a_full_ring_confesses),
        cmocka_unit_test(a_full_disk_stops_the_log_alone),
        cmocka_unit_test(hostile_lines_are_named),
        cmocka_unit_test(a_log_cut_off_anywhere_is_refused),
    };
    return cmocka_run_group_tests(tests, tmp_dir_make, tmp_dir_remove);
}
