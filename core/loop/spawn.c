/*
 * Child processes: see spawn.h. Used by the pipe transport. The child is the leader of a session and process group of
 * its own, so that a time-out kills all it has started. It is over when the process was reaped and its output is at
 * its end; a grandchild that keeps the output open gets a moment, then the group is killed.
 */
#include "core/loop/spawn.h"

#include "core/base/alloc.h"
#include "core/base/buf.h"
#include "core/loop/loop_int.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#define SPAWN_KILL_AFTER_MS   5000 /* from SIGTERM to SIGKILL */
#define SPAWN_OUTPUT_GRACE_MS 500  /* for output after the exit */

struct spawn {
    struct loop *loop;
    const struct spawn_events *events; /* NULL: the owner has let go */
    void *arg;
    uv_process_t process;
    uv_pipe_t in, out;
    uv_write_t write;
    struct buf writing;
    struct buf output;
    size_t output_max;
    struct timer limit, kill, grace;
    struct loop_task first;
    struct spawn_result result;
    bool in_open, out_open, running, exited, told;
    int open_handles;
};

static void free_when_closed(struct spawn *s)
{
    if (s->open_handles > 0 || s->events != NULL)
        return;
    buf_release(&s->writing);
    buf_release(&s->output);
    mem_free(s);
}

static void on_closed(uv_handle_t *h)
{
    struct spawn *s = h->data;

    s->open_handles--;
    free_when_closed(s);
}

static void close_input(struct spawn *s)
{
    if (!s->in_open)
        return;
    s->in_open = false;
    uv_close((uv_handle_t *)&s->in, on_closed);
}

static void close_output(struct spawn *s)
{
    if (!s->out_open)
        return;
    s->out_open = false;
    uv_close((uv_handle_t *)&s->out, on_closed);
}

static void kill_group(struct spawn *s, int signum)
{
    if (s->running && s->process.pid > 0)
        kill(-s->process.pid, signum);
}

static void maybe_over(struct spawn *s)
{
    if (!s->exited || s->out_open || s->told || s->events == NULL)
        return;
    s->told = true;
    timer_stop(&s->kill);
    timer_stop(&s->grace);
    close_input(s);
    s->result.output = buf_len(&s->output) > 0 ? buf_slice(&s->output) : SLICE_EMPTY;
    s->events->on_exit(s->arg, &s->result);
}

static void on_grace_over(void *arg)
{
    struct spawn *s = arg;

    kill(-s->process.pid,
         SIGKILL); /* what is left of the group: the leader is reaped, its pid is the group's until all are gone */
    close_output(s);
    maybe_over(s);
}

static void on_exit_cb(uv_process_t *p, int64_t status, int signum)
{
    struct spawn *s = p->data;

    s->running = false;
    s->exited = true;
    s->result.exit_status = (int)status;
    s->result.term_signal = signum;
    timer_stop(&s->limit);
    if (s->result.timed_out)
        kill(-p->pid, SIGKILL); /* the leader heeded SIGTERM; others of the group may not have */
    uv_close((uv_handle_t *)p, on_closed);
    if (s->out_open && s->events != NULL)
        timer_start(s->loop, &s->grace, SPAWN_OUTPUT_GRACE_MS, on_grace_over, s);
    maybe_over(s);
}

static void on_kill_time(void *arg)
{
    kill_group(arg, SIGKILL);
}

static void on_limit(void *arg)
{
    struct spawn *s = arg;

    s->result.timed_out = true;
    kill_group(s, SIGTERM);
    timer_start(s->loop, &s->kill, SPAWN_KILL_AFTER_MS, on_kill_time, s);
}

/* ---- output ---- */

static void on_alloc(uv_handle_t *h, size_t hint, uv_buf_t *b)
{
    struct spawn *s = h->data;

    (void)hint;
    *b = uv_buf_init(s->loop->read_buf, LOOP_READ_MAX);
}

static void on_output(uv_stream_t *h, ssize_t n, const uv_buf_t *b)
{
    struct spawn *s = h->data;

    if (n < 0) {
        close_output(s);
        maybe_over(s);
    } else if (n > 0) {
        size_t room = s->output_max - buf_len(&s->output);

        buf_add(&s->output, b->base, (size_t)n < room ? (size_t)n : room);
    }
}

/* ---- input ---- */

static void writable(struct spawn *s)
{
    if (s->events != NULL && s->in_open && !s->told)
        s->events->on_writable(s->arg);
}

static void on_first(void *arg)
{
    struct spawn *s = arg;

    if (s->result.started)
        writable(s);
    else
        maybe_over(s);
}

static void on_written(uv_write_t *req, int status)
{
    struct spawn *s = req->data;

    req->data = NULL;
    buf_release(&s->writing);
    if (status < 0 && s->in_open) {
        s->result.input_refused = true;
        close_input(s);
        return;
    }
    writable(s);
}

void spawn_write(struct spawn *s, struct slice bytes)
{
    uv_buf_t b;

    MTA_ASSERT(s->write.data == NULL);
    if (!s->in_open)
        return;
    buf_add_slice(&s->writing, bytes);
    b = uv_buf_init(s->writing.data + s->writing.start, (unsigned)buf_len(&s->writing));
    s->write.data = s;
    if (uv_write(&s->write, (uv_stream_t *)&s->in, &b, 1, on_written) != 0) {
        s->write.data = NULL;
        buf_release(&s->writing);
        s->result.input_refused = true;
        close_input(s);
    }
}

void spawn_end_input(struct spawn *s)
{
    close_input(s);
}

/* ---- start and end ---- */

/* Pipes, not libuv's socket pairs: some commands open /dev/stdin. `ours` becomes the handle's, `theirs` the child's. */
static int open_pipes(struct spawn *s, int theirs[2])
{
    int in[2], out[2], err;

    if (pipe2(in, O_CLOEXEC) != 0)
        return -errno;
    if (pipe2(out, O_CLOEXEC) != 0) {
        err = -errno;
        close(in[0]);
        close(in[1]);
        return err;
    }
    if (!loop_fds_left(s->loop, out[1], LOOP_FDS_FOR_CLIENTS)) {
        for (int i = 0; i < 2; i++) {
            close(in[i]);
            close(out[i]);
        }
        return -EMFILE;
    }
    MTA_ASSERT(uv_pipe_open(&s->in, in[1]) == 0);
    MTA_ASSERT(uv_pipe_open(&s->out, out[0]) == 0);
    theirs[0] = in[0];
    theirs[1] = out[1];
    return 0;
}

static int start_process(struct spawn *s, const struct spawn_opts *o)
{
    int theirs[2] = {-1, -1}, err = open_pipes(s, theirs);
    uv_stdio_container_t io[3];
    uv_process_options_t opts = {
        .file = o->argv[0],
        .args = (char **)o->argv,
        .env = (char **)o->env,
        .cwd = o->cwd ? o->cwd : "/",
        .flags = UV_PROCESS_DETACHED,
        .stdio = io,
        .stdio_count = 3,
        .exit_cb = on_exit_cb,
    };

    if (err != 0)
        return err;
    for (int i = 0; i < 3; i++) {
        io[i].flags = UV_INHERIT_FD;
        io[i].data.fd = theirs[i > 0];
    }
    if (o->switch_user && (o->uid != geteuid() || o->gid != getegid())) {
        opts.flags |= UV_PROCESS_SETUID | UV_PROCESS_SETGID;
        opts.uid = o->uid;
        opts.gid = o->gid;
    }
    err = uv_spawn(&s->loop->uv, &s->process, &opts);
    close(theirs[0]);
    close(theirs[1]);
    return err;
}

struct spawn *spawn_start(struct loop *l, const struct spawn_opts *o, const struct spawn_events *ev, void *arg)
{
    struct spawn *s = NEW(struct spawn);
    int err;

    s->loop = l;
    s->events = ev;
    s->arg = arg;
    s->output_max = o->output_max;
    uv_pipe_init(&l->uv, &s->in, 0);
    uv_pipe_init(&l->uv, &s->out, 0);
    s->in.data = s->out.data = s->process.data = s;
    s->in_open = s->out_open = true;
    s->open_handles = 3;
    err = start_process(s, o);
    if (err != 0) {
        s->result.error = uv_strerror(err);
        s->exited = true;
        if (s->process.loop != NULL)
            uv_close((uv_handle_t *)&s->process, on_closed);
        else
            s->open_handles--;
        close_input(s);
        close_output(s);
    } else {
        s->result.started = s->running = true;
        uv_read_start((uv_stream_t *)&s->out, on_alloc, on_output);
        if (o->time_limit_ms > 0)
            timer_start(l, &s->limit, o->time_limit_ms, on_limit, s);
    }
    loop_defer(l, &s->first, on_first, s);
    return s;
}

void spawn_free(struct spawn **sp)
{
    struct spawn *s = *sp;

    if (s == NULL)
        return;
    *sp = NULL;
    s->events = NULL;
    timer_stop(&s->limit);
    timer_stop(&s->kill);
    timer_stop(&s->grace);
    loop_defer_cancel(&s->first);
    kill_group(s, SIGKILL);
    close_input(s);
    close_output(s);
    free_when_closed(s);
}
