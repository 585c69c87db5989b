/* The SASL mechanisms that send a token, OAUTHBEARER (RFC 7628) and XOAUTH2: see auth_bearer.h. */
#include "proto/auth/auth_bearer.h"

#include "core/base/codec.h"

#include <string.h>

#define REFUSAL_MAX 200

static const char *const names[] = {
    [AUTH_BEARER_OAUTHBEARER] = "OAUTHBEARER",
    [AUTH_BEARER_XOAUTH2] = "XOAUTH2",
};

enum auth_bearer auth_bearer_find(struct slice mechanism)
{
    if (slice_ieq(mechanism, slice_str(names[AUTH_BEARER_OAUTHBEARER])))
        return AUTH_BEARER_OAUTHBEARER;
    if (slice_ieq(mechanism, slice_str(names[AUTH_BEARER_XOAUTH2])))
        return AUTH_BEARER_XOAUTH2;
    return AUTH_BEARER_NONE;
}

const char *auth_bearer_name(enum auth_bearer b)
{
    return names[b];
}

static bool has_control(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)*s < ' ' || *s == 0x7f)
            return true;
    return false;
}

/* RFC 5801 section 4: a saslname. */
static void add_saslname(struct buf *out, const char *user)
{
    for (; *user != '\0'; user++)
        if (*user == '=' || *user == ',')
            buf_add_str(out, *user == '=' ? "=3D" : "=2C");
        else
            buf_add_char(out, *user);
}

bool auth_bearer_initial(enum auth_bearer b, const char *user, const char *token, const char *host, unsigned port,
                         struct buf *out)
{
    if (has_control(user) || has_control(token))
        return false;
    buf_reserve(out, 3 * strlen(user) + strlen(token) + (host == NULL ? 0 : strlen(host)) + 64);
    if (b == AUTH_BEARER_XOAUTH2) {
        buf_printf(out, "user=%s\1auth=Bearer %s\1\1", user, token);
        return true;
    }
    buf_add_str(out, "n,a=");
    add_saslname(out, user);
    buf_add_str(out, ",\1");
    if (host != NULL)
        buf_printf(out, "host=%s\1", host);
    if (port != 0)
        buf_printf(out, "port=%u\1", port);
    buf_printf(out, "auth=Bearer %s\1\1", token);
    return true;
}

struct slice auth_bearer_acknowledge(enum auth_bearer b)
{
    return b == AUTH_BEARER_OAUTHBEARER ? SLICE_LIT("\1") : SLICE_EMPTY;
}

void auth_bearer_refusal(struct slice challenge, const char *token, struct buf *out)
{
    char text[REFUSAL_MAX + 1];
    size_t n = strlen(token);

    buf_add_str(out, "the server refused the token");
    if (challenge.n == 0 || n == 0 || memmem(challenge.p, challenge.n, token, n) != NULL)
        return;
    n = challenge.n < REFUSAL_MAX ? challenge.n : REFUSAL_MAX;
    memcpy(text, challenge.p, n);
    text[n] = '\0';
    codec_printable(text, n, false);
    buf_printf(out, ": %s", text);
}
