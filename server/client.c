#include "server/client.h"

#include "engine/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void kt_client_init(struct kt_client *c, struct kt_conn *conn, int64_t now_us)
{
    c->conn = conn;
    c->opened_us = now_us;
    kt_outq_init(&c->outq);
    kt_bucket_init(&c->messages, KT_MESSAGES_PER_S, KT_MESSAGES_BURST, now_us);
    kt_bucket_init(&c->edits, KT_EDITS_PER_S, KT_EDITS_BURST, now_us);
}

void kt_client_finish(struct kt_client *c)
{
    kt_outq_clear(&c->outq);
    kt_client_message_free(&c->hello);
}

/* Whatever cannot be queued belongs to a client that has stopped reading. */
static void push(struct kt_client *c, struct kt_packet *p, int64_t now_us)
{
    if (kt_outq_push(&c->outq, p, now_us) < 0) {
        kt_log(c->log, KT_LOG_WARN, "client %u: its queue is full, closing", c->id);
        kt_outq_clear(&c->outq);
        c->state = KT_CLIENT_CLOSING;
        kt_conn_close(c->conn, kt_fault_close_code(KT_FAULT_SLOW_CLIENT), "slow_client");
        return;
    }
    kt_conn_want_write(c->conn);
}

void kt_client_send(struct kt_client *c, char *text)
{
    struct kt_packet *p = text ? kt_packet_text(text) : NULL;
    free(text);
    if (!p) {
        kt_log(c->log, KT_LOG_ERROR, "client %u: out of memory", c->id);
        c->state = KT_CLIENT_CLOSING;
        kt_conn_close(c->conn, kt_fault_close_code(KT_FAULT_INTERNAL), "internal");
        return;
    }
    push(c, p, kt_now_ns() / 1000);
}

void kt_client_send_picture(struct kt_client *c, struct kt_packet *p, int64_t now_us)
{
    push(c, p, now_us);
}

void kt_client_fault(struct kt_client *c, const struct kt_fault *f)
{
    const int code = kt_fault_close_code(f->code);
    kt_log(c->log, code ? KT_LOG_WARN : KT_LOG_INFO, "client %u: %s: %s", c->id,
           kt_fault_name(f->code), f->message);
    kt_client_send(c, kt_print_fault(f));
    if (code) {
        c->state = KT_CLIENT_CLOSING;
        kt_conn_close(c->conn, code, kt_fault_name(f->code));
    }
}

void kt_client_bye(struct kt_client *c, int code, const char *name, const char *message,
                   int retry_ms)
{
    kt_client_send(c, kt_print_bye(name, message, retry_ms));
    c->state = KT_CLIENT_CLOSING;
    kt_conn_close(c->conn, code, name);
}

/* The revision an answer is about, so that the page can tell which of its edits failed. */
static void name_revision(const struct kt_client_message *m, struct kt_fault *f)
{
    const int edit = m->kind == KT_CLIENT_EDIT, commit = m->kind == KT_CLIENT_COMMIT;
    if (edit || commit) {
        f->has_rev = 1;
        f->rev = (int)(edit ? m->edit.rev : m->commit.rev);
    }
}

static int edit_allowed(struct kt_client *c, const struct kt_client_message *m, int64_t now_us,
                        struct kt_fault *f)
{
    if (m->kind != KT_CLIENT_EDIT && m->kind != KT_CLIENT_COMMIT) {
        return 0;
    }
    const int wait_ms = kt_bucket_take(&c->edits, now_us);
    if (wait_ms == 0) {
        return 0;
    }
    const int rc = kt_fault_set(f, KT_FAULT_RATE_LIMITED, "too many edits");
    f->limit = KT_EDITS_PER_S;
    f->retry_ms = wait_ms;
    return rc;
}

void kt_client_handle(struct kt_client *c, const struct kt_client_message *m, int64_t now_us)
{
    struct kt_fault fault = {0};
    int rc = edit_allowed(c, m, now_us, &fault);
    if (rc == 0) {
        rc = kt_session_message(c->session, m, now_us, &fault);
    }
    if (rc == 0) {
        return;
    }
    name_revision(m, &fault);
    kt_client_fault(c, &fault);
    if (c->state == KT_CLIENT_BOUND && m->kind == KT_CLIENT_EDIT) {
        kt_session_resync(c->session, kt_fault_name(fault.code));
    }
}

int64_t kt_client_service(struct kt_client *c, int64_t now_us)
{
    struct kt_fault fault;
    if (c->state == KT_CLIENT_CLOSING) {
        return INT64_MAX;
    }
    const int64_t oldest = kt_outq_oldest_us(&c->outq);
    int64_t deadline = oldest == INT64_MAX ? oldest : oldest + KT_UNREAD_MS * INT64_C(1000);
    if (now_us >= deadline) {
        kt_log(c->log, KT_LOG_WARN, "client %u: has read nothing for %d ms, closing", c->id,
               KT_UNREAD_MS);
        c->state = KT_CLIENT_CLOSING;
        kt_conn_close(c->conn, kt_fault_close_code(KT_FAULT_SLOW_CLIENT), "slow_client");
        return INT64_MAX;
    }
    if (c->state == KT_CLIENT_GREETING) {
        const int64_t hello = c->opened_us + KT_HELLO_MS * INT64_C(1000);
        if (now_us >= hello) {
            kt_fault_set(&fault, KT_FAULT_HELLO_TIMEOUT, "no hello within %d ms", KT_HELLO_MS);
            kt_client_fault(c, &fault);
            return INT64_MAX;
        }
        deadline = hello < deadline ? hello : deadline;
    }
    return deadline;
}
