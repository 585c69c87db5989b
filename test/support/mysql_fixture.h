/* For tests of mysql: tables: a server with a schema, tables on it, many lookups at once, failures that are bounded. */
#ifndef MTA_TEST_SUPPORT_MYSQL_FIXTURE_H
#define MTA_TEST_SUPPORT_MYSQL_FIXTURE_H

#include "support/mariadbd.h"
#include "support/tables.h"

static struct mariadbd server;

#define SCHEMA                                                                                                         \
    "CREATE DATABASE mail CHARACTER SET utf8mb4", "CREATE USER 'mail'@'127.0.0.1' IDENTIFIED BY 'se''cret #1'",        \
        "GRANT SELECT, EXECUTE ON mail.* TO 'mail'@'127.0.0.1'",                                                       \
        "CREATE USER 'mail'@'localhost' IDENTIFIED BY 'se''cret #1'",                                                  \
        "GRANT SELECT, EXECUTE ON mail.* TO 'mail'@'localhost'",                                                       \
        "CREATE TABLE mail.alias(address VARCHAR(255), goto VARCHAR(255), extra VARCHAR(255))",                        \
        "INSERT INTO mail.alias VALUES('one@example.com', 'a@x', NULL), ('two@example.com', 'b@x', NULL),"             \
        "('two@example.com', 'c@x', 'd@x'), ('null@example.com', NULL, NULL), ('empty@example.com', '', 'e@x'),"       \
        "('o''neil@example.com', 'quote@x', NULL), ('j\xc3\xbcrgen@example.com', 'utf8@x', NULL),"                     \
        "('back\\\\slash@example.com', 'bs@x', NULL), ('\xf0\x9f\x93\xa7@example.com', 'emoji@x', NULL)",              \
        "CREATE PROCEDURE mail.one(k VARCHAR(255)) SELECT goto FROM mail.alias WHERE address = k",                     \
        "CREATE PROCEDURE mail.none(k VARCHAR(255)) SET @x = k",                                                       \
        "CREATE PROCEDURE mail.two(k VARCHAR(255)) BEGIN SELECT 'x'; SELECT 'y'; END",                                 \
        "CREATE PROCEDURE mail.empty_first(k VARCHAR(255)) BEGIN SELECT 'x' FROM mail.alias WHERE 1 = 0; "             \
        "SELECT 'y'; END",                                                                                             \
        "CREATE PROCEDURE mail.fails(k VARCHAR(255)) BEGIN SELECT 'x'; SELECT * FROM mail.nosuch; END"

static inline int start_server(void **state)
{
    static const char *const statements[] = {SCHEMA};
    MYSQL *m;

    (void)state;
    mysql_library_init(0, NULL, NULL);
    mariadbd_create(&server);
    m = mariadbd_connect(&server);
    mysql_set_character_set(m, "utf8mb4");
    for (size_t i = 0; i < ARRAY_LEN(statements); i++)
        mariadbd_sql_on(m, statements[i]);
    mysql_close(m);
    return 0;
}

static inline int stop_server(void **state)
{
    (void)state;
    mariadbd_destroy(&server);
    return 0;
}

#define QUERY "query = SELECT goto, extra FROM alias WHERE address='%s' ORDER BY goto\n"
#define PING  "query = SELECT 'for %s'\n"

/* The beginning of a query file that connects by TCP. */
static inline char *account(void)
{
    return mem_printf("user = mail\npassword = se'cret #1\ndbname = mail\n");
}

/* A table with this query file, after the account; without "hosts" it goes to our server by TCP. */
static inline struct table *make_table(struct bench *b, const char *name, const char *rest)
{
    char *head = account(), *hosts = mem_printf("hosts = 127.0.0.1:%d\n", server.port), *text;
    struct table *t;

    text = mem_printf("%s%s%s", head, strstr(rest, "hosts =") ? "" : hosts, rest);
    bench_write(b, name, text);
    t = bench_table(b, "mysql", name);
    mem_free(head);
    mem_free(hosts);
    mem_free(text);
    return t;
}

static inline uint64_t now_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

#define SLACK_MS 3000 /* what a busy machine may add */

/* Expects a temporary failure that says `why`, no sooner than `least` and no later than `most` milliseconds from now.
 */
static inline void expect_failure(struct bench *b, struct table *t, const char *why, uint64_t least, uint64_t most)
{
    uint64_t began, took;

    bench_sleep(b, 1); /* the loop's clock stood still while the test did something to the server */
    began = now_ms();
    bench_expect(b, t, "key@example.com", OP_TEMPFAIL, why);
    took = now_ms() - began;
    if (took < least || took > most + SLACK_MS)
        fail_msg("\"%s\" after %ju ms", why, (uintmax_t)took);
}

/* Starts lookups of "k0@example.com" and so on. */
static inline void ask_many(struct bench *b, struct table *t, struct bench_answer *answers, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char key[64];

        answers[i] = (struct bench_answer){.loop = b->loop};
        snprintf(key, sizeof key, "k%zu@example.com", i);
        table_lookup(t, &b->scope, slice_str(key), bench_on_answer, &answers[i]);
    }
}

/* Waits for all; how many were answered OK. */
static inline size_t wait_many(struct bench *b, const struct bench_answer *answers, size_t n)
{
    size_t ok = 0;

    for (size_t i = 0; i < n; i++) {
        while (!answers[i].done)
            loop_run(b->loop);
        ok += answers[i].status == OP_OK;
    }
    return ok;
}

#endif
