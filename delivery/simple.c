/*
 * The transports that do nothing but say so: discard, error, retry, and what stands for a transport that is not there
 * or not supported yet. Called through transport.c; they end an attempt in the loop's next turn.
 *
 * The next hop of the first three is a text, perhaps with an enhanced status code before it ("5.1.1 User unknown").
 */
#include "delivery/transport_int.h"

static void end_with(struct transport *t, struct delivery *d, struct outcome o)
{
    struct transport_job *job = transport_job_new(t, d, sizeof *job, NULL);

    transport_job_end_later(job, &o);
}

static void discard(struct transport *t, struct delivery *d)
{
    end_with(t, d, outcome_said(OUTCOME_KIND_DISCARD, d->nexthop));
}

static void error(struct transport *t, struct delivery *d)
{
    end_with(t, d, outcome_said(OUTCOME_KIND_ERROR, d->nexthop));
}

static void retry(struct transport *t, struct delivery *d)
{
    end_with(t, d, outcome_said(OUTCOME_KIND_RETRY, d->nexthop));
}

static void missing(struct transport *t, struct delivery *d)
{
    end_with(t, d, outcome_missing());
}

const struct transport_agent transport_discard = {.name = "discard", .deliver = discard};
const struct transport_agent transport_error = {.name = "error", .deliver = error};
const struct transport_agent transport_retry = {.name = "error", .deliver = retry};
const struct transport_agent transport_missing = {.name = "error", .deliver = missing};
