/*
 * The deep check's connections: milters, the AUTH socket, policy servers, next hops of transports. Each is connected to
 * and left at once. Called by check_deep.c; waits for connections, names are asked for by dial.
 */
#include "core/check_deep_int.h"

#include "core/loop/dial.h"
#include "lookup/maps.h"

#include <stdio.h>

#define CONNECT_MS 5000

/* What somebody listens at, as it is written, and where that is. */
struct socket {
    struct list link;
    const char *text; /* for comparison */
    struct dial_target to;
};

struct sockets {
    struct deep *deep;
    struct list known;                   /* those that are tried: one line is enough for each */
    const struct conf_section *listener; /* whose parameters are looked at; NULL: those of all */
};

/* ---- connecting ---- */

static void on_dialed(void *owner, enum op_status status, const void *result)
{
    struct deep_try *t = owner;

    if (status == OP_OK)
        deep_end(t, DEEP_OK, "connected");
    else if (status == OP_TIMEOUT)
        deep_end(t, DEEP_FAIL, "no answer in %d seconds", CONNECT_MS / 1000);
    else
        deep_end(t, DEEP_FAIL, "%s", dial_error(result));
}

static bool is_known(const struct sockets *s, const char *text)
{
    LIST_FOREACH(it, &s->known)
    if (strcmp(LIST_ITEM(it, struct socket, link)->text, text) == 0)
        return true;
    return false;
}

static void try_socket(struct sockets *s, const struct dial_target *to, const char *parameter,
                       const struct conf_place *place)
{
    struct deep *d = s->deep;
    struct socket *socket = ARENA_NEW(&d->arena, struct socket);

    socket->text = to->path != NULL ? arena_printf(&d->arena, "unix:%s", to->path)
                                    : arena_printf(&d->arena, "inet:%s:%d", to->host, to->port);
    if (is_known(s, socket->text))
        return;
    list_append(&s->known, &socket->link);
    dial_start(d->loop, &d->scope, to, CONNECT_MS, on_dialed,
               deep_begin(d, "socket %s%s", socket->text, deep_source(d, parameter, place)));
}

/* ---- what is written, and what it means ---- */

static void misread(struct sockets *s, struct slice text, const char *parameter, const struct conf_place *place)
{
    deep_end(deep_begin(s->deep, "socket %.*s%s", (int)text.n, text.p, deep_source(s->deep, parameter, place)),
             DEEP_FAIL, "this is no socket: one is written inet:HOST:PORT or unix:PATH");
}

/* A relative path is below the queue directory, as for Postfix. */
static void try_path(struct sockets *s, struct slice path, const char *parameter, const struct conf_place *place)
{
    struct arena *a = &s->deep->arena;
    struct dial_target to = {.path = arena_slice_dup(a, path)};

    if (to.path[0] != '/')
        to.path = arena_printf(a, "%s/%s", s->deep->conf->queue_directory, to.path);
    try_socket(s, &to, parameter, place);
}

/* "HOST:PORT", "[HOST]:PORT", "[HOST]" where there is a usual port; false when it is something else. */
static bool split_host(struct deep *d, struct slice text, uint16_t usual_port, struct dial_target *to)
{
    struct slice host = slice_head(text, slice_rfind(text, ':')), rest = slice_from(text, host.n);
    uint16_t port = usual_port;

    if (slice_starts(text, SLICE_LIT("[")) && slice_find(text, ']') != SLICE_NOT_FOUND) {
        host = slice_make(text.p + 1, slice_find(text, ']') - 1);
        rest = slice_from(text, host.n + 2);
    }
    if (slice_istarts(host, SLICE_LIT("ipv6:")))
        host = slice_from(host, strlen("ipv6:"));
    if (rest.n > 0 && (rest.p[0] != ':' || !conf_port_parse(slice_from(rest, 1), &port)))
        return false;
    *to = (struct dial_target){.host = arena_slice_dup(&d->arena, host), .port = port};
    return host.n > 0 && port > 0;
}

static void try_host(struct sockets *s, struct slice text, uint16_t usual_port, const char *parameter,
                     const struct conf_place *place)
{
    struct dial_target to;

    if (split_host(s->deep, text, usual_port, &to))
        try_socket(s, &to, parameter, place);
    else
        misread(s, text, parameter, place);
}

static bool take_prefix(struct slice *text, const char *prefix)
{
    if (!slice_istarts(*text, slice_str(prefix)))
        return false;
    *text = slice_from(*text, strlen(prefix));
    return true;
}

/* "inet:HOST:PORT", "unix:PATH". */
static void try_endpoint(struct sockets *s, struct slice text, const char *parameter, const struct conf_place *place)
{
    struct slice rest = text;

    if (take_prefix(&rest, "unix:") || take_prefix(&rest, "local:"))
        try_path(s, rest, parameter, place);
    else if (take_prefix(&rest, "inet:") || take_prefix(&rest, "inet6:"))
        try_host(s, rest, 0, parameter, place);
    else
        misread(s, text, parameter, place);
}

/* ---- parameters ---- */

/* "{ inet:HOST:PORT, name = value ... }" -> what is first in it. */
static struct slice unbrace(struct slice item)
{
    if (item.n > 1 && item.p[0] == '{' && item.p[item.n - 1] == '}') {
        item = slice_make(item.p + 1, item.n - 2);
        item = slice_token(&item, " \t\r\n,");
    }
    return item;
}

static void try_milters(struct sockets *s, const char *parameter)
{
    struct conf_place place;
    struct slice rest = slice_str(deep_text(s->deep, s->listener, parameter, &place));

    for (struct slice item; (item = maps_list_item(&rest)).n > 0;)
        try_endpoint(s, unbrace(item), parameter, &place);
}

static bool says(struct sockets *s, const char *parameter, const char *word)
{
    return slice_ieq(slice_str(deep_text(s->deep, s->listener, parameter, NULL)), slice_str(word));
}

static void try_auth(struct sockets *s)
{
    struct conf_place place;
    struct slice path = slice_str(deep_text(s->deep, s->listener, "smtpd_sasl_path", &place));

    if (!says(s, "smtpd_sasl_auth_enable", "yes") || !says(s, "smtpd_sasl_type", "dovecot"))
        return;
    if (take_prefix(&path, "inet:"))
        try_host(s, path, 0, "smtpd_sasl_path", &place);
    else {
        take_prefix(&path, "unix:");
        try_path(s, path, "smtpd_sasl_path", &place);
    }
}

static void try_policies(struct sockets *s)
{
    static const char *const lists[] = {"smtpd_client_restrictions",     "smtpd_helo_restrictions",
                                        "smtpd_sender_restrictions",     "smtpd_relay_restrictions",
                                        "smtpd_recipient_restrictions",  "smtpd_data_restrictions",
                                        "smtpd_end_of_data_restrictions"};

    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        struct conf_place place;
        struct slice rest = slice_str(deep_text(s->deep, s->listener, lists[i], &place));
        bool follows = false;

        for (struct slice item; (item = maps_list_item(&rest)).n > 0;) {
            if (follows)
                try_endpoint(s, unbrace(item), lists[i], &place);
            follows = slice_ieq(item, SLICE_LIT("check_policy_service"));
        }
    }
}

/* ---- next hops ---- */

/* A destination without brackets is a domain, whose MX hosts are not asked for here. */
static void try_smtp(struct sockets *s, struct slice to, const char *parameter, const struct conf_place *place)
{
    if (to.n > 0 && to.p[0] == '[')
        try_host(s, to, 25, parameter, place);
    else if (to.n > 0)
        deep_end(deep_begin(s->deep, "server %.*s%s", (int)to.n, to.p, deep_source(s->deep, parameter, place)),
                 DEEP_WARN, "not tried: only mail finds out about MX records; a host is written [%.*s]", (int)to.n,
                 to.p);
}

static void try_lmtp(struct sockets *s, struct slice to, const char *parameter, const struct conf_place *place)
{
    if (take_prefix(&to, "unix:"))
        try_path(s, to, parameter, place);
    else {
        take_prefix(&to, "inet:");
        if (to.n > 0)
            try_host(s, to, 24, parameter, place);
    }
}

static enum conf_transport_type type_of(const struct deep *d, const char *name)
{
    const struct conf_transport *t = conf_transport_find(d->conf, name);

    if (t != NULL)
        return t->type;
    if (strcmp(name, "lmtp") == 0)
        return CONF_TRANSPORT_TYPE_LMTP;
    return strcmp(name, "smtp") == 0 || strcmp(name, "relay") == 0 ? CONF_TRANSPORT_TYPE_SMTP
                                                                   : CONF_TRANSPORT_TYPE_ERROR;
}

/* "TRANSPORT:NEXTHOP" */
static void try_route(struct sockets *s, const char *parameter)
{
    struct conf_place place;
    struct slice value = slice_str(deep_text(s->deep, NULL, parameter, &place));
    size_t colon = slice_find(value, ':');
    const char *transport = arena_slice_dup(&s->deep->arena, slice_head(value, colon));
    struct slice nexthop = colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_from(value, colon + 1);

    switch (type_of(s->deep, transport)) {
    case CONF_TRANSPORT_TYPE_LMTP: try_lmtp(s, nexthop, parameter, &place); break;
    case CONF_TRANSPORT_TYPE_SMTP: try_smtp(s, nexthop, parameter, &place); break;
    default: break; /* the next hop is no server's */
    }
}

static void try_routes(struct sockets *s)
{
    static const char *const routes[] = {"local_transport", "virtual_transport", "relay_transport", "default_transport",
                                         "mailbox_transport"};
    static const char *const servers[] = {"relayhost", "smtp_fallback_relay", "relay_fallback_relay"};

    for (size_t i = 0; i < sizeof routes / sizeof *routes; i++)
        try_route(s, routes[i]);
    for (size_t i = 0; i < sizeof servers / sizeof *servers; i++) {
        struct conf_place place;
        struct slice rest = slice_str(deep_text(s->deep, NULL, servers[i], &place));

        for (struct slice item; (item = maps_list_item(&rest)).n > 0;)
            try_smtp(s, item, servers[i], &place);
    }
}

/* ---- all of it ---- */

static void try_view(struct sockets *s, const struct conf_section *listener)
{
    s->listener = listener;
    try_milters(s, "smtpd_milters");
    try_auth(s);
    try_policies(s);
}

void deep_sockets(struct deep *d)
{
    struct sockets s = {.deep = d};

    list_init(&s.known);
    try_view(&s, NULL);
    for (const struct conf_section *l = NULL; d->texts != NULL && (l = conf_texts_next(d->texts, l)) != NULL;)
        try_view(&s, l);
    s.listener = NULL;
    try_milters(&s, "non_smtpd_milters");
    try_routes(&s);
}
