/* Idle connections: by either name, the last one first, for a time, and not too many. */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "delivery/conn_cache.h"

#include <stdio.h>

struct world {
    struct loop *loop;
    struct conn_cache *cache;
};

struct conn {
    struct conn_idle idle;
    unsigned expired;
};

static void on_expire(struct conn_idle *idle)
{
    struct conn *c = CONTAINER_OF(idle, struct conn, idle);

    assert_null(idle->cache);
    c->expired++;
}

static int setup(void **state)
{
    struct world *w = NEW(struct world);

    w->loop = loop_new();
    w->cache = conn_cache_new(w->loop);
    *state = w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;

    conn_cache_free(&w->cache);
    loop_free(&w->loop);
    mem_free(w);
    return 0;
}

static void put(struct world *w, struct conn *c, const char *first, const char *second, uint64_t ms)
{
    c->idle.expire = on_expire;
    conn_cache_put(w->cache, &c->idle, first, second, ms);
}

static void by_either_name(void **state)
{
    struct world *w = *state;
    struct conn one = {0}, two = {0}, three = {0};

    put(w, &one, "hop", "host1", 60000);
    put(w, &two, "hop", "host2", 60000);
    put(w, &three, "other", NULL, 60000);
    assert_null(conn_cache_take(w->cache, "nobody"));
    assert_ptr_equal(conn_cache_take(w->cache, "hop"), &two.idle);
    assert_null(conn_cache_take(w->cache, "host2"));
    assert_ptr_equal(conn_cache_take(w->cache, "host1"), &one.idle);
    assert_null(conn_cache_take(w->cache, "hop"));
    assert_ptr_equal(conn_cache_take(w->cache, "other"), &three.idle);
    assert_int_equal(one.expired + two.expired + three.expired, 0);
}

static void for_a_time(void **state)
{
    struct world *w = *state;
    struct conn brief = {0}, lasting = {0}, gone = {0};

    put(w, &lasting, "hop", NULL, 60000);
    put(w, &brief, "hop", "host", 20);
    put(w, &gone, "hop", "host", 20);
    conn_cache_remove(&gone.idle);
    conn_cache_remove(&gone.idle);
    while (!brief.expired)
        loop_turn(w->loop);
    assert_null(conn_cache_take(w->cache, "host"));
    assert_ptr_equal(conn_cache_take(w->cache, "hop"), &lasting.idle);
    assert_int_equal(brief.expired, 1);
    assert_int_equal(gone.expired, 0);
}

static void not_too_many(void **state)
{
    struct world *w = *state;
    struct conn conns[CONN_CACHE_MOST + 10] = {0};
    unsigned expired = 0;

    for (size_t i = 0; i < CONN_CACHE_MOST + 10; i++) {
        char name[30];

        snprintf(name, sizeof name, "hop %zu", i);
        put(w, &conns[i], name, "all", 60000);
    }
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(conns[i].expired, 1);
    conn_cache_close_all(w->cache);
    for (size_t i = 0; i < CONN_CACHE_MOST + 10; i++)
        expired += conns[i].expired;
    assert_int_equal(expired, CONN_CACHE_MOST + 10);
    assert_null(conn_cache_take(w->cache, "all"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(by_either_name, setup, teardown),
        cmocka_unit_test_setup_teardown(for_a_time, setup, teardown),
        cmocka_unit_test_setup_teardown(not_too_many, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
