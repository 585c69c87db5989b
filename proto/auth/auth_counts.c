/*
 * See auth_counts.h. Called by auth_guard.c only. An entry is an address or a login, in one map by its kind and key,
 * and in the list of its class, from whose front entries go when there are too many.
 *
 * A window begins with a first failure and ends smtpd_auth_ban_window later with all that was counted in it. A ban ends
 * with all that led to it.
 *
 * A login under attack from everywhere is banned too, but must not shut out its owner: at a place from which it
 * succeeded within a month, its ban does not hold and failures do not count against it, only against the address.
 */
#include "proto/auth/auth_counts.h"

#include "core/base/alloc.h"
#include "core/base/ip.h"

#define PLACES_MOST 16 /* of one login */
#define KNOWN_MS    (30 * 86400000ull)
#define DAY_MS      86400000ull
#define WEEK_MS     (7 * DAY_MS) /* the longest smtpd_auth_ban_window; four are the longest smtpd_auth_ban_time */

#define DELAY_FROM    3 /* the failure that is the first to be answered late */
#define DELAY_MS      1000
#define DELAY_MOST_MS 15000

struct place {
    struct auth_net net;
    uint64_t failures;    /* of the login from there, in its window */
    uint64_t known_until; /* 0: it did not succeed from there */
};

struct entry {
    struct list link;
    enum auth_class class;
    bool login;
    uint64_t failures, counted_until, banned_until;
    struct place *places; /* of a login: the one used last is last */
    size_t nplaces;
    size_t nkey;
    char key[]; /* 'a' and a struct auth_net, or 'l' and the login; NUL */
};

/* ---- addresses ---- */

struct auth_net auth_net_parse(const char *text)
{
    struct slice s = slice_str(text);
    struct auth_net net = {0};
    struct ip_block block;
    struct ip ip;

    s = slice_head(s, slice_find(s, '%'));
    if (ip_parse(s, &ip)) {
        net.family = (unsigned char)ip.family;
        memcpy(net.bytes, ip.bytes, ip.family == 4 ? 4 : 8);
    } else if (slice_find(s, '/') != SLICE_NOT_FOUND && ip_block_parse(s, &block) == IP_BLOCK_OK &&
               block.first.family == 6 && block.bits == 64) {
        net.family = 6;
        memcpy(net.bytes, block.first.bytes, 8);
    }
    return net;
}

const char *auth_net_format(char out[AUTH_NET_TEXT], struct auth_net net)
{
    struct ip_block block = {.first.family = net.family, .bits = net.family == 4 ? 32 : 64};

    memcpy(block.first.bytes, net.bytes, sizeof net.bytes);
    ip_block_format(out, &block);
    if (net.family == 4)
        out[strcspn(out, "/")] = '\0';
    return out;
}

static bool net_eq(struct auth_net a, struct auth_net b)
{
    return memcmp(&a, &b, sizeof a) == 0;
}

/* ---- entries ---- */

struct key {
    size_t n;
    char text[1 + AUTH_LOGIN_MOST];
};

static struct key address_key(struct auth_net net)
{
    struct key k = {.n = 1 + sizeof net, .text = "a"};

    memcpy(k.text + 1, &net, sizeof net);
    return k;
}

static struct key login_key(const char *login)
{
    struct key k = {.n = 1 + strnlen(login, AUTH_LOGIN_MOST), .text = "l"};

    for (size_t i = 1; i < k.n; i++)
        k.text[i] = ascii_lower(login[i - 1]);
    return k;
}

static struct entry *find(const struct auth_counts *c, const struct key *k)
{
    return map_get(&c->entries, slice_make(k->text, k->n));
}

static struct entry *find_login(const struct auth_counts *c, const char *login)
{
    const struct key k = login_key(login != NULL ? login : "");

    return k.n > 1 ? find(c, &k) : NULL;
}

static struct entry *find_address(const struct auth_counts *c, struct auth_net net)
{
    const struct key k = address_key(net);

    return net.family != 0 ? find(c, &k) : NULL;
}

static void drop(struct auth_counts *c, struct entry *e)
{
    map_remove(&c->entries, slice_make(e->key, e->nkey));
    list_remove(&e->link);
    c->n[e->class]--;
    mem_free(e->places);
    mem_free(e);
}

/* Puts it at the end of the list of its class, from whose front another one goes when that is too long. */
static void enlist(struct auth_counts *c, struct entry *e, enum auth_class class)
{
    if (list_linked(&e->link)) {
        list_remove(&e->link);
        c->n[e->class]--;
    }
    e->class = class;
    list_append(&c->classes[class], &e->link);
    if (++c->n[class] > c->most[class])
        drop(c, LIST_ITEM(c->classes[class].next, struct entry, link));
}

/* A new one is to be enlisted by the caller. */
static struct entry *get(struct auth_counts *c, const struct key *k)
{
    struct entry *e = find(c, k);

    if (e == NULL) {
        e = mem_new(sizeof *e + k->n + 1);
        memcpy(e->key, k->text, k->n);
        e->nkey = k->n;
        e->login = k->text[0] == 'l';
        map_put(&c->entries, slice_make(k->text, k->n), e);
    }
    return e;
}

static uint64_t left(uint64_t until, uint64_t now_ms)
{
    return until > now_ms ? until - now_ms : 0;
}

static bool is_banned(const struct entry *e, uint64_t now_ms)
{
    return e != NULL && e->banned_until > now_ms;
}

static uint64_t failures(const struct entry *e, uint64_t now_ms)
{
    return e != NULL && e->counted_until > now_ms ? e->failures : 0;
}

/* ---- places ---- */

static struct place *find_place(const struct entry *login, struct auth_net net)
{
    for (size_t i = 0; login != NULL && i < login->nplaces; i++)
        if (net_eq(login->places[i].net, net))
            return &login->places[i];
    return NULL;
}

static bool is_known(const struct entry *login, struct auth_net net, uint64_t now_ms)
{
    const struct place *p = net.family != 0 ? find_place(login, net) : NULL;

    return p != NULL && p->known_until > now_ms;
}

static bool has_known(const struct entry *e, uint64_t now_ms)
{
    for (size_t i = 0; i < e->nplaces; i++)
        if (e->places[i].known_until > now_ms)
            return true;
    return false;
}

static void remove_place(struct entry *login, size_t at)
{
    memmove(&login->places[at], &login->places[at + 1], (--login->nplaces - at) * sizeof *login->places);
}

/* Which place is given up for a new one: the first that is not known, or for a known one the first. SIZE_MAX: none. */
static size_t place_to_go(const struct entry *login, bool for_known, uint64_t now_ms)
{
    for (size_t i = 0; i < login->nplaces; i++)
        if (login->places[i].known_until <= now_ms)
            return i;
    return for_known ? 0 : SIZE_MAX;
}

/* The place, as the one used last; NULL when there is no room for it. */
static struct place *use_place(struct entry *login, struct auth_net net, bool for_known, uint64_t now_ms)
{
    struct place used = {.net = net}, *old = find_place(login, net);

    if (old != NULL) {
        used = *old;
        remove_place(login, (size_t)(old - login->places));
    } else if (login->nplaces == PLACES_MOST) {
        size_t gone = place_to_go(login, for_known, now_ms);

        if (gone == SIZE_MAX)
            return NULL;
        remove_place(login, gone);
    } else {
        login->places = mem_resize(login->places, (login->nplaces + 1) * sizeof *login->places);
    }
    login->places[login->nplaces] = used;
    return &login->places[login->nplaces++];
}

/* ---- counting ---- */

static enum auth_class class_of(const struct entry *e, uint64_t now_ms)
{
    if (has_known(e, now_ms))
        return AUTH_CLASS_KNOWN;
    return is_banned(e, now_ms) ? AUTH_CLASS_BANNED : AUTH_CLASS_COUNTED;
}

/* One more failure; true when a ban begins with it. */
static bool count(struct auth_counts *c, struct entry *e, const struct auth_limits *l, uint64_t now_ms)
{
    bool begins;

    if (is_banned(e, now_ms))
        return false;
    if (e->counted_until <= now_ms) {
        e->counted_until = now_ms + l->window_ms;
        e->failures = 0;
        for (size_t i = 0; i < e->nplaces; i++)
            e->places[i].failures = 0;
    }
    begins = ++e->failures >= l->limit;
    if (begins)
        e->banned_until = e->counted_until = now_ms + l->ban_ms;
    if (class_of(e, now_ms) != AUTH_CLASS_KNOWN) /* those are in the order of their successes */
        enlist(c, e, class_of(e, now_ms));
    return begins;
}

static uint64_t delay(uint64_t n)
{
    if (n < DELAY_FROM)
        return 0;
    return n - DELAY_FROM < 4 ? (uint64_t)DELAY_MS << (n - DELAY_FROM) : DELAY_MOST_MS;
}

struct auth_counts_verdict auth_counts_ask(struct auth_counts *c, uint64_t now_ms, struct auth_net net,
                                           const char *login)
{
    const struct entry *a = find_address(c, net), *l = find_login(c, login);
    struct auth_counts_verdict v = {0};
    uint64_t n = failures(a, now_ms);

    if (is_known(l, net, now_ms))
        l = NULL;
    if (is_banned(a, now_ms))
        v.banned_ms = left(a->banned_until, now_ms);
    if (is_banned(l, now_ms) && left(l->banned_until, now_ms) > v.banned_ms)
        v.banned_ms = left(l->banned_until, now_ms);
    if (v.banned_ms == 0)
        v.delay_ms = delay(failures(l, now_ms) > n ? failures(l, now_ms) : n);
    return v;
}

static bool login_failed(struct auth_counts *c, const struct auth_limits *limits, uint64_t now_ms, struct auth_net net,
                         const char *login)
{
    const struct key k = login_key(login);
    struct entry *e = get(c, &k);
    struct place *p;

    if (is_known(e, net, now_ms))
        return false;
    if (count(c, e, limits, now_ms))
        return true;
    p = net.family != 0 && !is_banned(e, now_ms) ? use_place(e, net, false, now_ms) : NULL;
    if (p != NULL)
        p->failures++;
    return false;
}

struct auth_counts_verdict auth_counts_failed(struct auth_counts *c, const struct auth_limits *limits, uint64_t now_ms,
                                              struct auth_net net, const char *login)
{
    const struct key k = address_key(net);
    struct auth_counts_verdict v;
    bool address, whom = false;

    address = net.family != 0 && count(c, get(c, &k), limits, now_ms);
    if (login != NULL && login[0] != '\0')
        whom = login_failed(c, limits, now_ms, net, login);
    v = auth_counts_ask(c, now_ms, net, login);
    v.address_begins = address;
    v.login_begins = whom;
    return v;
}

bool auth_counts_succeeded(struct auth_counts *c, uint64_t now_ms, struct auth_net net, const char *login)
{
    const struct key k = login_key(login);
    struct entry *e;
    struct place *p;
    bool news;

    if (net.family == 0 || k.n == 1)
        return false;
    e = get(c, &k);
    p = use_place(e, net, true, now_ms);
    news = p->failures > 0 || left(p->known_until, now_ms) < KNOWN_MS - DAY_MS;
    if (!is_banned(e, now_ms))
        e->failures -= p->failures < e->failures ? p->failures : e->failures;
    p->failures = 0;
    p->known_until = now_ms + KNOWN_MS;
    enlist(c, e, AUTH_CLASS_KNOWN);
    return news;
}

/* ---- the rest ---- */

static bool unban(struct auth_counts *c, struct entry *e, uint64_t now_ms)
{
    if (!is_banned(e, now_ms))
        return false;
    e->banned_until = e->counted_until = e->failures = 0;
    if (has_known(e, now_ms))
        enlist(c, e, AUTH_CLASS_KNOWN);
    else
        drop(c, e);
    return true;
}

bool auth_counts_unban(struct auth_counts *c, uint64_t now_ms, const char *what)
{
    bool address = unban(c, find_address(c, auth_net_parse(what)), now_ms);

    return unban(c, find_login(c, what), now_ms) || address;
}

void auth_counts_sweep(struct auth_counts *c, uint64_t now_ms)
{
    for (int i = 0; i < AUTH_CLASSES; i++)
        LIST_FOREACH(it, &c->classes[i])
        {
            struct entry *e = LIST_ITEM(it, struct entry, link);

            if (e->counted_until <= now_ms && e->banned_until <= now_ms && !has_known(e, now_ms))
                drop(c, e);
        }
}

void auth_counts_each(const struct auth_counts *c, uint64_t now_ms, void (*fn)(void *arg, const struct auth_record *),
                      void *arg)
{
    for (int i = 0; i < AUTH_CLASSES; i++)
        LIST_FOREACH(it, &c->classes[i])
        {
            const struct entry *e = LIST_ITEM(it, const struct entry, link);
            struct auth_record r = {.kind = e->login ? AUTH_RECORD_LOGIN : AUTH_RECORD_ADDRESS,
                                    .login = e->login ? e->key + 1 : NULL,
                                    .failures = e->failures,
                                    .counted_ms = left(e->counted_until, now_ms),
                                    .banned_ms = left(e->banned_until, now_ms)};

            if (!e->login)
                memcpy(&r.net, e->key + 1, sizeof r.net);
            if (r.counted_ms > 0 || r.banned_ms > 0)
                fn(arg, &r);
            for (size_t p = 0; p < e->nplaces; p++) {
                r = (struct auth_record){.kind = AUTH_RECORD_PLACE,
                                         .login = e->key + 1,
                                         .net = e->places[p].net,
                                         .known_ms = left(e->places[p].known_until, now_ms)};
                if (r.known_ms > 0)
                    fn(arg, &r);
            }
        }
}

static uint64_t until(uint64_t now_ms, uint64_t left_ms, uint64_t most_ms)
{
    return now_ms + (left_ms < most_ms ? left_ms : most_ms);
}

void auth_counts_restore(struct auth_counts *c, uint64_t now_ms, const struct auth_record *r)
{
    const struct key k = r->kind == AUTH_RECORD_ADDRESS ? address_key(r->net) : login_key(r->login);
    struct entry *e;

    if (r->counted_ms == 0 && r->banned_ms == 0 && r->known_ms == 0)
        return;
    e = get(c, &k);
    if (r->kind == AUTH_RECORD_PLACE) {
        use_place(e, r->net, true, now_ms)->known_until = until(now_ms, r->known_ms, KNOWN_MS);
    } else {
        e->failures = r->failures;
        e->counted_until = until(now_ms, r->counted_ms, 4 * WEEK_MS);
        e->banned_until = until(now_ms, r->banned_ms, 4 * WEEK_MS);
    }
    enlist(c, e, class_of(e, now_ms));
}

void auth_counts_init(struct auth_counts *c)
{
    *c = (struct auth_counts){
        .most = {[AUTH_CLASS_COUNTED] = 20000, [AUTH_CLASS_BANNED] = 20000, [AUTH_CLASS_KNOWN] = 10000}};
    for (int i = 0; i < AUTH_CLASSES; i++)
        list_init(&c->classes[i]);
}

void auth_counts_clear(struct auth_counts *c)
{
    for (int i = 0; i < AUTH_CLASSES; i++)
        while (!list_empty(&c->classes[i]))
            drop(c, LIST_ITEM(c->classes[i].next, struct entry, link));
    map_clear(&c->entries);
}
