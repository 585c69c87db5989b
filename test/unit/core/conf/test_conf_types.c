/* Every row of the tables, and text -> field for each type. */
#include "unit/core/conf/conf_fixture.h"

struct table {
    const char *name;
    const struct conf_row *rows;
    size_t n;
};

static struct table tables_of_rows(int i)
{
    const struct table all[] = {
        {"params", conf_rows, conf_nrows},
        {"params_transport", conf_transport_rows, conf_ntransport_rows},
        {"params_dynamic", conf_dynamic_rows, conf_ndynamic_rows},
    };

    return i < 3 ? all[i] : (struct table){0};
}

static void every_doc_is_a_sentence(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < tables_of_rows(t).n; i++) {
            const struct conf_row *row = &tables_of_rows(t).rows[i];
            size_t n = strlen(row->doc);

            if (n < 10 || row->doc[n - 1] != '.' || row->doc[0] < 'A' || row->doc[0] > 'Z')
                fail_msg("%s: %s", row->name, row->doc);
        }
}

static void names_are_unique(void **state)
{
    (void)state;
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < tables_of_rows(t).n; i++)
            for (size_t j = 0; j < i; j++)
                assert_string_not_equal(tables_of_rows(t).rows[i].name, tables_of_rows(t).rows[j].name);
}

/* A number has a range whose ends parse, an ENUM has words, and a default, expanded, is a value of its type in range.
 */
static void every_default_is_in_range(void **state)
{
    struct conf_source source = {0};
    struct conf_machine machine = {0};
    struct arena arena = {0};
    struct conf_view v = {&source, NULL, &machine, &arena};
    union {
        struct conf conf;
        struct conf_transport transport;
    } base;

    (void)state;
    fixture_machine(&machine, "mail.example.org");
    for (int t = 0; t < 3; t++)
        for (size_t i = 0; i < tables_of_rows(t).n; i++) {
            const struct conf_row *row = &tables_of_rows(t).rows[i];
            bool number = row->type == CONF_TYPE_INT || row->type == CONF_TYPE_SIZE || row->type == CONF_TYPE_DURATION;
            struct conf_failure failure = {0};
            char why[500] = "";
            const char *text =
                t == 0 ? conf_view_value(&v, row->name, &failure) : conf_view_text(&v, row->def, &failure);

            assert_int_equal(row->min != NULL && row->max != NULL, number);
            assert_int_equal(row->words != NULL, row->type == CONF_TYPE_ENUM);
            if (text == NULL || !conf_value_set(row, &base, text, &arena, why, sizeof why))
                fail_msg("%s: %s%s", row->name, why, failure.text != NULL ? failure.text : "");
            if (number && (!conf_value_set(row, &base, row->min, &arena, why, sizeof why) ||
                           !conf_value_set(row, &base, row->max, &arena, why, sizeof why)))
                fail_msg("%s: its range: %s", row->name, why);
        }
    conf_machine_clear(&machine);
    arena_clear(&arena);
}

static const struct {
    const char *name, *text;
    int64_t number; /* -1: an error */
    const char *why;
} values[] = {
    {"smtpd_helo_required", "yes", 1, NULL},
    {"smtpd_helo_required", "NO", 0, NULL},
    {"smtpd_helo_required", "1", -1, "\"1\" is neither yes nor no"},
    {"smtpd_helo_required", "", -1, "\"\" is neither yes nor no"},
    {"smtpd_recipient_limit", "7", 7, NULL},
    {"smtpd_recipient_limit", "0", -1, "0 is out of range: at least 1, at most 1000000"},
    {"smtpd_recipient_limit", "1000001", -1, "1000001 is out of range: at least 1, at most 1000000"},
    {"smtpd_recipient_limit", "-1", -1, "\"-1\" is not a number"},
    {"smtpd_recipient_limit", "7x", -1, "\"7x\" is not a number"},
    {"smtpd_recipient_limit", "", -1, "\"\" is not a number"},
    {"smtpd_recipient_limit", "99999999999999999999", -1, "\"99999999999999999999\" is not a number"},
    {"message_size_limit", "0", 0, NULL},
    {"message_size_limit", "5000000000", 5000000000, NULL},
    {"smtpd_timeout", "5", 5000, NULL},
    {"smtpd_timeout", "5s", 5000, NULL},
    {"smtpd_timeout", "5m", 300000, NULL},
    {"smtpd_timeout", "1H", 3600000, NULL},
    {"smtpd_timeout", "61m", -1, "61m is out of range: at least 1s, at most 1h"},
    {"smtpd_timeout", "5y", -1, "\"5y\" is not a time: a number and one of s, m, h, d, w"},
    {"smtpd_timeout", "s", -1, "\"s\" is not a time: a number and one of s, m, h, d, w"},
    {"smtpd_timeout", "1 h", -1, "\"1 h\" is not a time: a number and one of s, m, h, d, w"},
    {"maximal_queue_lifetime", "2", 172800000, NULL}, /* its unit is that of its default, days */
    {"maximal_queue_lifetime", "2w", 1209600000, NULL},
    {"maximal_queue_lifetime", "99999999999999w", -1,
     "\"99999999999999w\" is not a time: a number and one of s, m, h, d, w"},
    {"smtpd_forbid_bare_newline", "normalize", CONF_BARE_NEWLINE_NORMALIZE, NULL},
    {"smtpd_forbid_bare_newline", "yes", CONF_BARE_NEWLINE_NORMALIZE, NULL},
    {"smtpd_forbid_bare_newline", "Reject", CONF_BARE_NEWLINE_REJECT, NULL},
    {"smtpd_forbid_bare_newline", "maybe", -1, "\"maybe\" is none of: no, normalize, reject, note"},
    {"inet_protocols", "ipv6, ipv4", CONF_INET_PROTOCOLS_ALL, NULL},
    {"inet_protocols", "ipv6", CONF_INET_PROTOCOLS_IPV6, NULL},
};

static int64_t field(const struct conf *c, const struct conf_row *row)
{
    const char *at = (const char *)c + row->offset;

    switch (row->type) {
    case CONF_TYPE_BOOL: return *(const bool *)at;
    case CONF_TYPE_ENUM: return *(const int *)(const void *)at;
    default: return *(const int64_t *)(const void *)at;
    }
}

static void text_becomes_a_field(void **state)
{
    struct arena arena = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        const struct conf_row *row = conf_row_find(values[i].name);
        struct conf conf = {0};
        char why[500];
        bool ok;

        assert_non_null(row);
        ok = conf_value_set(row, &conf, values[i].text, &arena, why, sizeof why);
        if (ok != (values[i].why == NULL))
            fail_msg("%s = %s", values[i].name, values[i].text);
        if (ok)
            assert_int_equal(field(&conf, row), values[i].number);
        else
            assert_string_equal(why, values[i].why);
    }
    arena_clear(&arena);
}

static void strings_are_copied(void **state)
{
    struct arena arena = {0};
    struct conf conf = {0};
    char text[] = "abc", why[100];

    (void)state;
    assert_true(conf_value_set(conf_row_find("smtpd_banner"), &conf, text, &arena, why, sizeof why));
    text[0] = 'X';
    assert_string_equal(conf.smtpd_banner, "abc");
    arena_clear(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_doc_is_a_sentence),   cmocka_unit_test(names_are_unique),
        cmocka_unit_test(every_default_is_in_range), cmocka_unit_test(text_becomes_a_field),
        cmocka_unit_test(strings_are_copied),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
