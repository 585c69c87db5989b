/*
 * The composition root: see server.h. Everything is made here in the order of the include chain, and unmade in the
 * opposite order; the scheduler gets routes, transports and reports as functions, so that queue and delivery do not
 * know each other's callers.
 */
#include "core/server.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/conf/conf.h"
#include "core/loop/logsink.h"
#include "core/loop/work.h"
#include "core/queue/scheduler.h"
#include "delivery/bounce.h"
#include "delivery/transport.h"
#include "lookup/rules.h"
#include "proto/smtpd/smtpd.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <syslog.h>
#include <unistd.h>

#define SERVER_SESSION_GRACE_MS  10000 /* at shutdown: for sessions that wait for a commit */
#define SERVER_DELIVERY_GRACE_MS 20000 /* at shutdown: for deliveries that run */

struct server {
    struct loop *loop;
    const struct conf *conf;
    struct tables *tables;
    struct rules *rules;
    struct transports *transports;
    struct queue *queue;
    struct scheduler *scheduler;
    struct bounce *bounce;
    struct smtpd *smtpd;
    struct smtpd_service **services; /* one for each listener of the configuration */
    struct listener **listeners;     /* one for each address */
    size_t nlisteners;
    bool stopping, sessions_over, deliveries_over, unbuilding;
    struct timer grace;
};

/* ---- complaints ---- */

/*
 * Lines that the services wrote: "FILE:LINE: text" and "FILE: text" have their place, "PARAMETER: text" gets the one
 * where the parameter was set.
 */
static void report_line(struct conf_report *report, const struct conf *conf, struct slice line)
{
    enum conf_severity severity = CONF_SEVERITY_ERROR;
    struct slice warning = SLICE_LIT("warning: ");
    struct conf_place place = {.file = conf->path};
    struct slice head;
    size_t colon;
    uint64_t number;

    if (slice_starts(line, warning)) {
        severity = CONF_SEVERITY_WARNING;
        line = slice_from(line, warning.n);
    }
    colon = slice_find(line, ':');
    head = slice_head(line, colon == SLICE_NOT_FOUND ? 0 : colon);
    if (head.n == 0 || head.p[0] != '/') {
        conf_where(conf, head, &place);
        conf_report_add(report, severity, place.file, place.line, "%.*s", (int)line.n, line.p);
        return;
    }
    place.file = arena_slice_dup(&report->arena, head);
    line = slice_trim(slice_from(line, colon + 1));
    colon = slice_find(line, ':');
    if (colon != SLICE_NOT_FOUND && slice_u64(slice_head(line, colon), INT32_MAX, &number)) {
        place.line = (int)number;
        line = slice_trim(slice_from(line, colon + 1));
    }
    conf_report_add(report, severity, place.file, place.line, "%.*s", (int)line.n, line.p);
}

static void report_lines(struct conf_report *report, const struct conf *conf, struct buf *text)
{
    struct slice rest = buf_slice(text), line;

    while ((line = slice_token(&rest, "\n")).n > 0)
        report_line(report, conf, line);
    buf_clear(text);
}

/* ---- what needs neither queue nor sockets ---- */

static bool build_lookups(struct server *sv, struct conf_report *report)
{
    struct buf err = {0};

    sv->tables = tables_new(sv->loop);
    sv->rules = rules_new(sv->loop, sv->tables, sv->conf, &err);
    report_lines(report, sv->conf, &err);
    sv->transports = transports_new(sv->loop, sv->tables, sv->conf, &err);
    report_lines(report, sv->conf, &err);
    buf_release(&err);
    return sv->rules != NULL && sv->transports != NULL;
}

static bool build_services(struct server *sv, struct conf_report *report)
{
    struct buf err = {0};
    bool ok = true;

    sv->smtpd = smtpd_new(sv->loop, sv->queue);
    sv->services = mem_new_array(sv->conf->nlisteners, sizeof(struct smtpd_service *));
    for (size_t i = 0; i < sv->conf->nlisteners; i++) {
        sv->services[i] = smtpd_service_new(sv->smtpd, sv->tables, sv->rules, &sv->conf->listeners[i], &err);
        ok = ok && sv->services[i] != NULL;
        report_lines(report, sv->conf->listeners[i].conf, &err);
    }
    buf_release(&err);
    return ok;
}

/* In the opposite order. What was asked of the tables is waited for (each answer is bounded), so that nothing goes on
 * to a table that is gone. */
static void unbuild(struct server *sv)
{
    sv->unbuilding = true;
    logsink_attach(NULL);
    timer_stop(&sv->grace);
    for (size_t i = 0; i < sv->nlisteners; i++)
        listener_close(&sv->listeners[i]);
    mem_free(sv->listeners);
    smtpd_free(&sv->smtpd);
    scheduler_free(&sv->scheduler);
    bounce_free(&sv->bounce);
    transports_free(&sv->transports);
    queue_close(&sv->queue);
    rules_free(&sv->rules);
    while (op_live(sv->loop) > 0)
        loop_turn(sv->loop);
    tables_free(&sv->tables);
    loop_run(sv->loop);
    for (size_t i = 0; sv->services != NULL && i < sv->conf->nlisteners; i++)
        smtpd_service_free(&sv->services[i]);
    mem_free(sv->services);
    conf_unref(&sv->conf);
    loop_free(&sv->loop);
    signal(SIGTERM, SIG_IGN); /* the loop handled them until now; what is left is to exit with the right status */
    signal(SIGINT, SIG_IGN);
}

int server_check(const char *conf_path)
{
    struct server sv = {0};
    struct conf_report report = {0};
    int status;

    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL); /* the report says it */
    sv.loop = loop_new();
    sv.conf = conf_load(conf_path, &report);
    if (sv.conf != NULL) {
        struct buf text = {0};

        if (build_lookups(&sv, &report))
            build_services(&sv, &report);
        tables_check(sv.tables, &text);
        report_lines(&report, sv.conf, &text);
        buf_release(&text);
    }
    conf_report_print(&report, stderr);
    status = report.nerrors > 0;
    fprintf(stderr, "mta: %s: %zu error%s, %zu warning%s\n", conf_path, report.nerrors, report.nerrors == 1 ? "" : "s",
            report.nwarnings, report.nwarnings == 1 ? "" : "s");
    conf_report_clear(&report);
    unbuild(&sv);
    return status;
}

/* ---- the scheduler's hooks ---- */

static void hook_route(void *ctx, struct op_scope *scope, const char *address, op_done_fn *done, void *owner)
{
    struct server *sv = ctx;

    rules_route(sv->rules, scope, address, done, owner);
}

static bool hook_limits(void *ctx, const char *transport, struct scheduler_limits *limits)
{
    struct server *sv = ctx;

    return transports_limits(sv->transports, transport, limits);
}

static void hook_deliver(void *ctx, struct delivery *d)
{
    struct server *sv = ctx;

    transports_deliver(sv->transports, d);
}

static void hook_report(void *ctx, uint64_t qid)
{
    struct server *sv = ctx;

    bounce_report(sv->bounce, qid);
}

static void hook_log(void *ctx, const struct delivery *d, const struct envelope_rcpt *r,
                     const struct delivery_result *result)
{
    struct server *sv = ctx;

    transports_log(sv->transports, d, r, result);
}

static void report_done(void *arg, uint64_t qid, bool ok)
{
    struct server *sv = arg;

    scheduler_report_done(sv->scheduler, qid, ok);
}

static void build_delivery(struct server *sv)
{
    const struct conf *c = sv->conf;
    struct scheduler_config config = {
        .queue_run_delay_ms = c->queue_run_delay_ms,
        .minimal_backoff_ms = c->minimal_backoff_time_ms,
        .maximal_backoff_ms = c->maximal_backoff_time_ms,
        .maximal_queue_lifetime_ms = c->maximal_queue_lifetime_ms,
        .bounce_queue_lifetime_ms = c->bounce_queue_lifetime_ms,
        .delay_warning_ms = c->delay_warning_time_ms,
        .active_limit = (uint32_t)c->qmgr_message_active_limit,
        .syslog_name = c->syslog_name,
    };
    struct scheduler_hooks hooks = {
        .ctx = sv,
        .route = hook_route,
        .limits = hook_limits,
        .deliver = hook_deliver,
        .report = hook_report,
        .log_result = hook_log,
    };

    sv->bounce = bounce_new(sv->loop, sv->queue, sv->rules, c, report_done, sv);
    sv->scheduler = scheduler_new(sv->loop, sv->queue, &config, &hooks);
}

/* ---- starting ---- */

static bool open_listener(struct server *sv, size_t service, const struct conf_listen *at)
{
    char why[200];
    struct listener *l =
        listener_open(sv->loop, at->host, at->port, smtpd_accept, sv->services[service], why, sizeof why);

    if (l == NULL) {
        log_event(LOG_FATAL, NULL, "listener %s: cannot listen on %s:%d: %s", sv->conf->listeners[service].name,
                  at->host, at->port, why);
        return false;
    }
    sv->listeners = mem_resize(sv->listeners, (sv->nlisteners + 1) * sizeof(struct listener *));
    sv->listeners[sv->nlisteners++] = l;
    log_event(LOG_START, NULL, "listening on %s:%d (%s)", at->host, listener_port(l),
              sv->conf->listeners[service].name);
    return true;
}

static bool open_listeners(struct server *sv)
{
    for (size_t i = 0; i < sv->conf->nlisteners; i++)
        for (size_t k = 0; k < sv->conf->listeners[i].nlisten; k++)
            if (!open_listener(sv, i, &sv->conf->listeners[i].listen[k]))
                return false;
    return true;
}

/* Every session and every table needs descriptors: as many as we may have. */
static void raise_limits(void)
{
    struct rlimit files;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        setrlimit(RLIMIT_NOFILE, &files);
    }
}

static bool start_log(const struct conf *c)
{
    static const int facilities[] = {
        [CONF_SYSLOG_FACILITY_MAIL] = LOG_MAIL,         [CONF_SYSLOG_FACILITY_DAEMON] = LOG_DAEMON,
        [CONF_SYSLOG_FACILITY_USER] = LOG_USER,         [CONF_SYSLOG_FACILITY_AUTH] = LOG_AUTH,
        [CONF_SYSLOG_FACILITY_AUTHPRIV] = LOG_AUTHPRIV, [CONF_SYSLOG_FACILITY_LOCAL0] = LOG_LOCAL0,
        [CONF_SYSLOG_FACILITY_LOCAL1] = LOG_LOCAL1,     [CONF_SYSLOG_FACILITY_LOCAL2] = LOG_LOCAL2,
        [CONF_SYSLOG_FACILITY_LOCAL3] = LOG_LOCAL3,     [CONF_SYSLOG_FACILITY_LOCAL4] = LOG_LOCAL4,
        [CONF_SYSLOG_FACILITY_LOCAL5] = LOG_LOCAL5,     [CONF_SYSLOG_FACILITY_LOCAL6] = LOG_LOCAL6,
        [CONF_SYSLOG_FACILITY_LOCAL7] = LOG_LOCAL7,
    };
    char why[200], host[256] = "localhost";
    log_sink_fn *sink;

    gethostname(host, sizeof host - 1);
    host[strcspn(host, ".")] = '\0';
    sink = logsink_start(c->maillog_file, facilities[c->syslog_facility], why, sizeof why);
    if (sink == NULL) {
        fprintf(stderr, "mta: maillog_file: %s\n", why);
        return false;
    }
    log_setup(c->syslog_name, host, LOG_LEVEL_INFO, sink);
    return true;
}

static void log_report(struct conf_report *report)
{
    for (size_t i = 0; i < report->n; i++) {
        const struct conf_complaint *c = &report->items[i];

        enum log_event ev = c->severity == CONF_SEVERITY_ERROR ? LOG_FATAL : LOG_CONFIG;

        if (c->line > 0)
            log_event(ev, NULL, "%s:%d: %s", c->file, c->line, c->text);
        else
            log_event(ev, NULL, "%s: %s", c->file, c->text);
    }
}

static bool build(struct server *sv, struct conf_report *report)
{
    struct status why;
    bool ok = build_lookups(sv, report);

    if (ok) {
        sv->queue = queue_open(sv->loop, &(struct queue_options){.directory = sv->conf->queue_directory}, &why);
        if (sv->queue == NULL)
            log_event(LOG_FATAL, NULL, "%s", why.text);
        ok = sv->queue != NULL && build_services(sv, report);
    }
    log_report(report);
    if (!ok)
        return false;
    build_delivery(sv);
    return open_listeners(sv);
}

/* ---- stopping ---- */

static void maybe_over(struct server *sv)
{
    if (sv->sessions_over && sv->deliveries_over)
        loop_stop(sv->loop);
}

static void on_sessions_over(void *arg)
{
    struct server *sv = arg;

    sv->sessions_over = true;
    maybe_over(sv);
}

static void on_deliveries_over(void *arg)
{
    struct server *sv = arg;

    sv->deliveries_over = true;
    maybe_over(sv);
}

static void on_grace_over(void *arg)
{
    struct server *sv = arg;

    log_event(LOG_STOP, NULL, "not everything ended in time; what was being delivered stays queued");
    loop_stop(sv->loop);
}

static void on_stop_signal(void *arg, int signum)
{
    struct server *sv = arg;

    if (sv->stopping) {
        if (signum == SIGINT && !sv->unbuilding) /* Ctrl-C again: somebody does not want to wait */
            loop_stop(sv->loop);
        return;
    }
    sv->stopping = true;
    log_event(LOG_STOP, NULL, "terminating on signal %d", signum);
    for (size_t i = 0; i < sv->nlisteners; i++)
        listener_close(&sv->listeners[i]);
    timer_start(sv->loop, &sv->grace, SERVER_DELIVERY_GRACE_MS, on_grace_over, sv);
    smtpd_drain(sv->smtpd, SERVER_SESSION_GRACE_MS, on_sessions_over, sv);
    scheduler_drain(sv->scheduler, on_deliveries_over, sv);
}

static void on_hangup(void *arg, int signum)
{
    (void)arg;
    (void)signum;
    logsink_reopen();
}

int server_run(const char *conf_path)
{
    struct server sv = {0};
    struct conf_report report = {0};
    int status = 1;

    raise_limits();
    sv.loop = loop_new();
    work_start(sv.loop);
    sv.conf = conf_load(conf_path, &report);
    if (sv.conf == NULL)
        conf_report_print(&report, stderr);
    else if (start_log(sv.conf)) {
        if (build(&sv, &report)) {
            loop_on_signal(sv.loop, SIGTERM, on_stop_signal, &sv);
            loop_on_signal(sv.loop, SIGINT, on_stop_signal, &sv);
            loop_on_signal(sv.loop, SIGHUP, on_hangup, &sv);
            logsink_attach(sv.loop);
            scheduler_start(sv.scheduler);
            log_event(LOG_START, NULL, "daemon started -- version " MTA_VERSION ", configuration %s", conf_path);
            loop_run(sv.loop);
            log_event(LOG_STOP, NULL, "stopped");
            status = 0;
        }
    }
    conf_report_clear(&report);
    unbuild(&sv);
    logsink_stop();
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return status;
}
