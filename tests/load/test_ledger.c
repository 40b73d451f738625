/* A client's commits from Enter to the screen. */
#include "load/ledger.h"
#include "tests/proto/test.h"

#include <string.h>

static struct kt_commit ended[64];
static int ended_n;
static struct kt_ledger ledger;

static void closed(void *arg, const struct kt_commit *c)
{
    ended[ended_n++] = *c;
}

static int setup(void **state)
{
    memset(&ledger, 0, sizeof(ledger));
    ledger.closed = closed;
    ended_n = 0;
    return 0;
}

static void send(int rev, int64_t at)
{
    kt_ledger_add(&ledger, &(struct kt_commit){.rev = rev, .sent_us = at});
}

static void applied(int rev, uint32_t epoch, enum kt_hit hit)
{
    struct kt_commit news = {.rev = rev, .epoch = epoch, .hit = hit};
    strcpy(news.cut, "now");
    kt_ledger_applied(&ledger, &news, 7);
}

static void a_commit_ends_on_the_screen(void **state)
{
    send(3, 100);
    applied(3, 2, KT_HIT_READY);
    kt_ledger_shown(&ledger, 1, 400); /* the old epoch plays on */
    assert_int_equal(ended_n, 0);
    assert_non_null(kt_ledger_of_epoch(&ledger, 2));
    kt_ledger_shown(&ledger, 2, 500);
    kt_ledger_shown(&ledger, 2, 600);
    assert_int_equal(ended_n, 1);
    assert_int_equal(ended[0].end, KT_COMMIT_SHOWN);
    assert_int_equal(ended[0].shown_us, 500);
    assert_int_equal(ended[0].hit, KT_HIT_READY);
    assert_string_equal(ended[0].cut, "now");
}

static void a_later_one_overtakes(void **state)
{
    send(3, 100);
    send(5, 200);
    applied(5, 2, KT_HIT_COLD);
    assert_int_equal(ended_n, 1);
    assert_int_equal(ended[0].rev, 3);
    assert_int_equal(ended[0].end, KT_COMMIT_OVERTAKEN);
    assert_int_equal(ledger.count, 1);
}

static void an_applied_one_may_be_passed(void **state)
{
    send(3, 100);
    send(5, 200);
    applied(3, 2, KT_HIT_COLD);
    applied(5, 3, KT_HIT_COLD);
    assert_int_equal(ended_n, 0);
    kt_ledger_shown(&ledger, 3, 500);
    assert_int_equal(ended_n, 2);
    assert_int_equal(ended[0].end, KT_COMMIT_PASSED);
    assert_int_equal(ended[1].end, KT_COMMIT_SHOWN);
}

static void one_that_failed_leaves_the_others(void **state)
{
    send(3, 100);
    send(5, 200);
    kt_ledger_failed(&ledger, 3);
    kt_ledger_failed(&ledger, 99);
    assert_int_equal(ended_n, 1);
    assert_int_equal(ended[0].end, KT_COMMIT_FAILED);
    kt_ledger_end(&ledger);
    assert_int_equal(ended[1].end, KT_COMMIT_UNANSWERED);
}

static void the_same_text_committed_twice(void **state)
{
    send(3, 100);
    applied(3, 2, KT_HIT_COLD);
    send(3, 200);
    applied(3, 3, KT_HIT_COLD);
    kt_ledger_shown(&ledger, 2, 300);
    kt_ledger_shown(&ledger, 3, 400);
    assert_int_equal(ended_n, 2);
    assert_int_equal(ended[0].shown_us, 300);
    assert_int_equal(ended[1].shown_us, 400);
}

static void what_was_sent_again_keeps_its_beginning(void **state)
{
    send(3, 100);
    kt_ledger_rename(&ledger, 3, 9);
    applied(9, 2, KT_HIT_COLD);
    kt_ledger_shown(&ledger, 2, 300);
    assert_int_equal(ended[0].sent_us, 100);
    assert_int_equal(ended[0].end, KT_COMMIT_SHOWN);
}

static void it_does_not_grow(void **state)
{
    for (int i = 0; i < KT_COMMITS_OPEN_MAX + 2; i++) {
        send(i + 1, i);
    }
    assert_int_equal(ledger.count, KT_COMMITS_OPEN_MAX);
    assert_int_equal(ended_n, 2);
    assert_int_equal(ended[1].rev, 2);
    assert_int_equal(ended[1].end, KT_COMMIT_UNANSWERED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_commit_ends_on_the_screen, setup),
        cmocka_unit_test_setup(a_later_one_overtakes, setup),
        cmocka_unit_test_setup(an_applied_one_may_be_passed, setup),
        cmocka_unit_test_setup(one_that_failed_leaves_the_others, setup),
        cmocka_unit_test_setup(the_same_text_committed_twice, setup),
        cmocka_unit_test_setup(what_was_sent_again_keeps_its_beginning, setup),
        cmocka_unit_test_setup(it_does_not_grow, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
