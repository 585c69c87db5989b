/* Allocate or abort: see alloc.h. Called from everywhere, on any thread. */
#include "core/base/alloc.h"

#include "core/base/assert.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *or_abort(void *p)
{
    if (p == NULL) {
        fputs("mta: out of memory\n", stderr);
        abort();
    }
    return p;
}

void *mem_new(size_t size)
{
    return or_abort(calloc(1, size ? size : 1));
}

void *mem_new_array(size_t n, size_t size)
{
    MTA_ASSERT(size == 0 || n <= SIZE_MAX / size);
    return mem_new(n * size);
}

void *mem_resize(void *p, size_t size)
{
    return or_abort(realloc(p, size ? size : 1));
}

char *mem_dup(const void *p, size_t n)
{
    char *copy = or_abort(malloc(n + 1));

    if (n > 0)
        memcpy(copy, p, n);
    copy[n] = '\0';
    return copy;
}

char *mem_strdup(const char *s)
{
    return s == NULL ? NULL : mem_dup(s, strlen(s));
}

char *mem_printf(const char *fmt, ...)
{
    char *out = NULL;
    va_list ap;

    va_start(ap, fmt);
    if (vasprintf(&out, fmt, ap) < 0)
        out = NULL;
    va_end(ap);
    return or_abort(out);
}

void mem_free(void *p)
{
    free(p);
}
