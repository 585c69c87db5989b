/* Is a recipient one we know? lookup/rules_recipient. */
#include "core/base/assert.h"
#include "support/rules_fixture.h"

static void assert_check(struct rules_fixture *f, const char *address, const char *want)
{
    buf_clear(&f->log);
    rules_check_recipient(f->rules, &f->look.scope, address, rules_fixture_on_status, f);
    rules_fixture_run(f);
    if (strcmp(buf_cstr(&f->answer), want) != 0)
        fail_msg("%s: %s, wanted %s", address, buf_cstr(&f->answer), want);
}

#define TEMPFAIL "451 4.3.0 Temporary lookup failure"

/* One known user in each class; "fake:v" has the aliases. */
static void open_classes(struct rules_fixture *f)
{
    static const char *const aliases[] = {"info@alias.example",
                                          "u@box.example",
                                          "u@elsewhere.example",
                                          "x",
                                          "sales",
                                          "y",
                                          "@all.example",
                                          "one@box.example",
                                          NULL};
    static const char *const local[] = {"joe", "x", "full@local.example", "x", NULL};
    static const char *const box[] = {"u@box.example", "x", "only+ext@box.example", "x", NULL};
    static const char *const relay[] = {"r@relay.example", "x", "@open.relay.example", "x", NULL};

    rules_fixture_table(f, "fake:v", aliases);
    rules_fixture_table(f, "fake:l", local);
    rules_fixture_table(f, "fake:b", box);
    rules_fixture_table(f, "fake:r", relay);
    f->conf.virtual_alias_maps = "fake:v";
    f->conf.local_recipient_maps = "fake:l";
    f->conf.virtual_mailbox_maps = "fake:b";
    f->conf.relay_recipient_maps = "fake:r";
}

static void known_and_unknown(void **state)
{
    static const struct {
        const char *address, *want;
    } cases[] = {
        /* aliases of any domain */
        {"info@alias.example", "OK"},
        {"INFO+x@Alias.Example", "OK"},
        {"u@elsewhere.example", "OK"},
        {"anything@all.example", "OK"},
        {"sales@local.example", "OK"},
        {"sales@[192.0.2.1]", "OK"},
        {"sales", "OK"},
        {"else@alias.example", "550 5.1.1 User unknown in virtual alias table"},
        {"postmaster@alias.example", "550 5.1.1 User unknown in virtual alias table"},
        /* local */
        {"joe@local.example", "OK"},
        {"Joe+list@localhost", "OK"},
        {"joe@[192.0.2.1]", "OK"},
        {"joe@[IPv6:2001:db8::1]", "OK"},
        {"full@local.example", "OK"},
        {"full@localhost", "550 5.1.1 User unknown in local recipient table"},
        {"jim@local.example", "550 5.1.1 User unknown in local recipient table"},
        {"jim@local.example.", "550 5.1.1 User unknown in local recipient table"},
        {"jim@[192.0.2.1]", "550 5.1.1 User unknown in local recipient table"},
        {"Postmaster@local.example", "OK"},
        {"MAILER-DAEMON@local.example", "OK"},
        {"double-bounce@localhost", "OK"},
        /* mailboxes */
        {"u@box.example", "OK"},
        {"U+ext@BOX.example", "OK"},
        {"only+ext@box.example", "OK"},
        {"only@box.example", "550 5.1.1 User unknown in virtual mailbox table"},
        {"nobody@box.example", "550 5.1.1 User unknown in virtual mailbox table"},
        {"postmaster@box.example", "550 5.1.1 User unknown in virtual mailbox table"},
        {"joe@box.example", "550 5.1.1 User unknown in virtual mailbox table"},
        /* relay */
        {"r@relay.example", "OK"},
        {"any@open.relay.example", "OK"},
        {"s@relay.example", "550 5.1.1 User unknown in relay recipient table"},
        /* the rest is not ours to check */
        {"any@other.example", "OK"},
        {"any@[192.0.2.99]", "OK"},
        /* what could not be delivered anyway */
        {"-f@box.example", "550 5.1.3 bad address syntax"},
        {"any@other..example", "550 5.1.3 bad address syntax"},
    };
    struct rules_fixture *f = *state;

    open_classes(f);
    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_check(f, cases[i].address, cases[i].want);
}

static void bare_addresses_are_at_myorigin(void **state)
{
    struct rules_fixture *f = *state;

    open_classes(f);
    f->conf.myorigin = "box.example";
    rules_fixture_open(f);
    assert_check(f, "u", "OK");
    assert_check(f, "postmaster", "550 5.1.1 User unknown in virtual mailbox table");
    f->conf.myorigin = "local.example";
    rules_fixture_open(f);
    assert_check(f, "postmaster", "OK");
    f->conf.append_at_myorigin = false;
    f->conf.myhostname = "alias.example";
    rules_fixture_open(f);
    assert_check(f, "info", "OK");
}

static void short_domains_get_mydomain_when_asked(void **state)
{
    struct rules_fixture *f = *state;

    open_classes(f);
    f->conf.mydomain = "example";
    f->conf.append_dot_mydomain = true;
    rules_fixture_open(f);
    assert_check(f, "u@box", "OK");
    assert_check(f, "v@box", "550 5.1.1 User unknown in virtual mailbox table");
    assert_check(f, "jim@[192.0.2.1]", "550 5.1.1 User unknown in local recipient table");
    f->conf.append_dot_mydomain = false;
    rules_fixture_open(f);
    assert_check(f, "v@box", "OK");
}

static void empty_maps_accept_all(void **state)
{
    struct rules_fixture *f = *state;

    rules_fixture_open(f);
    assert_check(f, "any@local.example", "OK");
    assert_check(f, "any@box.example", "OK");
    assert_check(f, "any@relay.example", "OK");
    assert_check(f, "any@alias.example", "550 5.1.1 User unknown in virtual alias table");
}

static void replies_by_configuration(void **state)
{
    struct rules_fixture *f = *state;

    open_classes(f);
    f->conf.show_user_unknown_table_name = false;
    f->conf.unknown_local_recipient_reject_code = 450;
    f->conf.unknown_virtual_alias_reject_code = 451;
    f->conf.unknown_virtual_mailbox_reject_code = 553;
    f->conf.unknown_relay_recipient_reject_code = 554;
    rules_fixture_open(f);
    assert_check(f, "x@local.example", "450 4.1.1 User unknown");
    assert_check(f, "x@alias.example", "451 4.1.1 User unknown");
    assert_check(f, "x@box.example", "553 5.1.1 User unknown");
    assert_check(f, "x@relay.example", "554 5.1.1 User unknown");
    assert_int_equal(f->reason, STATUS_USER_UNKNOWN);
}

static void a_way_that_ends_at_an_error_is_refused(void **state)
{
    static const char *const transports[] = {
        "gone@box.example",
        "error:5.2.1 Mailbox closed",
        "plain@box.example",
        "error:no code",
        "four@box.example",
        "error:4.2.1 wrong class",
        "odd@box.example",
        "error:5.1 odd",
        "odder@box.example",
        "error:5.1.1.1 odder",
        "bare@box.example",
        "error:",
        "later@box.example",
        "retry:4.2.1 Try tomorrow",
        "moved.example",
        "error:5.1.6 moved",
        "u@box.example",
        "error:5.2.1 listed but closed",
        "info@alias.example",
        "error:5.2.1 not asked",
        NULL,
    };
    static const struct {
        const char *address, *want;
    } cases[] = {
        {"gone@box.example", "550 5.2.1 Mailbox closed"}, {"plain@box.example", "550 5.1.1 no code"},
        {"four@box.example", "550 5.2.1 wrong class"},    {"odd@box.example", "550 5.1.1 5.1 odd"},
        {"odder@box.example", "550 5.1.1 5.1.1.1 odder"}, {"bare@box.example", "550 5.1.1 Address is undeliverable"},
        {"later@box.example", "450 4.2.1 Try tomorrow"},  {"x@moved.example", "550 5.1.6 moved"},
        {"u@box.example", "550 5.2.1 listed but closed"}, {"info@alias.example", "OK"},
    };
    struct rules_fixture *f = *state;

    open_classes(f);
    rules_fixture_table(f, "fake:t", transports);
    f->conf.transport_maps = "fake:t";
    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_check(f, cases[i].address, cases[i].want);
}

/* Whatever fails: never "user unknown". */
static void a_failure_at_each_stage(void **state)
{
    struct rules_fixture *f = *state;
    struct {
        const char **parameter;
        const char *address;
    } stages[] = {
        {&f->conf.virtual_alias_maps, "x@box.example"},      {&f->conf.virtual_alias_maps, "x@other.example"},
        {&f->conf.mydestination, "x@box.example"},           {&f->conf.virtual_alias_domains, "x@box.example"},
        {&f->conf.virtual_mailbox_domains, "x@box.example"}, {&f->conf.virtual_mailbox_domains, "x@relay.example"},
        {&f->conf.relay_domains, "x@relay.example"},         {&f->conf.relay_domains, "x@other.example"},
        {&f->conf.virtual_mailbox_maps, "x@box.example"},    {&f->conf.relay_recipient_maps, "x@relay.example"},
        {&f->conf.local_recipient_maps, "x@local.example"},  {&f->conf.transport_maps, "x@box.example"},
        {&f->conf.transport_maps, "x@other.example"},
    };

    open_classes(f);
    rules_fixture_table(f, "fake:bad", NULL)->fail = "*";
    for (size_t i = 0; i < ARRAY_LEN(stages); i++) {
        const char *before = *stages[i].parameter;

        *stages[i].parameter = "fake:bad";
        rules_fixture_open(f);
        assert_check(f, stages[i].address, TEMPFAIL);
        assert_int_equal(f->reason, STATUS_TABLE_TEMPFAIL);
        *stages[i].parameter = before;
    }
}

static void a_missing_file_is_a_failure(void **state)
{
    struct rules_fixture *f = *state;

    f->conf.virtual_mailbox_maps = "inline:{ {u@box.example = x} }, hash:/nonexistent/mailboxes";
    rules_fixture_open(f);
    assert_check(f, "u@box.example", "OK");
    assert_check(f, "v@box.example", TEMPFAIL);
    f->conf.virtual_mailbox_maps = "inline:{ {u@box.example = x} }";
    f->conf.virtual_alias_maps = "hash:/nonexistent/aliases";
    rules_fixture_open(f);
    assert_check(f, "u@box.example", TEMPFAIL);
}

/* The default local_recipient_maps: accounts, then aliases. */
static void local_accounts(void **state)
{
    struct rules_fixture *f = *state;

    f->conf.local_recipient_maps = "proxy:unix:passwd.byname inline:{ {staff = root} }";
    rules_fixture_open(f);
    assert_check(f, "root@local.example", "OK");
    assert_check(f, "Root+x@local.example", "OK");
    assert_check(f, "staff@local.example", "OK");
    assert_check(f, "nosuchaccount@local.example", "550 5.1.1 User unknown in local recipient table");
    f->conf.local_recipient_maps = "proxy:unix:passwd.byname hash:/nonexistent/aliases";
    rules_fixture_open(f);
    assert_check(f, "nosuchaccount@local.example", TEMPFAIL);
}

static void order_of_look_ups(void **state)
{
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:1", NULL);
    f->conf.virtual_alias_maps = "fake:1";
    f->conf.virtual_mailbox_maps = "fake:1";
    f->conf.virtual_mailbox_domains = "inline:{ {box.example = x} }";
    rules_fixture_open(f);
    assert_check(f, "u+x@box.example", "550 5.1.1 User unknown in virtual mailbox table");
    assert_string_equal(buf_cstr(&f->log),
                        "u+x@box.example u@box.example @box.example u+x@box.example u@box.example @box.example ");
}

static void the_asker_may_go_at_any_time(void **state)
{
    struct rules_fixture *f = *state;
    struct fake_table *tables[4];
    static const char *const box[] = {"box.example", "x", NULL};

    tables[0] = rules_fixture_table(f, "fake:0", NULL);
    tables[1] = rules_fixture_table(f, "fake:1", box);
    tables[2] = rules_fixture_table(f, "fake:2", NULL);
    tables[3] = rules_fixture_table(f, "fake:3", NULL);
    f->conf.virtual_alias_maps = "fake:0";
    f->conf.virtual_mailbox_domains = "fake:1";
    f->conf.transport_maps = "fake:2";
    f->conf.virtual_mailbox_maps = "fake:3";
    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        tables[i]->hang = true;
        rules_check_recipient(f->rules, &f->look.scope, "u@box.example", rules_fixture_on_status, f);
        loop_run(f->look.loop);
        assert_false(list_empty(&tables[i]->held));
        op_scope_cancel(&f->look.scope);
        tables[i]->hang = false;
        fake_release(tables[i]);
        loop_run(f->look.loop);
        assert_int_equal(op_live(f->look.loop), 0);
        assert_int_equal(f->look.calls, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULES_TEST(known_and_unknown),
        RULES_TEST(bare_addresses_are_at_myorigin),
        RULES_TEST(short_domains_get_mydomain_when_asked),
        RULES_TEST(empty_maps_accept_all),
        RULES_TEST(replies_by_configuration),
        RULES_TEST(a_way_that_ends_at_an_error_is_refused),
        RULES_TEST(a_failure_at_each_stage),
        RULES_TEST(a_missing_file_is_a_failure),
        RULES_TEST(local_accounts),
        RULES_TEST(order_of_look_ups),
        RULES_TEST(the_asker_may_go_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
