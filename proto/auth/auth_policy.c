/*
 * What is offered of what a back end has: see auth_policy.h. The security options are a table of words, each of which
 * wants a property to be there or not to be there. The filter is a list of names and tables; what a table said of a
 * mechanism is kept, since there are few mechanisms and EHLO cannot wait.
 */
#include "proto/auth/auth_policy.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "core/conf/conf_near.h"
#include "lookup/matchlist.h"

#define POLICY_KNOWN_MAX 64 /* mechanisms: a server that has more does not get them offered */

/* What the filter's tables said of one mechanism. */
struct known {
    bool asked, allowed;
};

struct auth_policy {
    unsigned forbidden[2], wanted[2]; /* enum auth_property, in clear and under TLS */
    struct matchlist *filter;
    struct op_scope scope;
    struct map known; /* name -> struct known */
};

/* ---- security options ---- */

static const struct {
    const char *word;
    unsigned forbids, wants;
} options[] = {
    {"noplaintext", AUTH_PLAINTEXT, 0},           {"noactive", AUTH_ACTIVE, 0},
    {"nodictionary", AUTH_DICTIONARY, 0},         {"noanonymous", AUTH_ANONYMOUS, 0},
    {"forward_secrecy", 0, AUTH_FORWARD_SECRECY}, {"mutual_auth", 0, AUTH_MUTUAL},
};

static void complain(const char *parameter, struct slice word, struct buf *err)
{
    char *name = mem_dup(word.p, word.n);
    struct conf_near near = {.name = name};

    for (size_t i = 0; i < ARRAY_LEN(options); i++)
        conf_near_try(&near, options[i].word);
    buf_printf(err, "%s: \"%s\" is not known", parameter, name);
    if (near.best != NULL)
        buf_printf(err, "; did you mean \"%s\"?\n", near.best);
    else
        buf_add_str(err,
                    "; there are noplaintext, noactive, nodictionary, noanonymous, forward_secrecy, mutual_auth\n");
    mem_free(name);
}

static bool read_options(struct auth_policy *p, bool tls, const char *parameter, const char *text, struct buf *err)
{
    struct slice rest = slice_str(text), word;
    bool ok = true;

    p->forbidden[tls] = AUTH_PRIVATE;
    while ((word = slice_token(&rest, ", \t\r\n")).n > 0) {
        size_t i = 0;

        while (i < ARRAY_LEN(options) && !slice_ieq(word, slice_str(options[i].word)))
            i++;
        if (i == ARRAY_LEN(options)) {
            complain(parameter, word, err);
            ok = false;
            continue;
        }
        p->forbidden[tls] |= options[i].forbids;
        p->wanted[tls] |= options[i].wants;
    }
    return ok;
}

/* ---- the filter ---- */

static struct matchlist *read_filter(struct tables *tables, const struct conf *c, struct buf *err)
{
    struct buf complaints = {0};
    struct matchlist *m = matchlist_new(tables, c->smtpd_sasl_mechanism_filter, MATCHLIST_STRING, &complaints);

    if (m == NULL)
        buf_printf(err, "smtpd_sasl_mechanism_filter: %s", buf_cstr(&complaints));
    buf_release(&complaints);
    return m;
}

static void on_filtered(void *owner, enum op_status status, const void *result)
{
    struct known *k = owner;
    const struct table_answer *answer = result;

    if (status == OP_OK || status == OP_NOTFOUND) {
        k->allowed = status == OP_OK;
        return;
    }
    k->asked = false; /* again when there is the next EHLO */
    log_event(LOG_TABLE_WARNING, NULL, "smtpd_sasl_mechanism_filter: %s",
              answer != NULL && answer->why != NULL ? answer->why : "timed out");
}

static bool passes_filter(struct auth_policy *p, struct slice name)
{
    int now = matchlist_match_now(p->filter, name);
    struct known *k;

    if (now >= 0)
        return now > 0;
    k = map_get(&p->known, name);
    if (k == NULL) {
        if (p->known.count == POLICY_KNOWN_MAX)
            return false;
        k = NEW(struct known);
        map_put(&p->known, name, k);
    }
    if (!k->asked) {
        k->asked = true;
        matchlist_match(p->filter, &p->scope, name, on_filtered, k);
    }
    return k->allowed;
}

/* ---- both ---- */

struct auth_policy *auth_policy_new(struct tables *tables, const struct conf *c, struct buf *err)
{
    struct auth_policy *p = NEW(struct auth_policy);
    bool ok;

    op_scope_init(&p->scope, "mechanism filter");
    ok = read_options(p, false, "smtpd_sasl_security_options", c->smtpd_sasl_security_options, err);
    ok = read_options(p, true, "smtpd_sasl_tls_security_options", c->smtpd_sasl_tls_security_options, err) && ok;
    p->filter = read_filter(tables, c, err);
    if (!ok || p->filter == NULL)
        auth_policy_free(&p);
    return p;
}

void auth_policy_free(struct auth_policy **pp)
{
    struct auth_policy *p = *pp;
    struct slice key;
    void *k;

    *pp = NULL;
    if (p == NULL)
        return;
    op_scope_close(&p->scope);
    for (size_t at = 0; map_next(&p->known, &at, &key, &k);)
        mem_free(k);
    map_clear(&p->known);
    matchlist_free(&p->filter);
    mem_free(p);
}

bool auth_policy_allows(struct auth_policy *p, const struct auth_mechanism *m, bool tls)
{
    if ((m->properties & p->forbidden[tls]) != 0 || (m->properties & p->wanted[tls]) != p->wanted[tls])
        return false;
    return passes_filter(p, slice_str(m->name));
}
