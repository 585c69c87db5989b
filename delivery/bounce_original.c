/*
 * Copying an original into its report: see bounce_original.h. Called by bounce.c; owns the part of the header section
 * that is not settled yet; waits on the queue's reader and, when it is behind, on its writer.
 */
#include "delivery/bounce_original.h"

#define WRITE_AHEAD (256u << 10) /* bytes that may wait for the queue's writer */

static void write_bytes(struct bounce_original *o, struct slice bytes)
{
    if (bytes.n == 0)
        return;
    queue_write(o->how.to, bytes);
    o->in_line = bytes.p[bytes.n - 1] != '\n';
    o->written += bytes.n;
}

/* Writes what is header for sure; false when that becomes too much to be returned. */
static bool write_settled(struct bounce_original *o)
{
    size_t settled = (size_t)(o->scan.settled - o->written);

    if (o->scan.settled > o->how.limit || buf_len(&o->part) > o->how.limit)
        return false;
    if (settled > 0) {
        write_bytes(o, slice_head(buf_slice(&o->part), settled));
        buf_consume(&o->part, settled);
    }
    return true;
}

/* Copies the header section, which ends between two headers when it is too large. True at its end. */
static bool take_headers(struct bounce_original *o, struct slice bytes, bool last)
{
    while (bytes.n > 0 && !o->scan.ended) {
        size_t nl = slice_find(bytes, '\n');
        struct slice line = slice_head(bytes, nl == SLICE_NOT_FOUND ? nl : nl + 1);

        buf_add_slice(&o->part, line);
        header_scan_feed(&o->scan, line);
        if (!write_settled(o))
            return true;
        bytes = slice_from(bytes, line.n);
    }
    if (last) {
        header_scan_finish(&o->scan);
        write_settled(o);
    }
    return o->scan.ended;
}

static void read_more(void *arg)
{
    struct bounce_original *o = arg;

    content_next(&o->content);
}

static void end(struct bounce_original *o)
{
    if (o->in_line)
        queue_write(o->how.to, SLICE_LIT("\n"));
    o->how.done(o->how.owner, NULL);
}

static void on_piece(void *owner, struct slice bytes, bool last)
{
    struct bounce_original *o = owner;
    bool over = last;

    if (o->how.headers_only)
        over = take_headers(o, bytes, last) || last;
    else
        write_bytes(o, bytes);
    if (over)
        end(o);
    else if (queue_write_pending(o->how.to) > WRITE_AHEAD)
        queue_write_wait(o->how.to, WRITE_AHEAD, read_more, o);
    else
        read_more(o);
}

static void on_failure(void *owner, const struct status *why)
{
    struct bounce_original *o = owner;

    o->how.done(o->how.owner, why);
}

void bounce_original_copy(struct bounce_original *o, const struct bounce_original_how *how, struct op_scope *scope)
{
    static const struct content_events events = {on_piece, on_failure};

    *o = (struct bounce_original){.how = *how};
    content_init(&o->content, how->queue, how->qid, scope, &events, o);
    content_next(&o->content);
}

void bounce_original_clear(struct bounce_original *o)
{
    buf_release(&o->part);
}
