/* Where recipients go: lookup/rules_route. */
#include "core/base/assert.h"
#include "support/rules_fixture.h"

static void on_route(void *owner, enum op_status status, const void *result)
{
    static const char *const names[] = {"local", "alias", "mailbox", "relay", "other"};
    struct rules_fixture *f = owner;
    const struct rules_route *route = result;

    f->look.calls++;
    f->look.status = status;
    buf_clear(&f->answer);
    if (status == OP_OK)
        buf_printf(&f->answer, "%s:%s (%s)", route->to.transport, route->to.nexthop, names[route->cls]);
    else
        buf_printf(&f->answer, "failed: %s", ((const struct table_answer *)result)->why);
}

static void assert_route_from(struct rules_fixture *f, const char *sender, const char *address, const char *want)
{
    buf_clear(&f->log);
    rules_route(f->rules, &f->look.scope, sender, NULL, address, on_route, f);
    rules_fixture_run(f);
    if (strcmp(buf_cstr(&f->answer), want) != 0)
        fail_msg("%s to %s: %s, wanted %s", sender ? sender : "-", address, buf_cstr(&f->answer), want);
}

static void assert_route(struct rules_fixture *f, const char *address, const char *want)
{
    assert_route_from(f, NULL, address, want);
}

static void by_class(void **state)
{
    static const struct {
        const char *address, *want;
    } cases[] = {
        {"a@local.example", "local:mail.example.org (local)"},
        {"a@[192.0.2.1]", "local:mail.example.org (local)"},
        {"a@alias.example", "error:5.1.1 User unknown in virtual alias table (alias)"},
        {"a@box.example", "virtual:box.example (mailbox)"},
        {"a@box.example.", "virtual:box.example (mailbox)"},
        {"a@x.relay.example", "relay:x.relay.example (relay)"},
        {"a@elsewhere.example", "smtp:elsewhere.example (other)"},
        {"a@[192.0.2.77]", "smtp:[192.0.2.77] (other)"},
        {"postmaster", "smtp:origin.example (other)"},
        {"a@", "smtp:origin.example (other)"},
        {"", "smtp:origin.example (other)"},
        {"a b@c@box.example", "virtual:box.example (mailbox)"},
        /* what must reach no transport */
        {"-a@box.example", "error:5.1.3 bad address syntax (mailbox)"},
        {"-@elsewhere.example", "error:5.1.3 bad address syntax (other)"},
        {"a@-x.example", "error:5.1.3 bad address syntax (other)"},
        {"a@b c", "error:5.1.3 bad address syntax (other)"},
        {"a@b..example", "error:5.1.3 bad address syntax (other)"},
        {"a@[300.0.0.1]", "error:5.1.3 bad address syntax (other)"},
    };
    struct rules_fixture *f = *state;

    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_route(f, cases[i].address, cases[i].want);
}

static void by_settings(void **state)
{
    struct rules_fixture *f = *state;

    f->conf.local_transport = "lmtp:unix:/run/lmtp";
    f->conf.virtual_transport = "dovecot";
    f->conf.relay_transport = "relay:[192.0.2.9]:2525";
    f->conf.default_transport = "error:5.7.1 not from here";
    f->conf.show_user_unknown_table_name = false;
    f->conf.allow_min_user = true;
    rules_fixture_open(f);
    assert_route(f, "a@localhost", "lmtp:unix:/run/lmtp (local)");
    assert_route(f, "-a@box.example", "dovecot:box.example (mailbox)");
    assert_route(f, "a@relay.example", "relay:[192.0.2.9]:2525 (relay)");
    assert_route(f, "a@other.example", "error:5.7.1 not from here (other)");
    assert_route(f, "a@alias.example", "error:5.1.1 User unknown (alias)");
    f->conf.default_transport = "retry";
    f->conf.virtual_transport = "";
    rules_fixture_open(f);
    assert_route(f, "a@other.example", "retry:Address is undeliverable (other)");
    assert_route(f, "a@box.example", "failed: no transport is set for this class of domains");
}

/* relayhost is the next hop of what goes to other hosts, unless the transport or transport_maps has one. */
static void relayhost_is_the_next_hop(void **state)
{
    static const char *const pairs[] = {"direct.example", "smtp:direct.example", "same.example", "slow:", NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", pairs);
    f->conf.relayhost = "[relay.example.net]:587";
    rules_fixture_open(f);
    assert_route(f, "a@other.example", "smtp:[relay.example.net]:587 (other)");
    assert_route(f, "a@relay.example", "relay:[relay.example.net]:587 (relay)");
    assert_route(f, "a@box.example", "virtual:box.example (mailbox)");
    assert_route(f, "a@localhost", "local:mail.example.org (local)");
    f->conf.transport_maps = "fake:t";
    f->conf.relay_transport = "relay:[192.0.2.9]";
    rules_fixture_open(f);
    assert_route(f, "a@direct.example", "smtp:direct.example (other)");
    assert_route(f, "a@same.example", "slow:same.example (other)");
    assert_route(f, "a@relay.example", "relay:[192.0.2.9] (relay)");
    f->conf.default_transport = "error";
    rules_fixture_open(f);
    assert_route(f, "a@other.example", "error:Address is undeliverable (other)");
}

static void relayhost_by_sender(void **state)
{
    static const char *const pairs[] = {"u@a.example", "[a.example.net]", "@b.example", "b.example.net:26",
                                        "u@b.example", "DUNNO",           "<>",         "[bounces.example.net]",
                                        NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", pairs);
    f->conf.sender_dependent_relayhost_maps = "fake:t";
    rules_fixture_open(f);
    assert_route_from(f, "U+x@A.example", "r@other.example", "smtp:[a.example.net] (other)");
    assert_route_from(f, "v@b.example", "r@relay.example", "relay:b.example.net:26 (relay)");
    assert_route_from(f, "v@b.example", "r@box.example", "virtual:box.example (mailbox)");
    assert_route_from(f, "u@b.example", "r@other.example", "smtp:other.example (other)");
    assert_route_from(f, "", "r@other.example", "smtp:[bounces.example.net] (other)");
    assert_route_from(f, "w@c.example", "r@other.example", "smtp:other.example (other)");
    assert_route_from(f, NULL, "r@other.example", "smtp:other.example (other)");
    f->conf.relayhost = "[relay.example.net]";
    rules_fixture_open(f);
    assert_route_from(f, "u@b.example", "r@other.example", "smtp:[relay.example.net] (other)");
    assert_route_from(f, "v@b.example", "r@other.example", "smtp:b.example.net:26 (other)");
}

static void default_transport_by_sender(void **state)
{
    static const char *const pairs[] = {"@a.example",  "slow:",
                                        "u@a.example", "slow:[a.example.net]",
                                        "@b.example",  ":[b.example.net]",
                                        "@c.example",  "error:5.7.1 not you",
                                        NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", pairs);
    f->conf.sender_dependent_default_transport_maps = "fake:t";
    f->conf.relayhost = "[relay.example.net]";
    rules_fixture_open(f);
    assert_route_from(f, "v@a.example", "r@other.example", "slow:[relay.example.net] (other)");
    assert_route_from(f, "u@a.example", "r@other.example", "slow:[a.example.net] (other)");
    assert_route_from(f, "v@b.example", "r@other.example", "smtp:[b.example.net] (other)");
    assert_route_from(f, "v@c.example", "r@other.example", "error:5.7.1 not you (other)");
    assert_route_from(f, "v@a.example", "r@relay.example", "relay:[relay.example.net] (relay)");
    assert_route_from(f, "", "r@other.example", "smtp:[relay.example.net] (other)");
}

/* A table that fails defers; mail never goes past a relayhost that is not known at the moment. */
static void sender_tables_that_fail(void **state)
{
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", NULL)->fail = "*";
    f->conf.sender_dependent_relayhost_maps = "fake:t";
    rules_fixture_open(f);
    assert_route_from(f, "u@a.example", "r@other.example", "failed: fake failure");
    f->conf.sender_dependent_relayhost_maps = "";
    f->conf.sender_dependent_default_transport_maps = "fake:t";
    rules_fixture_open(f);
    assert_route_from(f, "u@a.example", "r@other.example", "failed: fake failure");
    assert_route_from(f, "u@a.example", "r@box.example", "virtual:box.example (mailbox)");
}

/* What comes back to the sender of the postmaster's notices ends here, whatever transport_maps says. */
static void double_bounces_end(void **state)
{
    static const char *const pairs[] = {"*", "dovecot:", NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", pairs);
    f->conf.transport_maps = "fake:t";
    rules_fixture_open(f);
    assert_route(f, "Double-Bounce@localhost", "discard:undeliverable postmaster notification discarded (local)");
    assert_route(f, "double-bounce@box.example", "dovecot:box.example (mailbox)");
    assert_route(f, "double-bouncer@localhost", "dovecot:localhost (local)");
}

static void keys_of_transport5(void **state)
{
    static const struct {
        const char *address;
        bool parents;
        const char *asked;
    } cases[] = {
        {"User+Ext@a.b.example", false, "user+ext@a.b.example user@a.b.example a.b.example .b.example .example * "},
        {"User+Ext@a.b.example", true, "user+ext@a.b.example user@a.b.example a.b.example b.example example * "},
        {"user@example", false, "user@example example * "},
        {"user@[192.0.2.3]", false, "user@[192.0.2.3] [192.0.2.3] * "},
        {"a b@box.example", true, "a b@box.example box.example example * "},
        {"user@alias.example", false, ""},
        {"-user@box.example", false, ""},
    };
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", NULL);
    f->conf.transport_maps = "fake:t";
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        f->conf.parent_domain_matches_subdomains = cases[i].parents ? "relay_domains, transport_maps" : "";
        rules_fixture_open(f);
        rules_route(f->rules, &f->look.scope, NULL, NULL, cases[i].address, on_route, f);
        rules_fixture_run(f);
        assert_int_equal(f->look.status, OP_OK);
        assert_string_equal(buf_cstr(&f->log), cases[i].asked);
    }
}

static void the_longest_domain_has_room(void **state)
{
    struct rules_fixture *f = *state;
    char address[300] = "user+ext@";
    size_t at = strlen(address);

    for (size_t i = 0; i < 255; i++)
        address[at + i] = i % 2 ? '.' : 'a';
    rules_fixture_table(f, "fake:t", NULL);
    f->conf.transport_maps = "fake:t";
    f->conf.parent_domain_matches_subdomains = "transport_maps";
    rules_fixture_open(f);
    rules_route(f->rules, &f->look.scope, NULL, NULL, address, on_route, f);
    rules_fixture_run(f);
    assert_int_equal(f->look.status, OP_OK);
    assert_non_null(strstr(buf_cstr(&f->log), " a.a a * "));
}

static void results_of_transport5(void **state)
{
    static const struct {
        const char *result, *want;
    } cases[] = {
        {"slow:", "slow:box.example (mailbox)"},
        {"slow", "slow:box.example (mailbox)"},
        {"smtp:[gw.example]:2525", "smtp:[gw.example]:2525 (mailbox)"},
        {":[gw.example]", "pipe:[gw.example] (mailbox)"},
        {":", "pipe:hop (mailbox)"},
        {"", "pipe:hop (mailbox)"},
        {"pipe:", "pipe:box.example (mailbox)"},
        {"error:5.2.1 gone: for good", "error:5.2.1 gone: for good (mailbox)"},
        {"error:", "error:Address is undeliverable (mailbox)"},
        {"retry:4.2.1 later", "retry:4.2.1 later (mailbox)"},
    };
    struct rules_fixture *f = *state;
    const char *pairs[] = {"a@box.example", NULL, NULL};

    rules_fixture_table(f, "fake:t", pairs);
    f->conf.transport_maps = "fake:t";
    f->conf.virtual_transport = "pipe:hop";
    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        pairs[1] = cases[i].result;
        assert_route(f, "a@box.example", cases[i].want);
    }
}

static void the_most_specific_key_wins(void **state)
{
    static const char *const pairs[] = {"*",           "all:",  ".example",      "below:", "b.example", "domain:",
                                        "u@b.example", "user:", "u+x@b.example", "ext:",   NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:t", pairs);
    f->conf.transport_maps = "fake:t";
    rules_fixture_open(f);
    assert_route(f, "u+x@b.example", "ext:b.example (other)");
    assert_route(f, "u+y@b.example", "user:b.example (other)");
    assert_route(f, "v+x@b.example", "domain:b.example (other)");
    assert_route(f, "v@c.example", "below:c.example (other)");
    assert_route(f, "v@example", "all:example (other)");
    assert_route(f, "v@local.example", "below:local.example (local)");
    /* nothing overrides this */
    assert_route(f, "v@alias.example", "error:5.1.1 User unknown in virtual alias table (alias)");
}

static void a_failure_at_each_stage(void **state)
{
    static const char *const keys[] = {"u+x@b.example", "u@b.example", "b.example", ".example", "*"};
    struct rules_fixture *f = *state;
    struct fake_table *t = rules_fixture_table(f, "fake:t", NULL);

    f->conf.transport_maps = "fake:t";
    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        t->fail = keys[i];
        assert_route(f, "u+x@b.example", "failed: fake failure");
    }
    rules_fixture_table(f, "fake:d", NULL)->fail = "*";
    f->conf.virtual_mailbox_domains = "fake:d";
    rules_fixture_open(f);
    assert_route(f, "u@b.example", "failed: fake failure");
    assert_route(f, "u@alias.example", "error:5.1.1 User unknown in virtual alias table (alias)");
}

/* The asker goes at each point of the way. */
static void the_asker_may_go_at_any_time(void **state)
{
    struct rules_fixture *f = *state;
    struct fake_table *t = rules_fixture_table(f, "fake:t", NULL);
    struct fake_table *d = rules_fixture_table(f, "fake:d", NULL);

    f->conf.transport_maps = "fake:t";
    f->conf.virtual_mailbox_domains = "fake:d";
    rules_fixture_open(f);
    for (int stage = 0; stage < 2; stage++) {
        t->hang = stage == 1;
        d->hang = stage == 0;
        rules_route(f->rules, &f->look.scope, NULL, NULL, "u@b.example", on_route, f);
        loop_run(f->look.loop);
        op_scope_cancel(&f->look.scope);
        t->hang = d->hang = false;
        fake_release(stage ? t : d);
        loop_run(f->look.loop);
        assert_int_equal(op_live(f->look.loop), 0);
        assert_int_equal(f->look.calls, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULES_TEST(by_class),
        RULES_TEST(by_settings),
        RULES_TEST(relayhost_is_the_next_hop),
        RULES_TEST(relayhost_by_sender),
        RULES_TEST(default_transport_by_sender),
        RULES_TEST(sender_tables_that_fail),
        RULES_TEST(double_bounces_end),
        RULES_TEST(keys_of_transport5),
        RULES_TEST(the_longest_domain_has_room),
        RULES_TEST(results_of_transport5),
        RULES_TEST(the_most_specific_key_wins),
        RULES_TEST(a_failure_at_each_stage),
        RULES_TEST(the_asker_may_go_at_any_time),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
