/*
 * Questions to DNS: see dns.h. Used by dns_mx.c and dns_peer.c. A question is about one name and one type; it is asked
 * once however many wait for it, and its answer is kept in the cache. An ask is what a caller waits for: one question,
 * or two when it wants the addresses of both IP versions.
 *
 * Each question ends after QUESTION_MS at the latest. c-ares cannot forget one: what it still brings then goes to an
 * `asking` that nobody holds any more.
 */
#include "lookup/dns.h"

#include "core/base/alloc.h"
#include "core/base/map.h"
#include "core/loop/timer.h"
#include "lookup/dns_cache.h"
#include "lookup/dns_channel.h"
#include "lookup/dns_name.h"

#include <stdio.h>

#define QUESTION_MS 30000
#define ASKED_MAX   4000 /* at a time; more wait */
#define BURST_MAX   100  /* and no more than these, and as many again each BURST_MS, before answers come */
#define BURST_MS    50
#define CACHE_MAX   10000
#define CACHE_BYTES (16u << 20)

struct dns {
    struct loop *loop;
    struct dns_channel *channel; /* NULL: it is being freed */
    struct dns_cache *cache;
    struct map questions; /* by key */
    struct list waiting;  /* question.waiting: not asked yet */
    unsigned nasked;      /* askings */
    unsigned burst;       /* how many more may be asked now: a burst would be lost in the buffers of sockets */
    struct timer pause;
    bool pumping;
};

/* What the channel holds. */
struct asking {
    struct dns *dns;
    struct question *question; /* NULL: too late */
};

struct question {
    struct dns *dns;
    struct list waiting;
    struct list parts; /* part.link: who waits for it */
    struct asking *asking;
    struct timer deadline;
    enum dns_type type;
    char key[DNS_NAME_MAX + 8];
    char name[DNS_NAME_MAX + 1]; /* asked now: the first, or where a CNAME led to */
    unsigned chain;
    uint32_t ttl_s; /* the least of the CNAMEs so far */
};

struct part {
    struct list link; /* in a question, while it has no set */
    struct ask *ask;
    struct dns_set *set;
};

struct ask {
    struct op op;
    struct part parts[2];
    unsigned nparts;
    struct dns_answer answer;
    struct dns_address *both; /* the addresses of two sets */
};

/* ---- asks ---- */

static void release(struct op *op)
{
    struct ask *a = (struct ask *)op;

    for (unsigned i = 0; i < a->nparts; i++) {
        list_remove(&a->parts[i].link);
        dns_set_unref(&a->parts[i].set);
    }
    mem_free(a->both);
    mem_free(a);
}

/* The questions go on: their answers are worth keeping. */
static void on_abandoned(struct op *op)
{
    struct ask *a = (struct ask *)op;

    for (unsigned i = 0; i < a->nparts; i++)
        list_remove(&a->parts[i].link);
    op_finish(op, OP_TEMPFAIL, NULL);
}

/* Both sets have addresses. */
static void join(struct ask *a)
{
    const struct dns_answer *x = &a->parts[0].set->answer, *y = &a->parts[1].set->answer;

    a->both = mem_new_array(x->naddresses + y->naddresses, sizeof *a->both);
    memcpy(a->both, x->addresses, x->naddresses * sizeof *a->both);
    memcpy(a->both + x->naddresses, y->addresses, y->naddresses * sizeof *a->both);
    a->answer.addresses = a->both;
    a->answer.naddresses = x->naddresses + y->naddresses;
    op_finish(&a->op, OP_OK, &a->answer);
}

/* Addresses of one version are enough; there are none only when that is certain of both. */
static unsigned rank(const struct dns_set *set)
{
    return set->status == OP_OK ? 2 : set->status == OP_TEMPFAIL ? 1 : 0;
}

static void finish_when_complete(struct ask *a)
{
    const struct dns_set *first = a->parts[0].set, *second = a->nparts > 1 ? a->parts[1].set : NULL;

    if (first == NULL || (a->nparts > 1 && second == NULL))
        return;
    if (second != NULL && first->status == OP_OK && second->status == OP_OK) {
        join(a);
        return;
    }
    if (second != NULL && rank(second) > rank(first))
        first = second;
    a->answer = first->answer;
    a->answer.no_domain = first->answer.no_domain || (second != NULL && second->answer.no_domain);
    op_finish(&a->op, first->status, &a->answer);
}

/* ---- questions ---- */

static void settle(struct question *q, struct dns_set *set);

static void on_reply(void *arg, enum dns_channel_result result, struct slice reply, const char *why);

static void send_question(struct question *q)
{
    struct asking *asking = NEW(struct asking);

    asking->dns = q->dns;
    asking->question = q;
    q->asking = asking;
    q->dns->nasked++;
    q->dns->burst--;
    dns_channel_ask(q->dns->channel, q->name, q->type, on_reply, asking);
}

static void on_pause_over(void *arg);

/* Asks those who wait, as many as may be. Answers that come inside, and what they ask, do not go deeper. */
static void pump(struct dns *d)
{
    struct list *it;

    if (d->pumping)
        return;
    d->pumping = true;
    while (d->channel != NULL && d->nasked < ASKED_MAX && d->burst > 0 && (it = list_shift(&d->waiting)) != NULL)
        send_question(LIST_ITEM(it, struct question, waiting));
    d->pumping = false;
    if (d->burst < BURST_MAX && !timer_active(&d->pause) && d->channel != NULL)
        timer_start(d->loop, &d->pause, BURST_MS, on_pause_over, d);
}

static void on_pause_over(void *arg)
{
    struct dns *d = arg;

    d->burst = BURST_MAX;
    pump(d);
}

/* A server that gives a CNAME without what is behind it does not look for that itself. */
static bool follow(struct question *q, struct dns_set *set)
{
    q->chain += set->chain;
    if (set->ttl_s < q->ttl_s)
        q->ttl_s = set->ttl_s;
    if (set->ttl_s > q->ttl_s)
        set->ttl_s = q->ttl_s;
    if (set->alias == NULL)
        return false;
    if (q->chain > DNS_CHAIN_MAX || q->dns->channel == NULL)
        return false;
    snprintf(q->name, sizeof q->name, "%s", set->alias);
    list_append(&q->dns->waiting, &q->waiting);
    return true;
}

static void on_reply(void *arg, enum dns_channel_result result, struct slice reply, const char *why)
{
    struct asking *asking = arg;
    struct question *q = asking->question;
    struct dns *d = asking->dns;
    struct dns_set *set = NULL;

    mem_free(asking);
    d->nasked--;
    if (d->burst < BURST_MAX)
        d->burst++;
    if (q != NULL) {
        q->asking = NULL;
        if (result == DNS_CHANNEL_REPLY)
            set = dns_set_parse((const unsigned char *)reply.p, reply.n, q->type, q->name);
        else if (result == DNS_CHANNEL_FAILED || d->channel == NULL)
            set = dns_set_failed(result == DNS_CHANNEL_FAILED ? why : "The resolver ends");
        if (set == NULL) /* the servers have changed */
            list_append(&d->waiting, &q->waiting);
        else if (follow(q, set))
            dns_set_unref(&set);
        else if (set->alias != NULL) {
            dns_set_unref(&set);
            settle(q, dns_set_looped());
        } else
            settle(q, set);
    }
    pump(d);
}

/* The question is over; takes over the reference. */
static void settle(struct question *q, struct dns_set *set)
{
    struct dns *d = q->dns;
    struct list *it;

    dns_cache_put(d->cache, slice_str(q->key), set, loop_now_ms(d->loop));
    map_remove(&d->questions, slice_str(q->key));
    while ((it = list_shift(&q->parts)) != NULL) {
        struct part *p = LIST_ITEM(it, struct part, link);

        p->set = dns_set_ref(set);
        finish_when_complete(p->ask);
    }
    dns_set_unref(&set);
    if (q->asking != NULL)
        q->asking->question = NULL;
    list_remove(&q->waiting);
    timer_stop(&q->deadline);
    mem_free(q);
}

static void on_deadline(void *arg)
{
    settle(arg, dns_set_failed("Host not found, try again"));
}

static struct question *question_new(struct dns *d, enum dns_type type, const char *name, const char *key)
{
    struct question *q = NEW(struct question);

    q->dns = d;
    q->type = type;
    q->ttl_s = INT32_MAX;
    snprintf(q->name, sizeof q->name, "%s", name);
    snprintf(q->key, sizeof q->key, "%s", key);
    list_init(&q->parts);
    map_put(&d->questions, slice_str(key), q);
    timer_start(d->loop, &q->deadline, QUESTION_MS, on_deadline, q);
    list_append(&d->waiting, &q->waiting);
    return q;
}

static void add_part(struct dns *d, struct ask *a, enum dns_type type, const char *name)
{
    struct part *p = &a->parts[a->nparts++];
    char key[DNS_NAME_MAX + 8];
    struct question *q;

    snprintf(key, sizeof key, "%d %s", (int)type, name);
    p->ask = a;
    p->set = dns_cache_get(d->cache, slice_str(key), loop_now_ms(d->loop));
    if (p->set != NULL)
        return;
    q = map_get(&d->questions, slice_str(key));
    if (q == NULL)
        q = question_new(d, type, name, key);
    list_append(&q->parts, &p->link);
}

/* ---- asking ---- */

static struct ask *ask_new(struct dns *d, struct op_scope *scope, op_done_fn *done, void *owner)
{
    struct ask *a = NEW(struct ask);

    op_start(&a->op, d->loop, scope, "dns", 0, done, owner, release);
    a->op.abandoned = on_abandoned;
    return a;
}

static void malformed(struct ask *a)
{
    a->answer = (struct dns_answer){.why = "invalid host or domain name", .malformed = true};
    op_finish(&a->op, OP_NOTFOUND, &a->answer);
}

/* What no resolver need be asked for (RFC 6761 section 6.3). */
static void answer_localhost(struct ask *a, bool ipv4, bool ipv6)
{
    static const struct dns_address loopback[] = {{"127.0.0.1", 4}, {"::1", 6}};

    a->answer.addresses = ipv4 ? &loopback[0] : &loopback[1];
    a->answer.naddresses = (size_t)ipv4 + ipv6;
    op_finish(&a->op, OP_OK, &a->answer);
}

void dns_ask_addresses(struct dns *d, const char *name, bool ipv4, bool ipv6, struct op_scope *scope, op_done_fn *done,
                       void *owner)
{
    struct ask *a = ask_new(d, scope, done, owner);
    char ascii[DNS_NAME_MAX];

    MTA_ASSERT(ipv4 || ipv6);
    if (!dns_name_ascii(name, ascii)) {
        malformed(a);
        return;
    }
    if (strcmp(ascii, "localhost") == 0) {
        answer_localhost(a, ipv4, ipv6);
        return;
    }
    if (ipv4)
        add_part(d, a, DNS_TYPE_A, ascii);
    if (ipv6)
        add_part(d, a, DNS_TYPE_AAAA, ascii);
    finish_when_complete(a);
    pump(d);
}

static void ask_one(struct dns *d, bool valid, enum dns_type type, const char *name, struct ask *a)
{
    if (!valid) {
        malformed(a);
        return;
    }
    add_part(d, a, type, name);
    finish_when_complete(a);
    pump(d);
}

void dns_ask_mx(struct dns *d, const char *name, struct op_scope *scope, op_done_fn *done, void *owner)
{
    char ascii[DNS_NAME_MAX];
    bool valid = dns_name_ascii(name, ascii);

    ask_one(d, valid, DNS_TYPE_MX, ascii, ask_new(d, scope, done, owner));
}

void dns_ask_ptr(struct dns *d, const char *address, struct op_scope *scope, op_done_fn *done, void *owner)
{
    char name[DNS_NAME_MAX];
    bool valid = dns_name_reverse(address, name);

    ask_one(d, valid, DNS_TYPE_PTR, name, ask_new(d, scope, done, owner));
}

/* ---- making ---- */

struct dns *dns_new(struct loop *loop, const struct conf *conf, struct buf *err)
{
    struct dns_channel *channel = dns_channel_new(loop, conf->resolver, err);
    struct dns *d;

    if (channel == NULL)
        return NULL;
    d = NEW(struct dns);
    d->loop = loop;
    d->channel = channel;
    d->burst = BURST_MAX;
    d->cache = dns_cache_new(CACHE_MAX, CACHE_BYTES);
    list_init(&d->waiting);
    return d;
}

bool dns_reload(struct dns *d, const struct conf *conf, struct buf *err)
{
    struct dns_channel *fresh = dns_channel_new(d->loop, conf->resolver, err), *old = d->channel;

    if (fresh == NULL)
        return false;
    d->channel = fresh;
    dns_channel_free(&old);
    pump(d);
    return true;
}

void dns_free(struct dns **dp)
{
    struct dns *d = *dp;
    struct dns_channel *channel;
    size_t at = 0;
    struct slice key;
    void *q;

    *dp = NULL;
    if (d == NULL)
        return;
    channel = d->channel;
    d->channel = NULL;
    timer_stop(&d->pause);
    dns_channel_free(&channel);
    while (map_next(&d->questions, &at, &key, &q)) { /* those that were not asked */
        settle(q, dns_set_failed("The resolver ends"));
        at = 0;
    }
    map_clear(&d->questions);
    dns_cache_free(&d->cache);
    mem_free(d);
}

struct loop *dns_loop(const struct dns *d)
{
    return d->loop;
}
