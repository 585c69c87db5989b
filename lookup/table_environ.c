/*
 * environ:NAME: the environment of the process; the key is the name of a variable, NAME says nothing. Keys are folded,
 * as in Postfix, so only variables in lower case are found.
 */
#include "core/base/codec.h"
#include "lookup/table_int.h"

#include <stdlib.h>

static bool environ_open(struct table *table, const char *arg, struct buf *err)
{
    (void)table;
    (void)arg;
    (void)err;
    return true;
}

static void environ_lookup(struct table *table, struct table_op *o)
{
    const char *value = getenv(o->key);

    (void)table;
    if (value == NULL)
        table_notfound(o);
    else if (codec_utf8_valid(slice_str(value)))
        table_found(o, slice_str(value));
    else
        table_failed(o, "a variable is not UTF-8");
}

static void environ_close(struct table *table)
{
    (void)table;
}

const struct table_kind table_kind_environ = {
    .type = "environ",
    .size = sizeof(struct table),
    .open = environ_open,
    .lookup = environ_lookup,
    .close = environ_close,
};
