/*
 * Idle connections: see conn_cache.h. Called by the SMTP and LMTP client; owns the names, not the connections. Waits on
 * one timer for each connection.
 */
#include "delivery/conn_cache.h"

#include "core/base/alloc.h"
#include "core/base/map.h"

struct conn_cache {
    struct loop *loop;
    struct map buckets;
    struct list by_age; /* the oldest first */
    size_t count;
};

/* The connections of one name, the one used last first. */
struct conn_bucket {
    struct conn_cache *cache;
    struct list conns;
    struct slice name;
};

struct conn_cache *conn_cache_new(struct loop *loop)
{
    struct conn_cache *c = NEW(struct conn_cache);

    c->loop = loop;
    list_init(&c->by_age);
    return c;
}

static void expire(struct conn_idle *idle)
{
    conn_cache_remove(idle);
    idle->expire(idle);
}

void conn_cache_close_all(struct conn_cache *c)
{
    while (!list_empty(&c->by_age))
        expire(LIST_ITEM(c->by_age.next, struct conn_idle, by_age));
}

void conn_cache_free(struct conn_cache **cp)
{
    struct conn_cache *c = *cp;

    if (c == NULL)
        return;
    *cp = NULL;
    conn_cache_close_all(c);
    map_clear(&c->buckets);
    mem_free(c);
}

static struct conn_bucket *bucket_of(struct conn_cache *c, const char *name)
{
    struct conn_bucket *b = map_get(&c->buckets, slice_str(name));

    if (b != NULL)
        return b;
    b = NEW(struct conn_bucket);
    b->cache = c;
    b->name = slice_str(mem_strdup(name));
    list_init(&b->conns);
    map_put(&c->buckets, b->name, b);
    return b;
}

static void leave_bucket(struct conn_idle *idle, size_t which)
{
    struct conn_bucket *b = idle->by[which].bucket;

    if (b == NULL)
        return;
    idle->by[which].bucket = NULL;
    list_remove(&idle->by[which].link);
    if (!list_empty(&b->conns))
        return;
    map_remove(&b->cache->buckets, b->name);
    mem_free((void *)b->name.p);
    mem_free(b);
}

static void on_timer(void *arg)
{
    expire(arg);
}

void conn_cache_put(struct conn_cache *c, struct conn_idle *idle, const char *first, const char *second,
                    uint64_t idle_ms)
{
    const char *const names[] = {first, second};

    MTA_ASSERT(idle->cache == NULL);
    if (c->count == CONN_CACHE_MOST)
        expire(LIST_ITEM(c->by_age.next, struct conn_idle, by_age));
    idle->cache = c;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (names[i] != NULL) {
            idle->by[i].idle = idle;
            idle->by[i].bucket = bucket_of(c, names[i]);
            list_prepend(&idle->by[i].bucket->conns, &idle->by[i].link);
        }
    list_append(&c->by_age, &idle->by_age);
    c->count++;
    timer_start(c->loop, &idle->timer, idle_ms, on_timer, idle);
}

void conn_cache_remove(struct conn_idle *idle)
{
    if (idle->cache == NULL)
        return;
    idle->cache->count--;
    idle->cache = NULL;
    timer_stop(&idle->timer);
    list_remove(&idle->by_age);
    for (size_t i = 0; i < ARRAY_LEN(idle->by); i++)
        leave_bucket(idle, i);
}

struct conn_idle *conn_cache_take(struct conn_cache *c, const char *name)
{
    struct conn_bucket *b = map_get(&c->buckets, slice_str(name));
    struct conn_idle *idle;

    if (b == NULL)
        return NULL;
    idle = LIST_ITEM(b->conns.next, struct conn_entry, link)->idle;
    conn_cache_remove(idle);
    return idle;
}
