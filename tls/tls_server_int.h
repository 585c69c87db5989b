/* What the files of the server half share; not for others. */
#ifndef MTA_TLS_SERVER_INT_H
#define MTA_TLS_SERVER_INT_H

#include "core/base/arena.h"
#include "core/loop/op.h"
#include "tls/tls_server.h"
#include "tls/tls_setup.h"

#include <mbedtls/md.h>

/* A setup in force, which is exchanged when its files are renewed. */
struct tls_slot {
    struct list link;
    char *files;             /* of a server name; NULL: the listener's own */
    struct tls_setup *setup; /* NULL while it is loaded for the first time */
    struct list waiters;     /* those who wait for that */
    bool suspect;            /* the files are new and no good; perhaps they are still being written */
    int days_told;           /* the last of the thresholds of expiry that was told of */
};

struct tls_server {
    size_t refs;
    struct loop *loop;
    struct arena arena; /* strings of opts */
    struct tls_setup_opts opts;
    const mbedtls_md_info_t *digest;
    struct list slots; /* tls_slot.link; the listener's own first, then the last used last */
    size_t nslots;
    struct op_scope scope;
    uint64_t check_ms;
    struct timer check;
};

struct tls_slot *tls_server_slot(const struct tls_server *);
struct tls_slot *tls_slot_new(struct tls_server *, const char *files, struct tls_setup *);
void tls_slot_free(struct tls_server *, struct tls_slot *);

/* tls_renew.c: begins to look after the files. */
void tls_renew_start(struct tls_server *);
void tls_renew_stop(struct tls_server *);
/* The sentence about the days that a certificate has left, once for each threshold; false: there is nothing to say. */
bool tls_renew_expiry(struct tls_slot *, struct buf *);

/*
 * tls_sni.c: the setup that the files of a server name make, from memory or read on a thread. OP_OK: the result is the
 * struct tls_setup, to be counted by who keeps it; OP_TEMPFAIL: a text that says why.
 */
void tls_sni_setup(struct tls_server *, const char *files, struct op_scope *, op_done_fn *done, void *owner);

#endif
