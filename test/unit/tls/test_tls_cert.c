/* Certificates of each kind, made by openssl in a folder of the test's own, and what is reported of them. */
#include "unit/cmocka_all.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "tls/tls_cert.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/mta-test-cert-XXXXXX";

/* `issue NAME CA FROM TO SAN` makes NAME.key and NAME.pem; CA "self" signs itself. */
static const char script[] =
    "set -eu; cd \"$1\"; exec 2>openssl.log; : >index\n"
    "printf '[ca]\\ndefault_ca=x\\n[x]\\ndatabase=index\\nnew_certs_dir=.\\nrand_serial=yes\\ndefault_md=sha256\\n"
    "policy=p\\ncopy_extensions=copy\\nunique_subject=no\\n[p]\\ncommonName=supplied\\n' >ca.cnf\n"
    "issue() {\n"
    "  openssl ecparam -name prime256v1 -genkey -noout -out $1.key\n"
    "  openssl req -new -key $1.key -subj /CN=$1 ${5:+-addext subjectAltName=$5} -out $1.csr\n"
    "  if [ $2 = self ]; then by='-selfsign -keyfile '$1.key; else by=\"-cert $2.pem -keyfile $2.key\"; fi\n"
    "  openssl ca -batch -notext -config ca.cnf $by -startdate $3 -enddate $4 -in $1.csr -out $1.pem\n"
    "}\n"
    "issue root self 20200101000000Z 20400101000000Z ''\n"
    "issue inter root 20210101000000Z 20350101000000Z ''\n"
    "issue leaf inter 20220101000000Z 20300101000000Z DNS:mail.example.com,DNS:*.b.example\n"
    "issue other inter 20220101000000Z 20300101000000Z ''\n"
    "issue many self 20220101000000Z 20300101000000Z $(seq -s, -f DNS:a-rather-long-name-%g.example 1 40)\n"
    "openssl genrsa -out rsa.key 2048\n"
    "openssl req -x509 -new -key rsa.key -subj /CN=rsa.example -days 30 -out rsa.pem\n"
    "openssl ec -in leaf.key -aes256 -passout pass:x -out locked.key\n"
    "cat leaf.pem inter.pem >chain.pem; cat inter.pem leaf.pem >wrong-order.pem; cat leaf.pem root.pem >gap.pem\n"
    "cat leaf.key chain.pem >all.pem; cat leaf.key chain.pem rsa.key rsa.pem >both.pem\n"
    "echo nothing >text; { echo -----BEGIN CERTIFICATE-----; echo aGVsbG8=; echo -----END CERTIFICATE-----; } "
    ">bad.pem\n"
    "chmod 600 *.key all.pem both.pem; cp leaf.key exposed.key; chmod 644 exposed.key; mkdir directory; mkfifo fifo\n";

static int make_files(void **state)
{
    char command[sizeof script + sizeof folder + 100];
    char *path;

    (void)state;
    assert_non_null(mkdtemp(folder));
    path = mem_printf("%s/make", folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(script, f);
    fclose(f);
    snprintf(command, sizeof command, "sh %s %s", path, folder);
    mem_free(path);
    return system(command);
}

static int remove_files(void **state)
{
    char command[sizeof folder + 10];

    (void)state;
    snprintf(command, sizeof command, "rm -rf %s", folder);
    return system(command);
}

static const char *in_folder(const char *name)
{
    static char paths[8][100];
    static size_t next;
    char *path = paths[next++ % ARRAY_LEN(paths)];

    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void inspect(const char *cert, const char *key, const char *host, struct tls_cert_report *r)
{
    tls_cert_inspect(in_folder(cert), in_folder(key), host, r);
}

static void test_a_good_one(void **state)
{
    struct tls_cert_report r;

    (void)state;
    inspect("chain.pem", "leaf.key", "mail.example.com", &r);
    assert_string_equal(r.error, "");
    assert_int_equal(r.count, 2);
    assert_int_equal(r.not_before_s, 1640995200); /* the leaf's, the later one */
    assert_int_equal(r.not_after_s, 1893456000);  /* the leaf's, the earlier one */
    assert_int_equal(r.stray, 0);
    assert_true(r.for_host);
    assert_false(r.key_exposed);
    assert_string_equal(r.names, "mail.example.com, *.b.example");
}

static void test_key_and_certificate_in_one_file(void **state)
{
    struct tls_cert_report r;

    (void)state;
    inspect("all.pem", "all.pem", "x.b.example", &r);
    assert_string_equal(r.error, "");
    assert_true(r.for_host);
}

static void test_findings_that_are_no_errors(void **state)
{
    struct tls_cert_report r;

    (void)state;
    inspect("gap.pem", "leaf.key", "b.example", &r);
    assert_string_equal(r.error, "");
    assert_int_equal(r.stray, 2);
    assert_false(r.for_host);
    inspect("leaf.pem", "exposed.key", "mail.example.com", &r);
    assert_string_equal(r.error, "");
    assert_true(r.key_exposed);
    /* no alternative name: the common name counts */
    inspect("rsa.pem", "rsa.key", "RSA.example", &r);
    assert_string_equal(r.error, "");
    assert_true(r.for_host);
    assert_string_equal(r.names, "rsa.example");
}

static void test_more_names_than_are_shown(void **state)
{
    struct tls_cert_report r;

    (void)state;
    inspect("many.pem", "many.key", "a-rather-long-name-40.example", &r);
    assert_true(r.for_host);
    assert_true(strlen(r.names) < sizeof r.names);
    assert_string_equal(r.names + strlen(r.names) - 5, ", ...");
}

static void test_errors(void **state)
{
    static const struct {
        const char *cert, *key, *error; /* F/ is the folder */
    } cases[] = {
        {"missing.pem", "leaf.key", "F/missing.pem cannot be read: No such file or directory"},
        {"leaf.pem", "missing.key", "F/missing.key cannot be read: No such file or directory"},
        {"directory", "leaf.key", "F/directory cannot be read: it is no file"},
        {"fifo", "leaf.key", "F/fifo cannot be read: it is no file"},
        {"text", "leaf.key", "there is no certificate in F/text"},
        {"leaf.key", "leaf.key", "there is no certificate in F/leaf.key"},
        {"leaf.pem", "text", "the key in F/text: there is no private key in it"},
        {"leaf.pem", "leaf.pem", "the key in F/leaf.pem: there is no private key in it"},
        {"leaf.pem", "locked.key",
         "the key in F/locked.key: it is encrypted, and a server has nobody to ask for the password"},
        {"leaf.pem", "other.key", "the key in F/other.key is not that of the certificate"},
        {"leaf.pem", "rsa.key", "the key in F/rsa.key is not that of the certificate"},
        {"wrong-order.pem", "leaf.key",
         "the key in F/leaf.key belongs to certificate 2: the server's own is to come first"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct tls_cert_report r;
        char wanted[300];
        const char *at = strstr(cases[i].error, "F/");

        snprintf(wanted, sizeof wanted, "%.*s%s%s", (int)(at - cases[i].error), cases[i].error, folder, at + 1);
        inspect(cases[i].cert, cases[i].key, "mail.example.com", &r);
        assert_string_equal(r.error, wanted);
    }
}

static void test_what_cannot_be_understood(void **state)
{
    struct tls_cert_report r;

    (void)state;
    inspect("bad.pem", "leaf.key", "mail.example.com", &r);
    assert_non_null(strstr(r.error, "bad.pem cannot be understood: "));
}

static void test_chains(void **state)
{
    const char *both[] = {in_folder("both.pem")};
    const char *apart[] = {in_folder("leaf.key"), in_folder("chain.pem")};
    const char *missing[] = {in_folder("leaf.key"), in_folder("missing.pem")};
    const char *no_key[] = {in_folder("chain.pem")};
    struct tls_cert_report r[4];

    (void)state;
    assert_int_equal(tls_cert_inspect_chains(both, 1, "mail.example.com", r, 4), 2);
    assert_string_equal(r[0].error, "");
    assert_int_equal(r[0].count, 2);
    assert_true(r[0].for_host);
    assert_string_equal(r[1].error, "");
    assert_int_equal(r[1].count, 1);
    assert_false(r[1].for_host);
    assert_int_equal(tls_cert_inspect_chains(both, 1, "mail.example.com", r, 1), 1);
    assert_int_equal(tls_cert_inspect_chains(apart, 2, "mail.example.com", r, 4), 1);
    assert_string_equal(r[0].error, "");
    assert_int_equal(r[0].count, 2);
    assert_int_equal(tls_cert_inspect_chains(missing, 2, "mail.example.com", r, 4), 1);
    assert_non_null(strstr(r[0].error, "missing.pem cannot be read: "));
    assert_int_equal(tls_cert_inspect_chains(no_key, 1, "mail.example.com", r, 4), 1);
    assert_non_null(strstr(r[0].error, "there is no private key in "));
}

static void test_authorities(void **state)
{
    struct tls_cert_report r;

    (void)state;
    tls_cert_inspect_authorities(in_folder("chain.pem"), &r);
    assert_string_equal(r.error, "");
    assert_int_equal(r.count, 2);
    tls_cert_inspect_authorities(in_folder("text"), &r);
    assert_non_null(strstr(r.error, "there is no certificate in "));
    tls_cert_inspect_authorities(in_folder("missing"), &r);
    assert_non_null(strstr(r.error, "missing cannot be read: "));
}

static void test_names(void **state)
{
    static const struct {
        const char *name, *host;
        bool matches;
    } cases[] = {
        {"mail.example.com", "mail.example.com", true},
        {"MAIL.example.com", "mail.EXAMPLE.com", true},
        {"mail.example.com", "example.com", false},
        {"example.com", "mail.example.com", false},
        {"*.example.com", "mail.example.com", true},
        {"*.example.com", "example.com", false},
        {"*.example.com", "a.mail.example.com", false},
        {"*.example.com", ".example.com", false},
        {"*.example.com", "mail.example.org", false},
        {"m*.example.com", "mail.example.com", false},
        {"*", "mail", false},
        {"*.", "mail.", false},
        {"", "", false},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(tls_cert_name_matches(slice_str(cases[i].name), slice_str(cases[i].host)), cases[i].matches);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_good_one),
        cmocka_unit_test(test_key_and_certificate_in_one_file),
        cmocka_unit_test(test_findings_that_are_no_errors),
        cmocka_unit_test(test_more_names_than_are_shown),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_what_cannot_be_understood),
        cmocka_unit_test(test_chains),
        cmocka_unit_test(test_authorities),
        cmocka_unit_test(test_names),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
