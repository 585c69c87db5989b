/*
 * Reload: SIGHUP and `mta reload`. The configuration is read and checked on a worker thread, because that may ask the
 * disk, the user database and the resolver; then everything new is built beside what is in force, and exchanged in one
 * turn of the loop, or dropped when anything is wrong with it. Sessions, attempts and questions under way go on with
 * what they began with.
 */
#include "core/server_int.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/work.h"

/* What the worker thread fills in. */
struct reading {
    const char *path;
    const struct conf *conf;
    struct conf_report report;
};

static enum op_status read_conf(void *arg)
{
    struct reading *r = arg;

    r->conf = conf_load(r->path, &r->report);
    return OP_OK;
}

static void reading_free(void *arg)
{
    struct reading *r = arg;

    conf_unref(&r->conf);
    conf_report_clear(&r->report);
    mem_free(r);
}

/* ---- the exchange ---- */

static bool reload_transports(struct server *sv, const struct setup *setup, struct conf_report *report)
{
    struct buf err = {0};
    bool ok = transports_reload(sv->transports, setup->conf, setup->rules, &err);

    setup_report(report, setup->conf, &err);
    buf_release(&err);
    return ok;
}

static bool reload_dns(struct server *sv, const struct conf *conf, struct conf_report *report)
{
    struct buf err = {0};
    bool ok = dns_reload(sv->dns, conf, &err);

    setup_report(report, conf, &err);
    buf_release(&err);
    return ok;
}

/* Everything that has a part of its own; cannot fail. */
static void take_into_use(struct server *sv, struct setup *fresh)
{
    const struct scheduler_config scheduling = server_scheduler_config(fresh->conf);
    struct setup old = sv->setup;

    sv->setup = *fresh;
    *fresh = (struct setup){0};
    bounce_reload(sv->bounce, sv->setup.rules, sv->setup.conf);
    scheduler_reload(sv->scheduler, &scheduling);
    setup_drop(&old);
}

static bool exchange(struct server *sv, struct reading *r)
{
    struct setup fresh = {0};
    bool ok = r->conf != NULL;

    if (ok) {
        ok = setup_build(&fresh, sv->loop, sv->tables, sv->smtpd, conf_ref(r->conf), &r->report) &&
             reload_dns(sv, fresh.conf, &r->report) && reload_transports(sv, &fresh, &r->report);
        if (ok && !server_listen(sv, &fresh, &r->report)) {
            reload_transports(sv, &sv->setup, &r->report); /* back to what they were */
            ok = false;
        }
        if (!ok)
            reload_dns(sv, sv->setup.conf, &r->report);
    }
    if (ok) {
        conf_warn_restart(sv->setup.conf, fresh.conf, &r->report);
        take_into_use(sv, &fresh);
    }
    setup_drop(&fresh);
    return ok;
}

/* ---- the course of it ---- */

static void answer(struct server *sv, const struct conf_report *report, bool ok)
{
    struct control_request *asker = sv->reload_asker;
    struct buf text = {0};

    sv->reload_asker = NULL;
    if (asker == NULL)
        return;
    conf_report_text(report, &text);
    if (!ok)
        buf_add_str(&text, "mta: the configuration in force stays as it was\n");
    control_answer(asker, ok ? 0 : 1, buf_slice(&text));
    buf_release(&text);
}

static void on_read(void *owner, enum op_status status, const void *result)
{
    struct server *sv = owner;
    struct reading *r = (struct reading *)result; /* ours until free_arg */
    bool ok = exchange(sv, r);

    (void)status;
    setup_log_report(&r->report, false);
    if (ok)
        log_event(LOG_START, NULL, "reload -- version " MTA_VERSION ", configuration %s", sv->conf_path);
    else
        log_event(LOG_CONFIG, NULL, "%s has %zu error%s: the configuration in force stays as it was", sv->conf_path,
                  r->report.nerrors, r->report.nerrors == 1 ? "" : "s");
    answer(sv, &r->report, ok);
    sv->reloading = false;
    if (sv->reload_again) {
        sv->reload_again = false;
        server_reload(sv, NULL);
    }
}

void server_reload(struct server *sv, struct control_request *asker)
{
    struct reading *r;

    if (sv->stopping || sv->reloading) {
        if (asker != NULL)
            control_answer(asker, 1,
                           sv->stopping ? SLICE_LIT("mta: the server is shutting down\n")
                                        : SLICE_LIT("mta: a reload is under way; another one follows it\n"));
        sv->reload_again = !sv->stopping;
        return;
    }
    r = NEW(struct reading);
    r->path = sv->conf_path;
    sv->reloading = true;
    sv->reload_asker = asker;
    work_run(sv->loop, &sv->scope, "reload", 0, read_conf, r, reading_free, on_read, sv);
}
