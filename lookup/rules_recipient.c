/*
 * Is a recipient one we know? See rules_check_recipient in rules.h. The server asks at RCPT and VRFY. In the order of
 * section 1.8 of postfix-semantics: virtual aliases, a way that ends at an error, the maps of the domain's class. A
 * table that fails anywhere is "try again later", never "user unknown".
 */
#include "lookup/rules_int.h"

#include "core/base/addr.h"

#include <stdio.h>

struct check {
    struct rules_request q;
    const char *address;
    const struct maps *existence[3]; /* who is found in one of them exists */
    size_t nexistence, at;
    enum rules_class cls;
    struct status status;
};

static void finish(struct check *c, struct status status)
{
    c->status = status;
    rules_request_finish(&c->q, OP_OK, &c->status);
}

/* The reply with `code`; the class digit of the enhanced code has to agree with it. */
static struct status refuse(int64_t code, const char *dsn, const char *text)
{
    struct status s = status_reply(STATUS_USER_UNKNOWN, (int)code, dsn, "%s", text);

    s.dsn[0] = (char)('0' + code / 100);
    return s;
}

/* ---- by the maps of the class ---- */

static const char *const table_names[RULES_CLASS_OTHER] = {
    [RULES_CLASS_LOCAL] = " in local recipient table",
    [RULES_CLASS_VIRTUAL_MAILBOX] = " in virtual mailbox table",
    [RULES_CLASS_RELAY] = " in relay recipient table",
};

static int64_t reject_code(const struct conf *conf, enum rules_class cls)
{
    switch (cls) {
    case RULES_CLASS_LOCAL: return conf->unknown_local_recipient_reject_code;
    case RULES_CLASS_VIRTUAL_ALIAS: return conf->unknown_virtual_alias_reject_code;
    case RULES_CLASS_VIRTUAL_MAILBOX: return conf->unknown_virtual_mailbox_reject_code;
    case RULES_CLASS_RELAY: return conf->unknown_relay_recipient_reject_code;
    case RULES_CLASS_OTHER: break;
    }
    return 550;
}

static void on_listed(void *owner, enum op_status status, const void *result)
{
    struct check *c = owner;
    const struct conf *conf;
    char text[64];

    (void)result;
    if (status == OP_OK) {
        finish(c, status_ok());
    } else if (status == OP_NOTFOUND) {
        conf = c->q.rules->conf;
        snprintf(text, sizeof text, "User unknown%s", conf->show_user_unknown_table_name ? table_names[c->cls] : "");
        finish(c, refuse(reject_code(conf, c->cls), "5.1.1", text));
    } else {
        finish(c, status_of(STATUS_TABLE_TEMPFAIL));
    }
}

/* Names that exist on every host, whatever the tables say (RFC 5321 section 4.5.1), and the sender of probes. */
static bool is_always_local(const struct conf *conf, struct slice local)
{
    return slice_ieq(local, SLICE_LIT("postmaster")) || slice_ieq(local, SLICE_LIT("mailer-daemon")) ||
           slice_ieq(local, slice_str(conf->double_bounce_sender));
}

static void check_listed(struct check *c)
{
    struct rules *r = c->q.rules;

    if (c->cls == RULES_CLASS_OTHER || maps_empty(r->recipients[c->cls]) ||
        (c->cls == RULES_CLASS_LOCAL && is_always_local(r->conf, addr_split(slice_str(c->address)).local)))
        finish(c, status_ok());
    else
        rules_find_address(r, &c->q.scope, r->recipients[c->cls], c->address, on_listed, c);
}

/* ---- by the way it would go ---- */

/* Takes "5.1.1 " off the text of an error transport; false when it does not begin with such a code. */
static bool take_dsn(struct slice *text, char dsn[12])
{
    struct slice rest = *text, word = slice_token(&rest, " "), digits = word, part;
    uint64_t value;

    if (word.n < 5 || word.n > 11 || strchr("245", word.p[0]) == NULL || word.p[1] != '.')
        return false;
    for (int i = 0; i < 3; i++) {
        part = slice_head(digits, i < 2 ? slice_find(digits, '.') : digits.n);
        if (part.n > 3 || !slice_u64(part, 999, &value))
            return false;
        digits = slice_from(digits, part.n + 1);
    }
    snprintf(dsn, 12, "%.*s", (int)word.n, word.p);
    *text = slice_trim(rest);
    return true;
}

/* A recipient whose transport is "error" (or "retry") is refused with the transport's text right away. */
static struct status refuse_by_route(const struct conf *conf, const struct rules_route *route)
{
    bool retry = strcmp(route->to.transport, "retry") == 0;
    struct slice text = slice_str(route->to.nexthop);
    char dsn[12] = "5.1.1", line[400];
    int64_t code = retry ? 450 : route->cls == RULES_CLASS_VIRTUAL_ALIAS ? reject_code(conf, route->cls) : 550;

    take_dsn(&text, dsn);
    snprintf(line, sizeof line, "%.*s", (int)text.n, text.n > 0 ? text.p : "");
    return refuse(code, dsn, line);
}

static void on_route(void *owner, enum op_status status, const void *result)
{
    struct check *c = owner;
    const struct rules_route *route = result;

    if (status != OP_OK) {
        finish(c, status_of(STATUS_TABLE_TEMPFAIL));
    } else if (strcmp(route->to.transport, "error") == 0 || strcmp(route->to.transport, "retry") == 0) {
        finish(c, refuse_by_route(c->q.rules->conf, route));
    } else {
        c->cls = route->cls;
        check_listed(c);
    }
}

/* ---- by what changes the address: canonical maps, virtual aliases, the way back of SRS ---- */

static void ask_next(struct check *c);

static void on_changed(void *owner, enum op_status status, const void *result)
{
    struct check *c = owner;

    (void)result;
    if (status == OP_OK) {
        finish(c, status_ok());
    } else if (status == OP_NOTFOUND) {
        c->at++;
        ask_next(c);
    } else {
        finish(c, status_of(STATUS_TABLE_TEMPFAIL));
    }
}

static void ask_next(struct check *c)
{
    if (c->at < c->nexistence)
        rules_find_address(c->q.rules, &c->q.scope, c->existence[c->at], c->address, on_changed, c);
    else
        rules_route(c->q.rules, &c->q.scope, NULL, NULL, c->address, on_route, c);
}

/* A sender that srs_forwarding made, to which a report comes back. True: it is answered. */
static bool check_srs(struct check *c)
{
    const char *unused;

    switch (rules_srs_back(c->q.rules, &c->q.arena, c->address, &unused)) {
    case SRS_NONE: return false;
    case SRS_BACK: finish(c, status_ok()); break;
    case SRS_FORGED: finish(c, refuse(550, "5.1.1", "SRS: this address was not made here")); break;
    case SRS_EXPIRED: finish(c, refuse(550, "5.1.1", "SRS: this address has expired")); break;
    }
    return true;
}

void rules_check_recipient(struct rules *r, struct op_scope *scope, const char *address, op_done_fn *done, void *owner)
{
    struct check *c = rules_request_new(r, sizeof *c, scope, "check recipient", done, owner);

    c->status = status_of(STATUS_TABLE_TEMPFAIL);
    c->address = rules_canonical(r, &c->q.arena, slice_str(address));
    if (check_srs(c))
        return;
    if (!maps_empty(r->recipient_canonical))
        c->existence[c->nexistence++] = r->recipient_canonical;
    if (!maps_empty(r->canonical))
        c->existence[c->nexistence++] = r->canonical;
    c->existence[c->nexistence++] = r->recipients[RULES_CLASS_VIRTUAL_ALIAS];
    ask_next(c);
}
