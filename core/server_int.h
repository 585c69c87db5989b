/* What the files of the server share; not for others. */
#ifndef MTA_SERVER_INT_H
#define MTA_SERVER_INT_H

#include "core/control.h"
#include "core/explain.h"
#include "core/queue/scheduler.h"
#include "core/server.h"
#include "core/setup.h"
#include "delivery/bounce.h"
#include "delivery/transport.h"
#include "lookup/dns.h"

/* An address that is listened on. */
struct server_listener {
    struct listener *listener;
    char *host;
    int port;
};

struct server_listeners {
    struct server_listener *items;
    size_t n;
};

struct server {
    struct loop *loop;
    const char *conf_path;
    uint64_t started_ms;
    struct tables *tables;
    struct dns *dns;
    struct setup setup; /* of the configuration in force */
    struct transports *transports;
    struct queue *queue;
    struct scheduler *scheduler;
    struct bounce *bounce;
    struct auth_guard *guard;
    struct smtpd *smtpd;
    struct server_listeners listeners;
    struct control *control;
    bool stopping, sessions_over, deliveries_over, unbuilding;
    struct timer grace;

    /* reload */
    struct op_scope scope;
    bool reloading, reload_again;
    struct control_request *reload_asker; /* who waits for the one that runs; NULL: nobody */
};

/* The scheduler's part of a configuration. */
struct scheduler_config server_scheduler_config(const struct conf *);

/* ---- server_listen.c ---- */

/*
 * Makes `sv->listeners` those of the setup: what is open already stays open and gets its new service, what is new is
 * opened, the rest is closed. When one cannot be opened nothing has changed; false, and why is in the report.
 */
bool server_listen(struct server *, const struct setup *, struct conf_report *);
void server_unlisten(struct server *);

/* ---- server_reload.c ---- */

/*
 * Reads the configuration anew, off the loop, and takes it into use when it has no error. The asker, if any, is
 * answered with what there was to say; while one reload runs, another one that is asked for follows it.
 */
void server_reload(struct server *, struct control_request *asker);

/* ---- server_status.c ---- */

/* `mta status [--json | --unban WHAT]`: answers it. */
void server_status(struct server *, struct control_request *, int argc, const char *const *argv);

#endif
