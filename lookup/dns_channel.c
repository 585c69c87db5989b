/*
 * c-ares on the loop: see dns_channel.h. c-ares says which descriptors it wants to have watched and when it wants to
 * be woken; it may call back inside ares_query, and cannot be told to forget one question, so whoever asks outlives
 * the answer (dns.c). RFC 1035; EDNS0 (RFC 6891), so that most answers need no TCP.
 */
#define CARES_NO_DEPRECATED /* ares_query is in all versions, its successor only in later ones */
#include "lookup/dns_channel.h"

#include "core/base/alloc.h"
#include "core/base/ip.h"
#include "core/loop/fdwatch.h"
#include "core/loop/timer.h"

#include <ares.h>

#define TRY_MS   2000 /* the first attempt; each round of all servers waits twice as long as the one before */
#define TRIES    3
#define PORT     53
#define CLASS_IN 1

struct dns_channel {
    struct loop *loop;
    ares_channel ares;
    struct list sockets;
    struct timer timer;
};

struct watched {
    struct list link;
    struct dns_channel *channel;
    ares_socket_t fd;
    struct fdwatch watch;
};

struct asked {
    dns_channel_done *done;
    void *arg;
};

/* ---- descriptors and time ---- */

static void on_time(void *arg);

static void set_timer(struct dns_channel *ch)
{
    struct timeval room, *next = ares_timeout(ch->ares, NULL, &room);

    if (next == NULL)
        timer_stop(&ch->timer);
    else
        timer_start(ch->loop, &ch->timer, (uint64_t)next->tv_sec * 1000 + (uint64_t)next->tv_usec / 1000 + 1, on_time,
                    ch);
}

static void on_time(void *arg)
{
    struct dns_channel *ch = arg;

    ares_process_fd(ch->ares, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    set_timer(ch);
}

static void on_ready(void *arg, int events)
{
    struct watched *w = arg;
    struct dns_channel *ch = w->channel;
    ares_socket_t fd = w->fd; /* w may be gone in the call */

    ares_process_fd(ch->ares, events & FDWATCH_READ ? fd : ARES_SOCKET_BAD,
                    events & FDWATCH_WRITE ? fd : ARES_SOCKET_BAD);
    set_timer(ch);
}

static struct watched *find(struct dns_channel *ch, ares_socket_t fd)
{
    LIST_FOREACH(it, &ch->sockets)
    {
        struct watched *w = LIST_ITEM(it, struct watched, link);

        if (w->fd == fd)
            return w;
    }
    return NULL;
}

static void unwatch(struct watched *w)
{
    fdwatch_stop(&w->watch);
    list_remove(&w->link);
    mem_free(w);
}

/* Called by c-ares; with neither before it closes a socket. */
static void on_socket(void *arg, ares_socket_t fd, int readable, int writable)
{
    struct dns_channel *ch = arg;
    struct watched *w = find(ch, fd);

    if (!readable && !writable) {
        if (w != NULL)
            unwatch(w);
        return;
    }
    if (w == NULL) {
        w = NEW(struct watched);
        w->channel = ch;
        w->fd = fd;
        list_append(&ch->sockets, &w->link);
    }
    /* One that cannot be watched gets no answer, and the question fails in its time. */
    fdwatch_start(ch->loop, &w->watch, fd, (readable ? FDWATCH_READ : 0) | (writable ? FDWATCH_WRITE : 0), on_ready, w);
}

/* ---- asking ---- */

/* As the system's resolver has it, for which SERVFAIL, REFUSED and silence are one. */
static const char *reason(int status)
{
    return status == ARES_EBADRESP ? "Malformed or unexpected name server reply" : "Host not found, try again";
}

static void on_reply(void *arg, int status, int timeouts, unsigned char *reply, int n)
{
    struct asked q = *(struct asked *)arg;

    (void)timeouts;
    mem_free(arg);
    if (status == ARES_EDESTRUCTION || status == ARES_ECANCELLED)
        q.done(q.arg, DNS_CHANNEL_GONE, SLICE_EMPTY, NULL);
    else if (reply != NULL && n > 0 && (status == ARES_SUCCESS || status == ARES_ENODATA || status == ARES_ENOTFOUND))
        q.done(q.arg, DNS_CHANNEL_REPLY, slice_make(reply, (size_t)n), NULL);
    else
        q.done(q.arg, DNS_CHANNEL_FAILED, SLICE_EMPTY, reason(status));
}

void dns_channel_ask(struct dns_channel *ch, const char *name, enum dns_type type, dns_channel_done *done, void *arg)
{
    struct asked *q = NEW(struct asked);

    q->done = done;
    q->arg = arg;
    ares_query(ch->ares, name, CLASS_IN, (int)type, on_reply, q);
    if (!timer_active(&ch->timer)) /* one that runs is due no later: all wait equally long */
        set_timer(ch);
}

/* ---- the servers ---- */

/* "192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353", added as c-ares writes it. */
static bool add_server(struct slice word, struct buf *list)
{
    struct slice host = word;
    uint64_t port = PORT;
    struct ip ip;

    if (!ip_parse(word, &ip)) {
        size_t colon = slice_rfind(word, ':');

        if (colon != SLICE_NOT_FOUND && word.p[word.n - 1] != ']') {
            if (!slice_u64(slice_from(word, colon + 1), 65535, &port) || port == 0)
                return false;
            host = slice_head(word, colon);
        }
        if (host.n > 2 && host.p[0] == '[' && host.p[host.n - 1] == ']')
            host = slice_make(host.p + 1, host.n - 2);
        else if (slice_find(host, ':') != SLICE_NOT_FOUND)
            return false;
        if (!ip_parse(host, &ip))
            return false;
    }
    buf_printf(list, slice_find(host, ':') == SLICE_NOT_FOUND ? "%s%.*s:%u" : "%s[%.*s]:%u",
               buf_len(list) > 0 ? "," : "", (int)host.n, host.p, (unsigned)port);
    return true;
}

static bool set_servers(struct dns_channel *ch, const char *servers, struct buf *err)
{
    struct slice rest = slice_str(servers), word;
    struct buf list = {0};
    bool ok = true;

    while (ok && (word = slice_token(&rest, ", \t\r\n")).n > 0) {
        ok = add_server(word, &list);
        if (!ok)
            buf_printf(err, "resolver: \"%.*s\" is not an address, or address:port\n", (int)word.n, word.p);
    }
    if (ok && buf_len(&list) > 0 && ares_set_servers_ports_csv(ch->ares, buf_cstr(&list)) != ARES_SUCCESS) {
        buf_printf(err, "resolver: these servers cannot be used\n");
        ok = false;
    }
    buf_release(&list);
    return ok;
}

static int init(struct dns_channel *ch)
{
    struct ares_options o = {
        .flags = ARES_FLAG_NOALIASES | ARES_FLAG_EDNS,
        .timeout = TRY_MS,
        .tries = TRIES,
        .sock_state_cb = on_socket,
        .sock_state_cb_data = ch,
    };
    int which = ARES_OPT_FLAGS | ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES | ARES_OPT_SOCK_STATE_CB;

#ifdef ARES_OPT_QUERY_CACHE /* later versions have a cache, whose bounds are not ours: none */
    which |= ARES_OPT_QUERY_CACHE;
#endif
    return ares_init_options(&ch->ares, &o, which);
}

struct dns_channel *dns_channel_new(struct loop *loop, const char *servers, struct buf *err)
{
    struct dns_channel *ch = NEW(struct dns_channel);
    int status = ares_library_init(ARES_LIB_INIT_ALL);

    ch->loop = loop;
    list_init(&ch->sockets);
    if (status == ARES_SUCCESS)
        status = init(ch);
    if (status != ARES_SUCCESS)
        buf_printf(err, "resolver: %s\n", ares_strerror(status));
    else if (!set_servers(ch, servers, err))
        ares_destroy(ch->ares);
    else
        return ch;
    ares_library_cleanup();
    mem_free(ch);
    return NULL;
}

void dns_channel_free(struct dns_channel **chp)
{
    struct dns_channel *ch = *chp;

    *chp = NULL;
    if (ch == NULL)
        return;
    ares_destroy(ch->ares);
    LIST_FOREACH(it, &ch->sockets)
    unwatch(LIST_ITEM(it, struct watched, link));
    timer_stop(&ch->timer);
    ares_library_cleanup();
    mem_free(ch);
}
