/*
 * tcp:host:port, tcp_table(5): "get KEY" and one line in reply: "200 value", "500 not found", "400 try again later",
 * all with %XX for what is not printable. Keys are asked as they are, whole ones only.
 */
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "lookup/remote.h"

#define REPLY_MAX 4096 /* with its newline */

struct table_tcp {
    struct table table;
    struct remote *remote;
    char *host;
};

static void encode(struct buf *out, struct slice text)
{
    for (; text.n > 0; text = slice_from(text, 1)) {
        unsigned char c = (unsigned char)text.p[0];

        if (c == '%' || c <= ' ' || c > '~')
            buf_printf(out, "%%%02X", c);
        else
            buf_add_char(out, (char)c);
    }
}

static int hex_digit(char c)
{
    c = ascii_lower(c);
    return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* False when it is malformed; a NUL is. */
static bool decode(struct buf *out, struct slice text)
{
    for (; text.n > 0; text = slice_from(text, 1)) {
        char c = text.p[0];

        if (c == '%') {
            int high = text.n > 2 ? hex_digit(text.p[1]) : -1, low = text.n > 2 ? hex_digit(text.p[2]) : -1;

            if (high < 0 || low < 0)
                return false;
            c = (char)(high << 4 | low);
            text = slice_from(text, 2);
        }
        if (c == '\0')
            return false;
        buf_add_char(out, c);
    }
    return codec_utf8_valid(buf_slice(out));
}

static void request(struct buf *out, const struct table *t, const char *key)
{
    (void)t;
    buf_add_str(out, "get ");
    encode(out, slice_str(key));
    buf_add_char(out, '\n');
}

static size_t frame(struct slice in, struct slice *reply)
{
    size_t newline = slice_find(in, '\n');

    if (newline == SLICE_NOT_FOUND)
        return 0;
    *reply = slice_head(in, newline);
    if (newline > 0 && in.p[newline - 1] == '\r')
        reply->n--;
    return newline + 1;
}

static void fail(struct table_op *o, struct slice text)
{
    char *why = mem_printf("the server says: %.*s", (int)(text.n < 200 ? text.n : 200), text.p);

    table_failed(o, why);
    mem_free(why);
}

static bool answer(struct table_op *o, struct slice reply)
{
    struct buf text = {0};
    bool ok = reply.n > 3 && ascii_digit(reply.p[0]) && ascii_digit(reply.p[1]) && ascii_digit(reply.p[2]) &&
              ascii_space(reply.p[3]) && decode(&text, slice_trim(slice_from(reply, 4)));

    if (ok && reply.p[0] == '2')
        table_found(o, buf_slice(&text));
    else if (ok && reply.p[0] == '5')
        table_notfound(o);
    else if (ok && reply.p[0] == '4')
        fail(o, buf_slice(&text));
    else
        ok = false;
    buf_release(&text);
    return ok;
}

static const struct remote_protocol protocol = {
    .reply_max = REPLY_MAX,
    .request = request,
    .frame = frame,
    .answer = answer,
};

static bool tcp_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_tcp *t = (struct table_tcp *)table;
    struct dial_target target = {0};
    struct buf why = {0};

    table->fixed = false;
    if (remote_parse_inet(slice_str(arg), &t->host, &target.port, &why)) {
        target.host = t->host;
        t->remote = remote_new(table, &protocol, &target);
    } else {
        buf_printf(err, "%s: %s", table->name, buf_cstr(&why));
    }
    buf_release(&why);
    return t->remote != NULL;
}

static void tcp_lookup(struct table *table, struct table_op *o)
{
    remote_ask(((struct table_tcp *)table)->remote, o);
}

static void tcp_close(struct table *table)
{
    struct table_tcp *t = (struct table_tcp *)table;

    remote_free(&t->remote);
    mem_free(t->host);
}

const struct table_kind table_kind_tcp = {
    .type = "tcp",
    .size = sizeof(struct table_tcp),
    .open = tcp_open,
    .lookup = tcp_lookup,
    .close = tcp_close,
};
