/*
 * sqlite:FILE: a query file (sqlite_table(5)) on a database file, which is opened for reading only. Lookups run on a
 * pool thread, one batch of a table at a time: what waits when a batch ends is the next one. The connection belongs to
 * the batch while that runs, and is opened again when the file has been replaced. The other user of sqlite3.h is the
 * queue.
 */
#include "core/base/alloc.h"
#include "core/loop/work.h"
#include "lookup/query_table.h"

#include <errno.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <time.h>

#define BATCH_MAX        100
#define QUEUE_MAX        10000
#define BUSY_MS          1000 /* how long a lock of somebody else is waited for */
#define GRACE_MS         1000 /* what a batch may take longer than its lookups before it is given up */
#define PROGRESS_OPCODES 10000

/* An open database; it travels between the table and its batch. */
struct database {
    sqlite3 *handle;
    char *path;
    dev_t dev;
    ino_t ino;
};

struct question {
    struct list link;
    struct table_op *o; /* loop thread only */
    char *key;
    uint64_t deadline_ms;
    struct query_answer answer;
    char *error;
};

struct batch {
    struct database db;
    struct query_file *file;
    struct list questions;
    char *stop; /* what makes the rest of the batch fail, too */
};

struct table_sqlite {
    struct query_table q;
    struct database db; /* while no batch has it */
    struct op_scope running;
    struct batch *batch; /* under way */
    struct list queue;   /* question.link */
    size_t queued;
};

static uint64_t monotonic_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- on a pool thread ---- */

static void database_close(struct database *db)
{
    sqlite3_close(db->handle);
    mem_free(db->path);
    *db = (struct database){0};
}

static bool is_current(const struct database *db, const char *path, const struct stat *st)
{
    return db->handle != NULL && strcmp(db->path, path) == 0 && db->dev == st->st_dev && db->ino == st->st_ino;
}

/* Opens `path` unless it is open; a text that says what is wrong, or NULL. */
static char *database_open(struct database *db, const char *path)
{
    struct stat st;
    char *error;

    if (stat(path, &st) != 0)
        return mem_printf("%s: %s", path, strerror(errno));
    if (is_current(db, path, &st))
        return NULL;
    database_close(db);
    if (sqlite3_open_v2(path, &db->handle, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL) != SQLITE_OK) {
        error = mem_printf("%s: %s", path, sqlite3_errmsg(db->handle));
        database_close(db);
        return error;
    }
    sqlite3_busy_timeout(db->handle, BUSY_MS);
    db->path = mem_strdup(path);
    db->dev = st.st_dev;
    db->ino = st.st_ino;
    return NULL;
}

static int is_overdue(void *arg)
{
    return monotonic_ms() > ((struct question *)arg)->deadline_ms;
}

/* Within single quotes only the single quote itself is special. */
static void quote(void *ctx, struct buf *out, struct slice text)
{
    (void)ctx;
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\'')
            buf_add_char(out, '\'');
        buf_add_char(out, text.p[i]);
    }
}

static char *prepare(struct database *db, const struct query_file *file, struct slice key, sqlite3_stmt **stmt)
{
    struct buf sql = {0};
    char *error = NULL;

    query_template_expand(file->templates, key, quote, NULL, &sql);
    if (buf_len(&sql) > INT32_MAX / 2)
        error = mem_strdup("the query is too long");
    else if (sqlite3_prepare_v2(db->handle, buf_cstr(&sql), (int)buf_len(&sql), stmt, NULL) != SQLITE_OK)
        error = mem_printf("%s: %s", file->dbpath, sqlite3_errmsg(db->handle));
    else if (*stmt == NULL)
        error = mem_strdup("the query is empty");
    buf_release(&sql);
    return error;
}

/* All columns of the current row; false when the answer is not to be had. */
static bool take_row(struct query_answer *a, sqlite3_stmt *stmt)
{
    for (int i = 0; i < sqlite3_column_count(stmt); i++) {
        const void *text = sqlite3_column_text(stmt, i);

        if (!query_answer_add(a, slice_make(text, text ? (size_t)sqlite3_column_bytes(stmt, i) : 0)))
            return false;
    }
    return true;
}

static void ask(struct batch *b, struct question *q)
{
    sqlite3_stmt *stmt = NULL;
    int rc = SQLITE_OK;

    if (!query_template_qualifies(b->file->templates, slice_str(q->key)))
        return; /* it did with the query file as it was when the lookup came */
    q->error = prepare(&b->db, b->file, slice_str(q->key), &stmt);
    if (q->error == NULL) {
        sqlite3_progress_handler(b->db.handle, PROGRESS_OPCODES, is_overdue, q);
        while ((rc = sqlite3_step(stmt)) == SQLITE_ROW && take_row(&q->answer, stmt))
            ;
        sqlite3_progress_handler(b->db.handle, 0, NULL, NULL);
        if (rc == SQLITE_INTERRUPT)
            q->error = mem_strdup("the query took too long");
        else if (rc != SQLITE_ROW && rc != SQLITE_DONE)
            q->error = mem_printf("%s: %s", b->file->dbpath, sqlite3_errmsg(b->db.handle));
    }
    sqlite3_finalize(stmt);
    rc = sqlite3_errcode(b->db.handle);
    if (q->error != NULL && rc == SQLITE_BUSY)
        b->stop = mem_strdup(q->error); /* to wait for the lock again, with each, would be long */
    if (q->error != NULL && rc != SQLITE_BUSY && rc != SQLITE_ERROR && rc != SQLITE_INTERRUPT)
        database_close(&b->db); /* something about the file: the next one begins anew */
}

static enum op_status run(void *arg)
{
    struct batch *b = arg;

    LIST_FOREACH(it, &b->questions)
    {
        struct question *q = LIST_ITEM(it, struct question, link);

        if (b->stop == NULL)
            b->stop = database_open(&b->db, b->file->dbpath);
        if (b->stop != NULL)
            q->error = mem_strdup(b->stop);
        else if (is_overdue(q))
            q->error = mem_strdup("the lookup waited too long for others");
        else
            ask(b, q);
    }
    return OP_OK;
}

/* ---- on the loop ---- */

static void question_free(struct question *q)
{
    list_remove(&q->link);
    buf_release(&q->answer.text);
    mem_free(q->error);
    mem_free(q->key);
    mem_free(q);
}

static void batch_free(void *arg)
{
    struct batch *b = arg;

    LIST_FOREACH(it, &b->questions)
    question_free(LIST_ITEM(it, struct question, link));
    database_close(&b->db);
    query_file_unref(&b->file);
    mem_free(b->stop);
    mem_free(b);
}

static void start(struct table_sqlite *t);

static void on_batch(void *owner, enum op_status status, const void *result)
{
    struct table_sqlite *t = owner;
    struct batch *b = t->batch;

    (void)result;
    t->batch = NULL; /* freed by the op */
    LIST_FOREACH(it, &b->questions)
    {
        struct question *q = LIST_ITEM(it, struct question, link);

        if (status != OP_OK) /* the thread still has the rest of it */
            table_failed(q->o, "the database file cannot be read: the disk does not answer");
        else if (q->error != NULL)
            table_failed(q->o, q->error);
        else
            query_table_answer(q->o, &q->answer);
    }
    if (status == OP_OK) {
        t->db = b->db;
        b->db = (struct database){0};
    }
    start(t);
}

/* Makes a batch of what waits, unless one is under way. */
static void start(struct table_sqlite *t)
{
    struct batch *b;
    struct list *it;

    if (t->batch != NULL || list_empty(&t->queue))
        return;
    b = NEW(struct batch);
    list_init(&b->questions);
    b->file = query_file_ref(t->q.file);
    b->db = t->db;
    t->db = (struct database){0};
    for (int i = 0; i < BATCH_MAX && (it = list_shift(&t->queue)) != NULL; i++) {
        struct question *q = LIST_ITEM(it, struct question, link);

        q->answer.file = b->file;
        q->answer.key = slice_str(q->key);
        list_append(&b->questions, it);
        t->queued--;
    }
    t->batch = b;
    work_run(t->q.table.tables->loop, &t->running, "sqlite", b->file->timeout_ms + GRACE_MS, run, b, batch_free,
             on_batch, t);
}

static void sqlite_ask(struct query_table *query_table, struct table_op *o)
{
    struct table_sqlite *t = (struct table_sqlite *)query_table;
    struct question *q;

    if (t->queued >= QUEUE_MAX) {
        table_failed(o, "too many lookups wait");
        return;
    }
    q = NEW(struct question);
    q->o = o;
    q->key = mem_strdup(o->key);
    q->deadline_ms = monotonic_ms() + query_table->file->timeout_ms;
    list_append(&t->queue, &q->link);
    t->queued++;
    start(t);
}

static void sqlite_changed(struct query_table *query_table)
{
    (void)query_table; /* each batch looks at its file's dbpath */
}

static const struct query_backend backend = {
    .source = &query_file_sqlite,
    .changed = sqlite_changed,
    .ask = sqlite_ask,
};

static bool sqlite_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_sqlite *t = (struct table_sqlite *)table;

    (void)err;
    list_init(&t->queue);
    op_scope_init(&t->running, "sqlite");
    query_table_open(&t->q, arg, &backend);
    return true;
}

/* The query is compiled, which finds tables and columns that do not exist. */
static bool sqlite_check(struct table *table, struct buf *report)
{
    struct query_file *file = query_table_check((struct query_table *)table, report);
    struct database db = {0};
    sqlite3_stmt *stmt = NULL;
    char *error;

    if (file == NULL)
        return false;
    error = database_open(&db, file->dbpath);
    if (error == NULL)
        error = prepare(&db, file, SLICE_LIT("user@a.b.c.d.e.f.g.h.i"), &stmt);
    sqlite3_finalize(stmt);
    if (error != NULL)
        buf_printf(report, "%s: %s\n", strchr(table->name, ':') + 1, error);
    database_close(&db);
    query_file_unref(&file);
    if (error == NULL)
        return true;
    mem_free(error);
    return false;
}

static void sqlite_close(struct table *table)
{
    struct table_sqlite *t = (struct table_sqlite *)table;

    op_scope_close(&t->running);
    LIST_FOREACH(it, &t->queue)
    question_free(LIST_ITEM(it, struct question, link));
    database_close(&t->db);
    query_table_close(&t->q);
}

const struct table_kind table_kind_sqlite = {
    .type = "sqlite",
    .size = sizeof(struct table_sqlite),
    .open = sqlite_open,
    .lookup = query_table_lookup,
    .check = sqlite_check,
    .close = sqlite_close,
};
