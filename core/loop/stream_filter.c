/*
 * The filter of a stream, see stream_filter.h: moves bytes between the raw buffers here and the stream's own, which
 * stay plain text. Called by stream.c; owns the raw buffers, each at most STREAM_FILTER_RAW_MAX and a record long.
 */
#include "core/base/alloc.h"
#include "core/loop/stream_int.h"

static void swap_side(struct stream *s)
{
    struct stream_layer *l = s->layer;
    const struct stream_events *events = s->events;
    void *arg = s->arg;
    size_t input_max = s->in.max;
    bool paused = s->paused;

    s->events = l->owner_events;
    s->arg = l->owner_arg;
    s->in.max = l->owner_input_max;
    s->paused = l->owner_paused;
    l->owner_events = events;
    l->owner_arg = arg;
    l->owner_input_max = input_max;
    l->owner_paused = paused;
}

/* The connection ended before the hold began: the filter would wait in vain. */
static void tell_end(void *arg)
{
    struct stream *s = arg;

    if (s->events != NULL)
        s->events->on_end(s->arg, s->failed ? "connection failed" : NULL);
}

void stream_filter_attach(struct stream *s, const struct stream_filter *filter, void *filter_arg,
                          const struct stream_events *events, size_t input_max)
{
    struct stream_layer *l = NEW(struct stream_layer);

    OBJ_CHECK(s, STREAM_MAGIC);
    MTA_ASSERT(s->layer == NULL && input_max <= STREAM_FILTER_RAW_MAX);
    l->filter = filter;
    l->filter_arg = filter_arg;
    l->owner_events = events;
    l->owner_arg = filter_arg;
    l->owner_input_max = input_max;
    l->holding = true;
    s->layer = l;
    swap_side(s);
    stream_read_or_not(s);
    if (s->ended)
        loop_defer(s->loop, &l->pump, tell_end, s);
}

bool stream_filter_wants(const struct stream *s)
{
    const struct stream_layer *l = s->layer;

    return !l->starting && !l->more && !l->eof && buf_room(&s->in) > 0 && buf_room(&l->raw_in) > 0;
}

/* The owner may close, finish or pause the stream in each of its callbacks. */
static bool owner_listens(const struct stream *s)
{
    return !s->closing && !s->finishing && !s->ended && !s->paused && s->events != NULL;
}

static void pump(void *arg)
{
    struct stream *s = arg;
    struct stream_layer *l = s->layer;
    size_t had = buf_len(&s->in);
    enum stream_filter_state state;
    const char *error = NULL, *late = l->late;

    l->starting = false;
    l->late = NULL;
    if (late != NULL && s->events != NULL)
        stream_end(s, late);
    if (!owner_listens(s)) {
        l->more = true;
        return;
    }
    state = l->filter->decode(l->filter_arg, &l->raw_in, l->eof, &s->in, &l->raw_out, &error);
    l->more = state != STREAM_FILTER_MORE;
    if (buf_len(&l->raw_in) == 0)
        buf_release(&l->raw_in);
    if (buf_len(&l->raw_out) > 0)
        stream_flush_later(s);
    stream_read_or_not(s);
    if (buf_len(&s->in) > had)
        s->events->on_data(s->arg);
    if ((state == STREAM_FILTER_END || state == STREAM_FILTER_BROKEN) && owner_listens(s))
        stream_end(s, state == STREAM_FILTER_END ? NULL : error);
}

void stream_filter_start(struct stream *s, struct slice unread)
{
    struct stream_layer *l = s->layer;
    struct buf rest = s->in;

    MTA_ASSERT(l != NULL && l->holding);
    l->holding = false;
    s->in = (struct buf){.max = s->in.max};
    l->raw_in = (struct buf){0};
    buf_add_slice(&l->raw_in, unread);
    buf_add_slice(&l->raw_in, buf_slice(&rest));
    l->raw_in.max = STREAM_FILTER_RAW_MAX;
    buf_release(&rest);
    l->raw_out = s->out;
    s->out = (struct buf){0};
    l->eof = s->ended; /* seen during the hold: the owner hears of it after what is in raw_in */
    s->ended = s->failed;
    swap_side(s);
    l->owner_events = NULL;
    l->starting = true;
    loop_defer(s->loop, &l->pump, pump, s);
    stream_read_or_not(s);
}

void *stream_filter_arg(const struct stream *s, const struct stream_filter *filter)
{
    return stream_filtered(s) && s->layer->filter == filter ? s->layer->filter_arg : NULL;
}

void stream_filter_input(struct stream *s, struct slice raw)
{
    struct stream_layer *l = s->layer;

    if (raw.n == 0)
        l->eof = true;
    else
        MTA_ASSERT(buf_add_slice(&l->raw_in, raw));
    stream_read_or_not(s);
    pump(s);
}

void stream_filter_kick(struct stream *s)
{
    if (s->layer->more && !s->closing && !s->finishing)
        loop_defer(s->loop, &s->layer->pump, pump, s);
}

struct buf *stream_filter_output(struct stream *s)
{
    struct stream_layer *l = s->layer;
    struct slice plain = slice_head(buf_slice(&s->out), STREAM_FILTER_RAW_MAX);

    if (buf_len(&l->raw_out) < STREAM_FILTER_RAW_MAX && plain.n > 0 && !s->failed) {
        l->filter->encode(l->filter_arg, plain, &l->raw_out);
        buf_consume(&s->out, plain.n);
        if (buf_len(&s->out) == 0)
            buf_release(&s->out);
    }
    return &l->raw_out;
}

bool stream_filter_finish(struct stream *s)
{
    struct stream_layer *l = s->layer;

    if (l->finished)
        return false;
    l->finished = true;
    l->filter->finish(l->filter_arg, &l->raw_out);
    return buf_len(&l->raw_out) > 0;
}

bool stream_filter_delays(struct stream *s, const char *error)
{
    if (s->layer == NULL || !s->layer->starting || s->finishing)
        return false;
    s->layer->late = error;
    return true;
}

void stream_filter_closing(struct stream *s)
{
    struct stream_layer *l = s->layer;

    loop_defer_cancel(&l->pump);
    l->filter->closed(l->filter_arg);
}

void stream_filter_free(struct stream *s)
{
    struct stream_layer *l = s->layer;

    buf_release(&l->raw_in);
    buf_release(&l->raw_out);
    mem_free(l);
    s->layer = NULL;
}
