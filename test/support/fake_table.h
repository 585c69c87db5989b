/*
 * A table for tests, put into the registry under a name of its own: answers from pairs, fails or hangs at will, and
 * writes down what it was asked. And the loop, the registry and the recorded answer that tests of look-ups share.
 */
#ifndef TEST_SUPPORT_FAKE_TABLE_H
#define TEST_SUPPORT_FAKE_TABLE_H

#include "core/base/alloc.h"
#include "lookup/maps.h"
#include "lookup/table_int.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

struct fake_table {
    struct table table;
    const char *const *pairs; /* key, value, key, value, ..., NULL */
    const char *fail;         /* the key that fails; "*": all */
    bool hang;                /* hold lookups until fake_release */
    struct list held;         /* table_op.link */
    struct buf *log;          /* "key " for each lookup; may be NULL */
};

static inline void fake_answer(struct fake_table *t, struct table_op *o)
{
    if (t->fail != NULL && (strcmp(t->fail, "*") == 0 || strcmp(t->fail, o->key) == 0)) {
        table_failed_quietly(o, "fake failure");
        return;
    }
    for (const char *const *pair = t->pairs; pair != NULL && *pair != NULL; pair += 2) {
        if (strcmp(pair[0], o->key) == 0) {
            table_found(o, slice_str(pair[1]));
            return;
        }
    }
    table_notfound(o);
}

static inline void fake_lookup(struct table *table, struct table_op *o)
{
    struct fake_table *t = (struct fake_table *)table;

    if (t->log != NULL)
        buf_printf(t->log, "%s ", o->key);
    if (t->hang)
        list_append(&t->held, &o->link);
    else
        fake_answer(t, o);
}

static inline void fake_close(struct table *table)
{
    struct fake_table *t = (struct fake_table *)table;

    while (list_shift(&t->held) != NULL)
        ;
}

static const struct table_kind fake_kind = {
    .type = "fake", .size = sizeof(struct fake_table), .lookup = fake_lookup, .close = fake_close};

/* Makes "fake:NAME" known to the registry, which owns it. */
static inline struct fake_table *fake_add(struct tables *tables, const char *name, const char *const *pairs)
{
    struct fake_table *t = NEW(struct fake_table);

    t->table.kind = &fake_kind;
    t->table.tables = tables;
    t->table.name = mem_strdup(name);
    t->table.fixed = true;
    t->pairs = pairs;
    list_init(&t->held);
    assert_null(map_put(&tables->by_name, slice_str(name), t));
    return t;
}

/* Answers what hangs. */
static inline void fake_release(struct fake_table *t)
{
    struct list *it;

    while ((it = list_shift(&t->held)) != NULL)
        fake_answer(t, LIST_ITEM(it, struct table_op, link));
}

/* ---- what tests share ---- */

struct look {
    struct loop *loop;
    struct tables *tables;
    struct op_scope scope;
    struct buf err;
    int calls;
    enum op_status status; /* of the last answer */
};

static inline void look_open(struct look *l)
{
    *l = (struct look){0};
    l->loop = loop_new();
    l->tables = tables_new(l->loop);
    op_scope_init(&l->scope, "test");
}

/* Nothing may be under way any more. */
static inline void look_close(struct look *l)
{
    op_scope_close(&l->scope);
    loop_run(l->loop);
    assert_int_equal(op_live(l->loop), 0);
    tables_free(&l->tables);
    loop_free(&l->loop);
    buf_release(&l->err);
}

#endif
