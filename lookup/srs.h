/*
 * The Sender Rewriting Scheme: mail that an alias sends on to another domain gets a sender of our own domain, so that
 * SPF holds there, and what comes back to that sender finds the way to the first one. SRS0 is a sender that we rewrite
 * first, SRS1 one that another forwarder has rewritten. Pure.
 */
#ifndef MTA_LOOKUP_SRS_H
#define MTA_LOOKUP_SRS_H

#include "core/base/arena.h"

#include <stdbool.h>
#include <stdint.h>

#define SRS_DAYS_GOOD 21 /* how long mail may come back to a sender that we made */

/*
 * The sender for forwarded mail, "SRS0=HHHHHH=TT=example.org=alice@DOMAIN"; NULL when `sender` has no domain. Lives in
 * the arena. `secret` must not be empty.
 */
const char *srs_forward(struct arena *, struct slice secret, const char *domain, const char *sender, uint64_t now_s);

enum srs_way {
    SRS_NONE,    /* not such an address: like any other */
    SRS_BACK,    /* *address is where it goes */
    SRS_FORGED,  /* it looks like one and we have not made it */
    SRS_EXPIRED, /* made too long ago */
};
/*
 * The way back of a recipient at our SRS domain. Several secrets, separated by white space, are tried: the first one is
 * what is signed with.
 */
enum srs_way srs_back(struct arena *, struct slice secrets, const char *recipient, uint64_t now_s,
                      const char **address);

/* The first of several secrets. */
struct slice srs_first_secret(struct slice secrets);

#endif
