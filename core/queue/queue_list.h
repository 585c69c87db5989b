/*
 * The queue as an administrator wants to see it: `mta queue list` and `mta queue show`. Reads the database with a
 * connection of its own that cannot write, whether a server runs on it or not. Blocking: for tools, not for the server.
 */
#ifndef MTA_QUEUE_QUEUE_LIST_H
#define MTA_QUEUE_QUEUE_LIST_H

#include "core/base/status.h"

#include <stdint.h>
#include <stdio.h>

enum queue_list_form {
    QUEUE_LIST_TEXT, /* as `postqueue -p` prints long queue ids */
    QUEUE_LIST_JSON, /* as `postqueue -j`: one object a line */
};

/*
 * Writes all messages in the order of their arrival. Holds neither all of them in memory nor one snapshot all the time,
 * so that a slow reader does not keep the server's log from being reused: what comes and goes meanwhile may be in the
 * list or not. False, with one line in *why that says what to do, when the queue of that directory cannot be read, is
 * of another version, or `out` cannot be written.
 */
bool queue_list(const char *directory, enum queue_list_form, FILE *out, struct status *why);

/* Writes one message: its entry of the list, an empty line, the content as it is. False as above; no such message too.
 */
bool queue_show(const char *directory, uint64_t qid, FILE *out, struct status *why);

#endif
