/* Versions, suites and groups by Postfix's names. */
#include "unit/cmocka_all.h"

#include "tls/tls_ciphers.h"

#include <mbedtls/ssl_ciphersuites.h>

static void versions_are_read_in_both_forms(void **unused)
{
    static const struct {
        const char *text;
        bool ok, v12, v13;
    } cases[] = {
        {"", true, true, true},
        {">=TLSv1", true, true, true},
        {">=TLSv1.2", true, true, true},
        {">=TLSv1.3", true, false, true},
        {">=TLSv1.2, <=TLSv1.2", true, true, false},
        {"<=TLSv1.2", true, true, false},
        {"!SSLv2, !SSLv3", true, true, true},
        {"!SSLv2:!TLSv1.3", true, true, false},
        {"!TLSv1.2", true, false, true},
        {"TLSv1.2", true, true, false},
        {"TLSv1.2 TLSv1.1 TLSv1.0", true, true, false},
        {"tlsv1.3", true, false, true},
        {"TLSv1, SSLv3", false, false, false},
        {"<=TLSv1.1", false, false, false},
        {"!TLSv1.2, !TLSv1.3", false, false, false},
        {"TLSv1.4", false, false, false},
        {">=", false, false, false},
        {">=TLSv1.9", false, false, false},
        {"none", false, false, false},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tls_versions v = {0};
        struct buf err = {0};

        assert_int_equal(tls_versions_parse("p", cases[i].text, &v, &err), cases[i].ok);
        assert_int_equal(buf_len(&err) == 0, cases[i].ok);
        if (cases[i].ok) {
            assert_int_equal(v.v12, cases[i].v12);
            assert_int_equal(v.v13, cases[i].v13);
        }
        buf_release(&err);
    }
}

static void suites_are_selected(void **unused)
{
    static const struct {
        enum tls_suite_grade grade;
        bool v12, v13;
        const char *exclude;
        size_t n; /* 0: an error */
        const char *first, *complaint;
    } cases[] = {
        {TLS_SUITE_MEDIUM, true, true, "", 13, "TLS_AES_256_GCM_SHA384", ""},
        {TLS_SUITE_HIGH, true, true, "", 9, "TLS_AES_256_GCM_SHA384", ""},
        {TLS_SUITE_MEDIUM, false, true, "", 3, "TLS_AES_256_GCM_SHA384", ""},
        {TLS_SUITE_MEDIUM, true, false, "", 10, "ECDHE-ECDSA-AES256-GCM-SHA384", ""},
        {TLS_SUITE_MEDIUM, true, true, "aNULL, eNULL, MD5, DES, 3DES, RC4, SHA1, kRSA DHE", 13, NULL, ""},
        {TLS_SUITE_MEDIUM, true, false, "aECDSA", 5, "ECDHE-RSA-AES256-GCM-SHA384", ""},
        {TLS_SUITE_MEDIUM, true, false, "CBC", 6, NULL, ""},
        {TLS_SUITE_MEDIUM, true, false, "ECDSA+AES256:CHACHA20", 6, "ECDHE-RSA-AES256-GCM-SHA384", ""},
        {TLS_SUITE_MEDIUM, true, false, "ECDHE-ECDSA-AES256-GCM-SHA384", 9, "ECDHE-RSA-AES256-GCM-SHA384", ""},
        {TLS_SUITE_MEDIUM, true, false, "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, AES256-SHA", 9, NULL, ""},
        {TLS_SUITE_MEDIUM, false, true, "TLS_AES_256_GCM_SHA384", 2, "TLS_CHACHA20_POLY1305_SHA256", ""},
        {TLS_SUITE_MEDIUM, true, true, "nonsense", 13, NULL, "warning: p: \"nonsense\" has no counterpart\n"},
        {TLS_SUITE_MEDIUM, true, false, "ECDHE", 0, NULL, "p: no cipher is left\n"},
        {TLS_SUITE_MEDIUM, true, true, "HIGH", 0, NULL, "p: no cipher is left\n"},
    };

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct tls_versions v = {cases[i].v12, cases[i].v13};
        struct buf err = {0};
        int ids[TLS_SUITES_MAX];
        size_t n = 0;

        assert_int_equal(tls_suites_select("p", cases[i].grade, cases[i].exclude, v, ids, &err), cases[i].n > 0);
        while (ids[n] != 0) {
            assert_non_null(tls_suite_find(ids[n]));
            assert_non_null(mbedtls_ssl_ciphersuite_from_id(ids[n])); /* Mbed TLS has it */
            n++;
        }
        assert_int_equal(n, cases[i].n);
        if (cases[i].first != NULL)
            assert_string_equal(tls_suite_find(ids[0])->name, cases[i].first);
        assert_string_equal(buf_cstr(&err), cases[i].complaint);
        buf_release(&err);
    }
    assert_null(tls_suite_find(1));
}

static void groups_have_grades(void **unused)
{
    static const struct {
        const char *grade;
        size_t n;
        bool complains;
    } cases[] = {{"auto", 3, false}, {"strong", 1, false}, {"ultra", 1, false}, {"none", 3, true}, {"x", 0, true}};

    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint16_t ids[TLS_GROUPS_MAX] = {0};
        struct buf err = {0};
        size_t n = 0;

        assert_int_equal(tls_groups_select("p", cases[i].grade, ids, &err), cases[i].n > 0);
        while (ids[n] != 0)
            n++;
        assert_int_equal(n, cases[i].n);
        assert_int_equal(buf_len(&err) > 0, cases[i].complains);
        buf_release(&err);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions_are_read_in_both_forms),
        cmocka_unit_test(suites_are_selected),
        cmocka_unit_test(groups_have_grades),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
