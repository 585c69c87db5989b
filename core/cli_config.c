/* `mta config VERB`: see cli.h. One function a verb, with its options; the work is core/conf's. */
#include "core/base/assert.h"
#include "core/cli.h"
#include "core/conf/conf.h"

#include <stdio.h>
#include <string.h>

/* Each answers the exit status; argv is what follows the verb. */

static int show(const char *conf_path, int argc, char **argv)
{
    enum conf_show_mode mode = CONF_SHOW_ALL;
    int at = 0;

    for (; at < argc && argv[at][0] == '-'; at++) {
        if (strcmp(argv[at], "-n") == 0)
            mode = CONF_SHOW_SET;
        else if (strcmp(argv[at], "-d") == 0)
            mode = CONF_SHOW_DEFAULTS;
        else if (strcmp(argv[at], "-x") == 0)
            mode = CONF_SHOW_EXPANDED;
        else {
            fprintf(stderr, "mta: config show has no option %s\n", argv[at]);
            return 2;
        }
    }
    return conf_show(conf_path, mode, (const char *const *)argv + at, (size_t)(argc - at), stdout, stderr);
}

static int import(const char *conf_path, int argc, char **argv)
{
    (void)conf_path;
    if (argc != 1) {
        fputs("usage: mta config import DIR\n", stderr);
        return 2;
    }
    return conf_import(argv[0], stdout, stderr);
}

static int change(const char *conf_path, bool set, int argc, char **argv)
{
    if (argc == 0 || argv[0][0] == '-') {
        fprintf(stderr, set ? "usage: mta config set NAME=VALUE...\n" : "usage: mta config unset NAME...\n");
        return 2;
    }
    return conf_set(conf_path, set, (const char *const *)argv, (size_t)argc, stderr);
}

static int set(const char *conf_path, int argc, char **argv)
{
    return change(conf_path, true, argc, argv);
}

static int unset(const char *conf_path, int argc, char **argv)
{
    return change(conf_path, false, argc, argv);
}

static int doc(const char *conf_path, int argc, char **argv)
{
    static const char *const formats[] = {
        [CONF_DOC_MAN] = "--man", [CONF_DOC_MD] = "--md", [CONF_DOC_EXAMPLE] = "--example"};

    (void)conf_path;
    for (size_t i = 0; argc == 1 && i < ARRAY_LEN(formats); i++)
        if (strcmp(argv[0], formats[i]) == 0) {
            conf_doc((enum conf_doc_format)i, stdout);
            return 0;
        }
    fputs("usage: mta config doc --man | --md | --example\n", stderr);
    return 2;
}

static const struct {
    const char *name, *usage;
    int (*run)(const char *conf_path, int argc, char **argv);
} verbs[] = {
    {"show", "show [-n | -d | -x] [NAME...]  as set, only those set, the defaults, $NAME expanded", show},
    {"set", "set NAME=VALUE...              NAME may be listener/SECTION/NAME or transport/SECTION/NAME", set},
    {"unset", "unset NAME...                  makes comments of them", unset},
    {"import", "import DIR                     the mta.conf for a directory with main.cf and master.cf", import},
    {"doc", "doc --man | --md | --example   the reference of all parameters", doc},
};

int cli_config(const char *conf_path, int argc, char **argv)
{
    for (size_t i = 0; argc > 0 && i < ARRAY_LEN(verbs); i++)
        if (strcmp(argv[0], verbs[i].name) == 0)
            return verbs[i].run(conf_path, argc - 1, argv + 1);
    for (size_t i = 0; i < ARRAY_LEN(verbs); i++)
        fprintf(stderr, "%s mta config %s\n", i == 0 ? "usage:" : "      ", verbs[i].usage);
    return 2;
}
