/* Doing something with another user's rights in one thread only, for files in users' directories. */
#ifndef MTA_DELIVERY_AS_USER_H
#define MTA_DELIVERY_AS_USER_H

#include <stdbool.h>
#include <sys/types.h>

struct as_user {
    bool changed;
    uid_t uid;
    gid_t gid, *groups;
    int ngroups;
};

/*
 * From here on the calling thread has the effective user and group `uid` and `gid`, and no other group; at once when
 * that is what it is. False, with errno, and nothing changed, when it may not (this process lacks the right).
 */
bool as_user_begin(struct as_user *, uid_t uid, gid_t gid);
/* What it was before. Aborts when that cannot be: the thread would go on as somebody else. */
void as_user_end(struct as_user *);

#endif
