/* Sub-commands without a server: see cli.h. `mta lookup` runs the same tables on a loop of its own. */
#include "core/cli.h"

#include "core/base/id.h"
#include "core/base/log.h"
#include "core/conf/conf.h"
#include "core/queue/queue_list.h"
#include "lookup/table.h"

#include <signal.h>
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

/* ---- mta queue ---- */

static bool queue_command(const char *directory, int argc, char **argv, struct status *why)
{
    uint64_t qid;

    if (strcmp(argv[0], "list") == 0)
        return queue_list(directory, argc == 2 ? QUEUE_LIST_JSON : QUEUE_LIST_TEXT, stdout, why);
    if (id_parse(slice_str(argv[1]), &qid))
        return queue_show(directory, qid, stdout, why);
    *why = status_make(STATUS_SYNTAX, "\"%s\" is not a queue id", argv[1]);
    return false;
}

static bool queue_usage_ok(int argc, char **argv)
{
    if (argc > 0 && strcmp(argv[0], "list") == 0)
        return argc == 1 || (argc == 2 && strcmp(argv[1], "--json") == 0);
    return argc == 2 && strcmp(argv[0], "show") == 0;
}

int cli_queue(const char *conf_path, int argc, char **argv)
{
    struct conf_report report = {0};
    struct status why;
    const struct conf *conf;
    int status = 1;

    if (!queue_usage_ok(argc, argv)) {
        fputs("usage: mta queue list [--json] | mta queue show QID\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_DFL); /* `mta queue list | head` is no error */
    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL);
    conf = conf_load(conf_path, &report);
    if (conf == NULL)
        conf_report_print(&report, stderr);
    else if (queue_command(conf->queue_directory, argc, argv, &why))
        status = 0;
    else
        fprintf(stderr, "mta: %s\n", why.text);
    conf_unref(&conf);
    conf_report_clear(&report);
    return status;
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
