/*
 * Lists of patterns, as parameters have them: `mydestination = $myhostname, !x, /file, hash:/c`. Bound to one
 * configuration snapshot.
 */
#ifndef MTA_LOOKUP_MATCHLIST_H
#define MTA_LOOKUP_MATCHLIST_H

#include "lookup/table.h"

struct matchlist;

enum matchlist_kind {
    MATCHLIST_STRING, /* exact, case-insensitive: mydestination, virtual_mailbox_domains */
    MATCHLIST_DOMAIN, /* as STRING, and parents: "example.com" also matches below it, ".example.com" only below */
    MATCHLIST_DOTTED, /* as STRING, and ".example.com" matches below it: DOMAIN without parent_domain_matches_subdomains
                       */
    MATCHLIST_NETWORK, /* numeric addresses and CIDR blocks, IPv6 in []: mynetworks */
};

/*
 * Compiles a list: "!x" negates, "/path" includes a file, "type:x" is a table, the first match wins. All complaints go
 * to `err` (host bits set in a block, an unbalanced bracket, ...), one a line; NULL when there is one.
 */
struct matchlist *matchlist_new(struct tables *, const char *list, enum matchlist_kind, struct buf *err);
/* Not while a match is awaited. */
void matchlist_free(struct matchlist **);
/* OP_OK: matched; OP_NOTFOUND; OP_TEMPFAIL with a struct table_answer. */
void matchlist_match(const struct matchlist *, struct op_scope *, struct slice key, op_done_fn *done, void *owner);
/* The same at once: 1 matched, 0 not, -1 the answer depends on a table: ask matchlist_match. */
int matchlist_match_now(const struct matchlist *, struct slice key);
/* Are there answers that depend on a table? */
bool matchlist_has_tables(const struct matchlist *);

#endif
