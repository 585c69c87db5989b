/* What mysql: and sqlite: have in common: a query file that may change, the domain list, which keys are asked for. */
#ifndef MTA_LOOKUP_QUERY_TABLE_H
#define MTA_LOOKUP_QUERY_TABLE_H

#include "lookup/query_file.h"
#include "lookup/table_int.h"

struct query_table;

struct query_backend {
    const struct file_source_kind *source;
    /* `file` is another one (or the first), and not NULL. Lookups under way go on with the one they began with. */
    void (*changed)(struct query_table *);
    /* Asks the database; the key qualifies for the query. */
    void (*ask)(struct query_table *, struct table_op *);
};

/* Embedded first in the object of each. */
struct query_table {
    struct table table;
    const struct query_backend *backend;
    struct file_source *source;
    struct query_file *file; /* NULL: not readable so far */
    struct matchlist *domain;
    char *domain_error;
    struct op_scope scope; /* matches of `domain` under way */
    struct list matching;
    struct list waiting; /* table_op.link: until the query file has been looked at */
};

/* The parts of a table_kind. query_table_check answers the file it has read (to be unref'd), NULL when it has errors.
 */
void query_table_open(struct query_table *, const char *path, const struct query_backend *);
void query_table_lookup(struct table *, struct table_op *);
struct query_file *query_table_check(struct query_table *, struct buf *report);
void query_table_close(struct query_table *);

/* Answers a lookup with what was put together; a warning when an empty value was left out. */
void query_table_answer(struct table_op *, struct query_answer *);

#endif
