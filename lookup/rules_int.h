/* What the files of the rules (rules*.c) share; not for others. */
#ifndef MTA_LOOKUP_RULES_INT_H
#define MTA_LOOKUP_RULES_INT_H

#include "lookup/matchlist.h"
#include "lookup/rules.h"
#include "lookup/srs.h"

struct rules {
    unsigned refs;
    struct loop *loop;
    const struct conf *conf;
    struct matchlist *domains[RULES_CLASS_OTHER]; /* by class */
    struct maps *recipients[RULES_CLASS_OTHER]; /* by class; those of the virtual alias class are virtual_alias_maps */
    struct maps *transport_maps;
    struct maps *sender_transports; /* sender_dependent_default_transport_maps */
    struct maps *sender_relayhosts; /* sender_dependent_relayhost_maps */
    bool transport_parents;         /* parent domains are asked for as "example.com", not as ".example.com" */
    struct maps *canonical, *sender_canonical, *recipient_canonical;
    struct maps *sender_bcc, *recipient_bcc;
    struct maps *relocated;
    unsigned canonical_classes, sender_canonical_classes, recipient_canonical_classes; /* RULES_REWRITE_... bits */
    unsigned masquerade_classes;
    bool propagate_extensions; /* propagate_unmatched_extensions says virtual */
    bool propagate_canonical;
    bool propagate_generic;
    char *srs_secrets; /* NULL: srs_forwarding is off */
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

/* rules_rewrite.c: the words of the classes, srs_secret. False, with complaints. */
bool rules_rewrite_open(struct rules *, struct buf *err);
/* Is this the domain of the senders that srs_forwarding makes? False when that is off. */
bool rules_is_srs_domain(const struct rules *, struct slice domain);
/* Where mail for a sender that srs_forwarding made is to go; SRS_NONE also when that is off. */
enum srs_way rules_srs_back(const struct rules *, struct arena *, const char *recipient, const char **address);

/*
 * canonical(5), generic(5): the one address, "@other" for the same user in another domain, that a table answers for
 * `address`; NULL when it is not one, which is logged under the name `what`.
 */
const char *rules_one_address(const struct rules *, struct arena *, const char *what, const char *address,
                              const struct maps_address_answer *, bool propagate);

/* The text of a table's failure, in the request's arena. */
const char *rules_why(struct rules_request *, const void *table_answer);
/* Without one dot at its end, which means nothing; "example.com.." is left alone. */
struct slice rules_domain(struct slice domain);
/* Is the domain an address literal of this host? */
bool rules_is_own_literal(const struct rules *, struct slice domain);
/*
 * One address of a table's result as it is used: "@other" gets the local part of what was looked up, "user" gets
 * @$myorigin, and with `propagate` the extension that did not match is put behind the local part.
 */
const char *rules_result_address(const struct rules *, struct arena *, const char *source, const char *item,
                                 const char *extension, bool propagate);

#endif
