/*
 * Tables of patterns: cidr:FILE, regexp:FILE, pcre:FILE, or with the rules in place, cidr:{ {rule}, {rule} }. The
 * engine of each is in a file of its own; the rules are in pattern.c; file_source sees to changes.
 *
 * Keys come from strangers, and a pattern may take a key's length squared (regexp:) or all of its match limit (pcre:)
 * to find out that it does not fit. So these run on pool threads, a few at a time for each table, and are answered
 * TEMPFAIL after TIMEOUT_MS. A thread that has begun is not interrupted: it gives up between two rules. The rules it
 * works on are counted: a table that is closed or read again meanwhile does not take them away.
 */
#include "lookup/table_pattern.h"

#include "core/base/alloc.h"
#include "core/loop/work.h"
#include "lookup/maps.h"

#define TIMEOUT_MS 10000

/* One lookup for a pool thread. */
struct match {
    struct list link;
    struct table_pattern *table; /* NULL: closed */
    struct table_op *o;          /* NULL: was answered, by the timer or as the table was closed */
    struct timer timer;
    /* the thread's */
    struct pattern_rules *rules;
    char *key;
    uint64_t deadline_ms;
    struct buf text; /* value, or what went wrong */
};

static void answer(struct table_op *o, enum op_status status, struct buf *text)
{
    if (status == OP_OK)
        table_found(o, slice_str(buf_cstr(text)));
    else if (status == OP_NOTFOUND)
        table_notfound(o);
    else
        table_failed(o, buf_cstr(text));
}

/* ---- on a thread ---- */

static enum op_status run(void *arg)
{
    struct match *m = arg;

    return pattern_rules_find(m->rules, m->key, m->deadline_ms, &m->text);
}

static void start_next(struct table_pattern *t);

static void match_free(void *arg)
{
    struct match *m = arg;
    struct table_pattern *t = m->table;
    bool ran = t != NULL && m->rules != NULL;

    list_remove(&m->link);
    timer_stop(&m->timer);
    pattern_rules_unref(&m->rules);
    buf_release(&m->text);
    mem_free(m->key);
    mem_free(m);
    if (ran) {
        t->nrunning--;
        start_next(t);
    }
}

static void on_done(void *owner, enum op_status status, const void *result)
{
    struct match *m = owner;

    (void)result;
    if (m->o != NULL)
        answer(m->o, status, &m->text);
    m->o = NULL; /* match_free follows */
}

static struct pattern_rules *current_rules(const struct table_pattern *t)
{
    return t->source != NULL ? file_source_content(t->source) : t->inline_rules;
}

static void start_next(struct table_pattern *t)
{
    const struct pattern_rules *rules = current_rules(t);
    struct list *it;

    while (rules != NULL && t->nrunning < pattern_rules_engine(rules)->parallel &&
           (it = list_shift(&t->queue)) != NULL) {
        struct match *m = LIST_ITEM(it, struct match, link);

        m->rules = pattern_rules_ref(current_rules(t));
        list_append(&t->running, &m->link);
        t->nrunning++;
        work_run(t->table.tables->loop, &t->scope, "pattern", 0, run, m, match_free, on_done, m);
    }
}

static void on_timeout(void *arg)
{
    struct match *m = arg;

    table_failed(m->o, "matching takes too long");
    m->o = NULL;
    if (m->rules == NULL) /* it has not begun */
        match_free(m);
}

static void match_later(struct table_pattern *t, struct table_op *o)
{
    struct match *m = NEW(struct match);

    m->table = t;
    m->o = o;
    m->key = mem_strdup(o->key);
    m->text.max = TABLE_VALUE_MAX;
    m->deadline_ms = pattern_clock_ms() + TIMEOUT_MS;
    timer_start(t->table.tables->loop, &m->timer, TIMEOUT_MS, on_timeout, m);
    list_append(&t->queue, &m->link);
    start_next(t);
}

/* ---- lookups ---- */

static void match_now(struct pattern_rules *rules, struct table_op *o)
{
    struct buf text = {.max = TABLE_VALUE_MAX};

    answer(o, pattern_rules_find(rules, o->key, 0, &text), &text);
    buf_release(&text);
}

static void go_on(struct table_pattern *t, struct table_op *o)
{
    struct pattern_rules *rules = current_rules(t);

    if (rules == NULL) {
        char *why = mem_printf("%s: %s", t->table.name, file_source_why(t->source));

        table_failed_quietly(o, why); /* the source has logged it */
        mem_free(why);
    } else if (pattern_rules_engine(rules)->parallel > 0) {
        match_later(t, o);
    } else {
        match_now(rules, o);
    }
}

static void on_checked(void *owner)
{
    struct table_pattern *t = owner;
    struct list *it;

    while ((it = list_shift(&t->waiting)) != NULL)
        go_on(t, LIST_ITEM(it, struct table_op, link));
}

void table_pattern_lookup(struct table *table, struct table_op *o)
{
    struct table_pattern *t = (struct table_pattern *)table;

    if (t->source == NULL || file_source_ready(t->source))
        go_on(t, o);
    else
        list_append(&t->waiting, &o->link);
}

/* ---- opening and closing ---- */

void table_pattern_free_rules(void *content)
{
    struct pattern_rules *rules = content;

    pattern_rules_unref(&rules);
}

/* The text of "{ {rule}, {rule} }" as if it were in a file: a line each. */
static bool lines_of_inline(const char *arg, struct buf *text)
{
    struct slice rest = slice_str(arg), item;

    if (rest.n < 2 || rest.p[rest.n - 1] != '}')
        return false;
    rest = slice_make(rest.p + 1, rest.n - 2);
    while ((item = maps_list_item(&rest)).n > 0) {
        if (item.n < 2 || item.p[0] != '{' || item.p[item.n - 1] != '}')
            return false;
        buf_add_slice(text, slice_trim(slice_make(item.p + 1, item.n - 2)));
        buf_add_char(text, '\n');
    }
    return true;
}

static void open_inline(struct table_pattern *t, const struct file_source_kind *kind, const char *arg, struct buf *err)
{
    struct buf text = {0}, report = {0};

    if (!lines_of_inline(arg, &text))
        buf_printf(err, "%s: written %s:{ {rule}, {rule} }", t->table.name, t->table.kind->type);
    else
        t->inline_rules = kind->parse(t->table.name, buf_slice(&text), &report);
    if (t->inline_rules == NULL)
        buf_add_slice(err, slice_trim(buf_slice(&report)));
    buf_release(&text);
    buf_release(&report);
}

bool table_pattern_open(struct table *table, const struct file_source_kind *kind, const char *arg, struct buf *err)
{
    struct table_pattern *t = (struct table_pattern *)table;

    list_init(&t->waiting);
    list_init(&t->queue);
    list_init(&t->running);
    op_scope_init(&t->scope, "pattern");
    table->fixed = false;
    if (arg[0] == '{')
        open_inline(t, kind, arg, err);
    else
        t->source = file_source_new(table->tables->loop, kind, arg, table->name, on_checked, t);
    return t->source != NULL || t->inline_rules != NULL;
}

bool table_pattern_check(struct table *table, const struct file_source_kind *kind, struct buf *report)
{
    const struct table_pattern *t = (const struct table_pattern *)table;
    void *rules;

    if (t->source == NULL)
        return true;
    rules = file_source_read(kind, strchr(table->name, ':') + 1, report);
    if (rules == NULL)
        return false;
    kind->free(rules);
    return true;
}

void table_pattern_close(struct table *table)
{
    struct table_pattern *t = (struct table_pattern *)table;

    op_scope_close(&t->scope);
    LIST_FOREACH(it, &t->running)
    {
        struct match *m = LIST_ITEM(it, struct match, link);

        m->table = NULL; /* the thread's end frees it */
        m->o = NULL;
        list_remove(&m->link);
        timer_stop(&m->timer);
    }
    LIST_FOREACH(it, &t->queue)
    match_free(LIST_ITEM(it, struct match, link));
    while (list_shift(&t->waiting) != NULL)
        ;
    file_source_free(&t->source);
    pattern_rules_unref(&t->inline_rules);
}
