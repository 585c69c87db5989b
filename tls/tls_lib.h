/*
 * What all of TLS shares in a process: the state of PSA (TLS 1.3 needs it) and one generator of random numbers, alive
 * as long as someone holds a reference. References are for the loop's thread.
 */
#ifndef MTA_TLS_LIB_H
#define MTA_TLS_LIB_H

#include <stddef.h>

void tls_lib_ref(void);
void tls_lib_unref(void);
/* As Mbed TLS wants its f_rng; any thread, while a reference is held. */
int tls_lib_random(void *unused, unsigned char *to, size_t n);

#endif
