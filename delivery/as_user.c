/*
 * Another user's rights for one thread: see as_user.h. Called by maildir_file.c on pool threads.
 *
 * The C library's functions change all threads of the process together, so these are the system calls themselves. The
 * effective ids are changed, not only the file system ids: that also takes away the capabilities with which root is
 * above quotas and reserved space.
 */
#include "delivery/as_user.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <errno.h>
#include <sys/syscall.h>
#include <unistd.h>

/* 32-bit machines have the calls twice, the old ones with 16-bit ids. */
#ifdef SYS_setresuid32
#define CALL_SETRESUID SYS_setresuid32
#define CALL_SETRESGID SYS_setresgid32
#define CALL_SETGROUPS SYS_setgroups32
#else
#define CALL_SETRESUID SYS_setresuid
#define CALL_SETRESGID SYS_setresgid
#define CALL_SETGROUPS SYS_setgroups
#endif

static bool set_uid(uid_t uid)
{
    return syscall(CALL_SETRESUID, (uid_t)-1, uid, (uid_t)-1) == 0;
}

static bool set_gid(gid_t gid)
{
    return syscall(CALL_SETRESGID, (gid_t)-1, gid, (gid_t)-1) == 0;
}

static bool set_groups(int n, const gid_t *groups)
{
    return syscall(CALL_SETGROUPS, (size_t)n, groups) == 0;
}

static void load_groups(struct as_user *u)
{
    u->ngroups = getgroups(0, NULL);
    MTA_ASSERT(u->ngroups >= 0);
    u->groups = mem_new_array((size_t)u->ngroups + 1, sizeof *u->groups);
    u->ngroups = getgroups(u->ngroups, u->groups);
    MTA_ASSERT(u->ngroups >= 0);
}

bool as_user_begin(struct as_user *u, uid_t uid, gid_t gid)
{
    int err;

    *u = (struct as_user){.uid = geteuid(), .gid = getegid()};
    if (u->uid == uid && u->gid == gid)
        return true;
    load_groups(u);
    if (!set_groups(1, &gid)) {
        err = errno;
        mem_free(u->groups);
        errno = err;
        return false;
    }
    u->changed = true;
    if (set_gid(gid) && set_uid(uid))
        return true;
    err = errno;
    as_user_end(u);
    errno = err;
    return false;
}

void as_user_end(struct as_user *u)
{
    if (!u->changed)
        return;
    u->changed = false;
    MTA_ASSERT(set_uid(u->uid) && set_gid(u->gid) && set_groups(u->ngroups, u->groups));
    mem_free(u->groups);
}
