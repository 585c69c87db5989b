/*
 * Assertions on our own invariants, kept in release builds: a broken invariant stops the process, and the queue is
 * crash-safe. Never used on anything received.
 */
#ifndef MTA_BASE_ASSERT_H
#define MTA_BASE_ASSERT_H

#include <stddef.h>
#include <stdint.h>

/* Prints the failed condition and its place to standard error, then aborts. */
_Noreturn void assert_fail(const char *cond, const char *file, int line);

#define MTA_ASSERT(cond) ((cond) ? (void)0 : assert_fail(#cond, __FILE__, __LINE__))

#define ARRAY_LEN(a)           (sizeof(a) / sizeof((a)[0]))
#define CONTAINER_OF(p, T, m)  ((T *)(void *)((char *)(p)-offsetof(T, m)))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/*
 * Long-lived objects open with `uint32_t magic`. OBJ_CHECK asserts that a pointer is a live object of its kind;
 * OBJ_FROM converts a `void *` on the way.
 */
#define OBJ_CHECK(o, m)   MTA_ASSERT((o) != NULL && (o)->magic == (m))
#define OBJ_FROM(T, v, m) ((T *)assert_object((v), offsetof(T, magic), (m)))

void *assert_object(void *obj, size_t magic_offset, uint32_t magic);

#endif
