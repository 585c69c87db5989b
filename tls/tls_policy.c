/*
 * The value of a line of smtp_tls_policy_maps: a level and attributes, as in Postfix's TLS_README. Called by the SMTP
 * client for each destination, and when the configuration is checked. Pure. What cannot be understood is an error,
 * never left out: it may be what makes the connection safe.
 */
#include "core/base/buf.h"
#include "tls/tls_ciphers.h"
#include "tls/tls_client.h"
#include "tls/tls_names.h"

#define SEPARATORS " ,\t\r\n"
#define TEXT_MAX   8192u

static const struct {
    const char *word;
    enum tls_level level;
} levels[] = {
    {"none", TLS_LEVEL_NONE},       {"may", TLS_LEVEL_MAY},
    {"encrypt", TLS_LEVEL_ENCRYPT}, {"fingerprint", TLS_LEVEL_FINGERPRINT},
    {"verify", TLS_LEVEL_VERIFY},   {"secure", TLS_LEVEL_SECURE},
};

bool tls_level_parse(struct slice word, enum tls_level *level)
{
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (slice_ieq(word, slice_str(levels[i].word))) {
            *level = levels[i].level;
            return true;
        }
    return false;
}

struct parse {
    struct tls_policy *policy;
    struct arena *arena;
    struct buf *err;
};

static bool complain(const struct parse *p, struct slice what, const char *why)
{
    buf_printf(p->err, "\"%.*s\": %s\n", (int)(what.n < 200 ? what.n : 200), what.p, why);
    return false;
}

/* ---- words ---- */

/* The length of "{...}" at the start of the text, with what is nested; 0: it does not end. */
static size_t braced(struct slice text)
{
    size_t depth = 0;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '{')
            depth++;
        else if (text.p[i] == '}' && --depth == 0)
            return i + 1;
    }
    return 0;
}

/* The next word, or what is in "{ name = value }"; empty at the end. False: a brace is not closed. */
static bool next_word(struct slice *rest, struct slice *word)
{
    size_t n;

    while (rest->n > 0 && strchr(SEPARATORS, rest->p[0]) != NULL)
        *rest = slice_from(*rest, 1);
    if (rest->n == 0 || rest->p[0] != '{') {
        *word = slice_token(rest, SEPARATORS);
        return true;
    }
    n = braced(*rest);
    *word = n == 0 ? *rest : slice_trim(slice_make(rest->p + 1, n - 2));
    *rest = slice_from(*rest, n);
    return n > 0;
}

/* ---- attributes ---- */

/* An attribute that may be given once. */
static bool take_once(const struct parse *p, struct slice word, struct slice value, const char **to)
{
    if (*to != NULL)
        return complain(p, word, "the attribute is there twice");
    *to = arena_slice_dup(p->arena, value);
    return true;
}

static bool take_protocols(const struct parse *p, struct slice word, struct slice value)
{
    struct tls_versions versions;

    return take_once(p, word, value, &p->policy->protocols) &&
           tls_versions_parse("protocols", p->policy->protocols, &versions, p->err);
}

static bool take_ciphers(const struct parse *p, struct slice word, struct slice value)
{
    enum tls_suite_grade grade;

    return take_once(p, word, value, &p->policy->ciphers) &&
           tls_grade_parse("ciphers", p->policy->ciphers, &grade, p->err);
}

static bool take_exclude(const struct parse *p, struct slice word, struct slice value)
{
    return take_once(p, word, value, &p->policy->exclude);
}

static bool take_servername(const struct parse *p, struct slice word, struct slice value)
{
    if (!tls_names_is_host(value))
        return complain(p, word, "that is no host name");
    return take_once(p, word, value, &p->policy->servername);
}

/* May be there several times. */
static bool take_match(const struct parse *p, struct slice word, struct slice value)
{
    const char **match = &p->policy->match;
    struct slice one;
    bool any = false;

    if (p->policy->level < TLS_LEVEL_FINGERPRINT)
        return complain(p, word, "the level matches nothing");
    while ((one = slice_token(&value, p->policy->level == TLS_LEVEL_FINGERPRINT ? "|" : ":")).n > 0) {
        *match = arena_printf(p->arena, "%s%s%.*s", *match == NULL ? "" : *match, *match == NULL ? "" : " ", (int)one.n,
                              one.p);
        any = true;
    }
    return any || complain(p, word, "the value is empty");
}

static bool take_reuse(const struct parse *p, struct slice word, struct slice value)
{
    return slice_ieq(value, SLICE_LIT("yes")) || slice_ieq(value, SLICE_LIT("no")) ||
           complain(p, word, "yes or no is expected");
}

static bool take_tafile(const struct parse *p, struct slice word, struct slice value)
{
    (void)value;
    return complain(p, word, "authorities of one destination are not supported; smtp_tls_CAfile has those of all");
}

static const struct {
    const char *name;
    bool (*take)(const struct parse *, struct slice word, struct slice value);
    bool may_be_empty;
} attributes[] = {
    {"match", take_match, false},    {"protocols", take_protocols, true},    {"ciphers", take_ciphers, false},
    {"exclude", take_exclude, true}, {"servername", take_servername, false}, {"connection_reuse", take_reuse, false},
    {"tafile", take_tafile, false},
};

static bool take_attribute(const struct parse *p, struct slice word)
{
    size_t at = slice_find(word, '=');
    struct slice name, value;

    if (at == SLICE_NOT_FOUND)
        return complain(p, word, "name=value is expected");
    name = slice_trim(slice_head(word, at));
    value = slice_trim(slice_from(word, at + 1));
    for (size_t i = 0; i < sizeof attributes / sizeof attributes[0]; i++)
        if (slice_ieq(name, slice_str(attributes[i].name))) {
            if (value.n == 0 && !attributes[i].may_be_empty)
                return complain(p, word, "the value is empty");
            return attributes[i].take(p, word, value);
        }
    return complain(p, word, "there is no such attribute");
}

/* ---- the whole ---- */

static bool take_level(const struct parse *p, struct slice word)
{
    if (word.n == 0) {
        buf_add_str(p->err, "the TLS policy is empty\n");
        return false;
    }
    if (slice_ieq(word, SLICE_LIT("dane"))) {
        buf_add_str(p->err, "warning: \"dane\": DANE is not supported yet, the level is \"may\"\n");
        word = SLICE_LIT("may");
    }
    if (slice_ieq(word, SLICE_LIT("dane-only")))
        return complain(p, word, "DANE is not supported yet, and no other level is as safe");
    return tls_level_parse(word, &p->policy->level) || complain(p, word, "that is not a TLS level");
}

static bool parse(const struct parse *p, struct slice rest)
{
    struct slice word;

    for (size_t i = 0;; i++) {
        if (!next_word(&rest, &word))
            return complain(p, word, "a brace is not closed");
        if (i == 0 && !take_level(p, word))
            return false;
        if (i > 0 && word.n == 0)
            return true;
        if (i > 0 && p->policy->level == TLS_LEVEL_NONE)
            buf_printf(p->err, "warning: \"%.*s\" means nothing without TLS\n", (int)word.n, word.p);
        else if (i > 0 && !take_attribute(p, word))
            return false;
    }
}

bool tls_policy_parse(const char *text, struct arena *arena, struct tls_policy *policy, struct buf *err)
{
    struct parse p = {policy, arena, err};

    *policy = (struct tls_policy){.level = TLS_LEVEL_NONE};
    if (strlen(text) > TEXT_MAX) {
        buf_add_str(err, "the TLS policy is too long\n");
        return false;
    }
    return parse(&p, slice_str(text));
}
