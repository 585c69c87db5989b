/* What the files of the rules (rules*.c) share; not for others. */
#ifndef MTA_LOOKUP_RULES_INT_H
#define MTA_LOOKUP_RULES_INT_H

#include "lookup/matchlist.h"
#include "lookup/rules.h"

struct rules {
    unsigned refs;
    struct loop *loop;
    const struct conf *conf;
    struct matchlist *domains[RULES_CLASS_OTHER]; /* by class */
    struct maps *recipients[RULES_CLASS_OTHER]; /* by class; those of the virtual alias class are virtual_alias_maps */
    struct maps *transport_maps;
    bool transport_parents;    /* parent domains are asked for as "example.com", not as ".example.com" */
    bool propagate_extensions; /* propagate_unmatched_extensions says virtual */
};

/*
 * What every question to the rules is made of: an op, the scope of what it waits for itself, memory that lives until
 * the op is released. First member of each request.
 */
struct rules_request {
    struct op op;
    struct rules *rules; /* a reference */
    struct op_scope scope;
    struct arena arena;
    void (*clear)(struct rules_request *); /* releases what is not in the arena; may be NULL */
};

/*
 * A zeroed request of `size` bytes, started. It ends, with all that it waits for, when nobody waits for its answer.
 */
void *rules_request_new(struct rules *, size_t size, struct op_scope *, const char *name, op_done_fn *done,
                        void *owner);
/* op_finish: `result` lives in the request. */
void rules_request_finish(struct rules_request *, enum op_status, const void *result);

/* The text of a table's failure, in the request's arena. */
const char *rules_why(struct rules_request *, const void *table_answer);
/* Without one dot at its end, which means nothing; "example.com.." is left alone. */
struct slice rules_domain(struct slice domain);
/* Is the domain an address literal of this host? */
bool rules_is_own_literal(const struct rules *, struct slice domain);
/* The complete address: with a domain ($myorigin when it has none) and without a dot at its end. */
const char *rules_canonical(const struct rules *, struct arena *, struct slice address);
/*
 * maps_find_address with "user" alone where virtual(5) has it; the address must be complete. Result: struct
 * maps_address_answer.
 */
void rules_find_address(struct rules *, struct op_scope *, const struct maps *, const char *address, op_done_fn *done,
                        void *owner);

#endif
