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

#endif
