/*
 * Fairness of memory: how many recipients of each domain are in it. A domain that has its share is crowded: no more of
 * its mail is taken in, so that there is room for the first message of any other, however much waits for one that is
 * slow. Called by scheduler.c (what may come in) and scheduler_active.c (who came, who left). The domain stands for the
 * destination, which is not known before a message is in memory.
 */
#include "core/base/addr.h"
#include "core/base/alloc.h"
#include "core/queue/scheduler_int.h"

struct crowd {
    size_t n;
    bool turned_away; /* mail of it waits in the database for room */
};

static size_t share(const struct scheduler *s)
{
    return s->config.active_limit > 4 ? s->config.active_limit / 4 : 1;
}

/* The domain in lower case, in `key`, which must be released. */
static struct slice domain_key(struct buf *key, const char *address)
{
    struct slice domain = addr_split(slice_str(address)).domain;

    buf_clear(key);
    for (size_t i = 0; i < domain.n; i++)
        buf_add_char(key, ascii_lower(domain.p[i]));
    return buf_slice(key);
}

void crowd_enter(struct scheduler *s, const char *address)
{
    struct buf text = {0};
    struct slice key = domain_key(&text, address);
    struct crowd *c = map_get(&s->crowds, key);

    if (c == NULL) {
        c = NEW(struct crowd);
        map_put(&s->crowds, key, c);
    }
    c->n++;
    buf_release(&text);
}

void crowd_leave(struct scheduler *s, const char *address)
{
    struct buf text = {0};
    struct slice key = domain_key(&text, address);
    struct crowd *c = map_get(&s->crowds, key);

    MTA_ASSERT(c != NULL && c->n > 0);
    c->n--;
    if (c->turned_away && c->n <= share(s) / 2) {
        c->turned_away = false;
        s->due_from_us = 0; /* what was passed over has its turn */
        s->wanted = true;
    }
    if (c->n == 0)
        mem_free(map_remove(&s->crowds, key));
    buf_release(&text);
}

static bool is_full(const struct scheduler *s, const struct crowd *c)
{
    return c->n >= share(s);
}

bool crowd_turns_away(struct scheduler *s, const struct envelope *e)
{
    struct buf text = {0};
    bool away = false;

    for (size_t i = 0; i < e->nrcpts && !away; i++) {
        struct crowd *c = map_get(&s->crowds, domain_key(&text, e->rcpts[i].addr));

        away = c != NULL && is_full(s, c);
        if (away)
            c->turned_away = true;
    }
    buf_release(&text);
    return away;
}

size_t crowd_list(struct scheduler *s, struct arena *a, const char *const **domains)
{
    const char **list = arena_new_array(a, CROWDS_MOST, sizeof *list);
    size_t at = 0, n = 0;
    struct slice key;
    void *value;

    while (n < CROWDS_MOST && map_next(&s->crowds, &at, &key, &value)) {
        struct crowd *c = value;

        if (!is_full(s, c))
            continue;
        c->turned_away = true; /* perhaps */
        list[n++] = arena_slice_dup(a, key);
    }
    *domains = list;
    return n;
}

void crowd_clear(struct scheduler *s)
{
    size_t at = 0;
    struct slice key;
    void *value;

    while (map_next(&s->crowds, &at, &key, &value))
        mem_free(value);
    map_clear(&s->crowds);
}
