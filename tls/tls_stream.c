/*
 * Records on a stream whose handshake is done, for either role, as a filter of core/loop: see tls_stream.h. Called by
 * core/loop/stream_filter.c, on the loop: a record of 16 KiB takes some ten microseconds. Owns the tls_conn, which goes
 * with the stream. RFC 8446 sections 5 and 6.1.
 */
#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "tls/tls_conn.h"
#include "tls/tls_error.h"
#include "tls/tls_tickets.h"

#include <sys/mman.h>
#include <unistd.h>

#define RECORD_MAX 16384
#define KEPT       1024u
/* A refused renegotiation or an alert that is answered takes some 30 bytes; nobody needs many. */
#define UNINVITED_MAX 4096u

/* ---- what Mbed TLS reads and writes ---- */

static int receive(void *arg, unsigned char *to, size_t n)
{
    struct tls_conn *c = arg;
    size_t have = buf_len(c->from);

    if (have == 0)
        return c->eof ? 0 : MBEDTLS_ERR_SSL_WANT_READ;
    if (n > have)
        n = have;
    memcpy(to, buf_slice(c->from).p, n);
    buf_consume(c->from, n);
    return (int)n;
}

static int send_raw(void *arg, const unsigned char *from, size_t n)
{
    struct tls_conn *c = arg;

    buf_add(c->to, from, n);
    return (int)n;
}

int tls_conn_take_name(void *unused, mbedtls_ssl_context *ssl, const unsigned char *name, size_t n)
{
    struct tls_conn *c = mbedtls_ssl_get_user_data_p(ssl);

    (void)unused;
    mem_free(c->sni);
    c->sni = mem_dup(name, n < TLS_NAME_MAX ? n : TLS_NAME_MAX);
    for (char *p = c->sni; *p != '\0'; p++)
        *p = ascii_alnum(*p) || *p == '.' || *p == '-' || *p == '_' ? ascii_lower(*p) : '?';
    return 0;
}

void tls_conn_step(struct tls_conn *c)
{
    if (c->config != NULL) {
        c->result = mbedtls_ssl_setup(&c->ssl, c->config);
        if (c->result != 0)
            return;
        c->config = NULL;
        mbedtls_ssl_set_user_data_p(&c->ssl, c);
        mbedtls_ssl_set_bio(&c->ssl, c, send_raw, receive, NULL);
        c->result = c->hooks == NULL ? 0 : c->hooks->set_up(c);
        if (c->result != 0)
            return;
    }
    tls_tickets_taken();
    c->result = mbedtls_ssl_handshake(&c->ssl);
    c->resumed = tls_tickets_taken() || c->resumed;
}

/* The first bytes stay: a sequence number, and where a short record comes to lie. */
static void trim(unsigned char *buffer, size_t n)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE), into = (uintptr_t)buffer % page;
    size_t from = (into + KEPT + page - 1) / page * page - into, to = (into + n) / page * page - into;

    if (from < to)
        madvise(buffer + from, to - from, MADV_DONTNEED); /* reads as zeros from now on */
}

void tls_conn_trim(struct tls_conn *c)
{
    mbedtls_ssl_context *ssl = &c->ssl;

    if (ssl->MBEDTLS_PRIVATE(in_left) == 0 && mbedtls_ssl_check_pending(ssl) == 0)
        trim(ssl->MBEDTLS_PRIVATE(in_buf), MBEDTLS_SSL_IN_CONTENT_LEN);
    if (ssl->MBEDTLS_PRIVATE(out_left) == 0)
        trim(ssl->MBEDTLS_PRIVATE(out_buf), MBEDTLS_SSL_OUT_CONTENT_LEN);
}

void tls_conn_free(struct tls_conn *c)
{
    MTA_ASSERT(!c->busy && c->handshake == NULL);
    mbedtls_ssl_free(&c->ssl);
    if (c->shared != NULL)
        c->unref(c->shared);
    tls_server_unref(&c->server);
    tls_info_free(c->info);
    mem_free(c->broken);
    mem_free(c->sni);
    mem_free(c);
}

/* ---- the filter ---- */

static enum stream_filter_state broken(struct tls_conn *c, int error)
{
    char text[TLS_ERROR_MAX];

    c->state = STREAM_FILTER_BROKEN;
    tls_error_words(&c->ssl, error, false, text, sizeof text);
    mem_free(c->broken);
    c->broken = mem_strdup(text);
    c->why = c->broken;
    return c->state;
}

static enum stream_filter_state ended(struct tls_conn *c, int result)
{
    switch (result) {
    case MBEDTLS_ERR_SSL_WANT_READ: return STREAM_FILTER_MORE;
    case MBEDTLS_ERR_SSL_PEER_CLOSE_NOTIFY: return c->state = STREAM_FILTER_END;
    case 0:
    case MBEDTLS_ERR_SSL_CONN_EOF: c->why = "TLS connection was truncated"; return c->state = STREAM_FILTER_BROKEN;
    default: return broken(c, result);
    }
}

static enum stream_filter_state read_records(struct tls_conn *c, struct buf *plain)
{
    static unsigned char record[RECORD_MAX]; /* one loop, one thread */

    for (;;) {
        size_t room = buf_room(plain), had = buf_len(c->from);
        int n;

        if (room == 0)
            return mbedtls_ssl_check_pending(&c->ssl) != 0 || buf_len(c->from) > 0 || c->eof ? STREAM_FILTER_FULL
                                                                                             : STREAM_FILTER_MORE;
        n = mbedtls_ssl_read(&c->ssl, record, room < sizeof record ? room : sizeof record);
        if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET && c->hooks != NULL)
            c->hooks->ticket(c);
        if (n == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET ||
            (n == MBEDTLS_ERR_SSL_WANT_READ && buf_len(c->from) < had))
            continue; /* it wants to be asked again after a message that is not for us */
        if (n <= 0)
            return ended(c, n);
        buf_add(plain, record, (size_t)n);
    }
}

static enum stream_filter_state decode(void *arg, struct buf *raw, bool eof, struct buf *plain, struct buf *reply,
                                       const char **error)
{
    struct tls_conn *c = arg;
    enum stream_filter_state state = c->state;
    size_t said = buf_len(reply);

    c->from = raw;
    c->to = reply;
    c->eof = eof;
    if (state != STREAM_FILTER_END && state != STREAM_FILTER_BROKEN)
        state = read_records(c, plain);
    c->uninvited += buf_len(reply) - said;
    if (c->uninvited > UNINVITED_MAX && state != STREAM_FILTER_BROKEN) {
        c->why = "too many requests to negotiate anew";
        state = c->state = STREAM_FILTER_BROKEN;
    }
    *error = c->why;
    return state;
}

static void encode(void *arg, struct slice plain, struct buf *raw)
{
    struct tls_conn *c = arg;

    c->to = raw;
    while (plain.n > 0 && c->state != STREAM_FILTER_BROKEN) {
        int n = mbedtls_ssl_write(&c->ssl, (const unsigned char *)plain.p, plain.n);

        if (n > 0)
            plain = slice_from(plain, (size_t)n);
        else
            broken(c, n);
    }
}

static void finish(void *arg, struct buf *raw)
{
    struct tls_conn *c = arg;

    c->to = raw;
    if (c->state != STREAM_FILTER_BROKEN)
        mbedtls_ssl_close_notify(&c->ssl);
}

static void closed(void *arg)
{
    struct tls_conn *c = arg;

    c->stream = NULL;
    if (c->handshake != NULL)
        tls_handshake_closed(c);
    if (!c->busy)
        tls_conn_free(c);
}

const struct stream_filter tls_filter = {decode, encode, finish, closed};

const struct tls_info *tls_stream_info(const struct stream *s)
{
    const struct tls_conn *c = stream_filter_arg(s, &tls_filter);

    return c == NULL ? NULL : c->info;
}
