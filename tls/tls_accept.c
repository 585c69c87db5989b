/*
 * The server's half of a handshake: which certificate to use. With tls_server_sni_maps the ClientHello is looked into
 * first, on a thread, for the server name; the tables are asked, and the files they name read; then the handshake
 * begins. Called by the SMTP server for STARTTLS and on ports that begin with TLS. RFC 8446 section 4.4.2.
 */
#include "core/base/alloc.h"
#include "tls/tls_handshake.h"
#include "tls/tls_peek.h"
#include "tls/tls_server_int.h"

#include <stdio.h>

static void unref_setup(void *setup)
{
    struct tls_setup *s = setup;

    tls_setup_unref(&s);
}

static void use(struct tls_conn *c, struct tls_setup *setup)
{
    c->shared = tls_setup_ref(setup);
    c->unref = unref_setup;
    c->config = tls_setup_config(setup);
    tls_handshake_go(c);
}

static void use_default(struct tls_conn *c)
{
    use(c, tls_server_slot(c->server)->setup);
}

static void have_setup(void *owner, enum op_status status, const void *result)
{
    if (status == OP_OK)
        use(owner, (struct tls_setup *)result);
    else
        tls_handshake_fail(owner, result);
}

static void have_files(void *owner, enum op_status status, const void *result)
{
    struct tls_conn *c = owner;
    char why[TLS_ERROR_MAX];

    if (status == OP_OK) {
        tls_sni_setup(c->server, result, tls_handshake_scope(c), have_setup, c);
    } else if (status == OP_NOTFOUND) {
        use_default(c);
    } else {
        snprintf(why, sizeof why, "tls_server_sni_maps cannot be asked for %s", c->sni);
        tls_handshake_fail(c, why);
    }
}

static void peek(struct tls_conn *c)
{
    char name[TLS_PEEK_NAME];

    tls_peek_name(tls_handshake_input(c), name);
    c->sni = mem_strdup(name);
}

static void peeked(struct tls_conn *c)
{
    if (c->sni[0] == '\0')
        use_default(c);
    else
        c->ask(c->ask_arg, c->sni, tls_handshake_scope(c), have_files, c);
}

static void prepare(struct tls_conn *c)
{
    if (c->ask == NULL)
        use_default(c);
    else
        tls_handshake_run(c, peek, peeked);
}

void tls_accept(struct stream *s, struct tls_server *server, const struct tls_accept_opts *opts, struct op_scope *scope,
                op_done_fn *done, void *owner)
{
    struct tls_conn *c = tls_handshake_start(s, false, opts->timeout_ms, prepare, scope, done, owner);

    c->server = tls_server_ref(server);
    c->digest = server->digest;
    c->ask = opts->sni;
    c->ask_arg = opts->sni_arg;
}
