/*
 * Messages, recipients and content as rows: the reading and writing half of queue_sql (see queue_sql.h), called by the
 * writer thread and the reader thread of the queue inside a transaction.
 */
#include "core/queue/queue_sql_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/map.h"

#include <stdlib.h>

#define FLAG_BODY_8BIT 1u
#define FLAG_SMTPUTF8  2u

static struct slice column_bytes(sqlite3_stmt *s, int column)
{
    const void *bytes = sqlite3_column_blob(s, column);

    return slice_make(bytes, bytes == NULL ? 0 : (size_t)sqlite3_column_bytes(s, column));
}

static const char *column_text(struct arena *a, sqlite3_stmt *s, int column)
{
    if (sqlite3_column_type(s, column) == SQLITE_NULL)
        return NULL;
    return arena_slice_dup(a, column_bytes(s, column));
}

static uint64_t column_u64(sqlite3_stmt *s, int column)
{
    return (uint64_t)sqlite3_column_int64(s, column);
}

/* ---- receiving ---- */

bool queue_sql_put_piece(struct queue_sql *q, uint64_t qid, unsigned index, struct slice bytes)
{
    if (index == 0 && !RUN(q, QUEUE_SQL_PUT_INCOMING, INT(qid)))
        return false;
    return RUN(q, QUEUE_SQL_PUT_PIECE, INT(qid), INT(index), BYTES(bytes));
}

/* What an alias, the only thing that is over before it begins, is reported with. */
#define EXPANDED_DSN  "2.0.0"
#define EXPANDED_TEXT "alias expanded"

static bool put_rcpt(struct queue_sql *q, const struct envelope *e, const struct envelope_rcpt *r)
{
    if (r->action != ENVELOPE_ACTION_NONE)
        return RUN(q, QUEUE_SQL_PUT_REPORT, INT(e->qid), INT(r->id), INT(e->queued_us), INT(r->action), INT(r->notify),
                   TEXT(r->addr), TEXT(r->orig), TEXT(r->orcpt), TEXT(EXPANDED_DSN), TEXT(EXPANDED_TEXT));
    return RUN(q, QUEUE_SQL_PUT_RCPT, INT(e->qid), INT(r->id), INT(e->queued_us), INT(r->notify), TEXT(r->addr),
               TEXT(r->orig), TEXT(r->orcpt));
}

bool queue_sql_put_message(struct queue_sql *q, const struct envelope *e, unsigned pieces, struct slice body)
{
    unsigned flags = (e->body_8bit ? FLAG_BODY_8BIT : 0) | (e->smtputf8 ? FLAG_SMTPUTF8 : 0);
    bool ok;

    ok = pieces == 0 ? RUN(q, QUEUE_SQL_PUT_BODY, INT(e->qid), BYTES(body))
                     : RUN(q, QUEUE_SQL_DROP_INCOMING, INT(e->qid));
    ok = ok && RUN(q, QUEUE_SQL_PUT_MESSAGE, INT(e->qid), INT(e->arrival_us), INT(e->queued_us), INT(e->size),
                   INT(pieces), INT(flags), INT(e->ret), TEXT(e->sender), TEXT(e->client_name), TEXT(e->client_addr),
                   TEXT(e->helo), TEXT(e->protocol), TEXT(e->envid));
    for (size_t i = 0; i < e->nrcpts && ok; i++)
        ok = put_rcpt(q, e, &e->rcpts[i]);
    return ok;
}

bool queue_sql_drop_incoming(struct queue_sql *q, uint64_t qid)
{
    return RUN(q, QUEUE_SQL_DROP_CONTENT, INT(qid)) && RUN(q, QUEUE_SQL_DROP_INCOMING, INT(qid));
}

bool queue_sql_incoming(struct queue_sql *q, uint64_t *qids, size_t room, size_t *count)
{
    sqlite3_stmt *s = QUERY(q, QUEUE_SQL_LIST_INCOMING, INT(room));
    int got;

    for (*count = 0; (got = queue_sql_next(q, s)) > 0; (*count)++)
        qids[*count] = column_u64(s, 0);
    return got == 0;
}

bool queue_sql_last_qid(struct queue_sql *q, uint64_t *qid)
{
    uint64_t mark = 0;
    bool found;

    *qid = 0;
    if (!queue_sql_number(q, queue_sql_query(q, QUEUE_SQL_LAST_QID, NULL, 0), qid, &found) ||
        !queue_sql_number(q, queue_sql_query(q, QUEUE_SQL_MARK, NULL, 0), &mark, &found))
        return false;
    if (mark > *qid)
        *qid = mark;
    return true;
}

bool queue_sql_put_mark(struct queue_sql *q, uint64_t qid)
{
    return RUN(q, QUEUE_SQL_PUT_MARK, INT(qid));
}

/* ---- results ---- */

/* The message goes with its last recipient. */
static bool settle(struct queue_sql *q, uint64_t qid, bool *removed)
{
    uint64_t unused;
    bool left;

    *removed = false;
    if (!queue_sql_number(q, QUERY(q, QUEUE_SQL_ANY_RCPT, INT(qid)), &unused, &left))
        return false;
    if (left)
        return true;
    if (!RUN(q, QUEUE_SQL_DROP_MESSAGE, INT(qid)))
        return false;
    *removed = sqlite3_changes(q->db) > 0;
    if (!RUN(q, QUEUE_SQL_DROP_BODY, INT(qid)))
        return false;
    return sqlite3_changes(q->db) > 0 || RUN(q, QUEUE_SQL_DROP_CONTENT, INT(qid));
}

static bool record_one(struct queue_sql *q, uint64_t qid, uint64_t now_us, const struct queue_result *r)
{
    bool report = r->action != ENVELOPE_ACTION_NONE;

    if (r->outcome == QUEUE_DEFERRED && report)
        return RUN(q, QUEUE_SQL_DELAY_RCPT, INT(qid), INT(r->rcpt_id), INT(r->next_us), TEXT(r->dsn), TEXT(r->text),
                   INT(r->action), INT(now_us));
    if (r->outcome == QUEUE_DEFERRED)
        return RUN(q, QUEUE_SQL_DEFER_RCPT, INT(qid), INT(r->rcpt_id), INT(r->next_us), TEXT(r->dsn), TEXT(r->text));
    if (report)
        return RUN(q, QUEUE_SQL_END_RCPT, INT(qid), INT(r->rcpt_id), TEXT(r->dsn), TEXT(r->text), INT(r->action),
                   INT(now_us));
    return RUN(q, QUEUE_SQL_DROP_RCPT, INT(qid), INT(r->rcpt_id));
}

bool queue_sql_record(struct queue_sql *q, uint64_t qid, uint64_t now_us, const struct queue_result *results,
                      size_t count, bool *removed)
{
    for (size_t i = 0; i < count; i++)
        if (!record_one(q, qid, now_us, &results[i]))
            return false;
    return settle(q, qid, removed);
}

/* Over, unless it is one that is still tried. */
static bool end_report(struct queue_sql *q, uint64_t qid, uint64_t id)
{
    if (!RUN(q, QUEUE_SQL_DROP_REPORTED, INT(qid), INT(id)))
        return false;
    return sqlite3_changes(q->db) > 0 || RUN(q, QUEUE_SQL_KEEP_REPORTED, INT(qid), INT(id));
}

bool queue_sql_reported(struct queue_sql *q, const struct queue_reported *r, bool *removed)
{
    bool over = r->then == ENVELOPE_ACTION_NONE;

    for (size_t i = 0; i < r->count; i++)
        if (!(over ? end_report(q, r->qid, r->ids[i])
                   : RUN(q, QUEUE_SQL_NEXT_REPORT, INT(r->qid), INT(r->ids[i]), INT(r->then))))
            return false;
    return settle(q, r->qid, removed);
}

/* ---- looking for work ---- */

static void read_rcpt(struct arena *a, sqlite3_stmt *s, struct envelope_rcpt *r)
{
    r->id = column_u64(s, 0);
    r->addr = column_text(a, s, 1);
    r->orig = column_text(a, s, 2);
    r->orcpt = column_text(a, s, 3);
    r->notify = (unsigned)sqlite3_column_int(s, 4);
    r->attempts = (uint32_t)sqlite3_column_int64(s, 5);
    r->action = (enum envelope_action)sqlite3_column_int(s, 6);
}

static struct envelope *read_envelope(struct arena *a, sqlite3_stmt *s, uint64_t qid)
{
    struct envelope *e = ARENA_NEW(a, struct envelope);
    unsigned flags = (unsigned)sqlite3_column_int(s, 3);

    e->qid = qid;
    e->arrival_us = column_u64(s, 0);
    e->queued_us = column_u64(s, 1);
    e->size = column_u64(s, 2);
    e->body_8bit = (flags & FLAG_BODY_8BIT) != 0;
    e->smtputf8 = (flags & FLAG_SMTPUTF8) != 0;
    e->ret = (enum envelope_ret)sqlite3_column_int(s, 4);
    e->sender = column_text(a, s, 5);
    e->client_name = column_text(a, s, 6);
    e->client_addr = column_text(a, s, 7);
    e->helo = column_text(a, s, 8);
    e->protocol = column_text(a, s, 9);
    e->envid = column_text(a, s, 10);
    return e;
}

/* The message without recipients; *e is NULL when there is none. */
static bool load_envelope(struct queue_sql *q, struct arena *a, uint64_t qid, struct envelope **e)
{
    sqlite3_stmt *s = QUERY(q, QUEUE_SQL_MESSAGE, INT(qid));
    int got = queue_sql_next(q, s);

    *e = NULL;
    if (got > 0) {
        *e = read_envelope(a, s, qid);
        if ((*e)->sender == NULL)
            *e = NULL; /* never written like that: damage */
        sqlite3_reset(s);
    }
    return got >= 0;
}

/* A growing array in an arena. */
static void *grown(struct arena *a, void *items, size_t count, size_t *cap, size_t item)
{
    void *more;

    if (count < *cap)
        return items;
    *cap = *cap > 0 ? *cap * 2 : 4;
    more = arena_new_array(a, *cap, item);
    if (items != NULL)
        memcpy(more, items, count * item);
    return more;
}

/* At most `room` of the recipients that are due; *more: there would be more. */
static bool load_due_rcpts(struct queue_sql *q, struct arena *a, const struct queue_due *due, size_t room,
                           struct envelope *e, bool *more)
{
    sqlite3_stmt *s = QUERY(q, QUEUE_SQL_DUE_RCPTS, INT(e->qid), INT(due->now_us), INT(due->horizon_us), INT(room + 1));
    size_t cap = 0;
    int got;

    while ((got = queue_sql_next(q, s)) > 0 && e->nrcpts < room) {
        e->rcpts = grown(a, e->rcpts, e->nrcpts, &cap, sizeof *e->rcpts);
        read_rcpt(a, s, &e->rcpts[e->nrcpts]);
        e->nrcpts += e->rcpts[e->nrcpts].addr != NULL; /* else damage */
    }
    if (got > 0) {
        *more = true;
        sqlite3_reset(s);
    }
    return got >= 0;
}

/* One call of queue_sql_find_due. */
struct due_walk {
    struct queue_sql *q;
    struct arena *arena;
    const struct queue_due *due;
    uint64_t *busy; /* sorted */
    const struct envelope **messages;
    size_t count, cap;
    size_t rcpts;
    struct map seen; /* qids in `messages` */
    uint64_t looked_to_us;
    bool passed_over;
    bool more;        /* there are due recipients beyond the limit */
    uint64_t damaged; /* a message that cannot be delivered; 0: none */
};

static int compare_qids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void sort_busy(struct due_walk *w)
{
    w->busy = arena_new_array(w->arena, w->due->nbusy, sizeof *w->busy);
    if (w->due->nbusy == 0)
        return;
    memcpy(w->busy, w->due->busy, w->due->nbusy * sizeof *w->busy);
    qsort(w->busy, w->due->nbusy, sizeof *w->busy, compare_qids);
}

static bool is_busy(const struct due_walk *w, uint64_t qid)
{
    return w->due->nbusy > 0 && bsearch(&qid, w->busy, w->due->nbusy, sizeof qid, compare_qids) != NULL;
}

static bool is_crowded(struct due_walk *w, const char *address)
{
    const char *at = address != NULL ? strrchr(address, '@') : NULL;

    for (size_t i = 0; at != NULL && i < w->due->ncrowded; i++)
        if (slice_ieq(slice_str(at + 1), slice_str(w->due->crowded[i])))
            return true;
    return false;
}

static bool take_message(struct due_walk *w, uint64_t qid)
{
    struct envelope *e;
    size_t room = w->due->limit - w->rcpts;

    if (!load_envelope(w->q, w->arena, qid, &e))
        return false;
    if (e == NULL) { /* recipients without a message: nothing that could be delivered */
        w->damaged = qid;
        return true;
    }
    if (!load_due_rcpts(w->q, w->arena, w->due, room, e, &w->more))
        return false;
    if (e->nrcpts == 0)
        w->damaged = qid;
    w->messages = grown(w->arena, w->messages, w->count, &w->cap, sizeof(struct envelope *));
    w->messages[w->count++] = e;
    w->rcpts += e->nrcpts;
    return true;
}

/* Goes through due recipients in order of time and takes each message with all of its that are due. */
static bool walk(struct due_walk *w, enum queue_statement which, uint64_t bound_us)
{
    sqlite3_stmt *s = QUERY(w->q, which, INT(bound_us), INT(w->due->from_us));
    bool ok = true;
    int got = 0;

    while (ok && (got = queue_sql_next(w->q, s)) > 0) {
        uint64_t qid = column_u64(s, 0);
        struct slice key = slice_make(&qid, sizeof qid);

        if (is_busy(w, qid) || map_get(&w->seen, key) != NULL)
            continue;
        if (which == QUEUE_SQL_DUE_CROWDED && is_crowded(w, (const char *)sqlite3_column_text(s, 2))) {
            w->passed_over = true;
            continue;
        }
        if (w->rcpts >= w->due->limit) {
            w->more = true;
            w->looked_to_us = column_u64(s, 1);
            break;
        }
        map_put(&w->seen, key, w);
        ok = take_message(w, qid);
    }
    if (got > 0)
        sqlite3_reset(s);
    return ok && got >= 0;
}

static bool list_reports(struct due_walk *w, struct queue_batch *batch)
{
    sqlite3_stmt *s = queue_sql_query(w->q, QUEUE_SQL_REPORTS, NULL, 0);
    uint64_t *qids = arena_new_array(w->arena, QUEUE_REPORTS_MOST, sizeof *qids);
    int got;

    batch->reports = qids;
    while ((got = queue_sql_next(w->q, s)) > 0) {
        uint64_t qid = column_u64(s, 0);

        if (is_busy(w, qid))
            continue;
        qids[batch->nreports++] = qid;
        if (batch->nreports == QUEUE_REPORTS_MOST) {
            sqlite3_reset(s);
            return true;
        }
    }
    return got == 0;
}

static bool find_next(struct due_walk *w, struct queue_batch *batch)
{
    bool found;

    if (w->more) {
        batch->next_due_us = w->due->now_us;
        return true;
    }
    return queue_sql_number(w->q, QUERY(w->q, QUEUE_SQL_DUE_NEXT, INT(w->due->now_us)), &batch->next_due_us, &found);
}

bool queue_sql_find_due(struct queue_sql *q, struct arena *a, const struct queue_due *due, struct queue_batch *batch)
{
    struct due_walk w = {.q = q, .arena = a, .due = due};
    bool ok;

    sort_busy(&w);
    ok = walk(&w, due->ncrowded > 0 ? QUEUE_SQL_DUE_CROWDED : QUEUE_SQL_DUE, due->now_us) &&
         walk(&w, QUEUE_SQL_DUE_FAR, due->horizon_us) && find_next(&w, batch) &&
         (!due->reports || list_reports(&w, batch));

    map_clear(&w.seen);
    batch->messages = w.messages;
    batch->count = w.count;
    batch->damaged = w.damaged;
    batch->passed_over = w.passed_over;
    batch->looked_to_us = w.more && w.looked_to_us < due->now_us ? w.looked_to_us : due->now_us;
    return ok;
}

bool queue_sql_find_reports(struct queue_sql *q, struct arena *a, uint64_t qid, struct queue_reports *out)
{
    struct envelope *e;
    struct queue_report *reports = NULL;
    size_t cap = 0;
    sqlite3_stmt *s;
    int got;

    if (!load_envelope(q, a, qid, &e))
        return false;
    out->message = e;
    if (e == NULL)
        return true;
    s = QUERY(q, QUEUE_SQL_REPORT_RCPTS, INT(qid), INT(QUEUE_REPORT_RCPTS));
    while ((got = queue_sql_next(q, s)) > 0) {
        struct queue_report *r;

        reports = grown(a, reports, out->count, &cap, sizeof *reports);
        r = &reports[out->count++];
        read_rcpt(a, s, &r->rcpt);
        r->dsn = column_text(a, s, 7);
        r->text = column_text(a, s, 8);
        r->at_us = column_u64(s, 9);
    }
    out->reports = reports;
    return got == 0;
}

bool queue_sql_count(struct queue_sql *q, struct queue_totals *out)
{
    sqlite3_stmt *s = queue_sql_query(q, QUEUE_SQL_TOTALS, NULL, 0);

    if (queue_sql_next(q, s) <= 0)
        return false;
    *out = (struct queue_totals){.messages = column_u64(s, 0), .rcpts = column_u64(s, 1)};
    sqlite3_reset(s);
    return true;
}

/* ---- content ---- */

/* *found: did the query have a row? */
static bool read_bytes(struct queue_sql *q, struct arena *a, sqlite3_stmt *s, struct slice *bytes, bool *found)
{
    int got = queue_sql_next(q, s);

    *found = got > 0;
    if (got > 0) {
        struct slice in = column_bytes(s, 0);

        *bytes = slice_make(arena_slice_dup(a, in), in.n);
        sqlite3_reset(s);
    }
    return got >= 0;
}

bool queue_sql_read(struct queue_sql *q, struct arena *a, uint64_t qid, unsigned index, struct queue_piece *piece,
                    bool *message, bool *content)
{
    uint64_t pieces = 0;

    if (!queue_sql_number(q, QUERY(q, QUEUE_SQL_READ_PIECES, INT(qid)), &pieces, message))
        return false;
    piece->bytes = SLICE_EMPTY;
    piece->last = index + 1 >= pieces;
    *content = true;
    if (!*message || (index > 0 && index >= pieces))
        return true;
    if (pieces == 0)
        return read_bytes(q, a, QUERY(q, QUEUE_SQL_READ_BODY, INT(qid)), &piece->bytes, content);
    return read_bytes(q, a, QUERY(q, QUEUE_SQL_READ_PIECE, INT(qid), INT(index)), &piece->bytes, content);
}
