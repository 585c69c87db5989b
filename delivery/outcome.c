/*
 * What happened -> what it means: see outcome.h. Called by every delivery agent; owns nothing and waits on nothing.
 *
 * The policy. Mail is lost to its sender's patience or to a report only when somebody said for certain that it cannot
 * be delivered; whatever is unclear is tried again until the message is too old.
 *
 * Commands, as in Postfix (section 1.5 of postfix-semantics):
 *   - exit 0 is delivered, whatever was printed and whether or not all of the message was read;
 *   - otherwise an enhanced status code 4.x.x or 5.x.x at the start of the output decides;
 *   - otherwise the exit status does, by the table of <sysexits.h> below.
 * Commands, other than in Postfix, which returns the mail in both cases:
 *   - an exit status that is not in the table is deferred: it is a broken command (a missing library, a script's typing
 *     error, Dovecot's 89 for a broken configuration), not a verdict about the message;
 *   - a command that is killed because its time is up is deferred.
 * A command that a signal killed, or that could not be started, is deferred, as in Postfix.
 *
 * Mailboxes, as in Postfix's virtual(8): over quota and over the size limit is failed, everything else deferred.
 */
#include "delivery/outcome.h"

#include "core/base/buf.h"
#include "core/base/codec.h"

#include <errno.h>
#include <stdio.h>
#include <sysexits.h>

#define TEXT_ROOM (sizeof(((struct status *)NULL)->text) - 2) /* the NUL, and a closing parenthesis */
#define DSN_ROOM  10                                          /* "5.123.123" */

static const struct {
    int exit_status;
    const char *dsn, *text;
} exits[] = {
    {EX_USAGE, "5.3.0", "command line usage error"},    {EX_DATAERR, "5.6.0", "data format error"},
    {EX_NOINPUT, "5.3.0", "cannot open input"},         {EX_NOUSER, "5.1.1", "user unknown"},
    {EX_NOHOST, "5.1.2", "host name unknown"},          {EX_UNAVAILABLE, "5.3.0", "service unavailable"},
    {EX_SOFTWARE, "5.3.0", "internal software error"},  {EX_OSERR, "4.3.0", "system resource problem"},
    {EX_OSFILE, "5.3.0", "critical OS file missing"},   {EX_CANTCREAT, "5.2.0", "can't create user output file"},
    {EX_IOERR, "5.3.0", "input/output error"},          {EX_TEMPFAIL, "4.3.0", "temporary failure"},
    {EX_PROTOCOL, "5.5.0", "remote error in protocol"}, {EX_NOPERM, "5.7.0", "permission denied"},
    {EX_CONFIG, "5.3.5", "local configuration error"},
};

static const struct {
    int err;
    const char *dsn;
} errors[] = {
    {EDQUOT, "5.2.2"},
    {EFBIG, "5.2.2"},
    {ENOSPC, "4.3.0"},
};
#define ERROR_DSN_OTHER "4.2.0"

/* The code says which: 4.x.x deferred, 5.x.x failed. */
static struct outcome made(enum status_reason temporary, enum status_reason permanent, const char *dsn,
                           const char *text)
{
    bool defer = dsn[0] == '4';

    return (struct outcome){
        .status = status_reply(defer ? temporary : permanent, defer ? 451 : 554, dsn, "%s", text),
        .destination_ok = true,
    };
}

/* ---- texts from outside ---- */

/* Cuts at `max` bytes, not inside a UTF-8 sequence. */
static struct slice cut(struct slice s, size_t max)
{
    if (s.n <= max)
        return s;
    while (max > 0 && ((unsigned char)s.p[max] & 0xc0) == 0x80)
        max--;
    return slice_head(s, max);
}

/* One printable line, cut to fit: each run of white space is one space, none at the ends. */
static void put_line(struct buf *out, struct slice text)
{
    size_t from = buf_len(out);
    bool gap = false;

    text = slice_trim(cut(slice_trim(text), TEXT_ROOM - from));
    for (size_t i = 0; i < text.n; i++) {
        if (!ascii_space(text.p[i]))
            buf_add_char(out, text.p[i]);
        else if (!gap)
            buf_add_char(out, ' ');
        gap = ascii_space(text.p[i]);
    }
    if (buf_len(out) > from)
        codec_printable(out->data + out->start + from, buf_len(out) - from, true);
}

static size_t digits(struct slice s, size_t at)
{
    size_t n = 0;

    while (at + n < s.n && ascii_digit(s.p[at + n]))
        n++;
    return n;
}

/*
 * Takes an enhanced status code (RFC 3463 section 2) of one of the classes in `classes` off the front of *text.
 * False, and nothing taken, when there is none.
 */
static bool take_dsn(struct slice *text, const char *classes, char dsn[DSN_ROOM])
{
    size_t subject, detail, end;

    if (text->n < 5 || text->p[0] == '\0' || strchr(classes, text->p[0]) == NULL || text->p[1] != '.')
        return false;
    subject = digits(*text, 2);
    if (subject < 1 || subject > 3 || 2 + subject >= text->n || text->p[2 + subject] != '.')
        return false;
    detail = digits(*text, 3 + subject);
    end = 3 + subject + detail;
    if (detail < 1 || detail > 3 || (end < text->n && !ascii_space(text->p[end])))
        return false;
    memcpy(dsn, text->p, end);
    dsn[end] = '\0';
    *text = slice_from(*text, end);
    return true;
}

/* ---- commands ---- */

static struct outcome delivered(const char *transport, struct slice output)
{
    struct outcome o = {.destination_ok = true};
    struct buf text = {0};

    buf_printf(&text, "delivered via %s service", transport);
    if (slice_trim(output).n > 0) {
        buf_add_str(&text, " (");
        put_line(&text, output);
        buf_add_char(&text, ')');
    }
    o.status = status_make(STATUS_NONE, "%s", buf_cstr(&text));
    buf_release(&text);
    return o;
}

/* "what. Command output: ..." */
static struct outcome command_failed(const char *dsn, const char *what, struct slice output)
{
    struct buf text = {0};
    struct outcome o;

    buf_add_str(&text, what);
    if (slice_trim(output).n > 0) {
        buf_add_str(&text, ". Command output: ");
        put_line(&text, output);
    }
    o = made(STATUS_COMMAND_DEFERRED, STATUS_COMMAND_FAILED, dsn, buf_cstr(&text));
    buf_release(&text);
    return o;
}

/* The command's own words, after the code it chose. */
static struct outcome command_said(const char *dsn, struct slice words)
{
    struct buf text = {0};
    struct outcome o;

    put_line(&text, words);
    o = made(STATUS_COMMAND_DEFERRED, STATUS_COMMAND_FAILED, dsn,
             buf_len(&text) > 0 ? buf_cstr(&text) : "command failed");
    buf_release(&text);
    return o;
}

static struct outcome exited(const char *program, int exit_status, struct slice output)
{
    char dsn[DSN_ROOM], died[200];
    struct slice words = output;

    if (take_dsn(&words, "45", dsn))
        return command_said(dsn, words);
    for (size_t i = 0; i < sizeof exits / sizeof exits[0]; i++)
        if (exits[i].exit_status == exit_status)
            return command_failed(exits[i].dsn, exits[i].text, output);
    snprintf(died, sizeof died, "Command died with status %d: \"%.100s\"", exit_status, program);
    return command_failed("4.3.0", died, output);
}

struct outcome outcome_command(const char *transport, const char *program, const struct spawn_result *r)
{
    struct outcome o;
    char what[300];

    if (r->started && !r->timed_out && r->term_signal == 0)
        return r->exit_status == 0 ? delivered(transport, r->output) : exited(program, r->exit_status, r->output);
    if (!r->started)
        snprintf(what, sizeof what, "temporary failure: cannot run \"%.100s\": %.100s", program, r->error);
    else if (r->timed_out)
        snprintf(what, sizeof what, "Command time limit exceeded: \"%.100s\"", program);
    else
        snprintf(what, sizeof what, "Command died with signal %d: \"%.100s\"", r->term_signal, program);
    o = command_failed("4.3.0", what, r->output);
    o.destination_ok = r->started && !r->timed_out;
    return o;
}

/* ---- the others ---- */

struct outcome outcome_mailbox(const char *doing, int err)
{
    const char *dsn = ERROR_DSN_OTHER;
    struct buf text = {0};
    struct outcome o;

    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++)
        if (errors[i].err == err)
            dsn = errors[i].dsn;
    buf_printf(&text, "maildir delivery failed: %.250s: %s", doing, strerror(err));
    o = made(STATUS_DELIVERY_DEFERRED, STATUS_MAILBOX_FULL, dsn, buf_cstr(&text));
    buf_release(&text);
    return o;
}

static const struct {
    const char *class, *dsn, *text;
} said[] = {
    [OUTCOME_KIND_DISCARD] = {"2", "2.0.0", "discarded"},
    [OUTCOME_KIND_ERROR] = {"5", "5.0.0", "Address is undeliverable"},
    [OUTCOME_KIND_RETRY] = {"4", "4.0.0", "Delivery is deferred"},
};

struct outcome outcome_said(enum outcome_kind kind, const char *nexthop)
{
    struct slice words = slice_trim(slice_str(nexthop));
    char dsn[DSN_ROOM];
    struct buf text = {0};
    struct outcome o;

    /* A code of another class than the transport's is nonsense: the transport's type decides. */
    if (!take_dsn(&words, "245", dsn) || dsn[0] != said[kind].class[0])
        snprintf(dsn, sizeof dsn, "%s", said[kind].dsn);
    put_line(&text, words);
    if (buf_len(&text) == 0)
        buf_add_str(&text, said[kind].text);
    if (kind == OUTCOME_KIND_DISCARD)
        o = (struct outcome){.status = status_reply(STATUS_DISCARDED, 250, dsn, "%s", buf_cstr(&text)),
                             .destination_ok = true};
    else
        o = made(STATUS_DELIVERY_DEFERRED, STATUS_DELIVERY_FAILED, dsn, buf_cstr(&text));
    buf_release(&text);
    return o;
}

struct outcome outcome_too_large(void)
{
    return made(STATUS_DELIVERY_DEFERRED, STATUS_DELIVERY_FAILED, "5.2.3", "message too large");
}

struct outcome outcome_loop(const char *address)
{
    return (struct outcome){.status = status_make(STATUS_MAIL_LOOP, "mail forwarding loop for %.300s", address),
                            .destination_ok = true};
}

struct outcome outcome_missing(void)
{
    return (struct outcome){.status = status_of(STATUS_TRANSPORT_MISSING), .destination_ok = false};
}

struct outcome outcome_deferred(const struct status *why)
{
    return (struct outcome){
        .status = status_reply(why->reason, 451, why->dsn[0] == '4' ? why->dsn : "4.3.0", "%s", why->text),
        .destination_ok = true,
    };
}

struct outcome outcome_mailbox_delivered(void)
{
    return (struct outcome){.status = status_make(STATUS_NONE, "delivered to maildir"), .destination_ok = true};
}

struct outcome outcome_user_unknown(const char *address)
{
    return (struct outcome){.status = status_make(STATUS_USER_UNKNOWN, "unknown user: \"%.300s\"", address),
                            .destination_ok = true};
}

struct outcome outcome_config(const char *text)
{
    return (struct outcome){
        .status = status_make(STATUS_CONFIG_ERROR, "%s", text != NULL ? text : "mail system configuration error"),
        .destination_ok = true,
    };
}
