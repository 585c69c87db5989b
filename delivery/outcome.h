/*
 * The one place that decides what something that happened means for a recipient: delivered, deferred or failed for
 * good, with which enhanced status code (RFC 3463) and which text in the log line and the report. Pure.
 */
#ifndef MTA_DELIVERY_OUTCOME_H
#define MTA_DELIVERY_OUTCOME_H

#include "core/base/status.h"
#include "core/loop/spawn.h"

struct outcome {
    struct status status;
    bool destination_ok; /* false: the next message would fare no better; see struct delivery_result */
    bool other_host;     /* another host of the destination may do better: try that first, if there is one */
};

/* A command has ended, or could not be started. `transport` and `program` (argv[0]) are for the text. */
struct outcome outcome_command(const char *transport, const char *program, const struct spawn_result *);

/* A system call failed with errno `err` while a message was written to a mailbox; `doing` says what: "create maildir
 * file /x". */
struct outcome outcome_mailbox(const char *doing, int err);

enum outcome_kind {
    OUTCOME_KIND_DISCARD,
    OUTCOME_KIND_ERROR,
    OUTCOME_KIND_RETRY,
};
/* What a transport of type discard, error or retry does: `nexthop` is a text, perhaps with a D.S.N code before it. */
struct outcome outcome_said(enum outcome_kind, const char *nexthop);

/* A message that is larger than the transport's `size`. */
struct outcome outcome_too_large(void);
/* The message was delivered to this address before (RFC 5321 section 6.3). */
struct outcome outcome_loop(const char *address);
/* The transport is not there, or not supported yet. */
struct outcome outcome_missing(void);
/* A table or the queue did not answer: deferred, whatever the status says. */
struct outcome outcome_deferred(const struct status *);
/* The message is in the mailbox. */
struct outcome outcome_mailbox_delivered(void);
/* There is no mailbox for this address. */
struct outcome outcome_user_unknown(const char *address);
/* The configuration makes delivery impossible; NULL: the text says no more, and the administrator is told by a warning.
 */
struct outcome outcome_config(const char *text);

/* ---- SMTP and LMTP: outcome_smtp.c ---- */

/* `peer` is "mx.example.com[192.0.2.1]"; texts are Postfix's, for those who read its logs. */

/* A whole reply: code, enhanced code, its lines with '\n' between them. */
struct outcome_reply {
    int code;
    const char *dsn, *text;
};

/* The server has taken the message. */
struct outcome outcome_sent(const struct outcome_reply *);
/* No connection: `where` is "mx.example.com[192.0.2.1]:25". */
struct outcome outcome_unreachable(const char *where, const char *error);
/* A greeting or hello refused; `skip_5xx`: of a broken server, whatever the code (smtp_skip_5xx_greeting). */
struct outcome outcome_unwelcome(const char *peer, const struct outcome_reply *, bool skip_5xx);
/* Said in reply to "MAIL FROM command" and so on; what is neither a 4xx nor a 5xx was not to be expected there. */
struct outcome outcome_refused(const char *peer, const struct outcome_reply *, const char *command);

enum outcome_loss {
    OUTCOME_LOSS_CLOSED,
    OUTCOME_LOSS_TIMEOUT,
    OUTCOME_LOSS_GARBAGE, /* what came was no reply, or one that was not asked for */
};
/*
 * The connection was lost while `doing`. `uncertain`: the end of the message was sent already, the server may have
 * taken it: it is tried again later, since that is not to be lost, but nowhere else before.
 */
struct outcome outcome_lost(const char *peer, enum outcome_loss, const char *doing, bool uncertain);
/* The message needs what the server does not offer: "SMTPUTF8 is required, but was not offered by host ...". */
struct outcome outcome_needs_utf8(const char *peer);
/* More than the server takes. */
struct outcome outcome_too_large_for(const char *peer, uint64_t size, uint64_t limit);
/* A session that cannot be made as it is wanted: no TLS, no AUTH. `destination_ok` as in struct outcome. */
struct outcome outcome_session(const char *dsn, const char *text, bool destination_ok);
/* TLS is mandatory, and STARTTLS was refused. Deferred, whatever the code. */
struct outcome outcome_no_starttls(const char *peer, const struct outcome_reply *);
/* AUTH was refused; `soft`: deferred, whatever the code. */
struct outcome outcome_no_auth(const char *peer, const struct outcome_reply *, bool soft);
/* What stands for the next hop is no destination. */
struct outcome outcome_bad_nexthop(const char *nexthop);
/* What the search for hosts came to; lasting failures as well as temporary ones. */
struct outcome outcome_no_host(const struct status *);

#endif
