/* The Sender Rewriting Scheme: lookup/srs. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "lookup/srs.h"

#define SECRET SLICE_LIT("a secret")
#define NOW    1795000000ull
#define DAY    86400ull

static const char *back(struct arena *a, const char *recipient, uint64_t now_s)
{
    const char *address = "";

    switch (srs_back(a, SLICE_LIT("newer a_secret"), recipient, now_s, &address)) {
    case SRS_NONE: return "none";
    case SRS_FORGED: return "forged";
    case SRS_EXPIRED: return "expired";
    case SRS_BACK: break;
    }
    return address;
}

static const char *forth(struct arena *a, const char *sender)
{
    return srs_forward(a, SLICE_LIT("a_secret"), "us.example", sender, NOW);
}

static void there_and_back(void **state)
{
    static const char *const senders[] = {"alice@example.org",     "a=b=c@x.example",     "A.Lice+tag@Example.ORG",
                                          "\"odd one\"@x.example", "a@b@c.example",       "SRS@x.example",
                                          "srs0@x.example",        "a@[IPv6:2001:db8::1]"};
    struct arena a = {0};

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(senders); i++) {
        const char *made = forth(&a, senders[i]);

        assert_memory_equal(made, "SRS0=", 5);
        assert_string_equal(strrchr(made, '@'), "@us.example");
        assert_string_equal(back(&a, made, NOW), senders[i]);
    }
    assert_null(forth(&a, "nobody"));
    assert_null(forth(&a, ""));
    arena_clear(&a);
}

/* What others have rewritten keeps their part as it is, however many forwarders there are. */
static void a_chain_of_forwarders(void **state)
{
    struct arena a = {0};
    const char *first = "SRS0=xyz9=AB=example.org=alice@one.example", *second, *third;

    (void)state;
    second = srs_forward(&a, SECRET, "two.example", first, NOW);
    assert_memory_equal(second, "SRS1=", 5);
    assert_non_null(strstr(second, "=one.example==xyz9=AB=example.org=alice@two.example"));
    third = forth(&a, second);
    assert_non_null(strstr(third, "=one.example==xyz9=AB=example.org=alice@us.example"));
    assert_string_equal(back(&a, third, NOW), first);
    assert_string_equal(back(&a, forth(&a, "SRS0+xyz9=AB=example.org=alice@one.example"), NOW),
                        "SRS0+xyz9=AB=example.org=alice@one.example");
    arena_clear(&a);
}

static void what_we_did_not_make(void **state)
{
    struct arena a = {0};
    const char *made = forth(&a, "alice@example.org");
    size_t n = strlen(made);

    (void)state;
    for (size_t i = 5; i < (size_t)(strchr(made, '@') - made); i++) { /* each byte counts */
        char *other = arena_strdup(&a, made);

        other[i] = other[i] == 'q' ? 'r' : 'q';
        assert_string_equal(back(&a, other, NOW), "forged");
    }
    for (size_t i = 6; i < n - 11; i++) { /* cut off anywhere */
        const char *cut = arena_printf(&a, "%.*s@us.example", (int)i, made);

        assert_string_equal(back(&a, cut, NOW), "forged");
    }
    assert_string_equal(back(&a, "SRS0=aaaaaa=aa=x.example=root@us.example", NOW), "forged");
    assert_string_equal(back(&a, "SRS1=aaaaaa=x.example==a=aa=y.example=b@us.example", NOW), "forged");
    assert_string_equal(back(&a, "SRS0=@us.example", NOW), "none");
    assert_string_equal(back(&a, "alice@us.example", NOW), "none");
    arena_clear(&a);
}

static void case_does_not_matter(void **state)
{
    struct arena a = {0};
    char *made = arena_strdup(&a, forth(&a, "alice@example.org"));

    (void)state;
    for (char *c = made; *c != '\0'; c++)
        *c = *c >= 'a' && *c <= 'z' ? (char)(*c - 32) : *c;
    assert_string_equal(back(&a, made, NOW), "ALICE@EXAMPLE.ORG");
    arena_clear(&a);
}

static void it_expires(void **state)
{
    struct arena a = {0};
    const char *made = forth(&a, "alice@example.org");

    (void)state;
    assert_string_equal(back(&a, made, NOW + SRS_DAYS_GOOD * DAY), "alice@example.org");
    assert_string_equal(back(&a, made, NOW + (SRS_DAYS_GOOD + 1) * DAY), "expired");
    assert_string_equal(back(&a, made, NOW - 2 * DAY), "expired"); /* from the future */
    arena_clear(&a);
}

static void secrets_change(void **state)
{
    struct arena a = {0};
    const char *address;

    (void)state;
    assert_true(slice_eq(srs_first_secret(SLICE_LIT(" newer a_secret")), SLICE_LIT("newer")));
    assert_int_equal(srs_back(&a, SLICE_LIT("newer"), forth(&a, "alice@example.org"), NOW, &address), SRS_FORGED);
    assert_string_equal(back(&a, srs_forward(&a, SLICE_LIT("newer"), "us.example", "bob@example.org", NOW), NOW),
                        "bob@example.org");
    arena_clear(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back),       cmocka_unit_test(a_chain_of_forwarders),
        cmocka_unit_test(what_we_did_not_make), cmocka_unit_test(case_does_not_matter),
        cmocka_unit_test(it_expires),           cmocka_unit_test(secrets_change),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
