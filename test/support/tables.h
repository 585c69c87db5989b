/* For tests of tables: a loop, a registry, lookups that are waited for, files in a directory of their own. */
#ifndef MTA_TEST_SUPPORT_TABLES_H
#define MTA_TEST_SUPPORT_TABLES_H

#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/buf.h"
#include "core/base/log.h"
#include "lookup/table.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct bench {
    struct loop *loop;
    struct tables *tables;
    struct op_scope scope;
    char dir[64];
};

/* What was logged since the last bench_open. */
static char bench_log[65536];
static size_t bench_log_n;

/* Lines also come from pool threads; they are few, and none is logged while a test looks. */
static inline void bench_sink(enum log_level level, const char *line, size_t n)
{
    (void)level;
    if (bench_log_n + n < sizeof bench_log) {
        memcpy(bench_log + bench_log_n, line, n);
        bench_log_n += n;
        bench_log[bench_log_n] = '\0';
    }
}

static inline size_t bench_logged(const char *text)
{
    size_t n = 0;

    for (const char *p = bench_log; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

static inline void bench_open(struct bench *b)
{
    bench_log_n = 0;
    bench_log[0] = '\0';
    log_setup("mta", "host", LOG_LEVEL_INFO, bench_sink);
    b->loop = loop_new();
    b->tables = tables_new(b->loop);
    op_scope_init(&b->scope, "test");
    strcpy(b->dir, "/tmp/mta-tables-XXXXXX");
    assert_non_null(mkdtemp(b->dir));
}

static inline void bench_close(struct bench *b)
{
    char *command = mem_printf("rm -rf '%s'", b->dir);

    op_scope_close(&b->scope);
    tables_free(&b->tables);
    loop_run(b->loop); /* until what was under way has ended */
    assert_int_equal(op_live(b->loop), 0);
    loop_free(&b->loop);
    assert_int_equal(system(command), 0);
    mem_free(command);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL); /* gives the names back */
}

/* "DIR/name"; to be freed with mem_free. */
static inline char *bench_path(struct bench *b, const char *name)
{
    return mem_printf("%s/%s", b->dir, name);
}

/* Writes a file that looks as if it had been there for a minute. */
static inline void bench_write(struct bench *b, const char *name, const char *text)
{
    char *path = bench_path(b, name);
    FILE *f = fopen(path, "w");
    struct timespec old[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};

    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    old[1].tv_sec = time(NULL) - 60;
    old[1].tv_nsec = 0;
    assert_int_equal(utimensat(AT_FDCWD, path, old, 0), 0);
    mem_free(path);
}

static inline struct table *bench_table_spec(struct bench *b, const char *spec)
{
    struct buf err = {0};
    struct table *t = tables_open(b->tables, spec, &err);

    if (t == NULL)
        print_error("%s\n", buf_cstr(&err));
    assert_non_null(t);
    buf_release(&err);
    return t;
}

/* Opens "TYPE:DIR/name". */
static inline struct table *bench_table(struct bench *b, const char *type, const char *name)
{
    char *spec = mem_printf("%s:%s/%s", type, b->dir, name);
    struct table *t = bench_table_spec(b, spec);

    mem_free(spec);
    return t;
}

struct bench_answer {
    struct loop *loop; /* stopped when the answer is there, unless NULL */
    bool done;
    enum op_status status;
    char text[4096];
};

static inline void bench_on_answer(void *owner, enum op_status status, const void *result)
{
    struct bench_answer *a = owner;
    const struct table_answer *answer = result;
    const char *text = status == OP_OK ? answer->value : status == OP_TEMPFAIL ? answer->why : "";

    assert_false(a->done);
    a->done = true;
    a->status = status;
    snprintf(a->text, sizeof a->text, "%s", text);
    if (a->loop != NULL)
        loop_stop(a->loop);
}

/* Asks and waits. The answer is valid until the next one. */
static inline const struct bench_answer *bench_ask_n(struct bench *b, struct table *t, const char *key, size_t n)
{
    static struct bench_answer a;

    a = (struct bench_answer){.loop = b->loop};
    table_lookup(t, &b->scope, slice_make(key, n), bench_on_answer, &a);
    assert_false(a.done); /* never inside the start call */
    while (!a.done)
        loop_run(b->loop);
    return &a;
}

static inline const struct bench_answer *bench_ask(struct bench *b, struct table *t, const char *key)
{
    return bench_ask_n(b, t, key, strlen(key));
}

static inline void bench_expect(struct bench *b, struct table *t, const char *key, enum op_status status,
                                const char *text)
{
    const struct bench_answer *a = bench_ask(b, t, key);

    if (a->status != status)
        print_error("key \"%s\": status %d, text \"%s\"\n", key, (int)a->status, a->text);
    assert_int_equal(a->status, status);
    if (status == OP_OK)
        assert_string_equal(a->text, text);
    else if (status == OP_TEMPFAIL && strstr(a->text, text) == NULL)
        fail_msg("\"%s\" does not contain \"%s\"", a->text, text);
}

static inline void bench_timer(void *arg)
{
    loop_stop(arg);
}

/* Lets the loop run for a while. */
static inline void bench_sleep(struct bench *b, uint64_t ms)
{
    struct timer t = {0};

    timer_start(b->loop, &t, ms, bench_timer, b->loop);
    while (timer_active(&t))
        loop_run(b->loop);
}

#endif
