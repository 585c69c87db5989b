/*
 * See auth_guard.h: the counts of auth_counts.c on the loop's clock, in the log, and in a file. core/server.c makes
 * one; the SMTP server asks and tells it. Owns the counts and the state of the file; waits on the worker that writes
 * it.
 */
#include "proto/auth/auth_guard.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/work.h"
#include "proto/auth/auth_state.h"

#include <errno.h>

#define SAVE_MS  2000 /* after a change */
#define SWEEP_MS 60000

struct auth_guard {
    struct loop *loop;
    char *path; /* NULL: nothing is kept */
    struct auth_counts counts;
    struct op_scope scope;
    struct timer save, sweep;
    bool changed; /* since the last snapshot */
    bool saving;
    bool failing; /* the file could not be written, which was said */
};

static struct auth_limits limits_of(const struct conf *c)
{
    return (struct auth_limits){.limit = (uint64_t)c->smtpd_auth_ban_limit,
                                .window_ms = c->smtpd_auth_ban_window_ms,
                                .ban_ms = c->smtpd_auth_ban_time_ms};
}

static uint64_t wall_ms(void)
{
    return clock_wall_us() / 1000;
}

/* ---- keeping it ---- */

/* What the worker thread works on. */
struct saving {
    char *path;
    struct buf snapshot;
    uint64_t wall_ms;
    int error;
};

static void add_record(void *arg, const struct auth_record *r)
{
    auth_state_add(arg, r);
}

static struct saving *saving_new(struct auth_guard *g)
{
    struct saving *s = NEW(struct saving);

    s->path = mem_strdup(g->path);
    s->wall_ms = wall_ms();
    auth_counts_each(&g->counts, loop_now_ms(g->loop), add_record, &s->snapshot);
    g->changed = false;
    return s;
}

static void saving_free(void *arg)
{
    struct saving *s = arg;

    buf_release(&s->snapshot);
    mem_free(s->path);
    mem_free(s);
}

static enum op_status saving_write(void *arg)
{
    struct saving *s = arg;
    struct buf text = {0};

    auth_state_format(buf_slice(&s->snapshot), s->wall_ms, &text);
    s->error = auth_state_write(s->path, buf_slice(&text));
    buf_release(&text);
    return OP_OK;
}

/* Once, until it works again. */
static void tell(struct auth_guard *g, int error)
{
    if (error != 0 && !g->failing)
        log_event(LOG_AUTH_GUARD, NULL,
                  "cannot write %s: %s: counts of failed authentications and bans end with this process", g->path,
                  strerror(error));
    g->failing = error != 0;
}

static void change(struct auth_guard *g);

static void on_saved(void *owner, enum op_status status, const void *result)
{
    const struct saving *s = result;
    struct auth_guard *g = owner;

    g->saving = false;
    tell(g, status == OP_OK ? s->error : EIO);
    if (g->changed)
        change(g);
}

static void on_save(void *arg)
{
    struct auth_guard *g = arg;

    g->saving = true;
    work_run(g->loop, &g->scope, "auth guard", 0, saving_write, saving_new(g), saving_free, on_saved, g);
}

static void on_sweep(void *arg)
{
    struct auth_guard *g = arg;

    auth_counts_sweep(&g->counts, loop_now_ms(g->loop));
    if (g->counts.entries.count > 0)
        timer_start(g->loop, &g->sweep, SWEEP_MS, on_sweep, g);
}

static void change(struct auth_guard *g)
{
    if (!timer_active(&g->sweep))
        timer_start(g->loop, &g->sweep, SWEEP_MS, on_sweep, g);
    g->changed = g->path != NULL;
    if (g->changed && !g->saving && !timer_active(&g->save))
        timer_start(g->loop, &g->save, SAVE_MS, on_save, g);
}

/* ---- the beginning and the end ---- */

static void take_up(void *arg, const struct auth_record *r)
{
    struct auth_guard *g = arg;

    auth_counts_restore(&g->counts, loop_now_ms(g->loop), r);
}

static void read_state(struct auth_guard *g)
{
    struct buf text = {0};
    int error = auth_state_read(g->path, &text);

    if (error != 0 && error != ENOENT) {
        log_event(LOG_AUTH_GUARD, NULL, "cannot read %s: %s", g->path, strerror(error));
    } else if (error == 0 && !auth_state_parse(buf_slice(&text), wall_ms(), take_up, g)) {
        log_event(LOG_AUTH_GUARD, NULL, "%s is damaged: counts of failed authentications begin anew", g->path);
        auth_counts_clear(&g->counts);
    }
    on_sweep(g);
    buf_release(&text);
}

struct auth_guard *auth_guard_new(struct loop *loop, const char *path)
{
    struct auth_guard *g = NEW(struct auth_guard);

    g->loop = loop;
    g->path = mem_strdup(path);
    auth_counts_init(&g->counts);
    op_scope_init(&g->scope, "auth guard");
    if (path != NULL)
        read_state(g);
    return g;
}

void auth_guard_free(struct auth_guard **gp)
{
    struct auth_guard *g = *gp;

    if (g == NULL)
        return;
    *gp = NULL;
    while (g->saving) /* else it might come after the last one */
        loop_turn(g->loop);
    timer_stop(&g->save);
    timer_stop(&g->sweep);
    if (g->changed) {
        struct saving *s = saving_new(g);

        saving_write(s);
        tell(g, s->error);
        saving_free(s);
    }
    op_scope_close(&g->scope);
    auth_counts_clear(&g->counts);
    mem_free(g->path);
    mem_free(g);
}

/* ---- counting ---- */

static struct auth_guard_verdict verdict_of(const struct auth_counts_verdict *v)
{
    return (struct auth_guard_verdict){.refused = v->banned_ms > 0, .delay_ms = v->delay_ms, .left_ms = v->banned_ms};
}

struct auth_guard_verdict auth_guard_ask(struct auth_guard *g, const struct conf *c, const char *addr,
                                         const char *login)
{
    struct auth_counts_verdict v = {0};

    if (c->smtpd_auth_ban_limit > 0)
        v = auth_counts_ask(&g->counts, loop_now_ms(g->loop), auth_net_parse(addr), login);
    return verdict_of(&v);
}

static void tell_ban(const char *kind, const char *who, const struct auth_limits *l)
{
    log_event(LOG_AUTH_GUARD, NULL, "%s %.*s banned for %llu s after %llu failed authentications", kind,
              AUTH_LOGIN_MOST, who, (unsigned long long)l->ban_ms / 1000, (unsigned long long)l->limit);
}

struct auth_guard_verdict auth_guard_failed(struct auth_guard *g, const struct conf *c, const char *addr,
                                            const char *login)
{
    const struct auth_limits limits = limits_of(c);
    const struct auth_net net = auth_net_parse(addr);
    struct auth_counts_verdict v = {0};
    char text[AUTH_NET_TEXT];

    if (limits.limit > 0) {
        v = auth_counts_failed(&g->counts, &limits, loop_now_ms(g->loop), net, login);
        change(g);
    }
    if (v.address_begins)
        tell_ban("address", auth_net_format(text, net), &limits);
    if (v.login_begins)
        tell_ban("login", login, &limits);
    return verdict_of(&v);
}

void auth_guard_succeeded(struct auth_guard *g, const struct conf *c, const char *addr, const char *login)
{
    if (c->smtpd_auth_ban_limit > 0 &&
        auth_counts_succeeded(&g->counts, loop_now_ms(g->loop), auth_net_parse(addr), login))
        change(g);
}

/* ---- for the administrator ---- */

void auth_guard_each(const struct auth_guard *g, void (*fn)(void *arg, const struct auth_record *), void *arg)
{
    auth_counts_each(&g->counts, loop_now_ms(g->loop), fn, arg);
}

bool auth_guard_unban(struct auth_guard *g, const char *what)
{
    bool ended = auth_counts_unban(&g->counts, loop_now_ms(g->loop), what);

    if (ended)
        change(g);
    return ended;
}
