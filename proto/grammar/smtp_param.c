/*
 * ESMTP parameters: see smtp_param.h. Two tables of rows, one for MAIL and one for RCPT, and one loop over the words.
 * Called by the SMTP server after the path was parsed; owns nothing. RFC 1870, 3461, 4954, 6152, 6531, 6533.
 */
#include "proto/grammar/smtp_param.h"

#include "core/base/assert.h"
#include "core/base/codec.h"

enum verdict {
    VERDICT_OK,
    VERDICT_BAD,     /* the row's text */
    VERDICT_UNKNOWN, /* as if there were no such row */
    VERDICT_TOO_BIG,
};

struct parse {
    unsigned enabled;
    struct arena *arena;
    struct smtp_mail_params *mail;
    struct smtp_rcpt_params *rcpt;
};

struct row {
    const char *name; /* with its '=' when it takes a value */
    enum smtp_ext ext;
    enum verdict (*set)(struct parse *, struct slice value);
    const char *bad; /* text of the 501 */
};

/* A value from a list of names, in any case. */
struct choice {
    const char *name;
    int value;
};

static bool choose(const struct choice *choices, size_t n, struct slice text, int *value)
{
    for (size_t i = 0; i < n; i++)
        if (slice_ieq(text, slice_str(choices[i].name))) {
            *value = choices[i].value;
            return true;
        }
    return false;
}

static bool is_printable(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((unsigned char)s.p[i] < 32 || (unsigned char)s.p[i] > 126)
            return false;
    return true;
}

/* Printable text out of xtext, in the arena after `prefix`; NULL when it is not. */
static const char *xtext_dup(struct arena *arena, struct slice prefix, struct slice xtext)
{
    struct buf text = {.max = 0};
    const char *copy = NULL;

    buf_add_slice(&text, prefix);
    if (codec_xtext_decode(&text, xtext) && is_printable(buf_slice(&text)))
        copy = arena_slice_dup(arena, buf_slice(&text));
    buf_release(&text);
    return copy;
}

static enum verdict set_size(struct parse *p, struct slice value)
{
    for (size_t i = 0; i < value.n; i++)
        if (!ascii_digit(value.p[i]))
            return VERDICT_BAD;
    if (value.n == 0)
        return VERDICT_BAD;
    return slice_u64(value, INT64_MAX, &p->mail->size) ? VERDICT_OK : VERDICT_TOO_BIG;
}

static enum verdict set_body(struct parse *p, struct slice value)
{
    static const struct choice choices[] = {
        {"7BIT", SMTP_BODY_TYPE_7BIT},
        {"8BITMIME", SMTP_BODY_TYPE_8BITMIME},
    };
    int chosen;

    if (!choose(choices, ARRAY_LEN(choices), value, &chosen))
        return VERDICT_UNKNOWN;
    p->mail->body = (enum smtp_body_type)chosen;
    return VERDICT_OK;
}

static enum verdict set_ret(struct parse *p, struct slice value)
{
    static const struct choice choices[] = {
        {"FULL", SMTP_RET_FULL},
        {"HDRS", SMTP_RET_HDRS},
    };
    int chosen;

    if (!choose(choices, ARRAY_LEN(choices), value, &chosen))
        return VERDICT_BAD;
    p->mail->ret = (enum smtp_ret)chosen;
    return VERDICT_OK;
}

static enum verdict set_envid(struct parse *p, struct slice value)
{
    if (value.n == 0 || value.n > SMTP_ENVID_MAX)
        return VERDICT_BAD;
    p->mail->envid = xtext_dup(p->arena, SLICE_EMPTY, value);
    return p->mail->envid ? VERDICT_OK : VERDICT_BAD;
}

static enum verdict set_smtputf8(struct parse *p, struct slice value)
{
    (void)value;
    p->mail->smtputf8 = true;
    return VERDICT_OK;
}

static enum verdict set_auth(struct parse *p, struct slice value)
{
    if (value.n == 0 || value.n > SMTP_AUTH_MAX)
        return VERDICT_BAD;
    p->mail->auth = xtext_dup(p->arena, SLICE_EMPTY, value);
    return p->mail->auth ? VERDICT_OK : VERDICT_BAD;
}

static enum verdict set_notify(struct parse *p, struct slice value)
{
    static const struct choice choices[] = {
        {"NEVER", SMTP_NOTIFY_NEVER},
        {"SUCCESS", SMTP_NOTIFY_SUCCESS},
        {"FAILURE", SMTP_NOTIFY_FAILURE},
        {"DELAY", SMTP_NOTIFY_DELAY},
    };
    unsigned notify = 0;
    int chosen;
    size_t comma;

    do {
        comma = slice_find(value, ',');
        if (!choose(choices, ARRAY_LEN(choices), slice_head(value, comma), &chosen))
            return VERDICT_BAD;
        notify |= (unsigned)chosen;
        value = slice_from(value, comma == SLICE_NOT_FOUND ? comma : comma + 1);
    } while (comma != SLICE_NOT_FOUND);
    if ((notify & SMTP_NOTIFY_NEVER) && notify != SMTP_NOTIFY_NEVER)
        return VERDICT_BAD; /* RFC 3461 section 4.1: NEVER stands alone */
    p->rcpt->notify = notify;
    return VERDICT_OK;
}

static int hex_value(char c)
{
    if (ascii_digit(c))
        return c - '0';
    c = ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends one code point as UTF-8; false when there is none of this value or it is a control character. */
static bool add_code_point(struct buf *out, uint32_t c)
{
    char text[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

    if (c < 32 || c == 127 || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
        return false;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        text[i] = (char)(0x80 | (c & 0x3F));
    text[0] = (char)(n == 1 ? c : (0xF00u >> n & 0xFF) | c);
    return buf_add(out, text, n);
}

/* Takes "\x{HEX}": RFC 6533 section 3, EmbeddedUnicodeChar. */
static bool embedded_char(struct buf *out, struct slice *rest)
{
    struct slice open = SLICE_LIT("\\x{");
    uint32_t c = 0;
    size_t i = open.n;

    if (!slice_starts(*rest, open))
        return false;
    for (; i < rest->n && hex_value(rest->p[i]) >= 0 && i < open.n + 6; i++)
        c = c * 16 + (uint32_t)hex_value(rest->p[i]);
    if (i == open.n || i >= rest->n || rest->p[i] != '}')
        return false;
    *rest = slice_from(*rest, i + 1);
    return add_code_point(out, c);
}

/* utf-8-addr-xtext, with `utf8` utf-8-addr-unitext, becomes UTF-8: RFC 6533 section 3. */
static bool utf8_addr_decode(struct buf *out, struct slice text, bool utf8)
{
    while (text.n > 0) {
        size_t len = codec_utf8_length(text);

        if (text.p[0] == '\\') {
            if (!embedded_char(out, &text))
                return false;
            continue;
        }
        if (len == 0 || (len > 1 && !utf8))
            return false;
        if (len == 1 && (text.p[0] <= ' ' || text.p[0] == 127 || text.p[0] == '+' || text.p[0] == '='))
            return false;
        buf_add(out, text.p, len);
        text = slice_from(text, len);
    }
    return true;
}

static bool is_atom(struct slice s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!ascii_alnum(s.p[i]) && (s.p[i] == '\0' || strchr("!#$%&'*+-/=?^_`{|}~", s.p[i]) == NULL))
            return false;
    return s.n > 0;
}

static enum verdict set_orcpt(struct parse *p, struct slice value)
{
    size_t semicolon = slice_find(value, ';');
    struct slice type = slice_head(value, semicolon), address = slice_from(value, semicolon);
    struct buf text = {.max = 0};

    if (value.n > SMTP_ORCPT_MAX || semicolon == SLICE_NOT_FOUND || !is_atom(type))
        return VERDICT_BAD;
    address = slice_from(address, 1);
    type.n++; /* with the semicolon */
    if (!slice_ieq(type, SLICE_LIT("utf-8;"))) {
        p->rcpt->orcpt = xtext_dup(p->arena, type, address);
        return p->rcpt->orcpt ? VERDICT_OK : VERDICT_BAD;
    }
    buf_add_slice(&text, type);
    if (utf8_addr_decode(&text, address, p->enabled & SMTP_EXT_SMTPUTF8))
        p->rcpt->orcpt = arena_slice_dup(p->arena, buf_slice(&text));
    buf_release(&text);
    return p->rcpt->orcpt ? VERDICT_OK : VERDICT_BAD;
}

/* clang-format off */
static const struct row mail_rows[] = {
    {"SIZE=",    SMTP_EXT_SIZE,     set_size,     "Bad message size syntax"},
    {"BODY=",    SMTP_EXT_8BITMIME, set_body,     "Bad BODY parameter syntax"},
    {"SMTPUTF8", SMTP_EXT_SMTPUTF8, set_smtputf8, "Bad SMTPUTF8 parameter syntax"},
    {"RET=",     SMTP_EXT_DSN,      set_ret,      "Bad RET parameter syntax"},
    {"ENVID=",   SMTP_EXT_DSN,      set_envid,    "Bad ENVID parameter syntax"},
    {"AUTH=",    SMTP_EXT_AUTH,     set_auth,     "Bad AUTH parameter syntax"},
};
static const struct row rcpt_rows[] = {
    {"NOTIFY=",  SMTP_EXT_DSN,      set_notify,   "Error: Bad NOTIFY parameter syntax"},
    {"ORCPT=",   SMTP_EXT_DSN,      set_orcpt,    "Error: Bad ORCPT parameter syntax"},
};
/* clang-format on */

static const struct row *find_row(const struct row *rows, size_t n, struct slice word)
{
    for (size_t i = 0; i < n; i++) {
        struct slice name = slice_str(rows[i].name);

        if (strchr(rows[i].name, '=') != NULL ? slice_istarts(word, name) : slice_ieq(word, name))
            return &rows[i];
    }
    return NULL;
}

/* The reply to a word, or success. */
static struct status judge(struct parse *p, const struct row *row, struct slice word, bool repeated)
{
    enum verdict verdict = VERDICT_UNKNOWN;

    if (row != NULL && row->ext == SMTP_EXT_DSN && !(p->enabled & SMTP_EXT_DSN))
        return status_reply(STATUS_SYNTAX, 501, "5.7.1", "DSN support is disabled");
    if (row != NULL && (p->enabled & row->ext))
        verdict = repeated ? VERDICT_BAD : row->set(p, slice_from(word, strlen(row->name)));
    switch (verdict) {
    case VERDICT_OK: return status_ok();
    case VERDICT_BAD: return status_reply(STATUS_SYNTAX, 501, "5.5.4", "%s", row->bad);
    case VERDICT_TOO_BIG:
        return status_reply(STATUS_MESSAGE_TOO_BIG, 552, "5.3.4", "Message size exceeds file system imposed limit");
    case VERDICT_UNKNOWN: break;
    }
    return status_reply(STATUS_SYNTAX, 555, "5.5.4", "Unsupported option: %.*s", (int)(word.n < 300 ? word.n : 300),
                        word.p);
}

static bool parse_all(struct parse *p, const struct row *rows, size_t n, struct slice params, struct status *why)
{
    unsigned seen = 0;
    struct slice word;

    while ((word = slice_token(&params, " \t")).n > 0) {
        const struct row *row = find_row(rows, n, word);
        unsigned bit = row == NULL ? 0 : 1u << (row - rows);

        *why = judge(p, row, word, seen & bit);
        if (!status_is_ok(why))
            return false;
        seen |= bit;
    }
    *why = status_ok();
    return true;
}

bool smtp_params_mail(struct slice params, unsigned enabled, struct arena *arena, struct smtp_mail_params *result,
                      struct status *why)
{
    struct parse p = {.enabled = enabled, .arena = arena, .mail = result};

    *result = (struct smtp_mail_params){.size = 0};
    return parse_all(&p, mail_rows, ARRAY_LEN(mail_rows), params, why);
}

bool smtp_params_rcpt(struct slice params, unsigned enabled, struct arena *arena, struct smtp_rcpt_params *result,
                      struct status *why)
{
    struct parse p = {.enabled = enabled, .arena = arena, .rcpt = result};

    *result = (struct smtp_rcpt_params){.notify = 0};
    return parse_all(&p, rcpt_rows, ARRAY_LEN(rcpt_rows), params, why);
}

/* Where the path ends: at its closing bracket, or else at white space; neither counts when it is quoted. */
static size_t path_length(struct slice args)
{
    bool bracket = args.n > 0 && args.p[0] == '<', quoted = false;

    for (size_t i = 0; i < args.n; i++) {
        char c = args.p[i];

        if (c == '\\')
            i++;
        else if (c == '"')
            quoted = !quoted;
        else if (!quoted && (bracket ? c == '>' : c == ' ' || c == '\t'))
            return i + 1;
    }
    return args.n;
}

bool smtp_params_want_utf8(struct slice args)
{
    struct slice rest = slice_trim(args), word;

    rest = slice_from(rest, path_length(rest));
    while ((word = slice_token(&rest, " \t")).n > 0)
        if (slice_ieq(word, SLICE_LIT("SMTPUTF8")))
            return true;
    return false;
}
