/*
 * The scheduler: due recipients -> one queue for each destination (transport and next hop) -> deliveries, a bounded
 * number at a time; results -> the queue. It knows neither routes nor transports: main hands it both as functions.
 * In memory there is a bounded number of recipients; the rest waits in the database.
 */
#ifndef MTA_QUEUE_SCHEDULER_H
#define MTA_QUEUE_SCHEDULER_H

#include "core/base/status.h"
#include "core/queue/backoff.h"
#include "core/queue/queue.h"

struct scheduler;

/* The limits of one transport (Postfix's <transport>_destination_... parameters). */
struct scheduler_limits {
    uint32_t recipient_limit; /* recipients in one delivery; 1: the recipient is part of the destination; 0: no limit */
    uint32_t concurrency_limit; /* deliveries at once to one destination; 0: no limit */
    uint32_t initial_concurrency;
    uint32_t process_limit; /* deliveries at once through the transport; 0: no limit */
    uint32_t cohort_limit;  /* windows full of failures after which a destination is dead; 0: it never is */
    struct backoff_feedback positive, negative;
    uint64_t rate_delay_ms;           /* between deliveries to one destination, which then go one after the other */
    uint64_t transport_rate_delay_ms; /* between the starts of deliveries through the transport */
};

/* One delivery attempt: one message, one destination, some of its recipients. Handed to `deliver`. */
struct delivery {
    const struct envelope *message; /* without recipients */
    struct envelope_rcpt *rcpts;
    size_t nrcpts;
    const char *transport, *nexthop;
    uint64_t active_us, start_us; /* wall clock: message became active; this attempt began (for delays=a/b/c/d) */
    struct arena arena;           /* lives until delivery_done returns */
    struct queue *queue;          /* to read the content from */
    struct loop *loop;
    void *agent; /* the transport's own */
};

/* What an attempt came to for one recipient. */
struct delivery_result {
    struct status status;  /* OK: delivered. TEMPFAIL: deferred. PERMFAIL: failed for good */
    bool relayed;          /* delivered to somebody who may yet do something else with it, not to a mailbox */
    const char *relay;     /* for the log: "dovecot", "virtual", "none" */
    uint64_t connected_us; /* wall clock: connection set-up over, delivery itself begins; 0: as start */
    unsigned conn_use;     /* for the log: the connection's how manieth message, from 2 on */
    const char *log_name;  /* for the log: syslog_name; NULL: everybody's */
    bool reports_itself;   /* relayed to a system that tells the sender of success if that is wanted */
    /* false: the failure is the destination's (host down, command missing), not this message's; it shrinks its window
     */
    bool destination_ok;
};

/* Where a recipient goes. */
struct scheduler_route {
    const char *transport, *nexthop;
    const char *sender; /* the envelope's sender for this recipient; NULL: as it is */
};

/* Set by main. Everything is called from the loop. */
struct scheduler_hooks {
    void *ctx;
    /* Where does a sender's mail for the recipient go? Result of OP_OK: struct scheduler_route (borrowed); else defer.
     */
    void (*route)(void *ctx, struct op_scope *, const char *sender, const struct envelope_rcpt *, op_done_fn *done,
                  void *owner);
    /* Limits of a transport by name; false: there is none of this name (defer: "mail transport unavailable"). */
    bool (*limits)(void *ctx, const char *transport, struct scheduler_limits *);
    /*
     * Starts an attempt, which ends with delivery_rcpt for each recipient and then delivery_done; neither is called
     * inside this call.
     */
    void (*deliver)(void *ctx, struct delivery *);
    /* Something is to be reported of recipients of the message: queue that, then scheduler_report_done(qid). */
    void (*report)(void *ctx, uint64_t qid);
    /*
     * One recipient's attempt has ended: writes the "to=<...>, relay=..., status=..." line. A recipient that could not
     * be attempted (no route, destination suspended) comes with a delivery whose transport is "error", as Postfix
     * has it.
     */
    void (*log_result)(void *ctx, const struct delivery *, const struct envelope_rcpt *,
                       const struct delivery_result *);
};

struct scheduler_config {
    uint64_t queue_run_delay_ms, minimal_backoff_ms, maximal_backoff_ms;
    uint64_t maximal_queue_lifetime_ms, bounce_queue_lifetime_ms;
    uint64_t delay_warning_ms;    /* a recipient deferred when its message is older is reported, once; 0: never */
    uint32_t active_limit;        /* recipients in memory (qmgr_message_active_limit) */
    const char *syslog_name;      /* may be NULL; copied */
    const char *defer_transports; /* those whose mail waits; may be NULL; copied */
};

/* Owns neither loop nor queue; the queue's two hooks are its own until scheduler_free. */
struct scheduler *scheduler_new(struct loop *, struct queue *, const struct scheduler_config *,
                                const struct scheduler_hooks *);
/* Other times and bounds from now on; what has its time already keeps it. */
void scheduler_reload(struct scheduler *, const struct scheduler_config *);
/* Hears of fresh messages by queue_on_commit and loads due ones; begins at once. */
void scheduler_start(struct scheduler *);
/*
 * Starts no more deliveries and reports; calls drained(arg) from the loop, once, when those running have ended and
 * their results are recorded.
 */
void scheduler_drain(struct scheduler *, void (*drained)(void *arg), void *arg);
/* Everything not drained is dropped (it stays in the queue). Deliveries still running may end later, without effect. */
void scheduler_free(struct scheduler **);

/* What is in memory at the moment. */
struct scheduler_counts {
    size_t messages, rcpts, deliveries;
};
struct scheduler_counts scheduler_count(const struct scheduler *);

/* For the transport: the result for one recipient of the delivery (index), once each. */
void delivery_rcpt(struct delivery *, size_t index, const struct delivery_result *);
/* Is more of this destination's mail under way or waiting, so that a connection to it is worth keeping? */
bool delivery_has_company(const struct delivery *);
/*
 * It looks for a connection (true), or has one. While that takes long, as it does where nobody answers, the delivery
 * does not count for the transport's process limit, so that dead destinations do not use it up.
 */
void delivery_connecting(struct delivery *, bool connecting);
/* All recipients have their result: ends the attempt; the delivery is gone when this returns. */
void delivery_done(struct delivery *);
/* For the report hook: the report was queued (or could not be: it is tried again later). */
void scheduler_report_done(struct scheduler *, uint64_t qid, bool ok);

#endif
