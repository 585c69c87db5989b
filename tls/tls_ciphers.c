/*
 * Versions, suites and groups by Postfix's (OpenSSL's) names, see tls_ciphers.h. Called when TLS is set up; the suites
 * are rows of tls_suites.def. Owns nothing.
 */
#include "tls/tls_ciphers.h"

#include <mbedtls/ssl.h>
#include <mbedtls/ssl_ciphersuites.h>

#define SEPARATORS " ,:\t\r\n"

static const struct tls_suite suites[] = {
#define TLS_SUITE(id, name, standard, grade, bits, words) {id, name, standard, TLS_SUITE_##grade, bits, words},
#include "tls/tls_suites.def"
#undef TLS_SUITE
};

#define NSUITES (sizeof suites / sizeof suites[0])

/* Words for what is not used anyway: to exclude them needs no complaint. */
static const char absent[] =
    "aNULL eNULL NULL aDSS DSS aDH aECDH ADH AECDH DH DHE EDH kDHE kEDH kDH kDHr kDHd kRSA RSA kECDH kECDHe kECDHr "
    "MD5 SHA SHA1 RC2 RC4 DES 3DES IDEA SEED CAMELLIA CAMELLIA128 CAMELLIA256 ARIA ARIA128 ARIA256 ARIAGCM AESCCM "
    "AESCCM8 CCM PSK kPSK aPSK kRSAPSK kDHEPSK kECDHEPSK SRP aSRP kSRP GOST kGOST aGOST GOST94 GOST89MAC EXP EXPORT "
    "EXPORT40 EXPORT56 LOW MEDIUM SSLv2 SSLv3 TLSv1 TLSv1.0 TLSv1.1";

static bool has_word(const char *words, struct slice word)
{
    struct slice rest = slice_str(words), one;

    while ((one = slice_token(&rest, " ")).n > 0)
        if (slice_ieq(one, word))
            return true;
    return false;
}

/* ---- versions ---- */

static const char *const version_names[] = {"SSLv2", "SSLv3", "TLSv1", "TLSv1.1", "TLSv1.2", "TLSv1.3"};
#define NVERSIONS 6
#define TLS12     4
#define TLS13     5

static int version_find(struct slice name)
{
    if (slice_ieq(name, SLICE_LIT("TLSv1.0")))
        return 2;
    for (int i = 0; i < NVERSIONS; i++)
        if (slice_ieq(name, slice_str(version_names[i])))
            return i;
    return -1;
}

struct version_set {
    unsigned included, excluded;
    int floor, ceiling;
};

static bool take_version(struct version_set *set, struct slice word)
{
    bool floor = slice_starts(word, SLICE_LIT(">=")), ceiling = slice_starts(word, SLICE_LIT("<="));
    bool negated = slice_starts(word, SLICE_LIT("!"));
    int version = version_find(slice_from(word, floor || ceiling ? 2 : negated ? 1 : 0));

    if (version < 0)
        return false;
    if (floor)
        set->floor = version;
    else if (ceiling)
        set->ceiling = version;
    else if (negated)
        set->excluded |= 1u << version;
    else
        set->included |= 1u << version;
    return true;
}

static bool version_used(const struct version_set *set, int version)
{
    return version >= set->floor && version <= set->ceiling && (set->excluded & (1u << version)) == 0 &&
           (set->included == 0 || (set->included & (1u << version)) != 0);
}

bool tls_versions_parse(const char *what, const char *text, struct tls_versions *v, struct buf *err)
{
    struct version_set set = {.ceiling = NVERSIONS};
    struct slice rest = slice_str(text), word;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0)
        if (!take_version(&set, word)) {
            buf_printf(err, "%s: \"%.*s\" is not a TLS version\n", what, (int)word.n, word.p);
            return false;
        }
    v->v12 = version_used(&set, TLS12);
    v->v13 = version_used(&set, TLS13);
    if (!v->v12 && !v->v13)
        buf_printf(err, "%s: \"%s\" leaves neither TLS 1.2 nor 1.3, and there are no others\n", what, text);
    return v->v12 || v->v13;
}

/* ---- suites ---- */

bool tls_grade_parse(const char *what, const char *text, enum tls_suite_grade *grade, struct buf *err)
{
    static const char *const medium[] = {"medium", "low", "export"};
    struct slice word = slice_str(text);

    *grade = TLS_SUITE_HIGH;
    if (slice_ieq(word, SLICE_LIT("high")))
        return true;
    *grade = TLS_SUITE_MEDIUM;
    for (size_t i = 0; i < sizeof medium / sizeof medium[0]; i++)
        if (slice_ieq(word, slice_str(medium[i])))
            return true;
    buf_printf(err, "%s: \"%s\" is not a grade of ciphers: medium or high\n", what, text);
    return false;
}

static bool names_suite(const struct tls_suite *s, struct slice word)
{
    return slice_ieq(word, slice_str(s->name)) || slice_ieq(word, slice_str(s->standard_name)) ||
           has_word(s->words, word);
}

/* Does each part of "kECDHE+AES" hold for the suite? */
static bool excludes(struct slice word, const struct tls_suite *s)
{
    struct slice part;

    while ((part = slice_token(&word, "+")).n > 0)
        if (!names_suite(s, part))
            return false;
    return true;
}

static bool known_part(struct slice part)
{
    if (has_word(absent, part))
        return true;
    for (size_t i = 0; i < NSUITES; i++)
        if (names_suite(&suites[i], part))
            return true;
    return false;
}

/* Full names of suites that are not used are known by their form: "DHE-RSA-AES128-SHA", "TLS_RSA_WITH_...". */
static bool known(struct slice word)
{
    struct slice part;

    if (slice_find(word, '-') != SLICE_NOT_FOUND || slice_istarts(word, SLICE_LIT("TLS_")))
        return true;
    while ((part = slice_token(&word, "+")).n > 0)
        if (!known_part(part))
            return false;
    return true;
}

static void complain_of_unknown(const char *what, const char *exclude, struct buf *err)
{
    struct slice rest = slice_str(exclude), word;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0)
        if (!known(word))
            buf_printf(err, "warning: %s: \"%.*s\" has no counterpart\n", what, (int)word.n, word.p);
}

static bool excluded(const char *exclude, const struct tls_suite *s)
{
    struct slice rest = slice_str(exclude), word;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0)
        if (excludes(word, s))
            return true;
    return false;
}

bool tls_suites_select(const char *what, enum tls_suite_grade grade, const char *exclude, struct tls_versions v,
                       int ids[TLS_SUITES_MAX], struct buf *err)
{
    size_t n = 0;

    _Static_assert(NSUITES < TLS_SUITES_MAX, "room for the final 0");
    complain_of_unknown(what, exclude, err);
    for (size_t i = 0; i < NSUITES; i++) {
        const struct tls_suite *s = &suites[i];
        bool is13 = slice_starts(slice_str(s->name), SLICE_LIT("TLS_"));

        if (s->grade >= grade && (is13 ? v.v13 : v.v12) && !excluded(exclude, s))
            ids[n++] = s->id;
    }
    ids[n] = 0;
    if (n == 0)
        buf_printf(err, "%s: no cipher is left\n", what);
    return n > 0;
}

const struct tls_suite *tls_suite_find(int id)
{
    for (size_t i = 0; i < NSUITES; i++)
        if (suites[i].id == id)
            return &suites[i];
    return NULL;
}

/* ---- groups ---- */

/* secp256r1 before X25519: the two operations of a server cost 0.70 ms, not 0.84, with Mbed TLS 3.6. */
bool tls_groups_select(const char *what, const char *grade, uint16_t ids[TLS_GROUPS_MAX], struct buf *err)
{
    static const struct {
        const char *name;
        uint16_t ids[TLS_GROUPS_MAX];
    } grades[] = {
        {"auto",
         {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, MBEDTLS_SSL_IANA_TLS_GROUP_X25519, MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1,
          0}},
        {"strong", {MBEDTLS_SSL_IANA_TLS_GROUP_SECP256R1, 0}},
        {"ultra", {MBEDTLS_SSL_IANA_TLS_GROUP_SECP384R1, 0}},
    };
    struct slice word = slice_str(grade);

    if (slice_ieq(word, SLICE_LIT("none"))) {
        buf_printf(err, "warning: %s: \"none\" has no counterpart, \"auto\" is used\n", what);
        word = SLICE_LIT("auto");
    }
    for (size_t i = 0; i < sizeof grades / sizeof grades[0]; i++)
        if (slice_ieq(word, slice_str(grades[i].name))) {
            memcpy(ids, grades[i].ids, sizeof grades[i].ids);
            return true;
        }
    buf_printf(err, "%s: \"%s\" is not a grade: auto, strong, ultra or none\n", what, grade);
    return false;
}
