/*
 * A client of ours and a server on one loop, the two ends of a socket pair; or a server that is not ours. The server
 * greets with "hello", the client answers "bye", the server ends; both must see an orderly end.
 */
#ifndef MTA_TEST_TLS_PAIR_H
#define MTA_TEST_TLS_PAIR_H

#include "unit/tls/tls_fixture.h"

#include "tls/tls_client_int.h"

/* All have the key leaf.key, except rsa.pem of the other script. */
static const char more_script[] =
    "set -eu; cd \"$1\"; exec 2>>openssl.log; umask 077\n"
    "openssl ecparam -name prime256v1 -genkey -noout -out leaf.key\n"
    "leaf() {\n" /* NAME CN DAYS CA SAN */
    "  printf 'basicConstraints=CA:FALSE\\n' >leaf.ext; [ -z \"$5\" ] || printf 'subjectAltName=%s\\n' \"$5\" "
    ">>leaf.ext\n"
    "  openssl req -new -key leaf.key -subj /CN=$2 -out leaf.csr\n"
    "  if [ $4 = self ]; then openssl x509 -req -in leaf.csr -signkey leaf.key -days $3 -extfile leaf.ext -out $1.pem\n"
    "  else openssl x509 -req -in leaf.csr -CA $4.pem -CAkey $4.key -CAcreateserial -days $3 -extfile leaf.ext -out "
    "$1.pem; fi\n"
    "}\n"
    "leaf good ignored.example 30 ca DNS:mail.example.com,DNS:example.net\n"
    "leaf wild ignored.example 30 ca DNS:*.example.com\n"
    "leaf registry ignored.example 30 ca DNS:*.com\n"
    "leaf cn mail.example.com 30 ca ''\n"
    "leaf cn_unused mail.example.com 30 ca DNS:other.example.com\n"
    "leaf address ignored.example 30 ca IP:192.0.2.1,IP:2001:db8::1\n"
    "leaf self mail.example.com 30 self DNS:mail.example.com\n"
    "leaf expired mail.example.com -1 ca DNS:mail.example.com\n"
    "leaf deep mail.example.com 30 inter DNS:mail.example.com; cat inter.pem >>deep.pem\n"
    "leaf mine client.example 30 ca ''; cat leaf.key mine.pem >mine.all\n"
    "print() { openssl x509 -in $1.pem -noout -fingerprint -$2 | sed 's/.*=//' | tr -d '\\n' >$3; }\n"
    "print good sha256 good.print; print good sha1 good.sha1\n"
    "openssl pkey -in leaf.key -pubout -outform DER | openssl dgst -sha256 -c | sed 's/.*= //' | tr a-f A-F "
    ">leaf.keyprint\n";

static inline int make_more_files(void **state)
{
    char command[sizeof folder + 40];
    FILE *f;

    if (make_files(state) != 0)
        return 1;
    f = fopen(in_folder("more"), "w");
    assert_non_null(f);
    fputs(more_script, f);
    fclose(f);
    snprintf(command, sizeof command, "sh %s/more %s", folder, folder);
    return system(command);
}

/* The settings of a server with this certificate. */
static inline const char *with(const char *cert, const char *more)
{
    static char text[1000];
    const char *key = strcmp(cert, "rsa") == 0 ? "rsa" : "leaf";

    snprintf(text, sizeof text,
             "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = %s/%s.pem\nsmtpd_tls_key_file = %s/%s.key\n%s\n",
             folder, cert, folder, key, more);
    return text;
}

/* A client that trusts ca.pem and keeps sessions. */
static inline struct tls_client_opts trusting(void)
{
    return (struct tls_client_opts){
        .prefix = "smtp", .CAfile = in_folder("ca.pem"), .scert_verifydepth = 9, .session_cache_timeout_ms = 3600000};
}

static inline struct tls_client *client_make(struct world *w, const struct tls_client_opts *o)
{
    struct buf err = {0};
    struct tls_client *c = tls_client_new(w->loop, o, &err);

    if (c == NULL)
        fputs(buf_cstr(&err), stderr);
    assert_non_null(c);
    buf_release(&err);
    return c;
}

static inline struct tls_connect_opts to_mail(const struct tls_policy *p)
{
    return (struct tls_connect_opts){.policy = p,
                                     .host = "mail.example.com",
                                     .nexthop = "example.com",
                                     .address = "192.0.2.1",
                                     .port = 25,
                                     .timeout_ms = 60000};
}

/* ---- the client's side ---- */

static inline void on_connected(void *owner, enum op_status status, const void *result)
{
    struct served *s = owner;

    assert_false(s->answered);
    s->answered = true;
    s->status = status;
    if (status == OP_OK) {
        served_take_info(s);
        stream_write(s->stream, slice_str(s->greeting));
        return;
    }
    snprintf(s->error, sizeof s->error, "%s", tls_error(result));
    assert_null(tls_stream_info(s->stream));
    stream_finish(&s->stream, 100);
}

/* What it says at once, and what to the first answer: "" and "bye" to ours. */
static inline void connected_on_data(void *arg)
{
    struct served *s = arg;
    struct slice in = stream_input(s->stream);

    assert_true(s->answered);
    if (slice_find(in, '\n') == SLICE_NOT_FOUND)
        return;
    stream_consume(s->stream, in.n);
    s->got += in.n;
    if (s->got == in.n)
        stream_write(s->stream, s->greeting[0] == '\0' ? SLICE_LIT("bye\r\n") : SLICE_LIT("CLOSE\n"));
}

static const struct stream_events connected_events = {connected_on_data, served_on_end, NULL};

static inline void connect_on(struct world *w, struct served *s, int fd, struct tls_client *c,
                              const struct tls_connect_opts *o)
{
    if (s->greeting == NULL)
        s->greeting = "";
    s->stream = stream_from_fd(w->loop, fd);
    op_scope_init(&s->scope, "test");
    stream_set_events(s->stream, &connected_events, s, 4096);
    tls_connect(s->stream, c, o, &s->scope, on_connected, s);
}

static inline void accept_on(struct world *w, struct served *s, int fd)
{
    s->stream = stream_from_fd(w->loop, fd);
    op_scope_init(&s->scope, "test");
    stream_set_events(s->stream, &served_events, s, w->input_max);
    tls_accept(s->stream, w->server, &w->opts, &s->scope, on_shaken, s);
}

struct pair {
    struct served server, client;
};

static inline void pair_begin(struct world *w, struct pair *p, struct tls_client *c, const struct tls_connect_opts *o)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
    accept_on(w, &p->server, fds[0]);
    connect_on(w, &p->client, fds[1], c, o);
}

static inline void pair_run(struct world *w, struct pair *p)
{
    while (p->server.stream != NULL || p->client.stream != NULL)
        loop_turn(w->loop);
    op_scope_close(&p->server.scope);
    op_scope_close(&p->client.scope);
}

/* From beginning to end; whatever the client finds, the ends are orderly. */
static inline struct pair meet(struct world *w, struct tls_client *c, const struct tls_connect_opts *o)
{
    struct pair p = {0};

    pair_begin(w, &p, c, o);
    pair_run(w, &p);
    if (p.client.status == OP_OK && p.server.status == OP_OK) {
        assert_string_equal(p.client.end_error, "");
        assert_int_equal(p.client.got, 12); /* the echo, too */
        assert_int_equal(p.server.got, 5);
    }
    return p;
}

#endif
