/* The copy of an envelope shares nothing with the original. */
#include "unit/core/queue/fixture.h"

static void copy_is_deep(void **state)
{
    struct arena from = {0}, to = {0};
    struct envelope_rcpt rcpts[2] = {
        {.id = 1, .addr = "a@example.com", .orig = "b@example.com", .orcpt = "rfc822;b@example.com", .notify = 4},
        {.id = 2, .addr = "c@example.com", .attempts = 3},
    };
    struct envelope e = {.qid = 7,
                         .arrival_us = 8,
                         .size = 9,
                         .sender = arena_strdup(&from, "s@example.com"),
                         .helo = arena_strdup(&from, "helo"),
                         .envid = arena_strdup(&from, "env"),
                         .ret = ENVELOPE_RET_HDRS,
                         .smtputf8 = true,
                         .rcpts = rcpts,
                         .nrcpts = 2};
    struct envelope *c = envelope_copy(&to, &e);

    (void)state;
    arena_clear(&from);
    memset(rcpts, 0, sizeof rcpts);
    memset(&e, 0, sizeof e);
    assert_int_equal(c->qid, 7);
    assert_int_equal(c->arrival_us, 8);
    assert_int_equal(c->size, 9);
    assert_string_equal(c->sender, "s@example.com");
    assert_string_equal(c->helo, "helo");
    assert_string_equal(c->envid, "env");
    assert_null(c->client_name);
    assert_null(c->protocol);
    assert_int_equal(c->ret, ENVELOPE_RET_HDRS);
    assert_true(c->smtputf8);
    assert_false(c->body_8bit);
    assert_int_equal(c->nrcpts, 2);
    assert_string_equal(c->rcpts[0].addr, "a@example.com");
    assert_string_equal(c->rcpts[0].orig, "b@example.com");
    assert_string_equal(c->rcpts[0].orcpt, "rfc822;b@example.com");
    assert_int_equal(c->rcpts[0].notify, 4);
    assert_null(c->rcpts[1].orig);
    assert_int_equal(c->rcpts[1].attempts, 3);
    arena_clear(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(copy_is_deep)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
