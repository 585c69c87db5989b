/*
 * The line that says what one delivery attempt came to for one recipient, in the format that pflogsumm and its like
 * read:
 *   QID: to=<a@b>, orig_to=<c@d>, relay=dovecot, delay=0.12, delays=0.05/0.01/0/0.06, dsn=2.0.0, status=sent (text)
 */
#ifndef MTA_DELIVERY_DLOG_H
#define MTA_DELIVERY_DLOG_H

#include "core/base/buf.h"
#include "core/queue/scheduler.h"

/*
 * Logs the line under the name of `agent` ("pipe", "virtual", "error", "discard"). now_us is the wall clock at the end
 * of the attempt. `show_original`: enable_original_recipient.
 */
void dlog_result(const char *agent, bool show_original, const struct delivery *, const struct envelope_rcpt *,
                 const struct delivery_result *, uint64_t now_us);

/*
 * For tests, and for the like elsewhere: appends a time span as Postfix does, in seconds with two significant digits
 * of which at most two are after the point; "0" below that.
 */
void dlog_put_delay(struct buf *, uint64_t us);

#endif
