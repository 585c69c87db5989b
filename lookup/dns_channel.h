/*
 * Questions to name servers: c-ares on the loop. It keeps the sockets, asks again when nothing comes, changes to the
 * next server and to TCP; what it brings back is a reply as it came. One for each struct dns.
 */
#ifndef MTA_LOOKUP_DNS_CHANNEL_H
#define MTA_LOOKUP_DNS_CHANNEL_H

#include "core/base/buf.h"
#include "core/loop/loop.h"
#include "lookup/dns_set.h"

struct dns_channel;

/*
 * `servers` is the parameter resolver: addresses with an optional port, "" for those of /etc/resolv.conf. NULL, and a
 * complaint in err, when they cannot be used. Blocks as long as it takes to read /etc/resolv.conf.
 */
struct dns_channel *dns_channel_new(struct loop *, const char *servers, struct buf *err);
/* Ends what was asked: each `done` gets DNS_CHANNEL_GONE inside this call. */
void dns_channel_free(struct dns_channel **);

enum dns_channel_result {
    DNS_CHANNEL_REPLY,  /* from a server: records, or that there are none */
    DNS_CHANNEL_FAILED, /* no server answered, or none could; `why` says so */
    DNS_CHANNEL_GONE,
};
/* reply: borrowed; why: a text that lasts. May come inside dns_channel_ask; may ask again. */
typedef void dns_channel_done(void *arg, enum dns_channel_result, struct slice reply, const char *why);
/* The name as DNS has it. `done` is called once, after a minute at most. */
void dns_channel_ask(struct dns_channel *, const char *name, enum dns_type, dns_channel_done *done, void *arg);

#endif
