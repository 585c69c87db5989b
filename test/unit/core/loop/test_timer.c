/* Timers: order, restarting, stopping inside callbacks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include "core/loop/timer.h"

#include <stdlib.h>

static int order[512], fired;

struct t {
    struct timer timer;
    struct loop *loop;
    int id, again;
    struct t *stops;
};

static void on_fire(void *arg)
{
    struct t *t = arg;

    order[fired++] = t->id;
    if (t->stops != NULL)
        timer_stop(&t->stops->timer);
    if (t->again-- > 0)
        timer_start(t->loop, &t->timer, 1, on_fire, t);
}

static void they_fire_in_order_of_time(void **unused)
{
    struct loop *l = loop_new();
    struct t t[200] = {0};

    (void)unused;
    fired = 0;
    srand(1);
    for (int i = 0; i < 200; i++) {
        t[i].id = 1 + rand() % 60;
        timer_start(l, &t[i].timer, (uint64_t)t[i].id, on_fire, &t[i]);
    }
    for (int i = 0; i < 200; i += 5)
        timer_stop(&t[i].timer);
    loop_run(l);
    assert_int_equal(fired, 160);
    for (int i = 1; i < fired; i++)
        assert_true(order[i - 1] <= order[i]);
    loop_free(&l);
}

static void restarting_moves_it_either_way(void **unused)
{
    struct loop *l = loop_new();
    struct t t[3] = {{.id = 0}, {.id = 1}, {.id = 2}};

    (void)unused;
    fired = 0;
    timer_start(l, &t[0].timer, 5, on_fire, &t[0]);
    timer_start(l, &t[1].timer, 15, on_fire, &t[1]);
    timer_start(l, &t[2].timer, 25, on_fire, &t[2]);
    timer_start(l, &t[0].timer, 40, on_fire, &t[0]); /* later */
    timer_start(l, &t[2].timer, 2, on_fire, &t[2]);  /* earlier */
    loop_run(l);
    assert_int_equal(fired, 3);
    assert_int_equal(order[0], 2);
    assert_int_equal(order[1], 1);
    assert_int_equal(order[2], 0);
    loop_free(&l);
}

static void a_callback_may_stop_another_and_restart_itself(void **unused)
{
    struct loop *l = loop_new();
    struct t t[2] = {{.id = 0, .loop = l, .again = 3}, {.id = 1}};

    (void)unused;
    fired = 0;
    t[0].stops = &t[1];
    timer_start(l, &t[0].timer, 5, on_fire, &t[0]);
    timer_start(l, &t[1].timer, 5, on_fire, &t[1]);
    loop_run(l);
    assert_int_equal(fired, 4);
    assert_false(timer_active(&t[1].timer));
    timer_stop(&t[1].timer); /* idempotent */
    loop_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_fire_in_order_of_time),
        cmocka_unit_test(restarting_moves_it_either_way),
        cmocka_unit_test(a_callback_may_stop_another_and_restart_itself),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
