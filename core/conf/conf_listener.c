/*
 * [listener NAME] sections -> listeners with numeric addresses and a view of their own. Called by conf.c; what it
 * makes is in the snapshot's arena. Without a section there is one listener, "smtp", on $inet_interfaces port 25; from
 * a directory with Postfix's files there are those of master.cf and no other.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#include <arpa/inet.h>
#include <netdb.h>

#define LIST_SEPARATORS " \t\r\n,"

static const struct {
    const char *name;
    uint16_t port;
} known_ports[] = {{"smtp", 25}, {"submission", 587}, {"submissions", 465}, {"smtps", 465}, {"lmtp", 24}};

/* A listener under construction. */
struct work {
    const struct conf_build *build;
    struct conf_view view;
    struct conf_listener *listener;
    struct conf_listen *items; /* in the arena */
    size_t n, cap;
};

static void complain(const struct work *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void complain(const struct work *w, const char *fmt, ...)
{
    const struct conf_assignment *listen =
        w->view.listener != NULL ? conf_section_get(w->view.listener, "listen") : NULL;
    struct buf text = {0};
    va_list ap;

    va_start(ap, fmt);
    buf_vprintf(&text, fmt, ap);
    va_end(ap);
    conf_report_add(w->build->report, CONF_SEVERITY_ERROR, w->listener->file,
                    listen != NULL ? listen->line : w->listener->line, "listener %s: %s", w->listener->name,
                    buf_cstr(&text));
    buf_release(&text);
}

/* ---- one place to listen on ---- */

/* A name that only the machine's own list of services knows. */
static bool service_port(struct slice name, uint16_t *port)
{
    struct buf copy = {0};
    const struct servent *entry;

    buf_add_slice(&copy, name);
    entry = getservbyname(buf_cstr(&copy), "tcp");
    if (entry != NULL)
        *port = ntohs((uint16_t)entry->s_port);
    buf_release(&copy);
    return entry != NULL;
}

bool conf_port_parse(struct slice text, uint16_t *port)
{
    uint64_t number;

    for (size_t i = 0; i < ARRAY_LEN(known_ports); i++)
        if (slice_ieq(text, slice_str(known_ports[i].name))) {
            *port = known_ports[i].port;
            return true;
        }
    if (slice_u64(text, UINT16_MAX, &number))
        *port = (uint16_t)number;
    else if (text.n == 0 || !ascii_alpha(text.p[0]) || !service_port(text, port))
        return false;
    return *port != 0;
}

/* "host:port", "[v6]:port", ":port", "port" -> the two parts; NULL, or what is wrong. */
static const char *split(struct slice word, struct slice *host, struct slice *port)
{
    size_t colon = slice_rfind(word, ':'), bracket = slice_rfind(word, ']');

    if (bracket != SLICE_NOT_FOUND && (colon == SLICE_NOT_FOUND || colon < bracket))
        return "the port is missing";
    *host = colon == SLICE_NOT_FOUND ? SLICE_EMPTY : slice_head(word, colon);
    *port = colon == SLICE_NOT_FOUND ? word : slice_make(word.p + colon + 1, word.n - colon - 1);
    if (slice_find(*host, ':') != SLICE_NOT_FOUND && bracket == SLICE_NOT_FOUND)
        return "an IPv6 address is written in brackets, as in [::1]:25";
    return NULL;
}

static void add(struct work *w, const char *host, uint16_t port)
{
    for (size_t i = 0; i < w->n; i++)
        if (w->items[i].port == port && strcmp(w->items[i].host, host) == 0)
            return;
    if (w->n == w->cap) {
        struct conf_listen *more = arena_new_array(w->build->arena, w->cap * 2 + 8, sizeof *more);

        if (w->items != NULL)
            memcpy(more, w->items, w->n * sizeof *more);
        w->cap = w->cap * 2 + 8;
        w->items = more;
    }
    w->items[w->n++] = (struct conf_listen){host, port};
    w->listener->listen = w->items;
    w->listener->nlisten = w->n;
}

static void add_all(struct work *w, uint16_t port)
{
    static const char *const wildcards[] = {"0.0.0.0", "::"};
    struct conf_address a;

    for (size_t i = 0; i < ARRAY_LEN(wildcards); i++)
        if (conf_address_parse(slice_str(wildcards[i]), &a) &&
            conf_address_wanted(w->build->machine, &a, w->listener->conf->inet_protocols))
            add(w, wildcards[i], port);
}

static bool has_word(const char *list, const char *wanted)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        if (slice_ieq(word, slice_str(wanted)))
            return true;
    return false;
}

/* Adds what a host or a list as of inet_interfaces stands for. */
static void add_hosts(struct work *w, const char *hosts, uint16_t port)
{
    struct conf_machine found = {0};
    struct slice bad;

    if (strcmp(hosts, "*") == 0 || has_word(hosts, "all")) {
        add_all(w, port);
        return;
    }
    if (!conf_machine_interfaces(w->build->machine, hosts, w->listener->conf->inet_protocols, &found, &bad))
        complain(w, "\"%.*s\" is neither an address nor the name of a host", (int)bad.n, bad.p);
    else if (found.n == 0)
        complain(w, "\"%s\" gives no address to listen on with this inet_protocols", hosts);
    for (size_t i = 0; i < found.n; i++)
        add(w, conf_address_text(w->build->arena, &found.addresses[i]), port);
    conf_machine_clear(&found);
}

static void listen_word(struct work *w, struct slice word)
{
    struct slice host, port;
    const char *why = split(word, &host, &port);
    uint16_t number = 0;

    if (why == NULL && !conf_port_parse(port, &number))
        why = "the port is neither a number from 1 to 65535 nor the name of a service such as smtp, submission, smtps";
    if (why != NULL)
        complain(w, "%s in \"%.*s\"", why, (int)word.n, word.p);
    else
        add_hosts(w, host.n == 0 ? w->listener->conf->inet_interfaces : arena_slice_dup(w->build->arena, host), number);
}

/* ---- listeners ---- */

static void listen_list(struct work *w, const struct conf_assignment *listen)
{
    struct conf_failure failure;
    const char *text = conf_view_text(&w->view, listen->value, &failure);
    struct slice rest = slice_str(text);

    if (text == NULL) {
        complain(w, "%s", failure.text);
        return;
    }
    if (slice_trim(rest).n == 0)
        complain(w, "listen is empty");
    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        listen_word(w, word);
}

static void build_section(const struct conf_build *b, const struct conf_section *section, struct conf_listener *out)
{
    struct work w = {.build = b, .view = conf_build_view(b, section), .listener = out};
    struct conf *view = ARENA_NEW(b->arena, struct conf);
    const struct conf_assignment *listen = conf_section_get(section, "listen");

    *view = *b->conf;
    conf_fill(b, view, section);
    *out = (struct conf_listener){.name = arena_strdup(b->arena, section->name),
                                  .conf = view,
                                  .file = arena_strdup(b->arena, section->file),
                                  .line = section->line};
    if (listen == NULL)
        complain(&w, "listen is missing: the addresses to listen on, as in listen = :25");
    else
        listen_list(&w, listen);
}

static void build_default(const struct conf_build *b, struct conf_listener *out)
{
    struct work w = {.build = b, .view = conf_build_view(b, NULL), .listener = out};

    *out = (struct conf_listener){.name = "smtp", .conf = b->conf, .file = b->conf->path, .line = 0};
    add_hosts(&w, b->conf->inet_interfaces, 25);
}

/* Two listeners on one address and port: the second could not open it. */
static void check_clashes(const struct conf_build *b, const struct conf_listener *listeners, size_t n)
{
    for (size_t i = 0; i < n; i++)
        for (size_t j = i + 1; j < n; j++)
            for (size_t k = 0; k < listeners[i].nlisten * listeners[j].nlisten; k++) {
                const struct conf_listen *one = &listeners[i].listen[k / listeners[j].nlisten];
                const struct conf_listen *two = &listeners[j].listen[k % listeners[j].nlisten];

                if (one->port == two->port && strcmp(one->host, two->host) == 0)
                    conf_report_add(b->report, CONF_SEVERITY_ERROR, listeners[j].file, listeners[j].line,
                                    "listener %s: listener %s listens on %s port %u already", listeners[j].name,
                                    listeners[i].name, one->host, one->port);
            }
}

static void build_own_addresses(const struct conf_build *b)
{
    struct conf_machine own = {0};
    const char **texts;
    struct slice bad;

    /* A bad word in inet_interfaces is complained about where it is listened on. */
    conf_machine_interfaces(b->machine, b->conf->inet_interfaces, b->conf->inet_protocols, &own, &bad);
    if (!conf_machine_interfaces(b->machine, b->conf->proxy_interfaces, b->conf->inet_protocols, &own, &bad)) {
        struct conf_view v = conf_build_view(b, NULL);

        conf_complain(b, &v, CONF_SEVERITY_ERROR, "proxy_interfaces",
                      "\"%.*s\" is neither an address nor the name of a host", (int)bad.n, bad.p);
    }
    texts = arena_new_array(b->arena, own.n + 1, sizeof *texts);
    for (size_t i = 0; i < own.n; i++)
        texts[i] = conf_address_text(b->arena, &own.addresses[i]);
    b->conf->own_addresses = texts;
    b->conf->nown_addresses = own.n;
    conf_machine_clear(&own);
}

void conf_build_listeners(const struct conf_build *b)
{
    struct conf_listener *listeners = arena_new_array(b->arena, b->source->nsections + 1, sizeof *listeners);
    size_t n = 0;

    build_own_addresses(b);
    b->conf->listeners = listeners;
    for (size_t i = 1; i < b->source->nsections; i++)
        if (b->source->sections[i].kind == CONF_SECTION_LISTENER && !conf_listener_closed(b, &b->source->sections[i]))
            build_section(b, &b->source->sections[i], &listeners[n++]);
    if (n == 0 && !b->source->postfix)
        build_default(b, &listeners[n++]);
    else if (n == 0)
        conf_report_add(b->report, CONF_SEVERITY_WARNING, b->source->master, 0,
                        "there is no listener: no mail can come in");
    b->conf->nlisteners = n;
    for (size_t i = 0; i < n; i++)
        if (listeners[i].conf != b->conf)
            ((struct conf *)listeners[i].conf)->nlisteners = n;
    check_clashes(b, listeners, n);
}
