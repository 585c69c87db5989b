/*
 * Certificates that are renewed on disk: every tls_certificate_check_interval a thread of the pool looks at the files
 * of all setups of a server; changed ones are read and checked there, and taken into use for the handshakes from then
 * on. New files that are no good are looked at again a second later, since they may have been half written, and then
 * complained of once. Owns nothing beyond its work in flight, which holds a reference to the server.
 */
#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/work.h"
#include "tls/tls_server_int.h"

#include <time.h>

#define AGAIN_MS 1000
#define DAY_S    86400

struct look {
    struct tls_setup *was; /* a reference */
    struct tls_setup *now; /* what the files make now; NULL: not changed, or no good */
    char *files;           /* of the slot; NULL: the listener's own */
    bool suspect;          /* they were no good when they were looked at last */
    bool changed;
    struct buf err;
};

struct looks {
    struct tls_server *server; /* a reference */
    size_t n;
    struct look look[];
};

/* ---- expiry ---- */

bool tls_renew_expiry(struct tls_slot *slot, struct buf *to)
{
    static const int thresholds[] = {1, 7, 14, 30};
    int64_t end;
    const char *path = tls_setup_expires(slot->setup, &end);
    int64_t days = (end - time(NULL)) / DAY_S;

    for (size_t i = 0; i < sizeof thresholds / sizeof thresholds[0]; i++)
        if (end > time(NULL) && days < thresholds[i]) {
            if (slot->days_told <= thresholds[i])
                return false;
            slot->days_told = thresholds[i];
            buf_printf(to, "warning: smtpd_tls_cert_file: the certificate in %s expires in less than %d day%s", path,
                       (int)days + 1, days > 0 ? "s" : "");
            return true;
        }
    return false;
}

static void warn_of_expiry(struct tls_slot *slot)
{
    struct buf text = {0};

    if (tls_renew_expiry(slot, &text))
        log_event(LOG_TLS_WARNING, NULL, "%s", buf_cstr(&text) + strlen("warning: "));
    buf_release(&text);
}

/* ---- on the thread ---- */

static enum op_status look_at_files(void *arg)
{
    struct looks *w = arg;

    for (size_t i = 0; i < w->n; i++) {
        struct look *l = &w->look[i];

        l->changed = tls_setup_outdated(l->was);
        if (l->changed && l->suspect)
            tls_setup_forget(l->was);
        if (l->changed)
            l->now = tls_setup_load(&w->server->opts, l->files, true, &l->err);
    }
    return OP_OK;
}

/* ---- on the loop ---- */

static void release(void *arg)
{
    struct looks *w = arg;

    for (size_t i = 0; i < w->n; i++) {
        tls_setup_unref(&w->look[i].was);
        tls_setup_unref(&w->look[i].now);
        mem_free(w->look[i].files);
        buf_release(&w->look[i].err);
    }
    tls_server_unref(&w->server);
    mem_free(w);
}

static struct tls_slot *slot_of(const struct tls_server *s, const struct tls_setup *setup)
{
    LIST_FOREACH(it, &s->slots)
    if (LIST_ITEM(it, struct tls_slot, link)->setup == setup)
        return LIST_ITEM(it, struct tls_slot, link);
    return NULL;
}

static void exchange(struct tls_slot *slot, struct look *l)
{
    int64_t end;

    tls_setup_unref(&slot->setup);
    slot->setup = l->now;
    l->now = NULL;
    slot->suspect = false;
    slot->days_told = INT32_MAX;
    log_event(LOG_TLS_INFO, NULL, "the renewed certificate in %s is in use", tls_setup_expires(slot->setup, &end));
}

/* The first line says what is wrong. */
static void complain(struct look *l)
{
    struct slice rest = slice_str(buf_cstr(&l->err)), line;

    while ((line = slice_token(&rest, "\n")).n > 0)
        if (!slice_starts(line, SLICE_LIT("warning: ")))
            log_event(LOG_TLS_WARNING, NULL, "the renewed certificate is not used: %.*s", (int)line.n, line.p);
}

/* Is there something to be looked at again soon? */
static bool take(struct tls_slot *slot, struct look *l)
{
    bool soon = false;

    if (l->now != NULL) {
        exchange(slot, l);
    } else if (l->changed && !slot->suspect) {
        slot->suspect = soon = true;
    } else if (l->changed) {
        complain(l);
        slot->suspect = false;
    }
    warn_of_expiry(slot);
    return soon;
}

static void check(void *arg);

static void looked(void *owner, enum op_status status, const void *result)
{
    struct tls_server *s = owner;
    struct looks *w = (struct looks *)result;
    bool soon = false;

    (void)status;
    for (size_t i = 0; i < w->n; i++) {
        struct tls_slot *slot = slot_of(s, w->look[i].was);

        if (slot != NULL && take(slot, &w->look[i]))
            soon = true;
    }
    timer_start(s->loop, &s->check, soon && s->check_ms > AGAIN_MS ? AGAIN_MS : s->check_ms, check, s);
}

static void check(void *arg)
{
    struct tls_server *s = arg;
    struct looks *w = mem_new(sizeof *w + s->nslots * sizeof w->look[0]);

    w->server = tls_server_ref(s);
    LIST_FOREACH(it, &s->slots)
    {
        struct tls_slot *slot = LIST_ITEM(it, struct tls_slot, link);

        if (slot->setup == NULL)
            continue;
        w->look[w->n].was = tls_setup_ref(slot->setup);
        w->look[w->n].suspect = slot->suspect;
        w->look[w->n++].files = mem_strdup(slot->files);
    }
    work_run(s->loop, &s->scope, "TLS certificates", 0, look_at_files, w, release, looked, s);
}

void tls_renew_start(struct tls_server *s)
{
    if (s->check_ms > 0)
        timer_start(s->loop, &s->check, s->check_ms, check, s);
}

void tls_renew_stop(struct tls_server *s)
{
    timer_stop(&s->check);
}
