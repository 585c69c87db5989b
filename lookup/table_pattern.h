/* What cidr:, regexp: and pcre: are as tables: a file that may change, or rules in the configuration itself. */
#ifndef MTA_LOOKUP_TABLE_PATTERN_H
#define MTA_LOOKUP_TABLE_PATTERN_H

#include "lookup/file_source.h"
#include "lookup/pattern.h"
#include "lookup/table_int.h"

struct table_pattern {
    struct table table;
    struct file_source *source;         /* NULL: the rules stand in the configuration */
    struct pattern_rules *inline_rules; /* then */
    struct list waiting;                /* table_op.link: until the file has been looked at */
    struct list queue;                  /* match.link: until a thread may take it */
    struct list running;                /* match.link: with a thread */
    unsigned nrunning;
    struct op_scope scope;
};

/* The parts of a table_kind. */
bool table_pattern_open(struct table *, const struct file_source_kind *, const char *arg, struct buf *err);
bool table_pattern_check(struct table *, const struct file_source_kind *, struct buf *report);
void table_pattern_lookup(struct table *, struct table_op *);
void table_pattern_close(struct table *);
/* For file_source_kind.free. */
void table_pattern_free_rules(void *rules);

#define TABLE_PATTERN_FILE_MAX (16u << 20)

/* The row of an engine: `static const struct pattern_engine engine` must be above. */
#define TABLE_PATTERN_KIND(name)                                                                                       \
    static void *parse_rules(const char *path, struct slice text, struct buf *report)                                  \
    {                                                                                                                  \
        return pattern_rules_parse(&engine, path, text, report);                                                       \
    }                                                                                                                  \
    static const struct file_source_kind source_kind = {                                                               \
        .parse = parse_rules, .free = table_pattern_free_rules, .size_max = TABLE_PATTERN_FILE_MAX};                   \
    static bool open_table(struct table *t, const char *arg, struct buf *err)                                          \
    {                                                                                                                  \
        return table_pattern_open(t, &source_kind, arg, err);                                                          \
    }                                                                                                                  \
    static bool check_table(struct table *t, struct buf *report)                                                       \
    {                                                                                                                  \
        return table_pattern_check(t, &source_kind, report);                                                           \
    }                                                                                                                  \
    const struct table_kind table_kind_##name = {                                                                      \
        .type = #name,                                                                                                 \
        .size = sizeof(struct table_pattern),                                                                          \
        .open = open_table,                                                                                            \
        .lookup = table_pattern_lookup,                                                                                \
        .check = check_table,                                                                                          \
        .close = table_pattern_close,                                                                                  \
    }

#endif
