/*
 * What the machine says about itself: its name, its addresses, and what inet_interfaces and mynetworks_style make of
 * them. Called while a configuration is loaded; blocks on the resolver for host names in inet_interfaces only.
 */
#include "core/conf/conf_int.h"

#include "core/base/alloc.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <limits.h>
#include <netdb.h>
#include <net/if.h>
#include <netinet/in.h>
#include <unistd.h>

#define LIST_SEPARATORS " \t\r\n,"

/* ---- one address ---- */

static bool address_from(const struct sockaddr *sa, struct conf_address *out)
{
    *out = (struct conf_address){.family = sa->sa_family};
    if (sa->sa_family == AF_INET) {
        memcpy(out->bytes, &((const struct sockaddr_in *)(const void *)sa)->sin_addr, 4);
        out->prefix = 32;
    } else if (sa->sa_family == AF_INET6) {
        memcpy(out->bytes, &((const struct sockaddr_in6 *)(const void *)sa)->sin6_addr, 16);
        out->prefix = 128;
    } else {
        return false;
    }
    return true;
}

bool conf_address_parse(struct slice text, struct conf_address *out)
{
    char name[INET6_ADDRSTRLEN + 1];
    bool bracketed = text.n > 2 && text.p[0] == '[' && text.p[text.n - 1] == ']';

    if (bracketed)
        text = slice_make(text.p + 1, text.n - 2);
    if (text.n >= sizeof name || text.n == 0)
        return false;
    memcpy(name, text.p, text.n);
    name[text.n] = '\0';
    *out = (struct conf_address){.family = AF_INET, .prefix = 32};
    if (!bracketed && inet_pton(AF_INET, name, out->bytes) == 1)
        return true;
    *out = (struct conf_address){.family = AF_INET6, .prefix = 128};
    return inet_pton(AF_INET6, name, out->bytes) == 1;
}

const char *conf_address_text(struct arena *a, const struct conf_address *address)
{
    char text[INET6_ADDRSTRLEN];

    inet_ntop(address->family, address->bytes, text, sizeof text);
    return arena_strdup(a, text);
}

bool conf_address_loopback(const struct conf_address *a)
{
    static const uint8_t v6[16] = {[15] = 1};

    return a->family == AF_INET ? a->bytes[0] == 127 : memcmp(a->bytes, v6, 16) == 0;
}

bool conf_address_wanted(const struct conf_machine *m, const struct conf_address *a, int inet_protocols)
{
    if (a->family == AF_INET6)
        return m->have_ipv6 && inet_protocols != CONF_INET_PROTOCOLS_IPV4;
    return inet_protocols != CONF_INET_PROTOCOLS_IPV6;
}

/* ---- the machine ---- */

void conf_machine_add(struct conf_machine *m, const struct conf_address *address)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->addresses[i].family == address->family && memcmp(m->addresses[i].bytes, address->bytes, 16) == 0)
            return;
    if (m->n == m->cap) {
        m->cap = m->cap == 0 ? 8 : m->cap * 2;
        m->addresses = mem_resize(m->addresses, m->cap * sizeof *m->addresses);
    }
    m->addresses[m->n++] = *address;
}

static unsigned prefix_of(const struct sockaddr *netmask)
{
    struct conf_address mask;
    unsigned n = 0;

    if (netmask == NULL || !address_from(netmask, &mask))
        return UINT_MAX;
    while (n < mask.prefix && (mask.bytes[n / 8] & (0x80 >> n % 8)) != 0)
        n++;
    return n;
}

static void load_addresses(struct conf_machine *m)
{
    struct ifaddrs *all;
    struct conf_address a;

    if (getifaddrs(&all) != 0)
        return;
    for (const struct ifaddrs *i = all; i != NULL; i = i->ifa_next) {
        if (i->ifa_addr == NULL || (i->ifa_flags & IFF_UP) == 0 || !address_from(i->ifa_addr, &a))
            continue;
        if (prefix_of(i->ifa_netmask) <= a.prefix)
            a.prefix = prefix_of(i->ifa_netmask);
        conf_machine_add(m, &a);
    }
    freeifaddrs(all);
}

void conf_machine_load(struct conf_machine *m)
{
    char name[HOST_NAME_MAX + 1] = "";
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);

    m->have_ipv6 = fd >= 0;
    if (fd >= 0)
        close(fd);
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0')
        snprintf(name, sizeof name, "localhost");
    m->hostname = arena_strdup(&m->arena, name);
    load_addresses(m);
}

void conf_machine_clear(struct conf_machine *m)
{
    mem_free(m->addresses);
    arena_clear(&m->arena);
    *m = (struct conf_machine){0};
}

/* ---- inet_interfaces ---- */

static void add_wanted(const struct conf_machine *m, const struct conf_address *a, int inet_protocols,
                       struct conf_machine *out)
{
    if (conf_address_wanted(m, a, inet_protocols))
        conf_machine_add(out, a);
}

/* The network that an own address is in, so that `subnet` works for addresses given one by one. */
static void take_prefix(const struct conf_machine *m, struct conf_address *a)
{
    for (size_t i = 0; i < m->n; i++)
        if (m->addresses[i].family == a->family && memcmp(m->addresses[i].bytes, a->bytes, 16) == 0)
            a->prefix = m->addresses[i].prefix;
}

static bool resolve(const struct conf_machine *m, struct slice name, int inet_protocols, struct conf_machine *out)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *all;
    struct conf_address a;
    char text[256];

    if (name.n >= sizeof text)
        return false;
    memcpy(text, name.p, name.n);
    text[name.n] = '\0';
    if (getaddrinfo(text, NULL, &hints, &all) != 0)
        return false;
    for (const struct addrinfo *i = all; i != NULL; i = i->ai_next)
        if (address_from(i->ai_addr, &a)) {
            take_prefix(m, &a);
            add_wanted(m, &a, inet_protocols, out);
        }
    freeaddrinfo(all);
    return true;
}

static bool interface_word(const struct conf_machine *m, struct slice word, int inet_protocols,
                           struct conf_machine *out)
{
    bool all = slice_ieq(word, SLICE_LIT("all"));
    struct conf_address a;

    if (all || slice_ieq(word, SLICE_LIT("loopback-only"))) {
        for (size_t i = 0; i < m->n; i++)
            if (all || conf_address_loopback(&m->addresses[i]))
                add_wanted(m, &m->addresses[i], inet_protocols, out);
        return true;
    }
    if (conf_address_parse(word, &a)) {
        take_prefix(m, &a);
        add_wanted(m, &a, inet_protocols, out);
        return true;
    }
    return resolve(m, word, inet_protocols, out);
}

bool conf_machine_interfaces(const struct conf_machine *m, const char *list, int inet_protocols,
                             struct conf_machine *out, struct slice *bad)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        if (!interface_word(m, word, inet_protocols, out)) {
            *bad = word;
            return false;
        }
    return true;
}

/* ---- mynetworks_style ---- */

static unsigned class_prefix(const struct conf_address *a)
{
    if (a->family != AF_INET)
        return a->prefix;
    return a->bytes[0] < 128 ? 8 : a->bytes[0] < 192 ? 16 : a->bytes[0] < 224 ? 24 : 32;
}

static struct conf_address network_of(const struct conf_address *own, int style)
{
    struct conf_address net = *own;

    if (style == CONF_MYNETWORKS_STYLE_HOST)
        net.prefix = own->family == AF_INET ? 32 : 128;
    else if (style == CONF_MYNETWORKS_STYLE_CLASS)
        net.prefix = class_prefix(own);
    for (unsigned bit = net.prefix; bit < 128; bit++)
        net.bytes[bit / 8] &= (uint8_t) ~(0x80 >> bit % 8);
    return net;
}

const char *conf_machine_networks(struct arena *arena, const struct conf_machine *own, int style)
{
    struct conf_machine nets = {0};
    struct buf text = {0};
    const char *copy;

    for (size_t i = 0; i < own->n; i++) {
        struct conf_address net = network_of(&own->addresses[i], style);

        conf_machine_add(&nets, &net);
    }
    for (size_t i = 0; i < nets.n; i++) {
        const struct conf_address *net = &nets.addresses[i];

        buf_printf(&text, net->family == AF_INET ? "%s%s/%u" : "%s[%s]/%u", i > 0 ? " " : "",
                   conf_address_text(arena, net), net->prefix);
    }
    copy = arena_strdup(arena, buf_cstr(&text));
    buf_release(&text);
    conf_machine_clear(&nets);
    return copy;
}
