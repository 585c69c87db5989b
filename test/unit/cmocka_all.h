/* cmocka.h and the headers it needs before it. */
#ifndef MTA_TEST_CMOCKA_ALL_H
#define MTA_TEST_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
/* after those */
#include <cmocka.h>

#endif
