/*
 * The event loop: run, stop, deferred tasks, signals, the clock. One loop, one thread; only core/loop includes uv.h.
 */
#ifndef MTA_LOOP_LOOP_H
#define MTA_LOOP_LOOP_H

#include "core/base/list.h"

#include <stdint.h>

struct loop;

struct loop *loop_new(void);
/* Runs until loop_stop and until nothing is alive any more (streams, timers, ops, workers all closed by their owners).
 */
void loop_run(struct loop *);
/* One turn: waits for the next event if nothing is ready, and works on it. */
void loop_turn(struct loop *);
/* Makes loop_run return at the end of this turn whatever is still alive. */
void loop_stop(struct loop *);
/* Releases. Closes what is left first; callbacks of what is left are not called. */
void loop_free(struct loop **);

/* Milliseconds of the monotonic clock as of this turn of the loop: for time-outs. */
uint64_t loop_now_ms(const struct loop *);
/* Microseconds since 1970 of the wall clock: for stamps in the queue, headers and logs, never for time-outs. */
uint64_t clock_wall_us(void);

/*
 * A deferred task, embedded in its owner and zero-initialised. It runs once, first in first out, from the loop and
 * never inside loop_defer. Deferring a task that is already waiting does nothing.
 */
struct loop_task {
    struct list link;
    void (*fn)(void *arg);
    void *arg;
};
void loop_defer(struct loop *, struct loop_task *, void (*fn)(void *arg), void *arg);
/* Takes a waiting task back; fine when it is not waiting. */
void loop_defer_cancel(struct loop_task *);
/* Frees p with mem_free once the current callbacks have returned: the second phase of every close. */
void loop_free_later(struct loop *, void *p);

/* Calls fn at the end of each turn, before the loop may sleep. One; NULL takes it back. */
void loop_before_poll(struct loop *, void (*fn)(void));

/* Calls fn from the loop whenever the signal arrives; does not keep loop_run alive. */
void loop_on_signal(struct loop *, int signum, void (*fn)(void *arg, int signum), void *arg);

#endif
