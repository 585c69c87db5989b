/*
 * Writing into maildirs: see maildir_file.h. Called by maildir.c on pool threads.
 *
 * A message appears in new/ complete or not at all, and is on the disk, name and content, when the last put returns:
 * then the queue may forget it. Names are unique across crashes and restarts without a counter on the disk: while a
 * file exists its device and inode are its own, and another file with the same inode has another time. link() does
 * not replace; should a name exist all the same, delivery fails and is tried again.
 *
 * Modes are Postfix's: 0700 and 0600.
 */
#include "delivery/maildir_file.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/buf.h"
#include "core/loop/loop.h"
#include "delivery/as_user.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct maildir_file {
    char *dir, *host;
    uid_t uid;
    gid_t gid;
    int fd;    /* -1: not open */
    char *tmp; /* the file in tmp/ while it exists; NULL: none */
    int error;
    char *doing;
};

struct maildir_file *maildir_file_new(const char *dir, const char *host, uid_t uid, gid_t gid)
{
    struct maildir_file *f = NEW(struct maildir_file);

    f->dir = mem_strdup(dir);
    f->host = mem_strdup(host);
    f->uid = uid;
    f->gid = gid;
    f->fd = -1;
    return f;
}

int maildir_file_error(const struct maildir_file *f, const char **doing)
{
    *doing = f->doing;
    return f->error;
}

/* Notes errno and what was being done; answers false. */
PRINTF_LIKE(2, 3) static bool failed(struct maildir_file *f, const char *doing, ...)
{
    struct buf text = {0};
    va_list ap;

    f->error = errno;
    va_start(ap, doing);
    buf_vprintf(&text, doing, ap);
    va_end(ap);
    mem_free(f->doing);
    f->doing = mem_strdup(buf_cstr(&text));
    buf_release(&text);
    return false;
}

/* ---- directories ---- */

static bool sync_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), err;
    bool ok;

    if (fd < 0)
        return errno == EACCES; /* may be written and not read: no more can be done */
    /* some file systems cannot do it, and need not */
    ok = fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP;
    err = errno;
    close(fd);
    errno = err;
    return ok;
}

/* Makes the directory, and those above it, where they are missing; what is made is on the disk. */
static bool make_dirs(char *path)
{
    for (char *slash = path + 1;; slash++) {
        char *parent_end;

        slash += strcspn(slash, "/");
        parent_end = *slash != '\0' ? slash : NULL;
        if (parent_end != NULL)
            *parent_end = '\0';
        if (mkdir(path, 0700) == 0) {
            char *above = mem_printf("%s/..", path);
            bool ok = sync_dir(above);

            mem_free(above);
            if (!ok)
                return false;
        } else if (errno != EEXIST) {
            return false;
        }
        if (parent_end == NULL)
            return true;
        *parent_end = '/';
    }
}

static bool make_maildir(const struct maildir_file *f)
{
    static const char *const subs[] = {"tmp", "new", "cur"};
    bool ok = true;

    for (size_t i = 0; i < ARRAY_LEN(subs) && ok; i++) {
        char *path = mem_printf("%s/%s", f->dir, subs[i]);

        ok = make_dirs(path);
        mem_free(path);
    }
    return ok;
}

/* ---- the file ---- */

static bool create(struct maildir_file *f)
{
    static atomic_uint counter;
    const uint64_t now_us = clock_wall_us();
    char *path = mem_printf("%s/tmp/%" PRIu64 ".M%" PRIu64 "P%dQ%u.%s", f->dir, now_us / 1000000, now_us % 1000000,
                            (int)getpid(), atomic_fetch_add(&counter, 1), f->host);
    const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;

    f->fd = open(path, flags, 0600);
    if (f->fd < 0 && errno == ENOENT && make_maildir(f))
        f->fd = open(path, flags, 0600);
    if (f->fd < 0) {
        failed(f, "create maildir file %s", path);
        mem_free(path);
        return false;
    }
    f->tmp = path;
    return true;
}

static bool write_all(struct maildir_file *f, struct slice bytes)
{
    while (bytes.n > 0) {
        ssize_t n = write(f->fd, bytes.p, bytes.n);

        if (n > 0)
            bytes = slice_from(bytes, (size_t)n);
        else if (n < 0 && errno != EINTR)
            return failed(f, "error writing message");
    }
    return true;
}

static bool close_file(struct maildir_file *f)
{
    int fd = f->fd;

    f->fd = -1;
    return close(fd) == 0 || errno == EINTR;
}

/* Some file systems have no links: renaming has the same effect but for a name that is taken. */
static bool link_or_rename(struct maildir_file *f, const char *to)
{
    struct stat st;

    if (link(f->tmp, to) == 0) {
        unlink(f->tmp);
    } else if ((errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS) || lstat(to, &st) == 0 ||
               rename(f->tmp, to) != 0) {
        return false;
    }
    mem_free(f->tmp);
    f->tmp = NULL;
    return true;
}

static bool publish(struct maildir_file *f, const struct stat *st)
{
    const uint64_t now_us = clock_wall_us();
    char *new_dir = mem_printf("%s/new", f->dir);
    char *path = mem_printf("%s/%" PRIu64 ".V%lxI%lxM%" PRIu64 ".%s", new_dir, now_us / 1000000,
                            (unsigned long)st->st_dev, (unsigned long)st->st_ino, now_us % 1000000, f->host);
    bool ok = link_or_rename(f, path) || (errno == ENOENT && make_maildir(f) && link_or_rename(f, path));

    if (!ok) {
        failed(f, "create maildir file %s", path);
    } else if (!sync_dir(new_dir)) {
        failed(f, "sync maildir directory %s", new_dir);
        unlink(path); /* else it is there twice when the next attempt succeeds */
        ok = false;
    }
    mem_free(path);
    mem_free(new_dir);
    return ok;
}

static bool complete(struct maildir_file *f)
{
    struct stat st;

    if (fstat(f->fd, &st) != 0 || fsync(f->fd) != 0)
        return failed(f, "error writing message");
    if (!close_file(f))
        return failed(f, "error writing message");
    return publish(f, &st);
}

static void discard(struct maildir_file *f)
{
    if (f->fd >= 0)
        close_file(f);
    if (f->tmp != NULL)
        unlink(f->tmp);
    mem_free(f->tmp);
    f->tmp = NULL;
}

static bool put(struct maildir_file *f, struct slice bytes, bool last)
{
    if (f->fd < 0 && !create(f))
        return false;
    return write_all(f, bytes) && (!last || complete(f));
}

bool maildir_file_put(struct maildir_file *f, struct slice bytes, bool last)
{
    struct as_user user;
    bool ok;

    if (!as_user_begin(&user, f->uid, f->gid))
        return failed(f, "become user %lu and group %lu", (unsigned long)f->uid, (unsigned long)f->gid);
    ok = put(f, bytes, last);
    if (!ok)
        discard(f);
    as_user_end(&user);
    return ok;
}

void maildir_file_free(struct maildir_file **fp)
{
    struct maildir_file *f = *fp;
    struct as_user user;

    if (f == NULL)
        return;
    *fp = NULL;
    if (f->fd >= 0)
        close_file(f);
    if (f->tmp != NULL && as_user_begin(&user, f->uid, f->gid)) {
        discard(f);
        as_user_end(&user);
    }
    mem_free(f->tmp);
    mem_free(f->dir);
    mem_free(f->host);
    mem_free(f->doing);
    mem_free(f);
}

/* '/' and ':' have meanings in a maildir's names: they are written as octal, as the format's author does. */
char *maildir_file_host(void)
{
    char name[256] = "", out[sizeof name * 4], *to = out;

    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        return mem_strdup("localhost");
    for (const char *from = name; *from != '\0'; from++) {
        if (*from == '/' || *from == ':')
            to += snprintf(to, 5, "\\%03o", (unsigned char)*from);
        else
            *to++ = *from;
    }
    *to = '\0';
    return mem_strdup(out);
}
