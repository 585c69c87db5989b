/*
 * Alias expansion: see rules_expand in rules.h and section 1.3 of postfix-semantics. The server asks once a message is
 * complete.
 *
 * Each recipient has a work list. Its left-most address is looked up; the first result takes its place and is looked
 * up in turn, the others go to the end of the list. An address among its own results is final. Every address remembers
 * which one it came from, so that a loop through several addresses is seen when it closes, and can be named; Postfix
 * would go round until a limit ends it.
 *
 * An alias whose sender wants to know of success (NOTIFY=SUCCESS) is reported as expanded; it stays in the envelope for
 * that, and its results lose that wish: RFC 3461 section 5.2.7.3, as in Postfix.
 *
 * All work is on copies: the asker may be gone before it ends, and a failure must leave the envelope as it was.
 */
#include "lookup/rules_int.h"

#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/base/map.h"
#include "lookup/addrlist.h"

/* Bounds on what tables can make of one message, whatever the limits allow. */
#define WORK_BYTES_MAX   (16u << 20) /* memory for the expansion of one recipient */
#define RESULT_BYTES_MAX (64u << 20) /* memory for the results */
#define RCPTS_MAX        100000      /* results */

/* An address on its way. */
struct node {
    const char *addr;
    struct slice folded; /* lower case: its identity */
    struct node *from;   /* whose expansion it is part of; NULL: the recipient itself */
    size_t finals;       /* how many addresses were final when it was expanded */
};

struct expand {
    struct rules_request q;
    /* the asker's; valid while it waits */
    struct envelope *envelope;
    struct arena *out;
    /* what there is to do */
    struct envelope_rcpt *rcpts;
    size_t nrcpts, at;
    /* the recipient at `at` */
    struct arena arena;
    struct node **work;
    size_t nwork, work_cap, work_at;
    int64_t depth;     /* expansions in place of work[work_at] */
    struct map finals; /* addresses that are among their own results */
    /* what has come out */
    struct envelope_rcpt *results;
    size_t nresults, results_cap;
    struct map seen;
    struct status status;
};

static void clear_recipient(struct expand *x)
{
    arena_clear(&x->arena);
    map_clear(&x->finals);
    x->nwork = x->work_at = 0;
    x->depth = 0;
}

static void clear(struct rules_request *q)
{
    struct expand *x = (struct expand *)q;

    clear_recipient(x);
    mem_free(x->work);
    mem_free(x->results);
    map_clear(&x->seen);
}

/* ---- the end ---- */

static struct envelope_rcpt copy_rcpt(struct arena *arena, const struct envelope_rcpt *rcpt)
{
    struct envelope_rcpt copy = *rcpt;

    copy.addr = arena_strdup(arena, rcpt->addr);
    copy.orig = arena_strdup(arena, rcpt->orig);
    copy.orcpt = arena_strdup(arena, rcpt->orcpt);
    return copy;
}

static void finish(struct expand *x, struct status status)
{
    x->status = status;
    if (status_is_ok(&status)) {
        struct envelope_rcpt *rcpts = arena_new_array(x->out, x->nresults, sizeof *rcpts);

        for (size_t i = 0; i < x->nresults; i++)
            rcpts[i] = copy_rcpt(x->out, &x->results[i]);
        x->envelope->rcpts = rcpts;
        x->envelope->nrcpts = x->nresults;
    }
    rules_request_finish(&x->q, OP_OK, &x->status);
}

/* Gives up; `why` is for the log. */
static void fail(struct expand *x, struct status status, const char *why)
{
    char qid[ID_TEXT];
    struct log_ctx ctx = {0};

    if (x->envelope->qid != 0)
        ctx.qid = id_format(qid, x->envelope->qid);
    log_event(LOG_CLEANUP_WARNING, &ctx, "virtual_alias_maps: %s for %s -- message not accepted, try again later", why,
              x->rcpts[x->at].addr);
    finish(x, status);
}

/* ---- results ---- */

/*
 * What makes two recipients one: the final address, and unless enable_original_recipient is off the original one and
 * what the sender asked for with it.
 */
static bool is_new(struct expand *x, const struct envelope_rcpt *rcpt)
{
    struct buf key = {0};
    bool fresh;

    if (x->q.rules->conf->enable_original_recipient)
        buf_printf(&key, "%s\n%u\n%s\n", rcpt->orcpt != NULL ? rcpt->orcpt : "", rcpt->notify,
                   rcpt->orig != NULL ? rcpt->orig : rcpt->addr);
    if (rcpt->action != ENVELOPE_ACTION_NONE)
        buf_add_str(&key, "\n"); /* to be reported: not the same as an address to deliver to */
    buf_add_str(&key, rcpt->addr);
    buf_cstr(&key);
    addr_fold(key.data);
    fresh = map_put(&x->seen, buf_slice(&key), x) == NULL;
    buf_release(&key);
    return fresh;
}

static void add_result(struct expand *x, const struct envelope_rcpt *from, const char *addr)
{
    struct envelope_rcpt rcpt = *from;

    if (rcpt.orig == NULL)
        rcpt.orig = from->addr;
    if (strcmp(rcpt.orig, addr) == 0 || !x->q.rules->conf->enable_original_recipient)
        rcpt.orig = NULL;
    rcpt.addr = addr;
    if (!is_new(x, &rcpt))
        return;
    rcpt.addr = arena_strdup(&x->q.arena, addr);
    if (x->nresults == x->results_cap) {
        x->results_cap = x->results_cap ? x->results_cap * 2 : 16;
        x->results = mem_resize(x->results, x->results_cap * sizeof *x->results);
    }
    x->results[x->nresults++] = rcpt;
}

/* ---- one recipient ---- */

static struct node *node_new(struct expand *x, const char *addr, struct node *from)
{
    struct node *n = ARENA_NEW(&x->arena, struct node);
    char *folded = arena_strdup(&x->arena, addr);

    addr_fold(folded);
    n->addr = addr;
    n->folded = slice_str(folded);
    n->from = from;
    return n;
}

static void append_work(struct expand *x, struct node *n)
{
    if (x->nwork == x->work_cap) {
        x->work_cap = x->work_cap ? x->work_cap * 2 : 16;
        x->work = mem_resize(x->work, x->work_cap * sizeof(struct node *));
    }
    x->work[x->nwork++] = n;
}

/*
 * The ancestor whose expansion `n` would only repeat: the same address, and nothing became final since. NULL: none.
 */
static const struct node *find_loop(const struct expand *x, const struct node *n)
{
    for (const struct node *up = n->from; up != NULL; up = up->from) {
        if (up->finals != x->finals.count)
            return NULL; /* all further up were expanded with fewer still */
        if (slice_eq(up->folded, n->folded))
            return up;
    }
    return NULL;
}

/* "alias loop: a@x -> b@x -> a@x" */
static void fail_loop(struct expand *x, const struct node *first, const struct node *last)
{
    const char *text = last->addr;
    struct status status;

    /* A name for each is enough for a look at the tables; the reply line has no room for more than a few. */
    for (const struct node *n = last; n != first && strlen(text) < sizeof status.text; n = n->from)
        text = arena_printf(&x->arena, "%s -> %s", n->from->addr, text);
    text = arena_printf(&x->arena, "alias loop: %s", text);
    status = status_make(STATUS_ALIAS_ERROR, "%s", text);
    fail(x, status, text);
}

static const char *result_address(struct expand *x, const struct node *n, const char *item, const char *extension)
{
    const struct rules *r = x->q.rules;

    return rules_result_address(r, &x->arena, n->addr, item, extension, r->propagate_extensions);
}

/* Puts one result in its place; false when expansion has failed. */
static bool add_work(struct expand *x, struct node *n, size_t i, const char *addr)
{
    const struct conf *conf = x->q.rules->conf;
    struct node *result = node_new(x, addr, n);

    if (i == 0)
        x->work[x->work_at] = result;
    else
        append_work(x, result);
    if (slice_eq(result->folded, n->folded))
        map_put(&x->finals, n->folded, x);
    if (result->folded.n > (size_t)conf->virtual_alias_address_length_limit)
        fail(x, status_of(STATUS_ALIAS_ERROR), "unreasonably long result");
    else if (x->nwork > (size_t)conf->virtual_alias_expansion_limit || x->arena.used > WORK_BYTES_MAX)
        fail(x, status_of(STATUS_ALIAS_ERROR), "unreasonable map expansion size");
    else
        return true;
    return false;
}

/* Puts the results in the place of the address they are for; false when expansion has failed. */
static bool replace(struct expand *x, struct node *n, const struct addrlist *list, const char *extension)
{
    const char **results = arena_new_array(&x->arena, list->count, sizeof *results);
    const struct table_trace *trace = x->q.scope.trace;

    n->finals = x->finals.count;
    x->depth++;
    for (size_t i = 0; i < list->count; i++)
        results[i] = result_address(x, n, list->items[i], extension);
    if (trace != NULL)
        trace->expanded(trace->arg, n->addr, results, list->count);
    for (size_t i = 0; i < list->count; i++)
        if (!add_work(x, n, i, results[i]))
            return false;
    return true;
}

static bool expand_by(struct expand *x, const struct maps_address_answer *answer)
{
    struct node *n = x->work[x->work_at];
    size_t max = (size_t)x->q.rules->conf->virtual_alias_expansion_limit;
    struct addrlist list;
    enum addrlist_result parsed = addrlist_parse(slice_str(answer->value), max, &x->arena, &list);

    if (parsed == ADDRLIST_TOO_MANY) {
        fail(x, status_of(STATUS_ALIAS_ERROR), "unreasonable map expansion size");
    } else if (parsed != ADDRLIST_OK || list.count == 0) {
        fail(x, status_of(STATUS_ALIAS_ERROR),
             arena_printf(&x->arena, "non-address result \"%.200s\" of %s", answer->value, n->addr));
    } else {
        return replace(x, n, &list, answer->extension);
    }
    return false;
}

/* ---- all of them ---- */

static void step(struct expand *x);

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct expand *x = owner;

    if (status == OP_OK) {
        if (!expand_by(x, result))
            return;
    } else if (status == OP_NOTFOUND) {
        x->work_at++;
        x->depth = 0;
    } else {
        fail(x, status_of(STATUS_TABLE_TEMPFAIL), "map lookup problem");
        return;
    }
    step(x);
}

/* The next address of the recipient that is not known to be final; NULL: there is none. */
static const struct node *next_address(struct expand *x)
{
    for (; x->work_at < x->nwork; x->work_at++, x->depth = 0)
        if (map_get(&x->finals, x->work[x->work_at]->folded) == NULL)
            return x->work[x->work_at];
    return NULL;
}

/* May `n` be expanded? If not, expansion has failed. */
static bool may_expand(struct expand *x, const struct node *n)
{
    const struct node *loop = find_loop(x, n);

    if (loop != NULL)
        fail_loop(x, loop, n);
    else if (x->depth >= x->q.rules->conf->virtual_alias_recursion_limit)
        fail(x, status_of(STATUS_ALIAS_ERROR), "unreasonable map nesting");
    else
        return true;
    return false;
}

/* Is the recipient an alias? `addr` is itself, in the form of the results. */
static bool is_expanded(const struct expand *x, const char *addr)
{
    return x->nwork != 1 || strcmp(x->work[0]->addr, addr) != 0;
}

/* The alias itself, which its sender wants to hear of; the results then have nothing more to say about success. */
static void report_expanded(struct expand *x, struct envelope_rcpt *rcpt, const char *addr)
{
    struct envelope_rcpt alias = *rcpt;

    alias.action = ENVELOPE_ACTION_EXPANDED;
    if (x->envelope->sender[0] != '\0')
        add_result(x, &alias, addr);
    rcpt->notify &= ~(unsigned)ENVELOPE_NOTIFY_SUCCESS;
    if (rcpt->notify == 0)
        rcpt->notify = ENVELOPE_NOTIFY_NEVER;
}

/* The work list is done: its addresses are the recipient's. */
static bool end_recipient(struct expand *x)
{
    struct envelope_rcpt rcpt = x->rcpts[x->at];
    const char *addr = rules_canonical(x->q.rules, &x->arena, slice_str(rcpt.addr));

    if ((rcpt.notify & ENVELOPE_NOTIFY_SUCCESS) != 0 && is_expanded(x, addr))
        report_expanded(x, &rcpt, addr);
    for (size_t i = 0; i < x->nwork; i++)
        add_result(x, &rcpt, x->work[i]->addr);
    if (x->nresults <= RCPTS_MAX && x->q.arena.used <= RESULT_BYTES_MAX)
        return true;
    fail(x, status_of(STATUS_ALIAS_ERROR), "too many recipients");
    return false;
}

static void begin_recipient(struct expand *x)
{
    const char *addr;

    clear_recipient(x);
    addr = rules_canonical(x->q.rules, &x->arena, slice_str(x->rcpts[x->at].addr));
    rules_srs_back(x->q.rules, &x->arena, addr, &addr); /* what comes back to a sender that we made */
    append_work(x, node_new(x, addr, NULL));
}

static void step(struct expand *x)
{
    const struct maps *maps = x->q.rules->recipients[RULES_CLASS_VIRTUAL_ALIAS];

    while (x->at < x->nrcpts) {
        const struct node *n = maps_empty(maps) ? NULL : next_address(x);

        if (n != NULL) {
            if (may_expand(x, n))
                rules_find_address(x->q.rules, &x->q.scope, maps, n->addr, on_answer, x);
            return;
        }
        if (!end_recipient(x))
            return;
        if (++x->at < x->nrcpts)
            begin_recipient(x);
    }
    finish(x, status_ok());
}

void rules_expand(struct rules *r, struct op_scope *scope, struct envelope *envelope, struct arena *arena,
                  op_done_fn *done, void *owner)
{
    struct expand *x = rules_request_new(r, sizeof *x, scope, "expand aliases", done, owner);

    x->status = status_of(STATUS_TABLE_TEMPFAIL);
    x->q.clear = clear;
    x->envelope = envelope;
    x->out = arena;
    x->nrcpts = envelope->nrcpts;
    x->rcpts = arena_new_array(&x->q.arena, x->nrcpts, sizeof *x->rcpts);
    for (size_t i = 0; i < x->nrcpts; i++)
        x->rcpts[i] = copy_rcpt(&x->q.arena, &envelope->rcpts[i]);
    if (x->nrcpts > 0)
        begin_recipient(x);
    step(x);
}
