/*
 * The transports of the configuration: the scheduler's hooks limits, deliver and log_result. A name is looked up for
 * each attempt, so a new configuration reaches mail that is queued already; attempts that run keep what they began
 * with.
 */
#ifndef MTA_DELIVERY_TRANSPORT_H
#define MTA_DELIVERY_TRANSPORT_H

#include "core/conf/conf.h"
#include "core/queue/scheduler.h"
#include "lookup/dns.h"
#include "lookup/rules.h"
#include "lookup/table.h"

struct transports;

/*
 * Takes the configuration and its rules into use (references are held; without rules nothing may be delivered).
 * Complaints go to `err`, a line each, "FILE:LINE: text" or "PARAMETER: text"; NULL when there is one. `tables` and
 * `dns` must live longer.
 */
struct transports *transports_new(struct loop *, struct tables *, struct dns *, const struct conf *, struct rules *,
                                  struct buf *err);
/* Another configuration, for attempts from now on. False, with complaints in `err`: the old one stays in force. */
bool transports_reload(struct transports *, const struct conf *, struct rules *, struct buf *err);
/*
 * After scheduler_free. Attempts that still run are cut off (commands are killed, half-written files removed), and
 * their recipients stay queued.
 */
void transports_free(struct transports **);

/* The limits of a transport; false: there is none of this name. */
bool transports_limits(const struct transports *, const char *name, struct scheduler_limits *);
/* Starts an attempt; see the scheduler's deliver hook. */
void transports_deliver(struct transports *, struct delivery *);
/*
 * For `mta explain`: appends what an attempt with the envelope's recipients would run, as one line of text; nothing
 * when there is nothing to run.
 */
void transports_describe(const struct transports *, const char *name, const struct envelope *, const char *nexthop,
                         struct buf *out);
/* Writes the log line of one recipient's result. */
void transports_log(const struct transports *, const struct delivery *, const struct envelope_rcpt *,
                    const struct delivery_result *);

#endif
