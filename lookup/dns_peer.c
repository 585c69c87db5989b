/*
 * The host name of a client: see dns_peer.h. Called by the SMTP server before it greets, so the whole is bounded by
 * PEER_MS; waits on DNS. RFC 1912 section 2.1; statuses and texts are those of Postfix.
 */
#include "lookup/dns_peer.h"

#include "core/base/alloc.h"
#include "core/base/ip.h"

#define PEER_MS 4000

static const char unknown[] = "unknown";

struct peer {
    struct op op;
    struct op_scope scope;
    struct dns *dns;
    struct timer timer;
    struct dns_peer answer;
    struct ip ip;
    char *address, *name, *warning;
};

struct dns_peer dns_peer_unasked(const char *address)
{
    struct slice a = slice_str(address);

    if (slice_eq(a, SLICE_LIT("127.0.0.1")) || slice_eq(a, SLICE_LIT("::1")))
        return (struct dns_peer){.name = "localhost", .reverse_name = "localhost"};
    return (struct dns_peer){
        .name = unknown, .reverse_name = unknown, .name_status = DNS_PEER_NONE, .reverse_status = DNS_PEER_NONE};
}

static void release(struct op *op)
{
    struct peer *p = (struct peer *)op;

    mem_free(p->address);
    mem_free(p->name);
    mem_free(p->warning);
    mem_free(p);
}

static void finish(struct peer *p)
{
    timer_stop(&p->timer);
    op_scope_close(&p->scope);
    op_finish(&p->op, OP_OK, &p->answer);
}

static void on_abandoned(struct op *op)
{
    finish((struct peer *)op);
}

static void on_late(void *arg)
{
    finish(arg);
}

static bool has_address(const struct dns_answer *a, const struct ip *wanted)
{
    struct ip ip;

    for (size_t i = 0; i < a->naddresses; i++)
        if (ip_parse(slice_str(a->addresses[i].text), &ip) && ip_eq(&ip, wanted))
            return true;
    return false;
}

static void on_addresses(void *owner, enum op_status st, const void *result)
{
    struct peer *p = owner;
    const struct dns_answer *a = result;

    if (st == OP_OK && has_address(a, &p->ip)) {
        p->answer.name = p->name;
        p->answer.name_status = DNS_PEER_OK;
    } else {
        if (st != OP_TEMPFAIL)
            p->answer.name_status = DNS_PEER_FORGED;
        p->warning = mem_printf("hostname %s does not resolve to address %s%s%s", p->name, p->address,
                                st == OP_OK ? "" : ": ", st == OP_OK ? "" : a->why);
        p->answer.warning = p->warning;
    }
    finish(p);
}

static void on_ptr(void *owner, enum op_status st, const void *result)
{
    struct peer *p = owner;
    const struct dns_answer *a = result;

    if (st == OP_OK) {
        p->name = mem_strdup(a->names[0]);
        p->answer.reverse_name = p->name;
        p->answer.reverse_status = DNS_PEER_OK;
        dns_ask_addresses(p->dns, p->name, p->ip.family == 4, p->ip.family == 6, &p->scope, on_addresses, p);
        return;
    }
    if (st == OP_NOTFOUND)
        p->answer.name_status = p->answer.reverse_status = DNS_PEER_NONE;
    finish(p);
}

void dns_peer_ask(struct dns *dns, const char *address, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct peer *p = NEW(struct peer);

    op_start(&p->op, dns_loop(dns), scope, "client name", 0, done, owner, release);
    p->op.abandoned = on_abandoned;
    op_scope_init_within(&p->scope, "client name", scope);
    p->dns = dns;
    p->address = mem_strdup(address);
    p->answer = (struct dns_peer){.name = unknown,
                                  .reverse_name = unknown,
                                  .name_status = DNS_PEER_TEMPFAIL,
                                  .reverse_status = DNS_PEER_TEMPFAIL};
    if (!ip_parse(slice_str(address), &p->ip)) { /* a client without an IP address */
        p->answer = dns_peer_unasked(address);
        finish(p);
        return;
    }
    timer_start(dns_loop(dns), &p->timer, PEER_MS, on_late, p);
    dns_ask_ptr(dns, address, &p->scope, on_ptr, p);
}
