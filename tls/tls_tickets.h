/*
 * The keys of session tickets, one set a listener: a reload makes a new tls_server for the same listener, which is to
 * know the tickets of the one before. For the loop's thread.
 */
#ifndef MTA_TLS_TICKETS_H
#define MTA_TLS_TICKETS_H

#include <stdbool.h>
#include <stdint.h>

#include <mbedtls/ssl.h>

struct tls_tickets;

/* The keys of this listener, new ones when nobody holds them; another lifetime means other keys. */
struct tls_tickets *tls_tickets_get(const char *listener, uint32_t lifetime_s);
/* Nulls the pointer; NULL in it is fine. */
void tls_tickets_put(struct tls_tickets **);
/* Was a ticket found good on this thread since the last time this was asked? Mbed TLS does not tell of a context. */
bool tls_tickets_taken(void);
/* Any thread. */
void tls_tickets_use(struct tls_tickets *, mbedtls_ssl_config *);

#endif
