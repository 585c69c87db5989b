/*
 * Names as DNS has them: see dns_name.h. Called by dns.c before it asks and by dns_set.c for what comes back. RFC 5890
 * to 5892 and UTS 46 (non-transitional) by libidn2; RFC 1035 section 3.5 and RFC 3596 section 2.5 for addresses.
 */
#include "lookup/dns_name.h"

#include "core/base/addr.h"
#include "core/base/ip.h"

#include <idn2.h>
#include <stdio.h>

static bool is_ascii(const char *s)
{
    while (*s != '\0' && (unsigned char)*s < 0x80)
        s++;
    return *s == '\0';
}

bool dns_name_is_host(struct slice name)
{
    return name.n < DNS_NAME_MAX && name.n > 0 && name.p[0] != '[' && addr_domain_valid(name);
}

static bool take(const char *name, char out[DNS_NAME_MAX])
{
    if (!is_ascii(name) || !dns_name_is_host(slice_str(name)))
        return false;
    snprintf(out, DNS_NAME_MAX, "%s", name);
    addr_fold(out);
    return true;
}

bool dns_name_ascii(const char *name, char out[DNS_NAME_MAX])
{
    char *labels = NULL;
    bool ok;

    if (is_ascii(name))
        return take(name, out);
    if (strlen(name) >= 4 * DNS_NAME_MAX) /* more cannot fit, and libidn2 need not look at it */
        return false;
    ok = idn2_to_ascii_8z(name, &labels, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) == IDN2_OK && take(labels, out);
    idn2_free(labels);
    return ok;
}

bool dns_name_reverse(const char *address, char out[DNS_NAME_MAX])
{
    struct ip ip;
    size_t n = 0;

    if (!ip_parse(slice_str(address), &ip))
        return false;
    if (ip.family == 4) {
        snprintf(out, DNS_NAME_MAX, "%u.%u.%u.%u.in-addr.arpa", ip.bytes[3], ip.bytes[2], ip.bytes[1], ip.bytes[0]);
        return true;
    }
    for (int i = 15; i >= 0; i--)
        n += (size_t)snprintf(out + n, DNS_NAME_MAX - n, "%x.%x.", ip.bytes[i] & 15, ip.bytes[i] >> 4);
    snprintf(out + n, DNS_NAME_MAX - n, "ip6.arpa");
    return true;
}
