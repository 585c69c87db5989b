/*
 * Parameters of MAIL and RCPT: proto/grammar/smtp_param.h. What is accepted is clean text, and printed from its parsed
 * form it is accepted again and means the same.
 *
 * Input: one byte, which has the extensions (enum smtp_ext) and, bit 5, MAIL or RCPT; then the parameters.
 */
#include "fuzz/fuzz.h"

#include "proto/grammar/smtp_param.h"

#define OPTION_RCPT 32

static void check_why(const struct status *why)
{
    MTA_ASSERT(why->cls == STATUS_PERMFAIL);
    MTA_ASSERT(why->code == 501 || why->code == 552 || why->code == 555);
    MTA_ASSERT(why->dsn[0] == '5' && why->text[0] != '\0');
}

static void add_xtext(struct buf *out, const char *name, const char *value)
{
    if (value == NULL)
        return;
    buf_printf(out, " %s=", name);
    codec_xtext_encode(out, slice_str(value));
}

static void print_mail(struct buf *out, const struct smtp_mail_params *p)
{
    static const char *const bodies[] = {"", " body=7bit", " BODY=8BITMIME"}, *const rets[] = {"", " RET=FULL",
                                                                                               " RET=HDRS"};

    if (p->size > 0)
        buf_printf(out, "SIZE=%llu", (unsigned long long)p->size);
    buf_add_str(out, bodies[p->body]);
    buf_add_str(out, rets[p->ret]);
    if (p->smtputf8)
        buf_add_str(out, " SMTPUTF8");
    add_xtext(out, "ENVID", p->envid);
    add_xtext(out, "AUTH", p->auth);
}

static void check_mail(struct slice in, unsigned enabled, struct arena *arena)
{
    struct smtp_mail_params p, again;
    struct status why;
    struct buf text = {0}, args = {0};

    if (!smtp_params_mail(in, enabled, arena, &p, &why)) {
        check_why(&why);
        return;
    }
    MTA_ASSERT(status_is_ok(&why) && p.size <= INT64_MAX);
    MTA_ASSERT(p.envid == NULL || (p.envid[0] != '\0' && fuzz_clean(slice_str(p.envid))));
    MTA_ASSERT(p.auth == NULL || (p.auth[0] != '\0' && fuzz_clean(slice_str(p.auth))));
    print_mail(&text, &p);
    MTA_ASSERT(smtp_params_mail(buf_slice(&text), enabled, arena, &again, &why));
    MTA_ASSERT(again.size == p.size && again.body == p.body && again.ret == p.ret && again.smtputf8 == p.smtputf8);
    MTA_ASSERT(fuzz_same(again.envid, p.envid) && fuzz_same(again.auth, p.auth));
    buf_add_str(&args, "<a@b.example> ");
    if (in.n > 0)
        buf_add_slice(&args, in);
    MTA_ASSERT(!p.smtputf8 || smtp_params_want_utf8(buf_slice(&args)));
    buf_release(&text);
    buf_release(&args);
}

/* The address of an ORCPT of type utf-8: what is not printable ASCII, or has a meaning, as a code point. */
static void add_unitext(struct buf *out, struct slice text)
{
    while (text.n > 0) {
        size_t len = codec_utf8_length(text);

        MTA_ASSERT(len > 0);
        if (len > 1)
            buf_add(out, text.p, len);
        else if (text.p[0] > ' ' && strchr("\\+=", text.p[0]) == NULL)
            buf_add_char(out, text.p[0]);
        else
            buf_printf(out, "\\x{%X}", (unsigned)text.p[0]);
        text = slice_from(text, len);
    }
}

static void print_rcpt(struct buf *out, const struct smtp_rcpt_params *p)
{
    static const char *const names[] = {"NEVER", "SUCCESS", "FAILURE", "DELAY"};
    const char *separator = "NOTIFY=";

    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        if (p->notify & 1u << i) {
            buf_printf(out, "%s%s", separator, names[i]);
            separator = ",";
        }
    if (p->orcpt != NULL) {
        size_t type = slice_find(slice_str(p->orcpt), ';') + 1;
        struct slice address = slice_str(p->orcpt + type);

        buf_printf(out, " ORCPT=%.*s", (int)type, p->orcpt);
        if (slice_istarts(slice_str(p->orcpt), SLICE_LIT("utf-8;")))
            add_unitext(out, address);
        else
            codec_xtext_encode(out, address);
    }
}

static void check_rcpt(struct slice in, unsigned enabled, struct arena *arena)
{
    struct smtp_rcpt_params p, again;
    struct status why;
    struct buf text = {0};

    if (!smtp_params_rcpt(in, enabled, arena, &p, &why)) {
        check_why(&why);
        return;
    }
    MTA_ASSERT(p.notify < 16 && (p.notify == SMTP_NOTIFY_NEVER || !(p.notify & SMTP_NOTIFY_NEVER)));
    MTA_ASSERT(p.orcpt == NULL || (strchr(p.orcpt, ';') != NULL && fuzz_clean(slice_str(p.orcpt))));
    print_rcpt(&text, &p);
    /* Where UTF-8 may not be sent as it is, this form of it may not come back. */
    enabled |= codec_has_8bit(buf_slice(&text)) ? SMTP_EXT_SMTPUTF8 : 0;
    if (buf_len(&text) <= SMTP_ORCPT_MAX) {
        MTA_ASSERT(smtp_params_rcpt(buf_slice(&text), enabled, arena, &again, &why));
        MTA_ASSERT(again.notify == p.notify && fuzz_same(again.orcpt, p.orcpt));
    }
    buf_release(&text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice in = slice_make(data, size);
    unsigned options = fuzz_byte(&in);
    struct arena arena = {0};

    if (options & OPTION_RCPT)
        check_rcpt(in, options & (OPTION_RCPT - 1), &arena);
    else
        check_mail(in, options & (OPTION_RCPT - 1), &arena);
    smtp_params_want_utf8(in);
    arena_clear(&arena);
    return 0;
}
