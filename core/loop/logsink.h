/*
 * Where log lines go: standard output, a file, or syslog; written by a thread of its own, so that a slow disk or a
 * full pipe does not stop the loop. At most a few MiB wait; beyond that lines are dropped and the number is logged.
 */
#ifndef MTA_LOOP_LOGSINK_H
#define MTA_LOOP_LOGSINK_H

#include "core/base/log.h"
#include "core/loop/loop.h"

/*
 * Starts the thread and returns the sink for log_setup. `path`: NULL or "/dev/stdout" for standard output, "syslog",
 * or a file, which is opened for appending (opened anew by logsink_reopen). `facility` is syslog's, such as LOG_MAIL of
 * syslog(3). On failure NULL, and why in err.
 */
log_sink_fn *logsink_start(const char *path, int facility, char *err, size_t err_size);
/*
 * From now on lines that this thread, the loop's, logs wake the writing thread only at the end of the loop's turn, when
 * what a client waits for is on its way. NULL takes it back: before the loop is freed.
 */
void logsink_attach(struct loop *);
/* Opens the file again: after logrotate. */
void logsink_reopen(void);
/* Writes what waits, ends the thread. Lines logged afterwards go to standard error. */
void logsink_stop(void);

#endif
