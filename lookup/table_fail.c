/* fail:NAME: every lookup fails, to try what a configuration makes of a broken table; NAME is for the log. */
#include "lookup/table_int.h"

static bool fail_open(struct table *table, const char *arg, struct buf *err)
{
    (void)arg;
    (void)err;
    table->fixed = false;
    return true;
}

static void fail_lookup(struct table *table, struct table_op *o)
{
    (void)table;
    table_failed(o, "fails, as it is made to");
}

static void fail_close(struct table *table)
{
    (void)table;
}

const struct table_kind table_kind_fail = {
    .type = "fail",
    .size = sizeof(struct table),
    .open = fail_open,
    .lookup = fail_lookup,
    .close = fail_close,
};
