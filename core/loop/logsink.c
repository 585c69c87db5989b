/*
 * The log's sink: lines are appended to a buffer under a lock; a thread swaps it for an empty one and writes it. See
 * logsink.h. Signals stay with the loop's thread.
 */
#include "core/loop/logsink.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/buf.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOGSINK_MAX      (4u << 20)
#define LOGSINK_LINE     8192
#define LOGSINK_PAUSE_NS 2000000 /* lines of the next 2 ms are written together: a wake-up costs more than a line */
#define SYSLOG_TIME      16      /* "Nov 22 17:09:23 " */

static struct {
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct buf waiting; /* under lock */
    uint64_t dropped;   /* under lock */
    bool idle;          /* under lock: the thread sleeps until it is woken */
    bool quit, running, reopen, to_syslog;
    int facility;
    char *path; /* NULL: standard output */
    int fd;
} g = {.lock = PTHREAD_MUTEX_INITIALIZER, .wake = PTHREAD_COND_INITIALIZER, .fd = -1};

/* Of the loop's thread: the end of its turn wakes the writing thread; there is something to write. */
static _Thread_local bool attached, unwoken;

static void write_all(int fd, struct slice s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return; /* a full disk or a closed pipe: the lines are lost, the mail is not */
        s = slice_from(s, (size_t)n);
    }
}

/* One line as a datagram to /dev/log: "<priority>TIME TAG: text", which is our line without the host name. */
static void send_syslog(struct slice line)
{
    static const char *const marks[] = {"]: fatal: ", "]: error: ", "]: warning: "};
    static const int severities[] = {2, 3, 4};
    int severity = 6;
    struct slice time = slice_head(line, SYSLOG_TIME), rest = slice_from(line, SYSLOG_TIME);
    size_t host = slice_find(rest, ' ');
    char out[LOGSINK_LINE];
    int n;

    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (memmem(line.p, line.n, marks[i], strlen(marks[i])) != NULL) {
            severity = severities[i];
            break;
        }
    rest = slice_from(rest, host == SLICE_NOT_FOUND ? 0 : host + 1);
    n = snprintf(out, sizeof out, "<%d>%.*s%.*s", g.facility | severity, (int)time.n, time.p, (int)rest.n, rest.p);
    if (n > 0 && g.fd >= 0 && send(g.fd, out, (size_t)n < sizeof out ? (size_t)n : sizeof out - 1, MSG_NOSIGNAL) < 0) {
        close(g.fd); /* syslogd went away; the next line tries again */
        g.fd = -1;
    }
}

static int open_syslog(void)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/dev/log"};
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd >= 0 && connect(fd, (struct sockaddr *)&to, sizeof to) != 0) {
        close(fd);
        fd = -1;
    }
    return fd;
}

static void write_syslog(struct slice s)
{
    while (s.n > 0) {
        size_t eol = slice_find(s, '\n');
        struct slice line = slice_head(s, eol == SLICE_NOT_FOUND ? s.n : eol);

        if (g.fd < 0)
            g.fd = open_syslog();
        send_syslog(line);
        s = slice_from(s, line.n + 1);
    }
}

static int open_path(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640);
}

static void write_batch(struct slice s)
{
    if (g.to_syslog)
        write_syslog(s);
    else
        write_all(g.fd, s);
}

/* With the lock: sleeps until there is something to do, and a moment longer for more of it. */
static void wait_for_lines(void)
{
    static const struct timespec pause = {.tv_nsec = LOGSINK_PAUSE_NS};

    while (buf_len(&g.waiting) == 0 && !g.reopen && !g.quit) {
        g.idle = true;
        pthread_cond_wait(&g.wake, &g.lock);
    }
    g.idle = false;
    if (g.quit || g.reopen)
        return;
    pthread_mutex_unlock(&g.lock);
    nanosleep(&pause, NULL);
    pthread_mutex_lock(&g.lock);
}

/* With the lock. */
static void wake(void)
{
    if (g.idle)
        pthread_cond_signal(&g.wake);
    g.idle = false;
}

static void reopen_path(void)
{
    int fd = open_path(g.path);

    if (fd >= 0) {
        dup3(fd, g.fd, O_CLOEXEC);
        close(fd);
    }
}

static void *sink_main(void *unused)
{
    struct buf batch = {0};

    (void)unused;
    pthread_setname_np(pthread_self(), "mta-log");
    pthread_mutex_lock(&g.lock);
    while (!g.quit || buf_len(&g.waiting) > 0) {
        bool reopen;
        uint64_t dropped;

        wait_for_lines();
        reopen = g.reopen;
        dropped = g.dropped;
        batch = g.waiting;
        g.waiting = (struct buf){.max = LOGSINK_MAX};
        g.reopen = false;
        g.dropped = 0;
        pthread_mutex_unlock(&g.lock);
        if (reopen && g.path != NULL)
            reopen_path();
        if (buf_len(&batch) > 0)
            write_batch(buf_slice(&batch));
        if (dropped > 0) {
            char note[80];
            int n = snprintf(note, sizeof note, "mta: %llu log lines were dropped: the log is too slow\n",
                             (unsigned long long)dropped);

            write_batch(slice_make(note, (size_t)n));
        }
        buf_release(&batch);
        pthread_mutex_lock(&g.lock);
    }
    pthread_mutex_unlock(&g.lock);
    return NULL;
}

static void sink(enum log_level level, const char *line, size_t n)
{
    (void)level;
    pthread_mutex_lock(&g.lock);
    if (!g.running)
        write_all(STDERR_FILENO, slice_make(line, n));
    else if (!buf_add(&g.waiting, line, n))
        g.dropped++;
    if (attached)
        unwoken = true;
    else
        wake();
    pthread_mutex_unlock(&g.lock);
}

static void wake_now(void)
{
    if (!unwoken)
        return;
    unwoken = false;
    pthread_mutex_lock(&g.lock);
    wake();
    pthread_mutex_unlock(&g.lock);
}

void logsink_attach(struct loop *loop)
{
    static struct loop *before;

    if (before != NULL)
        loop_before_poll(before, NULL);
    if (loop != NULL)
        loop_before_poll(loop, wake_now);
    before = loop;
    attached = loop != NULL;
    wake_now();
}

log_sink_fn *logsink_start(const char *path, int facility, char *err, size_t err_size)
{
    sigset_t all, before;

    g.to_syslog = path != NULL && strcmp(path, "syslog") == 0;
    g.facility = facility;
    if (g.to_syslog)
        g.fd = open_syslog();
    else if (path == NULL || path[0] == '\0' || strcmp(path, "/dev/stdout") == 0)
        g.fd = STDOUT_FILENO;
    else {
        g.fd = open_path(path);
        if (g.fd < 0) {
            snprintf(err, err_size, "%s: %s", path, strerror(errno));
            return NULL;
        }
        g.path = mem_strdup(path);
    }
    g.waiting = (struct buf){.max = LOGSINK_MAX};
    g.quit = false;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before);
    MTA_ASSERT(pthread_create(&g.thread, NULL, sink_main, NULL) == 0);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    g.running = true;
    return sink;
}

void logsink_reopen(void)
{
    pthread_mutex_lock(&g.lock);
    g.reopen = true;
    wake();
    pthread_mutex_unlock(&g.lock);
}

void logsink_stop(void)
{
    if (!g.running)
        return;
    pthread_mutex_lock(&g.lock);
    g.quit = true;
    g.running = false; /* from here on nobody but the thread touches what waits */
    wake();
    pthread_mutex_unlock(&g.lock);
    pthread_join(g.thread, NULL);
    buf_release(&g.waiting);
    if (g.fd >= 0 && g.fd != STDOUT_FILENO)
        close(g.fd);
    g.fd = -1;
    mem_free(g.path);
    g.path = NULL;
}
