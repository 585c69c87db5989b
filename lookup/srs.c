/*
 * See srs.h. Called by the rules (the way back) and when mail is queued that an alias sends on. The signature is of the
 * time, domain and local part in lower case, since some hosts on the way change the case; a comparison takes the same
 * time whatever differs.
 */
#include "lookup/srs.h"

#include "core/base/addr.h"
#include "core/base/buf.h"
#include "tls/tls_hmac.h"

#define HASH_LENGTH 6    /* of base 32: 30 bits, and who guesses wrong hears "user unknown" each time */
#define DAYS        1024 /* two digits of base 32 */
#define DAY_S       86400

static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";

static void add_hash(struct buf *out, struct slice secret, struct slice text)
{
    uint8_t mac[TLS_HMAC_SIZE];
    struct buf lower = {0};
    uint64_t bits = 0;

    for (size_t i = 0; i < text.n; i++)
        buf_add_char(&lower, ascii_lower(text.p[i]));
    tls_hmac(secret, buf_slice(&lower), mac);
    buf_release(&lower);
    for (size_t i = 0; i < 5; i++)
        bits = bits << 8 | mac[i];
    for (size_t i = 0; i < HASH_LENGTH; i++)
        buf_add_char(out, digits[bits >> (5 * i) & 31]);
}

static bool same(struct slice a, struct slice b)
{
    unsigned differ = a.n != b.n;

    for (size_t i = 0; i < a.n && i < b.n; i++)
        differ |= (unsigned char)ascii_lower(a.p[i]) ^ (unsigned char)ascii_lower(b.p[i]);
    return differ == 0;
}

struct slice srs_first_secret(struct slice secrets)
{
    return slice_token(&secrets, " \t\r\n,");
}

static bool signed_by_us(struct slice secrets, struct slice hash, struct slice text)
{
    struct slice secret;
    bool found = false;

    while ((secret = slice_token(&secrets, " \t\r\n,")).n > 0) {
        struct buf want = {0};

        add_hash(&want, secret, text);
        found = same(hash, buf_slice(&want)) || found;
        buf_release(&want);
    }
    return found;
}

/* Does the local part begin with "SRS0" and a separator? */
static bool has_tag(struct slice local, char digit)
{
    return local.n > 5 && slice_ieq(slice_head(local, 3), SLICE_LIT("SRS")) && local.p[3] == digit &&
           (local.p[4] == '=' || local.p[4] == '+' || local.p[4] == '-');
}

/* ---- forth ---- */

/* "=TT=example.org=alice" */
static void add_first(struct buf *out, struct slice domain, struct slice local, uint64_t now_s)
{
    unsigned day = (unsigned)(now_s / DAY_S % DAYS);

    buf_printf(out, "=%c%c=%.*s=%.*s", digits[day >> 5], digits[day & 31], (int)domain.n, domain.p, (int)local.n,
               local.p);
}

/* Of "SRS1=HHHHHH=first.example=REST" what follows the hash; of SRS0, with its forwarder's domain, the same. */
static void add_again(struct buf *out, struct slice domain, struct slice local)
{
    size_t equals;

    if (has_tag(local, '1') && (equals = slice_find(slice_from(local, 5), '=')) != SLICE_NOT_FOUND) {
        struct slice rest = slice_from(local, 5 + equals);

        buf_add_slice(out, rest);
        return;
    }
    buf_printf(out, "=%.*s=%.*s", (int)domain.n, domain.p, (int)(local.n - 4), local.p + 4);
}

const char *srs_forward(struct arena *a, struct slice secret, const char *domain, const char *sender, uint64_t now_s)
{
    struct addr_parts parts = addr_split(slice_str(sender));
    bool again = has_tag(parts.local, '0') || has_tag(parts.local, '1');
    struct buf rest = {0}, hash = {0};
    const char *made;

    if (parts.domain.n == 0 || parts.local.n == 0)
        return NULL;
    if (again)
        add_again(&rest, parts.domain, parts.local);
    else
        add_first(&rest, parts.domain, parts.local, now_s);
    add_hash(&hash, secret, buf_slice(&rest));
    made = arena_printf(a, "SRS%d=%s%s@%s", again, buf_cstr(&hash), buf_cstr(&rest), domain);
    buf_release(&rest);
    buf_release(&hash);
    return made;
}

/* ---- back ---- */

static int digit_value(char c)
{
    for (int i = 0; i < 32; i++)
        if (digits[i] == ascii_lower(c))
            return i;
    return -1;
}

static bool is_recent(struct slice day, uint64_t now_s)
{
    int high = digit_value(day.p[0]), low = digit_value(day.p[1]);
    unsigned today = (unsigned)(now_s / DAY_S % DAYS);

    return high >= 0 && low >= 0 && (today + DAYS - (unsigned)(high * 32 + low)) % DAYS <= SRS_DAYS_GOOD;
}

/* "=TT=example.org=alice" */
static enum srs_way first_back(struct arena *a, struct slice rest, uint64_t now_s, const char **address)
{
    struct slice domain, local;
    size_t equals;

    if (rest.n < 5 || rest.p[3] != '=')
        return SRS_FORGED;
    domain = slice_from(rest, 4);
    equals = slice_find(domain, '=');
    if (equals == SLICE_NOT_FOUND || equals == 0 || equals + 1 == domain.n)
        return SRS_FORGED;
    local = slice_from(domain, equals + 1);
    domain = slice_head(domain, equals);
    if (!is_recent(slice_from(rest, 1), now_s))
        return SRS_EXPIRED;
    *address = arena_printf(a, "%.*s@%.*s", (int)local.n, local.p, (int)domain.n, domain.p);
    return SRS_BACK;
}

/* "=first.example=REST": REST is what followed SRS0 there; how old it is they judge. */
static enum srs_way again_back(struct arena *a, struct slice rest, const char **address)
{
    struct slice domain = slice_from(rest, 1), tail;
    size_t equals = slice_find(domain, '=');

    if (equals == SLICE_NOT_FOUND || equals == 0 || equals + 1 == domain.n)
        return SRS_FORGED;
    tail = slice_from(domain, equals + 1);
    domain = slice_head(domain, equals);
    *address = arena_printf(a, "SRS0%.*s@%.*s", (int)tail.n, tail.p, (int)domain.n, domain.p);
    return SRS_BACK;
}

enum srs_way srs_back(struct arena *a, struct slice secrets, const char *recipient, uint64_t now_s,
                      const char **address)
{
    struct slice local = addr_split(slice_str(recipient)).local, rest;
    bool again = has_tag(local, '1');

    if (!again && !has_tag(local, '0'))
        return SRS_NONE;
    rest = slice_from(local, 5);
    if (rest.n < HASH_LENGTH + 1 || rest.p[HASH_LENGTH] != '=' ||
        !signed_by_us(secrets, slice_head(rest, HASH_LENGTH), slice_from(rest, HASH_LENGTH)))
        return SRS_FORGED;
    rest = slice_from(rest, HASH_LENGTH);
    return again ? again_back(a, rest, address) : first_back(a, rest, now_s, address);
}
