/*
 * Stored passwords: see auth_hash.h. Called by the table back end on a worker thread, and by `mta passwd`. A scheme is
 * a row of a table; hashes are libcrypt's affair, so that what this host's libcrypt can is what there is;
 * digests, which are no good any more but are found in old tables, are Mbed TLS's.
 */
#include "proto/auth/auth_hash.h"

#include "core/base/alloc.h"
#include "core/base/assert.h"
#include "core/base/codec.h"
#include "tls/tls_hash.h"

#include <crypt.h>
#include <errno.h>

/* A stored value without its "{SCHEME}", the password, the digest's name; `hex`: it is not base64. */
struct check {
    const char *stored, *password, *digest;
    bool hex;
};

/* All of both is looked at, whatever is found: how long it takes says no more than how long they are. */
static bool same(struct slice a, struct slice b)
{
    volatile unsigned char differ = a.n != b.n;

    for (size_t i = 0; i < b.n; i++)
        differ = (unsigned char)(differ | (unsigned char)(i < a.n ? a.p[i] ^ b.p[i] : 1));
    return differ == 0;
}

static enum auth_hash_verdict check_plain(const struct check *c)
{
    return same(slice_str(c->stored), slice_str(c->password)) ? AUTH_HASH_RIGHT : AUTH_HASH_WRONG;
}

static enum auth_hash_verdict check_crypt(const struct check *c)
{
    struct crypt_data *data;
    enum auth_hash_verdict verdict;
    const char *hash;

    if (c->stored[0] == '*' || c->stored[0] == '!' || c->stored[0] == '\0')
        return AUTH_HASH_WRONG; /* how a password file locks an account */
    switch (crypt_checksalt(c->stored)) {
    case CRYPT_SALT_INVALID:
    case CRYPT_SALT_METHOD_DISABLED: return AUTH_HASH_UNSUPPORTED;
    default: break;
    }
    data = NEW(struct crypt_data);
    hash = crypt_r(c->password, c->stored, data);
    if (hash == NULL || hash[0] == '*') /* no memory, a damaged value; or the password is too long */
        verdict = errno == ERANGE ? AUTH_HASH_WRONG : AUTH_HASH_UNSUPPORTED;
    else
        verdict = same(slice_str(c->stored), slice_str(hash)) ? AUTH_HASH_RIGHT : AUTH_HASH_WRONG;
    explicit_bzero(data, sizeof *data);
    mem_free(data);
    return verdict;
}

static int hex_value(char c)
{
    c = ascii_lower(c);
    return ascii_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool decode(const struct check *c, struct buf *out)
{
    size_t n = strlen(c->stored);

    if (!c->hex)
        return codec_base64_decode(out, slice_make(c->stored, n));
    for (size_t i = 0; i + 1 < n; i += 2) {
        int high = hex_value(c->stored[i]), low = hex_value(c->stored[i + 1]);

        if (high < 0 || low < 0)
            return false;
        buf_add_char(out, (char)(high * 16 + low));
    }
    return n % 2 == 0;
}

/* The digest of the password and of a salt, if any, which stands behind the digest. */
static enum auth_hash_verdict check_digest(const struct check *c)
{
    unsigned char digest[TLS_HASH_MOST];
    size_t n = tls_hash(c->digest, SLICE_EMPTY, SLICE_EMPTY, digest);
    enum auth_hash_verdict verdict = AUTH_HASH_UNSUPPORTED;
    struct buf stored = {0};

    if (decode(c, &stored) && n > 0 && buf_len(&stored) >= n) {
        tls_hash(c->digest, slice_str(c->password), slice_from(buf_slice(&stored), n), digest);
        verdict = same(slice_head(buf_slice(&stored), n), slice_make(digest, n)) ? AUTH_HASH_RIGHT : AUTH_HASH_WRONG;
    }
    buf_release(&stored);
    return verdict;
}

static const struct {
    const char *name;
    enum auth_hash_verdict (*check)(const struct check *);
    const char *digest;
} schemes[] = {
    {"PLAIN", check_plain, NULL},        {"CLEAR", check_plain, NULL},        {"CLEARTEXT", check_plain, NULL},
    {"CRYPT", check_crypt, NULL},        {"BLF-CRYPT", check_crypt, NULL},    {"DES-CRYPT", check_crypt, NULL},
    {"MD5-CRYPT", check_crypt, NULL},    {"SHA256-CRYPT", check_crypt, NULL}, {"SHA512-CRYPT", check_crypt, NULL},
    {"ARGON2I", check_crypt, NULL},      {"ARGON2ID", check_crypt, NULL},     {"SHA", check_digest, "SHA1"},
    {"SHA1", check_digest, "SHA1"},      {"SSHA", check_digest, "SHA1"},      {"SHA256", check_digest, "SHA256"},
    {"SSHA256", check_digest, "SHA256"}, {"SHA512", check_digest, "SHA512"},  {"SSHA512", check_digest, "SHA512"},
};

/* "SCHEME" of "{SCHEME}value", and the value; empty when there is none. */
static struct slice scheme_of(const char *stored, const char **value)
{
    const char *end = stored[0] == '{' ? strchr(stored, '}') : NULL;

    *value = end != NULL ? end + 1 : stored;
    return end != NULL ? slice_make(stored + 1, (size_t)(end - stored - 1)) : SLICE_EMPTY;
}

enum auth_hash_verdict auth_hash_check(const char *stored, const char *password)
{
    struct check c = {.password = password};
    struct slice scheme = scheme_of(stored, &c.stored), encoding = slice_from(scheme, slice_find(scheme, '.'));

    if (c.stored == stored)
        return check_crypt(&c);
    c.hex = slice_ieq(encoding, SLICE_LIT(".HEX"));
    if (c.hex || slice_ieq(encoding, SLICE_LIT(".B64")) || slice_ieq(encoding, SLICE_LIT(".BASE64")))
        scheme.n -= encoding.n;
    for (size_t i = 0; i < ARRAY_LEN(schemes); i++)
        if (slice_ieq(scheme, slice_str(schemes[i].name))) {
            c.digest = schemes[i].digest;
            return schemes[i].check(&c);
        }
    return AUTH_HASH_UNSUPPORTED;
}

void auth_hash_scheme(const char *stored, struct buf *out)
{
    const char *value, *end;
    struct slice scheme = slice_head(scheme_of(stored, &value), 32);

    if (value == stored && stored[0] == '$' && (end = strchr(stored + 1, '$')) != NULL)
        scheme = slice_head(slice_make(stored, (size_t)(end - stored) + 1), 32);
    buf_printf(out, "%.*s", scheme.n > 0 ? (int)scheme.n : 7, scheme.n > 0 ? scheme.p : "unknown");
}

bool auth_hash_make(const char *password, struct buf *out)
{
    char setting[CRYPT_GENSALT_OUTPUT_SIZE];
    struct crypt_data *data = NEW(struct crypt_data);
    const char *hash = NULL;

    if (crypt_gensalt_rn("$6$", 0, NULL, 0, setting, (int)sizeof setting) != NULL)
        hash = crypt_r(password, setting, data);
    if (hash != NULL && hash[0] == '*')
        hash = NULL;
    if (hash != NULL)
        buf_printf(out, "{SHA512-CRYPT}%s", hash);
    explicit_bzero(data, sizeof *data);
    mem_free(data);
    return hash != NULL;
}
