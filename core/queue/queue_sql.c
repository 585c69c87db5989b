/*
 * The queue's database: see queue_sql.h. Called by the writer thread and by the reader thread of queue.c, each with a
 * connection of its own.
 *
 * A message is a row of `message` (never changed, so that its size does not matter), its content either one row of
 * `body` or, when it came in pieces, rows of `content`, and one row of `rcpt` for each recipient that is not done.
 * While pieces come in, a row of `incoming` says so: what a crash leaves behind is found by that. Indexes cover only
 * what is looked for: recipients that can become due, and those whose report is due. Page size, the split of small and
 * large content and the size of the log were chosen by measuring commits of 1 to 128 messages of 1 to 32 KiB.
 */
#include "core/queue/queue_sql_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define APPLICATION_ID 0x6d746171 /* "mtaq" */
#define BUSY_MS        5000       /* how long somebody else, a tool, may hold the database */
#define LOG_KEPT       "16777216" /* bytes of the log that stay allocated: room to work in on a full disk */

/* migrations[n] leads from schema version n (0: an empty file) to n + 1. */
static const char *const migrations[] = {
    "PRAGMA application_id = 1836343665;"
    "CREATE TABLE message(qid INTEGER PRIMARY KEY, arrival_us INTEGER NOT NULL, queued_us INTEGER NOT NULL,"
    " size INTEGER NOT NULL, pieces INTEGER NOT NULL, flags INTEGER NOT NULL, ret INTEGER NOT NULL,"
    " sender TEXT NOT NULL, client_name TEXT, client_addr TEXT, helo TEXT, protocol TEXT, envid TEXT);"
    "CREATE TABLE body(qid INTEGER PRIMARY KEY, bytes BLOB NOT NULL);"
    "CREATE TABLE content(qid INTEGER NOT NULL, piece INTEGER NOT NULL, bytes BLOB NOT NULL);"
    "CREATE UNIQUE INDEX content_piece ON content(qid, piece);"
    "CREATE TABLE incoming(qid INTEGER PRIMARY KEY);"
    /* next_us: when it is due; failed_us: it has failed and waits for its report; one of them is NULL */
    "CREATE TABLE rcpt(qid INTEGER NOT NULL, id INTEGER NOT NULL, next_us INTEGER, attempts INTEGER NOT NULL, notify "
    "INTEGER NOT NULL, addr TEXT NOT NULL, orig TEXT, orcpt TEXT,"
    " dsn TEXT, text TEXT, failed_us INTEGER, PRIMARY KEY(qid, id)) WITHOUT ROWID;"
    "CREATE INDEX rcpt_due ON rcpt(next_us) WHERE next_us IS NOT NULL;"
    "CREATE INDEX rcpt_failed ON rcpt(qid) WHERE failed_us IS NOT NULL;",
    /*
     * action: enum envelope_action; report_us: when that happened, NULL once it has been reported. A recipient that is
     * delayed has both next_us and an action.
     */
    "DROP INDEX rcpt_failed;"
    "ALTER TABLE rcpt RENAME COLUMN failed_us TO report_us;"
    "ALTER TABLE rcpt ADD COLUMN action INTEGER;"
    "UPDATE rcpt SET action = 1 WHERE report_us IS NOT NULL;"
    "CREATE INDEX rcpt_report ON rcpt(qid) WHERE report_us IS NOT NULL;",
    /* ids go on from here after a restart, see queue.c */
    ("CREATE TABLE mark(id INTEGER PRIMARY KEY, qid INTEGER NOT NULL);"
     "INSERT INTO mark VALUES(1, 0);"),
};

static const char *const sql[QUEUE_STATEMENTS] = {
#define STATEMENT(id, text) text,
#include "core/queue/queue_statements.def"
#undef STATEMENT
};

const struct status *queue_sql_error(const struct queue_sql *q)
{
    return &q->error;
}

const char *queue_sql_detail(const struct queue_sql *q)
{
    return q->detail;
}

static bool no_room(int code, int error)
{
    if (code == SQLITE_FULL)
        return true;
    return code == SQLITE_IOERR && (error == ENOSPC || error == EDQUOT || error == EFBIG);
}

unsigned queue_sql_lost_syncs(const struct queue_sql *q)
{
    return q->lost_syncs;
}

bool queue_sql_failed(struct queue_sql *q)
{
    int code = sqlite3_extended_errcode(q->db), error = sqlite3_system_errno(q->db);

    q->lost_syncs += code == SQLITE_IOERR_FSYNC;
    q->error = status_of(no_room(code & 0xff, error) ? STATUS_QUEUE_FULL : STATUS_QUEUE_WRITE);
    snprintf(q->detail, sizeof q->detail, "%s (%d)%s%s", sqlite3_errmsg(q->db), code, error ? ": " : "",
             error ? strerror(error) : "");
    return false;
}

static int bind_value(sqlite3_stmt *s, int at, const struct queue_value *v)
{
    switch (v->type) {
    case QUEUE_VALUE_INT: return sqlite3_bind_int64(s, at, (sqlite3_int64)v->number);
    case QUEUE_VALUE_TEXT:
        if (v->bytes.p == NULL)
            return sqlite3_bind_null(s, at);
        return sqlite3_bind_text64(s, at, v->bytes.p, v->bytes.n, SQLITE_STATIC, SQLITE_UTF8);
    case QUEUE_VALUE_BYTES:
        if (v->bytes.n == 0)
            return sqlite3_bind_zeroblob(s, at, 0);
        return sqlite3_bind_blob64(s, at, v->bytes.p, v->bytes.n, SQLITE_STATIC);
    }
    return SQLITE_MISUSE;
}

sqlite3_stmt *queue_sql_query(struct queue_sql *q, enum queue_statement which, const struct queue_value *values,
                              size_t n)
{
    sqlite3_stmt **s = &q->statements[which];
    int rc = SQLITE_OK;

    if (*s == NULL)
        rc = sqlite3_prepare_v3(q->db, sql[which], -1, SQLITE_PREPARE_PERSISTENT, s, NULL);
    for (size_t i = 0; i < n && rc == SQLITE_OK; i++)
        rc = bind_value(*s, (int)i + 1, &values[i]);
    if (rc == SQLITE_OK)
        return *s;
    queue_sql_failed(q);
    return NULL;
}

int queue_sql_next(struct queue_sql *q, sqlite3_stmt *s)
{
    int rc = s == NULL ? SQLITE_ERROR : sqlite3_step(s);

    if (rc == SQLITE_ROW)
        return 1;
    if (rc != SQLITE_DONE && s != NULL)
        queue_sql_failed(q);
    sqlite3_reset(s);
    return rc == SQLITE_DONE ? 0 : -1;
}

bool queue_sql_run(struct queue_sql *q, enum queue_statement which, const struct queue_value *values, size_t n)
{
    return queue_sql_next(q, queue_sql_query(q, which, values, n)) == 0;
}

bool queue_sql_number(struct queue_sql *q, sqlite3_stmt *s, uint64_t *value, bool *found)
{
    int got = queue_sql_next(q, s);

    *found = got > 0;
    if (got > 0) {
        *value = (uint64_t)sqlite3_column_int64(s, 0);
        sqlite3_reset(s);
    }
    return got >= 0;
}

/* ---- opening ---- */

static int on_wal(void *arg, sqlite3 *db, const char *name, int pages)
{
    struct queue_sql *q = arg;

    (void)db;
    (void)name;
    q->wal_pages = (unsigned)pages;
    if (q->wal_pages < q->wal_base)
        q->wal_base = 0; /* the log began anew */
    return SQLITE_OK;
}

static bool exec(struct queue_sql *q, const char *text)
{
    return sqlite3_exec(q->db, text, NULL, NULL, NULL) == SQLITE_OK || queue_sql_failed(q);
}

static bool pragma_number(struct queue_sql *q, const char *text, uint64_t *value)
{
    sqlite3_stmt *s = NULL;
    bool found, ok;

    if (sqlite3_prepare_v2(q->db, text, -1, &s, NULL) != SQLITE_OK)
        return queue_sql_failed(q);
    ok = queue_sql_number(q, s, value, &found);
    sqlite3_finalize(s);
    return ok;
}

/* journal_mode answers what the mode is now; anything but WAL would not be durable as we promise. */
static bool set_wal(struct queue_sql *q)
{
    sqlite3_stmt *s = NULL;
    bool wal = false;

    if (sqlite3_prepare_v2(q->db, "PRAGMA journal_mode = WAL", -1, &s, NULL) == SQLITE_OK && queue_sql_next(q, s) > 0)
        wal = sqlite3_stricmp((const char *)sqlite3_column_text(s, 0), "wal") == 0;
    if (!wal)
        queue_sql_failed(q);
    sqlite3_finalize(s);
    return wal;
}

/* Reads a page of every table and index, so that damage there shows before we promise anything. */
static bool probe(struct queue_sql *q)
{
    static const char *const queries[] = {
        "SELECT max(qid) FROM message",
        "SELECT max(qid) FROM body",
        "SELECT max(rowid) FROM content",
        "SELECT max(qid) FROM incoming",
        "SELECT max(qid) FROM mark",
        "SELECT max(qid) FROM rcpt NOT INDEXED",
        "SELECT max(next_us) FROM rcpt INDEXED BY rcpt_due WHERE next_us > 0",
        "SELECT max(qid) FROM rcpt INDEXED BY rcpt_report WHERE report_us IS NOT NULL",
        "SELECT piece FROM content INDEXED BY content_piece WHERE qid = 0",
    };
    uint64_t unused;

    for (size_t i = 0; i < ARRAY_LEN(queries); i++)
        if (!pragma_number(q, queries[i], &unused))
            return false;
    return true;
}

static bool migrate(struct queue_sql *q, uint64_t version)
{
    char text[40];

    if (version == ARRAY_LEN(migrations))
        return true;
    if (!exec(q, "BEGIN IMMEDIATE"))
        return false;
    for (; version < ARRAY_LEN(migrations); version++)
        if (!exec(q, migrations[version]))
            return false;
    snprintf(text, sizeof text, "PRAGMA user_version = %zu", ARRAY_LEN(migrations));
    return exec(q, text) && exec(q, "COMMIT");
}

/* Nothing is written to a queue that is up to date: it opens on a full disk too. */
static bool set_up_writer(struct queue_sql *q, uint64_t version)
{
    if (version == 0 && !exec(q, "PRAGMA page_size = 4096; PRAGMA auto_vacuum = INCREMENTAL"))
        return false;
    sqlite3_wal_hook(q->db, on_wal, q); /* in place of SQLite's own checkpoints */
    return set_wal(q) &&
           exec(q, "PRAGMA synchronous = FULL; PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY;"
                   "PRAGMA journal_size_limit = " LOG_KEPT) &&
           migrate(q, version) && probe(q);
}

static struct status cannot_use(const struct queue_sql *q, const char *path)
{
    switch (sqlite3_errcode(q->db)) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
    case SQLITE_ERROR: /* a table is missing */
        return status_make(
            STATUS_QUEUE_CORRUPT,
            "queue database %s is damaged (%s): restore it from a backup, or move it and its -wal and -shm "
            "files away to start with an empty queue",
            path, sqlite3_errmsg(q->db));
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return status_make(STATUS_QUEUE_CORRUPT,
                           "queue database %s cannot be written (%s): give it and its directory to "
                           "the user that mta runs as",
                           path, sqlite3_errmsg(q->db));
    default:
        return status_make(STATUS_QUEUE_CORRUPT, "queue database %s cannot be used: %s: make room or repair the disk",
                           path, q->detail);
    }
}

/* Is the file ours, of a version we know, and writable? */
static bool acceptable(struct queue_sql *q, const char *path, uint64_t *version, struct status *why)
{
    uint64_t app = 0, schema = 0;

    if (!pragma_number(q, "PRAGMA schema_version", &schema) || !pragma_number(q, "PRAGMA application_id", &app) ||
        !pragma_number(q, "PRAGMA user_version", version)) {
        *why = cannot_use(q, path);
        return false;
    }
    if (schema != 0 && app != APPLICATION_ID) {
        *why =
            status_make(STATUS_QUEUE_CORRUPT, "%s is not a queue of mta: move it away, or set queue_directory", path);
        return false;
    }
    if (*version > ARRAY_LEN(migrations)) {
        *why = status_make(STATUS_QUEUE_CORRUPT,
                           "queue database %s has schema %" PRIu64 ", this mta knows up to %zu: run the newer mta that "
                           "wrote it",
                           path, *version, ARRAY_LEN(migrations));
        return false;
    }
    if (sqlite3_db_readonly(q->db, "main")) {
        *why =
            status_make(STATUS_QUEUE_CORRUPT,
                        "queue database %s is read-only: give it and its directory to the user that mta runs as", path);
        return false;
    }
    return true;
}

static struct queue_sql *open_connection(const char *path, int flags, struct status *why)
{
    struct queue_sql *q = NEW(struct queue_sql);

    /* Fails, without harm, when SQLite is in use already; saves a lock for each allocation. */
    sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    if (sqlite3_open_v2(path, &q->db, SQLITE_OPEN_NOMUTEX | flags, NULL) != SQLITE_OK) {
        queue_sql_failed(q);
        *why = cannot_use(q, path);
        queue_sql_close(&q);
        return NULL;
    }
    sqlite3_busy_timeout(q->db, BUSY_MS);
    return q;
}

struct queue_sql *queue_sql_open(const char *path, struct status *why)
{
    struct queue_sql *q = open_connection(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE, why);
    uint64_t version = 0;

    if (q == NULL)
        return NULL;
    if (acceptable(q, path, &version, why)) {
        if (set_up_writer(q, version))
            return q;
        *why = cannot_use(q, path);
    }
    queue_sql_close(&q);
    return NULL;
}

struct queue_sql *queue_sql_open_reader(const char *path, struct status *why)
{
    struct queue_sql *q = open_connection(path, SQLITE_OPEN_READWRITE, why);

    if (q == NULL)
        return NULL;
    q->reader = true;
    if (exec(q, "PRAGMA query_only = 1; PRAGMA cache_size = -1024; PRAGMA temp_store = MEMORY"))
        return q;
    *why = cannot_use(q, path);
    queue_sql_close(&q);
    return NULL;
}

/* Is it a queue of the version that our statements are for? */
static bool readable(struct queue_sql *q, const char *path, struct status *why)
{
    uint64_t app = 0, version = 0;

    if (!pragma_number(q, "PRAGMA application_id", &app) || !pragma_number(q, "PRAGMA user_version", &version)) {
        *why = status_make(STATUS_QUEUE_CORRUPT, "queue database %s cannot be read: %s", path, q->detail);
        return false;
    }
    if (app != APPLICATION_ID) {
        *why = status_make(STATUS_QUEUE_CORRUPT, "%s is not a queue of mta", path);
        return false;
    }
    if (version != ARRAY_LEN(migrations)) {
        *why = status_make(STATUS_QUEUE_CORRUPT, "queue database %s has schema %" PRIu64 ", this mta reads %zu: %s",
                           path, version, ARRAY_LEN(migrations),
                           version < ARRAY_LEN(migrations) ? "the server converts it when it starts"
                                                           : "use the newer mta that wrote it");
        return false;
    }
    return true;
}

struct queue_sql *queue_sql_open_viewer(const char *path, struct status *why)
{
    struct queue_sql *q;

    if (access(path, R_OK) != 0) {
        *why = status_make(STATUS_QUEUE_CORRUPT, "queue database %s cannot be read: %s", path, strerror(errno));
        return NULL;
    }
    q = open_connection(path, SQLITE_OPEN_READONLY, why);
    if (q == NULL)
        return NULL;
    q->reader = true;
    if (!readable(q, path, why))
        queue_sql_close(&q);
    return q;
}

void queue_sql_close(struct queue_sql **qp)
{
    struct queue_sql *q = *qp;

    if (q == NULL)
        return;
    *qp = NULL;
    for (size_t i = 0; i < QUEUE_STATEMENTS; i++)
        sqlite3_finalize(q->statements[i]);
    sqlite3_close(q->db);
    mem_free(q);
}

/* ---- transactions and upkeep ---- */

bool queue_sql_begin(struct queue_sql *q)
{
    return queue_sql_run(q, q->reader ? QUEUE_SQL_BEGIN_READ : QUEUE_SQL_BEGIN_WRITE, NULL, 0);
}

bool queue_sql_commit(struct queue_sql *q)
{
    return queue_sql_run(q, QUEUE_SQL_COMMIT, NULL, 0);
}

void queue_sql_rollback(struct queue_sql *q)
{
    /* Some errors have rolled back already. */
    if (!sqlite3_get_autocommit(q->db))
        sqlite3_exec(q->db, "ROLLBACK", NULL, NULL, NULL);
}

bool queue_sql_durable(struct queue_sql *q, bool durable)
{
    if (durable == !q->relaxed)
        return true;
    if (!exec(q, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL"))
        return false;
    q->relaxed = !durable;
    return true;
}

unsigned queue_sql_wal_pages(const struct queue_sql *q)
{
    return q->wal_pages - q->wal_base;
}

void queue_sql_checkpoint(struct queue_sql *q)
{
    int pages = 0, moved = 0;

    if (sqlite3_wal_checkpoint_v2(q->db, "main", SQLITE_CHECKPOINT_PASSIVE, &pages, &moved) == SQLITE_OK)
        q->wal_base = q->wal_pages;
    else
        queue_sql_failed(q);
}

unsigned queue_sql_free_pages(struct queue_sql *q)
{
    uint64_t pages = 0;

    return pragma_number(q, "PRAGMA freelist_count", &pages) ? (unsigned)pages : 0;
}

bool queue_sql_shrink(struct queue_sql *q, unsigned keep, unsigned most)
{
    uint64_t before = 0, after = 0;
    char text[48];

    if (!pragma_number(q, "PRAGMA freelist_count", &before) || before <= keep)
        return false;
    snprintf(text, sizeof text, "PRAGMA incremental_vacuum(%" PRIu64 ")",
             before - keep < most ? before - keep : (uint64_t)most);
    if (!exec(q, text) || !pragma_number(q, "PRAGMA freelist_count", &after))
        return false;
    return after > keep && after < before;
}
