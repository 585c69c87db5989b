/*
 * The SMTP server: RFC 5321 with PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), ENHANCEDSTATUSCODES (2034), DSN
 * (3461), SMTPUTF8 (6531), CHUNKING (3030), STARTTLS (3207). One `struct smtpd` for the process; one service for each
 * [listener] of a configuration; a session for each client.
 */
#ifndef MTA_SMTPD_SMTPD_H
#define MTA_SMTPD_SMTPD_H

#include "core/conf/conf.h"
#include "core/loop/stream.h"
#include "core/queue/queue.h"
#include "lookup/dns.h"
#include "lookup/rules.h"
#include "proto/auth/auth_guard.h"

struct smtpd;
struct smtpd_service;

/* The loop and the queue are borrowed and must live as long. Without a queue (NULL) there are only probes. */
struct smtpd *smtpd_new(struct loop *, struct queue *);
/* Where the host names of clients are looked up; borrowed until smtpd_free. Without it they have none. */
void smtpd_use_dns(struct smtpd *, struct dns *);
/* Who counts failed authentications of all services; borrowed, must live as long. Without one nothing is counted. */
void smtpd_set_auth_guard(struct smtpd *, struct auth_guard *);
/* Open sessions of the listener of this name, whatever configuration they began with. */
struct smtpd_sessions {
    size_t open, tls, authenticated;
};
struct smtpd_sessions smtpd_count(const struct smtpd *, const char *listener);
/*
 * No new sessions; each gets 421 at once, or when what it waits for (a commit, say) is done. Then drained(arg) is
 * called from the loop. Sessions still there after grace_ms are closed.
 */
void smtpd_drain(struct smtpd *, uint64_t grace_ms, void (*drained)(void *arg), void *arg);
/* Closes what is left. */
void smtpd_free(struct smtpd **);

/*
 * Compiles what the listener's parameters say (restriction lists, networks) into a service with one reference. It holds
 * references to conf and rules; the tables must live as long. NULL when something is wrong; all complaints go to `err`,
 * one a line.
 */
struct smtpd_service *smtpd_service_new(struct smtpd *, struct tables *, struct rules *, const struct conf_listener *,
                                        struct buf *err);
struct smtpd_service *smtpd_service_ref(struct smtpd_service *);
/* Nulls the pointer; NULL in it is fine. Each session holds a reference to the service it began with. */
void smtpd_service_unref(struct smtpd_service **);
/*
 * A session that shows what a client would be told, for `mta explain` and --check-config: it takes commands up to RCPT
 * like any other, but neither logs nor counts, and says what each restriction came to. Must live until `ended`.
 */
struct smtpd_probe {
    const char *client_name, *client_addr; /* "unknown", "192.0.2.1" */
    struct table_trace *trace;             /* of its look-ups; may be NULL */
    /* "smtpd_relay_restrictions", "permit_mynetworks", "permit" (or "reject", "defer", "-") */
    void (*verdict)(void *arg, const char *list, const char *restriction, const char *verdict);
    void (*ended)(void *arg); /* the session is gone */
    void *arg;
};
/* Takes the stream, whose other end is the client. */
void smtpd_probe(struct smtpd_service *, struct stream *, const struct smtpd_probe *);

/* For listener_open: takes the connection. `service` is a struct smtpd_service. */
void smtpd_accept(void *service, struct stream *);

#endif
