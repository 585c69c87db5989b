/*
 * Pools of MySQL connections: see mysql_pool.h. mysql_query asks for a connection, has it for one query and gives it
 * back. A pool grows when wishes wait and shrinks when connections are idle for idle_interval. Each connection has a
 * slot, which is CONNECTING (to one server after the other, until one works), IDLE or BUSY.
 */
#include "lookup/mysql_pool.h"

#include "core/base/alloc.h"
#include "core/base/map.h"
#include "core/loop/timer.h"
#include "lookup/mysql_hosts.h"

#define CONNS_MAX  8
#define WISHES_MAX 1000
#define TROUBLE_MS 1000 /* between attempts to get more connections than there are */

enum slot_state {
    SLOT_CONNECTING,
    SLOT_IDLE,
    SLOT_BUSY,
};

struct slot {
    struct list link;
    struct mysql_pool *pool;
    enum slot_state state;
    struct mysql_conn *conn;
    size_t host;
    uint64_t tried; /* hosts, while connecting */
    bool reused;
    struct timer idle;
};

struct mysql_pool {
    struct mysql_pools *pools;
    struct buf key;
    unsigned users;
    struct loop *loop;
    struct query_file *file;
    struct mysql_hosts hosts;
    struct list slots; /* of the idle ones, those used last come first */
    size_t nslots, nconnecting;
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

static void pump(void *arg);

static void pump_later(struct mysql_pool *p)
{
    loop_defer(p->loop, &p->pump, pump, p);
}

/* ---- slots ---- */

static void slot_free(struct slot *s)
{
    struct mysql_pool *p = s->pool;

    timer_stop(&s->idle);
    mysql_conn_close(&s->conn);
    list_remove(&s->link);
    p->nslots--;
    if (s->state == SLOT_CONNECTING)
        p->nconnecting--;
    mem_free(s);
    pump_later(p);
}

static void on_idle_over(void *arg)
{
    slot_free(arg);
}

static void park(struct slot *s)
{
    struct mysql_pool *p = s->pool;

    s->state = SLOT_IDLE;
    list_remove(&s->link);
    list_prepend(&p->slots, &s->link);
    timer_start(p->loop, &s->idle, p->file->idle_interval_ms, on_idle_over, s);
    pump_later(p);
}

bool mysql_pool_is_reused(const struct mysql_conn *c)
{
    return ((struct slot *)mysql_conn_arg(c))->reused;
}

void mysql_pool_release(struct mysql_conn *c)
{
    struct slot *s = mysql_conn_arg(c);

    mysql_conn_rest(c);
    s->reused = true;
    park(s);
}

void mysql_pool_drop(struct mysql_conn *c)
{
    slot_free(mysql_conn_arg(c));
}

void mysql_pool_fail(struct mysql_conn *c, bool server_down, const char *why)
{
    struct slot *s = mysql_conn_arg(c);
    struct mysql_pool *p = s->pool;

    if (server_down)
        mysql_hosts_failed(&p->hosts, s->host, why);
    LIST_FOREACH(it, &p->slots)
    {
        struct slot *other = LIST_ITEM(it, struct slot, link);

        if (other->state == SLOT_IDLE && other->host == s->host)
            slot_free(other);
    }
    slot_free(s);
}

/* ---- connecting ---- */

static void connect_slot(struct slot *s);

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

/* The slot's server failed: on to the next. When nothing is left to hope for, whoever waits is told. */
static void connect_failed(struct slot *s, const char *error)
{
    struct mysql_pool *p = s->pool;
    char *why = mem_printf("connect to mysql server %s: %s", p->file->host[s->host].label, error);

    p->trouble = true;
    p->trouble_ms = loop_now_ms(p->loop);
    mysql_hosts_failed(&p->hosts, s->host, error);
    mysql_conn_close(&s->conn);
    s->tried |= (uint64_t)1 << s->host;
    s->host = mysql_hosts_pick(&p->hosts, s->tried, p->nslots == 1);
    if (s->host != MYSQL_HOSTS_NONE) {
        connect_slot(s);
    } else {
        slot_free(s);
        if (p->nslots == 0)
            fail_wishes(p, why);
    }
    mem_free(why);
}

static void on_connected(void *arg, const char *error)
{
    struct slot *s = arg;
    struct mysql_pool *p = s->pool;

    if (error != NULL) {
        connect_failed(s, error);
        return;
    }
    p->trouble = false;
    p->nconnecting--;
    mysql_hosts_worked(&p->hosts, s->host);
    park(s);
}

static void connect_slot(struct slot *s)
{
    s->conn = mysql_conn_connect(s->pool->loop, s->pool->file, s->host, on_connected, s);
}

/* False when no server is worth it. */
static bool connect_new(struct mysql_pool *p)
{
    size_t host = mysql_hosts_pick(&p->hosts, 0, p->nslots == 0);
    struct slot *s;

    if (host == MYSQL_HOSTS_NONE)
        return false;
    s = NEW(struct slot);
    s->pool = p;
    s->host = host;
    list_append(&p->slots, &s->link);
    p->nslots++;
    p->nconnecting++;
    connect_slot(s);
    return true;
}

/* ---- wishes ---- */

/* The idle connection that was used last. Those that the server has dropped meanwhile are closed on the way. */
static struct slot *idle_slot(struct mysql_pool *p)
{
    LIST_FOREACH(it, &p->slots)
    {
        struct slot *s = LIST_ITEM(it, struct slot, link);

        if (s->state == SLOT_IDLE && mysql_conn_is_alive(s->conn))
            return s;
        if (s->state == SLOT_IDLE)
            slot_free(s);
    }
    return NULL;
}

/* Is another connection worth an attempt? One at a time on a thread, and while servers fail. */
static bool may_grow(const struct mysql_pool *p)
{
    if (p->nwishes <= p->nconnecting || p->nslots >= CONNS_MAX)
        return false;
    if (p->nconnecting > 0)
        return !p->trouble && !p->threaded;
    return !p->trouble || p->nslots == 0 || loop_now_ms(p->loop) - p->trouble_ms >= TROUBLE_MS;
}

static void pump(void *arg)
{
    struct mysql_pool *p = arg;
    struct slot *s;

    while (p->nwishes > 0 && (s = idle_slot(p)) != NULL) {
        struct mysql_wish *w = LIST_ITEM(list_shift(&p->wishes), struct mysql_wish, link);

        p->nwishes--;
        timer_stop(&s->idle);
        s->state = SLOT_BUSY;
        w->fn(w, s->conn, NULL);
    }
    while (may_grow(p) && connect_new(p))
        ;
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
        list_init(&p->slots);
        list_init(&p->wishes);
        for (size_t i = 0; i < f->nhosts; i++)
            p->threaded = p->threaded || mysql_conn_needs_thread(f, &f->host[i]);
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
    LIST_FOREACH(it, &p->slots)
    slot_free(LIST_ITEM(it, struct slot, link));
    loop_defer_cancel(&p->pump);
    map_remove(&p->pools->by_key, buf_slice(&p->key));
    mysql_hosts_release(&p->hosts);
    query_file_unref(&p->file);
    buf_release(&p->key);
    mem_free(p);
}
