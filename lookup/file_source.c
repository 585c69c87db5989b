/*
 * Files that are read again when they change: see file_source.h. Used by the tables that are a text file and by the
 * query files of mysql: and sqlite:. Every look at the file happens in a `struct look`, which belongs to the pool
 * thread while it runs; only the first one, at start, is made in place.
 *
 * A file that was written less than a second ago may be half written, and may change again without a change of its
 * time stamp. While there is older content such a file is left alone for some looks; without, it is read and then read
 * once more when it has settled.
 */
#include "lookup/file_source.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "core/loop/work.h"
#include "lookup/complaint.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOOK_EVERY_MS   1000
#define LOOK_TIMEOUT_MS 5000  /* then the old content is used, */
#define LOOK_RETRY_MS   60000 /* and a file system that hangs is left alone this long */
#define SETTLED_US      1000000
#define UNSETTLED_MAX   5 /* looks */
#define REPORT_MAX      65536
#define REPORT_LINES    10 /* of warnings that go to the log */

struct signature {
    dev_t dev;
    ino_t ino;
    off_t size;
    struct timespec mtime, ctime;
};

/* What is known about the file since the last look. */
struct knowledge {
    struct signature signature;
    bool settled;  /* the signature was old enough to be trusted */
    bool loaded;   /* there is content */
    int unsettled; /* looks that left the file alone */
};

struct look {
    const struct file_source_kind *kind;
    char *path;
    struct knowledge known; /* in and out */
    bool failed;
    void *content; /* NULL: nothing new, or failed */
    struct buf report;
};

struct file_source {
    struct loop *loop;
    const struct file_source_kind *kind;
    const char *path, *name;
    void (*checked)(void *owner);
    void *owner;
    struct op_scope scope;
    struct look *look; /* under way */
    uint64_t due_ms;
    struct knowledge known;
    void *content;
    char *why;
    struct complaint complaint;
};

/* ---- on any thread ---- */

static struct signature signature_of(const struct stat *st)
{
    return (struct signature){
        .dev = st->st_dev, .ino = st->st_ino, .size = st->st_size, .mtime = st->st_mtim, .ctime = st->st_ctim};
}

static bool same_time(struct timespec a, struct timespec b)
{
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

static bool same_signature(const struct signature *a, const struct signature *b)
{
    return a->dev == b->dev && a->ino == b->ino && a->size == b->size && same_time(a->mtime, b->mtime) &&
           same_time(a->ctime, b->ctime);
}

static bool is_settled(const struct signature *s)
{
    uint64_t written = (uint64_t)s->mtime.tv_sec * 1000000 + (uint64_t)s->mtime.tv_nsec / 1000, now = clock_wall_us();

    return written > now || now - written >= SETTLED_US;
}

static bool read_all(int fd, size_t max, struct buf *text)
{
    for (;;) {
        char *room = buf_reserve(text, 65536);
        ssize_t n = read(fd, room, 65536);

        if (n < 0 && errno == EINTR)
            continue;
        if (n > 0)
            buf_commit(text, (size_t)n);
        if (n == 0)
            return true;
        if (n > 0 && buf_len(text) > max)
            errno = EFBIG;
        if (n < 0 || buf_len(text) > max)
            return false;
    }
}

/* The file's text; `st` is how the file was before it was read. */
static bool read_text(const char *path, size_t max, struct buf *text, struct stat *st, struct buf *report)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    bool ok = fd >= 0 && fstat(fd, st) == 0;

    if (ok && !S_ISREG(st->st_mode)) {
        buf_printf(report, "%s: is not a regular file\n", path);
        close(fd);
        return false;
    }
    ok = ok && read_all(fd, max, text);
    if (!ok)
        buf_printf(report, "%s: %s\n", path, strerror(errno));
    if (fd >= 0)
        close(fd);
    return ok;
}

static void *read_and_parse(const struct file_source_kind *kind, const char *path, struct stat *st, struct buf *report)
{
    struct buf text = {0};
    void *content = NULL;

    if (read_text(path, kind->size_max, &text, st, report))
        content = kind->parse(path, buf_slice(&text), report);
    buf_release(&text);
    return content;
}

void *file_source_read(const struct file_source_kind *kind, const char *path, struct buf *report)
{
    struct stat st;

    return read_and_parse(kind, path, &st, report);
}

static void load(struct look *l)
{
    struct stat before = {0}, after;

    l->content = read_and_parse(l->kind, l->path, &before, &l->report);
    l->failed = l->content == NULL;
    l->known.signature = signature_of(&before);
    l->known.settled = is_settled(&l->known.signature) && stat(l->path, &after) == 0 && before.st_ino == after.st_ino &&
                       before.st_size == after.st_size && same_time(before.st_mtim, after.st_mtim);
    l->known.unsettled = 0;
}

static enum op_status look_at_file(void *arg)
{
    struct look *l = arg;
    struct stat st;
    struct signature now;
    bool same;

    if (stat(l->path, &st) != 0) {
        buf_printf(&l->report, "%s: %s\n", l->path, strerror(errno));
        l->failed = true;
        l->known.signature = (struct signature){0};
        return OP_OK;
    }
    now = signature_of(&st);
    same = same_signature(&now, &l->known.signature);
    if (same && l->known.settled)
        return OP_OK;
    if (!is_settled(&now) && (same || l->known.loaded) && l->known.unsettled < UNSETTLED_MAX) {
        l->known.unsettled++;
        return OP_OK;
    }
    load(l);
    return OP_OK;
}

/* ---- on the loop ---- */

static struct look *look_new(const struct file_source *f)
{
    struct look *l = NEW(struct look);

    l->kind = f->kind;
    l->path = mem_strdup(f->path);
    l->known = f->known;
    l->report.max = REPORT_MAX;
    return l;
}

static void look_free(void *arg)
{
    struct look *l = arg;

    if (l->content != NULL)
        l->kind->free(l->content);
    buf_release(&l->report);
    mem_free(l->path);
    mem_free(l);
}

/* An error report as one text: its lines, joined. */
static char *join_lines(struct buf *report)
{
    char *text = mem_strdup(buf_cstr(report));
    size_t n = strlen(text);

    while (n > 0 && text[n - 1] == '\n')
        text[--n] = '\0';
    for (char *p = text; (p = strchr(p, '\n')) != NULL;)
        *p = ';';
    return text;
}

static void log_warnings(const struct file_source *f, struct slice report)
{
    struct slice line;
    int lines = 0;

    while ((line = slice_token(&report, "\n")).n > 0) {
        if (++lines > REPORT_LINES) {
            log_event(LOG_TABLE_WARNING, NULL, "%s: and more", f->name);
            return;
        }
        if (slice_starts(line, SLICE_LIT("warning: ")))
            line = slice_from(line, strlen("warning: "));
        log_event(LOG_TABLE_WARNING, NULL, "%s: %.*s", f->name, (int)line.n, line.p);
    }
}

static void take_failure(struct file_source *f, struct look *l)
{
    char *why = join_lines(&l->report);

    complaint_raise(&f->complaint, f->loop, f->name, why);
    mem_free(f->why);
    f->why = why;
}

static void take_content(struct file_source *f, struct look *l)
{
    bool again = f->content != NULL, changed = !same_signature(&l->known.signature, &f->known.signature);

    log_warnings(f, buf_slice(&l->report));
    if (again)
        f->kind->free(f->content);
    f->content = l->content;
    l->content = NULL;
    if (again && changed && f->complaint.text == NULL)
        log_event(LOG_TABLE_INFO, NULL, "%s: has changed and was read again", f->name);
    complaint_clear(&f->complaint, f->name);
}

/* The outcome of a look that is over. */
static void take(struct file_source *f, struct look *l)
{
    if (l->failed)
        take_failure(f, l);
    else if (l->content != NULL)
        take_content(f, l);
    f->known = l->known;
    f->known.loaded = f->content != NULL;
    f->due_ms = loop_now_ms(f->loop) + LOOK_EVERY_MS;
}

static void on_looked(void *owner, enum op_status status, const void *result)
{
    struct file_source *f = owner;

    (void)result;
    if (status == OP_OK)
        take(f, f->look);
    else
        f->due_ms = loop_now_ms(f->loop) + LOOK_RETRY_MS;
    f->look = NULL; /* freed by the op */
    f->checked(f->owner);
}

struct file_source *file_source_new(struct loop *loop, const struct file_source_kind *kind, const char *path,
                                    const char *name, void (*checked)(void *owner), void *owner)
{
    struct file_source *f = NEW(struct file_source);
    struct look *first;

    f->loop = loop;
    f->kind = kind;
    f->path = path;
    f->name = name;
    f->checked = checked;
    f->owner = owner;
    op_scope_init(&f->scope, name);
    first = look_new(f);
    look_at_file(first);
    take(f, first);
    look_free(first);
    return f;
}

void file_source_free(struct file_source **fp)
{
    struct file_source *f = *fp;

    if (f == NULL)
        return;
    *fp = NULL;
    op_scope_close(&f->scope);
    complaint_release(&f->complaint);
    if (f->content != NULL)
        f->kind->free(f->content);
    mem_free(f->why);
    mem_free(f);
}

bool file_source_ready(struct file_source *f)
{
    if (f->look != NULL)
        return false;
    if (loop_now_ms(f->loop) < f->due_ms)
        return true;
    f->look = look_new(f);
    work_run(f->loop, &f->scope, "file", LOOK_TIMEOUT_MS, look_at_file, f->look, look_free, on_looked, f);
    return false;
}

void *file_source_content(const struct file_source *f)
{
    return f->content;
}

const char *file_source_why(const struct file_source *f)
{
    return f->why;
}
