/* Which reports there are, who wants them, what follows them. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "delivery/bounce_kind.h"

#define CONF(classes)                                                                                                  \
    (&(const struct conf){.notify_classes = (classes),                                                                 \
                          .bounce_notice_recipient = "b",                                                              \
                          .double_bounce_notice_recipient = "2b",                                                      \
                          .delay_notice_recipient = "d"})

static void every_action_has_its_kind(void **state)
{
    static const struct {
        enum envelope_action action;
        enum dsn_kind text;
        const char *postmaster; /* NULL: to the sender */
    } rows[] = {
        {ENVELOPE_ACTION_FAILED, DSN_KIND_FAILURE, NULL},
        {ENVELOPE_ACTION_DELAYED, DSN_KIND_DELAY, NULL},
        {ENVELOPE_ACTION_DELIVERED, DSN_KIND_SUCCESS, NULL},
        {ENVELOPE_ACTION_RELAYED, DSN_KIND_SUCCESS, NULL},
        {ENVELOPE_ACTION_EXPANDED, DSN_KIND_SUCCESS, NULL},
        {ENVELOPE_ACTION_FAILED_COPY, DSN_KIND_FAILURE_COPY, "b"},
        {ENVELOPE_ACTION_DELAYED_COPY, DSN_KIND_DELAY_COPY, "d"},
        {ENVELOPE_ACTION_DOUBLE_BOUNCE, DSN_KIND_FAILURE_COPY, "2b"},
        {(enum envelope_action)77, DSN_KIND_FAILURE, NULL},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        const struct bounce_kind *kind = bounce_kind_of(rows[i].action);

        assert_int_equal(kind->text, rows[i].text);
        assert_int_equal(kind->classes != 0, rows[i].postmaster != NULL);
        if (rows[i].postmaster != NULL)
            assert_string_equal(bounce_kind_postmaster(kind, CONF("")), rows[i].postmaster);
    }
}

static void notify_says_who_wants_it(void **state)
{
    static const struct {
        enum envelope_action action;
        unsigned notify;
        bool wanted;
    } rows[] = {
        {ENVELOPE_ACTION_FAILED, 0, true},
        {ENVELOPE_ACTION_FAILED, ENVELOPE_NOTIFY_FAILURE, true},
        {ENVELOPE_ACTION_FAILED, ENVELOPE_NOTIFY_SUCCESS | ENVELOPE_NOTIFY_DELAY, false},
        {ENVELOPE_ACTION_FAILED, ENVELOPE_NOTIFY_NEVER, false},
        {ENVELOPE_ACTION_DELAYED, 0, true},
        {ENVELOPE_ACTION_DELAYED, ENVELOPE_NOTIFY_DELAY, true},
        {ENVELOPE_ACTION_DELAYED, ENVELOPE_NOTIFY_FAILURE, false},
        {ENVELOPE_ACTION_DELIVERED, 0, false},
        {ENVELOPE_ACTION_EXPANDED, ENVELOPE_NOTIFY_SUCCESS, true},
        {ENVELOPE_ACTION_FAILED_COPY, ENVELOPE_NOTIFY_NEVER, true},
        {ENVELOPE_ACTION_DELAYED_COPY, ENVELOPE_NOTIFY_NEVER, true},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(bounce_kind_wanted(bounce_kind_of(rows[i].action), rows[i].notify), rows[i].wanted);
}

static void notify_classes_say_what_follows(void **state)
{
    static const struct {
        const char *classes;
        enum envelope_action action;
        bool null_sender;
        enum envelope_action then;
    } rows[] = {
        {"resource, software", ENVELOPE_ACTION_FAILED, false, ENVELOPE_ACTION_NONE},
        {"bounce", ENVELOPE_ACTION_FAILED, false, ENVELOPE_ACTION_FAILED_COPY},
        {"2bounce", ENVELOPE_ACTION_FAILED, false, ENVELOPE_ACTION_NONE},
        {"delay", ENVELOPE_ACTION_FAILED, true, ENVELOPE_ACTION_NONE},
        {"delay\n2Bounce", ENVELOPE_ACTION_FAILED, true, ENVELOPE_ACTION_DOUBLE_BOUNCE},
        {"bounce", ENVELOPE_ACTION_FAILED, true, ENVELOPE_ACTION_DOUBLE_BOUNCE},
        {"bounce", ENVELOPE_ACTION_DELAYED, false, ENVELOPE_ACTION_NONE},
        {"bounce,delay", ENVELOPE_ACTION_DELAYED, false, ENVELOPE_ACTION_DELAYED_COPY},
        {"bounce, 2bounce, delay", ENVELOPE_ACTION_FAILED_COPY, false, ENVELOPE_ACTION_NONE},
        {"bounce, 2bounce, delay", ENVELOPE_ACTION_RELAYED, false, ENVELOPE_ACTION_NONE},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        assert_int_equal(bounce_kind_then(bounce_kind_of(rows[i].action), CONF(rows[i].classes), rows[i].null_sender),
                         rows[i].then);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_action_has_its_kind),
        cmocka_unit_test(notify_says_who_wants_it),
        cmocka_unit_test(notify_classes_say_what_follows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
