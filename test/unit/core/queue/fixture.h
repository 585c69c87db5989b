/*
 * What the tests of the queue share: a directory, a loop and a queue; calls that run the loop until their answer is
 * there; faults of the file system beneath SQLite. Each test program includes it once.
 */
#ifndef TEST_QUEUE_FIXTURE_H
#define TEST_QUEUE_FIXTURE_H

#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/id.h"
#include "core/base/log.h"
#include "core/queue/queue.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

struct fixture {
    char directory[64];
    struct loop *loop;
    struct queue *queue;
    struct op_scope scope;
    struct arena arena;
};

/* ---- log lines ---- */

static char logged[65536];
static size_t logged_n;
static pthread_mutex_t logged_lock = PTHREAD_MUTEX_INITIALIZER;

static inline void log_to_memory(enum log_level level, const char *line, size_t n)
{
    (void)level;
    pthread_mutex_lock(&logged_lock);
    if (logged_n + n < sizeof logged) {
        memcpy(logged + logged_n, line, n);
        logged_n += n;
    }
    pthread_mutex_unlock(&logged_lock);
}

static inline void log_forget(void)
{
    pthread_mutex_lock(&logged_lock);
    memset(logged, 0, sizeof logged);
    logged_n = 0;
    pthread_mutex_unlock(&logged_lock);
}

static inline size_t log_count(const char *text)
{
    size_t n = 0;

    pthread_mutex_lock(&logged_lock);
    for (const char *at = logged; (at = strstr(at, text)) != NULL; at++)
        n++;
    pthread_mutex_unlock(&logged_lock);
    return n;
}

/* ---- faults: what SQLite gets from the system ---- */

static atomic_int fault_errno;     /* every write fails with it; 0: all is well */
static atomic_int fault_countdown; /* writes that still work before that */
static atomic_uint syncs;
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);

static inline ssize_t faulty_pwrite(int fd, const void *p, size_t n, off_t at)
{
    if (fault_errno != 0 && atomic_fetch_sub(&fault_countdown, 1) <= 0) {
        errno = fault_errno;
        return -1;
    }
    return real_pwrite(fd, p, n, at);
}

/* SQLite calls this one. */
int fdatasync(int fd)
{
    syncs++;
    return (int)syscall(SYS_fdatasync, fd);
}

static inline void faults_install(void)
{
    static const char *const names[] = {"pwrite", "pwrite64"};
    sqlite3_vfs *vfs = sqlite3_vfs_find(NULL);

    for (size_t i = 0; i < ARRAY_LEN(names) && real_pwrite == NULL; i++) {
        sqlite3_syscall_ptr was = vfs->xGetSystemCall(vfs, names[i]);

        if (was == NULL)
            continue;
        real_pwrite = (ssize_t(*)(int, const void *, size_t, off_t))was;
        vfs->xSetSystemCall(vfs, names[i], (sqlite3_syscall_ptr)faulty_pwrite);
    }
    assert_non_null(real_pwrite);
}

/* ---- the queue ---- */

static inline void fixture_open(struct fixture *f)
{
    struct queue_options options = {.directory = f->directory};
    struct status why = status_ok();

    f->loop = loop_new();
    f->queue = queue_open(f->loop, &options, &why);
    if (f->queue == NULL)
        fail_msg("%s", why.text);
    op_scope_init(&f->scope, "test");
}

static inline void fixture_close(struct fixture *f)
{
    op_scope_close(&f->scope);
    queue_close(&f->queue);
    loop_free(&f->loop);
}

static inline void fixture_reopen(struct fixture *f)
{
    fixture_close(f);
    fixture_open(f);
}

static inline void fixture_directory(struct fixture *f)
{
    snprintf(f->directory, sizeof f->directory, "/tmp/mta-queue-XXXXXX");
    assert_non_null(mkdtemp(f->directory));
}

static inline void fixture_remove(struct fixture *f)
{
    static const char *const names[] = {"queue.db", "queue.db-wal", "queue.db-shm", "lock"};
    char path[128];

    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", f->directory, names[i]);
        unlink(path);
    }
    rmdir(f->directory);
}

static inline int fixture_setup(void **state)
{
    struct fixture *f = NEW(struct fixture);

    log_setup("test", "host", LOG_LEVEL_INFO, log_to_memory);
    log_forget();
    fault_errno = 0;
    fixture_directory(f);
    fixture_open(f);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;

    fault_errno = 0;
    fixture_close(f);
    fixture_remove(f);
    arena_clear(&f->arena);
    mem_free(f);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return 0;
}

/* A statement run on the database behind the queue's back; the first column of its first row. */
static inline long long fixture_sql(struct fixture *f, const char *text)
{
    char path[128];
    sqlite3 *db;
    sqlite3_stmt *s;
    long long n = -1;

    snprintf(path, sizeof path, "%s/queue.db", f->directory);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, text, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    if (sqlite3_step(s) == SQLITE_ROW)
        n = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return n;
}

/* ---- waiting ---- */

struct answer {
    struct fixture *f;
    bool there;
    enum op_status status;
    struct status why; /* where the result is one */
    bool removed;
};

static inline void stop_waiting(struct answer *a, enum op_status status)
{
    a->there = true;
    a->status = status;
    loop_stop(a->f->loop);
}

static inline void on_status(void *owner, enum op_status status, const void *result)
{
    struct answer *a = owner;

    a->why = *(const struct status *)result;
    stop_waiting(a, status);
}

static inline void on_removed(void *owner, enum op_status status, const void *result)
{
    struct answer *a = owner;

    if (status == OP_OK)
        a->removed = *(const bool *)result;
    else
        a->why = *(const struct status *)result;
    stop_waiting(a, status);
}

static inline void await(struct answer *a)
{
    while (!a->there)
        loop_run(a->f->loop);
}

static inline void on_tick(void *arg)
{
    struct answer *a = arg;

    stop_waiting(a, OP_TIMEOUT);
}

static inline void fixture_sleep(struct fixture *f, uint64_t ms)
{
    struct answer a = {.f = f};
    struct timer timer = {0};

    timer_start(f->loop, &timer, ms, on_tick, &a);
    await(&a);
}

/* ---- messages ---- */

#define NOW() clock_wall_us()

static inline struct envelope *sample(struct fixture *f, const char *sender, size_t nrcpts)
{
    struct envelope *e = ARENA_NEW(&f->arena, struct envelope);

    e->qid = id_next();
    e->arrival_us = NOW();
    e->sender = arena_strdup(&f->arena, sender);
    e->client_name = "client.example.com";
    e->client_addr = "192.0.2.1";
    e->protocol = "ESMTP";
    e->nrcpts = nrcpts;
    e->rcpts = arena_new_array(&f->arena, nrcpts, sizeof *e->rcpts);
    for (size_t i = 0; i < nrcpts; i++)
        e->rcpts[i].addr = arena_printf(&f->arena, "user%zu@example.com", i);
    return e;
}

static inline struct status commit(struct fixture *f, const struct envelope *e, const char *content)
{
    struct answer a = {.f = f};
    struct queue_writer *w = queue_begin(f->queue, e->qid);

    queue_write(w, slice_str(content));
    queue_commit(&w, &f->scope, e, on_status, &a);
    assert_null(w);
    await(&a);
    return a.why;
}

static inline uint64_t commit_sample(struct fixture *f, size_t nrcpts)
{
    struct envelope *e = sample(f, "sender@example.org", nrcpts);
    struct status s = commit(f, e, "Subject: test\n\nbody\n");

    assert_true(status_is_ok(&s));
    return e->qid;
}

static inline struct answer record(struct fixture *f, uint64_t qid, const struct queue_result *r, size_t n)
{
    struct answer a = {.f = f};

    queue_record(f->queue, &f->scope, qid, r, n, on_removed, &a);
    await(&a);
    return a;
}

#endif
