/*
 * The lines of Dovecot's authentication protocol: see dovecot_wire.h. Used by proto/auth/auth_dovecot_conn.c. A line is
 * copied, cut at its TABs and unescaped in place. What Dovecot sends is not trusted to be complete: a field that is
 * missing is empty, and only a line whose answer belongs to nobody is malformed.
 */
#include "proto/grammar/dovecot_wire.h"

#include "core/base/assert.h"

#define ESCAPE '\001'

/* ---- reading ---- */

/* "\001t" and so on; any other byte after the escape is itself, and an escape at the end is nothing. */
static struct slice unescape(char *p, size_t n)
{
    size_t to = 0;

    for (size_t i = 0; i < n; i++) {
        char c = p[i];

        if (c == ESCAPE) {
            if (++i == n)
                break;
            c = p[i];
            c = c == '0' ? '\0' : c == '1' ? ESCAPE : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'n' ? '\n' : c;
        }
        p[to++] = c;
    }
    return slice_make(p, to);
}

struct words {
    char *p;
    size_t n;
    bool end; /* there are no more */
};

/* The next word, unescaped; empty at the end. */
static struct slice next_word(struct words *w)
{
    char *word = w->p;
    size_t n = slice_find(slice_make(word, w->n), '\t');

    if (w->end)
        return SLICE_EMPTY;
    if (n == SLICE_NOT_FOUND) {
        w->end = true;
        n = w->n;
    } else {
        w->p += n + 1;
        w->n -= n + 1;
    }
    return unescape(word, n);
}

static bool next_number(struct words *w, uint64_t max, uint64_t *value)
{
    return slice_u64(next_word(w), max, value);
}

static void read_version(struct dovecot_line *line, struct words *w)
{
    uint64_t major, minor = 0;

    if (!next_number(w, UINT16_MAX, &major)) {
        line->kind = DOVECOT_MALFORMED;
        return;
    }
    next_number(w, UINT16_MAX, &minor);
    line->major = (unsigned)major;
    line->minor = (unsigned)minor;
}

static const struct {
    const char *word;
    unsigned property;
} properties[] = {
    {"plaintext", DOVECOT_PROPERTY_PLAINTEXT},
    {"dictionary", DOVECOT_PROPERTY_DICTIONARY},
    {"active", DOVECOT_PROPERTY_ACTIVE},
    {"anonymous", DOVECOT_PROPERTY_ANONYMOUS},
    {"forward-secrecy", DOVECOT_PROPERTY_FORWARD_SECRECY},
    {"mutual-auth", DOVECOT_PROPERTY_MUTUAL},
    {"private", DOVECOT_PROPERTY_PRIVATE},
    {"channel-binding", DOVECOT_PROPERTY_CHANNEL_BINDING},
};

static void read_mech(struct dovecot_line *line, struct words *w)
{
    line->text = next_word(w);
    if (line->text.n == 0)
        line->kind = DOVECOT_MALFORMED;
    while (!w->end) {
        struct slice word = next_word(w);

        for (size_t i = 0; i < ARRAY_LEN(properties); i++) {
            if (slice_eq(word, slice_str(properties[i].word)))
                line->properties |= properties[i].property;
        }
    }
}

static bool read_id(struct dovecot_line *line, struct words *w)
{
    uint64_t id;

    if (!next_number(w, UINT32_MAX, &id)) {
        line->kind = DOVECOT_MALFORMED;
        return false;
    }
    line->id = (uint32_t)id;
    return true;
}

/* "name=value" or "name". */
static void read_field(struct dovecot_line *line, struct slice word)
{
    size_t equals = slice_find(word, '=');
    struct slice name = slice_head(word, equals);
    struct slice value = equals == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(word, equals + 1);

    if (slice_eq(name, SLICE_LIT("user")))
        line->user = value;
    else if (slice_eq(name, SLICE_LIT("reason")))
        line->reason = value;
    else if (slice_eq(name, SLICE_LIT("code")))
        line->code = value;
    else if (slice_eq(name, SLICE_LIT("temp")))
        line->temp = true;
    else if (slice_eq(name, SLICE_LIT("authz")))
        line->authz = true;
    else if (slice_eq(name, SLICE_LIT("nologin")) || slice_eq(name, SLICE_LIT("proxy")))
        line->nologin = true;
}

static void read_answer(struct dovecot_line *line, struct words *w)
{
    if (!read_id(line, w))
        return;
    while (!w->end)
        read_field(line, next_word(w));
    /* the newer way to say it */
    line->temp = line->temp || slice_eq(line->code, SLICE_LIT("temp_fail"));
    line->authz = line->authz || slice_eq(line->code, SLICE_LIT("authz_fail"));
}

static void read_cont(struct dovecot_line *line, struct words *w)
{
    if (read_id(line, w))
        line->text = next_word(w);
}

static void read_text(struct dovecot_line *line, struct words *w)
{
    line->text = next_word(w);
}

static void read_nothing(struct dovecot_line *line, struct words *w)
{
    (void)line;
    (void)w;
}

static const struct {
    const char *word;
    enum dovecot_kind kind;
    void (*read)(struct dovecot_line *, struct words *);
} kinds[] = {
    {"VERSION", DOVECOT_VERSION, read_version}, {"MECH", DOVECOT_MECH, read_mech}, {"SPID", DOVECOT_SPID, read_text},
    {"DONE", DOVECOT_DONE, read_nothing},       {"OK", DOVECOT_OK, read_answer},   {"FAIL", DOVECOT_FAIL, read_answer},
    {"CONT", DOVECOT_CONT, read_cont},
};

void dovecot_line_read(struct dovecot_line *line, struct slice text, struct buf *scratch)
{
    struct words w = {.n = text.n};
    struct slice word;

    *line = (struct dovecot_line){.kind = DOVECOT_UNKNOWN};
    buf_clear(scratch);
    if (text.n == 0 || !buf_add_slice(scratch, text))
        return;
    w.p = scratch->data + scratch->start;
    word = next_word(&w);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (slice_eq(word, slice_str(kinds[i].word))) {
            line->kind = kinds[i].kind;
            kinds[i].read(line, &w);
            return;
        }
    }
}

/* ---- writing ---- */

static void add_escaped(struct buf *out, const char *text)
{
    for (; *text != '\0'; text++) {
        const char *letter = *text == ESCAPE ? "1"
                             : *text == '\t' ? "t"
                             : *text == '\r' ? "r"
                             : *text == '\n' ? "n"
                                             : "";

        if (letter[0] != '\0') {
            buf_add_char(out, ESCAPE);
            buf_add_char(out, letter[0]);
        } else {
            buf_add_char(out, *text);
        }
    }
}

static void add_field(struct buf *out, const char *name, const char *value)
{
    buf_printf(out, "\t%s=", name);
    add_escaped(out, value);
}

static void add_end(struct buf *out, const char *ip_name, const char *ip, const char *port_name, int port)
{
    if (ip[0] != '\0')
        add_field(out, ip_name, ip);
    if (port != 0)
        buf_printf(out, "\t%s=%d", port_name, port);
}

void dovecot_write_hello(struct buf *out, unsigned long pid)
{
    buf_printf(out, "VERSION\t%d\t%d\nCPID\t%lu\n", DOVECOT_MAJOR, DOVECOT_MINOR, pid);
}

void dovecot_write_auth(struct buf *out, uint32_t id, const struct dovecot_auth *a, unsigned minor)
{
    buf_printf(out, "AUTH\t%u\t", (unsigned)id);
    add_escaped(out, a->mechanism);
    add_field(out, "service", a->service);
    buf_add_str(out, "\tnologin");
    add_end(out, "lip", a->lip, "lport", a->lport);
    add_end(out, "rip", a->rip, "rport", a->rport);
    if (a->tls)
        buf_add_str(out, minor >= 2 ? "\tsecured=tls" : "\tsecured");
    if (a->initial != NULL)
        add_field(out, "resp", a->initial); /* the last one: Dovecot takes all that follows for a part of it */
    buf_add_char(out, '\n');
}

void dovecot_write_cont(struct buf *out, uint32_t id, const char *response)
{
    buf_printf(out, "CONT\t%u\t", (unsigned)id);
    add_escaped(out, response);
    buf_add_char(out, '\n');
}

void dovecot_write_cancel(struct buf *out, uint32_t id)
{
    buf_printf(out, "CANCEL\t%u\n", (unsigned)id);
}
