/* What the kinds of tables share with the registry; not for others. */
#ifndef MTA_LOOKUP_TABLE_INT_H
#define MTA_LOOKUP_TABLE_INT_H

#include "core/base/map.h"
#include "lookup/complaint.h"
#include "lookup/table.h"

#define TABLE_KEY_MAX   4096       /* bytes of a key; a longer one is in no table */
#define TABLE_VALUE_MAX (1u << 20) /* bytes of an answer; a longer one is a failure */

struct mysql_pools;

struct tables {
    struct loop *loop;
    struct map by_name;        /* struct table */
    struct list in_flight;     /* table_op.in_flight */
    struct mysql_pools *mysql; /* made when the first mysql: table is opened */
    unsigned depth;            /* of tables opened within tables */
};

/* One lookup. The kind of table holds it from its lookup function until it calls table_found and so on. */
struct table_op {
    struct op op;
    struct list in_flight;
    struct list link; /* for the kind of table */
    struct table *table;
    char *key; /* folded as the table wants it; NUL-terminated, no NUL inside, well-formed UTF-8 */
    struct table_answer answer;
    char *text;                      /* what the answer points to */
    const struct table_trace *trace; /* NULL: nobody wants to know */
    char *query;                     /* the statement, when somebody wants to know */
};

struct table_kind {
    const char *type;
    size_t size; /* of the object, which begins with a struct table; the registry allocates it zeroed */
    /*
     * Fills in the object; `arg` is what follows the colon and lives as long as the table. False, and why in `err`,
     * when it is malformed: then `close` is called. A file or server that is not there is no reason to fail.
     */
    bool (*open)(struct table *, const char *arg, struct buf *err);
    /* Starts a lookup, which may be answered at once. */
    void (*lookup)(struct table *, struct table_op *);
    /* table_check; NULL: nothing to check. */
    bool (*check)(struct table *, struct buf *report);
    /* Releases what the object holds, not the object. Lookups it holds are let go of: the registry answers them. */
    void (*close)(struct table *);
};

/* Embedded first in the object of each kind; the registry fills it in before `open`. */
struct table {
    const struct table_kind *kind;
    struct tables *tables;
    char *name;
    bool fixed; /* of strings (so it starts), not of patterns */
    struct complaint complaint;
};

/* The answers; the texts are copied. A failure is logged with the table's name before it. */
void table_found(struct table_op *, struct slice value);
void table_notfound(struct table_op *);
void table_failed(struct table_op *, const char *why);
/* As table_failed for a table that passes on the failure of another, which has been logged. */
void table_failed_quietly(struct table_op *, const char *why);

/* Appends `key` in lower case (all of Unicode, one code point by one); `key` is well-formed UTF-8. Any thread. */
void table_fold(struct buf *out, struct slice key);

extern const struct table_kind table_kind_hash, table_kind_btree, table_kind_lmdb, table_kind_cdb, table_kind_texthash;
extern const struct table_kind table_kind_static, table_kind_inline;
extern const struct table_kind table_kind_unionmap, table_kind_pipemap;
extern const struct table_kind table_kind_mysql, table_kind_sqlite;
extern const struct table_kind table_kind_unix;
extern const struct table_kind table_kind_cidr, table_kind_regexp, table_kind_pcre;
extern const struct table_kind table_kind_tcp, table_kind_socketmap;
extern const struct table_kind table_kind_randmap, table_kind_environ, table_kind_fail;

#endif
