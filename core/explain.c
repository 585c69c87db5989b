/*
 * `mta explain`: see explain.h. One op that goes through four stages, each of which waits: a session with the real
 * server code over a pair of sockets; the class of the address; its aliases; the route of each recipient that comes of
 * them. A trace on the scopes writes down every look-up of the stage.
 *
 * It is never cut short, because look-ups hold on to the trace: when nobody waits any more it runs to its end, which
 * the tables' time-outs bound, and is dropped then.
 */
#include "core/explain.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/ip.h"
#include "core/explain_int.h"
#include "core/probe_session.h"

#include <stdio.h>

#define DIALOGUE_LINES  3
#define RECIPIENTS_MOST 100 /* that are followed to their transport */
#define LOOKUPS_MOST    10000

struct explain {
    struct op op;
    struct loop *loop;
    struct rules *rules;
    struct smtpd_service *service;
    struct transports *transports;
    struct explain_args args; /* strings in the arena */
    struct arena arena;
    struct op_scope scope;
    struct table_trace trace;

    /* the session */
    struct probe_session session;
    const char *lines[DIALOGUE_LINES];

    /* aliases and routes */
    struct envelope envelope;
    size_t at;

    json_t *answer;
    json_t *lookups;      /* of the stage */
    json_t *expansions;   /* of aliases */
    json_t *restrictions; /* of the session */
    struct buf text;
    struct slice result;
};

static void set(json_t *object, const char *key, const char *text)
{
    json_object_set_new(object, key, explain_string(text));
}

/* A new member of `in` whose look-ups are written down from now on. */
static json_t *begin_stage(struct explain *x)
{
    json_t *stage = json_object();

    x->lookups = json_array();
    json_object_set_new(stage, "lookups", x->lookups);
    return stage;
}

/* ---- what is written down ---- */

static void on_asked(void *arg, const struct table_asked *asked)
{
    struct explain *x = arg;
    json_t *l;

    if (json_array_size(x->lookups) >= LOOKUPS_MOST)
        return;
    l = json_object();
    set(l, "table", asked->table);
    set(l, "key", asked->key);
    set(l, "result", asked->status == OP_OK ? "found" : asked->status == OP_NOTFOUND ? "not found" : "failed");
    if (asked->status == OP_OK)
        set(l, "value", asked->value);
    else if (asked->status != OP_NOTFOUND)
        set(l, "why", asked->why != NULL ? asked->why : "timed out");
    if (asked->query != NULL)
        set(l, "query", asked->query);
    json_array_append_new(x->lookups, l);
}

static void on_alias(void *arg, const char *address, const char *const *results, size_t count)
{
    struct explain *x = arg;
    json_t *e = json_object(), *list = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, explain_string(results[i]));
    set(e, "address", address);
    json_object_set_new(e, "results", list);
    json_array_append_new(x->expansions, e);
}

static void on_verdict(void *arg, const char *list, const char *restriction, const char *verdict)
{
    struct explain *x = arg;
    json_t *r = json_object();

    set(r, "list", list);
    set(r, "restriction", restriction);
    set(r, "verdict", verdict);
    json_array_append_new(x->restrictions, r);
}

/* ---- the end ---- */

static void release(struct op *op)
{
    struct explain *x = (struct explain *)op;

    json_decref(x->answer);
    rules_unref(&x->rules);
    smtpd_service_unref(&x->service);
    arena_clear(&x->arena);
    buf_release(&x->text);
    mem_free(x);
}

static void finish(struct explain *x)
{
    if (x->args.json) {
        char *dump = json_dumps(x->answer, JSON_INDENT(2));

        buf_printf(&x->text, "%s\n", dump);
        free(dump);
    } else {
        explain_text(x->answer, &x->text);
    }
    x->result = buf_slice(&x->text);
    op_scope_close(&x->scope);
    op_finish(&x->op, OP_OK, &x->result);
}

/* Does nobody wait any more? Then it ends here. */
static bool over(struct explain *x)
{
    if (!op_detached(&x->op))
        return false;
    op_scope_close(&x->scope);
    op_finish(&x->op, OP_NOTFOUND, NULL);
    return true;
}

/* It cannot be done: `why` is a line that lives as long. */
static void refuse(struct explain *x, const char *why)
{
    x->result = slice_str(why);
    op_scope_close(&x->scope);
    op_finish(&x->op, OP_NOTFOUND, &x->result);
}

/* ---- routes ---- */

static const char *class_text(enum rules_class cls)
{
    static const char *const texts[] = {
        [RULES_CLASS_LOCAL] = "local (mydestination)",
        [RULES_CLASS_VIRTUAL_ALIAS] = "virtual alias (virtual_alias_domains)",
        [RULES_CLASS_VIRTUAL_MAILBOX] = "virtual mailbox (virtual_mailbox_domains)",
        [RULES_CLASS_RELAY] = "relay (relay_domains)",
        [RULES_CLASS_OTHER] = "other: not one of our domains",
    };

    return texts[cls];
}

static const char *why_of(const void *table_answer)
{
    const struct table_answer *answer = table_answer;

    return answer != NULL && answer->why != NULL ? answer->why : "timed out";
}

static void next_route(struct explain *x);

static void on_route(void *owner, enum op_status status, const void *result)
{
    struct explain *x = owner;
    json_t *all = json_object_get(x->answer, "recipients"), *r = json_array_get(all, json_array_size(all) - 1);
    const struct rules_route *route = result;
    struct envelope one = x->envelope;
    struct buf command = {0};

    if (over(x))
        return;
    if (status != OP_OK) {
        set(r, "error", why_of(result));
    } else {
        one.rcpts = &x->envelope.rcpts[x->at];
        one.nrcpts = 1;
        set(r, "class", class_text(route->cls));
        set(r, "transport", route->to.transport);
        set(r, "nexthop", route->to.nexthop);
        transports_describe(x->transports, route->to.transport, &one, route->to.nexthop, &command);
        if (buf_len(&command) > 0)
            set(r, "command", buf_cstr(&command));
        buf_release(&command);
    }
    x->at++;
    next_route(x);
}

static void next_route(struct explain *x)
{
    json_t *r;

    if (x->at >= x->envelope.nrcpts || x->at >= RECIPIENTS_MOST) {
        finish(x);
        return;
    }
    r = begin_stage(x);
    set(r, "address", x->envelope.rcpts[x->at].addr);
    json_array_append_new(json_object_get(x->answer, "recipients"), r);
    rules_route(x->rules, &x->scope, x->envelope.sender, x->envelope.rcpts[x->at].orig, x->envelope.rcpts[x->at].addr,
                on_route, x);
}

/* ---- class and aliases ---- */

static void on_expanded(void *owner, enum op_status status, const void *result)
{
    struct explain *x = owner;
    const struct status *said = result;

    if (over(x))
        return;
    json_object_set_new(x->answer, "recipients", json_array());
    if (status != OP_OK || said == NULL || !status_is_ok(said)) {
        set(json_object_get(x->answer, "aliases"), "error", said != NULL ? said->text : "timed out");
        finish(x);
        return;
    }
    next_route(x);
}

static void on_class(void *owner, enum op_status status, const void *result)
{
    struct explain *x = owner;
    json_t *stage;

    if (over(x))
        return;
    set(x->answer, "class", status == OP_OK ? class_text(*(const enum rules_class *)result) : why_of(result));
    stage = begin_stage(x);
    x->expansions = json_array();
    json_object_set_new(stage, "expansions", x->expansions);
    json_object_set_new(x->answer, "aliases", stage);
    rules_expand(x->rules, &x->scope, &x->envelope, &x->arena, on_expanded, x);
}

/* ---- the session ---- */

static const char *say_ehlo(struct explain *x)
{
    return arena_printf(&x->arena, "EHLO %s", x->args.helo);
}

static const char *say_mail(struct explain *x)
{
    struct buf path = {0};
    const char *line;

    addr_quote(&path, slice_str(x->args.from));
    line = arena_printf(&x->arena, "MAIL FROM:<%s>", buf_cstr(&path));
    buf_release(&path);
    return line;
}

static const char *say_rcpt(struct explain *x)
{
    struct buf path = {0};
    const char *line;

    addr_quote(&path, slice_str(x->args.address));
    line = arena_printf(&x->arena, "RCPT TO:<%s>", buf_cstr(&path));
    buf_release(&path);
    return line;
}

/* Under which name the reply to each line is written down. */
static const struct {
    const char *reply;
    const char *(*say)(struct explain *);
} dialogue[DIALOGUE_LINES] = {{"ehlo", say_ehlo}, {"mail", say_mail}, {"rcpt", say_rcpt}};

/* Only the first line of the reply to EHLO matters. */
static void on_reply(void *arg, size_t at, struct slice reply)
{
    struct explain *x = arg;

    if (at != PROBE_GREETING)
        set(json_object_get(x->answer, "session"), dialogue[at].reply, arena_slice_dup(&x->arena, reply));
}

static void on_session_over(void *arg)
{
    struct explain *x = arg;

    if (!over(x))
        rules_classify(x->rules, &x->scope, addr_split(slice_str(x->args.address)).domain, on_class, x);
}

static void begin_session(struct explain *x)
{
    json_t *stage = begin_stage(x);

    x->restrictions = json_array();
    json_object_set_new(stage, "restrictions", x->restrictions);
    json_object_set_new(x->answer, "session", stage);
    for (size_t i = 0; i < DIALOGUE_LINES; i++)
        x->lines[i] = dialogue[i].say(x);
    x->session = (struct probe_session){
        .client_addr = x->args.client,
        .lines = x->lines,
        .nlines = DIALOGUE_LINES,
        .trace = &x->trace,
        .replied = on_reply,
        .verdict = on_verdict,
        .ended = on_session_over,
        .arg = x,
    };
    if (!probe_session_start(&x->session, x->loop, x->service))
        refuse(x, "mta: out of file descriptors\n");
}

/* ---- the beginning ---- */

static struct smtpd_service *find_service(const struct setup *s, const char *listener)
{
    for (size_t i = 0; i < s->conf->nlisteners; i++)
        if (listener == NULL || strcmp(listener, s->conf->listeners[i].name) == 0)
            return s->services[i];
    return NULL;
}

static void copy_args(struct explain *x, const struct explain_args *args, const char *listener)
{
    struct envelope_rcpt *rcpt = ARENA_NEW(&x->arena, struct envelope_rcpt);

    x->args = (struct explain_args){
        .address = arena_strdup(&x->arena, args->address),
        .from = arena_strdup(&x->arena, args->from),
        .client = arena_strdup(&x->arena, args->client),
        .helo = arena_strdup(&x->arena, args->helo),
        .listener = arena_strdup(&x->arena, listener),
        .json = args->json,
    };
    rcpt->addr = x->args.address;
    x->envelope = (struct envelope){.sender = x->args.from, .rcpts = rcpt, .nrcpts = 1};
    set(x->answer, "address", args->address);
    set(x->answer, "sender", args->from);
    set(x->answer, "client", args->client);
    set(x->answer, "helo", args->helo);
    set(x->answer, "listener", listener);
}

void explain_start(struct loop *loop, struct op_scope *scope, const struct setup *setup, struct transports *transports,
                   const struct explain_args *args, op_done_fn *done, void *owner)
{
    struct explain *x = NEW(struct explain);
    struct smtpd_service *service = find_service(setup, args->listener);

    op_start(&x->op, loop, scope, "explain", 0, done, owner, release);
    op_scope_init(&x->scope, "explain");
    x->trace = (struct table_trace){.asked = on_asked, .expanded = on_alias, .arg = x};
    x->scope.trace = &x->trace;
    x->loop = loop;
    x->transports = transports;
    x->answer = json_object();
    if (service == NULL) {
        refuse(x, arena_printf(&x->arena, "mta: there is no listener \"%s\"\n",
                               args->listener != NULL ? args->listener : "smtp"));
        return;
    }
    copy_args(x, args, args->listener != NULL ? args->listener : setup->conf->listeners[0].name);
    x->rules = rules_ref(setup->rules);
    x->service = smtpd_service_ref(service);
    begin_session(x);
}

/* ---- arguments ---- */

static bool text_valid(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if ((unsigned char)*c < ' ' || *c == 127)
            return false;
    return strlen(text) <= 1000;
}

static bool option(const char *name, const char *value, struct explain_args *args)
{
    const struct {
        const char *name;
        const char **to;
    } options[] = {
        {"--from", &args->from}, {"--client", &args->client}, {"--helo", &args->helo}, {"--listener", &args->listener}};

    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        if (strcmp(name, options[i].name) == 0 && value != NULL) {
            *options[i].to = value;
            return true;
        }
    return false;
}

bool explain_parse(int argc, const char *const *argv, struct explain_args *args, struct buf *err)
{
    struct ip ip;

    *args = (struct explain_args){.from = "", .client = "192.0.2.1", .helo = "client.example"};
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            args->json = true;
        else if (argv[i][0] == '-' && option(argv[i], i + 1 < argc ? argv[i + 1] : NULL, args))
            i++;
        else if (argv[i][0] != '-' && args->address == NULL)
            args->address = argv[i];
        else
            args->address = ""; /* one too many, or no option of ours */
    }
    if (args->address == NULL || args->address[0] == '\0')
        buf_add_str(err, "usage: mta explain ADDRESS [--from ADDRESS] [--client IP] [--helo NAME] [--listener NAME] "
                         "[--json]\n");
    else if (!text_valid(args->address) || !text_valid(args->from) || !text_valid(args->helo))
        buf_add_str(err, "mta: an address or name is too long or has control characters\n");
    else if (!ip_parse(slice_str(args->client), &ip))
        buf_printf(err, "mta: --client: \"%s\" is no address\n", args->client);
    else
        return true;
    return false;
}
