/* Answers of DNS that are kept: see dns_cache.h. Used by dns.c; owns its references; waits on nothing. */
#include "lookup/dns_cache.h"

#include "core/base/alloc.h"
#include "core/base/map.h"

#define TTL_MOST_S     3600
#define TTL_NOTHING_S  60
#define TTL_FAILURE_MS 1000

struct entry {
    struct list used; /* in order of use */
    struct dns_set *set;
    uint64_t until_ms;
    size_t size;
    char *key;
};

struct dns_cache {
    struct map map;
    struct list used;
    size_t entries_max, bytes_max, bytes;
};

struct dns_cache *dns_cache_new(size_t entries_max, size_t bytes_max)
{
    struct dns_cache *c = NEW(struct dns_cache);

    c->entries_max = entries_max;
    c->bytes_max = bytes_max;
    list_init(&c->used);
    return c;
}

static void drop(struct dns_cache *c, struct entry *e)
{
    map_remove(&c->map, slice_str(e->key));
    list_remove(&e->used);
    c->bytes -= e->size;
    dns_set_unref(&e->set);
    mem_free(e->key);
    mem_free(e);
}

void dns_cache_free(struct dns_cache **cp)
{
    struct dns_cache *c = *cp;

    *cp = NULL;
    if (c == NULL)
        return;
    LIST_FOREACH(it, &c->used)
    drop(c, LIST_ITEM(it, struct entry, used));
    map_clear(&c->map);
    mem_free(c);
}

struct dns_set *dns_cache_get(struct dns_cache *c, struct slice key, uint64_t now_ms)
{
    struct entry *e = map_get(&c->map, key);

    if (e == NULL)
        return NULL;
    if (now_ms >= e->until_ms) {
        drop(c, e);
        return NULL;
    }
    list_remove(&e->used);
    list_append(&c->used, &e->used);
    return dns_set_ref(e->set);
}

static uint64_t life_ms(const struct dns_set *set)
{
    uint32_t most = set->status == OP_OK ? TTL_MOST_S : TTL_NOTHING_S;

    if (set->status != OP_OK && set->status != OP_NOTFOUND)
        return TTL_FAILURE_MS;
    return (uint64_t)(set->ttl_s < most ? set->ttl_s : most) * 1000;
}

void dns_cache_put(struct dns_cache *c, struct slice key, struct dns_set *set, uint64_t now_ms)
{
    uint64_t life = life_ms(set);
    struct entry *e = map_get(&c->map, key);

    if (e != NULL)
        drop(c, e);
    if (life == 0)
        return;
    e = NEW(struct entry);
    e->set = dns_set_ref(set);
    e->until_ms = now_ms + life;
    e->key = mem_dup(key.p, key.n);
    e->size = sizeof *e + sizeof *set + key.n + set->arena.used;
    map_put(&c->map, key, e);
    list_append(&c->used, &e->used);
    c->bytes += e->size;
    while (c->map.count > c->entries_max || c->bytes > c->bytes_max)
        drop(c, LIST_ITEM(c->used.next, struct entry, used));
}

size_t dns_cache_count(const struct dns_cache *c)
{
    return c->map.count;
}
