/*
 * One MySQL connection: see mysql_conn.h. Made and closed by mysql_pool, used by mysql_query. libmariadb runs each call
 * as a coroutine that comes back to us whenever it would wait; what it waits for is watched on the loop.
 *
 * SET NAMES after connecting is not only for the character set: its answer tells the library whether the server takes
 * a backslash as an escape (sql_mode), which mysql_real_escape_string must know before the first query.
 *
 * Where the library would block while it connects, that is done on a pool thread, to which the handle belongs
 * meanwhile.
 *
 * The library reads for as long as there is something to read, and keeps what it reads of a result's columns. A server
 * that sends without end is cut off, so that it can neither stop the loop, nor fill the memory, nor, by a byte now and
 * then, keep a thread.
 */
#include "lookup/mysql_conn.h"

#include "core/base/alloc.h"
#include "core/loop/fdwatch.h"
#include "core/loop/work.h"
#include "lookup/mysql_intake.h"
#include "lookup/table_int.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mysql.h>
#include <poll.h>
#include <sys/socket.h>

#define STACK_SIZE   (256 * 1024) /* of the library's coroutine: room for TLS */
#define PACKET_MAX   (2 * TABLE_VALUE_MAX)
#define INTAKE_MAX   (2 * PACKET_MAX) /* bytes of a dialogue, or of connecting */
#define UNWIND_STEPS 32

struct mysql_conn {
    struct loop *loop;
    struct query_file *file;
    const struct query_host *host;
    MYSQL *mysql; /* NULL: a thread has it */
    struct fdwatch watch;
    struct timer timer; /* of the dialogue */
    /* the dialogue */
    const struct mysql_step *steps;
    int step;
    bool suspended;             /* the library waits for `cont` */
    struct mysql_intake intake; /* of the dialogue */
    void (*stuck)(void *arg);
    void *step_arg;
    /* connecting */
    bool connecting;
    struct loop_task begin;
    MYSQL *connected;
    int failed;
    struct op_scope scope;   /* the thread, */
    struct connect_job *job; /* and what it works on */
    void (*done)(void *arg, const char *error);
    void *arg;
};

void *mysql_conn_arg(const struct mysql_conn *c)
{
    return c->arg;
}

struct st_mysql *mysql_conn_handle(struct mysql_conn *c)
{
    return c->mysql;
}

bool mysql_conn_is_alive(const struct mysql_conn *c)
{
    struct pollfd p = {.fd = mysql_get_socket(c->mysql), .events = POLLIN};

    return poll(&p, 1, 0) == 0; /* nothing was asked: what can be read is the server's farewell, or its end */
}

/* ---- dialogues ---- */

static int start_step(struct mysql_conn *c)
{
    int wait;

    mysql_intake_count(&c->intake);
    wait = c->steps[c->step].start(c->step_arg);
    mysql_intake_count(NULL);
    return wait;
}

static int cont_step(struct mysql_conn *c, int ready)
{
    int wait;

    mysql_intake_count(&c->intake);
    wait = c->steps[c->step].cont(c->step_arg, ready);
    mysql_intake_count(NULL);
    return wait;
}

static void await(struct mysql_conn *c, int wait);

/* Goes on until the library has to wait or the dialogue is over; the connection may be gone afterwards. */
static void drive(struct mysql_conn *c, int wait)
{
    while (wait == 0) {
        int next = c->steps[c->step].after(c->step_arg);

        if (next == MYSQL_STEP_END)
            return;
        c->step = next;
        wait = start_step(c);
    }
    await(c, wait);
}

static void on_ready(void *arg, int events)
{
    struct mysql_conn *c = arg;
    int ready = 0;

    fdwatch_stop(&c->watch); /* the library may close the descriptor */
    c->suspended = false;
    if (events & FDWATCH_READ)
        ready |= MYSQL_WAIT_READ;
    if (events & FDWATCH_WRITE)
        ready |= MYSQL_WAIT_WRITE;
    if (events & FDWATCH_PRIO)
        ready |= MYSQL_WAIT_EXCEPT;
    drive(c, cont_step(c, ready));
}

static void on_limit(void *arg)
{
    struct mysql_conn *c = arg;

    c->stuck(c->step_arg);
}

/* Deliver's children must not inherit the connection; libmariadb does not see to that. */
static void keep_from_children(MYSQL *mysql)
{
    int fd = mysql_get_socket(mysql);

    if (fd >= 0)
        fcntl(fd, F_SETFD, FD_CLOEXEC);
}

static void await(struct mysql_conn *c, int wait)
{
    int events = 0;

    c->suspended = true;
    if (wait & MYSQL_WAIT_READ)
        events |= FDWATCH_READ;
    if (wait & MYSQL_WAIT_WRITE)
        events |= FDWATCH_WRITE;
    if (wait & MYSQL_WAIT_EXCEPT)
        events |= FDWATCH_PRIO;
    if (c->connecting)
        keep_from_children(c->mysql);
    if (events == 0 || !fdwatch_start(c->loop, &c->watch, mysql_get_socket(c->mysql), events, on_ready, c))
        timer_start(c->loop, &c->timer, 1, on_limit, c);
}

void mysql_conn_run(struct mysql_conn *c, const struct mysql_step *steps, int first, uint64_t limit_ms,
                    void (*stuck)(void *arg), void *arg)
{
    c->steps = steps;
    c->step = first;
    c->stuck = stuck;
    c->step_arg = arg;
    c->intake = mysql_intake_begin(INTAKE_MAX, 0);
    timer_start(c->loop, &c->timer, limit_ms, on_limit, c);
    drive(c, start_step(c));
}

void mysql_conn_rest(struct mysql_conn *c)
{
    timer_stop(&c->timer);
}

/* ---- the end ---- */

void mysql_conn_break(struct mysql_conn *c)
{
    static const struct linger reset = {.l_onoff = 1};
    int fd;

    fdwatch_stop(&c->watch);
    timer_stop(&c->timer);
    if (c->mysql == NULL)
        return;
    fd = mysql_get_socket(c->mysql);
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset); /* a server in the middle of many rows learns of it */
    shutdown(fd, SHUT_RDWR);
    for (int i = 0; c->suspended && i < UNWIND_STEPS; i++)
        c->suspended = cont_step(c, MYSQL_WAIT_TIMEOUT) != 0;
}

void mysql_conn_close(struct mysql_conn **cp)
{
    struct mysql_conn *c = *cp;

    if (c == NULL)
        return;
    *cp = NULL;
    op_scope_close(&c->scope);
    loop_defer_cancel(&c->begin);
    fdwatch_stop(&c->watch);
    timer_stop(&c->timer);
    if (c->suspended)
        mysql_conn_break(c);
    if (c->mysql != NULL)
        mysql_close(c->mysql);
    query_file_unref(&c->file);
    mem_free(c);
}

/* ---- connecting ---- */

static bool wants_tls(const struct query_file *f)
{
    return f->tls_verify_cert || f->tls_cafile != NULL || f->tls_capath != NULL || f->tls_cert_file != NULL ||
           f->tls_key_file != NULL || f->tls_ciphers != NULL;
}

static bool is_numeric(const char *host)
{
    struct in6_addr addr;

    return inet_pton(AF_INET, host, &addr) == 1 || inet_pton(AF_INET6, host, &addr) == 1;
}

bool mysql_conn_needs_thread(const struct query_file *f, const struct query_host *h)
{
    return (h->host != NULL && !is_numeric(h->host)) || f->option_file != NULL || wants_tls(f);
}

static uint64_t connect_limit_ms(const struct query_file *f)
{
    return f->timeout_ms / 4;
}

static MYSQL *make_handle(const struct query_file *f)
{
    static const struct {
        size_t offset;
        enum mysql_option option;
    } texts[] = {
        {offsetof(struct query_file, option_file), MYSQL_READ_DEFAULT_FILE},
        {offsetof(struct query_file, option_group), MYSQL_READ_DEFAULT_GROUP},
        {offsetof(struct query_file, charset), MYSQL_SET_CHARSET_NAME},
        {offsetof(struct query_file, tls_cert_file), MYSQL_OPT_SSL_CERT},
        {offsetof(struct query_file, tls_key_file), MYSQL_OPT_SSL_KEY},
        {offsetof(struct query_file, tls_cafile), MYSQL_OPT_SSL_CA},
        {offsetof(struct query_file, tls_capath), MYSQL_OPT_SSL_CAPATH},
        {offsetof(struct query_file, tls_ciphers), MYSQL_OPT_SSL_CIPHER},
    };
    MYSQL *mysql = mysql_init(NULL);
    size_t stack = STACK_SIZE, packet = PACKET_MAX;
    unsigned no = 0;
    my_bool yes = 1;

    MTA_ASSERT(mysql != NULL);
    mysql_options(mysql, MYSQL_OPT_NONBLOCK, &stack);
    mysql_options(mysql, MYSQL_OPT_MAX_ALLOWED_PACKET, &packet);
    mysql_options(mysql, MYSQL_OPT_LOCAL_INFILE, &no); /* a server must not ask for our files */
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const char *text = *(const char *const *)((const char *)f + texts[i].offset);

        if (text != NULL && text[0] != '\0')
            mysql_options(mysql, texts[i].option, text);
    }
    if (wants_tls(f))
        mysql_options(mysql, MYSQL_OPT_SSL_ENFORCE, &yes);
    if (f->tls_verify_cert)
        mysql_options(mysql, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &yes);
    return mysql;
}

/* The name that goes with a socket keeps the library from taking one of an option file. */
static const char *host_name(const struct query_file *f, const struct query_host *h)
{
    if (h->host != NULL)
        return h->host;
    return f->option_file != NULL && h->socket == NULL ? NULL : "localhost";
}

/* The end of the attempt: the connection may be closed by whoever is told. */
static void finish(struct mysql_conn *c, const char *error)
{
    if (error == NULL && wants_tls(c->file) && mysql_get_ssl_cipher(c->mysql) == NULL)
        error = "the server does not offer TLS";
    timer_stop(&c->timer);
    c->connecting = false;
    c->done(c->arg, error);
}

/* The dialogue: */
enum connect_step {
    CONNECT_CONNECT,
    CONNECT_CHARSET,
};

static int connect_start(void *arg)
{
    struct mysql_conn *c = arg;
    const struct query_file *f = c->file;

    return mysql_real_connect_start(&c->connected, c->mysql, host_name(f, c->host), f->user, f->password, f->dbname,
                                    c->host->port, c->host->socket, CLIENT_MULTI_RESULTS);
}

static int connect_cont(void *arg, int ready)
{
    struct mysql_conn *c = arg;

    return mysql_real_connect_cont(&c->connected, c->mysql, ready);
}

static int connect_after(void *arg)
{
    struct mysql_conn *c = arg;

    if (c->connected != NULL)
        return CONNECT_CHARSET;
    finish(c, mysql_error(c->mysql));
    return MYSQL_STEP_END;
}

static int charset_start(void *arg)
{
    struct mysql_conn *c = arg;

    return mysql_set_character_set_start(&c->failed, c->mysql, c->file->charset);
}

static int charset_cont(void *arg, int ready)
{
    struct mysql_conn *c = arg;

    return mysql_set_character_set_cont(&c->failed, c->mysql, ready);
}

static int charset_after(void *arg)
{
    struct mysql_conn *c = arg;

    finish(c, c->failed ? mysql_error(c->mysql) : NULL);
    return MYSQL_STEP_END;
}

static const struct mysql_step connect_steps[] = {
    [CONNECT_CONNECT] = {connect_start, connect_cont, connect_after},
    [CONNECT_CHARSET] = {charset_start, charset_cont, charset_after},
};

static void connect_stuck(void *arg)
{
    finish(arg, "timed out");
}

/* The same on a thread: */
struct connect_job {
    struct query_file *file;
    const struct query_host *host;
    MYSQL *mysql;
    struct mysql_intake intake;
    bool ok;
};

static enum op_status connect_on_thread(void *arg)
{
    struct connect_job *j = arg;
    const struct query_file *f = j->file;
    unsigned limit_s = (unsigned)((connect_limit_ms(f) + 999) / 1000);

    j->intake = mysql_intake_begin(INTAKE_MAX, f->timeout_ms / 1000 + 1); /* nobody waits any longer */
    mysql_intake_count(&j->intake);
    mysql_options(j->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &limit_s);
    mysql_options(j->mysql, MYSQL_OPT_READ_TIMEOUT, &limit_s);
    mysql_options(j->mysql, MYSQL_OPT_WRITE_TIMEOUT, &limit_s);
    j->ok = mysql_real_connect(j->mysql, host_name(f, j->host), f->user, f->password, f->dbname, j->host->port,
                               j->host->socket, CLIENT_MULTI_RESULTS) != NULL;
    if (j->ok)
        keep_from_children(j->mysql);
    j->ok = j->ok && mysql_set_character_set(j->mysql, f->charset) == 0;
    mysql_intake_count(NULL);
    return OP_OK;
}

static void connect_job_free(void *arg)
{
    struct connect_job *j = arg;

    if (j->mysql != NULL)
        mysql_close(j->mysql);
    query_file_unref(&j->file);
    mem_free(j);
}

static void on_thread_connected(void *owner, enum op_status status, const void *result)
{
    struct mysql_conn *c = owner;
    struct connect_job *j = c->job;
    bool ok = status == OP_OK && j->ok;

    (void)result;
    c->mysql = j->mysql;
    j->mysql = NULL;
    finish(c, ok ? NULL : mysql_error(c->mysql));
}

static void thread_stuck(void *arg)
{
    struct mysql_conn *c = arg;

    op_scope_cancel(&c->scope);
    finish(c, "timed out");
}

static void begin_on_thread(struct mysql_conn *c)
{
    struct connect_job *j = NEW(struct connect_job);

    j->file = query_file_ref(c->file);
    j->host = c->host;
    j->mysql = make_handle(c->file);
    c->job = j;
    c->stuck = thread_stuck;
    c->step_arg = c;
    timer_start(c->loop, &c->timer, c->file->timeout_ms, on_limit, c);
    work_run(c->loop, &c->scope, "mysql connect", 0, connect_on_thread, j, connect_job_free, on_thread_connected, c);
}

static void begin(void *arg)
{
    struct mysql_conn *c = arg;

    if (mysql_conn_needs_thread(c->file, c->host)) {
        begin_on_thread(c);
        return;
    }
    c->mysql = make_handle(c->file);
    mysql_conn_run(c, connect_steps, CONNECT_CONNECT, connect_limit_ms(c->file), connect_stuck, c);
}

struct mysql_conn *mysql_conn_connect(struct loop *loop, struct query_file *file, size_t host,
                                      void (*done)(void *arg, const char *error), void *arg)
{
    struct mysql_conn *c = NEW(struct mysql_conn);

    c->loop = loop;
    c->file = query_file_ref(file);
    c->host = &c->file->host[host];
    c->connecting = true;
    c->done = done;
    c->arg = arg;
    op_scope_init(&c->scope, "mysql connection");
    loop_defer(loop, &c->begin, begin, c);
    return c;
}
