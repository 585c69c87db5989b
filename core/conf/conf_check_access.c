/*
 * Would it relay for everyone? The networks that may, and the restrictions that keep all others out, in one listener's
 * view. Called by conf_check.c.
 */
#include "core/conf/conf_int.h"

#include "core/base/assert.h"

#include <sys/socket.h>

#define LIST_SEPARATORS " \t\r\n,"

/* One view under check. */
struct work {
    const struct conf_build *build;
    const struct conf_view *view;
    const struct conf *conf;
};

#define COMPLAIN(w, severity, name, ...)                                                                               \
    conf_complain((w)->build, (w)->view, CONF_SEVERITY_##severity, name, __VA_ARGS__)

/* ---- mynetworks ---- */

/* Clears what is not network; were there host bits? */
static bool clear_host_bits(struct conf_address *net)
{
    bool any = false;

    for (unsigned bit = net->prefix; bit < (net->family == AF_INET ? 32u : 128u); bit++) {
        uint8_t mask = (uint8_t)(0x80 >> bit % 8);

        any = any || (net->bytes[bit / 8] & mask) != 0;
        net->bytes[bit / 8] &= (uint8_t)~mask;
    }
    return any;
}

/* "192.0.2.0/24", "[2001:db8::]/32", or an address alone; NULL, or what is wrong. */
static const char *network_parse(struct slice word, struct conf_address *net)
{
    size_t slash = slice_rfind(word, '/');
    uint64_t prefix;

    if (slice_find(word, ':') != SLICE_NOT_FOUND && word.p[0] != '[')
        return "an IPv6 network is written in brackets, as in [::1]/128";
    if (!conf_address_parse(slice_head(word, slash), net))
        return "this is no address and no network";
    if (slash == SLICE_NOT_FOUND)
        return NULL;
    if (!slice_u64(slice_from(word, slash + 1), net->prefix, &prefix))
        return "the length after the slash is wrong";
    net->prefix = (unsigned)prefix;
    return NULL;
}

static void check_network(const struct work *w, struct slice word, bool negated)
{
    struct conf_address net;
    const char *why = network_parse(word, &net);
    bool v6;

    if (why != NULL) {
        COMPLAIN(w, ERROR, "mynetworks", "\"%.*s\": %s", (int)word.n, word.p, why);
        return;
    }
    v6 = net.family == AF_INET6;
    if (clear_host_bits(&net))
        COMPLAIN(w, ERROR, "mynetworks", "\"%.*s\" has host bits set; the network is %s%s%s/%u", (int)word.n, word.p,
                 v6 ? "[" : "", conf_address_text(w->build->arena, &net), v6 ? "]" : "", net.prefix);
    else if (!negated && net.prefix == 0)
        COMPLAIN(w, ERROR, "mynetworks", "\"%.*s\" is everyone: this would be an open relay", (int)word.n, word.p);
    else if (!negated && net.prefix < (v6 ? 16u : 8u))
        COMPLAIN(w, WARNING, "mynetworks", "\"%.*s\" is a large part of the Internet, and all of it may relay",
                 (int)word.n, word.p);
}

/* "type:argument": what is before the colon has a letter that no hexadecimal number has, or is "cdb". */
static bool is_table(struct slice word)
{
    size_t colon = slice_find(word, ':');

    if (colon == SLICE_NOT_FOUND)
        return false;
    for (size_t i = 0; i < colon; i++)
        if (ascii_lower(word.p[i]) > 'f')
            return true;
    return slice_ieq(slice_head(word, colon), SLICE_LIT("cdb"));
}

static bool is_static(struct slice word)
{
    return slice_starts(word, SLICE_LIT("static:")) || slice_starts(word, SLICE_LIT("proxy:static:"));
}

static void check_networks(const struct work *w)
{
    struct slice rest = slice_str(w->conf->mynetworks);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;) {
        bool negated = false;

        for (; word.n > 1 && word.p[0] == '!'; word = slice_from(word, 1))
            negated = !negated;
        if (is_static(word) && !negated)
            COMPLAIN(w, ERROR, "mynetworks", "\"%.*s\" is everyone: this would be an open relay", (int)word.n, word.p);
        else if (word.p[0] != '/' && !is_table(word))
            check_network(w, word, negated);
    }
}

/* ---- restrictions ---- */

/* conf_restrict.c has left nothing in the lists but what runs, without arguments. */
static const char *const guards[] = {"reject_unauth_destination", "defer_unauth_destination", "reject", "defer"};

static bool is_guard(struct slice word)
{
    for (size_t i = 0; i < ARRAY_LEN(guards); i++)
        if (slice_ieq(word, slice_str(guards[i])))
            return true;
    return false;
}

/* Does the list turn strangers away before it lets everyone pass? */
static bool turns_away(const char *list)
{
    struct slice rest = slice_str(list);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;) {
        if (is_guard(word))
            return true;
        if (slice_ieq(word, SLICE_LIT("permit")))
            return false;
    }
    return false;
}

static void check_restrictions(const struct work *w)
{
    const char *at = conf_view_find(w->view, "smtpd_relay_restrictions") != NULL ? "smtpd_relay_restrictions"
                                                                                 : "smtpd_recipient_restrictions";

    if (!turns_away(w->conf->smtpd_relay_restrictions) && !turns_away(w->conf->smtpd_recipient_restrictions))
        COMPLAIN(w, ERROR, at,
                 "neither smtpd_relay_restrictions nor smtpd_recipient_restrictions has reject_unauth_destination, "
                 "defer_unauth_destination, reject or defer before a permit: this would be an open relay");
}

/* With every domain a relay domain, and every recipient of it right, nothing is left to turn away. */
static void check_relay_domains(const struct work *w)
{
    struct slice rest = slice_str(w->conf->relay_domains);

    for (struct slice word; (word = slice_token(&rest, LIST_SEPARATORS)).n > 0;)
        if (is_static(word) && w->conf->relay_recipient_maps[0] == '\0')
            COMPLAIN(w, ERROR, "relay_domains", "\"%.*s\" is every domain: this would be an open relay", (int)word.n,
                     word.p);
}

void conf_check_access(const struct conf_build *b, const struct conf_view *v, const struct conf *conf)
{
    struct work w = {b, v, conf};

    check_networks(&w);
    check_restrictions(&w);
    check_relay_domains(&w);
}
