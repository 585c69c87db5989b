/*
 * The client's side of a session with the server's own code, over a pair of sockets: a few lines, each said when the
 * reply to the one before has come. For `mta explain` and `mta --check-config --deep`.
 */
#ifndef MTA_PROBE_SESSION_H
#define MTA_PROBE_SESSION_H

#include "core/loop/stream.h"
#include "proto/smtpd/smtpd.h"

/* Embedded in its owner, who fills in the first part and keeps all of it until `ended`. */
struct probe_session {
    const char *client_addr;  /* who connects, a numeric address */
    const char *const *lines; /* without their line ends; QUIT follows by itself */
    size_t nlines;
    struct table_trace *trace; /* of the look-ups; may be NULL */
    /* The first line of the reply to lines[at], or to the connection when `at` is PROBE_GREETING. */
    void (*replied)(void *arg, size_t at, struct slice reply);
    /* As in struct smtpd_probe; may be NULL. */
    void (*verdict)(void *arg, const char *list, const char *restriction, const char *verdict);
    /* The session is over; not all lines need have been said. */
    void (*ended)(void *arg);
    void *arg; /* of all three */

    /* private */
    struct smtpd_probe probe;
    struct stream *client;
    size_t said;
};

#define PROBE_GREETING SIZE_MAX

/* False, and nothing follows, when there are no descriptors left for it. */
bool probe_session_start(struct probe_session *, struct loop *, struct smtpd_service *);

#endif
