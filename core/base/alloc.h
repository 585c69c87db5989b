/*
 * Allocation that does not fail: out of memory stops the process here and nowhere else. Every size that comes from
 * outside is checked against its limit before it gets here.
 */
#ifndef MTA_BASE_ALLOC_H
#define MTA_BASE_ALLOC_H

#include <stddef.h>

/* Zeroed memory of `size` bytes; to be released with mem_free. */
void *mem_new(size_t size);
/* Zeroed array; aborts when n * size overflows. */
void *mem_new_array(size_t n, size_t size);
/* Grows or shrinks; new bytes are not initialised. */
void *mem_resize(void *p, size_t size);
/* A copy of n bytes plus a terminating NUL. */
char *mem_dup(const void *p, size_t n);
/* A copy of a C string; NULL gives NULL. */
char *mem_strdup(const char *s);
/* printf into fresh memory. */
char *mem_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Releases; NULL is fine. */
void mem_free(void *p);

#define NEW(T) ((T *)mem_new(sizeof(T)))

#endif
