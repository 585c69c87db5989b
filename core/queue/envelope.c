/* The deep copy of an envelope: see envelope.h. Called wherever one outlives the arena it was made in. */
#include "core/queue/envelope.h"

struct envelope *envelope_copy(struct arena *a, const struct envelope *from)
{
    struct envelope *e = ARENA_NEW(a, struct envelope);

    *e = *from;
    e->sender = arena_strdup(a, from->sender);
    e->client_name = arena_strdup(a, from->client_name);
    e->client_addr = arena_strdup(a, from->client_addr);
    e->helo = arena_strdup(a, from->helo);
    e->protocol = arena_strdup(a, from->protocol);
    e->envid = arena_strdup(a, from->envid);
    e->rcpts = from->nrcpts > 0 ? arena_new_array(a, from->nrcpts, sizeof *e->rcpts) : NULL;
    for (size_t i = 0; i < from->nrcpts; i++) {
        e->rcpts[i] = from->rcpts[i];
        e->rcpts[i].addr = arena_strdup(a, from->rcpts[i].addr);
        e->rcpts[i].orig = arena_strdup(a, from->rcpts[i].orig);
        e->rcpts[i].orcpt = arena_strdup(a, from->rcpts[i].orcpt);
    }
    return e;
}
