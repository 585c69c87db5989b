/*
 * Embedded timers on the loop's one clock. Start and stop are synchronous and idempotent: after timer_stop returns the
 * callback does not run. Zero-initialised is a stopped timer.
 */
#ifndef MTA_LOOP_TIMER_H
#define MTA_LOOP_TIMER_H

#include "core/loop/loop.h"

struct timer {
    struct loop *loop; /* NULL: stopped */
    uint64_t due_ms;   /* when it is to fire */
    uint64_t heap_ms;  /* its place in the heap; <= due_ms, put right when it comes up */
    size_t heap_at;    /* index in the heap */
    void (*fn)(void *arg);
    void *arg;
};

/* Fires once, delay_ms from now, never inside this call; a running timer is set anew. */
void timer_start(struct loop *, struct timer *, uint64_t delay_ms, void (*fn)(void *arg), void *arg);
void timer_stop(struct timer *);
static inline bool timer_active(const struct timer *t)
{
    return t->loop != NULL;
}

#endif
