/*
 * Delivery reports (RFC 3464): the scheduler's report hook. What failed, is delayed, or was delivered as its sender
 * wanted to know, is told to the sender, and to the postmaster as notify_classes says. A report goes through the queue
 * like any mail; its commit and the change of the recipients it is about are one transaction, so that nothing is
 * reported twice or never.
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
 * Queues the reports that are due about the message, one of each kind, and removes recipients that are done with. No
 * report goes to the null sender or to double_bounce_sender, nor to who did not ask for it (NOTIFY).
 */
void bounce_report(struct bounce *, uint64_t qid);

#endif
