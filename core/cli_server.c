/* Sub-commands that ask the running server through its control socket: see cli.h. */
#include "core/cli.h"

#include "core/conf/conf.h"
#include "core/control.h"
#include "core/server.h"

#include <stdio.h>

/* control_ask of the server that this configuration is for: -1 when it is not there. */
static int ask(const char *conf_path, int argc, const char *const *argv, struct buf *directory)
{
    return conf_ask(conf_path, "queue_directory", directory) ? control_ask(buf_cstr(directory), argc, argv) : -1;
}

/* The same for what makes no sense without one. */
static int ask_running(const char *conf_path, int argc, const char *const *argv)
{
    struct buf directory = {0};
    int status = ask(conf_path, argc, argv, &directory);

    if (status < 0)
        fprintf(stderr, "mta: no server is running on the queue in %s\n", buf_cstr(&directory));
    buf_release(&directory);
    return status < 0 ? 1 : status;
}

int cli_reload(const char *conf_path, int argc, char **argv)
{
    static const char *const words[] = {"reload"};

    (void)argv;
    if (argc > 0) {
        fputs("usage: mta reload\n", stderr);
        return 2;
    }
    return ask_running(conf_path, 1, words);
}

int cli_status(const char *conf_path, int argc, char **argv)
{
    const char *words[] = {"status", argc > 0 ? argv[0] : NULL, argc > 1 ? argv[1] : NULL};
    bool json = argc == 1 && strcmp(argv[0], "--json") == 0;
    bool unban = argc == 2 && strcmp(argv[0], "--unban") == 0;

    if (argc > 0 && !json && !unban) {
        fputs("usage: mta status [--json | --unban ADDRESS-OR-LOGIN]\n", stderr);
        return 2;
    }
    return ask_running(conf_path, argc + 1, words);
}

int cli_explain(const char *conf_path, int argc, char **argv)
{
    const char *words[CONTROL_ARGS_MOST] = {"explain"};
    struct buf directory = {0};
    int status = -1;

    for (int i = 0; i < argc && i + 1 < CONTROL_ARGS_MOST; i++)
        words[i + 1] = argv[i];
    if (argc + 1 < CONTROL_ARGS_MOST)
        status = ask(conf_path, argc + 1, words, &directory);
    buf_release(&directory);
    return status < 0 ? server_explain(conf_path, argc, (const char *const *)argv) : status;
}
