/* What the files of core/loop share about the loop itself; not for others. */
#ifndef MTA_LOOP_INT_H
#define MTA_LOOP_INT_H

#include "core/loop/timer.h"

#include <uv.h>

#define LOOP_READ_MAX 65536

struct loop {
    uv_loop_t uv;
    struct list tasks;    /* loop_task.link */
    uv_idle_t idle;       /* active while tasks wait: keeps the poll from sleeping */
    uv_check_t check;     /* runs tasks right after the poll */
    uv_prepare_t prepare; /* right before it */
    void (*before_poll)(void);
    struct list doomed;  /* memory to free when the callbacks have returned */
    struct list signals; /* struct loop_signal */
    struct list ops;     /* op.in_all */
    size_t nops;
    bool turning;     /* in loop_turn */
    bool closing;     /* loop_free is at work: nothing is started any more */
    uv_timer_t clock; /* the one timer: fires for the earliest of the heap */
    struct timer **heap;
    size_t nheap, heap_cap;
    char read_buf[LOOP_READ_MAX]; /* where every stream reads to */
};

/* The hooks that the timer file gives to loop_new and loop_free. */
void timer_loop_init(struct loop *);
void timer_loop_free(struct loop *);

/*
 * Are more than `keep` descriptors free? `fd` was opened just now: they are given out from the bottom, so its number
 * tells; -1: finds out.
 */
#define LOOP_FDS_FOR_WORK    256u /* what clients leave to deliveries and tables; at most a quarter of all */
#define LOOP_FDS_FOR_CLIENTS 8u   /* what deliveries leave */
bool loop_fds_left(const struct loop *, int fd, unsigned keep);

/* For handles of libuv on the heap whose owner has let go: closes, then frees handle->data if not NULL. */
void loop_close_handle(uv_handle_t *);

#endif
