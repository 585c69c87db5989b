/*
 * mta: the command line. Without a sub-command it is the server, in the foreground; see core/server.c. Sub-commands
 * are rows of a table.
 */
#include "core/base/assert.h"
#include "core/cli.h"
#include "core/server.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static const struct {
    const char *name, *usage;
    int (*run)(const char *conf_path, int argc, char **argv);
} commands[] = {
    {"lookup",
     "lookup KEY TABLE            one query of a table; KEY \"-\" reads keys from stdin;\n"
     "                                        exit 0 found, 1 not found, 2 the table failed",
     cli_lookup},
    {"mx", "mx DOMAIN...                the hosts that take a domain's mail, in the order in which they are tried",
     cli_mx},
    {"queue",
     "queue list [--json]         what waits, as mailq shows it; `queue show QID`: one message with its content",
     cli_queue},
    {"config", "config VERB ...             parameters: show, set, unset, import (from Postfix), doc (the reference)",
     cli_config},
    {"reload", "reload                      the running server takes the configuration into use, if it has no error",
     cli_reload},
    {"status",
     "status [--json]             what the running server does, what waits, who is banned; `status --unban WHAT`\n"
     "                                        lets an address or login try to authenticate again",
     cli_status},
    {"passwd", "passwd                      the hash of a password, for smtpd_sasl_password_maps", cli_passwd},
    {"explain",
     "explain ADDRESS [--from A] [--client IP] [--helo H] [--listener NAME] [--json]\n"
     "                                        what would happen to mail for the address, and why",
     cli_explain},
};

static int usage(FILE *to, int status)
{
    fputs("usage: mta [-c PATH]                run the server in the foreground\n"
          "       mta --check-config [--deep] [-c PATH]\n"
          "                                   report every error in the configuration; with --deep try what it names\n",
          to);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(to, "       mta [-c PATH] %s\n", commands[i].usage);
    fputs("       mta --version | --help\n"
          "PATH is the configuration, " CLI_DEFAULT_CONF " by default.\n",
          to);
    return status;
}

static int sub_command(const char *conf_path, int argc, char **argv)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(argv[0], commands[i].name) == 0)
            return commands[i].run(conf_path, argc - 1, argv + 1);
    fprintf(stderr, "mta: there is no command \"%s\"\n", argv[0]);
    return usage(stderr, 2);
}

/* `-c PATH` may stand anywhere: takes it out of the arguments. NULL and a message when PATH is missing. */
static const char *take_conf(int *argc, char **argv)
{
    const char *path = CLI_DEFAULT_CONF;
    int kept = 0;

    for (int i = 0; i < *argc; i++) {
        if (strcmp(argv[i], "-c") != 0) {
            argv[kept++] = argv[i];
            continue;
        }
        if (++i == *argc) {
            fputs("mta: -c needs a path\n", stderr);
            return NULL;
        }
        path = argv[i];
    }
    *argc = kept;
    return path;
}

int main(int argc, char **argv)
{
    const char *conf;

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a file-size limit is a full disk, not the end */
    umask(077);
    setenv("UV_THREADPOOL_SIZE", "16", 0); /* blocking work: mailbox files, SQLite tables */
    argc--;
    argv++;
    conf = take_conf(&argc, argv);
    if (conf == NULL)
        return 2;
    if (argc == 0)
        return server_run(conf);
    if (strcmp(argv[0], "--check-config") == 0) {
        bool deep = argc == 2 && strcmp(argv[1], "--deep") == 0;

        return argc == 1 || deep ? server_check(conf, deep) : usage(stderr, 2);
    }
    if (strcmp(argv[0], "--version") == 0) {
        puts("mta " MTA_VERSION);
        return 0;
    }
    if (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0)
        return usage(stdout, 0);
    return sub_command(conf, argc, argv);
}
