/*
 * Rules and services of one configuration: see setup.h. Called by the server at start and at reload, and by
 * --check-config. Owns the references; waits on nothing.
 */
#include "core/setup.h"

#include "core/base/alloc.h"
#include "core/base/log.h"

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

void setup_report(struct conf_report *report, const struct conf *conf, struct buf *lines)
{
    struct slice rest = buf_slice(lines), line;

    while ((line = slice_token(&rest, "\n")).n > 0)
        report_line(report, conf, line);
    buf_clear(lines);
}

void setup_log_report(const struct conf_report *report, bool fatal)
{
    for (size_t i = 0; i < report->n; i++) {
        const struct conf_complaint *c = &report->items[i];
        enum log_event ev = fatal && c->severity == CONF_SEVERITY_ERROR ? LOG_FATAL : LOG_CONFIG;

        if (c->line > 0)
            log_event(ev, NULL, "%s:%d: %s", c->file, c->line, c->text);
        else
            log_event(ev, NULL, "%s: %s", c->file, c->text);
    }
}

/* ---- building ---- */

bool setup_build(struct setup *s, struct loop *loop, struct tables *tables, struct smtpd *smtpd,
                 const struct conf *conf, struct conf_report *report)
{
    struct buf err = {0};
    bool ok;

    s->conf = conf;
    s->services = mem_new_array(conf->nlisteners, sizeof(struct smtpd_service *));
    s->rules = rules_new(loop, tables, conf, &err);
    ok = s->rules != NULL;
    setup_report(report, conf, &err);
    for (size_t i = 0; s->rules != NULL && i < conf->nlisteners; i++) {
        s->services[i] = smtpd_service_new(smtpd, tables, s->rules, &conf->listeners[i], &err);
        ok = ok && s->services[i] != NULL;
        setup_report(report, conf->listeners[i].conf, &err);
    }
    buf_release(&err);
    return ok;
}

void setup_drop(struct setup *s)
{
    for (size_t i = 0; s->services != NULL && i < s->conf->nlisteners; i++)
        smtpd_service_unref(&s->services[i]);
    mem_free(s->services);
    rules_unref(&s->rules);
    conf_unref(&s->conf);
    *s = (struct setup){0};
}
