/*
 * Replies of name servers as sets of records: see dns_set.h. The reply is untrusted: every offset is checked against
 * its end, pointers of compressed names only lead backwards, and the number of records is bounded. RFC 1035 section 4,
 * RFC 2308 (how long there is nothing), RFC 3596 (AAAA), RFC 7505 (null MX).
 */
#include "lookup/dns_set.h"

#include "core/base/alloc.h"
#include "core/base/ip.h"
#include "lookup/dns_name.h"

#include <arpa/inet.h>

#define HEADER_SIZE    12
#define RCODE_NXDOMAIN 3
#define CLASS_IN       1
#define RECORDS_MAX    1000 /* in a reply */
#define LOOP_TTL_S     60
#define WIRE_NAME_MAX  256 /* as text */

static const char bad_reply[] = "Malformed or unexpected name server reply";
static const char loop[] = "Name server loop";

struct reply {
    const unsigned char *p;
    size_t n;
    size_t at;
};

struct record {
    char owner[WIRE_NAME_MAX];
    unsigned type, class;
    uint32_t ttl;
    size_t data, len; /* where its data are */
};

/* ---- bytes ---- */

static unsigned u16_at(const struct reply *r, size_t at)
{
    return (unsigned)r->p[at] << 8 | r->p[at + 1];
}

static uint32_t u32_at(const struct reply *r, size_t at)
{
    return (uint32_t)u16_at(r, at) << 16 | u16_at(r, at + 2);
}

/*
 * Adds a label in lower case. What no host name has becomes '?', so that the name is no host's; but '/' may be on the
 * way to one (RFC 2317).
 */
static bool add_label(char out[WIRE_NAME_MAX], size_t *len, const unsigned char *label, size_t n)
{
    if (*len + n + 1 >= WIRE_NAME_MAX)
        return false;
    if (*len > 0)
        out[(*len)++] = '.';
    for (size_t i = 0; i < n; i++) {
        char c = ascii_lower((char)label[i]);

        out[(*len)++] = ascii_alnum(c) || c == '-' || c == '_' || c == '/' ? c : '?';
    }
    out[*len] = '\0';
    return true;
}

/* The name at *at, which moves behind it. "" is the root. */
static bool take_name(const struct reply *r, size_t *at, char out[WIRE_NAME_MAX])
{
    size_t here = *at, len = 0, least = *at;
    bool jumped = false;

    out[0] = '\0';
    for (;;) {
        unsigned n;

        if (here >= r->n)
            return false;
        n = r->p[here];
        if (n == 0)
            break;
        if (n < 64) {
            if (here + 1 + n > r->n || !add_label(out, &len, r->p + here + 1, n))
                return false;
            here += 1 + n;
            continue;
        }
        if (n < 192 || here + 2 > r->n)
            return false;
        if (!jumped)
            *at = here + 2;
        jumped = true;
        here = u16_at(r, here) & 0x3fff;
        if (here >= least) /* only backwards: no circle */
            return false;
        least = here;
    }
    if (!jumped)
        *at = here + 1;
    return true;
}

static bool take_record(struct reply *r, struct record *rec)
{
    size_t at = r->at;

    if (!take_name(r, &at, rec->owner) || at + 10 > r->n)
        return false;
    rec->type = u16_at(r, at);
    rec->class = u16_at(r, at + 2);
    rec->ttl = u32_at(r, at + 4);
    rec->len = u16_at(r, at + 8);
    rec->data = at + 10;
    if (rec->ttl > INT32_MAX) /* RFC 2181 section 8 */
        rec->ttl = 0;
    r->at = rec->data + rec->len;
    return r->at <= r->n;
}

/* ---- records ---- */

struct gather {
    struct dns_set *set;
    enum dns_type type;
    struct dns_address addresses[DNS_SET_MAX];
    struct dns_mx mx[DNS_SET_MAX];
    const char *names[DNS_SET_MAX];
    size_t n;
};

static void add_address(struct gather *g, const struct reply *r, const struct record *rec)
{
    bool v6 = g->type == DNS_TYPE_AAAA;
    struct dns_address *a = &g->addresses[g->n];

    if (rec->len != (v6 ? 16 : 4))
        return;
    a->family = v6 ? 6 : 4;
    inet_ntop(v6 ? AF_INET6 : AF_INET, r->p + rec->data, a->text, sizeof a->text);
    g->n++;
}

/* The name in a record's data, from the offset `skip` on; NULL when no host can have it. */
static const char *name_in(struct gather *g, const struct reply *r, const struct record *rec, size_t skip)
{
    size_t at = rec->data + skip;
    char name[WIRE_NAME_MAX];
    struct ip ip;

    if (rec->len <= skip || !take_name(r, &at, name) || at != rec->data + rec->len)
        return NULL;
    if (dns_name_is_host(slice_str(name)) ||
        (g->type == DNS_TYPE_MX && (name[0] == '\0' || ip_parse(slice_str(name), &ip)))) /* sic, in wrong zones */
        return arena_strdup(&g->set->arena, name);
    return NULL;
}

static void add_named(struct gather *g, const struct reply *r, const struct record *rec)
{
    bool mx = g->type == DNS_TYPE_MX;
    const char *name = name_in(g, r, rec, mx ? 2 : 0);

    if (name == NULL)
        return;
    if (mx)
        g->mx[g->n] = (struct dns_mx){.name = name, .preference = (int)u16_at(r, rec->data)};
    else
        g->names[g->n] = name;
    g->n++;
}

static void least_ttl(struct dns_set *set, uint32_t ttl)
{
    if (ttl < set->ttl_s)
        set->ttl_s = ttl;
}

enum found {
    FOUND_NOTHING,
    FOUND_RECORDS,
    FOUND_ALIAS,
    FOUND_GARBAGE,
};

/* The records of `name` in the answer section, or the name that its CNAME leads to. */
static enum found look_for(struct gather *g, struct reply r, unsigned count, const char *name,
                           char alias[WIRE_NAME_MAX])
{
    enum found found = FOUND_NOTHING;
    struct record rec;

    for (unsigned i = 0; i < count && i < RECORDS_MAX; i++) {
        if (!take_record(&r, &rec))
            return FOUND_GARBAGE;
        if (rec.class != CLASS_IN || strcmp(rec.owner, name) != 0)
            continue;
        if (rec.type == DNS_TYPE_CNAME && found == FOUND_NOTHING) {
            size_t at = rec.data;

            if (!take_name(&r, &at, alias))
                return FOUND_GARBAGE;
            least_ttl(g->set, rec.ttl);
            found = FOUND_ALIAS;
        } else if (rec.type == g->type && g->n < DNS_SET_MAX) {
            least_ttl(g->set, rec.ttl);
            found = FOUND_RECORDS;
            if (g->type == DNS_TYPE_A || g->type == DNS_TYPE_AAAA)
                add_address(g, &r, &rec);
            else
                add_named(g, &r, &rec);
        }
    }
    return found;
}

static void keep(struct gather *g)
{
    struct dns_answer *a = &g->set->answer;
    struct arena *arena = &g->set->arena;

    if (g->type == DNS_TYPE_MX) {
        a->mx = memcpy(arena_new_array(arena, g->n, sizeof *a->mx), g->mx, g->n * sizeof *a->mx);
        a->nmx = g->n;
    } else if (g->type == DNS_TYPE_PTR) {
        a->names = memcpy(arena_new_array(arena, g->n, sizeof *a->names), g->names, g->n * sizeof *a->names);
        a->nnames = g->n;
    } else {
        a->addresses =
            memcpy(arena_new_array(arena, g->n, sizeof *a->addresses), g->addresses, g->n * sizeof *a->addresses);
        a->naddresses = g->n;
    }
}

/* ---- nothing ---- */

/*
 * How long there is nothing: the least of the SOA record's own time and its last field; 0 without one, since such a
 * reply should not be kept. False when there is none.
 */
static bool negative_ttl(struct reply r, unsigned answers, unsigned authority, uint32_t *ttl)
{
    struct record rec;

    for (unsigned i = 0; i < answers + authority && i < RECORDS_MAX && take_record(&r, &rec); i++)
        if (i >= answers && rec.type == DNS_TYPE_SOA && rec.class == CLASS_IN && rec.len >= 20) {
            uint32_t least = u32_at(&r, rec.data + rec.len - 4);

            *ttl = least < rec.ttl ? least : rec.ttl;
            return true;
        }
    *ttl = 0;
    return false;
}

static struct dns_set *failed(struct dns_set *set, const char *why)
{
    set->status = OP_TEMPFAIL;
    set->answer = (struct dns_answer){.why = why};
    set->ttl_s = 0;
    return set;
}

static struct dns_set *nothing(struct dns_set *set, bool no_domain)
{
    set->status = OP_NOTFOUND;
    set->answer.no_domain = no_domain;
    set->answer.why = no_domain ? "Host not found" : "Host found but no data record of requested type";
    return set;
}

/* The domain's own fault, which lasts. */
static struct dns_set *unusable(struct dns_set *set, const char *why)
{
    set->status = OP_NOTFOUND;
    set->answer = (struct dns_answer){.why = why, .unusable = true};
    return set;
}

/* ---- the whole ---- */

/* Past the question section. */
static bool skip_questions(struct reply *r, unsigned count)
{
    char name[WIRE_NAME_MAX];

    while (count-- > 0) {
        if (!take_name(r, &r->at, name) || r->at + 4 > r->n)
            return false;
        r->at += 4;
    }
    return true;
}

/* What the search along the chain of CNAMEs ended with. */
static struct dns_set *conclude(struct gather *g, enum found found, const struct reply *r, const char *name)
{
    unsigned answers = u16_at(r, 6), authority = u16_at(r, 8);
    bool no_domain = (r->p[3] & 15) == RCODE_NXDOMAIN, soa;
    uint32_t ttl;

    if (found == FOUND_GARBAGE)
        return failed(g->set, bad_reply);
    if (found == FOUND_ALIAS)
        return unusable(g->set, loop);
    if (g->n > 0) {
        keep(g);
        return g->set;
    }
    if (found == FOUND_RECORDS)
        return unusable(g->set, bad_reply);
    soa = negative_ttl(*r, answers, authority, &ttl);
    if (g->set->chain > 0 && !no_domain && !soa) {
        if (name[0] == '\0' || strchr(name, '?') != NULL)
            return unusable(g->set, bad_reply);
        g->set->alias = arena_strdup(&g->set->arena, name);
        return nothing(g->set, false);
    }
    least_ttl(g->set, ttl);
    return nothing(g->set, no_domain);
}

struct dns_set *dns_set_parse(const unsigned char *reply, size_t n, enum dns_type type, const char *name)
{
    struct reply r = {.p = reply, .n = n, .at = HEADER_SIZE};
    struct gather g = {.set = NEW(struct dns_set), .type = type};
    char current[WIRE_NAME_MAX], alias[WIRE_NAME_MAX];
    enum found found = FOUND_GARBAGE;

    g.set->refs = 1;
    g.set->ttl_s = INT32_MAX;
    if (n < HEADER_SIZE || !skip_questions(&r, u16_at(&r, 4)))
        return failed(g.set, bad_reply);
    snprintf(current, sizeof current, "%s", name);
    do {
        found = look_for(&g, r, u16_at(&r, 6), current, alias);
        if (found == FOUND_ALIAS)
            snprintf(current, sizeof current, "%s", alias);
    } while (found == FOUND_ALIAS && ++g.set->chain <= DNS_CHAIN_MAX);
    return conclude(&g, found, &r, current);
}

struct dns_set *dns_set_failed(const char *why)
{
    struct dns_set *set = NEW(struct dns_set);

    set->refs = 1;
    return failed(set, why);
}

struct dns_set *dns_set_looped(void)
{
    struct dns_set *set = NEW(struct dns_set);

    set->refs = 1;
    set->ttl_s = LOOP_TTL_S;
    return unusable(set, loop);
}

struct dns_set *dns_set_ref(struct dns_set *set)
{
    set->refs++;
    return set;
}

void dns_set_unref(struct dns_set **setp)
{
    struct dns_set *set = *setp;

    *setp = NULL;
    if (set == NULL || --set->refs > 0)
        return;
    arena_clear(&set->arena);
    mem_free(set);
}
