/* The order of mail hosts: see dns_mx_order.h. Called by dns_mx.c when all addresses are known. */
#include "lookup/dns_mx_order.h"

#include <stdlib.h>

static void swap(struct dns_mail_host *a, struct dns_mail_host *b)
{
    struct dns_mail_host t = *a;

    *a = *b;
    *b = t;
}

static void shuffle(struct dns_mail_host *hosts, size_t n)
{
    for (size_t i = n; i > 1; i--)
        swap(&hosts[i - 1], &hosts[arc4random_uniform((uint32_t)i)]);
}

static bool before(const struct dns_mail_host *a, const struct dns_mail_host *b, int family_first)
{
    if (a->preference != b->preference)
        return a->preference < b->preference;
    return a->family != b->family && a->family == family_first;
}

/* By insertion: stable, and the lists are short (at most DNS_SET_MAX hosts, most in order already). */
static void sort(struct dns_mail_host *hosts, size_t n, int family_first)
{
    for (size_t i = 1; i < n; i++) {
        struct dns_mail_host h = hosts[i];
        size_t k = i;

        for (; k > 0 && before(&h, &hosts[k - 1], family_first); k--)
            hosts[k] = hosts[k - 1];
        hosts[k] = h;
    }
}

/*
 * Cuts to `limit` without losing an IP version: the rarer one keeps up to half of the places, the other the rest, and
 * what is left stays in order.
 */
static size_t cut_balanced(struct dns_mail_host *hosts, size_t n, size_t limit)
{
    size_t have[2] = {0, 0}, keep[2], kept = 0;

    for (size_t i = 0; i < n; i++)
        have[hosts[i].family == 6]++;
    for (int v = 0; v < 2; v++) {
        size_t other = have[1 - v] < limit / 2 ? have[1 - v] : limit / 2;

        /* The version of the first host gets the odd place. */
        if (hosts[0].family == (v == 1 ? 6 : 4))
            keep[v] = limit - other;
        else
            keep[v] = have[1 - v] < limit - limit / 2 ? limit - have[1 - v] : limit / 2;
    }
    for (size_t i = 0; i < n; i++) {
        size_t *room = &keep[hosts[i].family == 6];

        if (*room > 0) {
            (*room)--;
            hosts[kept++] = hosts[i];
        }
    }
    return kept;
}

size_t dns_mx_order(struct dns_mail_host *hosts, size_t n, const struct dns_mx_order *how)
{
    if (how->randomize)
        shuffle(hosts, n);
    sort(hosts, n, how->family_first);
    if (how->limit == 0 || n <= how->limit)
        return n;
    return how->balance ? cut_balanced(hosts, n, how->limit) : how->limit;
}
