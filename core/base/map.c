/* Open addressing with linear probing and backward-shift deletion: see map.h. */
#include "core/base/map.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"

#include <pthread.h>
#include <sys/random.h>

struct map_slot {
    char *key; /* NULL: free */
    size_t n;
    uint64_t hash;
    void *value;
};

static uint64_t seed[2];
static pthread_once_t seed_once = PTHREAD_ONCE_INIT;

static void make_seed(void)
{
    if (getrandom(seed, sizeof seed, GRND_NONBLOCK) != (ssize_t)sizeof seed)
        seed[0] = (uint64_t)(uintptr_t)&seed ^ 0x9e3779b97f4a7c15u;
}

static uint64_t mix(uint64_t a, uint64_t b)
{
    __extension__ unsigned __int128 m = (unsigned __int128)a * b;

    return (uint64_t)m ^ (uint64_t)(m >> 64);
}

uint64_t map_hash(struct slice key)
{
    uint64_t h, word;

    pthread_once(&seed_once, make_seed);
    h = seed[0] ^ key.n;
    while (key.n >= sizeof word) {
        memcpy(&word, key.p, sizeof word);
        h = mix(h ^ word, seed[1] ^ 0xe7037ed1a0b428dbu);
        key = slice_from(key, sizeof word);
    }
    word = 0;
    if (key.n > 0)
        memcpy(&word, key.p, key.n);
    h = mix(h ^ word, seed[1] ^ 0x8ebc6af09c88c6e3u);
    return h ? h : 1;
}

static size_t find(const struct map *m, struct slice key, uint64_t hash)
{
    size_t i = hash & (m->cap - 1);

    while (m->slots[i].key != NULL &&
           !(m->slots[i].hash == hash && slice_eq(slice_make(m->slots[i].key, m->slots[i].n), key)))
        i = (i + 1) & (m->cap - 1);
    return i;
}

static void grow(struct map *m)
{
    struct map old = *m;

    m->cap = old.cap ? old.cap * 2 : 16;
    m->slots = mem_new_array(m->cap, sizeof *m->slots);
    for (size_t i = 0; i < old.cap; i++) {
        struct map_slot *s = &old.slots[i];

        if (s->key != NULL)
            m->slots[find(m, slice_make(s->key, s->n), s->hash)] = *s;
    }
    mem_free(old.slots);
}

void *map_get(const struct map *m, struct slice key)
{
    return m->count == 0 ? NULL : m->slots[find(m, key, map_hash(key))].value;
}

void *map_put(struct map *m, struct slice key, void *value)
{
    uint64_t hash = map_hash(key);
    struct map_slot *s;
    void *old;

    MTA_ASSERT(value != NULL);
    if (m->count * 4 >= m->cap * 3)
        grow(m);
    s = &m->slots[find(m, key, hash)];
    old = s->value;
    if (s->key == NULL) {
        s->key = mem_dup(key.p, key.n);
        s->n = key.n;
        s->hash = hash;
        m->count++;
    }
    s->value = value;
    return old;
}

void *map_remove(struct map *m, struct slice key)
{
    size_t hole, i, mask = m->cap - 1;
    void *old;

    if (m->count == 0)
        return NULL;
    hole = find(m, key, map_hash(key));
    old = m->slots[hole].value;
    if (m->slots[hole].key == NULL)
        return NULL;
    mem_free(m->slots[hole].key);
    for (i = (hole + 1) & mask; m->slots[i].key != NULL; i = (i + 1) & mask) {
        size_t home = m->slots[i].hash & mask;

        if (((i - home) & mask) >= ((i - hole) & mask)) {
            m->slots[hole] = m->slots[i];
            hole = i;
        }
    }
    m->slots[hole] = (struct map_slot){0};
    m->count--;
    return old;
}

bool map_next(const struct map *m, size_t *at, struct slice *key, void **value)
{
    for (; *at < m->cap; (*at)++) {
        const struct map_slot *s = &m->slots[*at];

        if (s->key == NULL)
            continue;
        *key = slice_make(s->key, s->n);
        *value = s->value;
        (*at)++;
        return true;
    }
    return false;
}

void map_clear(struct map *m)
{
    for (size_t i = 0; i < m->cap; i++)
        mem_free(m->slots[i].key);
    mem_free(m->slots);
    *m = (struct map){0};
}
