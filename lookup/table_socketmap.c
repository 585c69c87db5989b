/*
 * socketmap:inet:host:port:name and socketmap:unix:path:name, socketmap_table(5): "name key" and one reply, each a
 * netstring: "OK value", "NOTFOUND ", "TEMP reason", "TIMEOUT reason", "PERM reason". Keys are asked as they are, whole
 * ones only.
 */
#include "core/base/alloc.h"
#include "core/base/codec.h"
#include "lookup/remote.h"

#define REPLY_MAX     100000
#define LENGTH_DIGITS 10 /* leading zeros are tolerated */

struct table_socketmap {
    struct table table;
    struct remote *remote;
    char *place; /* host or path */
    const char *name;
};

static void request(struct buf *out, const struct table *table, const char *key)
{
    const struct table_socketmap *t = (const struct table_socketmap *)table;

    buf_printf(out, "%zu:%s %s,", strlen(t->name) + 1 + strlen(key), t->name, key);
}

static size_t frame(struct slice in, struct slice *reply)
{
    size_t colon = slice_find(slice_head(in, LENGTH_DIGITS + 1), ':');
    uint64_t length;

    for (size_t i = 0; i < in.n && i < colon; i++)
        if (!ascii_digit(in.p[i]) || i == LENGTH_DIGITS)
            return REMOTE_MALFORMED;
    if (colon == SLICE_NOT_FOUND)
        return 0;
    if (!slice_u64(slice_head(in, colon), REPLY_MAX, &length))
        return REMOTE_MALFORMED;
    if (in.n < colon + 1 + length + 1)
        return 0;
    if (in.p[colon + 1 + length] != ',')
        return REMOTE_MALFORMED;
    *reply = slice_make(in.p + colon + 1, length);
    return colon + 1 + length + 1;
}

static void fail(struct table_op *o, struct slice word, struct slice reason)
{
    char *why = mem_printf("the server says: %.*s %.*s", (int)word.n, word.p, (int)(reason.n < 200 ? reason.n : 200),
                           reason.n > 0 ? reason.p : "");

    table_failed(o, why);
    mem_free(why);
}

static bool answer(struct table_op *o, struct slice reply)
{
    static const char *const failures[] = {"TEMP", "TIMEOUT", "PERM"};
    size_t space = slice_find(reply, ' ');
    struct slice word = slice_head(reply, space),
                 rest = slice_from(reply, space == SLICE_NOT_FOUND ? reply.n : space + 1);

    if (!codec_utf8_valid(reply) || (reply.n > 0 && memchr(reply.p, '\0', reply.n) != NULL))
        return false;
    if (slice_eq(word, SLICE_LIT("OK")) && space != SLICE_NOT_FOUND) {
        table_found(o, rest);
        return true;
    }
    if (slice_eq(word, SLICE_LIT("NOTFOUND"))) {
        table_notfound(o);
        return true;
    }
    for (size_t i = 0; i < ARRAY_LEN(failures); i++)
        if (slice_eq(word, slice_str(failures[i]))) {
            fail(o, word, slice_trim(rest));
            return true;
        }
    return false;
}

static const struct remote_protocol protocol = {
    .reply_max = LENGTH_DIGITS + 1 + REPLY_MAX + 1,
    .request = request,
    .frame = frame,
    .answer = answer,
};

/* "inet:host:port" or "unix:path". */
static bool parse_place(struct table_socketmap *t, struct slice text, struct dial_target *target, struct buf *why)
{
    if (slice_starts(text, SLICE_LIT("inet:"))) {
        if (!remote_parse_inet(slice_from(text, strlen("inet:")), &t->place, &target->port, why))
            return false;
        target->host = t->place;
        return true;
    }
    if (slice_starts(text, SLICE_LIT("unix:")) && text.n > strlen("unix:")) {
        t->place = mem_dup(text.p + strlen("unix:"), text.n - strlen("unix:"));
        target->path = t->place;
        return true;
    }
    buf_add_str(why, "written socketmap:inet:host:port:name or socketmap:unix:path:name");
    return false;
}

static bool socketmap_open(struct table *table, const char *arg, struct buf *err)
{
    struct table_socketmap *t = (struct table_socketmap *)table;
    struct slice text = slice_str(arg);
    size_t colon = slice_rfind(text, ':');
    struct dial_target target = {0};
    struct buf why = {0};

    table->fixed = false;
    t->name = colon == SLICE_NOT_FOUND ? "" : arg + colon + 1;
    if (parse_place(t, slice_head(text, colon), &target, &why))
        t->remote = remote_new(table, &protocol, &target);
    else
        buf_printf(err, "%s: %s", table->name, buf_cstr(&why));
    buf_release(&why);
    return t->remote != NULL;
}

static void socketmap_lookup(struct table *table, struct table_op *o)
{
    remote_ask(((struct table_socketmap *)table)->remote, o);
}

static void socketmap_close(struct table *table)
{
    struct table_socketmap *t = (struct table_socketmap *)table;

    remote_free(&t->remote);
    mem_free(t->place);
}

const struct table_kind table_kind_socketmap = {
    .type = "socketmap",
    .size = sizeof(struct table_socketmap),
    .open = socketmap_open,
    .lookup = socketmap_lookup,
    .close = socketmap_close,
};
