/*
 * Damps the guessing of passwords: failed authentications are counted for each address (an IPv6 one by its /64) and for
 * each login within smtpd_auth_ban_window. From the third on every further answer is delayed longer; at
 * smtpd_auth_ban_limit the client gets 421, and for smtpd_auth_ban_time the address gets 421 at once and a login cannot
 * be tried. One for the process, bounded, kept over a restart in data_directory.
 */
#ifndef MTA_AUTH_GUARD_H
#define MTA_AUTH_GUARD_H

#include "core/base/buf.h"
#include "core/conf/conf.h"
#include "core/loop/loop.h"

struct auth_guard;

/* `path`: the file of its state, read now (blocks) and written now and then by a worker; NULL: nothing is kept. */
struct auth_guard *auth_guard_new(struct loop *, const char *path);
/* Writes the state (blocks: at exit). */
void auth_guard_free(struct auth_guard **);

/* What is to be done with a client before its AUTH is tried. The limits are those of the listener's conf. */
struct auth_guard_verdict {
    bool refused;      /* banned: 421 */
    uint64_t delay_ms; /* else: how long the answer to a failure waits */
    uint64_t left_ms;  /* of the ban */
};
/* `login` NULL: only the address counts (when a session begins, and before the login is known). */
struct auth_guard_verdict auth_guard_ask(struct auth_guard *, const struct conf *, const char *addr, const char *login);
/* An authentication failed; answers what holds from now on. Logs when a ban begins. */
struct auth_guard_verdict auth_guard_failed(struct auth_guard *, const struct conf *, const char *addr,
                                            const char *login);
/* One succeeded: the login's failures from this address are forgiven; the address's own count is not. */
void auth_guard_succeeded(struct auth_guard *, const struct conf *, const char *addr, const char *login);

/* For `mta status`: a line for each ban in force, "address 192.0.2.1 banned for 540 s (12 failures)". */
void auth_guard_status(struct auth_guard *, struct buf *out);
/* `mta status --unban`: ends the ban of an address or login; false: there is none. */
bool auth_guard_unban(struct auth_guard *, const char *what);

#endif
