/* Canonical addresses, masquerading, copies, and SRS through the rules: lookup/rules_rewrite. */
#include "core/base/assert.h"
#include "lookup/srs.h"
#include "support/rules_fixture.h"

#include <stdio.h>

static void on_address(void *owner, enum op_status status, const void *result)
{
    struct rules_fixture *f = owner;

    f->look.calls++;
    buf_clear(&f->answer);
    if (status == OP_OK)
        buf_add_str(&f->answer, result);
    else
        buf_printf(&f->answer, "failed: %s", ((const struct table_answer *)result)->why);
}

static void assert_becomes(struct rules_fixture *f, enum rules_rewrite kind, const char *from, const char *to)
{
    rules_rewrite(f->rules, &f->look.scope, from, kind, on_address, f);
    rules_fixture_run(f);
    if (strcmp(buf_cstr(&f->answer), to) != 0)
        fail_msg("%s: %s, wanted %s", from, buf_cstr(&f->answer), to);
}

#define SENDER      RULES_REWRITE_ENVELOPE_SENDER
#define RECIPIENT   RULES_REWRITE_ENVELOPE_RECIPIENT
#define FROM_HEADER RULES_REWRITE_HEADER_SENDER
#define TO_HEADER   RULES_REWRITE_HEADER_RECIPIENT

static void canonical_maps(void **state)
{
    static const char *const pairs[] = {"alice",
                                        "alice.liddell@box.example", /* bare: of $myorigin and mydestination only */
                                        "@old.example",
                                        "@box.example",
                                        "bob@box.example",
                                        "robert",
                                        "list@box.example",
                                        "a@x.example, b@x.example",
                                        "round@box.example",
                                        "about@box.example",
                                        "about@box.example",
                                        "round@box.example",
                                        "a1@x.example",
                                        "a2@x.example",
                                        "a2@x.example",
                                        "a3@x.example",
                                        NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:c", pairs);
    f->conf.canonical_maps = "fake:c";
    rules_fixture_open(f);
    assert_true(rules_rewrites(f->rules, SENDER) && rules_rewrites(f->rules, TO_HEADER));
    assert_becomes(f, SENDER, "alice", "alice.liddell@box.example");
    assert_becomes(f, SENDER, "alice@localhost", "alice.liddell@box.example");
    assert_becomes(f, SENDER, "alice@elsewhere.example", "alice@elsewhere.example");
    assert_becomes(f, RECIPIENT, "alice+x@localhost", "alice.liddell+x@box.example");
    assert_becomes(f, RECIPIENT, "who+x@old.example", "who+x@box.example");
    assert_becomes(f, FROM_HEADER, "Bob@Box.example", "robert@origin.example");
    assert_becomes(f, TO_HEADER, "list@box.example", "list@box.example"); /* not one address */
    assert_becomes(f, SENDER, "a1@x.example", "a3@x.example");            /* until it stays */
    f->conf.propagate_unmatched_extensions = "virtual";
    rules_fixture_open(f);
    assert_becomes(f, RECIPIENT, "alice+x@localhost", "alice.liddell@box.example");
    rules_rewrite(f->rules, &f->look.scope, "round@box.example", SENDER, on_address, f);
    rules_fixture_run(f); /* ends */
}

static void assert_goes_out(struct rules_fixture *f, const struct maps *maps, const char *from, const char *to)
{
    rules_generic(f->rules, &f->look.scope, maps, from, on_address, f);
    rules_fixture_run(f);
    if (strcmp(buf_cstr(&f->answer), to) != 0)
        fail_msg("%s: %s, wanted %s", from, buf_cstr(&f->answer), to);
}

static void generic_maps(void **state)
{
    static const char *const pairs[] = {"alice",
                                        "alice.liddell@box.example", /* bare: of $myorigin and mydestination only */
                                        "@old.example",
                                        "@box.example",
                                        "bob@box.example",
                                        "robert",
                                        "list@box.example",
                                        "a@x.example, b@x.example",
                                        "a1@x.example",
                                        "a2@x.example",
                                        "a2@x.example",
                                        "a3@x.example",
                                        NULL};
    struct rules_fixture *f = *state;
    struct maps *maps;

    rules_fixture_table(f, "fake:g", pairs);
    f->conf.propagate_unmatched_extensions = "canonical, virtual";
    rules_fixture_open(f);
    maps = maps_new(f->look.tables, "fake:g", &f->look.err);
    assert_goes_out(f, maps, "alice@localhost", "alice.liddell@box.example");
    assert_goes_out(f, maps, "alice+x@localhost", "alice.liddell@box.example");
    assert_goes_out(f, maps, "alice@elsewhere.example", "alice@elsewhere.example");
    assert_goes_out(f, maps, "who+x@old.example", "who+x@box.example"); /* all of the local part */
    assert_goes_out(f, maps, "Bob@Box.example", "robert@origin.example");
    assert_goes_out(f, maps, "list@box.example", "list@box.example"); /* not one address */
    assert_goes_out(f, maps, "a1@x.example", "a2@x.example");         /* once */
    assert_goes_out(f, maps, "nobody", "nobody");                     /* as it was asked for */
    f->conf.propagate_unmatched_extensions = "generic";
    rules_fixture_open(f);
    assert_goes_out(f, maps, "alice+x@localhost", "alice.liddell+x@box.example");
    assert_goes_out(f, maps, "who+x@old.example", "who+x@box.example");
    maps_free(&maps);
}

static void by_classes(void **state)
{
    static const char *const common[] = {"@a.example", "@b.example", NULL},
                             *const from[] = {"x@s.example", "s@a.example", NULL},
                             *const to[] = {"x@s.example", "r@a.example", NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:c", common);
    rules_fixture_table(f, "fake:s", from);
    rules_fixture_table(f, "fake:r", to);
    f->conf.canonical_maps = "fake:c";
    f->conf.sender_canonical_maps = "fake:s";
    f->conf.recipient_canonical_maps = "fake:r";
    rules_fixture_open(f);
    assert_becomes(f, SENDER, "x@s.example", "s@b.example"); /* first its own, then the common ones */
    assert_becomes(f, RECIPIENT, "x@s.example", "r@b.example");
    f->conf.sender_canonical_classes = "header_sender";
    f->conf.canonical_classes = "envelope_recipient";
    rules_fixture_open(f);
    assert_false(rules_rewrites(f->rules, SENDER));
    assert_becomes(f, SENDER, "x@s.example", "x@s.example");
    assert_becomes(f, FROM_HEADER, "x@s.example", "s@a.example");
    assert_becomes(f, RECIPIENT, "x@s.example", "r@b.example");
    assert_becomes(f, TO_HEADER, "x@s.example", "r@a.example");
}

static void masquerading(void **state)
{
    struct rules_fixture *f = *state;

    f->conf.masquerade_domains = "!special.example.com, host.example.com example.com";
    f->conf.masquerade_exceptions = "root, postmaster";
    rules_fixture_open(f);
    assert_becomes(f, SENDER, "a@x.example.com", "a@example.com");
    assert_becomes(f, SENDER, "a@x.y.Example.COM", "a@example.com");
    assert_becomes(f, SENDER, "a@x.host.example.com", "a@host.example.com");
    assert_becomes(f, SENDER, "a@host.example.com", "a@host.example.com");
    assert_becomes(f, SENDER, "a@special.example.com", "a@special.example.com");
    assert_becomes(f, SENDER, "a@b.special.example.com", "a@b.special.example.com");
    assert_becomes(f, SENDER, "a@example.com", "a@example.com");
    assert_becomes(f, SENDER, "a@notexample.com", "a@notexample.com");
    assert_becomes(f, SENDER, "Root@x.example.com", "Root@x.example.com");
    assert_becomes(f, FROM_HEADER, "a@x.example.com", "a@example.com");
    assert_becomes(f, RECIPIENT, "a@x.example.com", "a@x.example.com"); /* not by default */
    assert_false(rules_rewrites(f->rules, RECIPIENT));
}

static void a_table_that_fails(void **state)
{
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:c", NULL)->fail = "*";
    f->conf.canonical_maps = "fake:c";
    rules_fixture_open(f);
    assert_becomes(f, SENDER, "a@x.example", "failed: fake failure");
}

/* ---- the envelope ---- */

/* The envelope afterwards: "sender: addr(orig) addr!" where ! is of whom nothing is reported. */
static void assert_envelope(struct rules_fixture *f, const char *sender, const char *to, const char *want)
{
    struct arena a = {0};
    struct envelope_rcpt rcpts[10] = {0};
    struct envelope e = {.sender = sender, .rcpts = rcpts};
    struct slice rest = slice_str(to), item;
    struct buf text = {0};

    while ((item = slice_token(&rest, " ")).n > 0)
        rcpts[e.nrcpts++].addr = arena_slice_dup(&a, item);
    rules_rewrite_envelope(f->rules, &f->look.scope, &e, &a, rules_fixture_on_status, f);
    rules_fixture_run(f);
    if (strcmp(buf_cstr(&f->answer), "OK") != 0)
        buf_printf(&text, "%s ", buf_cstr(&f->answer));
    buf_printf(&text, "%s:", e.sender);
    for (size_t i = 0; i < e.nrcpts; i++) {
        buf_printf(&text, " %s", e.rcpts[i].addr);
        if (e.rcpts[i].orig != NULL)
            buf_printf(&text, "(%s)", e.rcpts[i].orig);
        if (e.rcpts[i].notify == ENVELOPE_NOTIFY_NEVER)
            buf_add_char(&text, '!');
    }
    if (strcmp(buf_cstr(&text), want) != 0)
        fail_msg("%s -> %s: %s, wanted %s", sender, to, buf_cstr(&text), want);
    buf_release(&text);
    arena_clear(&a);
}

static void the_envelope(void **state)
{
    static const char *const canonical[] = {"@a.example", "@b.example", NULL},
                             *const by_sender[] = {"@b.example", "log@box.example", NULL},
                             *const by_recipient[] = {"r@b.example", "copy@a.example", NULL};
    struct rules_fixture *f = *state;

    rules_fixture_open(f);
    assert_envelope(f, "s@a.example", "r@a.example q@c.example", "s@a.example: r@a.example q@c.example");
    rules_fixture_table(f, "fake:c", canonical);
    rules_fixture_table(f, "fake:s", by_sender);
    rules_fixture_table(f, "fake:r", by_recipient)->fail = "broken@c.example";
    f->conf.canonical_maps = "fake:c";
    f->conf.sender_bcc_maps = "fake:s";
    f->conf.recipient_bcc_maps = "fake:r";
    f->conf.always_bcc = "archive";
    rules_fixture_open(f);
    assert_envelope(f, "s@a.example", "r@a.example q@c.example",
                    "s@b.example: r@b.example(r@a.example) q@c.example archive@origin.example! log@box.example! "
                    "copy@b.example!");
    assert_envelope(f, "", "q@c.example", ": q@c.example archive@origin.example!");
    /* all or nothing */
    assert_envelope(f, "s@a.example", "r@a.example broken@c.example",
                    "451 4.3.0 Temporary lookup failure s@a.example: r@a.example broken@c.example");
    f->conf.canonical_maps = "";
    rules_fixture_open(f);
    assert_envelope(f, "s@a.example", "r@b.example",
                    "s@a.example: r@b.example archive@origin.example! copy@a.example!");
}

/* ---- relocated, SRS ---- */

static void on_route(void *owner, enum op_status status, const void *result)
{
    struct rules_fixture *f = owner;
    const struct rules_route *route = result;

    f->look.calls++;
    buf_clear(&f->answer);
    assert_int_equal(status, OP_OK);
    buf_printf(&f->answer, "%s:%s from %s", route->to.transport, route->to.nexthop,
               route->to.sender ? route->to.sender : "-");
}

static const char *route(struct rules_fixture *f, const char *sender, const char *orig, const char *address)
{
    rules_route(f->rules, &f->look.scope, sender, orig, address, on_route, f);
    rules_fixture_run(f);
    return buf_cstr(&f->answer);
}

static const char *check(struct rules_fixture *f, const char *address)
{
    rules_check_recipient(f->rules, &f->look.scope, address, rules_fixture_on_status, f);
    rules_fixture_run(f);
    return buf_cstr(&f->answer);
}

/* What one recipient is expanded to. */
static const char *expanded(struct rules_fixture *f, const char *address)
{
    static char text[200];
    struct arena a = {0};
    struct envelope_rcpt rcpt = {.addr = address};
    struct envelope e = {.sender = "", .rcpts = &rcpt, .nrcpts = 1};

    rules_expand(f->rules, &f->look.scope, &e, &a, rules_fixture_on_status, f);
    rules_fixture_run(f);
    assert_int_equal(e.nrcpts, 1);
    snprintf(text, sizeof text, "%s", e.rcpts[0].addr);
    arena_clear(&a);
    return text;
}

static void who_has_moved(void **state)
{
    static const char *const pairs[] = {"gone@box.example", "new@elsewhere.example", "@left.example", "nowhere", NULL};
    struct rules_fixture *f = *state;

    rules_fixture_table(f, "fake:m", pairs);
    f->conf.relocated_maps = "fake:m";
    rules_fixture_open(f);
    assert_string_equal(route(f, NULL, NULL, "Gone@box.example"),
                        "error:5.1.6 User has moved to new@elsewhere.example from -");
    assert_string_equal(route(f, NULL, NULL, "a@box.example"), "virtual:box.example from -");
    assert_string_equal(check(f, "gone@box.example"), "550 5.1.6 User has moved to new@elsewhere.example");
    assert_string_equal(check(f, "a@left.example"), "550 5.1.6 User has moved to nowhere");
}

static void srs_of_forwarded_mail(void **state)
{
    static const char *const aliases[] = {"fwd@box.example", "friend@far.example", NULL};
    struct rules_fixture *f = *state;
    char made[200];

    rules_fixture_table(f, "fake:a", aliases);
    f->conf.virtual_alias_maps = "fake:a";
    f->conf.srs_forwarding = true;
    f->conf.srs_domain = "srs.example.org";
    f->conf.srs_secret = "hush";
    rules_fixture_open(f);
    assert_int_equal(
        sscanf(route(f, "s@far.example", "fwd@box.example", "friend@far.example"), "smtp:far.example from %199s", made),
        1);
    assert_memory_equal(made, "SRS0=", 5);
    assert_non_null(strstr(made, "=far.example=s@srs.example.org"));
    /* and only then */
    assert_string_equal(route(f, "s@box.example", "fwd@box.example", "friend@far.example"), "smtp:far.example from -");
    assert_string_equal(route(f, "s@far.example", NULL, "friend@far.example"), "smtp:far.example from -");
    assert_string_equal(route(f, "s@far.example", "x@near.example", "friend@far.example"), "smtp:far.example from -");
    assert_string_equal(route(f, "s@far.example", "fwd@box.example", "u@box.example"), "virtual:box.example from -");
    assert_string_equal(route(f, "", "fwd@box.example", "friend@far.example"), "smtp:far.example from -");
    assert_string_equal(route(f, NULL, "fwd@box.example", "friend@far.example"), "smtp:far.example from -");
    /* the way back */
    assert_string_equal(check(f, made), "OK");
    assert_string_equal(check(f, "SRS0=aaaaaa=aa=far.example=s@srs.example.org"),
                        "550 5.1.1 SRS: this address was not made here");
    assert_string_equal(check(f, "someone@srs.example.org"), "550 5.1.1 User unknown in virtual alias table");
    assert_string_equal(expanded(f, made), "s@far.example");
}

static void srs_needs_a_secret(void **state)
{
    struct rules_fixture *f = *state;
    struct buf err = {0};

    f->conf.srs_forwarding = true;
    assert_null(rules_new(f->look.loop, f->look.tables, &f->conf, &err));
    assert_non_null(strstr(buf_cstr(&err), "srs_secret: srs_forwarding needs a secret"));
    buf_clear(&err);
    f->conf.srs_secret = "/does/not/exist";
    assert_null(rules_new(f->look.loop, f->look.tables, &f->conf, &err));
    assert_string_equal(buf_cstr(&err), "srs_secret: /does/not/exist: No such file or directory\n");
    buf_clear(&err);
    f->conf.srs_forwarding = false;
    f->conf.canonical_classes = "envelope_sendr";
    assert_null(rules_new(f->look.loop, f->look.tables, &f->conf, &err));
    assert_non_null(strstr(buf_cstr(&err), "canonical_classes: \"envelope_sendr\" is none of "));
    buf_release(&err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RULES_TEST(canonical_maps), RULES_TEST(generic_maps),          RULES_TEST(by_classes),
        RULES_TEST(masquerading),   RULES_TEST(a_table_that_fails),    RULES_TEST(the_envelope),
        RULES_TEST(who_has_moved),  RULES_TEST(srs_of_forwarded_mail), RULES_TEST(srs_needs_a_secret),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
