/*
 * MAIL and RCPT with the parameters that the server understands: SIZE (RFC 1870), BODY (RFC 6152), SMTPUTF8 (RFC 6531),
 * RET, ENVID, NOTIFY and ORCPT (RFC 3461). Called by smtpc_txn.c; owns nothing and waits on nothing.
 */
#include "delivery/smtpc_int.h"

#include "core/base/addr.h"
#include "core/base/codec.h"

#include <inttypes.h>

static bool offers(const struct smtpc_job *job, enum smtpc_feature feature)
{
    return (job->conn->features & feature) != 0;
}

static void put_address(const struct smtpc_job *job, struct buf *out, const char *before, const char *address)
{
    buf_add_str(out, before);
    if (job->conf->quote_rfc821_envelope)
        addr_quote(out, slice_str(address));
    else
        buf_add_str(out, address);
    buf_add_char(out, '>');
}

void smtpc_put_mail(struct smtpc_job *job, struct buf *out)
{
    const struct envelope *m = job->job.delivery->message;

    put_address(job, out, "MAIL FROM:<", job->sender);
    if (offers(job, SMTPC_SIZE))
        buf_printf(out, " SIZE=%" PRIu64, m->size);
    if (offers(job, SMTPC_8BITMIME) && m->body_8bit)
        buf_add_str(out, " BODY=8BITMIME");
    if (offers(job, SMTPC_SMTPUTF8) && m->smtputf8)
        buf_add_str(out, " SMTPUTF8");
    if (offers(job, SMTPC_DSN) && m->ret != ENVELOPE_RET_NONE)
        buf_add_str(out, m->ret == ENVELOPE_RET_FULL ? " RET=FULL" : " RET=HDRS");
    if (offers(job, SMTPC_DSN) && m->envid != NULL && m->envid[0] != '\0') {
        buf_add_str(out, " ENVID=");
        codec_xtext_encode(out, slice_str(m->envid));
    }
    buf_add_str(out, "\r\n");
}

static void put_notify(struct buf *out, unsigned notify)
{
    static const struct {
        unsigned bit;
        const char *word;
    } words[] = {
        {ENVELOPE_NOTIFY_NEVER, "NEVER"},
        {ENVELOPE_NOTIFY_SUCCESS, "SUCCESS"},
        {ENVELOPE_NOTIFY_FAILURE, "FAILURE"},
        {ENVELOPE_NOTIFY_DELAY, "DELAY"},
    };
    const char *before = " NOTIFY=";

    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (notify & words[i].bit) {
            buf_printf(out, "%s%s", before, words[i].word);
            before = ",";
        }
}

/* "rfc822;user@example.com": the type is not encoded, the address is. */
static void put_orcpt(struct buf *out, struct slice orcpt)
{
    size_t semicolon = slice_find(orcpt, ';');

    if (semicolon == SLICE_NOT_FOUND)
        return;
    buf_add_str(out, " ORCPT=");
    buf_add_slice(out, slice_head(orcpt, semicolon + 1));
    codec_xtext_encode(out, slice_from(orcpt, semicolon + 1));
}

void smtpc_put_rcpt(struct smtpc_job *job, size_t index, struct buf *out)
{
    const struct envelope_rcpt *r = &job->job.delivery->rcpts[index];

    put_address(job, out, "RCPT TO:<", job->rcpts[index].address);
    if (offers(job, SMTPC_DSN)) {
        put_notify(out, r->notify);
        if (r->orcpt != NULL)
            put_orcpt(out, slice_str(r->orcpt));
        else if (r->orig != NULL && !codec_has_8bit(slice_str(r->orig))) {
            buf_add_str(out, " ORCPT=rfc822;");
            codec_xtext_encode(out, slice_str(r->orig));
        }
    }
    buf_add_str(out, "\r\n");
}
