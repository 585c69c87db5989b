/*
 * The log line of each recipient: see dlog.h. Called through the scheduler's log_result hook (transport.c). The four
 * parts of delays= are: before the queue manager had the message, in the queue manager, connection set-up, delivery.
 */
#include "delivery/dlog.h"

#include "core/base/addr.h"
#include "core/base/id.h"
#include "core/base/log.h"

#include <inttypes.h>

void dlog_put_delay(struct buf *out, uint64_t us)
{
    /* in hundredths, rounded to what is shown: all of them, tenths, or whole seconds */
    uint64_t step = us < 1000000 ? 1 : us < 10000000 ? 10 : 100;
    uint64_t unit = step * 10000, hundredths = (us + unit / 2) / unit * step;

    buf_printf(out, "%" PRIu64, hundredths / 100);
    if (hundredths % 100 == 0)
        return;
    buf_printf(out, ".%" PRIu64, hundredths / 10 % 10);
    if (hundredths % 10 != 0)
        buf_printf(out, "%" PRIu64, hundredths % 10);
}

/* Clocks jump: a span that would be negative is 0. */
static void put_span(struct buf *out, const char *before, uint64_t from_us, uint64_t to_us)
{
    buf_add_str(out, before);
    dlog_put_delay(out, to_us > from_us ? to_us - from_us : 0);
}

static void put_delays(struct buf *out, const struct delivery *d, const struct delivery_result *r, uint64_t now_us)
{
    uint64_t connected_us = r->connected_us != 0 ? r->connected_us : d->start_us;

    put_span(out, ", delay=", d->message->arrival_us, now_us);
    put_span(out, ", delays=", d->message->arrival_us, d->active_us);
    put_span(out, "/", d->active_us, d->start_us);
    put_span(out, "/", d->start_us, connected_us);
    put_span(out, "/", connected_us, now_us);
}

static void put_address(struct buf *out, const char *before, const char *address)
{
    buf_add_str(out, before);
    addr_quote(out, slice_str(address));
    buf_add_char(out, '>');
}

static const char *word_of(const struct status *s)
{
    return s->cls == STATUS_OK ? "sent" : s->cls == STATUS_TEMPFAIL ? "deferred" : "bounced";
}

void dlog_result(const char *agent, bool show_original, const struct delivery *d, const struct envelope_rcpt *rcpt,
                 const struct delivery_result *r, uint64_t now_us)
{
    char qid[ID_TEXT];
    const struct log_ctx ctx = {.syslog_name = r->log_name, .agent = agent, .qid = id_format(qid, d->message->qid)};
    struct buf line = {0};

    put_address(&line, "to=<", rcpt->addr);
    if (show_original && rcpt->orig != NULL && strcmp(rcpt->orig, rcpt->addr) != 0)
        put_address(&line, ", orig_to=<", rcpt->orig);
    buf_printf(&line, ", relay=%s", r->relay != NULL ? r->relay : "none");
    if (r->conn_use > 1)
        buf_printf(&line, ", conn_use=%u", r->conn_use);
    put_delays(&line, d, r, now_us);
    buf_printf(&line, ", dsn=%s, status=%s (%s)", r->status.dsn, word_of(&r->status), r->status.text);
    log_event(LOG_DELIVERY, &ctx, "%s", buf_cstr(&line));
    buf_release(&line);
}
