/*
 * Delivery reports: see dsn.h. Called by delivery/bounce.c, which queues the text as a message from the null sender.
 * Owns nothing. RFC 3464 (delivery-status), RFC 6522 (multipart/report), RFC 6533 (both for SMTPUTF8), RFC 3834.
 *
 * Nothing from outside goes to the output but through struct fold: it makes text printable and starts each new line
 * with white space, so that no line of it can be a header or a boundary.
 */
#include "proto/grammar/dsn.h"

#include "core/base/addr.h"
#include "core/base/assert.h"
#include "core/base/codec.h"
#include "proto/grammar/received.h"

#include <stdio.h>

#define FOLD_WIDTH   78  /* where a space becomes a line break: RFC 5322 section 2.1.1 */
#define FOLD_HARD    900 /* where a word without spaces is broken */
#define FOLD_INDENT  4
#define BOUNDARY_MAX 70 /* RFC 2046 section 5.1.1 */
#define TOKEN_MAX    32

struct fold {
    struct buf *out;
    size_t column;
    bool utf8;
};

static const char *const actions[] = {
    [DSN_ACTION_FAILED] = "failed",   [DSN_ACTION_DELAYED] = "delayed",   [DSN_ACTION_DELIVERED] = "delivered",
    [DSN_ACTION_RELAYED] = "relayed", [DSN_ACTION_EXPANDED] = "expanded",
};

/* RFC 3834 section 5: a reply to the message, or a notice of our own. */
#define REPLIED   "auto-replied"
#define GENERATED "auto-generated"

/* What a report says to people. The subjects are Postfix's: there are filters that look for them. */
static const struct notice {
    const char *subject, *submitted, *opening, *attached;
} notices[] = {
    [DSN_KIND_FAILURE] = {"Undelivered Mail Returned to Sender", REPLIED,
                          "Your message could not be delivered to the recipients listed here, and no\n"
                          "further attempt will be made. What was sent is attached.",
                          "Undelivered Message"},
    [DSN_KIND_DELAY] = {"Delayed Mail (still being retried)", REPLIED,
                        "Your message has not reached the recipients listed here yet. There is no\n"
                        "need to send it again: further attempts will be made.",
                        "Delayed Message"},
    [DSN_KIND_SUCCESS] = {"Successful Mail Delivery Report", REPLIED,
                          "You asked to be told about the delivery of your message. It has got as far\n"
                          "as said here.",
                          "Delivered Message"},
    [DSN_KIND_FAILURE_COPY] = {"Postmaster Copy: Undelivered Mail", GENERATED,
                               "For the postmaster: a message could not be delivered to the recipients\n"
                               "listed here.",
                               "Undelivered Message"},
    [DSN_KIND_DELAY_COPY] = {"Postmaster Warning: Delayed Mail", GENERATED,
                             "For the postmaster: a message has not reached the recipients listed here\n"
                             "yet. Further attempts will be made.",
                             "Delayed Message"},
};

static void fold_start(struct fold *f, const char *text)
{
    buf_add_str(f->out, text);
    f->column = strlen(text);
}

static void fold_break(struct fold *f)
{
    buf_printf(f->out, "\n%*s", FOLD_INDENT, "");
    f->column = FOLD_INDENT;
}

/* Text without a place to break it: an address, a word. */
static void fold_solid(struct fold *f, struct slice text)
{
    while (text.n > 0) {
        size_t len = codec_utf8_length(text);
        unsigned char c = (unsigned char)text.p[0];
        bool ok = len == 1 ? c >= 32 && c != 127 : len > 1 && f->utf8;

        if (f->column + len > FOLD_HARD)
            fold_break(f);
        if (c == ' ' && f->column <= FOLD_INDENT)
            ok = false; /* no line is white space only: to some readers that is an empty one */
        buf_add(f->out, ok ? text.p : "?", ok ? len : 1);
        f->column += ok ? len : 1;
        text = slice_from(text, len ? len : 1);
    }
}

/* A word behind what is there: on the same line if it fits. */
static void fold_word(struct fold *f, struct slice word)
{
    if (word.n > 0 && f->column + 1 + word.n > FOLD_WIDTH && f->column > FOLD_INDENT) {
        fold_break(f);
    } else {
        buf_add_char(f->out, ' ');
        f->column++;
    }
    fold_solid(f, word);
}

static void fold_words(struct fold *f, const char *text)
{
    struct slice rest = slice_str(text), word;

    while ((word = slice_token(&rest, " \t\r\n\v\f")).n > 0)
        fold_word(f, word);
}

/* mail_name as a part of a header's name. */
static void add_token(struct buf *out, const char *name)
{
    for (size_t i = 0; name[i] != '\0' && i < TOKEN_MAX; i++)
        buf_add_char(out, ascii_alnum(name[i]) ? name[i] : '-');
}

static uint32_t code_point(struct slice s, size_t len)
{
    uint32_t c = (unsigned char)s.p[0] & (0xFFu >> (len + 1));

    for (size_t i = 1; i < len; i++)
        c = c << 6 | ((unsigned char)s.p[i] & 0x3F);
    return c;
}

/* utf-8-addr-xtext: UTF-8 for those who take ASCII only, RFC 6533 section 3. */
static void add_utf8_xtext(struct buf *out, struct slice text)
{
    while (text.n > 0) {
        size_t len = codec_utf8_length(text);

        if (len == 0)
            buf_add_char(out, '?');
        else if (len > 1)
            buf_printf(out, "\\x{%02X}", (unsigned)code_point(text, len));
        else if (strchr("\\+= ", text.p[0]) != NULL)
            buf_printf(out, "\\x{%02X}", (unsigned)(unsigned char)text.p[0]);
        else
            buf_add_char(out, text.p[0]);
        text = slice_from(text, len ? len : 1);
    }
}

/* "Name: type; address" of an address in external form. */
static void add_typed(struct fold *f, const char *name, const char *type, struct slice address)
{
    bool wide = codec_has_8bit(address) || slice_ieq(slice_str(type), SLICE_LIT("utf-8"));
    struct buf encoded = {.max = 0};

    if (wide && !f->utf8) {
        add_utf8_xtext(&encoded, address);
        address = buf_slice(&encoded);
    }
    fold_start(f, name);
    buf_add_char(f->out, ' ');
    fold_solid(f, wide ? SLICE_LIT("utf-8") : slice_str(type));
    buf_add_char(f->out, ';');
    fold_word(f, address);
    buf_add_char(f->out, '\n');
    buf_release(&encoded);
}

static void add_address_field(struct fold *f, const char *name, const char *addr)
{
    struct buf external = {.max = 0};

    addr_quote(&external, slice_str(addr));
    add_typed(f, name, "rfc822", buf_slice(&external));
    buf_release(&external);
}

/* "<addr>" for people. */
static void fold_address(struct fold *f, const char *addr)
{
    struct buf text = {.max = 0};

    buf_add_char(&text, '<');
    addr_quote(&text, slice_str(addr));
    buf_add_char(&text, '>');
    fold_word(f, buf_slice(&text));
    buf_release(&text);
}

static const struct notice *notice_of(const struct dsn_report *r)
{
    MTA_ASSERT((size_t)r->kind < ARRAY_LEN(notices));
    return &notices[r->kind];
}

static void add_part(struct buf *out, const struct dsn_report *r, const char *description, const char *type, bool wide)
{
    buf_printf(out, "\n--%s\nContent-Description: %s\nContent-Type: %s\n", r->boundary, description, type);
    if (wide)
        buf_add_str(out, "Content-Transfer-Encoding: 8bit\n");
    buf_add_char(out, '\n');
}

static void add_header(struct fold *f, const struct dsn_report *r)
{
    const char *to = r->to ? r->to : r->sender;

    buf_printf(f->out, "From: Mail Delivery System <MAILER-DAEMON@%s>\n", r->origin);
    fold_start(f, "To:");
    if (*to != '\0')
        fold_address(f, to);
    else
        fold_words(f, "undisclosed-recipients:;");
    buf_printf(f->out, "\nSubject: %s\nDate: ", notice_of(r)->subject);
    received_date(f->out, r->now_us);
    buf_printf(f->out, "\nMessage-Id: %s\nAuto-Submitted: %s\nMIME-Version: 1.0\n", r->message_id,
               notice_of(r)->submitted);
    buf_printf(f->out, "Content-Type: multipart/report; report-type=delivery-status;\n\tboundary=\"%s\"\n",
               r->boundary);
    if (r->smtputf8 || r->body_8bit)
        buf_add_str(f->out, "Content-Transfer-Encoding: 8bit\n");
    buf_add_str(f->out, "\nThis is a delivery report in MIME format.\n");
}

/* The part for people. */
static void add_notice(struct fold *f, const struct dsn_report *r)
{
    add_part(f->out, r, "Notification", r->smtputf8 ? "text/plain; charset=utf-8" : "text/plain; charset=us-ascii",
             r->smtputf8);
    buf_printf(f->out, "%s\n\nThis report comes from the mail system at %s.\n", notice_of(r)->opening, r->myhostname);
    for (size_t i = 0; i < r->nrcpts; i++) {
        const struct dsn_recipient *to = &r->rcpts[i];

        buf_add_char(f->out, '\n');
        f->column = 0;
        fold_address(f, to->addr);
        if (to->orig != NULL) {
            fold_words(f, "(sent to");
            fold_address(f, to->orig);
            fold_solid(f, SLICE_LIT(")"));
        }
        fold_solid(f, SLICE_LIT(":"));
        fold_words(f, to->text);
        buf_add_char(f->out, '\n');
    }
}

static void add_message_fields(struct fold *f, const struct dsn_report *r)
{
    struct buf name = {.max = 0};

    buf_printf(f->out, "Reporting-MTA: dns; %s\n", r->myhostname);
    if (r->envid != NULL) {
        fold_start(f, "Original-Envelope-Id:");
        fold_word(f, slice_str(r->envid));
        buf_add_char(f->out, '\n');
    }
    buf_add_str(&name, "X-");
    add_token(&name, r->mail_name);
    buf_printf(f->out, "%s-Queue-ID: %s\n", buf_cstr(&name), r->qid);
    if (*r->sender != '\0') {
        buf_add_str(&name, "-Sender:");
        add_address_field(f, buf_cstr(&name), r->sender);
    }
    buf_add_str(f->out, "Arrival-Date: ");
    received_date(f->out, r->arrival_us);
    buf_add_char(f->out, '\n');
    buf_release(&name);
}

/* What RFC 3461 section 4.2 has us give back, or else the address before aliases. */
static void add_original(struct fold *f, const struct dsn_recipient *to)
{
    size_t semicolon = slice_find(slice_str(to->orcpt), ';');

    if (to->orcpt != NULL && semicolon != SLICE_NOT_FOUND) {
        struct buf type = {.max = 0};

        buf_add(&type, to->orcpt, semicolon);
        add_typed(f, "Original-Recipient:", buf_cstr(&type), slice_str(to->orcpt + semicolon + 1));
        buf_release(&type);
    } else if (to->orig != NULL) {
        add_address_field(f, "Original-Recipient:", to->orig);
    }
}

static void add_recipient_fields(struct fold *f, const struct dsn_report *r, const struct dsn_recipient *to)
{
    size_t start;

    MTA_ASSERT((size_t)to->action < ARRAY_LEN(actions));
    buf_add_char(f->out, '\n');
    add_address_field(f, "Final-Recipient:", to->addr);
    add_original(f, to);
    buf_printf(f->out, "Action: %s\n", actions[to->action]);
    fold_start(f, "Status:");
    fold_word(f, slice_str(to->status));
    if (to->remote_mta != NULL) {
        buf_add_str(f->out, "\nRemote-MTA: dns; ");
        received_sanitize(f->out, to->remote_mta);
    }
    buf_add_char(f->out, '\n');
    start = buf_len(f->out);
    buf_add_str(f->out, "Diagnostic-Code: ");
    if (to->remote_mta != NULL) {
        buf_add_str(f->out, "smtp;");
    } else {
        buf_add_str(f->out, "X-");
        add_token(f->out, r->mail_name);
        buf_add_char(f->out, ';');
    }
    f->column = buf_len(f->out) - start;
    fold_words(f, to->remote_mta != NULL ? to->remote_reply : to->text);
    buf_add_char(f->out, '\n');
    if (to->action == DSN_ACTION_DELAYED) {
        buf_add_str(f->out, "Will-Retry-Until: ");
        received_date(f->out, r->retry_until_us);
        buf_add_char(f->out, '\n');
    }
}

void dsn_boundary(struct buf *out, const char *qid, uint64_t now_us, const char *myhostname)
{
    size_t start = buf_len(out);

    buf_printf(out, "%s.%llu/", qid, (unsigned long long)(now_us / 1000000));
    for (; *myhostname != '\0' && buf_len(out) - start < BOUNDARY_MAX; myhostname++)
        buf_add_char(out, ascii_alnum(*myhostname) || *myhostname == '.' ? *myhostname : '-');
}

void dsn_write_head(struct buf *out, const struct dsn_report *r)
{
    static const char *const types[2][2] = {
        {"message/rfc822", "text/rfc822-headers"},
        {"message/global", "message/global-headers"},
    };
    struct fold f = {.out = out, .utf8 = r->smtputf8};
    char attached[60];

    add_header(&f, r);
    add_notice(&f, r);
    add_part(out, r, "Delivery report", r->smtputf8 ? "message/global-delivery-status" : "message/delivery-status",
             r->smtputf8);
    add_message_fields(&f, r);
    for (size_t i = 0; i < r->nrcpts; i++)
        add_recipient_fields(&f, r, &r->rcpts[i]);
    snprintf(attached, sizeof attached, "%s%s", notice_of(r)->attached, r->headers_only ? " Headers" : "");
    add_part(out, r, attached, types[r->smtputf8][r->headers_only], r->smtputf8 || r->body_8bit);
}

void dsn_write_tail(struct buf *out, const struct dsn_report *r)
{
    buf_printf(out, "\n--%s--\n", r->boundary);
}
