/*
 * Reports about recipients that failed for good (RFC 3464): the scheduler's report hook. The report goes from the null
 * sender to the message's sender, through the queue like any mail; its commit and the removal of the failed recipients
 * are one transaction, so that no failure is reported twice or never.
 */
#ifndef MTA_DELIVERY_BOUNCE_H
#define MTA_DELIVERY_BOUNCE_H

#include "core/conf/conf.h"
#include "core/queue/queue.h"
#include "lookup/rules.h"

struct bounce;

/*
 * done(arg, qid, ok) answers each bounce_report, from the loop: scheduler_report_done. Holds a reference to `conf`;
 * `rules` must live as long as it is in use here.
 */
struct bounce *bounce_new(struct loop *, struct queue *, struct rules *, const struct conf *,
                          void (*done)(void *arg, uint64_t qid, bool ok), void *arg);
/* Other rules and configuration from now on. Reports under way may end as not ok when the old rules are freed. */
void bounce_reload(struct bounce *, struct rules *, const struct conf *);
/* Reports under way are dropped, without `done`; those being committed are committed. */
void bounce_free(struct bounce **);

/*
 * Queues the report that is due about the message, if any is (none for the null sender's mail, nor for recipients with
 * NOTIFY=NEVER or without NOTIFY=FAILURE), and removes the failed recipients.
 */
void bounce_report(struct bounce *, uint64_t qid);

#endif
