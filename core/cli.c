/* `mta lookup`: see cli.h. It runs the server's tables on a loop of its own. */
#include "core/cli.h"

#include "core/base/id.h"
#include "core/base/log.h"
#include "core/conf/conf.h"
#include "core/queue/queue_list.h"
#include "lookup/table.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct lookup {
    struct loop *loop;
    struct op_scope scope;
    struct table *table;
    bool with_key; /* "key<TAB>value" */
    const char *key;
    int status; /* so far: the exit status */
};

static void on_answer(void *owner, enum op_status st, const void *result)
{
    struct lookup *l = owner;
    const struct table_answer *a = result;

    if (st == OP_OK) {
        printf("%s%s%s\n", l->with_key ? l->key : "", l->with_key ? "\t" : "", a->value);
        l->status = l->status == 1 ? 0 : l->status;
    } else if (st != OP_NOTFOUND) {
        fprintf(stderr, "mta: table %s: %s\n", table_name(l->table), a && a->why ? a->why : "no answer in time");
        l->status = 2;
    }
}

static void ask(struct lookup *l, const char *key)
{
    l->key = key;
    table_lookup(l->table, &l->scope, slice_str(key), on_answer, l);
    while (!op_scope_idle(&l->scope))
        loop_turn(l->loop);
}

/* postmap -q -: a key a line. */
static void ask_stdin(struct lookup *l)
{
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;

    l->with_key = true;
    while ((n = getline(&line, &cap, stdin)) >= 0) {
        if (n > 0 && line[n - 1] == '\n')
            line[n - 1] = '\0';
        ask(l, line);
    }
    free(line);
}

int cli_lookup(const char *conf_path, int argc, char **argv)
{
    struct lookup l = {.status = 1};
    struct tables *tables;
    struct buf err = {0};

    (void)conf_path;
    if (argc != 2) {
        fputs("usage: mta lookup KEY TABLE\n       mta lookup - TABLE <KEYS\n", stderr);
        return 2;
    }
    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL); /* the answer says what went wrong */
    l.loop = loop_new();
    tables = tables_new(l.loop);
    op_scope_init(&l.scope, "mta lookup");
    l.table = tables_open(tables, argv[1], &err);
    if (l.table == NULL) {
        fprintf(stderr, "mta: table %s: %s\n", argv[1], buf_cstr(&err));
        l.status = 2;
    } else if (strcmp(argv[0], "-") == 0) {
        ask_stdin(&l);
    } else {
        ask(&l, argv[0]);
    }
    tables_free(&tables);
    loop_run(l.loop);
    loop_free(&l.loop);
    buf_release(&err);
    return l.status;
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
    struct buf directory = {0};
    struct status why;
    int status = 1;

    if (!queue_usage_ok(argc, argv)) {
        fputs("usage: mta queue list [--json] | mta queue show QID\n", stderr);
        return 2;
    }
    signal(SIGPIPE, SIG_DFL); /* `mta queue list | head` is no error */
    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL);
    if (!conf_ask(conf_path, "queue_directory", &directory))
        fprintf(stderr, "mta: %s does not say what the queue_directory is\n", conf_path);
    else if (queue_command(buf_cstr(&directory), argc, argv, &why))
        status = 0;
    else
        fprintf(stderr, "mta: %s\n", why.text);
    buf_release(&directory);
    return status;
}
