/* Between auth.c and the back ends: one table of functions each. */
#ifndef MTA_AUTH_INT_H
#define MTA_AUTH_INT_H

#include "proto/auth/auth.h"

/* What a mechanism lets happen: Dovecot's MECH line has these words; auth.c knows them for the others' mechanisms. */
enum auth_property {
    AUTH_PLAINTEXT = 1,
    AUTH_DICTIONARY = 2,
    AUTH_ACTIVE = 4,
    AUTH_ANONYMOUS = 8,
    AUTH_FORWARD_SECRECY = 16,
    AUTH_MUTUAL = 32,
    AUTH_PRIVATE = 64, /* never offered */
};

struct auth_mechanism {
    char name[32]; /* upper case */
    unsigned properties;
};

/*
 * A back end. `open` answers its own object, or NULL with a complaint. `mechanisms` gives what it has right now (0: it
 * is not there). begin and respond are what auth.h says, with base64 that was checked and an exchange of the back end's
 * own; they finish an op with a struct auth_answer. `initial` is NULL or base64 ("" for "=").
 */
struct auth_backend {
    const char *name;
    void *(*open)(struct loop *, struct tables *, const struct conf *, struct buf *err);
    void (*close)(void *backend);
    size_t (*mechanisms)(void *backend, const struct auth_mechanism **);
    void *(*begin)(void *backend, const struct auth_client *, const char *mechanism, const char *initial,
                   struct op_scope *, op_done_fn *done, void *owner);
    void (*respond)(void *exchange, const char *response, struct op_scope *, op_done_fn *done, void *owner);
    void (*end)(void *exchange);
};

extern const struct auth_backend auth_backend_dovecot, auth_backend_cyrus, auth_backend_table;

#endif
