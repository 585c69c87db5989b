/*
 * The templates of query files (mysql_table(5), sqlite_table(5)): %s %u %d, %1 to %9, %S %U %D and %%, for the query
 * and for the format of each result, which share the rules for when a key is not asked for at all. Pure.
 */
#ifndef MTA_LOOKUP_QUERY_TEMPLATE_H
#define MTA_LOOKUP_QUERY_TEMPLATE_H

#include "core/base/arena.h"
#include "core/base/buf.h"

struct query_template;

/*
 * Compiles both templates. NULL, and why in `err` (a complaint a line), when there is a %x that does not exist. The
 * template lives in the arena.
 */
struct query_template *query_template_new(struct arena *, const char *query, const char *result_format,
                                          struct buf *err);
/* Does every expansion of the query stand within single quotes, where quoting makes any key harmless? */
bool query_template_is_quoted(const struct query_template *);
/*
 * May the key be asked for? Not when the templates want a local part or a domain or labels of the domain that the key
 * does not have.
 */
bool query_template_qualifies(const struct query_template *, struct slice key);

/* Appends `text` as it may stand within single quotes in a statement. */
typedef void query_quote_fn(void *ctx, struct buf *out, struct slice text);
/* Appends the statement for a key that qualifies. */
void query_template_expand(const struct query_template *, struct slice key, query_quote_fn *quote, void *ctx,
                           struct buf *out);
/*
 * Appends one value as result_format has it; false, and nothing appended, when the format wants a local part or a
 * domain that the value does not have.
 */
bool query_template_format(const struct query_template *, struct slice key, struct slice value, struct buf *out);

#endif
