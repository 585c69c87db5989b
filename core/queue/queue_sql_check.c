/*
 * Is the queue sound? Asked when it is opened, before anything is promised: see queue_sql.h. SQLite itself takes a
 * file of no bytes for a new database, and a log whose beginning it cannot read for none: both would be the end of mail
 * that was accepted, without a word.
 */
#include "core/base/alloc.h"
#include "core/queue/queue_sql_int.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOG_HEADER  32
#define LOG_MAGIC   0x377f0682u /* the last bit tells the order of bytes */
#define CHECK_PAGES 2048        /* 8 MiB: to read a larger queue as a whole takes too long */

#define WHAT_TO_DO "restore it from a backup, or move it and its -wal and -shm files away to start with an empty queue"

static bool damaged(const char *path, const char *how, struct status *why)
{
    *why = status_make(STATUS_QUEUE_CORRUPT, "queue database %s is damaged (%s): " WHAT_TO_DO, path, how);
    return false;
}

/* A log that a crash cut off at its very beginning holds nothing: no bytes, or zeros. */
static bool log_is_readable(int fd)
{
    unsigned char head[LOG_HEADER] = {0};
    ssize_t n = pread(fd, head, sizeof head, 0);
    uint32_t magic = (uint32_t)head[0] << 24 | (uint32_t)head[1] << 16 | (uint32_t)head[2] << 8 | head[3];

    return (n >= 0 && n < LOG_HEADER) || magic == 0 || (magic & ~1u) == LOG_MAGIC;
}

bool queue_sql_check_files(const char *path, struct status *why)
{
    char *log = mem_printf("%s-wal", path);
    int fd = open(log, O_RDONLY | O_CLOEXEC);
    struct stat db, wal;
    bool ok = true;

    mem_free(log);
    if (fd < 0)
        return true;
    if (fstat(fd, &wal) == 0 && wal.st_size > 0) {
        if (stat(path, &db) != 0 || db.st_size == 0)
            ok = damaged(path, "it is empty and its log is not", why);
        else if (!log_is_readable(fd))
            ok = damaged(path, "its log is no log", why);
    }
    close(fd);
    return ok;
}

/* The first column of the first row. */
static bool ask(struct queue_sql *q, const char *text, char *answer, size_t size)
{
    sqlite3_stmt *s = NULL;
    bool ok = sqlite3_prepare_v2(q->db, text, -1, &s, NULL) == SQLITE_OK && queue_sql_next(q, s) > 0;

    if (ok)
        snprintf(answer, size, "%s", (const char *)sqlite3_column_text(s, 0));
    else
        queue_sql_failed(q);
    sqlite3_finalize(s);
    return ok;
}

bool queue_sql_check(struct queue_sql *q, const char *path, struct status *why)
{
    char answer[200];

    if (!ask(q, "PRAGMA page_count", answer, sizeof answer))
        return damaged(path, q->detail, why);
    if (atol(answer) > CHECK_PAGES)
        return true;
    if (!ask(q, "PRAGMA integrity_check(1)", answer, sizeof answer))
        return damaged(path, q->detail, why);
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, "ok") == 0 || damaged(path, answer, why);
}
