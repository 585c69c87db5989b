/* Sub-commands without a server: see cli.h. `mta lookup` runs the same tables on a loop of its own. */
#include "core/cli.h"

#include "core/base/log.h"
#include "core/conf/conf.h"
#include "lookup/table.h"

#include <stdio.h>
#include <string.h>

/* ---- mta lookup ---- */

struct lookup_result {
    const char *table;
    int status;
};

static void on_answer(void *owner, enum op_status st, const void *result)
{
    struct lookup_result *r = owner;
    const struct table_answer *a = result;

    switch (st) {
    case OP_OK:
        puts(a->value);
        r->status = 0;
        break;
    case OP_NOTFOUND: r->status = 1; break;
    default:
        fprintf(stderr, "mta: table %s: %s\n", r->table, a && a->why ? a->why : "no answer in time");
        r->status = 2;
    }
}

int cli_lookup(const char *conf_path, int argc, char **argv)
{
    struct lookup_result r = {.status = 2};
    struct buf err = {0};
    struct op_scope scope;
    struct loop *loop;
    struct tables *tables;
    struct table *t;

    (void)conf_path;
    if (argc != 2) {
        fputs("usage: mta lookup KEY TABLE\n", stderr);
        return 2;
    }
    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL); /* the answer says what went wrong */
    r.table = argv[1];
    loop = loop_new();
    tables = tables_new(loop);
    op_scope_init(&scope, "mta lookup");
    t = tables_open(tables, argv[1], &err);
    if (t == NULL)
        fprintf(stderr, "mta: table %s: %s\n", argv[1], buf_cstr(&err));
    else {
        table_lookup(t, &scope, slice_str(argv[0]), on_answer, &r);
        while (!op_scope_idle(&scope))
            loop_turn(loop);
    }
    tables_free(&tables);
    loop_run(loop);
    loop_free(&loop);
    buf_release(&err);
    return r.status;
}

/* ---- mta config ---- */

int cli_config(const char *conf_path, int argc, char **argv)
{
    enum conf_show_mode mode = CONF_SHOW_ALL;
    int at = 1;

    if (argc < 1 || strcmp(argv[0], "show") != 0) {
        fputs("usage: mta config show [-n | -d] [NAME...]\n", stderr);
        return 2;
    }
    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "-n") == 0)
            mode = CONF_SHOW_SET;
        else if (strcmp(argv[at], "-d") == 0)
            mode = CONF_SHOW_DEFAULTS;
        else {
            fprintf(stderr, "mta: config show has no option %s\n", argv[at]);
            return 2;
        }
    }
    return conf_show(conf_path, mode, (const char *const *)argv + at, (size_t)(argc - at), stdout, stderr);
}
