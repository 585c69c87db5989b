/*
 * A whole SMTP session: a real service on a real loop, with tables in memory and the queue of fake_queue.h; the client
 * is the other end of a socket pair. session_model.h says what must hold of what came back. Sent in one piece and in
 * many the same input gets the same replies and leaves the same messages. A client that goes away in the middle, or a
 * server that is told to stop, leaves nothing behind.
 *
 * Input: one character of options; one from which the pieces come; what the client sends.
 */
#include "fuzz/session_model.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/work.h"
#include "proto/smtpd/smtpd_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define OPTION_STRICT 1  /* the second service */
#define OPTION_SLOW   2  /* the disk is behind, commits take many turns */
#define OPTION_FAIL   4  /* commits fail */
#define OPTION_HANGUP 8  /* a third run: the client goes away after the first piece */
#define OPTION_FULL   32 /* the disk is full: no MAIL is accepted */
#define OPTION_DRAIN  16 /* and the server is told to stop then */
#define TURNS_MOST    20000

int __wrap_clock_gettime(clockid_t id, struct timespec *now);
int __real_clock_gettime(clockid_t id, struct timespec *now);
uint64_t __wrap_id_next(void);

static uint64_t ids; /* given in this run */

/* The same day for every run, so that dates in headers do not differ. */
int __wrap_clock_gettime(clockid_t id, struct timespec *now)
{
    if (id != CLOCK_REALTIME)
        return __real_clock_gettime(id, now);
    *now = (struct timespec){.tv_sec = 1795373582};
    return 0;
}

/* The same queue ids for every run. */
uint64_t __wrap_id_next(void)
{
    return 1795373582000000 + ids++;
}

/* ---- worker threads: there are none, so that what is done when does not depend on them ---- */

void __wrap_work_run(struct loop *, struct op_scope *, const char *name, uint64_t timeout_ms, work_fn *fn, void *arg,
                     void (*free_arg)(void *arg), op_done_fn *done, void *owner);

struct done_work {
    struct op op;
    void *arg;
    void (*free_arg)(void *arg);
};

static void done_work_release(struct op *op)
{
    struct done_work *w = (struct done_work *)op;

    if (w->free_arg != NULL)
        w->free_arg(w->arg);
    mem_free(w);
}

void __wrap_work_run(struct loop *l, struct op_scope *scope, const char *name, uint64_t timeout_ms, work_fn *fn,
                     void *arg, void (*free_arg)(void *arg), op_done_fn *done, void *owner)
{
    struct done_work *w = NEW(struct done_work);

    w->arg = arg;
    w->free_arg = free_arg;
    op_start(&w->op, l, scope, name, timeout_ms, done, owner, done_work_release);
    op_finish(&w->op, fn(arg), arg);
}

/* ---- the server ---- */

#define COMMON                                                                                                         \
    "myhostname = mail.example.com\nmydestination =\nmynetworks = 192.0.2.0/24\nvirtual_mailbox_base = /nonexistent\n" \
    "virtual_uid_maps = static:5000\nvirtual_gid_maps = static:5000\nvirtual_mailbox_domains = example.com\n"          \
    "virtual_mailbox_maps = inline:{ {alain@example.com = x/}, {bob@example.com = y/} }\n"                             \
    "virtual_alias_maps = inline:{ {all@example.com = alain@example.com, bob@example.com},"                            \
    " {a@loop.example = b@loop.example}, {b@loop.example = a@loop.example} }\n"                                        \
    "virtual_alias_domains = loop.example\nsmtpd_error_sleep_time = 0\n"                                               \
    "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = table\n"                                                          \
    "smtpd_sasl_password_maps = inline:{" MODEL_LOGIN "={PLAIN}" MODEL_PASSWORD "}\n"

static struct service {
    const char *settings;
    bool plain_headers, crlf_only;
    const struct conf *conf;
    struct rules *rules;
    struct smtpd_service *smtpd;
} services[] = {
    {COMMON "message_drop_headers =\nrecipient_delimiter = +\n", true, false, NULL, NULL, NULL},
    {COMMON
     "smtpd_forbid_bare_newline = reject\nstrict_rfc821_envelopes = yes\nsmtpd_helo_required = yes\n"
     "message_size_limit = 2000\nheader_size_limit = 1000\nsmtpd_recipient_limit = 3\nline_length_limit = 512\n"
     "smtpd_discard_ehlo_keywords = dsn, smtputf8\nalways_add_missing_headers = yes\nhopcount_limit = 5\n"
     "smtpd_sasl_mechanism_filter = plain\nsmtpd_sasl_response_limit = 1024\n"
     "smtpd_soft_error_limit = 2\nsmtpd_hard_error_limit = 5\nsmtpd_junk_command_limit = 3\nallow_min_user = no\n",
     false, true, NULL, NULL, NULL},
};

static struct loop *loop;
static struct tables *tables;
static struct smtpd *smtpd;
static struct queue queue;

static void quiet(enum log_level level, const char *line, size_t n)
{
    (void)level;
    MTA_ASSERT(n > 0 && line[n - 1] == '\n');
}

static const struct conf *load(const char *settings)
{
    char path[] = "/tmp/fuzz-session-XXXXXX";
    int fd = mkstemp(path);
    struct conf_report report = {.n = 0};
    const struct conf *conf;

    MTA_ASSERT(fd >= 0 && write(fd, settings, strlen(settings)) == (ssize_t)strlen(settings));
    close(fd);
    conf = conf_load(path, &report);
    unlink(path);
    if (conf == NULL)
        conf_report_print(&report, stderr);
    MTA_ASSERT(conf != NULL);
    conf_report_clear(&report);
    return conf;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    struct buf err = {.max = 0};

    (void)argc;
    (void)argv;
    signal(SIGPIPE, SIG_IGN);
    log_setup("postfix", "test", LOG_LEVEL_DEBUG, quiet);
    loop = loop_new();
    tables = tables_new(loop);
    queue.loop = loop;
    smtpd = smtpd_new(loop, &queue);
    for (size_t i = 0; i < ARRAY_LEN(services); i++) {
        struct service *s = &services[i];

        s->conf = load(s->settings);
        s->rules = rules_new(loop, tables, s->conf, &err);
        s->smtpd = s->rules ? smtpd_service_new(smtpd, tables, s->rules, &s->conf->listeners[0], &err) : NULL;
        if (s->smtpd == NULL)
            fputs(buf_cstr(&err), stderr);
        MTA_ASSERT(s->smtpd != NULL);
        buf_clear(&err);
    }
    buf_release(&err);
    return 0;
}

/* ---- the client ---- */

struct client {
    int fd;
    bool over; /* the server has closed */
    struct buf seen;
};

static void tick(void *arg)
{
    (void)arg;
}

/* One turn of the loop, which does not sleep. */
static void turn(void)
{
    static struct loop_task awake;

    loop_defer(loop, &awake, tick, NULL);
    loop_turn(loop);
}

static void turn_and_read(struct client *c)
{
    char piece[8192];
    ssize_t n;

    turn();
    while (!c->over && (n = read(c->fd, piece, sizeof piece)) != -1) {
        c->over = n == 0;
        buf_add(&c->seen, piece, (size_t)n);
    }
    c->over = c->over || errno != EAGAIN;
}

static struct client client_new(const struct service *service)
{
    int fds[2];

    MTA_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    smtpd_accept(service->smtpd, stream_from_fd(loop, fds[1]));
    return (struct client){.fd = fds[0]};
}

static void client_send(struct client *c, struct slice in)
{
    for (int turns = 0; in.n > 0 && !c->over; turns++) {
        ssize_t n = send(c->fd, in.p, in.n, MSG_NOSIGNAL);

        MTA_ASSERT(turns < TURNS_MOST);
        if (n > 0)
            in = slice_from(in, (size_t)n);
        else if (errno != EAGAIN)
            return;
        turn_and_read(c);
    }
}

/* Closes and waits until the server has let go of everything. */
static void client_end(struct client *c)
{
    close(c->fd);
    for (int turns = 0; smtpd->nsessions > 0 || op_live(loop) > 0; turns++) {
        MTA_ASSERT(turns < TURNS_MOST);
        turn();
    }
    turn(); /* the stream's own end */
    turn();
    MTA_ASSERT(queue.writers == 0);
}

/* ---- runs ---- */

static size_t next_piece(unsigned *seed)
{
    *seed = *seed * 1103515245u + 12345u;
    return (*seed >> 16) % (1u << ((*seed >> 24) % 8)) + 1;
}

/* Sends the input, in one piece or (seed not 0) in many; returns all replies. */
static struct buf dialogue(const struct service *service, struct slice in, unsigned seed)
{
    struct client c = client_new(service);

    ids = 0;
    while (in.n > 0 && !c.over) {
        size_t n = seed ? next_piece(&seed) : in.n;

        client_send(&c, slice_head(in, n));
        in = slice_from(in, n);
    }
    shutdown(c.fd, SHUT_WR);
    for (int turns = 0; !c.over; turns++) {
        MTA_ASSERT(turns < TURNS_MOST);
        turn_and_read(&c);
    }
    client_end(&c);
    return c.seen;
}

/* Everything that is to be the same however the input is cut. */
static void add_messages(struct buf *all)
{
    for (size_t i = 0; i < queue.n; i++) {
        const struct envelope *e = queue.messages[i].envelope;

        buf_printf(all, "%s %d %d %d %s\n", e->sender, e->ret, e->body_8bit, e->smtputf8, e->envid ? e->envid : "-");
        for (size_t j = 0; j < e->nrcpts; j++)
            buf_printf(all, "%s %s %s %u\n", e->rcpts[j].addr, e->rcpts[j].orig ? e->rcpts[j].orig : "-",
                       e->rcpts[j].orcpt ? e->rcpts[j].orcpt : "-", e->rcpts[j].notify);
        buf_add_slice(all, buf_slice(&queue.messages[i].content));
    }
}

static struct buf run(const struct service *service, struct slice in, unsigned seed)
{
    struct buf all;

    fake_queue_clear(&queue);
    all = dialogue(service, in, seed);
    add_messages(&all);
    return all;
}

static void check_model(const struct service *service, struct slice in, struct slice replies)
{
    struct model model = {
        .in = in,
        .replies = replies,
        .queue = &queue,
        .plain_headers = service->plain_headers,
        .crlf_only = service->crlf_only,
        .line_max = (size_t)service->conf->line_length_limit,
        .auth_max = (size_t)service->conf->smtpd_sasl_response_limit,
        .origin = service->conf->myorigin,
    };

    model_check(&model);
}

/* The client goes away, or the server is told to stop, when a part was sent. */
static void cut_short(const struct service *service, struct slice in, unsigned seed, bool drain)
{
    struct client c = client_new(service);

    client_send(&c, slice_head(in, next_piece(&seed) * 8));
    if (drain)
        smtpd_drain(smtpd, 1, tick, NULL);
    client_end(&c);
    timer_stop(&smtpd->grace);
    smtpd->drained = NULL;
    smtpd->draining = false; /* for the next input */
    buf_release(&c.seen);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    unsigned options = fuzz_byte(&in), seed = fuzz_byte(&in) + 1;
    const struct service *service = &services[options & OPTION_STRICT];
    struct buf whole, pieces;

    queue.slow = options & OPTION_SLOW;
    queue.fails = options & OPTION_FAIL;
    queue.full = options & OPTION_FULL;
    queue.delay = queue.slow ? 3 : 0;
    fake_queue_clear(&queue);
    whole = dialogue(service, in, 0);
    check_model(service, in, buf_slice(&whole));
    add_messages(&whole);
    pieces = run(service, in, seed);
    MTA_ASSERT(slice_eq(buf_slice(&whole), buf_slice(&pieces)));
    if (options & OPTION_HANGUP)
        cut_short(service, in, seed, options & OPTION_DRAIN);
    fake_queue_clear(&queue);
    buf_release(&whole);
    buf_release(&pieces);
    return 0;
}
