/*
 * Lists of patterns: see matchlist.h. Compiled once into items in order; a match walks them and stops at the first that
 * fits. Used by the rules (which class is a domain in) and by the server (mynetworks). Without tables a match is
 * immediate; with tables it is one op that holds the scope of the table look-up it waits for, and that ends without a
 * look at the list when nobody waits for it any more.
 */
#include "lookup/matchlist.h"

#include "core/base/alloc.h"
#include "core/base/arena.h"
#include "core/base/ip.h"
#include "lookup/maps.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define INCLUDE_DEPTH_MAX 10 /* files that include files: only a loop is deeper */

enum item_kind {
    ITEM_PLAIN,
    ITEM_TABLE,
    ITEM_BLOCK,
    ITEM_ALL, /* "static:x", which answers every question */
};

struct item {
    enum item_kind kind;
    bool negated;
    const char *text;      /* ITEM_PLAIN */
    struct table *table;   /* ITEM_TABLE */
    struct ip_block block; /* ITEM_BLOCK */
};

struct matchlist {
    struct loop *loop;
    enum matchlist_kind kind;
    struct item *items;
    size_t count;
    struct arena arena;
};

/* ---- compiling ---- */

struct compile {
    struct matchlist *list;
    struct tables *tables;
    struct buf *err;
    int depth;
};

static bool add_items(struct compile *c, struct slice text, bool negated);

static struct item *add_item(struct matchlist *m, enum item_kind kind, bool negated)
{
    m->items = mem_resize(m->items, (m->count + 1) * sizeof *m->items);
    m->items[m->count] = (struct item){.kind = kind, .negated = negated};
    return &m->items[m->count++];
}

/* An included file is more of the list; lines that begin with '#' are comments. */
static bool add_file(struct compile *c, struct slice path, bool negated)
{
    char *name = mem_dup(path.p, path.n), *line = NULL;
    FILE *file = NULL;
    size_t cap = 0;
    ssize_t n;
    bool ok;

    if (c->depth >= INCLUDE_DEPTH_MAX) {
        buf_printf(c->err, "%s: included by itself or too deeply\n", name);
    } else if ((file = fopen(name, "re")) == NULL) {
        buf_printf(c->err, "%s: %s\n", name, strerror(errno));
    }
    ok = file != NULL;
    c->depth++;
    while (file != NULL && (n = getline(&line, &cap, file)) >= 0)
        if (line[0] != '#')
            ok = add_items(c, slice_make(line, (size_t)n), negated) && ok;
    c->depth--;
    if (file != NULL)
        fclose(file);
    free(line);
    mem_free(name);
    return ok;
}

static bool add_table(struct compile *c, struct slice spec, bool negated)
{
    char *copy = mem_dup(spec.p, spec.n);
    struct table *table = tables_open(c->tables, copy, c->err);

    mem_free(copy);
    if (table == NULL) {
        buf_add_char(c->err, '\n');
        return false;
    }
    if (slice_starts(spec, SLICE_LIT("static:")))
        add_item(c->list, ITEM_ALL, negated);
    else
        add_item(c->list, ITEM_TABLE, negated)->table = table;
    return true;
}

static bool add_block(struct compile *c, struct slice item, bool negated)
{
    char text[IP_BLOCK_WRITTEN], good[IP_BLOCK_TEXT];
    struct ip_block block;

    if (!ip_block_unbracket(item, text) || ip_block_parse(slice_str(text), &block) == IP_BLOCK_SYNTAX) {
        buf_printf(c->err,
                   "\"%.*s\" is not a numeric address or block (IPv6 is written in brackets, [2001:db8::]/32)\n",
                   (int)item.n, item.p);
        return false;
    }
    if (ip_block_parse(slice_str(text), &block) == IP_BLOCK_HOST_BITS) {
        buf_printf(c->err, "\"%.*s\" has bits set behind its prefix; the block is \"%s\"\n", (int)item.n, item.p,
                   ip_block_format(good, &block));
        return false;
    }
    add_item(c->list, ITEM_BLOCK, negated)->block = block;
    return true;
}

static bool add_one(struct compile *c, struct slice item, bool negated)
{
    while (item.n > 0 && item.p[0] == '!') {
        negated = !negated;
        item = slice_from(item, 1);
    }
    if (item.n == 0) {
        buf_printf(c->err, "\"!\" without a pattern\n");
        return false;
    }
    if (item.p[0] == '/')
        return add_file(c, item, negated);
    /* Postfix takes everything with a colon for a table, unless it begins with a bracket. */
    if (item.p[0] != '[' && slice_find(item, ':') != SLICE_NOT_FOUND)
        return add_table(c, item, negated);
    if (c->list->kind == MATCHLIST_NETWORK)
        return add_block(c, item, negated);
    add_item(c->list, ITEM_PLAIN, negated)->text = arena_slice_dup(&c->list->arena, item);
    return true;
}

static bool add_items(struct compile *c, struct slice text, bool negated)
{
    struct slice item;
    bool ok = true;

    while ((item = maps_list_item(&text)).n > 0)
        ok = add_one(c, item, negated) && ok;
    return ok;
}

struct matchlist *matchlist_new(struct tables *tables, const char *list, enum matchlist_kind kind, struct buf *err)
{
    struct matchlist *m = NEW(struct matchlist);
    struct compile c = {.list = m, .tables = tables, .err = err};

    m->loop = tables_loop(tables);
    m->kind = kind;
    if (!add_items(&c, slice_str(list), false))
        matchlist_free(&m);
    return m;
}

void matchlist_free(struct matchlist **mp)
{
    struct matchlist *m = *mp;

    if (m == NULL)
        return;
    *mp = NULL;
    arena_clear(&m->arena);
    mem_free(m->items);
    mem_free(m);
}

/* ---- matching ---- */

struct subject {
    struct slice key;
    bool numeric;
    struct ip ip;
};

static struct subject subject_of(const struct matchlist *m, struct slice key)
{
    struct subject s = {.key = key};

    s.numeric = m->kind == MATCHLIST_NETWORK && ip_parse(key, &s.ip);
    return s;
}

/* Is `key` below the domain of the pattern? */
static bool is_below(enum matchlist_kind kind, struct slice key, struct slice pattern)
{
    bool dotted = slice_starts(pattern, SLICE_LIT("."));
    size_t tail;

    if (kind == MATCHLIST_STRING || (kind == MATCHLIST_DOTTED && !dotted) || key.n <= pattern.n)
        return false;
    tail = key.n - pattern.n;
    return slice_ieq(slice_from(key, tail), pattern) && (dotted || key.p[tail - 1] == '.');
}

static bool item_fits(const struct matchlist *m, const struct item *item, const struct subject *s)
{
    struct slice pattern = slice_str(item->text);

    if (item->kind == ITEM_ALL)
        return true;
    if (item->kind == ITEM_BLOCK)
        return s->numeric && ip_block_contains(&item->block, &s->ip);
    return slice_ieq(s->key, pattern) || is_below(m->kind, s->key, pattern);
}

/*
 * Walks the items from *at: 1 matched, 0 not, -1 when the item at *at is a table that has to be asked.
 */
static int walk(const struct matchlist *m, size_t *at, const struct subject *s)
{
    for (; *at < m->count; (*at)++) {
        const struct item *item = &m->items[*at];

        if (item->kind == ITEM_TABLE)
            return -1;
        if (item_fits(m, item, s))
            return item->negated ? 0 : 1;
    }
    return 0;
}

int matchlist_match_now(const struct matchlist *m, struct slice key)
{
    struct subject s = subject_of(m, key);
    size_t at = 0;

    return walk(m, &at, &s);
}

bool matchlist_has_tables(const struct matchlist *m)
{
    for (size_t i = 0; i < m->count; i++)
        if (m->items[i].kind == ITEM_TABLE)
            return true;
    return false;
}

struct match {
    struct op op;
    struct op_scope scope;
    struct arena arena;
    const struct matchlist *list;
    struct subject subject;
    size_t at;          /* item */
    struct slice asked; /* what the table at `at` was asked for: the key, then its parents */
    struct table_answer answer;
};

static void release(struct op *op)
{
    struct match *m = (struct match *)op;

    op_scope_close(&m->scope);
    arena_clear(&m->arena);
    mem_free(m);
}

static void abandoned(struct op *op)
{
    op_scope_close(&((struct match *)op)->scope);
    op_finish(op, OP_NOTFOUND, NULL);
}

static void on_answer(void *owner, enum op_status status, const void *result);

static void go_on(struct match *m)
{
    int result = walk(m->list, &m->at, &m->subject);

    if (result >= 0) {
        op_finish(&m->op, result ? OP_OK : OP_NOTFOUND, NULL);
        return;
    }
    m->asked = m->subject.key;
    table_lookup(m->list->items[m->at].table, &m->scope, m->asked, on_answer, m);
}

/* The next parent domain of what was asked, as the table would have it; empty: there is none. */
static struct slice next_parent(const struct match *m)
{
    enum matchlist_kind kind = m->list->kind;
    size_t dot;

    if ((kind != MATCHLIST_DOMAIN && kind != MATCHLIST_DOTTED) || !table_is_fixed(m->list->items[m->at].table))
        return SLICE_EMPTY;
    dot = slice_find(slice_from(m->asked, 1), '.');
    if (dot == SLICE_NOT_FOUND)
        return SLICE_EMPTY;
    return slice_from(m->asked, 1 + dot + (kind == MATCHLIST_DOMAIN ? 1 : 0));
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct match *m = owner;
    const struct table_answer *answer = result;

    if (status == OP_OK) {
        op_finish(&m->op, m->list->items[m->at].negated ? OP_NOTFOUND : OP_OK, NULL);
        return;
    }
    if (status != OP_NOTFOUND) {
        const char *why = answer != NULL && answer->why != NULL ? answer->why : "timed out";

        m->answer.why = arena_strdup(&m->arena, why);
        op_finish(&m->op, OP_TEMPFAIL, &m->answer);
        return;
    }
    m->asked = next_parent(m);
    if (m->asked.n > 0) {
        table_lookup(m->list->items[m->at].table, &m->scope, m->asked, on_answer, m);
    } else {
        m->at++;
        go_on(m);
    }
}

void matchlist_match(const struct matchlist *list, struct op_scope *scope, struct slice key, op_done_fn *done,
                     void *owner)
{
    struct match *m = NEW(struct match);

    m->list = list;
    m->subject = subject_of(list, slice_make(arena_slice_dup(&m->arena, key), key.n));
    op_scope_init_within(&m->scope, "matchlist", scope);
    op_start(&m->op, list->loop, scope, "matchlist", 0, done, owner, release);
    m->op.abandoned = abandoned;
    go_on(m);
}
