/*
 * Child processes: one command, its standard input fed by us, its output collected up to a bound, its process group
 * killed when its time is up. No shell. Everything in `spawn_opts` is borrowed for the call.
 */
#ifndef MTA_LOOP_SPAWN_H
#define MTA_LOOP_SPAWN_H

#include "core/base/slice.h"
#include "core/loop/loop.h"

#include <sys/types.h>

struct spawn_opts {
    const char *const *argv; /* NULL-terminated; argv[0] is the program, searched in PATH of `env` */
    const char *const *env;  /* NULL-terminated, the whole environment */
    const char *cwd;         /* NULL: "/" */
    bool switch_user;        /* become uid and gid (needs root unless it is what we are) */
    uid_t uid;
    gid_t gid;
    size_t output_max;      /* bytes of standard output and error kept; the rest is read and dropped */
    uint64_t time_limit_ms; /* 0: none. Then the group gets SIGTERM, and SIGKILL a few seconds later */
};

struct spawn_result {
    bool started;      /* false: `error` says why not */
    const char *error; /* e.g. "no such file or directory" */
    int exit_status;   /* when term_signal is 0 */
    int term_signal;
    bool timed_out;
    bool input_refused;  /* the command closed its input before all was written */
    struct slice output; /* borrowed for the call */
};

struct spawn_events {
    /* Room for more input: call spawn_write, or spawn_end_input. First called from the loop after the start. */
    void (*on_writable)(void *arg);
    /* The process is gone. Called once, from the loop, also when it could not be started. Then spawn_free it. */
    void (*on_exit)(void *arg, const struct spawn_result *);
};

struct spawn;

struct spawn *spawn_start(struct loop *, const struct spawn_opts *, const struct spawn_events *, void *arg);
/* Copies the bytes towards the command's input; on_writable comes again when they are with the kernel. */
void spawn_write(struct spawn *, struct slice);
/* No more input: the command sees the end of file. */
void spawn_end_input(struct spawn *);
/* Kills the process group (if it still lives) and lets go; no callback afterwards. Nulls the pointer. */
void spawn_free(struct spawn **);

#endif
