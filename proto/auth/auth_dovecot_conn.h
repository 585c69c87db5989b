/* The connection to a Dovecot auth service: one for each socket, however many listeners and authentications use it. */
#ifndef MTA_AUTH_DOVECOT_CONN_H
#define MTA_AUTH_DOVECOT_CONN_H

#include "core/loop/dial.h"
#include "proto/auth/auth_int.h"
#include "proto/grammar/dovecot_wire.h"

struct dovecot_conn;

/*
 * The connection to `to`, new or one that is there already, counted; `path` is what the log calls it. It is opened at
 * once, opened again whenever it is lost, and closed with the last reference. One that is away is said once in the log,
 * and once that it is back.
 */
struct dovecot_conn *dovecot_conn_get(struct loop *, const char *path, const struct dial_target *to);
struct dovecot_conn *dovecot_conn_ref(struct dovecot_conn *);
/* Nulls the pointer. */
void dovecot_conn_unref(struct dovecot_conn **);
/*
 * What the service offers; 0 while it is away. Asking has it tried again, at most once a second. Valid until the next
 * turn of the loop.
 */
size_t dovecot_conn_mechanisms(struct dovecot_conn *, const struct auth_mechanism **);

/*
 * One authentication, embedded in its owner, who sets the first three members; zero-initialised otherwise. At most one
 * question at a time, which `on_answer` answers once, perhaps at once: with an OK, FAIL or CONT line that is valid for
 * the call; or with NULL and why there is no answer. It is over after all but CONT.
 */
struct dovecot_request {
    struct dovecot_conn *conn; /* a reference of the owner's */
    struct dovecot_auth auth;  /* what it points to lives until dovecot_conn_end */
    void (*on_answer)(struct dovecot_request *, const struct dovecot_line *, const char *why);
    /* the connection's */
    struct list link;     /* waiting or sent */
    uint32_t id;          /* 0: Dovecot does not know of it */
    bool sent;            /* and not answered */
    bool challenged;      /* there was a CONT: what came before cannot be repeated */
    bool repeated;        /* sent a second time, after a connection was lost */
    const char *response; /* the answer to a CONT; lives as `auth` */
    struct timer timer;
};

/* Nothing waits longer for an answer. Dovecot itself delays those to clients that guess, by up to 17 s. */
#define DOVECOT_ANSWER_MS 30000

void dovecot_conn_begin(struct dovecot_request *);
void dovecot_conn_respond(struct dovecot_request *, const char *response);
/* No answer comes any more; Dovecot is told when it works on it. To be called also after the last answer. */
void dovecot_conn_end(struct dovecot_request *);

#endif
