/*
 * Pools of MySQL connections: see mysql_pool.h. mysql_query asks for a connection, has it for one query and gives it
 * back. A pool grows when wishes wait and shrinks when connections are idle for idle_interval.
 *
 * A connection is CONNECTING (a dialogue of its own: connect, then SET NAMES), IDLE, or BUSY (a query's dialogue). libmariadb resolves names and reads certificate and option files
 * without regard to the loop; connections that need it are made on a pool thread, one at a time.
 *
 * SET NAMES after connecting is not only for the character set: its answer tells the library whether the server takes
 * a backslash as an escape (sql_mode), which mysql_real_escape_string must know before the first query.
 */
#include "lookup/mysql_pool.h"

#include "core/base/alloc.h"
#include "core/loop/fdwatch.h"
#include "core/loop/work.h"
#include "lookup/mysql_hosts.h"
#include "lookup/table_int.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <mysql.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>

#define CONNS_MAX    8
#define WISHES_MAX   1000
#define TROUBLE_MS   1000         /* between attempts to get more connections than there are */
#define STACK_SIZE   (256 * 1024) /* of the library's coroutine: room for TLS */
#define PACKET_MAX   (4 * TABLE_VALUE_MAX)
#define UNWIND_STEPS 32

enum conn_state {
    CONN_CONNECTING,
    CONN_IDLE,
    CONN_BUSY,
};

struct mysql_conn {
    struct list link;
    struct mysql_pool *pool;
    enum conn_state state;
    MYSQL *mysql;
    size_t host;
    uint64_t tried; /* hosts, while connecting */
    bool reused;
    struct fdwatch watch;
    struct timer timer; /* of the dialogue, or of being idle */
    /* the dialogue */
    const struct mysql_step *steps;
    int step;
    bool suspended; /* the library waits for `cont` */
    void (*stuck)(void *arg);
    void *arg;
    /* connecting */
    MYSQL *connected;
    int failed;
    struct op_scope scope;   /* the thread that connects, */
    struct connect_job *job; /* and what it works on */
};

struct mysql_pool {
    struct mysql_pools *pools;
    struct buf key;
    unsigned users;
    struct loop *loop;
    struct query_file *file;
    struct mysql_hosts hosts;
    struct list conns; /* idle ones used last come first */
    size_t nconns, nconnecting;
    struct list wishes;
    size_t nwishes;
    bool threaded; /* there are servers that are connected to on a thread */
    bool trouble;  /* the last attempt to connect failed */
    uint64_t trouble_ms;
    struct loop_task pump;
};

struct mysql_pools {
    struct loop *loop;
    struct map by_key;
};

static void pump_later(struct mysql_pool *p);
static void connect_next(struct mysql_conn *c);

/* ---- dialogues ---- */

static void await(struct mysql_conn *c, int wait);

/* Goes on until the library has to wait or the dialogue is over; the connection may be gone afterwards. */
static void drive(struct mysql_conn *c, int wait)
{
    while (wait == 0) {
        int next = c->steps[c->step].after(c->arg);

        if (next == MYSQL_STEP_END)
            return;
        c->step = next;
        wait = c->steps[next].start(c->arg);
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
    drive(c, c->steps[c->step].cont(c->arg, ready));
}

static void on_limit(void *arg)
{
    struct mysql_conn *c = arg;

    c->stuck(c->arg);
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
    if (c->state == CONN_CONNECTING)
        keep_from_children(c->mysql);
    if (events == 0 || !fdwatch_start(c->pool->loop, &c->watch, mysql_get_socket(c->mysql), events, on_ready, c))
        timer_start(c->pool->loop, &c->timer, 1, on_limit, c);
}

void mysql_conn_run(struct mysql_conn *c, const struct mysql_step *steps, int first, uint64_t limit_ms,
                    void (*stuck)(void *arg), void *arg)
{
    c->steps = steps;
    c->step = first;
    c->stuck = stuck;
    c->arg = arg;
    timer_start(c->pool->loop, &c->timer, limit_ms, on_limit, c);
    drive(c, steps[first].start(arg));
}

/* ---- the end of a connection ---- */

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
        c->suspended = c->steps[c->step].cont(c->arg, MYSQL_WAIT_TIMEOUT) != 0;
}

static void close_handle(struct mysql_conn *c)
{
    fdwatch_stop(&c->watch);
    timer_stop(&c->timer);
    if (c->suspended)
        mysql_conn_break(c);
    c->suspended = false;
    if (c->mysql != NULL)
        mysql_close(c->mysql);
    c->mysql = NULL;
}

static void conn_free(struct mysql_conn *c)
{
    struct mysql_pool *p = c->pool;

    op_scope_close(&c->scope);
    close_handle(c);
    list_remove(&c->link);
    p->nconns--;
    if (c->state == CONN_CONNECTING)
        p->nconnecting--;
    mem_free(c);
    pump_later(p);
}

void mysql_conn_drop(struct mysql_conn *c)
{
    conn_free(c);
}

void mysql_conn_fail(struct mysql_conn *c, bool server_down, const char *why)
{
    struct mysql_pool *p = c->pool;

    if (server_down)
        mysql_hosts_failed(&p->hosts, c->host, why);
    LIST_FOREACH(it, &p->conns)
    {
        struct mysql_conn *other = LIST_ITEM(it, struct mysql_conn, link);

        if (other->state == CONN_IDLE && other->host == c->host)
            conn_free(other);
    }
    conn_free(c);
}

/* ---- idle connections ---- */

static void on_idle_over(void *arg)
{
    conn_free(arg);
}

/* An idle connection has nothing to say: what can be read is the server's farewell, or its end. */
static bool is_alive(const struct mysql_conn *c)
{
    struct pollfd p = {.fd = mysql_get_socket(c->mysql), .events = POLLIN};

    return poll(&p, 1, 0) == 0;
}

static void park(struct mysql_conn *c)
{
    struct mysql_pool *p = c->pool;

    c->state = CONN_IDLE;
    list_remove(&c->link);
    list_prepend(&p->conns, &c->link);
    pump_later(p);
    timer_start(p->loop, &c->timer, p->file->idle_interval_ms, on_idle_over, c);
}

void mysql_conn_release(struct mysql_conn *c)
{
    c->reused = true;
    park(c);
}

struct st_mysql *mysql_conn_handle(struct mysql_conn *c)
{
    return c->mysql;
}

bool mysql_conn_is_reused(const struct mysql_conn *c)
{
    return c->reused;
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

static bool needs_thread(const struct query_file *f, const struct query_host *h)
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

static void fail_wishes(struct mysql_pool *p, const char *why)
{
    struct list all, *it;

    list_init(&all);
    list_splice(&all, &p->wishes);
    p->nwishes = 0;
    while ((it = list_shift(&all)) != NULL) {
        struct mysql_wish *w = LIST_ITEM(it, struct mysql_wish, link);

        w->fn(w, NULL, why);
    }
}

static void connect_failed(struct mysql_conn *c, const char *error)
{
    struct mysql_pool *p = c->pool;
    char *why = mem_printf("connect to mysql server %s: %s", p->file->host[c->host].label, error);

    p->trouble = true;
    p->trouble_ms = loop_now_ms(p->loop);
    mysql_hosts_failed(&p->hosts, c->host, error);
    close_handle(c);
    c->tried |= (uint64_t)1 << c->host;
    c->host = mysql_hosts_pick(&p->hosts, c->tried, p->nconns == 1);
    if (c->host != MYSQL_HOSTS_NONE) {
        connect_next(c);
    } else {
        conn_free(c);
        if (p->nconns == 0)
            fail_wishes(p, why);
    }
    mem_free(why);
}

static void connect_succeeded(struct mysql_conn *c)
{
    struct mysql_pool *p = c->pool;

    if (wants_tls(p->file) && mysql_get_ssl_cipher(c->mysql) == NULL) {
        connect_failed(c, "the server does not offer TLS");
        return;
    }
    p->trouble = false;
    p->nconnecting--;
    mysql_hosts_worked(&p->hosts, c->host);
    park(c);
}

/* The dialogue: */
enum connect_step {
    CONNECT_CONNECT,
    CONNECT_CHARSET,
};

static int connect_start(void *arg)
{
    struct mysql_conn *c = arg;
    const struct query_file *f = c->pool->file;
    const struct query_host *h = &f->host[c->host];

    return mysql_real_connect_start(&c->connected, c->mysql, host_name(f, h), f->user, f->password, f->dbname, h->port,
                                    h->socket, CLIENT_MULTI_RESULTS);
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
    connect_failed(c, mysql_error(c->mysql));
    return MYSQL_STEP_END;
}

static int charset_start(void *arg)
{
    struct mysql_conn *c = arg;

    return mysql_set_character_set_start(&c->failed, c->mysql, c->pool->file->charset);
}

static int charset_cont(void *arg, int ready)
{
    struct mysql_conn *c = arg;

    return mysql_set_character_set_cont(&c->failed, c->mysql, ready);
}

static int charset_after(void *arg)
{
    struct mysql_conn *c = arg;

    if (c->failed)
        connect_failed(c, mysql_error(c->mysql));
    else
        connect_succeeded(c);
    return MYSQL_STEP_END;
}

static const struct mysql_step connect_steps[] = {
    [CONNECT_CONNECT] = {connect_start, connect_cont, connect_after},
    [CONNECT_CHARSET] = {charset_start, charset_cont, charset_after},
};

static void connect_stuck(void *arg)
{
    connect_failed(arg, "timed out");
}

/* The same on a thread: */
struct connect_job {
    struct query_file *file;
    const struct query_host *host;
    MYSQL *mysql;
    bool ok;
};

static enum op_status connect_on_thread(void *arg)
{
    struct connect_job *j = arg;
    const struct query_file *f = j->file;
    unsigned limit_s = (unsigned)((connect_limit_ms(f) + 999) / 1000);

    mysql_options(j->mysql, MYSQL_OPT_CONNECT_TIMEOUT, &limit_s);
    mysql_options(j->mysql, MYSQL_OPT_READ_TIMEOUT, &limit_s);
    mysql_options(j->mysql, MYSQL_OPT_WRITE_TIMEOUT, &limit_s);
    j->ok = mysql_real_connect(j->mysql, host_name(f, j->host), f->user, f->password, f->dbname, j->host->port,
                               j->host->socket, CLIENT_MULTI_RESULTS) != NULL;
    if (j->ok)
        keep_from_children(j->mysql);
    j->ok = j->ok && mysql_set_character_set(j->mysql, f->charset) == 0;
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
    timer_stop(&c->timer);
    c->mysql = j->mysql;
    j->mysql = NULL;
    if (ok)
        connect_succeeded(c);
    else
        connect_failed(c, mysql_error(c->mysql));
}

static void thread_stuck(void *arg)
{
    struct mysql_conn *c = arg;

    op_scope_cancel(&c->scope);
    connect_failed(c, "timed out");
}

/* Connects to c->host. */
static void connect_next(struct mysql_conn *c)
{
    struct mysql_pool *p = c->pool;
    const struct query_host *h = &p->file->host[c->host];
    struct connect_job *j;

    if (!needs_thread(p->file, h)) {
        c->mysql = make_handle(p->file);
        mysql_conn_run(c, connect_steps, CONNECT_CONNECT, connect_limit_ms(p->file), connect_stuck, c);
        return;
    }
    j = NEW(struct connect_job);
    j->file = query_file_ref(p->file);
    j->host = h;
    j->mysql = make_handle(p->file);
    c->job = j;
    c->stuck = thread_stuck;
    c->arg = c;
    timer_start(p->loop, &c->timer, p->file->timeout_ms, on_limit, c);
    work_run(p->loop, &c->scope, "mysql connect", 0, connect_on_thread, j, connect_job_free, on_thread_connected, c);
}

/* False when no server is worth it, or it failed at once. */
static bool connect_new(struct mysql_pool *p)
{
    size_t before = p->nconns, host = mysql_hosts_pick(&p->hosts, 0, before == 0);
    struct mysql_conn *c;

    if (host == MYSQL_HOSTS_NONE)
        return false;
    c = NEW(struct mysql_conn);
    c->pool = p;
    c->host = host;
    op_scope_init(&c->scope, "mysql connection");
    list_append(&p->conns, &c->link);
    p->nconns++;
    p->nconnecting++;
    connect_next(c);
    return p->nconns > before;
}

/* ---- wishes ---- */

/* The idle connection that was used last. Those that the server has dropped meanwhile are closed on the way. */
static struct mysql_conn *idle_conn(struct mysql_pool *p)
{
    LIST_FOREACH (it, &p->conns) {
        struct mysql_conn *c = LIST_ITEM(it, struct mysql_conn, link);

        if (c->state == CONN_IDLE && is_alive(c))
            return c;
        if (c->state == CONN_IDLE)
            conn_free(c);
    }
    return NULL;
}

/* Is another connection worth an attempt? One at a time on a thread, and while servers fail. */
static bool may_grow(const struct mysql_pool *p)
{
    if (p->nwishes <= p->nconnecting || p->nconns >= CONNS_MAX)
        return false;
    if (p->nconnecting > 0)
        return !p->trouble && !p->threaded;
    return !p->trouble || p->nconns == 0 || loop_now_ms(p->loop) - p->trouble_ms >= TROUBLE_MS;
}

static void pump(void *arg)
{
    struct mysql_pool *p = arg;
    struct mysql_conn *c;

    while (p->nwishes > 0 && (c = idle_conn(p)) != NULL) {
        struct mysql_wish *w = LIST_ITEM(list_shift(&p->wishes), struct mysql_wish, link);

        p->nwishes--;
        timer_stop(&c->timer);
        c->state = CONN_BUSY;
        w->fn(w, c, NULL);
    }
    while (may_grow(p) && connect_new(p))
        ;
}

static void pump_later(struct mysql_pool *p)
{
    loop_defer(p->loop, &p->pump, pump, p);
}

bool mysql_pool_wish(struct mysql_pool *p, struct mysql_wish *w)
{
    if (p->nwishes >= WISHES_MAX)
        return false;
    list_append(&p->wishes, &w->link);
    p->nwishes++;
    pump_later(p);
    return true;
}

void mysql_pool_unwish(struct mysql_pool *p, struct mysql_wish *w)
{
    if (!list_linked(&w->link))
        return;
    list_remove(&w->link);
    p->nwishes--;
}

/* ---- pools ---- */

struct mysql_pools *mysql_pools_new(struct loop *loop)
{
    struct mysql_pools *ps = NEW(struct mysql_pools);

    MTA_ASSERT(mysql_library_init(0, NULL, NULL) == 0);
    ps->loop = loop;
    return ps;
}

void mysql_pools_free(struct mysql_pools **psp)
{
    struct mysql_pools *ps = *psp;

    if (ps == NULL)
        return;
    *psp = NULL;
    MTA_ASSERT(ps->by_key.count == 0);
    map_clear(&ps->by_key);
    mem_free(ps);
}

/* All that matters for a connection, in one string. */
static void make_key(struct buf *key, const struct query_file *f)
{
    const char *const texts[] = {f->user,         f->password,    f->dbname,       f->hosts,
                                 f->charset,      f->option_file, f->option_group, f->tls_cert_file,
                                 f->tls_key_file, f->tls_cafile,  f->tls_capath,   f->tls_ciphers};

    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        buf_add(key, texts[i] ? texts[i] : "", texts[i] ? strlen(texts[i]) + 1 : 1);
    buf_printf(key, "%d %ju %ju %ju", f->tls_verify_cert, (uintmax_t)f->idle_interval_ms,
               (uintmax_t)f->retry_interval_ms, (uintmax_t)f->timeout_ms);
}

struct mysql_pool *mysql_pool_get(struct mysql_pools *ps, struct query_file *f)
{
    struct buf key = {0};
    struct mysql_pool *p;

    make_key(&key, f);
    p = map_get(&ps->by_key, buf_slice(&key));
    if (p == NULL) {
        p = NEW(struct mysql_pool);
        p->pools = ps;
        p->key = key;
        p->loop = ps->loop;
        p->file = query_file_ref(f);
        mysql_hosts_init(&p->hosts, ps->loop, f);
        list_init(&p->conns);
        list_init(&p->wishes);
        for (size_t i = 0; i < f->nhosts; i++)
            p->threaded = p->threaded || needs_thread(f, &f->host[i]);
        map_put(&ps->by_key, buf_slice(&key), p);
    } else {
        buf_release(&key);
    }
    p->users++;
    return p;
}

struct mysql_pool *mysql_pool_ref(struct mysql_pool *p)
{
    p->users++;
    return p;
}

void mysql_pool_put(struct mysql_pool **pp)
{
    struct mysql_pool *p = *pp;

    *pp = NULL;
    if (p == NULL || --p->users > 0)
        return;
    MTA_ASSERT(p->nwishes == 0);
    LIST_FOREACH(it, &p->conns)
    conn_free(LIST_ITEM(it, struct mysql_conn, link));
    loop_defer_cancel(&p->pump);
    map_remove(&p->pools->by_key, buf_slice(&p->key));
    mysql_hosts_release(&p->hosts);
    query_file_unref(&p->file);
    buf_release(&p->key);
    mem_free(p);
}
