/*
 * What is known of a message besides its content: sender, recipients, where it came from, DSN options (RFC 3461).
 * Strings live in the arena of whoever made the envelope.
 */
#ifndef MTA_QUEUE_ENVELOPE_H
#define MTA_QUEUE_ENVELOPE_H

#include "core/base/arena.h"

/* RFC 3461 section 4.1: NOTIFY. 0: not given. */
enum envelope_notify {
    ENVELOPE_NOTIFY_NEVER = 1,
    ENVELOPE_NOTIFY_SUCCESS = 2,
    ENVELOPE_NOTIFY_FAILURE = 4,
    ENVELOPE_NOTIFY_DELAY = 8,
};

/* RFC 3461 section 4.3: RET. */
enum envelope_ret {
    ENVELOPE_RET_NONE,
    ENVELOPE_RET_FULL,
    ENVELOPE_RET_HDRS,
};

/*
 * What the sender, or the postmaster, is to hear of a recipient: RFC 3464 section 2.3.3, and the copies that go to the
 * postmaster once the sender's report is made. The numbers are in the queue database.
 */
enum envelope_action {
    ENVELOPE_ACTION_NONE = 0,
    ENVELOPE_ACTION_FAILED = 1,
    ENVELOPE_ACTION_DELAYED = 2,
    ENVELOPE_ACTION_DELIVERED = 3,
    ENVELOPE_ACTION_RELAYED = 4,  /* to a system that does not report further */
    ENVELOPE_ACTION_EXPANDED = 5, /* an alias, which other recipients stand for */
    ENVELOPE_ACTION_FAILED_COPY = 6,
    ENVELOPE_ACTION_DELAYED_COPY = 7,
    ENVELOPE_ACTION_DOUBLE_BOUNCE = 8, /* failed, and there is no sender to tell */
};

struct envelope_rcpt {
    uint64_t id;       /* row in the queue; 0 before commit */
    const char *addr;  /* final address, internal (unquoted) form: "user@example.com" */
    const char *orig;  /* the address the client gave when aliases changed it; NULL: same as addr */
    const char *orcpt; /* RFC 3461 ORCPT, decoded, "rfc822;user@example.com"; NULL: not given */
    unsigned notify;   /* enum envelope_notify bits */
    uint32_t attempts; /* delivery attempts so far */
    /*
     * What is, or was, to be reported. Before commit NONE, or EXPANDED: it is not delivered, only reported. With a
     * recipient that is due: it was delayed, and that has been or will be said.
     */
    enum envelope_action action;
};

struct envelope {
    uint64_t qid;        /* see core/base/id.h */
    uint64_t arrival_us; /* wall clock: when the message began to come in (MAIL FROM) */
    uint64_t queued_us;  /* wall clock: when it was committed */
    uint64_t size;       /* bytes of content, as stored */
    const char *sender;  /* internal form; "" is the null sender */
    const char *client_name, *client_addr, *helo, *protocol; /* "localhost", "127.0.0.1", ..., "ESMTP"; may be NULL */
    const char *envid;                                       /* RFC 3461 ENVID, decoded; NULL: not given */
    enum envelope_ret ret;
    bool body_8bit; /* BODY=8BITMIME */
    bool smtputf8;  /* RFC 6531 */
    struct envelope_rcpt *rcpts;
    size_t nrcpts;
};

/* A deep copy into `arena`. */
struct envelope *envelope_copy(struct arena *, const struct envelope *);

#endif
