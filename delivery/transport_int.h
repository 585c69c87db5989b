/*
 * What the delivery agents (pipe.c, maildir.c, simple.c) share with transport.c: a configured transport, and the job
 * that one attempt is. Private to delivery/.
 */
#ifndef MTA_DELIVERY_TRANSPORT_INT_H
#define MTA_DELIVERY_TRANSPORT_INT_H

#include "core/loop/op.h"
#include "delivery/outcome.h"
#include "delivery/transport.h"

struct transport;

/* A kind of transport. */
struct transport_agent {
    const char *name; /* in the log */
    bool relays;      /* the log's relay= is the transport, not "none" */
    bool hands_over;  /* what it delivers to may do something else with it than keep it, unless flag X says otherwise */
    /*
     * Checks and prepares; complaints go to `err` by transport_complain, and then the answer does not matter. What it
     * answers becomes transport->own. NULL: nothing to prepare.
     */
    void *(*open)(struct transport *, struct buf *err);
    /* Releases what `open` made outside the arena; NULL: nothing. */
    void (*close)(struct transport *);
    /* Starts an attempt: transport_job_new, and sooner or later transport_job_end. */
    void (*deliver)(struct transport *, struct delivery *);
    /* See transports_describe; NULL: nothing. */
    void (*describe)(const struct transport *, const struct envelope *, const char *nexthop, struct buf *out);
};

extern const struct transport_agent transport_pipe;                 /* pipe.c */
extern const struct transport_agent transport_maildir;              /* maildir.c */
extern const struct transport_agent transport_smtp, transport_lmtp; /* smtpc.c */
extern const struct transport_agent transport_discard, transport_error, transport_retry,
    transport_missing; /* simple.c */

struct transport {
    const struct transport_agent *agent;
    const struct conf_transport *conf; /* NULL: `missing` */
    struct transport_set *set;
    struct tables *tables;
    struct dns *dns;
    struct conn_cache *conns; /* all transports' idle connections */
    struct loop *loop;
    struct backoff_feedback positive, negative; /* destination_concurrency_*_feedback */
    void *own;
};

/* All transports of one configuration; counted by the jobs that began with it. */
struct transport_set {
    struct transports *all;
    const struct conf *conf;
    struct rules *rules; /* a reference */
    struct arena arena;
    struct transport *transports; /* as in conf */
    struct transport missing;     /* stands for one that there is no more */
    size_t users;
};

/* Is it of the configuration in force? */
bool transport_current(const struct transport *);
/* Adds "FILE:LINE: transport NAME: what". */
void transport_complain(const struct transport *, struct buf *err, const char *what);

/* One attempt: first member of each agent's own job, in the delivery's arena. */
struct transport_job {
    struct list link;
    struct transport *transport;
    struct delivery *delivery;
    struct op_scope scope;
    bool *told; /* whose result was given */
    /* Of an agent that connects to somewhere, for results from now on; zero at first. */
    struct {
        const char *relay, *log_name;
        uint64_t connected_us;
        unsigned conn_use;
        bool relayed, reports_itself;
    } link_to;
    /* Releases what the job holds outside the arena; the scope is closed already. NULL: nothing. */
    void (*stop)(struct transport_job *);
    struct loop_task end_task;
    struct outcome ending; /* of transport_job_end_later */
};

/* A zeroed job of `size` bytes, begun. */
void *transport_job_new(struct transport *, struct delivery *, size_t size, void (*stop)(struct transport_job *));
/* The result for one recipient. */
void transport_job_result(struct transport_job *, size_t index, const struct outcome *);
/* Stops the job; recipients without a result get `rest` (NULL when there are none). The job is gone. */
void transport_job_end(struct transport_job *, const struct outcome *rest);
/* The same from the loop: for `deliver`, which must not end an attempt itself. Nothing else may be under way. */
void transport_job_end_later(struct transport_job *, const struct outcome *rest);
/* A warning about surroundings, with the queue id, under the agent's name. */
void transport_job_warn(const struct transport_job *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
