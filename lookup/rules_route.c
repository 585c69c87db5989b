/*
 * Where a recipient goes: see rules_route in rules.h. The class of its domain gives the transport, for other hosts'
 * domains perhaps the sender; relayhost, perhaps the sender's, is the next hop of what goes to other hosts; then
 * transport_maps may change either, in the order of transport(5). Delivery asks at every attempt, and the recipient
 * check asks whether the way ends at an error.
 */
#include "lookup/rules_int.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"

struct route {
    struct rules_request q;
    const char *address;
    const char *domain;
    const char *sender; /* complete, or "": the null sender; NULL: not known, nothing depends on it */
    const char *orig;   /* the address before aliases; NULL: the same */
    bool has_nexthop;   /* the class's transport came with one, which relayhost does not change */
    struct rules_route answer;
    struct table_answer failure;
};

static void finish(struct route *r)
{
    rules_request_finish(&r->q, OP_OK, &r->answer);
}

static void settle(struct route *r);

static void fail(struct route *r, const char *why)
{
    r->failure.why = why;
    rules_request_finish(&r->q, OP_TEMPFAIL, &r->failure);
}

/* ---- transport_maps ---- */

/* The transports whose next hop is the text of a report. */
static bool is_error_transport(const char *name)
{
    return strcmp(name, "error") == 0 || strcmp(name, "retry") == 0;
}

/*
 * "transport:nexthop": no transport leaves it as it was; a transport without next hop starts again from the domain,
 * because what the next hop means depends on the transport.
 */
static void apply(struct route *r, const char *value)
{
    struct slice text = slice_str(value), transport, nexthop;
    size_t colon = slice_find(text, ':');

    transport = slice_head(text, colon);
    nexthop = colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(text, colon + 1);
    if (transport.n > 0) {
        r->answer.to.transport = arena_slice_dup(&r->q.arena, transport);
        r->answer.to.nexthop = is_error_transport(r->answer.to.transport) ? "Address is undeliverable" : r->domain;
    }
    r->has_nexthop = nexthop.n > 0 || (transport.n > 0 && is_error_transport(r->answer.to.transport));
    if (nexthop.n > 0)
        r->answer.to.nexthop = arena_slice_dup(&r->q.arena, nexthop);
}

static void on_transport(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;
    const struct maps_address_answer *answer = result;

    if (status != OP_OK && status != OP_NOTFOUND) {
        fail(r, arena_strdup(&r->q.arena, answer->why));
        return;
    }
    if (status == OP_OK)
        apply(r, answer->value);
    settle(r);
}

/* Labels of a domain that addr_domain_valid lets pass, and three keys more. */
#define KEYS_MAX (128 + 3)

/* user+ext@domain, user@domain, domain, its parents, "*": section "TABLE SEARCH ORDER" of transport(5). */
static size_t make_keys(struct route *r, struct maps_key *keys)
{
    const struct rules *rules = r->q.rules;
    struct addr_parts parts = addr_split(slice_str(r->address));
    struct slice user, extension;
    const char *name = r->domain, *dot;
    size_t n = 0;

    keys[n++] = (struct maps_key){.text = r->address};
    if (addr_split_extension(parts.local, rules->conf->recipient_delimiter, &user, &extension))
        keys[n++] = (struct maps_key){.text = arena_printf(&r->q.arena, "%.*s@%s", (int)user.n, user.p, r->domain),
                                      .partial = true};
    keys[n++] = (struct maps_key){.text = name, .partial = true};
    while (name[0] != '[' && (dot = strchr(name + 1, '.')) != NULL) {
        name = rules->transport_parents ? dot + 1 : dot;
        keys[n++] = (struct maps_key){.text = name, .partial = true};
    }
    keys[n++] = (struct maps_key){.text = "*", .partial = true};
    return n;
}

static void ask_transport_maps(struct route *r)
{
    struct maps_key keys[KEYS_MAX];
    size_t n;

    if (maps_empty(r->q.rules->transport_maps)) {
        settle(r);
        return;
    }
    n = make_keys(r, keys);
    maps_find_keys(r->q.rules->transport_maps, &r->q.scope, keys, n, on_transport, r);
}

/* ---- srs_forwarding ---- */

static struct slice domain_of(const char *address)
{
    return addr_split(slice_str(address)).domain;
}

/* The one who gave this address was writing to a domain of ours. */
static void on_orig_class(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;
    const struct rules *rules = r->q.rules;

    if (status != OP_OK) {
        fail(r, rules_why(&r->q, result));
        return;
    }
    if (*(const enum rules_class *)result != RULES_CLASS_OTHER)
        r->answer.to.sender = srs_forward(&r->q.arena, srs_first_secret(slice_str(rules->srs_secrets)),
                                          rules->conf->srs_domain, r->sender, clock_wall_us() / 1000000);
    finish(r);
}

static void on_sender_class(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;

    if (status != OP_OK)
        fail(r, rules_why(&r->q, result));
    else if (*(const enum rules_class *)result != RULES_CLASS_OTHER)
        finish(r); /* a sender of ours may send from here */
    else
        rules_classify(r->q.rules, &r->q.scope, domain_of(r->orig), on_orig_class, r);
}

/* Mail of a stranger that an alias of ours sends on to another host: see srs.h. */
static void ask_srs(struct route *r)
{
    bool off_host = r->answer.cls == RULES_CLASS_RELAY || r->answer.cls == RULES_CLASS_OTHER;

    if (r->q.rules->srs_secrets == NULL || r->sender == NULL || r->sender[0] == '\0' || r->orig == NULL || !off_host ||
        is_error_transport(r->answer.to.transport))
        finish(r);
    else
        rules_classify(r->q.rules, &r->q.scope, domain_of(r->sender), on_sender_class, r);
}

/* ---- relocated_maps ---- */

static void on_relocated(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;
    const struct maps_address_answer *answer = result;

    if (status == OP_OK) {
        r->answer.to.transport = "error";
        r->answer.to.nexthop = arena_printf(&r->q.arena, "5.1.6 User has moved to %s", answer->value);
        finish(r);
    } else if (status == OP_NOTFOUND) {
        ask_srs(r);
    } else {
        fail(r, arena_strdup(&r->q.arena, answer->why));
    }
}

/* Transport and next hop are known. */
static void settle(struct route *r)
{
    const struct maps *relocated = r->q.rules->relocated;

    if (maps_empty(relocated) || is_error_transport(r->answer.to.transport))
        ask_srs(r);
    else
        rules_find_address(r->q.rules, &r->q.scope, relocated, r->address, on_relocated, r);
}

/* ---- what depends on the sender ---- */

/* user+ext@domain, user@domain, @domain of the sender; the null sender has a key of its own. */
static void ask_sender(struct route *r, const struct maps *maps, const char *null_key, op_done_fn *done)
{
    struct maps_key null = {.text = null_key};
    struct maps_address_opts opts = {.recipient_delimiter = r->q.rules->conf->recipient_delimiter};

    if (r->sender[0] == '\0')
        maps_find_keys(maps, &r->q.scope, &null, 1, done, r);
    else
        maps_find_address(maps, &r->q.scope, r->sender, &opts, done, r);
}

/* The value that a sender-dependent table has; NULL: none, or DUNNO, which is the same. */
static const char *sender_value(enum op_status status, const struct maps_address_answer *answer)
{
    return status == OP_OK && !slice_ieq(slice_trim(slice_str(answer->value)), SLICE_LIT("DUNNO")) ? answer->value
                                                                                                   : NULL;
}

static void set_relayhost(struct route *r, const char *relayhost)
{
    if (relayhost[0] != '\0')
        r->answer.to.nexthop = arena_strdup(&r->q.arena, relayhost);
    ask_transport_maps(r);
}

static void on_relayhost(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;
    const struct maps_address_answer *answer = result;
    const char *value;

    if (status != OP_OK && status != OP_NOTFOUND) {
        fail(r, arena_strdup(&r->q.arena, answer->why));
        return;
    }
    value = sender_value(status, answer);
    set_relayhost(r, value != NULL ? value : r->q.rules->conf->relayhost);
}

/* The next hop of what goes to other hosts, where the transport did not bring one. */
static void ask_relayhost(struct route *r)
{
    const struct rules *rules = r->q.rules;
    bool off_host = r->answer.cls == RULES_CLASS_RELAY || r->answer.cls == RULES_CLASS_OTHER;

    if (!off_host || r->has_nexthop)
        ask_transport_maps(r);
    else if (r->sender != NULL && !maps_empty(rules->sender_relayhosts))
        ask_sender(r, rules->sender_relayhosts, rules->conf->empty_address_relayhost_maps_lookup_key, on_relayhost);
    else
        set_relayhost(r, rules->conf->relayhost);
}

static void on_sender_transport(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;
    const struct maps_address_answer *answer = result;
    const char *value;

    if (status != OP_OK && status != OP_NOTFOUND) {
        fail(r, arena_strdup(&r->q.arena, answer->why));
        return;
    }
    value = sender_value(status, answer);
    if (value != NULL)
        apply(r, value);
    ask_relayhost(r);
}

static void ask_sender_transport(struct route *r)
{
    const struct rules *rules = r->q.rules;

    if (r->answer.cls == RULES_CLASS_OTHER && r->sender != NULL && !maps_empty(rules->sender_transports))
        ask_sender(r, rules->sender_transports, rules->conf->empty_address_default_transport_maps_lookup_key,
                   on_sender_transport);
    else
        ask_relayhost(r);
}

/* ---- the class ---- */

static const char *class_transport(const struct conf *conf, enum rules_class cls)
{
    switch (cls) {
    case RULES_CLASS_LOCAL: return conf->local_transport;
    case RULES_CLASS_VIRTUAL_ALIAS: break;
    case RULES_CLASS_VIRTUAL_MAILBOX: return conf->virtual_transport;
    case RULES_CLASS_RELAY: return conf->relay_transport;
    case RULES_CLASS_OTHER: return conf->default_transport;
    }
    /* An address of such a domain that is left after expansion is nobody's; transport_maps cannot change that. */
    return conf->show_user_unknown_table_name ? "error:5.1.1 User unknown in virtual alias table"
                                              : "error:5.1.1 User unknown";
}

/* An address that no transport may see: an option to a command, or no place mail could be sent to. */
static bool is_bad(const struct route *r)
{
    return (r->address[0] == '-' && !r->q.rules->conf->allow_min_user) || !addr_domain_valid(slice_str(r->domain));
}

/* Mail back to where the postmaster's notices come from: nobody reads it, and it must not go round. */
static bool is_double_bounce(const struct route *r)
{
    return r->answer.cls == RULES_CLASS_LOCAL &&
           slice_ieq(addr_split(slice_str(r->address)).local, slice_str(r->q.rules->conf->double_bounce_sender));
}

/* The transport of addresses that no table can send elsewhere; NULL: not one of them. */
static const char *fixed_transport(const struct route *r)
{
    if (is_bad(r))
        return "error:5.1.3 bad address syntax";
    return is_double_bounce(r) ? "discard:undeliverable postmaster notification discarded" : NULL;
}

static void on_class(void *owner, enum op_status status, const void *result)
{
    struct route *r = owner;
    const char *fixed;

    if (status != OP_OK) {
        fail(r, rules_why(&r->q, result));
        return;
    }
    r->answer.cls = *(const enum rules_class *)result;
    r->answer.to.nexthop = r->domain;
    fixed = fixed_transport(r);
    apply(r, fixed != NULL ? fixed : class_transport(r->q.rules->conf, r->answer.cls));
    if (r->answer.to.transport == NULL)
        fail(r, "no transport is set for this class of domains");
    else if (fixed != NULL || r->answer.cls == RULES_CLASS_VIRTUAL_ALIAS)
        finish(r);
    else
        ask_sender_transport(r);
}

void rules_route(struct rules *rules, struct op_scope *scope, const char *sender, const char *orig, const char *address,
                 op_done_fn *done, void *owner)
{
    struct route *r = rules_request_new(rules, sizeof *r, scope, "route", done, owner);

    r->address = rules_canonical(rules, &r->q.arena, slice_str(address));
    r->domain = strrchr(r->address, '@') + 1;
    if (orig != NULL)
        r->orig = rules_canonical(rules, &r->q.arena, slice_str(orig));
    if (sender != NULL)
        r->sender = sender[0] == '\0' ? "" : rules_canonical(rules, &r->q.arena, slice_str(sender));
    rules_classify(rules, &r->q.scope, slice_str(r->domain), on_class, r);
}
