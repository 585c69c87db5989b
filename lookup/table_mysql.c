/*
 * mysql:FILE: a query file (mysql_table(5)) on MySQL or MariaDB servers. Ties the query file to a pool of connections,
 * and lets identical lookups share one query: of a mail to fifty recipients in one domain, all ask for that domain.
 */
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "lookup/mysql_query.h"
#include "lookup/query_table.h"

struct table_mysql {
    struct query_table q;
    struct mysql_pool *pool; /* NULL: the query file has not been readable */
    struct list asks;        /* ask.link: all under way */
    struct map by_key;       /* those of the current query file that may be joined */
};

/* A query under way and the lookups that wait for its answer. */
struct ask {
    struct list link;
    struct table_mysql *table;
    struct mysql_pool *pool;
    struct mysql_query *query;
    char *key;
    struct list lookups; /* table_op.link */
};

static void ask_free(struct ask *a)
{
    struct slice key = slice_str(a->key);

    if (map_get(&a->table->by_key, key) == a)
        map_remove(&a->table->by_key, key);
    while (list_shift(&a->lookups) != NULL)
        ;
    list_remove(&a->link);
    mysql_query_cancel(&a->query);
    mysql_pool_put(&a->pool);
    mem_free(a->key);
    mem_free(a);
}

static void on_done(void *owner, struct query_answer *answer, const char *failure)
{
    struct ask *a = owner;
    struct list *it;

    a->query = NULL;
    while ((it = list_shift(&a->lookups)) != NULL) {
        struct table_op *o = LIST_ITEM(it, struct table_op, link);

        if (failure != NULL)
            table_failed(o, failure);
        else
            query_table_answer(o, answer);
    }
    ask_free(a);
}

/*
 * Keys are UTF-8. In big5, gbk, sjis and their like a byte above 127 may take the quote or backslash after it into one
 * character, and escaping that relies on the client library's knowledge of the character set has been seen to fail
 * (big5, Connector/C of MariaDB 11.8: an injection). Such a set cannot hold a UTF-8 key anyhow.
 */
static bool can_be_asked(const char *charset, const char *key)
{
    static const char *const safe[] = {"utf8mb4", "utf8mb3", "utf8", "latin1", "ascii", "binary"};

    for (size_t i = 0; i < ARRAY_LEN(safe); i++)
        if (slice_ieq(slice_str(charset), slice_str(safe[i])))
            return true;
    return !codec_has_8bit(slice_str(key));
}

static void mysql_ask(struct query_table *query_table, struct table_op *o)
{
    struct table_mysql *t = (struct table_mysql *)query_table;
    struct ask *a = map_get(&t->by_key, slice_str(o->key));

    if (!can_be_asked(query_table->file->charset, o->key)) {
        table_notfound(o);
        return;
    }
    if (a == NULL) {
        a = NEW(struct ask);
        a->table = t;
        a->pool = mysql_pool_ref(t->pool);
        a->key = mem_strdup(o->key);
        list_init(&a->lookups);
        list_append(&t->asks, &a->link);
        map_put(&t->by_key, slice_str(a->key), a);
        a->query = mysql_query_begin(query_table->table.tables->loop, a->pool, query_table->file, a->key, on_done, a);
    }
    list_append(&a->lookups, &o->link);
}

static void mysql_changed(struct query_table *query_table)
{
    struct table_mysql *t = (struct table_mysql *)query_table;
    struct tables *tables = query_table->table.tables;
    struct mysql_pool *before = t->pool;

    if (tables->mysql == NULL)
        tables->mysql = mysql_pools_new(tables->loop);
    map_clear(&t->by_key); /* what is under way asks the old question */
    t->pool = mysql_pool_get(tables->mysql, query_table->file);
    mysql_pool_put(&before); /* after: it may well be the same */
}

static const struct query_backend backend = {
    .source = &query_file_mysql,
    .changed = mysql_changed,
    .ask = mysql_ask,
};

static bool mysql_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_mysql *t = (struct table_mysql *)table;

    (void)err;
    list_init(&t->asks);
    query_table_open(&t->q, arg, &backend);
    return true;
}

static bool mysql_check(struct table *table, struct buf *report)
{
    struct query_file *file = query_table_check((struct query_table *)table, report);
    bool ok = file != NULL;

    query_file_unref(&file);
    return ok;
}

static void mysql_close_table(struct table *table)
{
    struct table_mysql *t = (struct table_mysql *)table;

    LIST_FOREACH(it, &t->asks)
    ask_free(LIST_ITEM(it, struct ask, link));
    map_clear(&t->by_key);
    mysql_pool_put(&t->pool);
    query_table_close(&t->q);
}

const struct table_kind table_kind_mysql = {
    .type = "mysql",
    .size = sizeof(struct table_mysql),
    .open = mysql_open,
    .lookup = query_table_lookup,
    .check = mysql_check,
    .close = mysql_close_table,
};
