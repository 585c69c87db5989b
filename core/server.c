/*
 * The composition root: see server.h. Everything is made here in the order of the include chain, and unmade in the
 * opposite order; the scheduler gets routes, transports and reports as functions, so that queue and delivery do not
 * know each other's callers. server_listen.c has the sockets, server_reload.c the change of configuration.
 */
#include "core/server_int.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/check_deep.h"
#include "core/loop/logsink.h"
#include "core/loop/work.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <syslog.h>
#include <unistd.h>

#define SERVER_SESSION_GRACE_MS  10000 /* at shutdown: for sessions that wait for a commit */
#define SERVER_DELIVERY_GRACE_MS 20000 /* at shutdown: for deliveries that run */

/* ---- what needs neither queue nor sockets ---- */

static bool build_lookups(struct server *sv, const struct conf *conf, struct conf_report *report)
{
    struct buf err = {0};
    bool ok = setup_build(&sv->setup, sv->loop, sv->tables, sv->smtpd, conf, report);

    sv->dns = dns_new(sv->loop, conf, &err);
    smtpd_use_dns(sv->smtpd, sv->dns);
    if (sv->dns != NULL)
        sv->transports = transports_new(sv->loop, sv->tables, sv->dns, conf, sv->setup.rules, &err);
    setup_report(report, conf, &err);
    buf_release(&err);
    return ok && sv->transports != NULL;
}

/* In the opposite order. What was asked of the tables is waited for (each answer is bounded), so that nothing goes on
 * to a table that is gone. */
static void unbuild(struct server *sv)
{
    sv->unbuilding = true;
    logsink_attach(NULL);
    timer_stop(&sv->grace);
    op_scope_close(&sv->scope);
    control_close(&sv->control);
    server_unlisten(sv);
    smtpd_free(&sv->smtpd);
    auth_guard_free(&sv->guard);
    scheduler_free(&sv->scheduler);
    bounce_free(&sv->bounce);
    transports_free(&sv->transports);
    dns_free(&sv->dns);
    queue_close(&sv->queue);
    setup_drop(&sv->setup);
    while (op_live(sv->loop) > 0)
        loop_turn(sv->loop);
    tables_free(&sv->tables);
    loop_run(sv->loop);
    loop_free(&sv->loop);
    signal(SIGTERM, SIG_IGN); /* the loop handled them until now; what is left is to exit with the right status */
    signal(SIGINT, SIG_IGN);
}

static void begin(struct server *sv)
{
    sv->loop = loop_new();
    sv->tables = tables_new(sv->loop);
    op_scope_init(&sv->scope, "server");
}

/* Prints what there is to say; answers the exit status. */
static int check_report(const char *conf_path, struct conf_report *report, const struct check_deep_result *deep)
{
    conf_report_print(report, stderr);
    fprintf(stderr, "mta: %s: %zu error%s, %zu warning%s", conf_path, report->nerrors, report->nerrors == 1 ? "" : "s",
            report->nwarnings, report->nwarnings == 1 ? "" : "s");
    if (deep != NULL && deep->tried == 0)
        fputs("; nothing was tried", stderr);
    else if (deep != NULL)
        fprintf(stderr, "; of %zu things that were tried, %zu failed, %zu with a warning", deep->tried, deep->failed,
                deep->warned);
    fputc('\n', stderr);
    return report->nerrors > 0 || (deep != NULL && deep->failed > 0);
}

int server_check(const char *conf_path, bool deep)
{
    struct server sv = {.conf_path = conf_path};
    struct conf_report report = {0};
    struct check_deep_result tried = {0};
    const struct conf *conf;
    int status;

    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL); /* the report says it */
    begin(&sv);
    conf = conf_load(conf_path, &report);
    if (conf != NULL) {
        struct buf text = {0};

        sv.smtpd = smtpd_new(sv.loop, NULL);
        build_lookups(&sv, conf, &report);
        tables_check(sv.tables, &text);
        setup_report(&report, conf, &text);
        buf_release(&text);
        if (deep)
            tried = check_deep(sv.loop, &sv.setup, sv.tables, conf_path, stdout);
    }
    status = check_report(conf_path, &report, deep ? &tried : NULL);
    conf_report_clear(&report);
    if (tried.stuck)
        _exit(status); /* there may be no end to what would have to be waited for */
    unbuild(&sv);
    return status;
}

struct explained {
    bool done;
    int status;
};

static void on_explained_here(void *owner, enum op_status status, const void *result)
{
    const struct slice *text = result;
    struct explained *e = owner;

    fwrite(text->p, 1, text->n, status == OP_OK ? stdout : stderr);
    e->status = status == OP_OK ? 0 : 1;
    e->done = true;
}

int server_explain(const char *conf_path, int argc, const char *const *argv)
{
    struct server sv = {.conf_path = conf_path};
    struct conf_report report = {0};
    struct explain_args args;
    struct explained e = {.status = 2};
    struct buf err = {0};
    const struct conf *conf;

    if (!explain_parse(argc, argv, &args, &err)) {
        fputs(buf_cstr(&err), stderr);
        buf_release(&err);
        return e.status;
    }
    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL);
    begin(&sv);
    conf = conf_load(conf_path, &report);
    sv.smtpd = smtpd_new(sv.loop, NULL);
    if (conf != NULL && build_lookups(&sv, conf, &report)) {
        explain_start(sv.loop, &sv.scope, &sv.setup, sv.transports, &args, on_explained_here, &e);
        while (!e.done)
            loop_turn(sv.loop);
    } else {
        conf_report_print(&report, stderr);
    }
    conf_report_clear(&report);
    unbuild(&sv);
    return e.status;
}

/* ---- the scheduler's hooks ---- */

static void hook_route(void *ctx, struct op_scope *scope, const char *sender, const struct envelope_rcpt *rcpt,
                       op_done_fn *done, void *owner)
{
    struct server *sv = ctx;

    rules_route(sv->setup.rules, scope, sender, rcpt->orig, rcpt->addr, done, owner);
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

struct scheduler_config server_scheduler_config(const struct conf *c)
{
    return (struct scheduler_config){
        .queue_run_delay_ms = c->queue_run_delay_ms,
        .minimal_backoff_ms = c->minimal_backoff_time_ms,
        .maximal_backoff_ms = c->maximal_backoff_time_ms,
        .maximal_queue_lifetime_ms = c->maximal_queue_lifetime_ms,
        .bounce_queue_lifetime_ms = c->bounce_queue_lifetime_ms,
        .delay_warning_ms = c->delay_warning_time_ms,
        .active_limit = (uint32_t)c->qmgr_message_active_limit,
        .syslog_name = c->syslog_name,
        .defer_transports = c->defer_transports,
    };
}

static void build_delivery(struct server *sv)
{
    const struct scheduler_config config = server_scheduler_config(sv->setup.conf);
    const struct scheduler_hooks hooks = {
        .ctx = sv,
        .route = hook_route,
        .limits = hook_limits,
        .deliver = hook_deliver,
        .report = hook_report,
        .log_result = hook_log,
    };

    sv->bounce = bounce_new(sv->loop, sv->queue, sv->setup.rules, sv->setup.conf, report_done, sv);
    sv->scheduler = scheduler_new(sv->loop, sv->queue, &config, &hooks);
}

/* ---- starting ---- */

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

/* Its directory need not be there: the guard says so when there is something to be kept. */
static void open_guard(struct server *sv, const struct conf *conf)
{
    char *path = mem_printf("%s/auth_guard", conf->data_directory);

    sv->guard = auth_guard_new(sv->loop, path);
    smtpd_set_auth_guard(sv->smtpd, sv->guard);
    mem_free(path);
}

static bool build(struct server *sv, const struct conf *conf, struct conf_report *report)
{
    struct status why;

    sv->queue = queue_open(sv->loop, &(struct queue_options){.directory = conf->queue_directory}, &why);
    if (sv->queue == NULL) {
        log_event(LOG_FATAL, NULL, "%s", why.text);
        conf_unref(&conf);
        return false;
    }
    sv->smtpd = smtpd_new(sv->loop, sv->queue);
    open_guard(sv, conf);
    if (!build_lookups(sv, conf, report))
        return false;
    build_delivery(sv);
    return server_listen(sv, &sv->setup, report);
}

/* ---- the control socket ---- */

static void control_reload(struct server *sv, struct control_request *r, int argc, const char *const *argv)
{
    (void)argc;
    (void)argv;
    server_reload(sv, r);
}

static void on_explained(void *owner, enum op_status status, const void *result)
{
    control_answer(owner, status == OP_OK ? 0 : 1, *(const struct slice *)result);
}

static void control_explain(struct server *sv, struct control_request *r, int argc, const char *const *argv)
{
    struct explain_args args;
    struct buf err = {0};

    if (explain_parse(argc, argv, &args, &err))
        explain_start(sv->loop, &sv->scope, &sv->setup, sv->transports, &args, on_explained, r);
    else
        control_answer(r, 2, buf_slice(&err));
    buf_release(&err);
}

static const struct {
    const char *name;
    void (*run)(struct server *, struct control_request *, int argc, const char *const *argv);
} control_commands[] = {
    {"reload", control_reload},
    {"explain", control_explain},
    {"status", server_status},
};

static void on_control(void *ctx, struct control_request *r, int argc, const char *const *argv)
{
    for (size_t i = 0; i < ARRAY_LEN(control_commands); i++)
        if (strcmp(argv[0], control_commands[i].name) == 0) {
            control_commands[i].run(ctx, r, argc - 1, argv + 1);
            return;
        }
    control_answer(r, 2, SLICE_LIT("mta: the running server does not know this command: it is of another version\n"));
}

static void open_control(struct server *sv)
{
    char why[300];

    sv->control = control_open(sv->loop, sv->setup.conf->queue_directory, on_control, sv, why, sizeof why);
    if (sv->control == NULL)
        log_event(LOG_CONFIG, NULL, "no control socket: %s", why);
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
    control_close(&sv->control);
    op_scope_cancel(&sv->scope);
    server_unlisten(sv);
    timer_start(sv->loop, &sv->grace, SERVER_DELIVERY_GRACE_MS, on_grace_over, sv);
    smtpd_drain(sv->smtpd, SERVER_SESSION_GRACE_MS, on_sessions_over, sv);
    scheduler_drain(sv->scheduler, on_deliveries_over, sv);
}

static void on_hangup(void *arg, int signum)
{
    (void)signum;
    logsink_reopen();
    server_reload(arg, NULL);
}

/* True when it ran and was stopped. */
static bool run(struct server *sv, const struct conf *conf, struct conf_report *report)
{
    bool ok = build(sv, conf, report);

    setup_log_report(report, true);
    if (!ok)
        return false;
    open_control(sv);
    loop_on_signal(sv->loop, SIGTERM, on_stop_signal, sv);
    loop_on_signal(sv->loop, SIGINT, on_stop_signal, sv);
    loop_on_signal(sv->loop, SIGHUP, on_hangup, sv);
    logsink_attach(sv->loop);
    scheduler_start(sv->scheduler);
    log_event(LOG_START, NULL, "daemon started -- version " MTA_VERSION ", configuration %s", sv->conf_path);
    loop_run(sv->loop);
    log_event(LOG_STOP, NULL, "stopped");
    return true;
}

int server_run(const char *conf_path)
{
    struct server sv = {.conf_path = conf_path};
    struct conf_report report = {0};
    const struct conf *conf;
    int status = 1;

    raise_limits();
    begin(&sv);
    sv.started_ms = loop_now_ms(sv.loop);
    work_start(sv.loop);
    conf = conf_load(conf_path, &report);
    if (conf == NULL)
        conf_report_print(&report, stderr);
    else if (!start_log(conf))
        conf_unref(&conf);
    else if (run(&sv, conf, &report))
        status = 0;
    conf_report_clear(&report);
    unbuild(&sv);
    logsink_stop();
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return status;
}
