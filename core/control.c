/*
 * The control socket: see control.h. The server opens it after the queue's lock is taken and closes it first when it
 * stops. A request is "COUNT\\n" and as many NUL-terminated strings; the answer "STATUS\\n" and a text, then the end.
 */
#include "core/control.h"

#include "core/base/alloc.h"
#include "core/loop/fdwatch.h"
#include "core/loop/stream.h"
#include "core/loop/timer.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define NAME         "control"
#define REQUEST_MAX  65536
#define TIMEOUT_MS   10000 /* for a request to be complete */
#define LINGER_MS    60000 /* for an answer to be read: it may be long, and the reader a pager */
#define CLIENTS_MOST 32

struct control {
    struct loop *loop;
    char *path;
    int fd;
    struct fdwatch watch;
    control_fn *handle;
    void *ctx;
    struct list requests;
    size_t nrequests;
};

struct control_request {
    struct list link;
    struct control *control;
    struct stream *stream;
    struct timer timer;
    const char *argv[CONTROL_ARGS_MOST];
    char *text; /* what argv points to; NULL until the request is complete */
};

/* ---- requests ---- */

static void request_free(struct control_request *r)
{
    timer_stop(&r->timer);
    stream_close(&r->stream);
    list_remove(&r->link);
    r->control->nrequests--;
    mem_free(r->text);
    loop_free_later(r->control->loop, r);
}

void control_answer(struct control_request *r, int status, struct slice text)
{
    struct buf head = {0};

    buf_printf(&head, "%d\n", status);
    stream_write(r->stream, buf_slice(&head));
    stream_write(r->stream, text);
    buf_release(&head);
    stream_finish(&r->stream, LINGER_MS);
    request_free(r);
}

static void on_timeout(void *arg)
{
    request_free(arg);
}

/* The arguments in `text`; -1: more is to come; -2: nonsense. */
static int split(struct slice in, struct slice *strings)
{
    size_t nl = slice_find(in, '\n'), at = 0;
    uint64_t count, seen = 0;

    if (nl == SLICE_NOT_FOUND)
        return in.n > 10 ? -2 : -1;
    if (!slice_u64(slice_head(in, nl), CONTROL_ARGS_MOST, &count) || count == 0)
        return -2;
    *strings = slice_from(in, nl + 1);
    for (; at < strings->n && seen < count; at++)
        seen += strings->p[at] == '\0';
    return seen == count ? (int)count : -1;
}

static void on_data(void *arg)
{
    struct control_request *r = arg;
    struct slice in = stream_input(r->stream), strings = SLICE_EMPTY;
    int argc;
    const char *at;

    if (r->text != NULL)
        return;
    argc = split(in, &strings);
    if (argc == -2 || (argc == -1 && in.n >= REQUEST_MAX)) {
        request_free(r);
        return;
    }
    if (argc == -1)
        return;
    timer_stop(&r->timer);
    stream_pause(r->stream);
    at = r->text = mem_dup(strings.p, strings.n);
    for (int i = 0; i < argc; i++, at += strlen(at) + 1)
        r->argv[i] = at;
    r->control->handle(r->control->ctx, r, argc, r->argv);
}

static void on_end(void *arg, const char *error)
{
    struct control_request *r = arg;

    (void)error;
    if (r->text == NULL) /* else the answer goes nowhere */
        request_free(r);
}

/* ---- the socket ---- */

static void on_connection(void *arg, int events)
{
    static const struct stream_events stream_events = {on_data, on_end, NULL};
    struct control *c = arg;
    struct control_request *r;
    int fd = accept4(c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    (void)events;
    if (fd < 0)
        return;
    if (c->nrequests >= CLIENTS_MOST) {
        close(fd);
        return;
    }
    r = NEW(struct control_request);
    r->control = c;
    list_append(&c->requests, &r->link);
    c->nrequests++;
    r->stream = stream_from_fd(c->loop, fd);
    stream_set_events(r->stream, &stream_events, r, REQUEST_MAX);
    timer_start(c->loop, &r->timer, TIMEOUT_MS, on_timeout, r);
}

/* A socket's path is shorter than other paths may be. */
static bool make_address(const char *directory, struct sockaddr_un *to)
{
    *to = (struct sockaddr_un){.sun_family = AF_UNIX};
    return snprintf(to->sun_path, sizeof to->sun_path, "%s/" NAME, directory) < (int)sizeof to->sun_path;
}

static int open_socket(const struct sockaddr_un *at)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    unlink(at->sun_path);
    if (fd >= 0 && (bind(fd, (const struct sockaddr *)at, sizeof *at) != 0 || chmod(at->sun_path, 0600) != 0 ||
                    listen(fd, CLIENTS_MOST) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

struct control *control_open(struct loop *loop, const char *directory, control_fn *handle, void *ctx, char *err,
                             size_t err_size)
{
    struct sockaddr_un at;
    struct control *c;
    int fd = -1;

    errno = ENAMETOOLONG;
    if (make_address(directory, &at))
        fd = open_socket(&at);
    if (fd < 0) {
        snprintf(err, err_size, "%s/" NAME ": %s", directory, strerror(errno));
        return NULL;
    }
    c = NEW(struct control);
    c->loop = loop;
    c->path = mem_strdup(at.sun_path);
    c->fd = fd;
    c->handle = handle;
    c->ctx = ctx;
    list_init(&c->requests);
    fdwatch_start(loop, &c->watch, fd, FDWATCH_READ, on_connection, c);
    return c;
}

void control_close(struct control **cp)
{
    struct control *c = *cp;

    if (c == NULL)
        return;
    *cp = NULL;
    LIST_FOREACH(it, &c->requests)
    request_free(LIST_ITEM(it, struct control_request, link));
    fdwatch_stop(&c->watch);
    close(c->fd);
    unlink(c->path);
    mem_free(c->path);
    loop_free_later(c->loop, c);
}

/* ---- the client ---- */

static bool send_all(int fd, struct slice s)
{
    while (s.n > 0) {
        ssize_t n = send(fd, s.p, s.n, MSG_NOSIGNAL);

        if (n < 0)
            return false;
        s = slice_from(s, (size_t)n);
    }
    return true;
}

static bool send_request(int fd, int argc, const char *const *argv)
{
    struct buf request = {0};
    bool ok;

    buf_printf(&request, "%d\n", argc);
    for (int i = 0; i < argc; i++)
        buf_add(&request, argv[i], strlen(argv[i]) + 1);
    ok = send_all(fd, buf_slice(&request));
    buf_release(&request);
    return ok;
}

/* Reads "STATUS\n"; -1 when the server has gone. */
static int read_status(FILE *from)
{
    int status;

    return fscanf(from, "%d", &status) == 1 && fgetc(from) == '\n' ? status : -1;
}

static int print_answer(int fd)
{
    FILE *from = fdopen(fd, "r");
    int status = read_status(from);
    FILE *to = status == 0 ? stdout : stderr;
    char part[4096];
    size_t n;

    if (status < 0)
        fputs("mta: the server ended without an answer\n", stderr);
    while (status >= 0 && (n = fread(part, 1, sizeof part, from)) > 0)
        fwrite(part, 1, n, to);
    fclose(from);
    return status < 0 ? 1 : status;
}

int control_ask(const char *directory, int argc, const char *const *argv)
{
    struct sockaddr_un to;
    int fd = make_address(directory, &to) ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0) : -1;

    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof to) != 0 || !send_request(fd, argc, argv)) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    return print_answer(fd);
}
