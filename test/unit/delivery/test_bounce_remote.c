/* Which texts are another server's words. */
#include "unit/cmocka_all.h"

#include "core/base/arena.h"
#include "core/base/assert.h"
#include "delivery/bounce_remote.h"

static const struct {
    const char *text, *host, *reply; /* NULL: nobody else's words */
} rows[] = {
    {"host mx.b.test[192.0.2.1] said: 550 5.1.1 no (in reply to RCPT TO command)", "mx.b.test", "550 5.1.1 no"},
    {"host mx.b.test[2001:db8::1] said: 550 no", "mx.b.test", "550 no"},
    {"host mx.b.test[192.0.2.1] said: 550-a 550 b (in reply to end of DATA command)", "mx.b.test", "550-a 550 b"},
    {"host a[b] said: 550 x (in reply to y) z (in reply to MAIL FROM command)", "a", "550 x (in reply to y) z"},
    {"host a[b] refused to talk to me: 554 5.7.1 host c[d] said: 550 e", "a", "554 5.7.1 host c[d] said: 550 e"},
    {"host mail.example.com[private/lmtp] said: 552 5.2.2 full", "mail.example.com", "552 5.2.2 full"},
    {"host mx.b.test[192.0.2.1] said: what?", NULL, NULL},
    {"host mx.b.test[192.0.2.1] said: 55", NULL, NULL},
    {"host mx.b.test said: 550 no", NULL, NULL},
    {"host [192.0.2.1] said: 550 no", NULL, NULL},
    {"host a[b]", NULL, NULL},
    {"host ", NULL, NULL},
    {"hos", NULL, NULL},
    {"", NULL, NULL},
    {"Command died with status 1: host a[b] said: 550 no", NULL, NULL},
    {"connect to a[b]:25: Connection refused", NULL, NULL},
};

static void test_remote(void **state)
{
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const char *host = NULL, *reply = NULL;

        assert_int_equal(bounce_remote(&arena, rows[i].text, &host, &reply), rows[i].host != NULL);
        if (rows[i].host == NULL)
            continue;
        assert_string_equal(host, rows[i].host);
        assert_string_equal(reply, rows[i].reply);
    }
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_remote)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
