/*
 * What the files of the scheduler share. scheduler.c: what is in memory and when more is loaded. scheduler_active.c:
 * one message on its way from routing to its last result. scheduler_dest.c: transports, destinations, attempts.
 * scheduler_crowd.c: no domain takes all of the memory.
 */
#ifndef MTA_QUEUE_SCHEDULER_INT_H
#define MTA_QUEUE_SCHEDULER_INT_H

#include "core/base/map.h"
#include "core/queue/backoff.h"
#include "core/queue/scheduler.h"

struct transport;
struct dest;

struct scheduler {
    struct loop *loop;
    struct queue *queue;
    struct scheduler_config config;
    char *syslog_name, *defer_transports;
    struct scheduler_hooks hooks;
    struct op_scope scope; /* of loads */
    struct map messages;   /* by qid: struct active */
    size_t fresh, loaded;  /* recipients in memory, by how they came */
    struct map crowds;     /* by domain: how many of them (scheduler_crowd.c) */
    uint64_t due_from_us;  /* what is due before has been looked at: it is in memory, or of domains that are crowded */
    bool started;

    /* loading */
    bool loading;
    size_t load_room;    /* kept free for what it brings */
    bool wanted;         /* a load is due as soon as there is room */
    bool backlog;        /* recipients that are due wait in the database */
    bool reports_wanted; /* the next load looks for messages whose report is due, too */
    struct timer due;    /* the next recipient */
    struct timer run;    /* queue_run_delay */
    struct map since;    /* fresh messages taken since the load began, by qid: its snapshot may show them otherwise */

    /* deliveries */
    struct list transports;
    struct list attempts;
    struct loop_task dispatch;

    /* results and reports */
    size_t unrecorded; /* results told and not in the database yet */
    size_t reporting;
    struct list stuck; /* messages whose results the database did not take */
    struct timer retry;
    uint64_t retry_ms; /* after the database failed */

    struct backoff_clock clock;

    /* shutdown */
    bool draining;
    void (*drained)(void *arg);
    void *drained_arg;
    struct loop_task drained_task;
};

/* A recipient in memory. */
struct active_rcpt {
    struct active *message;
    const struct envelope_rcpt *rcpt;
    struct dest *dest;        /* from its route until its result */
    const char *sender;       /* of the route; NULL: the message's */
    struct active_rcpt *next; /* in an entry */
};

/* Some recipients of one message, waiting for one destination. */
struct entry {
    struct list link; /* dest.waiting */
    struct active *message;
    const char *sender; /* of all of them; NULL: the message's */
    struct active_rcpt *first, **end;
};

/* A message in memory. */
struct active {
    struct scheduler *scheduler; /* NULL: it is gone, only running attempts keep the message */
    uint64_t qid;
    struct arena arena;
    struct op_scope scope;
    struct envelope *envelope; /* NULL: here only for its report */
    struct envelope bare;      /* the envelope without recipients, for deliveries */
    struct active_rcpt *rcpts;
    size_t nrcpts;
    bool fresh;
    uint64_t active_us;
    size_t asked, routed;         /* recipients whose route was asked for; was answered */
    size_t running;               /* attempts */
    struct queue_result *results; /* not in the database yet; the first `recording` are on their way there */
    size_t nresults, recording, recorded;
    struct loop_task flush;
    struct list stuck;
    uint64_t next_us; /* when those are due again that were deferred last; 0: none was */
    bool report;      /* one is due */
    bool deferred;    /* why it is still queued */
    bool expired;     /* said so already */
    bool reporting;
    bool removed; /* it has left the database */
};

/* scheduler.c */
struct active *scheduler_find(struct scheduler *, uint64_t qid);
/* Loads more when that is due and there is room. */
void scheduler_feed(struct scheduler *);
/* A load is due in at most delay_ms. */
void scheduler_wake(struct scheduler *, uint64_t delay_ms);
/* The time, and a look at whether the clock jumped. */
uint64_t scheduler_now_us(struct scheduler *);
/* Calls drained when nothing is left to wait for. */
void scheduler_check_drained(struct scheduler *);

/* scheduler_active.c */
/* Takes a message into memory (envelope borrowed) and begins to route it. */
void active_new(struct scheduler *, const struct envelope *, bool fresh);
/* A message of which nothing is known but that its report is due. */
void active_report_only(struct scheduler *, uint64_t qid);
/* The scheduler goes: drops the message, or leaves it to its running attempts. */
void active_drop(struct active *);
/* An attempt with recipients of the message has ended. */
void active_attempt_done(struct active *);
/* The result for one recipient; `delivery` is what it is logged with. */
void active_result(struct active_rcpt *, const struct delivery *, const struct delivery_result *);
/* A recipient that cannot be attempted now. */
void active_defer(struct active_rcpt *, const struct status *);
/* Tries once more to record the results of every message that is stuck. */
void active_unstick(struct scheduler *);

/* scheduler_dest.c */
/* The destination of a route, referred to by `rcpt` until dest_unref; NULL: there is no such transport. */
struct dest *dest_ref(struct scheduler *, const struct scheduler_route *, const struct active_rcpt *);
void dest_unref(struct dest *);
/* Queues the recipients of a routed message that have a destination. */
void dest_assign(struct active *);
/* Attempts that run. */
size_t dest_attempts(const struct scheduler *);
/* All attempts become orphans; transports and destinations are released. */
void dest_drop_all(struct scheduler *);

/* Is there no attempt that has more than looked for a connection, and so may have delivered something? */
bool attempts_may_be_cut_off(const struct scheduler *);

/* ---- scheduler_crowd.c ---- */

#define CROWDS_MOST 4 /* domains that can have their share of memory at a time */

/* A recipient is in memory, or no more. */
void crowd_enter(struct scheduler *, const char *address);
void crowd_leave(struct scheduler *, const char *address);
/* Is it for a domain that has its share? Then it stays in the database until there is room for that domain. */
bool crowd_turns_away(struct scheduler *, const struct envelope *);
/* The domains that have their share, in lower case. */
size_t crowd_list(struct scheduler *, struct arena *, const char *const **domains);
void crowd_clear(struct scheduler *);

#endif
