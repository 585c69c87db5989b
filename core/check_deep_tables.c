/*
 * The deep check's tables: each that the configuration opened is asked for one key. Called by check_deep.c; waits for
 * the tables, which bound it.
 */
#include "core/check_deep_int.h"

#include <stdlib.h>

#define VALUE_SHOWN 60

struct probe {
    struct table **tables;
    size_t n;
};

/* What a table says of its failure begins with its name, which the line has already. */
static const char *without_name(const char *why, const char *table)
{
    size_t n = strlen(table);

    return strncmp(why, table, n) == 0 && strncmp(why + n, ": ", 2) == 0 ? why + n + 2 : why;
}

struct question {
    struct deep_try *try;
    const char *table;
};

static void on_answer(void *owner, enum op_status status, const void *result)
{
    const struct table_answer *answer = result;
    const struct question *q = owner;

    if (status == OP_OK)
        deep_end(q->try, DEEP_OK, "answered \"%.*s\"", VALUE_SHOWN, answer->value);
    else if (status == OP_NOTFOUND)
        deep_end(q->try, DEEP_OK, "answered \"not found\"");
    else if (answer == NULL || answer->why == NULL)
        deep_end(q->try, DEEP_FAIL, "no answer in time");
    else
        deep_end(q->try, DEEP_FAIL, "%s", without_name(answer->why, q->table));
}

static void ask(struct deep *d, struct table *table, const char *key)
{
    struct question *q = ARENA_NEW(&d->arena, struct question);

    q->table = table_name(table);
    q->try = deep_begin(d, "table %s", q->table);
    table_lookup(table, &d->scope, slice_str(key), on_answer, q);
}

static void count(void *ctx, struct table *table)
{
    struct probe *p = ctx;

    (void)table;
    p->n++;
}

static void collect(void *ctx, struct table *table)
{
    struct probe *p = ctx;

    p->tables[p->n++] = table;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(table_name(*(struct table *const *)a), table_name(*(struct table *const *)b));
}

void deep_tables(struct deep *d)
{
    const char *key = arena_printf(&d->arena, "mta-probe@%s", d->conf->myhostname);
    struct probe p = {0};

    tables_each(d->tables, count, &p);
    p.tables = arena_new_array(&d->arena, p.n, sizeof(struct table *));
    p.n = 0;
    tables_each(d->tables, collect, &p);
    qsort(p.tables, p.n, sizeof *p.tables, by_name);
    for (size_t i = 0; i < p.n; i++)
        ask(d, p.tables[i], key);
}
