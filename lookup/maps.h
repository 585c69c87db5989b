/*
 * Lists of tables and lists of patterns, as parameters have them: `virtual_alias_maps = hash:/a, mysql:/b` and
 * `mydestination = $myhostname, !x, /file, hash:/c`. Bound to one configuration snapshot.
 */
#ifndef MTA_LOOKUP_MAPS_H
#define MTA_LOOKUP_MAPS_H

#include "lookup/table.h"

/* ---- lists of tables ---- */

struct maps;

/* NULL and a complaint in `err` when a table cannot be opened. An empty list gives an empty struct maps. */
struct maps *maps_new(struct tables *, const char *list, struct buf *err);
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
    /* May "user" alone be tried? Said for addresses whose domain is $myorigin or local (section 1.3 of postfix-semantics). */
    bool bare_user;
};
/*
 * Partial-address search as virtual(5) has it: user+ext@dom, user@dom, (user+ext, user,) @dom; each key is tried in all
 * tables before the next key; tables of patterns get the whole address only. `address` is in internal form.
 */
void maps_find_address(const struct maps *, struct op_scope *, const char *address, const struct maps_address_opts *,
                       op_done_fn *done, void *owner);

/* ---- match lists ---- */

struct matchlist;

enum matchlist_kind {
    MATCHLIST_STRING,  /* exact, case-insensitive: mydestination, virtual_mailbox_domains */
    MATCHLIST_DOMAIN,  /* as STRING, and parents: "example.com" also matches below it, ".example.com" only below */
    MATCHLIST_NETWORK, /* numeric addresses and CIDR blocks, IPv6 in []: mynetworks */
};

/*
 * Compiles a list: "!x" negates, "/path" includes a file, "type:x" is a table, the first match wins. All complaints go
 * to `err` (host bits set in a block, an unbalanced bracket, ...); NULL when there is one.
 */
struct matchlist *matchlist_new(struct tables *, const char *list, enum matchlist_kind, struct buf *err);
void matchlist_free(struct matchlist **);
/* OP_OK: matched; OP_NOTFOUND; OP_TEMPFAIL with a struct table_answer. */
void matchlist_match(const struct matchlist *, struct op_scope *, struct slice key, op_done_fn *done, void *owner);
/* The same at once, for lists without tables: 1 matched, 0 not, -1 the list has tables: ask matchlist_match. */
int matchlist_match_now(const struct matchlist *, struct slice key);

#endif
