/* A connection to a Dovecot auth service is made, and the service has said what it is. */
#ifndef MTA_AUTH_DOVECOT_GREET_H
#define MTA_AUTH_DOVECOT_GREET_H

#include "core/loop/dial.h"
#include "proto/auth/auth_int.h"
#include "proto/grammar/dovecot_wire.h"

#define DOVECOT_MECHANISMS_MAX 32

/* What the service says of itself. */
struct dovecot_hello {
    struct auth_mechanism mechanisms[DOVECOT_MECHANISMS_MAX];
    size_t nmechanisms;
    unsigned minor; /* of the protocol's version */
    char spid[24];  /* its process; another one after a restart */
};

/* `why` NULL: it is there; else why not, a text that stays. Called once, never inside dovecot_greet_start. */
typedef void dovecot_greet_fn(void *arg, const char *why);

/* Embed it; zero-initialised is at rest. */
struct dovecot_greet {
    struct loop *loop;
    struct op_scope scope; /* dialing */
    struct stream *stream;
    struct timer timer;
    struct dovecot_hello hello;
    bool active, version;
    struct buf words;
    dovecot_greet_fn *done;
    void *arg;
};

/* Connects and greets, within 10 s each. What `to` points to lives until it is done or stopped. */
void dovecot_greet_start(struct dovecot_greet *, struct loop *, const struct dial_target *to, dovecot_greet_fn *done,
                         void *arg);
/* In `done`, when the service is there: the connection is the caller's. One that is not taken is closed by the stop. */
struct stream *dovecot_greet_take(struct dovecot_greet *);
/* Back to rest; no callback follows. Idempotent. */
void dovecot_greet_stop(struct dovecot_greet *);

#endif
