/*
 * What a session should have looked like: reads what the client sent side by side with what the server answered, and
 * asserts that there is one reply for each command, that its code is one the command may have, and that the messages
 * in the queue are those that got 250, for the recipients that got 250, with the content that was sent.
 *
 * It knows where commands and content end by itself (RFC 5321, RFC 3030), and the grammar of addresses from
 * proto/grammar, which has a driver of its own.
 */
#ifndef TEST_FUZZ_SESSION_MODEL_H
#define TEST_FUZZ_SESSION_MODEL_H

#include "fuzz/fake_queue.h"
#include "fuzz/ref_body.h"

#include "core/base/addr.h"
#include "core/base/codec.h"
#include "proto/grammar/address.h"
#include "proto/grammar/smtp_cmd.h"
#include "proto/grammar/smtp_param.h"

#define MODEL_RCPTS_MOST 200
#define MODEL_LOGIN      "u@x"
#define MODEL_PASSWORD   "pw"

struct model {
    struct slice in, replies; /* what is not read yet */
    const struct queue *queue;
    bool plain_headers; /* the service adds no headers besides Received:, and drops none */
    bool crlf_only;     /* smtpd_forbid_bare_newline = reject */
    size_t line_max;    /* of a line, and of one that belongs to AUTH */
    size_t auth_max;
    bool authenticated;
    const char *origin;
    size_t messages; /* that got 250 so far */
    bool over;       /* the server has closed */
    int code;        /* of the reply in hand */

    struct arena arena;
    bool open;
    const char *sender;
    const char *rcpts[MODEL_RCPTS_MOST];
    size_t nrcpts;
    struct buf chunks; /* of BDAT so far */
    bool chunk_failed; /* one was refused: this transaction will not be accepted */
};

/* ---- replies ---- */

/* Takes one line of a reply; true when it is the last. */
static inline bool model_reply_line(struct model *m, int *code)
{
    size_t eol = slice_find(m->replies, '\n');
    struct slice line = slice_head(m->replies, eol);

    MTA_ASSERT(eol != SLICE_NOT_FOUND && eol > 4 && eol <= 511 && line.p[eol - 1] == '\r');
    line.n--;
    MTA_ASSERT(fuzz_clean(line) && ascii_digit(line.p[0]) && ascii_digit(line.p[1]) && ascii_digit(line.p[2]));
    MTA_ASSERT(line.p[0] >= '2' && line.p[0] <= '5' && line.p[1] <= '5' && (line.p[3] == ' ' || line.p[3] == '-'));
    *code = (line.p[0] - '0') * 100 + (line.p[1] - '0') * 10 + (line.p[2] - '0');
    m->replies = slice_from(m->replies, eol + 1);
    return line.p[3] == ' ';
}

/* Takes the next reply, which must be there, into m->code. */
static inline void model_reply(struct model *m)
{
    int first, code;
    bool last = model_reply_line(m, &first);

    while (!last) {
        last = model_reply_line(m, &code);
        MTA_ASSERT(code == first);
    }
    m->code = first;
    m->over = first == 221 || first == 421 || first == 521;
}

/* ---- the transaction ---- */

static inline void model_reset(struct model *m)
{
    m->open = false;
    m->nrcpts = 0;
    m->sender = NULL;
    m->chunk_failed = false;
    buf_clear(&m->chunks);
}

static inline const char *model_address(struct model *m, struct slice path)
{
    const char *addr;
    struct slice rest;

    MTA_ASSERT(address_parse_path(path, ADDRESS_ALLOW_NULL | ADDRESS_UTF8, &m->arena, &addr, &rest) == ADDRESS_OK);
    return addr[0] == '\0' || strchr(addr, '@') ? addr : arena_printf(&m->arena, "%s@%s", addr, m->origin);
}

static inline void model_mail(struct model *m, struct slice args)
{
    struct slice path;

    if (m->code != 250)
        return;
    MTA_ASSERT((!m->open || m->chunk_failed) && smtp_cmd_keyword(args, "FROM", &path));
    model_reset(m);
    m->open = true;
    m->sender = model_address(m, path);
}

static inline void model_rcpt(struct model *m, struct slice args)
{
    struct slice path;

    if (m->code != 250)
        return;
    MTA_ASSERT(m->open && smtp_cmd_keyword(args, "TO", &path) && m->nrcpts < MODEL_RCPTS_MOST);
    MTA_ASSERT(buf_len(&m->chunks) == 0);
    m->rcpts[m->nrcpts++] = model_address(m, path);
}

static inline bool model_has_rcpt(const struct model *m, const char *addr)
{
    for (size_t i = 0; i < m->nrcpts; i++)
        if (slice_ieq(slice_str(m->rcpts[i]), slice_str(addr)))
            return true;
    return false;
}

/* Each accepted recipient is there, nobody else, and nobody outside the domains of this server. */
static inline void check_envelope(const struct model *m, const struct envelope *e)
{
    MTA_ASSERT(m->open && strcmp(e->sender, m->sender) == 0);
    for (size_t i = 0; i < e->nrcpts; i++) {
        struct slice domain = addr_split(slice_str(e->rcpts[i].addr)).domain;

        MTA_ASSERT(model_has_rcpt(m, e->rcpts[i].orig ? e->rcpts[i].orig : e->rcpts[i].addr));
        MTA_ASSERT(m->authenticated || slice_ieq(domain, SLICE_LIT("example.com")) ||
                   slice_ieq(domain, slice_str(m->origin)));
        MTA_ASSERT(e->rcpts[i].addr[0] != '-');
    }
    for (size_t i = 0; i < m->nrcpts; i++) {
        bool found = false;

        for (size_t j = 0; j < e->nrcpts && !found; j++)
            found = slice_ieq(slice_str(m->rcpts[i]), slice_str(e->rcpts[j].addr)) ||
                    (e->rcpts[j].orig && slice_ieq(slice_str(m->rcpts[i]), slice_str(e->rcpts[j].orig)));
        MTA_ASSERT(found || strncasecmp(m->rcpts[i], "all@", 4) == 0);
    }
}

/* ---- content ---- */

static inline bool model_blank(struct slice s)
{
    return s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t');
}

/* Behind the Received: header that the server put on top. */
static inline struct slice without_received(struct slice content)
{
    MTA_ASSERT(slice_starts(content, SLICE_LIT("Received: from ")));
    do
        content = slice_from(content, slice_find(content, '\n') + 1);
    while (model_blank(content));
    return content;
}

/* What was sent, but that an mbox line has a name before it and a missing empty line was put in. */
static inline void check_text(struct slice got, struct slice sent)
{
    const struct slice mbox = SLICE_LIT("X-Mailbox-Line: ");
    bool separator = false;

    if (slice_starts(got, mbox) && !slice_starts(sent, mbox))
        got = slice_from(got, mbox.n);
    while (got.n > 0) {
        if (sent.n > 0 && got.p[0] == sent.p[0]) {
            sent = slice_from(sent, 1);
        } else {
            MTA_ASSERT(got.p[0] == '\n' && !separator);
            separator = true;
        }
        got = slice_from(got, 1);
    }
    MTA_ASSERT(sent.n == 0);
}

/* The content got its 250: it is the next message of the queue. */
static inline void model_accepted(struct model *m, struct slice sent)
{
    const struct fake_message *message;
    struct slice content;

    MTA_ASSERT(m->messages < m->queue->n);
    message = &m->queue->messages[m->messages++];
    content = buf_slice(&message->content);
    check_envelope(m, message->envelope);
    MTA_ASSERT(content.n > 0 && content.p[content.n - 1] == '\n' && slice_find(content, '\r') == SLICE_NOT_FOUND);
    content = without_received(content);
    if (m->plain_headers)
        check_text(content, sent);
}

static inline void model_data(struct model *m)
{
    struct ref_body body;

    if (m->code != 354) {
        MTA_ASSERT(m->code >= 400);
        return;
    }
    MTA_ASSERT(m->open && m->nrcpts > 0 && buf_len(&m->chunks) == 0);
    body = ref_body_decode(m->in, true);
    m->in = slice_from(m->in, body.consumed);
    if (body.ended) {
        model_reply(m);
        MTA_ASSERT(m->code == 250 || m->code >= 400);
        if (m->code == 250)
            model_accepted(m, buf_slice(&body.text));
        model_reset(m);
    }
    buf_release(&body.text);
}

static inline void model_last_chunk(struct model *m)
{
    struct ref_body body = ref_body_decode(buf_slice(&m->chunks), false);

    ref_body_finish(&body, buf_slice(&m->chunks));
    model_accepted(m, buf_slice(&body.text));
    model_reset(m);
    buf_release(&body.text);
}

/* The reply comes after the chunk, or before it when it is a refusal, in which case the chunk is read away. */
static inline void model_bdat(struct model *m, struct slice args)
{
    struct slice rest = args, size_text = slice_token(&rest, " \t"), last = slice_token(&rest, " \t");
    uint64_t size;
    struct slice chunk;

    if (!slice_u64(size_text, INT64_MAX, &size) || (last.n > 0 && !slice_ieq(last, SLICE_LIT("LAST"))) ||
        slice_trim(rest).n > 0) {
        model_reply(m);
        MTA_ASSERT(m->code == 521 || m->code == 421);
        m->over = true;
        return;
    }
    chunk = slice_head(m->in, (size_t)size);
    m->in = slice_from(m->in, chunk.n);
    if (chunk.n < size && m->replies.n == 0)
        return; /* the client went away */
    model_reply(m);
    m->chunk_failed = m->chunk_failed || m->code >= 400;
    MTA_ASSERT(m->code >= 400 || (!m->chunk_failed && m->code == 250 && m->open && m->nrcpts > 0 && chunk.n == size));
    if (m->code >= 400)
        return;
    if (chunk.n > 0)
        buf_add_slice(&m->chunks, chunk);
    if (last.n > 0)
        model_last_chunk(m);
}

/* ---- AUTH ---- */

/* Takes a line; false when none is complete. */
static inline bool model_line(struct model *m, bool of_auth, struct slice *line)
{
    size_t eol = slice_find(m->in, '\n'), max = m->line_max;

    if (eol == SLICE_NOT_FOUND)
        return false;
    if ((of_auth || slice_istarts(m->in, SLICE_LIT("AUTH "))) && m->auth_max > max)
        max = m->auth_max;
    *line = slice_head(slice_head(m->in, eol), max);
    if (m->crlf_only && (eol == 0 || m->in.p[eol - 1] != '\r'))
        m->over = true;
    m->in = slice_from(m->in, eol + 1);
    if (line->n > 0 && line->p[line->n - 1] == '\r')
        line->n--;
    return true;
}

static inline struct slice model_decoded(struct model *m, struct slice base64)
{
    struct buf text = {0};
    struct slice copy;

    MTA_ASSERT(codec_base64_decode(&text, base64));
    copy = slice_make(arena_slice_dup(&m->arena, buf_slice(&text)), buf_len(&text));
    buf_release(&text);
    return copy;
}

/* It succeeded: then that was the login and that the password. */
static inline void check_password(struct model *m, bool plain, struct slice before, struct slice last)
{
    struct slice text = model_decoded(m, last);

    if (plain) {
        size_t end = slice_find(text, '\0');

        before = end == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(text, end + 1);
        end = slice_find(before, '\0');
        text = end == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(before, end + 1);
        before = slice_head(before, end);
    } else
        before = model_decoded(m, before);
    MTA_ASSERT(slice_ieq(before, SLICE_LIT(MODEL_LOGIN)) && slice_eq(text, SLICE_LIT(MODEL_PASSWORD)));
}

/* After each 334 a line that is a response, whatever it looks like. */
static inline void model_auth(struct model *m, struct slice args)
{
    struct slice rest = args, mechanism = slice_token(&rest, " \t"), before = SLICE_EMPTY, last = slice_trim(rest);
    bool bare; /* the line ended in a bare LF, which may not be */

    while (m->code == 334) {
        before = last;
        MTA_ASSERT(!m->authenticated && (!m->open || m->chunk_failed));
        if (!model_line(m, true, &last)) {
            MTA_ASSERT(m->replies.n == 0);
            return; /* the client went away */
        }
        bare = m->over;
        model_reply(m);
        MTA_ASSERT(!bare || m->code >= 500);
        m->over = m->over || bare;
        if (m->over)
            return;
    }
    MTA_ASSERT(m->code == 235 || m->code >= 400);
    if (m->code != 235)
        return;
    MTA_ASSERT(!m->authenticated && (!m->open || m->chunk_failed));
    m->authenticated = true;
    check_password(m, slice_ieq(mechanism, SLICE_LIT("PLAIN")), before, last);
}

/* ---- commands ---- */

static inline void model_simple(struct model *m, struct slice verb)
{
    static const struct {
        const char *verb;
        int ok;
        bool resets;
    } rows[] = {{"HELO", 250, true},  {"EHLO", 250, true},  {"RSET", 250, true},  {"NOOP", 250, false},
                {"VRFY", 252, false}, {"HELP", 214, false}, {"QUIT", 221, false}, {"STARTTLS", 502, false}};

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        if (slice_ieq(verb, slice_str(rows[i].verb))) {
            MTA_ASSERT(m->code == rows[i].ok || m->code >= 400);
            if (rows[i].resets && m->code == rows[i].ok)
                model_reset(m);
            return;
        }
    MTA_ASSERT(m->code >= 500 || m->code == 421 || m->code == 221);
}

static inline void model_command(struct model *m, struct slice line)
{
    struct smtp_cmd cmd;

    if (smtp_cmd_parse(line, &cmd) != SMTP_CMD_OK)
        cmd.verb = SLICE_LIT("?");
    if (slice_ieq(cmd.verb, SLICE_LIT("BDAT"))) {
        model_bdat(m, cmd.args);
        return;
    }
    model_reply(m);
    if (slice_ieq(cmd.verb, SLICE_LIT("MAIL")))
        model_mail(m, cmd.args);
    else if (slice_ieq(cmd.verb, SLICE_LIT("RCPT")))
        model_rcpt(m, cmd.args);
    else if (slice_ieq(cmd.verb, SLICE_LIT("DATA")))
        model_data(m);
    else if (slice_ieq(cmd.verb, SLICE_LIT("AUTH")))
        model_auth(m, cmd.args);
    else
        model_simple(m, cmd.verb);
}

/* Reads both sides to their end. */
static inline void model_check(struct model *m)
{
    struct slice line;

    model_reply(m);
    MTA_ASSERT(m->code == 220);
    while (!m->over && model_line(m, false, &line)) {
        if (!m->over) {
            model_command(m, line);
        } else {
            model_reply(m); /* to a bare LF */
            MTA_ASSERT(m->code >= 500);
            m->over = true;
        }
    }
    MTA_ASSERT(m->replies.n == 0 && m->messages == m->queue->n);
    arena_clear(&m->arena);
    buf_release(&m->chunks);
}

#endif
