/* Next hops taken apart: see smtpc_nexthop.h. Called by smtpc_hosts.c for each attempt. */
#include "delivery/smtpc_nexthop.h"

#include "core/base/ip.h"
#include "core/conf/conf.h"

static bool take_prefix(struct slice *text, const char *prefix)
{
    struct slice p = slice_str(prefix);

    if (!slice_istarts(*text, p))
        return false;
    *text = slice_from(*text, p.n);
    return true;
}

/* Takes ":port" off the end; false when it is there and no port. */
static bool take_port(struct slice *text, int *port)
{
    size_t colon = slice_rfind(*text, ':'), bracket = slice_rfind(*text, ']');
    uint16_t number;

    if (colon == SLICE_NOT_FOUND || (bracket != SLICE_NOT_FOUND && bracket > colon))
        return true;
    if (bracket == SLICE_NOT_FOUND && slice_find(*text, ':') != colon)
        return true; /* an IPv6 address without brackets */
    if (!conf_port_parse(slice_from(*text, colon + 1), &number) || number == 0)
        return false;
    *port = number;
    *text = slice_head(*text, colon);
    return true;
}

static bool parse(struct slice text, bool lmtp, struct arena *arena, struct smtpc_nexthop *h)
{
    struct ip ip;

    if (lmtp && take_prefix(&text, "unix:")) {
        h->path = arena_slice_dup(arena, text);
        h->host = h->domain = h->path;
        return text.n > 0;
    }
    take_prefix(&text, "inet:");
    if (!take_port(&text, &h->port))
        return false;
    h->domain = arena_slice_dup(arena, text);
    h->by_mx = !lmtp;
    if (text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']') {
        text = slice_make(text.p + 1, text.n - 2);
        take_prefix(&text, "IPv6:");
        h->by_mx = false;
    } else if (slice_find(text, '[') != SLICE_NOT_FOUND || slice_find(text, ']') != SLICE_NOT_FOUND) {
        return false;
    }
    if (ip_parse(text, &ip))
        h->by_mx = false;
    h->host = arena_slice_dup(arena, text);
    return text.n > 0;
}

int smtpc_nexthop_next(struct slice *rest, bool lmtp, int port, struct arena *arena, struct smtpc_nexthop *h)
{
    struct slice text = slice_token(rest, " \t\r\n,");

    if (text.n == 0)
        return 0;
    *h = (struct smtpc_nexthop){.text = arena_slice_dup(arena, text), .port = port};
    return parse(text, lmtp, arena, h) ? 1 : -1;
}
