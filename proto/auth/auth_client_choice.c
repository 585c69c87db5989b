/* Which mechanisms the SMTP client may use: see auth_client_choice.h. Called by auth_client.c. */
#include "proto/auth/auth_client_choice.h"

#include <sasl/sasl.h>

#define SEPARATORS ", \t\r\n"

static bool parse_security(const char *options, unsigned *security)
{
    static const struct {
        const char *word;
        unsigned flag;
    } words[] = {
        {"noplaintext", SASL_SEC_NOPLAINTEXT},         {"noactive", SASL_SEC_NOACTIVE},
        {"nodictionary", SASL_SEC_NODICTIONARY},       {"noanonymous", SASL_SEC_NOANONYMOUS},
        {"forward_secrecy", SASL_SEC_FORWARD_SECRECY}, {"mutual_auth", SASL_SEC_MUTUAL_AUTH},
    };
    struct slice rest = slice_str(options), word;

    while ((word = slice_token(&rest, SEPARATORS)).n > 0) {
        size_t i = 0;

        while (i < sizeof words / sizeof *words && !slice_ieq(word, slice_str(words[i].word)))
            i++;
        if (i == sizeof words / sizeof *words)
            return false;
        *security |= words[i].flag;
    }
    return true;
}

static bool any_table(const char *filter)
{
    struct slice rest = slice_str(filter), item;

    while ((item = slice_token(&rest, SEPARATORS)).n > 0)
        if (slice_find(item, ':') < item.n && !slice_starts(slice_from(item, item.p[0] == '!'), SLICE_LIT("static:")))
            return true;
    return false;
}

/* The first item that matches decides, as in every list of Postfix's. */
static bool allowed(const char *filter, struct slice mechanism, bool *named)
{
    struct slice rest = slice_str(filter), item;

    *named = false;
    if (slice_trim(rest).n == 0)
        return true;
    while ((item = slice_token(&rest, SEPARATORS)).n > 0) {
        bool not = item.p[0] == '!';

        item = slice_from(item, not );
        *named = slice_ieq(item, mechanism) && !not ;
        if (slice_ieq(item, mechanism) || slice_starts(item, SLICE_LIT("static:")))
            return !not ;
    }
    return false;
}

bool auth_client_choose(const struct auth_client_opts *o, struct auth_client_choice *c, const char **reason)
{
    struct slice rest = slice_str(o->mechanisms), name;
    enum auth_bearer bearer, can = AUTH_BEARER_NONE;
    bool named, wanted = false;

    *c = (struct auth_client_choice){0};
    *reason = any_table(o->filter) ? "smtp_sasl_mechanism_filter: only names and static: can be asked here"
              : parse_security(o->security_options, &c->security) ? NULL
                                                                  : "a word in the security options is unknown";
    if (*reason != NULL)
        return false;
    while ((name = slice_token(&rest, SEPARATORS)).n > 0) {
        if (!allowed(o->filter, name, &named))
            continue;
        bearer = auth_bearer_find(name);
        if (bearer == AUTH_BEARER_NONE)
            buf_printf(&c->mechanisms, "%s%.*s", buf_len(&c->mechanisms) > 0 ? " " : "", (int)name.n, name.p);
        else if (can == AUTH_BEARER_NONE || bearer < can)
            can = bearer;
        wanted |= named && bearer != AUTH_BEARER_NONE;
    }
    /* A token in clear is all that there is to it: of the options only noanonymous leaves it. */
    if ((c->security & ~(unsigned)SASL_SEC_NOANONYMOUS) == 0 && (wanted || buf_len(&c->mechanisms) == 0))
        c->bearer = can;
    return true;
}
