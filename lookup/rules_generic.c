/*
 * Addresses changed on their way out: generic(5). The SMTP client asks, for the envelope and for the addresses of
 * headers, with the tables of its transport. Owns what rules.h says of a question; waits on the tables.
 */
#include "lookup/rules_int.h"

struct generic {
    struct rules_request q;
    const char *address, *complete; /* as it was asked for, and with a domain */
    struct table_answer failure;
};

static void on_generic(void *owner, enum op_status status, const void *result)
{
    struct generic *g = owner;
    const struct rules *r = g->q.rules;
    const struct maps_address_answer *answer = result;
    const char *address = NULL;

    if (status != OP_OK && status != OP_NOTFOUND) {
        g->failure.why = arena_strdup(&g->q.arena, answer != NULL && answer->why != NULL ? answer->why : "timed out");
        rules_request_finish(&g->q, OP_TEMPFAIL, &g->failure);
        return;
    }
    if (status == OP_OK)
        address = rules_one_address(r, &g->q.arena, "generic", g->complete, answer, r->propagate_generic);
    rules_request_finish(&g->q, OP_OK, address != NULL ? address : g->address);
}

void rules_generic(struct rules *r, struct op_scope *scope, const struct maps *maps, const char *address,
                   op_done_fn *done, void *owner)
{
    struct generic *g = rules_request_new(r, sizeof *g, scope, "generic", done, owner);

    g->address = arena_strdup(&g->q.arena, address);
    g->complete = rules_canonical(r, &g->q.arena, slice_str(address));
    rules_find_address(r, &g->q.scope, maps, g->complete, on_generic, g);
}
