/*
 * Stored passwords: hashes of crypt(3), or "{SCHEME}value" as Dovecot writes them. Blocking, dear on purpose: for
 * worker threads. Pure but for that; nothing is logged, and what was worked on is wiped.
 */
#ifndef MTA_AUTH_HASH_H
#define MTA_AUTH_HASH_H

#include "core/base/buf.h"

enum auth_hash_verdict {
    AUTH_HASH_RIGHT,
    AUTH_HASH_WRONG,       /* also for a value that no password fits ("*", "!") */
    AUTH_HASH_UNSUPPORTED, /* a scheme that is not known here, or that this host's libcrypt lacks or cannot do now */
};

/* Is this the password? Compares in a time that does not depend on where they differ. */
enum auth_hash_verdict auth_hash_check(const char *stored, const char *password);
/* What can be said of a stored value in a log: its scheme, "SSHA512" or "$argon2id$"; nothing of the hash. */
void auth_hash_scheme(const char *stored, struct buf *out);
/* Appends a new "{SHA512-CRYPT}$6$..." of the password; false: libcrypt cannot (errno). */
bool auth_hash_make(const char *password, struct buf *out);

#endif
