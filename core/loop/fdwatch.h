/* Readiness of a descriptor that a library owns (libmariadb, c-ares). Zero-initialised is stopped. */
#ifndef MTA_LOOP_FDWATCH_H
#define MTA_LOOP_FDWATCH_H

#include "core/loop/loop.h"

enum fdwatch_events {
    FDWATCH_READ = 1,
    FDWATCH_WRITE = 2,
    FDWATCH_PRIO = 4,
};

struct fdwatch {
    struct fdwatch_handle *handle;
    void (*fn)(void *arg, int events);
    void *arg;
};

/*
 * Calls fn(arg, events) from the loop whenever the descriptor is ready, until stopped; starting again changes the
 * events. An error or hang-up is told as all the events asked for. False when the descriptor cannot be watched.
 */
bool fdwatch_start(struct loop *, struct fdwatch *, int fd, int events, void (*fn)(void *arg, int events), void *arg);
/* Before the library closes the descriptor. Idempotent; no callback afterwards. */
void fdwatch_stop(struct fdwatch *);

#endif
