/*
 * The hosts that take a domain's mail: see dns_mx.h. Called by the SMTP and LMTP client for each attempt, and by `mta
 * mx`. One request asks for the MX records, then for the addresses of all hosts at once; what became of them is judged
 * when all have answered, in order of preference, so that the order in which answers come says nothing.
 *
 * The texts, and which failure is a lasting one, are Postfix's: reports, log analysers and people know them.
 */
#include "lookup/dns_mx.h"

#include "core/base/alloc.h"
#include "core/base/ip.h"
#include "core/base/log.h"
#include "core/loop/work.h"
#include "lookup/dns_mx_order.h"
#include "lookup/dns_name.h"

#include <arpa/inet.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>

#define NATIVE_MAX 16 /* addresses of a host by the system's way */

/* A host, and what is known of its addresses. */
struct candidate {
    struct mail *mail;
    const char *name;
    int preference;
    struct dns_address *addresses;
    size_t n;
    struct status why; /* none */
};

struct mail {
    struct op op;
    struct op_scope scope;
    struct arena arena;
    struct dns *dns;
    const struct conf *conf;
    struct dns_mx_order order;
    const char *domain; /* for texts: A-labels when it can be had */
    bool by_dns, by_native, ipv4, ipv6;
    bool by_mx, ignore_error, defer_unusable, detect_loop;
    bool has_mx; /* the candidates are MX hosts */
    struct candidate *candidates;
    size_t ncandidates;
    size_t pending;
    struct dns_mail_answer answer;
};

static void release(struct op *op)
{
    struct mail *m = (struct mail *)op;

    conf_unref(&m->conf);
    arena_clear(&m->arena);
    mem_free(m);
}

static void on_abandoned(struct op *op)
{
    struct mail *m = (struct mail *)op;

    op_scope_close(&m->scope);
    op_finish(op, OP_TEMPFAIL, NULL);
}

static void fail(struct mail *m, struct status why)
{
    op_scope_close(&m->scope);
    m->answer.status = why;
    op_finish(&m->op, why.cls == STATUS_PERMFAIL ? OP_NOTFOUND : OP_TEMPFAIL, &m->answer);
}

/* ---- what a failure means ---- */

/* A name that DNS has no answer for. */
static struct status failure(const char *name, const char *type, enum op_status st, const struct dns_answer *a)
{
    if (a->malformed)
        return status_make(STATUS_HOST_NOT_FOUND, "Name service error for %s: %s", name, a->why);
    return status_make(st == OP_NOTFOUND ? STATUS_HOST_NOT_FOUND : STATUS_DNS_TEMPFAIL,
                       "%sName service error for name=%s type=%s: %s",
                       a->unusable ? "" : "Host or domain name not found. ", name, type, a->why);
}

/* The same text as a failure that may pass. */
static struct status softened(struct status why)
{
    return why.cls == STATUS_PERMFAIL ? status_reply(why.reason, 451, "4.4.4", "%s", why.text) : why;
}

/* ---- the end ---- */

static bool is_self(const struct mail *m, const struct candidate *c)
{
    if (m->has_mx && slice_ieq(slice_str(c->name), slice_str(m->conf->myhostname)))
        return true;
    for (size_t i = 0; i < c->n; i++)
        if (conf_is_own_address(m->conf, c->addresses[i].text))
            return true;
    return false;
}

/* No host is left before ourselves: are we the best, or does none before us have an address? */
static struct status looped(const struct mail *m)
{
    size_t found = 0;

    while (m->candidates[found].n == 0 && !is_self(m, &m->candidates[found]))
        found++;
    if (m->candidates[found].preference == m->candidates[0].preference)
        return status_make(STATUS_MAIL_LOOP, "mail for %s loops back to myself", m->domain);
    return status_reply(STATUS_DNS_TEMPFAIL, 451, "4.4.4", "unable to find primary relay for %s", m->domain);
}

/* How many candidates may be used: those with a better preference than this host itself. */
static size_t usable(const struct mail *m)
{
    size_t self = 0, n;

    while (self < m->ncandidates && !(m->detect_loop && is_self(m, &m->candidates[self])))
        self++;
    n = self;
    while (self < m->ncandidates && n > 0 && m->candidates[n - 1].preference == m->candidates[self].preference)
        n--;
    return n;
}

/* The addresses of the first n candidates. */
static size_t gather(struct mail *m, size_t n)
{
    struct dns_mail_host *hosts;
    size_t total = 0, at = 0;

    for (size_t i = 0; i < n; i++)
        total += m->candidates[i].n;
    hosts = arena_new_array(&m->arena, total, sizeof *hosts);
    for (size_t i = 0; i < n; i++) {
        const struct candidate *c = &m->candidates[i];

        for (size_t k = 0; k < c->n; k++)
            hosts[at++] = (struct dns_mail_host){.name = c->name,
                                                 .address = c->addresses[k].text,
                                                 .family = c->addresses[k].family,
                                                 .preference = c->preference};
    }
    m->answer.hosts = hosts;
    m->answer.n = dns_mx_order(hosts, total, &m->order);
    return total;
}

/* No host has an address: what the last one's failure says, for a while if that of any may pass. */
static struct status without_addresses(const struct mail *m)
{
    struct status why = m->candidates[m->ncandidates - 1].why;
    struct log_ctx log = {.syslog_name = m->conf->syslog_name};
    bool soft = m->has_mx && m->defer_unusable;

    for (size_t i = 0; i < m->ncandidates; i++)
        soft = soft || m->candidates[i].why.cls == STATUS_TEMPFAIL;
    if (m->has_mx)
        log_event(LOG_DNS_WARNING, &log, "no MX host for %s has a valid address record", m->domain);
    return soft ? softened(why) : why;
}

static void conclude(struct mail *m)
{
    size_t n = usable(m);

    m->answer.self = n < m->ncandidates;
    if (gather(m, n) > 0)
        op_finish(&m->op, OP_OK, &m->answer);
    else if (m->answer.self)
        fail(m, looped(m));
    else
        fail(m, without_addresses(m));
}

static void candidate_done(struct candidate *c)
{
    if (--c->mail->pending == 0)
        conclude(c->mail);
}

/* ---- the system's way: /etc/hosts and what else nsswitch.conf says ---- */

struct native {
    char *host;
    int family, error;
    struct dns_address addresses[NATIVE_MAX];
    size_t n;
};

static void add_native(struct native *w, const struct addrinfo *ai)
{
    struct dns_address *a = &w->addresses[w->n++];

    a->family = ai->ai_family == AF_INET6 ? 6 : 4;
    getnameinfo(ai->ai_addr, ai->ai_addrlen, a->text, sizeof a->text, NULL, 0, NI_NUMERICHOST);
}

/* On a pool thread. */
static enum op_status native_ask(void *arg)
{
    struct native *w = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_family = w->family}, *list = NULL;

    w->error = getaddrinfo(w->host, NULL, &hints, &list);
    for (const struct addrinfo *ai = list; ai != NULL && w->n < NATIVE_MAX; ai = ai->ai_next)
        if (ai->ai_family == AF_INET || ai->ai_family == AF_INET6)
            add_native(w, ai);
    if (list != NULL)
        freeaddrinfo(list);
    return OP_OK;
}

static void native_free(void *arg)
{
    struct native *w = arg;

    mem_free(w->host);
    mem_free(w);
}

static void take_addresses(struct candidate *c, const struct dns_address *from, size_t n)
{
    c->addresses = arena_new_array(&c->mail->arena, n, sizeof *c->addresses);
    memcpy(c->addresses, from, n * sizeof *c->addresses);
    c->n = n;
}

static void on_native(void *owner, enum op_status st, const void *result)
{
    struct candidate *c = owner;
    const struct native *w = result;
    bool soft = c->why.cls == STATUS_TEMPFAIL;

    (void)st;
    if (w->n > 0) {
        take_addresses(c, w->addresses, w->n);
    } else {
        soft = soft || w->error == EAI_AGAIN || w->error == EAI_MEMORY || w->error == EAI_SYSTEM;
        c->why =
            status_reply(soft ? STATUS_DNS_TEMPFAIL : STATUS_HOST_NOT_FOUND, soft ? 451 : 550, soft ? "4.4.4" : "5.4.4",
                         "unable to look up host %s: %s", c->name, gai_strerror(w->error != 0 ? w->error : EAI_NONAME));
    }
    candidate_done(c);
}

static void look_up_native(struct candidate *c)
{
    struct native *w = NEW(struct native);
    struct mail *m = c->mail;

    w->host = mem_strdup(c->name);
    w->family = m->ipv4 && m->ipv6 ? AF_UNSPEC : m->ipv6 ? AF_INET6 : AF_INET;
    work_run(m->op.loop, &m->scope, "resolve", 0, native_ask, w, native_free, on_native, c);
}

/* ---- addresses ---- */

static void on_addresses(void *owner, enum op_status st, const void *result)
{
    struct candidate *c = owner;
    const struct dns_answer *a = result;

    if (st == OP_OK) {
        take_addresses(c, a->addresses, a->naddresses);
        candidate_done(c);
        return;
    }
    c->why = failure(c->name, c->mail->ipv6 ? "AAAA" : "A", st, a);
    if (c->mail->by_native)
        look_up_native(c);
    else
        candidate_done(c);
}

/* A host may be named by its address, also, against the standard, in an MX record. False when this one is not. */
static bool take_address(struct candidate *c)
{
    struct dns_address a;
    struct ip ip;

    if (!ip_parse(slice_str(c->name), &ip) || !(ip.family == 4 ? c->mail->ipv4 : c->mail->ipv6))
        return false;
    a.family = ip.family;
    inet_ntop(ip.family == 4 ? AF_INET : AF_INET6, ip.bytes, a.text, sizeof a.text);
    take_addresses(c, &a, 1);
    return true;
}

static void look_up_all(struct mail *m)
{
    m->pending = m->ncandidates + 1;
    for (size_t i = 0; i < m->ncandidates; i++) {
        struct candidate *c = &m->candidates[i];

        c->mail = m;
        if (take_address(c))
            m->pending--;
        else if (m->by_dns)
            dns_ask_addresses(m->dns, c->name, m->ipv4, m->ipv6, &m->scope, on_addresses, c);
        else
            look_up_native(c);
    }
    if (--m->pending == 0)
        conclude(m);
}

/* The domain is the host. */
static void use_host(struct mail *m)
{
    m->ncandidates = 1;
    m->candidates = ARENA_NEW(&m->arena, struct candidate);
    m->candidates[0].name = m->domain;
    look_up_all(m);
}

/* ---- MX ---- */

static void use_mx(struct mail *m, const struct dns_answer *a)
{
    m->has_mx = true;
    m->candidates = arena_new_array(&m->arena, a->nmx, sizeof *m->candidates);
    for (size_t i = 0; i < a->nmx; i++) {
        size_t k = m->ncandidates++;

        for (; k > 0 && m->candidates[k - 1].preference > a->mx[i].preference; k--)
            m->candidates[k] = m->candidates[k - 1];
        m->candidates[k] =
            (struct candidate){.name = arena_strdup(&m->arena, a->mx[i].name), .preference = a->mx[i].preference};
    }
    look_up_all(m);
}

static bool has_null_mx(const struct dns_answer *a)
{
    for (size_t i = 0; i < a->nmx; i++)
        if (a->mx[i].name[0] == '\0')
            return true;
    return false;
}

static void on_mx(void *owner, enum op_status st, const void *result)
{
    struct mail *m = owner;
    const struct dns_answer *a = result;

    if (st == OP_OK && has_null_mx(a))
        fail(m, status_make(STATUS_NULL_MX, "Domain %s does not accept mail (nullMX)", m->domain));
    else if (st == OP_OK)
        use_mx(m, a);
    else if (m->ignore_error || (st == OP_NOTFOUND && !a->unusable))
        use_host(m);
    else
        fail(m, failure(m->domain, "MX", st, a));
}

/* ---- the beginning ---- */

static bool has_word(const char *list, struct slice wanted)
{
    struct slice rest = slice_str(list), word;

    while ((word = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_ieq(word, wanted))
            return true;
    return false;
}

static void take_opts(struct mail *m, const struct dns_mail_opts *o)
{
    m->by_native = has_word(o->host_lookup, SLICE_LIT("native"));
    m->by_dns = !m->by_native || has_word(o->host_lookup, SLICE_LIT("dns"));
    m->ipv4 = m->conf->inet_protocols != CONF_INET_PROTOCOLS_IPV6;
    m->ipv6 = m->conf->inet_protocols != CONF_INET_PROTOCOLS_IPV4;
    m->by_mx = o->by_mx;
    m->ignore_error = o->ignore_mx_lookup_error;
    m->defer_unusable = o->defer_if_no_mx_address_found;
    m->detect_loop = o->detect_loop;
    m->order = (struct dns_mx_order){
        .family_first = strcmp(o->address_preference, "ipv4") == 0   ? 4
                        : strcmp(o->address_preference, "ipv6") == 0 ? 6
                                                                     : 0,
        .randomize = o->randomize,
        .balance = o->balance_protocols,
        .limit = o->mx_address_limit > 0 ? (size_t)o->mx_address_limit : 0,
    };
}

/* "[192.0.2.1]", "[IPv6:2001:db8::1]", "IPv6:2001:db8::1", without what is around the address. */
static const char *plain(struct mail *m, const char *domain)
{
    struct slice s = slice_str(domain), prefix = SLICE_LIT("IPv6:");
    char ascii[DNS_NAME_MAX];

    if (s.n > 2 && s.p[0] == '[' && s.p[s.n - 1] == ']') {
        s = slice_make(s.p + 1, s.n - 2);
        m->by_mx = false;
    }
    if (slice_istarts(s, prefix))
        s = slice_from(s, prefix.n);
    domain = arena_slice_dup(&m->arena, s);
    return dns_name_ascii(domain, ascii) ? arena_strdup(&m->arena, ascii) : domain;
}

void dns_mail_hosts(struct dns *dns, const struct conf *conf, const struct dns_mail_opts *opts, const char *domain,
                    struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct mail *m = NEW(struct mail);
    struct ip ip;

    op_start(&m->op, dns_loop(dns), scope, "mail hosts", 0, done, owner, release);
    m->op.abandoned = on_abandoned;
    op_scope_init_within(&m->scope, "mail hosts", scope);
    m->dns = dns;
    m->conf = conf_ref(conf);
    take_opts(m, opts);
    m->domain = plain(m, domain);
    if (m->by_mx && !ip_parse(slice_str(m->domain), &ip) && strcmp(m->domain, "localhost") != 0)
        dns_ask_mx(dns, m->domain, &m->scope, on_mx, m);
    else
        use_host(m);
}
