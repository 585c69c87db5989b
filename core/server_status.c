/*
 * `mta status`: see server_int.h. Called through the control socket. What it says is gathered into one JSON object,
 * from which the text is made too; waits only for the queue to count its messages, and does without that when it takes
 * long.
 */
#include "core/server_int.h"

#include "core/base/alloc.h"
#include "core/base/codec.h"

#include <jansson.h>

#define BANS_SHOWN 1000
#define OPS_SHOWN  32 /* names */

/* A request; ends when the queue has counted, also when the server has begun to stop meanwhile. */
struct status_request {
    struct op op;
    struct op_scope scope;
    struct server *server;
    struct control_request *asker;
    bool json;
    struct buf text;
};

static void set_number(json_t *object, const char *key, uint64_t n)
{
    json_object_set_new(object, key, json_integer((json_int_t)n));
}

static unsigned long long number(const json_t *object, const char *key)
{
    return (unsigned long long)json_integer_value(json_object_get(object, key));
}

static const char *text(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* ---- gathering ---- */

static json_t *listeners(const struct server *sv)
{
    const struct conf *conf = sv->setup.conf;
    json_t *all = json_array();

    for (size_t i = 0; i < conf->nlisteners; i++) {
        const struct conf_listener *l = &conf->listeners[i];
        struct smtpd_sessions n = smtpd_count(sv->smtpd, l->name);
        json_t *one = json_object(), *at = json_array();

        for (size_t k = 0; k < l->nlisten; k++)
            json_array_append_new(at, json_sprintf("%s:%d", l->listen[k].host, l->listen[k].port));
        json_object_set_new(one, "name", json_string(l->name));
        json_object_set_new(one, "listen", at);
        set_number(one, "sessions", n.open);
        set_number(one, "tls", n.tls);
        set_number(one, "authenticated", n.authenticated);
        json_array_append_new(all, one);
    }
    return all;
}

/* `totals` NULL: the database did not answer. */
static json_t *queue(const struct server *sv, const struct queue_totals *totals)
{
    const struct scheduler_counts n = scheduler_count(sv->scheduler);
    json_t *q = json_object();

    if (totals != NULL) {
        set_number(q, "messages", totals->messages);
        set_number(q, "recipients", totals->rcpts);
    }
    set_number(q, "active_messages", n.messages);
    set_number(q, "active_recipients", n.rcpts);
    set_number(q, "deliveries", n.deliveries);
    return q;
}

struct ops {
    const struct op *except;
    uint64_t now_ms;
    size_t n;
    struct {
        const char *name;
        size_t count;
        uint64_t oldest_ms;
    } of[OPS_SHOWN];
};

static void on_op(void *arg, const struct op *op)
{
    struct ops *ops = arg;
    uint64_t age_ms = ops->now_ms - op->started_ms;
    size_t i = 0;

    while (i < ops->n && strcmp(ops->of[i].name, op->name) != 0)
        i++;
    if (op->finished || op == ops->except || i == OPS_SHOWN)
        return;
    if (i == ops->n)
        ops->of[ops->n++].name = op->name;
    ops->of[i].count++;
    if (age_ms > ops->of[i].oldest_ms)
        ops->of[i].oldest_ms = age_ms;
}

static json_t *waiting(const struct loop *loop, const struct op *except)
{
    struct ops ops = {.except = except, .now_ms = loop_now_ms(loop)};
    json_t *all = json_array();

    op_each(loop, on_op, &ops);
    for (size_t i = 0; i < ops.n; i++) {
        json_t *one = json_object();

        json_object_set_new(one, "for", json_string(ops.of[i].name));
        set_number(one, "count", ops.of[i].count);
        set_number(one, "oldest_ms", ops.of[i].oldest_ms);
        json_array_append_new(all, one);
    }
    return all;
}

struct guard_counts {
    uint64_t addresses, logins, places, banned;
    json_t *bans;
};

static json_t *printable(const char *login)
{
    char *clean = mem_strdup(login);
    json_t *s;

    codec_printable(clean, strlen(clean), true);
    s = json_string(clean);
    mem_free(clean);
    return s;
}

static void on_record(void *arg, const struct auth_record *r)
{
    struct guard_counts *n = arg;
    char net[AUTH_NET_TEXT];
    json_t *ban;

    n->addresses += r->kind == AUTH_RECORD_ADDRESS;
    n->logins += r->kind == AUTH_RECORD_LOGIN;
    n->places += r->kind == AUTH_RECORD_PLACE;
    if (r->banned_ms == 0 || ++n->banned > BANS_SHOWN)
        return;
    ban = json_object();
    if (r->kind == AUTH_RECORD_ADDRESS)
        json_object_set_new(ban, "address", json_string(auth_net_format(net, r->net)));
    else
        json_object_set_new(ban, "login", printable(r->login));
    set_number(ban, "seconds", (r->banned_ms + 999) / 1000);
    set_number(ban, "failures", r->failures);
    json_array_append_new(n->bans, ban);
}

static json_t *guard(const struct server *sv)
{
    struct guard_counts n = {.bans = json_array()};
    json_t *g = json_object();

    auth_guard_each(sv->guard, on_record, &n);
    set_number(g, "addresses", n.addresses);
    set_number(g, "logins", n.logins);
    set_number(g, "known_places", n.places);
    set_number(g, "banned", n.banned);
    json_object_set_new(g, "bans", n.bans);
    return g;
}

static json_t *gather(const struct status_request *st, const struct queue_totals *totals)
{
    const struct server *sv = st->server;
    json_t *s = json_object();

    json_object_set_new(s, "version", json_string(MTA_VERSION));
    set_number(s, "uptime", (loop_now_ms(sv->loop) - sv->started_ms) / 1000);
    json_object_set_new(s, "configuration", json_string(sv->conf_path));
    json_object_set_new(s, "listeners", listeners(sv));
    json_object_set_new(s, "queue", queue(sv, totals));
    json_object_set_new(s, "waiting", waiting(sv->loop, &st->op));
    json_object_set_new(s, "failed_authentications", guard(sv));
    return s;
}

/* ---- for people ---- */

static void print_listeners(struct buf *out, const json_t *all)
{
    size_t i, k;
    json_t *l, *at;

    buf_add_str(out, "listeners\n");
    json_array_foreach(all, i, l)
    {
        buf_printf(out, "  %s", text(l, "name"));
        json_array_foreach(json_object_get(l, "listen"), k, at)
        {
            buf_printf(out, " %s", json_string_value(at));
        }
        buf_printf(out, ": %llu sessions, %llu with TLS, %llu authenticated\n", number(l, "sessions"), number(l, "tls"),
                   number(l, "authenticated"));
    }
}

static void print_queue(struct buf *out, const json_t *q)
{
    buf_add_str(out, "queue\n");
    if (json_object_get(q, "messages") != NULL)
        buf_printf(out, "  %llu messages, %llu recipients to be tried\n", number(q, "messages"),
                   number(q, "recipients"));
    else
        buf_add_str(out, "  the database does not answer\n");
    buf_printf(out, "  in memory: %llu messages, %llu recipients, %llu deliveries\n", number(q, "active_messages"),
               number(q, "active_recipients"), number(q, "deliveries"));
}

static void print_waiting(struct buf *out, const json_t *all)
{
    size_t i;
    json_t *w;

    buf_add_str(out, json_array_size(all) > 0 ? "waiting for\n" : "waiting for nothing\n");
    json_array_foreach(all, i, w)
    {
        buf_printf(out, "  %s: %llu, for %.3f s at the most\n", text(w, "for"), number(w, "count"),
                   (double)number(w, "oldest_ms") / 1000);
    }
}

static void print_guard(struct buf *out, const json_t *g)
{
    size_t i;
    json_t *ban;

    buf_printf(out, "failed authentications\n  of %llu addresses, %llu logins; %llu banned\n", number(g, "addresses"),
               number(g, "logins"), number(g, "banned"));
    json_array_foreach(json_object_get(g, "bans"), i, ban)
    {
        const char *kind = json_object_get(ban, "login") != NULL ? "login" : "address";

        buf_printf(out, "  %s %s banned for %llu s (%llu failures)\n", kind, text(ban, kind), number(ban, "seconds"),
                   number(ban, "failures"));
    }
    if (number(g, "banned") > i)
        buf_printf(out, "  and %llu more\n", number(g, "banned") - i);
}

static void print(struct buf *out, const json_t *s)
{
    unsigned long long up = number(s, "uptime");

    buf_printf(out, "mta %s, up for %llu d %llu h %llu min %llu s, configuration %s\n", text(s, "version"), up / 86400,
               up / 3600 % 24, up / 60 % 60, up % 60, text(s, "configuration"));
    print_listeners(out, json_object_get(s, "listeners"));
    print_queue(out, json_object_get(s, "queue"));
    print_waiting(out, json_object_get(s, "waiting"));
    print_guard(out, json_object_get(s, "failed_authentications"));
}

/* ---- answering ---- */

static int add_text(const char *part, size_t n, void *out)
{
    return buf_add(out, part, n) ? 0 : -1;
}

static void on_counted(void *owner, enum op_status status, const void *result)
{
    struct status_request *st = owner;

    if (!op_detached(&st->op)) { /* else the server stops, and has less than is asked for */
        json_t *s = gather(st, status == OP_OK ? result : NULL);

        if (st->json)
            json_dump_callback(s, add_text, &st->text, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
        else
            print(&st->text, s);
        if (st->json)
            buf_add_char(&st->text, '\n');
        json_decref(s);
    }
    op_finish(&st->op, OP_OK, NULL);
}

static void status_release(struct op *op)
{
    struct status_request *st = (struct status_request *)op;

    buf_release(&st->text);
    mem_free(st);
}

static void on_status(void *owner, enum op_status status, const void *result)
{
    struct status_request *st = owner;

    (void)status;
    (void)result;
    control_answer(st->asker, 0, buf_slice(&st->text));
}

static void unban(struct server *sv, struct control_request *asker, const char *what)
{
    bool ended = auth_guard_unban(sv->guard, what);
    struct buf text = {0};

    buf_printf(&text, "%s%s is %s\n", ended ? "" : "mta: ", what, ended ? "no longer banned" : "not banned");
    control_answer(asker, ended ? 0 : 1, buf_slice(&text));
    buf_release(&text);
}

void server_status(struct server *sv, struct control_request *asker, int argc, const char *const *argv)
{
    struct status_request *st;

    if (argc == 2 && strcmp(argv[0], "--unban") == 0) {
        unban(sv, asker, argv[1]);
        return;
    }
    st = NEW(struct status_request);
    st->server = sv;
    st->asker = asker;
    st->json = argc > 0;
    op_scope_init(&st->scope, "status");
    op_start(&st->op, sv->loop, &sv->scope, "status", 0, on_status, st, status_release);
    queue_count(sv->queue, &st->scope, on_counted, st);
}
