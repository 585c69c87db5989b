/*
 * Tables made of tables: unionmap:{a, b} joins what all of them answer to the key; pipemap:{a, b} asks each for what
 * the one before it answered. The members are tables of the registry like any other; the first that fails is the
 * answer. A lookup goes through the members one after the other.
 */
#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "lookup/table_int.h"

struct table_union {
    struct table table;
    struct table **members;
    size_t count;
    struct list walks;
};

struct walk {
    struct list link;
    struct table_union *table;
    struct table_op *o;
    struct op_scope scope;
    size_t at;       /* the member that is asked */
    struct buf text; /* union: the answers so far; pipe: the last answer */
};

static bool is_pipe(const struct table_union *t)
{
    return t->table.kind == &table_kind_pipemap;
}

static bool add_member(struct table_union *t, struct slice spec, struct buf *err)
{
    char *text = mem_dup(spec.p, spec.n);
    struct table *member = tables_open(t->table.tables, text, err);

    mem_free(text);
    if (member == NULL)
        return false;
    t->members = mem_resize(t->members, (t->count + 1) * sizeof(struct table *));
    t->members[t->count++] = member;
    /* Of patterns as soon as one member is: that one must not get parts of keys. */
    t->table.fixed = t->table.fixed && member->fixed;
    return true;
}

static bool union_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_union *t = (struct table_union *)table;
    struct slice rest = slice_str(arg), item;

    list_init(&t->walks);
    if (rest.n < 2 || rest.p[0] != '{' || rest.p[rest.n - 1] != '}')
        rest = SLICE_EMPTY;
    else
        rest = slice_make(rest.p + 1, rest.n - 2);
    while ((item = maps_list_item(&rest)).n > 0)
        if (!add_member(t, item, err))
            return false;
    if (t->count == 0)
        buf_printf(err, "%s: written with its tables in braces, {type:name, type:name}", table->name);
    return t->count > 0;
}

static void walk_free(struct walk *w)
{
    op_scope_close(&w->scope);
    list_remove(&w->link);
    buf_release(&w->text);
    mem_free(w);
}

static void on_answer(void *owner, enum op_status status, const void *result);

static void ask(struct walk *w)
{
    bool first = !is_pipe(w->table) || w->at == 0;

    table_lookup(w->table->members[w->at], &w->scope, first ? slice_str(w->o->key) : buf_slice(&w->text), on_answer, w);
}

static void finish(struct walk *w)
{
    if (buf_len(&w->text) > 0)
        table_found(w->o, buf_slice(&w->text));
    else
        table_notfound(w->o);
    walk_free(w);
}

/* Takes a member's answer; false when it does not fit. */
static bool keep(struct walk *w, const char *value)
{
    if (is_pipe(w->table))
        buf_clear(&w->text);
    else if (buf_len(&w->text) > 0 && !buf_add_char(&w->text, ','))
        return false;
    return buf_add_str(&w->text, value);
}

static void on_answer(void *owner, enum op_status status, const void *result)
{
    struct walk *w = owner;
    const struct table_answer *answer = result;

    if (status == OP_OK && !keep(w, answer->value)) {
        table_failed(w->o, "the answer is too long");
        walk_free(w);
        return;
    }
    if (status != OP_OK && status != OP_NOTFOUND) {
        table_failed_quietly(w->o, answer->why);
        walk_free(w);
        return;
    }
    if (status == OP_NOTFOUND && is_pipe(w->table)) {
        table_notfound(w->o);
        walk_free(w);
        return;
    }
    if (++w->at < w->table->count)
        ask(w);
    else
        finish(w);
}

static void union_lookup(struct table *table, struct table_op *o)
{
    struct walk *w = NEW(struct walk);

    w->table = (struct table_union *)table;
    w->o = o;
    w->text.max = TABLE_VALUE_MAX;
    op_scope_init(&w->scope, table->name);
    list_append(&w->table->walks, &w->link);
    ask(w);
}

static bool union_check(struct table *table, struct buf *report)
{
    struct table_union *t = (struct table_union *)table;
    bool ok = true;

    for (size_t i = 0; i < t->count; i++)
        ok = table_check(t->members[i], report) && ok;
    return ok;
}

static void union_close(struct table *table)
{
    struct table_union *t = (struct table_union *)table;

    LIST_FOREACH(it, &t->walks)
    walk_free(LIST_ITEM(it, struct walk, link));
    mem_free(t->members);
}

const struct table_kind table_kind_unionmap = {
    .type = "unionmap",
    .size = sizeof(struct table_union),
    .open = union_open,
    .lookup = union_lookup,
    .check = union_check,
    .close = union_close,
};
const struct table_kind table_kind_pipemap = {
    .type = "pipemap",
    .size = sizeof(struct table_union),
    .open = union_open,
    .lookup = union_lookup,
    .check = union_check,
    .close = union_close,
};
