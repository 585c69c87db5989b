/*
 * Damps the guessing of passwords: failed authentications are counted for each address (an IPv6 one by its /64) and for
 * each login (without regard to case) within smtpd_auth_ban_window. From the third on every further answer is delayed
 * longer, 1 s to 15 s; at smtpd_auth_ban_limit the client gets 421, and for smtpd_auth_ban_time the address gets 421 at
 * once and a login cannot be tried. With a limit of 0 nothing is counted or delayed.
 *
 * A login that is attacked from everywhere does not shut out its owner: from an address that it succeeded from within a
 * month (the last 16 of each login are remembered) it may be tried all the same, and only the address counts.
 *
 * One for the process, bounded (auth_counts.h), kept over a restart in data_directory.
 */
#ifndef MTA_AUTH_GUARD_H
#define MTA_AUTH_GUARD_H

#include "core/conf/conf.h"
#include "core/loop/loop.h"
#include "proto/auth/auth_counts.h"

struct auth_guard;

/*
 * `path`: the file of its state, read now (blocks) and written some seconds after a change by a worker; a damaged one
 * is logged and not used, and logged once when it cannot be written. NULL: nothing is kept.
 */
struct auth_guard *auth_guard_new(struct loop *, const char *path);
/* Writes the state (blocks, turns the loop: at exit). NULL in the pointer is fine. */
void auth_guard_free(struct auth_guard **);

/* What is to be done with a client before its AUTH is tried. The limits are those of the listener's conf. */
struct auth_guard_verdict {
    bool refused;      /* banned: 421 */
    uint64_t delay_ms; /* else: how long the answer to a failure waits */
    uint64_t left_ms;  /* of the ban */
};
/*
 * `login` NULL or "": only the address counts (when a session begins, and before the login is known). `addr` is
 * numeric; anything else is not counted.
 */
struct auth_guard_verdict auth_guard_ask(struct auth_guard *, const struct conf *, const char *addr, const char *login);
/* An authentication failed; answers what holds from now on. Logs when a ban begins. */
struct auth_guard_verdict auth_guard_failed(struct auth_guard *, const struct conf *, const char *addr,
                                            const char *login);
/* One succeeded: the login's failures from this address are forgiven; the address's own count is not. */
void auth_guard_succeeded(struct auth_guard *, const struct conf *, const char *addr, const char *login);

/* For `mta status`: calls fn with each address and login that is counted, banned_ms > 0 when it is banned, and places.
 */
void auth_guard_each(const struct auth_guard *, void (*fn)(void *arg, const struct auth_record *), void *arg);
/* `mta status --unban`: ends the ban of an address (or its /64) or login; false: there is none. */
bool auth_guard_unban(struct auth_guard *, const char *what);

#endif
