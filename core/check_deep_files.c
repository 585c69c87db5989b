/*
 * The deep check's files: the queue's directory and its room, the commands of transports, the directories of mailboxes.
 * Called by check_deep.c. Looks at permissions instead of using them, so that a running server is not disturbed; what
 * another user may do is worked out from the modes.
 */
#include "core/check_deep_int.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define MEGABYTE (1024 * 1024)

/* ---- what a user may do ---- */

/* NULL, or why not. `want` is X_OK, W_OK and so on. */
static const char *may(const char *path, uid_t uid, gid_t gid, unsigned want)
{
    struct stat st;

    if (stat(path, &st) != 0)
        return strerror(errno);
    if (uid == 0)
        return (want & X_OK) == 0 || S_ISDIR(st.st_mode) || (st.st_mode & 0111) != 0 ? NULL : strerror(EACCES);
    if (st.st_uid == uid)
        want <<= 6;
    else if (st.st_gid == gid)
        want <<= 3;
    return (st.st_mode & want) == want ? NULL : strerror(EACCES);
}

/* The same, and every directory above it may be entered. */
static const char *may_reach(struct deep *d, const char *path, uid_t uid, gid_t gid, unsigned want)
{
    for (const char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        const char *why = may(arena_slice_dup(&d->arena, slice_make(path, (size_t)(slash - path))), uid, gid, X_OK);

        if (why != NULL)
            return why;
    }
    return may(path, uid, gid, want);
}

/* ---- the queue ---- */

/* Postfix's queue_minfree wants one and a half of the largest message. */
static uint64_t room_needed(struct deep *d)
{
    uint64_t least = (uint64_t)d->conf->message_size_limit * 3 / 2, minfree = 0;

    slice_u64(slice_str(deep_text(d, NULL, "queue_minfree", NULL)), INT64_MAX, &minfree);
    return minfree > least ? minfree : least;
}

/* NULL, or what is wrong with the directory. */
static const char *queue_fault(const char *path, struct statvfs *fs)
{
    struct stat st;

    if (stat(path, &st) != 0 || statvfs(path, fs) != 0)
        return strerror(errno);
    if (!S_ISDIR(st.st_mode))
        return "it is no directory";
    if ((st.st_mode & S_IWOTH) != 0)
        return "everyone on this machine can write to it";
    return access(path, R_OK | W_OK | X_OK) != 0 ? strerror(errno) : NULL;
}

static void judge_queue(struct deep *d, struct deep_try *t, const char *path)
{
    struct statvfs fs = {0};
    const char *fault = queue_fault(path, &fs);
    uint64_t room;

    if (fault != NULL) {
        deep_end(t, DEEP_FAIL, "%s", fault);
        return;
    }
    room = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (room < room_needed(d))
        deep_end(t, DEEP_FAIL, "%ju MB are free, and message_size_limit and queue_minfree need %ju",
                 (uintmax_t)(room / MEGABYTE), (uintmax_t)(room_needed(d) / MEGABYTE + 1));
    else
        deep_end(t, DEEP_OK, "%ju MB are free", (uintmax_t)(room / MEGABYTE));
}

static void look_at_queue(struct deep *d)
{
    struct conf_place place = {d->conf->path, 0};
    const char *path = d->conf->queue_directory;

    conf_where(d->conf, SLICE_LIT("queue_directory"), &place);
    judge_queue(d, deep_begin(d, "directory %s%s", path, deep_source(d, "queue_directory", &place)), path);
}

/* ---- transports ---- */

static const char *place_of(struct deep *d, const struct conf_transport *t)
{
    const struct conf_place place = {t->file, t->line};

    return deep_source(d, arena_printf(&d->arena, "transport %s", t->name), &place);
}

static void look_at_command(struct deep *d, const struct conf_transport *t)
{
    struct slice rest = slice_str(t->argv);
    const char *command = arena_slice_dup(&d->arena, slice_token(&rest, " \t\r\n"));
    uid_t uid = t->has_user ? t->uid : geteuid();
    gid_t gid = t->has_user ? t->gid : getegid();
    struct deep_try *try;
    const char *why;

    if (command[0] != '/')
        return; /* it is looked for in the PATH of deliveries */
    try = deep_begin(d, "command %s%s", command, place_of(d, t));
    why = may_reach(d, command, uid, gid, X_OK);
    if (why != NULL)
        deep_end(try, DEEP_FAIL, "%s cannot run it: %s", t->user[0] != '\0' ? t->user : "this user", why);
    else
        deep_end(try, DEEP_OK, "can be run");
}

/* The N of a list whose first table is "static:N"; else `otherwise`. */
static unsigned static_id(const char *list, unsigned otherwise)
{
    struct slice rest = slice_str(list), word = slice_token(&rest, " \t\r\n,");
    uint64_t id = otherwise;

    if (slice_starts(word, SLICE_LIT("static:")))
        slice_u64(slice_from(word, strlen("static:")), UINT32_MAX - 1, &id);
    return (unsigned)id;
}

static void look_at_mailboxes(struct deep *d)
{
    const char *base = d->conf->virtual_mailbox_base;
    struct conf_place place = {d->conf->path, 0};
    unsigned uid = static_id(d->conf->virtual_uid_maps, geteuid());
    const char *why;
    struct deep_try *t;

    conf_where(d->conf, SLICE_LIT("virtual_mailbox_base"), &place);
    t = deep_begin(d, "directory %s%s", base, deep_source(d, "virtual_mailbox_base", &place));
    why = may_reach(d, base, uid, static_id(d->conf->virtual_gid_maps, getegid()), X_OK);
    if (why != NULL)
        deep_end(t, DEEP_FAIL, "uid %u cannot enter it: %s", uid, why);
    else
        deep_end(t, DEEP_OK, "uid %u can enter it", uid);
}

static void look_at_transports(struct deep *d)
{
    bool mailboxes = false;

    for (size_t i = 0; i < d->conf->ntransports; i++) {
        const struct conf_transport *t = &d->conf->transports[i];

        if (!t->usable || !conf_transport_used(d->conf, t))
            continue;
        if (t->type == CONF_TRANSPORT_TYPE_PIPE)
            look_at_command(d, t);
        mailboxes = mailboxes || t->type == CONF_TRANSPORT_TYPE_MAILDIR;
    }
    /* virtual_transport is "virtual" unless somebody says otherwise: only with mailboxes it means anything. */
    if (mailboxes && d->conf->virtual_mailbox_maps[0] != '\0' && d->conf->virtual_mailbox_base[0] == '/')
        look_at_mailboxes(d);
}

void deep_files(struct deep *d)
{
    look_at_queue(d);
    look_at_transports(d);
}
