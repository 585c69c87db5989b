/*
 * The deep check's names: does $myhostname lead to this machine; is mail for $mydomain for us, when only tables know
 * what is? Called by check_deep.c; waits for the system's resolver, on a thread of the pool, and for tables.
 */
#include "core/check_deep_int.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/loop/work.h"

#include <netdb.h>
#include <sys/socket.h>

#define ADDRESSES_SHOWN 8

/* ---- myhostname ---- */

struct host {
    struct deep *deep; /* not for the thread */
    struct deep_try *try;
    char *name;
    int error;
    char addresses[ADDRESSES_SHOWN][NI_MAXHOST];
    size_t n;
};

/* On a thread of the pool. */
static enum op_status resolve(void *arg)
{
    struct host *h = arg;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;

    h->error = getaddrinfo(h->name, NULL, &hints, &list);
    for (struct addrinfo *a = list; a != NULL && h->n < ADDRESSES_SHOWN; a = a->ai_next)
        if (getnameinfo(a->ai_addr, a->ai_addrlen, h->addresses[h->n], NI_MAXHOST, NULL, 0, NI_NUMERICHOST) == 0)
            h->n++;
    if (list != NULL)
        freeaddrinfo(list);
    return OP_OK;
}

static void host_free(void *arg)
{
    struct host *h = arg;

    mem_free(h->name);
    mem_free(h);
}

static void on_resolved(void *owner, enum op_status status, const void *result)
{
    const struct host *h = result;
    struct buf list = {0};
    bool ours = false;

    (void)status;
    (void)owner;
    for (size_t i = 0; i < h->n; i++) {
        buf_printf(&list, "%s%s", i > 0 ? ", " : "", h->addresses[i]);
        ours = ours || conf_is_own_address(h->deep->conf, h->addresses[i]);
    }
    if (h->error != 0)
        deep_end(h->try, DEEP_WARN, "%s", gai_strerror(h->error));
    else if (!ours)
        deep_end(h->try, DEEP_WARN, "%s is not in inet_interfaces; behind NAT it belongs into proxy_interfaces",
                 buf_cstr(&list));
    else
        deep_end(h->try, DEEP_OK, "%s", buf_cstr(&list));
    buf_release(&list);
}

static void look_at_host(struct deep *d)
{
    struct conf_place place = {d->conf->path, 0};
    struct host *h = NEW(struct host);

    conf_where(d->conf, SLICE_LIT("myhostname"), &place);
    h->deep = d;
    h->name = mem_strdup(d->conf->myhostname);
    h->try = deep_begin(d, "host %s%s", h->name, deep_source(d, "myhostname", &place));
    work_run(d->loop, &d->scope, "resolve", 0, resolve, h, host_free, on_resolved, d);
}

/* ---- mydomain ---- */

static void on_class(void *owner, enum op_status status, const void *result)
{
    static const char *const lists[] = {
        [RULES_CLASS_LOCAL] = "mydestination",
        [RULES_CLASS_VIRTUAL_ALIAS] = "virtual_alias_domains",
        [RULES_CLASS_VIRTUAL_MAILBOX] = "virtual_mailbox_domains",
        [RULES_CLASS_RELAY] = "relay_domains",
        [RULES_CLASS_OTHER] = NULL,
    };
    const struct table_answer *answer = result;
    struct deep_try *t = owner;

    if (status != OP_OK)
        deep_end(t, DEEP_WARN, "not known: %s", answer != NULL && answer->why != NULL ? answer->why : "no answer");
    else if (lists[*(const enum rules_class *)result] != NULL)
        deep_end(t, DEEP_OK, "its mail is for here, by %s", lists[*(const enum rules_class *)result]);
    else
        deep_end(t, DEEP_WARN,
                 "its mail goes to other servers: it is in none of mydestination, virtual_alias_domains, "
                 "virtual_mailbox_domains and relay_domains, nor in the tables there");
}

/* Which domains are hosted is in tables: is ours among them? Whoever writes domains into the file can see it there. */
static void look_at_domain(struct deep *d)
{
    const struct conf *c = d->conf;
    const char *const lists[] = {c->mydestination, c->virtual_alias_domains, c->virtual_mailbox_domains,
                                 c->relay_domains};
    struct conf_place place = {c->path, 0};
    bool tables = false;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        tables = tables || strchr(lists[i], ':') != NULL;
    if (!tables || d->setup->rules == NULL)
        return;
    conf_where(c, SLICE_LIT("mydomain"), &place);
    rules_classify(d->setup->rules, &d->scope, slice_str(c->mydomain), on_class,
                   deep_begin(d, "domain %s%s", c->mydomain, deep_source(d, "mydomain", &place)));
}

void deep_names(struct deep *d)
{
    look_at_host(d);
    look_at_domain(d);
}
