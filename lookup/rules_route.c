/*
 * Where a recipient goes: see rules_route in rules.h. The class of its domain gives transport and next hop, then
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
    struct rules_route answer;
    struct table_answer failure;
};

static void finish(struct route *r)
{
    rules_request_finish(&r->q, OP_OK, &r->answer);
}

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
    finish(r);
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
    size_t n = make_keys(r, keys);

    maps_find_keys(r->q.rules->transport_maps, &r->q.scope, keys, n, on_transport, r);
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
    else if (fixed != NULL || r->answer.cls == RULES_CLASS_VIRTUAL_ALIAS || maps_empty(r->q.rules->transport_maps))
        finish(r);
    else
        ask_transport_maps(r);
}

void rules_route(struct rules *rules, struct op_scope *scope, const char *address, op_done_fn *done, void *owner)
{
    struct route *r = rules_request_new(rules, sizeof *r, scope, "route", done, owner);

    r->address = rules_canonical(rules, &r->q.arena, slice_str(address));
    r->domain = strrchr(r->address, '@') + 1;
    rules_classify(rules, &r->q.scope, slice_str(r->domain), on_class, r);
}
