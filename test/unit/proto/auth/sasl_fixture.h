/*
 * libsasl2 for tests: a directory with the application's file, a sasldb with one user, and a saslauthd of our own that
 * can be made to hang. LOGIN and PLAIN ask that saslauthd, the other mechanisms the sasldb: libsasl2 reads its
 * configuration once in a process, so that one must do for all tests.
 */
#ifndef MTA_TEST_SASL_FIXTURE_H
#define MTA_TEST_SASL_FIXTURE_H

#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/codec.h"
#include "core/base/log.h"
#include "proto/auth/auth_int.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define SASL_USER     "user@example.com"
#define SASL_PASSWORD "correct horse"

static struct {
    char dir[64], mux[80];
    int listener;
    pthread_t saslauthd;
    pthread_mutex_t gate; /* held by a test: saslauthd hangs */
    pthread_mutex_t lock;
    char log[65536]; /* under lock */
    size_t nlog;     /* under lock */
} sasl = {.gate = PTHREAD_MUTEX_INITIALIZER, .lock = PTHREAD_MUTEX_INITIALIZER};

static inline void sasl_sink(enum log_level level, const char *line, size_t n)
{
    (void)level;
    pthread_mutex_lock(&sasl.lock);
    if (sasl.nlog + n < sizeof sasl.log) {
        memcpy(sasl.log + sasl.nlog, line, n);
        sasl.nlog += n;
    }
    pthread_mutex_unlock(&sasl.lock);
}

static inline bool sasl_logged(const char *text)
{
    bool found;

    pthread_mutex_lock(&sasl.lock);
    found = memmem(sasl.log, sasl.nlog, text, strlen(text)) != NULL;
    pthread_mutex_unlock(&sasl.lock);
    return found;
}

/* ---- saslauthd: four counted strings in, one out ---- */

static inline bool sasl_read(int fd, void *p, size_t n)
{
    for (size_t have = 0; have < n;) {
        ssize_t r = read(fd, (char *)p + have, n - have);

        if (r <= 0)
            return false;
        have += (size_t)r;
    }
    return true;
}

static inline bool sasl_word(int fd, char word[256])
{
    unsigned char n[2];

    if (!sasl_read(fd, n, 2) || n[0] != 0 || !sasl_read(fd, word, n[1]))
        return false;
    word[n[1]] = '\0';
    return true;
}

static inline void sasl_serve(int fd)
{
    char words[4][256];
    bool right;

    for (int i = 0; i < 4; i++)
        if (!sasl_word(fd, words[i]))
            return;
    pthread_mutex_lock(&sasl.gate);
    pthread_mutex_unlock(&sasl.gate);
    /* The user and the realm come apart, and the service is what smtpd_sasl_service says. */
    right = strcmp(words[0], "user") == 0 && strcmp(words[1], SASL_PASSWORD) == 0 && strcmp(words[2], "smtp") == 0 &&
            strcmp(words[3], "example.com") == 0;
    (void)!write(fd, right ? "\0\2OK" : "\0\2NO", 4);
}

static inline void *sasl_main(void *arg)
{
    int fd;

    while ((fd = accept(sasl.listener, NULL, NULL)) >= 0) {
        sasl_serve(fd);
        close(fd);
    }
    return arg;
}

static inline void sasl_start_daemon(void)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};

    memcpy(a.sun_path, sasl.mux, strlen(sasl.mux));
    sasl.listener = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(sasl.listener, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(sasl.listener, 200), 0);
    assert_int_equal(pthread_create(&sasl.saslauthd, NULL, sasl_main, NULL), 0);
}

/* ---- the process ---- */

static inline void sasl_run(const char *command)
{
    assert_int_equal(system(command), 0);
}

static inline int sasl_setup(void **state)
{
    char *command;

    (void)state;
    strcpy(sasl.dir, "/tmp/mta-sasl-XXXXXX");
    assert_non_null(mkdtemp(sasl.dir));
    snprintf(sasl.mux, sizeof sasl.mux, "%s/mux", sasl.dir);
    command = mem_printf("cd %s && mkdir sasl && printf '%%s' '" SASL_PASSWORD
                         "' | saslpasswd2 -p -c -f %s/db -u example.com user && "
                         "printf 'pwcheck_method: saslauthd\\nsaslauthd_path: %s\\nauxprop_plugin: sasldb\\n"
                         "sasldb_path: %s/db\\n' >sasl/mtatest.conf",
                         sasl.dir, sasl.dir, sasl.mux, sasl.dir);
    sasl_run(command);
    mem_free(command);
    log_setup("mta", "host", LOG_LEVEL_INFO, sasl_sink);
    sasl_start_daemon();
    return 0;
}

static inline int sasl_teardown(void **state)
{
    char *command = mem_printf("rm -rf %s", sasl.dir);

    (void)state;
    shutdown(sasl.listener, SHUT_RDWR);
    pthread_join(sasl.saslauthd, NULL);
    close(sasl.listener);
    sasl_run(command);
    mem_free(command);
    log_setup(NULL, NULL, LOG_LEVEL_INFO, NULL);
    return 0;
}

/* ---- a server ---- */

struct server {
    struct loop *loop;
    struct conf conf;
    char *path;
    void *backend;
    struct buf err;
};

static inline void server_open(struct server *s)
{
    *s = (struct server){.loop = loop_new(), .path = mem_printf("%s/mta.conf", sasl.dir)};
    s->conf.path = s->path;
    s->conf.smtpd_sasl_path = "mtatest";
    s->conf.cyrus_sasl_config_path = "";
    s->conf.smtpd_sasl_service = "smtp";
    s->conf.smtpd_sasl_local_domain = "example.com";
    s->backend = auth_backend_cyrus.open(s->loop, NULL, &s->conf, &s->err);
    if (s->backend == NULL)
        fail_msg("%s", buf_cstr(&s->err));
}

static inline void server_close(struct server *s)
{
    auth_backend_cyrus.close(s->backend);
    loop_run(s->loop); /* returns: nothing is left behind */
    assert_int_equal(op_live(s->loop), 0);
    loop_free(&s->loop);
    mem_free(s->path);
    buf_release(&s->err);
}

/* An authentication of a test's. */
struct login {
    struct server *server;
    struct op_scope scope;
    void *exchange;
    bool answered;
    enum auth_outcome outcome;
    char text[2048], user[256], reason[256];
};

static inline void login_on_answer(void *owner, enum op_status status, const void *result)
{
    const struct auth_answer *a = result;
    struct login *l = owner;

    assert_int_equal(status, OP_OK);
    l->answered = true;
    l->outcome = a->outcome;
    snprintf(l->text, sizeof l->text, "%s", a->text);
    snprintf(l->user, sizeof l->user, "%s", a->user);
    snprintf(l->reason, sizeof l->reason, "%s", a->reason);
    assert_null(strstr(l->reason, SASL_PASSWORD));
}

static inline void login_begin(struct login *l, struct server *s, const char *mechanism, const char *initial)
{
    static const struct auth_client client = {
        .addr = "192.0.2.1", .port = 4711, .local_addr = "192.0.2.2", .local_port = 25, .host = "mail.example.com"};

    memset(l, 0, sizeof *l);
    l->server = s;
    op_scope_init(&l->scope, "login");
    l->exchange = auth_backend_cyrus.begin(s->backend, &client, mechanism, initial, &l->scope, login_on_answer, l);
    assert_false(l->answered);
}

static inline void login_respond(struct login *l, const char *response)
{
    l->answered = false;
    auth_backend_cyrus.respond(l->exchange, response, &l->scope, login_on_answer, l);
    assert_false(l->answered);
}

static inline void login_wait(struct login *l)
{
    while (!l->answered)
        loop_turn(l->server->loop);
}

static inline void login_end(struct login *l)
{
    auth_backend_cyrus.end(l->exchange);
    op_scope_close(&l->scope);
}

#endif
