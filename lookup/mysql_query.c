/*
 * A query's way: it wishes for a connection of the pool, escapes the key with it, sends the statement and takes row by
 * row of each result set (a stored procedure sends several, and they must all be read). Called by table_mysql.
 *
 * When the connection fails under it the query is tried once more, on another connection: an idle connection may have
 * been dropped by the server, or by something between, without a word. Each attempt may take half of the time that the
 * lookup has, so that there is time for the second. What the server itself answers as an error is final.
 *
 * A query that is given up costs its connection: the protocol knows no other way to stop it.
 */
#include "lookup/mysql_query.h"

#include "core/base/alloc.h"
#include "core/loop/timer.h"

#include <errmsg.h>
#include <mysql.h>
#include <mysqld_error.h>

#define ATTEMPTS 2

#define MYSQL8_IDLE_TIMEOUT 4031

struct mysql_query {
    struct loop *loop;
    struct mysql_pool *pool;
    struct query_file *file;
    char *key;
    mysql_query_fn *done;
    void *owner;
    struct timer deadline;
    struct loop_task refused; /* the pool takes no more wishes */
    struct mysql_wish wish;
    struct mysql_conn *conn; /* NULL: wished for */
    int attempt;
    /* what libmariadb is given and gives */
    struct buf sql;
    int failed;
    MYSQL_RES *result;
    MYSQL_ROW row;
    int sets; /* result sets so far, */
    int full; /* and those that had rows */
    bool has_rows;
    struct query_answer answer;
};

/* ---- the end ---- */

static void query_free(struct mysql_query *q)
{
    timer_stop(&q->deadline);
    loop_defer_cancel(&q->refused);
    mysql_pool_unwish(q->pool, &q->wish);
    query_file_unref(&q->file);
    buf_release(&q->answer.text);
    buf_release(&q->sql);
    mem_free(q->key);
    mem_free(q);
}

/* Lets go of the connection whatever state it is in: it is closed. */
static void drop_conn(struct mysql_query *q, bool failed, bool server_down, const char *why)
{
    struct mysql_conn *c = q->conn;

    if (c == NULL)
        return;
    mysql_conn_break(c); /* the last call of this query */
    q->conn = NULL;
    if (q->result != NULL)
        mysql_free_result(q->result);
    q->result = NULL;
    if (failed)
        mysql_pool_fail(c, server_down, why);
    else
        mysql_pool_drop(c);
}

static void end(struct mysql_query *q, const char *failure)
{
    drop_conn(q, false, false, NULL);
    q->done(q->owner, &q->answer, failure);
    query_free(q);
}

static void on_deadline(void *arg)
{
    struct mysql_query *q = arg;

    drop_conn(q, true, true, "timed out");
    end(q, "timed out");
}

void mysql_query_cancel(struct mysql_query **qp)
{
    struct mysql_query *q = *qp;

    if (q == NULL)
        return;
    *qp = NULL;
    drop_conn(q, false, false, NULL);
    query_free(q);
}

/* ---- failures ---- */

static void wish(struct mysql_query *q);

/* The server says that it serves nobody: it goes down, or a cluster's node is out of the cluster. */
static bool is_about_server(unsigned error)
{
    return error == ER_SERVER_SHUTDOWN || error == ER_UNKNOWN_COM_ERROR;
}

/* Not about the query: another connection may do better. */
static bool is_about_connection(unsigned error)
{
    return (error >= CR_MIN_ERROR && error <= CR_MAX_ERROR) || is_about_server(error) ||
           error == ER_CONNECTION_KILLED || error == MYSQL8_IDLE_TIMEOUT;
}

/* The connection failed: again on another one, or the end. */
static void conn_failed(struct mysql_query *q, bool server_down, const char *error)
{
    char *why = mem_strdup(error);

    drop_conn(q, true, server_down, why);
    buf_clear(&q->answer.text);
    q->answer = (struct query_answer){.file = q->file, .key = slice_str(q->key), .text = q->answer.text};
    q->sets = q->full = 0;
    if (q->attempt < ATTEMPTS)
        wish(q);
    else
        end(q, why);
    mem_free(why);
}

static void release_conn(struct mysql_query *q)
{
    struct mysql_conn *c = q->conn;

    q->conn = NULL;
    mysql_pool_release(c);
}

static int failed(struct mysql_query *q)
{
    MYSQL *mysql = mysql_conn_handle(q->conn);
    unsigned error = mysql_errno(mysql);
    char *why = mem_printf("query failed: %s", mysql_error(mysql));

    if (is_about_connection(error)) {
        conn_failed(q, is_about_server(error) || !mysql_pool_is_reused(q->conn), why);
    } else {
        if (q->result == NULL) /* otherwise rows may be left, and the connection goes */
            release_conn(q);
        end(q, why);
    }
    mem_free(why);
    return MYSQL_STEP_END;
}

static int succeeded(struct mysql_query *q)
{
    release_conn(q);
    if (q->full > 1)
        end(q, "the query returned more than one result set");
    else if (q->sets == 0 && q->file->require_result_set)
        end(q, "the query returned no result set (require_result_set = yes)");
    else
        end(q, NULL);
    return MYSQL_STEP_END;
}

/* ---- the dialogue ---- */

enum query_step {
    QUERY_SEND,
    QUERY_ROW,
    QUERY_NEXT,
};

static int send_start(void *arg)
{
    struct mysql_query *q = arg;
    struct slice sql = buf_slice(&q->sql);

    return mysql_real_query_start(&q->failed, mysql_conn_handle(q->conn), sql.p, sql.n);
}

static int send_cont(void *arg, int ready)
{
    struct mysql_query *q = arg;

    return mysql_real_query_cont(&q->failed, mysql_conn_handle(q->conn), ready);
}

/* A result set begins, or a status without rows was sent. */
static int take_result(struct mysql_query *q)
{
    MYSQL *mysql = mysql_conn_handle(q->conn);

    if (q->failed)
        return failed(q);
    q->result = mysql_use_result(mysql);
    q->has_rows = false;
    if (q->result != NULL) {
        q->sets++;
        return QUERY_ROW;
    }
    if (mysql_field_count(mysql) != 0)
        return failed(q);
    return mysql_more_results(mysql) ? QUERY_NEXT : succeeded(q);
}

static int send_after(void *arg)
{
    return take_result(arg);
}

static int row_start(void *arg)
{
    struct mysql_query *q = arg;

    return mysql_fetch_row_start(&q->row, q->result);
}

static int row_cont(void *arg, int ready)
{
    struct mysql_query *q = arg;

    return mysql_fetch_row_cont(&q->row, q->result, ready);
}

static bool take_row(struct mysql_query *q)
{
    const unsigned long *lengths = mysql_fetch_lengths(q->result);
    unsigned n = mysql_num_fields(q->result);

    for (unsigned i = 0; i < n; i++)
        if (!query_answer_add(&q->answer, slice_make(q->row[i], q->row[i] ? lengths[i] : 0)))
            return false;
    return true;
}

static int row_after(void *arg)
{
    struct mysql_query *q = arg;
    MYSQL *mysql = mysql_conn_handle(q->conn);

    if (q->row != NULL && take_row(q)) {
        q->full += !q->has_rows;
        q->has_rows = true;
        return QUERY_ROW;
    }
    if (q->row != NULL) { /* too much: what is left unread goes with the connection */
        end(q, NULL);
        return MYSQL_STEP_END;
    }
    if (mysql_errno(mysql) != 0)
        return failed(q);
    mysql_free_result(q->result);
    q->result = NULL;
    return mysql_more_results(mysql) ? QUERY_NEXT : succeeded(q);
}

static int next_start(void *arg)
{
    struct mysql_query *q = arg;

    return mysql_next_result_start(&q->failed, mysql_conn_handle(q->conn));
}

static int next_cont(void *arg, int ready)
{
    struct mysql_query *q = arg;

    return mysql_next_result_cont(&q->failed, mysql_conn_handle(q->conn), ready);
}

static int next_after(void *arg)
{
    return take_result(arg);
}

static const struct mysql_step steps[] = {
    [QUERY_SEND] = {send_start, send_cont, send_after},
    [QUERY_ROW] = {row_start, row_cont, row_after},
    [QUERY_NEXT] = {next_start, next_cont, next_after},
};

static void on_stuck(void *arg)
{
    conn_failed(arg, true, "query failed: timed out");
}

/* ---- the start ---- */

static void quote(void *ctx, struct buf *out, struct slice text)
{
    char *room = buf_reserve(out, text.n * 2 + 1);
    unsigned long n = mysql_real_escape_string(ctx, room, text.p, text.n);

    MTA_ASSERT(n <= text.n * 2);
    buf_commit(out, n);
}

static void on_wish(struct mysql_wish *w, struct mysql_conn *c, const char *why)
{
    struct mysql_query *q = CONTAINER_OF(w, struct mysql_query, wish);

    if (c == NULL) {
        end(q, why);
        return;
    }
    q->conn = c;
    q->attempt++;
    buf_clear(&q->sql);
    query_template_expand(q->file->templates, slice_str(q->key), quote, mysql_conn_handle(c), &q->sql);
    mysql_conn_run(c, steps, QUERY_SEND, q->file->timeout_ms / ATTEMPTS, on_stuck, q);
}

static void on_refused(void *arg)
{
    end(arg, "too many lookups wait");
}

static void wish(struct mysql_query *q)
{
    q->wish.fn = on_wish;
    if (!mysql_pool_wish(q->pool, &q->wish))
        loop_defer(q->loop, &q->refused, on_refused, q);
}

struct mysql_query *mysql_query_begin(struct loop *loop, struct mysql_pool *pool, struct query_file *file,
                                      const char *key, mysql_query_fn *done, void *owner)
{
    struct mysql_query *q = NEW(struct mysql_query);

    q->loop = loop;
    q->pool = pool;
    q->file = query_file_ref(file);
    q->key = mem_strdup(key);
    q->done = done;
    q->owner = owner;
    q->answer.file = q->file;
    q->answer.key = slice_str(q->key);
    timer_start(loop, &q->deadline, file->timeout_ms, on_deadline, q);
    wish(q);
    return q;
}
