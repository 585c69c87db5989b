/*
 * Lists of tables, as parameters have them: `virtual_alias_maps = hash:/a, mysql:/b`. Bound to one configuration
 * snapshot. (Lists of patterns, such as mydestination, are in matchlist.h.)
 */
#ifndef MTA_LOOKUP_MAPS_H
#define MTA_LOOKUP_MAPS_H

#include "lookup/table.h"

struct maps;

/* NULL and complaints in `err`, one a line, when a table cannot be opened. An empty list gives an empty struct maps. */
struct maps *maps_new(struct tables *, const char *list, struct buf *err);
/* Not while a search is awaited. */
void maps_free(struct maps **);
bool maps_empty(const struct maps *);
/* Each table in turn with this one key: the first that answers FOUND or TEMPFAIL. Result: struct table_answer. */
void maps_find(const struct maps *, struct op_scope *, struct slice key, op_done_fn *done, void *owner);

/* What maps_find_address answers; borrowed for the callback. */
struct maps_address_answer {
    const char *value;     /* OP_OK */
    const char *extension; /* with its delimiter, "+ext", when the match was found only after removing it; else "" */
    const char *key;       /* the key that matched */
    const char *why;       /* OP_TEMPFAIL */
};

struct maps_address_opts {
    const char *recipient_delimiter;
    /* May "user" alone be tried? Said for addresses whose domain is $myorigin or local (section 1.3 of
     * postfix-semantics). */
    bool bare_user;
};
/*
 * Partial-address search as virtual(5) has it: user+ext@dom, user@dom, (user+ext, user,) @dom; each key is tried in all
 * tables before the next key; tables of patterns get the whole address only. `address` is in internal form.
 */
void maps_find_address(const struct maps *, struct op_scope *, const char *address, const struct maps_address_opts *,
                       op_done_fn *done, void *owner);

/* One key of maps_find_keys. */
struct maps_key {
    const char *text;
    const char *extension; /* what maps_address_answer.extension is when this key matches */
    bool partial;          /* a part of what is looked for: tables of patterns are not asked */
};
/* A search of another order: each key in all tables before the next. Keys are copied. Result: struct
 * maps_address_answer. */
void maps_find_keys(const struct maps *, struct op_scope *, const struct maps_key *keys, size_t count, op_done_fn *done,
                    void *owner);

/*
 * Takes the next item of a list as parameters have them off *rest: commas and white space separate, except inside {}.
 * An empty result means there is none left.
 */
struct slice maps_list_item(struct slice *rest);

#endif
