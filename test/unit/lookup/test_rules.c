/* The rules of a configuration: compiling them, the class of a domain, and their end. lookup/rules. */
#include "core/base/assert.h"
#include "support/rules_fixture.h"

static void on_class(void *owner, enum op_status status, const void *result)
{
    static const char *const names[] = {"local", "alias", "mailbox", "relay", "other"};
    struct rules_fixture *f = owner;

    f->look.calls++;
    f->look.status = status;
    buf_clear(&f->answer);
    if (status == OP_OK)
        buf_add_str(&f->answer, names[*(const enum rules_class *)result]);
    else
        buf_printf(&f->answer, "failed: %s", ((const struct table_answer *)result)->why);
}

static void assert_class(struct rules_fixture *f, const char *domain, const char *want)
{
    rules_classify(f->rules, &f->look.scope, slice_str(domain), on_class, f);
    rules_fixture_run(f);
    if (strcmp(buf_cstr(&f->answer), want) != 0)
        fail_msg("%s: %s, wanted %s", domain, buf_cstr(&f->answer), want);
}

static void classes_of_domains(void **state)
{
    static const struct {
        const char *domain, *want;
    } cases[] = {
        {"local.example", "local"},
        {"LOCALHOST", "local"},
        {"local.example.", "local"},
        {"local.example..", "other"},
        {"sub.local.example", "other"},
        {"alias.example", "alias"},
        {"box.example", "mailbox"},
        {"sub.box.example", "other"},
        {"relay.example", "relay"},
        {"a.b.relay.example", "relay"},
        {"[192.0.2.1]", "local"},
        {"[IPv6:2001:db8::1]", "local"},
        {"[IPv6:2001:DB8:0::1]", "local"},
        {"[2001:db8::1]", "local"},
        {"[192.0.2.2]", "other"},
        {"192.0.2.1", "other"},
        {"[]", "other"},
        {"[", "other"},
        {".", "other"},
        {"", "other"},
    };
    struct rules_fixture *f = *state;

    rules_fixture_open(f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_class(f, cases[i].domain, cases[i].want);
}

static void the_first_class_wins(void **state)
{
    struct rules_fixture *f = *state;

    f->conf.mydestination = "a";
    f->conf.virtual_alias_domains = "a, b";
    f->conf.virtual_mailbox_domains = "a, b, c";
    f->conf.relay_domains = "a, b, c, d";
    rules_fixture_open(f);
    assert_class(f, "a", "local");
    assert_class(f, "b", "alias");
    assert_class(f, "c", "mailbox");
    assert_class(f, "d", "relay");
}

static void relay_domains_below_by_configuration(void **state)
{
    struct rules_fixture *f = *state;

    f->conf.parent_domain_matches_subdomains = "";
    f->conf.relay_domains = "relay.example, .dotted.example";
    rules_fixture_open(f);
    assert_class(f, "relay.example", "relay");
    assert_class(f, "a.relay.example", "other");
    assert_class(f, "a.dotted.example", "relay");
}

static void classes_from_tables_and_their_failures(void **state)
{
    static const char *const pairs[] = {"a.example", "x", NULL};
    struct rules_fixture *f = *state;
    const char **lists[] = {&f->conf.mydestination, &f->conf.virtual_alias_domains, &f->conf.virtual_mailbox_domains,
                            &f->conf.relay_domains};
    static const char *const names[] = {"local", "alias", "mailbox", "relay"};

    struct fake_table *t = rules_fixture_table(f, "fake:a", pairs);

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        const char *before = *lists[i];

        *lists[i] = "fake:a";
        rules_fixture_open(f);
        t->fail = NULL;
        assert_class(f, "A.example", names[i]);
        assert_class(f, "b.example", "other");
        t->fail = "*";
        assert_class(f, "a.example", "failed: fake failure");
        assert_class(f, "b.example", "failed: fake failure");
        *lists[i] = before;
    }
    /* what is decided before the broken table is asked does not suffer */
    f->conf.virtual_mailbox_domains = "fake:a";
    rules_fixture_open(f);
    assert_class(f, "alias.example", "alias");
    assert_class(f, "relay.example", "failed: fake failure");
}

static void names_the_parameter_of_each_mistake(void **state)
{
    struct rules_fixture *f = *state;
    const char *err;

    f->conf.mydestination = "nosuch:x, /nonexistent/file";
    f->conf.transport_maps = "bare";
    f->conf.virtual_mailbox_maps = "nosuch:y, static:z";
    assert_null(rules_new(f->look.loop, f->look.tables, &f->conf, &f->look.err));
    err = buf_cstr(&f->look.err);
    assert_non_null(strstr(err, "mydestination: nosuch:x"));
    assert_non_null(strstr(err, "\nmydestination: /nonexistent/file"));
    assert_non_null(strstr(err, "\nvirtual_mailbox_maps: nosuch:y"));
    assert_non_null(strstr(err, "\ntransport_maps: bare"));
    assert_int_equal(err[strlen(err) - 1], '\n');
}

/* The rules go while questions wait: those still asked for are answered, and nothing is left behind. */
static void rules_live_until_the_last_answer(void **state)
{
    struct rules_fixture *f = *state;
    struct fake_table *t = rules_fixture_table(f, "fake:a", NULL);
    struct op_scope gone;
    struct envelope envelope = {.rcpts = &(struct envelope_rcpt){.addr = "a@box.example"}, .nrcpts = 1};
    struct arena arena = {0};

    t->hang = true;
    f->conf.virtual_alias_maps = "fake:a";
    f->conf.mydestination = "fake:a";
    rules_fixture_open(f);
    op_scope_init(&gone, "gone");
    rules_check_recipient(f->rules, &gone, "a@box.example", rules_fixture_on_status, f);
    rules_route(f->rules, &gone, NULL, NULL, "a@box.example", on_class, f);
    rules_expand(f->rules, &gone, &envelope, &arena, rules_fixture_on_status, f);
    rules_classify(f->rules, &f->look.scope, slice_str("box.example"), on_class, f);
    rules_check_recipient(f->rules, &f->look.scope, "a@box.example", rules_fixture_on_status, f);
    loop_run(f->look.loop);
    op_scope_close(&gone);
    arena_clear(&arena);
    rules_unref(&f->rules);
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 0);
    t->hang = false;
    for (int i = 0; i < 5; i++) { /* each answer may lead to another question */
        fake_release(t);
        loop_run(f->look.loop);
    }
    assert_int_equal(op_live(f->look.loop), 0);
    assert_int_equal(f->look.calls, 2);
    assert_string_equal(buf_cstr(&f->answer), "OK");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULES_TEST(classes_of_domains),
        RULES_TEST(the_first_class_wins),
        RULES_TEST(relay_domains_below_by_configuration),
        RULES_TEST(classes_from_tables_and_their_failures),
        RULES_TEST(names_the_parameter_of_each_mistake),
        RULES_TEST(rules_live_until_the_last_answer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
