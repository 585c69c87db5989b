/*
 * Tables: "type:argument" opened once and shared by its name; a lookup is an op that answers FOUND, NOTFOUND or
 * TEMPFAIL. What a table answers is untrusted data.
 */
#ifndef MTA_LOOKUP_TABLE_H
#define MTA_LOOKUP_TABLE_H

#include "core/base/buf.h"
#include "core/loop/op.h"

struct table;
struct tables;

/* The result of a lookup; borrowed for the callback. */
struct table_answer {
    const char *value; /* OP_OK: the value, NUL-terminated */
    const char *why;   /* OP_TEMPFAIL, OP_TIMEOUT: what went wrong, for the log and for `mta lookup` */
};

/* What became of one look-up. */
struct table_asked {
    const char *table, *key;
    enum op_status status;
    const char *value; /* OP_OK */
    const char *why;   /* not OP_OK or OP_NOTFOUND; may be NULL */
    const char *query; /* the statement that a database was asked; NULL: none */
};

/*
 * For `mta explain`: whoever sets op_scope.trace to one hears of each look-up in that scope, and of those that look-ups
 * and rules started in it make themselves. It must live as long as any of them.
 */
struct table_trace {
    void (*asked)(void *arg, const struct table_asked *);
    /* An alias (rules_expand): what one address was replaced by. */
    void (*expanded)(void *arg, const char *address, const char *const *results, size_t count);
    void *arg;
};

/* The registry that owns every table of the process and what they share (MySQL pools, file watches). */
struct tables *tables_new(struct loop *);
/* Closes all tables. Lookups still under way are answered OP_TEMPFAIL, from the loop, so that what waits for them ends.
 */
void tables_free(struct tables **);
/* The loop that lookups run on. */
struct loop *tables_loop(const struct tables *);

/*
 * Opens "type:argument" ("proxy:" before it is skipped); the same text gives the same table, owned by the registry.
 * NULL, and why in `err`, for an unknown type or malformed argument. A table whose file or server is not there opens
 * all the same, answers TEMPFAIL, logs a warning, and recovers by itself.
 */
struct table *tables_open(struct tables *, const char *spec, struct buf *err);
/* "type:argument" as it was opened. */
const char *table_name(const struct table *);
/*
 * Is this a table of fixed strings (hash, mysql, sqlite, ...), which is asked for partial keys, or of patterns, which
 * is asked for the whole key only?
 */
bool table_is_fixed(const struct table *);
/*
 * Opens what the table needs right now (blocking: reads files, parses the query file; does not ask a server) and
 * reports every complaint as one line "path:line: text" or "path: text", warnings with "warning: " before it. True when
 * there is no error.
 */
bool table_check(struct table *, struct buf *report);
/* The same of every table that is open. */
bool tables_check(struct tables *, struct buf *report);
/* Calls `found` for every table that is open. */
void tables_each(const struct tables *, void (*found)(void *ctx, struct table *), void *ctx);
/*
 * One literal query; the key is folded to lower case for tables of fixed strings, as in Postfix. Result of OP_OK and
 * OP_TEMPFAIL: a struct table_answer. Identical lookups in flight may share one query. Bounded in time by the table.
 */
void table_lookup(struct table *, struct op_scope *, struct slice key, op_done_fn *done, void *owner);

#endif
