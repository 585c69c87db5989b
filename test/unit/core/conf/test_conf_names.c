/* The table of Postfix's names: what is in it is consistent. That all names are there, test_a05_postconf.py says. */
#include "unit/core/conf/conf_fixture.h"

static bool same(const struct conf_known *a, const struct conf_known *b)
{
    return a->suffix == b->suffix && strcmp(a->name, b->name) == 0;
}

static void each_name_is_there_once(void **state)
{
    (void)state;
    assert_true(conf_nknown > 500);
    for (size_t i = 0; i < conf_nknown; i++) {
        for (size_t k = i + 1; k < conf_nknown; k++)
            if (same(&conf_known[i], &conf_known[k]))
                fail_msg("%s is there twice", conf_known[i].name);
        if (!conf_known[i].suffix && conf_row_find(conf_known[i].name) != NULL)
            fail_msg("%s is a parameter", conf_known[i].name);
    }
}

/* Texts go on after a colon. */
static void texts_are_clauses(void **state)
{
    (void)state;
    for (size_t i = 0; i < conf_nknown; i++) {
        const struct conf_known *k = &conf_known[i];
        const char *text = k->text;

        if (text[0] == '\0' || text[strlen(text) - 1] == '.' || strchr(text, '\n') != NULL)
            fail_msg("%s: \"%s\"", k->name, text);
        assert_non_null(k->def);
        if (k->harmless != NULL)
            assert_int_equal(k->kind, CONF_KNOWN_DEMAND);
    }
}

static const struct {
    const char *name;
    int kind; /* -1: not known */
    const char *def;
} finds[] = {
    {"smtp_xforward_timeout", CONF_KNOWN_LATER, "300s"},
    {"lmtp_xforward_timeout", CONF_KNOWN_LATER, "300s"},
    {"max_use", CONF_KNOWN_HARMLESS, "100"},
    {"alias_database", CONF_KNOWN_EQUIVALENT, "hash:/etc/aliases"},
    {"soft_bounce", CONF_KNOWN_DEMAND, "no"},
    {"qmqpd_timeout", CONF_KNOWN_UNSUPPORTED, "300s"},
    /* transports: to come, declared, built in, unknown */
    {"local_destination_concurrency_limit", CONF_KNOWN_LATER, "2"},
    {"t_delivery_slot_cost", CONF_KNOWN_HARMLESS, "$default_delivery_slot_cost"},
    {"other_destination_rate_delay", -1, NULL},
    {"destination_rate_delay", -1, NULL},
    {"_destination_rate_delay", -1, NULL},
    /* real parameters, and none at all */
    {"t_time_limit", -1, NULL},
    {"smtp_destination_concurrency_limit", -1, NULL},
    {"lmtp_skip_quit_response", -1, NULL},
    {"virtual_destination_recipient_limit", -1, NULL},
    {"smtpd_banner", -1, NULL},
    {"nosuch", -1, NULL},
};

static void finds_them(void **state)
{
    struct fixture f;
    struct conf_view v = {.source = &f.source, .machine = &f.machine, .arena = &f.source.arena};

    (void)state;
    fixture_open_good(&f, "[transport t]\ntype = discard\n");
    for (size_t i = 0; i < ARRAY_LEN(finds); i++) {
        const struct conf_known *k = conf_known_find(&v, finds[i].name);

        if ((k != NULL ? (int)k->kind : -1) != finds[i].kind)
            fail_msg("%s", finds[i].name);
        if (k != NULL)
            assert_string_equal(k->def, finds[i].def);
    }
    fixture_close(&f);
}

/* A service of master.cf that is no transport has parameters of its own all the same. */
static void services_have_parameters(void **state)
{
    struct conf_source source = {0};
    struct conf_report report = {0};
    struct conf_view v = {.source = &source, .arena = &source.arena};

    (void)state;
    conf_parse_postfix(SLICE_LIT("policy_time_limit = 3600\n"),
                       SLICE_LIT("policy unix - n n - 0 spawn user=nobody argv=/bin/true\n"), "/etc/postfix", &source,
                       &report);
    assert_non_null(conf_known_find(&v, "policy_time_limit"));
    assert_null(conf_known_find(&v, "polcy_time_limit"));
    conf_report_clear(&report);
    conf_source_clear(&source);
}

/* Their defaults are what $name stands for. */
static void defaults_are_values(void **state)
{
    static const struct {
        const char *text, *value;
    } cases[] = {
        {"$alias_database", "hash:/etc/aliases"},
        {"$default_database_type:/x", "hash:/x"},
        {"$smtp_sasl_tls_verified_security_options", "noplaintext, noanonymous"},
        {"${relayhost?yes}", ""},
        {"${soft_bounce?{set}:{not}}", "set"},
    };
    struct fixture f;
    struct conf_view v = {.source = &f.source, .machine = &f.machine, .arena = &f.source.arena};

    (void)state;
    fixture_open_good(&f, "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct conf_failure failure;
        const char *value = conf_view_text(&v, cases[i].text, &failure);

        assert_non_null(value);
        assert_string_equal(value, cases[i].value);
    }
    fixture_close(&f);
}

/* smtpd_restriction_classes makes parameters of the names in it. */
static void restriction_classes_are_used(void **state)
{
    struct fixture f;

    (void)state;
    fixture_open(&f, "smtpd_restriction_classes = early, late\nearly = permit_mynetworks\nlater = reject\n");
    assert_true(conf_name_used(&f.source, "early"));
    assert_true(conf_name_used(&f.source, "late"));
    assert_false(conf_name_used(&f.source, "later"));
    fixture_expect(&f, "3: warning: unused parameter later");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_name_is_there_once),
        cmocka_unit_test(texts_are_clauses),
        cmocka_unit_test(finds_them),
        cmocka_unit_test(services_have_parameters),
        cmocka_unit_test(defaults_are_values),
        cmocka_unit_test(restriction_classes_are_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
