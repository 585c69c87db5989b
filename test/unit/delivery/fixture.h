/*
 * What the tests of the delivery agents share: a real queue, scheduler, tables and transports in a directory of their
 * own, set up from a configuration as main does it. A test queues messages, runs until so many results have come, and
 * looks at the results, the files and the log. Each test program includes it once.
 */
#ifndef TEST_DELIVERY_FIXTURE_H
#define TEST_DELIVERY_FIXTURE_H

#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "delivery/bounce.h"
#include "delivery/transport.h"

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define NOBODY     65534
#define RESULT_MAX 300

struct result {
    char addr[200];
    struct delivery_result r;
    char relay[60];
};

struct fixture {
    char dir[64];
    struct loop *loop;
    struct queue *queue;
    struct tables *tables;
    struct dns *dns; /* NULL: nothing here needs it */
    const struct conf *conf;
    struct rules *rules;
    struct transports *transports;
    struct bounce *bounce;
    struct scheduler *scheduler;
    struct op_scope scope;
    struct result results[RESULT_MAX];
    size_t nresults, expected;
    size_t committing;
    bool reports_ok;
    uint64_t last_qid;
    uint64_t delay_warning_ms;
    uint64_t age_us; /* of messages when they are queued */
};

/* ---- log lines ---- */

static char logged[1 << 20];
static size_t logged_n;

static inline void log_to_memory(enum log_level level, const char *line, size_t n)
{
    (void)level;
    if (logged_n + n < sizeof logged - 1) {
        memcpy(logged + logged_n, line, n);
        logged_n += n;
        logged[logged_n] = '\0';
    }
}

static inline bool was_logged(const char *text)
{
    return strstr(logged, text) != NULL;
}

/* ---- files ---- */

static inline const char *path_in(const struct fixture *f, const char *name)
{
    static char paths[8][300];
    static unsigned next;
    char *path = paths[next++ % 8];

    snprintf(path, sizeof paths[0], "%s/%s", f->dir, name);
    return path;
}

static inline void write_file(const char *path, mode_t mode, const char *text)
{
    FILE *out = fopen(path, "w");

    assert_non_null(out);
    fputs(text, out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* The file as a string; to be freed. NULL when there is none. */
static inline char *read_file(const char *path, size_t *n)
{
    struct buf b = {0};
    char block[65536], *text;
    ssize_t got;
    int fd = open(path, O_RDONLY);

    if (fd < 0)
        return NULL;
    while ((got = read(fd, block, sizeof block)) > 0)
        buf_add(&b, block, (size_t)got);
    close(fd);
    if (n != NULL)
        *n = buf_len(&b);
    text = mem_strdup(buf_cstr(&b));
    buf_release(&b);
    return text;
}

static inline int remove_entry(const char *path, const struct stat *st, int kind, struct FTW *at)
{
    (void)st;
    (void)kind;
    (void)at;
    return remove(path);
}

/* A command for a pipe transport: a shell script of this text in the test's directory. */
static inline void make_command(const struct fixture *f, const char *text)
{
    char *script = mem_printf("#!/bin/sh\ncd %s/out\n%s\n", f->dir, text);

    write_file(path_in(f, "command"), 0755, script);
    mem_free(script);
}

/* ---- services ---- */

static void fixture_route(void *ctx, struct op_scope *scope, const char *sender, const struct envelope_rcpt *rcpt,
                          op_done_fn *done, void *owner)
{
    rules_route(((struct fixture *)ctx)->rules, scope, sender, rcpt->orig, rcpt->addr, done, owner);
}

static bool fixture_limits(void *ctx, const char *transport, struct scheduler_limits *limits)
{
    return transports_limits(((struct fixture *)ctx)->transports, transport, limits);
}

static void fixture_deliver(void *ctx, struct delivery *d)
{
    struct fixture *f = ctx;
    size_t before = f->nresults;

    transports_deliver(f->transports, d);
    assert_int_equal(f->nresults, before); /* never inside this call */
}

static void fixture_report(void *ctx, uint64_t qid)
{
    bounce_report(((struct fixture *)ctx)->bounce, qid);
}

static void fixture_report_done(void *arg, uint64_t qid, bool ok)
{
    struct fixture *f = arg;

    f->reports_ok = f->reports_ok && ok;
    scheduler_report_done(f->scheduler, qid, ok);
}

static void fixture_drained(void *arg)
{
    loop_stop(((struct fixture *)arg)->loop);
}

static void fixture_log(void *ctx, const struct delivery *d, const struct envelope_rcpt *rcpt,
                        const struct delivery_result *result)
{
    struct fixture *f = ctx;
    struct result *r = &f->results[f->nresults++];

    assert_true(f->nresults <= RESULT_MAX);
    transports_log(f->transports, d, rcpt, result);
    snprintf(r->addr, sizeof r->addr, "%s", rcpt->addr);
    snprintf(r->relay, sizeof r->relay, "%s", result->relay);
    r->r = *result;
    if (f->nresults == f->expected)
        scheduler_drain(f->scheduler, fixture_drained, f);
}

/* The configuration: what every test needs, then `text`, in which %DIR% is the directory. NULL with complaints in err.
 */
static inline const struct conf *fixture_conf(const struct fixture *f, const char *text)
{
    struct buf b = {0};
    struct conf_report report = {0};
    const struct conf *conf;
    const char *at;

    buf_printf(&b,
               "myhostname = mx.example.org\nqueue_directory = %s/queue\ndata_directory = %s\nmail_owner = daemon\n"
               "mydestination =\ninet_interfaces = 127.0.0.1\nmaillog_file = /dev/null\nminimal_backoff_time = 1h\n"
               "maximal_backoff_time = 1h\nvirtual_mailbox_domains = v.test, w.test\nrecipient_delimiter = +\n",
               f->dir, f->dir);
    while ((at = strstr(text, "%DIR%")) != NULL) {
        buf_add(&b, text, (size_t)(at - text));
        buf_add_str(&b, f->dir);
        text = at + 5;
    }
    buf_add_str(&b, text);
    write_file(path_in(f, "mta.conf"), 0644, buf_cstr(&b));
    conf = conf_load(path_in(f, "mta.conf"), &report);
    if (conf == NULL)
        conf_report_print(&report, stderr);
    assert_non_null(conf);
    conf_report_clear(&report);
    buf_release(&b);
    return conf;
}

/* A [transport p] of type pipe that runs the command with these settings besides. */
static inline const char *pipe_conf(const char *main, const char *settings)
{
    static char text[2000];

    snprintf(text, sizeof text,
             "virtual_transport = p\np_destination_recipient_limit = 1\n%s\n[transport p]\ntype = pipe\n%s%s\n", main,
             geteuid() == 0 ? "user = nobody\n" : "", settings);
    return text;
}

static inline void fixture_start(struct fixture *f, const char *conf_text)
{
    const struct queue_options options = {.directory = path_in(f, "queue")};
    const struct scheduler_hooks hooks = {
        f, fixture_route, fixture_limits, fixture_deliver, fixture_report, fixture_log,
    };
    const struct scheduler_config config = {
        .queue_run_delay_ms = 3600000,
        .minimal_backoff_ms = 3600000,
        .maximal_backoff_ms = 3600000,
        .maximal_queue_lifetime_ms = 86400000,
        .bounce_queue_lifetime_ms = 86400000,
        .active_limit = 1000,
        .delay_warning_ms = f->delay_warning_ms,
    };
    struct status why;
    struct buf err = {0};

    f->loop = loop_new();
    f->conf = fixture_conf(f, conf_text);
    f->queue = queue_open(f->loop, &options, &why);
    assert_non_null(f->queue);
    f->tables = tables_new(f->loop);
    f->rules = rules_new(f->loop, f->tables, f->conf, &err);
    f->transports = transports_new(f->loop, f->tables, f->dns, f->conf, f->rules, &err);
    if (f->rules == NULL || f->transports == NULL)
        fail_msg("%s", buf_cstr(&err));
    buf_release(&err);
    f->bounce = bounce_new(f->loop, f->queue, f->rules, f->conf, fixture_report_done, f);
    f->scheduler = scheduler_new(f->loop, f->queue, &config, &hooks);
    op_scope_init(&f->scope, "test");
    scheduler_start(f->scheduler);
}

static inline void fixture_stop(struct fixture *f)
{
    op_scope_close(&f->scope);
    scheduler_free(&f->scheduler);
    bounce_free(&f->bounce);
    transports_free(&f->transports);
    queue_close(&f->queue);
    rules_unref(&f->rules);
    while (op_live(f->loop) > 0) /* questions go on to their end */
        loop_turn(f->loop);
    tables_free(&f->tables);
    loop_run(f->loop);
    conf_unref(&f->conf);
    assert_int_equal(op_live(f->loop), 0);
    loop_free(&f->loop);
}

static inline void fixture_forget_queue(struct fixture *f)
{
    nftw(path_in(f, "queue"), remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    assert_int_equal(mkdir(path_in(f, "queue"), 0700), 0);
    f->nresults = 0;
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = NEW(struct fixture);

    snprintf(f->dir, sizeof f->dir, "/tmp/mta-delivery-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(chmod(f->dir, 0755), 0);
    assert_int_equal(mkdir(path_in(f, "queue"), 0700), 0);
    assert_int_equal(mkdir(path_in(f, "out"), 0777), 0);
    assert_int_equal(chmod(path_in(f, "out"), 0777), 0);
    f->reports_ok = true;
    logged_n = 0;
    logged[0] = '\0';
    log_setup("postfix", "host", LOG_LEVEL_INFO, log_to_memory);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    if (f->loop != NULL)
        fixture_stop(f);
    nftw(f->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    mem_free(f);
    return 0;
}

/* ---- messages ---- */

static void fixture_committed(void *owner, enum op_status status, const void *result)
{
    struct fixture *f = owner;

    (void)result;
    assert_int_equal(status, OP_OK);
    f->committing--;
}

/* Queues a message; the envelope's qid and arrival are filled in. */
static inline void queue_message(struct fixture *f, struct envelope *e, struct slice content)
{
    struct queue_writer *w;

    e->qid = f->last_qid = id_next();
    e->arrival_us = clock_wall_us() - f->age_us;
    w = queue_begin(f->queue, e->qid);
    queue_write(w, content);
    f->committing++;
    queue_commit(&w, &f->scope, e, fixture_committed, f);
}

static inline void queue_text(struct fixture *f, const char *sender, const char *rcpt, const char *content)
{
    struct envelope_rcpt to = {.addr = rcpt};
    struct envelope e = {.sender = sender, .rcpts = &to, .nrcpts = 1};

    queue_message(f, &e, slice_str(content));
}

/* Runs until `n` results have come, counted from the start, and are recorded. One time for each fixture_start. */
static inline void run_until(struct fixture *f, size_t n)
{
    f->expected = n;
    loop_run(f->loop);
    assert_int_equal(f->nresults, n);
}

static void fixture_stop_loop(void *arg)
{
    loop_stop(((struct fixture *)arg)->loop);
}

/* Runs for so long, whatever comes. */
static inline void run_for(struct fixture *f, uint64_t ms)
{
    struct timer timer = {0};

    timer_start(f->loop, &timer, ms, fixture_stop_loop, f);
    loop_run(f->loop);
    timer_stop(&timer);
}

/* One message to a@v.test in an empty queue: what becomes of it? */
static inline const struct result *deliver(struct fixture *f, const char *conf_text, const char *content)
{
    if (f->loop != NULL) {
        fixture_stop(f);
        fixture_forget_queue(f);
    }
    fixture_start(f, conf_text);
    queue_text(f, "s@s.test", "a@v.test", content);
    run_until(f, 1);
    return &f->results[0];
}

static inline void check_result(const struct result *r, enum status_class cls, const char *dsn, const char *text)
{
    assert_string_equal(r->r.status.text, text);
    assert_string_equal(r->r.status.dsn, dsn);
    assert_int_equal(r->r.status.cls, cls);
}

/* Content of about `n` bytes, all lines different. */
static inline char *make_content(size_t n)
{
    struct buf b = {0};
    char *text;

    buf_add_str(&b, "Subject: large\n\n");
    for (unsigned i = 0; buf_len(&b) < n; i++)
        buf_printf(&b, "line %u of a message that is large enough for several pieces\n", i);
    text = mem_strdup(buf_cstr(&b));
    buf_release(&b);
    return text;
}

#endif
