/*
 * The counts behind auth_guard: failed authentications for each address and each login, bans, and the places that a
 * login succeeded from. Pure: the time is an argument. Bounded: what is only counted never displaces a ban in force,
 * and neither displaces what is known of a login, which only a right password adds to.
 */
#ifndef MTA_AUTH_COUNTS_H
#define MTA_AUTH_COUNTS_H

#include "core/base/list.h"
#include "core/base/map.h"

/* What counts as one address: an IPv4 address, or the /64 of an IPv6 one. */
struct auth_net {
    unsigned char family; /* 4 or 6; 0: none, which is not counted */
    unsigned char bytes[8];
};
#define AUTH_NET_TEXT 64
/* Of "192.0.2.1", "2001:db8::1", "fe80::1%eth0" or "2001:db8:0:0::/64"; family 0 when it is none of them. */
struct auth_net auth_net_parse(const char *text);
/* "192.0.2.1" or "2001:db8::/64"; returns out. */
const char *auth_net_format(char out[AUTH_NET_TEXT], struct auth_net);

struct auth_limits {
    uint64_t limit; /* failures that lead to a ban */
    uint64_t window_ms, ban_ms;
};

/* How many entries of a kind there may be. */
enum auth_class {
    AUTH_CLASS_COUNTED, /* failures, but no ban */
    AUTH_CLASS_BANNED,
    AUTH_CLASS_KNOWN, /* logins with places that they succeeded from */
    AUTH_CLASSES
};

struct auth_counts {
    struct map entries;
    struct list classes[AUTH_CLASSES]; /* the next one to go is first */
    size_t n[AUTH_CLASSES], most[AUTH_CLASSES];
};

void auth_counts_init(struct auth_counts *);
void auth_counts_clear(struct auth_counts *);

struct auth_counts_verdict {
    uint64_t banned_ms;                /* what is left of the ban; 0: none */
    uint64_t delay_ms;                 /* of the answer to a failure */
    bool address_begins, login_begins; /* a ban began with this failure */
};

#define AUTH_LOGIN_MOST 128 /* bytes of a login that count */
/* `login` NULL or "": only the address counts. Folded to lower case here. */
struct auth_counts_verdict auth_counts_ask(struct auth_counts *, uint64_t now_ms, struct auth_net, const char *login);
struct auth_counts_verdict auth_counts_failed(struct auth_counts *, const struct auth_limits *, uint64_t now_ms,
                                              struct auth_net, const char *login);
/* True when that made the login known at a place, or prolonged that by a day or more: something to be kept. */
bool auth_counts_succeeded(struct auth_counts *, uint64_t now_ms, struct auth_net, const char *login);
/* Ends the bans of the address, and of the login, that `what` may be; false: there is none. */
bool auth_counts_unban(struct auth_counts *, uint64_t now_ms, const char *what);
/* Forgets what is over. */
void auth_counts_sweep(struct auth_counts *, uint64_t now_ms);

/* What there is to be kept or shown, with the time that is left of it. */
struct auth_record {
    enum auth_record_kind {
        AUTH_RECORD_ADDRESS,
        AUTH_RECORD_LOGIN,
        AUTH_RECORD_PLACE, /* the login succeeded from there */
        AUTH_RECORD_KINDS
    } kind;
    struct auth_net net; /* ADDRESS, PLACE */
    const char *login;   /* LOGIN, PLACE; folded */
    uint64_t failures;
    uint64_t counted_ms, banned_ms; /* 0: not counted; not banned */
    uint64_t known_ms;              /* PLACE */
};
void auth_counts_each(const struct auth_counts *, uint64_t now_ms, void (*fn)(void *arg, const struct auth_record *),
                      void *arg);
/* Takes up what auth_counts_each gave. Times that are longer than the parameters allow are cut. */
void auth_counts_restore(struct auth_counts *, uint64_t now_ms, const struct auth_record *);

#endif
