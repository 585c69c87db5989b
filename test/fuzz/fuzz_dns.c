/*
 * Replies of name servers: lookup/dns_set.h. Whatever is in one, what comes of it are records of the type that was
 * asked for, with names that hosts can have, and within the bounds.
 *
 * Input: a character that says which type is asked for; then the reply to a question about "a.example".
 */
#include "fuzz/fuzz.h"

#include "core/base/ip.h"
#include "lookup/dns_name.h"
#include "lookup/dns_set.h"

#include <arpa/inet.h>

static void check_name(const char *name, bool may_be_address)
{
    struct ip ip;

    MTA_ASSERT(dns_name_is_host(slice_str(name)) || (may_be_address && ip_parse(slice_str(name), &ip)));
}

static void check_records(const struct dns_answer *a, enum dns_type type)
{
    MTA_ASSERT(a->naddresses <= DNS_SET_MAX && a->nmx <= DNS_SET_MAX && a->nnames <= DNS_SET_MAX);
    MTA_ASSERT(a->naddresses == 0 || type == DNS_TYPE_A || type == DNS_TYPE_AAAA);
    MTA_ASSERT(a->nmx == 0 || type == DNS_TYPE_MX);
    MTA_ASSERT(a->nnames == 0 || type == DNS_TYPE_PTR);
    for (size_t i = 0; i < a->naddresses; i++) {
        struct ip ip;

        MTA_ASSERT(inet_pton(a->addresses[i].family == 4 ? AF_INET : AF_INET6, a->addresses[i].text, ip.bytes) == 1);
        MTA_ASSERT((a->addresses[i].family == 6) == (type == DNS_TYPE_AAAA));
    }
    for (size_t i = 0; i < a->nmx; i++)
        if (a->mx[i].name[0] != '\0')
            check_name(a->mx[i].name, true);
    for (size_t i = 0; i < a->nnames; i++)
        check_name(a->names[i], false);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_TYPE_A, DNS_TYPE_AAAA, DNS_TYPE_MX, DNS_TYPE_PTR};
    struct dns_set *set;
    enum dns_type type;

    if (size == 0)
        return 0;
    type = types[data[0] % ARRAY_LEN(types)];
    set = dns_set_parse(data + 1, size - 1, type, "a.example");
    check_records(&set->answer, type);
    MTA_ASSERT((set->status == OP_OK) == (set->answer.naddresses + set->answer.nmx + set->answer.nnames > 0));
    MTA_ASSERT(set->status == OP_OK || set->answer.why != NULL);
    MTA_ASSERT(set->alias == NULL || (set->alias[0] != '\0' && strlen(set->alias) <= 255));
    dns_set_unref(&set);
    return 0;
}
