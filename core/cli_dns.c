/*
 * `mta mx`: see cli.h. It asks the name servers of the configuration on a loop of its own, in the way the transport
 * smtp does, so what it prints is where mail for a domain would be taken now.
 */
#include "core/cli.h"

#include "core/base/alloc.h"
#include "core/base/log.h"
#include "lookup/dns_mx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct mx {
    struct loop *loop;
    const struct conf *conf;
    struct dns *dns;
    struct op_scope scope;
    bool many; /* "domain<TAB>host" */
    int status;
};

struct question {
    struct mx *mx;
    char *domain;
};

static struct dns_mail_opts opts_of(const struct conf *c, const char *domain)
{
    static const char *const preferences[] = {
        [CONF_ADDRESS_PREFERENCE_ANY] = "any",
        [CONF_ADDRESS_PREFERENCE_IPV4] = "ipv4",
        [CONF_ADDRESS_PREFERENCE_IPV6] = "ipv6",
    };

    return (struct dns_mail_opts){
        .host_lookup = c->smtp_host_lookup,
        .address_preference = preferences[c->smtp_address_preference],
        .balance_protocols = c->smtp_balance_inet_protocols,
        .randomize = c->smtp_randomize_addresses,
        .mx_address_limit = (int)c->smtp_mx_address_limit,
        .ignore_mx_lookup_error = c->ignore_mx_lookup_error,
        .defer_if_no_mx_address_found = c->smtp_defer_if_no_mx_address_found,
        .by_mx = domain[0] != '[',
        .detect_loop = true,
    };
}

static void on_hosts(void *owner, enum op_status st, const void *result)
{
    const struct dns_mail_answer *a = result;
    struct question *q = owner;
    struct mx *mx = q->mx;
    int status = st == OP_OK ? 0 : st == OP_NOTFOUND ? 1 : 2;

    for (size_t i = 0; st == OP_OK && i < a->n; i++)
        printf("%s%s%d %s %s\n", mx->many ? q->domain : "", mx->many ? "\t" : "", a->hosts[i].preference,
               a->hosts[i].name, a->hosts[i].address);
    if (st != OP_OK)
        fprintf(stderr, "mta: %s: %s %s\n", q->domain, a->status.dsn, a->status.text);
    if (status > mx->status)
        mx->status = status;
    mem_free(q->domain);
    mem_free(q);
}

static void ask(struct mx *mx, const char *domain)
{
    struct dns_mail_opts opts = opts_of(mx->conf, domain);
    struct question *q = NEW(struct question);

    q->mx = mx;
    q->domain = mem_strdup(domain);
    dns_mail_hosts(mx->dns, mx->conf, &opts, domain, &mx->scope, on_hosts, q);
}

static void ask_stdin(struct mx *mx)
{
    char *line = NULL;
    size_t cap = 0;

    mx->many = true;
    while (getline(&line, &cap, stdin) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        ask(mx, line);
    }
    free(line);
}

static void ask_all(struct mx *mx, int argc, char **argv)
{
    op_scope_init(&mx->scope, "mta mx");
    mx->many = argc > 1;
    if (argc == 1 && strcmp(argv[0], "-") == 0)
        ask_stdin(mx);
    else
        for (int i = 0; i < argc; i++)
            ask(mx, argv[i]);
    while (!op_scope_idle(&mx->scope))
        loop_turn(mx->loop);
}

int cli_mx(const char *conf_path, int argc, char **argv)
{
    struct mx mx = {.status = 0};
    struct conf_report report = {0};
    struct buf err = {0};

    if (argc == 0) {
        fputs("usage: mta mx DOMAIN... | mta mx - <DOMAINS\n", stderr);
        return 2;
    }
    log_setup(NULL, NULL, LOG_LEVEL_FATAL, NULL); /* the answer says what went wrong */
    mx.loop = loop_new();
    mx.conf = conf_load(conf_path, &report);
    if (mx.conf == NULL)
        conf_report_print(&report, stderr);
    else
        mx.dns = dns_new(mx.loop, mx.conf, &err);
    if (mx.dns != NULL) {
        ask_all(&mx, argc, argv);
        dns_free(&mx.dns);
    } else {
        fputs(buf_cstr(&err), stderr);
        mx.status = 2;
    }
    conf_unref(&mx.conf);
    conf_report_clear(&report);
    buf_release(&err);
    loop_run(mx.loop);
    loop_free(&mx.loop);
    return mx.status;
}
