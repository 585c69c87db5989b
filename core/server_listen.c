/*
 * The listening sockets of the server: opened at start, adapted at reload without touching a session. Called by
 * server.c and server_reload.c.
 */
#include "core/server_int.h"

#include "core/base/alloc.h"
#include "core/base/log.h"

static const struct server_listener *find(const struct server_listeners *all, const char *host, int port)
{
    for (size_t i = 0; i < all->n; i++)
        if (all->items[i].port == port && strcmp(all->items[i].host, host) == 0)
            return &all->items[i];
    return NULL;
}

static void close_item(struct server_listener *item)
{
    listener_close(&item->listener);
    mem_free(item->host);
}

/* One address of a listener: the socket that is open, or a new one. */
static bool add(struct server *sv, struct server_listeners *to, const struct setup *setup, size_t service,
                const struct conf_listen *at, struct conf_report *report)
{
    const struct conf_listener *of = &setup->conf->listeners[service];
    const struct server_listener *old = find(&sv->listeners, at->host, at->port);
    struct server_listener item = {.host = mem_strdup(at->host), .port = at->port};
    char why[200];

    if (old != NULL)
        item.listener = old->listener;
    else
        item.listener =
            listener_open(sv->loop, at->host, at->port, smtpd_accept, setup->services[service], why, sizeof why);
    if (item.listener == NULL) {
        conf_report_add(report, CONF_SEVERITY_ERROR, of->file, of->line, "listener %s: cannot listen on %s:%d: %s",
                        of->name, at->host, at->port, why);
        mem_free(item.host);
        return false;
    }
    if (old == NULL)
        log_event(LOG_START, NULL, "listening on %s:%d (%s)", at->host, listener_port(item.listener), of->name);
    to->items[to->n++] = item;
    return true;
}

static size_t count(const struct conf *conf)
{
    size_t n = 0;

    for (size_t i = 0; i < conf->nlisteners; i++)
        n += conf->listeners[i].nlisten;
    return n;
}

/* Closes what is in `gone` and not in `kept`. */
static void drop(struct server_listeners *gone, const struct server_listeners *kept, bool say)
{
    for (size_t i = 0; i < gone->n; i++) {
        struct server_listener *item = &gone->items[i];

        if (find(kept, item->host, item->port) != NULL) {
            mem_free(item->host);
            continue;
        }
        if (say)
            log_event(LOG_STOP, NULL, "no longer listening on %s:%d", item->host, item->port);
        close_item(item);
    }
    mem_free(gone->items);
    *gone = (struct server_listeners){0};
}

bool server_listen(struct server *sv, const struct setup *setup, struct conf_report *report)
{
    const struct conf *conf = setup->conf;
    struct server_listeners now = {.items = mem_new_array(count(conf) + 1, sizeof *now.items)};

    for (size_t i = 0; i < conf->nlisteners; i++)
        for (size_t k = 0; k < conf->listeners[i].nlisten; k++)
            if (!add(sv, &now, setup, i, &conf->listeners[i].listen[k], report)) {
                drop(&now, &sv->listeners, false);
                return false;
            }
    for (size_t i = 0, at = 0; i < conf->nlisteners; i++)
        for (size_t k = 0; k < conf->listeners[i].nlisten; k++)
            listener_set_arg(now.items[at++].listener, setup->services[i]);
    drop(&sv->listeners, &now, true);
    sv->listeners = now;
    return true;
}

void server_unlisten(struct server *sv)
{
    static const struct server_listeners none;

    drop(&sv->listeners, &none, false);
}
