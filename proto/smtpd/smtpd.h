/*
 * The SMTP server: RFC 5321 with PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), ENHANCEDSTATUSCODES (2034), DSN
 * (3461), SMTPUTF8 (6531), CHUNKING (3030). One `struct smtpd` for the process; one service for each [listener] of a
 * configuration; a session for each client.
 */
#ifndef MTA_SMTPD_SMTPD_H
#define MTA_SMTPD_SMTPD_H

#include "core/conf/conf.h"
#include "core/loop/stream.h"
#include "core/queue/queue.h"
#include "lookup/rules.h"

struct smtpd;
struct smtpd_service;

/* The loop and the queue are borrowed and must live as long. */
struct smtpd *smtpd_new(struct loop *, struct queue *);
/*
 * No new sessions; each gets 421 at once, or when what it waits for (a commit, say) is done. Then drained(arg) is
 * called from the loop. Sessions still there after grace_ms are closed.
 */
void smtpd_drain(struct smtpd *, uint64_t grace_ms, void (*drained)(void *arg), void *arg);
/* Closes what is left. Services are released before. */
void smtpd_free(struct smtpd **);

/*
 * Compiles what the listener's parameters say (restriction lists, networks). Borrows conf, tables and rules. NULL when
 * something is wrong; all complaints go to `err`, one a line.
 */
struct smtpd_service *smtpd_service_new(struct smtpd *, struct tables *, struct rules *, const struct conf_listener *,
                                        struct buf *err);
/* The sessions of the service must be gone (smtpd_drain). */
void smtpd_service_free(struct smtpd_service **);
/* For listener_open: takes the connection. `service` is a struct smtpd_service. */
void smtpd_accept(void *service, struct stream *);

#endif
