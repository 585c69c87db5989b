/* Stored passwords: each scheme as libcrypt and `doveadm pw` write it, what is wrong, what is not supported. */
#include "unit/cmocka_all.h"

#include "core/base/assert.h"
#include "proto/auth/auth_hash.h"

static const struct {
    const char *stored;
    enum auth_hash_verdict verdict; /* on the password "secret" */
    const char *scheme;
} rows[] = {
    {"{PLAIN}secret", AUTH_HASH_RIGHT, "PLAIN"},
    {"{plain}secret", AUTH_HASH_RIGHT, "plain"},
    {"{CLEARTEXT}secret", AUTH_HASH_RIGHT, "CLEARTEXT"},
    {"{PLAIN}Secret", AUTH_HASH_WRONG, "PLAIN"},
    {"{PLAIN}secre", AUTH_HASH_WRONG, "PLAIN"},
    {"{PLAIN}secrets", AUTH_HASH_WRONG, "PLAIN"},
    {"{PLAIN}", AUTH_HASH_WRONG, "PLAIN"},
    /* made by doveadm pw */
    {"{CRYPT}$2y$05$UXMbM2.X2Q7WQg7vK66yFeXlvqehTikyY9YDFqE1en72DIl6igx1y", AUTH_HASH_RIGHT, "CRYPT"},
    {"{BLF-CRYPT}$2y$05$j2.GZhbwK57x94zgVJiMW.Cujiho/pIw3KQouf9ezR0nhR6HxFc2K", AUTH_HASH_RIGHT, "BLF-CRYPT"},
    {"{SHA512-CRYPT}$6$vYgrbcAEdMNxoOVs$iW5LdcvnCi4T8cw357VFzw4GlIhGBr3LvZ5ORp5WLxKpKl3F2jRdUbzPkxkAKrxKYua7juLIPfMUgJ"
     "/jhhNa7/",
     AUTH_HASH_RIGHT, "SHA512-CRYPT"},
    {"{SHA256-CRYPT}$5$nsodcubqC12Znpx7$hYpy1CIWhhy6xJCWWNJ9cC.NC2oMCMow9EPCFaoxLI/", AUTH_HASH_RIGHT, "SHA256-CRYPT"},
    {"{MD5-CRYPT}$1$Ym3Vd6L2$8m8dkGSgWThMmA7bEGW9V.", AUTH_HASH_RIGHT, "MD5-CRYPT"},
    /* as in shadow(5), without a scheme */
    {"$6$1xmVrP7aabrUa1TJ$0SFtfwxC96lpWLo5hpMZW17MwqHK6PL7CCno7IZvImAncTYu.FxzRlaQzg3koyYchtPv7ZMi6o/.Sm2jSSkUa/",
     AUTH_HASH_RIGHT, "$6$"},
    {"$y$j9T$iY/N7UN8QxocQTG/BahpX1$QGho8vLm./GJZHXXyWYA7zUQpjndhHShHtJSXninUv1", AUTH_HASH_RIGHT, "$y$"},
    {"$6$1xmVrP7aabrUa1TJ$0SFtfwxC96lpWLo5hpMZW17MwqHK6PL7CCno7IZvImAncTYu.FxzRlaQzg3koyYchtPv7ZMi6o/.Sm2jSSkUaX",
     AUTH_HASH_WRONG, "$6$"},
    {"$6$1xmVrP7aabrUa1TJ", AUTH_HASH_WRONG, "$6$"}, /* a setting alone is no hash of anything */
    {"*", AUTH_HASH_WRONG, "unknown"},
    {"!", AUTH_HASH_WRONG, "unknown"},
    {"!!", AUTH_HASH_WRONG, "unknown"},
    {"{CRYPT}*0", AUTH_HASH_WRONG, "CRYPT"},
    {"", AUTH_HASH_WRONG, "unknown"},
    {"{SSHA512}RqgO4wanleq7TJy8mxUOIQputg0Mulw3Jfja6KU2/BGwpH8ep3nQwi6Ytik+EhmPYD4hWZEaslDG7qngwV7IFKo9EHY=",
     AUTH_HASH_RIGHT, "SSHA512"},
    {"{SSHA512}RqgO4wanleq7TJy8mxUOIQputg0Mulw3Jfja6KU2/BGwpH8ep3nQwi6Ytik+EhmPYD4hWZEaslDG7qngwV7IFKo9EHX=",
     AUTH_HASH_UNSUPPORTED, "SSHA512"}, /* bits where there are none */
    {"{SSHA512}RqgO4wanleq7TJy8mxUOIQputg0Mulw3Jfja6KU2/BGwpH8ep3nQwi6Ytik+EhmPYD4hWZEaslDG7qngwV7IFKo9EHA=",
     AUTH_HASH_WRONG, "SSHA512"},                        /* another salt */
    {"{SSHA512}AAAA", AUTH_HASH_UNSUPPORTED, "SSHA512"}, /* too short to be one */
    {"{SSHA256}v4VXlCcO3KP7MzbZ6zd6O5dvNSh95mNYSLGW0vOLe7n3J25m", AUTH_HASH_RIGHT, "SSHA256"},
    {"{SSHA}aE/2TnFt23UeyUIvVYcioTe3iXkStbp/", AUTH_HASH_RIGHT, "SSHA"},
    {"{SHA512}vSsar3708Jvp9Szi2NWZZ02Bqp1qRCFpbcTZPdBhnWgs5WtNZKnvCXdhztmeD2cmW192CF5bDufKRpayrW/isg==",
     AUTH_HASH_RIGHT, "SHA512"},
    {"{SHA.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f4", AUTH_HASH_RIGHT, "SHA.HEX"},
    {"{sha1.hex}E5E9FA1BA31ECD1AE84F75CAAA474F3A663F05F4", AUTH_HASH_RIGHT, "sha1.hex"},
    {"{SHA.B64}5en6G6MezRroT3XKqkdPOmY/BfQ=", AUTH_HASH_RIGHT, "SHA.B64"},
    {"{SHA.HEX}e5e9fa1ba31ecd1ae84f75caaa474f3a663f05f", AUTH_HASH_UNSUPPORTED, "SHA.HEX"},
    {"{SHA.ROT13}x", AUTH_HASH_UNSUPPORTED, "SHA.ROT13"},
    {"{CRAM-MD5}cd3ba7deaad6e5ca23448ba42e379747a9e0f7f1fbc00c8a81bbaac395731b56", AUTH_HASH_UNSUPPORTED, "CRAM-MD5"},
    {"{}secret", AUTH_HASH_UNSUPPORTED, "unknown"},
    {"$nonsense$secret", AUTH_HASH_UNSUPPORTED, "$nonsense$"},
    {"secret in clear", AUTH_HASH_UNSUPPORTED, "unknown"},
    /* damaged, or too dear: nobody's password is wrong for that */
    {"$6$rounds=1$abc", AUTH_HASH_UNSUPPORTED, "$6$"},
    {"{BLF-CRYPT}$2y$99$abcdefghijklmnopqrstuu", AUTH_HASH_UNSUPPORTED, "BLF-CRYPT"},
    {"$7$t6..../....salt", AUTH_HASH_UNSUPPORTED, "$7$"},
};

static void stored_passwords(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct buf scheme = {0};
        enum auth_hash_verdict verdict = auth_hash_check(rows[i].stored, "secret");

        if (verdict != rows[i].verdict)
            fail_msg("%s: %d", rows[i].stored, (int)verdict);
        auth_hash_scheme(rows[i].stored, &scheme);
        assert_string_equal(buf_cstr(&scheme), rows[i].scheme);
        buf_release(&scheme);
    }
}

/* argon2 is in some hosts' libcrypt: either it is right, or it is said that it cannot be checked; never "wrong". */
static void argon2_is_right_or_unsupported(void **state)
{
    static const char stored[] =
        "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$wIywENNzeO8Z7aod+YftAQ$z8186haakgnKGaFhWnxj6foBgs3YolihPeEeHOhKgtQ";

    (void)state;
    assert_int_not_equal(auth_hash_check(stored, "secret"), AUTH_HASH_WRONG);
}

static void a_password_that_is_too_long_is_wrong(void **state)
{
    char password[2000] = "";

    (void)state;
    memset(password, 'a', sizeof password - 1);
    assert_int_equal(auth_hash_check("$6$1xmVrP7aabrUa1TJ", password), AUTH_HASH_WRONG);
}

static void a_hash_that_was_made_fits(void **state)
{
    struct buf one = {0}, two = {0};

    (void)state;
    assert_true(auth_hash_make("s3cr3t \xC3\xA4", &one));
    assert_true(auth_hash_make("s3cr3t \xC3\xA4", &two));
    assert_int_equal(strncmp(buf_cstr(&one), "{SHA512-CRYPT}$6$", 17), 0);
    assert_string_not_equal(buf_cstr(&one), buf_cstr(&two)); /* salted */
    assert_int_equal(auth_hash_check(buf_cstr(&one), "s3cr3t \xC3\xA4"), AUTH_HASH_RIGHT);
    assert_int_equal(auth_hash_check(buf_cstr(&one), "s3cr3t"), AUTH_HASH_WRONG);
    buf_release(&one);
    buf_release(&two);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_passwords),
        cmocka_unit_test(argon2_is_right_or_unsupported),
        cmocka_unit_test(a_password_that_is_too_long_is_wrong),
        cmocka_unit_test(a_hash_that_was_made_fits),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
