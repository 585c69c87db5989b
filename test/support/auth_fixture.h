/* For tests of what is behind auth.h: a configuration, its struct auth, answers that are waited for. */
#ifndef MTA_TEST_SUPPORT_AUTH_FIXTURE_H
#define MTA_TEST_SUPPORT_AUTH_FIXTURE_H

#include "support/tables.h"

#include "core/base/codec.h"
#include "proto/auth/auth.h"

struct auth_fixture {
    struct bench bench;
    const struct conf *conf;
    struct auth *auth;
    struct buf complaints;
    struct auth_exchange *exchange;
    bool done;
    enum auth_outcome outcome;
    char text[1024], user[512], reason[512]; /* of the last answer */
};

/* `settings`: lines of mta.conf. f->auth is NULL when it was not to be had: f->complaints says why. */
static inline void auth_fixture_open(struct auth_fixture *f, const char *settings)
{
    struct conf_report report = {0};
    char *path, *text;

    *f = (struct auth_fixture){0};
    bench_open(&f->bench);
    text = mem_printf("myhostname = mail.example.com\nqueue_directory = %s\nsmtpd_sasl_auth_enable = yes\n%s\n",
                      f->bench.dir, settings);
    bench_write(&f->bench, "mta.conf", text);
    path = bench_path(&f->bench, "mta.conf");
    f->conf = conf_load(path, &report);
    if (f->conf == NULL)
        conf_report_print(&report, stderr);
    assert_non_null(f->conf);
    f->auth = auth_new(f->bench.loop, f->bench.tables, f->conf, &f->complaints);
    conf_report_clear(&report);
    mem_free(path);
    mem_free(text);
}

static inline void auth_fixture_close(struct auth_fixture *f)
{
    auth_end(&f->exchange);
    auth_unref(&f->auth);
    conf_unref(&f->conf);
    buf_release(&f->complaints);
    bench_close(&f->bench);
}

static inline void auth_fixture_on_answer(void *owner, enum op_status status, const void *result)
{
    struct auth_fixture *f = owner;
    const struct auth_answer *a = result;

    assert_int_equal(status, OP_OK);
    assert_false(f->done);
    f->done = true;
    f->outcome = a->outcome;
    snprintf(f->text, sizeof f->text, "%s", a->text);
    snprintf(f->user, sizeof f->user, "%s", a->user);
    snprintf(f->reason, sizeof f->reason, "%s", a->reason);
}

/* Begins, and does not wait. */
static inline void auth_fixture_start(struct auth_fixture *f, const char *mechanism, const char *initial, bool tls)
{
    struct auth_client client = {.addr = "192.0.2.1",
                                 .port = 4242,
                                 .local_addr = "192.0.2.25",
                                 .local_port = 587,
                                 .host = "mail.example.com",
                                 .tls = tls};

    auth_end(&f->exchange);
    f->done = false;
    f->exchange = auth_begin(f->auth, &client, mechanism, initial, &f->bench.scope, auth_fixture_on_answer, f);
    assert_false(f->done); /* never inside the start call */
}

static inline enum auth_outcome auth_fixture_wait(struct auth_fixture *f)
{
    while (!f->done)
        loop_turn(f->bench.loop);
    return f->outcome;
}

static inline enum auth_outcome auth_fixture_begin(struct auth_fixture *f, const char *mechanism, const char *initial)
{
    auth_fixture_start(f, mechanism, initial, false);
    return auth_fixture_wait(f);
}

static inline enum auth_outcome auth_fixture_respond(struct auth_fixture *f, const char *response)
{
    f->done = false;
    auth_respond(f->exchange, response, &f->bench.scope, auth_fixture_on_answer, f);
    assert_false(f->done);
    return auth_fixture_wait(f);
}

/* Base64 of n bytes; valid until the fourth call after it. */
static inline const char *auth_fixture_base64(const char *bytes, size_t n)
{
    static char ring[4][1024];
    static unsigned at;
    char *out = ring[at++ % 4];
    struct buf text = {0};

    codec_base64_encode(&text, slice_make(bytes, n));
    snprintf(out, sizeof ring[0], "%s", buf_cstr(&text));
    buf_release(&text);
    return out;
}
#define AUTH_FIXTURE_BASE64(literal) auth_fixture_base64(literal, sizeof(literal) - 1)

#endif
