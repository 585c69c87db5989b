/*
 * What the rules know about addresses: their complete form, which domains are this host itself, and the search of
 * virtual(5), which asks for "user" alone where the domain is ours. Used by the other files of the rules.
 */
#include "lookup/rules_int.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"

static bool is_literal(struct slice domain)
{
    return domain.n > 2 && domain.p[0] == '[' && domain.p[domain.n - 1] == ']';
}

bool rules_is_own_literal(const struct rules *r, struct slice domain)
{
    const struct slice tag = SLICE_LIT("IPv6:");
    struct slice inner;
    char *text;
    bool own;

    if (!is_literal(domain))
        return false;
    inner = slice_make(domain.p + 1, domain.n - 2);
    if (slice_istarts(inner, tag))
        inner = slice_from(inner, tag.n);
    text = mem_dup(inner.p, inner.n);
    own = conf_is_own_address(r->conf, text);
    mem_free(text);
    return own;
}

struct slice rules_domain(struct slice domain)
{
    if (domain.n > 1 && domain.p[domain.n - 1] == '.' && domain.p[domain.n - 2] != '.')
        domain.n--;
    return domain;
}

const char *rules_canonical(const struct rules *r, struct arena *arena, struct slice address)
{
    const struct conf *conf = r->conf;
    struct addr_parts parts = addr_split(address);
    struct slice domain = rules_domain(parts.domain), local = parts.local;
    const char *dot = "", *mydomain = "";

    if (domain.n == 0) {
        domain = slice_str(conf->append_at_myorigin ? conf->myorigin : conf->myhostname);
        if (local.n == 0)
            local = slice_str(conf->empty_address_recipient);
    }
    if (conf->append_dot_mydomain && !is_literal(domain) && slice_find(domain, '.') == SLICE_NOT_FOUND) {
        dot = ".";
        mydomain = conf->mydomain;
    }
    return arena_printf(arena, "%.*s@%.*s%s%s", (int)local.n, local.p != NULL ? local.p : "", (int)domain.n, domain.p,
                        dot, mydomain);
}

const char *rules_result_address(const struct rules *r, struct arena *arena, const char *source_address,
                                 const char *item, const char *extension, bool propagate)
{
    struct addr_parts parts = addr_split(slice_str(item)), source = addr_split(slice_str(source_address));
    const char *whole = item;

    if (parts.local.n == 0) {
        source.local.n -= strlen(extension);
        whole = arena_printf(arena, "%.*s%s", (int)source.local.n, source.local.p, item);
    }
    whole = rules_canonical(r, arena, slice_str(whole));
    if (!propagate || extension[0] == '\0')
        return whole;
    parts = addr_split(slice_str(whole));
    return arena_printf(arena, "%.*s%s@%s", (int)parts.local.n, parts.local.p, extension, parts.domain.p);
}

/* ---- virtual(5)'s search ---- */

/* Whether "user" alone is a key has to be found out first. */
struct find {
    struct rules_request q;
    const struct maps *maps;
    const char *address;
    struct maps_address_answer answer;
};

static void find_keys(const struct rules *r, struct op_scope *scope, const struct maps *maps, const char *address,
                      bool bare_user, op_done_fn *done, void *owner)
{
    struct maps_address_opts opts = {r->conf->recipient_delimiter, bare_user};

    maps_find_address(maps, scope, address, &opts, done, owner);
}

static void on_found(void *owner, enum op_status status, const void *result)
{
    struct find *f = owner;
    const struct maps_address_answer *answer = result;

    f->answer = (struct maps_address_answer){
        .value = arena_strdup(&f->q.arena, answer->value),
        .extension = arena_strdup(&f->q.arena, answer->extension),
        .key = arena_strdup(&f->q.arena, answer->key),
        .why = arena_strdup(&f->q.arena, answer->why),
    };
    rules_request_finish(&f->q, status, &f->answer);
}

static void on_local(void *owner, enum op_status status, const void *result)
{
    struct find *f = owner;

    if (status == OP_OK || status == OP_NOTFOUND) {
        find_keys(f->q.rules, &f->q.scope, f->maps, f->address, status == OP_OK, on_found, f);
        return;
    }
    f->answer.why = rules_why(&f->q, result);
    rules_request_finish(&f->q, OP_TEMPFAIL, &f->answer);
}

void rules_find_address(struct rules *r, struct op_scope *scope, const struct maps *maps, const char *address,
                        op_done_fn *done, void *owner)
{
    struct slice domain = addr_split(slice_str(address)).domain;
    bool own = slice_ieq(domain, slice_str(r->conf->myorigin)) || rules_is_own_literal(r, domain);
    int local = own ? 1 : matchlist_match_now(r->domains[RULES_CLASS_LOCAL], domain);
    struct find *f;

    if (local >= 0) {
        find_keys(r, scope, maps, address, local > 0, done, owner);
        return;
    }
    f = rules_request_new(r, sizeof *f, scope, "find address", done, owner);
    f->maps = maps;
    f->address = arena_strdup(&f->q.arena, address);
    matchlist_match(r->domains[RULES_CLASS_LOCAL], &f->q.scope, domain, on_local, f);
}
