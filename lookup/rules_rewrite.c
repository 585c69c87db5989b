/*
 * Addresses changed before aliases are looked at: canonical(5), masquerading, copies (ADDRESS_REWRITING_README), and
 * what srs_forwarding is compiled from. The server asks for the envelope when a message is complete, and for the
 * addresses of headers.
 */
#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "lookup/addrlist.h"
#include "lookup/rules_int.h"

#include <errno.h>
#include <stdio.h>

#define ROUNDS_MOST 10    /* canonical_maps are asked again for what they answer, until it stays */
#define SECRETS_MAX 65536 /* bytes of a file of secrets */

/* ---- compiling ---- */

static const struct {
    const char *word;
    enum rules_rewrite bit;
} classes[] = {
    {"envelope_sender", RULES_REWRITE_ENVELOPE_SENDER},
    {"envelope_recipient", RULES_REWRITE_ENVELOPE_RECIPIENT},
    {"header_sender", RULES_REWRITE_HEADER_SENDER},
    {"header_recipient", RULES_REWRITE_HEADER_RECIPIENT},
};

static unsigned read_classes(const char *parameter, const char *list, struct buf *err)
{
    struct slice rest = slice_str(list), word;
    unsigned bits = 0;

    while ((word = slice_token(&rest, ", \t\r\n")).n > 0) {
        size_t i = 0;

        while (i < ARRAY_LEN(classes) && !slice_ieq(word, slice_str(classes[i].word)))
            i++;
        if (i == ARRAY_LEN(classes))
            buf_printf(err,
                       "%s: \"%.*s\" is none of envelope_sender, envelope_recipient, header_sender, header_recipient\n",
                       parameter, (int)word.n, word.p);
        else
            bits |= classes[i].bit;
    }
    return bits;
}

/* The secrets themselves, or those in the file that is named; NULL, with a complaint, when there are none. */
static char *read_secrets(const struct conf *conf, struct buf *err)
{
    struct buf text = {.max = SECRETS_MAX};
    char *secrets;
    FILE *f;
    int c;

    if (conf->srs_secret[0] != '/') {
        buf_add_str(&text, conf->srs_secret);
    } else if ((f = fopen(conf->srs_secret, "re")) == NULL) {
        buf_printf(err, "srs_secret: %s: %s\n", conf->srs_secret, strerror(errno));
        return NULL;
    } else {
        while ((c = getc(f)) != EOF && buf_add_char(&text, (char)c))
            ;
        fclose(f);
    }
    secrets = srs_first_secret(buf_len(&text) > 0 ? buf_slice(&text) : SLICE_EMPTY).n > 0 ? mem_strdup(buf_cstr(&text))
                                                                                          : NULL;
    if (secrets == NULL)
        buf_printf(err, "srs_secret: srs_forwarding needs a secret, such as the output of "
                        "\"openssl rand -hex 16\", or the path of a file with one\n");
    buf_release(&text);
    return secrets;
}

bool rules_rewrite_open(struct rules *r, struct buf *err)
{
    const struct conf *c = r->conf;
    size_t complaints = buf_len(err);

    r->canonical_classes = read_classes("canonical_classes", c->canonical_classes, err);
    r->sender_canonical_classes = read_classes("sender_canonical_classes", c->sender_canonical_classes, err);
    r->recipient_canonical_classes = read_classes("recipient_canonical_classes", c->recipient_canonical_classes, err);
    r->masquerade_classes = slice_trim(slice_str(c->masquerade_domains)).n > 0
                                ? read_classes("masquerade_classes", c->masquerade_classes, err)
                                : 0;
    if (c->srs_forwarding)
        r->srs_secrets = read_secrets(c, err);
    return buf_len(err) == complaints;
}

bool rules_is_srs_domain(const struct rules *r, struct slice domain)
{
    return r->srs_secrets != NULL && slice_ieq(domain, slice_str(r->conf->srs_domain));
}

enum srs_way rules_srs_back(const struct rules *r, struct arena *a, const char *recipient, const char **address)
{
    if (!rules_is_srs_domain(r, addr_split(slice_str(recipient)).domain))
        return SRS_NONE;
    return srs_back(a, slice_str(r->srs_secrets), recipient, clock_wall_us() / 1000000, address);
}

/* ---- masquerading ---- */

static bool listed(const char *list, struct slice name)
{
    struct slice rest = slice_str(list), word;

    while ((word = slice_token(&rest, ", \t\r\n")).n > 0)
        if (slice_ieq(word, name))
            return true;
    return false;
}

/* Is the domain below `parent`? */
static bool is_below(struct slice domain, struct slice parent)
{
    return domain.n > parent.n + 1 && domain.p[domain.n - parent.n - 1] == '.' &&
           slice_ieq(slice_from(domain, domain.n - parent.n), parent);
}

/* masquerade_domains from left to right: the first one that the address is of or below says what becomes of it. */
static const char *masquerade(const struct rules *r, struct arena *a, const char *address)
{
    struct addr_parts parts = addr_split(slice_str(address));
    struct slice rest = slice_str(r->conf->masquerade_domains), word;

    if (listed(r->conf->masquerade_exceptions, parts.local))
        return address;
    while ((word = slice_token(&rest, ", \t\r\n")).n > 0) {
        bool except = word.p[0] == '!';

        if (except)
            word = slice_from(word, 1);
        if (slice_ieq(parts.domain, word) || (except && is_below(parts.domain, word)))
            break;
        if (is_below(parts.domain, word))
            return arena_printf(a, "%.*s@%.*s", (int)parts.local.n, parts.local.p, (int)word.n, word.p);
    }
    return address;
}

/* ---- one address ---- */

struct rewrite {
    struct rules_request q;
    const struct maps *maps[2];
    size_t nmaps, at;
    int rounds;
    enum rules_rewrite kind;
    const char *address;
    struct table_answer failure;
};

/* The tables for an address of this kind, in order. */
static size_t tables_for(const struct rules *r, enum rules_rewrite kind, const struct maps *maps[2])
{
    bool sender = kind == RULES_REWRITE_ENVELOPE_SENDER || kind == RULES_REWRITE_HEADER_SENDER;
    const struct maps *own = sender ? r->sender_canonical : r->recipient_canonical;
    unsigned own_classes = sender ? r->sender_canonical_classes : r->recipient_canonical_classes;
    size_t n = 0;

    if (!maps_empty(own) && own_classes & kind)
        maps[n++] = own;
    if (!maps_empty(r->canonical) && r->canonical_classes & kind)
        maps[n++] = r->canonical;
    return n;
}

bool rules_rewrites(const struct rules *r, enum rules_rewrite kind)
{
    const struct maps *maps[2];

    return tables_for(r, kind, maps) > 0 || (r->masquerade_classes & kind) != 0;
}

static void rewrite_next(struct rewrite *w);

static void next_table(struct rewrite *w)
{
    w->at++;
    w->rounds = 0;
    rewrite_next(w);
}

const char *rules_one_address(const struct rules *r, struct arena *arena, const char *what, const char *address,
                              const struct maps_address_answer *answer, bool propagate)
{
    struct addrlist list;

    if (addrlist_parse(slice_str(answer->value), 2, arena, &list) == ADDRLIST_OK && list.count == 1)
        return rules_result_address(r, arena, address, list.items[0], answer->extension, propagate);
    log_event(LOG_CLEANUP_WARNING, NULL, "%s: \"%.200s\" of %s is not one address: it is left as it is", what,
              answer->value, address);
    return NULL;
}

/* False: it changes nothing. */
static bool take_result(struct rewrite *w, const struct maps_address_answer *answer)
{
    const struct rules *r = w->q.rules;
    const char *address = rules_one_address(r, &w->q.arena, "canonical", w->address, answer, r->propagate_canonical);

    if (address != NULL)
        w->address = address;
    return address != NULL;
}

static void on_canonical(void *owner, enum op_status status, const void *result)
{
    struct rewrite *w = owner;
    const char *before = w->address;

    if (status != OP_OK && status != OP_NOTFOUND) {
        w->failure.why = arena_strdup(&w->q.arena, ((const struct maps_address_answer *)result)->why);
        rules_request_finish(&w->q, OP_TEMPFAIL, &w->failure);
    } else if (status == OP_NOTFOUND || !take_result(w, result) ||
               slice_ieq(slice_str(before), slice_str(w->address))) {
        next_table(w);
    } else if (++w->rounds == ROUNDS_MOST) {
        log_event(LOG_CLEANUP_WARNING, NULL, "canonical: unreasonable map nesting for %s", w->address);
        next_table(w);
    } else {
        rewrite_next(w);
    }
}

static void rewrite_next(struct rewrite *w)
{
    struct rules *r = w->q.rules;

    if (w->at < w->nmaps) {
        rules_find_address(r, &w->q.scope, w->maps[w->at], w->address, on_canonical, w);
        return;
    }
    if (r->masquerade_classes & w->kind)
        w->address = masquerade(r, &w->q.arena, w->address);
    rules_request_finish(&w->q, OP_OK, w->address);
}

void rules_rewrite(struct rules *r, struct op_scope *scope, const char *address, enum rules_rewrite kind,
                   op_done_fn *done, void *owner)
{
    struct rewrite *w = rules_request_new(r, sizeof *w, scope, "rewrite", done, owner);

    w->kind = kind;
    w->nmaps = tables_for(r, kind, w->maps);
    w->address = rules_canonical(r, &w->q.arena, slice_str(address));
    rewrite_next(w);
}

/* ---- the envelope ---- */

struct envelope_work {
    struct rules_request q;
    /* the asker's; valid while it waits */
    struct envelope *envelope;
    struct arena *out;
    const char *sender;
    struct envelope_rcpt *rcpts;
    size_t nrcpts, cap, given; /* given: those that the client named, before the copies */
    size_t at;                 /* the recipient that is worked on */
    struct status status;
};

static void clear_work(struct rules_request *q)
{
    mem_free(((struct envelope_work *)q)->rcpts);
}

static void envelope_finish(struct envelope_work *w)
{
    struct envelope_rcpt *rcpts = arena_new_array(w->out, w->nrcpts, sizeof *rcpts);

    for (size_t i = 0; i < w->nrcpts; i++) {
        rcpts[i] = w->rcpts[i];
        rcpts[i].addr = arena_strdup(w->out, rcpts[i].addr);
        rcpts[i].orig = arena_strdup(w->out, rcpts[i].orig);
        rcpts[i].orcpt = arena_strdup(w->out, rcpts[i].orcpt);
    }
    w->envelope->sender = arena_strdup(w->out, w->sender);
    w->envelope->rcpts = rcpts;
    w->envelope->nrcpts = w->nrcpts;
    w->status = status_ok();
    rules_request_finish(&w->q, OP_OK, &w->status);
}

static void envelope_fail(struct envelope_work *w, const char *why)
{
    char qid[ID_TEXT];
    struct log_ctx ctx = {0};

    if (w->envelope->qid != 0)
        ctx.qid = id_format(qid, w->envelope->qid);
    log_event(LOG_CLEANUP_WARNING, &ctx, "rewriting of addresses: %s -- message not accepted, try again later",
              why != NULL ? why : "timed out");
    rules_request_finish(&w->q, OP_OK, &w->status);
}

/* A copy for `address`: nothing of it is reported. */
static void add_copy(struct envelope_work *w, const char *address)
{
    if (w->nrcpts == w->cap) {
        w->cap = w->cap * 2 + 4;
        w->rcpts = mem_resize(w->rcpts, w->cap * sizeof *w->rcpts);
    }
    w->rcpts[w->nrcpts++] = (struct envelope_rcpt){.addr = address, .notify = ENVELOPE_NOTIFY_NEVER};
}

/* Copies for all addresses of a list. */
static void add_copies(struct envelope_work *w, const char *text)
{
    struct addrlist list;

    if (addrlist_parse(slice_str(text), 100, &w->q.arena, &list) != ADDRLIST_OK) {
        log_event(LOG_CLEANUP_WARNING, NULL, "bcc: \"%.200s\" is not an address: no copy is made", text);
        return;
    }
    for (size_t i = 0; i < list.count; i++)
        add_copy(w, rules_canonical(w->q.rules, &w->q.arena, slice_str(list.items[i])));
}

static void next_recipient(struct envelope_work *w);

static void on_recipient_bcc(void *owner, enum op_status status, const void *result)
{
    struct envelope_work *w = owner;
    const struct maps_address_answer *answer = result;

    if (status != OP_OK && status != OP_NOTFOUND) {
        envelope_fail(w, answer->why);
        return;
    }
    if (status == OP_OK)
        add_copies(w, answer->value);
    w->at++;
    next_recipient(w);
}

static void on_recipient(void *owner, enum op_status status, const void *result)
{
    struct envelope_work *w = owner;
    struct rules *r = w->q.rules;
    struct envelope_rcpt *rcpt = &w->rcpts[w->at];

    if (status != OP_OK) {
        envelope_fail(w, ((const struct table_answer *)result)->why);
        return;
    }
    if (strcmp(rcpt->addr, result) != 0) {
        if (rcpt->orig == NULL && r->conf->enable_original_recipient && w->at < w->given)
            rcpt->orig = rcpt->addr;
        rcpt->addr = arena_strdup(&w->q.arena, result);
    }
    if (w->at < w->given && !maps_empty(r->recipient_bcc)) {
        rules_find_address(r, &w->q.scope, r->recipient_bcc, rcpt->addr, on_recipient_bcc, w);
        return;
    }
    w->at++;
    next_recipient(w);
}

static void next_recipient(struct envelope_work *w)
{
    struct rules *r = w->q.rules;

    if (w->at == w->nrcpts)
        envelope_finish(w);
    else if (rules_rewrites(r, RULES_REWRITE_ENVELOPE_RECIPIENT))
        rules_rewrite(r, &w->q.scope, w->rcpts[w->at].addr, RULES_REWRITE_ENVELOPE_RECIPIENT, on_recipient, w);
    else if (w->at < w->given && !maps_empty(r->recipient_bcc))
        rules_find_address(r, &w->q.scope, r->recipient_bcc,
                           rules_canonical(r, &w->q.arena, slice_str(w->rcpts[w->at].addr)), on_recipient_bcc, w);
    else {
        w->at = w->nrcpts; /* there is nothing to ask for */
        envelope_finish(w);
    }
}

static void on_sender_bcc(void *owner, enum op_status status, const void *result)
{
    struct envelope_work *w = owner;
    const struct maps_address_answer *answer = result;

    if (status != OP_OK && status != OP_NOTFOUND) {
        envelope_fail(w, answer->why);
        return;
    }
    if (status == OP_OK)
        add_copies(w, answer->value);
    next_recipient(w);
}

static void copies_of_sender(struct envelope_work *w)
{
    struct rules *r = w->q.rules;

    add_copies(w, r->conf->always_bcc);
    if (w->sender[0] != '\0' && !maps_empty(r->sender_bcc))
        rules_find_address(r, &w->q.scope, r->sender_bcc, rules_canonical(r, &w->q.arena, slice_str(w->sender)),
                           on_sender_bcc, w);
    else
        next_recipient(w);
}

static void on_sender(void *owner, enum op_status status, const void *result)
{
    struct envelope_work *w = owner;

    if (status != OP_OK) {
        envelope_fail(w, ((const struct table_answer *)result)->why);
        return;
    }
    w->sender = arena_strdup(&w->q.arena, result);
    copies_of_sender(w);
}

void rules_rewrite_envelope(struct rules *r, struct op_scope *scope, struct envelope *e, struct arena *arena,
                            op_done_fn *done, void *owner)
{
    struct envelope_work *w = rules_request_new(r, sizeof *w, scope, "rewrite envelope", done, owner);

    w->status = status_of(STATUS_TABLE_TEMPFAIL);
    w->q.clear = clear_work;
    w->envelope = e;
    w->out = arena;
    w->sender = arena_strdup(&w->q.arena, e->sender);
    w->nrcpts = w->given = w->cap = e->nrcpts;
    w->rcpts = mem_new_array(e->nrcpts, sizeof *w->rcpts);
    for (size_t i = 0; i < e->nrcpts; i++)
        w->rcpts[i] = e->rcpts[i];
    if (w->sender[0] != '\0' && rules_rewrites(r, RULES_REWRITE_ENVELOPE_SENDER))
        rules_rewrite(r, &w->q.scope, w->sender, RULES_REWRITE_ENVELOPE_SENDER, on_sender, w);
    else
        copies_of_sender(w);
}
