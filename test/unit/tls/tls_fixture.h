/*
 * A TLS server on a socket pair, driven by the test's loop, and a client of Mbed TLS on a thread, with blocking calls.
 * The server greets with "hello" and echoes what it gets; "bye" makes it finish.
 */
#ifndef MTA_TEST_TLS_FIXTURE_H
#define MTA_TEST_TLS_FIXTURE_H

#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "tls/tls_lib.h"
#include "tls/tls_stream.h"

#include <errno.h>
#include <signal.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <mbedtls/error.h>
#include <mbedtls/ssl.h>

static char folder[] = "/tmp/mta-test-tls-XXXXXX";

/* `issue NAME KIND CA DAYS`: NAME.key, NAME.pem; KIND rsa or ec; CA "self" signs itself. */
static const char script[] =
    "set -eu; cd \"$1\"; exec 2>openssl.log; umask 077; echo basicConstraints=CA:TRUE >ca.ext\n"
    "issue() {\n"
    "  case $2 in rsa) openssl genrsa -out $1.key 2048;; ec) openssl ecparam -name prime256v1 -genkey -noout -out "
    "$1.key;; esac\n"
    "  if [ $3 = self ]; then openssl req -x509 -new -key $1.key -subj /CN=$1.example/O=test -days $4 -out $1.pem\n"
    "  else openssl req -new -key $1.key -subj /CN=$1.example/O=test -out $1.csr\n"
    "    openssl x509 -req -in $1.csr -CA $3.pem -CAkey $3.key -CAcreateserial -days $4 ${5:+-extfile ca.ext} -out "
    "$1.pem; fi\n"
    "}\n"
    "issue rsa rsa self 365; issue ec ec self 365; issue other ec self 365; issue ca ec self 365\n"
    "issue client ec ca 365; issue inter ec ca 365 CA; issue below ec inter 365; cat inter.pem >>below.pem; issue "
    "stranger ec self 365\n"
    "cat other.key other.pem >other.all; cat rsa.key rsa.pem ec.key ec.pem >both.all\n"
    "openssl x509 -in client.pem -noout -fingerprint -sha256 | sed 's/.*=//' >client.print\n"
    "openssl x509 -in client.pem -pubkey -noout | openssl pkey -pubin -outform DER | openssl dgst -sha256 -c | "
    "sed 's/.*= //' | tr a-f A-F >client.keyprint\n";

static inline int make_files(void **state)
{
    char command[sizeof folder + 40], path[sizeof folder + 10];
    FILE *f;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/make", folder);
    f = fopen(path, "w");
    assert_non_null(f);
    fputs(script, f);
    fclose(f);
    snprintf(command, sizeof command, "sh %s %s", path, folder);
    signal(SIGPIPE, SIG_IGN);
    tls_lib_ref(); /* the clients use it too */
    return system(command);
}

static inline int remove_files(void **state)
{
    char command[sizeof folder + 10];

    (void)state;
    tls_lib_unref();
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static inline const char *in_folder(const char *name)
{
    static char paths[16][100];
    static size_t next;
    char *path = paths[next++ % 16];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline const char *file_text(const char *name)
{
    static char text[400];
    FILE *f = fopen(in_folder(name), "r");
    size_t n;

    assert_non_null(f);
    n = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\0'))
        n--;
    text[n] = '\0';
    return text;
}

/* ---- the client ---- */

struct client {
    /* what it is to do */
    int max_version; /* 0: any */
    int min_version;
    const int *suites;
    const uint16_t *sig_algs;
    const char *sni, *cert;     /* "client": client.pem and client.key */
    mbedtls_ssl_session resume; /* with `resuming` */
    bool resuming;
    size_t cut;                    /* after so many bytes sent the connection is closed; 0: never */
    const char *instead;           /* sent instead of a handshake */
    void (*then)(struct client *); /* after the handshake; NULL: the greeting is read, "bye" is sent */
    size_t bulk;
    bool silent; /* connect and send nothing until the server is gone */
    /* what it found */
    int error;
    int cipher;
    const char *version;
    char cn[64];
    char got[200];
    mbedtls_ssl_session session;
    bool ended; /* close_notify was seen */
    /* its own */
    int fd;
    size_t sent;
    pthread_t thread;
    atomic_bool done;
    mbedtls_ssl_context ssl;
    mbedtls_ssl_config conf;
    mbedtls_x509_crt crt;
    mbedtls_pk_context key;
};

static inline int client_send(void *arg, const unsigned char *from, size_t n)
{
    struct client *c = arg;
    ssize_t got;

    if (c->cut > 0 && c->sent + n > c->cut)
        n = c->cut - c->sent;
    if (n == 0)
        return MBEDTLS_ERR_SSL_CONN_EOF;
    got = send(c->fd, from, n, MSG_NOSIGNAL);
    if (got < 0)
        return MBEDTLS_ERR_SSL_CONN_EOF;
    c->sent += (size_t)got;
    return (int)got;
}

static inline int client_receive(void *arg, unsigned char *to, size_t n)
{
    struct client *c = arg;
    ssize_t got = recv(c->fd, to, n, 0);

    return got < 0 ? MBEDTLS_ERR_SSL_CONN_EOF : (int)got;
}

static inline bool client_write(struct client *c, const char *text, size_t n)
{
    while (n > 0) {
        int put = mbedtls_ssl_write(&c->ssl, (const unsigned char *)text, n);

        if (put <= 0)
            return false;
        text += put;
        n -= (size_t)put;
    }
    return true;
}

/* Reads n bytes, or to the end; tickets on the way are kept. */
static inline size_t client_read(struct client *c, char *to, size_t n)
{
    size_t have = 0;

    while (have < n) {
        int got = mbedtls_ssl_read(&c->ssl, (unsigned char *)to + have, n - have);

        if (got == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET) {
            mbedtls_ssl_session_free(&c->session);
            mbedtls_ssl_session_init(&c->session);
            mbedtls_ssl_get_session(&c->ssl, &c->session);
            continue;
        }
        if (got == MBEDTLS_ERR_SSL_WANT_READ)
            continue;
        if (got <= 0) {
            c->ended = got == MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY;
            break;
        }
        have += (size_t)got;
    }
    return have;
}

static inline void client_say_bye(struct client *c)
{
    char rest[100];

    client_read(c, c->got, 7);
    if (mbedtls_ssl_get_version_number(&c->ssl) == MBEDTLS_SSL_VERSION_TLS1_2)
        mbedtls_ssl_get_session(&c->ssl, &c->session);
    if (!client_write(c, "bye\r\n", 5))
        return;
    client_read(c, rest, sizeof rest);
    mbedtls_ssl_close_notify(&c->ssl);
}

static inline void client_setup(struct client *c)
{
    mbedtls_ssl_config_defaults(&c->conf, MBEDTLS_SSL_IS_CLIENT, MBEDTLS_SSL_TRANSPORT_STREAM,
                                MBEDTLS_SSL_PRESET_DEFAULT);
    mbedtls_ssl_conf_rng(&c->conf, tls_lib_random, NULL);
    mbedtls_ssl_conf_authmode(&c->conf, MBEDTLS_SSL_VERIFY_NONE);
    mbedtls_ssl_conf_renegotiation(&c->conf, MBEDTLS_SSL_RENEGOTIATION_ENABLED);
    mbedtls_ssl_conf_tls13_enable_signal_new_session_tickets(&c->conf,
                                                             MBEDTLS_SSL_TLS1_3_SIGNAL_NEW_SESSION_TICKETS_ENABLED);
    if (c->max_version != 0)
        mbedtls_ssl_conf_max_tls_version(&c->conf, (mbedtls_ssl_protocol_version)c->max_version);
    if (c->min_version != 0)
        mbedtls_ssl_conf_min_tls_version(&c->conf, (mbedtls_ssl_protocol_version)c->min_version);
    if (c->suites != NULL)
        mbedtls_ssl_conf_ciphersuites(&c->conf, c->suites);
    if (c->sig_algs != NULL)
        mbedtls_ssl_conf_sig_algs(&c->conf, c->sig_algs);
    if (c->cert != NULL) {
        char path[100];

        snprintf(path, sizeof path, "%s/%s.pem", folder, c->cert);
        mbedtls_x509_crt_parse_file(&c->crt, path);
        snprintf(path, sizeof path, "%s/%s.key", folder, c->cert);
        mbedtls_pk_parse_keyfile(&c->key, path, NULL, tls_lib_random, NULL);
        mbedtls_ssl_conf_own_cert(&c->conf, &c->crt, &c->key);
    }
    mbedtls_ssl_setup(&c->ssl, &c->conf);
    mbedtls_ssl_set_hostname(&c->ssl, c->sni);
    if (c->resuming)
        mbedtls_ssl_set_session(&c->ssl, &c->resume);
    mbedtls_ssl_set_bio(&c->ssl, c, client_send, client_receive, NULL);
}

static inline void client_look(struct client *c)
{
    const mbedtls_x509_crt *crt = mbedtls_ssl_get_peer_cert(&c->ssl);

    c->version = mbedtls_ssl_get_version(&c->ssl);
    c->cipher = mbedtls_ssl_get_ciphersuite_id_from_ssl(&c->ssl);
    if (crt != NULL)
        mbedtls_x509_dn_gets(c->cn, sizeof c->cn, &crt->subject);
}

static inline void client_shake(struct client *c)
{
    client_setup(c);
    do
        c->error = mbedtls_ssl_handshake(&c->ssl);
    while (c->error == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET);
    if (c->error == 0) {
        client_look(c);
        if (c->then != NULL)
            c->then(c);
        else
            client_say_bye(c);
    }
}

static inline void *client_main(void *arg)
{
    struct client *c = arg;
    char unused[1000];

    mbedtls_ssl_init(&c->ssl);
    mbedtls_ssl_config_init(&c->conf);
    mbedtls_x509_crt_init(&c->crt);
    mbedtls_pk_init(&c->key);
    mbedtls_ssl_session_init(&c->session);
    if (c->instead != NULL)
        send(c->fd, c->instead, strlen(c->instead), MSG_NOSIGNAL);
    else if (!c->silent)
        client_shake(c);
    if (c->instead != NULL || c->silent)
        while (recv(c->fd, unused, sizeof unused, 0) > 0)
            ;
    mbedtls_ssl_free(&c->ssl);
    mbedtls_ssl_config_free(&c->conf);
    mbedtls_x509_crt_free(&c->crt);
    mbedtls_pk_free(&c->key);
    close(c->fd);
    atomic_store(&c->done, true);
    return NULL;
}

/* ---- the server ---- */

struct served {
    struct stream *stream;
    struct op_scope scope;
    enum op_status status;
    bool answered, ended, keep, sink;
    char error[240], end_error[240];
    char protocol[20], cipher[60], cn[64], issuer[64], print[100], key_print[100], why[100], sni[64];
    enum tls_peer_trust trust;
    bool resumed;
    size_t got;
    const char *greeting;
    size_t bulk; /* bytes to send after the greeting */
};

struct world {
    struct loop *loop;
    const struct conf *conf;
    struct tls_server *server;
    struct tls_accept_opts opts;
    size_t input_max;
    struct timer tick;
};

static inline void served_take_info(struct served *s)
{
    const struct tls_info *i = tls_stream_info(s->stream);

    assert_non_null(i);
    snprintf(s->protocol, sizeof s->protocol, "%s", i->protocol);
    snprintf(s->cipher, sizeof s->cipher, "%s", i->cipher);
    snprintf(s->cn, sizeof s->cn, "%s", i->peer_cn);
    snprintf(s->issuer, sizeof s->issuer, "%s", i->peer_issuer);
    snprintf(s->print, sizeof s->print, "%s", i->fingerprint);
    snprintf(s->key_print, sizeof s->key_print, "%s", i->key_print);
    snprintf(s->why, sizeof s->why, "%s", i->why_untrusted);
    snprintf(s->sni, sizeof s->sni, "%s", i->sni);
    s->trust = i->trust;
    s->resumed = i->resumed;
}

static inline void on_shaken(void *owner, enum op_status status, const void *result)
{
    struct served *s = owner;

    assert_false(s->answered);
    s->answered = true;
    s->status = status;
    if (status == OP_OK) {
        served_take_info(s);
        stream_write(s->stream, slice_str(s->greeting != NULL ? s->greeting : "hello\r\n"));
        return;
    }
    snprintf(s->error, sizeof s->error, "%s", tls_error(result));
    assert_null(tls_stream_info(s->stream));
    stream_finish(&s->stream, 100);
}

static inline void served_on_data(void *arg)
{
    struct served *s = arg;
    struct slice in = stream_input(s->stream);
    bool bye = in.n >= 5 && memcmp(in.p + in.n - 5, "bye\r\n", 5) == 0;

    assert_true(s->answered);
    if (s->keep)
        return;
    s->got += in.n;
    if (!s->sink)
        stream_write(s->stream, in);
    stream_consume(s->stream, in.n);
    if (bye)
        stream_finish(&s->stream, 1000);
}

static inline void served_on_end(void *arg, const char *error)
{
    struct served *s = arg;

    assert_true(s->answered);
    s->ended = true;
    snprintf(s->end_error, sizeof s->end_error, "%s", error == NULL ? "" : error);
    stream_finish(&s->stream, 1000);
}

static const struct stream_events served_events = {served_on_data, served_on_end, NULL};

static inline void wake(void *arg)
{
    struct world *w = arg;

    timer_start(w->loop, &w->tick, 5, wake, w);
}

static inline struct tls_server *world_server(struct world *w, const char *listener, const char *settings,
                                              struct buf *err)
{
    struct conf_report report = {0};
    struct tls_server *server;
    FILE *f = fopen(in_folder("mta.conf"), "w");

    fprintf(f, "myhostname = mail.example.com\nmydestination =\nqueue_directory = %s\n%s\n", folder, settings);
    fclose(f);
    conf_unref(&w->conf);
    w->conf = conf_load(in_folder("mta.conf"), &report);
    if (w->conf == NULL)
        conf_report_print(&report, stderr);
    assert_non_null(w->conf);
    conf_report_clear(&report);
    server = tls_server_new(w->loop, w->conf->listeners[0].conf, listener, err);
    return server;
}

/* Settings with %s for the folder are the caller's business. */
static inline struct world world_make(const char *settings)
{
    struct world w = {.loop = loop_new(), .opts = {.timeout_ms = 20000}, .input_max = 4096};
    struct buf err = {0};

    w.server = world_server(&w, "smtp", settings, &err);
    if (w.server == NULL)
        fputs(buf_cstr(&err), stderr);
    assert_non_null(w.server);
    buf_release(&err);
    return w;
}

static inline void world_end(struct world *w)
{
    tls_server_unref(&w->server);
    conf_unref(&w->conf);
    timer_stop(&w->tick);
    while (op_live(w->loop) > 0)
        loop_turn(w->loop);
    loop_run(w->loop);
    loop_free(&w->loop);
}

static inline void serve(struct world *w, struct served *s, struct client *c)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    s->stream = stream_from_fd(w->loop, fds[0]);
    op_scope_init(&s->scope, "test");
    stream_set_events(s->stream, &served_events, s, w->input_max);
    tls_accept(s->stream, w->server, &w->opts, &s->scope, on_shaken, s);
    c->fd = fds[1];
    assert_int_equal(pthread_create(&c->thread, NULL, client_main, c), 0);
}

/* Until the client is gone and the server has closed. */
static inline void run(struct world *w, struct served *s, struct client *c)
{
    timer_start(w->loop, &w->tick, 5, wake, w);
    while (!atomic_load(&c->done) || s->stream != NULL)
        loop_turn(w->loop);
    timer_stop(&w->tick);
    pthread_join(c->thread, NULL);
}

/* One session from beginning to end. */
static inline struct served session(struct world *w, struct client *c)
{
    struct served s = {0};

    serve(w, &s, c);
    run(w, &s, c);
    op_scope_close(&s.scope);
    return s;
}

static inline const char *certs(const char *more)
{
    static char text[2000];

    snprintf(text, sizeof text,
             "%ssmtpd_tls_cert_file = %s/rsa.pem\n"
             "smtpd_tls_key_file = %s/rsa.key\nsmtpd_tls_eccert_file = %s/ec.pem\n"
             "smtpd_tls_eckey_file = %s/ec.key\n%s\n",
             strstr(more, "security_level") == NULL ? "smtpd_tls_security_level = may\n" : "", folder, folder, folder,
             folder, more);
    return text;
}

#endif
