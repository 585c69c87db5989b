/*
 * What servers say, and do not say -> what it means: the SMTP and LMTP part of outcome.h. Called by the client
 * (smtpc*.c); owns nothing and waits on nothing.
 *
 * The policy, Postfix's but for two things:
 *   - a host that cannot be reached, does not want to talk, or is lost: another host is tried, and if there is none,
 * the mail is deferred (a 5xx greeting returns it only without smtp_skip_5xx_greeting); the destination is at fault;
 *   - a 4xx about the message or a recipient: another host is tried, and if there is none, it is deferred;
 *   - a 5xx about them returns the mail.
 * Other than in Postfix,
 *   - a connection lost after the end of the message was sent: the server may have taken it. It is deferred and tried
 *     nowhere else before, since it would arrive twice for certain where the server is only slow;
 *   - a reply of 2xx or 3xx where that makes no sense is not a reason to return mail: it is deferred.
 */
#include "delivery/outcome.h"

#include "core/base/buf.h"
#include "core/base/codec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#define TEXT_ROOM  (sizeof(((struct status *)NULL)->text) - 1)
#define REPLY_ROOM 280 /* bytes of a reply in a text: what follows it is to be seen, too */

static struct outcome make(const char *dsn, const char *text, bool destination_ok)
{
    bool defer = dsn[0] == '4';

    return (struct outcome){
        .status =
            status_reply(defer ? STATUS_DELIVERY_DEFERRED : STATUS_DELIVERY_FAILED, defer ? 451 : 554, dsn, "%s", text),
        .destination_ok = destination_ok,
        .other_host = defer || !destination_ok,
    };
}

/* Whatever is too long is cut. */
static void put(char text[TEXT_ROOM + 1], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(char text[TEXT_ROOM + 1], const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, TEXT_ROOM + 1, fmt, ap);
    va_end(ap);
}

/* One printable line: the reply's line breaks are spaces. */
static const char *one_line(char out[TEXT_ROOM + 1], const char *text, size_t room)
{
    size_t n = strlen(text);

    if (n > room) {
        n = room;
        while (n > 0 && ((unsigned char)text[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(out, text, n);
    out[n] = '\0';
    for (size_t i = 0; i < n; i++)
        if (ascii_space(out[i]))
            out[i] = ' ';
    while (n > 0 && out[n - 1] == ' ')
        out[--n] = '\0';
    codec_printable(out, n, true);
    return out;
}

struct outcome outcome_sent(const struct outcome_reply *r)
{
    char line[TEXT_ROOM + 1];

    return (struct outcome){
        .status = status_reply(STATUS_NONE, 250, r->dsn, "%s", one_line(line, r->text, TEXT_ROOM - 2)),
        .destination_ok = true,
    };
}

struct outcome outcome_unreachable(const char *where, const char *error)
{
    char text[TEXT_ROOM + 1];

    put(text, "connect to %.280s: %.100s", where, error);
    if (text[0] != '\0' && ascii_alpha(error[0])) /* as strerror has it: "Connection refused" */
        text[strlen(text) - strnlen(error, 100)] = ascii_upper(error[0]);
    return make("4.4.1", text, false);
}

struct outcome outcome_unwelcome(const char *peer, const struct outcome_reply *r, bool skip_5xx)
{
    char text[TEXT_ROOM + 1], line[TEXT_ROOM + 1], dsn[12];

    memcpy(dsn, r->dsn, strlen(r->dsn) + 1);
    if (dsn[0] == '5' && skip_5xx)
        dsn[0] = '4';
    if (dsn[0] != '4' && dsn[0] != '5')
        memcpy(dsn, "4.5.0", sizeof "4.5.0");
    put(text, "host %.100s refused to talk to me: %s", peer, one_line(line, r->text, 250));
    return make(dsn, text, false);
}

struct outcome outcome_refused(const char *peer, const struct outcome_reply *r, const char *command)
{
    char text[TEXT_ROOM + 1], line[TEXT_ROOM + 1];
    bool sense = r->dsn[0] == '4' || r->dsn[0] == '5';

    put(text, "%shost %.100s said: %s (in reply to %s)", sense ? "" : "Protocol error: ", peer,
        one_line(line, r->text, REPLY_ROOM - strnlen(peer, 100) - (sense ? 0 : 16)), command);
    return make(sense ? r->dsn : "4.5.0", text, r->code != 421);
}

struct outcome outcome_lost(const char *peer, enum outcome_loss loss, const char *doing, bool uncertain)
{
    static const struct {
        const char *dsn, *fmt_before, *fmt_after;
    } losses[] = {
        [OUTCOME_LOSS_CLOSED] = {"4.4.2", "lost connection with ", ""},
        [OUTCOME_LOSS_TIMEOUT] = {"4.4.2", "conversation with ", " timed out"},
        [OUTCOME_LOSS_GARBAGE] = {"4.5.0", "remote protocol error in reply from ", ""},
    };
    char text[TEXT_ROOM + 1];
    struct outcome o;

    put(text, "%s%.200s%s while %s", losses[loss].fmt_before, peer, losses[loss].fmt_after, doing);
    o = make(losses[loss].dsn, text, false);
    o.other_host = !uncertain;
    return o;
}

struct outcome outcome_needs_utf8(const char *peer)
{
    char text[TEXT_ROOM + 1];

    put(text, "SMTPUTF8 is required, but was not offered by host %.200s", peer);
    return make("5.6.7", text, true);
}

struct outcome outcome_too_large_for(const char *peer, uint64_t size, uint64_t limit)
{
    char text[TEXT_ROOM + 1];

    put(text, "message size %" PRIu64 " exceeds size limit %" PRIu64 " of server %.200s", size, limit, peer);
    return make("5.3.4", text, true);
}

struct outcome outcome_session(const char *dsn, const char *why, bool destination_ok)
{
    char text[TEXT_ROOM + 1], line[TEXT_ROOM + 1];

    put(text, "%s", one_line(line, why, TEXT_ROOM));
    return make(dsn, text, destination_ok);
}

/* The reply's enhanced code; one of neither 4 nor 5, and with `soft` a 5, is a 4. */
static const char *soften(char out[12], const struct outcome_reply *r, bool soft)
{
    memcpy(out, r->dsn, strlen(r->dsn) + 1);
    if (out[0] != '4' && (out[0] != '5' || soft))
        out[0] = '4';
    return out;
}

struct outcome outcome_no_starttls(const char *peer, const struct outcome_reply *r)
{
    char text[TEXT_ROOM + 1], line[TEXT_ROOM + 1], dsn[12];

    put(text, "TLS is required, but host %.100s refused to start TLS: %s", peer, one_line(line, r->text, 200));
    return make(soften(dsn, r, true), text, false);
}

struct outcome outcome_no_auth(const char *peer, const struct outcome_reply *r, bool soft)
{
    char text[TEXT_ROOM + 1], line[TEXT_ROOM + 1], dsn[12];

    put(text, "SASL authentication failed; server %.100s said: %s", peer, one_line(line, r->text, 220));
    return make(soften(dsn, r, soft), text, false);
}

struct outcome outcome_bad_nexthop(const char *nexthop)
{
    char text[TEXT_ROOM + 1];

    put(text, "the next hop is no destination: \"%.200s\"", nexthop);
    return make("4.3.5", text, false);
}

struct outcome outcome_no_host(const struct status *why)
{
    return (struct outcome){.status = *why, .destination_ok = false, .other_host = true};
}
