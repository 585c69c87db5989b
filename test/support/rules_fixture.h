/*
 * What tests of the rules share: a configuration with one domain of each class, fake tables, and questions asked until
 * the loop has nothing left to do. Statuses are recorded as "OK" or "550 5.1.1 text".
 */
#ifndef TEST_SUPPORT_RULES_FIXTURE_H
#define TEST_SUPPORT_RULES_FIXTURE_H

#include "lookup/rules.h"
#include "support/fake_table.h"

struct rules_fixture {
    struct look look;
    const struct conf *loaded; /* lends `conf` its reference count */
    struct conf conf;          /* change it, then rules_fixture_open */
    struct rules *rules;
    struct buf log, answer;
    enum status_reason reason;
};

static inline int rules_fixture_setup(void **state)
{
    static const char *const own[] = {"192.0.2.1", "2001:db8::1"};
    struct rules_fixture *f = NEW(struct rules_fixture);
    struct conf_report report = {0};

    look_open(&f->look);
    f->loaded = conf_load("/dev/null", &report);
    conf_report_clear(&report);
    f->conf = (struct conf){
        .store = f->loaded->store,
        .myhostname = "mail.example.org",
        .mydomain = "example.org",
        .myorigin = "origin.example",
        .mydestination = "local.example, localhost",
        .virtual_alias_domains = "alias.example",
        .virtual_mailbox_domains = "box.example",
        .relay_domains = "relay.example",
        .parent_domain_matches_subdomains = "mynetworks, relay_domains",
        .recipient_delimiter = "+",
        .propagate_unmatched_extensions = "canonical, virtual",
        .virtual_alias_maps = "",
        .virtual_mailbox_maps = "",
        .local_recipient_maps = "",
        .relay_recipient_maps = "",
        .transport_maps = "",
        .relayhost = "",
        .canonical_maps = "",
        .canonical_classes = "envelope_sender, envelope_recipient, header_sender, header_recipient",
        .sender_canonical_maps = "",
        .sender_canonical_classes = "envelope_sender, header_sender",
        .recipient_canonical_maps = "",
        .recipient_canonical_classes = "envelope_recipient, header_recipient",
        .masquerade_domains = "",
        .masquerade_exceptions = "",
        .masquerade_classes = "envelope_sender, header_sender, header_recipient",
        .always_bcc = "",
        .sender_bcc_maps = "",
        .recipient_bcc_maps = "",
        .relocated_maps = "",
        .srs_domain = "mail.example.org",
        .srs_secret = "",
        .sender_dependent_relayhost_maps = "",
        .sender_dependent_default_transport_maps = "",
        .empty_address_relayhost_maps_lookup_key = "<>",
        .empty_address_default_transport_maps_lookup_key = "<>",
        .local_transport = "local:mail.example.org",
        .virtual_transport = "virtual",
        .relay_transport = "relay",
        .default_transport = "smtp",
        .virtual_alias_expansion_limit = 1000,
        .virtual_alias_recursion_limit = 1000,
        .virtual_alias_address_length_limit = 1000,
        .unknown_local_recipient_reject_code = 550,
        .unknown_virtual_alias_reject_code = 550,
        .unknown_virtual_mailbox_reject_code = 550,
        .unknown_relay_recipient_reject_code = 550,
        .show_user_unknown_table_name = true,
        .enable_original_recipient = true,
        .append_at_myorigin = true,
        .empty_address_recipient = "MAILER-DAEMON",
        .double_bounce_sender = "double-bounce",
        .own_addresses = own,
        .nown_addresses = 2,
    };
    *state = f;
    return 0;
}

static inline int rules_fixture_teardown(void **state)
{
    struct rules_fixture *f = *state;

    rules_unref(&f->rules);
    look_close(&f->look);
    conf_unref(&f->loaded);
    buf_release(&f->log);
    buf_release(&f->answer);
    mem_free(f);
    return 0;
}

static inline struct fake_table *rules_fixture_table(struct rules_fixture *f, const char *name,
                                                     const char *const *pairs)
{
    struct fake_table *t = fake_add(f->look.tables, name, pairs);

    t->log = &f->log;
    return t;
}

/* Compiles the rules anew from the configuration as it is now. */
static inline void rules_fixture_open(struct rules_fixture *f)
{
    rules_unref(&f->rules);
    buf_clear(&f->look.err);
    f->rules = rules_new(f->look.loop, f->look.tables, &f->conf, &f->look.err);
    if (f->rules == NULL)
        fail_msg("%s", buf_cstr(&f->look.err));
    buf_clear(&f->log);
    f->look.calls = 0;
}

/* For the functions whose result is always a struct status. */
static inline void rules_fixture_on_status(void *owner, enum op_status op, const void *result)
{
    struct rules_fixture *f = owner;
    const struct status *status = result;

    (void)op;
    f->look.calls++;
    f->reason = status->reason;
    buf_clear(&f->answer);
    if (status_is_ok(status))
        buf_add_str(&f->answer, "OK");
    else
        buf_printf(&f->answer, "%d %s %s", status->code, status->dsn, status->text);
}

/* Waits for the one answer of a question just asked. */
static inline void rules_fixture_run(struct rules_fixture *f)
{
    assert_int_equal(f->look.calls, 0); /* never inside the call */
    loop_run(f->look.loop);
    assert_int_equal(f->look.calls, 1);
    assert_int_equal(op_live(f->look.loop), 0);
    f->look.calls = 0;
}

#define RULES_TEST(name) cmocka_unit_test_setup_teardown(name, rules_fixture_setup, rules_fixture_teardown)

#endif
